/* One decode step's small operations on the CPU, float32: RMS norm, attention over the cache, gated activation.

   PyTorch has these as ten operations per layer, each with its own start-up cost and its own pass over memory, and its
   batched products are made for larger matrices. HEAD_DIM (D) and GROUP (query heads per key/value head) are compiled in.
   Axes: B rows, Q query heads, K key/value heads, H hidden, I intermediate. */

#include <math.h>
#include <stdint.h>
#include <string.h>

#define D HEAD_DIM
#define G GROUP
#define HALF (D / 2)

/* e^x for x <= 0 to 2 units in the last place, in a form that compilers vectorise. Below -87 it is 0. */
static inline float exp_negative(float x) {
    float clipped = x < -87.0f ? -87.0f : x;
    float whole = nearbyintf(clipped * 1.44269504f);
    float rest = fmaf(whole, -0.693359375f, clipped);
    rest = fmaf(whole, 2.12194440e-4f, rest);
    float p = 1.9875691500e-4f;
    p = fmaf(p, rest, 1.3981999507e-3f);
    p = fmaf(p, rest, 8.3334519073e-3f);
    p = fmaf(p, rest, 4.1665795894e-2f);
    p = fmaf(p, rest, 1.6666665459e-1f);
    p = fmaf(p, rest, 5.0000001201e-1f);
    p = fmaf(p * rest, rest, rest) + 1.0f;
    union { int32_t i; float f; } power = { ((int32_t)whole + 127) << 23 };
    return x < -87.0f ? 0.0f : p * power.f;
}

/* out[b] = x[b] / rms(x[b]) * weight, rows of H. */
void rms_norm(const float *x, const float *weight, float *out, int64_t rows, int64_t H, float eps) {
#pragma omp parallel for schedule(static) if (rows * H > 8192)
    for (int64_t b = 0; b < rows; b++) {
        const float *in = x + b * H;
        float *to = out + b * H;
        float sum = 0.0f;
        for (int64_t i = 0; i < H; i++) sum += in[i] * in[i];
        float scale = 1.0f / sqrtf(sum / (float)H + eps);
        for (int64_t i = 0; i < H; i++) to[i] = in[i] * scale * weight[i];
    }
}

/* out[b] = silu(gate[b]) * up[b], where gate_up[b] = gate then up, I each. */
void silu_product(const float *gate_up, float *out, int64_t rows, int64_t I) {
#pragma omp parallel for schedule(static) if (rows * I > 8192)
    for (int64_t b = 0; b < rows; b++) {
        const float *gate = gate_up + b * 2 * I, *up = gate + I;
        float *to = out + b * I;
        for (int64_t i = 0; i < I; i++) {
            float e = exp_negative(-fabsf(gate[i]));
            float sigmoid = (gate[i] < 0.0f ? e : 1.0f) / (1.0f + e);
            to[i] = gate[i] * sigmoid * up[i];
        }
    }
}

/* Optional RMS norm over the head, then rotation of neighbouring pairs by complex angles [D / 2][2]. */
static inline void turn(const float *from, const float *angles, const float *norm, float eps, float *to) {
    float scaled[D];
    memcpy(scaled, from, sizeof scaled);
    if (norm) {
        float sum = 0.0f;
        for (int i = 0; i < D; i++) sum += scaled[i] * scaled[i];
        float scale = 1.0f / sqrtf(sum / (float)D + eps);
        for (int i = 0; i < D; i++) scaled[i] *= scale * norm[i];
    }
    for (int i = 0; i < HALF; i++) {
        float re = scaled[2 * i], im = scaled[2 * i + 1], c = angles[2 * i], s = angles[2 * i + 1];
        to[2 * i] = re * c - im * s;
        to[2 * i + 1] = re * s + im * c;
    }
}

/* Attention of one new token per row. qkv [B][Q + 2K][D] are the plain projections; the new key and value are written
   to position lengths[b] of their row, and out [B][Q][D] is the mix over positions 0..lengths[b].
   keys, values: this layer's cache; a row is row_stride floats, a head head_stride. scores: scratch [B][K][G][longest]. */
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
        for (int64_t t = 0; t <= last; t++) {
            for (int g = 0; g < G; g++) {
                float sum = 0.0f;
                for (int i = 0; i < D; i++) sum += q[g][i] * key[t * D + i];
                score[g * longest + t] = sum;
            }
        }
        float mix[G][D];
        memset(mix, 0, sizeof mix);
        for (int g = 0; g < G; g++) {
            float *s = score + g * longest, top = s[0], total = 0.0f;
            for (int64_t t = 1; t <= last; t++) top = s[t] > top ? s[t] : top;
            for (int64_t t = 0; t <= last; t++) s[t] = exp_negative(s[t] - top);
            for (int64_t t = 0; t <= last; t++) total += s[t];
            float inverse = 1.0f / total;
            for (int64_t t = 0; t <= last; t++) s[t] *= inverse;
        }
        for (int64_t t = 0; t <= last; t++)
            for (int g = 0; g < G; g++)
                for (int i = 0; i < D; i++) mix[g][i] += score[g * longest + t] * value[t * D + i];
        memcpy(out + (b * Q + h * G) * D, mix, sizeof mix);
    }
}
