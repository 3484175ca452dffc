/* Sixteen floats at a time, at any element's address; GCC and Clang lower them to what the processor has. */

#pragma once

#include <math.h>
#include <stdint.h>

#define LANES 16

typedef float vec __attribute__((vector_size(4 * LANES), aligned(2), may_alias));
typedef int32_t ivec __attribute__((vector_size(4 * LANES), aligned(2), may_alias));
typedef uint32_t uvec __attribute__((vector_size(4 * LANES), aligned(2), may_alias));
typedef uint16_t half __attribute__((vector_size(2 * LANES), aligned(2), may_alias));
typedef float vec8 __attribute__((vector_size(32)));
typedef float vec4 __attribute__((vector_size(16)));

#define SHUFFLE(a, b, mask) __builtin_shuffle(a, b, mask)
static inline vec choose(ivec mask, vec yes, vec no) { return (vec)(((ivec)yes & mask) | ((ivec)no & ~mask)); }

static inline float sum_of(vec x) {
    union { vec whole; vec8 half[2]; } a = { .whole = x };
    union { vec8 whole; vec4 half[2]; } b = { .whole = a.half[0] + a.half[1] };
    vec4 c = b.half[0] + b.half[1];
    return (c[0] + c[2]) + (c[1] + c[3]);
}

/* Lane j is the sum of s[j]: each step adds the halves of two vectors side by side, which takes a third of the operations
   that 16 sums one after the other do. */
static inline vec sums_of(vec s[LANES]) {
    const ivec a3 = { 0, 1, 2, 3, 4, 5, 6, 7, 16, 17, 18, 19, 20, 21, 22, 23 }, b3 = a3 + 8;
    const ivec a2 = { 0, 1, 2, 3, 16, 17, 18, 19, 8, 9, 10, 11, 24, 25, 26, 27 }, b2 = a2 + 4;
    const ivec a1 = { 0, 1, 16, 17, 4, 5, 20, 21, 8, 9, 24, 25, 12, 13, 28, 29 }, b1 = a1 + 2;
    const ivec a0 = { 0, 16, 2, 18, 4, 20, 6, 22, 8, 24, 10, 26, 12, 28, 14, 30 }, b0 = a0 + 1;
    for (int i = 0; i < 8; i++) s[i] = SHUFFLE(s[i], s[i + 8], a3) + SHUFFLE(s[i], s[i + 8], b3);
    for (int i = 0; i < 4; i++) s[i] = SHUFFLE(s[i], s[i + 4], a2) + SHUFFLE(s[i], s[i + 4], b2);
    for (int i = 0; i < 2; i++) s[i] = SHUFFLE(s[i], s[i + 2], a1) + SHUFFLE(s[i], s[i + 2], b1);
    return SHUFFLE(s[0], s[1], a0) + SHUFFLE(s[0], s[1], b0);
}

/* A bfloat16 is the upper half of a float. */
static inline vec widen(const uint16_t *p) { return (vec)(__builtin_convertvector(*(const half *)p, uvec) << 16); }

/* e^x for x <= 0, to 2 units in the last place (Cephes' polynomial). Below -87 it is 0; NaN stays NaN. */
static inline vec exp_negative(vec x) {
    ivec tiny = x < -87.0f, odd = x != x;
    vec kept = x;
    x = (vec)((ivec)x & ~(tiny | odd));
    ivec n = __builtin_convertvector(x * 1.44269504f - 0.5f, ivec); /* rounds to the nearest, as x <= 0 */
    vec whole = __builtin_convertvector(n, vec);
    vec rest = x + whole * -0.693359375f + whole * 2.12194440e-4f;
    vec p = rest * 1.9875691500e-4f + 1.3981999507e-3f;
    p = p * rest + 8.3334519073e-3f;
    p = p * rest + 4.1665795894e-2f;
    p = p * rest + 1.6666665459e-1f;
    p = p * rest + 5.0000001201e-1f;
    p = p * rest * rest + rest + 1.0f;
    p *= (vec)((n + 127) << 23);
    return choose(odd, kept, (vec)((ivec)p & ~tiny));
}
