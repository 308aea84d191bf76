/* CUDA C++ on the CPU, as much of it as kernels.cu uses: what __global__ and its kin mean, and how a grid is run.
 *
 * The threads of a block are coroutines. Each runs as far as the next barrier before the next one runs at all, so a
 * barrier that is missing shows in the results, and in the same way every time.
 */
#pragma once

#include <cmath>
#include <cstring>
#include <functional>
#include <map>
#include <memory>
#include <string>
#include <tuple>
#include <utility>
#include <vector>

#include <ucontext.h>

#define __global__
#define __device__ static inline
#define __shared__ static __attribute__((section("shared"))) /* blocks run one after the other */

struct Place {
    unsigned int x, y, z;
    size_t count() const { return size_t(x) * y * z; }
    Place at(size_t i) const { return {unsigned(i % x), unsigned(i / x % y), unsigned(i / x / y)}; }
};

inline Place threadIdx, blockIdx, blockDim, gridDim;

using std::isfinite;
/* Compiled with -ffp-contract=off, so that these are two roundings here too. */
inline float __fadd_rn(float a, float b) { return a + b; }
inline float __fmul_rn(float a, float b) { return a * b; }

extern "C" char __start_shared[], __stop_shared[]; /* the linker's: where that section is */

namespace grid {

struct Thread {
    ucontext_t context;
    bool at_barrier;
    std::unique_ptr<char[]> stack;
};

constexpr size_t STACK_BYTES = 32 << 10;
inline std::vector<Thread> threads;
inline ucontext_t scheduler;
inline Thread *running;
inline const std::function<void()> *body;

inline void begin() { (*body)(); }

inline void prepare(Thread &thread) {
    if (!thread.stack) thread.stack.reset(new char[STACK_BYTES]);
    getcontext(&thread.context);
    thread.context.uc_stack = {thread.stack.get(), 0, STACK_BYTES};
    thread.context.uc_link = &scheduler;
    makecontext(&thread.context, begin, 0);
}

/* False where some threads of the block wait at a barrier and others have returned. */
inline bool run_block(size_t count) {
    memset(__start_shared, 0xCD, __stop_shared - __start_shared);
    for (size_t i = 0; i < count; i++) prepare(threads[i]);
    for (size_t waiting = count; waiting;) {
        if (waiting != count) return false;
        waiting = 0;
        for (size_t i = 0; i < count; i++) {
            running = &threads[i];
            running->at_barrier = false;
            threadIdx = blockDim.at(i);
            swapcontext(&scheduler, &running->context);
            waiting += running->at_barrier;
        }
    }
    return true;
}

inline bool run(Place blocks, Place block, const std::function<void()> &kernel) {
    gridDim = blocks, blockDim = block, body = &kernel;
    if (threads.size() < block.count()) threads.resize(block.count());
    for (size_t i = 0; i < blocks.count(); i++) {
        blockIdx = blocks.at(i);
        if (!run_block(block.count())) return false;
    }
    return true;
}

/* A kernel with the parameters of one launch, copied; `pointers` are those of them that it may follow. */
struct Bound {
    std::function<void()> body;
    std::vector<const void *> pointers;
};

using Kernel = std::function<Bound(void **parameters)>;

template <class T> void note(std::vector<const void *> &pointers, T *pointer) { pointers.push_back(pointer); }
template <class T> void note(std::vector<const void *> &, T) {}

template <class... P, size_t... I>
Bound bound_to(void (*function)(P...), void **parameters, std::index_sequence<I...>) {
    std::tuple<P...> copies(*static_cast<P *>(parameters[I])...);
    Bound bound{[=] { std::apply(function, copies); }, {}};
    (note(bound.pointers, std::get<I>(copies)), ...);
    return bound;
}

template <class... P> Kernel kernel(void (*function)(P...)) {
    return [=](void **parameters) { return bound_to(function, parameters, std::index_sequence_for<P...>{}); };
}

extern const std::map<std::string, Kernel> kernels; /* build.py writes it: every __global__ function by its name */

} // namespace grid

inline void __syncthreads() {
    grid::running->at_barrier = true;
    swapcontext(&grid::running->context, &grid::scheduler);
}
