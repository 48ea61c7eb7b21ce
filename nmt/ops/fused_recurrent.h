/* Gated recurrent units and additive attention step by step, forward and backward: a part of fused.c. ops/gru.py and
   ops/additive.py have their meaning.

   A step's sums lie in rows of 3H float32, z, r and n, `row` numbers apart; h and the like are (B, H) float32. */

typedef struct {
    float *parts;
    int64_t row, H, h_row, share_row;
    const void *share;
    const float *h, *dh;
    const uint8_t *keep;
    float *dparts, *out;
    void *typed;
    int half;
} Gates;

INLINE void open_rows(const Gates *t, int64_t first, int64_t last, const int half)
{
    const int64_t H = t->H;
    for (int64_t b = first; b < last; b++) {
        float *z = t->parts + b * t->row, *r = z + H;
        const V kept = all(!t->keep || t->keep[b] ? 1.0f : 0.0f);
        for (int64_t at = 0; at < H; at += WIDTH) {
            const int64_t left = H - at;
            V to_z = get(z, at, left, 0), to_r = get(r, at, left, 0);
            if (t->share) {
                to_z += get(t->share, b * t->share_row + at, left, half);
                to_r += get(t->share, b * t->share_row + H + at, left, half);
            }
            to_r = logistic(to_r);
            put(z, at, logistic(to_z) * kept, left, 0);
            put(r, at, to_r, left, 0);
            put(t->typed, b * H + at, to_r * get(t->h, b * t->h_row + at, left, 0), left, half);
        }
    }
}

static void open_some(const void *task, int64_t first, int64_t last)
{
    const Gates *t = task;
    BY_HALF(t->half, open_rows(t, first, last, 0), open_rows(t, first, last, 1));
}

/* z and r of B rows from their sums, in place, to which the share (B, 2H) is added where there is one; z is 0 where keep
   (B) is. reset (B, H): r h. The type of share and reset is that of products. */
void nmt_gru_open(float *parts, int64_t row, const void *share, int64_t share_row, const float *h, int64_t h_row,
                  const uint8_t *keep, int64_t B, int64_t H, void *reset, int half, int64_t threads)
{
    const Gates task = {.parts = parts, .row = row, .H = H, .share = share, .share_row = share_row, .h = h,
                        .h_row = h_row, .keep = keep, .typed = reset, .half = half};
    share_out(open_some, &task, B, 16, threads);
}

INLINE void close_rows(const Gates *t, int64_t first, int64_t last, const int half)
{
    const int64_t H = t->H;
    for (int64_t b = first; b < last; b++) {
        float *z = t->parts + b * t->row, *n = z + 2 * H;
        for (int64_t at = 0; at < H; at += WIDTH) {
            const int64_t left = H - at;
            V new = hyperbolic_tangent(get(n, at, left, 0) + get(t->share, b * H + at, left, half));
            V h = get(t->h, b * t->h_row + at, left, 0);
            put(n, at, new, left, 0);
            put(t->out, b * H + at, h + get(z, at, left, 0) * (new - h), left, 0);
        }
    }
}

static void close_some(const void *task, int64_t first, int64_t last)
{
    const Gates *t = task;
    BY_HALF(t->half, close_rows(t, first, last, 0), close_rows(t, first, last, 1));
}

/* n = tanh(its sum + recurrent (B, H)), in place, and the state after: h + z (n - h), to out. */
void nmt_gru_close(float *parts, int64_t row, const void *recurrent, const float *h, int64_t h_row, int64_t B, int64_t H,
                   float *out, int half, int64_t threads)
{
    const Gates task = {.parts = parts, .row = row, .H = H, .share = recurrent, .h = h, .h_row = h_row, .out = out,
                        .half = half};
    share_out(close_some, &task, B, 16, threads);
}

INLINE void reopen_rows(const Gates *t, int64_t first, int64_t last, const int half)
{
    const int64_t H = t->H;
    for (int64_t b = first; b < last; b++) {
        const float *z = t->parts + b * t->row, *n = z + 2 * H;
        float *dz = t->dparts + b * t->row, *dn = dz + 2 * H;
        for (int64_t at = 0; at < H; at += WIDTH) {
            const int64_t left = H - at;
            const V own_z = get(z, at, left, 0), own_n = get(n, at, left, 0), h = get(t->h, b * t->h_row + at, left, 0);
            const V part = get(t->dh, b * H + at, left, 0) * own_z, to_n = part * (1.0f - own_n * own_n);
            put(dz, at, part * (own_n - h) * (1.0f - own_z), left, 0);
            put(dn, at, to_n, left, 0);
            put(t->typed, b * H + at, to_n, left, half);
        }
    }
}

static void reopen_some(const void *task, int64_t first, int64_t last)
{
    const Gates *t = task;
    BY_HALF(t->half, reopen_rows(t, first, last, 0), reopen_rows(t, first, last, 1));
}

/* The way back through nmt_gru_close: from dh, the gradient of the state after, those of the sums of z and n, into
   dparts, which lie as parts do; n's once more as (B, H) of the type of products. */
void nmt_gru_close_backward(const float *parts, float *dparts, int64_t row, const float *dh, const float *h,
                            int64_t h_row, int64_t B, int64_t H, void *dn, int half, int64_t threads)
{
    const Gates task = {.parts = (float *)parts, .dparts = dparts, .row = row, .H = H, .dh = dh, .h = h, .h_row = h_row,
                        .typed = dn, .half = half};
    share_out(reopen_some, &task, B, 16, threads);
}

INLINE void unopen_rows(const Gates *t, int64_t first, int64_t last, const int half)
{
    const int64_t H = t->H;
    for (int64_t b = first; b < last; b++) {
        const float *z = t->parts + b * t->row, *r = z + H;
        float *dr = t->dparts + b * t->row + H;
        for (int64_t at = 0; at < H; at += WIDTH) {
            const int64_t left = H - at;
            const V own_r = get(r, at, left, 0), drh = get(t->share, b * H + at, left, half);
            const V part = drh * own_r;
            put(dr, at, part * get(t->h, b * t->h_row + at, left, 0) * (1.0f - own_r), left, 0);
            put(t->out, b * H + at, get(t->dh, b * H + at, left, 0) * (1.0f - get(z, at, left, 0)) + part, left, 0);
        }
    }
}

static void unopen_some(const void *task, int64_t first, int64_t last)
{
    const Gates *t = task;
    BY_HALF(t->half, unopen_rows(t, first, last, 0), unopen_rows(t, first, last, 1));
}

/* The way back through nmt_gru_open: from dreset (B, H) the gradient of the sum of r, into dparts; and that of h but for
   what comes through the gates: dh (1 - z) + dreset r, to out. */
void nmt_gru_open_backward(const float *parts, float *dparts, int64_t row, const void *dreset, const float *dh,
                           const float *h, int64_t h_row, int64_t B, int64_t H, float *out, int half, int64_t threads)
{
    const Gates task = {.parts = (float *)parts, .dparts = dparts, .row = row, .H = H, .share = dreset, .dh = dh, .h = h,
                        .h_row = h_row, .out = out, .half = half};
    share_out(unopen_some, &task, B, 16, threads);
}

INLINE void step_rows(const Gates *t, int64_t first, int64_t last, const int half)
{
    const int64_t H = t->H;
    for (int64_t b = first; b < last; b++) {
        float *u = t->parts + b * t->row, *z = u + H, *r = z + H, *n = r + H;
        const V kept = all(!t->keep || t->keep[b] ? 1.0f : 0.0f);
        for (int64_t at = 0; at < H; at += WIDTH) {
            const int64_t left = H - at, from = b * t->share_row + at;
            V own_u = get(u, at, left, 0), own_z = get(z, at, left, 0), own_r = get(r, at, left, 0);
            if (t->share) {
                own_u += get(t->share, from, left, half);
                own_z += get(t->share, from + H, left, half);
                own_r += get(t->share, from + 2 * H, left, half);
                put(u, at, own_u, left, 0);
            }
            own_z = logistic(own_z) * kept;
            own_r = logistic(own_r);
            const V own_n = hyperbolic_tangent(get(n, at, left, 0) + own_r * own_u);
            const V h = get(t->h, b * t->h_row + at, left, 0);
            put(z, at, own_z, left, 0);
            put(r, at, own_r, left, 0);
            put(n, at, own_n, left, 0);
            put(t->out, b * H + at, h + own_z * (own_n - h), left, 0);
        }
    }
}

static void step_some(const void *task, int64_t first, int64_t last)
{
    const Gates *t = task;
    BY_HALF(t->half, step_rows(t, first, last, 0), step_rows(t, first, last, 1));
}

/* A step with the reset after the matrix: rows of parts are u, z, r, n, whose sums lack the share (B, 3H) of the first
   three where there is one. They become what they stand for, z 0 where keep (B) is; the state after goes to out. */
void nmt_gru_step(float *parts, int64_t row, const void *share, int64_t share_row, const float *h, int64_t h_row,
                  const uint8_t *keep, int64_t B, int64_t H, float *out, int half, int64_t threads)
{
    const Gates task = {.parts = parts, .row = row, .H = H, .share = share, .share_row = share_row, .h = h,
                        .h_row = h_row, .keep = keep, .out = out, .half = half};
    share_out(step_some, &task, B, 16, threads);
}

static void unstep_some(const void *task, int64_t first, int64_t last)
{
    const Gates *t = task;
    const int64_t H = t->H;
    for (int64_t b = first; b < last; b++) {
        const float *u = t->parts + b * t->row, *z = u + H, *r = z + H, *n = r + H;
        float *du = t->dparts + b * t->row;
        for (int64_t at = 0; at < H; at += WIDTH) {
            const int64_t left = H - at;
            const V own_z = get(z, at, left, 0), own_r = get(r, at, left, 0), own_n = get(n, at, left, 0);
            const V dh = get(t->dh, b * H + at, left, 0), part = dh * own_z, dn = part * (1.0f - own_n * own_n);
            const V h = get(t->h, b * t->h_row + at, left, 0);
            put(du, at, dn * own_r, left, 0);
            put(du, H + at, part * (own_n - h) * (1.0f - own_z), left, 0);
            put(du, 2 * H + at, dn * get(u, at, left, 0) * own_r * (1.0f - own_r), left, 0);
            put(du, 3 * H + at, dn, left, 0);
            put(t->out, b * H + at, dh - part, left, 0);
        }
    }
}

/* The way back through nmt_gru_step: the gradients of all four sums, into dparts, which lie as parts do; and that of h
   but for what comes through the matrix: dh (1 - z), to out. */
void nmt_gru_step_backward(const float *parts, float *dparts, int64_t row, const float *dh, const float *h,
                           int64_t h_row, int64_t B, int64_t H, float *out, int64_t threads)
{
    const Gates task = {.parts = (float *)parts, .dparts = dparts, .row = row, .H = H, .dh = dh, .h = h, .h_row = h_row,
                        .out = out};
    share_out(unstep_some, &task, B, 16, threads);
}

typedef struct {
    const void *keys, *query;
    const float *v, *hide, *w, *dw;
    int64_t query_row, query_step, N, A, T, B;
    float *out, *dscores, *dv;
    void *typed;
    int half;
} Looks;

INLINE void look_at(const Looks *t, int64_t first, int64_t last, const int half)
{
    const int64_t N = t->N, A = t->A;
    for (int64_t b = first; b < last; b++) {
        float *w = t->out + b * N, top = -INFINITY, sum = 0.0f;
        for (int64_t j = 0; j < N; j++) {
            V score = all(0.0f);
            if (t->hide[b * N + j] < 0.0f) {
                w[j] = -INFINITY;
                continue;
            }
            for (int64_t at = 0; at < A; at += WIDTH) {
                const int64_t left = A - at;
                V x = get(t->query, b * t->query_row + at, left, half) + get(t->keys, (b * N + j) * A + at, left, half);
                score += get(t->v, at, left, 0) * hyperbolic_tangent(x);
            }
            w[j] = sum_of(score);
            top = w[j] > top ? w[j] : top;
        }
        for (int64_t j = 0; j < N; j++) sum += w[j] = expf(w[j] - top);
        for (int64_t j = 0; j < N; j++) w[j] /= sum;
    }
}

static void look_some(const void *task, int64_t first, int64_t last)
{
    const Looks *t = task;
    BY_HALF(t->half, look_at(t, first, last, 0), look_at(t, first, last, 1));
}

/* softmax_j(v . tanh(query + key_j)) of B sentences: query (B, A), its rows query_row apart, keys (B, N, A), hide (B, N)
   0 where a key may be seen, else -inf: weights (B, N). */
void nmt_additive_look(const void *keys, const void *query, int64_t query_row, const float *v, const float *hide,
                       int64_t B, int64_t N, int64_t A, float *weights, int half, int64_t threads)
{
    const Looks task = {.keys = keys, .query = query, .query_row = query_row, .v = v, .hide = hide, .N = N, .A = A,
                        .out = weights, .half = half};
    share_out(look_some, &task, B, 8, threads);
}

INLINE void look_back_at(const Looks *t, int64_t first, int64_t last, const int half)
{
    const int64_t N = t->N, A = t->A;
    for (int64_t b = first; b < last; b++) {
        const float *w = t->w + b * N, *dw = t->dw + b * N;
        float *ds = t->dscores + b * N, mean = 0.0f;
        for (int64_t j = 0; j < N; j++) mean += w[j] * dw[j];
        for (int64_t j = 0; j < N; j++) ds[j] = w[j] * (dw[j] - mean);
        for (int64_t at = 0; at < A; at += WIDTH) {
            const int64_t left = A - at;
            const V query = get(t->query, b * t->query_row + at, left, half);
            V sum = all(0.0f);
            for (int64_t j = 0; j < N; j++) {
                if (w[j] == 0.0f) continue;
                V x = hyperbolic_tangent(query + get(t->keys, (b * N + j) * A + at, left, half));
                sum += ds[j] * (1.0f - x * x);
            }
            put(t->typed, b * A + at, sum * get(t->v, at, left, 0), left, half);
        }
    }
}

static void look_back_some(const void *task, int64_t first, int64_t last)
{
    const Looks *t = task;
    BY_HALF(t->half, look_back_at(t, first, last, 0), look_back_at(t, first, last, 1));
}

/* The way back of one look: from the gradient of its weights those of the scores (B, N), and of the query (B, A). */
void nmt_additive_look_backward(const void *keys, const void *query, int64_t query_row, const float *v,
                                const float *weights, const float *dweights, int64_t B, int64_t N, int64_t A,
                                float *dscores, void *dquery, int half, int64_t threads)
{
    const Looks task = {.keys = keys, .query = query, .query_row = query_row, .v = v, .w = weights, .dw = dweights,
                        .N = N, .A = A, .dscores = dscores, .typed = dquery, .half = half};
    share_out(look_back_some, &task, B, 8, threads);
}

INLINE void gather_looks(const Looks *t, int64_t first, int64_t last, const int half)
{
    const int64_t N = t->N, A = t->A, step = t->B * N;
    for (int64_t b = first; b < last; b++)
        for (int64_t at = 0; at < A; at += WIDTH) {
            const int64_t left = A - at;
            const V v = get(t->v, at, left, 0);
            V dv = all(0.0f);
            for (int64_t j = 0; j < N; j++) {
                const V key = get(t->keys, (b * N + j) * A + at, left, half);
                V dk = all(0.0f);
                for (int64_t i = 0; i < t->T; i++) {
                    const float ds = t->dscores[i * step + b * N + j];
                    if (ds == 0.0f) continue;
                    V x = hyperbolic_tangent(key + get(t->query, i * t->query_step + b * t->query_row + at, left, half));
                    dk += ds * (1.0f - x * x);
                    dv += ds * x;
                }
                put(t->typed, (b * N + j) * A + at, dk * v, left, half);
            }
            put(t->dv, b * A + at, dv, left, 0);
        }
}

static void gather_some(const void *task, int64_t first, int64_t last)
{
    const Looks *t = task;
    BY_HALF(t->half, gather_looks(t, first, last, 0), gather_looks(t, first, last, 1));
}

/* The gradients of the keys (B, N, A), and of v for each sentence, (B, A), from those of the scores of all T looks
   (T, B, N); query (T, B, A), `step` apart from look to look. */
void nmt_additive_keys_backward(const void *keys, const void *query, int64_t query_row, int64_t step, const float *v,
                                const float *dscores, int64_t T, int64_t B, int64_t N, int64_t A, void *dkeys, float *dv,
                                int half, int64_t threads)
{
    const Looks task = {.keys = keys, .query = query, .query_row = query_row, .query_step = step, .v = v,
                        .dscores = (float *)dscores, .T = T, .B = B, .N = N, .A = A, .typed = dkeys, .dv = dv,
                        .half = half};
    share_out(gather_some, &task, B, 4, threads);
}
