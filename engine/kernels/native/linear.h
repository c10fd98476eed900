// Linear layers on few rows: the weights are read once for up to four rows, and integers are summed exactly.
#pragma once

namespace kernels {
namespace {

// Store the sums of the vectors of R rows of weights.
template <int R>
inline void store_sums(const Simd::Floats* sums, float* out) {
  if constexpr (R == 4) Simd::sum4(sums, out);
  else
    for (int r = 0; r < R; r++) out[r] = Simd::sum(sums[r]);
}

constexpr int kTileRows = 4;   // rows of x that share one reading of the weights
// Rows of weights that share one reading of x: as many as their sums fit the registers.
// K-quants take registers for their scales.
constexpr int tile_weights(Format format, int rows) {
  if (format == kQ4_K) return rows > 1 ? 2 : 4;
  return format == kInt8 && rows > 2 && Simd::kRegisters < 32 ? 2 : 4;
}

// Compute R x T numbers of y = x W^T with int4 weights. All sums of a number are in an order that depends on neither.
template <int kGroup, int T, int R>
inline void int4_tile(const Matrix& weight, int64_t row, const GroupedRows& x, int64_t first, float (*out)[kChunkColumns],
                      int column) {
  using S = Simd;
  constexpr int kGroupsPerBlock = kBlock / kGroup;
  int64_t groups = weight.columns / kGroup, row_bytes = weight.columns / 2;
  auto scales = static_cast<const BFloat16*>(weight.scales) + row * groups;
  auto zeros = static_cast<const BFloat16*>(weight.zeros) + row * groups;
  const uint8_t* values = weight.values + row * row_bytes;
  int64_t ahead = R * row_bytes > kPrefetchBytes ? R * row_bytes : kPrefetchBytes;
  int64_t scales_ahead = ahead / row_bytes * groups;
  const int8_t* bytes = x.rows->values + first * x.rows->columns;
  S::Floats sums[R][T];
  for (int r = 0; r < R; r++)
    for (int t = 0; t < T; t++) sums[r][t] = S::zero();
  for (int64_t group = 0; group < groups; group += 16) {
    int64_t count = groups - group < 16 ? groups - group : 16;
    alignas(64) float factors[R][T][16];
    for (int r = 0; r < R; r++) {
      if constexpr (T == 1) {  // more rows are bound by arithmetic
        S::prefetch(scales + scales_ahead + r * groups + group);
        S::prefetch(zeros + scales_ahead + r * groups + group);
      }
      S::Floats scale = load_part(scales + r * groups + group, count);
      S::Floats offset = S::mul(scale, load_part(zeros + r * groups + group, count));
      for (int t = 0; t < T; t++) {
        int64_t at = (first + t) * x.stride + group;
        S::store(factors[r][t], S::mul(scale, S::load(x.scales + at)));
        sums[r][t] = S::fnma(offset, S::load(x.sums + at), sums[r][t]);
      }
    }
    int64_t block = group / kGroupsPerBlock, last = (group + count) / kGroupsPerBlock;
    for (int i = 0; block < last; block++, i += kGroupsPerBlock) {
      S::Bytes low[R], high[R];
      for (int r = 0; r < R; r++) {
        const uint8_t* at = values + r * row_bytes + block * (kBlock / 2);
        S::prefetch(at + ahead);
        S::Bytes both = S::load_bytes(at);
        low[r] = S::low_nibbles(both);
        high[r] = S::high_nibbles(both);
      }
      for (int t = 0; t < T; t++) {
        const int8_t* at = bytes + t * x.rows->columns + block * kBlock;
        S::Bytes x_low = S::load_bytes(at), x_high = S::load_bytes(at + kBlock / 2);
        for (int r = 0; r < R; r++) {
          const float* factor = factors[r][t] + i;
          S::Ints products = S::dot_nibbles(S::no_ints(), low[r], x_low);
          if constexpr (kGroup == 128) {
            products = S::dot_nibbles(products, high[r], x_high);
            sums[r][t] = S::fma(S::to_floats(products), S::set(factor[0]), sums[r][t]);
          } else {
            S::Ints others = S::dot_nibbles(S::no_ints(), high[r], x_high);
            S::Floats one = kGroup == 64 ? S::set(factor[0]) : S::spread2(factor);
            S::Floats other = kGroup == 64 ? S::set(factor[1]) : S::spread2(factor + 2);
            sums[r][t] = S::fma(S::to_floats(products), one, sums[r][t]);
            sums[r][t] = S::fma(S::to_floats(others), other, sums[r][t]);
          }
        }
      }
    }
  }
  for (int t = 0; t < T; t++) {
    S::Floats of_row[R];
    for (int r = 0; r < R; r++) of_row[r] = sums[r][t];
    store_sums<R>(of_row, out[t] + column);
  }
}

// As int4_tile, with int8 weights.
template <int T, int R>
inline void int8_tile(const Matrix& weight, int64_t row, const GroupedRows& x, int64_t first, float (*out)[kChunkColumns],
                      int column) {
  using S = Simd;
  const uint8_t* values = weight.values + row * weight.columns;
  int64_t ahead = R * weight.columns > kPrefetchBytes ? R * weight.columns : kPrefetchBytes;
  const int8_t* bytes = x.rows->values + first * x.rows->columns;
  S::Floats sums[R][T];
  for (int r = 0; r < R; r++)
    for (int t = 0; t < T; t++) sums[r][t] = S::zero();
  for (int64_t block = 0; block < weight.columns / kBlock; block++) {
    S::Bytes low[R], high[R];
    for (int r = 0; r < R; r++) {
      const uint8_t* at = values + r * weight.columns + block * kBlock;
      S::prefetch(at + ahead);
      S::prefetch(at + ahead + kBlock / 2);
      low[r] = S::load_bytes(at);
      high[r] = S::load_bytes(at + kBlock / 2);
    }
    for (int t = 0; t < T; t++) {
      const int8_t* at = bytes + t * x.rows->columns + block * kBlock;
      S::Bytes x_low = S::load_bytes(at), x_high = S::load_bytes(at + kBlock / 2);
      S::Ints bias = S::add(S::bytes_bias(x_low), S::bytes_bias(x_high));
      S::Floats scale = S::set(x.scales[(first + t) * x.stride + block]);
      for (int r = 0; r < R; r++) {
        S::Ints products = S::dot_bytes(S::dot_bytes(bias, low[r], x_low), high[r], x_high);
        sums[r][t] = S::fma(S::to_floats(products), scale, sums[r][t]);
      }
    }
  }
  auto scales = static_cast<const float*>(weight.scales) + row;
  for (int t = 0; t < T; t++)
    for (int r = 0; r < R; r++) out[t][column + r] = S::sum(sums[r][t]) * scales[r];
}

// kInt4 stands for blocks of 32 columns too, kQ4_K for all of 256, kHalves for all floats.
template <Format kFormat, int T, int R>
inline void tile(const Matrix& weight, int64_t row, const GroupedRows& x, int64_t first, float (*out)[kChunkColumns],
                 int column) {
  if constexpr (kFormat == kInt8) {
    int8_tile<T, R>(weight, row, x, first, out, column);
  } else if constexpr (kFormat == kQ4_K) {
    large_blocks_tile<T, R>(weight, row, x, first, out, column);
  } else if constexpr (kFormat == kHalves) {
    float_tile<T, R>(weight, row, x, first, out, column);
  } else {
    if (has_small_blocks(weight)) return small_blocks_tile<T, R>(weight, row, x, first, out, column);
    if (weight.group == 128) return int4_tile<128, T, R>(weight, row, x, first, out, column);
    if (weight.group == 64) return int4_tile<64, T, R>(weight, row, x, first, out, column);
    int4_tile<32, T, R>(weight, row, x, first, out, column);
  }
}

// Compute T rows of a chunk of y, before bias and activation.
template <Format kFormat, int T>
inline void chunk_of(const Matrix& weight, int64_t row, int64_t count, const GroupedRows& x, int64_t first,
                     float (*out)[kChunkColumns]) {
  constexpr int R = tile_weights(kFormat, T);
  int column = 0;
  for (; column + R <= count; column += R) tile<kFormat, T, R>(weight, row + column, x, first, out, column);
  for (; column < count; column++) tile<kFormat, T, 1>(weight, row + column, x, first, out, column);
}

template <int T>
inline void chunk(const Matrix& weight, int64_t row, int64_t count, const GroupedRows& x, int64_t first,
                  float (*out)[kChunkColumns]) {
  if (weight.format == kInt8) return chunk_of<kInt8, T>(weight, row, count, x, first, out);
  if (has_floats(weight)) return chunk_of<kHalves, T>(weight, row, count, x, first, out);
  if (weight.format >= kQ4_K) return chunk_of<kQ4_K, T>(weight, row, count, x, first, out);
  chunk_of<kInt4, T>(weight, row, count, x, first, out);
}

// Add bias, activation and residual to `count` columns of a row, and store them.
inline void finish(const LinearStep& step, int64_t row, int64_t column, Simd::Floats y, int64_t count) {
  if (step.bias) {
    Rows bias{const_cast<void*>(step.bias), 0, step.y.dtype};
    y = Simd::add(y, load_rows(bias, 0, column, count));
  }
  if (step.activation == kGelu) y = gelu(y);
  if (step.activation == kMultiplyBySilu) y = Simd::mul(y, silu(load_rows(step.gate, row, column, count)));
  if (step.residual.data) y = Simd::add(y, load_rows(step.residual, row, column, count));
  store_rows(step.y, row, column, y, count);
}

// Compute the chunks of columns of y from `begin` to `end`.
inline void linear_chunks(const LinearStep& step, const GroupedRows& x, int64_t begin, int64_t end) {
  int64_t rows = x.rows->rows;
  for (int64_t i = begin; i < end; i++) {
    int64_t column = i * kChunkColumns, left = step.weight.rows - column;
    int64_t count = left < kChunkColumns ? left : kChunkColumns;
    for (int64_t first = 0; first < rows; first += kTileRows) {
      alignas(64) float out[kTileRows][kChunkColumns] = {};
      int64_t rows_left = rows - first;
      if (rows_left >= 4) chunk<4>(step.weight, column, count, x, first, out);
      else if (rows_left == 3) chunk<3>(step.weight, column, count, x, first, out);
      else if (rows_left == 2) chunk<2>(step.weight, column, count, x, first, out);
      else chunk<1>(step.weight, column, count, x, first, out);
      for (int64_t t = 0; t < kTileRows && t < rows_left; t++)
        finish(step, first + t, column, Simd::load(out[t]), count);
    }
  }
}

}  // namespace
}  // namespace kernels
