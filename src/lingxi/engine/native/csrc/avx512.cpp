// AVX-512 with VNNI: four products of bytes summed into 32 bits, in one instruction.
#if defined(__x86_64__)
#ifdef __clang__
#pragma clang attribute push(__attribute__((target("avx512f,avx512bw,avx512vl,avx512dq,avx512vnni,fma"))), apply_to = function)
#else
#pragma GCC target("avx512f,avx512bw,avx512vl,avx512dq,avx512vnni,fma,prefer-vector-width=512")
#endif
#include <immintrin.h>
#include <stdint.h>
#include <string.h>

#define NAME avx512_kernels
#define LABEL "avx512-vnni"
#define LANES 16
#define TILE_ROWS 6
#define TILE_PANELS 4

namespace lingxi {
namespace {

struct Dot {
    static const int ROWS = 6, PANELS = 4;
    const uint8_t* codes;
    long width;
    Dot(const uint8_t* codes, long, long width) : codes(codes), width(width) {}

    typedef int32_t Sums __attribute__((vector_size(64)));

    template <int R, int P>
    inline void tile(long m, long quads, const int8_t* b, Sums (&sums)[R][P]) const {
        for (int r = 0; r < R; r++)
            for (int p = 0; p < P; p++) sums[r][p] = Sums{};
        const uint8_t* a = codes + m * width;
        for (long q = 0; q < quads; q++) {
            __m512i row[P];
#pragma GCC unroll 8
            for (int p = 0; p < P; p++) row[p] = _mm512_loadu_si512(b + (p * quads + q) * 64);
#pragma GCC unroll 8
            for (int r = 0; r < R; r++) {
                int32_t quad;
                memcpy(&quad, a + r * width + q * 4, 4);
                const __m512i x = _mm512_set1_epi32(quad);
#pragma GCC unroll 8
                for (int p = 0; p < P; p++) sums[r][p] = (Sums)_mm512_dpbusd_epi32((__m512i)sums[r][p], x, row[p]);
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
const Kernels* avx512_kernels() { return 0; }
}
#endif
