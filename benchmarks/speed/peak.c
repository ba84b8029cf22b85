/* The machine's limit on one core: multiply-adds on registers alone, as many as it can do.
 *
 * Each loop keeps enough independent sums that no result is waited for. The instruction set is
 * chosen when it runs; the functions tell its name and how many operations a call did
 * (a multiply and an add are two). Results go through a volatile sink, so that nothing is left out. */
#include <stdint.h>

volatile float sink_f;
volatile int32_t sink_i;

#if defined(__x86_64__) && defined(__GNUC__)
#include <immintrin.h>

#define EACH(X) X(0) X(1) X(2) X(3) X(4) X(5) X(6) X(7) X(8) X(9) X(10) X(11)

__attribute__((target("avx512f"))) static double fp32_avx512(long n) {
    __m512 a = _mm512_set1_ps(0.999f), b = _mm512_set1_ps(1e-3f);
#define INIT(i) __m512 s##i = _mm512_set1_ps(i);
    EACH(INIT)
    for (long k = 0; k < n; k++) {
#define STEP(i) s##i = _mm512_fmadd_ps(s##i, a, b);
        EACH(STEP)
        __asm__ volatile("" ::: "memory");
    }
    float t = 0;
#define SUM(i) t += _mm512_reduce_add_ps(s##i);
    EACH(SUM)
    sink_f = t;
    return 12.0 * 16 * 2 * n;
}
#undef INIT
#undef STEP
#undef SUM

__attribute__((target("avx2,fma"))) static double fp32_avx2(long n) {
    __m256 a = _mm256_set1_ps(0.999f), b = _mm256_set1_ps(1e-3f);
#define INIT(i) __m256 s##i = _mm256_set1_ps(i);
    EACH(INIT)
    for (long k = 0; k < n; k++) {
#define STEP(i) s##i = _mm256_fmadd_ps(s##i, a, b);
        EACH(STEP)
        __asm__ volatile("" ::: "memory");
    }
    __m256 t = _mm256_setzero_ps();
#define SUM(i) t = _mm256_add_ps(t, s##i);
    EACH(SUM)
    sink_f = _mm256_cvtss_f32(t);
    return 12.0 * 8 * 2 * n;
}
#undef INIT
#undef STEP
#undef SUM

__attribute__((target("avx512f,avx512vnni"))) static double int8_vnni(long n) {
    __m512i a = _mm512_set1_epi8(1), b = _mm512_set1_epi8(2);
#define INIT(i) __m512i s##i = _mm512_set1_epi32(i);
    EACH(INIT)
    for (long k = 0; k < n; k++) {
#define STEP(i) s##i = _mm512_dpbusd_epi32(s##i, a, b);
        EACH(STEP)
        __asm__ volatile("" : "+v"(a), "+v"(b)::"memory");
    }
    __m512i t = _mm512_setzero_si512();
#define SUM(i) t = _mm512_add_epi32(t, s##i);
    EACH(SUM)
    sink_i = _mm512_reduce_add_epi32(t);
    return 12.0 * 64 * 2 * n;
}
#undef INIT
#undef STEP
#undef SUM

/* Without VNNI a product of bytes takes three instructions: maddubs, madd, add. */
__attribute__((target("avx512f,avx512bw"))) static double int8_avx512bw(long n) {
    __m512i a = _mm512_set1_epi8(1), b = _mm512_set1_epi8(2), one = _mm512_set1_epi16(1);
#define INIT(i) __m512i s##i = _mm512_set1_epi32(i);
    EACH(INIT)
    for (long k = 0; k < n; k++) {
#define STEP(i)                                                                                    \
    __asm__ volatile("" : "+v"(a));                                                                \
    s##i = _mm512_add_epi32(s##i, _mm512_madd_epi16(_mm512_maddubs_epi16(a, b), one));
        EACH(STEP)
    }
    __m512i t = _mm512_setzero_si512();
#define SUM(i) t = _mm512_add_epi32(t, s##i);
    EACH(SUM)
    sink_i = _mm512_reduce_add_epi32(t);
    return 12.0 * 64 * 2 * n;
}
#undef INIT
#undef STEP
#undef SUM

__attribute__((target("avx2"))) static double int8_avx2(long n) {
    __m256i a = _mm256_set1_epi8(1), b = _mm256_set1_epi8(2), one = _mm256_set1_epi16(1);
#define INIT(i) __m256i s##i = _mm256_set1_epi32(i);
    EACH(INIT)
    for (long k = 0; k < n; k++) {
#define STEP(i)                                                                                    \
    __asm__ volatile("" : "+x"(a));                                                                \
    s##i = _mm256_add_epi32(s##i, _mm256_madd_epi16(_mm256_maddubs_epi16(a, b), one));
        EACH(STEP)
    }
    __m256i t = _mm256_setzero_si256();
#define SUM(i) t = _mm256_add_epi32(t, s##i);
    EACH(SUM)
    sink_i = _mm256_extract_epi32(t, 0);
    return 12.0 * 32 * 2 * n;
}

static int has_avx512(void) { return __builtin_cpu_supports("avx512f"); }
static int has_vnni(void) { return has_avx512() && __builtin_cpu_supports("avx512vnni"); }
static int has_bw(void) { return has_avx512() && __builtin_cpu_supports("avx512bw"); }
static int has_avx2(void) { return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma"); }

const char *fp32_name(void) { return has_avx512() ? "AVX-512 FMA" : has_avx2() ? "AVX2 FMA" : ""; }
const char *int8_name(void) {
    return has_vnni() ? "AVX-512 VNNI" : has_bw() ? "AVX-512BW" : has_avx2() ? "AVX2" : "";
}
double fp32_run(long n) { return has_avx512() ? fp32_avx512(n) : has_avx2() ? fp32_avx2(n) : 0; }
double int8_run(long n) {
    return has_vnni() ? int8_vnni(n) : has_bw() ? int8_avx512bw(n) : has_avx2() ? int8_avx2(n) : 0;
}

#elif defined(__aarch64__) && defined(__GNUC__)
#include <arm_neon.h>

#define EACH(X) X(0) X(1) X(2) X(3) X(4) X(5) X(6) X(7) X(8) X(9) X(10) X(11)

const char *fp32_name(void) { return "NEON FMA"; }
double fp32_run(long n) {
    float32x4_t a = vdupq_n_f32(0.999f), b = vdupq_n_f32(1e-3f);
#define INIT(i) float32x4_t s##i = vdupq_n_f32(i);
    EACH(INIT)
    for (long k = 0; k < n; k++) {
#define STEP(i) s##i = vfmaq_f32(s##i, a, b);
        EACH(STEP)
        __asm__ volatile("" ::: "memory");
    }
    float t = 0;
#define SUM(i) t += vaddvq_f32(s##i);
    EACH(SUM)
    sink_f = t;
    return 12.0 * 4 * 2 * n;
}
#undef INIT
#undef STEP
#undef SUM

#ifdef __ARM_FEATURE_DOTPROD
const char *int8_name(void) { return "NEON dot product"; }
double int8_run(long n) {
    int8x16_t a = vdupq_n_s8(1), b = vdupq_n_s8(2);
#define INIT(i) int32x4_t s##i = vdupq_n_s32(i);
    EACH(INIT)
    for (long k = 0; k < n; k++) {
#define STEP(i) s##i = vdotq_s32(s##i, a, b);
        EACH(STEP)
        __asm__ volatile("" : "+w"(a), "+w"(b)::"memory");
    }
    int32_t t = 0;
#define SUM(i) t += vaddvq_s32(s##i);
    EACH(SUM)
    sink_i = t;
    return 12.0 * 16 * 2 * n;
}
#else
const char *int8_name(void) { return ""; }
double int8_run(long n) { return 0; }
#endif

#else
const char *fp32_name(void) { return ""; }
const char *int8_name(void) { return ""; }
double fp32_run(long n) { return 0; }
double int8_run(long n) { return 0; }
#endif
