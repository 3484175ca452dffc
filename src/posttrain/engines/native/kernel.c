/* The operations between two products on the CPU, float32: RMS norm, rotation, attention over the cache, gated
   activation; and products (of many rows: packed.h).

   PyTorch has these as ten operations per layer, each with its own start-up cost and its own pass over memory, and its
   batched products are made for larger matrices. HEAD_DIM (D) and GROUP (query heads per key/value head) are compiled in.
   Axes: B rows, Q query heads, K key/value heads, H hidden, I intermediate. */

#include <string.h>

#include "vectors.h"
#include "packed.h"

#define D HEAD_DIM
#define G GROUP
#define HALF (D / 2)
#define PARTS (D / LANES)

/* The sum of n squares. */
static inline float squares(const float *x, int64_t n) {
    vec sum = { 0 };
    int64_t i = 0;
    for (; i + LANES <= n; i += LANES) sum += *(const vec *)(x + i) * *(const vec *)(x + i);
    float total = sum_of(sum);
    for (; i < n; i++) total += x[i] * x[i];
    return total;
}

/* out[b] = x[b] / rms(x[b]) * weight, rows of H. */
void rms_norm(const float *x, const float *weight, float *out, int64_t rows, int64_t H, float eps) {
#pragma omp parallel for schedule(static) if (rows * H > 8192)
    for (int64_t b = 0; b < rows; b++) {
        const float *in = x + b * H;
        float *to = out + b * H;
        float scale = 1.0f / sqrtf(squares(in, H) / (float)H + eps);
        for (int64_t i = 0; i < H; i++) to[i] = in[i] * scale * weight[i];
    }
}

/* out[b] = silu(gate[b]) * up[b], where gate_up[b] = gate then up, I each. */
void silu_product(const float *gate_up, float *out, int64_t rows, int64_t I) {
#pragma omp parallel for schedule(static) if (rows * I > 8192)
    for (int64_t b = 0; b < rows; b++) {
        const float *gate = gate_up + b * 2 * I, *up = gate + I;
        float *to = out + b * I;
        for (int64_t i = 0; i < I; i += LANES) {
            const size_t bytes = (I - i < LANES ? I - i : LANES) * sizeof(float);
            vec g = { 0 }, u = { 0 };
            memcpy(&g, gate + i, bytes);
            memcpy(&u, up + i, bytes);
            vec y = silu_times(g, u);
            memcpy(to + i, &y, bytes);
        }
    }
}

/* Products of few rows with a large matrix take as long as reading the matrix: each weight is read once, from where the
   module has it. OUTS outputs by ROWS rows are summed in registers over a piece of the inputs that stays in the nearest
   cache; the sums of a tile of outputs wait in memory from piece to piece. */
#define ROWS 8
#define OUTS 2
#define TILE 32
#define PIECE 512

static inline vec load_float(const float *w) { return *(const vec *)w; }
static inline vec add_product(vec sum, vec a, vec b) { return sum + a * b; }
#ifdef __AVX512BF16__
#include <immintrin.h>
typedef uint16_t bfloat_input; /* the processor multiplies pairs of bfloat16 and sums in float */
#define BFLOAT_LANES 32
static inline __m512bh load_bfloat(const uint16_t *w) { return (__m512bh)_mm512_loadu_si512(w); }
static inline vec add_bfloat(vec sum, __m512bh a, __m512bh b) { return (vec)_mm512_dpbf16_ps((__m512)sum, a, b); }
#define BFLOAT_VECTOR __m512bh
#define load_bfloat_input load_bfloat
#else
typedef float bfloat_input;
#define BFLOAT_LANES LANES
#define load_bfloat widen
#define add_bfloat add_product
#define BFLOAT_VECTOR vec
#define load_bfloat_input load_float
#endif
int bfloat_inputs(void) { return sizeof(bfloat_input) == 2; }

/* out[b * stride + o] = x[b] . w[o] + bias[o] for rows of I, a multiple of STEP; bias may be absent. */
#define PRODUCT(NAME, INPUT, WEIGHT, STEP, VECTOR, LOAD_INPUT, LOAD, ADD)                                              \
    static void NAME##_tile(const INPUT *x, const WEIGHT *w, vec sums[TILE][ROWS], int64_t rows, int64_t outs,         \
                            int64_t I, int64_t from, int64_t to) {                                                     \
        const INPUT *row[ROWS]; /* missing rows repeat the last: as fast, and simple */                                \
        for (int64_t b = 0; b < ROWS; b++) row[b] = x + (b < rows ? b : rows - 1) * I;                                 \
        for (int64_t o = 0; o < outs; o += OUTS) {                                                                     \
            const WEIGHT *w0 = w + o * I, *w1 = o + 1 < outs ? w0 + I : w0;                                            \
            vec s0[ROWS], s1[ROWS];                                                                                    \
            for (int b = 0; b < ROWS; b++) s0[b] = sums[o][b], s1[b] = sums[o + 1][b];                                 \
            for (int64_t i = from; i < to; i += STEP) {                                                                \
                VECTOR a0 = LOAD(w0 + i), a1 = LOAD(w1 + i);                                                           \
                __builtin_prefetch(w0 + OUTS * I + i); /* what the next pair will need */                              \
                __builtin_prefetch(w1 + OUTS * I + i);                                                                 \
                for (int b = 0; b < ROWS; b++) {                                                                       \
                    VECTOR v = LOAD_INPUT(row[b] + i);                                                                 \
                    s0[b] = ADD(s0[b], a0, v);                                                                         \
                    s1[b] = ADD(s1[b], a1, v);                                                                         \
                }                                                                                                      \
            }                                                                                                          \
            for (int b = 0; b < ROWS; b++) sums[o][b] = s0[b], sums[o + 1][b] = s1[b];                                 \
        }                                                                                                              \
    }                                                                                                                  \
    void NAME(const INPUT *x, const WEIGHT *w, const float *bias, float *out, int64_t stride, int64_t B, int64_t I,    \
              int64_t O) {                                                                                             \
        _Pragma("omp parallel for schedule(static)") for (int64_t start = 0; start < O; start += TILE) {               \
            const int64_t outs = O - start < TILE ? O - start : TILE;                                                  \
            for (int64_t first = 0; first < B; first += ROWS) {                                                        \
                const int64_t rows = B - first < ROWS ? B - first : ROWS;                                              \
                vec sums[TILE][ROWS];                                                                                  \
                memset(sums, 0, sizeof sums);                                                                          \
                for (int64_t from = 0; from < I; from += PIECE) {                                                      \
                    const int64_t to = I - from < PIECE ? I : from + PIECE;                                            \
                    NAME##_tile(x + first * I, w + start * I, sums, rows, outs, I, from, to);                          \
                }                                                                                                      \
                for (int64_t b = 0; b < rows; b++)                                                                     \
                    for (int64_t o = 0; o < outs; o++)                                                                 \
                        out[(first + b) * stride + start + o] = sum_of(sums[o][b]) + (bias ? bias[start + o] : 0.0f);  \
            }                                                                                                          \
        }                                                                                                              \
    }
PRODUCT(product_float, float, float, LANES, vec, load_float, load_float, add_product)
PRODUCT(product_bfloat, bfloat_input, uint16_t, BFLOAT_LANES, BFLOAT_VECTOR, load_bfloat_input, load_bfloat, add_bfloat)

/* Optional RMS norm over the head, then rotation of neighbouring pairs by complex angles [D / 2][2]. */
static inline void turn(const float *from, const float *angles, const float *norm, float eps, float *to) {
    float scaled[D];
    memcpy(scaled, from, sizeof scaled);
    if (norm) {
        float scale = 1.0f / sqrtf(squares(scaled, D) / (float)D + eps);
        for (int i = 0; i < D; i++) scaled[i] *= scale * norm[i];
    }
    for (int i = 0; i < HALF; i++) {
        float re = scaled[2 * i], im = scaled[2 * i + 1], c = angles[2 * i], s = angles[2 * i + 1];
        to[2 * i] = re * c - im * s;
        to[2 * i + 1] = re * s + im * c;
    }
}

/* Queries and keys of qkv [rows][Q + 2K][D] are turned in place; row r is token start + r % T of its text. */
void rotate(float *qkv, const float *rotation, const float *qk_norm, float eps, int64_t rows, int64_t T, int64_t start,
            int64_t K) {
    const int64_t both = K * G + K, all = both + K;
#pragma omp parallel for schedule(static) if (rows > 8)
    for (int64_t row = 0; row < rows; row++)
        for (int64_t h = 0; h < both; h++) {
            float *head = qkv + (row * all + h) * D;
            turn(head, rotation + (start + row % T) * D, qk_norm ? qk_norm + h * D : 0, eps, head);
        }
}

/* Attention of one new token per row. qkv [B][Q + 2K][D] are the plain projections; the new key and value are written
   to position lengths[b] of their row, and out [B][Q][D] is the mix over positions 0..lengths[b].
   keys, values: this layer's cache; a row is row_stride floats, a head head_stride. scores: scratch
   [B][K][G][longest], where longest is a multiple of LANES. */
void attend(const float *qkv, const float *rotation, const float *qk_norm, float eps, float *keys, float *values,
            int64_t row_stride, int64_t head_stride, const int64_t *lengths, float *out, float *scores,
            int64_t longest, int64_t B, int64_t K) {
    const int64_t Q = K * G;
    const float scale = 1.0f / sqrtf((float)D);
#pragma omp parallel for schedule(static)
    for (int64_t task = 0; task < B * K; task++) {
        const int64_t b = task / K, h = task % K, last = lengths[b];
        const float *heads = qkv + b * (Q + 2 * K) * D, *angles = rotation + last * D;
        float *key = keys + b * row_stride + h * head_stride, *value = values + b * row_stride + h * head_stride;
        turn(heads + (Q + h) * D, angles, qk_norm ? qk_norm + (Q + h) * D : 0, eps, key + last * D);
        memcpy(value + last * D, heads + (Q + K + h) * D, D * sizeof(float));

        float q[G][D];
        for (int g = 0; g < G; g++) {
            const int64_t head = h * G + g;
            turn(heads + head * D, angles, qk_norm ? qk_norm + head * D : 0, eps, q[g]);
            for (int i = 0; i < D; i++) q[g][i] *= scale;
        }
        float *score = scores + task * G * longest;
        /* LANES tokens at once; those behind the last are computed from what stands there, and masked below. */
        for (int64_t from = 0; from <= last; from += LANES)
            for (int g = 0; g < G; g++) {
                vec sums[LANES];
                for (int t = 0; t < LANES; t++) {
                    const vec *k = (const vec *)(key + (from + t) * D);
                    sums[t] = ((const vec *)q[g])[0] * k[0];
                    for (int j = 1; j < PARTS; j++) sums[t] += ((const vec *)q[g])[j] * k[j];
                }
                *(vec *)(score + g * longest + from) = sums_of(sums);
            }
        vec mix[G][PARTS];
        float inverse[G];
        memset(mix, 0, sizeof mix);
        for (int g = 0; g < G; g++) {
            vec *s = (vec *)(score + g * longest), top, total = { 0 };
            const int64_t blocks = last / LANES + 1;
            for (int64_t t = last + 1; t < blocks * LANES; t++) score[g * longest + t] = -INFINITY;
            top = s[0];
            for (int64_t t = 1; t < blocks; t++) top = choose(s[t] > top, s[t], top);
            float most = top[0];
            for (int j = 1; j < LANES; j++) most = top[j] > most ? top[j] : most;
            for (int64_t t = 0; t < blocks; t++) {
                s[t] = exp_negative(s[t] - most);
                total += s[t];
            }
            inverse[g] = 1.0f / sum_of(total);
        }
        for (int64_t t = 0; t <= last; t++) {
            const vec *v = (const vec *)(value + t * D);
            for (int g = 0; g < G; g++)
                for (int j = 0; j < PARTS; j++) mix[g][j] += score[g * longest + t] * v[j];
        }
        for (int g = 0; g < G; g++)
            for (int j = 0; j < PARTS; j++) mix[g][j] *= inverse[g];
        memcpy(out + (b * Q + h * G) * D, mix, sizeof mix);
    }
}
