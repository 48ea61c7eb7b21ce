/* What a training on a CPU does between its matrix products, each as one pass over memory: ops/fused.py has the
   functions' meaning, and the plain forms in torch that they equal.

   Numbers are float32 or bfloat16 where an argument called `half` or ..._half says so; what is computed is float32.
   Work is shared among the threads of torch's own pool, in chunks that depend on sizes alone: what comes out is the same
   however many there are. */

#include <stdlib.h>

#include "native_vectors.h"

typedef uint32_t VU __attribute__((vector_size(WIDTH * 4), aligned(4), may_alias));
typedef uint16_t Halves __attribute__((vector_size(WIDTH * 2), aligned(2), may_alias));

#define WIDEST_HEAD 256 /* WIDEST of ops/fused.py */

#define INLINE static inline __attribute__((always_inline))

/* --- threads ------------------------------------------------------------------------------------------------------ */

static void (*in_parallel)(void (*)(void *), void *, unsigned, unsigned);

/* GOMP_parallel of the OpenMP that torch has loaded. */
void nmt_set_parallel(void *function) { in_parallel = (void (*)(void (*)(void *), void *, unsigned, unsigned))function; }

typedef struct {
    void (*body)(const void *task, int64_t first, int64_t last);
    const void *task;
    int64_t n, chunk, next;
} Shared;

static void take_chunks(void *shared)
{
    Shared *s = shared;
    for (;;) {
        const int64_t first = __atomic_fetch_add(&s->next, s->chunk, __ATOMIC_RELAXED);
        if (first >= s->n) return;
        s->body(s->task, first, first + s->chunk < s->n ? first + s->chunk : s->n);
    }
}

/* body(task, first, last) for all of n, `chunk` at a time. */
static void share_out(void (*body)(const void *, int64_t, int64_t), const void *task, int64_t n, int64_t chunk,
                      int64_t threads)
{
    Shared shared = {body, task, n, chunk, 0};
    const int64_t chunks = (n + chunk - 1) / chunk;
    if (threads > chunks) threads = chunks;
    if (threads > 1 && in_parallel)
        in_parallel(take_chunks, &shared, (unsigned)threads, 0);
    else
        take_chunks(&shared);
}

/* --- float32 and bfloat16 ----------------------------------------------------------------------------------------- */

INLINE V widened(Halves x) { return (V)(__builtin_convertvector(x, VU) << 16); }

/* To the nearest, of two to the even one; what is no number stays none. */
INLINE Halves narrowed(V x)
{
    VU bits = (VU)x, rounded = (bits + 0x7FFF + ((bits >> 16) & 1)) >> 16;
    const VU none = (VU)(x != x);
    return __builtin_convertvector((none & 0x7FC0) | (~none & rounded), Halves);
}

/* WIDTH numbers of x from the `at`-th on, or n of them, if those are fewer, and zeros. */
INLINE V get(const void *x, int64_t at, int64_t n, const int half)
{
    if (!half) return n >= WIDTH ? load((const float *)x + at) : load_some((const float *)x + at, n, 0.0f);
    const uint16_t *from = (const uint16_t *)x + at;
    if (n >= WIDTH) return widened(*(const Halves *)from);
    uint16_t lanes[WIDTH] = {0};
    memcpy(lanes, from, (size_t)n * sizeof *lanes);
    return widened(*(const Halves *)lanes);
}

INLINE void put(void *x, int64_t at, V v, int64_t n, const int half)
{
    if (!half) {
        if (n >= WIDTH)
            store((float *)x + at, v);
        else
            store_some((float *)x + at, v, n);
        return;
    }
    const Halves h = narrowed(v);
    uint16_t *to = (uint16_t *)x + at;
    if (n >= WIDTH)
        *(Halves *)to = h;
    else
        memcpy(to, &h, (size_t)n * sizeof *to);
}

/* A call of body with `half` as a constant. */
#define BY_HALF(half, call0, call1) \
    do {                            \
        if (half)                   \
            call1;                  \
        else                        \
            call0;                  \
    } while (0)

/* --- dropout ------------------------------------------------------------------------------------------------------ */

/* Which elements are zeroed is a function of two keys and an element's place alone, so the way back makes them anew.
   Elements go by blocks of 32: number l of a block's 16 hashes has 16 bits for element l and 16 for element 16 + l,
   however many numbers a vector has. */
#define HASHES 16
typedef struct {
    uint32_t key, other, threshold; /* zeroed: 16 bits below the threshold */
    float scale;
} Drop;

/* After C. Wellons's triple32, with a second key before the last round. */
INLINE VU hashed(VU x, Drop drop)
{
    x += drop.key;
    x ^= x >> 17;
    x *= 0xed5ad4bbu;
    x ^= x >> 11;
    x *= 0xac4c1b51u;
    x ^= x >> 15;
    x += drop.other;
    x *= 0x31848babu;
    return x ^ (x >> 14);
}

/* WIDTH hashes, from number l on, of the block that begins with element `at`. */
INLINE VU block_bits(int64_t at, int64_t l, Drop drop)
{
    VU lanes;
    for (uint32_t own = 0; own < WIDTH; own++) lanes[own] = own;
    return hashed(lanes + (uint32_t)((at >> 1) + l), drop);
}

/* Elements up to the end of the last block of n. */
INLINE int64_t whole_blocks(int64_t n) { return (n + 2 * HASHES - 1) / (2 * HASHES) * (2 * HASHES); }

/* x of what these hashes have their first bits for, or of what they have the second for, dropped. */
INLINE V dropped(V x, VU bits, const int second, Drop drop)
{
    const VU own = second ? (VU)(bits >> 16) : (VU)(bits & 0xFFFF), kept = (VU)(own >= drop.threshold);
    return (V)(kept & (VU)(x * drop.scale));
}

typedef struct {
    const float *base;
    const void *x;
    void *y;
    int64_t n;
    int x_half, y_half;
    Drop drop;
} Dropping;

INLINE void drop_elements(const Dropping *t, int64_t first, int64_t last, const int x_half, const int y_half,
                          const int added)
{
    for (int64_t at = first; at < last; at += 2 * HASHES)
        for (int64_t l = 0; l < HASHES; l += WIDTH) {
            const VU bits = t->drop.threshold ? block_bits(at, l, t->drop) : (VU){0};
            for (int second = 0; second < 2; second++) {
                const int64_t from = at + l + second * HASHES, left = last - from;
                if (left <= 0) break;
                V v = get(t->x, from, left, x_half);
                if (t->drop.threshold) v = dropped(v, bits, second, t->drop);
                if (added) v += get(t->base, from, left, 0);
                put(t->y, from, v, left, y_half);
            }
        }
}

static void drop_some(const void *task, int64_t first, int64_t last)
{
    const Dropping *t = task;
    if (t->base)
        BY_HALF(t->x_half, drop_elements(t, first, last, 0, 0, 1), drop_elements(t, first, last, 1, 0, 1));
    else if (t->x_half)
        BY_HALF(t->y_half, drop_elements(t, first, last, 1, 0, 0), drop_elements(t, first, last, 1, 1, 0));
    else
        BY_HALF(t->y_half, drop_elements(t, first, last, 0, 0, 0), drop_elements(t, first, last, 0, 1, 0));
}

/* y = dropped(x), or base + dropped(x) where there is a base (float32, and y too), of n numbers. y may be x. */
void nmt_drop(const float *base, const void *x, int x_half, void *y, int y_half, int64_t n, Drop drop, int64_t threads)
{
    const Dropping task = {base, x, y, n, x_half, y_half, drop};
    share_out(drop_some, &task, n, 1 << 15, threads);
}

/* --- after a product ---------------------------------------------------------------------------------------------- */

typedef struct {
    void *y;
    const float *bias;
    int64_t O, padded;
    int half, relu;
    Drop drop;
} Finishing;

INLINE void finish_rows(const Finishing *t, int64_t first, int64_t last, const int half)
{
    for (int64_t row = first; row < last; row++)
        for (int64_t at = 0; at < t->O; at += 2 * HASHES)
            for (int64_t l = 0; l < HASHES; l += WIDTH) {
                const VU bits = t->drop.threshold ? block_bits(row * t->padded + at, l, t->drop) : (VU){0};
                for (int second = 0; second < 2; second++) {
                    const int64_t from = at + l + second * HASHES, left = t->O - from;
                    if (left <= 0) break;
                    V v = get(t->y, row * t->O + from, left, half);
                    if (t->bias) v += get(t->bias, from, left, 0);
                    if (t->relu) v = (V)((VI)v & ~(v < all(0.0f)));
                    if (t->drop.threshold) v = dropped(v, bits, second, t->drop);
                    put(t->y, row * t->O + from, v, left, half);
                }
            }
}

static void finish_some(const void *task, int64_t first, int64_t last)
{
    const Finishing *t = task;
    BY_HALF(t->half, finish_rows(t, first, last, 0), finish_rows(t, first, last, 1));
}

/* y <- y + bias, with relu what of it is above 0, dropped: R rows of O numbers; the bias may be missing. */
void nmt_finish(void *y, int half, const float *bias, int relu, int64_t R, int64_t O, Drop drop, int64_t threads)
{
    const Finishing task = {y, bias, O, whole_blocks(O), half, relu, drop};
    share_out(finish_some, &task, R, 32, threads);
}

typedef struct {
    const void *g, *h;
    void *d;
    float *sums;
    int64_t O, rows;
    float scale;
    int half;
} Returning;

INLINE void return_rows(const Returning *t, int64_t first, int64_t last, const int half)
{
    float *sums = t->sums + first / t->rows * t->O;
    memset(sums, 0, (size_t)t->O * sizeof *sums);
    for (int64_t row = first; row < last; row++)
        for (int64_t at = 0; at < t->O; at += WIDTH) {
            const int64_t left = t->O - at, from = row * t->O + at;
            V g = get(t->g, from, left, half);
            if (t->h) {
                const VI above_0 = get(t->h, from, left, half) > all(0.0f);
                g = (V)(above_0 & (VI)(g * t->scale));
                put(t->d, from, g, left, half);
            }
            put(sums, at, get(sums, at, left, 0) + g, left, 0);
        }
}

static void return_some(const void *task, int64_t first, int64_t last)
{
    const Returning *t = task;
    BY_HALF(t->half, return_rows(t, first, last, 0), return_rows(t, first, last, 1));
}

/* The way back from nmt_finish. sums (ceil(R / rows), O): of the columns of d, `rows` rows at a time. Where there is h,
   which nmt_finish with relu has made: d, which may be g, is g scale where h > 0, else 0. Without, d is not written. */
void nmt_finish_backward(const void *g, const void *h, void *d, int half, float scale, int64_t R, int64_t O, int64_t rows,
                         float *sums, int64_t threads)
{
    const Returning task = {g, h, d, sums, O, rows, scale, half};
    share_out(return_some, &task, R, rows, threads);
}

#include "fused_loss.h"      /* cross-entropy */
#include "fused_norm.h"      /* layer normalisation, RMSNorm */
#include "fused_gate.h"      /* gated units */
#include "fused_heads.h"     /* heads, normalised and turned */
#include "fused_attention.h" /* scaled dot products of short sentences */
#include "fused_recurrent.h" /* gated recurrent units, additive attention */
#include "fused_lstm.h"      /* long short-term memory */
