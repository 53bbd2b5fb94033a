// The GPU kernels on the CPU: every thread of a block is a fiber, and a barrier or shuffle gives way to the next. Blocks run one
// after the other. A thread that ends before a barrier its block still takes stops the program, as it would hang or corrupt a GPU.

#include <cmath>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <mutex>
#include <tuple>
#include <utility>
#include <ucontext.h>

#define __global__
#define __device__
#define __shared__ static

struct Dim {
    unsigned x, y;
};
static Dim threadIdx, blockIdx, blockDim;

namespace fiber {
constexpr unsigned MOST = 256;
constexpr size_t STACK = 64 << 10;
static char stacks[MOST][STACK];
static bool done[MOST];
static unsigned self;
static void (*body)(void *);
static void *context;
static float slots[MOST];

#if defined(__x86_64__)
// Saves what a call must preserve on the old stack and goes on on the new one. The library's own switch asks the kernel twice.
extern "C" void fiber_switch(void **from, void *to);
asm(R"(
.text
.globl fiber_switch
fiber_switch:
    pushq %rbp
    pushq %rbx
    pushq %r12
    pushq %r13
    pushq %r14
    pushq %r15
    movq %rsp, (%rdi)
    movq %rsi, %rsp
    popq %r15
    popq %r14
    popq %r13
    popq %r12
    popq %rbx
    popq %rbp
    ret
)");
static void *scheduler, *places[MOST];
static void resume(unsigned i) { fiber_switch(&scheduler, places[i]); }
static void yield() { fiber_switch(&places[self], scheduler); }
static void enter() {
    body(context);
    done[self] = true;
    yield();
    abort();
}
static void prepare(unsigned i) {
    void **top = (void **)(stacks[i] + STACK - 64);
    *--top = nullptr;        // the entry's own return address: it never returns
    *--top = (void *)&enter; // where the first switch returns to
    for (int saved = 0; saved < 6; saved++) *--top = nullptr;
    places[i] = top;
}
#else
static ucontext_t scheduler, places[MOST];
static void resume(unsigned i) { swapcontext(&scheduler, &places[i]); }
static void yield() { swapcontext(&places[self], &scheduler); }
static void enter() {
    body(context);
    done[self] = true;
    yield();
    abort();
}
static void prepare(unsigned i) {
    getcontext(&places[i]);
    places[i].uc_stack.ss_sp = stacks[i];
    places[i].uc_stack.ss_size = STACK;
    makecontext(&places[i], enter, 0);
}
#endif

static void block(unsigned threads) {
    for (unsigned i = 0; i < threads; i++) {
        done[i] = false;
        prepare(i);
    }
    for (;;) {
        unsigned ended = 0;
        for (unsigned i = 0; i < threads; i++) {
            if (!done[i]) {
                self = i;
                threadIdx = {i, 0};
                resume(i);
            }
            ended += done[i];
        }
        if (ended == threads) return;
        if (ended != 0) {
            fprintf(stderr, "%u of %u threads ended before a barrier\n", ended, threads);
            abort();
        }
    }
}
} // namespace fiber

static void __syncthreads() { fiber::yield(); }

static float __shfl_xor_sync(unsigned, float x, int lanes) {
    fiber::slots[threadIdx.x] = x;
    fiber::yield();
    float other = fiber::slots[threadIdx.x ^ lanes];
    fiber::yield();
    return other;
}

static float __uint_as_float(unsigned bits) {
    float x;
    memcpy(&x, &bits, sizeof x);
    return x;
}

static unsigned __float_as_uint(float x) {
    unsigned bits;
    memcpy(&bits, &x, sizeof bits);
    return bits;
}

#include "../../src/model/kernels/kernels.cu"

template <typename... A> struct Bound {
    void (*kernel)(A...);
    const void *const *arguments;
    template <size_t... I> void call(std::index_sequence<I...>) { kernel(*(const A *)arguments[I]...); }
    static void run(void *self) { ((Bound *)self)->call(std::index_sequence_for<A...>()); }
};

template <typename... A> static int run(void (*kernel)(A...), unsigned x, unsigned y, unsigned threads, const void *const *arguments) {
    Bound<A...> bound{kernel, arguments};
    fiber::body = &Bound<A...>::run;
    fiber::context = &bound;
    blockDim = {threads, 1};
    for (unsigned j = 0; j < y; j++)
        for (unsigned i = 0; i < x; i++) {
            blockIdx = {i, j};
            fiber::block(threads);
        }
    return 0;
}

extern "C" int medserl_launch(const char *name, unsigned x, unsigned y, unsigned threads, const void *const *arguments) {
    static std::mutex one; // fibers and "shared memory" are global
    std::lock_guard<std::mutex> lock(one);
#define KERNEL(kernel) \
    if (!strcmp(name, #kernel)) return run(kernel, x, y, threads, arguments);
    KERNEL(embed_f32)
    KERNEL(embed_bf16)
    KERNEL(halve)
    KERNEL(enter)
    KERNEL(join)
    KERNEL(norm_slope)
    KERNEL(gate_rows)
    KERNEL(gate_slope)
    KERNEL(heads_f32)
    KERNEL(heads_bf16)
    KERNEL(heads_slope)
    KERNEL(pad)
    KERNEL(unpad)
    KERNEL(tree_softmax)
    KERNEL(tree_softmax_slope)
    KERNEL(decode_join)
    KERNEL(decode_1_f32)
    KERNEL(decode_2_f32)
    KERNEL(decode_4_f32)
    KERNEL(decode_1_bf16)
    KERNEL(decode_2_bf16)
    KERNEL(decode_4_bf16)
    KERNEL(add_statistics)
    KERNEL(finish_statistics)
    KERNEL(logit_slopes)
    KERNEL(squares)
    KERNEL(adamw)
    KERNEL(pick)
    return 1;
}
