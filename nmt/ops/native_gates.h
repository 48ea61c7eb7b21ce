/* Steps of gated recurrent layers once the products are made: a part of native.c, whose vectors it uses. */

/* All H units, WIDTH at once: those from `at` on, `left` of them. */
#define EACH(H) for (int64_t at = 0, left; at < (H) && (left = (H) - at < WIDTH ? (H) - at : WIDTH); at += WIDTH)

static inline V take(const float *x, int64_t n) { return n == WIDTH ? load(x) : load_some(x, n, 0.0f); }
static inline void give(float *x, V v, int64_t n)
{
    if (n == WIDTH)
        store(x, v);
    else
        store_some(x, v, n);
}
static inline V both(const float *x, const float *y, int64_t at, int64_t n) { return take(x + at, n) + take(y + at, n); }

/* c' = f c + i g and h' = o tanh c' of R rows: the gates' sums are x + y (R, 4H), in the order i, f, g, o, those of x
   `x_row` apart and those of y side by side. c, h' and c' (R, H). */
void nmt_lstm(const float *x, int64_t x_row, const float *y, const float *c, int64_t R, int64_t H, float *h_after,
              float *c_after)
{
    for (int64_t row = 0; row < R; row++) {
        const float *sums = x + row * x_row, *more = y + row * 4 * H, *before = c + row * H;
        float *h_to = h_after + row * H, *c_to = c_after + row * H;
        EACH(H) {
            V i = logistic(both(sums, more, at, left)), f = logistic(both(sums, more, at + H, left));
            V g = hyperbolic_tangent(both(sums, more, at + 2 * H, left));
            V o = logistic(both(sums, more, at + 3 * H, left));
            V cell = f * take(before + at, left) + i * g;
            give(c_to + at, cell, left);
            give(h_to + at, o * hyperbolic_tangent(cell), left);
        }
    }
}

/* z = sigmoid(x_z + y_z) and r h with r = sigmoid(x_r + y_r), of R rows: x (R, >= 2H), y (R, 2H), h, z and r h (R, H). */
void nmt_gru_gates(const float *x, int64_t x_row, const float *y, const float *h, int64_t R, int64_t H, float *z,
                   float *reset)
{
    for (int64_t row = 0; row < R; row++) {
        const float *sums = x + row * x_row, *more = y + row * 2 * H;
        EACH(H) {
            give(z + row * H + at, logistic(both(sums, more, at, left)), left);
            V r = logistic(both(sums, more, at + H, left));
            give(reset + row * H + at, r * take(h + row * H + at, left), left);
        }
    }
}

/* h + z (n - h) with n = tanh(x_n + y_n), of R rows: x_n at x; y, h, z and what is found (R, H). */
void nmt_gru_state(const float *x, int64_t x_row, const float *y, const float *h, const float *z, int64_t R, int64_t H,
                   float *after)
{
    for (int64_t row = 0; row < R; row++) {
        const int64_t from = row * H;
        EACH(H) {
            V n = hyperbolic_tangent(both(x + row * x_row, y + from, at, left)), before = take(h + from + at, left);
            give(after + from + at, before + take(z + from + at, left) * (n - before), left);
        }
    }
}

/* The same with the reset after the matrix, n = tanh(x_n + r (u + w)), in one: x (R, 3H), y (R, 2H) and u (R, H) are
   what the state gives to z, r and n; w (H), or (R, H) where w_row is H. */
void nmt_gru(const float *x, int64_t x_row, const float *y, const float *u, const float *w, int64_t w_row,
             const float *h, int64_t R, int64_t H, float *after)
{
    for (int64_t row = 0; row < R; row++) {
        const float *sums = x + row * x_row, *more = y + row * 2 * H, *own = w + row * w_row;
        const int64_t from = row * H;
        EACH(H) {
            V z = logistic(both(sums, more, at, left)), r = logistic(both(sums, more, at + H, left));
            V n = hyperbolic_tangent(take(sums + 2 * H + at, left) + r * both(u + from, own, at, left));
            V before = take(h + from + at, left);
            give(after + from + at, before + z * (n - before), left);
        }
    }
}
