/* Steps of long short-term memory, forward and backward: a part of fused.c. ops/lstm.py has their meaning.

   A step's sums lie in rows of 4H float32, i, f, g and o, `row` numbers apart; h, c and the like are (B, H) float32. */

typedef struct {
    float *gates;
    int64_t row, H, share_row;
    const void *share;
    const float *h, *c, *after, *more;
    const uint8_t *keep;
    float *h_after, *c_after, *dh, *dc;
    void *dgates;
    int half;
} Cells;

INLINE void cell_rows(const Cells *t, int64_t first, int64_t last, const int half)
{
    const int64_t H = t->H;
    for (int64_t b = first; b < last; b++) {
        float *i = t->gates + b * t->row, *f = i + H, *g = f + H, *o = g + H;
        const int passes = t->keep && !t->keep[b];
        for (int64_t at = 0; at < H; at += WIDTH) {
            const int64_t left = H - at, from = b * t->share_row + at;
            const V c = get(t->c, b * H + at, left, 0);
            if (passes) {
                put(i, at, all(0.0f), left, 0);
                put(f, at, all(1.0f), left, 0);
                put(g, at, all(0.0f), left, 0);
                put(o, at, all(0.0f), left, 0);
                put(t->c_after, b * H + at, c, left, 0);
                put(t->h_after, b * H + at, get(t->h, b * H + at, left, 0), left, 0);
                continue;
            }
            V own_i = get(i, at, left, 0), own_f = get(f, at, left, 0);
            V own_g = get(g, at, left, 0), own_o = get(o, at, left, 0);
            if (t->share) {
                own_i += get(t->share, from, left, half);
                own_f += get(t->share, from + H, left, half);
                own_g += get(t->share, from + 2 * H, left, half);
                own_o += get(t->share, from + 3 * H, left, half);
            }
            own_i = logistic(own_i);
            own_f = logistic(own_f);
            own_g = hyperbolic_tangent(own_g);
            own_o = logistic(own_o);
            const V after = own_f * c + own_i * own_g;
            put(i, at, own_i, left, 0);
            put(f, at, own_f, left, 0);
            put(g, at, own_g, left, 0);
            put(o, at, own_o, left, 0);
            put(t->c_after, b * H + at, after, left, 0);
            put(t->h_after, b * H + at, own_o * hyperbolic_tangent(after), left, 0);
        }
    }
}

static void cell_some(const void *task, int64_t first, int64_t last)
{
    const Cells *t = task;
    BY_HALF(t->half, cell_rows(t, first, last, 0), cell_rows(t, first, last, 1));
}

/* i, f, g and o of B rows from their sums, in place, to which the share (B, 4H) of the state is added where there is one;
   and h and c after the step. Where keep (B) is 0 both stay what they were, and the gates are what makes that so of c:
   0, 1, 0 and 0. */
void nmt_lstm_step(float *gates, int64_t row, const void *share, int64_t share_row, const float *h, const float *c,
                   const uint8_t *keep, int64_t B, int64_t H, float *h_after, float *c_after, int half, int64_t threads)
{
    const Cells task = {.gates = gates, .row = row, .H = H, .share = share, .share_row = share_row, .h = h, .c = c,
                        .keep = keep, .h_after = h_after, .c_after = c_after, .half = half};
    share_out(cell_some, &task, B, 16, threads);
}

INLINE void uncell_rows(const Cells *t, int64_t first, int64_t last, const int half)
{
    const int64_t H = t->H;
    for (int64_t b = first; b < last; b++) {
        const float *i = t->gates + b * t->row, *f = i + H, *g = f + H, *o = g + H;
        const int passes = t->keep && !t->keep[b];
        for (int64_t at = 0; at < H; at += WIDTH) {
            const int64_t left = H - at, own = b * H + at, to = 4 * b * H + at;
            const V own_i = get(i, at, left, 0), own_f = get(f, at, left, 0);
            const V own_g = get(g, at, left, 0), own_o = get(o, at, left, 0);
            V dh = get(t->dh, own, left, 0), dc = get(t->dc, own, left, 0);
            if (t->more) dh += get(t->more, own, left, 0);
            const V tanh_c = hyperbolic_tangent(get(t->after, own, left, 0));
            dc += dh * own_o * (1.0f - tanh_c * tanh_c);
            put(t->dgates, to, dc * own_g * own_i * (1.0f - own_i), left, half);
            put(t->dgates, to + H, dc * get(t->c, own, left, 0) * own_f * (1.0f - own_f), left, half);
            put(t->dgates, to + 2 * H, dc * own_i * (1.0f - own_g * own_g), left, half);
            put(t->dgates, to + 3 * H, dh * tanh_c * own_o * (1.0f - own_o), left, half);
            put(t->dc, own, dc * own_f, left, 0);
            put(t->dh, own, passes ? dh : all(0.0f), left, 0);
        }
    }
}

static void uncell_some(const void *task, int64_t first, int64_t last)
{
    const Cells *t = task;
    BY_HALF(t->half, uncell_rows(t, first, last, 0), uncell_rows(t, first, last, 1));
}

/* The way back through nmt_lstm_step, c being the cells before it and `after` those after it: from dh, to which `more`
   is added where there is one, and dc the gradients of the sums, side by side in dgates (B, 4H) of the type of products.
   dc becomes that of the cells before, and dh what of the states' reaches those before without the matrix: all of it
   where keep (B) is 0, else nothing. */
void nmt_lstm_step_backward(const float *gates, int64_t row, const float *c, const float *after, const uint8_t *keep,
                            const float *more, int64_t B, int64_t H, float *dh, float *dc, void *dgates, int half,
                            int64_t threads)
{
    const Cells task = {.gates = (float *)gates, .row = row, .H = H, .c = c, .after = after, .keep = keep, .more = more,
                        .dh = dh, .dc = dc, .dgates = dgates, .half = half};
    share_out(uncell_some, &task, B, 16, threads);
}
