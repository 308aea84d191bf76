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
#include <stdint.h>
#include <sys/ioctl.h>
#include <time.h>
#include <unistd.h>

#define NS_PER_S 1000000000
#define STEP_NS 100000 /* between two looks for answers, at the least */
#define LAYOUT 3 /* of both structures: counted up with every change of them */

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
    int64_t usual_ns;    /* kept: how long answers take, as a rule */
};

struct cycle {
    int64_t due_ns;    /* CLOCK_MONOTONIC, like all of them */
    int64_t latest_ns; /* no setpoint is sent after this: it is too old */
    int64_t began_ns;  /* out: the slot had come */
    int64_t sent_ns;   /* out: every setpoint was handed over, as far as a port took it */
    int64_t ended_ns;  /* out */
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

/* How many bytes have come; below 0 where the port has gone. */
static int64_t waiting(int64_t fd)
{
    int count = 0;
    return ioctl((int)fd, FIONREAD, &count) < 0 ? -1 : count;
}

/* Of more than there is room for only the last part is kept; a line that never falls silent is left at the deadline. */
static void discard_input(struct bus *bus, int64_t deadline_ns)
{
    while (waiting(bus->fd) > 0 && now_ns() < deadline_ns) {
        ssize_t count = read((int)bus->fd, bus->stale, (size_t)bus->room);
        if (count <= 0)
            return;
        bus->discarded = count;
    }
}

/* Looks again and again, first a little sooner than the answers usually come: that is later than the bytes take on the
 * line, and one look in a cycle as a rule. The later they are, the less often: every look is a wake-up. To poll an
 * empty port, or to read from it, would wait for the kernel's worker that hands on what a serial line has received
 * (tty_buffer_flush_work). That worker has no priority: on a busy machine it comes many milliseconds after any deadline.
 */
static int64_t wait_for_answers(struct bus *bus, int64_t deadline_ns)
{
    int64_t first_ns = now_ns() + bus->usual_ns - bus->usual_ns / 32, look_ns = first_ns;
    for (;;) {
        sleep_until(look_ns < deadline_ns ? look_ns : deadline_ns);
        int64_t ready = waiting(bus->fd), looked_ns = now_ns();
        if (ready < 0 || ready >= bus->expected || looked_ns >= deadline_ns)
            return ready;
        look_ns = looked_ns + STEP_NS + (looked_ns - first_ns) / 4;
    }
}

static void gather(struct bus *bus, int64_t deadline_ns)
{
    int64_t asked_ns = now_ns();
    if (wait_for_answers(bus, deadline_ns) <= 0)
        return;
    ssize_t count = read((int)bus->fd, bus->answers, (size_t)bus->room);
    bus->received = count > 0 ? count : 0;
    bus->answered_ns = now_ns();
    if (bus->received >= bus->expected) {
        int64_t took_ns = bus->answered_ns - asked_ns, most_ns = bus->usual_ns + STEP_NS;
        bus->usual_ns = took_ns < most_ns ? took_ns : most_ns; /* one that was late says little of the next */
    }
}

static void ask(struct bus *bus, int64_t began_ns)
{
    int64_t deadline_ns = began_ns + bus->read_ns;
    discard_input(bus, deadline_ns);
    bus->asked = hand_over(bus->fd, bus->question, bus->question_size);
    if (bus->asked == bus->question_size)
        gather(bus, deadline_ns);
}

int64_t layout(void)
{
    return LAYOUT;
}

void exchange(struct cycle *cycle)
{
    sleep_until(cycle->due_ns);
    cycle->began_ns = now_ns();
    int in_time = cycle->began_ns <= cycle->latest_ns;
    for (int64_t i = 0; i < cycle->count; i++) {
        struct bus *bus = cycle->buses[i];
        bus->sent = bus->asked = bus->discarded = bus->received = 0;
        if (in_time && bus->setpoints_size)
            bus->sent = hand_over(bus->fd, bus->setpoints, bus->setpoints_size);
    }
    cycle->sent_ns = now_ns();
    for (int64_t i = 0; i < cycle->count; i++)
        if (!in_time || cycle->buses[i]->sent == cycle->buses[i]->setpoints_size)
            ask(cycle->buses[i], cycle->began_ns);
    cycle->ended_ns = now_ns();
}
