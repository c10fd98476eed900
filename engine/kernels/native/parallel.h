// Parallel loops on the threads of torch's OpenMP runtime.
#pragma once
#include <cstdint>

namespace kernels {

using Body = void (*)(void* context, int thread, int64_t begin, int64_t end);

// Take the entry point of the OpenMP runtime that torch has loaded: a second runtime's threads would wait for torch's,
// and torch's for them. Null: loops run on the calling thread.
void use_runtime(void* gomp_parallel);

// Split 0..count evenly over up to `threads` threads.
void parallel_for(int64_t count, int threads, Body body, void* context);

template <typename F>
void parallel_for(int64_t count, int threads, F body) {
  parallel_for(
      count, threads,
      [](void* context, int thread, int64_t begin, int64_t end) { (*static_cast<F*>(context))(thread, begin, end); },
      &body);
}

}  // namespace kernels
