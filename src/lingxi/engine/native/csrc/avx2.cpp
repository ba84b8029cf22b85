// AVX2 and FMA: bytes widened to 16 bits, whose products never saturate (vpmaddubsw's do).
#if defined(__x86_64__)
#ifdef __clang__
#pragma clang attribute push(__attribute__((target("avx2,fma"))), apply_to = function)
#else
#pragma GCC target("avx2,fma")
#endif
#include <immintrin.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#define NAME avx2_kernels
#define LABEL "avx2"
#define LANES 8
#define TILE_ROWS 6
#define TILE_PANELS 1

namespace lingxi {
namespace {

// Rows of codes as 16 bits, made once for all panels of a call.
struct Wide {
    int16_t* codes = 0;
    long size = 0;
    ~Wide() { free(codes); }
};
thread_local Wide wide;

struct Dot {
    static const int ROWS = 2, PANELS = 1;
    long width;
    Dot(const uint8_t* codes, long rows, long width) : width(width) {
        long n = rows * width;
        if (n > wide.size) {
            free(wide.codes);
            wide.size = n;
            wide.codes = (int16_t*)malloc(n * sizeof(int16_t));
            if (!wide.codes) abort();
        }
        for (long i = 0; i < n; i++) wide.codes[i] = codes[i];
    }

    typedef int32_t Sums __attribute__((vector_size(32)));

    // A panel of one quad is 64 bytes: 16 columns of 4. A sum holds two pairs of a quad apart until the end.
    template <int R, int P>
    inline void tile(long m, long quads, const int8_t* b, Sums (&sums)[R][2 * P]) const {
        for (int p = 0; p < P; p++) {
            Sums totals[R][4];
            for (int r = 0; r < R; r++)
                for (int v = 0; v < 4; v++) totals[r][v] = Sums{};
            const int16_t* a = wide.codes + m * width;
            const int8_t* panel = b + p * quads * 64;
            for (long q = 0; q < quads; q++) {
                __m256i x[R];
#pragma GCC unroll 4
                for (int r = 0; r < R; r++) {
                    long long quad;
                    memcpy(&quad, a + r * width + q * 4, 8);
                    x[r] = _mm256_set1_epi64x(quad);
                }
#pragma GCC unroll 4
                for (int v = 0; v < 4; v++) {
                    const __m256i row = _mm256_cvtepi8_epi16(_mm_loadu_si128((const __m128i*)(panel + q * 64 + v * 16)));
#pragma GCC unroll 4
                    for (int r = 0; r < R; r++) totals[r][v] += (Sums)_mm256_madd_epi16(x[r], row);
                }
            }
            for (int r = 0; r < R; r++)
                for (int half = 0; half < 2; half++) {
                    // hadd leaves columns 0 1 4 5 2 3 6 7.
                    __m256i pairs = _mm256_hadd_epi32((__m256i)totals[r][2 * half], (__m256i)totals[r][2 * half + 1]);
                    sums[r][2 * p + half] = (Sums)_mm256_permute4x64_epi64(pairs, 0xD8);
                }
        }
    }
};

}  // namespace
}  // namespace lingxi

#include "kernels.inc"
#ifdef __clang__
#pragma clang attribute pop
#endif
#else
#include "kernels.h"
namespace lingxi {
const Kernels* avx2_kernels() { return 0; }
}
#endif
