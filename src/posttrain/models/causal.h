/* Causal attention of documents and its gradient, for one element type: T, whose products take STEP elements at a time
   (bfloat16: pairs), with load16, store16, SPAN (a vector of STEP * LANES elements), load_span, spread_add.

   Only what is at or below the diagonal is computed, which a library's product can't leave out, and a head's matrices stay
   in the second cache from the scores to the result. A product sums BLOCK rows by PANEL outputs in registers:
   out[r][o] = sum over i of a[r][i] b[i][o], where b lies in spans: for each step of i, PANEL outputs of STEP elements.

   Blocks are those of `split`: q [Q][W][D], k and v [K][W][D] per document, padded with 0. Query head h reads key head
   h / (Q / K). Probabilities [Q][W][W] per document are kept for the gradient; what they hold right of their row's block of
   BLOCK columns, up to a whole panel, is 0, and nothing beyond is written or read. */

/* a's element (r, i) stands at a[r * a_row + i / STEP * a_step]; b's spans follow one another at b_step. */
static inline __attribute__((always_inline)) void NAME(tile)(const T *a, int64_t a_row, int64_t a_step, const T *b,
                                                             int64_t b_step, int64_t steps, vec (*sums)[2]) {
    vec s[BLOCK][2];
    for (int r = 0; r < BLOCK; r++) s[r][0] = sums[r][0], s[r][1] = sums[r][1];
    for (int64_t i = 0; i < steps; i++, a += a_step, b += b_step) {
        NAME(SPAN) b0 = NAME(load_span)(b), b1 = NAME(load_span)(b + LANES * STEP);
        for (int r = 0; r < BLOCK; r++) {
            s[r][0] = NAME(spread_add)(s[r][0], b0, a + r * a_row);
            s[r][1] = NAME(spread_add)(s[r][1], b1, a + r * a_row);
        }
    }
    for (int r = 0; r < BLOCK; r++) sums[r][0] = s[r][0], sums[r][1] = s[r][1];
}

/* x [W][D] as b with the rows as outputs: [W / PANEL][D / STEP][PANEL][STEP]. */
static void NAME(pack_rows)(const T *x, T *to, int64_t W, int64_t D) {
    typedef struct { T element[STEP]; } unit;
    const unit *from = (const unit *)x;
    unit *out = (unit *)to;
    const int64_t units = D / STEP;
    for (int64_t panel = 0; panel < W; panel += PANEL)
        for (int64_t i = 0; i < units; i++, out += PANEL)
            for (int64_t j = 0; j < PANEL; j++) out[j] = from[(panel + j) * units + i];
}

/* x [W][D] as b with the columns as outputs: [D / PANEL][W / STEP][PANEL][STEP]. */
static void NAME(pack_columns)(const T *x, T *to, int64_t W, int64_t D) {
    for (int64_t panel = 0; panel < D; panel += PANEL)
        for (int64_t row = 0; row < W; row += STEP)
            for (int64_t j = 0; j < PANEL; j += LANES, to += LANES * STEP)
                NAME(interleave)(x + row * D + panel + j, D, to);
}

/* Probabilities of BLOCK rows from their scores [BLOCK][W], to p [BLOCK][W]; the first is row `from`. */
static void NAME(probabilities)(float *scores, float scale, int64_t from, int64_t columns, int64_t W, T *p) {
    for (int64_t r = 0; r < BLOCK; r++, scores += W, p += W) {
        const int64_t last = from + r, whole = last / LANES * LANES;
        vec top = *(vec *)(scores + whole) + lanes_up_to(last - whole), total = { 0 };
        *(vec *)(scores + whole) = top;
        for (int64_t i = 0; i < whole; i += LANES) top = larger(top, *(vec *)(scores + i));
        const float most = max_of(top) * scale;
        for (int64_t i = 0; i <= whole; i += LANES) {
            vec e = exp_negative(*(vec *)(scores + i) * scale - most);
            *(vec *)(scores + i) = e;
            total += e;
        }
        const float inverse = 1.0f / sum_of(total);
        for (int64_t i = 0; i <= whole; i += LANES) NAME(store16)(p + i, *(vec *)(scores + i) * inverse);
        if (whole + LANES < columns) memset(p + whole + LANES, 0, (columns - whole - LANES) * sizeof(T));
    }
}

/* The product of BLOCK rows of a, laid out as `tile` has it, with the first `steps` spans of every panel of b, to out. */
static inline __attribute__((always_inline)) void NAME(rows_times)(const T *a, int64_t a_row, int64_t a_step, const T *b,
                                                                   int64_t panel, int64_t steps, T *out, int64_t D) {
    for (int64_t at = 0; at < D; at += PANEL, b += panel) {
        vec sums[BLOCK][2];
        memset(sums, 0, sizeof sums);
        NAME(tile)(a, a_row, a_step, b, PANEL * STEP, steps, sums);
        for (int r = 0; r < BLOCK; r++) {
            NAME(store16)(out + r * D + at, sums[r][0]);
            NAME(store16)(out + r * D + at + LANES, sums[r][1]);
        }
    }
}

/* The products of BLOCK rows of a [.][D] with packed rows, for the first `columns` of them, to out [BLOCK][W]. */
static void NAME(rows_by_rows)(const T *a, const T *packed, int64_t columns, float *out, int64_t W, int64_t D) {
    for (int64_t at = 0; at < columns; at += PANEL) {
        vec sums[BLOCK][2];
        memset(sums, 0, sizeof sums);
        NAME(tile)(a, D, STEP, packed + at * D, PANEL * STEP, D / STEP, sums);
        for (int r = 0; r < BLOCK; r++) memcpy(out + r * W + at, sums[r], sizeof sums[r]);
    }
}

/* docs: [n][5] = ..., length, W, first row of the blocks, first probability; the longest W is `longest`. mixed as q. */
void NAME(attention)(const T *q, const T *k, const T *v, T *p, T *mixed, const int64_t *docs, int64_t n, int64_t Q,
                     int64_t K, int64_t D, int64_t longest) {
    const float scale = 1.0f / sqrtf((float)D);
#pragma omp parallel
    {
        T *keys = malloc(2 * longest * D * sizeof(T)), *values = keys + longest * D;
        float *scores = malloc(BLOCK * longest * sizeof(float));
#pragma omp for schedule(dynamic)
        for (int64_t task = n * K - 1; task >= 0; task--) { /* the longest come last, and are begun first */
            const int64_t *doc = docs + task / K * 5, kv = task % K, length = doc[1], W = doc[2];
            NAME(pack_rows)(k + (doc[3] * K + kv * W) * D, keys, W, D);
            NAME(pack_columns)(v + (doc[3] * K + kv * W) * D, values, W, D);
            for (int64_t h = kv * (Q / K); h < (kv + 1) * (Q / K); h++) {
                const int64_t head = (doc[3] * Q + h * W) * D;
                T *probability = p + doc[4] * Q + h * W * W;
                for (int64_t from = 0; from < length; from += BLOCK) {
                    const int64_t columns = (from + BLOCK + PANEL - 1) / PANEL * PANEL;
                    NAME(rows_by_rows)(q + head + from * D, keys, columns, scores, W, D);
                    T *rows = probability + from * W;
                    NAME(probabilities)(scores, scale, from, columns, W, rows);
                    NAME(rows_times)(rows, W, STEP, values, W * PANEL, (from + BLOCK) / STEP, mixed + head + from * D, D);
                }
            }
        }
        free(keys);
        free(scores);
    }
}

/* d [BLOCK][W], of the probabilities p, becomes d of the scores before scale and softmax, as T in `to`. */
static void NAME(d_scores)(const float *d, const T *p, float scale, int64_t columns, int64_t W, T *to) {
    for (int64_t r = 0; r < BLOCK; r++, d += W, p += W, to += W) {
        vec dot = { 0 };
        for (int64_t i = 0; i < columns; i += LANES) dot += *(const vec *)(d + i) * NAME(load16)(p + i);
        const float sum = sum_of(dot);
        for (int64_t i = 0; i < columns; i += LANES)
            NAME(store16)(to + i, NAME(load16)(p + i) * (*(const vec *)(d + i) - sum) * scale);
    }
}

/* sums[W][D] += a transposed times b: a [W][W] lies interleaved (STEP rows side by side), b as pack_columns has it. */
static void NAME(add_transposed)(const T *a, const T *b, int64_t rows, int64_t W, int64_t D, float *sums) {
    for (int64_t from = 0; from < rows; from += BLOCK)
        for (int64_t at = 0; at < D; at += PANEL) {
            vec s[BLOCK][2];
            for (int r = 0; r < BLOCK; r++) memcpy(s[r], sums + (from + r) * D + at, sizeof s[r]);
            NAME(tile)(a + (from / STEP * W + from) * STEP, STEP, W * STEP, b + at * W + from * PANEL, PANEL * STEP,
                       (rows - from) / STEP, s);
            for (int r = 0; r < BLOCK; r++) memcpy(sums + (from + r) * D + at, s[r], sizeof s[r]);
        }
}

/* The gradients of attention: d_mixed to d_q, d_k, d_v; of padding nothing is written. */
void NAME(attention_back)(const T *q, const T *k, const T *v, const T *p, const T *d_mixed, T *d_q, T *d_k, T *d_v,
                          const int64_t *docs, int64_t n, int64_t Q, int64_t K, int64_t D, int64_t longest) {
    const float scale = 1.0f / sqrtf((float)D);
#pragma omp parallel
    {
        T *keys = malloc(4 * longest * D * sizeof(T)), *values = keys + longest * D;
        T *queries = values + longest * D, *ds_mixed = queries + longest * D;
        T *rows = malloc((BLOCK + 2 * longest) * longest * sizeof(T)), *turned_p = rows + BLOCK * longest;
        T *turned_d = turned_p + longest * longest;
        float *d = malloc((BLOCK * longest + 2 * longest * D) * sizeof(float)), *sum_k = d + BLOCK * longest;
        float *sum_v = sum_k + longest * D;
#pragma omp for schedule(dynamic)
        for (int64_t task = n * K - 1; task >= 0; task--) {
            const int64_t *doc = docs + task / K * 5, kv = task % K, length = doc[1], W = doc[2];
            const int64_t whole = (length + BLOCK - 1) / BLOCK * BLOCK, key_head = (doc[3] * K + kv * W) * D;
            memset(sum_k, 0, 2 * longest * D * sizeof(float));
            NAME(pack_columns)(k + key_head, keys, W, D);
            NAME(pack_rows)(v + key_head, values, W, D);
            for (int64_t h = kv * (Q / K); h < (kv + 1) * (Q / K); h++) {
                const int64_t head = (doc[3] * Q + h * W) * D;
                const T *probability = p + doc[4] * Q + h * W * W;
                NAME(pack_columns)(q + head, queries, W, D);
                NAME(pack_columns)(d_mixed + head, ds_mixed, W, D);
                for (int64_t from = 0; from < whole; from += BLOCK) {
                    const int64_t columns = (from + BLOCK + PANEL - 1) / PANEL * PANEL;
                    NAME(rows_by_rows)(d_mixed + head + from * D, values, columns, d, W, D);
                    NAME(d_scores)(d, probability + from * W, scale, columns, W, rows);
                    NAME(rows_times)(rows, W, STEP, keys, W * PANEL, (from + BLOCK) / STEP, d_q + head + from * D, D);
                    for (int64_t r = 0; r < BLOCK; r += STEP)
                        for (int64_t i = 0; i < columns; i += LANES) {
                            const int64_t to = ((from + r) / STEP * W + i) * STEP;
                            NAME(interleave)(probability + (from + r) * W + i, W, turned_p + to);
                            NAME(interleave)(rows + r * W + i, W, turned_d + to);
                        }
                }
                NAME(add_transposed)(turned_p, ds_mixed, whole, W, D, sum_v);
                NAME(add_transposed)(turned_d, queries, whole, W, D, sum_k);
            }
            for (int64_t i = 0; i < whole * D; i += LANES) {
                NAME(store16)(d_k + key_head + i, *(vec *)(sum_k + i));
                NAME(store16)(d_v + key_head + i, *(vec *)(sum_v + i));
            }
        }
        free(keys);
        free(rows);
        free(d);
    }
}
