// Compiles all kernels for the instruction set of the including file, and names them KERNELS.
#pragma once
#include "kernels.h"
#include "vectors.h"
// above first: the others use them
#include "quantize.h"
#include "gguf_blocks.h"
#include "float_weights.h"
#include "linear.h"
#include "many_rows.h"
#include "bfloat16_linear.h"
#include "attention.h"
#include "attention_many_rows.h"
#include "short_conv.h"
#include "greatest.h"
#if defined(KERNELS_GEMM)
#include KERNELS_GEMM
#endif

namespace kernels {
namespace {

void quantize_rows(const LinearStep& step, int64_t begin, int64_t end, float* numbers, const QuantizedRows& out) {
  for (int64_t row = begin; row < end; row++) quantize_row(step.x, row, step.columns, step.norm, numbers, out);
}

void normalize_rows(const LinearStep& step, int64_t begin, int64_t end, float* out, int64_t stride) {
  for (int64_t row = begin; row < end; row++) normalize_row(step.x, row, step.columns, step.norm, out + row * stride);
}

void quantize_whole_rows(const Rows& x, int64_t columns, const Norm& norm, int64_t begin, int64_t end, float* numbers,
                         int8_t* values, int64_t stride, float* scales) {
  for (int64_t row = begin; row < end; row++)
    quantize_whole_row(x, row, columns, norm, numbers, values + row * stride, stride, scales + row);
}

void rotate_rows(const Rotation& step, int64_t begin, int64_t end) {
  for (int64_t row = begin; row < end; row++) rotate_row(step, row);
}

void attend_many_rows(const ManyRowsAttention& step, int64_t begin, int64_t end, void* room) {
  constexpr int rows = Simd::kTileRows, vectors = Simd::kTileVectors;
  if (step.output.dtype == kBFloat16) attend_chunks<WidenedProducts, BFloat16, rows, vectors>(step, begin, end, room);
  else attend_chunks<FloatProducts, float, rows, vectors>(step, begin, end, room);
}

#if defined(KERNELS_GEMM)
constexpr auto multiply_many = multiply_many_rows;
#else
constexpr decltype(KernelTable::multiply_many) multiply_many = nullptr;
#endif

}  // namespace

extern const KernelTable KERNELS = {KERNELS_NAME, quantize_rows,    normalize_rows,  quantize_whole_rows,
                                    linear_chunks, widen_rows,       convert_rows,    finish_sums,
                                    multiply_many, begin_row,        attend_group,    rotate_rows,
                                    attend_many_rows, convolve_chunks, narrow_rows,   bfloat16_task_count,
                                    bfloat16_linear, find_greatest};

}  // namespace kernels
