// The vectors of simd_avx512.h in plain C++, to compare the others with. Same lanes, same results.
#pragma once
#include <algorithm>
#include <cmath>

#include "types.h"

namespace kernels {
namespace {  // compiled once for each instruction set: no symbol may be shared

struct Simd {
  static constexpr int kRegisters = 16;  // that hold 16 floats
  // Rows and vectors of a product of matrices that fit the registers.
  static constexpr int kTileRows = 4, kTileVectors = 1;

  struct Floats {
    float v[16];
  };
  struct Ints {
    int32_t v[16];
  };
  struct Bytes {
    int8_t v[64];
  };

  template <typename F>
  static Floats each(F f) {
    Floats out;
    for (int i = 0; i < 16; i++) out.v[i] = f(i);
    return out;
  }
  template <typename F>
  static Ints each_int(F f) {
    Ints out;
    for (int i = 0; i < 16; i++) out.v[i] = f(i);
    return out;
  }
  template <typename F>
  static Bytes each_byte(F f) {
    Bytes out;
    for (int i = 0; i < 64; i++) out.v[i] = int8_t(f(i));
    return out;
  }

  static Floats set(float x) {
    return each([&](int) { return x; });
  }
  static Floats zero() { return set(0); }
  static Floats load(const float* p) {
    return each([&](int i) { return p[i]; });
  }
  static void store(float* p, Floats x) { std::copy(x.v, x.v + 16, p); }
  static Floats load(const BFloat16* p) {
    return each([&](int i) { return widen(p[i]); });
  }
  static Floats load(const Half* p) {
    return each([&](int i) { return half(reinterpret_cast<const uint8_t*>(p + i)); });
  }
  static Floats load_first(const BFloat16* p, int64_t count) {  // the others are 0
    BFloat16 part[16] = {};
    for (int64_t i = 0; i < count; i++) part[i] = p[i];
    return load(part);
  }
  static Floats load(const int8_t* p) {
    return each([&](int i) { return float(p[i]); });
  }
  static void store(BFloat16* p, Floats x) {
    for (int i = 0; i < 16; i++) {
      uint32_t bits;
      std::memcpy(&bits, &x.v[i], 4);
      bits = std::isnan(x.v[i]) ? 0x7fc00000u : bits + 0x7fff + (bits >> 16 & 1);
      p[i].bits = uint16_t(bits >> 16);
    }
  }
  static Floats add(Floats x, Floats y) {
    return each([&](int i) { return x.v[i] + y.v[i]; });
  }
  static Floats sub(Floats x, Floats y) {
    return each([&](int i) { return x.v[i] - y.v[i]; });
  }
  static Floats mul(Floats x, Floats y) {
    return each([&](int i) { return x.v[i] * y.v[i]; });
  }
  static Floats div(Floats x, Floats y) {
    return each([&](int i) { return x.v[i] / y.v[i]; });
  }
  static Floats fma(Floats x, Floats y, Floats z) {
    return each([&](int i) { return std::fma(x.v[i], y.v[i], z.v[i]); });
  }
  static Floats fnma(Floats x, Floats y, Floats z) {
    return each([&](int i) { return std::fma(-x.v[i], y.v[i], z.v[i]); });
  }
  static Floats max(Floats x, Floats y) {
    return each([&](int i) { return x.v[i] > y.v[i] ? x.v[i] : y.v[i]; });
  }
  static Floats min(Floats x, Floats y) {
    return each([&](int i) { return x.v[i] < y.v[i] ? x.v[i] : y.v[i]; });
  }
  static Floats abs(Floats x) {
    return each([&](int i) { return std::fabs(x.v[i]); });
  }
  static Floats round(Floats x) {
    return each([&](int i) { return std::nearbyint(x.v[i]); });
  }
  static Floats scale_by_power(Floats x, Floats n) {
    return each([&](int i) {
      int32_t exponent = std::isnan(n.v[i]) ? 0 : int32_t(n.v[i]);
      return std::ldexp(x.v[i], exponent);
    });
  }
  static Floats spread2(const float* s) {
    return each([&](int i) { return s[i / 8]; });
  }
  static float sum(Floats x) {
    for (int apart = 8; apart; apart /= 2)
      for (int i = 0; i < apart; i++) x.v[i] += x.v[i + apart];
    return x.v[0];
  }
  static void sum4(const Floats* x, float* sums) {  // as `sum`, of four vectors
    for (int i = 0; i < 4; i++) sums[i] = sum(x[i]);
  }
  static float largest(Floats x) { return *std::max_element(x.v, x.v + 16); }

  static Ints no_ints() {
    return each_int([](int) { return 0; });
  }
  static Ints sub(Ints x, Ints y) {
    return each_int([&](int i) { return x.v[i] - y.v[i]; });
  }
  static Ints add(Ints x, Ints y) {
    return each_int([&](int i) { return x.v[i] + y.v[i]; });
  }
  static Floats to_floats(Ints x) {
    return each([&](int i) { return float(x.v[i]); });
  }
  static Floats load_ints(const int32_t* p) {
    return each([&](int i) { return float(p[i]); });
  }
  static void store_bytes(int8_t* p, Floats x) {
    for (int i = 0; i < 16; i++) {
      float rounded = std::nearbyint(x.v[i]);
      p[i] = rounded >= 127 ? 127 : rounded > -128 ? int8_t(rounded) : -128;  // NaN becomes -128
    }
  }
  static Bytes load_bytes(const void* p) {
    Bytes out;
    std::memcpy(out.v, p, 64);
    return out;
  }
  static void store_bytes(void* p, Bytes x) { std::memcpy(p, x.v, 64); }
  static Bytes low_nibbles(Bytes x) {
    return each_byte([&](int i) { return x.v[i] & 15; });
  }
  static Bytes high_nibbles(Bytes x) {
    return each_byte([&](int i) { return uint8_t(x.v[i]) >> 4; });
  }
  static Bytes look_up(const int8_t* table, Bytes nibbles) {
    return each_byte([&](int i) { return table[nibbles.v[i]]; });
  }
  static Ints dot_nibbles(Ints sum, Bytes a, Bytes x) {
    for (int i = 0; i < 64; i++) sum.v[i / 4] += int32_t(a.v[i]) * x.v[i];
    return sum;
  }
  static Ints bytes_bias(Bytes) { return no_ints(); }
  static Ints dot_bytes(Ints sum, Bytes a, Bytes x) { return dot_nibbles(sum, a, x); }
  static Bytes set_bytes(int x) {
    return each_byte([&](int) { return x; });
  }
  static Bytes either(Bytes x, Bytes y) {
    return each_byte([&](int i) { return x.v[i] | y.v[i]; });
  }
  static Bytes load_halves(const void* p, const void* q) {
    Bytes out;
    std::memcpy(out.v, p, 32);
    std::memcpy(out.v + 32, q, 32);
    return out;
  }
  template <int stride>
  static Bytes load_quarters(const uint8_t* p) {
    Bytes out;
    for (int i = 0; i < 4; i++) std::memcpy(out.v + 16 * i, p + i * stride, 16);
    return out;
  }
  template <int low, int high>
  static Bytes shifted_bits(Bytes x, int mask) {
    return each_byte([&](int i) {
      int count = i < 32 ? low : high, byte = uint8_t(x.v[i]);
      return (count < 0 ? byte >> -count : byte << count) & mask;
    });
  }
  static Bytes bits_as(int value, uint64_t bits) {
    return each_byte([&](int i) { return bits >> i & 1 ? value : 0; });
  }
  struct Scales {
    int8_t v[8];
  };
  static Scales load_scales(uint64_t bytes) {
    Scales out;
    for (int i = 0; i < 8; i++) out.v[i] = int8_t(bytes >> 8 * i);
    return out;
  }
  template <int a, int b, int c, int d>
  static Ints spread(Scales scales) {
    constexpr int lanes[4] = {a, b, c, d};
    return each_int([&](int i) { return scales.v[lanes[i / 4]]; });
  }
  static Ints scaled_add(Ints sum, Ints products, Ints scales) {
    return each_int([&](int i) { return sum.v[i] + products.v[i] * scales.v[i]; });
  }
  static float half(const uint8_t* p) {
    int bits = p[0] | p[1] << 8, exponent = bits >> 10 & 31, fraction = bits & 1023;
    float size = exponent == 31 ? (fraction ? NAN : INFINITY)
                 : exponent     ? std::ldexp(float(1024 + fraction), exponent - 25)
                                : std::ldexp(float(fraction), -24);
    return bits & 0x8000 ? -size : size;
  }
  static Floats set_half(const uint8_t* p) { return set(half(p)); }
  template <int stride, int a, int b, int c, int d>
  static Floats spread_halves(const uint8_t* p) {
    constexpr int which[4] = {a, b, c, d};
    return each([&](int i) { return half(p + which[i / 4] * stride); });
  }
  struct SixBits {
    int8_t scales[8], minima[8];
  };
  static SixBits load_six_bits(const uint8_t* p) {
    SixBits out;
    for (int i = 0; i < 8; i++) {
      out.scales[i] = int8_t(i < 4 ? p[i] & 63 : (p[i + 4] & 15) | (p[i - 4] >> 6) << 4);
      out.minima[i] = int8_t(i < 4 ? p[i + 4] & 63 : p[i + 4] >> 4 | (p[i] >> 6) << 4);
    }
    return out;
  }
  static Scales scales(SixBits six) {
    Scales out;
    std::copy(six.scales, six.scales + 8, out.v);
    return out;
  }
  static Floats minima(SixBits six, bool last) {
    return each([&](int i) { return i / 8 == int(last) ? float(six.minima[i % 8]) : 0; });
  }
  static Floats dot_pairs(Floats sum, Bytes weights, int32_t x) {
    int32_t pairs[16];
    std::memcpy(pairs, weights.v, 64);
    return each([&](int i) {
      return std::fma(first_of(pairs[i]), first_of(x), std::fma(second_of(pairs[i]), second_of(x), sum.v[i]));
    });
  }
  static void prefetch(const void*) {}
};

}  // namespace
}  // namespace kernels
