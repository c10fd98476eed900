// Compiles all kernels for the instruction set of the including file, and names them KERNELS.
#pragma once
#include "kernels.h"
#include "vectors.h"
// above first: the others use them
#include "quantize.h"
#include "gguf_blocks.h"
#include "linear.h"
#include "many_rows.h"
#include "bfloat16_linear.h"
#include "attention.h"

namespace kernels {
namespace {

void quantize_rows(const LinearStep& step, int64_t begin, int64_t end, float* numbers, const QuantizedRows& out) {
  for (int64_t row = begin; row < end; row++) quantize_row(step.x, row, step.columns, step.norm, numbers, out);
}

void quantize_whole_rows(const Rows& x, int64_t columns, const Norm& norm, int64_t begin, int64_t end, float* numbers,
                         int8_t* values, int64_t stride, float* scales) {
  for (int64_t row = begin; row < end; row++)
    quantize_whole_row(x, row, columns, norm, numbers, values + row * stride, stride, scales + row);
}

void softmax_rows(const Rows& scores, int64_t columns, int64_t begin, int64_t end, float* numbers) {
  for (int64_t row = begin; row < end; row++) softmax_row(scores, row, columns, numbers);
}

}  // namespace

extern const KernelTable KERNELS = {KERNELS_NAME, quantize_rows, quantize_whole_rows, linear_chunks,
                                    widen_rows,   finish_sums,   begin_row,           attend_group, softmax_rows,
                                    narrow_rows,  bfloat16_task_count, bfloat16_linear};

}  // namespace kernels
