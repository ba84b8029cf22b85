// What Python calls (library.py declares the same): chooses the kernels of this machine and spreads their work over threads.
#include <algorithm>
#include <cmath>
#include <cstring>

#include "kernels.h"
#include "pool.h"

using namespace lingxi;

namespace {

bool has_avx512() {
#if defined(__x86_64__)
    return __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512vl") &&
           __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vnni") && __builtin_cpu_supports("fma");
#else
    return false;
#endif
}

bool has_avx2() {
#if defined(__x86_64__)
    return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma");
#else
    return false;
#endif
}

const Kernels* fitting(const char* name) {
    const Kernels* found[] = {has_avx512() ? avx512_kernels() : nullptr, has_avx2() ? avx2_kernels() : nullptr, generic_kernels()};
    for (const Kernels* kernels : found)
        if (kernels && (!name || !std::strcmp(name, kernels->name))) return kernels;
    return nullptr;
}

const Kernels* kernels = fitting(nullptr);

long over(long a, long b) { return (a + b - 1) / b; }

// Rows and panels of one task: its weights stay in the second cache while its rows go by.
const long ROWS = 96, PANELS = 16;

template <typename Product>
void spread(long rows, long panels, int threads, Product product) {
    const long high = over(rows, ROWS);
    // Few rows: as many tasks as threads can share evenly, in steps of whole tiles.
    const long wide = high >= 4 * threads ? PANELS : std::max(4L, over(over(panels, 4L * threads), 4) * 4);
    const long across = over(panels, wide);
    for_each(high * across, threads, [&](long task) {
        // All rows of one part of the weights before the next part.
        long row = task % high * ROWS, panel = task / high * wide;
        product(row, std::min(ROWS, rows - row), panel, std::min(wide, panels - panel));
    });
}

Target below(Target to, long row) {
    to.out += row * to.ld;
    return to;
}

}  // namespace

extern "C" {

// Raised with every change of an argument; library.py asks.
int lingxi_version() { return 1; }

const char* lingxi_kernels() { return kernels->name; }

int lingxi_choose(const char* name) {
    const Kernels* found = fitting(name);
    if (found) kernels = found;
    return found != nullptr;
}

// int8 weights [n, k] of rows at most 127 as panels; sums of each row's codes. `codes` holds ceil16(n) * ceil4(k) bytes, zeroed.
void lingxi_pack_int8(const int8_t* weights, long n, long k, int8_t* codes, float* sums) {
    const long quads = over(k, QUAD);
    for (long i = 0; i < n; i++) {
        long total = 0;
        for (long j = 0; j < k; j++) {
            codes[((i / PANEL * quads + j / QUAD) * PANEL + i % PANEL) * QUAD + j % QUAD] = weights[i * k + j];
            total += weights[i * k + j];
        }
        sums[i] = (float)total;
    }
}

void lingxi_pack_fp32(const float* weights, long n, long k, float* out) {
    for (long i = 0; i < n; i++)
        for (long j = 0; j < k; j++) out[(i / PANEL * k + j) * PANEL + i % PANEL] = weights[i * k + j];
}

// out[rows, columns] of codes [rows, width] and packed weights of `panels` panels.
void lingxi_gemm_int8(const uint8_t* codes, const float* scale, const float* low, long rows, long width, const int8_t* weights,
                      const float* weight_scale, const float* weight_sum, long panels, const float* bias, float* out, long ld, long columns,
                      int epilogue, int threads) {
    const Target to{out, ld, columns, bias, epilogue};
    const WeightsInt8 b{weights, weight_scale, weight_sum};
    spread(rows, panels, threads, [&](long row, long count, long panel, long wide) {
        kernels->gemm_int8(Codes{codes + row * width, scale + row, low + row}, count, width, b, panel, wide, below(to, row));
    });
}

void lingxi_gemm_fp32(const float* x, long ld_x, long rows, long width, const float* weights, long panels, const float* bias, float* out,
                      long ld, long columns, int epilogue, int threads) {
    const Target to{out, ld, columns, bias, epilogue};
    spread(rows, panels, threads, [&](long row, long count, long panel, long wide) {
        kernels->gemm_fp32(x + row * ld_x, ld_x, count, width, weights, panel, wide, below(to, row));
    });
}

// x [rows, width] rounded to bf16 where the machine multiplies those, width even.
void lingxi_gemm_bf16(const float* x, long ld_x, long rows, long width, const uint16_t* weights, long panels, const float* bias, float* out,
                      long ld, long columns, int epilogue, int threads) {
    const Target to{out, ld, columns, bias, epilogue};
    spread(rows, panels, threads, [&](long row, long count, long panel, long wide) {
        kernels->gemm_bf16(x + row * ld_x, ld_x, count, width, weights, panel, wide, below(to, row));
    });
}

// A norm of each row (0 none, 1 RMS, 2 layer), then its codes; `normed` [rows, width] is where the norm goes, may be null without one.
void lingxi_norm_quantize(const float* x, long ld, long rows, long width, int norm, const float* gain, const float* shift, float eps,
                          float* normed, const float* weighed, long mixed, uint8_t* codes, long padded, float* scale, float* low, int threads) {
    const long step = 16;
    for_each(over(rows, step), threads, [&](long task) {
        long row = task * step, count = std::min(step, rows - row);
        const float* from = x + row * ld;
        if (norm == 1) kernels->rms_norm(from, ld, count, width, gain, eps, normed + row * width, width);
        if (norm == 2) kernels->layer_norm(from, ld, count, width, gain, shift, eps, normed + row * width, width);
        if (!codes) return;
        const float* ready = norm ? normed + row * width : from;
        kernels->quantize(ready, norm ? width : ld, count, width, weighed, mixed, codes + row * padded, padded, scale + row, low + row);
    });
}

void lingxi_mix(float* x, long rows, long width, long block, int threads) {
    const long step = 64;
    for_each(over(rows, step), threads, [&](long task) {
        long row = task * step;
        kernels->mix(x + row * width, std::min(step, rows - row), width, block);
    });
}

// Vectors [count, width] of a table of int8 codes.
void lingxi_read_rows(const int8_t* codes, const float* scale, const int64_t* ids, long count, long width, long mixed, float* out, int threads) {
    const long step = 64;
    for_each(over(count, step), threads, [&](long task) {
        long row = task * step;
        kernels->read_rows(codes, scale, ids + row, std::min(step, count - row), width, mixed, out + row * width);
    });
}

// Heads of rows normed (where `gain` is given) and turned (where `cos` is), in place.
void lingxi_rotate(float* x, long ld, long rows, long heads, long dim, const float* gain, float eps, const float* cos, const float* sin,
                   const int64_t* positions, int threads) {
    const long step = 16;
    for_each(over(rows, step), threads, [&](long task) {
        long row = task * step;
        kernels->rotate(x + row * ld, ld, std::min(step, rows - row), heads, dim, gain, eps, cos, sin, positions + row);
    });
}

// Spans [count, 4]: first query, queries, first key, keys.
void lingxi_attention(const float* queries, long ld_queries, const float* keys, const float* values, long ld_keys, long heads, long kv_heads,
                      long dim, float* out, long ld_out, const float* seen_keys, const float* seen_values, long seen, float scale, int causal,
                      long window, const int64_t* spans, long count, int threads) {
    const Heads h{queries, keys, values, ld_queries, ld_keys, heads, kv_heads, dim, out, ld_out, seen_keys, seen_values, seen, scale, causal, window};
    for_each(count * kv_heads, threads, [&](long task) {
        const int64_t* s = spans + task / kv_heads * 4;
        kernels->attention(h, Span{s[0], s[1], s[2], s[3]}, task % kv_heads);
    });
}

double lingxi_peak_fp32(long steps) { return kernels->peak_fp32(steps); }
double lingxi_peak_int8(long steps) { return kernels->peak_int8(steps); }

}  // extern "C"
