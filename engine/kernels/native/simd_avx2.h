// The vectors of simd_avx512.h as pairs of 256 bits, with AVX2 and FMA. Same lanes, same results.
#pragma once
#include <immintrin.h>

#include "six_bits_x86.h"
#include "types.h"

namespace kernels {
namespace {  // compiled once for each instruction set: no symbol may be shared

struct Simd {
  static constexpr int kRegisters = 8;  // that hold 16 floats
  // Rows and vectors of a product of matrices that fit the registers.
  static constexpr int kTileRows = 4, kTileVectors = 1;

  struct Floats {
    __m256 a, b;
  };
  struct Ints {
    __m256i a, b;
  };
  using Bytes = Ints;

  static Floats zero() { return {_mm256_setzero_ps(), _mm256_setzero_ps()}; }
  static Floats set(float x) { return {_mm256_set1_ps(x), _mm256_set1_ps(x)}; }
  static Floats load(const float* p) { return {_mm256_loadu_ps(p), _mm256_loadu_ps(p + 8)}; }
  static void store(float* p, Floats x) {
    _mm256_storeu_ps(p, x.a);
    _mm256_storeu_ps(p + 8, x.b);
  }
  static __m256 widened(const BFloat16* p) {
    __m128i narrow = _mm_loadu_si128(reinterpret_cast<const __m128i*>(p));
    return _mm256_castsi256_ps(_mm256_slli_epi32(_mm256_cvtepu16_epi32(narrow), 16));
  }
  static Floats load(const BFloat16* p) { return {widened(p), widened(p + 8)}; }
  static Floats load(const Half* p) {
    auto at = reinterpret_cast<const __m128i*>(p);
    return {_mm256_cvtph_ps(_mm_loadu_si128(at)), _mm256_cvtph_ps(_mm_loadu_si128(at + 1))};
  }
  static Floats load_first(const BFloat16* p, int64_t count) {  // the others are 0
    BFloat16 part[16] = {};
    for (int64_t i = 0; i < count; i++) part[i] = p[i];
    return load(part);
  }
  static Floats load(const int8_t* p) {
    __m128i bytes = _mm_loadu_si128(reinterpret_cast<const __m128i*>(p));
    return to_floats({_mm256_cvtepi8_epi32(bytes), _mm256_cvtepi8_epi32(_mm_srli_si128(bytes, 8))});
  }
  static __m256i rounded(__m256 x) {
    __m256i bits = _mm256_castps_si256(x);
    __m256i odd = _mm256_and_si256(_mm256_srli_epi32(bits, 16), _mm256_set1_epi32(1));
    __m256i up = _mm256_add_epi32(_mm256_add_epi32(bits, _mm256_set1_epi32(0x7fff)), odd);
    __m256 nan = _mm256_cmp_ps(x, x, _CMP_UNORD_Q);
    up = _mm256_blendv_epi8(up, _mm256_set1_epi32(0x7fc00000), _mm256_castps_si256(nan));
    return _mm256_srli_epi32(up, 16);
  }
  static void store(BFloat16* p, Floats x) {  // rounded to nearest, ties to even; NaN stays NaN
    __m256i narrow = _mm256_packus_epi32(rounded(x.a), rounded(x.b));
    _mm256_storeu_si256(reinterpret_cast<__m256i*>(p), _mm256_permute4x64_epi64(narrow, 0xd8));
  }
  static Floats add(Floats x, Floats y) { return {_mm256_add_ps(x.a, y.a), _mm256_add_ps(x.b, y.b)}; }
  static Floats sub(Floats x, Floats y) { return {_mm256_sub_ps(x.a, y.a), _mm256_sub_ps(x.b, y.b)}; }
  static Floats mul(Floats x, Floats y) { return {_mm256_mul_ps(x.a, y.a), _mm256_mul_ps(x.b, y.b)}; }
  static Floats div(Floats x, Floats y) { return {_mm256_div_ps(x.a, y.a), _mm256_div_ps(x.b, y.b)}; }
  static Floats fma(Floats x, Floats y, Floats z) {
    return {_mm256_fmadd_ps(x.a, y.a, z.a), _mm256_fmadd_ps(x.b, y.b, z.b)};
  }
  static Floats fnma(Floats x, Floats y, Floats z) {
    return {_mm256_fnmadd_ps(x.a, y.a, z.a), _mm256_fnmadd_ps(x.b, y.b, z.b)};
  }
  static Floats max(Floats x, Floats y) { return {_mm256_max_ps(x.a, y.a), _mm256_max_ps(x.b, y.b)}; }
  static Floats min(Floats x, Floats y) { return {_mm256_min_ps(x.a, y.a), _mm256_min_ps(x.b, y.b)}; }
  static Floats abs(Floats x) {
    __m256 sign = _mm256_set1_ps(-0.0f);
    return {_mm256_andnot_ps(sign, x.a), _mm256_andnot_ps(sign, x.b)};
  }
  static Floats round(Floats x) {
    constexpr int mode = _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC;
    return {_mm256_round_ps(x.a, mode), _mm256_round_ps(x.b, mode)};
  }
  static __m256 power(__m256 n) {
    return _mm256_castsi256_ps(_mm256_slli_epi32(_mm256_add_epi32(_mm256_cvtps_epi32(n), _mm256_set1_epi32(127)), 23));
  }
  static Floats scale_by_power(Floats x, Floats n) {
    return {_mm256_mul_ps(x.a, power(n.a)), _mm256_mul_ps(x.b, power(n.b))};
  }
  static Floats spread2(const float* s) { return {_mm256_set1_ps(s[0]), _mm256_set1_ps(s[1])}; }
  static float sum(Floats x) {
    __m256 half = _mm256_add_ps(x.a, x.b);
    __m128 quarter = _mm_add_ps(_mm256_castps256_ps128(half), _mm256_extractf128_ps(half, 1));
    quarter = _mm_add_ps(quarter, _mm_movehl_ps(quarter, quarter));
    return _mm_cvtss_f32(_mm_add_ss(quarter, _mm_shuffle_ps(quarter, quarter, 1)));
  }
  static void sum4(const Floats* x, float* sums) {  // as `sum`, of four vectors
    __m128 quarters[4];
    for (int i = 0; i < 4; i++) {
      __m256 half = _mm256_add_ps(x[i].a, x[i].b);
      quarters[i] = _mm_add_ps(_mm256_castps256_ps128(half), _mm256_extractf128_ps(half, 1));
    }
    __m128 first = _mm_add_ps(_mm_unpacklo_ps(quarters[0], quarters[1]), _mm_unpackhi_ps(quarters[0], quarters[1]));
    __m128 second = _mm_add_ps(_mm_unpacklo_ps(quarters[2], quarters[3]), _mm_unpackhi_ps(quarters[2], quarters[3]));
    _mm_storeu_ps(sums, _mm_add_ps(_mm_movelh_ps(first, second), _mm_movehl_ps(second, first)));
  }
  static float largest(Floats x) {
    alignas(32) float lanes[8];
    _mm256_store_ps(lanes, _mm256_max_ps(x.a, x.b));
    float most = lanes[0];
    for (int i = 1; i < 8; i++) most = lanes[i] > most ? lanes[i] : most;
    return most;
  }

  static Ints no_ints() { return {_mm256_setzero_si256(), _mm256_setzero_si256()}; }
  static Ints sub(Ints x, Ints y) { return {_mm256_sub_epi32(x.a, y.a), _mm256_sub_epi32(x.b, y.b)}; }
  static Ints add(Ints x, Ints y) { return {_mm256_add_epi32(x.a, y.a), _mm256_add_epi32(x.b, y.b)}; }
  static Floats to_floats(Ints x) { return {_mm256_cvtepi32_ps(x.a), _mm256_cvtepi32_ps(x.b)}; }
  static Floats load_ints(const int32_t* p) { return to_floats(load_bytes(p)); }
  static void store_bytes(int8_t* p, Floats x) {
    __m256i words = _mm256_packs_epi32(_mm256_cvtps_epi32(x.a), _mm256_cvtps_epi32(x.b));
    words = _mm256_permute4x64_epi64(words, 0xd8);
    __m128i bytes = _mm_packs_epi16(_mm256_castsi256_si128(words), _mm256_extracti128_si256(words, 1));
    _mm_storeu_si128(reinterpret_cast<__m128i*>(p), bytes);
  }
  static Bytes load_bytes(const void* p) {
    auto at = static_cast<const __m256i*>(p);
    return {_mm256_loadu_si256(at), _mm256_loadu_si256(at + 1)};
  }
  static void store_bytes(void* p, Bytes x) {
    auto at = static_cast<__m256i*>(p);
    _mm256_storeu_si256(at, x.a);
    _mm256_storeu_si256(at + 1, x.b);
  }
  static Bytes low_nibbles(Bytes x) {
    __m256i mask = _mm256_set1_epi8(15);
    return {_mm256_and_si256(x.a, mask), _mm256_and_si256(x.b, mask)};
  }
  static Bytes high_nibbles(Bytes x) { return low_nibbles({_mm256_srli_epi16(x.a, 4), _mm256_srli_epi16(x.b, 4)}); }
  static Bytes look_up(const int8_t* table, Bytes nibbles) {
    __m256i both = _mm256_broadcastsi128_si256(_mm_loadu_si128(reinterpret_cast<const __m128i*>(table)));
    return {_mm256_shuffle_epi8(both, nibbles.a), _mm256_shuffle_epi8(both, nibbles.b)};
  }
  static __m256i dot(__m256i a, __m256i x) {  // a up to 15: the sums of two products fit 16 bits
    return _mm256_madd_epi16(_mm256_maddubs_epi16(a, x), _mm256_set1_epi16(1));
  }
  static Ints dot_nibbles(Ints sum, Bytes a, Bytes x) {
    return {_mm256_add_epi32(sum.a, dot(a.a, x.a)), _mm256_add_epi32(sum.b, dot(a.b, x.b))};
  }
  static Ints bytes_bias(Bytes x) {
    __m256i eight = _mm256_set1_epi8(8);
    __m256i a = _mm256_slli_epi32(dot(eight, x.a), 4), b = _mm256_slli_epi32(dot(eight, x.b), 4);
    return sub(no_ints(), {a, b});
  }
  // Two halves of each byte, as products with whole bytes would not fit 16 bits.
  static __m256i dot_byte(__m256i a, __m256i x) {
    a = _mm256_xor_si256(a, _mm256_set1_epi8(-128));
    __m256i mask = _mm256_set1_epi8(15);
    __m256i high = dot(_mm256_and_si256(_mm256_srli_epi16(a, 4), mask), x);
    return _mm256_add_epi32(_mm256_slli_epi32(high, 4), dot(_mm256_and_si256(a, mask), x));
  }
  static Ints dot_bytes(Ints sum, Bytes a, Bytes x) {
    return {_mm256_add_epi32(sum.a, dot_byte(a.a, x.a)), _mm256_add_epi32(sum.b, dot_byte(a.b, x.b))};
  }
  static Bytes set_bytes(int x) { return {_mm256_set1_epi8(char(x)), _mm256_set1_epi8(char(x))}; }
  static Bytes either(Bytes x, Bytes y) { return {_mm256_or_si256(x.a, y.a), _mm256_or_si256(x.b, y.b)}; }
  static Bytes load_halves(const void* p, const void* q) {
    return {_mm256_loadu_si256(static_cast<const __m256i*>(p)), _mm256_loadu_si256(static_cast<const __m256i*>(q))};
  }
  template <int stride>
  static Bytes load_quarters(const uint8_t* p) {
    auto at = [&](int i) { return _mm_loadu_si128(reinterpret_cast<const __m128i*>(p + i * stride)); };
    return {_mm256_set_m128i(at(1), at(0)), _mm256_set_m128i(at(3), at(2))};
  }
  template <int count>
  static __m256i shifted(__m256i x) {
    return count < 0 ? _mm256_srli_epi16(x, count < 0 ? -count : 0) : _mm256_slli_epi16(x, count < 0 ? 0 : count);
  }
  template <int low, int high>
  static Bytes shifted_bits(Bytes x, int mask) {
    __m256i bits = _mm256_set1_epi8(char(mask));
    return {_mm256_and_si256(shifted<low>(x.a), bits), _mm256_and_si256(shifted<high>(x.b), bits)};
  }
  static __m256i bits_as(int value, int bits) {
    __m256i bytes = _mm256_shuffle_epi8(_mm256_set1_epi32(bits), _mm256_setr_epi64x(0, 0x0101010101010101, 0x0202020202020202,
                                                                                   0x0303030303030303));
    __m256i one = _mm256_set1_epi64x(int64_t(0x8040201008040201u));
    __m256i set = _mm256_cmpeq_epi8(_mm256_and_si256(bytes, one), one);
    return _mm256_and_si256(set, _mm256_set1_epi8(char(value)));
  }
  static Bytes bits_as(int value, uint64_t bits) {
    return {bits_as(value, int(uint32_t(bits))), bits_as(value, int(uint32_t(bits >> 32)))};
  }
  using Scales = __m256i;
  static Scales load_scales(uint64_t bytes) {
    return _mm256_broadcastsi128_si256(_mm_cvtepi8_epi16(_mm_cvtsi64_si128(int64_t(bytes))));
  }
  template <int a, int b>
  static __m256i spread2(Scales scales) {
    auto lane = [](int i) { return int(0x80800000u | (2 * i + 1) << 8 | 2 * i); };
    return _mm256_shuffle_epi8(
        scales, _mm256_setr_epi32(lane(a), lane(a), lane(a), lane(a), lane(b), lane(b), lane(b), lane(b)));
  }
  template <int a, int b, int c, int d>
  static Ints spread(Scales scales) {
    return {spread2<a, b>(scales), spread2<c, d>(scales)};
  }
  static Ints scaled_add(Ints sum, Ints products, Ints scales) {
    return add(sum, {_mm256_madd_epi16(products.a, scales.a), _mm256_madd_epi16(products.b, scales.b)});
  }
  static Floats set_half(const uint8_t* p) {
    uint16_t bits;
    std::memcpy(&bits, p, 2);
    __m256 wide = _mm256_cvtph_ps(_mm_set1_epi16(short(bits)));
    return {wide, wide};
  }
  template <int stride, int a, int b, int c, int d>
  static Floats spread_halves(const uint8_t* p) {
    uint16_t bits[4];
    for (int i = 0; i < 4; i++) std::memcpy(bits + i, p + i * stride, 2);
    __m128i narrow = _mm_setr_epi16(short(bits[0]), short(bits[1]), short(bits[2]), short(bits[3]), 0, 0, 0, 0);
    __m256 halves = _mm256_cvtph_ps(narrow);
    return {_mm256_permutevar8x32_ps(halves, _mm256_setr_epi32(a, a, a, a, b, b, b, b)),
            _mm256_permutevar8x32_ps(halves, _mm256_setr_epi32(c, c, c, c, d, d, d, d))};
  }
  using SixBits = __m128i;
  static SixBits load_six_bits(const uint8_t* p) { return unpack_six_bits(p); }
  static Scales scales(SixBits six) { return _mm256_broadcastsi128_si256(_mm_cvtepi8_epi16(six)); }
  static Floats minima(SixBits six, bool last) {
    __m256 floats = _mm256_cvtepi32_ps(_mm256_cvtepu8_epi32(_mm_srli_si128(six, 8)));
    return last ? Floats{_mm256_setzero_ps(), floats} : Floats{floats, _mm256_setzero_ps()};
  }
  static Floats dot_pairs(Floats sum, Bytes weights, int32_t x) {
    Floats x_second = set(second_of(x)), x_first = set(first_of(x));
    __m256i mask = _mm256_set1_epi32(int32_t(0xffff0000u));
    Floats second{_mm256_castsi256_ps(_mm256_and_si256(weights.a, mask)),
                  _mm256_castsi256_ps(_mm256_and_si256(weights.b, mask))};
    Floats first{_mm256_castsi256_ps(_mm256_slli_epi32(weights.a, 16)),
                 _mm256_castsi256_ps(_mm256_slli_epi32(weights.b, 16))};
    return fma(first, x_first, fma(second, x_second, sum));
  }
  static void prefetch(const void* p) { _mm_prefetch(static_cast<const char*>(p), _MM_HINT_T1); }  // into L2
};

}  // namespace
}  // namespace kernels
