from libc.stdint cimport int32_t
from pillion.client.fragment cimport FragmentBuffer, Header


cdef class FragmentAssembler:
    cdef object handler
    cdef dict builders
    cdef object _deliver(self, object key, list builder, FragmentBuffer buffer, Header header, int flags, int32_t end)
