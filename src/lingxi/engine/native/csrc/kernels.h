// What a set of kernels offers. Each instruction set has one (generic, AVX2, AVX-512 with VNNI), made of the same source, kernels.inc.
//
// Matrices of activations are row-major fp32, `ld` floats from row to row. Weights are packed once (pack_*): int8 as [n/16][k/4][16][4],
// fp32 as [n/16][k][16], bf16 as [n/16][k/2][16][2], zeros where n or k is padded. Row m of a quantized matrix stands for scale[m] * code + low[m].
#pragma once
#include <stdint.h>

namespace lingxi {

// Columns of a packed panel, and codes of one column that stand side by side in it.
enum { PANEL = 16, QUAD = 4 };

// What becomes of a product: written, added to what is there, or gated (pairs of panels hold gate and up: silu or gelu of the gate, times up).
enum Epilogue { STORE = 0, ADD = 1, GATE_SILU = 2, GATE_GELU_TANH = 3, GELU = 4, GELU_TANH = 5 };

struct Codes {               // a quantized matrix [rows, width], width a multiple of QUAD
    const uint8_t* codes;
    const float* scale;
    const float* low;
};

struct WeightsInt8 {         // packed codes, one scale and one sum of codes a column
    const int8_t* codes;
    const float* scale;
    const float* sum;
};

struct Target {              // where a product goes; bias [columns, padded to whole panels] or null
    float* out;
    long ld;
    long columns;
    const float* bias;
    int epilogue;
};

struct Heads {               // rows of queries, keys and values and how heads lie in them
    const float *queries, *keys, *values;
    long ld_queries, ld_keys;
    long heads, kv_heads, head_dim;
    float* out;
    long ld_out;
    const float *seen_keys, *seen_values;  // [seen, kv_heads * head_dim], before every sequence
    long seen;
    float scale;
    int causal;
    long window;             // keys a query sees at most, itself counted; 0 for all
};

struct Span {                // one sequence; its queries are the last of its keys' tokens
    long first_query, queries, first_key, keys;
};

struct Kernels {
    const char* name;
    void (*gemm_int8)(Codes a, long rows, long width, WeightsInt8 b, long first_panel, long panels, Target to);
    void (*gemm_fp32)(const float* a, long ld, long rows, long width, const float* b, long first_panel, long panels, Target to);
    void (*gemm_bf16)(const float* a, long ld, long rows, long width, const uint16_t* b, long first_panel, long panels, Target to);
    void (*quantize)(const float* x, long ld, long rows, long width, const float* weighed, long mixed, uint8_t* codes, long padded, float* scale, float* low);
    void (*mix)(float* x, long rows, long width, long block);
    void (*read_rows)(const int8_t* codes, const float* scale, const int64_t* ids, long count, long width, long mixed, float* out);
    void (*rms_norm)(const float* x, long ld, long rows, long width, const float* gain, float eps, float* out, long ld_out);
    void (*layer_norm)(const float* x, long ld, long rows, long width, const float* gain, const float* shift, float eps, float* out, long ld_out);
    void (*rotate)(float* x, long ld, long rows, long heads, long head_dim, const float* gain, float eps, const float* cos, const float* sin, const int64_t* positions);
    void (*attention)(const Heads& heads, const Span& span, long kv_head);
    double (*peak_fp32)(long steps);
    double (*peak_int8)(long steps);
};

const Kernels* generic_kernels();
const Kernels* avx2_kernels();
const Kernels* avx512_kernels();

}  // namespace lingxi
