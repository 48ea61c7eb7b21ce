/* Heads before they meet in an attention: RMSNorm over a head's width, then its pairs of neighbours turned by an angle;
   forward and backward. A part of fused.c; ops/projected.py has their meaning. */

typedef struct {
    const void *x, *g;
    Strides x_at, g_at, dx_at, turn_at; /* a turn has no heads */
    const float *gain, *turn;
    void *y, *dx;
    float *dgain;
    int64_t H, N, C, rows;
    float eps;
    int half;
} Heads;

/* Pairs of v turned by the angles whose cosine and sine stand at their places in `turn`; back where `way` is -1. */
INLINE V turned_by(V v, V turn, const float way)
{
    const V real = PAIRS(turn, 0, 0), imaginary = PAIRS(turn, 1, 1), other = PAIRS(v, 1, 0);
    const V first = all(-way), sign = low_mixed(first, -first);
    return v * real + other * imaginary * sign;
}

/* 1 / sqrt(mean of x^2 + eps) of the head that begins at `from`. */
INLINE float inverse_of(const Heads *t, int64_t from, const int half)
{
    V squares = all(0.0f);
    for (int64_t at = 0; at < t->C; at += WIDTH) {
        const V x = get(t->x, from + at, t->C - at, half);
        squares += x * x;
    }
    return 1.0f / sqrtf(sum_of(squares) / (float)t->C + t->eps);
}

INLINE void ready_rows(const Heads *t, int64_t first, int64_t last, const int half)
{
    const int64_t C = t->C;
    for (int64_t row = first; row < last; row++) {
        const int64_t b = row / t->N, n = row % t->N;
        const float *turn = t->turn ? t->turn + b * t->turn_at.batch + n * t->turn_at.position : NULL;
        for (int64_t h = 0; h < t->H; h++) {
            const int64_t from = b * t->x_at.batch + h * t->x_at.head + n * t->x_at.position;
            const float inverse = t->gain ? inverse_of(t, from, half) : 1.0f;
            for (int64_t at = 0; at < C; at += WIDTH) {
                const int64_t left = C - at;
                V x = get(t->x, from + at, left, half);
                if (t->gain) x *= inverse * get(t->gain, at, left, 0);
                if (turn) x = turned_by(x, get(turn, at, left, 0), 1.0f);
                put(t->y, (row * t->H + h) * C + at, x, left, half);
            }
        }
    }
}

static void ready_some(const void *task, int64_t first, int64_t last)
{
    const Heads *t = task;
    BY_HALF(t->half, ready_rows(t, first, last, 0), ready_rows(t, first, last, 1));
}

/* y (B, N, H, C) of heads x (B, H, N, C): times gain (C) / sqrt(mean of x^2 + eps) where there is a gain, and turned by
   the cosines and sines (N, C / 2, 2) of `turn` where there are any: C is even then. */
void nmt_heads(const void *x, Strides x_at, int half, const float *gain, float eps, const float *turn, Strides turn_at,
               int64_t B, int64_t H, int64_t N, int64_t C, void *y, int64_t threads)
{
    const Heads task = {.x = x, .x_at = x_at, .half = half, .gain = gain, .eps = eps, .turn = turn, .turn_at = turn_at,
                        .H = H, .N = N, .C = C, .y = y};
    share_out(ready_some, &task, B * N, 32, threads);
}

INLINE void unready_rows(const Heads *t, int64_t first, int64_t last, const int half)
{
    const int64_t C = t->C;
    float *dgain = t->gain ? t->dgain + first / t->rows * C : NULL, back[WIDEST_HEAD];
    if (dgain) memset(dgain, 0, (size_t)C * sizeof *dgain);
    for (int64_t row = first; row < last; row++) {
        const int64_t b = row / t->N, n = row % t->N;
        const float *turn = t->turn ? t->turn + b * t->turn_at.batch + n * t->turn_at.position : NULL;
        for (int64_t h = 0; h < t->H; h++) {
            const int64_t from = b * t->x_at.batch + h * t->x_at.head + n * t->x_at.position;
            const int64_t to = b * t->dx_at.batch + h * t->dx_at.head + n * t->dx_at.position;
            const int64_t g_from = b * t->g_at.batch + h * t->g_at.head + n * t->g_at.position;
            const float inverse = t->gain ? inverse_of(t, from, half) : 1.0f;
            V along = all(0.0f);
            for (int64_t at = 0; at < C; at += WIDTH) {
                const int64_t left = C - at;
                V g = get(t->g, g_from + at, left, half);
                if (turn) g = turned_by(g, get(turn, at, left, 0), -1.0f);
                if (!t->gain) {
                    put(t->dx, to + at, g, left, half);
                    continue;
                }
                const V own = get(t->x, from + at, left, half) * inverse, scaled = g * get(t->gain, at, left, 0);
                put(dgain, at, get(dgain, at, left, 0) + g * own, left, 0);
                put(back, at, scaled, left, 0);
                along += scaled * own;
            }
            if (!t->gain) continue;
            const float slope = sum_of(along) / (float)C;
            for (int64_t at = 0; at < C; at += WIDTH) {
                const int64_t left = C - at;
                const V own = get(t->x, from + at, left, half) * inverse;
                put(t->dx, to + at, (get(back, at, left, 0) - own * slope) * inverse, left, half);
            }
        }
    }
}

static void unready_some(const void *task, int64_t first, int64_t last)
{
    const Heads *t = task;
    BY_HALF(t->half, unready_rows(t, first, last, 0), unready_rows(t, first, last, 1));
}

/* From g, the gradient of y as heads (B, H, N, C), that of x, which lies as dx_at says; and with a gain that of it, of
   `rows` positions at a time, (ceil(B N / rows), C), C being WIDEST_HEAD at most. */
void nmt_heads_backward(const void *g, Strides g_at, const void *x, Strides x_at, int half, const float *gain, float eps,
                        const float *turn, Strides turn_at, int64_t B, int64_t H, int64_t N, int64_t C, int64_t rows,
                        void *dx, Strides dx_at, float *dgain, int64_t threads)
{
    const Heads task = {.g = g, .g_at = g_at, .x = x, .x_at = x_at, .half = half, .gain = gain, .eps = eps,
                        .turn = turn, .turn_at = turn_at, .H = H, .N = N, .C = C, .rows = rows, .dx = dx,
                        .dx_at = dx_at, .dgain = dgain};
    share_out(unready_some, &task, B * N, rows, threads);
}
