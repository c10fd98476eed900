#if defined(__x86_64__)
#define KERNELS avx2_kernels
#define KERNELS_NAME "avx2"
#include "simd_avx2.h"
#include "kernel_table.h"
#endif
