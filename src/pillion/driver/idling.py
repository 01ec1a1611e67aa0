"""Idle strategies of the agents' threads.

Those of the reference, and `adaptive`: it spins while traffic flows, yields, and then waits in the kernel for a
datagram on the thread's sockets, for its doorbell, or for a time that grows, since a stream in shared memory has no
doorbell.
"""

import cython
from cython.cimports.libc.stdint import int64_t, uint64_t
from cython.cimports.libc.stdlib import free, realloc
from cython.cimports.pillion.memory.atomics import cpu_pause
from cython.cimports.posix.time import CLOCK_MONOTONIC, clock_gettime, nanosleep, timespec
from cython.cimports.posix.unistd import read, write

if not cython.compiled:
    raise ImportError("pillion.driver.idling must be compiled: run `pip install .`")

ADAPTIVE_SPINS = cython.declare(int64_t, 20)
ADAPTIVE_YIELDS = cython.declare(int64_t, 40)
CROWDED_NS = cython.declare(int64_t, 200_000)                 # a yield that took so long gave the processor to somebody
ADAPTIVE_PARK_NS = cython.declare(int64_t, 10_000)


def poll_set_add(set, fd):
    grown: cython.pointer(pollfd)
    if set.count == set.capacity:
        grown = cython.cast(cython.pointer(pollfd), realloc(set.fds, (set.capacity * 2 + 8) * cython.sizeof(pollfd)))
        if grown == cython.NULL:
            return False
        set.fds = grown
        set.capacity = set.capacity * 2 + 8
    set.fds[set.count].fd = fd
    set.fds[set.count].events = POLLIN
    set.fds[set.count].revents = 0
    set.count += 1
    return True


def poll_set_free(set):
    free(set.fds)
    set.fds = cython.NULL
    set.count = 0
    set.capacity = 0


def sleep_ns(duration_ns):
    pause: timespec
    pause.tv_sec = duration_ns // 1_000_000_000
    pause.tv_nsec = duration_ns % 1_000_000_000
    nanosleep(cython.address(pause), cython.NULL)


def wait_for_bell(fd, duration_ns):
    """Wait until the eventfd is rung, or so long."""
    entry: pollfd
    entry.fd = fd
    entry.events = POLLIN
    _wait(cython.address(entry), 1, duration_ns)


def ring_bell(fd):
    """Make who waits for the eventfd go on."""
    one: uint64_t = 1
    write(fd, cython.address(one), 8)


def prepare_thread(name):
    """Name this thread for the system, and let its short sleeps be short: the kernel may add 50 us to each."""
    prctl(PR_SET_NAME, cython.cast(cython.ulong, name), 0, 0, 0)
    prctl(PR_SET_TIMERSLACK, 1000, 0, 0, 0)


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def _wait(fds: cython.pointer(pollfd), count: cython.ulong, duration_ns: int64_t) -> cython.void:
    """Until one of them can be read. The first is a doorbell."""
    pause: timespec
    rung: uint64_t
    pause.tv_sec = duration_ns // 1_000_000_000
    pause.tv_nsec = duration_ns % 1_000_000_000
    if ppoll(fds, count, cython.address(pause), cython.NULL) > 0 and fds[0].revents:
        # The doorbell does not block. What it was rung for is looked at in the next cycle.
        read(fds[0].fd, cython.address(rung), 8)


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def _yield(idler: cython.pointer(Idler)) -> cython.void:
    """Give way once. Where others want the processor each further yield would cost a scheduler slice: park instead."""
    before: timespec
    after: timespec
    clock_gettime(CLOCK_MONOTONIC, cython.address(before))
    sched_yield()
    clock_gettime(CLOCK_MONOTONIC, cython.address(after))
    if (after.tv_sec - before.tv_sec) * 1_000_000_000 + after.tv_nsec - before.tv_nsec > CROWDED_NS:
        idler.step = idler.max_spins + idler.max_yields


def idle_after(idler, work, longest_ns):
    """Once a cycle; `longest_ns` is how long this thread may sleep now, whatever its strategy."""
    if idler.kind == IDLE_NOOP:
        return
    if work > 0:
        idler.step = 0
        return
    idler.step += 1
    if idler.kind == IDLE_SPIN:
        cpu_pause()
    elif idler.kind == IDLE_YIELD:
        sched_yield()
    elif idler.kind == IDLE_SLEEP:
        sleep_ns(idler.min_park_ns)
    elif idler.step <= idler.max_spins:
        cpu_pause()
    elif idler.step <= idler.max_spins + idler.max_yields:
        if idler.kind == IDLE_ADAPTIVE:
            _yield(idler)
        else:
            sched_yield()
    else:
        if idler.step == idler.max_spins + idler.max_yields + 1:
            idler.park_ns = idler.min_park_ns
        if idler.kind == IDLE_BACKOFF:
            sleep_ns(idler.park_ns)
            idler.park_ns = min(idler.park_ns * 2, idler.max_park_ns)
        else:
            _wait(idler.waits.fds, idler.waits.count, min(idler.park_ns, longest_ns))
            idler.park_ns = min(idler.park_ns * 2, longest_ns)


def idler_arguments(spec) -> tuple:
    """(kind, spins, yields, min park ns, max park ns) of a specification, as the settings give it.

    ("backoff", spins, yields, min_park_ns, max_park_ns), ("sleep-ns", duration_ns), ("yield",), ("spin",), ("noop",) or
    ("adaptive",). Raises `ValueError` for anything else.
    """
    match tuple(spec):
        case ("backoff", spins, yields, low, high) if 0 < low <= high:
            return IDLE_BACKOFF, spins, yields, low, high
        case ("sleep-ns", duration):
            return IDLE_SLEEP, 0, 0, duration, duration
        case ("yield",):
            return IDLE_YIELD, 0, 0, 0, 0
        case ("spin",):
            return IDLE_SPIN, 0, 0, 0, 0
        case ("noop",):
            return IDLE_NOOP, 0, 0, 0, 0
        case ("adaptive",):
            return IDLE_ADAPTIVE, ADAPTIVE_SPINS, ADAPTIVE_YIELDS, ADAPTIVE_PARK_NS, 0
    raise ValueError(
        f"idle strategy {spec!r} must be ('adaptive',), ('backoff', spins, yields, min_park_ns, max_park_ns), "
        "('sleep-ns', duration_ns), ('yield',), ('spin',) or ('noop',)")
