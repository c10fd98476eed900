#if defined(__x86_64__) || defined(_M_X64)
#define KERNELS avx512_kernels
#define KERNELS_NAME "avx512-vnni"
#include "simd_avx512.h"
#include "kernel_table.h"
#endif
