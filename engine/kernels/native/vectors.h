// Loading and storing of 16 numbers or fewer, and elementary functions, on the vectors of any instruction set.
#pragma once

namespace kernels {
namespace {

template <typename T>
inline Simd::Floats load_part(const T* p, int64_t count) {
  if (count >= 16) return Simd::load(p);
  T part[16] = {};
  for (int64_t i = 0; i < count; i++) part[i] = p[i];
  return Simd::load(part);
}

inline Simd::Floats load_part(const BFloat16* p, int64_t count) {
  return count >= 16 ? Simd::load(p) : Simd::load_first(p, count);
}

template <typename T>
inline void store_part(T* p, Simd::Floats x, int64_t count) {
  if (count >= 16) return Simd::store(p, x);
  T part[16];
  Simd::store(part, x);
  for (int64_t i = 0; i < count; i++) p[i] = part[i];
}

inline Simd::Floats load_rows(const Rows& rows, int64_t row, int64_t column, int64_t count) {
  int64_t at = row * rows.stride + column;
  if (rows.dtype == kBFloat16) return load_part(static_cast<const BFloat16*>(rows.data) + at, count);
  return load_part(static_cast<const float*>(rows.data) + at, count);
}

inline void store_rows(const Rows& rows, int64_t row, int64_t column, Simd::Floats x, int64_t count) {
  int64_t at = row * rows.stride + column;
  if (rows.dtype == kBFloat16) return store_part(static_cast<BFloat16*>(rows.data) + at, x, count);
  store_part(static_cast<float*>(rows.data) + at, x, count);
}

// e^x to 2 units in the last place: 2^n times a polynomial on [-ln 2 / 2, ln 2 / 2] (Cephes, Moshier 1989).
inline Simd::Floats exponential(Simd::Floats x) {
  using S = Simd;
  S::Floats bounded = S::max(S::set(-87.0f), S::min(S::set(88.0f), x));  // in this order NaN stays NaN
  S::Floats n = S::round(S::mul(bounded, S::set(1.44269504f)));
  S::Floats r = S::fma(n, S::set(-0.693359375f), bounded);
  r = S::fma(n, S::set(2.12194440e-4f), r);
  S::Floats p = S::set(1.9875691500e-4f);
  p = S::fma(p, r, S::set(1.3981999507e-3f));
  p = S::fma(p, r, S::set(8.3334519073e-3f));
  p = S::fma(p, r, S::set(4.1665795894e-2f));
  p = S::fma(p, r, S::set(1.6666665459e-1f));
  p = S::fma(p, r, S::set(5.0000001201e-1f));
  p = S::add(S::fma(p, S::mul(r, r), r), S::set(1));
  return S::scale_by_power(p, n);
}

inline Simd::Floats sigmoid(Simd::Floats x) {
  return Simd::div(Simd::set(1), Simd::add(Simd::set(1), exponential(Simd::sub(Simd::zero(), x))));
}

// GELU in its tanh approximation (Hendrycks and Gimpel 2016), as 0.5 (1 + tanh u) = sigmoid(2u).
inline Simd::Floats gelu(Simd::Floats x) {
  constexpr float kLinear = 1.5957691216f;  // 2 sqrt(2 / pi)
  Simd::Floats cubic = Simd::fma(Simd::mul(x, x), Simd::set(kLinear * 0.044715f), Simd::set(kLinear));
  return Simd::mul(x, sigmoid(Simd::mul(x, cubic)));
}

inline Simd::Floats silu(Simd::Floats x) { return Simd::mul(x, sigmoid(x)); }

}  // namespace
}  // namespace kernels
