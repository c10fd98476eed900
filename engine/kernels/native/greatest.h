// The greatest number of a row: greedy decoding.
#pragma once
#include <limits>

namespace kernels {
namespace {

constexpr int64_t kSearched = 1024;  // numbers among which the greatest is looked for, once it is known

// Return the place of the first of the greatest numbers of a row, or -1 if any number is NaN or infinite.
inline int64_t first_greatest(const Rows& x, int64_t row, int64_t columns) {
  using S = Simd;
  float best = -std::numeric_limits<float>::infinity();
  int64_t piece = 0;
  S::Floats poison = S::zero();
  auto numbers = [&](int64_t i) {  // 16 of them; the last is repeated at the end
    if (columns - i >= 16) return load_rows(x, row, i, 16);
    float last[16];
    for (int64_t j = 0; j < 16; j++) {
      int64_t at = i + j < columns ? i + j : columns - 1;
      last[j] = x.dtype == kBFloat16 ? widen(static_cast<const BFloat16*>(x.data)[row * x.stride + at])
                                     : static_cast<const float*>(x.data)[row * x.stride + at];
    }
    return S::load(last);
  };
  for (int64_t begin = 0; begin < columns; begin += kSearched) {
    int64_t end = begin + kSearched < columns ? begin + kSearched : columns;
    S::Floats most = S::set(best);
    for (int64_t i = begin; i < end; i += 16) {
      S::Floats part = numbers(i);
      most = S::max(most, part);
      poison = S::add(poison, S::sub(part, part));  // 0 of a finite number, else NaN
    }
    float greatest = S::largest(most);
    if (greatest > best) best = greatest, piece = begin;
  }
  if (S::sum(poison) != 0) return -1;
  for (int64_t i = piece;; i += 16) {
    float part[16];
    S::store(part, numbers(i));
    for (int64_t j = 0; j < 16; j++)
      if (part[j] == best) return i + j;
  }
}

inline void find_greatest(const Rows& x, int64_t columns, int64_t begin, int64_t end, int64_t* places) {
  for (int64_t row = begin; row < end; row++) places[row] = first_greatest(x, row, columns);
}

}  // namespace
}  // namespace kernels
