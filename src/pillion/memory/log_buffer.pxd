# Log buffers: three terms and their metadata. `Log` is a borrowed view; the `LogBuffer` it came from holds the mapping.
from libc.stdint cimport int32_t, int64_t, uint8_t, uint32_t, uint64_t
from pillion.memory.mapped_file cimport MappedFile
from pillion.protocol.layouts cimport LogMetadata

cdef struct Log:
    uint8_t* terms[3]
    LogMetadata* metadata
    int32_t term_length
    int32_t position_bits
    int32_t initial_term_id
    int32_t mtu_length
    int32_t max_payload_length
    int32_t max_message_length
    int32_t session_id
    int32_t stream_id

cdef inline int32_t term_id_of_tail(int64_t raw_tail) noexcept nogil:
    return <int32_t> (raw_tail >> 32)

cdef inline int32_t offset_of_tail(int64_t raw_tail, int32_t term_length) noexcept nogil:
    # The low half may be beyond the term: claims are made before the fit is checked.
    cdef int64_t low = <int64_t> <uint32_t> raw_tail
    return <int32_t> (low if low < term_length else term_length)

cdef inline int64_t pack_tail(int32_t term_id, int32_t term_offset) noexcept nogil:
    return <int64_t> ((<uint64_t> term_id) << 32) | <int64_t> <uint32_t> term_offset

cdef inline int32_t wrap_subtract(int32_t a, int32_t b) noexcept nogil:
    # 32-bit wrapping difference: term ids pass 2^31 - 1 in a long life.
    return <int32_t> ((<uint32_t> a) - (<uint32_t> b))

cdef inline int32_t wrap_add(int32_t a, int32_t b) noexcept nogil:
    return <int32_t> ((<uint32_t> a) + (<uint32_t> b))

cdef inline int64_t compute_position(int32_t term_id, int32_t term_offset, int32_t bits, int32_t initial) noexcept nogil:
    return ((<int64_t> wrap_subtract(term_id, initial)) << bits) + term_offset

cdef inline int32_t partition_of_position(int64_t position, int32_t bits) noexcept nogil:
    return <int32_t> ((position >> bits) % 3)

cdef inline int32_t term_id_of_position(int64_t position, int32_t bits, int32_t initial) noexcept nogil:
    return wrap_add(initial, <int32_t> (position >> bits))

cdef int64_t log_producer_position(const Log* log) noexcept nogil
cdef bint log_rotate(Log* log, int32_t term_count, int32_t term_id) noexcept nogil
cdef int64_t log_clean(Log* log, int64_t clean_position, int64_t target) noexcept nogil
cdef bint log_unblock(Log* log, int64_t position) noexcept nogil
cdef int32_t log_scan(const Log* log, int64_t position, int32_t max_bytes, int32_t* padding) noexcept nogil
cdef bint log_insert(Log* log, int32_t term_id, int32_t term_offset, const uint8_t* packet, int32_t length) noexcept nogil
cdef bint log_fill_gap(Log* log, int32_t term_id, int32_t term_offset, int32_t length) noexcept nogil
cdef int64_t log_find_contiguous(const Log* log, int64_t position, int64_t limit) noexcept nogil
cdef int32_t log_find_gap(const Log* log, int64_t position, int64_t limit) noexcept nogil


cdef class LogBuffer:
    cdef Log log
    cdef readonly MappedFile file
