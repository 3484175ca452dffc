/* What stands between a decoder's matrix products when it is trained on a CPU: norms, rotation, softmax, gated activation
   and the statistics of a vocabulary row, each with its gradient and each one pass over memory. PyTorch needs several
   passes for each, and the upcasts of bfloat16 are passes of their own. Everything is summed in float32.

   Compiled twice from lean.h: float32 (suffix _f) and bfloat16 (suffix _b, kept as its 16 bits). Attention (causal.h) where
   the processor has the registers for it and, for bfloat16, multiplies pairs of them. */

#include <omp.h>
#include <stdlib.h>
#include <string.h>
#ifdef __AVX512BF16__
#include <immintrin.h>
#endif

#include "vectors.h"

static inline vec larger(vec a, vec b) { return choose(a > b, a, b); }

static inline float max_of(vec x) {
    float most = x[0];
    for (int i = 1; i < LANES; i++) most = x[i] > most ? x[i] : most;
    return most;
}

/* 0 for lanes 0..last, -infinity beyond. */
static inline vec lanes_up_to(int64_t last) {
    const ivec lane = { 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15 };
    vec zero = { 0 };
    return choose(lane > (int32_t)last, zero - INFINITY, zero);
}

static inline vec sigmoid(vec x) {
    vec e = exp_negative((vec)((ivec)x | (int32_t)0x80000000)), one = e * 0.0f + 1.0f; /* e^-|x| */
    return choose(x < 0.0f, e, one) / (1.0f + e);
}

#define T float
#define NAME(f) f##_f
static inline vec load16_f(const float *p) { return *(const vec *)p; }
static inline void store16_f(float *p, vec x) { *(vec *)p = x; }
static inline float load1_f(const float *p) { return *p; }
static inline void store1_f(float *p, float x) { *p = x; }
#include "lean.h"
#ifdef __AVX512F__
#define BLOCK 8
#define PANEL (2 * LANES)
#define STEP 1
typedef vec SPAN_f;
static inline vec load_span_f(const float *p) { return *(const vec *)p; }
static inline vec spread_add_f(vec sum, vec b, const float *a) { return sum + b * *a; }
static inline void interleave_f(const float *row, int64_t stride, float *to) { *(vec *)to = *(const vec *)row; }
#include "causal.h"
#undef STEP
#endif
#undef T
#undef NAME

#define T uint16_t
#define NAME(f) f##_b
static inline vec load16_b(const uint16_t *p) { return widen(p); }
/* Rounds to the nearest, ties to even; a NaN stays one. */
#ifdef __AVX512BF16__
static inline void store16_b(uint16_t *p, vec x) { _mm256_storeu_si256((__m256i *)p, (__m256i)_mm512_cvtneps_pbh((__m512)x)); }
#else
static inline void store16_b(uint16_t *p, vec x) {
    uvec bits = (uvec)x;
    uvec rounded = (bits + 0x7fff + ((bits >> 16) & 1)) >> 16, odd = (uvec)(x != x);
    *(half *)p = __builtin_convertvector((rounded & ~odd) | (((bits >> 16) | 0x40) & odd), half);
}
#endif
static inline float load1_b(const uint16_t *p) {
    union { uint32_t bits; float value; } a = { .bits = (uint32_t)*p << 16 };
    return a.value;
}
static inline void store1_b(uint16_t *p, float x) {
    union { float value; uint32_t bits; } a = { .value = x };
    *p = x != x ? 0x7fc0 : (a.bits + 0x7fff + ((a.bits >> 16) & 1)) >> 16;
}
#include "lean.h"
#ifdef __AVX512BF16__
#define STEP 2
typedef __m512bh SPAN_b;
static inline __m512bh load_span_b(const uint16_t *p) { return (__m512bh)_mm512_loadu_si512(p); }
static inline vec spread_add_b(vec sum, __m512bh b, const uint16_t *a) {
    int32_t pair;
    memcpy(&pair, a, sizeof pair);
    return (vec)_mm512_dpbf16_ps((__m512)sum, b, (__m512bh)_mm512_set1_epi32(pair));
}
/* LANES elements of a row and, beside each, the one of the next row. */
static inline void interleave_b(const uint16_t *row, int64_t stride, uint16_t *to) {
    uvec low = __builtin_convertvector(*(const half *)row, uvec);
    uvec high = __builtin_convertvector(*(const half *)(row + stride), uvec);
    *(uvec *)to = low | high << 16;
}
#include "causal.h"
#endif
