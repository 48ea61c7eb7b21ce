/* As many numbers at once as the processor has in a register, with the vector types that gcc and clang share; and exp,
   tanh, the logistic function and the largest of many. What native.c and fused.c are written with. */

#include <math.h>
#include <stdint.h>
#include <string.h>
#ifdef __AVX512F__
#include <immintrin.h>
#endif

#define BLOCK 64

/* Wider vectors than the processor has would be computed number by number wherever they are compared or converted. */
#if defined(__AVX512F__)
#define WIDTH 16
#elif defined(__AVX2__)
#define WIDTH 8
#else
#define WIDTH 4
#endif

/* How many of them it holds besides a few. */
#if defined(__AVX512F__) || defined(__aarch64__)
#define ROOM 16
#else
#define ROOM 8
#endif

/* They may lie anywhere. */
typedef float V __attribute__((vector_size(WIDTH * 4), aligned(4), may_alias));
typedef int32_t VI __attribute__((vector_size(WIDTH * 4), aligned(4), may_alias));
typedef float V4 __attribute__((vector_size(16)));

static inline V load(const float *x) { return *(const V *)x; }
static inline void store(float *x, V v) { *(V *)x = v; }
static inline V all(float x) { return x - (V){0}; }
static inline V either(VI first, V a, V b) { return (V)((first & (VI)a) | (~first & (VI)b)); }

/* Numbers of a and, from WIDTH on, of b. */
#if defined(__clang__) || __GNUC__ >= 12
#define LANES(a, b, ...) __builtin_shufflevector(a, b, __VA_ARGS__)
#else
#define LANES(a, b, ...) __builtin_shuffle(a, b, (VI){__VA_ARGS__})
#endif

/* Of each pair of neighbours, of which the first are 0 and 1, what stands at i and at j; and the numbers of two vectors
   in turns, the first WIDTH of them and the others. */
#if WIDTH == 16
#define PAIRS(a, i, j) \
    LANES(a, a, i, j, i + 2, j + 2, i + 4, j + 4, i + 6, j + 6, i + 8, j + 8, i + 10, j + 10, i + 12, j + 12, i + 14, j + 14)
static inline V low_mixed(V a, V b) { return LANES(a, b, 0, 16, 1, 17, 2, 18, 3, 19, 4, 20, 5, 21, 6, 22, 7, 23); }
static inline V high_mixed(V a, V b) { return LANES(a, b, 8, 24, 9, 25, 10, 26, 11, 27, 12, 28, 13, 29, 14, 30, 15, 31); }
#elif WIDTH == 8
#define PAIRS(a, i, j) LANES(a, a, i, j, i + 2, j + 2, i + 4, j + 4, i + 6, j + 6)
static inline V low_mixed(V a, V b) { return LANES(a, b, 0, 8, 1, 9, 2, 10, 3, 11); }
static inline V high_mixed(V a, V b) { return LANES(a, b, 4, 12, 5, 13, 6, 14, 7, 15); }
#else
#define PAIRS(a, i, j) LANES(a, a, i, j, i + 2, j + 2)
static inline V low_mixed(V a, V b) { return LANES(a, b, 0, 4, 1, 5); }
static inline V high_mixed(V a, V b) { return LANES(a, b, 2, 6, 3, 7); }
#endif

#ifdef __AVX512F__
/* What compilers do not find by themselves. */
static inline V larger(V a, V b) { return (V)_mm512_max_ps((__m512)a, (__m512)b); }
static inline float sum_of(V v) { return _mm512_reduce_add_ps((__m512)v); }
static inline float largest_lane(V v) { return _mm512_reduce_max_ps((__m512)v); }
static inline uint32_t above(V v, float x) { return _mm512_cmp_ps_mask((__m512)v, _mm512_set1_ps(x), _CMP_GT_OQ); }

/* n numbers, fewer than WIDTH: from x on, with `rest` in the lanes beyond; and to x on. */
static inline V load_some(const float *x, int64_t n, float rest)
{
    return (V)_mm512_mask_loadu_ps((__m512)all(rest), (__mmask16)((1u << n) - 1), x);
}
static inline void store_some(float *x, V v, int64_t n)
{
    _mm512_mask_storeu_ps(x, (__mmask16)((1u << n) - 1), (__m512)v);
}
#else
static inline V larger(V a, V b) { return either(a > b, a, b); }

/* Of eight the four first and the others; four are only first. */
static inline void halves(V v, V4 *first, V4 *others)
{
    memcpy(first, &v, 16);
    memcpy(others, (const char *)&v + sizeof v - 16, 16);
}

static inline float sum_of(V v)
{
    V4 four, others;
    halves(v, &four, &others);
    if (WIDTH == 8) four += others;
    return (four[0] + four[2]) + (four[1] + four[3]);
}

static inline float largest_lane(V v)
{
    V4 four, others;
    halves(v, &four, &others);
    for (int l = 0; l < 4; l++) four[l] = others[l] > four[l] ? others[l] : four[l];
    for (int l = 0; l < 2; l++) four[l] = four[l + 2] > four[l] ? four[l + 2] : four[l];
    return four[1] > four[0] ? four[1] : four[0];
}

/* A bit for each number of v that is larger than x. */
static inline uint32_t above(V v, float x)
{
    uint32_t bits = 0;
    for (int l = 0; l < WIDTH; l++) bits |= (uint32_t)(v[l] > x) << l;
    return bits;
}

static inline V load_some(const float *x, int64_t n, float rest)
{
    float lanes[WIDTH];
    for (int64_t l = 0; l < WIDTH; l++) lanes[l] = rest;
    memcpy(lanes, x, (size_t)n * sizeof(float));
    return load(lanes);
}

static inline void store_some(float *x, V v, int64_t n) { memcpy(x, &v, (size_t)n * sizeof(float)); }
#endif

/* --- exp ------------------------------------------------------------------------------------------------------------

   e^x = 2^n e^r with n the integer nearest to x / ln 2 and r = x - n ln 2 in [-0.35, 0.35], where the series of e^r up
   to r^6 / 6! is off by 1.2e-7 at most, a float32's last bit. For x <= 0; below -87, where float32's normal numbers
   end, it is 0. */

static inline V exponential(V x)
{
    const V shift = all(12582912.0f); /* 1.5 * 2^23: adding it rounds to an integer, in the low bits */
    VI low = x < all(-87.0f);
    V clipped = either(low, all(-87.0f), x);
    V shifted = clipped * all(1.44269504f) + shift, n = shifted - shift;
    V r = clipped - n * all(0.693145752f);
    r = r - n * all(1.42860677e-6f);
    V p = all(1.38888889e-3f);
    p = p * r + all(8.33333333e-3f);
    p = p * r + all(4.16666667e-2f);
    p = p * r + all(1.66666667e-1f);
    p = p * r + all(0.5f);
    p = p * r + all(1.0f);
    p = p * r + all(1.0f);
    V power = (V)(((VI)shifted - 0x4B400000 + 127) << 23);
    return (V)(~low & (VI)(p * power));
}

/* tanh x = (1 - e) / (1 + e) with e = e^(-2x), for what of x is above 0; below it is the same turned round. */
static inline V hyperbolic_tangent(V x)
{
    const VI sign = (VI){0} + INT32_MIN;
    V e = exponential((V)((VI)x & ~sign) * -2.0f);
    V t = (all(1.0f) - e) / (all(1.0f) + e);
    return (V)((VI)t | ((VI)x & sign));
}

/* 1 / (1 + e^-x), from e^-|x| so that nothing overflows. */
static inline V logistic(V x)
{
    const VI sign = (VI){0} + INT32_MIN;
    V e = exponential((V)((VI)x | sign)), large = all(1.0f) / (all(1.0f) + e);
    return either(x < all(0.0f), e * large, large);
}

static inline float largest_of(const float *x, int64_t n)
{
    V found = all(-INFINITY);
    int64_t i = 0;
    for (; i + WIDTH <= n; i += WIDTH) found = larger(load(x + i), found);
    if (i < n) found = larger(load_some(x + i, n - i, -INFINITY), found);
    return largest_lane(found);
}

/* Numbers from one sentence, head or position of a tensor to the next: Strides of ops/heads.py. */
typedef struct {
    int64_t batch, head, position;
} Strides;
