// Linear layers with small bfloat16 weights, on any number of rows, which are rounded to bfloat16 too.
#pragma once

namespace kernels {
namespace {

constexpr int kRowBlock = 24;   // rows of y in a task: whole tiles
constexpr int kPanelGroup = 4;  // panels of 16 columns of y in a task

// Compute T rows of C panels of y. Each number is summed in the order of the columns of x, whatever T and C are.
template <int T, int C>
inline void bfloat16_tile(const LinearStep& step, const Rows& x, int64_t row, int64_t panel) {
  using S = Simd;
  int64_t pairs = step.weight.columns / 2;
  const uint8_t* weights = step.weight.values + panel * pairs * 64;
  auto rows = static_cast<const BFloat16*>(x.data) + row * x.stride;
  S::Floats sums[T][C];
  for (int t = 0; t < T; t++)
    for (int c = 0; c < C; c++) sums[t][c] = S::zero();
  for (int64_t p = 0; p < pairs; p++) {
    S::Bytes parts[C];
    for (int c = 0; c < C; c++) parts[c] = S::load_bytes(weights + (c * pairs + p) * 64);
    for (int t = 0; t < T; t++) {
      int32_t pair;
      std::memcpy(&pair, rows + t * x.stride + 2 * p, 4);
      for (int c = 0; c < C; c++) sums[t][c] = S::dot_pairs(sums[t][c], parts[c], pair);
    }
  }
  for (int t = 0; t < T; t++)
    for (int c = 0; c < C; c++) finish(step, row + t, (panel + c) * 16, sums[t][c], 16);
}

// Compute C panels of y, T rows at a time, and the rest in smaller tiles.
template <int T, int C>
inline void bfloat16_rows(const LinearStep& step, const Rows& x, int64_t row, int64_t end, int64_t panel) {
  for (; row + T <= end; row += T) bfloat16_tile<T, C>(step, x, row, panel);
  if constexpr (T > 1) bfloat16_rows<T / 2, C>(step, x, row, end, panel);
}

inline int64_t bfloat16_task_count(const LinearStep& step, int64_t rows) {
  int64_t panels = step.weight.rows / 16;
  return (panels + kPanelGroup - 1) / kPanelGroup * ((rows + kRowBlock - 1) / kRowBlock);
}

// Run the tasks from `begin` to `end`: blocks of rows of y, of one group of panels after the other.
inline void bfloat16_linear(const LinearStep& step, const Rows& x, int64_t rows, int64_t begin, int64_t end) {
  constexpr int T = Simd::kTileRows, C = Simd::kTileVectors;
  int64_t blocks = (rows + kRowBlock - 1) / kRowBlock, panels = step.weight.rows / 16;
  for (int64_t task = begin; task < end; task++) {
    int64_t row = task % blocks * kRowBlock, panel = task / blocks * kPanelGroup;
    int64_t last_row = rows < row + kRowBlock ? rows : row + kRowBlock;
    int64_t last = panels < panel + kPanelGroup ? panels : panel + kPanelGroup;
    for (; panel + C <= last; panel += C) bfloat16_rows<T, C>(step, x, row, last_row, panel);
    for (; panel < last; panel++) bfloat16_rows<T, 1>(step, x, row, last_row, panel);
  }
}

// Normalise rows of x and round them to bfloat16. `numbers` is room for a row of floats, padded to whole blocks.
inline void narrow_rows(const LinearStep& step, int64_t begin, int64_t end, float* numbers, const Rows& out) {
  for (int64_t row = begin; row < end; row++) {
    normalize_row(step.x, row, step.columns, step.norm, numbers);
    for (int64_t i = 0; i < step.columns; i += 16)
      store_rows(out, row, i, Simd::load(numbers + i), step.columns - i);
  }
}

}  // namespace
}  // namespace kernels
