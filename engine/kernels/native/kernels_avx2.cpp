#if defined(__x86_64__) || defined(_M_X64)
#define KERNELS avx2_kernels
#define KERNELS_NAME "avx2"
#include "simd_avx2.h"
#include "kernel_table.h"
#endif
