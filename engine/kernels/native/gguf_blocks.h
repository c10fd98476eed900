// Weights in the blocks of GGUF files, read as they lie in the file: linear layers on few rows, and dequantisation.
//
// Formats: ggml's ggml-common.h. A block of 32 columns has half-precision scales of its own; a block of 256 has integer
// scales for each 16 or 32 columns, and one half-precision scale for these. All are computed in units of 128 columns, in
// two vectors of bytes, whose order of columns suits the format; x is loaded in the same order.
#pragma once

namespace kernels {
namespace {

inline uint32_t load_uint32(const uint8_t* p) {
  uint32_t x;
  std::memcpy(&x, p, 4);
  return x;
}

// Half precision to float.
inline float half_at(const uint8_t* p) {
  float lanes[16];
  Simd::store(lanes, Simd::set_half(p));
  return lanes[0];
}

inline uint64_t load_uint64(const uint8_t* p) {
  uint64_t x;
  std::memcpy(&x, p, 8);
  return x;
}

// Four blocks of 32 bytes each: columns in their order.
struct Q8_0 {
  using S = Simd;
  static constexpr int kBytes = 34, kLow = -127, kHigh = 127;
  struct Weights {
    S::Bytes v[2];
    S::Floats scale[2];
  };
  struct Input {
    S::Bytes v[2];
    S::Ints bias[2];
  };
  static Weights load(const uint8_t* at) {
    S::Floats low = S::spread_halves<kBytes, 0, 0, 1, 1>(at), high = S::spread_halves<kBytes, 2, 2, 3, 3>(at);
    at += 2;
    return {{S::load_halves(at, at + kBytes), S::load_halves(at + 2 * kBytes, at + 3 * kBytes)}, {low, high}};
  }
  static Input input(const int8_t* x) {
    S::Bytes low = S::load_bytes(x), high = S::load_bytes(x + 64);
    return {{low, high}, {S::bytes_bias(low), S::bytes_bias(high)}};
  }
  static S::Floats dot(const Weights& w, const Input& x) {
    S::Floats low = S::to_floats(S::dot_bytes(x.bias[0], w.v[0], x.v[0]));
    S::Floats high = S::to_floats(S::dot_bytes(x.bias[1], w.v[1], x.v[1]));
    return S::fma(high, w.scale[1], S::mul(low, w.scale[0]));
  }
  // Where 16 columns of the 128 lie, and weight = scale * q + offset of all blocks of a row; q is at least kLow, and at
  // most kHigh. Arrays have room for 16 numbers more than there are.
  static int place(int group) { return 16 * group; }
  static void factors(const uint8_t* at, int64_t blocks, float* scales, float* offsets) {
    for (int64_t i = 0; i < blocks; i++, at += kBytes) {
      S::store(scales + i, S::set_half(at));
      S::store(offsets + i, S::zero());
    }
  }
};

// Four blocks of 16 bytes each: the first 16 columns of each in low nibbles, then the others in high ones; with a fifth
// bit of each in 32 bits. weight = d * q + m, or d * (q - half the range).
template <bool kFiveBits, bool kMinimum>
struct Nibbles {
  using S = Simd;
  static constexpr int kHeader = kMinimum ? 4 : 2, kBits = kFiveBits ? 4 : 0;
  static constexpr int kBytes = kHeader + kBits + 16, kZero = kFiveBits ? 16 : 8, kLow = 0, kHigh = 2 * kZero - 1;
  struct Weights {
    S::Bytes v[2];
    S::Floats scale, minimum;
  };
  struct Input {
    S::Bytes v[2];
    S::Ints bias;
    S::Floats sum;
  };
  static Weights load(const uint8_t* at) {
    S::Bytes both = S::load_quarters<kBytes>(at + kHeader + kBits);
    S::Bytes low = S::low_nibbles(both), high = S::high_nibbles(both);
    if (kFiveBits) {
      uint64_t bits[2] = {0, 0};
      for (int i = 0; i < 4; i++) {
        uint64_t fifth = load_uint32(at + i * kBytes + kHeader);
        bits[0] |= (fifth & 0xffff) << 16 * i;
        bits[1] |= (fifth >> 16) << 16 * i;
      }
      low = S::either(low, S::bits_as(16, bits[0]));
      high = S::either(high, S::bits_as(16, bits[1]));
    }
    S::Floats scale = S::spread_halves<kBytes, 0, 1, 2, 3>(at);
    return {{low, high}, scale, kMinimum ? S::spread_halves<kBytes, 0, 1, 2, 3>(at + 2) : S::zero()};
  }
  static Input input(const int8_t* x) {
    auto at = reinterpret_cast<const uint8_t*>(x);
    S::Bytes low = S::load_quarters<32>(at), high = S::load_quarters<32>(at + 16);
    S::Bytes ones = S::set_bytes(kMinimum ? 1 : kZero);
    S::Ints sum = S::dot_nibbles(S::dot_nibbles(S::no_ints(), ones, low), ones, high);
    if (kMinimum) return {{low, high}, S::no_ints(), S::to_floats(sum)};
    return {{low, high}, S::sub(S::no_ints(), sum), S::zero()};
  }
  static S::Floats dot(const Weights& w, const Input& x) {
    S::Ints products = S::dot_nibbles(S::dot_nibbles(x.bias, w.v[0], x.v[0]), w.v[1], x.v[1]);
    S::Floats scaled = S::mul(S::to_floats(products), w.scale);
    return kMinimum ? S::fma(x.sum, w.minimum, scaled) : scaled;
  }
  static int place(int group) { return group % 2 * 64 + group / 2 * 16; }
  static void factors(const uint8_t* at, int64_t blocks, float* scales, float* offsets) {
    for (int64_t i = 0; i < blocks; i++, at += kBytes) {
      S::Floats scale = S::set_half(at);
      S::store(scales + i, scale);
      S::store(offsets + i, kMinimum ? S::set_half(at + 2) : S::mul(scale, S::set(-kZero)));
    }
  }
};

using Q4_0 = Nibbles<false, false>;
using Q4_1 = Nibbles<false, true>;
using Q5_0 = Nibbles<true, false>;
using Q5_1 = Nibbles<true, true>;

// A block of 256 columns: d, the scale of minima, six-bit scales and minima of 32 columns each, fifth bits, nibbles: of 32
// bytes the low ones, then the high ones. weight = d * scale * q - dmin * minimum.
template <bool kFiveBits>
struct SixBitScales {
  using S = Simd;
  static constexpr int kHeader = 16, kBits = kFiveBits ? 32 : 0, kBytes = kHeader + kBits + 128;
  static constexpr bool kMinima = true;
  static constexpr int kScaled = 2;  // groups of 16 columns that share a scale
  static constexpr int kLow = 0, kHigh = kFiveBits ? 31 : 15;
  struct Block {
    S::Floats d, minima;
    S::Scales scales;
  };
  // Minima go into the first or last eight lanes.
  static Block open(const uint8_t* at, bool last) {
    S::SixBits six = S::load_six_bits(at + 4);
    return {S::set_half(at), S::mul(S::set_half(at + 2), S::minima(six, last)), S::scales(six)};
  }
  static void load(const uint8_t* at, int half, S::Bytes* out) {
    S::Bytes both = S::load_bytes(at + kHeader + kBits + 64 * half);
    out[0] = S::low_nibbles(both);
    out[1] = S::high_nibbles(both);
    if (!kFiveBits) return;
    S::Bytes bits = S::load_halves(at + kHeader, at + kHeader);
    out[0] = S::either(out[0], half ? S::shifted_bits<0, -2>(bits, 16) : S::shifted_bits<4, 2>(bits, 16));
    out[1] = S::either(out[1], half ? S::shifted_bits<-1, -3>(bits, 16) : S::shifted_bits<3, 1>(bits, 16));
  }
  static void spread(const Block& block, int half, S::Ints* out) {
    out[0] = half ? S::spread<4, 4, 6, 6>(block.scales) : S::spread<0, 0, 2, 2>(block.scales);
    out[1] = half ? S::spread<5, 5, 7, 7>(block.scales) : S::spread<1, 1, 3, 3>(block.scales);
  }
  static S::Bytes input(const int8_t* x, int i) { return S::load_halves(x + 32 * i, x + 64 + 32 * i); }
  static S::Ints bias(S::Bytes) { return S::no_ints(); }
  static int place(int group) { return group / 2 % 2 * 64 + group / 4 * 32 + group % 2 * 16; }
  static void factors(const uint8_t* at, int64_t blocks, float* scales, float* offsets) {
    for (int64_t i = 0; i < blocks; i += 2) {
      uint32_t six[2][4] = {};  // scales and minima of 32 columns each
      float factors[2] = {0, 0}, others[2] = {0, 0};
      for (int block = 0; block < 2 && i + block < blocks; block++, at += kBytes) {
        factors[block] = half_at(at);
        others[block] = -half_at(at + 2);
        uint32_t low = load_uint32(at + 4), middle = load_uint32(at + 8), high = load_uint32(at + 12);
        six[0][2 * block] = low & 0x3f3f3f3f;
        six[0][2 * block + 1] = (high & 0x0f0f0f0f) | (low >> 6 & 0x03030303) << 4;
        six[1][2 * block] = middle & 0x3f3f3f3f;
        six[1][2 * block + 1] = (high >> 4 & 0x0f0f0f0f) | (middle >> 6 & 0x03030303) << 4;
      }
      int8_t bytes[2][16];
      std::memcpy(bytes, six, sizeof(bytes));
      S::store(scales + 8 * i, S::mul(S::load(bytes[0]), S::spread2(factors)));
      S::store(offsets + 8 * i, S::mul(S::load(bytes[1]), S::spread2(others)));
    }
  }
};

using Q4_K = SixBitScales<false>;
using Q5_K = SixBitScales<true>;

// A block of 256 columns: low nibbles, the two bits above them, signed scales of 16 columns each, d.
// weight = d * scale * (q - 32).
struct Q6_K {
  using S = Simd;
  static constexpr int kBits = 128, kScales = 192, kScale = 208, kBytes = 210;
  static constexpr bool kMinima = false;
  static constexpr int kScaled = 1;
  static constexpr int kLow = 0, kHigh = 63;
  struct Block {
    S::Floats d, minima;
    S::Scales scales[2];
  };
  static Block open(const uint8_t* at, bool) {
    return {S::set_half(at + kScale),
            S::zero(),
            {S::load_scales(load_uint64(at + kScales)), S::load_scales(load_uint64(at + kScales + 8))}};
  }
  static void load(const uint8_t* at, int half, S::Bytes* out) {
    S::Bytes both = S::load_bytes(at + 64 * half);
    const uint8_t* above = at + kBits + 32 * half;
    S::Bytes bits = S::load_halves(above, above);
    out[0] = S::either(S::low_nibbles(both), S::shifted_bits<4, 2>(bits, 48));
    out[1] = S::either(S::high_nibbles(both), S::shifted_bits<0, -2>(bits, 48));
  }
  static void spread(const Block& block, int half, S::Ints* out) {
    out[0] = S::spread<0, 1, 2, 3>(block.scales[half]);
    out[1] = S::spread<4, 5, 6, 7>(block.scales[half]);
  }
  static S::Bytes input(const int8_t* x, int i) { return S::load_bytes(x + 64 * i); }
  static S::Ints bias(S::Bytes x) {
    return S::sub(S::no_ints(), S::dot_nibbles(S::no_ints(), S::set_bytes(32), x));
  }
  static int place(int group) { return 16 * group; }
  static void factors(const uint8_t* at, int64_t blocks, float* scales, float* offsets) {
    for (int64_t i = 0; i < blocks; i++, at += kBytes) {
      S::Floats scale = S::mul(S::load(reinterpret_cast<const int8_t*>(at + kScales)), S::set_half(at + kScale));
      S::store(scales + 16 * i, scale);
      S::store(offsets + 16 * i, S::mul(scale, S::set(-32)));
    }
  }
};

// Compute R x T numbers of y = x W^T, with blocks of 32 columns. All sums of a number are in an order that depends on
// neither.
template <typename F, int T, int R>
inline void small_blocks_tile(const Matrix& weight, int64_t row, const GroupedRows& x, int64_t first,
                              float (*out)[kChunkColumns], int column) {
  using S = Simd;
  constexpr int kUnit = 4 * F::kBytes;
  int64_t row_bytes = weight.columns / 32 * F::kBytes, whole = weight.columns / kBlock;
  const uint8_t* values = weight.values + row * row_bytes;
  int64_t ahead = R * row_bytes > kPrefetchBytes ? R * row_bytes : kPrefetchBytes;
  int64_t blocks = x.rows->columns / kBlock;
  const int8_t* bytes = x.rows->values + first * x.rows->columns;
  const float* scales = x.rows->scales + first * blocks;
  S::Floats sums[R][T];
  for (int r = 0; r < R; r++)
    for (int t = 0; t < T; t++) sums[r][t] = S::zero();
  for (int64_t block = 0; block < blocks; block++) {
    typename F::Weights weights[R];
    for (int r = 0; r < R; r++) {
      const uint8_t* at = values + r * row_bytes + block * kUnit;
      for (int i = 0; i < kUnit; i += 64) S::prefetch(at + ahead + i);
      if (block < whole) {
        weights[r] = F::load(at);
        continue;
      }
      uint8_t last[kUnit] = {};  // nothing is read beyond the row
      std::memcpy(last, at, size_t(row_bytes - block * kUnit));
      weights[r] = F::load(last);
    }
    for (int t = 0; t < T; t++) {
      typename F::Input input = F::input(bytes + t * x.rows->columns + block * kBlock);
      S::Floats scale = S::set(scales[t * blocks + block]);
      for (int r = 0; r < R; r++) sums[r][t] = S::fma(F::dot(weights[r], input), scale, sums[r][t]);
    }
  }
  for (int t = 0; t < T; t++)
    for (int r = 0; r < R; r++) out[t][column + r] = S::sum(sums[r][t]);
}

// As small_blocks_tile, with blocks of 256 columns.
template <typename F, int T, int R>
inline void large_blocks_tile(const Matrix& weight, int64_t row, const GroupedRows& x, int64_t first,
                              float (*out)[kChunkColumns], int column) {
  using S = Simd;
  int64_t blocks = weight.columns / 256, row_bytes = blocks * F::kBytes;
  const uint8_t* values = weight.values + row * row_bytes;
  int64_t ahead = R * row_bytes > kPrefetchBytes ? R * row_bytes : kPrefetchBytes;
  const int8_t* bytes = x.rows->values + first * x.rows->columns;
  const float* scales = x.rows->scales + first * 2 * blocks;
  const float* x_sums = x.sums + first * x.stride;
  S::Floats sums[R][T];
  for (int r = 0; r < R; r++)
    for (int t = 0; t < T; t++) sums[r][t] = S::zero();
  for (int64_t block = 0; block < blocks; block++) {
    const uint8_t* at = values + block * F::kBytes;
    typename F::Block opened[R];
    for (int r = 0; r < R; r++) {
      for (int i = 0; i < F::kBytes; i += 64) S::prefetch(at + r * row_bytes + ahead + i);
      opened[r] = F::open(at + r * row_bytes, block % 2);
    }
    if (F::kMinima) {
      for (int t = 0; t < T; t++) {
        S::Floats pair = S::load(x_sums + t * x.stride + block / 2 * 16);  // sums of 16 groups: of two blocks
        for (int r = 0; r < R; r++) sums[r][t] = S::fnma(opened[r].minima, pair, sums[r][t]);
      }
    }
    S::Floats parts[R][T];
#if defined(__AVX512F__)  // so that what depends on `half` is known; GCC 12 at -O1 computes other numbers then
#pragma GCC unroll 2
#endif
    for (int half = 0; half < 2; half++) {
      S::Bytes weights[R][2];
      S::Ints factors[R][2];
      for (int r = 0; r < R; r++) {
        F::load(at + r * row_bytes, half, weights[r]);
        F::spread(opened[r], half, factors[r]);
      }
      for (int t = 0; t < T; t++) {
        const int8_t* x_at = bytes + t * x.rows->columns + block * 256 + half * kBlock;
        S::Bytes low = F::input(x_at, 0), high = F::input(x_at, 1);
        S::Ints low_bias = F::bias(low), high_bias = F::bias(high);
        S::Floats scale = S::set(scales[t * 2 * blocks + 2 * block + half]);
        for (int r = 0; r < R; r++) {
          S::Ints products = S::scaled_add(S::no_ints(), S::dot_nibbles(low_bias, weights[r][0], low), factors[r][0]);
          products = S::scaled_add(products, S::dot_nibbles(high_bias, weights[r][1], high), factors[r][1]);
          S::Floats part = S::to_floats(products);
          parts[r][t] = half ? S::fma(part, scale, parts[r][t]) : S::mul(part, scale);
        }
      }
    }
    for (int r = 0; r < R; r++)
      for (int t = 0; t < T; t++) sums[r][t] = S::fma(parts[r][t], opened[r].d, sums[r][t]);
  }
  for (int t = 0; t < T; t++)
    for (int r = 0; r < R; r++) out[t][column + r] = S::sum(sums[r][t]);
}

template <int T, int R>
inline void small_blocks_tile(const Matrix& weight, int64_t row, const GroupedRows& x, int64_t first,
                              float (*out)[kChunkColumns], int column) {
  switch (weight.format) {
    case kQ8_0: return small_blocks_tile<Q8_0, T, R>(weight, row, x, first, out, column);
    case kQ4_0: return small_blocks_tile<Q4_0, T, R>(weight, row, x, first, out, column);
    case kQ4_1: return small_blocks_tile<Q4_1, T, R>(weight, row, x, first, out, column);
    case kQ5_0: return small_blocks_tile<Q5_0, T, R>(weight, row, x, first, out, column);
    default: small_blocks_tile<Q5_1, T, R>(weight, row, x, first, out, column);
  }
}

template <int T, int R>
inline void large_blocks_tile(const Matrix& weight, int64_t row, const GroupedRows& x, int64_t first,
                              float (*out)[kChunkColumns], int column) {
  switch (weight.format) {
    case kQ4_K: return large_blocks_tile<Q4_K, T, R>(weight, row, x, first, out, column);
    case kQ5_K:
      if constexpr (R == 4) {  // their scales, minima and bits don't fit the registers: half as fast
        large_blocks_tile<Q5_K, T, 2>(weight, row, x, first, out, column);
        large_blocks_tile<Q5_K, T, 2>(weight, row + 2, x, first, out, column + 2);
        return;
      }
      return large_blocks_tile<Q5_K, T, R>(weight, row, x, first, out, column);
    default: large_blocks_tile<Q6_K, T, R>(weight, row, x, first, out, column);
  }
}

// Return the scale with which all weights of a row fit bytes, whatever the bits in its blocks are: of weights
// scale * q + offset, with q from `low` to `high`. NaN if a scale or an offset is not finite.
inline float bytes_scale(const float* scales, const float* offsets, int64_t count, int low, int high) {
  using S = Simd;
  S::Floats most = S::zero(), poison = S::zero();
  for (int64_t i = 0; i < count; i += 16) {
    S::Floats scale = load_part(scales + i, count - i), offset = load_part(offsets + i, count - i);
    most = S::max(most, S::abs(S::fma(S::set(float(low)), scale, offset)));
    most = S::max(most, S::abs(S::fma(S::set(float(high)), scale, offset)));
    poison = S::add(poison, S::add(S::sub(scale, scale), S::sub(offset, offset)));
  }
  constexpr float kSmallest = 1.17549435e-38f;  // its reciprocal is finite
  float scale = S::largest(most) / 127;
  return (scale > kSmallest ? scale : kSmallest) + S::sum(poison);
}

inline void multiply_all(float* x, int64_t count, float factor) {
  for (int64_t i = 0; i < count; i += 16) store_part(x + i, Simd::mul(load_part(x + i, count - i), Simd::set(factor)), count - i);
}

// Round 128 columns, as a format lays them out, to bytes; each scale is that of `columns` columns.
template <typename F>
inline void round_weights(const Simd::Bytes* weights, const float* scales, const float* offsets, int columns, int8_t* out) {
  using S = Simd;
  int8_t bytes[kBlock];
  for (int i = 0; i < 2; i++) S::store_bytes(bytes + 64 * i, weights[i]);
  for (int group = 0; group < 8; group++) {
    int i = 16 * group / columns;
    S::Floats weight = S::fma(S::load(bytes + F::place(group)), S::set(scales[i]), S::set(offsets[i]));
    S::store_bytes(out + 16 * group, weight);
  }
}

// Round the weights of a row with blocks of 32 columns to bytes with one scale, padded with zeros to whole units of 128.
// `numbers` is room for a padded row of floats.
template <typename F>
inline float widen_small_blocks(const Matrix& weight, int64_t row, float* numbers, int8_t* out) {
  constexpr int kUnit = 4 * F::kBytes;
  int64_t blocks = weight.columns / 32, row_bytes = blocks * F::kBytes;
  const uint8_t* at = weight.values + row * row_bytes;
  float *scales = numbers, *offsets = numbers + blocks + 16;
  F::factors(at, blocks, scales, offsets);
  float scale = bytes_scale(scales, offsets, blocks, F::kLow, F::kHigh);
  float* both[2] = {scales, offsets};
  for (float* factors : both) {
    multiply_all(factors, blocks, 1 / scale);
    Simd::store(factors + blocks, Simd::zero());  // of the padding
  }
  for (int64_t left = row_bytes; left > 0; left -= kUnit, at += kUnit, out += kBlock, scales += 4, offsets += 4) {
    uint8_t last[kUnit] = {};
    if (left < kUnit) std::memcpy(last, at, size_t(left));
    typename F::Weights weights = F::load(left < kUnit ? last : at);
    round_weights<F>(weights.v, scales, offsets, 32, out);
  }
  return scale;
}

// As widen_small_blocks, with blocks of 256 columns.
template <typename F>
inline float widen_large_blocks(const Matrix& weight, int64_t row, float* numbers, int8_t* out) {
  constexpr int kColumns = 16 * F::kScaled, kScales = 256 / kColumns;
  int64_t blocks = weight.columns / 256, count = blocks * kScales;
  const uint8_t* at = weight.values + row * blocks * F::kBytes;
  float *scales = numbers, *offsets = numbers + count + 16;
  F::factors(at, blocks, scales, offsets);
  float scale = bytes_scale(scales, offsets, count, F::kLow, F::kHigh);
  multiply_all(scales, count, 1 / scale);
  multiply_all(offsets, count, 1 / scale);
  for (int64_t block = 0; block < blocks; block++, at += F::kBytes)
    for (int half = 0; half < 2; half++, out += kBlock, scales += kScales / 2, offsets += kScales / 2) {
      Simd::Bytes weights[2];
      F::load(at, half, weights);
      round_weights<F>(weights, scales, offsets, kColumns, out);
    }
  return scale;
}

inline float widen_gguf_row(const Matrix& weight, int64_t row, float* numbers, int8_t* out) {
  switch (weight.format) {
    case kQ8_0: return widen_small_blocks<Q8_0>(weight, row, numbers, out);
    case kQ4_0: return widen_small_blocks<Q4_0>(weight, row, numbers, out);
    case kQ4_1: return widen_small_blocks<Q4_1>(weight, row, numbers, out);
    case kQ5_0: return widen_small_blocks<Q5_0>(weight, row, numbers, out);
    case kQ5_1: return widen_small_blocks<Q5_1>(weight, row, numbers, out);
    case kQ4_K: return widen_large_blocks<Q4_K>(weight, row, numbers, out);
    case kQ5_K: return widen_large_blocks<Q5_K>(weight, row, numbers, out);
    default: return widen_large_blocks<Q6_K>(weight, row, numbers, out);
  }
}

}  // namespace
}  // namespace kernels
