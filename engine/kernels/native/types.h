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
  kHalves = 10,  // floats of 16 bits
  kBFloat16s = 11,
};
enum Activation : int32_t { kNone = 0, kGelu = 1, kMultiplyBySilu = 2 };
enum NormKind : int32_t { kNoNorm = 0, kLayerNorm = 1, kRmsNorm = 2 };

struct BFloat16 {
  uint16_t bits;
};

struct Half {  // half precision of IEEE 754
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
// Others: rows as they lie in GGUF files, of blocks (gguf_blocks.h) or floats of 16 bits, without padding, and without
// `scales` and `zeros`.
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
static inline bool has_floats(const Matrix& weight) { return weight.format >= kHalves; }
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

// Rows of x, rounded to bytes with one scale each.
struct WholeRows {
  int64_t rows;
  int64_t columns;  // padded with zeros to whole blocks
  const int8_t* values;
  const float* scales;
};

constexpr int kPanelColumns = 64;  // columns of y that a GEMM of many rows computes at a time

// What a thread of it needs, for `columns` padded columns of x.
struct GemmRoom {
  uint8_t* panel;  // kPanelColumns * columns, aligned to 64 bytes
  int8_t* rows;    // 16 * columns
  float* numbers;  // columns
  float* scales;   // kPanelColumns
  int32_t* bias;   // rows of x
};

// What a matrix is multiplied with: the scales and sums of QuantizedRows for each of its groups, (rows, stride), padded to
// 16 groups.
struct GroupedRows {
  const QuantizedRows* rows;
  const float* scales;
  const float* sums;
  int64_t stride;
  const float* numbers;  // (rows, rows->columns): x itself, in place of all others, for weights that are floats
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

// Numbers (rows, heads, head_dim) in memory, with the distances between two rows and two heads in elements.
struct HeadRows {
  const void* data;
  int64_t row_stride;
  int64_t head_stride;
};

// Rotary embedding of the first `rotary_dim` numbers of each head, all of float or all of bfloat16.
struct Rotation {
  HeadRows x;
  HeadRows y;
  const float* cos;  // (rows, rotary_dim / 2)
  const float* sin;
  int64_t rows;
  int64_t heads;
  int64_t head_dim;
  int64_t rotary_dim;
  int32_t interleaved;  // whether a rotated pair (i, i + rotary_dim / 2) is written to 2 i and 2 i + 1
  int32_t dtype;
};

// Keys and values of consecutive positions.
struct KeyValueRows {
  HeadRows keys;
  HeadRows values;
  int64_t positions;
};

constexpr int64_t kRowChunk = 48;  // rows of ManyRowsAttention that a thread takes at a time

// Attention of many rows of one sequence, all of float or all of bfloat16.
struct ManyRowsAttention {
  HeadRows queries;
  Rows output;                // (rows, heads * head_dim)
  const KeyValueRows* parts;  // the last positions are those of the rows themselves
  int64_t part_count;
  int64_t positions;  // of all parts
  int64_t rows;
  int64_t heads;
  int64_t kv_heads;
  int64_t head_dim;  // even
  float scale;
  int32_t causal;  // whether a row sees positions up to its own only
};

// The next rows of one sequence, and the last inputs of its convolution, (taps - 1, channels), before and after them.
struct ConvolvedSequence {
  int64_t first_row;
  int64_t rows;
  const void* state;
  void* next_state;
};

// A gated short convolution, output = after * convolution(before * inputs). All numbers are of the dtype of `gates`.
struct ConvolutionStep {
  Rows gates;          // (rows, 3 * channels): before, after, inputs
  Rows output;         // (rows, channels)
  const void* kernel;  // (taps, channels); the last tap multiplies the row itself
  const ConvolvedSequence* sequences;
  int64_t count;
  int64_t channels;
  int64_t taps;
};

// A layer of a decoder for a step of few rows: linear layers, attention or a convolution, linear layers.
struct DecoderLayer {
  const LinearStep* before;
  const LinearStep* after;
  const AttentionStep* attention;  // or null
  const ConvolutionStep* convolution;  // or null
  int32_t before_count;
  int32_t after_count;
};

}  // namespace kernels
