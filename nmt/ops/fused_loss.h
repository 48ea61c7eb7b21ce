/* Label-smoothed cross-entropy and R-Drop's loss, and their gradients: a part of fused.c. ops/cross_entropy.py and
   ops/r_drop.py have their meaning. */

typedef struct {
    void *logits;
    const float *bias;
    const int64_t *targets;
    int64_t size;
    float smoothing;
    float *nll, *mean;
    int half, *failed;
} Losses;

/* A row of logits into x, with the bias where there is one: the largest; and their mean. */
INLINE float taken(const void *logits, int64_t row, const float *bias, int64_t size, float *x, float *mean,
                   const int half)
{
    V top = all(-INFINITY), sum = all(0.0f);
    for (int64_t at = 0; at < size; at += WIDTH) {
        const int64_t left = size - at;
        V v = get(logits, row * size + at, left, half);
        if (bias) v += get(bias, at, left, 0);
        put(x, at, v, left, 0);
        sum += v;
        if (left < WIDTH) v = load_some(x + at, left, -INFINITY);
        top = larger(v, top);
    }
    *mean = sum_of(sum) / (float)size;
    return largest_lane(top);
}

INLINE void lose_row(const Losses *t, int64_t row, float *x, const int half)
{
    const int64_t size = t->size, start = row * size, target = t->targets[row];
    float mean;
    const float most = taken(t->logits, row, t->bias, size, x, &mean, half), at_target = x[target];
    V total = all(0.0f);
    for (int64_t at = 0; at < size; at += WIDTH) {
        const int64_t left = size - at;
        V e = exponential((left < WIDTH ? load_some(x + at, left, -INFINITY) : load(x + at)) - most);
        put(x, at, e, left, 0);
        total += e;
    }
    const float z = sum_of(total), share = 1.0f / z, even = t->smoothing / (float)size;
    t->nll[row] = (most - at_target) + logf(z);
    t->mean[row] = (most - mean) + logf(z);
    x[target] += (t->smoothing - 1.0f) * z;
    for (int64_t at = 0; at < size; at += WIDTH) {
        const int64_t left = size - at;
        put(t->logits, start + at, get(x, at, left, 0) * share - even, left, half);
    }
}

static void lose_some(const void *task, int64_t first, int64_t last)
{
    const Losses *t = task;
    float *x = malloc((size_t)t->size * sizeof *x);
    if (!x) {
        *t->failed = 1;
        return;
    }
    for (int64_t row = first; row < last; row++) BY_HALF(t->half, lose_row(t, row, x, 0), lose_row(t, row, x, 1));
    free(x);
}

/* Of R rows of `size` logits, to which the bias is added where there is one: -log p(target) and the mean of -log p over
   all ids, (R) each; and in the logits' place the gradient of (1 - smoothing) of the first and smoothing of the second.
   Gives 1 where there was no memory for it, else 0. */
int nmt_cross_entropy(void *logits, int half, const float *bias, const int64_t *targets, int64_t R, int64_t size,
                      float smoothing, float *nll, float *mean, int64_t threads)
{
    int failed = 0;
    const Losses task = {logits, bias, targets, size, smoothing, nll, mean, half, &failed};
    share_out(lose_some, &task, R, 16, threads);
    return failed;
}

typedef struct {
    void *logits[2];
    const float *bias;
    const int64_t *targets;
    int64_t size;
    float smoothing, alpha;
    float *nll, *mean, *apart;
    int half, *failed;
} Drops;

/* Logits into x with the bias added; gives the norm of log p = x - norm, and adds the row's losses to nll and mean. */
INLINE float log_norm(const Drops *t, const void *logits, int64_t row, float *x, const int half)
{
    const int64_t size = t->size;
    float mean;
    const float most = taken(logits, row, t->bias, size, x, &mean, half);
    V total = all(0.0f);
    for (int64_t at = 0; at < size; at += WIDTH) {
        const int64_t left = size - at;
        total += exponential((left < WIDTH ? load_some(x + at, left, -INFINITY) : load(x + at)) - most);
    }
    const float norm = most + logf(sum_of(total));
    t->nll[row] += norm - x[t->targets[row]];
    t->mean[row] += norm - mean;
    return norm;
}

/* x: room for two rows. */
INLINE void drop_row(const Drops *t, int64_t row, float *x, const int half)
{
    const int64_t size = t->size, start = row * size, target = t->targets[row];
    float *x_1 = x, *x_2 = x + size;
    t->nll[row] = t->mean[row] = 0.0f;
    const float norm_1 = log_norm(t, t->logits[0], row, x_1, half);
    const float norm_2 = log_norm(t, t->logits[1], row, x_2, half);
    V there = all(0.0f), back = all(0.0f);
    for (int64_t at = 0; at < size; at += WIDTH) {
        const int64_t left = size - at;
        const V log_1 = (left < WIDTH ? load_some(x_1 + at, left, -INFINITY) : load(x_1 + at)) - norm_1;
        const V log_2 = (left < WIDTH ? load_some(x_2 + at, left, -INFINITY) : load(x_2 + at)) - norm_2;
        V apart = log_1 - log_2;
        if (left < WIDTH) apart = either(apart == apart, apart, all(0.0f)); /* lanes beyond the row */
        there += exponential(log_1) * apart;
        back -= exponential(log_2) * apart;
    }
    const float kl_1 = sum_of(there), kl_2 = sum_of(back), even = t->smoothing / (float)size, alpha = t->alpha / 4;
    t->apart[row] = kl_1 + kl_2;
    for (int64_t at = 0; at < size; at += WIDTH) {
        const int64_t left = size - at;
        const V log_1 = get(x_1, at, left, 0) - norm_1, log_2 = get(x_2, at, left, 0) - norm_2;
        const V p_1 = exponential(log_1), p_2 = exponential(log_2), apart = log_1 - log_2, more = p_1 - p_2;
        put(x_1, at, alpha * ((apart - kl_1) * p_1 + more) + 0.5f * (p_1 - even), left, 0);
        put(x_2, at, alpha * ((-apart - kl_2) * p_2 - more) + 0.5f * (p_2 - even), left, 0);
    }
    x_1[target] += 0.5f * (t->smoothing - 1.0f);
    x_2[target] += 0.5f * (t->smoothing - 1.0f);
    for (int64_t at = 0; at < size; at += WIDTH) {
        const int64_t left = size - at;
        put(t->logits[0], start + at, get(x_1, at, left, 0), left, half);
        put(t->logits[1], start + at, get(x_2, at, left, 0), left, half);
    }
}

static void drop_rows(const void *task, int64_t first, int64_t last)
{
    const Drops *t = task;
    float *x = malloc(2 * (size_t)t->size * sizeof *x);
    if (!x) {
        *t->failed = 1;
        return;
    }
    for (int64_t row = first; row < last; row++) BY_HALF(t->half, drop_row(t, row, x, 0), drop_row(t, row, x, 1));
    free(x);
}

/* Of R rows of logits from each of two passes, to which the bias is added where there is one: -log p(target) and the mean
   of -log p over all ids, summed over both passes, and both divergences, summed, (R) each; and in the logits' place the
   gradients of R-Drop's loss. Gives 1 where there was no memory for it, else 0. */
int nmt_r_drop(void *first, void *second, int half, const float *bias, const int64_t *targets, int64_t R, int64_t size,
               float smoothing, float alpha, float *nll, float *mean, float *apart, int64_t threads)
{
    int failed = 0;
    const Drops task = {{first, second}, bias, targets, size, smoothing, alpha, nll, mean, apart, half, &failed};
    share_out(drop_rows, &task, R, 8, threads);
    return failed;
}
