from libc.stdint cimport int32_t, int64_t


cdef class Subscription:
    cdef readonly str channel
    cdef readonly int32_t stream_id
    cdef readonly int64_t registration_id
    cdef readonly int32_t channel_status_id
    cdef readonly object on_available_image
    cdef readonly object on_unavailable_image
    cdef int64_t status_registration_id
    cdef object conductor
    cdef tuple _images
    cdef int next_image
    cdef bint closed
    cdef object assembler               # of `messages`, with what it has not handed out yet
    cdef object waiting
    cdef int _poll_images(self, object handler, int limit, int64_t limit_position, bint controlled) except -1
