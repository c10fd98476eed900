// Attention of many rows, block by block of keys with an online softmax (FlashAttention, Dao et al. 2022).
#pragma once
#include <limits>

namespace kernels {
namespace {

// How products of matrices are added up: two columns at a time, the second one first, each rounded once, as vdpbf16ps
// (AVX-512 BF16) does. So all instruction sets give the same bits, unless a sum is denormal, which vdpbf16ps takes for 0.
//
// A packed matrix has its columns in vectors of 16; within each, pairs of rows follow one another: 32 numbers.
struct FloatProducts {
  using Number = float;
  struct Pair {
    Simd::Floats first, second;
  };
  static constexpr int kTerms = 6;  // of the exponential
  static int64_t place(int64_t lane, int64_t row) { return 16 * row + lane; }
  static Pair load(const Number* p) { return {Simd::load(p), Simd::load(p + 16)}; }
  static Simd::Floats add(Simd::Floats sum, const Pair& pair, const Number* numbers) {
    return Simd::fma(pair.first, Simd::set(numbers[0]), Simd::fma(pair.second, Simd::set(numbers[1]), sum));
  }
  static Number convert(float x) { return x; }
  static Number convert(BFloat16 x) { return x.bits & 0x7f80 ? widen(x) : 0.0f; }
  // Returns the weights as they are stored.
  static Simd::Floats store(Number* p, Simd::Floats weights) {
    Simd::store(p, weights);
    return weights;
  }
};

// Of bfloat16 numbers where the CPU can't multiply these: weights are rounded as they are there.
struct WidenedProducts : FloatProducts {
  static constexpr int kTerms = 4;
  static Simd::Floats store(Number* p, Simd::Floats weights) {
    BFloat16 rounded[16];
    Simd::store(rounded, weights);
    return FloatProducts::store(p, Simd::load(rounded));
  }
};

constexpr int64_t kKeyBlock = 256;  // positions between two corrections of the softmax
constexpr int64_t kPairNumbers = 32;  // of a pair of rows of a packed matrix

// Keys and values of a head: packed matrices (head_dim, positions) and (positions, head_dim).
template <typename Number>
struct PackedHead {
  Number* keys;
  Number* values;
  int64_t key_vector;  // numbers from one vector of columns to the next
  int64_t value_vector;
};

// 2^x for x <= 0, to 3e-6 with 4 terms and 2e-7 with 6; what is smaller than 2^-126 becomes that.
template <int terms>
inline Simd::Floats power_of_two(Simd::Floats x) {
  using S = Simd;
  constexpr float four[] = {0.99999928474f, 0.69312179089f, 0.24024744332f, 0.055917859077f, 0.0095701022074f};
  constexpr float six[] = {1.0f, 0.69314718246f, 0.24022646248f, 0.055503286421f, 0.0096184890717f, 0.0013399930904f,
                           0.00015345812543f};
  S::Floats bounded = S::max(S::set(-126.0f), x);  // in this order NaN stays NaN
  S::Floats n = S::round(bounded);
  S::Floats r = S::sub(bounded, n);
  S::Floats p = S::set(terms == 4 ? four[4] : six[6]);
  for (int i = terms - 1; i >= 0; i--) p = S::fma(p, r, S::set(terms == 4 ? four[i % 5] : six[i]));
  return S::scale_by_power(p, n);
}

// Write T rows of V vectors: factors[t] * c + rows of a * packed matrix b.
template <typename Products, int T, int V>
inline void multiply_vectors(const typename Products::Number* a, int64_t a_stride, const typename Products::Number* b,
                             int64_t b_vector, int64_t pairs, const float* factors, float* c, int64_t c_stride) {
  using S = Simd;
  S::Floats sums[T][V];
  for (int t = 0; t < T; t++)
    for (int v = 0; v < V; v++)
      sums[t][v] = factors ? S::mul(S::load(c + t * c_stride + 16 * v), S::set(factors[t])) : S::zero();
  for (int64_t p = 0; p < pairs; p++)
    for (int v = 0; v < V; v++) {
      auto pair = Products::load(b + v * b_vector + p * kPairNumbers);
      for (int t = 0; t < T; t++) sums[t][v] = Products::add(sums[t][v], pair, a + t * a_stride + 2 * p);
    }
  for (int t = 0; t < T; t++)
    for (int v = 0; v < V; v++) S::store(c + t * c_stride + 16 * v, sums[t][v]);
}

template <typename Products, int T, int V>
inline void multiply(const typename Products::Number* a, int64_t a_stride, const typename Products::Number* b,
                     int64_t b_vector, int64_t vectors, int64_t pairs, const float* factors, float* c,
                     int64_t c_stride) {
  for (; vectors >= V; vectors -= V, b += V * b_vector, c += 16 * V)
    multiply_vectors<Products, T, V>(a, a_stride, b, b_vector, pairs, factors, c, c_stride);
  if constexpr (V > 1)
    if (vectors) multiply<Products, T, V - 1>(a, a_stride, b, b_vector, vectors, pairs, factors, c, c_stride);
}

template <typename Stored>
inline const Stored* row_of(const HeadRows& rows, int64_t row, int64_t head) {
  return static_cast<const Stored*>(rows.data) + row * rows.row_stride + head * rows.head_stride;
}

// Write a pair of rows of up to 16 columns of a packed matrix, padded with zeros.
template <typename Products, typename Stored>
inline void pack_pair(const Stored* first, const Stored* second, int64_t count, typename Products::Number* out) {
  if (count < 16) {
    Stored padded[2][16] = {};
    for (int64_t i = 0; i < count; i++) padded[0][i] = first[i], padded[1][i] = second[i];
    return pack_pair<Products>(padded[0], padded[1], 16, out);
  }
  for (int i = 0; i < 16; i++) {
    out[Products::place(i, 0)] = Products::convert(first[i]);
    out[Products::place(i, 1)] = Products::convert(second[i]);
  }
}

// Pack the keys and values of a head.
template <typename Products, typename Stored>
inline void pack_head(const ManyRowsAttention& step, int64_t kv_head, const PackedHead<typename Products::Number>& out) {
  static const Stored zeros[kMaxHeadDim] = {};
  int64_t dim = step.head_dim, at = 0;
  const Stored* former = nullptr;  // values of the position before
  auto pack_values = [&](int64_t position, const Stored* first, const Stored* second) {
    for (int64_t i = 0; i < dim; i += 16)
      pack_pair<Products>(first + i, second + i, dim - i,
                          out.values + i / 16 * out.value_vector + position / 2 * kPairNumbers);
  };
  auto pack_keys = [&](int64_t position, const Stored* keys) {
    auto to = out.keys + position / 16 * out.key_vector;
    for (int64_t i = 0; i < dim; i += 2, to += kPairNumbers)
      for (int64_t j = 0; j < 2; j++) to[Products::place(position % 16, j)] = Products::convert(keys[i + j]);
  };
  for (int64_t part = 0; part < step.part_count; part++) {
    const KeyValueRows& rows = step.parts[part];
    for (int64_t p = 0; p < rows.positions; p++, at++) {
      pack_keys(at, row_of<Stored>(rows.keys, p, kv_head));
      auto values = row_of<Stored>(rows.values, p, kv_head);
      if (at % 2) pack_values(at, former, values);
      former = values;
    }
  }
  if (at % 2) pack_values(at, former, zeros);
  for (; at % 16; at++) pack_keys(at, zeros);
}

// The state of the softmax of T rows.
template <int T>
struct OnlineSoftmax {
  float greatest[16];  // score
  Simd::Floats sums[T];  // of weights, in 16 parts
};

// Turn T rows of `count` scores into weights, of which row t sees visible[t], and update the softmax. Returns in
// `factors` by what former sums of values have to be multiplied. `scale` is that of scores, times log2(e).
template <typename Products, int T>
inline void weigh(float* scores, int64_t count, const int64_t* visible, float scale, OnlineSoftmax<T>& state,
                  typename Products::Number* weights, float* factors) {
  using S = Simd;
  float greatest[16] = {};
  for (int t = 0; t < T; t++) {
    float* row = scores + t * kKeyBlock;
    int64_t padded = (visible[t] + 15) / 16 * 16;
    for (int64_t i = visible[t]; i < padded; i++) row[i] = -std::numeric_limits<float>::infinity();
    S::Floats most = S::set(state.greatest[t]);
    for (int64_t i = 0; i < padded; i += 16) most = S::max(most, S::load(row + i));
    greatest[t] = S::largest(most);
  }
  S::Floats less = S::sub(S::load(state.greatest), S::load(greatest));
  S::store(factors, power_of_two<Products::kTerms>(S::mul(less, S::set(scale))));
  for (int t = 0; t < T; t++) {
    state.greatest[t] = greatest[t];
    const float* row = scores + t * kKeyBlock;
    typename Products::Number* out = weights + t * kKeyBlock;
    int64_t padded = (visible[t] + 15) / 16 * 16;
    S::Floats total = S::mul(state.sums[t], S::set(factors[t]));
    for (int64_t i = 0; i < padded; i += 16) {
      S::Floats x = S::mul(S::sub(S::load(row + i), S::set(greatest[t])), S::set(scale));
      S::Floats weight = power_of_two<Products::kTerms>(x);
      total = S::add(total, Products::store(out + i, weight));  // so that what all values share stays exact
    }
    for (int64_t i = visible[t]; i < (count + 1) / 2 * 2; i++) out[i] = typename Products::Number{};
    state.sums[t] = total;
  }
}

// Attend with up to T consecutive rows of a head.
template <typename Products, typename Stored, int T, int V>
inline void attend_tile(const ManyRowsAttention& step, const PackedHead<typename Products::Number>& packed, int64_t head,
                        int64_t first, int64_t rows) {
  using S = Simd;
  using Number = typename Products::Number;
  alignas(64) Number queries[T * kMaxHeadDim];
  alignas(64) float scores[T * kKeyBlock];
  alignas(64) Number weights[T * kKeyBlock];
  alignas(64) float outputs[T * kMaxHeadDim];
  float factors[16];
  int64_t dim = step.head_dim, dim_vectors = (dim + 15) / 16, seen[T], longest = 0;
  OnlineSoftmax<T> state;
  for (float& score : state.greatest) score = -std::numeric_limits<float>::infinity();
  for (int t = 0; t < T; t++) {
    int64_t row = first + (t < rows ? t : rows - 1);
    seen[t] = step.causal ? step.positions - step.rows + row + 1 : step.positions;
    longest = seen[t] > longest ? seen[t] : longest;
    state.sums[t] = S::zero();
    auto q = row_of<Stored>(step.queries, row, head);
    for (int64_t i = 0; i < dim; i++) queries[t * kMaxHeadDim + i] = Products::convert(q[i]);
    for (int64_t i = 0; i < 16 * dim_vectors; i++) outputs[t * kMaxHeadDim + i] = 0;
  }
  float scale = step.scale * 1.44269504f;
  for (int64_t block = 0; block < longest; block += kKeyBlock) {
    int64_t count = longest - block < kKeyBlock ? longest - block : kKeyBlock, visible[T];
    for (int t = 0; t < T; t++) {
      int64_t some = seen[t] - block < count ? seen[t] - block : count;
      visible[t] = some > 0 ? some : 0;
    }
    multiply<Products, T, V>(queries, kMaxHeadDim, packed.keys + block / 16 * packed.key_vector, packed.key_vector,
                             (count + 15) / 16, dim / 2, nullptr, scores, kKeyBlock);
    weigh<Products, T>(scores, count, visible, scale, state, weights, factors);
    multiply<Products, T, V>(weights, kKeyBlock, packed.values + block / 2 * kPairNumbers, packed.value_vector,
                             dim_vectors, (count + 1) / 2, factors, outputs, kMaxHeadDim);
  }
  for (int t = 0; t < rows; t++) {
    S::Floats inverse = S::set(1 / S::sum(state.sums[t]));
    for (int64_t i = 0; i < dim; i += 16) {
      S::Floats y = S::mul(S::load(outputs + t * kMaxHeadDim + i), inverse);
      store_rows(step.output, first + t, head * dim + i, y, dim - i);
    }
  }
}

// Attend with chunks `begin` to `end` of kRowChunk rows, of all heads one after the other. `room`: see packed_bytes.
template <typename Products, typename Stored, int T, int V>
inline void attend_chunks(const ManyRowsAttention& step, int64_t begin, int64_t end, void* room) {
  using Number = typename Products::Number;
  int64_t chunks = (step.rows + kRowChunk - 1) / kRowChunk, group = step.heads / step.kv_heads, packed_head = -1;
  PackedHead<Number> packed;
  packed.key_vector = step.head_dim / 2 * kPairNumbers;
  packed.value_vector = (step.positions + 1) / 2 * kPairNumbers;
  packed.keys = static_cast<Number*>(room);
  packed.values = packed.keys + (step.positions + 15) / 16 * packed.key_vector;
  for (int64_t chunk = begin; chunk < end; chunk++) {
    int64_t head = chunk / chunks, first = chunk % chunks * kRowChunk;
    if (head / group != packed_head) {
      packed_head = head / group;
      pack_head<Products, Stored>(step, packed_head, packed);
    }
    int64_t last = first + kRowChunk < step.rows ? first + kRowChunk : step.rows;
    for (int64_t row = first; row < last; row += T)
      attend_tile<Products, Stored, T, V>(step, packed, head, row, last - row < T ? last - row : T);
  }
}

}  // namespace
}  // namespace kernels
