/* A libcuda.so.1 without a GPU: NVIDIA's driver as far as the runtime calls it, as strict as its documentation.
 *
 * What is put on a stream is done when somebody synchronizes the stream, or an event on it, and never earlier: a wait
 * that is missing shows as old data. There is no GPU until a test says which (hooks.cpp). Names and numbers are those of
 * cuda.h; semantics are those of the CUDA Driver API reference, of its chapters "Stream Management", "Graph Management",
 * "API synchronization behavior" and "Stream synchronization behavior". Where it leaves room, the stricter reading is
 * taken: pageable memory is not copied in a capture, and a freed address is never given again.
 */

#include "machine.h"

#include <cstdio>

/* ---- the driver, and who asks what of it ---- */

EXPORT Result cuGetProcAddress_v2(const char *name, void **function, int, uint64_t, int *status) {
    auto found = entries().find(name);
    *function = found == entries().end() ? nullptr : found->second.address;
    if (status) *status = *function ? 0 : 1; /* CU_GET_PROC_ADDRESS_SYMBOL_NOT_FOUND */
    return *function ? SUCCESS : ERROR_NOT_FOUND;
}

API(cuInit, unsigned) {
    ENTER(NOTHING);
    state->initialised = state->gpu.present;
    return state->gpu.present ? SUCCESS : ERROR_NO_DEVICE;
}

API(cuDriverGetVersion, int *version) {
    ENTER(NOTHING);
    *version = state->gpu.driver;
    return SUCCESS;
}

static Result words(Result code, const char **text, bool name) {
    auto found = results.find(code);
    *text = found == results.end() ? nullptr : name ? found->second.first : found->second.second;
    return *text ? SUCCESS : ERROR_INVALID_VALUE;
}

API(cuGetErrorName, Result code, const char **text) {
    ENTER(NOTHING);
    return words(code, text, true);
}

API(cuGetErrorString, Result code, const char **text) {
    ENTER(NOTHING);
    return words(code, text, false);
}

/* ---- the device and its primary context ---- */

API(cuDeviceGetCount, int *count) {
    ENTER(DRIVER);
    *count = 1;
    return SUCCESS;
}

API(cuDeviceGet, int *device, int ordinal) {
    ENTER(DRIVER);
    *device = 0;
    return ordinal ? ERROR_INVALID_DEVICE : SUCCESS;
}

API(cuDeviceGetName, char *name, int size, int device) {
    ENTER(DRIVER);
    if (device) return ERROR_INVALID_DEVICE;
    strncpy(name, state->gpu.name.c_str(), size);
    return SUCCESS;
}

API(cuDeviceGetAttribute, int *value, int attribute, int device) {
    ENTER(DRIVER);
    const std::map<int, int> attributes = {
        {1, 1024}, /* MAX_THREADS_PER_BLOCK */
        {18, state->memory.integrated},
        {19, 1}, /* CAN_MAP_HOST_MEMORY */
        {41, 1}, /* UNIFIED_ADDRESSING */
        {75, state->gpu.major}, /* COMPUTE_CAPABILITY_MAJOR */
        {76, state->gpu.minor},
    };
    auto found = attributes.find(attribute);
    if (device) return ERROR_INVALID_DEVICE;
    if (found == attributes.end()) return ERROR_INVALID_VALUE;
    *value = found->second;
    return SUCCESS;
}

API(cuDeviceTotalMem, size_t *size, int device) {
    ENTER(DRIVER);
    *size = state->memory.limit;
    return device ? ERROR_INVALID_DEVICE : SUCCESS;
}

API(cuDevicePrimaryCtxRetain, Handle *context, int device) {
    ENTER(DRIVER);
    if (device) return ERROR_INVALID_DEVICE;
    if (!state->retained++) state->context = ++counted;
    *context = state->context;
    return SUCCESS;
}

API(cuDevicePrimaryCtxRelease, int device) {
    ENTER(DRIVER);
    if (device) return ERROR_INVALID_DEVICE;
    if (!state->retained) return ERROR_INVALID_CONTEXT;
    if (--state->retained) return SUCCESS;
    state->context = 0;
    state->memory.clear();
    state->streams.clear();
    state->streams[LEGACY];
    state->events.clear(), state->modules.clear(), state->functions.clear();
    return SUCCESS;
}

API(cuCtxPushCurrent, Handle context) {
    ENTER(DRIVER);
    if (!context || context != state->context) return ERROR_INVALID_CONTEXT;
    current.push_back(context);
    return SUCCESS;
}

API(cuCtxPopCurrent, Handle *context) {
    ENTER(DRIVER);
    if (current.empty()) return ERROR_INVALID_CONTEXT;
    *context = current.back();
    current.pop_back();
    return SUCCESS;
}

/* ---- memory ---- */

static Result allocate(void **address, size_t size, Memory::Place kind) {
    if (!size) return ERROR_INVALID_VALUE;
    if (Result refused = unsafe()) return refused;
    *address = state->memory.allocate(size, kind);
    return *address ? SUCCESS : ERROR_OUT_OF_MEMORY;
}

static Result release(void *address, Memory::Place kind) {
    if (Result refused = unsafe()) return refused;
    return state->memory.release(address, kind) ? SUCCESS : ERROR_INVALID_VALUE;
}

API(cuMemAlloc, void **address, size_t size) {
    ENTER(CONTEXT);
    return allocate(address, size, Memory::Place::DEVICE);
}

API(cuMemFree, void *address) {
    ENTER(CONTEXT);
    return release(address, Memory::Place::DEVICE);
}

API(cuMemHostAlloc, void **address, size_t size, unsigned) {
    ENTER(CONTEXT);
    return allocate(address, size, Memory::Place::PINNED);
}

API(cuMemFreeHost, void *address) {
    ENTER(CONTEXT);
    return release(address, Memory::Place::PINNED);
}

API(cuMemHostGetDevicePointer, void **on_gpu, void *address, unsigned flags) {
    ENTER(CONTEXT);
    *on_gpu = address; /* as wherever addressing is unified */
    return !flags && state->memory.place(address, 1) == Memory::Place::PINNED ? SUCCESS : ERROR_INVALID_VALUE;
}

API(cuMemGetInfo, size_t *free, size_t *total) {
    ENTER(CONTEXT);
    *total = state->memory.limit;
    *free = *total - state->memory.used(Memory::Place::DEVICE);
    return SUCCESS;
}

static Result set(char *address, uint8_t value, size_t size, Handle stream) {
    if (!state->memory.on_gpu(address, size)) return ERROR_INVALID_VALUE;
    return submit(stream, [=] {
        if (!state->memory.on_gpu(address, size)) return ERROR_ILLEGAL_ADDRESS;
        memset(address, value, size);
        return SUCCESS;
    });
}

API(cuMemsetD8, char *address, uint8_t value, size_t size) {
    ENTER(CONTEXT);
    Result refused = set(address, value, size, LEGACY);
    bool waits = state->memory.place(address, size) == Memory::Place::PINNED;
    return !refused && waits ? finish(*stream_of(LEGACY)) : refused;
}

API(cuMemsetD8Async, char *address, uint8_t value, size_t size, Handle stream) {
    ENTER(CONTEXT);
    return set(address, value, size, stream);
}

/* Pageable memory is read at once, into a buffer of the driver's, and written before this returns. */
static Result copy(char *target, const char *source, size_t size, Handle handle) {
    using Place = Memory::Place;
    Place to = state->memory.place(target, size), from = state->memory.place(source, size);
    if (to == Place::BAD || from == Place::BAD) return ERROR_INVALID_VALUE;
    Stream *stream = stream_of(handle);
    bool pageable = to == Place::PAGEABLE || from == Place::PAGEABLE;
    if (pageable && stream && stream->capture) return invalidate(*stream->capture, ERROR_STREAM_CAPTURE_UNSUPPORTED);
    auto staged = std::make_shared<std::string>(source, from == Place::PAGEABLE ? size : 0);
    Result refused = submit(handle, [=] {
        if (state->memory.place(target, size) != to || state->memory.place(source, size) != from)
            return ERROR_ILLEGAL_ADDRESS;
        memcpy(target, from == Place::PAGEABLE ? staged->data() : source, size);
        return SUCCESS;
    });
    return !refused && to == Place::PAGEABLE ? finish(*stream) : refused;
}

API(cuMemcpyAsync, char *target, const char *source, size_t size, Handle stream) {
    ENTER(CONTEXT);
    return copy(target, source, size, stream);
}

static Result copy_now(char *target, const char *source, size_t size, bool waits) {
    if (Result refused = implicit()) return refused;
    if (Result refused = unsafe()) return refused;
    Result refused = copy(target, source, size, LEGACY);
    return !refused && waits ? finish(*stream_of(LEGACY)) : refused;
}

API(cuMemcpyHtoD, char *target, const char *source, size_t size) {
    ENTER(CONTEXT);
    if (!state->memory.on_gpu(target, size)) return ERROR_INVALID_VALUE;
    return copy_now(target, source, size, state->memory.place(source, size) == Memory::Place::PINNED);
}

API(cuMemcpyDtoH, char *target, const char *source, size_t size) {
    ENTER(CONTEXT);
    if (!state->memory.on_gpu(source, size)) return ERROR_INVALID_VALUE;
    return copy_now(target, source, size, true);
}

/* ---- streams and events ---- */

API(cuStreamCreate, Handle *stream, unsigned flags) {
    ENTER(CONTEXT);
    if (flags > 1) return ERROR_INVALID_VALUE;
    *stream = ++counted;
    state->streams[*stream].blocking = flags != 1; /* CU_STREAM_NON_BLOCKING */
    return SUCCESS;
}

API(cuStreamDestroy, Handle handle) {
    ENTER(CONTEXT);
    if (handle == LEGACY || !stream_of(handle)) return ERROR_INVALID_HANDLE;
    run(*stream_of(handle));
    state->streams.erase(handle);
    return SUCCESS;
}

API(cuStreamSynchronize, Handle handle) {
    block();
    ENTER(CONTEXT);
    Stream *stream = stream_of(handle);
    if (!stream) return ERROR_INVALID_HANDLE;
    if (stream->capture) return invalidate(*stream->capture, ERROR_STREAM_CAPTURE_UNSUPPORTED);
    if (Result refused = handle == LEGACY ? implicit() : SUCCESS) return refused;
    return finish(*stream);
}

API(cuEventCreate, Handle *event, unsigned flags) {
    ENTER(CONTEXT);
    *event = keep(state->events, Event{!(flags & 2)}); /* CU_EVENT_DISABLE_TIMING */
    return SUCCESS;
}

API(cuEventDestroy, Handle event) {
    ENTER(CONTEXT);
    return state->events.erase(event) ? SUCCESS : ERROR_INVALID_HANDLE;
}

/* In a capture it orders works, which is all that a record there does. */
API(cuEventRecord, Handle handle, Handle stream) {
    ENTER(CONTEXT);
    Event *event = find(state->events, handle);
    if (!event || !stream_of(stream)) return ERROR_INVALID_HANDLE;
    bool captured = bool(stream_of(stream)->capture);
    uint64_t number = counted + 1;
    Result refused = submit(stream, [=] {
        Event *then = find(state->events, handle);
        if (then && !captured && then->number == number) then->done = true, then->at = Clock::now();
        return SUCCESS;
    });
    if (!refused) *event = Event{event->timing, stream, number, captured};
    return refused;
}

API(cuEventSynchronize, Handle handle) {
    block();
    ENTER(CONTEXT);
    Event *event = find(state->events, handle);
    if (!event) return ERROR_INVALID_HANDLE;
    Stream *stream = stream_of(event->stream);
    if (event->captured) {
        if (stream && stream->capture) stream->capture->invalid = true;
        return ERROR_CAPTURED_EVENT;
    }
    return !event->number || event->done || !stream ? state->dead : finish(*stream, event->number);
}

API(cuEventElapsedTime, float *ms, Handle begin, Handle end) {
    ENTER(CONTEXT);
    Event *from = find(state->events, begin), *to = find(state->events, end);
    for (Event *event : {from, to})
        if (!event || !event->timing || !event->number || event->captured) return ERROR_INVALID_HANDLE;
    if (!from->done || !to->done) return ERROR_NOT_READY;
    *ms = std::chrono::duration<float, std::milli>(to->at - from->at).count();
    return SUCCESS;
}

/* ---- graphs ---- */

API(cuStreamBeginCapture, Handle handle, int mode) {
    ENTER(CONTEXT);
    Stream *stream = stream_of(handle);
    if (!stream) return ERROR_INVALID_HANDLE;
    if (handle == LEGACY) return ERROR_STREAM_CAPTURE_UNSUPPORTED;
    if (stream->capture) return ERROR_ILLEGAL_STATE;
    stream->capture = std::make_unique<Capture>(Capture{mode, std::this_thread::get_id(), {}});
    return SUCCESS;
}

API(cuStreamEndCapture, Handle handle, Handle *graph) {
    ENTER(CONTEXT);
    constexpr int RELAXED = 2;
    *graph = 0;
    Stream *stream = stream_of(handle);
    if (!stream) return ERROR_INVALID_HANDLE;
    if (!stream->capture) return ERROR_ILLEGAL_STATE;
    if (stream->capture->mode != RELAXED && stream->capture->thread != std::this_thread::get_id())
        return invalidate(*stream->capture, ERROR_STREAM_CAPTURE_WRONG_THREAD);
    auto capture = std::move(stream->capture);
    if (capture->invalid) return ERROR_STREAM_CAPTURE_INVALIDATED;
    *graph = keep(state->graphs, std::move(capture->works));
    return SUCCESS;
}

API(cuGraphInstantiateWithFlags, Handle *executable, Handle handle, unsigned long long) {
    ENTER(DRIVER);
    auto *graph = find(state->graphs, handle);
    if (!graph) return ERROR_INVALID_VALUE;
    *executable = keep(state->executables, *graph);
    return SUCCESS;
}

API(cuGraphUpload, Handle executable, Handle stream) {
    ENTER(CONTEXT);
    return find(state->executables, executable) && stream_of(stream) ? SUCCESS : ERROR_INVALID_VALUE;
}

API(cuGraphLaunch, Handle executable, Handle stream) {
    ENTER(CONTEXT);
    auto *works = find(state->executables, executable);
    if (!works) return ERROR_INVALID_VALUE;
    return submit(stream, [all = *works] {
        for (auto &work : all)
            if (Result failed = work()) return failed;
        return Result(SUCCESS);
    });
}

API(cuGraphExecDestroy, Handle executable) {
    ENTER(DRIVER);
    return state->executables.erase(executable) ? SUCCESS : ERROR_INVALID_VALUE;
}

API(cuGraphDestroy, Handle graph) {
    ENTER(DRIVER);
    return state->graphs.erase(graph) ? SUCCESS : ERROR_INVALID_VALUE;
}

/* ---- kernels ---- */

/* After space and comments there is the version of the language, and the architecture. */
static bool is_ptx(const char *text) {
    for (text += strspn(text, " \t\r\n"); !strncmp(text, "//", 2); text += strspn(text, " \t\r\n"))
        text += strcspn(text, "\n");
    int major, minor, target;
    return sscanf(text, ".version %d.%d .target sm_%d", &major, &minor, &target) == 3;
}

API(cuModuleLoadData, Handle *module, const char *image) {
    ENTER(CONTEXT);
    std::string text(image);
    if (!is_ptx(image)) return ERROR_INVALID_PTX;
    *module = keep(state->modules, std::move(text));
    return SUCCESS;
}

/* The text must have it, but it is the compiled source that runs. */
API(cuModuleGetFunction, Handle *function, Handle handle, const char *name) {
    ENTER(CONTEXT);
    std::string *text = find(state->modules, handle);
    if (!text) return ERROR_INVALID_HANDLE;
    auto kernel = grid::kernels.find(name);
    bool there = text->find(".entry " + std::string(name) + "(") != std::string::npos;
    if (!there || kernel == grid::kernels.end()) return ERROR_NOT_FOUND;
    *function = keep(state->functions, Function{handle, &kernel->second});
    return SUCCESS;
}

API(cuModuleUnload, Handle module) {
    ENTER(CONTEXT);
    for (auto it = state->functions.begin(); it != state->functions.end();)
        it = it->second.module == module ? state->functions.erase(it) : std::next(it);
    return state->modules.erase(module) ? SUCCESS : ERROR_INVALID_HANDLE;
}

API(cuLaunchKernel, Handle handle, unsigned grid_x, unsigned grid_y, unsigned grid_z, unsigned block_x,
    unsigned block_y, unsigned block_z, unsigned dynamic_bytes, Handle stream, void **parameters, void **) {
    ENTER(CONTEXT);
    Function *function = find(state->functions, handle);
    if (!function) return ERROR_INVALID_HANDLE;
    Place blocks{grid_x, grid_y, grid_z}, threads{block_x, block_y, block_z};
    if (!blocks.count() || !threads.count() || threads.count() > 1024 || dynamic_bytes) return ERROR_INVALID_VALUE;
    return submit(stream, [=, bound = (*function->kernel)(parameters)] {
        for (const void *pointer : bound.pointers)
            if (!state->memory.on_gpu(pointer, 1)) return ERROR_ILLEGAL_ADDRESS;
        return grid::run(blocks, threads, bound.body) ? SUCCESS : ERROR_LAUNCH_FAILED;
    });
}
