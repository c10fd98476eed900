// What surrounds an int8 GEMM of many rows: weights widened to bytes before it, scales and activation after it.
#pragma once

namespace kernels {
namespace {

// Widen rows of int4 weights to bytes with one scale a row: each group's sixteen values are a table.
inline void widen_int4(const Matrix& weight, int64_t begin, int64_t end, int8_t* out, float* out_scales) {
  using S = Simd;
  int64_t groups = weight.columns / weight.group;
  int per_block = kBlock / weight.group;
  float steps[16];
  for (int i = 0; i < 16; i++) steps[i] = float(i);
  S::Floats iota = S::load(steps);
  for (int64_t row = begin; row < end; row++) {
    auto scales = static_cast<const BFloat16*>(weight.scales) + row * groups;
    auto zeros = static_cast<const BFloat16*>(weight.zeros) + row * groups;
    float most = 1e-30f;
    for (int64_t g = 0; g < groups; g++) {
      float zero = widen(zeros[g]), scale = __builtin_fabsf(widen(scales[g]));
      float low = __builtin_fabsf(zero) * scale, high = __builtin_fabsf(15 - zero) * scale;
      most = low > most ? low : most;
      most = high > most ? high : most;
    }
    float row_scale = most / 127;
    out_scales[row - begin] = row_scale;
    for (int64_t block = 0; block < weight.columns / kBlock; block++) {
      S::Bytes both = S::load_bytes(weight.values + row * (weight.columns / 2) + block * (kBlock / 2));
      S::Bytes nibbles[2] = {S::low_nibbles(both), S::high_nibbles(both)};
      int8_t* at = out + (row - begin) * weight.columns + block * kBlock;
      int8_t tables[4][16];
      for (int i = 0; i < per_block; i++) {
        int64_t g = block * per_block + i;
        S::Floats factor = S::set(widen(scales[g]) / row_scale);
        S::store_bytes(tables[i], S::mul(S::sub(iota, S::set(widen(zeros[g]))), factor));
      }
      for (int half = 0; half < 2; half++) {
        if (weight.group >= 64) {
          S::store_bytes(at + half * 64, S::look_up(tables[weight.group == 64 ? half : 0], nibbles[half]));
          continue;
        }
        int8_t wide[2][64];  // by the table of each half
        for (int i = 0; i < 2; i++) S::store_bytes(wide[i], S::look_up(tables[2 * half + i], nibbles[half]));
        for (int i = 0; i < 64; i++) at[half * 64 + i] = wide[i / 32][i];
      }
    }
  }
}

// Widen rows of weights of fewer than 8 bits, or in blocks, to bytes with one scale a row, padded to whole blocks.
inline void widen_rows(const Matrix& weight, int64_t begin, int64_t end, float* numbers, int8_t* out, float* out_scales) {
  if (!is_gguf(weight)) return widen_int4(weight, begin, end, out, out_scales);
  int64_t padded = (weight.columns + kBlock - 1) / kBlock * kBlock;
  for (int64_t row = begin; row < end; row++, out += padded, out_scales++)
    *out_scales = widen_gguf_row(weight, row, numbers, out);
}

// Finish columns of a row of y from integer sums of x and W: scales, bias, activation, residual.
inline void finish_row(const LinearStep& step, int64_t row, const int32_t* sums, int64_t columns, float x_scale,
                       const float* weight_scales, int64_t first_column) {
  for (int64_t i = 0; i < columns; i += 16) {
    int64_t count = columns - i;
    Simd::Floats scale = Simd::mul(Simd::set(x_scale), load_part(weight_scales + i, count));
    Simd::Floats products;
    if (count >= 16) {
      products = Simd::load_ints(sums + i);
    } else {
      int32_t part[16] = {};
      for (int64_t j = 0; j < count; j++) part[j] = sums[i + j];
      products = Simd::load_ints(part);
    }
    finish(step, row, first_column + i, Simd::mul(products, scale), count);
  }
}

// Finish rows of y from integer sums (rows, columns).
inline void finish_sums(const LinearStep& step, const int32_t* sums, int64_t columns, const float* x_scales,
                        const float* weight_scales, int64_t first_column, int64_t begin, int64_t end) {
  for (int64_t row = begin; row < end; row++)
    finish_row(step, row, sums + row * columns, columns, x_scales[row], weight_scales, first_column);
}

}  // namespace
}  // namespace kernels
