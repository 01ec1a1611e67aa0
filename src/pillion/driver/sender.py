"""The sender: owns network publications. Sends what flow control allows, set-ups, heartbeats and retransmissions.

One cycle: commands of the conductor, then data of every publication in turn, then what receivers sent back (status
messages, NAKs, errors). Frames go out straight from the term they were written to.
"""

import cython
from cython.cimports.libc.stdint import int32_t, int64_t, uint8_t
from cython.cimports.libc.string import memcpy, memset
from cython.cimports.pillion.driver.context import (
    BYTES_RECEIVED,
    BYTES_SENT,
    COMMAND_ADD_ENDPOINT,
    COMMAND_ADD_STREAM,
    COMMAND_ADD_SUBSCRIBER,
    COMMAND_REMOVE_ENDPOINT,
    COMMAND_REMOVE_STREAM,
    COMMAND_REMOVE_SUBSCRIBER,
    CONDUCTOR_PROXY_FAILS,
    ERROR_FRAMES_RECEIVED,
    EVENT_ERROR_FRAME,
    EVENT_RELEASED,
    FLOW_CONTROL_LIMITS,
    HEARTBEATS_SENT,
    INVALID_PACKETS,
    NAKS_RECEIVED,
    RETRANSMITS_SENT,
    RETRANSMITTED_BYTES,
    SHORT_SENDS,
    SMS_RECEIVED,
    SMS_REJECTED,
    AgentContext,
    count,
)
from cython.cimports.pillion.driver.queues import Item, queue_claim, queue_peek, queue_publish, queue_release
from cython.cimports.pillion.driver.stream_conductor import positions_add, positions_min, positions_remove
from cython.cimports.pillion.driver.streams import MAX_RECEIVERS, NetworkStruct, SendEndpointStruct
from cython.cimports.pillion.driver.udp.transport import (
    Datagram,
    iovec,
    mmsghdr,
    transport_receive,
    transport_send,
    transport_send_one,
)
from cython.cimports.pillion.memory.atomics import load_acquire_i32, load_acquire_i64, store_release_i32, store_release_i64, xadd_i64
from cython.cimports.pillion.memory.log_buffer import (
    compute_position,
    log_clean,
    log_producer_position,
    log_scan,
    partition_of_position,
    term_id_of_position,
)
from cython.cimports.pillion.protocol.frames import (
    DATA_HEADER_LENGTH,
    ERR_HEADER_LENGTH,
    FLAG_EOS,
    FLAG_REVOKED,
    FLAGS_UNFRAGMENTED,
    MAX_ERROR_TEXT_LENGTH,
    NAK_LENGTH,
    RTTM_FLAG_REPLY,
    RTTM_LENGTH,
    SETUP_LENGTH,
    SM_FLAG_EOS,
    SM_FLAG_SEND_SETUP,
    SM_LENGTH,
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
    RttFrame,
    SetupFrame,
    StatusMessage,
)

if not cython.compiled:
    raise ImportError("pillion.driver.sender must be compiled: run `pip install .`")

INTERVAL_NS = cython.declare(int64_t, 100_000_000)            # of set-ups and heartbeats
RESEND_LINGER_NS = cython.declare(int64_t, 10_000_000)
MAX_RESEND_WINDOW = cython.declare(int64_t, 131072)
RESEND_WINDOW_MULTIPLE = cython.declare(int64_t, 16)


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def _send_frame(agent: cython.pointer(Sender), pub: cython.pointer(NetworkStruct), frame: cython.p_void,
                length: cython.size_t) -> cython.bint:
    if transport_send_one(pub.endpoint.transport, frame, length, cython.NULL):
        count(cython.address(agent.context), BYTES_SENT, length)
        return True
    count(cython.address(agent.context), SHORT_SENDS, 1)
    return False


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def _send_setup(agent: cython.pointer(Sender), pub: cython.pointer(NetworkStruct)) -> cython.void:
    frame: SetupFrame
    position: int64_t = pub.snd_pos[0]
    memset(cython.address(frame), 0, SETUP_LENGTH)
    frame.frame_length = SETUP_LENGTH
    frame.type = TYPE_SETUP
    frame.term_offset = cython.cast(int32_t, position & (pub.log.term_length - 1))
    frame.session_id = pub.session_id
    frame.stream_id = pub.stream_id
    frame.initial_term_id = pub.log.initial_term_id
    frame.active_term_id = term_id_of_position(position, pub.log.position_bits, pub.log.initial_term_id)
    frame.term_length = pub.log.term_length
    frame.mtu = pub.log.mtu_length
    pub.last_setup_ns = agent.context.now_ns
    _send_frame(agent, pub, cython.address(frame), SETUP_LENGTH)
    if pub.receiver_count > 0:
        pub.setup_elicited = False


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def _send_heartbeat(agent: cython.pointer(Sender), pub: cython.pointer(NetworkStruct)) -> cython.void:
    frame: DataHeader
    position: int64_t = pub.snd_pos[0]
    end: int32_t = load_acquire_i32(cython.address(pub.end_state))
    memset(cython.address(frame), 0, DATA_HEADER_LENGTH)
    frame.flags = FLAGS_UNFRAGMENTED
    if end and pub.signal_eos and position >= log_producer_position(pub.log):
        frame.flags = FLAGS_UNFRAGMENTED | FLAG_EOS | (FLAG_REVOKED if end == 2 else 0)
    frame.type = TYPE_DATA
    frame.term_offset = cython.cast(int32_t, position & (pub.log.term_length - 1))
    frame.session_id = pub.session_id
    frame.stream_id = pub.stream_id
    frame.term_id = term_id_of_position(position, pub.log.position_bits, pub.log.initial_term_id)
    pub.last_send_ns = agent.context.now_ns
    if _send_frame(agent, pub, cython.address(frame), DATA_HEADER_LENGTH):
        count(cython.address(agent.context), HEARTBEATS_SENT, 1)


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def _send_data(agent: cython.pointer(Sender), pub: cython.pointer(NetworkStruct)) -> cython.int:
    """Send whole frames up to the limit, one datagram of at most the MTU each; the bytes of log that went."""
    messages: mmsghdr[32]
    vectors: iovec[32]
    ends: int64_t[32]
    position: int64_t = pub.snd_pos[0]
    limit: int64_t = pub.snd_lmt[0]
    start: int64_t = position
    room: int64_t
    available: int32_t
    padding: int32_t
    total: int32_t = 0
    used: cython.int = 0
    sent: cython.int
    index: cython.int
    while used < SEND_BATCH:
        room = limit - position
        if room <= 0:
            break
        if room > pub.log.mtu_length:
            room = pub.log.mtu_length
        available = log_scan(pub.log, position, cython.cast(int32_t, room), cython.address(padding))
        if available <= 0:
            break
        vectors[used].iov_base = pub.log.terms[partition_of_position(position, pub.log.position_bits)] + (
            position & (pub.log.term_length - 1))
        vectors[used].iov_len = available
        memset(cython.address(messages[used]), 0, cython.sizeof(mmsghdr))
        messages[used].msg_hdr.msg_iov = cython.address(vectors[used])
        messages[used].msg_hdr.msg_iovlen = 1
        position += available + padding
        ends[used] = position
        used += 1
    if used:
        sent = transport_send(pub.endpoint.transport, messages, used)
        if sent < used:
            count(cython.address(agent.context), SHORT_SENDS, 1)
        if sent > 0:
            for index in range(sent):
                total += cython.cast(int32_t, vectors[index].iov_len)
            count(cython.address(agent.context), BYTES_SENT, total)
            pub.last_send_ns = agent.context.now_ns
            store_release_i64(pub.snd_pos, ends[sent - 1])
            return cython.cast(cython.int, ends[sent - 1] - start)
        return 0
    if limit - position <= 0 and position < log_producer_position(pub.log):
        if not pub.was_limited:
            pub.was_limited = True
            xadd_i64(pub.snd_bpe, 1)
            count(cython.address(agent.context), FLOW_CONTROL_LIMITS, 1)
    else:
        pub.was_limited = False
    return 0


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def _expire_receivers(agent: cython.pointer(Sender), pub: cython.pointer(NetworkStruct)) -> cython.void:
    index: int32_t = 0
    while index < pub.receiver_count:
        if agent.context.now_ns - pub.receivers[index].last_ns > pub.connection_timeout_ns:
            pub.receiver_count -= 1
            pub.receivers[index] = pub.receivers[pub.receiver_count]
        else:
            index += 1
    store_release_i32(cython.address(pub.live_receivers), pub.receiver_count)


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def _update_limit(pub: cython.pointer(NetworkStruct)) -> cython.int:
    """Move the publisher's limit along with what was sent and spied on, after zeroing what it opens."""
    producer: int64_t = log_producer_position(pub.log)
    smallest: int64_t = 0
    largest: int64_t = 0
    slowest: int64_t = pub.snd_pos[0]
    limit: int64_t
    bits: int32_t = pub.log.position_bits
    terms: int64_t
    spied: cython.bint = positions_min(cython.address(pub.spies), cython.address(smallest), cython.address(largest))
    connected: cython.bint = pub.receiver_count > 0 or (pub.spies_simulate and spied)
    if pub.pub_pos[0] != producer:
        store_release_i64(pub.pub_pos, producer)
    if connected and load_acquire_i32(cython.address(pub.end_state)) == 0:
        if pub.log.metadata.is_connected != 1:
            store_release_i32(cython.address(pub.log.metadata.is_connected), 1)
        if spied and smallest < slowest:
            slowest = smallest
        limit = slowest + pub.window
        if limit > pub.pub_lmt[0]:
            pub.clean_position = log_clean(pub.log, pub.clean_position, slowest - pub.log.term_length)
            # Nobody may write where the term is not zero yet: three terms, one of them still being cleaned.
            terms = (limit >> bits) - (pub.clean_position >> bits)
            if terms < 2 or (terms == 2 and (pub.clean_position & (pub.log.term_length - 1)) != 0):
                store_release_i64(pub.pub_lmt, limit)
            return 1
    elif not connected:
        if pub.log.metadata.is_connected != 0:
            store_release_i32(cython.address(pub.log.metadata.is_connected), 0)
        if pub.pub_lmt[0] > pub.snd_pos[0]:
            store_release_i64(pub.pub_lmt, pub.snd_pos[0])
            pub.clean_position = log_clean(pub.log, pub.clean_position, pub.snd_pos[0] - pub.log.term_length)
            return 1
    return 0


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def _serve(agent: cython.pointer(Sender), pub: cython.pointer(NetworkStruct)) -> cython.int:
    now_ns: int64_t = agent.context.now_ns
    work: cython.int = 0
    smallest: int64_t = 0
    largest: int64_t = 0
    _expire_receivers(agent, pub)
    if not pub.has_initial_connection or pub.setup_elicited:
        if now_ns - pub.last_setup_ns > INTERVAL_NS or pub.last_setup_ns == 0:
            _send_setup(agent, pub)
            work += 1
    if pub.receiver_count == 0 and pub.spies_simulate and (
        positions_min(cython.address(pub.spies), cython.address(smallest), cython.address(largest))
    ):
        # Nobody listens on the network: the stream moves with its fastest spy.
        if largest > pub.snd_pos[0]:
            store_release_i64(pub.snd_pos, largest)
            store_release_i64(pub.snd_lmt, largest)
            work += 1
    else:
        work += _send_data(agent, pub)
    if work == 0 and pub.has_initial_connection and now_ns - pub.last_send_ns > INTERVAL_NS:
        _send_heartbeat(agent, pub)
        work += 1
    return work + _update_limit(pub)


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def _find(endpoint: cython.pointer(SendEndpointStruct), session_id: int32_t, stream_id: int32_t) -> cython.pointer(NetworkStruct):
    index: int32_t
    pub: cython.pointer(NetworkStruct)
    for index in range(endpoint.count):
        pub = cython.cast(cython.pointer(NetworkStruct), endpoint.publications[index])
        if pub.session_id == session_id and pub.stream_id == stream_id:
            return pub
    return cython.NULL


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def _refresh_receiver(agent: cython.pointer(Sender), pub: cython.pointer(NetworkStruct), receiver_id: int64_t,
                      leaves: cython.bint) -> cython.void:
    index: int32_t
    for index in range(pub.receiver_count):
        if pub.receivers[index].receiver_id == receiver_id:
            if leaves:
                pub.receiver_count -= 1
                pub.receivers[index] = pub.receivers[pub.receiver_count]
            else:
                pub.receivers[index].last_ns = agent.context.now_ns
            break
    else:
        if not leaves and pub.receiver_count < MAX_RECEIVERS:
            pub.receivers[pub.receiver_count].receiver_id = receiver_id
            pub.receivers[pub.receiver_count].last_ns = agent.context.now_ns
            pub.receiver_count += 1
    store_release_i32(cython.address(pub.live_receivers), pub.receiver_count)


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def _on_status_message(agent: cython.pointer(Sender), endpoint: cython.pointer(SendEndpointStruct),
                       sm: cython.pointer(StatusMessage)) -> cython.void:
    pub: cython.pointer(NetworkStruct) = _find(endpoint, sm.session_id, sm.stream_id)
    term_length: int64_t = 1073741824
    position: int64_t
    if pub != cython.NULL:
        term_length = pub.log.term_length
    if (sm.consumption_term_offset < 0 or sm.consumption_term_offset >= term_length or sm.consumption_term_offset % 32
            or sm.receiver_window < 0 or sm.receiver_window > term_length // 2):
        count(cython.address(agent.context), INVALID_PACKETS, 1)
        return
    count(cython.address(agent.context), SMS_RECEIVED, 1)
    if pub == cython.NULL:
        return
    if sm.flags & SM_FLAG_SEND_SETUP:
        if load_acquire_i32(cython.address(pub.end_state)) == 0:
            pub.setup_elicited = True
        return
    position = compute_position(sm.consumption_term_id, sm.consumption_term_offset, pub.log.position_bits,
                                pub.log.initial_term_id)
    if position < pub.snd_pos[0] - term_length // 2 or position > pub.snd_pos[0] + term_length // 2:
        count(cython.address(agent.context), SMS_REJECTED, 1)
        return
    _refresh_receiver(agent, pub, sm.receiver_id, (sm.flags & SM_FLAG_EOS) != 0)
    if sm.flags & SM_FLAG_EOS:
        store_release_i32(cython.address(pub.eos_confirmed), 1)
    if position + sm.receiver_window > pub.snd_lmt[0]:
        store_release_i64(pub.snd_lmt, position + sm.receiver_window)
    if not pub.has_initial_connection:
        pub.has_initial_connection = True
        pub.last_send_ns = 0            # a heartbeat at once if there is no data
    _update_limit(pub)


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def _on_nak(agent: cython.pointer(Sender), endpoint: cython.pointer(SendEndpointStruct), nak: cython.pointer(NakFrame)) -> cython.void:
    pub: cython.pointer(NetworkStruct) = _find(endpoint, nak.session_id, nak.stream_id)
    if pub == cython.NULL:
        return
    term_length: int64_t = pub.log.term_length
    if (nak.term_offset < 0 or nak.term_offset >= term_length or nak.term_offset % 32 or nak.length < 0
            or cython.cast(int64_t, nak.term_offset) + nak.length > term_length):
        count(cython.address(agent.context), INVALID_PACKETS, 1)
        return
    count(cython.address(agent.context), NAKS_RECEIVED, 1)
    xadd_i64(pub.snd_naks, 1)
    left: int64_t = nak.length
    window: int64_t = (MAX_RESEND_WINDOW if term_length // 2 > MAX_RESEND_WINDOW else term_length // 2) * RESEND_WINDOW_MULTIPLE
    position: int64_t = compute_position(nak.term_id, nak.term_offset, pub.log.position_bits, pub.log.initial_term_id)
    if left > window:
        left = window
    if left == 0 or (agent.context.now_ns < pub.resend_until_ns and nak.term_id == pub.resend_term_id
                     and pub.resend_offset <= nak.term_offset < pub.resend_offset + pub.resend_length):
        return
    if position < 0 or position >= pub.snd_pos[0] or (
        position < pub.snd_pos[0] - term_length // 2 - pub.log.max_message_length
    ):
        return
    pub.resend_term_id = nak.term_id
    pub.resend_offset = nak.term_offset
    pub.resend_length = cython.cast(int32_t, left)
    pub.resend_until_ns = agent.context.now_ns + RESEND_LINGER_NS
    _resend(agent, pub, position, left)


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def _resend(agent: cython.pointer(Sender), pub: cython.pointer(NetworkStruct), position: int64_t, left: int64_t) -> cython.void:
    available: int32_t
    padding: int32_t
    room: int64_t
    while left > 0:
        room = pub.log.mtu_length if left > pub.log.mtu_length else left
        available = log_scan(pub.log, position, cython.cast(int32_t, room), cython.address(padding))
        if available <= 0:
            return
        if not _send_frame(agent, pub, pub.log.terms[partition_of_position(position, pub.log.position_bits)] + (
                position & (pub.log.term_length - 1)), available):
            return
        count(cython.address(agent.context), RETRANSMITS_SENT, 1)
        count(cython.address(agent.context), RETRANSMITTED_BYTES, available)
        position += available + padding
        left -= available + padding


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def _on_error_frame(agent: cython.pointer(Sender), endpoint: cython.pointer(SendEndpointStruct), datagram: cython.pointer(Datagram)) -> cython.void:
    frame: cython.pointer(ErrorFrame) = cython.cast(cython.pointer(ErrorFrame), datagram.data)
    if frame.error_length < 0 or frame.error_length > MAX_ERROR_TEXT_LENGTH or (
        ERR_HEADER_LENGTH + frame.error_length > frame.frame_length
    ):
        count(cython.address(agent.context), INVALID_PACKETS, 1)
        return
    pub: cython.pointer(NetworkStruct) = _find(endpoint, frame.session_id, frame.stream_id)
    count(cython.address(agent.context), ERROR_FRAMES_RECEIVED, 1)
    if pub == cython.NULL:
        return
    _refresh_receiver(agent, pub, frame.receiver_id, True)
    event: cython.pointer(Item) = queue_claim(cython.address(agent.context.events))
    if event == cython.NULL:
        count(cython.address(agent.context), CONDUCTOR_PROXY_FAILS, 1)
        return
    event.kind = EVENT_ERROR_FRAME
    event.target = pub
    event.flags = frame.flags
    event.numbers[0] = frame.receiver_id
    event.numbers[1] = frame.group_tag
    event.numbers[2] = frame.error_code
    event.source = datagram.source[0]
    event.text_length = frame.error_length
    memcpy(event.text, datagram.data + ERR_HEADER_LENGTH, frame.error_length)
    queue_publish(cython.address(agent.context.events))


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def _on_datagram(agent: cython.pointer(Sender), endpoint: cython.pointer(SendEndpointStruct), datagram: cython.pointer(Datagram)) -> cython.void:
    frame: cython.pointer(FrameHeader) = cython.cast(cython.pointer(FrameHeader), datagram.data)
    length: int32_t = datagram.length
    reply: cython.pointer(RttFrame)
    if length < 8 or frame.frame_length < 0 or frame.version != 0:
        count(cython.address(agent.context), INVALID_PACKETS, 1)
    elif frame.type == TYPE_SM and length >= SM_LENGTH and frame.frame_length <= length:
        _on_status_message(agent, endpoint, cython.cast(cython.pointer(StatusMessage), datagram.data))
    elif frame.type == TYPE_NAK and length >= NAK_LENGTH and frame.frame_length <= length:
        _on_nak(agent, endpoint, cython.cast(cython.pointer(NakFrame), datagram.data))
    elif frame.type == TYPE_ERR and length >= ERR_HEADER_LENGTH and frame.frame_length <= length:
        _on_error_frame(agent, endpoint, datagram)
    elif frame.type == TYPE_RTTM and length >= RTTM_LENGTH and frame.frame_length <= length:
        reply = cython.cast(cython.pointer(RttFrame), datagram.data)
        if reply.flags & RTTM_FLAG_REPLY and _find(endpoint, reply.session_id, reply.stream_id) != cython.NULL:
            reply.flags = 0
            reply.frame_length = RTTM_LENGTH
            reply.reception_delta = 0
            transport_send_one(endpoint.transport, datagram.data, RTTM_LENGTH, datagram.source)
    elif frame.type in (TYPE_SETUP, TYPE_DATA, TYPE_PAD, TYPE_RSP_SETUP):
        pass                                        # valid frames that are not for a sender
    else:
        count(cython.address(agent.context), INVALID_PACKETS, 1)


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def _handle_commands(agent: cython.pointer(Sender)) -> cython.int:
    work: cython.int = 0
    index: int32_t
    item: cython.pointer(Item)
    pub: cython.pointer(NetworkStruct)
    while True:
        item = queue_peek(cython.address(agent.context.commands))
        if item == cython.NULL:
            return work
        pub = cython.cast(cython.pointer(NetworkStruct), item.target)
        if item.kind == COMMAND_ADD_STREAM:
            if agent.count < MAX_NETWORK_STREAMS and pub.endpoint.count < 256:
                agent.streams[agent.count] = pub
                agent.count += 1
                pub.endpoint.publications[pub.endpoint.count] = pub
                pub.endpoint.count += 1
        elif item.kind == COMMAND_REMOVE_STREAM:
            if not _release(agent, pub):
                return work
            for index in range(agent.count):
                if agent.streams[index] == pub:
                    agent.count -= 1
                    agent.streams[index] = agent.streams[agent.count]
                    break
            for index in range(pub.endpoint.count):
                if pub.endpoint.publications[index] == pub:
                    pub.endpoint.count -= 1
                    pub.endpoint.publications[index] = pub.endpoint.publications[pub.endpoint.count]
                    break
        elif item.kind == COMMAND_ADD_ENDPOINT:
            if agent.endpoint_count < MAX_SEND_ENDPOINTS:
                agent.endpoints[agent.endpoint_count] = cython.cast(cython.pointer(SendEndpointStruct), item.target)
                agent.endpoint_count += 1
        elif item.kind == COMMAND_REMOVE_ENDPOINT:
            if not _release(agent, item.target):
                return work
            for index in range(agent.endpoint_count):
                if agent.endpoints[index] == item.target:
                    agent.endpoint_count -= 1
                    agent.endpoints[index] = agent.endpoints[agent.endpoint_count]
                    break
        elif item.kind == COMMAND_ADD_SUBSCRIBER:
            positions_add(cython.address(pub.spies), cython.cast(cython.pointer(int64_t), item.other))
        elif item.kind == COMMAND_REMOVE_SUBSCRIBER:
            positions_remove(cython.address(pub.spies), cython.cast(cython.pointer(int64_t), item.other))
        queue_release(cython.address(agent.context.commands))
        work += 1


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def _release(agent: cython.pointer(Sender), target: cython.p_void) -> cython.bint:
    event: cython.pointer(Item) = queue_claim(cython.address(agent.context.events))
    if event == cython.NULL:
        return False                                # the conductor is behind: the command waits
    event.kind = EVENT_RELEASED
    event.target = target
    queue_publish(cython.address(agent.context.events))
    return True


def sender_do_work(agent):
    work: cython.int = _handle_commands(agent)
    index: int32_t
    item: cython.int
    received: cython.int
    received_bytes: int64_t = 0
    for index in range(agent.count):
        # Another stream first each cycle.
        work += _serve(agent, agent.streams[(index + agent.cursor) % agent.count])
    agent.cursor = (agent.cursor + 1) & 0xFFFFFF
    for index in range(agent.endpoint_count):
        received = transport_receive(agent.endpoints[index].transport, cython.address(agent.batch),
                                     cython.address(received_bytes))
        for item in range(received):
            _on_datagram(agent, agent.endpoints[index], cython.address(agent.batch.datagrams[item]))
        work += received
    if received_bytes:
        count(cython.address(agent.context), BYTES_RECEIVED, received_bytes)
    return work
