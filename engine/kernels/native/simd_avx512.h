// Vectors of 16 floats and of 64 bytes with AVX-512 and its dot products of bytes (VNNI).
#pragma once
#include <immintrin.h>

#include "six_bits_x86.h"
#include "types.h"

namespace kernels {
namespace {  // compiled once for each instruction set: no symbol may be shared

struct Simd {
  static constexpr int kRegisters = 32;  // that hold 16 floats
  // Rows and vectors of a product of matrices that fit the registers.
  static constexpr int kTileRows = 6, kTileVectors = 4;

  using Floats = __m512;
  using Ints = __m512i;
  using Bytes = __m512i;

  static Floats zero() { return _mm512_setzero_ps(); }
  static Floats set(float x) { return _mm512_set1_ps(x); }
  static Floats load(const float* p) { return _mm512_loadu_ps(p); }
  static void store(float* p, Floats x) { _mm512_storeu_ps(p, x); }
  static Floats load(const BFloat16* p) {
    __m256i narrow = _mm256_loadu_si256(reinterpret_cast<const __m256i*>(p));
    return _mm512_castsi512_ps(_mm512_slli_epi32(_mm512_cvtepu16_epi32(narrow), 16));
  }
  static Floats load(const Half* p) {
    return _mm512_cvtph_ps(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(p)));
  }
  static Floats load_first(const BFloat16* p, int64_t count) {  // the others are 0
    __m256i narrow = _mm256_maskz_loadu_epi16(__mmask16((1u << count) - 1), p);
    return _mm512_castsi512_ps(_mm512_slli_epi32(_mm512_cvtepu16_epi32(narrow), 16));
  }
  static Floats load(const int8_t* p) {
    return _mm512_cvtepi32_ps(_mm512_cvtepi8_epi32(_mm_loadu_si128(reinterpret_cast<const __m128i*>(p))));
  }
  static void store(BFloat16* p, Floats x) {  // rounded to nearest, ties to even; NaN stays NaN
    Ints bits = _mm512_castps_si512(x);
    Ints odd = _mm512_and_si512(_mm512_srli_epi32(bits, 16), _mm512_set1_epi32(1));
    Ints rounded = _mm512_add_epi32(_mm512_add_epi32(bits, _mm512_set1_epi32(0x7fff)), odd);
    __mmask16 nan = _mm512_cmp_ps_mask(x, x, _CMP_UNORD_Q);
    rounded = _mm512_mask_mov_epi32(rounded, nan, _mm512_set1_epi32(0x7fc00000));
    __m256i narrow = _mm512_cvtepi32_epi16(_mm512_srli_epi32(rounded, 16));
    _mm256_storeu_si256(reinterpret_cast<__m256i*>(p), narrow);
  }
  static Floats add(Floats a, Floats b) { return _mm512_add_ps(a, b); }
  static Floats sub(Floats a, Floats b) { return _mm512_sub_ps(a, b); }
  static Floats mul(Floats a, Floats b) { return _mm512_mul_ps(a, b); }
  static Floats div(Floats a, Floats b) { return _mm512_div_ps(a, b); }
  static Floats fma(Floats a, Floats b, Floats c) { return _mm512_fmadd_ps(a, b, c); }
  static Floats fnma(Floats a, Floats b, Floats c) { return _mm512_fnmadd_ps(a, b, c); }  // c - a b
  static Floats max(Floats a, Floats b) { return _mm512_max_ps(a, b); }
  static Floats min(Floats a, Floats b) { return _mm512_min_ps(a, b); }
  static Floats abs(Floats a) { return _mm512_abs_ps(a); }
  static Floats round(Floats a) { return _mm512_roundscale_ps(a, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC); }
  // a * 2^n for integral n from -126 to 127
  static Floats scale_by_power(Floats a, Floats n) {
    return _mm512_scalef_ps(a, n);
  }
  // Lanes 0-7 and 8-15; or four lanes each.
  static Floats spread2(const float* s) {
    return _mm512_insertf32x8(_mm512_castps256_ps512(_mm256_set1_ps(s[0])), _mm256_set1_ps(s[1]), 1);
  }
  static float sum(Floats a) {  // the same tree in all instruction sets: 8 lanes apart, then 4, 2, 1
    __m256 half = _mm256_add_ps(_mm512_castps512_ps256(a), _mm512_extractf32x8_ps(a, 1));
    __m128 quarter = _mm_add_ps(_mm256_castps256_ps128(half), _mm256_extractf128_ps(half, 1));
    quarter = _mm_add_ps(quarter, _mm_movehl_ps(quarter, quarter));
    return _mm_cvtss_f32(_mm_add_ss(quarter, _mm_shuffle_ps(quarter, quarter, 1)));
  }
  static void sum4(const Floats* a, float* sums) {  // as `sum`, of four vectors
    __m128 quarters[4];
    for (int i = 0; i < 4; i++) {
      __m256 half = _mm256_add_ps(_mm512_castps512_ps256(a[i]), _mm512_extractf32x8_ps(a[i], 1));
      quarters[i] = _mm_add_ps(_mm256_castps256_ps128(half), _mm256_extractf128_ps(half, 1));
    }
    __m128 first = _mm_add_ps(_mm_unpacklo_ps(quarters[0], quarters[1]), _mm_unpackhi_ps(quarters[0], quarters[1]));
    __m128 second = _mm_add_ps(_mm_unpacklo_ps(quarters[2], quarters[3]), _mm_unpackhi_ps(quarters[2], quarters[3]));
    _mm_storeu_ps(sums, _mm_add_ps(_mm_movelh_ps(first, second), _mm_movehl_ps(second, first)));
  }
  static float largest(Floats a) { return _mm512_reduce_max_ps(a); }

  static Ints no_ints() { return _mm512_setzero_si512(); }
  static Ints sub(Ints a, Ints b) { return _mm512_sub_epi32(a, b); }
  static Ints add(Ints a, Ints b) { return _mm512_add_epi32(a, b); }
  static Floats to_floats(Ints a) { return _mm512_cvtepi32_ps(a); }
  static Floats load_ints(const int32_t* p) { return _mm512_cvtepi32_ps(_mm512_loadu_si512(p)); }
  static void store_bytes(int8_t* p, Floats x) {  // rounded, saturated
    __m128i narrow = _mm512_cvtsepi32_epi8(_mm512_cvtps_epi32(x));
    _mm_storeu_si128(reinterpret_cast<__m128i*>(p), narrow);
  }
  static Bytes load_bytes(const void* p) { return _mm512_loadu_si512(p); }
  static void store_bytes(void* p, Bytes x) { _mm512_storeu_si512(p, x); }
  static Bytes low_nibbles(Bytes x) { return _mm512_and_si512(x, _mm512_set1_epi8(15)); }
  static Bytes high_nibbles(Bytes x) { return low_nibbles(_mm512_srli_epi16(x, 4)); }
  // table: 16 bytes; lookup of nibbles
  static Bytes look_up(const int8_t* table, Bytes nibbles) {
    __m128i one = _mm_loadu_si128(reinterpret_cast<const __m128i*>(table));
    return _mm512_shuffle_epi8(_mm512_broadcast_i32x4(one), nibbles);
  }
  // Each lane adds four products. a: 0..15; x: -127..127
  static Ints dot_nibbles(Ints sum, Bytes a, Bytes x) { return _mm512_dpbusd_epi32(sum, a, x); }
  // The part of `dot_bytes` that does not depend on the weights.
  static Ints bytes_bias(Bytes x) {
    return _mm512_sub_epi32(no_ints(), _mm512_dpbusd_epi32(no_ints(), _mm512_set1_epi8(-128), x));
  }
  // a: signed weights; `sum` begins as bytes_bias(x)
  static Ints dot_bytes(Ints sum, Bytes a, Bytes x) {
    return _mm512_dpbusd_epi32(sum, _mm512_xor_si512(a, _mm512_set1_epi8(-128)), x);
  }
  static Bytes set_bytes(int x) { return _mm512_set1_epi8(char(x)); }
  static Bytes either(Bytes a, Bytes b) { return _mm512_or_si512(a, b); }
  static Bytes load_halves(const void* p, const void* q) {  // of 32 bytes
    __m256i low = _mm256_loadu_si256(static_cast<const __m256i*>(p));
    return _mm512_inserti64x4(_mm512_castsi256_si512(low), _mm256_loadu_si256(static_cast<const __m256i*>(q)), 1);
  }
  // Words of 16 bits in the first `size` bytes at p, which are read in two parts.
  struct Words {
    int16_t v[32];
  };
  template <int size>
  static constexpr int second_part() {
    return size > 64 ? size - 64 : 0;
  }
  template <int size>
  static constexpr int16_t word_at(int byte) {
    return int16_t(byte + 2 <= 64 ? byte / 2 : 32 + (byte - second_part<size>()) / 2);
  }
  template <int size>
  static Bytes pick_words(const uint8_t* p, const Words& words) {
    return _mm512_permutex2var_epi16(load_bytes(p), load_bytes(&words), load_bytes(p + second_part<size>()));
  }
  // 16 bytes each, `stride` apart, which is even
  template <int stride>
  static constexpr Words quarter_words() {
    Words words{};
    for (int i = 0; i < 32; i++) words.v[i] = word_at<3 * stride + 16>(i / 8 * stride + i % 8 * 2);
    return words;
  }
  template <int stride>
  static Bytes load_quarters(const uint8_t* p) {
    static constexpr Words words = quarter_words<stride>();
    return pick_words<3 * stride + 16>(p, words);
  }
  // The bits in `mask` of bytes shifted to the left (to the right, if negative) by `low` in the first half, by `high` in
  // the other. Both have the same sign; `mask` has no bit that comes from another byte.
  template <int low, int high>
  static Bytes shifted_bits(Bytes x, int mask) {
    __m512i counts = _mm512_inserti64x4(_mm512_set1_epi16(low < 0 ? -low : low), _mm256_set1_epi16(high < 0 ? -high : high), 1);
    Bytes shifted = low + high >= 0 ? _mm512_sllv_epi16(x, counts) : _mm512_srlv_epi16(x, counts);
    return _mm512_and_si512(shifted, set_bytes(mask));
  }
  // Byte i is `value` where bit i is set, else 0.
  static Bytes bits_as(int value, uint64_t bits) { return _mm512_maskz_set1_epi8(bits, char(value)); }
  // Eight integers from -128 to 127, to be spread over the lanes: four lanes each.
  using Scales = __m512i;
  static Scales load_scales(uint64_t bytes) {
    return _mm512_broadcast_i32x4(_mm_cvtepi8_epi16(_mm_cvtsi64_si128(int64_t(bytes))));
  }
  template <int a, int b, int c, int d>
  static Ints spread(Scales scales) {
    auto lane = [](int i) { return int(0x80800000u | (2 * i + 1) << 8 | 2 * i); };
    __m512i lanes = _mm512_setr_epi32(lane(a), lane(a), lane(a), lane(a), lane(b), lane(b), lane(b), lane(b), lane(c),
                                      lane(c), lane(c), lane(c), lane(d), lane(d), lane(d), lane(d));
    return _mm512_shuffle_epi8(scales, lanes);
  }
  // sum + products * scales, with products of 16 bits and scales from `spread`
  static Ints scaled_add(Ints sum, Ints products, Ints scales) { return _mm512_dpwssd_epi32(sum, products, scales); }
  static Floats set_half(const uint8_t* p) {
    uint16_t bits;
    std::memcpy(&bits, p, 2);
    return _mm512_cvtph_ps(_mm256_set1_epi16(short(bits)));
  }
  // Of four half-precision numbers, `stride` bytes apart, one for each four lanes.
  template <int stride, int a, int b, int c, int d>
  static constexpr Words half_words() {
    constexpr int which[4] = {a, b, c, d};
    Words words{};
    for (int i = 0; i < 16; i++) words.v[i] = word_at<3 * stride + 2>(which[i / 4] * stride);
    return words;
  }
  template <int stride, int a, int b, int c, int d>
  static Floats spread_halves(const uint8_t* p) {
    static constexpr Words words = half_words<stride, a, b, c, d>();
    return _mm512_cvtph_ps(_mm512_castsi512_si256(pick_words<3 * stride + 2>(p, words)));
  }
  // Eight scales and eight minima of six bits, in the 12 bytes at p; the 4 before them are read too.
  using SixBits = __m128i;
  static SixBits load_six_bits(const uint8_t* p) { return unpack_six_bits(p); }
  static Scales scales(SixBits six) { return _mm512_broadcast_i32x4(_mm_cvtepi8_epi16(six)); }
  // The minima in the first or last eight lanes, and zeros.
  static Floats minima(SixBits six, bool last) {
    static constexpr int8_t places[2][16] = {{8, 9, 10, 11, 12, 13, 14, 15, -1, -1, -1, -1, -1, -1, -1, -1},
                                             {-1, -1, -1, -1, -1, -1, -1, -1, 8, 9, 10, 11, 12, 13, 14, 15}};
    __m128i bytes = _mm_shuffle_epi8(six, _mm_loadu_si128(reinterpret_cast<const __m128i*>(places[last])));
    return _mm512_cvtepi32_ps(_mm512_cvtepu8_epi32(bytes));
  }
  // sum + a * b over two columns, in bfloat16: first the second column's, as AVX-512's own instruction rounds. A pair of
  // x is multiplied with 16 pairs of weights.
  static Floats dot_pairs(Floats sum, Bytes weights, int32_t x) {
#if defined(__AVX512BF16__)
    return _mm512_dpbf16_ps(sum, (__m512bh)weights, (__m512bh)_mm512_set1_epi32(x));
#else
    Ints second = _mm512_set1_epi32(int32_t(0xffff0000u));
    sum = fma(_mm512_castsi512_ps(_mm512_and_si512(weights, second)), set(second_of(x)), sum);
    return fma(_mm512_castsi512_ps(_mm512_slli_epi32(weights, 16)), set(first_of(x)), sum);
#endif
  }
  static void prefetch(const void* p) { _mm_prefetch(static_cast<const char*>(p), _MM_HINT_T1); }  // into L2
};

}  // namespace
}  // namespace kernels
