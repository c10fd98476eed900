// An int8 GEMM of many rows with the dot products of AVX-512 (VNNI): x in whole rows of bytes, the weights of any format
// widened to bytes as they are needed, for 64 columns of y at a time, and each sum finished as soon as it is complete.
//
// Sums are exact, so that the results are those of any other int8 GEMM.
#pragma once

namespace kernels {
namespace {

constexpr int kTileRowsOfMany = 6;  // times 64 columns: their sums and the weights fill the registers
constexpr int kVectors = kPanelColumns / 16;

// Transpose 16 x 16 integers.
inline void transpose(__m512i* rows) {
  __m512i other[16];
  for (int i = 0; i < 16; i += 2) {
    other[i] = _mm512_unpacklo_epi32(rows[i], rows[i + 1]);
    other[i + 1] = _mm512_unpackhi_epi32(rows[i], rows[i + 1]);
  }
  for (int i = 0; i < 16; i += 4)
    for (int j = 0; j < 2; j++) {
      rows[i + 2 * j] = _mm512_unpacklo_epi64(other[i + j], other[i + j + 2]);
      rows[i + 2 * j + 1] = _mm512_unpackhi_epi64(other[i + j], other[i + j + 2]);
    }
  for (int i = 0; i < 16; i += 8)
    for (int j = 0; j < 4; j++) {
      other[i + j] = _mm512_shuffle_i32x4(rows[i + j], rows[i + j + 4], 0x88);
      other[i + j + 4] = _mm512_shuffle_i32x4(rows[i + j], rows[i + j + 4], 0xdd);
    }
  for (int j = 0; j < 8; j++) {
    rows[j] = _mm512_shuffle_i32x4(other[j], other[j + 8], 0x88);
    rows[j + 8] = _mm512_shuffle_i32x4(other[j], other[j + 8], 0xdd);
  }
}

// Lay out 16 rows of weights for dot products: four columns of each row side by side, 128 added to make them unsigned.
inline void pack_rows(const int8_t* rows, int64_t columns, uint8_t* out) {
  for (int64_t column = 0; column < columns; column += 64) {
    __m512i parts[16];
    for (int i = 0; i < 16; i++)
      parts[i] = _mm512_xor_si512(_mm512_loadu_si512(rows + i * columns + column), _mm512_set1_epi8(-128));
    transpose(parts);
    for (int i = 0; i < 16; i++) _mm512_store_si512(out + (column + 4 * i) * kPanelColumns, parts[i]);
  }
}

// Sum products of R rows of x with a panel of weights.
template <int R>
inline void many_rows_tile(const int8_t* x, int64_t columns, const uint8_t* panel, const int32_t* bias, int32_t* out) {
  __m512i sums[R][kVectors];
  for (int r = 0; r < R; r++)
    for (int v = 0; v < kVectors; v++) sums[r][v] = _mm512_set1_epi32(bias[r]);
  for (int64_t column = 0; column < columns; column += 4, panel += 4 * kPanelColumns) {
    __m512i weights[kVectors];
    for (int v = 0; v < kVectors; v++) weights[v] = _mm512_load_si512(panel + 64 * v);
    for (int r = 0; r < R; r++) {
      int32_t four;
      std::memcpy(&four, x + r * columns + column, 4);
      __m512i both = _mm512_set1_epi32(four);
      for (int v = 0; v < kVectors; v++) sums[r][v] = _mm512_dpbusd_epi32(sums[r][v], weights[v], both);
    }
  }
  for (int r = 0; r < R; r++)
    for (int v = 0; v < kVectors; v++) _mm512_storeu_si512(out + r * kPanelColumns + 16 * v, sums[r][v]);
}

inline void many_rows_tile(int rows, const int8_t* x, int64_t columns, const uint8_t* panel, const int32_t* bias,
                           int32_t* out) {
  switch (rows) {
    case 1: return many_rows_tile<1>(x, columns, panel, bias, out);
    case 2: return many_rows_tile<2>(x, columns, panel, bias, out);
    case 3: return many_rows_tile<3>(x, columns, panel, bias, out);
    case 4: return many_rows_tile<4>(x, columns, panel, bias, out);
    case 5: return many_rows_tile<5>(x, columns, panel, bias, out);
    default: many_rows_tile<6>(x, columns, panel, bias, out);
  }
}

// Widen rows `first` to `last` of the weights, at most a panel, and lay them out; the rest of the panel is zeros.
inline void make_panel(const Matrix& weight, int64_t first, int64_t last, const GemmRoom& room, int64_t columns) {
  for (int v = 0; v < kVectors; v++) {
    int64_t begin = first + 16 * v, end = begin + 16 < last ? begin + 16 : last, missing = 16;
    if (begin < end) {
      float* scales = room.scales + 16 * v;
      if (weight.format == kInt8) {
        std::memcpy(room.rows, weight.values + begin * columns, size_t((end - begin) * columns));
        std::memcpy(scales, static_cast<const float*>(weight.scales) + begin, size_t(end - begin) * sizeof(float));
      } else {
        widen_rows(weight, begin, end, room.numbers, room.rows, scales);
      }
      missing = 16 - (end - begin);
    }
    std::memset(room.rows + (16 - missing) * columns, 0, size_t(missing * columns));
    pack_rows(room.rows, columns, room.panel + 64 * v);
  }
}

// Compute the panels of y from `begin` to `end`.
inline void multiply_many_rows(const LinearStep& step, const WholeRows& x, int64_t begin, int64_t end,
                               const GemmRoom& room) {
  for (int64_t row = 0; row < x.rows; row++) {  // the 128 that was added to all weights
    __m512i sum = _mm512_setzero_si512();
    for (int64_t column = 0; column < x.columns; column += 64)
      sum = _mm512_dpbusd_epi32(sum, _mm512_set1_epi8(-128), _mm512_loadu_si512(x.values + row * x.columns + column));
    room.bias[row] = -_mm512_reduce_add_epi32(sum);
  }
  for (int64_t i = begin; i < end; i++) {
    int64_t first = i * kPanelColumns, left = step.weight.rows - first;
    int64_t count = left < kPanelColumns ? left : kPanelColumns;
    make_panel(step.weight, first, first + count, room, x.columns);
    for (int64_t row = 0; row < x.rows; row += kTileRowsOfMany) {
      int rows = x.rows - row < kTileRowsOfMany ? int(x.rows - row) : kTileRowsOfMany;
      alignas(64) int32_t sums[kTileRowsOfMany * kPanelColumns];
      many_rows_tile(rows, x.values + row * x.columns, x.columns, room.panel, room.bias + row, sums);
      for (int r = 0; r < rows; r++)
        finish_row(step, row + r, sums + r * kPanelColumns, count, x.scales[row + r], room.scales, first);
    }
  }
}

}  // namespace
}  // namespace kernels
