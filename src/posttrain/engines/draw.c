/* One draw per row from softmax(x) by inverse CDF, with its log-probability: the largest logit, the weights e^(x - largest)
   by vectors, and the place where their running sum passes the target. */

#include "vectors.h"

#define STRETCH 1024 /* logits whose weights are added up before the target is looked for */

/* The weights of LANES logits; beyond n they are 0. */
static inline vec weights(const float *x, int64_t n, float top) {
    vec v;
    for (int j = 0; j < LANES; j++) v[j] = j < n ? x[j] : -INFINITY;
    return exp_negative(v - top);
}

static inline vec whole_weights(const float *x, float top) { return exp_negative(*(const vec *)x - top); }

static float largest(const float *x, int64_t V) {
    float top = x[0];
    int64_t i = 0;
    if (V >= LANES) {
        vec most = *(const vec *)x;
        for (i = LANES; i + LANES <= V; i += LANES) {
            vec v = *(const vec *)(x + i);
            most = choose(v > most, v, most);
        }
        for (int j = 0; j < LANES; j++) top = most[j] > top ? most[j] : top;
    }
    for (; i < V; i++) top = x[i] > top ? x[i] : top;
    return top;
}

static float stretch_sum(const float *x, int64_t n, float top) {
    vec sum = { 0 };
    int64_t i = 0;
    for (; i + LANES <= n; i += LANES) sum += whole_weights(x + i, top);
    if (i < n) sum += weights(x + i, n - i, top);
    return sum_of(sum);
}

/* x [rows, V]; uniform [rows] in [0, 1). token [rows]: never one of weight 0. logprob [rows]: NaN where x has one.
   sums: scratch [rows, stretches], where stretches = V / STRETCH rounded up. */
void draw(const float *x, const float *uniform, int64_t *token, float *logprob, float *sums, int64_t rows, int64_t V) {
    const int64_t stretches = (V + STRETCH - 1) / STRETCH;
#pragma omp parallel for schedule(static) if (rows * V > 16384)
    for (int64_t row = 0; row < rows; row++) {
        const float *in = x + row * V, top = largest(in, V);
        float *sum = sums + row * stretches;
        double total = 0;
        for (int64_t s = 0; s < stretches; s++) {
            const int64_t at = s * STRETCH;
            total += sum[s] = stretch_sum(in + at, V - at < STRETCH ? V - at : STRETCH, top);
        }
        const double target = uniform[row] * total;
        double before = 0;
        int64_t held = 0; /* the stretch that holds the target, else the last with any weight */
        for (int64_t s = 0; s < stretches; s++) {
            if (sum[s] > 0) held = s;
            if (before + sum[s] > target) break;
            before += sum[s];
        }
        /* Sums by lanes and one by one round differently: a stretch that ends short of the target gives its last. */
        int64_t found = held * STRETCH;
        for (int64_t i = found; i < V && i < (held + 1) * STRETCH && before <= target; i += LANES) {
            vec w = weights(in + i, V - i, top);
            for (int j = 0; j < LANES && before <= target; j++)
                if (w[j] > 0) found = i + j, before += w[j];
        }
        token[row] = found;
        logprob[row] = in[token[row]] - top - (float)log(total);
    }
}
