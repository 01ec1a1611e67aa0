# How far the writers of a log may go.
from libc.stdint cimport int32_t, int64_t
from pillion.memory.log_buffer cimport Log

cdef struct PublisherLimit:        # owner: the agent of the stream
    Log* log
    int64_t* pub_pos
    int64_t* pub_lmt
    int64_t window                 # between the slowest reader and the limit
    int64_t position               # what pub_lmt says
    int64_t highest                # what it ever said (atomic: the conductor bounds the producer with it)
    int64_t clean_position

cdef void limit_init(PublisherLimit* limit, Log* log, int64_t* pub_pos, int64_t* pub_lmt, int64_t window) noexcept nogil
cdef int64_t limit_producer(PublisherLimit* limit, int64_t at_least) noexcept nogil
cdef int64_t limit_observe(PublisherLimit* limit, int64_t at_least) noexcept nogil
cdef bint limit_open(PublisherLimit* limit, int64_t slowest, int64_t clean_target) noexcept nogil
cdef void limit_shut(PublisherLimit* limit, int64_t position, int64_t clean_target) noexcept nogil
cdef void limit_end(PublisherLimit* limit, int64_t producer, bint revoked) noexcept nogil
