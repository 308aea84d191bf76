/* What there is behind the API: the GPU, its context, streams and what waits on them; and what every call begins with. */
#pragma once

#include "grid.h"
#include "memory.h"
#include "results.h"

#include <atomic>
#include <chrono>
#include <deque>
#include <mutex>
#include <thread>

using Handle = uintptr_t;
using Work = std::function<Result()>; /* what a stream does in its turn; an error ends everything */
using Clock = std::chrono::steady_clock;
constexpr Handle LEGACY = 0; /* the default stream */
constexpr uint64_t ALL = UINT64_MAX;

struct Capture {
    int mode;
    std::thread::id thread;
    std::vector<Work> works;
    bool invalid = false;
};

struct Stream {
    bool blocking = true; /* ordered against the legacy stream */
    std::deque<std::pair<uint64_t, Work>> queue;
    std::unique_ptr<Capture> capture;
};

struct Event {
    bool timing;
    Handle stream = LEGACY;
    uint64_t number = 0; /* of the record in its queue */
    bool captured = false, done = false;
    Clock::time_point at{};
};

struct Function {
    Handle module;
    const grid::Kernel *kernel;
};

struct Gpu {
    bool present = false;
    int major = 0, minor = 0, driver = 0;
    std::string name;
};

struct State {
    Gpu gpu;
    bool initialised = false;
    Result dead = SUCCESS; /* after an error on the GPU nothing works any more */
    int retained = 0;
    Handle context = 0;
    Memory memory;
    std::map<Handle, Stream> streams;
    std::map<Handle, Event> events;
    std::map<Handle, std::vector<Work>> graphs, executables;
    std::map<Handle, std::string> modules;
    std::map<Handle, Function> functions;
};

inline std::unique_ptr<State> state = std::make_unique<State>();
inline std::recursive_mutex lock;
inline std::atomic<double> hang_s{0};
inline uint64_t counted = 0x1000; /* handles and queue numbers: none is given twice */
inline thread_local std::vector<Handle> current;

template <class T> T *find(std::map<Handle, T> &things, Handle handle) {
    auto found = things.find(handle);
    return found == things.end() ? nullptr : &found->second;
}

template <class T> Handle keep(std::map<Handle, T> &things, T thing) {
    things.emplace(++counted, std::move(thing));
    return counted;
}

/* ---- one call of the driver: counted, made to fail where a test wants it, one at a time ---- */

struct Entry {
    void *address;
    uint64_t calls = 0;
    Result fault = SUCCESS;
    int after = 0;
};

inline std::map<std::string, Entry> &entries() {
    static std::map<std::string, Entry> all;
    return all;
}

enum Needs { NOTHING, DRIVER, CONTEXT };

struct Call {
    std::lock_guard<std::recursive_mutex> held{lock};
    Result refused;

    Call(const char *name, Needs needs) : refused(fault(entries().at(name))) {
        if (refused) return;
        if (needs >= DRIVER && !state->initialised) refused = ERROR_NOT_INITIALIZED;
        else if (needs >= CONTEXT && state->dead) refused = state->dead;
        else if (needs >= CONTEXT && (current.empty() || !state->context || current.back() != state->context))
            refused = ERROR_INVALID_CONTEXT;
    }

    static Result fault(Entry &entry) {
        entry.calls++;
        return entry.fault && entry.after-- == 0 ? std::exchange(entry.fault, SUCCESS) : SUCCESS;
    }
};

#define EXPORT extern "C" __attribute__((visibility("default")))

/* A function that cuGetProcAddress finds. */
#define API(name, ...)                                                                                                 \
    EXPORT Result name(__VA_ARGS__);                                                                                   \
    static const bool listed_##name = entries().emplace(#name, Entry{(void *)name}).second;                            \
    Result name(__VA_ARGS__)

#define ENTER(needs)                                                                                                   \
    const Call call(__func__, needs);                                                                                  \
    if (call.refused) return call.refused

/* ---- streams ---- */

inline Stream *stream_of(Handle handle) { return find(state->streams, handle); }

inline void dies(Result why) {
    if (!state->dead) state->dead = why;
}

/* Do what stands in the queue up to `number`. The legacy stream and blocking ones wait for each other. */
inline void run(Stream &stream, uint64_t number = ALL) {
    Stream &legacy = *stream_of(LEGACY);
    while (!stream.queue.empty() && stream.queue.front().first <= number) {
        uint64_t next = stream.queue.front().first;
        if (&stream != &legacy && stream.blocking) run(legacy, next);
        if (&stream == &legacy)
            for (auto &[handle, other] : state->streams)
                if (&other != &legacy && other.blocking) run(other, next);
        Work work = std::move(stream.queue.front().second);
        stream.queue.pop_front();
        if (Result failed = state->dead ? SUCCESS : work()) dies(failed);
    }
}

/* As `run`, and what a wait for it returns. */
inline Result finish(Stream &stream, uint64_t number = ALL) {
    run(stream, number);
    if (!state->memory.sound()) dies(ERROR_ILLEGAL_ADDRESS);
    return state->dead;
}

inline Result invalidate(Capture &capture, Result why) {
    capture.invalid = true;
    return why;
}

/* The legacy stream must not wait for a blocking one that captures. */
inline Result implicit() {
    Result found = SUCCESS;
    for (auto &[handle, stream] : state->streams)
        if (stream.capture && stream.blocking) found = invalidate(*stream.capture, ERROR_STREAM_CAPTURE_IMPLICIT);
    return found;
}

/* What may wait for the GPU is forbidden to a thread that captures (mode THREAD_LOCAL), or to all of them (GLOBAL). */
inline Result unsafe() {
    constexpr int GLOBAL = 0, RELAXED = 2;
    Result found = SUCCESS;
    for (auto &[handle, stream] : state->streams) {
        if (!stream.capture || stream.capture->mode == RELAXED) continue;
        if (stream.capture->mode == GLOBAL || stream.capture->thread == std::this_thread::get_id())
            found = invalidate(*stream.capture, ERROR_STREAM_CAPTURE_UNSUPPORTED);
    }
    return found;
}

inline Result submit(Handle handle, Work work) {
    Stream *stream = stream_of(handle);
    if (!stream) return ERROR_INVALID_HANDLE;
    if (stream->capture) {
        if (stream->capture->invalid) return ERROR_STREAM_CAPTURE_INVALIDATED;
        stream->capture->works.push_back(std::move(work));
        return SUCCESS;
    }
    if (Result refused = handle == LEGACY ? implicit() : SUCCESS) return refused;
    stream->queue.emplace_back(++counted, std::move(work));
    return SUCCESS;
}

inline void block() {
    std::this_thread::sleep_for(std::chrono::duration<double>(hang_s.exchange(0)));
}
