/* The operations of lean.c for one element type: T with load16, store16; NAME(f) is f with the type's suffix. */

/* x += delta (delta may be NULL); out = x / rms(x) * weight; rstd[row] = 1 / rms. H is a multiple of 16. */
void NAME(add_norm)(const float *x, const T *delta, const float *weight, float eps, float *sum, T *out, float *rstd,
                    int64_t rows, int64_t H) {
#pragma omp parallel for schedule(static)
    for (int64_t r = 0; r < rows; r++) {
        const float *in = x + r * H;
        float *to = sum + r * H;
        vec total = { 0 };
        for (int64_t i = 0; i < H; i += LANES) {
            vec v = *(const vec *)(in + i);
            if (delta) v += NAME(load16)(delta + r * H + i);
            *(vec *)(to + i) = v;
            total += v * v;
        }
        const float scale = 1.0f / sqrtf(sum_of(total) / (float)H + eps);
        rstd[r] = scale;
        for (int64_t i = 0; i < H; i += LANES)
            NAME(store16)(out + r * H + i, *(vec *)(to + i) * scale * *(const vec *)(weight + i));
    }
}

/* The gradient of add_norm: d_out of `out`, d_sum of `sum` (may be NULL), to d_x (and d_delta, the same in T, may be
   NULL) and, per thread, to parts[threads][H] of the weight's. */
void NAME(add_norm_back)(const T *d_out, const float *d_sum, const float *sum, const float *weight, const float *rstd,
                         float *d_x, T *d_delta, float *parts, int64_t rows, int64_t H) {
#pragma omp parallel
    {
        float *mine = parts + omp_get_thread_num() * H;
#pragma omp for schedule(static)
        for (int64_t r = 0; r < rows; r++) {
            const float scale = rstd[r];
            vec dot = { 0 };
            for (int64_t i = 0; i < H; i += LANES) {
                vec g = NAME(load16)(d_out + r * H + i), v = *(const vec *)(sum + r * H + i) * scale;
                *(vec *)(mine + i) += g * v;
                dot += g * *(const vec *)(weight + i) * v;
            }
            const float mean = sum_of(dot) / (float)H;
            for (int64_t i = 0; i < H; i += LANES) {
                vec g = NAME(load16)(d_out + r * H + i), v = *(const vec *)(sum + r * H + i) * scale;
                vec d = (g * *(const vec *)(weight + i) - v * mean) * scale;
                if (d_sum) d += *(const vec *)(d_sum + r * H + i);
                *(vec *)(d_x + r * H + i) = d;
                if (d_delta) NAME(store16)(d_delta + r * H + i, d);
            }
        }
    }
}

/* out = silu(gate) * up of rows [gate I][up I]. I is a multiple of 16. */
void NAME(swiglu)(const T *gate_up, T *out, int64_t rows, int64_t I) {
#pragma omp parallel for schedule(static)
    for (int64_t r = 0; r < rows; r++)
        for (int64_t i = 0; i < I; i += LANES) {
            vec g = NAME(load16)(gate_up + r * 2 * I + i), u = NAME(load16)(gate_up + r * 2 * I + I + i);
            NAME(store16)(out + r * I + i, g * sigmoid(g) * u);
        }
}

void NAME(swiglu_back)(const T *d_out, const T *gate_up, T *d_gate_up, int64_t rows, int64_t I) {
#pragma omp parallel for schedule(static)
    for (int64_t r = 0; r < rows; r++)
        for (int64_t i = 0; i < I; i += LANES) {
            vec g = NAME(load16)(gate_up + r * 2 * I + i), u = NAME(load16)(gate_up + r * 2 * I + I + i);
            vec d = NAME(load16)(d_out + r * I + i), s = sigmoid(g);
            NAME(store16)(d_gate_up + r * 2 * I + i, d * u * s * (1.0f + g * (1.0f - s)));
            NAME(store16)(d_gate_up + r * 2 * I + I + i, d * g * s);
        }
}

static inline void NAME(turn)(const T *from, const float *cosine, const float *sine, float sign, T *to, int64_t D) {
    for (int64_t i = 0; i < D / 2; i += LANES) {
        vec a = NAME(load16)(from + i), b = NAME(load16)(from + D / 2 + i);
        vec c = *(const vec *)(cosine + i), s = *(const vec *)(sine + i) * sign;
        NAME(store16)(to + i, a * c - b * s);
        NAME(store16)(to + D / 2 + i, b * c + a * s);
    }
}

/* Rows [Q + 2K][D] of documents to head-major, rotated blocks: per document q [Q][W][D], k and v [K][W][D], where W is
   the document's length rounded up and what stands beyond the length is 0. docs: [n][5] = first row, length, W, first
   row of the blocks (in units of one head's rows), first probability (of one head's). back: the other way, with the rotation undone. D / 2 is a multiple
   of 16. */
void NAME(split)(T *rows, T *q, T *k, T *v, const float *cosine, const float *sine, const int64_t *docs, int64_t n,
                 int64_t Q, int64_t K, int64_t D, int64_t back) {
#pragma omp parallel for schedule(dynamic)
    for (int64_t task = 0; task < n * (Q + 2 * K); task++) {
        const int64_t *doc = docs + task / (Q + 2 * K) * 5, head = task % (Q + 2 * K);
        const int64_t first = doc[0], length = doc[1], W = doc[2], at = doc[3];
        T *block = head < Q       ? q + (at * Q + head * W) * D
                   : head < Q + K ? k + (at * K + (head - Q) * W) * D
                                  : v + (at * K + (head - Q - K) * W) * D;
        for (int64_t t = 0; t < length; t++) {
            T *row = rows + ((first + t) * (Q + 2 * K) + head) * D, *other = block + t * D;
            if (head >= Q + K)
                memcpy(back ? row : other, back ? other : row, D * sizeof(T));
            else if (back)
                NAME(turn)(other, cosine + t * (D / 2), sine + t * (D / 2), -1.0f, row, D);
            else
                NAME(turn)(row, cosine + t * (D / 2), sine + t * (D / 2), 1.0f, other, D);
        }
        if (!back) memset(block + length * D, 0, (W - length) * D * sizeof(T));
    }
}

/* Head-major [Q][W][D] blocks of documents to rows [Q][D] and back (then padded with 0). */
void NAME(merge)(T *rows, T *blocks, const int64_t *docs, int64_t n, int64_t Q, int64_t D, int64_t back) {
#pragma omp parallel for schedule(dynamic)
    for (int64_t task = 0; task < n * Q; task++) {
        const int64_t *doc = docs + task / Q * 5, head = task % Q;
        T *block = blocks + (doc[3] * Q + head * doc[2]) * D;
        for (int64_t t = 0; t < doc[1]; t++) {
            T *row = rows + ((doc[0] + t) * Q + head) * D;
            memcpy(back ? block + t * D : row, back ? row : block + t * D, D * sizeof(T));
        }
        if (back) memset(block + doc[1] * D, 0, (doc[2] - doc[1]) * D * sizeof(T));
    }
}

/* Causal softmax of scores [heads][W][W] times scale, in place. W is a multiple of 16. */
void NAME(causal_softmax)(T *scores, float scale, int64_t heads, int64_t W) {
#pragma omp parallel for schedule(static)
    for (int64_t row = 0; row < heads * W; row++) {
        T *s = scores + row * W;
        const int64_t last = row % W, whole = last / LANES * LANES;
        const vec limit = lanes_up_to(last - whole);
        vec top = NAME(load16)(s + whole) + limit;
        for (int64_t i = 0; i < whole; i += LANES) top = larger(top, NAME(load16)(s + i));
        const float most = max_of(top) * scale;
        float e[W];
        vec total = exp_negative((NAME(load16)(s + whole) + limit) * scale - most);
        *(vec *)(e + whole) = total;
        for (int64_t i = 0; i < whole; i += LANES) {
            vec x = exp_negative(NAME(load16)(s + i) * scale - most);
            *(vec *)(e + i) = x;
            total += x;
        }
        const float inverse = 1.0f / sum_of(total);
        for (int64_t i = 0; i <= whole; i += LANES) NAME(store16)(s + i, *(vec *)(e + i) * inverse);
        if (whole + LANES < W) memset(s + whole + LANES, 0, (W - whole - LANES) * sizeof(T));
    }
}

/* d of the scores before scale and softmax, in place of d of the probabilities. */
void NAME(causal_softmax_back)(T *d, const T *p, float scale, int64_t heads, int64_t W) {
#pragma omp parallel for schedule(static)
    for (int64_t row = 0; row < heads * W; row++) {
        const T *probability = p + row * W;
        T *g = d + row * W;
        const int64_t end = row % W / LANES * LANES + LANES;
        vec dot = { 0 };
        for (int64_t i = 0; i < end; i += LANES) dot += NAME(load16)(g + i) * NAME(load16)(probability + i);
        const float sum = sum_of(dot);
        for (int64_t i = 0; i < end; i += LANES)
            NAME(store16)(g + i, NAME(load16)(probability + i) * (NAME(load16)(g + i) - sum) * scale);
        if (end < W) memset(g + end, 0, (W - end) * sizeof(T));
    }
}

/* Per row of logits [V] times `inverse` (1 / temperature): log-sum-exp, log p(target), entropy, target is the argmax. */
void NAME(token_stats)(const T *logits, const int64_t *targets, float inverse, float *lse, float *logprob,
                       float *entropy, uint8_t *top1, int64_t rows, int64_t V) {
#pragma omp parallel for schedule(static)
    for (int64_t r = 0; r < rows; r++) {
        const T *row = logits + r * V;
        const int64_t whole = V / LANES * LANES;
        vec top = NAME(load16)(row);
        for (int64_t i = 0; i < whole; i += LANES) top = larger(top, NAME(load16)(row + i));
        float most = max_of(top);
        for (int64_t i = whole; i < V; i++) most = NAME(load1)(row + i) > most ? NAME(load1)(row + i) : most;
        const float high = most * inverse, target = NAME(load1)(row + targets[r]);
        vec total = { 0 }, weighted = { 0 };
        for (int64_t i = 0; i < whole; i += LANES) {
            vec z = NAME(load16)(row + i) * inverse - high, e = exp_negative(z);
            total += e;
            weighted += e * larger(z, z * 0.0f - 100.0f);
        }
        float sum = sum_of(total), mean = sum_of(weighted);
        for (int64_t i = whole; i < V; i++) {
            const float z = NAME(load1)(row + i) * inverse - high, e = expf(z);
            sum += e;
            mean += e * (z > -100.0f ? z : -100.0f);
        }
        const float log_sum = logf(sum);
        int64_t first = 0; /* the first of equal largest logits, as argmax has it */
        if (target == most)
            while (NAME(load1)(row + first) != most && first < targets[r]) first++;
        lse[r] = high + log_sum;
        logprob[r] = target * inverse - high - log_sum;
        entropy[r] = log_sum - mean / sum;
        top1[r] = target == most && first == targets[r];
    }
}

/* d logits = g (onehot(target) - p) / temperature, to `out`, which may be the logits. */
void NAME(token_stats_back)(const T *logits, const int64_t *targets, float inverse, const float *lse, const float *g,
                            T *out, int64_t rows, int64_t V) {
#pragma omp parallel for schedule(static)
    for (int64_t r = 0; r < rows; r++) {
        const T *row = logits + r * V;
        T *to = out + r * V;
        const float factor = g[r] * inverse, at = NAME(load1)(row + targets[r]);
        const int64_t whole = V / LANES * LANES;
        for (int64_t i = 0; i < whole; i += LANES)
            NAME(store16)(to + i, exp_negative(NAME(load16)(row + i) * inverse - lse[r]) * -factor);
        for (int64_t i = whole; i < V; i++)
            NAME(store1)(to + i, -factor * expf(NAME(load1)(row + i) * inverse - lse[r]));
        NAME(store1)(to + targets[r], factor * (1.0f - expf(at * inverse - lse[r])));
    }
}

#define SIDE 32
/* x [rows][columns] to out [columns][rows], as it is or as float. A tile is copied first: rows whose distance is a power of
   two share few places in the cache. */
#define TRANSPOSE(name, TO, GET)                                                                                        \
    void NAME(name)(const T *x, TO *out, int64_t rows, int64_t columns) {                                               \
        _Pragma("omp parallel for schedule(static) collapse(2)") for (int64_t c = 0; c < columns; c += SIDE)            \
            for (int64_t r = 0; r < rows; r += SIDE) {                                                                  \
                const int64_t high = rows - r < SIDE ? rows - r : SIDE, wide = columns - c < SIDE ? columns - c : SIDE; \
                TO tile[SIDE][SIDE + 1];                                                                                \
                for (int64_t j = 0; j < high; j++)                                                                      \
                    for (int64_t i = 0; i < wide; i++) tile[j][i] = GET(x + (r + j) * columns + c + i);                 \
                for (int64_t i = 0; i < wide; i++)                                                                      \
                    for (int64_t j = 0; j < high; j++) out[(c + i) * rows + r + j] = tile[j][i];                        \
            }                                                                                                           \
    }
#define AS_IT_IS(p) (*(p))
TRANSPOSE(transpose, T, AS_IT_IS)
TRANSPOSE(transpose_wide, float, NAME(load1))
#undef AS_IT_IS
#undef TRANSPOSE
#undef SIDE
