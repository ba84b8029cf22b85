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
#define OWN_NAME

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

// bf16: two products summed into 32 bits, where the processor has that too.
#ifdef __clang__
#pragma clang attribute push(__attribute__((target("avx512bf16"))), apply_to = function)
#else
#pragma GCC push_options
#pragma GCC target("avx512bf16")
#endif

namespace lingxi {
namespace {

// Rows as bf16, made once for all panels of a call; one number more where the width is odd in vectors.
thread_local Scratch half_rows;

const uint16_t* halves(const float* a, long ld, long rows, long width) {
    uint16_t* out = (uint16_t*)half_rows.of(rows * width / 2 + LANES);
    for (long m = 0; m < rows; m++)
        for (long k = 0; k < width; k += LANES) {
            const __m256bh part = _mm512_cvtneps_pbh((__m512)times(a + m * ld, 0, k, width - k));
            memcpy(out + m * width + k, &part, 2 * (width - k < LANES ? width - k : LANES));
        }
    return out;
}

template <int R, int P>
void rows_bf16(const uint16_t* a, long width, const uint16_t* b, long panel, float* out, const Target& to) {
    Vec sums[R][P];
    for (int r = 0; r < R; r++)
        for (int p = 0; p < P; p++) sums[r][p] = Vec{};
    b += panel * width * PANEL;
    for (long k = 0; k < width; k += 2) {
        __m512bh row[P];
#pragma GCC unroll 8
        for (int p = 0; p < P; p++) row[p] = (__m512bh)_mm512_loadu_si512(b + (p * width + k) * PANEL);
#pragma GCC unroll 8
        for (int r = 0; r < R; r++) {
            int32_t pair;
            memcpy(&pair, a + r * width + k, 4);
            const __m512bh x = (__m512bh)_mm512_set1_epi32(pair);
#pragma GCC unroll 8
            for (int p = 0; p < P; p++) sums[r][p] = (Vec)_mm512_dpbf16_ps((__m512)sums[r][p], x, row[p]);
        }
    }
    for (int r = 0; r < R; r++) finish<P>(sums[r], panel, out + r * to.ld, to);
}

template <int P>
void panels_bf16(const uint16_t* a, long rows, long width, const uint16_t* b, long panel, const Target& to) {
    long m = 0;
    for (; m + 6 <= rows; m += 6) rows_bf16<6, P>(a + m * width, width, b, panel, to.out + m * to.ld, to);
    last_rows<5>(rows - m, [&](auto left) {
        rows_bf16<decltype(left)::rows, P>(a + m * width, width, b, panel, to.out + m * to.ld, to);
    });
}

void gemm_bf16_dot(const float* a, long ld, long rows, long width, const uint16_t* b, long first, long panels, Target to) {
    const uint16_t* x = halves(a, ld, rows, width);
    long panel = first, end = first + panels;
    for (; panel + 4 <= end; panel += 4) panels_bf16<4>(x, rows, width, b, panel, to);
    for (; panel + 2 <= end; panel += 2) panels_bf16<2>(x, rows, width, b, panel, to);
    for (; panel < end; panel++) panels_bf16<1>(x, rows, width, b, panel, to);
}

}  // namespace
}  // namespace lingxi

#ifdef __clang__
#pragma clang attribute pop
#else
#pragma GCC pop_options
#endif

namespace lingxi {
namespace {

constexpr Kernels with_bf16() {
    Kernels found = table;
    found.gemm_bf16 = gemm_bf16_dot;
    return found;
}

// Made by the compiler: code that ran when the library is loaded would be of this instruction set, on any machine.
constexpr Kernels table_bf16 = with_bf16();

}  // namespace

const Kernels* avx512_kernels() { return __builtin_cpu_supports("avx512bf16") ? &table_bf16 : &table; }

}  // namespace lingxi

#ifdef __clang__
#pragma clang attribute pop
#endif
#else
#include "kernels.h"
namespace lingxi {
const Kernels* avx512_kernels() { return 0; }
}
#endif
