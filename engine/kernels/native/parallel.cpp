#include "parallel.h"

#include <atomic>

namespace kernels {
namespace {

// The function behind `#pragma omp parallel` in GCC's runtime; LLVM's has it too.
using GompParallel = void (*)(void (*function)(void*), void* data, unsigned threads, unsigned flags);

GompParallel gomp_parallel = nullptr;

struct Loop {
  int64_t count;
  int parts;
  Body body;
  void* context;
  std::atomic<int> next{0};
};

// Run by each thread of the team: the runtime may give fewer threads than were asked for.
void take_parts(void* data) {
  auto& loop = *static_cast<Loop*>(data);
  for (int part; (part = loop.next.fetch_add(1)) < loop.parts;)
    loop.body(loop.context, part, loop.count * part / loop.parts, loop.count * (part + 1) / loop.parts);
}

}  // namespace

void use_runtime(void* function) { gomp_parallel = reinterpret_cast<GompParallel>(function); }

void parallel_for(int64_t count, int threads, Body body, void* context) {
  int parts = int(count < threads ? count : threads);
  if (parts <= 1 || !gomp_parallel) {
    if (count > 0) body(context, 0, 0, count);
    return;
  }
  Loop loop{count, parts, body, context};
  gomp_parallel(take_parts, &loop, unsigned(parts), 0);
}

}  // namespace kernels
