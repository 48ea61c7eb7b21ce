/* Layer normalisation, and RMSNorm where there are no means and no bias, forward and backward: a part of fused.c.
   ops/norm.py has their meaning. */

typedef struct {
    const float *x, *gain, *bias;
    const void *g;
    void *y;
    float *mean, *inverse, *dx, *dgain, *dbias;
    int64_t D, rows;
    float eps;
    int half;
} Norm;

INLINE void norm_rows(const Norm *t, int64_t first, int64_t last, const int half)
{
    const int64_t D = t->D;
    for (int64_t row = first; row < last; row++) {
        const float *x = t->x + row * D;
        V sum = all(0.0f), squares = all(0.0f);
        float mean = 0.0f;
        if (t->mean) {
            for (int64_t at = 0; at < D; at += WIDTH) sum += get(x, at, D - at, 0);
            t->mean[row] = mean = sum_of(sum) / (float)D;
        }
        for (int64_t at = 0; at < D; at += WIDTH) {
            V apart = D - at < WIDTH ? load_some(x + at, D - at, mean) - mean : load(x + at) - mean;
            squares += apart * apart;
        }
        const float inverse = 1.0f / sqrtf(sum_of(squares) / (float)D + t->eps);
        t->inverse[row] = inverse;
        for (int64_t at = 0; at < D; at += WIDTH) {
            const int64_t left = D - at;
            V v = (get(x, at, left, 0) - mean) * inverse * get(t->gain, at, left, 0);
            if (t->bias) v += get(t->bias, at, left, 0);
            put(t->y, row * D + at, v, left, half);
        }
    }
}

static void norm_some(const void *task, int64_t first, int64_t last)
{
    const Norm *t = task;
    BY_HALF(t->half, norm_rows(t, first, last, 0), norm_rows(t, first, last, 1));
}

/* y = gain (x - mean) / sqrt(var + eps) + bias of each of R rows of D numbers; mean and 1 / sqrt(...) (R) are kept. Where
   there is no room for means: y = gain x / sqrt(mean of x^2 + eps), plus bias where there is one. */
void nmt_norm(const float *x, const float *gain, const float *bias, float eps, int64_t R, int64_t D, void *y,
                    int half, float *mean, float *inverse, int64_t threads)
{
    const Norm task = {.x = x, .gain = gain, .bias = bias, .eps = eps, .D = D, .y = y, .half = half, .mean = mean,
                       .inverse = inverse};
    share_out(norm_some, &task, R, 32, threads);
}

INLINE void unnorm_rows(const Norm *t, int64_t first, int64_t last, const int half)
{
    const int64_t D = t->D;
    float *dgain = t->dgain + first / t->rows * D, *dbias = t->dbias ? t->dbias + first / t->rows * D : NULL;
    memset(dgain, 0, (size_t)D * sizeof *dgain);
    if (dbias) memset(dbias, 0, (size_t)D * sizeof *dbias);
    for (int64_t row = first; row < last; row++) {
        const float *x = t->x + row * D, mean = t->mean ? t->mean[row] : 0.0f, inverse = t->inverse[row];
        V sum = all(0.0f), along = all(0.0f);
        for (int64_t at = 0; at < D; at += WIDTH) {
            const int64_t left = D - at;
            const V g = get(t->g, row * D + at, left, half), own = (get(x, at, left, 0) - mean) * inverse;
            const V scaled = g * get(t->gain, at, left, 0);
            sum += scaled;
            along += scaled * own;
            put(dgain, at, get(dgain, at, left, 0) + g * own, left, 0);
            if (dbias) put(dbias, at, get(dbias, at, left, 0) + g, left, 0);
        }
        const float even = t->mean ? sum_of(sum) / (float)D : 0.0f, slope = sum_of(along) / (float)D;
        for (int64_t at = 0; at < D; at += WIDTH) {
            const int64_t left = D - at;
            const V own = (get(x, at, left, 0) - mean) * inverse;
            V v = get(t->g, row * D + at, left, half) * get(t->gain, at, left, 0) - even - own * slope;
            put(t->dx, row * D + at, v * inverse, left, 0);
        }
    }
}

static void unnorm_some(const void *task, int64_t first, int64_t last)
{
    const Norm *t = task;
    BY_HALF(t->half, unnorm_rows(t, first, last, 0), unnorm_rows(t, first, last, 1));
}

/* The way back: from g, the gradient of y, that of x, float32; and those of gain and, where there is one, bias, (ceil(R /
   rows), D) each, of `rows` rows at a time. */
void nmt_norm_backward(const void *g, int half, const float *x, const float *gain, const float *mean,
                             const float *inverse, int64_t R, int64_t D, int64_t rows, float *dx, float *dgain,
                             float *dbias, int64_t threads)
{
    const Norm task = {.g = g, .half = half, .x = x, .gain = gain, .mean = (float *)mean, .inverse = (float *)inverse,
                       .D = D, .rows = rows, .dx = dx, .dgain = dgain, .dbias = dbias};
    share_out(unnorm_some, &task, R, rows, threads);
}
