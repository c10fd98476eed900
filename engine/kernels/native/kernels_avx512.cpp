#if defined(__x86_64__)
#define KERNELS avx512_kernels
#define KERNELS_NAME "avx512-vnni"
#define KERNELS_GEMM "gemm_avx512.h"
#include "simd_avx512.h"
#include "kernel_table.h"
#endif
