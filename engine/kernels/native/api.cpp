// The functions that Python calls.
#include <algorithm>
#include <cstring>
#include <memory>
#include <vector>

#if defined(__aarch64__) && defined(__linux__)
#include <sys/auxv.h>
#elif defined(__x86_64__)
#include <cpuid.h>
#endif

#include "kernels.h"
#include "parallel.h"

#define EXPORT extern "C" __attribute__((visibility("default")))

namespace kernels {
namespace {

const KernelTable* table = &portable_kernels;

#if defined(__x86_64__)
KernelTable with_bfloat16() {
  KernelTable kernels = avx512_kernels;
  kernels.name = "avx512-bf16";
  kernels.attend_many = attend_many_rows_with_bfloat16;
  kernels.bfloat16_linear = bfloat16_linear_with_bfloat16;
  return kernels;
}

const KernelTable avx512_bfloat16_kernels = with_bfloat16();
#endif

#if defined(__aarch64__)
bool has_dot_products() {
#if defined(__linux__)
  constexpr unsigned long kDotProducts = 1ul << 20;  // HWCAP_ASIMDDP
  return getauxval(AT_HWCAP) & kDotProducts;
#else
  return true;  // all of Apple's
#endif
}
#endif

// Whether the CPU has matrix units for bytes (AMX): torch's GEMM uses them.
bool has_matrix_units() {
#if defined(__x86_64__)
  unsigned a, b, c, d;
  return __get_cpuid_count(7, 0, &a, &b, &c, &d) && d >> 25 & 1;
#else
  return false;
#endif
}

// Room that a calling thread keeps between calls.
template <typename T>
T* room(std::vector<T>& vector, int64_t count) {
  if (int64_t(vector.size()) < count) vector.resize(size_t(count));
  return vector.data();
}

thread_local std::vector<int8_t> bytes_room;
thread_local std::vector<BFloat16> narrow_room;
thread_local std::vector<float> scales_room, sums_room, numbers_room, normalized_room, grouped_room, scores_room, heads_room;

int64_t padded(int64_t count, int64_t step) { return (count + step - 1) / step * step; }

QuantizedRows quantize(const LinearStep& step, int64_t rows, int threads) {
  int64_t columns = padded(step.columns, kBlock);
  QuantizedRows out{rows, columns, room(bytes_room, rows * columns), room(scales_room, rows * columns / kBlock),
                    room(sums_room, rows * columns / kSumGroup)};
  float* numbers = room(numbers_room, threads * columns);
  parallel_for(rows, threads, [&](int thread, int64_t begin, int64_t end) {
    table->quantize(step, begin, end, numbers + thread * columns, out);
  });
  return out;
}

GroupedRows grouped(const QuantizedRows& rows, int64_t group) {
  int64_t groups = rows.columns / group, stride = padded(groups, 16);
  float* scales = room(grouped_room, 2 * rows.rows * stride);
  float* sums = scales + rows.rows * stride;
  std::fill(scales, sums + rows.rows * stride, 0.0f);
  for (int64_t row = 0; row < rows.rows; row++)
    for (int64_t g = 0; g < groups; g++) {
      scales[row * stride + g] = rows.scales[row * (rows.columns / kBlock) + g * group / kBlock];
      const float* parts = rows.sums + row * (rows.columns / kSumGroup) + g * group / kSumGroup;
      float sum = 0;
      for (int64_t i = 0; i < group / kSumGroup; i++) sum += parts[i];
      sums[row * stride + g] = sum;
    }
  return {&rows, scales, sums, stride, nullptr};
}

// Return the rows that bfloat16 weights are multiplied with.
Rows narrowed(const LinearStep& step, int64_t rows, int threads) {
  if (step.norm.kind == kNoNorm && step.x.dtype == kBFloat16) return step.x;
  Rows out{room(narrow_room, rows * step.columns), step.columns, kBFloat16};
  int64_t columns = padded(step.columns, kBlock);
  float* numbers = room(numbers_room, threads * columns);
  parallel_for(rows, threads, [&](int thread, int64_t begin, int64_t end) {
    table->narrow(step, begin, end, numbers + thread * columns, out);
  });
  return out;
}

// Run linear layers one after the other on the same number of rows.
void run_linears(const LinearStep* steps, int64_t count, int64_t rows, int threads) {
  QuantizedRows quantized{}, plain{};
  Rows narrow{};
  float* numbers = nullptr;
  for (int64_t i = 0; i < count; i++) {
    const LinearStep& step = steps[i];
    if (!step.same_input) {
      quantized.values = nullptr;
      numbers = nullptr;
      narrow.data = nullptr;
    }
    if (step.weight.format == kBFloat16Pairs) {
      if (!narrow.data) narrow = narrowed(step, rows, threads);
      parallel_for(table->bfloat16_task_count(step, rows), threads, [&](int, int64_t begin, int64_t end) {
        table->bfloat16_linear(step, narrow, rows, begin, end);
      });
      continue;
    }
    GroupedRows groups{};
    if (has_floats(step.weight)) {
      if (!numbers) {
        int64_t columns = padded(step.columns, kBlock);
        plain = {rows, columns, nullptr, nullptr, nullptr};
        numbers = room(normalized_room, rows * columns);
        parallel_for(rows, threads, [&](int, int64_t begin, int64_t end) {
          table->normalize(step, begin, end, numbers, columns);
        });
      }
      groups.rows = &plain;
      groups.numbers = numbers;
    } else {
      if (!quantized.values) quantized = quantize(step, rows, threads);
      groups = grouped(quantized, step.weight.format == kInt8 ? kBlock : step.weight.group);
    }
    int64_t chunks = padded(step.weight.rows, kChunkColumns) / kChunkColumns;
    parallel_for(chunks, threads, [&](int, int64_t begin, int64_t end) { table->linear(step, groups, begin, end); });
  }
}

// Rotate queries and keys, and extend the caches.
void begin_attention(const AttentionStep* step, int threads) {
  int64_t rows = 0;
  for (int64_t s = 0; s < step->count; s++) rows += step->sequences[s].rows;
  parallel_for(rows, rows < 4 ? 1 : threads, [&](int, int64_t begin, int64_t end) {
    int64_t row = 0;  // of the batch
    for (int64_t s = 0; s < step->count; s++)
      for (int64_t r = 0; r < step->sequences[s].rows; r++, row++)
        if (row >= begin && row < end) table->begin_attention(*step, step->sequences[s], r);
  });
}

// Extend the caches, and attend.
void attend(const AttentionStep* step, int threads) {
  std::vector<int64_t> groups;  // where sequences begin that share their prefix, and the end
  int64_t longest = 0;
  for (int64_t s = 0; s < step->count; s++) {
    const CachedSequence& sequence = step->sequences[s];
    if (!s || !sequence.segments || sequence.shared != step->sequences[s - 1].shared) groups.push_back(s);
    int64_t positions = sequence.length + sequence.rows;
    for (int i = 0; i < sequence.segments; i++) positions += sequence.shared[i].positions;
    longest = std::max(longest, positions);
  }
  groups.push_back(step->count);
  if (step->qkv.data) begin_attention(step, threads);
  int64_t stride = padded(longest, 16);
  float* scores = room(scores_room, threads * kMaxQueries * stride);
  int64_t tasks = int64_t(groups.size() - 1) * step->kv_heads;
  parallel_for(tasks, threads, [&](int thread, int64_t begin, int64_t end) {
    for (int64_t task = begin; task < end; task++) {
      int64_t group = task / step->kv_heads;
      table->attend(*step, groups[group], groups[group + 1], task % step->kv_heads,
                    scores + thread * kMaxQueries * stride, stride);
    }
  });
}

// Attend with many rows, whose keys and values are in the caches already.
void attend_many(const ManyRowsAttention& step, int threads) {
  constexpr int64_t kLine = 16;  // floats of a cache line
  int64_t size = padded(step.positions, 16) * step.head_dim + (step.positions + 1) / 2 * 2 * padded(step.head_dim, 16);
  size = padded(size, kLine);
  float* heads = room(heads_room, threads * size + kLine);
  heads += (kLine - reinterpret_cast<uintptr_t>(heads) / sizeof(float) % kLine) % kLine;
  int64_t chunks = padded(step.rows, kRowChunk) / kRowChunk;
  parallel_for(step.heads * chunks, threads, [&](int thread, int64_t begin, int64_t end) {
    table->attend_many(step, begin, end, heads + thread * size);
  });
}

// Convolve the rows of all sequences.
void convolve(const ConvolutionStep* step, int threads) {
  constexpr int64_t kWorthThreads = 1 << 14;  // numbers of the output
  int64_t rows = 0;
  for (int64_t s = 0; s < step->count; s++) rows += step->sequences[s].rows;
  parallel_for(padded(step->channels, 16) / 16, rows * step->channels < kWorthThreads ? 1 : threads,
               [&](int, int64_t begin, int64_t end) { table->convolve(*step, begin, end); });
}

}  // namespace
}  // namespace kernels

using namespace kernels;

// Use the kernels of an instruction set; null: the best that this CPU has. Returns their name, or null if it lacks it.
EXPORT const char* mdtool_select_kernels(const char* name) {
  const KernelTable* available[5];
  int count = 0;
#if defined(__x86_64__)
  __builtin_cpu_init();
  bool avx2 = __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma");
  avx2 = avx2 && __builtin_cpu_supports("f16c");
  if (avx2 && __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
      __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vl") &&
      __builtin_cpu_supports("avx512vnni")) {
    if (__builtin_cpu_supports("avx512bf16")) available[count++] = &avx512_bfloat16_kernels;
    available[count++] = &avx512_kernels;
  }
  if (avx2) available[count++] = &avx2_kernels;
#elif defined(__aarch64__)
  if (has_dot_products()) available[count++] = &neon_kernels;
#endif
  available[count++] = &portable_kernels;
  for (int i = 0; i < count; i++)
    if (!name || !std::strcmp(name, available[i]->name)) {
      table = available[i];
      return table->name;
    }
  return nullptr;
}

EXPORT void mdtool_use_runtime(void* gomp_parallel) { use_runtime(gomp_parallel); }

// Round rows to bytes with one scale a row. values: (rows, stride), stride a multiple of kBlock.
EXPORT void mdtool_quantize_rows(const Rows* x, int64_t columns, const Norm* norm, int64_t rows, int8_t* values,
                                 int64_t stride, float* scales, int32_t threads) {
  float* numbers = room(numbers_room, threads * stride);
  parallel_for(rows, threads, [&](int thread, int64_t begin, int64_t end) {
    table->quantize_whole(*x, columns, *norm, begin, end, numbers + thread * stride, values, stride, scales);
  });
}

// Widen rows `begin` to `end` of weights to bytes with one scale a row. values: (rows, columns padded to kBlock).
EXPORT void mdtool_widen(const Matrix* weight, int64_t begin, int64_t end, int8_t* values, float* scales,
                         int32_t threads) {
  int64_t columns = padded(weight->columns, kBlock);
  float* numbers = room(numbers_room, threads * columns);
  parallel_for(end - begin, threads, [&](int thread, int64_t first, int64_t last) {
    table->widen(*weight, begin + first, begin + last, numbers + thread * columns, values + first * columns,
                 scales + first);
  });
}

// Convert rows `begin` to `end` of weights that are floats to the dtype of `out`.
EXPORT void mdtool_convert(const Matrix* weight, int64_t begin, int64_t end, const Rows* out, int32_t threads) {
  parallel_for(end - begin, threads, [&](int, int64_t first, int64_t last) {
    Rows part = *out;
    part.data = static_cast<uint8_t*>(out->data) + first * out->stride * (out->dtype == kBFloat16 ? 2 : 4);
    table->convert(*weight, begin + first, begin + last, part);
  });
}

// Finish `columns` columns of y, from `first_column` on, from the integer sums (rows, columns) of an int8 GEMM.
EXPORT void mdtool_finish(const LinearStep* step, const int32_t* sums, int64_t rows, int64_t columns,
                          const float* x_scales, const float* weight_scales, int64_t first_column, int32_t threads) {
  parallel_for(rows, threads, [&](int, int64_t begin, int64_t end) {
    table->finish(*step, sums, columns, x_scales, weight_scales, first_column, begin, end);
  });
}

// Whether there is a GEMM of many rows that is faster than torch's.
EXPORT int32_t mdtool_has_gemm() { return table->multiply_many && !has_matrix_units(); }

// Compute y from rows that mdtool_quantize_rows has rounded. values: (rows, columns padded to kBlock).
EXPORT void mdtool_multiply_many_rows(const LinearStep* step, const int8_t* values, const float* scales, int64_t rows,
                                      int32_t threads) {
  int64_t columns = padded(step->columns, kBlock), panels = padded(step->weight.rows, kPanelColumns) / kPanelColumns;
  WholeRows x{rows, columns, values, scales};
  int64_t bytes = (kPanelColumns + 16 + int64_t(sizeof(float))) * columns;  // of panel, rows and numbers
  int64_t floats = kPanelColumns + padded(rows, 16), size = padded(bytes + floats * 4, 64);
  std::unique_ptr<uint8_t[]> memory(new uint8_t[size_t(threads * size + 64)]);
  auto begin_of = reinterpret_cast<uint8_t*>(padded(int64_t(memory.get()), 64));
  parallel_for(panels, threads, [&](int thread, int64_t begin, int64_t end) {
    uint8_t* at = begin_of + thread * size;
    GemmRoom room{};
    room.panel = at;
    room.rows = reinterpret_cast<int8_t*>(at + kPanelColumns * columns);
    room.numbers = reinterpret_cast<float*>(at + (kPanelColumns + 16) * columns);
    room.scales = room.numbers + columns;
    room.bias = reinterpret_cast<int32_t*>(room.scales + kPanelColumns);
    table->multiply_many(*step, x, begin, end, room);
  });
}

EXPORT void mdtool_run_linears(const LinearStep* steps, int64_t count, int64_t rows, int32_t threads) {
  run_linears(steps, count, rows, threads);
}

EXPORT void mdtool_attend(const AttentionStep* step, int32_t threads) { attend(step, threads); }

EXPORT void mdtool_rotate(const Rotation* step, int32_t threads) {
  parallel_for(step->rows, threads, [&](int, int64_t begin, int64_t end) { table->rotate(*step, begin, end); });
}

EXPORT void mdtool_attend_many(const ManyRowsAttention* step, int32_t threads) { attend_many(*step, threads); }

EXPORT void mdtool_convolve(const ConvolutionStep* step, int32_t threads) { convolve(step, threads); }

// Write the place of the first of the greatest numbers of each row, or -1 if a number in it is NaN or infinite.
EXPORT void mdtool_find_greatest(const Rows* x, int64_t columns, int64_t rows, int64_t* places, int32_t threads) {
  parallel_for(rows, threads, [&](int, int64_t begin, int64_t end) {
    table->find_greatest(*x, columns, begin, end, places);
  });
}

// Extend the caches only.
EXPORT void mdtool_extend_caches(const AttentionStep* step, int32_t threads) { begin_attention(step, threads); }

// Run the layers of a decoder.
EXPORT void mdtool_run_decoder(const DecoderLayer* layers, int64_t count, int64_t rows, int32_t threads) {
  for (int64_t i = 0; i < count; i++) {
    run_linears(layers[i].before, layers[i].before_count, rows, threads);
    if (layers[i].attention) attend(layers[i].attention, threads);
    if (layers[i].convolution) convolve(layers[i].convolution, threads);
    run_linears(layers[i].after, layers[i].after_count, rows, threads);
  }
}
