#define KERNELS portable_kernels
#define KERNELS_NAME "portable"
#include "simd_portable.h"
#include "kernel_table.h"
