// The kernels of one instruction set, as functions over ranges of work for one thread.
#pragma once
#include "types.h"

namespace kernels {

struct KernelTable {
  const char* name;
  // Rows `begin` to `end` of x; `numbers` is room for a padded row of floats.
  void (*quantize)(const LinearStep&, int64_t begin, int64_t end, float* numbers, const QuantizedRows&);
  // As floats, padded with zeros to `stride`.
  void (*normalize)(const LinearStep&, int64_t begin, int64_t end, float* out, int64_t stride);
  void (*quantize_whole)(const Rows& x, int64_t columns, const Norm&, int64_t begin, int64_t end, float* numbers,
                         int8_t* values, int64_t stride, float* scales);
  // Chunks of kChunkColumns columns of y.
  void (*linear)(const LinearStep&, const GroupedRows&, int64_t begin, int64_t end);
  // Rows of the weights; `numbers` is room for a padded row of floats.
  void (*widen)(const Matrix&, int64_t begin, int64_t end, float* numbers, int8_t* values, float* scales);
  // Rows of weights that are floats, to those of `out`, which begin with row `begin`.
  void (*convert)(const Matrix&, int64_t begin, int64_t end, const Rows& out);
  // Rows of y.
  void (*finish)(const LinearStep&, const int32_t* sums, int64_t columns, const float* x_scales,
                 const float* weight_scales, int64_t first_column, int64_t begin, int64_t end);
  // Panels of kPanelColumns columns of y from whole rows of x; null: there is no GEMM of many rows.
  void (*multiply_many)(const LinearStep&, const WholeRows&, int64_t begin, int64_t end, const GemmRoom&);
  // One row of a sequence; and all its queries of a kv head, with those of sequences that share its prefix.
  void (*begin_attention)(const AttentionStep&, const CachedSequence&, int64_t row);
  void (*attend)(const AttentionStep&, int64_t first, int64_t last, int64_t kv_head, float* scores, int64_t stride);
  // Rows, which are rotated.
  void (*rotate)(const Rotation&, int64_t begin, int64_t end);
  // Chunks of kRowChunk rows, of one head after the other; `room` is that for the keys and values of a head as floats.
  void (*attend_many)(const ManyRowsAttention&, int64_t begin, int64_t end, void* room);
  // Chunks of 16 channels.
  void (*convolve)(const ConvolutionStep&, int64_t begin, int64_t end);
  // Linear layers with bfloat16 weights: rows of x; `numbers` is room for a padded row of floats. Then tasks on y.
  void (*narrow)(const LinearStep&, int64_t begin, int64_t end, float* numbers, const Rows& out);
  int64_t (*bfloat16_task_count)(const LinearStep&, int64_t rows);
  void (*bfloat16_linear)(const LinearStep&, const Rows& x, int64_t rows, int64_t begin, int64_t end);
  // Rows of x; `places` of all of them.
  void (*find_greatest)(const Rows& x, int64_t columns, int64_t begin, int64_t end, int64_t* places);
};

constexpr int kMaxQueries = 4;  // rows of scores that `attend` needs room for

extern const KernelTable portable_kernels, avx2_kernels, avx512_kernels, neon_kernels;

// `attend_many` and `bfloat16_linear` of avx512_kernels, with the dot products of bfloat16 numbers that some of these
// CPUs have.
void attend_many_rows_with_bfloat16(const ManyRowsAttention&, int64_t begin, int64_t end, void* room);
void bfloat16_linear_with_bfloat16(const LinearStep&, const Rows& x, int64_t rows, int64_t begin, int64_t end);

}  // namespace kernels
