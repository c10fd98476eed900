// The scales and minima of K-quants, of six bits, with SSE: for AVX2 and AVX-512.
#pragma once
#include <immintrin.h>

#include <cstdint>

namespace kernels {
namespace {

// Return eight scales and eight minima, from the 12 bytes at p; the 4 before them are read too.
inline __m128i unpack_six_bits(const uint8_t* p) {
  // of each four bytes: scales 0 to 3, 4 to 7, minima 0 to 3, 4 to 7
  __m128i bytes = _mm_loadu_si128(reinterpret_cast<const __m128i*>(p - 4));
  __m128i low = _mm_srlv_epi32(_mm_shuffle_epi32(bytes, _MM_SHUFFLE(3, 2, 3, 1)), _mm_setr_epi32(0, 0, 0, 4));
  __m128i high = _mm_srli_epi32(_mm_shuffle_epi32(bytes, _MM_SHUFFLE(2, 2, 1, 1)), 2);
  low = _mm_and_si128(low, _mm_setr_epi32(0x3f3f3f3f, 0x0f0f0f0f, 0x3f3f3f3f, 0x0f0f0f0f));
  return _mm_or_si128(low, _mm_and_si128(high, _mm_setr_epi32(0, 0x30303030, 0, 0x30303030)));
}

}  // namespace
}  // namespace kernels
