// Compares the best kernels of this CPU with the portable ones, bit by bit, without Python: for emulators.
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <random>
#include <vector>

#include "../../../../engine/kernels/native/types.h"

using namespace kernels;

extern "C" {
const char* mdtool_select_kernels(const char* name);
void mdtool_quantize_rows(const Rows*, int64_t, const Norm*, int64_t, int8_t*, int64_t, float*, int32_t);
void mdtool_widen(const Matrix*, int64_t, int64_t, int8_t*, float*, int32_t);
void mdtool_finish(const LinearStep*, const int32_t*, int64_t, int64_t, const float*, const float*, int64_t, int32_t);
void mdtool_run_linears(const LinearStep*, int64_t, int64_t, int32_t);
void mdtool_convert(const Matrix*, int64_t, int64_t, const Rows*, int32_t);
void mdtool_attend(const AttentionStep*, int32_t);
void mdtool_rotate(const Rotation*, int32_t);
void mdtool_attend_many(const ManyRowsAttention*, int32_t);
void mdtool_convolve(const ConvolutionStep*, int32_t);
void mdtool_find_greatest(const Rows*, int64_t, int64_t, int64_t*, int32_t);
}

namespace {

std::mt19937 generator(1);
int comparisons = 0, differences = 0;

// Numbers of a dtype in memory.
struct Numbers {
  int32_t dtype;
  std::vector<uint8_t> bytes;

  Numbers(int32_t dtype, int64_t count, float factor = 1) : dtype(dtype), bytes(size_t(count) * size()) {
    std::normal_distribution<float> normal;
    for (int64_t i = 0; i < count; i++) set(i, normal(generator) * factor);
  }
  size_t size() const { return dtype == kBFloat16 ? 2 : 4; }
  void set(int64_t i, float x) {
    uint32_t bits;
    std::memcpy(&bits, &x, 4);
    if (dtype == kBFloat16) bits >>= 16;
    std::memcpy(bytes.data() + size_t(i) * size(), &bits, size());
  }
  Rows rows(int64_t stride) { return {bytes.data(), stride, dtype}; }
};

// Run with the best kernels and with the portable ones, and compare the bytes that they write, and those that they update.
template <typename Run>
void compare(const char* what, const char* best, std::vector<std::vector<uint8_t>*> written, Run run,
             std::vector<std::vector<uint8_t>*> updated = {}) {
  std::vector<std::vector<uint8_t>> before, found;
  for (auto* bytes : updated) before.push_back(*bytes);
  for (auto* bytes : written) before.emplace_back(bytes->size());
  written.insert(written.begin(), updated.begin(), updated.end());
  mdtool_select_kernels(best);
  run();
  for (size_t i = 0; i < written.size(); i++) {
    found.push_back(*written[i]);
    *written[i] = before[i];
  }
  mdtool_select_kernels("portable");
  run();
  comparisons++;
  for (size_t i = 0; i < written.size(); i++)
    if (found[i] != *written[i]) {
      std::printf("%s differs\n", what);
      differences++;
    }
}

void compare_linears(const char* best, int64_t rows, int64_t outputs, int64_t columns, int32_t dtype) {
  int64_t padded = (columns + kBlock - 1) / kBlock * kBlock;
  std::vector<uint8_t> weights(size_t(outputs * padded));
  for (auto& byte : weights) byte = uint8_t(generator());
  Numbers x(dtype, rows * columns), bias(dtype, outputs), gate(dtype, rows * outputs), residual(dtype, rows * outputs);
  Numbers y(dtype, rows * outputs), norm_weight(dtype, columns), norm_bias(dtype, columns);
  Numbers row_scales(kFloat32, outputs);
  for (int32_t group : {0, 32, 64, 128}) {  // 0: int8
    int64_t groups = group ? padded / group : 1;
    Numbers scales(kBFloat16, outputs * groups), zeros(kBFloat16, outputs * groups, 8);
    Matrix matrix{group ? kInt4 : kInt8, group, outputs, padded, weights.data(),
                  group ? scales.bytes.data() : row_scales.bytes.data(), zeros.bytes.data()};
    for (int32_t activation : {kNone, kGelu, kMultiplyBySilu})
      for (int32_t norm : {kNoNorm, kLayerNorm, kRmsNorm}) {
        LinearStep step{x.rows(columns), columns, {norm, 1e-5f, norm_weight.bytes.data(), nullptr}, 0, activation,
                        matrix, bias.bytes.data(), gate.rows(outputs), residual.rows(outputs), y.rows(outputs)};
        if (norm == kLayerNorm) step.norm.bias = norm_bias.bytes.data();
        compare("linear", best, {&y.bytes}, [&] { mdtool_run_linears(&step, 1, rows, 1); });
        std::vector<uint8_t> values(size_t(rows * padded)), x_scales(size_t(rows) * 4);
        compare("rounding", best, {&values, &x_scales}, [&] {
          mdtool_quantize_rows(&step.x, columns, &step.norm, rows, reinterpret_cast<int8_t*>(values.data()), padded,
                               reinterpret_cast<float*>(x_scales.data()), 1);
        });
        std::vector<int32_t> sums(size_t(rows * outputs));
        for (auto& sum : sums) sum = int32_t(generator()) >> 8;
        compare("finish", best, {&y.bytes}, [&] {
          mdtool_finish(&step, sums.data(), rows, outputs, reinterpret_cast<float*>(x_scales.data()),
                        reinterpret_cast<float*>(row_scales.bytes.data()), 0, 1);
        });
      }
    if (!group) continue;
    std::vector<uint8_t> wide(size_t(outputs * padded)), wide_scales(size_t(outputs) * 4);
    compare("widening", best, {&wide, &wide_scales}, [&] {
      mdtool_widen(&matrix, 0, outputs, reinterpret_cast<int8_t*>(wide.data()),
                   reinterpret_cast<float*>(wide_scales.data()), 1);
    });
  }
}

void compare_bfloat16(const char* best, int64_t rows) {
  constexpr int64_t kOutputs = 80, kColumns = 130;
  Numbers weights(kBFloat16, kOutputs * kColumns), x(kBFloat16, rows * kColumns), y(kBFloat16, rows * kOutputs);
  Numbers norm_weight(kBFloat16, kColumns), norm_bias(kBFloat16, kColumns), bias(kBFloat16, kOutputs);
  for (int32_t norm : {kNoNorm, kLayerNorm}) {
    LinearStep step{};
    step.x = x.rows(kColumns);
    step.columns = kColumns;
    step.norm = {norm, 1e-5f, norm_weight.bytes.data(), norm_bias.bytes.data()};
    step.activation = kGelu;
    step.weight = {kBFloat16Pairs, 0, kOutputs, kColumns, weights.bytes.data(), nullptr, nullptr};
    step.bias = bias.bytes.data();
    step.y = y.rows(kOutputs);
    compare("bfloat16", best, {&y.bytes}, [&] { mdtool_run_linears(&step, 1, rows, 1); });
  }
}

// Blocks of GGUF files: any bytes, with scales (float16, at these bytes of a block) from 1 to 2.
void compare_blocks(const char* best, int64_t rows, int32_t dtype) {
  struct Type {
    int32_t format;
    int64_t weights, bytes;
    std::vector<int64_t> scales;
  };
  const Type types[] = {{kQ8_0, 32, 34, {0}},      {kQ4_0, 32, 18, {0}},       {kQ4_1, 32, 20, {0, 2}},
                        {kQ5_0, 32, 22, {0}},      {kQ5_1, 32, 24, {0, 2}},    {kQ4_K, 256, 144, {0, 2}},
                        {kQ5_K, 256, 176, {0, 2}}, {kQ6_K, 256, 210, {208}}};
  constexpr int64_t kOutputs = 21, kColumns = 768;
  for (const Type& type : types) {
    int64_t blocks = kOutputs * kColumns / type.weights;
    std::vector<uint8_t> weights(size_t(blocks * type.bytes));
    for (auto& byte : weights) byte = uint8_t(generator());
    for (int64_t block = 0; block < blocks; block++)
      for (int64_t at : type.scales) weights[size_t(block * type.bytes + at + 1)] = 0x3c | (generator() & 3);
    Matrix matrix{type.format, 32, kOutputs, kColumns, weights.data(), nullptr, nullptr};
    Numbers x(dtype, rows * kColumns), y(dtype, rows * kOutputs);
    LinearStep step{};
    step.x = x.rows(kColumns);
    step.columns = kColumns;
    step.weight = matrix;
    step.y = y.rows(kOutputs);
    compare("blocks", best, {&y.bytes}, [&] { mdtool_run_linears(&step, 1, rows, 1); });
    std::vector<uint8_t> wide(size_t(kOutputs * kColumns)), wide_scales(size_t(kOutputs) * 4);
    compare("widening of blocks", best, {&wide, &wide_scales}, [&] {
      mdtool_widen(&matrix, 0, kOutputs, reinterpret_cast<int8_t*>(wide.data()),
                   reinterpret_cast<float*>(wide_scales.data()), 1);
    });
  }
}

// Weights in 16 bits, of any normal numbers up to about 2.
void compare_floats(const char* best, int64_t rows, int64_t columns, int32_t dtype) {
  constexpr int64_t kOutputs = 21;
  for (int32_t format : {kHalves, kBFloat16s}) {
    std::vector<uint8_t> weights(size_t(2 * kOutputs * columns));
    for (size_t i = 0; i < weights.size(); i += 2) {
      weights[i] = uint8_t(generator());
      weights[i + 1] = uint8_t(generator() & 0x83) | (generator() & 1 ? 0x3c : 0x38);
    }
    Matrix matrix{format, 0, kOutputs, columns, weights.data(), nullptr, nullptr};
    Numbers x(dtype, rows * columns), y(dtype, rows * kOutputs), wide(dtype, kOutputs * columns);
    LinearStep step{};
    step.x = x.rows(columns);
    step.columns = columns;
    step.weight = matrix;
    step.y = y.rows(kOutputs);
    compare("floats", best, {&y.bytes}, [&] { mdtool_run_linears(&step, 1, rows, 1); });
    Rows out = wide.rows(columns);
    compare("conversion", best, {&wide.bytes}, [&] { mdtool_convert(&matrix, 0, kOutputs, &out, 1); });
  }
}

void compare_rotation(const char* best, int64_t dim, int64_t rotary_dim, int32_t dtype, bool interleaved) {
  constexpr int64_t kRows = 3, kHeads = 4;
  Numbers x(dtype, kRows * kHeads * dim), y(dtype, kRows * kHeads * dim);
  Numbers cos(kFloat32, kRows * rotary_dim / 2), sin(kFloat32, kRows * rotary_dim / 2);
  Rotation step{{x.bytes.data(), kHeads * dim, dim}, {y.bytes.data(), dim, kRows * dim},
                reinterpret_cast<float*>(cos.bytes.data()), reinterpret_cast<float*>(sin.bytes.data()),
                kRows, kHeads, dim, rotary_dim, interleaved, dtype};
  compare("rotation", best, {&y.bytes}, [&] { mdtool_rotate(&step, 1); });
}

void compare_attention_of_many_rows(const char* best, int64_t dim, int64_t rows, int32_t dtype, bool causal) {
  constexpr int64_t kHeads = 2, kKvHeads = 1, kPrefix = 230;
  Numbers queries(dtype, rows * kHeads * dim), output(dtype, rows * kHeads * dim);
  Numbers keys(dtype, kPrefix * dim), values(dtype, kPrefix * dim), own_keys(dtype, rows * dim), own_values(dtype, rows * dim);
  KeyValueRows parts[] = {{{keys.bytes.data(), dim, 0}, {values.bytes.data(), dim, 0}, kPrefix},
                          {{own_keys.bytes.data(), dim, 0}, {own_values.bytes.data(), dim, 0}, rows}};
  ManyRowsAttention step{{queries.bytes.data(), kHeads * dim, dim}, output.rows(kHeads * dim), parts, 2,
                         kPrefix + rows, rows, kHeads, kKvHeads, dim, 1 / std::sqrt(float(dim)), causal};
  compare("attention of many rows", best, {&output.bytes}, [&] { mdtool_attend_many(&step, 1); });
}

// Rows of a cache: numbers, or bytes and a scale.
std::vector<uint8_t> cached(int32_t dtype, int64_t rows, int64_t dim) {
  if (dtype != kInt8Rows) return Numbers(dtype, rows * dim).bytes;
  std::vector<uint8_t> bytes;
  for (int64_t row = 0; row < rows; row++) {
    for (int64_t i = 0; i < dim; i++) bytes.push_back(uint8_t(generator()));
    std::vector<uint8_t> scale = Numbers(kFloat32, 1, 0.01f).bytes;
    bytes.insert(bytes.end(), scale.begin(), scale.end());
  }
  return bytes;
}

void compare_attention(const char* best, int64_t heads, int64_t kv_heads, int64_t dim, int32_t dtype, int32_t cache_dtype,
                       bool interleaved) {
  constexpr int64_t kRows = 4, kPrefix = 45, kOwn = 9;
  int64_t cache_width = cache_dtype == kInt8Rows ? dim + 4 : dim;
  int64_t width = (heads + 2 * kv_heads) * dim;
  Numbers qkv(dtype, kRows * width), output(dtype, kRows * heads * dim), queries(kFloat32, kRows * heads * dim);
  Numbers cos(kFloat32, kRows * dim / 2), sin(kFloat32, kRows * dim / 2), norm(dtype, dim);
  auto keys = cached(cache_dtype, kv_heads * kPrefix, dim), values = cached(cache_dtype, kv_heads * kPrefix, dim);
  KeyValues shared{keys.data(), values.data(), kPrefix * cache_width, kPrefix};
  std::vector<std::vector<uint8_t>> own;
  for (int i = 0; i < 4; i++) own.push_back(cached(cache_dtype, kv_heads * kOwn, dim));
  auto sequence = [&](int64_t first, int64_t rows, int32_t causal, int i) {
    KeyValues cache{own[size_t(i)].data(), own[size_t(i) + 1].data(), kOwn * cache_width, 5};
    return CachedSequence{first, rows, 5, causal, 1, &shared, cache};
  };
  CachedSequence sequences[] = {sequence(0, 1, 1, 0), sequence(1, 3, interleaved, 2)};
  AttentionStep step{};
  step.qkv = qkv.rows(width);
  step.output = output.rows(heads * dim);
  step.queries = reinterpret_cast<float*>(queries.bytes.data());
  step.cos = reinterpret_cast<float*>(cos.bytes.data());
  step.sin = reinterpret_cast<float*>(sin.bytes.data());
  step.q_norm = step.k_norm = interleaved ? norm.bytes.data() : nullptr;
  step.sequences = sequences;
  step.count = 2;
  step.heads = heads;
  step.kv_heads = kv_heads;
  step.head_dim = step.rotary_dim = dim;
  step.scale = 1 / std::sqrt(float(dim));
  step.epsilon = 1e-6f;
  step.interleaved = interleaved;
  step.cache_dtype = cache_dtype;
  compare("attention", best, {&output.bytes}, [&] { mdtool_attend(&step, 1); }, {&own[0], &own[1], &own[2], &own[3]});
}

void compare_convolution(const char* best, int64_t channels, int64_t taps, int32_t dtype) {
  constexpr int64_t kRows = 6;
  Numbers gates(dtype, kRows * 3 * channels), output(dtype, kRows * channels), kernel(dtype, taps * channels);
  Numbers states(dtype, 2 * taps * channels), next(dtype, 2 * taps * channels);
  auto sequence = [&](int64_t first, int64_t rows, int64_t i) {
    size_t at = size_t(i * taps * channels) * states.size();
    return ConvolvedSequence{first, rows, states.bytes.data() + at, next.bytes.data() + at};
  };
  ConvolvedSequence sequences[] = {sequence(0, 1, 0), sequence(1, 5, 1)};
  std::fill(next.bytes.begin(), next.bytes.end(), uint8_t(0));
  ConvolutionStep step{gates.rows(3 * channels), output.rows(channels), kernel.bytes.data(), sequences, 2, channels, taps};
  compare("convolution", best, {&output.bytes, &next.bytes}, [&] { mdtool_convolve(&step, 1); });
}

void compare_greatest(const char* best, int64_t columns, int32_t dtype) {
  constexpr int64_t kRows = 3;
  Numbers x(dtype, kRows * columns);
  x.set(2 * columns + columns / 2, INFINITY);
  Rows rows = x.rows(columns);
  std::vector<uint8_t> places(kRows * sizeof(int64_t));
  compare("greatest", best, {&places}, [&] {
    mdtool_find_greatest(&rows, columns, kRows, reinterpret_cast<int64_t*>(places.data()), 1);
  });
}

}  // namespace

int main() {
  const char* best = mdtool_select_kernels(nullptr);
  for (int32_t dtype : {kFloat32, kBFloat16}) {
    for (int64_t rows : {1, 2, 3, 4, 7})
      for (int64_t outputs : {1, 16, 37})
        for (int64_t columns : {1, 100, 128, 300, 2200}) compare_linears(best, rows, outputs, columns, dtype);
    for (int64_t rows : {1, 3, 4, 6}) compare_blocks(best, rows, dtype);
    for (int64_t rows : {1, 5, 40}) compare_bfloat16(best, rows);
    for (int64_t rows : {1, 3, 4, 6})
      for (int64_t columns : {1, 31, 64, 300}) compare_floats(best, rows, columns, dtype);
    for (int64_t dim : {8, 64, 72, 128})
      for (bool interleaved : {false, true}) {
        for (int32_t cache : {dtype, int32_t(kInt8Rows)}) {
          compare_attention(best, 2, 2, dim, dtype, cache, interleaved);
          compare_attention(best, 6, 2, dim, dtype, cache, interleaved);
        }
        compare_rotation(best, dim, dim, dtype, interleaved);
        compare_rotation(best, dim, dim / 4 * 2, dtype, interleaved);
      }
    for (int64_t dim : {2, 18, 64, 72, 128})
      for (int64_t rows : {1, 7, 50})
        for (bool causal : {false, true}) compare_attention_of_many_rows(best, dim, rows, dtype, causal);
    for (int64_t columns : {1, 15, 100, 1030, 5000}) compare_greatest(best, columns, dtype);
  }
  for (int32_t dtype : {kFloat32, kBFloat16})
    for (int64_t channels : {16, 37, 128})
      for (int64_t taps : {2, 3, 5}) compare_convolution(best, channels, taps, dtype);
  std::printf("%s: %d comparisons with portable, %d differences\n", best, comparisons, differences);
  return differences || !std::strcmp(best, "portable") ? EXIT_FAILURE : EXIT_SUCCESS;
}
