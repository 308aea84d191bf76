/* What tests ask of the simulated driver; driver.py calls it. */

#include "machine.h"

static void reset(Gpu gpu) {
    state = std::make_unique<State>();
    state->gpu = std::move(gpu);
    state->streams[LEGACY];
    hang_s = 0;
    for (auto &[name, entry] : entries()) entry = Entry{entry.address};
}

EXPORT void sim_present(int integrated, int major, int minor, const char *name, size_t memory_bytes, int driver) {
    std::lock_guard<std::recursive_mutex> held(lock);
    reset(Gpu{true, major, minor, driver, name});
    state->memory.integrated = integrated;
    state->memory.limit = memory_bytes;
}

/* Whether memory was sound until the end. */
EXPORT int sim_absent() {
    std::lock_guard<std::recursive_mutex> held(lock);
    bool sound = state->memory.sound();
    reset(Gpu{});
    return sound;
}

EXPORT Result sim_enqueue(Handle stream, Result (*callback)(void *), void *argument) {
    std::lock_guard<std::recursive_mutex> held(lock);
    return submit(stream, [=] { return callback(argument); });
}

EXPORT Result sim_memory(const void *address, size_t size) {
    std::lock_guard<std::recursive_mutex> held(lock);
    return state->memory.on_gpu(address, size) ? SUCCESS : ERROR_ILLEGAL_ADDRESS;
}

EXPORT size_t sim_used() {
    std::lock_guard<std::recursive_mutex> held(lock);
    using Place = Memory::Place;
    size_t device = state->memory.used(Place::DEVICE);
    return state->memory.integrated ? device : device + state->memory.used(Place::PINNED);
}

EXPORT Result sim_fail(const char *name, Result code, int after) {
    std::lock_guard<std::recursive_mutex> held(lock);
    auto found = entries().find(name);
    if (found == entries().end()) return ERROR_NOT_FOUND;
    found->second.fault = code, found->second.after = after;
    return SUCCESS;
}

EXPORT void sim_hang(double seconds) { hang_s = seconds; }

/* The `index`th function and how often it was called; null after the last. */
EXPORT const char *sim_called(size_t index, uint64_t *calls) {
    std::lock_guard<std::recursive_mutex> held(lock);
    if (index >= entries().size()) return nullptr;
    auto found = std::next(entries().begin(), index);
    *calls = found->second.calls;
    return found->first.c_str();
}
