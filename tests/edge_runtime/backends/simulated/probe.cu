// Kernels that test the simulator itself, in the style of edge_runtime/backends/cuda/kernels.cu.

// where[i] = its own place in a grid of three dimensions, counted through.
extern "C" __global__ void probe_place(unsigned int *where) {
    unsigned int thread = threadIdx.x + blockDim.x * (threadIdx.y + blockDim.y * threadIdx.z);
    unsigned int block = blockIdx.x + gridDim.x * (blockIdx.y + gridDim.y * blockIdx.z);
    unsigned int i = block * blockDim.x * blockDim.y * blockDim.z + thread;
    where[i] = i;
}

// *sum = the sum of `size` numbers, by one block of 64 threads; each barrier is needed, and left out where `barrier` is not set.
extern "C" __global__ void probe_sum(const float *numbers, unsigned int size, float *sum, bool barrier) {
    __shared__ float sums[64];
    float mine = 0;
    for (unsigned int i = threadIdx.x; i < size; i += 64) {
        mine += isfinite(numbers[i]) ? numbers[i] : 0;
    }
    sums[threadIdx.x] = mine;
    for (unsigned int half = 32; half > 0; half /= 2) {
        if (barrier) {
            __syncthreads();
        }
        if (threadIdx.x < half) {
            sums[threadIdx.x] += sums[threadIdx.x + half];
        }
    }
    if (threadIdx.x == 0) {
        *sum = sums[0];
    }
}

// One thread leaves before the barrier that the others wait at.
extern "C" __global__ void probe_leave() {
    if (threadIdx.x == 0) {
        return;
    }
    __syncthreads();
}

// values[at] = value, wherever that is.
extern "C" __global__ void probe_write(float *values, long long at, float value) {
    values[at] = value;
}

// sum = a·b + c, of which the product is rounded.
extern "C" __global__ void probe_round(float a, float b, float c, float *sum) {
    *sum = a * b + c;
}
