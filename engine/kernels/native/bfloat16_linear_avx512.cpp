// Linear layers with the dot products of bfloat16 numbers of AVX-512 (vdpbf16ps).
#if defined(__x86_64__)
#include "kernels.h"
#include "simd_avx512.h"
#include "vectors.h"
// above first: the others use them
#include "quantize.h"
#include "gguf_blocks.h"
#include "float_weights.h"
#include "linear.h"
#include "bfloat16_linear.h"

namespace kernels {

void bfloat16_linear_with_bfloat16(const LinearStep& step, const Rows& x, int64_t rows, int64_t begin, int64_t end) {
  bfloat16_linear(step, x, rows, begin, end);
}

}  // namespace kernels
#endif
