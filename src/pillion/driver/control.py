"""The sender's ear: status messages, NAKs, error frames and round-trip questions that receivers send back.

A datagram is hostile until it was checked here; what fails is counted and dropped. Only frames that name a publication
of the endpoint they came in on have an effect, and a publication remembers no more receivers than `MAX_RECEIVERS`.
"""

import cython
from cython.cimports.libc.stdint import int32_t, int64_t, uint8_t
from cython.cimports.libc.string import memcpy
from cython.cimports.pillion.driver.context import (
    CONDUCTOR_PROXY_FAILS,
    ERROR_FRAMES_RECEIVED,
    EVENT_ERROR_FRAME,
    INVALID_PACKETS,
    NAKS_RECEIVED,
    SHORT_SENDS,
    SMS_RECEIVED,
    SMS_REJECTED,
    bump,
    count,
    count_shared,
)
from cython.cimports.pillion.driver.endpoints import is_readable, look_at_sockets, report_errors
from cython.cimports.pillion.driver.queues import Item, queue_claim, queue_publish
from cython.cimports.pillion.driver.sender import (
    Sender,
    publication_at_end,
    publication_has_subscribers,
    publication_resend,
    publication_set_connected,
    publication_update_limit,
)
from cython.cimports.pillion.driver.streams import MAX_RECEIVERS, NetworkStruct, SendEndpointStruct
from cython.cimports.pillion.driver.udp.transport import Address, Arrival, send_one
from cython.cimports.pillion.driver.validation import is_valid_frame
from cython.cimports.pillion.memory.assertions import pillion_assert
from cython.cimports.pillion.memory.atomics import store_release_i32, store_release_i64
from cython.cimports.pillion.memory.log_buffer import compute_position
from cython.cimports.pillion.protocol.frames import (
    ERR_HEADER_LENGTH,
    MAX_ERROR_TEXT_LENGTH,
    MAX_TERM_LENGTH,
    RTTM_FLAG_REPLY,
    RTTM_LENGTH,
    SM_FLAG_EOS,
    SM_FLAG_SEND_SETUP,
    TYPE_ERR,
    TYPE_NAK,
    TYPE_RTTM,
    TYPE_SM,
    ErrorFrame,
    FrameHeader,
    NakFrame,
    RttFrame,
    StatusMessage,
)

if not cython.compiled:
    raise ImportError("pillion.driver.control must be compiled: run `pip install .`")


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def _find(endpoint: cython.pointer(SendEndpointStruct), session_id: int32_t,
          stream_id: int32_t) -> cython.pointer(NetworkStruct):
    index: int32_t
    pub: cython.pointer(NetworkStruct)
    for index in range(endpoint.publications.count):
        pub = cython.cast(cython.pointer(NetworkStruct), endpoint.publications.items[index])
        if pub.session_id == session_id and pub.stream_id == stream_id:
            return pub
    return cython.NULL


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def _find_receiver(pub: cython.pointer(NetworkStruct), receiver_id: int64_t) -> int32_t:
    index: int32_t
    for index in range(pub.receiver_count):
        if pub.receivers[index].receiver_id == receiver_id:
            return index
    return -1


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def _refresh_receiver(agent: cython.pointer(Sender), pub: cython.pointer(NetworkStruct),
                      receiver_id: int64_t) -> cython.void:
    index: int32_t = _find_receiver(pub, receiver_id)
    other: int32_t
    if index < 0:
        index = 0
        if pub.receiver_count < MAX_RECEIVERS:
            index = pub.receiver_count
            pub.receiver_count += 1
        else:
            for other in range(pub.receiver_count):
                if pub.receivers[other].last_ns < pub.receivers[index].last_ns:
                    index = other
        pub.receivers[index].receiver_id = receiver_id
    pillion_assert(pub.receiver_count <= MAX_RECEIVERS, b"the receivers fit their array")
    pub.receivers[index].last_ns = agent.context.now_ns
    store_release_i32(cython.address(pub.live_receivers), pub.receiver_count)
    # Somebody reads the stream, so an earlier end of another receiver says nothing any more.
    store_release_i32(cython.address(pub.end_confirmed), 0)


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def _drop_receiver(pub: cython.pointer(NetworkStruct), receiver_id: int64_t) -> cython.bint:
    index: int32_t = _find_receiver(pub, receiver_id)
    if index < 0:
        return False
    pillion_assert(index < pub.receiver_count, b"a receiver that goes was there")
    pub.receiver_count -= 1
    pub.receivers[index] = pub.receivers[pub.receiver_count]
    store_release_i32(cython.address(pub.live_receivers), pub.receiver_count)
    return True


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def _on_status_message(agent: cython.pointer(Sender), endpoint: cython.pointer(SendEndpointStruct),
                       sm: cython.pointer(StatusMessage)) -> cython.void:
    pub: cython.pointer(NetworkStruct) = _find(endpoint, sm.session_id, sm.stream_id)
    term_length: int64_t = MAX_TERM_LENGTH
    position: int64_t
    if pub != cython.NULL:
        term_length = pub.log.term_length
    if (sm.consumption_term_offset < 0 or sm.consumption_term_offset >= term_length or sm.consumption_term_offset % 32
            or sm.receiver_window < 0 or sm.receiver_window > term_length // 2):
        count_shared(cython.address(agent.context), INVALID_PACKETS, 1)
        return
    count(cython.address(agent.context), SMS_RECEIVED, 1)
    if pub == cython.NULL:
        return
    if sm.flags & SM_FLAG_SEND_SETUP:
        if not publication_at_end(pub):
            pub.setup_elicited = True
        return
    position = compute_position(sm.consumption_term_id, sm.consumption_term_offset, pub.log.position_bits,
                                pub.log.initial_term_id)
    if position < pub.sender_position - term_length // 2 or position > pub.sender_position + term_length // 2:
        count(cython.address(agent.context), SMS_REJECTED, 1)
        return
    if sm.flags & SM_FLAG_EOS:
        _drop_receiver(pub, sm.receiver_id)
        if pub.receiver_count == 0:
            store_release_i32(cython.address(pub.end_confirmed), 1)
    else:
        _refresh_receiver(agent, pub, sm.receiver_id)
    pub.has_initial_connection = True
    pub.receiver_window = sm.receiver_window
    # Unicast flow control: as far as any receiver ever allowed.
    if position + sm.receiver_window > pub.sender_limit:
        agent.context.traffic = True
        pub.sender_limit = position + sm.receiver_window
        store_release_i64(pub.snd_lmt, pub.sender_limit)
    publication_set_connected(pub, publication_has_subscribers(pub))
    publication_update_limit(pub)


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def _on_nak(agent: cython.pointer(Sender), endpoint: cython.pointer(SendEndpointStruct),
            nak: cython.pointer(NakFrame)) -> cython.void:
    pub: cython.pointer(NetworkStruct) = _find(endpoint, nak.session_id, nak.stream_id)
    if pub == cython.NULL:
        return
    term_length: int64_t = pub.log.term_length
    if (nak.term_offset < 0 or nak.term_offset >= term_length or nak.term_offset % 32 or nak.length < 0
            or cython.cast(int64_t, nak.term_offset) + nak.length > term_length):
        count_shared(cython.address(agent.context), INVALID_PACKETS, 1)
        return
    count(cython.address(agent.context), NAKS_RECEIVED, 1)
    bump(pub.snd_naks, 1)
    if nak.length > 0:
        publication_resend(agent, pub, nak.term_id, nak.term_offset, nak.length)


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def _on_error_frame(agent: cython.pointer(Sender), endpoint: cython.pointer(SendEndpointStruct),
                    frame: cython.pointer(ErrorFrame), source: cython.pointer(Address)) -> cython.void:
    if frame.error_length < 0 or frame.error_length > MAX_ERROR_TEXT_LENGTH or (
        ERR_HEADER_LENGTH + frame.error_length > frame.frame_length
    ):
        count_shared(cython.address(agent.context), INVALID_PACKETS, 1)
        return
    pub: cython.pointer(NetworkStruct) = _find(endpoint, frame.session_id, frame.stream_id)
    event: cython.pointer(Item)
    count(cython.address(agent.context), ERROR_FRAMES_RECEIVED, 1)
    if pub == cython.NULL or _find_receiver(pub, frame.receiver_id) < 0:
        return                                      # a stranger's, or reported already
    event = queue_claim(cython.address(agent.context.events))
    if event == cython.NULL:
        # The receiver stays, so that the repetition of this frame is reported.
        count_shared(cython.address(agent.context), CONDUCTOR_PROXY_FAILS, 1)
        return
    _drop_receiver(pub, frame.receiver_id)
    publication_set_connected(pub, publication_has_subscribers(pub))
    event.kind = EVENT_ERROR_FRAME
    event.target = pub
    event.flags = frame.flags
    event.numbers[0] = frame.receiver_id
    event.numbers[1] = frame.group_tag
    event.numbers[2] = frame.error_code
    event.source = source[0]
    event.text_length = frame.error_length
    memcpy(cython.address(event.text[0]), cython.cast(cython.pointer(uint8_t), frame) + ERR_HEADER_LENGTH,
           frame.error_length)
    queue_publish(cython.address(agent.context.events))


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def _on_rtt(agent: cython.pointer(Sender), endpoint: cython.pointer(SendEndpointStruct),
            frame: cython.pointer(RttFrame)) -> cython.void:
    if not frame.flags & RTTM_FLAG_REPLY or _find(endpoint, frame.session_id, frame.stream_id) == cython.NULL:
        return
    frame.flags = 0
    frame.frame_length = RTTM_LENGTH
    frame.reception_delta = 0
    if not send_one(endpoint.transport, frame, RTTM_LENGTH, endpoint.to):
        count_shared(cython.address(agent.context), SHORT_SENDS, 1)


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def _on_datagram(agent: cython.pointer(Sender), endpoint: cython.pointer(SendEndpointStruct),
                 data: cython.pointer(uint8_t),
                 length: int64_t, source: cython.pointer(Address)) -> cython.void:
    kind: cython.int
    if not is_valid_frame(data, length):
        count_shared(cython.address(agent.context), INVALID_PACKETS, 1)
        return
    kind = cython.cast(cython.pointer(FrameHeader), data).type
    if kind == TYPE_SM:
        _on_status_message(agent, endpoint, cython.cast(cython.pointer(StatusMessage), data))
    elif kind == TYPE_NAK:
        _on_nak(agent, endpoint, cython.cast(cython.pointer(NakFrame), data))
    elif kind == TYPE_ERR:
        _on_error_frame(agent, endpoint, cython.cast(cython.pointer(ErrorFrame), data), source)
    elif kind == TYPE_RTTM:
        _on_rtt(agent, endpoint, cython.cast(cython.pointer(RttFrame), data))


def poll_control(agent):
    """Take in one batch of every endpoint of the sender."""
    work: cython.int = 0
    index: int32_t
    item: cython.int
    arrivals: cython.int
    at: int32_t
    size: int32_t
    arrival: cython.pointer(Arrival)
    endpoint: cython.pointer(SendEndpointStruct)
    looked: cython.bint = look_at_sockets(cython.address(agent.context.sockets))
    for index in range(agent.endpoints.count):
        endpoint = cython.cast(cython.pointer(SendEndpointStruct), agent.endpoints.items[index])
        if looked and not is_readable(cython.address(agent.context.sockets), index):
            continue
        arrivals = endpoint.transport.receive(endpoint.transport, cython.address(agent.batch))
        for item in range(arrivals):
            arrival = cython.address(agent.batch.arrivals[item])
            at = 0
            while True:                             # also for an empty datagram, which is an invalid one
                size = min(arrival.segment_size, arrival.length - at)
                _on_datagram(agent, endpoint, arrival.data + at, size, arrival.source)
                at += size
                if at >= arrival.length or size <= 0:
                    break
        work += arrivals
        if endpoint.transport.error_count != endpoint.transport.reported_count:
            report_errors(cython.address(agent.context), endpoint, endpoint.transport)
    agent.sends_since_poll = 0
    agent.poll_deadline_ns = agent.context.now_ns + agent.poll_interval_ns
    return work
