// Linear layers with weights in 16 bits, as they lie in a file: few rows of x in float32, and the widening for a GEMM of
// many rows.
#pragma once

namespace kernels {
namespace {

// Compute R x T numbers of y = x W^T. All sums of a number are in an order that depends on neither.
template <typename W, int T, int R>
inline void float_tile(const Matrix& weight, int64_t row, const GroupedRows& x, int64_t first,
                       float (*out)[kChunkColumns], int column) {
  using S = Simd;
  constexpr int kStep = 64 / sizeof(W);
  int64_t columns = weight.columns, stride = x.rows->columns;
  auto values = reinterpret_cast<const W*>(weight.values) + row * columns;
  int64_t ahead = R * columns * int64_t(sizeof(W));
  ahead = ahead > kPrefetchBytes ? ahead : kPrefetchBytes;
  const float* numbers = x.numbers + first * stride;
  S::Floats sums[R][T];
  for (int r = 0; r < R; r++)
    for (int t = 0; t < T; t++) sums[r][t] = S::zero();
  int64_t i = 0;
  for (; i + kStep <= columns; i += kStep) {
    for (int r = 0; r < R; r++) S::prefetch(reinterpret_cast<const uint8_t*>(values + r * columns + i) + ahead);
    for (int part = 0; part < kStep; part += 16) {
      S::Floats weights[R];
      for (int r = 0; r < R; r++) weights[r] = S::load(values + r * columns + i + part);
      for (int t = 0; t < T; t++) {
        S::Floats input = S::load(numbers + t * stride + i + part);
        for (int r = 0; r < R; r++) sums[r][t] = S::fma(weights[r], input, sums[r][t]);
      }
    }
  }
  for (; i < columns; i += 16)
    for (int r = 0; r < R; r++) {
      S::Floats weights = load_part(values + r * columns + i, columns - i);  // x is padded with zeros
      for (int t = 0; t < T; t++) sums[r][t] = S::fma(weights, S::load(numbers + t * stride + i), sums[r][t]);
    }
  for (int t = 0; t < T; t++)
    for (int r = 0; r < R; r++) out[t][column + r] = S::sum(sums[r][t]);
}

template <int T, int R>
inline void float_tile(const Matrix& weight, int64_t row, const GroupedRows& x, int64_t first,
                       float (*out)[kChunkColumns], int column) {
  if (weight.format == kHalves) return float_tile<Half, T, R>(weight, row, x, first, out, column);
  float_tile<BFloat16, T, R>(weight, row, x, first, out, column);
}

// Convert rows `begin` to `end` of the weights to the dtype of `out`, which has the same columns.
inline void convert_rows(const Matrix& weight, int64_t begin, int64_t end, const Rows& out) {
  auto at = reinterpret_cast<const Half*>(weight.values);
  for (int64_t row = begin; row < end; row++)
    for (int64_t i = 0; i < weight.columns; i += 16) {
      int64_t from = row * weight.columns + i, count = weight.columns - i;
      Simd::Floats part = weight.format == kHalves ? load_part(at + from, count)
                                                   : load_part(reinterpret_cast<const BFloat16*>(at) + from, count);
      store_rows(out, row - begin, i, part, count);
    }
}

}  // namespace
}  // namespace kernels
