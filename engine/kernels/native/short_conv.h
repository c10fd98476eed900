// Gated short convolutions (LFM2, Liquid AI 2025): causal and depthwise, with the last inputs of a sequence as its state.
#pragma once

namespace kernels {
namespace {

// 16 channels of an input at a row of a sequence; before its first row, of the state. Rounded as the state is, so that it
// does not matter in which step a row came.
inline Simd::Floats convolution_input(const ConvolutionStep& step, const ConvolvedSequence& sequence, int64_t row,
                                      int64_t column, int64_t count) {
  int32_t dtype = step.gates.dtype;
  if (row < 0) {
    Rows state{const_cast<void*>(sequence.state), step.channels, dtype};
    return load_rows(state, step.taps - 1 + row, column, count);
  }
  int64_t at = sequence.first_row + row;
  Simd::Floats input = Simd::mul(load_rows(step.gates, at, column, count),
                                 load_rows(step.gates, at, 2 * step.channels + column, count));
  if (dtype == kFloat32) return input;
  BFloat16 rounded[16];
  Simd::store(rounded, input);
  return Simd::load(rounded);
}

// Compute the chunks of 16 channels from `begin` to `end`, of all rows and of the states after them.
inline void convolve_chunks(const ConvolutionStep& step, int64_t begin, int64_t end) {
  Rows kernel{const_cast<void*>(step.kernel), step.channels, step.gates.dtype};
  int64_t before = step.taps - 1;
  for (int64_t s = 0; s < step.count; s++) {
    const ConvolvedSequence& sequence = step.sequences[s];
    for (int64_t row = 0; row < sequence.rows; row++)
      for (int64_t chunk = begin; chunk < end; chunk++) {
        int64_t column = chunk * 16, count = step.channels - column, at = sequence.first_row + row;
        Simd::Floats sum = Simd::mul(convolution_input(step, sequence, row - before, column, count),
                                     load_rows(kernel, 0, column, count));
        for (int64_t tap = 1; tap < step.taps; tap++) {
          Simd::Floats input = convolution_input(step, sequence, row - before + tap, column, count);
          sum = Simd::add(sum, Simd::mul(input, load_rows(kernel, tap, column, count)));
        }
        Simd::Floats gate = load_rows(step.gates, at, step.channels + column, count);
        store_rows(step.output, at, column, Simd::mul(gate, sum), count);
      }
    Rows next{sequence.next_state, step.channels, step.gates.dtype};
    for (int64_t i = 0; i < before; i++)
      for (int64_t chunk = begin; chunk < end; chunk++) {
        int64_t column = chunk * 16, count = step.channels - column;
        Simd::Floats input = convolution_input(step, sequence, sequence.rows - before + i, column, count);
        store_rows(next, i, column, input, count);
      }
  }
}

}  // namespace
}  // namespace kernels
