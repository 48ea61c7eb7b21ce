/* Gated units, forward and backward: a part of fused.c. ops/gated.py has their meaning.

   Of each row of 2M numbers one half is the gate and one is gated: swish, the first half times its logistic function is
   the gate of the second; else the logistic function of the second half that of the first. */

typedef struct {
    const void *x, *g;
    void *y, *dx;
    int64_t M;
    int swish, half;
} Gate;

INLINE void gate_rows(const Gate *t, int64_t first, int64_t last, const int half, const int swish)
{
    const int64_t M = t->M, gate = swish ? 0 : M, value = M - gate;
    const int out_half = half && swish;
    for (int64_t row = first; row < last; row++)
        for (int64_t at = 0; at < M; at += WIDTH) {
            const int64_t left = M - at, from = 2 * row * M + at;
            const V a = get(t->x, from + gate, left, half), s = logistic(a);
            V open = s;
            if (swish) open *= a;
            put(t->y, row * M + at, open * get(t->x, from + value, left, half), left, out_half);
        }
}

INLINE void ungate_rows(const Gate *t, int64_t first, int64_t last, const int half, const int swish)
{
    const int64_t M = t->M, gate = swish ? 0 : M, value = M - gate;
    const int out_half = half && swish;
    for (int64_t row = first; row < last; row++)
        for (int64_t at = 0; at < M; at += WIDTH) {
            const int64_t left = M - at, from = 2 * row * M + at;
            const V a = get(t->x, from + gate, left, half), b = get(t->x, from + value, left, half), s = logistic(a);
            const V g = get(t->g, row * M + at, left, out_half);
            V open = s, slope = 1.0f - s;
            if (swish) {
                open *= a;
                slope = 1.0f + a * slope;
            }
            put(t->dx, from + gate, g * b * s * slope, left, half);
            put(t->dx, from + value, g * open, left, half);
        }
}

static void gate_some(const void *task, int64_t first, int64_t last)
{
    const Gate *t = task;
    if (t->swish)
        BY_HALF(t->half, gate_rows(t, first, last, 0, 1), gate_rows(t, first, last, 1, 1));
    else
        BY_HALF(t->half, gate_rows(t, first, last, 0, 0), gate_rows(t, first, last, 1, 0));
}

static void ungate_some(const void *task, int64_t first, int64_t last)
{
    const Gate *t = task;
    if (t->swish)
        BY_HALF(t->half, ungate_rows(t, first, last, 0, 1), ungate_rows(t, first, last, 1, 1));
    else
        BY_HALF(t->half, ungate_rows(t, first, last, 0, 0), ungate_rows(t, first, last, 1, 0));
}

/* y (R, M) of x (R, 2M): swish in the type of x, else float32. */
void nmt_gate(const void *x, int half, int swish, int64_t R, int64_t M, void *y, int64_t threads)
{
    const Gate task = {.x = x, .half = half, .swish = swish, .M = M, .y = y};
    share_out(gate_some, &task, R, 16, threads);
}

/* From g, the gradient of y and of its type, that of x and of its. */
void nmt_gate_backward(const void *g, const void *x, int half, int swish, int64_t R, int64_t M, void *dx,
                       int64_t threads)
{
    const Gate task = {.g = g, .x = x, .half = half, .swish = swish, .M = M, .dx = dx};
    share_out(ungate_some, &task, R, 16, threads);
}
