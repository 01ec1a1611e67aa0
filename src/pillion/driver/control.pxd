from pillion.driver.sender cimport Sender

cdef int poll_control(Sender* agent) noexcept nogil
