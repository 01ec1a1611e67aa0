# What an agent's thread does when a cycle had nothing to do.
from libc.stdint cimport int32_t, int64_t

cdef extern from "poll.h" nogil:
    struct pollfd:
        int fd
        short events
        short revents
    int poll(pollfd* fds, unsigned long count, int timeout_ms)
    short POLLIN

cdef extern from "sched.h" nogil:
    int sched_yield()

cdef extern from *:
    """
    #include <poll.h>
    #include <sys/prctl.h>
    #include <time.h>
    #include <sys/syscall.h>
    #include <unistd.h>
    /* `ppoll` is declared by poll.h only for _GNU_SOURCE, which Python.h has set. */
    """
    int PR_SET_NAME
    int PR_SET_TIMERSLACK
    int prctl(int option, unsigned long a, unsigned long b, unsigned long c, unsigned long d) nogil
    int ppoll(pollfd* fds, unsigned long count, const void* timeout, const void* mask) nogil

cdef enum:
    IDLE_NOOP = 0
    IDLE_SPIN = 1
    IDLE_YIELD = 2
    IDLE_SLEEP = 3
    IDLE_BACKOFF = 4
    IDLE_ADAPTIVE = 5

cdef struct PollSet:               # what a thread can be woken by
    pollfd* fds
    int32_t count
    int32_t capacity

cdef struct Idler:
    int32_t kind
    int64_t max_spins
    int64_t max_yields
    int64_t min_park_ns
    int64_t max_park_ns
    int64_t step                   # idle cycles in a row
    int64_t park_ns
    PollSet waits                  # used by the adaptive one: the first is the thread's doorbell

cdef bint poll_set_add(PollSet* set, int fd) noexcept nogil
cdef void poll_set_free(PollSet* set) noexcept nogil
cdef void idle_after(Idler* idler, int work, int64_t longest_ns) noexcept nogil
cdef void sleep_ns(int64_t duration_ns) noexcept nogil
cdef void wait_for_bell(int fd, int64_t duration_ns) noexcept nogil
cdef void ring_bell(int fd) noexcept nogil
cdef void prepare_thread(const char* name) noexcept nogil
