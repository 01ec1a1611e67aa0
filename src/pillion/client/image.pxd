from libc.stdint cimport int32_t, int64_t, uint8_t
from pillion.client.fragment cimport FragmentBuffer, Header
from pillion.memory.log_buffer cimport Log, LogBuffer
from pillion.memory.mapped_file cimport MappedFile


cdef class Image:
    cdef LogBuffer log_buffer
    cdef Log log                        # zeros in an image nobody set up, which is closed
    cdef MappedFile counters_file       # holds what position_address points into
    cdef int64_t* position_address
    cdef int64_t position_registration_id
    cdef readonly int64_t correlation_id
    cdef readonly int64_t subscription_registration_id
    cdef readonly int32_t session_id
    cdef readonly int32_t stream_id
    cdef readonly int32_t subscriber_position_id
    cdef readonly str source_identity
    cdef readonly int64_t join_position
    cdef readonly object subscription
    cdef bint closed
    cdef bint polling
    cdef bint final_eos
    cdef bint final_revoked
    cdef int64_t final_position
    cdef int64_t final_eos_position
    cdef FragmentBuffer buffer
    cdef Header header
    cdef int _enter(self) except -1
    cdef FragmentBuffer _new_buffer(self)
    cdef Header _new_header(self)
    cdef inline bint _is_ours(self) noexcept
    cdef int64_t _position(self) except -1
    cdef void _store(self, int64_t position) noexcept
    cdef int walk(self, object handler, int limit, int64_t limit_position, bint controlled) except -1
