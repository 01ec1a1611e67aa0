from pillion.client.fragment cimport Header


cdef class FragmentAssembler:
    cdef object handler
    cdef dict builders
