"""Where the receiver's datagrams go: to the image they belong to, or to a question for a set-up.

A datagram is hostile until it was checked here; what fails is counted and dropped, and never answered. What strangers
can make an endpoint remember is bounded: `MAX_ELICITED` sessions that were asked for a set-up, `MAX_CREATING` images in
the making.
"""

import cython
from cython.cimports.libc.stdint import int32_t, int64_t, uint8_t
from cython.cimports.libc.stdlib import realloc
from cython.cimports.pillion.driver.context import (
    CONDUCTOR_PROXY_FAILS,
    EVENT_SETUP,
    HEARTBEATS_RECEIVED,
    INVALID_PACKETS,
    OVER_RUNS,
    UNDER_RUNS,
    count,
    count_shared,
)
from cython.cimports.pillion.driver.feedback import send_rtt_reply, send_status
from cython.cimports.pillion.driver.positions import list_remove
from cython.cimports.pillion.driver.queues import Item, queue_claim, queue_publish
from cython.cimports.pillion.driver.streams import (
    MAX_CREATING,
    MAX_ELICITED,
    SESSION_CREATING,
    SESSION_ELICITED,
    ImageStruct,
    Interest,
    ReceiveEndpointStruct,
    Session,
)
from cython.cimports.pillion.driver.udp.transport import Address
from cython.cimports.pillion.driver.validation import is_valid_frame
from cython.cimports.pillion.memory.assertions import pillion_assert
from cython.cimports.pillion.memory.atomics import store_release_i32, store_release_i64, store_release_u8
from cython.cimports.pillion.memory.log_buffer import compute_position, log_insert, wrap_subtract
from cython.cimports.pillion.protocol.frames import (
    DATA_HEADER_LENGTH,
    FLAG_EOS,
    FLAG_REVOKED,
    MAX_TERM_LENGTH,
    MAX_UDP_PAYLOAD_LENGTH,
    MIN_TERM_LENGTH,
    RTTM_FLAG_REPLY,
    SM_FLAG_SEND_SETUP,
    TYPE_DATA,
    TYPE_PAD,
    TYPE_RTTM,
    TYPE_SETUP,
    DataHeader,
    RttFrame,
    SetupFrame,
    align_frame,
)

if not cython.compiled:
    raise ImportError("pillion.driver.dispatcher must be compiled: run `pip install .`")

ELICIT_INTERVAL_NS = cython.declare(int64_t, 1_000_000_000)   # until an unanswered request for a set-up is repeated


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def _find(endpoint: cython.pointer(ReceiveEndpointStruct), session_id: int32_t,
          stream_id: int32_t) -> cython.pointer(ImageStruct):
    index: int32_t = endpoint.last_image
    image: cython.pointer(ImageStruct)
    if index < endpoint.images.count:
        image = cython.cast(cython.pointer(ImageStruct), endpoint.images.items[index])
        if image.session_id == session_id and image.stream_id == stream_id:
            return image
    for index in range(endpoint.images.count):
        image = cython.cast(cython.pointer(ImageStruct), endpoint.images.items[index])
        if image.session_id == session_id and image.stream_id == stream_id:
            endpoint.last_image = index
            return image
    return cython.NULL


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def _is_wanted(endpoint: cython.pointer(ReceiveEndpointStruct), session_id: int32_t, stream_id: int32_t) -> cython.bint:
    index: int32_t
    for index in range(endpoint.interest_count):
        if endpoint.interests[index].stream_id == stream_id and (
            endpoint.interests[index].any_session or endpoint.interests[index].session_id == session_id
        ):
            return True
    return False


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def _find_session(endpoint: cython.pointer(ReceiveEndpointStruct), session_id: int32_t,
                  stream_id: int32_t) -> cython.pointer(Session):
    index: int32_t
    for index in range(endpoint.session_count):
        if endpoint.sessions[index].session_id == session_id and endpoint.sessions[index].stream_id == stream_id:
            return cython.address(endpoint.sessions[index])
    return cython.NULL


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def _count_state(endpoint: cython.pointer(ReceiveEndpointStruct), state: int32_t, by: int32_t) -> cython.void:
    if state == SESSION_ELICITED:
        endpoint.elicited_count += by
    elif state == SESSION_CREATING:
        endpoint.creating_count += by
    pillion_assert(endpoint.elicited_count >= 0, b"sessions asked for a set-up are counted")
    pillion_assert(endpoint.creating_count >= 0, b"sessions whose image is being made are counted")
    pillion_assert(endpoint.elicited_count <= MAX_ELICITED, b"sessions asked for a set-up are bounded")
    pillion_assert(endpoint.creating_count <= MAX_CREATING, b"sessions whose image is being made are bounded")


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def _drop_session(endpoint: cython.pointer(ReceiveEndpointStruct), session: cython.pointer(Session)) -> cython.void:
    _count_state(endpoint, session.state, -1)
    pillion_assert(endpoint.session_count > 0, b"a session that goes was there")
    endpoint.session_count -= 1
    session[0] = endpoint.sessions[endpoint.session_count]


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def _drop_oldest_elicited(endpoint: cython.pointer(ReceiveEndpointStruct)) -> cython.void:
    index: int32_t
    oldest: cython.pointer(Session) = cython.NULL
    for index in range(endpoint.session_count):
        if endpoint.sessions[index].state == SESSION_ELICITED and (
            oldest == cython.NULL or endpoint.sessions[index].deadline_ns < oldest.deadline_ns
        ):
            oldest = cython.address(endpoint.sessions[index])
    if oldest != cython.NULL:
        _drop_session(endpoint, oldest)


def forget_session(endpoint, session_id, stream_id):
    session: cython.pointer(Session) = _find_session(endpoint, session_id, stream_id)
    if session != cython.NULL:
        _drop_session(endpoint, session)


def set_session(agent, endpoint, session_id, stream_id, state):
    """Remember the state of a session without an image. False if there is no room for it."""
    session: cython.pointer(Session) = _find_session(endpoint, session_id, stream_id)
    grown: cython.pointer(Session)
    capacity: int32_t
    if state == SESSION_ELICITED and endpoint.elicited_count >= MAX_ELICITED and (
        session == cython.NULL or session.state != SESSION_ELICITED
    ):
        # Sessions that never answer must not keep the honest out.
        _drop_oldest_elicited(endpoint)
        session = _find_session(endpoint, session_id, stream_id)
    if state == SESSION_CREATING and endpoint.creating_count >= MAX_CREATING:
        return False
    if session == cython.NULL:
        if endpoint.session_count == endpoint.session_capacity:
            capacity = endpoint.session_capacity * 2 + 16
            grown = cython.cast(cython.pointer(Session), realloc(endpoint.sessions, capacity * cython.sizeof(Session)))
            if grown == cython.NULL:
                return False
            endpoint.sessions = grown
            endpoint.session_capacity = capacity
        session = cython.address(endpoint.sessions[endpoint.session_count])
        endpoint.session_count += 1
        session.session_id = session_id
        session.stream_id = stream_id
    else:
        _count_state(endpoint, session.state, -1)
    session.state = state
    session.deadline_ns = agent.context.now_ns + ELICIT_INTERVAL_NS
    _count_state(endpoint, state, 1)
    return True


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def _on_setup(agent: cython.pointer(Receiver), endpoint: cython.pointer(ReceiveEndpointStruct),
              frame: cython.pointer(SetupFrame),
              source: cython.pointer(cython.const[Address])) -> cython.void:
    length: int64_t = frame.term_length
    image: cython.pointer(ImageStruct)
    session: cython.pointer(Session)
    event: cython.pointer(Item)
    if (length < MIN_TERM_LENGTH or length > MAX_TERM_LENGTH or length & (length - 1) or frame.term_offset < 0
            or frame.term_offset >= length or frame.term_offset % 32 or frame.mtu < 32
            or frame.mtu > MAX_UDP_PAYLOAD_LENGTH or frame.mtu % 32):
        count_shared(cython.address(agent.context), INVALID_PACKETS, 1)
        return
    image = _find(endpoint, frame.session_id, frame.stream_id)
    if image != cython.NULL:
        # The source is there, but a set-up does not keep an image alive.
        image.activity_ns = agent.context.now_ns
        return
    # Before its own first term there is no position to join at.
    if wrap_subtract(frame.active_term_id, frame.initial_term_id) < 0 or (
        not _is_wanted(endpoint, frame.session_id, frame.stream_id)
    ):
        return
    session = _find_session(endpoint, frame.session_id, frame.stream_id)
    if session != cython.NULL and session.state != SESSION_ELICITED:
        return                                      # being made already, or cooling down
    event = queue_claim(cython.address(agent.context.events))
    if event == cython.NULL:
        count_shared(cython.address(agent.context), CONDUCTOR_PROXY_FAILS, 1)
        return                                      # the next set-up tries again
    if not set_session(agent, endpoint, frame.session_id, frame.stream_id, SESSION_CREATING):
        return
    event.kind = EVENT_SETUP
    event.target = endpoint
    event.flags = frame.flags
    event.numbers[0] = frame.stream_id
    event.numbers[1] = frame.session_id
    event.numbers[2] = frame.initial_term_id
    event.numbers[3] = frame.active_term_id
    event.numbers[4] = frame.term_offset
    event.numbers[5] = frame.term_length
    event.numbers[6] = frame.mtu
    event.numbers[7] = frame.ttl
    event.source = source[0]
    queue_publish(cython.address(agent.context.events))


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def _on_unknown(agent: cython.pointer(Receiver), endpoint: cython.pointer(ReceiveEndpointStruct),
                frame: cython.pointer(DataHeader), source: cython.pointer(cython.const[Address])) -> cython.void:
    """Data of a stream we want but do not have yet: ask its sender for a set-up, once a second at most."""
    session: cython.pointer(Session)
    if frame.flags & FLAG_EOS or not _is_wanted(endpoint, frame.session_id, frame.stream_id):
        return
    session = _find_session(endpoint, frame.session_id, frame.stream_id)
    if session != cython.NULL and (session.state != SESSION_ELICITED or agent.context.now_ns <= session.deadline_ns):
        return
    if set_session(agent, endpoint, frame.session_id, frame.stream_id, SESSION_ELICITED):
        send_status(agent, endpoint, frame.session_id, frame.stream_id, 0, 0, 0, SM_FLAG_SEND_SETUP, source)


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def _covered(data: cython.pointer(uint8_t), length: int64_t, term_length: int64_t) -> int64_t:
    """The stretch of the term that a run of frames covers, -1 if the datagram is not one."""
    offset: int64_t = 0
    expected: int64_t = cython.cast(cython.pointer(DataHeader), data).term_offset
    last_type: cython.int = -1
    frame: cython.pointer(DataHeader)
    aligned: int64_t
    while offset <= length - DATA_HEADER_LENGTH:
        frame = cython.cast(cython.pointer(DataHeader), data + offset)
        if (frame.frame_length <= 0 or (frame.type != TYPE_PAD and frame.type != TYPE_DATA)
                or frame.term_offset != expected):
            return -1
        last_type = frame.type
        aligned = align_frame(frame.frame_length)
        expected += aligned
        if expected > term_length:
            return -1
        offset += aligned
    # Only padding may be longer than the datagram: it travels as a bare header.
    if offset == length or (offset > length and last_type == TYPE_PAD):
        return offset
    return -1


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def _on_heartbeat(agent: cython.pointer(Receiver), image: cython.pointer(ImageStruct),
                  frame: cython.pointer(DataHeader),
                  position: int64_t) -> cython.void:
    count(cython.address(agent.context), HEARTBEATS_RECEIVED, 1)
    if not frame.flags & FLAG_EOS or image.eos_state != 0:
        return
    if frame.flags & FLAG_REVOKED:
        store_release_u8(cython.address(image.log.metadata.is_publication_revoked), 1)
    # Release, the state last: who sees the end sees where it is.
    store_release_i64(cython.address(image.log.metadata.end_of_stream_position), position)
    store_release_i32(cython.address(image.eos_state), 2 if frame.flags & FLAG_REVOKED else 1)


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def _insert(agent: cython.pointer(Receiver), image: cython.pointer(ImageStruct), data: cython.pointer(uint8_t),
            length: int64_t) -> cython.void:
    frame: cython.pointer(DataHeader) = cython.cast(cython.pointer(DataHeader), data)
    term_length: int64_t = image.log.term_length
    heartbeat: cython.bint = length == DATA_HEADER_LENGTH and frame.frame_length == 0
    covered: int64_t = 0
    position: int64_t
    proposed: int64_t
    if wrap_subtract(frame.term_id, image.log.initial_term_id) < 0 or image.rejected:
        return
    if frame.term_offset < 0 or frame.term_offset >= term_length or frame.term_offset % 32:
        covered = -1
    elif not heartbeat:
        covered = _covered(data, length, term_length)
    if covered < 0:
        count_shared(cython.address(agent.context), INVALID_PACKETS, 1)
        return
    position = compute_position(frame.term_id, frame.term_offset, image.log.position_bits, image.log.initial_term_id)
    proposed = position + covered
    if proposed > image.next_sm_position + term_length // 2:
        count(cython.address(agent.context), OVER_RUNS, 1)
        return
    if heartbeat:
        if position < max(0, image.next_sm_position - term_length):
            count(cython.address(agent.context), UNDER_RUNS, 1)
            return
        _on_heartbeat(agent, image, frame, position)
    elif position < image.next_sm_position:
        count(cython.address(agent.context), UNDER_RUNS, 1)
        if proposed >= image.next_sm_position - image.window:
            image.activity_ns = agent.context.now_ns
        return
    else:
        pillion_assert(proposed - 3 * term_length <= image.clean_position, b"data goes where it was zeroed")
        agent.context.traffic = True
        log_insert(image.log, frame.term_id, frame.term_offset, data, cython.cast(int32_t, min(length, covered)))
    image.activity_ns = agent.context.now_ns
    store_release_i64(cython.address(image.last_packet_ns), agent.context.now_ns)
    if proposed > image.hwm_position:
        store_release_i64(cython.address(image.hwm_position), proposed)
        store_release_i64(image.rcv_hwm, proposed)


def dispatch(agent, endpoint, data, length, source):
    """One datagram of an endpoint."""
    frame: cython.pointer(DataHeader) = cython.cast(cython.pointer(DataHeader), data)
    image: cython.pointer(ImageStruct)
    rtt: cython.pointer(RttFrame)
    if not is_valid_frame(data, length):
        count_shared(cython.address(agent.context), INVALID_PACKETS, 1)
    elif frame.type == TYPE_DATA or frame.type == TYPE_PAD:
        image = _find(endpoint, frame.session_id, frame.stream_id)
        if image != cython.NULL:
            _insert(agent, image, data, length)
        else:
            _on_unknown(agent, endpoint, frame, source)
    elif frame.type == TYPE_SETUP:
        _on_setup(agent, endpoint, cython.cast(cython.pointer(SetupFrame), data), source)
    elif frame.type == TYPE_RTTM:
        rtt = cython.cast(cython.pointer(RttFrame), data)
        if rtt.flags & RTTM_FLAG_REPLY and (rtt.receiver_id == endpoint.receiver_id or rtt.receiver_id == 0) and (
            _find(endpoint, rtt.session_id, rtt.stream_id) != cython.NULL
        ):
            send_rtt_reply(agent, endpoint, data, source)


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def _add_interest(endpoint: cython.pointer(ReceiveEndpointStruct), stream_id: int32_t, session_id: int32_t,
                  any_session: cython.bint) -> cython.bint:
    grown: cython.pointer(Interest)
    capacity: int32_t
    if endpoint.interest_count == endpoint.interest_capacity:
        capacity = endpoint.interest_capacity * 2 + 8
        grown = cython.cast(cython.pointer(Interest), realloc(endpoint.interests, capacity * cython.sizeof(Interest)))
        if grown == cython.NULL:
            return False
        endpoint.interests = grown
        endpoint.interest_capacity = capacity
    endpoint.interests[endpoint.interest_count].stream_id = stream_id
    endpoint.interests[endpoint.interest_count].session_id = session_id
    endpoint.interests[endpoint.interest_count].any_session = any_session
    endpoint.interests[endpoint.interest_count].references = 1
    endpoint.interest_count += 1
    return True


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def _drop_unwanted_images(endpoint: cython.pointer(ReceiveEndpointStruct), stream_id: int32_t) -> cython.void:
    # They drain on without data, so that a new subscription gets a new image at once.
    index: int32_t = 0
    image: cython.pointer(ImageStruct)
    while index < endpoint.images.count:
        image = cython.cast(cython.pointer(ImageStruct), endpoint.images.items[index])
        if image.stream_id == stream_id and not _is_wanted(endpoint, image.session_id, stream_id):
            list_remove(cython.address(endpoint.images), image)
        else:
            index += 1


def change_interest(endpoint, stream_id, session_id, any_session, by):
    """One subscription more or less. False if there is no memory."""
    index: int32_t
    found: cython.pointer(Interest) = cython.NULL
    for index in range(endpoint.interest_count):
        if endpoint.interests[index].stream_id == stream_id and (
            endpoint.interests[index].any_session == any_session) and (
            any_session or endpoint.interests[index].session_id == session_id
        ):
            found = cython.address(endpoint.interests[index])
            break
    if found == cython.NULL:
        if by > 0 and not _add_interest(endpoint, stream_id, session_id, any_session):
            return False
    else:
        pillion_assert(found.references > 0, b"interest that is kept has a subscription")
        found.references += by
        if found.references <= 0:
            endpoint.interest_count -= 1
            found[0] = endpoint.interests[endpoint.interest_count]
            _drop_unwanted_images(endpoint, stream_id)
    # Another set of subscriptions, another chance for sessions that were turned away.
    index = 0
    while index < endpoint.session_count:
        if endpoint.sessions[index].stream_id == stream_id and endpoint.sessions[index].state != SESSION_CREATING:
            _drop_session(endpoint, cython.address(endpoint.sessions[index]))
        else:
            index += 1
    return True
