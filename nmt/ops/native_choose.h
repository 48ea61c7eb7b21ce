/* The choice that ends a step of beam search: a part of native.c. search/beam.py has its meaning. */

typedef struct {
    float score, log_prob;
    int64_t parent, id;
} Candidate;

/* Among the `held` best, at most n, of which equal ones stay in the order in which they came. */
static inline int64_t enter(Candidate new, Candidate *best, int64_t held, int64_t n)
{
    if (held == n && !(new.score > best[n - 1].score)) return held;
    int64_t place = held < n ? held : n - 1;
    for (; place > 0 && new.score > best[place - 1].score; place--) best[place] = best[place - 1];
    best[place] = new;
    return held < n ? held + 1 : n;
}

/* Of B sentences with K hypotheses each: values and ids (B, K, m), the m best pieces of each row, of which n count;
   log_z (B, K); total (B, K), -inf where no hypothesis is; room and may_end (B). pad and bos are never chosen, end only
   where it may be. wide: room is no limit, as many live on as may.

   found (B, K): parents, tokens, log_probs and totals of those that live on, best first, total -inf where there are no
   more; and of the best K candidates which end, whose they are, and with what log-probability. left (B): room then.
   broken (B): whether a log_z is not finite. */
void nmt_choose(const float *values, const int64_t *ids, const float *log_z, const float *total, const int64_t *room,
                const uint8_t *may_end, int64_t B, int64_t K, int64_t m, int64_t n, int64_t pad, int64_t bos, int64_t end,
                int wide, int64_t *parents, int64_t *tokens, float *log_probs, float *totals, uint8_t *ends,
                int64_t *end_parents, float *end_log_probs, int64_t *left, uint8_t *broken, void *scratch)
{
    Candidate *best = scratch, *row = best + 2 * K;
    for (int64_t b = 0; b < B; b++) {
        int64_t held = 0, living = 0, ended = 0;
        broken[b] = 0;
        for (int64_t k = 0; k < K; k++) {
            const int64_t from = b * K + k;
            if (!isfinite(log_z[from])) broken[b] = 1;
            if (!(total[from] > -INFINITY)) continue;
            int64_t there = 0;
            for (int64_t j = 0; j < n; j++) {
                const int64_t id = ids[from * m + j];
                if (id == pad || id == bos || (id == end && !may_end[b])) continue;
                float log_prob = values[from * m + j] - log_z[from];
                log_prob = log_prob > 0.0f ? 0.0f : log_prob;
                int64_t place = there++; /* by id, as equal scores are ordered */
                for (; place > 0 && row[place - 1].id > id; place--) row[place] = row[place - 1];
                row[place] = (Candidate){total[from] + log_prob, log_prob, k, id};
            }
            for (int64_t j = 0; j < there; j++)
                if (row[j].score > -INFINITY) held = enter(row[j], best, held, wide ? 2 * K : K);
        }
        if (!wide && held > room[b]) held = room[b];
        for (int64_t j = 0; j < K; j++) {
            const int ending = j < held && best[j].id == end;
            ends[b * K + j] = (uint8_t)ending;
            end_parents[b * K + j] = ending ? best[j].parent : 0;
            end_log_probs[b * K + j] = ending ? best[j].log_prob : 0.0f;
            ended += ending;
        }
        for (int64_t j = 0; j < held && living < K; j++) {
            if (best[j].id == end) continue;
            const int64_t to = b * K + living++;
            parents[to] = best[j].parent;
            tokens[to] = best[j].id;
            log_probs[to] = best[j].log_prob;
            totals[to] = best[j].score;
        }
        for (; living < K; living++) {
            const int64_t to = b * K + living;
            parents[to] = 0;
            tokens[to] = end;
            log_probs[to] = 0.0f;
            totals[to] = -INFINITY;
        }
        left[b] = wide ? room[b] : room[b] - ended;
    }
}
