/* One control tick's serial cycle: wait for the slot, send the setpoints of every bus, ask each for its state, gather
 * the answers. It runs without Python's interpreter lock, so that no other thread of the process can make it late.
 *
 * Nothing here knows a protocol, decides anything, or reports an error. Whatever does not go as it should is left as it
 * is: how far each bus has got says where the driver goes on, in Python, which is the specification of all of this
 * (`Buses.write` and `Buses.read`). The layout of `struct cycle` is repeated in
 * exchange.py, that of `struct bus` in drivers/motors/base.py (`Cycle`).
 */

#define _GNU_SOURCE
#include <errno.h>
#include <poll.h>
#include <stdint.h>
#include <time.h>
#include <unistd.h>

#define NS_PER_S 1000000000
#define LAYOUT 1 /* of both structures: counted up with every change of them */

struct bus {
    int64_t fd;               /* non-blocking */
    const uint8_t *setpoints; /* nobody answers them */
    int64_t setpoints_size;
    const uint8_t *question;
    int64_t question_size;
    uint8_t *answers; /* from its beginning on: what answers the question */
    uint8_t *stale;   /* what had come before the question was sent */
    int64_t room;     /* bytes there are in `answers`, and as many in `stale` */
    int64_t expected; /* bytes that answer the question */
    int64_t read_ns;  /* after `began_ns`, when to stop waiting for them */
    int64_t sent;     /* out, from here on: bytes that the port took of the setpoints */
    int64_t asked;    /* and of the question */
    int64_t discarded;
    int64_t received;
    int64_t answered_ns; /* when the last of them came */
};

struct cycle {
    int64_t due_ns;   /* CLOCK_MONOTONIC, like all of them */
    int64_t began_ns; /* out: the slot had come */
    int64_t sent_ns;  /* out: every setpoint was handed over, as far as a port took it */
    int64_t ended_ns; /* out */
    int64_t count;
    struct bus **buses;
};

static int64_t now_ns(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return now.tv_sec * (int64_t)NS_PER_S + now.tv_nsec;
}

static struct timespec timespec_of(int64_t ns)
{
    return (struct timespec){.tv_sec = ns / NS_PER_S, .tv_nsec = ns % NS_PER_S};
}

static void sleep_until(int64_t due_ns)
{
    struct timespec due = timespec_of(due_ns);
    while (clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &due, NULL) == EINTR)
        ;
}

/* How many bytes the port takes at once, 0 where it takes none. */
static int64_t hand_over(int64_t fd, const uint8_t *data, int64_t size)
{
    ssize_t count = write((int)fd, data, (size_t)size);
    return count > 0 ? count : 0;
}

static int readable(int64_t fd, int64_t deadline_ns)
{
    for (;;) {
        int64_t left_ns = deadline_ns - now_ns();
        struct timespec left = timespec_of(left_ns > 0 ? left_ns : 0);
        struct pollfd wanted = {.fd = (int)fd, .events = POLLIN};
        int ready = ppoll(&wanted, 1, &left, NULL);
        if (ready >= 0 || errno != EINTR)
            return ready > 0;
    }
}

/* Of more than there is room for only the last part is kept. */
static void discard_input(struct bus *bus)
{
    ssize_t count;
    do {
        count = read((int)bus->fd, bus->stale, (size_t)bus->room);
        bus->discarded = count > 0 ? count : bus->discarded;
    } while (count == bus->room);
}

static void gather(struct bus *bus, int64_t deadline_ns)
{
    while (bus->received < bus->expected && readable(bus->fd, deadline_ns)) {
        ssize_t count = read((int)bus->fd, bus->answers + bus->received, (size_t)(bus->room - bus->received));
        if (count <= 0)
            return;
        bus->received += count;
    }
    bus->answered_ns = now_ns();
}

static void ask(struct bus *bus, int64_t began_ns)
{
    if (bus->sent < bus->setpoints_size)
        return;
    discard_input(bus);
    bus->asked = hand_over(bus->fd, bus->question, bus->question_size);
    if (bus->asked == bus->question_size)
        gather(bus, began_ns + bus->read_ns);
}

int64_t layout(void)
{
    return LAYOUT;
}

void exchange(struct cycle *cycle)
{
    sleep_until(cycle->due_ns);
    cycle->began_ns = now_ns();
    for (int64_t i = 0; i < cycle->count; i++) {
        struct bus *bus = cycle->buses[i];
        bus->sent = bus->asked = bus->discarded = bus->received = 0;
        if (bus->setpoints_size)
            bus->sent = hand_over(bus->fd, bus->setpoints, bus->setpoints_size);
    }
    cycle->sent_ns = now_ns();
    for (int64_t i = 0; i < cycle->count; i++)
        ask(cycle->buses[i], cycle->began_ns);
    cycle->ended_ns = now_ns();
}
