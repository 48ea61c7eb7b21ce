/* Label-smoothed cross-entropy and its gradient: a part of fused.c. ops/cross_entropy.py has its meaning. */

typedef struct {
    void *logits;
    const float *bias;
    const int64_t *targets;
    int64_t size;
    float smoothing;
    float *nll, *mean;
    int half, *failed;
} Losses;

INLINE void lose_row(const Losses *t, int64_t row, float *x, const int half)
{
    const int64_t size = t->size, start = row * size, target = t->targets[row];
    V top = all(-INFINITY), sum = all(0.0f);
    for (int64_t at = 0; at < size; at += WIDTH) {
        const int64_t left = size - at;
        V v = get(t->logits, start + at, left, half);
        if (t->bias) v += get(t->bias, at, left, 0);
        put(x, at, v, left, 0);
        sum += v;
        if (left < WIDTH) v = load_some(x + at, left, -INFINITY);
        top = larger(v, top);
    }
    const float most = largest_lane(top), at_target = x[target], mean = sum_of(sum) / (float)size;
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
