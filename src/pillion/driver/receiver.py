"""The receiver: owns images. Takes datagrams in, finds what is lost, asks for it, tells the sender how far it may go.

One cycle: commands of the conductor, datagrams of every endpoint, then each image: rebuild position, loss, status
message. A datagram is hostile until it was checked here; what fails is counted and dropped.
"""

import cython
from cython.cimports.libc.stdint import int32_t, int64_t, uint8_t
from cython.cimports.libc.string import memcpy, memset
from cython.cimports.pillion.driver.context import (
    BYTES_RECEIVED,
    COMMAND_ADD_ENDPOINT,
    COMMAND_ADD_INTEREST,
    COMMAND_ADD_STREAM,
    COMMAND_ADD_SUBSCRIBER,
    COMMAND_REMOVE_ENDPOINT,
    COMMAND_REMOVE_INTEREST,
    COMMAND_REMOVE_STREAM,
    COMMAND_REMOVE_SUBSCRIBER,
    COMMAND_SETUP_REFUSED,
    CONDUCTOR_PROXY_FAILS,
    ERROR_FRAMES_SENT,
    EVENT_FIRST_LOSS,
    EVENT_RELEASED,
    EVENT_SETUP,
    HEARTBEATS_RECEIVED,
    INVALID_PACKETS,
    LOSS_GAP_FILLS,
    NAKS_SENT,
    OVER_RUNS,
    SHORT_SENDS,
    SMS_SENT,
    UNDER_RUNS,
    AgentContext,
    count,
)
from cython.cimports.pillion.driver.queues import Item, queue_claim, queue_peek, queue_publish, queue_release
from cython.cimports.pillion.driver.stream_conductor import positions_add, positions_min, positions_remove
from cython.cimports.pillion.driver.streams import (
    MAX_IMAGES,
    MAX_INTERESTS,
    MAX_PENDING,
    ImageStruct,
    Interest,
    Pending,
    ReceiveEndpointStruct,
)
from cython.cimports.pillion.driver.udp.transport import Address, Datagram, transport_receive, transport_send_one
from cython.cimports.pillion.memory.atomics import (
    load_acquire_i32,
    load_acquire_i64,
    store_release_i32,
    store_release_i64,
    store_release_u8,
    xadd_i64,
)
from cython.cimports.pillion.memory.log_buffer import (
    compute_position,
    log_clean,
    log_fill_gap,
    log_find_contiguous,
    log_find_gap,
    log_insert,
    term_id_of_position,
    wrap_subtract,
)
from cython.cimports.pillion.memory.loss_report import loss_observe
from cython.cimports.pillion.protocol.frames import (
    DATA_HEADER_LENGTH,
    ERR_FLAG_GROUP_TAG,
    ERR_HEADER_LENGTH,
    FLAG_EOS,
    FLAG_REVOKED,
    MAX_TERM_LENGTH,
    MAX_UDP_PAYLOAD_LENGTH,
    MIN_TERM_LENGTH,
    NAK_LENGTH,
    RSP_SETUP_LENGTH,
    RTTM_LENGTH,
    SETUP_LENGTH,
    SM_FLAG_EOS,
    SM_FLAG_SEND_SETUP,
    SM_LENGTH,
    SM_LENGTH_WITH_GROUP_TAG,
    TYPE_DATA,
    TYPE_ERR,
    TYPE_NAK,
    TYPE_PAD,
    TYPE_RSP_SETUP,
    TYPE_RTTM,
    TYPE_SETUP,
    TYPE_SM,
    DataHeader,
    ErrorFrame,
    FrameHeader,
    NakFrame,
    SetupFrame,
    StatusMessage,
    align_frame,
)

if not cython.compiled:
    raise ImportError("pillion.driver.receiver must be compiled: run `pip install .`")

PENDING_NS = cython.declare(int64_t, 1_000_000_000)           # until an unanswered request for a set-up is repeated
ERROR_INTERVAL_NS = cython.declare(int64_t, 100_000_000)      # between two error frames to one source
IMAGE_REJECTED = cython.declare(int32_t, 13)


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def _send(agent: cython.pointer(Receiver), endpoint: cython.pointer(ReceiveEndpointStruct), frame: cython.p_void,
          length: cython.size_t, to: cython.pointer(Address)) -> cython.bint:
    if transport_send_one(endpoint.transport, frame, length, to):
        return True
    count(cython.address(agent.context), SHORT_SENDS, 1)
    return False


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def _send_status(agent: cython.pointer(Receiver), endpoint: cython.pointer(ReceiveEndpointStruct), session_id: int32_t,
                 stream_id: int32_t, term_id: int32_t, term_offset: int32_t, window: int32_t, flags: uint8_t,
                 to: cython.pointer(Address)) -> cython.void:
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
    if _send(agent, endpoint, cython.address(frame), frame.frame_length, to):
        count(cython.address(agent.context), SMS_SENT, 1)


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def _find(endpoint: cython.pointer(ReceiveEndpointStruct), session_id: int32_t, stream_id: int32_t) -> cython.pointer(ImageStruct):
    index: int32_t
    image: cython.pointer(ImageStruct)
    for index in range(endpoint.image_count):
        image = cython.cast(cython.pointer(ImageStruct), endpoint.images[index])
        if image.session_id == session_id and image.stream_id == stream_id:
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
def _find_pending(endpoint: cython.pointer(ReceiveEndpointStruct), session_id: int32_t, stream_id: int32_t) -> int32_t:
    index: int32_t
    for index in range(endpoint.pending_count):
        if endpoint.pending[index].session_id == session_id and endpoint.pending[index].stream_id == stream_id:
            return index
    return -1


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def _set_pending(agent: cython.pointer(Receiver), endpoint: cython.pointer(ReceiveEndpointStruct), session_id: int32_t,
                 stream_id: int32_t, deadline_ns: int64_t) -> cython.bint:
    index: int32_t = _find_pending(endpoint, session_id, stream_id)
    if index < 0:
        index = 0
        # Full of sessions that never answered: the expired ones make room, others keep strangers out.
        while endpoint.pending_count == MAX_PENDING and index < endpoint.pending_count:
            if 0 < endpoint.pending[index].deadline_ns < agent.context.now_ns:
                _drop_pending(endpoint, index)
            else:
                index += 1
        if endpoint.pending_count == MAX_PENDING:
            return False
        index = endpoint.pending_count
        endpoint.pending_count += 1
    endpoint.pending[index].session_id = session_id
    endpoint.pending[index].stream_id = stream_id
    endpoint.pending[index].deadline_ns = deadline_ns
    return True


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def _drop_pending(endpoint: cython.pointer(ReceiveEndpointStruct), index: int32_t) -> cython.void:
    if index >= 0:
        endpoint.pending_count -= 1
        endpoint.pending[index] = endpoint.pending[endpoint.pending_count]


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def _on_setup(agent: cython.pointer(Receiver), endpoint: cython.pointer(ReceiveEndpointStruct), datagram: cython.pointer(Datagram)) -> cython.void:
    frame: cython.pointer(SetupFrame) = cython.cast(cython.pointer(SetupFrame), datagram.data)
    length: int64_t = frame.term_length
    if (length < MIN_TERM_LENGTH or length > MAX_TERM_LENGTH or length & (length - 1) or frame.term_offset < 0
            or frame.term_offset >= length or frame.term_offset % 32 or frame.mtu < 32
            or frame.mtu > MAX_UDP_PAYLOAD_LENGTH or frame.mtu % 32
            or wrap_subtract(frame.active_term_id, frame.initial_term_id) < 0):
        count(cython.address(agent.context), INVALID_PACKETS, 1)
        return
    image: cython.pointer(ImageStruct) = _find(endpoint, frame.session_id, frame.stream_id)
    if image != cython.NULL:
        image.last_packet_ns = agent.context.now_ns
        return
    if not _is_wanted(endpoint, frame.session_id, frame.stream_id):
        return
    pending: int32_t = _find_pending(endpoint, frame.session_id, frame.stream_id)
    if pending >= 0 and endpoint.pending[pending].deadline_ns <= 0:
        return                                      # being made already, or cooling down
    if endpoint.image_count >= MAX_IMAGES or agent.count >= MAX_RECEIVED_STREAMS:
        return
    event: cython.pointer(Item) = queue_claim(cython.address(agent.context.events))
    if event == cython.NULL:
        count(cython.address(agent.context), CONDUCTOR_PROXY_FAILS, 1)
        return
    if not _set_pending(agent, endpoint, frame.session_id, frame.stream_id, 0):
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
    event.source = datagram.source[0]
    queue_publish(cython.address(agent.context.events))


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def _walk_frames(datagram: cython.pointer(Datagram), term_length: int32_t) -> int32_t:
    """The stretch of the term a run of frames covers, -1 if the datagram is not one."""
    offset: int64_t = 0
    expected: int64_t = cython.cast(cython.pointer(DataHeader), datagram.data).term_offset
    last_type: cython.int = -1
    frame: cython.pointer(DataHeader)
    aligned: int64_t
    while offset <= datagram.length - DATA_HEADER_LENGTH:
        frame = cython.cast(cython.pointer(DataHeader), datagram.data + offset)
        if frame.frame_length <= 0:
            break
        last_type = frame.type
        if last_type != TYPE_PAD and last_type != TYPE_DATA:
            break
        if frame.term_offset != expected:
            break
        aligned = align_frame(frame.frame_length)
        expected += aligned
        if expected > term_length:
            break
        offset += aligned
        if last_type == TYPE_PAD:
            break
    if offset == datagram.length or (offset > datagram.length and last_type == TYPE_PAD):
        return cython.cast(int32_t, offset)
    return -1


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def _on_heartbeat(agent: cython.pointer(Receiver), image: cython.pointer(ImageStruct), frame: cython.pointer(DataHeader),
                  position: int64_t) -> cython.void:
    count(cython.address(agent.context), HEARTBEATS_RECEIVED, 1)
    if frame.flags & FLAG_EOS and image.eos_state == 0:
        image.eos_position = position
        if frame.flags & FLAG_REVOKED:
            store_release_u8(cython.address(image.log.metadata.is_publication_revoked), 1)
        store_release_i64(cython.address(image.log.metadata.end_of_stream_position), position)
        store_release_i32(cython.address(image.eos_state), 2 if frame.flags & FLAG_REVOKED else 1)


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def _on_data(agent: cython.pointer(Receiver), endpoint: cython.pointer(ReceiveEndpointStruct), datagram: cython.pointer(Datagram)) -> cython.void:
    frame: cython.pointer(DataHeader) = cython.cast(cython.pointer(DataHeader), datagram.data)
    image: cython.pointer(ImageStruct) = _find(endpoint, frame.session_id, frame.stream_id)
    if image == cython.NULL:
        _on_unknown(agent, endpoint, frame, datagram.source)
        return
    if wrap_subtract(frame.term_id, image.log.initial_term_id) < 0 or image.rejected:
        return
    term_length: int64_t = image.log.term_length
    if frame.term_offset < 0 or frame.term_offset >= term_length or frame.term_offset % 32:
        count(cython.address(agent.context), INVALID_PACKETS, 1)
        return
    heartbeat: cython.bint = datagram.length == DATA_HEADER_LENGTH and frame.frame_length == 0
    length: int32_t = 0
    if not heartbeat:
        length = _walk_frames(datagram, image.log.term_length)
        if length < 0:
            count(cython.address(agent.context), INVALID_PACKETS, 1)
            return
    position: int64_t = compute_position(frame.term_id, frame.term_offset, image.log.position_bits, image.log.initial_term_id)
    proposed: int64_t = position + length
    if proposed > image.next_sm_position + term_length // 2:
        count(cython.address(agent.context), OVER_RUNS, 1)
        return
    if heartbeat:
        if position < image.next_sm_position - term_length:
            count(cython.address(agent.context), UNDER_RUNS, 1)
            return
        _on_heartbeat(agent, image, frame, position)
    elif position < image.next_sm_position:
        count(cython.address(agent.context), UNDER_RUNS, 1)
        if proposed >= image.next_sm_position - image.window:
            store_release_i64(cython.address(image.last_packet_ns), agent.context.now_ns)
        return
    else:
        log_insert(image.log, frame.term_id, frame.term_offset, datagram.data,
                   datagram.length if datagram.length < length else length)
    store_release_i64(cython.address(image.last_packet_ns), agent.context.now_ns)
    if proposed > image.hwm_position:
        image.hwm_position = proposed
        store_release_i64(image.rcv_hwm, proposed)


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def _on_unknown(agent: cython.pointer(Receiver), endpoint: cython.pointer(ReceiveEndpointStruct),
                frame: cython.pointer(DataHeader), source: cython.pointer(Address)) -> cython.void:
    """Data of a stream we want but do not have yet: ask its sender for a set-up, once a second at most."""
    if frame.flags & FLAG_EOS or not _is_wanted(endpoint, frame.session_id, frame.stream_id):
        return
    pending: int32_t = _find_pending(endpoint, frame.session_id, frame.stream_id)
    if pending >= 0 and (endpoint.pending[pending].deadline_ns <= 0 or endpoint.pending[pending].deadline_ns > agent.context.now_ns):
        return
    if _set_pending(agent, endpoint, frame.session_id, frame.stream_id, agent.context.now_ns + PENDING_NS):
        _send_status(agent, endpoint, frame.session_id, frame.stream_id, 0, 0, 0, SM_FLAG_SEND_SETUP, source)


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def _on_datagram(agent: cython.pointer(Receiver), endpoint: cython.pointer(ReceiveEndpointStruct), datagram: cython.pointer(Datagram)) -> cython.void:
    frame: cython.pointer(FrameHeader) = cython.cast(cython.pointer(FrameHeader), datagram.data)
    length: int32_t = datagram.length
    if length < 8 or frame.frame_length < 0 or frame.version != 0:
        count(cython.address(agent.context), INVALID_PACKETS, 1)
    elif frame.type == TYPE_DATA or frame.type == TYPE_PAD:
        if length < DATA_HEADER_LENGTH or length % 32:
            count(cython.address(agent.context), INVALID_PACKETS, 1)
        else:
            _on_data(agent, endpoint, datagram)
    elif frame.type == TYPE_SETUP and length >= SETUP_LENGTH and frame.frame_length <= length:
        _on_setup(agent, endpoint, datagram)
    elif frame.frame_length <= length and (
        (frame.type == TYPE_NAK and length >= NAK_LENGTH) or (frame.type == TYPE_SM and length >= SM_LENGTH)
        or (frame.type == TYPE_ERR and length >= ERR_HEADER_LENGTH) or (frame.type == TYPE_RTTM and length >= RTTM_LENGTH)
        or (frame.type == TYPE_RSP_SETUP and length >= RSP_SETUP_LENGTH)
    ):
        pass                                        # valid frames that are not for a receiver
    else:
        count(cython.address(agent.context), INVALID_PACKETS, 1)


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def _report_loss(agent: cython.pointer(Receiver), image: cython.pointer(ImageStruct), position: int64_t, length: int32_t) -> cython.void:
    """Count a new hole in the loss report; the first one asks the conductor for an entry."""
    event: cython.pointer(Item)
    end: int64_t = position + length
    new: int64_t = length if position >= image.reported_gap else end - image.reported_gap
    if new <= 0:
        return
    image.reported_gap = end
    if image.loss_entry != cython.NULL:
        loss_observe(image.loss_entry, new + image.unreported_loss, agent.context.now_ms)
        image.unreported_loss = 0
        return
    if image.unreported_loss == 0:
        event = queue_claim(cython.address(agent.context.events))
        if event == cython.NULL:
            return
        event.kind = EVENT_FIRST_LOSS
        event.target = image
        event.numbers[0] = new
        queue_publish(cython.address(agent.context.events))
        image.unreported_loss = -1                  # asked; what comes until the answer is added then
        return
    image.unreported_loss = (0 if image.unreported_loss < 0 else image.unreported_loss) + new


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def _send_nak(agent: cython.pointer(Receiver), image: cython.pointer(ImageStruct)) -> cython.void:
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
        xadd_i64(image.rcv_naks, 1)


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def _detect_loss(agent: cython.pointer(Receiver), image: cython.pointer(ImageStruct)) -> cython.int:
    now_ns: int64_t = agent.context.now_ns
    position: int64_t = image.rebuild_position
    length: int32_t
    if position >= image.hwm_position or image.eos_state == 2:
        image.gap_position = -1
        return 0
    length = log_find_gap(image.log, position, image.hwm_position)
    if length <= 0:
        return 0
    if position != image.gap_position or length != image.gap_length:
        image.gap_position = position
        image.gap_length = length
        image.gap_deadline_ns = now_ns + image.nak_delay_ns
        _report_loss(agent, image, position, length)
        if not image.reliable:
            if log_fill_gap(image.log, term_id_of_position(position, image.log.position_bits, image.log.initial_term_id),
                            cython.cast(int32_t, position & (image.log.term_length - 1)), length):
                count(cython.address(agent.context), LOSS_GAP_FILLS, 1)
            image.gap_position = -1
            return 1
    if image.reliable and now_ns >= image.gap_deadline_ns:
        _send_nak(agent, image)
        image.gap_deadline_ns = now_ns + image.nak_retry_ns
        return 1
    return 0


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def _flow_control(agent: cython.pointer(Receiver), image: cython.pointer(ImageStruct)) -> cython.int:
    """Schedule and send status messages as the consumers move on; zero what everybody has read."""
    now_ns: int64_t = agent.context.now_ns
    smallest: int64_t = 0
    largest: int64_t = 0
    mode: int32_t = load_acquire_i32(cython.address(image.mode))
    if positions_min(cython.address(image.subscribers), cython.address(smallest), cython.address(largest)):
        if smallest > image.rebuild_position:
            smallest = image.rebuild_position       # a position nobody can have reached honestly
        if smallest > image.next_sm_position + image.window // 4:
            image.next_sm_position = smallest
            image.sm_due = True
            while image.clean_position < smallest - image.log.term_length:
                image.clean_position = log_clean(image.log, image.clean_position, smallest - image.log.term_length)
    if mode == 2:
        return 0
    if not image.sm_due and now_ns - image.last_sm_ns < image.sm_timeout_ns:
        return 0
    image.sm_due = False
    image.last_sm_ns = now_ns
    _send_status(agent, image.endpoint, image.session_id, image.stream_id,
                 term_id_of_position(image.next_sm_position, image.log.position_bits, image.log.initial_term_id),
                 cython.cast(int32_t, image.next_sm_position & (image.log.term_length - 1)), image.window,
                 SM_FLAG_EOS if mode == 1 else 0, cython.address(image.source))
    return 1


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def _send_rejection(agent: cython.pointer(Receiver), image: cython.pointer(ImageStruct)) -> cython.void:
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
    memcpy(cython.address(raw[0]) + ERR_HEADER_LENGTH, image.error_text, image.error_length)
    image.last_error_ns = agent.context.now_ns
    if _send(agent, image.endpoint, frame, frame.frame_length, cython.address(image.source)):
        count(cython.address(agent.context), ERROR_FRAMES_SENT, 1)


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def _serve(agent: cython.pointer(Receiver), image: cython.pointer(ImageStruct)) -> cython.int:
    position: int64_t
    if load_acquire_i32(cython.address(image.rejected)):
        if agent.context.now_ns - image.last_error_ns > ERROR_INTERVAL_NS:
            _send_rejection(agent, image)
            return 1
        return 0
    if image.rebuild_position < image.hwm_position:
        position = log_find_contiguous(image.log, image.rebuild_position, image.hwm_position)
        if position != image.rebuild_position:
            image.rebuild_position = position
            store_release_i64(image.rcv_pos, position)
    return _detect_loss(agent, image) + _flow_control(agent, image)


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def _release(agent: cython.pointer(Receiver), target: cython.p_void) -> cython.bint:
    event: cython.pointer(Item) = queue_claim(cython.address(agent.context.events))
    if event == cython.NULL:
        return False
    event.kind = EVENT_RELEASED
    event.target = target
    queue_publish(cython.address(agent.context.events))
    return True


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def _change_interest(endpoint: cython.pointer(ReceiveEndpointStruct), stream_id: int32_t, session_id: int32_t,
                     any_session: cython.bint, by: int32_t) -> cython.void:
    index: int32_t
    interest: cython.pointer(Interest)
    for index in range(endpoint.interest_count):
        interest = cython.address(endpoint.interests[index])
        if interest.stream_id == stream_id and interest.any_session == any_session and (any_session or interest.session_id == session_id):
            interest.references += by
            if interest.references <= 0:
                endpoint.interest_count -= 1
                endpoint.interests[index] = endpoint.interests[endpoint.interest_count]
            break
    else:
        if by > 0 and endpoint.interest_count < MAX_INTERESTS:
            interest = cython.address(endpoint.interests[endpoint.interest_count])
            interest.stream_id = stream_id
            interest.session_id = session_id
            interest.any_session = any_session
            interest.references = by
            endpoint.interest_count += 1
    # Another set of subscriptions, another chance for sessions that were turned away.
    index = 0
    while index < endpoint.pending_count:
        if endpoint.pending[index].stream_id == stream_id and endpoint.pending[index].deadline_ns != 0:
            _drop_pending(endpoint, index)
        else:
            index += 1


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def _remove_image(agent: cython.pointer(Receiver), image: cython.pointer(ImageStruct), cool_down: int64_t) -> cython.void:
    index: int32_t
    endpoint: cython.pointer(ReceiveEndpointStruct) = image.endpoint
    for index in range(agent.count):
        if agent.images[index] == image:
            agent.count -= 1
            agent.images[index] = agent.images[agent.count]
            break
    for index in range(endpoint.image_count):
        if endpoint.images[index] == image:
            endpoint.image_count -= 1
            endpoint.images[index] = endpoint.images[endpoint.image_count]
            break
    if cool_down:
        _set_pending(agent, endpoint, image.session_id, image.stream_id, -1)


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def _handle_commands(agent: cython.pointer(Receiver)) -> cython.int:
    work: cython.int = 0
    index: int32_t
    item: cython.pointer(Item)
    image: cython.pointer(ImageStruct)
    endpoint: cython.pointer(ReceiveEndpointStruct)
    while True:
        item = queue_peek(cython.address(agent.context.commands))
        if item == cython.NULL:
            return work
        image = cython.cast(cython.pointer(ImageStruct), item.target)
        endpoint = cython.cast(cython.pointer(ReceiveEndpointStruct), item.target)
        if item.kind == COMMAND_ADD_STREAM:
            _drop_pending(image.endpoint, _find_pending(image.endpoint, image.session_id, image.stream_id))
            if agent.count < MAX_RECEIVED_STREAMS and image.endpoint.image_count < MAX_IMAGES:
                agent.images[agent.count] = image
                agent.count += 1
                image.endpoint.images[image.endpoint.image_count] = image
                image.endpoint.image_count += 1
        elif item.kind == COMMAND_REMOVE_STREAM:
            if not _release(agent, image):
                return work
            _remove_image(agent, image, item.numbers[0])
        elif item.kind == COMMAND_ADD_ENDPOINT:
            if agent.endpoint_count < MAX_RECEIVE_ENDPOINTS:
                agent.endpoints[agent.endpoint_count] = endpoint
                agent.endpoint_count += 1
        elif item.kind == COMMAND_REMOVE_ENDPOINT:
            if not _release(agent, endpoint):
                return work
            for index in range(agent.endpoint_count):
                if agent.endpoints[index] == endpoint:
                    agent.endpoint_count -= 1
                    agent.endpoints[index] = agent.endpoints[agent.endpoint_count]
                    break
        elif item.kind == COMMAND_ADD_INTEREST:
            _change_interest(endpoint, cython.cast(int32_t, item.numbers[0]), cython.cast(int32_t, item.numbers[1]), item.flags, 1)
        elif item.kind == COMMAND_REMOVE_INTEREST:
            _change_interest(endpoint, cython.cast(int32_t, item.numbers[0]), cython.cast(int32_t, item.numbers[1]), item.flags, -1)
        elif item.kind == COMMAND_SETUP_REFUSED:
            _set_pending(agent, endpoint, cython.cast(int32_t, item.numbers[1]), cython.cast(int32_t, item.numbers[0]),
                         agent.context.now_ns + PENDING_NS)
        elif item.kind == COMMAND_ADD_SUBSCRIBER:
            positions_add(cython.address(image.subscribers), cython.cast(cython.pointer(int64_t), item.other))
        elif item.kind == COMMAND_REMOVE_SUBSCRIBER:
            positions_remove(cython.address(image.subscribers), cython.cast(cython.pointer(int64_t), item.other))
        queue_release(cython.address(agent.context.commands))
        work += 1


def receiver_do_work(agent):
    work: cython.int = _handle_commands(agent)
    index: int32_t
    item: cython.int
    received: cython.int
    received_bytes: int64_t = 0
    for index in range(agent.endpoint_count):
        received = transport_receive(agent.endpoints[index].transport, cython.address(agent.batch),
                                     cython.address(received_bytes))
        for item in range(received):
            _on_datagram(agent, agent.endpoints[index], cython.address(agent.batch.datagrams[item]))
        work += received
    if received_bytes:
        count(cython.address(agent.context), BYTES_RECEIVED, received_bytes)
    for index in range(agent.count):
        work += _serve(agent, agent.images[index])
    return work
