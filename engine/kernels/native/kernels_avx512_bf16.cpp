// Attention of many rows with the dot products of bfloat16 numbers of AVX-512 (vdpbf16ps).
#if defined(__x86_64__)
#include "kernels.h"
#include "simd_avx512.h"
#include "vectors.h"
// above first: the other uses them
#include "attention_many_rows.h"

namespace kernels {
namespace {

struct BFloat16Products {
  using Number = BFloat16;
  static constexpr int kTerms = WidenedProducts::kTerms;
  static int64_t place(int64_t lane, int64_t row) { return 2 * lane + row; }
  static __m512bh load(const Number* p) { return __m512bh(_mm512_loadu_si512(p)); }
  static Simd::Floats add(Simd::Floats sum, __m512bh pair, const Number* numbers) {
    int32_t both;
    std::memcpy(&both, numbers, 4);
    return _mm512_dpbf16_ps(sum, pair, __m512bh(_mm512_set1_epi32(both)));
  }
  static Number convert(BFloat16 x) { return x; }
  static Simd::Floats store(Number* p, Simd::Floats weights) {
    __m256i narrow = __m256i(_mm512_cvtneps_pbh(weights));
    _mm256_storeu_si256(reinterpret_cast<__m256i*>(p), narrow);
    return _mm512_castsi512_ps(_mm512_slli_epi32(_mm512_cvtepu16_epi32(narrow), 16));
  }
};

}  // namespace

void attend_many_rows_with_bfloat16(const ManyRowsAttention& step, int64_t begin, int64_t end, void* room) {
  constexpr int rows = Simd::kTileRows, vectors = Simd::kTileVectors;
  if (step.output.dtype == kBFloat16) attend_chunks<BFloat16Products, BFloat16, rows, vectors>(step, begin, end, room);
  else attend_chunks<FloatProducts, float, rows, vectors>(step, begin, end, room);
}

}  // namespace kernels
#endif
