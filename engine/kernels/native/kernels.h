// The kernels of one instruction set, as functions over ranges of work for one thread.
#pragma once
#include "types.h"

namespace kernels {

struct KernelTable {
  const char* name;
  // Rows `begin` to `end` of x; `numbers` is room for a padded row of floats.
  void (*quantize)(const LinearStep&, int64_t begin, int64_t end, float* numbers, const QuantizedRows&);
  void (*quantize_whole)(const Rows& x, int64_t columns, const Norm&, int64_t begin, int64_t end, float* numbers,
                         int8_t* values, int64_t stride, float* scales);
  // Chunks of kChunkColumns columns of y.
  void (*linear)(const LinearStep&, const GroupedRows&, int64_t begin, int64_t end);
  // Rows of the weights; `numbers` is room for a padded row of floats.
  void (*widen)(const Matrix&, int64_t begin, int64_t end, float* numbers, int8_t* values, float* scales);
  // Rows of y.
  void (*finish)(const LinearStep&, const int32_t* sums, int64_t columns, const float* x_scales,
                 const float* weight_scales, int64_t first_column, int64_t begin, int64_t end);
  // One row of a sequence; and all its queries of a kv head, with those of sequences that share its prefix.
  void (*begin_attention)(const AttentionStep&, const CachedSequence&, int64_t row);
  void (*attend)(const AttentionStep&, int64_t first, int64_t last, int64_t kv_head, float* scores, int64_t stride);
  // Rows of scores, in place; `numbers` is room for a row of floats.
  void (*softmax)(const Rows&, int64_t columns, int64_t begin, int64_t end, float* numbers);
  // Linear layers with bfloat16 weights: rows of x; `numbers` is room for a padded row of floats. Then tasks on y.
  void (*narrow)(const LinearStep&, int64_t begin, int64_t end, float* numbers, const Rows& out);
  int64_t (*bfloat16_task_count)(const LinearStep&, int64_t rows);
  void (*bfloat16_linear)(const LinearStep&, const Rows& x, int64_t rows, int64_t begin, int64_t end);
};

constexpr int kMaxQueries = 4;  // rows of scores that `attend` needs room for

extern const KernelTable portable_kernels, avx2_kernels, avx512_kernels, neon_kernels;

// `bfloat16_linear` of avx512_kernels, with the dot products of bfloat16 numbers that some of these CPUs have.
void bfloat16_linear_with_bfloat16(const LinearStep&, const Rows& x, int64_t rows, int64_t begin, int64_t end);

}  // namespace kernels
