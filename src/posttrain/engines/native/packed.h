/* Products of many rows with a matrix that was laid out for them: panels of PANEL outputs, input after input. BLOCK rows
   by PANEL outputs are summed in registers, so that an input costs as many loads as a register tile has sides. A task is a
   panel by CHUNK rows; a piece of a panel stays in the nearest cache while the rows pass, and they fetch the next one.
   What follows a product (bias, residual, gate) is done while the sums are at hand.

   A row's sums are added up in one order however many rows there are: a result knows nothing of its batch. */

#define PANEL (2 * LANES)
#define BLOCK 8
#define CHUNK 64
#define INPUTS 256 /* of a panel's piece */
#define LINE 64    /* bytes that memory comes in */

static inline vec silu_times(vec gate, vec up) {
    vec zero = { 0 }, one = zero + 1.0f;
    vec e = exp_negative((vec)((ivec)gate | (int32_t)0x80000000)); /* e^-|gate| */
    return gate * up * choose(gate < 0.0f, e, one) / (1.0f + e);
}

/* The lanes of `sum` that are among `outs` outputs, plus what stands in `add`. */
static inline void put(vec sum, const float *add, float *out, int64_t outs) {
    if (outs <= 0) return;
    const size_t bytes = (outs < LANES ? outs : LANES) * sizeof(float);
    if (add) {
        vec more = { 0 };
        memcpy(&more, add, bytes);
        sum += more;
    }
    memcpy(out, &sum, bytes);
}

/* NAME_pack: w [O, I] into panels, zeros where the last has no output.
   NAME: x [rows, I] times the packed matrix, plus bias [whole panels] and add [rows, O] where there are any. gated: the
   outputs come as LANES gates then their LANES partners, and out [rows, O / 2] is silu(gate) * partner. */
#define PACKED(NAME, TYPE, STEP, VECTOR, LOAD, ADD)                                                                    \
    void NAME##_pack(const TYPE *w, TYPE *to, int64_t O, int64_t I) {                                                  \
        _Pragma("omp parallel for schedule(static)") for (int64_t panel = 0; panel < (O + PANEL - 1) / PANEL; panel++) \
            for (int64_t i = 0; i < I; i += STEP)                                                                      \
                for (int64_t j = 0; j < PANEL; j++)                                                                    \
                    for (int64_t s = 0; s < STEP; s++)                                                                 \
                        to[(panel * I + i) * PANEL + j * STEP + s] =                                                   \
                            panel * PANEL + j < O ? w[(panel * PANEL + j) * I + i + s] : 0;                            \
    }                                                                                                                  \
    static inline void NAME##_block(const TYPE *const row[BLOCK], const TYPE *w, int64_t inputs, const char *ahead,    \
                                    vec (*sums)[2]) {                                                                  \
        vec s[BLOCK][2];                                                                                               \
        for (int b = 0; b < BLOCK; b++) s[b][0] = sums[b][0], s[b][1] = sums[b][1];                                    \
        for (int64_t i = 0; i < inputs; i += STEP, w += PANEL * STEP) {                                                \
            VECTOR w0 = LOAD(w), w1 = LOAD(w + LANES * STEP);                                                          \
            if (!(i & 3)) __builtin_prefetch(ahead, 0, 2), ahead += LINE;                                              \
            for (int b = 0; b < BLOCK; b++) {                                                                          \
                s[b][0] = ADD(s[b][0], w0, row[b] + i);                                                                \
                s[b][1] = ADD(s[b][1], w1, row[b] + i);                                                                \
            }                                                                                                          \
        }                                                                                                              \
        for (int b = 0; b < BLOCK; b++) sums[b][0] = s[b][0], sums[b][1] = s[b][1];                                    \
    }                                                                                                                  \
    static void NAME##_sums(const TYPE *x, const TYPE *w, int64_t rows, int64_t I, vec (*sums)[2]) {                   \
        for (int64_t from = 0; from < I; from += INPUTS) {                                                     \
            const int64_t inputs = I - from < INPUTS ? I - from : INPUTS;                              \
            for (int64_t first = 0; first < rows; first += BLOCK) {                                                    \
                const TYPE *row[BLOCK]; /* missing rows repeat the last: as fast, and simple */                        \
                for (int64_t b = 0; b < BLOCK; b++)                                                                    \
                    row[b] = x + (first + b < rows ? first + b : rows - 1) * I + from;                                 \
                const TYPE *piece = w + from * PANEL;                                                                  \
                const char *ahead = (const char *)(piece + inputs * PANEL) + first / BLOCK * LINE * (inputs / 4);      \
                NAME##_block(row, piece, inputs, ahead, sums + first);                                                 \
            }                                                                                                          \
        }                                                                                                              \
    }                                                                                                                  \
    void NAME(const TYPE *x, const TYPE *w, const float *bias, const float *add, float *out, int64_t rows, int64_t I,  \
              int64_t O, int64_t gated) {                                                                              \
        const int64_t panels = (O + PANEL - 1) / PANEL, chunks = (rows + CHUNK - 1) / CHUNK;                           \
        _Pragma("omp parallel for schedule(static)") for (int64_t task = 0; task < chunks * panels; task++) {          \
            const int64_t start = task / panels * CHUNK, panel = task % panels, at = panel * PANEL;                    \
            const int64_t count = rows - start < CHUNK ? rows - start : CHUNK;                                         \
            vec sums[CHUNK][2], zero = { 0 };                                                                          \
            const vec b0 = bias ? *(const vec *)(bias + at) : zero;                                                    \
            const vec b1 = bias ? *(const vec *)(bias + at + LANES) : zero;                                            \
            for (int64_t b = 0; b < CHUNK; b++) sums[b][0] = b0, sums[b][1] = b1;                                      \
            NAME##_sums(x + start * I, w + panel * I * PANEL, count, I, sums);                                         \
            for (int64_t b = 0; b < count; b++) {                                                                      \
                const int64_t row = start + b, place = row * O + at;                                                   \
                if (gated) {                                                                                           \
                    *(vec *)(out + row * (O / 2) + at / 2) = silu_times(sums[b][0], sums[b][1]);                       \
                } else {                                                                                               \
                    put(sums[b][0], add ? add + place : 0, out + place, O - at);                                       \
                    put(sums[b][1], add ? add + place + LANES : 0, out + place + LANES, O - at - LANES);               \
                }                                                                                                      \
            }                                                                                                          \
        }                                                                                                              \
    }

#ifdef __AVX512F__ /* fewer registers than the tile has sums would be slower than any library */
#define load_panel(w) (*(const vec *)(w))
#define add_input(sum, w, x) ((sum) + (w) * *(x))
PACKED(packed_float, float, 1, vec, load_panel, add_input)
#endif
#ifdef __AVX512BF16__
#include <immintrin.h>
static inline vec add_pair(vec sum, __m512bh w, const uint16_t *x) {
    int32_t pair;
    memcpy(&pair, x, sizeof pair);
    return (vec)_mm512_dpbf16_ps((__m512)sum, w, (__m512bh)_mm512_set1_epi32(pair));
}
#define load_pairs(w) ((__m512bh)_mm512_loadu_si512(w))
PACKED(packed_bfloat, uint16_t, 2, __m512bh, load_pairs, add_pair)
#endif
