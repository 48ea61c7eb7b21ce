/* Attention of short sentences, forward and backward: a part of fused.c. ops/dot.py has its meaning.

   A head's queries, keys and values are copied side by side in float32, rows made up with zeros to a multiple of WIDTH,
   and all products are made from there: they are small enough to stay in a core's own cache. */

/* out (R, W) = or += A (R, K) times B (K, W), W a multiple of WIDTH. A's row r and column k lie at r * row + k * column,
   B's rows W apart and out's too. */
INLINE void tile(const float *a, int64_t row, int64_t column, const float *b, int64_t width, int64_t K, float *out,
                 const int rows, const int vectors, const int added)
{
    V sums[8][4];
#pragma GCC unroll 8
    for (int r = 0; r < rows; r++)
#pragma GCC unroll 4
        for (int v = 0; v < vectors; v++) sums[r][v] = added ? load(out + r * width + v * WIDTH) : all(0.0f);
    for (int64_t k = 0; k < K; k++) {
        V part[4];
#pragma GCC unroll 4
        for (int v = 0; v < vectors; v++) part[v] = load(b + k * width + v * WIDTH);
#pragma GCC unroll 8
        for (int r = 0; r < rows; r++) {
            const V x = all(a[r * row + k * column]);
#pragma GCC unroll 4
            for (int v = 0; v < vectors; v++) sums[r][v] += x * part[v];
        }
    }
#pragma GCC unroll 8
    for (int r = 0; r < rows; r++)
#pragma GCC unroll 4
        for (int v = 0; v < vectors; v++) store(out + r * width + v * WIDTH, sums[r][v]);
}

INLINE void strip(const float *a, int64_t row, int64_t column, const float *b, int64_t width, int64_t R, int64_t K,
                  float *out, const int vectors, const int added)
{
    int64_t r = 0;
    if (8 * vectors <= ROOM)
        for (; r + 8 <= R; r += 8) tile(a + r * row, row, column, b, width, K, out + r * width, 8, vectors, added);
    for (; r + 4 <= R; r += 4) tile(a + r * row, row, column, b, width, K, out + r * width, 4, vectors, added);
    if (r + 2 <= R) {
        tile(a + r * row, row, column, b, width, K, out + r * width, 2, vectors, added);
        r += 2;
    }
    if (r < R) tile(a + r * row, row, column, b, width, K, out + r * width, 1, vectors, added);
}

INLINE void product_of(const float *a, int64_t row, int64_t column, const float *b, int64_t width, int64_t R, int64_t K,
                       float *out, const int added)
{
    int64_t at = 0;
    if (4 * 4 <= ROOM)
        for (; at + 4 * WIDTH <= width; at += 4 * WIDTH)
            strip(a, row, column, b + at, width, R, K, out + at, 4, added);
    for (; at + 2 * WIDTH <= width; at += 2 * WIDTH)
        strip(a, row, column, b + at, width, R, K, out + at, 2, added);
    if (at < width) strip(a, row, column, b + at, width, R, K, out + at, 1, added);
}

static void multiply(const float *a, int64_t row, int64_t column, const float *b, int64_t width, int64_t R, int64_t K,
                     float *out)
{
    product_of(a, row, column, b, width, R, K, out, 0);
}

static void multiply_add(const float *a, int64_t row, int64_t column, const float *b, int64_t width, int64_t R, int64_t K,
                         float *out)
{
    product_of(a, row, column, b, width, R, K, out, 1);
}

typedef struct {
    const void *q, *k, *v, *d_context;
    Strides qs, ks, vs, d_context_s, dqs, dks, dvs, seen;
    const uint8_t *keep;
    int64_t seen_key, H, G, Q, N, C, wide_n, wide_c; /* wide: up to a multiple of WIDTH */
    float scale, *weights;
    void *context, *dq, *dk, *dv;
    Drop drop;
    int half, *failed;
} Attention;

/* Where head h of sentence b begins. */
INLINE int64_t head_of(Strides s, int64_t b, int64_t h) { return b * s.batch + h * s.head; }

/* Asks the caches for n rows of C numbers, to be read or, with `write`, written soon: they lie too far apart for a
   processor to foresee. */
INLINE void expect(const void *x, int64_t first, int64_t stride, int64_t n, const Attention *t, const int write,
                   const int half)
{
    const int64_t size = half ? 2 : 4;
    for (int64_t j = 0; j < n; j++) {
        const char *row = (const char *)x + (first + j * stride) * size;
        for (int64_t at = 0; at < t->C * size; at += 64)
            if (write)
                __builtin_prefetch(row + at, 1, 3);
            else
                __builtin_prefetch(row + at, 0, 2);
    }
}

/* n rows of C numbers, each times scale: side by side (n, wide C). */
INLINE void gather_rows(const void *x, int64_t first, int64_t stride, int64_t n, const Attention *t, float scale, float *to,
                        const int half)
{
    for (int64_t j = 0; j < n; j++)
        for (int64_t c = 0; c < t->C; c += WIDTH)
            store(to + j * t->wide_c + c, get(x, first + j * stride + c, t->C - c, half) * scale);
}

/* WIDTH rows of as many numbers as columns: each vector of the first half is mixed with its fellow of the second, and
   that as often as WIDTH can be halved. */
INLINE void transpose(V *x)
{
    V mixed[WIDTH];
#pragma GCC unroll 4
    for (int left = WIDTH; left > 1; left /= 2) {
#pragma GCC unroll 8
        for (int i = 0; i < WIDTH / 2; i++) {
            mixed[2 * i] = low_mixed(x[i], x[i + WIDTH / 2]);
            mixed[2 * i + 1] = high_mixed(x[i], x[i + WIDTH / 2]);
        }
#pragma GCC unroll 16
        for (int i = 0; i < WIDTH; i++) x[i] = mixed[i];
    }
}

/* The same as columns (wide C, wide N), zeros beyond the n-th. */
INLINE void gather_columns(const void *x, int64_t first, int64_t stride, int64_t n, const Attention *t, float *to,
                           const int half)
{
    const int64_t width = t->wide_n;
    for (int64_t j = 0; j < width; j += WIDTH)
        for (int64_t c = 0; c < t->wide_c; c += WIDTH) {
            V lanes[WIDTH];
#pragma GCC unroll 16
            for (int64_t l = 0; l < WIDTH; l++)
                lanes[l] = j + l < n ? get(x, first + (j + l) * stride + c, t->C - c, half) : all(0.0f);
            transpose(lanes);
#pragma GCC unroll 16
            for (int64_t l = 0; l < WIDTH; l++) store(to + (c + l) * width + j, lanes[l]);
        }
}

INLINE void scatter_rows(const float *from, int64_t n, const Attention *t, float scale, void *x, int64_t first,
                         int64_t stride, const int half)
{
    for (int64_t j = 0; j < n; j++)
        for (int64_t c = 0; c < t->C; c += WIDTH)
            put(x, first + j * stride + c, load(from + j * t->wide_c + c) * scale, t->C - c, half);
}

/* 0 for what query i of sentence b may see, -inf for the rest and beyond the N-th. */
INLINE void hide(const Attention *t, int64_t b, int64_t i, float *hidden)
{
    const uint8_t *may = t->keep ? t->keep + b * t->seen.batch + i * t->seen.position : 0;
    for (int64_t j = 0; j < t->N; j++) hidden[j] = !may || may[j * t->seen_key] ? 0.0f : -INFINITY;
    for (int64_t j = t->N; j < t->wide_n; j++) hidden[j] = -INFINITY;
}

/* Weights (Q, wide N) as dropout leaves them, of the row-th of all rows on; into `to`, which may be x. */
INLINE void drop_weights(const Attention *t, int64_t row, const float *x, float *to)
{
    const int64_t padded = whole_blocks(t->N);
    for (int64_t i = 0; i < t->Q; i++)
        for (int64_t at = 0; at < t->wide_n; at += 2 * HASHES)
            for (int64_t l = 0; l < HASHES && at + l < t->wide_n; l += WIDTH) {
                const VU bits = block_bits((row + i) * padded + at, l, t->drop);
                const int64_t from = i * t->wide_n + at + l;
                store(to + from, dropped(load(x + from), bits, 0, t->drop));
                if (at + l + HASHES < t->wide_n)
                    store(to + from + HASHES, dropped(load(x + from + HASHES), bits, 1, t->drop));
            }
}

INLINE void softmax_row(float *x, const float *hidden, int64_t width)
{
    V top = all(-INFINITY), sum = all(0.0f);
    for (int64_t at = 0; at < width; at += WIDTH) {
        V v = load(x + at) + load(hidden + at);
        store(x + at, v);
        top = larger(v, top);
    }
    const float most = largest_lane(top);
    for (int64_t at = 0; at < width; at += WIDTH) {
        V e = exponential(load(x + at) - most);
        store(x + at, e);
        sum += e;
    }
    const float share = 1.0f / sum_of(sum);
    for (int64_t at = 0; at < width; at += WIDTH) store(x + at, load(x + at) * share);
}

static float *scratch(const Attention *t, int64_t rows, int64_t squares)
{
    const int64_t numbers = rows * t->wide_c + squares * t->Q * t->wide_n + t->wide_n;
    float *made = aligned_alloc(64, (size_t)((numbers * (int64_t)sizeof(float) + 63) / 64 * 64));
    if (!made) *t->failed = 1;
    return made;
}

/* All that is read for the head after head h of sentence b, of those before sentence `last`. */
INLINE void expect_next(const Attention *t, int64_t b, int64_t h, int64_t last, const int back, const int half)
{
    if (++h == t->H) h = 0, b++;
    if (b == last) return;
    const int64_t shared = t->H / t->G, g = h / shared;
    expect(t->q, head_of(t->qs, b, h), t->qs.position, t->Q, t, 0, half);
    if (back) expect(t->d_context, head_of(t->d_context_s, b, h), t->d_context_s.position, t->Q, t, 0, half);
    if (h % shared) return;
    expect(t->k, head_of(t->ks, b, g), t->ks.position, t->N, t, 0, half);
    expect(t->v, head_of(t->vs, b, g), t->vs.position, t->N, t, 0, half);
}

INLINE void attend_sentences(const Attention *t, int64_t first, int64_t last, const int half)
{
    const int64_t Q = t->Q, N = t->N, wide_n = t->wide_n, wide_c = t->wide_c;
    float *q = scratch(t, 2 * Q + wide_n + N, 1);
    if (!q) return;
    float *context = q + Q * wide_c, *keys = context + Q * wide_c, *values = keys + wide_n * wide_c;
    float *w = values + N * wide_c, *hidden = w + Q * wide_n;
    for (int64_t b = first; b < last; b++)
        for (int64_t h = 0; h < t->H; h++) {
            const int64_t shared = t->H / t->G, g = h / shared, row = (b * t->H + h) * Q;
            if (h % shared == 0) {
                gather_columns(t->k, head_of(t->ks, b, g), t->ks.position, N, t, keys, half);
                gather_rows(t->v, head_of(t->vs, b, g), t->vs.position, N, t, 1.0f, values, half);
            }
            gather_rows(t->q, head_of(t->qs, b, h), t->qs.position, Q, t, t->scale, q, half);
            expect_next(t, b, h, last, 0, half);
            expect(t->context, (b * Q * t->H + h) * t->C, t->H * t->C, Q, t, 1, half);
            multiply(q, wide_c, 1, keys, wide_n, Q, wide_c, w);
            for (int64_t i = 0; i < Q; i++) {
                if (i == 0 || t->seen.position) hide(t, b, i, hidden);
                softmax_row(w + i * wide_n, hidden, wide_n);
                memcpy(t->weights + (row + i) * N, w + i * wide_n, (size_t)N * sizeof *w);
            }
            if (t->drop.threshold) drop_weights(t, row, w, w);
            multiply(w, wide_n, 1, values, wide_c, Q, N, context);
            scatter_rows(context, Q, t, 1.0f, t->context, (b * Q * t->H + h) * t->C, t->H * t->C, half);
        }
    free(q);
}

static void attend_some(const void *task, int64_t first, int64_t last)
{
    const Attention *t = task;
    BY_HALF(t->half, attend_sentences(t, first, last, 0), attend_sentences(t, first, last, 1));
}

INLINE void attend_back(const Attention *t, int64_t first, int64_t last, const int half)
{
    const int64_t Q = t->Q, N = t->N, wide_n = t->wide_n, wide_c = t->wide_c;
    float *q = scratch(t, 3 * Q + 3 * N + wide_n, 3);
    if (!q) return;
    float *d = q + Q * wide_c, *dq = d + Q * wide_c, *keys = dq + Q * wide_c, *values = keys + N * wide_c;
    float *dk = values + wide_n * wide_c, *dv = dk + N * wide_c;
    float *w = dv + N * wide_c, *left = w + Q * wide_n, *ds = left + Q * wide_n;
    const int64_t shared = t->H / t->G;
    for (int64_t b = first; b < last; b++)
        for (int64_t h = 0; h < t->H; h++) {
            const int64_t g = h / shared, row = (b * t->H + h) * Q;
            if (h % shared == 0) {
                gather_rows(t->k, head_of(t->ks, b, g), t->ks.position, N, t, 1.0f, keys, half);
                gather_columns(t->v, head_of(t->vs, b, g), t->vs.position, N, t, values, half);
                memset(dk, 0, (size_t)(N * wide_c) * sizeof *dk);
                memset(dv, 0, (size_t)(N * wide_c) * sizeof *dv);
            }
            gather_rows(t->q, head_of(t->qs, b, h), t->qs.position, Q, t, t->scale, q, half);
            gather_rows(t->d_context, head_of(t->d_context_s, b, h), t->d_context_s.position, Q, t, 1.0f, d, half);
            expect_next(t, b, h, last, 1, half);
            expect(t->dq, head_of(t->dqs, b, h), t->dqs.position, Q, t, 1, half);
            if ((h + 1) % shared == 0) {
                expect(t->dk, head_of(t->dks, b, g), t->dks.position, N, t, 1, half);
                expect(t->dv, head_of(t->dvs, b, g), t->dvs.position, N, t, 1, half);
            }
            multiply(d, wide_c, 1, values, wide_n, Q, wide_c, ds); /* of the weights, for now */
            for (int64_t i = 0; i < Q; i++) {
                memcpy(w + i * wide_n, t->weights + (row + i) * N, (size_t)N * sizeof *w);
                memset(w + i * wide_n + N, 0, (size_t)(wide_n - N) * sizeof *w);
            }
            if (t->drop.threshold) {
                drop_weights(t, row, w, left);
                drop_weights(t, row, ds, ds);
            }
            multiply_add(t->drop.threshold ? left : w, 1, wide_n, d, wide_c, N, Q, dv);
            for (int64_t i = 0; i < Q; i++) {
                float *at = ds + i * wide_n, *own = w + i * wide_n;
                V sum = all(0.0f);
                for (int64_t j = 0; j < wide_n; j += WIDTH) sum += load(at + j) * load(own + j);
                const float mean = sum_of(sum);
                for (int64_t j = 0; j < wide_n; j += WIDTH) store(at + j, load(own + j) * (load(at + j) - mean));
            }
            multiply(ds, wide_n, 1, keys, wide_c, Q, N, dq);
            multiply_add(ds, 1, wide_n, q, wide_c, N, Q, dk);
            scatter_rows(dq, Q, t, t->scale, t->dq, head_of(t->dqs, b, h), t->dqs.position, half);
            if ((h + 1) % shared == 0) {
                scatter_rows(dk, N, t, 1.0f, t->dk, head_of(t->dks, b, g), t->dks.position, half);
                scatter_rows(dv, N, t, 1.0f, t->dv, head_of(t->dvs, b, g), t->dvs.position, half);
            }
        }
    free(q);
}

static void attend_back_some(const void *task, int64_t first, int64_t last)
{
    const Attention *t = task;
    BY_HALF(t->half, attend_back(t, first, last, 0), attend_back(t, first, last, 1));
}

static int64_t whole_vectors(int64_t n) { return (n + WIDTH - 1) / WIDTH * WIDTH; }

/* softmax(scale q k^T) v of B sentences, H heads of Q queries that share G heads of N keys and values of C numbers, which
   lie side by side; strides count numbers. keep: bytes (or none), not 0 where a query may look. weights (B, H, Q, N)
   float32, before dropout; context (B, Q, H, C). Gives 1 where there was no memory for it, else 0. */
int nmt_attention(const void *q, Strides qs, const void *k, Strides ks, const void *v, Strides vs, int half,
                  const uint8_t *keep, Strides seen, int64_t seen_key, int64_t B, int64_t H, int64_t G, int64_t Q,
                  int64_t N, int64_t C, float scale, Drop drop, float *weights, void *context, int64_t threads)
{
    int failed = 0;
    const Attention task = {.q = q, .qs = qs, .k = k, .ks = ks, .v = v, .vs = vs, .half = half, .keep = keep,
                            .seen = seen, .seen_key = seen_key, .H = H, .G = G, .Q = Q, .N = N, .C = C,
                            .wide_n = whole_vectors(N), .wide_c = whole_vectors(C), .scale = scale, .drop = drop,
                            .weights = weights, .context = context, .failed = &failed};
    share_out(attend_some, &task, B, 4, threads);
    return failed;
}

/* The gradients of q, k and v from that of the context. */
int nmt_attention_backward(const void *q, Strides qs, const void *k, Strides ks, const void *v, Strides vs, int half,
                           const float *weights, const void *d_context, Strides d_context_s, int64_t B, int64_t H,
                           int64_t G, int64_t Q, int64_t N, int64_t C, float scale, Drop drop, void *dq, Strides dqs,
                           void *dk, Strides dks, void *dv, Strides dvs, int64_t threads)
{
    int failed = 0;
    const Attention task = {.q = q, .qs = qs, .k = k, .ks = ks, .v = v, .vs = vs, .half = half,
                            .weights = (float *)weights, .d_context = d_context, .d_context_s = d_context_s, .H = H,
                            .G = G, .Q = Q, .N = N, .C = C, .wide_n = whole_vectors(N), .wide_c = whole_vectors(C),
                            .scale = scale, .drop = drop, .dq = dq, .dqs = dqs, .dk = dk, .dks = dks, .dv = dv,
                            .dvs = dvs, .failed = &failed};
    share_out(attend_back_some, &task, B, 4, threads);
    return failed;
}
