"""The frames that a receiver sends back: status messages, NAKs, rejections, round-trip answers."""

import cython
from cython.cimports.libc.stdint import int32_t, int64_t, uint8_t
from cython.cimports.libc.string import memcpy, memset
from cython.cimports.pillion.driver.context import (
    ERROR_FRAMES_SENT,
    NAKS_SENT,
    SHORT_SENDS,
    SMS_SENT,
    bump,
    count,
    count_shared,
)
from cython.cimports.pillion.driver.udp.transport import Address, send_one
from cython.cimports.pillion.memory.log_buffer import term_id_of_position
from cython.cimports.pillion.protocol.frames import (
    ERR_FLAG_GROUP_TAG,
    ERR_HEADER_LENGTH,
    NAK_LENGTH,
    RTTM_LENGTH,
    SM_LENGTH,
    SM_LENGTH_WITH_GROUP_TAG,
    TYPE_ERR,
    TYPE_NAK,
    TYPE_SM,
    ErrorFrame,
    NakFrame,
    RttFrame,
    StatusMessage,
)

if not cython.compiled:
    raise ImportError("pillion.driver.feedback must be compiled: run `pip install .`")

IMAGE_REJECTED = cython.declare(int32_t, 13)


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def _send(agent: cython.pointer(Receiver), endpoint: cython.pointer(ReceiveEndpointStruct), frame: cython.p_void,
          length: int64_t, to: cython.pointer(cython.const[Address])) -> cython.bint:
    if send_one(endpoint.transport, frame, length, to):
        return True
    count_shared(cython.address(agent.context), SHORT_SENDS, 1)
    return False


def send_status(agent, endpoint, session_id, stream_id, term_id, term_offset, window, flags, to):
    frame: StatusMessage
    memset(cython.address(frame), 0, SM_LENGTH_WITH_GROUP_TAG)
    frame.frame_length = SM_LENGTH_WITH_GROUP_TAG if endpoint.has_group_tag else SM_LENGTH
    frame.flags = flags
    frame.type = TYPE_SM
    frame.session_id = session_id
    frame.stream_id = stream_id
    frame.consumption_term_id = term_id
    frame.consumption_term_offset = term_offset
    frame.receiver_window = window
    frame.receiver_id = endpoint.receiver_id
    frame.group_tag = endpoint.group_tag
    if not _send(agent, endpoint, cython.address(frame), frame.frame_length, to):
        return False
    count(cython.address(agent.context), SMS_SENT, 1)
    return True


def send_nak(agent, image):
    """Ask for the image's present gap."""
    frame: NakFrame
    memset(cython.address(frame), 0, NAK_LENGTH)
    frame.frame_length = NAK_LENGTH
    frame.type = TYPE_NAK
    frame.session_id = image.session_id
    frame.stream_id = image.stream_id
    frame.term_id = term_id_of_position(image.gap_position, image.log.position_bits, image.log.initial_term_id)
    frame.term_offset = cython.cast(int32_t, image.gap_position & (image.log.term_length - 1))
    frame.length = image.gap_length
    if _send(agent, image.endpoint, cython.address(frame), NAK_LENGTH, cython.address(image.source)):
        count(cython.address(agent.context), NAKS_SENT, 1)
        bump(image.rcv_naks, 1)


def send_rejection(agent, image):
    raw: uint8_t[1064]
    frame: cython.pointer(ErrorFrame) = cython.cast(cython.pointer(ErrorFrame), cython.address(raw[0]))
    memset(frame, 0, ERR_HEADER_LENGTH)
    frame.frame_length = ERR_HEADER_LENGTH + image.error_length
    frame.type = TYPE_ERR
    frame.flags = ERR_FLAG_GROUP_TAG if image.endpoint.has_group_tag else 0
    frame.session_id = image.session_id
    frame.stream_id = image.stream_id
    frame.receiver_id = image.endpoint.receiver_id
    frame.group_tag = image.endpoint.group_tag if image.endpoint.has_group_tag else -1
    frame.error_code = IMAGE_REJECTED
    frame.error_length = image.error_length
    memcpy(cython.address(raw[0]) + ERR_HEADER_LENGTH, cython.address(image.error_text[0]), image.error_length)
    if _send(agent, image.endpoint, frame, frame.frame_length, cython.address(image.source)):
        count(cython.address(agent.context), ERROR_FRAMES_SENT, 1)


def send_rtt_reply(agent, endpoint, frame, to):
    """Answer a sender's question in its own bytes."""
    reply: cython.pointer(RttFrame) = cython.cast(cython.pointer(RttFrame), frame)
    reply.flags = 0
    reply.frame_length = RTTM_LENGTH
    reply.reception_delta = 0
    reply.receiver_id = endpoint.receiver_id
    _send(agent, endpoint, frame, RTTM_LENGTH, to)
