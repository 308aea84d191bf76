// The steps of a program that are no graph (program/steps.py), on the GPU: to the last bit what the CPU does.
// kernels.ptx is made of this by .ci/ptx; kernels.py launches it.

// target += change·times, the product rounded before it is added: never one fused operation.
extern "C" __global__ void add(float *target, const float *change, float times, unsigned int size) {
    unsigned int i = blockIdx.x * blockDim.x + threadIdx.x;
    if (i < size) {
        target[i] = __fadd_rn(target[i], __fmul_rn(change[i], times));
    }
}

// Slot first + *count of cache [rows, slots, row_bytes] = made [rows, row_bytes], and mask [slots] is set there. A thread a byte.
extern "C" __global__ void remember(
    unsigned char *cache, const unsigned char *made, bool *mask, const long long *count, long long first,
    unsigned int rows, unsigned int slots, unsigned int row_bytes) {
    unsigned int i = blockIdx.x * blockDim.x + threadIdx.x;
    long long slot = first + *count;
    if (i >= rows * row_bytes || slot < 0 || slot >= slots) {
        return;
    }
    unsigned long long row = i / row_bytes;
    cache[(row * slots + slot) * row_bytes + i % row_bytes] = made[i];
    if (i == 0) {
        mask[slot] = true;
    }
}

// The token of the highest of `size` logits, of equal ones the first, into *token and written[*count], and *count += 1; -1
// is written where a logit is not finite, and nothing behind that. One block of THREADS threads.
#define THREADS 256
extern "C" __global__ void choose(
    const float *logits, const long long *ids, unsigned int size, long long *token, long long *written,
    unsigned int most, long long *count) {
    __shared__ float values[THREADS];
    __shared__ unsigned int places[THREADS];
    __shared__ bool finite[THREADS];
    unsigned int me = threadIdx.x;
    unsigned int place = me < size ? me : 0;
    bool sound = true;
    for (unsigned int i = me; i < size; i += THREADS) {
        sound = sound && isfinite(logits[i]);
        place = logits[i] > logits[place] ? i : place;
    }
    values[me] = logits[place];
    places[me] = place;
    finite[me] = sound;
    for (unsigned int half = THREADS / 2; half > 0; half /= 2) {
        __syncthreads();
        if (me < half) {
            float other = values[me + half];
            bool better = other > values[me] || (other == values[me] && places[me + half] < places[me]);
            values[me] = better ? other : values[me];
            places[me] = better ? places[me + half] : places[me];
            finite[me] = finite[me] && finite[me + half];
        }
    }
    if (me == 0 && *count >= 0 && *count < most && (*count == 0 || written[*count - 1] != -1)) {
        long long chosen = ids[finite[0] ? places[0] : 0];
        *token = chosen;
        written[*count] = finite[0] ? chosen : -1;
        *count += 1;
    }
}
