// Attention of few rows over key-value caches (Vaswani et al. 2017), with rotary embedding and the write to the cache.
#pragma once

namespace kernels {
namespace {

// How a position of a cache lies in memory: `dim` numbers; or bytes, and after them their scale as a float.
template <typename Number>
struct CacheRow {
  static int64_t width(int64_t dim) { return dim; }
  static float scale(const Number*, int64_t) { return 1; }
};
template <>
struct CacheRow<int8_t> {
  static int64_t width(int64_t dim) { return dim + 4; }
  static float scale(const int8_t* row, int64_t dim) {
    float scale;
    std::memcpy(&scale, row + dim, 4);
    return scale;
  }
};

// Write a head of a position to a cache.
inline void write_row(const void* cache, int64_t at, int64_t dim, int32_t dtype, const float* numbers) {
  if (dtype == kInt8Rows) {
    alignas(64) float padded[kMaxHeadDim] = {};
    int8_t bytes[kMaxHeadDim];
    for (int64_t i = 0; i < dim; i++) padded[i] = numbers[i];
    int64_t count = (dim + 15) / 16 * 16;
    float scale = byte_scale(padded, count);
    round_to_bytes(padded, count, scale, bytes);
    auto row = static_cast<int8_t*>(const_cast<void*>(cache)) + at;
    std::memcpy(row, bytes, size_t(dim));
    std::memcpy(row + dim, &scale, 4);
    return;
  }
  Rows rows{const_cast<void*>(cache), 0, dtype};
  for (int64_t i = 0; i < dim; i += 16) store_rows(rows, 0, at + i, load_part(numbers + i, dim - i), dim - i);
}

// Rotate `half` pairs of numbers.
inline void rotate_pairs(float* numbers, const float* cos, const float* sin, int64_t half, bool interleaved) {
  float first[kMaxHeadDim / 2], second[kMaxHeadDim / 2];
  for (int64_t i = 0; i < half; i++) {
    float a = numbers[i], b = numbers[i + half];
    first[i] = a * cos[i] - b * sin[i];
    second[i] = a * sin[i] + b * cos[i];
  }
  if (interleaved)
    for (int64_t i = 0; i < half; i++) numbers[2 * i] = first[i], numbers[2 * i + 1] = second[i];
  else
    for (int64_t i = 0; i < half; i++) numbers[i] = first[i], numbers[i + half] = second[i];
}

// Normalise (RMSNorm) and rotate one head of a row: q or k of `dim` numbers, to floats.
inline void rotate_head(const Rows& qkv, int64_t row, int64_t column, const AttentionStep& step, const void* weight,
                        float* out) {
  int64_t dim = step.head_dim, half = step.rotary_dim / 2;
  for (int64_t i = 0; i < dim; i += 16) store_part(out + i, load_rows(qkv, row, column + i, dim - i), dim - i);
  if (weight) {
    float squares = 0;
    for (int64_t i = 0; i < dim; i++) squares += out[i] * out[i];
    float inverse = 1.0f / __builtin_sqrtf(squares / float(dim) + step.epsilon);
    Rows weights{const_cast<void*>(weight), 0, qkv.dtype};
    for (int64_t i = 0; i < dim; i += 16) {
      Simd::Floats y = Simd::mul(load_part(out + i, dim - i), Simd::set(inverse));
      store_part(out + i, Simd::mul(y, load_rows(weights, 0, i, dim - i)), dim - i);
    }
  }
  rotate_pairs(out, step.cos + row * half, step.sin + row * half, half, step.interleaved);
}

// Rotate all heads of a row.
inline void rotate_row(const Rotation& step, int64_t row) {
  int64_t dim = step.head_dim, half = step.rotary_dim / 2;
  float numbers[kMaxHeadDim];
  for (int64_t head = 0; head < step.heads; head++) {
    Rows x{const_cast<void*>(step.x.data), step.x.row_stride, step.dtype};
    Rows y{const_cast<void*>(step.y.data), step.y.row_stride, step.dtype};
    int64_t from = head * step.x.head_stride, to = head * step.y.head_stride;
    for (int64_t i = 0; i < dim; i += 16) store_part(numbers + i, load_rows(x, row, from + i, dim - i), dim - i);
    rotate_pairs(numbers, step.cos + row * half, step.sin + row * half, half, step.interleaved);
    for (int64_t i = 0; i < dim; i += 16) store_rows(y, row, to + i, load_part(numbers + i, dim - i), dim - i);
  }
}

// Rotate the queries of a row, scaled, and write its keys and values to its sequence's cache.
inline void begin_row(const AttentionStep& step, const CachedSequence& sequence, int64_t r) {
  int64_t row = sequence.first_row + r, dim = step.head_dim;
  float numbers[kMaxHeadDim];
  float scale = step.scale;
  for (int64_t head = 0; head < step.heads; head++) {
    float* q = step.queries + (row * step.heads + head) * dim;
    rotate_head(step.qkv, row, head * dim, step, step.q_norm, q);
    for (int64_t i = 0; i < dim; i++) q[i] *= scale;
  }
  int64_t width = step.cache_dtype == kInt8Rows ? CacheRow<int8_t>::width(dim) : dim;
  for (int64_t head = 0; head < step.kv_heads; head++) {
    int64_t at = head * sequence.own.head_stride + (sequence.length + r) * width;
    rotate_head(step.qkv, row, (step.heads + head) * dim, step, step.k_norm, numbers);
    write_row(sequence.own.keys, at, dim, step.cache_dtype, numbers);
    int64_t v = (step.heads + step.kv_heads + head) * dim;
    for (int64_t i = 0; i < dim; i += 16)
      store_part(numbers + i, load_rows(step.qkv, row, v + i, dim - i), dim - i);
    write_row(sequence.own.values, at, dim, step.cache_dtype, numbers);
  }
}

// Store the sums of the vectors of T queries as their scores of a position.
template <int T>
inline void store_scores(const Simd::Floats* sums, float scale, float* scores, int64_t stride) {
  float each[T];
  if constexpr (T == 4) Simd::sum4(sums, each);
  else
    for (int t = 0; t < T; t++) each[t] = Simd::sum(sums[t]);
  for (int t = 0; t < T; t++) scores[t * stride] = each[t] * scale;
}

// Scores of T queries with consecutive keys of V whole vectors, which the registers hold: scores[t * stride + position].
template <typename Number, int T, int V>
inline void score_vectors(const Number* keys, int64_t positions, const float* const* queries, float* scores,
                          int64_t stride) {
  constexpr int64_t dim = 16 * V;
  Simd::Floats q[T][V];
  for (int t = 0; t < T; t++)
    for (int v = 0; v < V; v++) q[t][v] = Simd::load(queries[t] + 16 * v);
  for (int64_t p = 0; p < positions; p++) {
    const Number* key = keys + p * CacheRow<Number>::width(dim);
    Simd::Floats sums[T];
    for (int v = 0; v < V; v++) {
      if (v * 16 * sizeof(Number) % 64 == 0)
        Simd::prefetch(reinterpret_cast<const char*>(key + 16 * v) + kPrefetchBytes);
      Simd::Floats part = Simd::load(key + 16 * v);
      for (int t = 0; t < T; t++) sums[t] = Simd::fma(part, q[t][v], v ? sums[t] : Simd::zero());
    }
    store_scores<T>(sums, CacheRow<Number>::scale(key, dim), scores + p, stride);
  }
}

template <typename Number, int T>
inline void score_keys(const Number* keys, int64_t positions, int64_t dim, const float* const* queries, float* scores,
                       int64_t stride) {
  if (dim == 32) return score_vectors<Number, T, 2>(keys, positions, queries, scores, stride);
  if (dim == 64) return score_vectors<Number, T, 4>(keys, positions, queries, scores, stride);
  if (dim == 128) return score_vectors<Number, T, 8>(keys, positions, queries, scores, stride);
  for (int64_t p = 0; p < positions; p++) {
    const Number* key = keys + p * CacheRow<Number>::width(dim);
    Simd::Floats sums[T];
    for (int t = 0; t < T; t++) sums[t] = Simd::zero();
    for (int64_t i = 0; i < dim; i += 16) {
      Simd::Floats part = load_part(key + i, dim - i);
      for (int t = 0; t < T; t++) sums[t] = Simd::fma(part, load_part(queries[t] + i, dim - i), sums[t]);
    }
    store_scores<T>(sums, CacheRow<Number>::scale(key, dim), scores + p, stride);
  }
}

// Add consecutive values, weighted, to V vectors of T outputs.
template <typename Number, int T, int V>
inline void add_value_columns(const Number* values, int64_t positions, int64_t dim, int64_t column, int64_t count,
                              const float* weights, int64_t stride, float* const* outputs) {
  Simd::Floats sums[T][V];
  for (int t = 0; t < T; t++)
    for (int v = 0; v < V; v++) sums[t][v] = load_part(outputs[t] + column + 16 * v, count - 16 * v);
  for (int64_t p = 0; p < positions; p++) {
    const Number* row = values + p * CacheRow<Number>::width(dim);
    const Number* value = row + column;
    float scale = CacheRow<Number>::scale(row, dim);
    Simd::prefetch(reinterpret_cast<const char*>(value) + kPrefetchBytes);
    if (V > 2) Simd::prefetch(reinterpret_cast<const char*>(value + 32) + kPrefetchBytes);
    Simd::Floats parts[V];
    for (int v = 0; v < V; v++) parts[v] = V > 1 ? Simd::load(value + 16 * v) : load_part(value, count);
    for (int t = 0; t < T; t++) {
      Simd::Floats weight = Simd::set(weights[t * stride + p] * scale);
      for (int v = 0; v < V; v++) sums[t][v] = Simd::fma(parts[v], weight, sums[t][v]);
    }
  }
  for (int t = 0; t < T; t++)
    for (int v = 0; v < V; v++) store_part(outputs[t] + column + 16 * v, sums[t][v], count - 16 * v);
}

// Add consecutive values, weighted, to T outputs of `dim` numbers, four vectors at a time.
template <typename Number, int T>
inline void add_values(const Number* values, int64_t positions, int64_t dim, const float* weights, int64_t stride,
                       float* const* outputs) {
  int64_t i = 0;
  for (; i + 64 <= dim; i += 64)
    add_value_columns<Number, T, 4>(values, positions, dim, i, 64, weights, stride, outputs);
  for (; i + 32 <= dim; i += 32)
    add_value_columns<Number, T, 2>(values, positions, dim, i, 32, weights, stride, outputs);
  for (; i < dim; i += 16)
    add_value_columns<Number, T, 1>(values, positions, dim, i, dim - i, weights, stride, outputs);
}

// Replace scores by e^(score - greatest), and return 1 / their sum.
inline float softmax(float* scores, int64_t count) {
  Simd::Floats most = Simd::set(-3e38f);
  int64_t whole = count / 16 * 16;
  for (int64_t i = 0; i < whole; i += 16) most = Simd::max(most, Simd::load(scores + i));
  float greatest = Simd::largest(most);
  for (int64_t i = whole; i < count; i++) greatest = scores[i] > greatest ? scores[i] : greatest;
  Simd::Floats total = Simd::zero();
  float rest = 0;
  for (int64_t i = 0; i < count; i += 16) {
    Simd::Floats weight = exponential(Simd::sub(load_part(scores + i, count - i), Simd::set(greatest)));
    store_part(scores + i, weight, count - i);
    if (i < whole) total = Simd::add(total, weight);
  }
  for (int64_t i = whole; i < count; i++) rest += scores[i];
  return 1 / (Simd::sum(total) + rest);
}

// One query: a row of a sequence and one of its heads.
struct Query {
  const CachedSequence* sequence;
  int64_t row;       // of the sequence
  int64_t head;
  int64_t visible;   // positions of its own cache that it attends to
};

template <typename Number, int T>
inline void attend(const AttentionStep& step, const Query* queries, int64_t kv_head, float* scores, int64_t stride) {
  int64_t dim = step.head_dim;
  const float* q[T];
  alignas(64) float results[T][kMaxHeadDim];
  float* outputs[T];
  for (int t = 0; t < T; t++) {
    int64_t row = queries[t].sequence->first_row + queries[t].row;
    q[t] = step.queries + (row * step.heads + queries[t].head) * dim;
    outputs[t] = results[t];
    for (int64_t i = 0; i < dim; i++) results[t][i] = 0;
  }
  const CachedSequence& first = *queries[0].sequence;  // all share its prefix
  int64_t prefix = 0;
  for (int64_t s = 0; s < first.segments; s++) {
    const KeyValues& part = first.shared[s];
    auto keys = static_cast<const Number*>(part.keys) + kv_head * part.head_stride;
    score_keys<Number, T>(keys, part.positions, dim, q, scores + prefix, stride);
    prefix += part.positions;
  }
  // Rows of one sequence share a reading of its own positions too, up to the last that the first of them attends to.
  int64_t common = 0;
  if (T > 1 && queries[T - 1].sequence == &first) common = queries[0].visible;
  auto own_of = [&](int t, const void* numbers, int64_t from) {
    const KeyValues& own = queries[t].sequence->own;
    return static_cast<const Number*>(numbers) + kv_head * own.head_stride + from * CacheRow<Number>::width(dim);
  };
  score_keys<Number, T>(own_of(0, first.own.keys, 0), common, dim, q, scores + prefix, stride);
  float inverse[T];
  for (int t = 0; t < T; t++) {
    float* row = scores + t * stride;
    score_keys<Number, 1>(own_of(t, queries[t].sequence->own.keys, common), queries[t].visible - common, dim, q + t,
                          row + prefix + common, stride);
    inverse[t] = softmax(row, prefix + queries[t].visible);
  }
  int64_t at = 0;
  for (int64_t s = 0; s < first.segments; s++) {
    const KeyValues& part = first.shared[s];
    auto values = static_cast<const Number*>(part.values) + kv_head * part.head_stride;
    add_values<Number, T>(values, part.positions, dim, scores + at, stride, outputs);
    at += part.positions;
  }
  add_values<Number, T>(own_of(0, first.own.values, 0), common, dim, scores + prefix, stride, outputs);
  for (int t = 0; t < T; t++) {
    add_values<Number, 1>(own_of(t, queries[t].sequence->own.values, common), queries[t].visible - common, dim,
                          scores + t * stride + prefix + common, stride, outputs + t);
    int64_t row = queries[t].sequence->first_row + queries[t].row;
    for (int64_t i = 0; i < dim; i += 16) {
      Simd::Floats y = Simd::mul(load_part(results[t] + i, dim - i), Simd::set(inverse[t]));
      store_rows(step.output, row, queries[t].head * dim + i, y, dim - i);
    }
  }
}

template <typename Number>
inline void attend_some(const AttentionStep& step, const Query* queries, int count, int64_t kv_head, float* scores,
                        int64_t stride) {
  if (count == 4) attend<Number, 4>(step, queries, kv_head, scores, stride);
  if (count == 3) attend<Number, 3>(step, queries, kv_head, scores, stride);
  if (count == 2) attend<Number, 2>(step, queries, kv_head, scores, stride);
  if (count == 1) attend<Number, 1>(step, queries, kv_head, scores, stride);
}

// Attend with all queries of one kv head of sequences that share a prefix. `scores`: (kMaxQueries, stride) floats.
inline void attend_group(const AttentionStep& step, int64_t first, int64_t last, int64_t kv_head, float* scores,
                         int64_t stride) {
  int64_t heads = step.heads / step.kv_heads;
  Query queries[kMaxQueries];
  int count = 0;
  auto flush = [&] {
    if (step.cache_dtype == kInt8Rows) attend_some<int8_t>(step, queries, count, kv_head, scores, stride);
    else if (step.cache_dtype == kBFloat16) attend_some<BFloat16>(step, queries, count, kv_head, scores, stride);
    else attend_some<float>(step, queries, count, kv_head, scores, stride);
    count = 0;
  };
  for (int64_t s = first; s < last; s++) {
    const CachedSequence& sequence = step.sequences[s];
    for (int64_t row = 0; row < sequence.rows; row++)
      for (int64_t head = 0; head < heads; head++) {
        int64_t visible = sequence.length + (sequence.causal ? row + 1 : sequence.rows);
        queries[count++] = {&sequence, row, kv_head * heads + head, visible};
        if (count == kMaxQueries) flush();
      }
  }
  flush();
}

}  // namespace
}  // namespace kernels
