// Normalisation of rows (LayerNorm, RMSNorm), and their rounding to bytes.
#pragma once

namespace kernels {
namespace {

// Write a normalised row as floats, padded with zeros to whole blocks.
inline void normalize_row(const Rows& x, int64_t row, int64_t columns, const Norm& norm, float* out) {
  using S = Simd;
  int64_t padded = (columns + kBlock - 1) / kBlock * kBlock;
  S::Floats total = S::zero();
  for (int64_t i = 0; i < padded; i += 16) {
    S::Floats part = i < columns ? load_rows(x, row, i, columns - i) : S::zero();
    S::store(out + i, part);
    total = S::add(total, part);
  }
  if (norm.kind == kNoNorm) return;
  float mean = norm.kind == kLayerNorm ? S::sum(total) / float(columns) : 0;
  S::Floats squares = S::zero();
  for (int64_t i = 0; i < columns; i += 16) {
    S::Floats centred = S::sub(load_part(out + i, columns - i), S::set(mean));
    if (columns - i < 16) {  // the padding is not part of the row
      float part[16] = {};
      store_part(part, centred, columns - i);
      centred = S::load(part);
    }
    squares = S::fma(centred, centred, squares);
  }
  float inverse = 1.0f / __builtin_sqrtf(S::sum(squares) / float(columns) + norm.epsilon);
  Rows weight{const_cast<void*>(norm.weight), 0, x.dtype}, bias{const_cast<void*>(norm.bias), 0, x.dtype};
  for (int64_t i = 0; i < columns; i += 16) {
    S::Floats y = S::mul(S::sub(load_part(out + i, columns - i), S::set(mean)), S::set(inverse));
    y = S::mul(y, load_rows(weight, 0, i, columns - i));
    if (norm.bias) y = S::add(y, load_rows(bias, 0, i, columns - i));
    store_part(out + i, y, columns - i);
  }
}

// Return the scale with which `count` numbers fit bytes; NaN if any of them is not finite.
inline float byte_scale(const float* x, int64_t count) {
  Simd::Floats most = Simd::zero(), poison = Simd::zero();
  for (int64_t i = 0; i < count; i += 16) {
    Simd::Floats part = Simd::load(x + i);
    most = Simd::max(most, Simd::abs(part));
    poison = Simd::add(poison, Simd::sub(part, part));
  }
  float scale = Simd::largest(most) / 127;
  constexpr float kSmallest = 1.17549435e-38f;  // its reciprocal is finite
  return (scale > kSmallest ? scale : kSmallest) + Simd::sum(poison);
}

inline void round_to_bytes(const float* x, int64_t count, float scale, int8_t* out) {
  Simd::Floats inverse = Simd::set(1 / scale);
  for (int64_t i = 0; i < count; i += 16) Simd::store_bytes(out + i, Simd::mul(Simd::load(x + i), inverse));
}

// Round a row with one scale a block. `numbers` is room for a row of floats.
inline void quantize_row(const Rows& x, int64_t row, int64_t columns, const Norm& norm, float* numbers,
                         const QuantizedRows& out) {
  normalize_row(x, row, columns, norm, numbers);
  int8_t* values = out.values + row * out.columns;
  float* scales = out.scales + row * (out.columns / kBlock);
  float* sums = out.sums + row * (out.columns / kSumGroup);
  for (int64_t block = 0; block < out.columns / kBlock; block++) {
    int64_t at = block * kBlock;
    scales[block] = byte_scale(numbers + at, kBlock);
    round_to_bytes(numbers + at, kBlock, scales[block], values + at);
    for (int group = 0; group < kBlock / kSumGroup; group++) {
      int32_t sum = 0;
      for (int i = 0; i < kSumGroup; i++) sum += values[at + group * kSumGroup + i];
      sums[at / kSumGroup + group] = float(sum) * scales[block];
    }
  }
}

// Round a row with one scale.
inline void quantize_whole_row(const Rows& x, int64_t row, int64_t columns, const Norm& norm, float* numbers,
                               int8_t* values, int64_t stride, float* scale) {
  normalize_row(x, row, columns, norm, numbers);
  *scale = byte_scale(numbers, stride);
  round_to_bytes(numbers, stride, *scale, values);
}

}  // namespace
}  // namespace kernels
