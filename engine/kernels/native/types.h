// What the kernels of all instruction sets share: number types, and the plain structures that Python fills in.
#pragma once
#include <cstdint>
#include <cstring>

namespace kernels {

constexpr int kBlock = 128;  // columns of x that are rounded to bytes with one scale
constexpr int kSumGroup = 32;  // columns of x whose sum is kept, for zero points
constexpr int kChunkColumns = 16;  // columns of y that a thread computes at a time

// Bytes of weights that are fetched ahead, into L2: a core waits for its memory otherwise, as the hardware fetches too
// little. Twice the bandwidth on a Zen 4 (8 to 16 KB; 4 KB or L1 gain nothing).
constexpr int64_t kPrefetchBytes = 8192;

enum Dtype : int32_t { kFloat32 = 0, kBFloat16 = 1, kInt8Rows = 2 };  // the last: of caches, see CacheRow
enum Format : int32_t {
  kBFloat16Pairs = -1,
  kInt4 = 0,
  kInt8 = 1,
  kQ8_0 = 2,  // in GGUF files: blocks of 32 columns
  kQ4_0 = 3,
  kQ4_1 = 4,
  kQ5_0 = 5,
  kQ5_1 = 6,
  kQ4_K = 7,  // blocks of 256 columns
  kQ5_K = 8,
  kQ6_K = 9,
};
enum Activation : int32_t { kNone = 0, kGelu = 1, kMultiplyBySilu = 2 };
enum NormKind : int32_t { kNoNorm = 0, kLayerNorm = 1, kRmsNorm = 2 };

struct BFloat16 {
  uint16_t bits;
};

static inline float widen(BFloat16 x) {
  uint32_t bits = uint32_t(x.bits) << 16;
  float wide;
  std::memcpy(&wide, &bits, 4);
  return wide;
}

// The numbers of a pair of bfloat16 in memory.
static inline float first_of(int32_t pair) { return widen(BFloat16{uint16_t(pair)}); }
static inline float second_of(int32_t pair) { return widen(BFloat16{uint16_t(uint32_t(pair) >> 16)}); }

// Weights (rows, columns) of a linear layer.
//
// int4: blocks of 128 columns in 64 bytes; the low nibbles are the first 64 columns, the high ones the others.
//       weight = (nibble - zero) * scale, with bfloat16 scales and zeros (rows, groups).
// int8: weight = byte * scale, with a float scale a row.
// Rows of these are padded with zeros to whole blocks, and to whole groups.
// bfloat16 pairs: (panel, pair, 16, 2) in bfloat16: a panel is 16 rows, a pair two columns, and a number is w[16 panel + i,
//       2 pair + j]. Without padding, `scales` and `zeros`.
// Others: rows of blocks as they lie in GGUF files (gguf_blocks.h), without padding, and without `scales` and `zeros`.
struct Matrix {
  int32_t format;
  int32_t group;  // columns that share a scale (int4)
  int64_t rows;
  int64_t columns;  // with padding
  const uint8_t* values;
  const void* scales;
  const void* zeros;
};

static inline bool is_gguf(const Matrix& weight) { return weight.format >= kQ8_0; }
static inline bool has_small_blocks(const Matrix& weight) { return is_gguf(weight) && weight.format < kQ4_K; }

// Rows of numbers in memory, with the distance between two rows in elements.
struct Rows {
  void* data;
  int64_t stride;
  int32_t dtype;
};

// The normalisation of rows before they are multiplied; weight and bias are of their dtype.
struct Norm {
  int32_t kind;
  float epsilon;
  const void* weight;
  const void* bias;
};

// Rows of x, rounded to bytes: x = value * scale of its block.
struct QuantizedRows {
  int64_t rows;
  int64_t columns;  // padded with zeros to whole blocks
  int8_t* values;   // (rows, columns)
  float* scales;    // (rows, columns / kBlock)
  float* sums;      // (rows, columns / kSumGroup): sums of x
};

// The scales and sums of QuantizedRows for each group of a matrix, (rows, stride), padded to 16 groups.
struct GroupedRows {
  const QuantizedRows* rows;
  const float* scales;
  const float* sums;
  int64_t stride;
};

// One linear layer of a sequence: y = activation(norm(x) W^T + bias) + residual.
struct LinearStep {
  Rows x;
  int64_t columns;
  Norm norm;
  int32_t same_input;  // whether x and norm are those of the step before
  int32_t activation;
  Matrix weight;
  const void* bias;  // of the dtype of y, or null
  Rows gate;         // of kMultiplyBySilu
  Rows residual;     // of the dtype of y; data may be null, or y itself
  Rows y;
};

constexpr int kMaxHeadDim = 256;

// Cached keys and values: (kv_heads, capacity, head_dim), `head_stride` elements from one head to the next.
struct KeyValues {
  const void* keys;
  const void* values;
  int64_t head_stride;
  int64_t positions;
};

// The next rows of one sequence, and its cache: parts that it shares with others, then its own.
struct CachedSequence {
  int64_t first_row;
  int64_t rows;
  int64_t length;  // positions of its own cache before these rows
  int32_t causal;
  int32_t segments;
  const KeyValues* shared;
  KeyValues own;
};

// Attention of a layer for a step of few rows.
struct AttentionStep {
  Rows qkv;       // (rows, (heads + 2 * kv_heads) * head_dim)
  Rows output;    // (rows, heads * head_dim)
  float* queries;  // room for (rows, heads, head_dim)
  const float* cos;  // (rows, rotary_dim / 2)
  const float* sin;
  const void* q_norm;  // weights of RMSNorm over each head, of the dtype of qkv, or null
  const void* k_norm;
  const CachedSequence* sequences;
  int64_t count;
  int64_t heads;
  int64_t kv_heads;
  int64_t head_dim;
  int64_t rotary_dim;
  float scale;
  float epsilon;
  int32_t interleaved;  // whether a rotated pair (i, i + rotary_dim / 2) is written to 2 i and 2 i + 1
  int32_t cache_dtype;
};

// A layer of a decoder for a step of few rows: linear layers, attention, linear layers.
struct DecoderLayer {
  const LinearStep* before;
  const LinearStep* after;
  const AttentionStep* attention;
  int32_t before_count;
  int32_t after_count;
};

}  // namespace kernels
