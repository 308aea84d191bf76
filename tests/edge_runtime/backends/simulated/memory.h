/* The GPU's memory and page-locked memory: fenced by guard bytes, poisoned before it is written and after it is freed.
 *
 * An address is never given twice and stays mapped, so that whoever comes too late is told so and does no harm.
 */
#pragma once

#include <cstdint>
#include <cstring>
#include <map>

#include <sys/mman.h>

class Memory {
public:
    enum class Place { DEVICE, PINNED, PAGEABLE, BAD };
    size_t limit = 0;
    bool integrated = false; /* one memory for both kinds */

    ~Memory() { clear(); }

    void clear() {
        for (auto &[start, block] : blocks_) madvise((void *)start, block.mapped, MADV_DONTNEED);
        blocks_.clear();
    }

    /* Null where there is not that much left. */
    char *allocate(size_t size, Place kind) {
        if (size > limit - used(kind)) return nullptr;
        size_t mapped = (size + 2 * GUARD_BYTES + 4095) / 4096 * 4096;
        void *start = mmap(nullptr, mapped, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
        if (start == MAP_FAILED) return nullptr;
        memset(start, GUARD, mapped);
        Block block{static_cast<char *>(start) + GUARD_BYTES, size, mapped, kind, true};
        memset(block.begin, FRESH, size);
        return blocks_.emplace(uintptr_t(start), block).first->second.begin;
    }

    bool release(const void *address, Place kind) {
        Block *block = holding(address);
        if (!block || block->begin != address || !block->live || block->kind != kind) return false;
        memset(block->begin, FREED, block->size);
        block->live = false;
        return true;
    }

    /* Where `size` bytes are. What was never ours is taken for the process's own, pageable memory. */
    Place place(const void *address, size_t size) {
        Block *block = holding(address);
        if (!block) return Place::PAGEABLE;
        bool inside = address >= block->begin && size <= size_t(block->begin + block->size - (const char *)address);
        return inside && address < block->begin + block->size && block->live ? block->kind : Place::BAD;
    }

    bool on_gpu(const void *address, size_t size) {
        Place found = place(address, size);
        return found == Place::DEVICE || found == Place::PINNED;
    }

    size_t used(Place kind) const {
        size_t sum = 0;
        for (auto &[start, block] : blocks_)
            if (block.live && (integrated || block.kind == kind)) sum += block.size;
        return sum;
    }

    /* Whether nothing has been written outside of an allocation or after it was freed. */
    bool sound() const {
        for (auto &[start, block] : blocks_) {
            const char *end = block.begin + block.size;
            if (!all((const char *)start, GUARD_BYTES, GUARD)) return false;
            if (!all(end, (const char *)start + block.mapped - end, GUARD)) return false;
            if (!block.live && !all(block.begin, block.size, FREED)) return false;
        }
        return true;
    }

private:
    static constexpr size_t GUARD_BYTES = 256; /* the driver aligns to as many */
    static constexpr uint8_t GUARD = 0xFD, FRESH = 0xCD, FREED = 0xDD;

    struct Block {
        char *begin;
        size_t size, mapped;
        Place kind;
        bool live;
    };

    static bool all(const char *begin, size_t size, uint8_t value) {
        return uint8_t(*begin) == value && !memcmp(begin, begin + 1, size - 1);
    }

    Block *holding(const void *address) {
        auto next = blocks_.upper_bound(uintptr_t(address));
        if (next == blocks_.begin()) return nullptr;
        auto &[start, block] = *std::prev(next);
        return uintptr_t(address) < start + block.mapped ? &block : nullptr;
    }

    std::map<uintptr_t, Block> blocks_;
};
