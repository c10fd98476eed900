// The vectors of simd_avx512.h as four of 128 bits, with NEON and its dot products of bytes. Same lanes, same results.
#pragma once
#include <arm_neon.h>

#include "types.h"

namespace kernels {
namespace {  // compiled once for each instruction set: no symbol may be shared

struct Simd {
  static constexpr int kRegisters = 8;  // that hold 16 floats
  // Rows and vectors of a product of matrices that fit the registers.
  static constexpr int kTileRows = 4, kTileVectors = 1;

  struct Floats {
    float32x4_t v[4];
  };
  struct Ints {
    int32x4_t v[4];
  };
  struct Bytes {
    int8x16_t v[4];
  };

  template <typename F>
  static Floats each(F f) {
    return {{f(0), f(1), f(2), f(3)}};
  }
  static Floats set(float x) {
    return each([&](int) { return vdupq_n_f32(x); });
  }
  static Floats zero() { return set(0); }
  static Floats load(const float* p) {
    return each([&](int i) { return vld1q_f32(p + 4 * i); });
  }
  static void store(float* p, Floats x) {
    for (int i = 0; i < 4; i++) vst1q_f32(p + 4 * i, x.v[i]);
  }
  static Floats load(const BFloat16* p) {
    auto at = reinterpret_cast<const uint16_t*>(p);
    return each([&](int i) { return vreinterpretq_f32_u32(vshll_n_u16(vld1_u16(at + 4 * i), 16)); });
  }
  static Floats load(const Half* p) {
    auto at = reinterpret_cast<const uint16_t*>(p);
    return each([&](int i) { return vcvt_f32_f16(vreinterpret_f16_u16(vld1_u16(at + 4 * i))); });
  }
  static Floats load_first(const BFloat16* p, int64_t count) {  // the others are 0
    BFloat16 part[16] = {};
    for (int64_t i = 0; i < count; i++) part[i] = p[i];
    return load(part);
  }
  static Floats load(const int8_t* p) {
    int16x8_t words[2] = {vmovl_s8(vld1_s8(p)), vmovl_s8(vld1_s8(p + 8))};
    return each([&](int i) {
      int16x4_t part = i % 2 ? vget_high_s16(words[i / 2]) : vget_low_s16(words[i / 2]);
      return vcvtq_f32_s32(vmovl_s16(part));
    });
  }
  static void store(BFloat16* p, Floats x) {
    for (int i = 0; i < 4; i++) {
      uint32x4_t bits = vreinterpretq_u32_f32(x.v[i]);
      uint32x4_t odd = vandq_u32(vshrq_n_u32(bits, 16), vdupq_n_u32(1));
      uint32x4_t up = vaddq_u32(vaddq_u32(bits, vdupq_n_u32(0x7fff)), odd);
      up = vbslq_u32(vceqq_f32(x.v[i], x.v[i]), up, vdupq_n_u32(0x7fc00000));
      vst1_u16(reinterpret_cast<uint16_t*>(p) + 4 * i, vshrn_n_u32(up, 16));
    }
  }
  static Floats add(Floats x, Floats y) {
    return each([&](int i) { return vaddq_f32(x.v[i], y.v[i]); });
  }
  static Floats sub(Floats x, Floats y) {
    return each([&](int i) { return vsubq_f32(x.v[i], y.v[i]); });
  }
  static Floats mul(Floats x, Floats y) {
    return each([&](int i) { return vmulq_f32(x.v[i], y.v[i]); });
  }
  static Floats div(Floats x, Floats y) {
    return each([&](int i) { return vdivq_f32(x.v[i], y.v[i]); });
  }
  static Floats fma(Floats x, Floats y, Floats z) {
    return each([&](int i) { return vfmaq_f32(z.v[i], x.v[i], y.v[i]); });
  }
  static Floats fnma(Floats x, Floats y, Floats z) {
    return each([&](int i) { return vfmsq_f32(z.v[i], x.v[i], y.v[i]); });
  }
  static Floats max(Floats x, Floats y) {
    return each([&](int i) { return vmaxq_f32(x.v[i], y.v[i]); });
  }
  static Floats min(Floats x, Floats y) {
    return each([&](int i) { return vminq_f32(x.v[i], y.v[i]); });
  }
  static Floats abs(Floats x) {
    return each([&](int i) { return vabsq_f32(x.v[i]); });
  }
  static Floats round(Floats x) {
    return each([&](int i) { return vrndnq_f32(x.v[i]); });
  }
  static Floats scale_by_power(Floats x, Floats n) {
    return each([&](int i) {
      int32x4_t exponent = vshlq_n_s32(vaddq_s32(vcvtnq_s32_f32(n.v[i]), vdupq_n_s32(127)), 23);
      return vmulq_f32(x.v[i], vreinterpretq_f32_s32(exponent));
    });
  }
  static Floats spread2(const float* s) {
    return each([&](int i) { return vdupq_n_f32(s[i / 2]); });
  }
  static float sum(Floats x) {
    float32x4_t quarter = vaddq_f32(vaddq_f32(x.v[0], x.v[2]), vaddq_f32(x.v[1], x.v[3]));
    float32x2_t pair = vadd_f32(vget_low_f32(quarter), vget_high_f32(quarter));
    return vget_lane_f32(pair, 0) + vget_lane_f32(pair, 1);
  }
  static void sum4(const Floats* x, float* sums) {  // as `sum`, of four vectors
    for (int i = 0; i < 4; i++) sums[i] = sum(x[i]);
  }
  static float largest(Floats x) {
    return vmaxvq_f32(vmaxq_f32(vmaxq_f32(x.v[0], x.v[1]), vmaxq_f32(x.v[2], x.v[3])));
  }

  template <typename F>
  static Ints each_int(F f) {
    return {{f(0), f(1), f(2), f(3)}};
  }
  template <typename F>
  static Bytes each_byte(F f) {
    return {{f(0), f(1), f(2), f(3)}};
  }
  static Ints no_ints() {
    return each_int([](int) { return vdupq_n_s32(0); });
  }
  static Ints sub(Ints x, Ints y) {
    return each_int([&](int i) { return vsubq_s32(x.v[i], y.v[i]); });
  }
  static Ints add(Ints x, Ints y) {
    return each_int([&](int i) { return vaddq_s32(x.v[i], y.v[i]); });
  }
  static Floats to_floats(Ints x) {
    return each([&](int i) { return vcvtq_f32_s32(x.v[i]); });
  }
  static Floats load_ints(const int32_t* p) {
    return each([&](int i) { return vcvtq_f32_s32(vld1q_s32(p + 4 * i)); });
  }
  static void store_bytes(int8_t* p, Floats x) {
    int16x4_t words[4];
    for (int i = 0; i < 4; i++) words[i] = vqmovn_s32(vcvtnq_s32_f32(x.v[i]));
    vst1_s8(p, vqmovn_s16(vcombine_s16(words[0], words[1])));
    vst1_s8(p + 8, vqmovn_s16(vcombine_s16(words[2], words[3])));
  }
  static Bytes load_bytes(const void* p) {
    return each_byte([&](int i) { return vld1q_s8(static_cast<const int8_t*>(p) + 16 * i); });
  }
  static void store_bytes(void* p, Bytes x) {
    for (int i = 0; i < 4; i++) vst1q_s8(static_cast<int8_t*>(p) + 16 * i, x.v[i]);
  }
  static Bytes low_nibbles(Bytes x) {
    return each_byte([&](int i) { return vandq_s8(x.v[i], vdupq_n_s8(15)); });
  }
  static Bytes high_nibbles(Bytes x) {
    return each_byte([&](int i) { return vreinterpretq_s8_u8(vshrq_n_u8(vreinterpretq_u8_s8(x.v[i]), 4)); });
  }
  static Bytes look_up(const int8_t* table, Bytes nibbles) {
    int8x16_t entries = vld1q_s8(table);
    return each_byte([&](int i) { return vqtbl1q_s8(entries, vreinterpretq_u8_s8(nibbles.v[i])); });
  }
  static Ints dot_nibbles(Ints sum, Bytes a, Bytes x) {
    return each_int([&](int i) { return vdotq_s32(sum.v[i], a.v[i], x.v[i]); });
  }
  static Ints bytes_bias(Bytes) { return no_ints(); }
  static Ints dot_bytes(Ints sum, Bytes a, Bytes x) { return dot_nibbles(sum, a, x); }
  static Bytes set_bytes(int x) {
    return each_byte([&](int) { return vdupq_n_s8(int8_t(x)); });
  }
  static Bytes either(Bytes x, Bytes y) {
    return each_byte([&](int i) { return vorrq_s8(x.v[i], y.v[i]); });
  }
  static Bytes load_halves(const void* p, const void* q) {
    return each_byte([&](int i) { return vld1q_s8(static_cast<const int8_t*>(i < 2 ? p : q) + 16 * (i % 2)); });
  }
  template <int stride>
  static Bytes load_quarters(const uint8_t* p) {
    return each_byte([&](int i) { return vreinterpretq_s8_u8(vld1q_u8(p + i * stride)); });
  }
  template <int low, int high>
  static Bytes shifted_bits(Bytes x, int mask) {
    return each_byte([&](int i) {
      uint8x16_t shifted = vshlq_u8(vreinterpretq_u8_s8(x.v[i]), vdupq_n_s8(i < 2 ? low : high));
      return vreinterpretq_s8_u8(vandq_u8(shifted, vdupq_n_u8(uint8_t(mask))));
    });
  }
  static Bytes bits_as(int value, uint64_t bits) {
    uint8x16_t one = vreinterpretq_u8_u64(vdupq_n_u64(0x8040201008040201u));
    return each_byte([&](int i) {
      uint8x16_t bytes = vcombine_u8(vdup_n_u8(uint8_t(bits >> 16 * i)), vdup_n_u8(uint8_t(bits >> (16 * i + 8))));
      return vreinterpretq_s8_u8(vandq_u8(vtstq_u8(bytes, one), vdupq_n_u8(uint8_t(value))));
    });
  }
  using Scales = int16x8_t;
  static Scales load_scales(uint64_t bytes) { return vmovl_s8(vcreate_s8(bytes)); }
  template <int a, int b, int c, int d>
  static Ints spread(Scales scales) {
    return {{vdupq_n_s32(vgetq_lane_s16(scales, a)), vdupq_n_s32(vgetq_lane_s16(scales, b)),
             vdupq_n_s32(vgetq_lane_s16(scales, c)), vdupq_n_s32(vgetq_lane_s16(scales, d))}};
  }
  static Ints scaled_add(Ints sum, Ints products, Ints scales) {
    return each_int([&](int i) { return vmlaq_s32(sum.v[i], products.v[i], scales.v[i]); });
  }
  static Floats set_half(const uint8_t* p) {
    uint16_t bits;
    std::memcpy(&bits, p, 2);
    return set(vgetq_lane_f32(vcvt_f32_f16(vreinterpret_f16_u16(vdup_n_u16(bits))), 0));
  }
  template <int stride, int a, int b, int c, int d>
  static Floats spread_halves(const uint8_t* p) {
    uint16_t bits[4];
    for (int i = 0; i < 4; i++) std::memcpy(bits + i, p + i * stride, 2);
    float32x4_t halves = vcvt_f32_f16(vreinterpret_f16_u16(vld1_u16(bits)));
    return {{vdupq_laneq_f32(halves, a), vdupq_laneq_f32(halves, b), vdupq_laneq_f32(halves, c),
             vdupq_laneq_f32(halves, d)}};
  }
  using SixBits = uint8x16_t;
  static SixBits load_six_bits(const uint8_t* p) {
    uint32_t a, b, c;
    std::memcpy(&a, p, 4);
    std::memcpy(&b, p + 4, 4);
    std::memcpy(&c, p + 8, 4);
    uint32_t parts[4] = {a & 0x3f3f3f3f, (c & 0x0f0f0f0f) | (a >> 2 & 0x30303030), b & 0x3f3f3f3f,
                         (c >> 4 & 0x0f0f0f0f) | (b >> 2 & 0x30303030)};
    return vreinterpretq_u8_u32(vld1q_u32(parts));
  }
  static Scales scales(SixBits six) { return vmovl_s8(vreinterpret_s8_u8(vget_low_u8(six))); }
  static Floats minima(SixBits six, bool last) {
    uint16x8_t words = vmovl_u8(vget_high_u8(six));
    float32x4_t low = vcvtq_f32_u32(vmovl_u16(vget_low_u16(words))), high = vcvtq_f32_u32(vmovl_u16(vget_high_u16(words)));
    float32x4_t none = vdupq_n_f32(0);
    return last ? Floats{{none, none, low, high}} : Floats{{low, high, none, none}};
  }
  static Floats dot_pairs(Floats sum, Bytes weights, int32_t x) {
    float x_second = second_of(x), x_first = first_of(x);
    return each([&](int i) {
      uint32x4_t pairs = vreinterpretq_u32_s8(weights.v[i]);
      float32x4_t second = vreinterpretq_f32_u32(vandq_u32(pairs, vdupq_n_u32(0xffff0000u)));
      float32x4_t first = vreinterpretq_f32_u32(vshlq_n_u32(pairs, 16));
      return vfmaq_n_f32(vfmaq_n_f32(sum.v[i], second, x_second), first, x_first);
    });
  }
  static void prefetch(const void* p) { __builtin_prefetch(p, 0, 2); }  // into L2
};

}  // namespace
}  // namespace kernels
