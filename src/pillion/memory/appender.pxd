from libc.stdint cimport int32_t, int64_t, uint8_t
from pillion.memory.log_buffer cimport Log

cdef enum:
    NOT_CONNECTED = -1
    BACK_PRESSURED = -2
    ADMIN_ACTION = -3
    PUBLICATION_CLOSED = -4
    MAX_POSITION_EXCEEDED = -5

cdef struct Part:
    const uint8_t* data
    int64_t length

cdef struct ExclusiveState:
    int32_t partition
    int32_t term_id
    int32_t term_offset
    int64_t term_begin_position

cdef int64_t concurrent_offer(Log* log, int64_t limit, const Part* parts, int32_t count, int64_t total, int64_t reserved) noexcept nogil
cdef int64_t concurrent_claim(Log* log, int64_t limit, int32_t length, uint8_t** frame) noexcept nogil
cdef void exclusive_init(Log* log, ExclusiveState* state) noexcept nogil
cdef int64_t exclusive_offer(Log* log, ExclusiveState* state, int64_t limit, const Part* parts, int32_t count, int64_t total, int64_t reserved) noexcept nogil
cdef int64_t exclusive_claim(Log* log, ExclusiveState* state, int64_t limit, int32_t length, uint8_t** frame) noexcept nogil
cdef int64_t exclusive_append_padding(Log* log, ExclusiveState* state, int64_t limit, int32_t length) noexcept nogil
cdef int64_t exclusive_offer_block(Log* log, ExclusiveState* state, int64_t limit, const uint8_t* block, int32_t length) noexcept nogil
cdef void claim_commit(uint8_t* frame, int32_t length) noexcept nogil
cdef void claim_abort(uint8_t* frame, int32_t length) noexcept nogil
