// For any machine: 128-bit vectors that the compiler maps to what there is (NEON, SSE2). Products of bytes are made as floats, which
// every machine does well: exact up to sums of 2^24, and every addition beyond is rounded at the 24th bit.
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#define NAME generic_kernels
#define LABEL "generic"
#define LANES 4
#define TILE_ROWS 6
#define TILE_PANELS 1

namespace lingxi {
namespace {

// Codes as floats: the rows of a call, and the panel that its tiles ask now.
struct Floats {
    float* of = 0;
    long size = 0;
    float* room(long n) {
        if (n > size) {
            free(of);
            size = n;
            of = (float*)malloc(n * sizeof(float));
            if (!of) abort();
        }
        return of;
    }
    ~Floats() { free(of); }
};
thread_local Floats row_codes, panel_codes;

struct Dot {
    static const int ROWS = 6, PANELS = 1;
    typedef float Four __attribute__((vector_size(16)));
    typedef int32_t Sums __attribute__((vector_size(16)));

    const float* rows;
    long width;
    mutable const int8_t* panel = 0;

    Dot(const uint8_t* codes, long count, long width) : width(width) {
        float* out = row_codes.room(count * width);
        for (long i = 0; i < count * width; i++) out[i] = codes[i];
        rows = out;
    }

    const float* floats_of(const int8_t* b, long quads) const {
        float* out = panel_codes.room(quads * 64);
        if (b != panel)
            for (long q = 0; q < quads; q++)
                for (int i = 0; i < 64; i++) out[q * 64 + i % 4 * 16 + i / 4] = b[q * 64 + i];
        panel = b;
        return out;
    }

    template <int R, int P>
    inline void tile(long m, long quads, const int8_t* b, Sums (&sums)[R][4 * P]) const {
        for (int p = 0; p < P; p++) {
            const float* columns = floats_of(b + p * quads * 64, quads);
            Four totals[R][4] = {};
            for (long k = 0; k < 4 * quads; k++) {
                Four row[4];
                memcpy(row, columns + k * 16, 64);
#pragma GCC unroll 8
                for (int r = 0; r < R; r++)
#pragma GCC unroll 4
                    for (int v = 0; v < 4; v++) totals[r][v] += rows[(m + r) * width + k] * row[v];
            }
            for (int r = 0; r < R; r++)
                for (int v = 0; v < 4; v++) sums[r][4 * p + v] = __builtin_convertvector(totals[r][v], Sums);
        }
    }
};

}  // namespace
}  // namespace lingxi

#include "kernels.inc"
