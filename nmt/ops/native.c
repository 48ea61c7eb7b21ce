/* What a search on a CPU does between its matrix products, each as one pass over memory that stays in the cache:
   ops/native.py has the functions' meaning, and the plain forms in torch that they equal.

   Every result is a function of its own row alone, summed in a fixed order: neighbours in a batch change nothing. */

#include "native_vectors.h"

/* --- logits ------------------------------------------------------------------------------------------------------- */

/* sum_j exp(x_j - top). A NaN is larger than nothing, so it is not `top`; but its exponential is NaN, and so is the sum. */
static inline float sum_exp(const float *x, int64_t n, float top)
{
    V sum = all(0.0f);
    int64_t i = 0;
    for (; i + WIDTH <= n; i += WIDTH) sum += exponential(load(x + i) - top);
    if (i < n) sum += exponential(load_some(x + i, n - i, -INFINITY) - top);
    return sum_of(sum);
}

/* x at `i` among the `held` best, which are at most n. */
static inline int64_t insert(float x, int64_t i, int64_t held, int64_t n, float *best, int64_t *where)
{
    int64_t place = held < n ? held : n - 1;
    for (; place > 0 && x > best[place - 1]; place--) {
        best[place] = best[place - 1];
        where[place] = where[place - 1];
    }
    best[place] = x;
    where[place] = i;
    return held < n ? held + 1 : n;
}

/* The n best of what the lists hold (`held` of them) and of x, whose first stands at `first`. */
static inline void top_n(const float *x, int64_t size, int64_t first, int64_t held, int64_t n, float *best,
                         int64_t *where)
{
    int64_t i = 0;
    while (i < size && held < n) {
        held = insert(x[i], first + i, held, n, best, where);
        i++;
    }
    while (i + BLOCK <= size) {
        V found = load(x + i);
        for (int64_t j = WIDTH; j < BLOCK; j += WIDTH) found = larger(load(x + i + j), found);
        if (above(found, best[n - 1]))
            for (int64_t j = i; j < i + BLOCK; j += WIDTH)
                for (uint32_t bits = above(load(x + j), best[n - 1]); bits; bits &= bits - 1) {
                    int64_t at = j + __builtin_ctz(bits);
                    if (x[at] > best[n - 1]) insert(x[at], first + at, n, n, best, where);
                }
        i += BLOCK;
    }
    for (; i < size; i++)
        if (x[i] > best[n - 1]) insert(x[i], first + i, n, n, best, where);
}

/* log sum_j exp(x_j) of each of R rows of n numbers, `stride` apart. Not finite where a row has a NaN or no finite
   sum. */
void nmt_log_normalizer(const float *x, int64_t R, int64_t n, int64_t stride, float *out)
{
    for (int64_t row = 0; row < R; row++) {
        float top = largest_of(x + row * stride, n);
        out[row] = top + logf(sum_exp(x + row * stride, n, top));
    }
}

/* The n largest of each row, largest first, of equal ones those that stand first; and where they stand. n <= size. */
void nmt_largest(const float *x, int64_t R, int64_t size, int64_t stride, int64_t n, float *values, int64_t *ids)
{
    for (int64_t row = 0; row < R; row++) top_n(x + row * stride, size, 0, 0, n, values + row * n, ids + row * n);
}

static inline void rescale(float *restrict y, int64_t n, float scale, const float *restrict bias)
{
    if (bias)
        for (int64_t j = 0; j < n; j++) y[j] = y[j] * scale + bias[j];
    else
        for (int64_t j = 0; j < n; j++) y[j] = y[j] * scale;
}

/* Columns of R rows, `size` of them, looked through while they are at hand: column 0 is the row's number `first`, and
   those before it have been seen already. values and ids (R, n): the n largest so far; sums (R): of exp of what has been
   seen, less the largest of it. Where there are scales, what is seen is x times its row's scale plus the bias, if there
   is one, and that is written in its place. n <= size where nothing has been seen. */
void nmt_survey(float *x, int64_t R, int64_t size, int64_t stride, const float *scales, const float *bias, int64_t first,
                int64_t n, float *values, int64_t *ids, float *sums)
{
    for (int64_t row = 0; row < R; row++) {
        float *at = x + row * stride, *best = values + row * n, before = first ? best[0] : 0.0f;
        if (scales) rescale(at, size, scales[row], bias);
        top_n(at, size, first, first ? n : 0, n, best, ids + row * n);
        /* A NaN that stands first is never passed: then the first is not the largest, and no number comes of it. */
        float seen = first ? sums[row] * expf(before - best[0]) : 0.0f;
        sums[row] = seen + sum_exp(at, size, best[0]);
    }
}

/* --- products of 8 bits ------------------------------------------------------------------------------------------- */

/* q = round(x / s) + 128 with s = max |x| / 127 for each of R rows of I numbers. */
void nmt_quantize(const float *x, int64_t R, int64_t I, int64_t stride, uint8_t *q, float *scales)
{
    for (int64_t row = 0; row < R; row++) {
        const float *at = x + row * stride;
        const VI magnitude = (VI){0} + 0x7FFFFFFF; /* all but the sign */
        V sizes = all(0.0f);
        int64_t i = 0;
        for (; i + WIDTH <= I; i += WIDTH) sizes = larger((V)((VI)load(at + i) & magnitude), sizes);
        if (i < I) sizes = larger((V)((VI)load_some(at + i, I - i, 0.0f) & magnitude), sizes);
        float top = largest_lane(sizes);
        float scale = (top < 1e-30f ? 1e-30f : top) / 127.0f, inverse = 1.0f / scale;
        scales[row] = scale;
        uint8_t *restrict to = q + row * I;
        for (int64_t j = 0; j < I; j++) to[j] = (uint8_t)(int32_t)(at[j] * inverse + 128.5f);
    }
}

/* y <- y s + b, or what of it is above 0, for R rows of O numbers; b may be missing. */
void nmt_dequantize(float *y, int64_t R, int64_t O, const float *scales, const float *restrict bias, int relu)
{
    for (int64_t row = 0; row < R; row++) {
        float *restrict at = y + row * O, scale = scales[row];
        if (bias && relu)
            for (int64_t j = 0; j < O; j++) {
                float sum = at[j] * scale + bias[j];
                at[j] = sum > 0.0f ? sum : 0.0f;
            }
        else
            rescale(at, O, scale, bias);
    }
}

/* What the rectified rows of nmt_dequantize are as whole numbers again, q = round(x / s) with s = max x / 255: none of
   them is below 0, so they have all of 8 bits. y is spoilt. */
void nmt_requantize(float *y, int64_t R, int64_t O, const float *scales, const float *bias, uint8_t *q, float *found)
{
    for (int64_t row = 0; row < R; row++) {
        const float *at = y + row * O;
        nmt_dequantize(y + row * O, 1, O, scales + row, bias, 1);
        float top = largest_of(at, O);
        float scale = (top < 1e-30f ? 1e-30f : top) / 255.0f, inverse = 1.0f / scale;
        found[row] = scale;
        uint8_t *restrict to = q + row * O;
        for (int64_t j = 0; j < O; j++) to[j] = (uint8_t)(int32_t)(at[j] * inverse + 0.5f);
    }
}

#include "native_listed.h" /* products with chosen rows of a matrix */

/* --- attention ---------------------------------------------------------------------------------------------------- */

/* One position of keys or values, new (B, G, K, C), into the room of a cache. */
void nmt_store(float *room, int64_t room_batch, int64_t room_head, int64_t room_position, const int64_t *rows,
               int64_t position, const float *new, int64_t new_batch, int64_t new_head, int64_t new_beam,
               int64_t B, int64_t G, int64_t K, int64_t C)
{
    for (int64_t b = 0; b < B; b++)
        for (int64_t g = 0; g < G; g++) {
            float *to = room + (rows ? rows[b] : b) * room_batch + g * room_head + position * room_position;
            for (int64_t k = 0; k < K; k++)
                memcpy(to + k * C, new + b * new_batch + g * new_head + k * new_beam, (size_t)C * sizeof(float));
        }
}

static inline float dot(const float *a, const float *b, int64_t C)
{
    V sum = all(0.0f);
    int64_t c = 0;
    for (; c + WIDTH <= C; c += WIDTH) sum += load(a + c) * load(b + c);
    float rest = 0.0f;
    for (; c < C; c++) rest += a[c] * b[c];
    return sum_of(sum) + rest;
}

/* The weights w (N) of scores that stand there, of which the largest is `top`, and with them the context (C). Value j
   lies at values + j * value_stride, plus writers[j] * between where there are writers. What may not be seen is not even
   read, it may be anything. */
static inline __attribute__((always_inline)) void weigh(
    const float *values, int64_t value_stride, const uint8_t *may, int64_t may_stride, const int64_t *writers,
    int64_t between, int64_t N, const int64_t C, float top, float *restrict w, float *restrict context)
{
    V sum = all(0.0f);
    int64_t j = 0;
    for (; j + WIDTH <= N; j += WIDTH) {
        V e = exponential(load(w + j) - top);
        store(w + j, e);
        sum += e;
    }
    if (j < N) {
        V e = exponential(load_some(w + j, N - j, -INFINITY) - top);
        store_some(w + j, e, N - j);
        sum += e;
    }
    float share = 1.0f / sum_of(sum);
    for (j = 0; j < N; j++) w[j] *= share;
    int64_t c = 0;
    for (; c + 4 * WIDTH <= C; c += 4 * WIDTH) {
        V one = all(0.0f), two = one, three = one, four = one;
        for (j = 0; j < N; j++) {
            if (may && !may[j * may_stride]) continue;
            const float *value = values + j * value_stride + (writers ? writers[j] * between : 0) + c;
            one += w[j] * load(value);
            two += w[j] * load(value + WIDTH);
            three += w[j] * load(value + 2 * WIDTH);
            four += w[j] * load(value + 3 * WIDTH);
        }
        store(context + c, one);
        store(context + c + WIDTH, two);
        store(context + c + 2 * WIDTH, three);
        store(context + c + 3 * WIDTH, four);
    }
    for (; c + WIDTH <= C; c += WIDTH) {
        V one = all(0.0f);
        for (j = 0; j < N; j++) {
            if (may && !may[j * may_stride]) continue;
            one += w[j] * load(values + j * value_stride + (writers ? writers[j] * between : 0) + c);
        }
        store(context + c, one);
    }
    for (; c < C; c++) {
        float found = 0.0f;
        for (j = 0; j < N; j++) {
            if (may && !may[j * may_stride]) continue;
            found += w[j] * values[j * value_stride + (writers ? writers[j] * between : 0) + c];
        }
        context[c] = found;
    }
}

/* How many of the N there are up to the last that may be seen: what is beyond is padding, mostly. All where none may be. */
static inline int64_t reach(const uint8_t *may, int64_t may_stride, int64_t N)
{
    int64_t n = N;
    while (n > 0 && !may[(n - 1) * may_stride]) n--;
    return n ? n : N;
}

/* One query's weights w (N) and context (C); keys lie as values do. */
static inline __attribute__((always_inline)) void attend_one(
    const float *query, const float *keys, int64_t key_stride, const float *values, int64_t value_stride,
    const uint8_t *may, int64_t may_stride, const int64_t *writers, int64_t between, int64_t N, const int64_t C,
    float scale, float *restrict w, float *restrict context)
{
    float top = -INFINITY;
    for (int64_t j = 0; j < N; j++) {
        const float *key = keys + j * key_stride + (writers ? writers[j] * between : 0);
        float score = may && !may[j * may_stride] ? -INFINITY : dot(query, key, C) * scale;
        w[j] = score;
        top = score > top ? score : top;
    }
    weigh(values, value_stride, may, may_stride, writers, between, N, C, top, w, context);
}

/* softmax(scale q k^T) v for B sentences, H heads of Q queries that share G heads of N keys and values of C numbers.

   Strides count numbers, C lie side by side. keep: bytes (or none), not 0 where a query may look. writers: none, or for
   each sentence and query N numbers w, position j then being that at w times `between` beyond it. rows: none, or for
   each sentence the one in whose place its keys and values lie. weights (B, H, Q, N),
   out (B, Q, H, C), both written whole. A query that sees nothing has NaN. */
void nmt_attend(const float *q, Strides qs, const float *k, Strides ks, const float *v, Strides vs,
                const uint8_t *keep, Strides seen, int64_t seen_key,
                const int64_t *writers, int64_t writers_batch, int64_t writers_query, int64_t between,
                const int64_t *rows,
                int64_t B, int64_t H, int64_t G, int64_t Q, int64_t N, int64_t C, float scale,
                float *weights, float *out)
{
    for (int64_t b = 0; b < B; b++)
        for (int64_t h = 0; h < H; h++) {
            const int64_t row = rows ? rows[b] : b, group = h / (H / G);
            const float *keys = k + row * ks.batch + group * ks.head, *values = v + row * vs.batch + group * vs.head;
            for (int64_t i = 0; i < Q; i++) {
                const float *query = q + b * qs.batch + h * qs.head + i * qs.position;
                const uint8_t *may = keep ? keep + b * seen.batch + h * seen.head + i * seen.position : 0;
                const int64_t *whose = writers ? writers + b * writers_batch + i * writers_query : 0;
                float *w = weights + ((b * H + h) * Q + i) * N, *context = out + ((b * Q + i) * H + h) * C;
                const int64_t n = may ? reach(may, seen_key, N) : N;
                memset(w + n, 0, (size_t)(N - n) * sizeof(float));
                /* The usual widths as constants: loops of known length are written out. */
                if (C == 64)
                    attend_one(query, keys, ks.position, values, vs.position, may, seen_key, whose, between, n, 64,
                               scale, w, context);
                else if (C == 32)
                    attend_one(query, keys, ks.position, values, vs.position, may, seen_key, whose, between, n, 32,
                               scale, w, context);
                else
                    attend_one(query, keys, ks.position, values, vs.position, may, seen_key, whose, between, n, C,
                               scale, w, context);
            }
        }
}

/* v . tanh(query + key), of A numbers each. */
static inline float additive_score(const float *query, const float *key, const float *v, int64_t A)
{
    V sum = all(0.0f);
    int64_t a = 0;
    for (; a + WIDTH <= A; a += WIDTH) sum += load(v + a) * hyperbolic_tangent(load(query + a) + load(key + a));
    if (a < A) {
        V x = load_some(query + a, A - a, 0.0f) + load_some(key + a, A - a, 0.0f);
        sum += load_some(v + a, A - a, 0.0f) * hyperbolic_tangent(x);
    }
    return sum_of(sum);
}

/* softmax_j(v . tanh(q_i + k_j)) over the keys that may be seen, and with it the mean of the values: for B sentences with
   Q queries of A numbers, N keys and N values of C numbers. may: N bytes of each sentence. weights (B, Q, N), out (B, Q,
   C). */
void nmt_additive(const float *q, Strides qs, const float *k, Strides ks, const float *values, Strides vs, const float *v,
                  const uint8_t *may, int64_t B, int64_t Q, int64_t N, int64_t A, int64_t C, float *weights, float *out)
{
    for (int64_t b = 0; b < B; b++)
        for (int64_t i = 0; i < Q; i++) {
            const float *query = q + b * qs.batch + i * qs.position, *keys = k + b * ks.batch;
            float *w = weights + (b * Q + i) * N, top = -INFINITY;
            const int64_t n = reach(may + b * N, 1, N);
            memset(w + n, 0, (size_t)(N - n) * sizeof(float));
            for (int64_t j = 0; j < n; j++) {
                w[j] = may[b * N + j] ? additive_score(query, keys + j * ks.position, v, A) : -INFINITY;
                top = w[j] > top ? w[j] : top;
            }
            weigh(values + b * vs.batch, vs.position, may + b * N, 1, 0, 0, n, C, top, w, out + (b * Q + i) * C);
        }
}

#include "native_gates.h" /* steps of recurrent layers */
#include "native_choose.h" /* what a beam goes on with */
