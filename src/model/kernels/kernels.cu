// The model's own GPU kernels. Rows are f32; caches are f32 or bf16. Sums within a block are in a fixed order, so that the same
// input gives the same bits. Every thread of a block takes every __syncthreads and every shuffle: no early return before one.
//
// Compiled to PTX by build.rs under the feature `cuda`; tests/model/emulate.cpp compiles the same file for the CPU, where blocks run
// one after the other, and holds it against the CPU's operations.

#define THREADS 256
#define WARP 32
#define WARPS (THREADS / WARP)
#define LOWEST -3.0e38f
// Most features of a head that a lane holds: heads are at most 256 wide.
#define LANE_FEATURES 8

typedef unsigned int u32;
typedef unsigned short u16;

__device__ static inline float widen(float x) { return x; }
__device__ static inline float widen(u16 bits) { return __uint_as_float((u32)bits << 16); }

// To the nearest bf16, ties to even.
__device__ static inline u16 narrow(float x) {
    u32 bits = __float_as_uint(x);
    return x != x ? 0x7fc0 : (u16)((bits + 0x7fff + (bits >> 16 & 1)) >> 16);
}
__device__ static inline void keep(float *at, float x) { *at = x; }
__device__ static inline void keep(u16 *at, float x) { *at = narrow(x); }

// A row's input of the next product: f32, and bf16 too where the weights are.
__device__ static inline void give(float *y, u16 *half, size_t at, float x) {
    y[at] = x;
    if (half) half[at] = narrow(x);
}

__device__ static inline float warp_sum(float x) {
    for (int step = WARP / 2; step > 0; step /= 2) x += __shfl_xor_sync(0xffffffffu, x, step);
    return x;
}

__device__ static inline float warp_max(float x) {
    for (int step = WARP / 2; step > 0; step /= 2) x = fmaxf(x, __shfl_xor_sync(0xffffffffu, x, step));
    return x;
}

// Sum over the block, for every thread. `parts` holds one float a warp.
__device__ static inline float block_sum(float x, float *parts) {
    x = warp_sum(x);
    __syncthreads(); // an earlier use of `parts` may still be read
    if (threadIdx.x % WARP == 0) parts[threadIdx.x / WARP] = x;
    __syncthreads();
    float sum = 0.0f;
    for (u32 i = 0; i < blockDim.x / WARP; i++) sum += parts[i];
    return sum;
}

__device__ static inline float block_max(float x, float *parts) {
    x = warp_max(x);
    __syncthreads();
    if (threadIdx.x % WARP == 0) parts[threadIdx.x / WARP] = x;
    __syncthreads();
    float top = LOWEST;
    for (u32 i = 0; i < blockDim.x / WARP; i++) top = fmaxf(top, parts[i]);
    return top;
}

#include "layer.cuh"
#include "attention.cuh"
#include "tokens.cuh"
