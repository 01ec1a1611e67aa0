# The generic check of a datagram, before anything else is done with it.
from libc.stdint cimport int64_t, uint8_t
from pillion.protocol.frames cimport (
    DATA_HEADER_LENGTH,
    ERR_HEADER_LENGTH,
    NAK_LENGTH,
    RSP_SETUP_LENGTH,
    RTTM_LENGTH,
    SETUP_LENGTH,
    SM_LENGTH,
    TYPE_DATA,
    TYPE_ERR,
    TYPE_NAK,
    TYPE_PAD,
    TYPE_RES,
    TYPE_RSP_SETUP,
    TYPE_RTTM,
    TYPE_SETUP,
    TYPE_SM,
    FrameHeader,
)

cdef enum:
    RES_MINIMUM = 22

cdef inline bint is_valid_frame(const uint8_t* data, int64_t length) noexcept nogil:
    # After this the fixed part of the frame's type lies inside the datagram; lengths inside the frame are still unchecked.
    cdef const FrameHeader* frame = <const FrameHeader*> data
    if length < 8 or frame.frame_length < 0 or frame.version != 0:
        return False
    if frame.type == TYPE_DATA or frame.type == TYPE_PAD:
        return length >= DATA_HEADER_LENGTH and length % 32 == 0
    if frame.frame_length > length:
        return False
    if frame.type == TYPE_SM:
        return length >= SM_LENGTH
    if frame.type == TYPE_NAK:
        return length >= NAK_LENGTH
    if frame.type == TYPE_SETUP:
        return length >= SETUP_LENGTH
    if frame.type == TYPE_ERR:
        return length >= ERR_HEADER_LENGTH
    if frame.type == TYPE_RTTM:
        return length >= RTTM_LENGTH
    if frame.type == TYPE_RSP_SETUP:
        return length >= RSP_SETUP_LENGTH
    if frame.type == TYPE_RES:
        return length >= RES_MINIMUM
    return False
