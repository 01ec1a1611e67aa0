from libc.stdint cimport int32_t, int64_t
from pillion.memory.appender cimport ExclusiveState, Part
from pillion.memory.log_buffer cimport Log, LogBuffer
from pillion.memory.mapped_file cimport MappedFile


cdef class _PublicationBase:
    cdef LogBuffer log_buffer
    cdef Log log                        # zeros in a publication nobody set up, which is closed
    cdef MappedFile counters_file       # holds what limit_address points into
    cdef int64_t* limit_address
    cdef readonly str channel
    cdef readonly int32_t stream_id
    cdef readonly int32_t session_id
    cdef readonly int64_t registration_id
    cdef readonly int64_t original_registration_id
    cdef readonly int32_t publisher_limit_id
    cdef readonly int32_t channel_status_id
    cdef int64_t status_registration_id
    cdef object conductor
    cdef bint closed
    cdef bint exclusive
    cdef bint revoking
    cdef ExclusiveState state
    cdef object last_position           # returned by the last offer; the next one's if nobody kept it
    cdef object _append(self, const Part* parts, int32_t count, int64_t total, int64_t reserved)
    cdef object _offer_any(self, object buffer, object reserved_value)
    cdef object _offer_parts(self, tuple buffers, int64_t reserved)
    cdef object _closed_code(self)
    cdef int _check_length(self, int64_t length) except -1


cdef class Publication(_PublicationBase):
    pass


cdef class ExclusivePublication(_PublicationBase):
    pass
