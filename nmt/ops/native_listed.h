/* Products with chosen rows of a matrix; a part of native.c, with its vectors.

   y_rj = x_r . m_i + b_i with i = ids[owners[r]][j], for R rows of I numbers and W ids each; from the first id below 0 on
   y is -inf. Rows of one owner that stand together share what is read. Each sum is taken in one order, whatever stands
   beside it. */


#define SHARED 4 /* rows, and rows of the matrix, whose sums are taken at once */

static inline int64_t ids_of(const int64_t *ids, int64_t W)
{
    int64_t n = W;
    while (n > 0 && ids[n - 1] < 0) n--;
    return n;
}

/* Rows from `row` on that have its owner: SHARED at most. */
static inline int64_t rows_of(const int64_t *owners, int64_t row, int64_t R)
{
    int64_t n = 1;
    while (n < SHARED && row + n < R && owners[row + n] == owners[row]) n++;
    return n;
}

static inline __attribute__((always_inline)) void dots(const float *x, int64_t stride, const int rows,
                                                       const float *const *m, int64_t I, float sums[][SHARED])
{
    V sum[SHARED][SHARED];
    for (int r = 0; r < rows; r++)
        for (int j = 0; j < SHARED; j++) sum[r][j] = all(0.0f);
    for (int64_t i = 0; i < I; i += WIDTH) {
        V at[SHARED];
        for (int j = 0; j < SHARED; j++) at[j] = i + WIDTH <= I ? load(m[j] + i) : load_some(m[j] + i, I - i, 0.0f);
        for (int r = 0; r < rows; r++) {
            V v = i + WIDTH <= I ? load(x + r * stride + i) : load_some(x + r * stride + i, I - i, 0.0f);
            for (int j = 0; j < SHARED; j++) sum[r][j] += v * at[j];
        }
    }
    for (int r = 0; r < rows; r++)
        for (int j = 0; j < SHARED; j++) sums[r][j] = sum_of(sum[r][j]);
}

void nmt_listed(const float *x, int64_t R, int64_t I, int64_t stride, const float *matrix, const float *bias,
                const int64_t *ids, int64_t W, const int64_t *owners, float *y)
{
    for (int64_t row = 0, rows; row < R; row += rows) {
        const int64_t *own = ids + owners[row] * W, n = ids_of(own, W);
        rows = rows_of(owners, row, R);
        for (int64_t j = 0; j < n; j += SHARED) {
            const float *m[SHARED], *at = x + row * stride;
            float sums[SHARED][SHARED];
            for (int64_t k = 0; k < SHARED; k++) m[k] = matrix + own[j + k < n ? j + k : n - 1] * I;
            if (j + 2 * SHARED <= n)
                for (int64_t k = SHARED; k < 2 * SHARED; k++)
                    for (int64_t i = 0; i < I; i += WIDTH) __builtin_prefetch(matrix + own[j + k] * I + i);
            if (rows == 1) dots(at, stride, 1, m, I, sums);
            else if (rows == 2) dots(at, stride, 2, m, I, sums);
            else if (rows == 3) dots(at, stride, 3, m, I, sums);
            else dots(at, stride, 4, m, I, sums);
            for (int64_t r = 0; r < rows; r++)
                for (int64_t k = 0; k < SHARED && j + k < n; k++)
                    y[(row + r) * W + j + k] = sums[r][k] + (bias ? bias[own[j + k]] : 0.0f);
        }
        for (int64_t r = 0; r < rows; r++)
            for (int64_t j = n; j < W; j++) y[(row + r) * W + j] = -INFINITY;
    }
}

static inline __attribute__((always_inline)) void byte_dots(const uint8_t *x, const int rows, const int8_t *const *m,
                                                            int64_t I, int32_t sums[][SHARED])
{
#ifdef __AVX512VNNI__
    __m512i sum[SHARED][SHARED];
    for (int r = 0; r < rows; r++)
        for (int j = 0; j < SHARED; j++) sum[r][j] = _mm512_setzero_si512();
    for (int64_t i = 0; i < I; i += 64) {
        const __mmask64 there = I - i < 64 ? ((__mmask64)1 << (I - i)) - 1 : ~(__mmask64)0;
        __m512i at[SHARED];
        for (int j = 0; j < SHARED; j++) at[j] = _mm512_maskz_loadu_epi8(there, m[j] + i);
        for (int r = 0; r < rows; r++) {
            __m512i v = _mm512_maskz_loadu_epi8(there, x + r * I + i);
            for (int j = 0; j < SHARED; j++) sum[r][j] = _mm512_dpbusd_epi32(sum[r][j], v, at[j]);
        }
    }
    for (int r = 0; r < rows; r++)
        for (int j = 0; j < SHARED; j++) sums[r][j] = _mm512_reduce_add_epi32(sum[r][j]);
#else
    for (int r = 0; r < rows; r++)
        for (int j = 0; j < SHARED; j++) {
            int32_t sum = 0;
            for (int64_t i = 0; i < I; i++) sum += (int32_t)x[r * I + i] * m[j][i];
            sums[r][j] = sum;
        }
#endif
}

/* The same of whole numbers: x, 128 for 0, times x_scales; the matrix times m_scales. m_sums: the sum of each of its
   rows. */
void nmt_listed_bytes(const uint8_t *x, const float *x_scales, int64_t R, int64_t I, const int8_t *matrix,
                      const float *m_scales, const int32_t *m_sums, const float *bias, const int64_t *ids, int64_t W,
                      const int64_t *owners, float *y)
{
    for (int64_t row = 0, rows; row < R; row += rows) {
        const int64_t *own = ids + owners[row] * W, n = ids_of(own, W);
        rows = rows_of(owners, row, R);
        for (int64_t j = 0; j < n; j += SHARED) {
            const int8_t *m[SHARED];
            const uint8_t *at = x + row * I;
            int32_t sums[SHARED][SHARED];
            for (int64_t k = 0; k < SHARED; k++) m[k] = matrix + own[j + k < n ? j + k : n - 1] * I;
            if (j + 2 * SHARED <= n)
                for (int64_t k = SHARED; k < 2 * SHARED; k++)
                    for (int64_t i = 0; i < I; i += 64) __builtin_prefetch(matrix + own[j + k] * I + i);
            if (rows == 1) byte_dots(at, 1, m, I, sums);
            else if (rows == 2) byte_dots(at, 2, m, I, sums);
            else if (rows == 3) byte_dots(at, 3, m, I, sums);
            else byte_dots(at, 4, m, I, sums);
            for (int64_t r = 0; r < rows; r++)
                for (int64_t k = 0; k < SHARED && j + k < n; k++) {
                    const int64_t i = own[j + k];
                    float sum = (float)(sums[r][k] - 128 * m_sums[i]) * m_scales[i];
                    y[(row + r) * W + j + k] = sum;
                }
        }
        for (int64_t r = 0; r < rows; r++) {
            float *to = y + (row + r) * W, scale = x_scales[row + r];
            if (bias)
                for (int64_t j = 0; j < n; j++) to[j] = to[j] * scale + bias[own[j]];
            else
                for (int64_t j = 0; j < n; j++) to[j] = to[j] * scale;
            for (int64_t j = n; j < W; j++) to[j] = -INFINITY;
        }
    }
}

/* Products of few rows: y = (x - zero) W^T times the scales of W's rows, x (R, I) and W (O, I) whole numbers. */
void nmt_few_bytes(const uint8_t *x, int64_t R, int64_t I, int64_t zero, const int8_t *matrix, const float *m_scales,
                   const int32_t *m_sums, int64_t O, float *y)
{
    for (int64_t j = 0; j < O; j += SHARED) {
        const int8_t *m[SHARED];
        for (int64_t k = 0; k < SHARED; k++) m[k] = matrix + (j + k < O ? j + k : O - 1) * I;
        for (int64_t row = 0; row < R; row += SHARED) {
            const int64_t rows = R - row < SHARED ? R - row : SHARED;
            const uint8_t *at = x + row * I;
            int32_t sums[SHARED][SHARED];
            if (rows == 1) byte_dots(at, 1, m, I, sums);
            else if (rows == 2) byte_dots(at, 2, m, I, sums);
            else if (rows == 3) byte_dots(at, 3, m, I, sums);
            else byte_dots(at, 4, m, I, sums);
            for (int64_t r = 0; r < rows; r++)
                for (int64_t k = 0; k < SHARED && j + k < O; k++)
                    y[(row + r) * O + j + k] = (float)(sums[r][k] - (int32_t)zero * m_sums[j + k]) * m_scales[j + k];
        }
    }
}
