#if defined(__aarch64__)
#define KERNELS neon_kernels
#define KERNELS_NAME "neon-dotprod"
#include "simd_neon.h"
#include "kernel_table.h"
#endif
