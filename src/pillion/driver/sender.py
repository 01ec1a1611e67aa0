"""The sender: owns network publications. Sends what flow control allows, set-ups, heartbeats and retransmissions.

One cycle: commands of the conductor, then data of every publication in turn, then, if it is due, what receivers sent
back (`poll_control` of the next room, which whoever runs the cycle calls). Frames go out straight from the term they
were written to. A publication's publisher limit is this agent's as well.
"""

import cython
from cython.cimports.libc.stdint import int32_t, int64_t, uint8_t
from cython.cimports.libc.string import memset
from cython.cimports.pillion.driver.context import (
    BYTES_SENT,
    COMMAND_ADD_ENDPOINT,
    COMMAND_ADD_STREAM,
    COMMAND_ADD_SUBSCRIBER,
    COMMAND_REMOVE_ENDPOINT,
    COMMAND_REMOVE_STREAM,
    COMMAND_REMOVE_SUBSCRIBER,
    END_OPEN,
    END_REVOKED,
    EVENT_RELEASED,
    EVENT_SUBSCRIBER_ADDED,
    EVENT_SUBSCRIBER_REMOVED,
    FLOW_CONTROL_LIMITS,
    HEARTBEATS_SENT,
    RETRANSMITS_SENT,
    RETRANSMITTED_BYTES,
    SENDER_CYCLES_EXCEEDED,
    SENDER_MAX_CYCLE,
    SHORT_SENDS,
    bump,
    count,
    count_shared,
    take_commands,
    track_cycle,
)
from cython.cimports.pillion.driver.endpoints import collect_sockets
from cython.cimports.pillion.driver.positions import list_add, list_remove, positions_range
from cython.cimports.pillion.driver.publisher_limit import (
    PublisherLimit,
    limit_end,
    limit_observe,
    limit_open,
    limit_producer,
    limit_shut,
)
from cython.cimports.pillion.driver.queues import Item
from cython.cimports.pillion.driver.streams import RESEND_DELAYED, RESEND_IDLE, RESEND_LINGERING, NetworkStruct
from cython.cimports.pillion.driver.udp.transport import MAX_SEGMENTS, Run, send_one
from cython.cimports.pillion.memory.assertions import pillion_assert
from cython.cimports.pillion.memory.atomics import (
    load_acquire_i32,
    store_release_i32,
    store_release_i64,
)
from cython.cimports.pillion.memory.log_buffer import (
    compute_position,
    log_scan,
    partition_of_position,
    term_id_of_position,
)
from cython.cimports.pillion.protocol.frames import (
    DATA_HEADER_LENGTH,
    FLAG_EOS,
    FLAG_REVOKED,
    FLAGS_UNFRAGMENTED,
    SETUP_LENGTH,
    TYPE_DATA,
    TYPE_SETUP,
    DataHeader,
    SetupFrame,
)

if not cython.compiled:
    raise ImportError("pillion.driver.sender must be compiled: run `pip install .`")

INTERVAL_NS = cython.declare(int64_t, 100_000_000)            # of set-ups and heartbeats
MAX_RESEND_WINDOW = cython.declare(int64_t, 131072)
RESEND_WINDOW_MULTIPLE = cython.declare(int64_t, 16)
NOBODY = cython.declare(int64_t, 0x7FFFFFFFFFFFFFFF)


def publication_at_end(pub):
    """No more data will be sent: heartbeats say so, and nobody is let in any more."""
    if pub.end_applied == END_OPEN or pub.end_applied == END_REVOKED:
        return pub.end_applied == END_REVOKED
    return pub.sender_position >= limit_producer(cython.address(pub.limit), pub.sender_position)


def publication_has_subscribers(pub):
    return pub.receiver_count > 0 or (pub.spies_simulate and pub.spies.count > 0)


def publication_set_connected(pub, connected):
    if pub.end_applied == END_REVOKED:
        connected = False
    if pub.is_connected != connected:
        pub.is_connected = connected
        store_release_i32(cython.address(pub.log.metadata.is_connected), connected)


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def _send_frame(agent: cython.pointer(Sender), pub: cython.pointer(NetworkStruct), frame: cython.p_void,
                length: int64_t) -> cython.bint:
    if send_one(pub.endpoint.transport, frame, length, pub.endpoint.to):
        return True
    count_shared(cython.address(agent.context), SHORT_SENDS, 1)
    agent.fell_short = True
    return False


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def _send_setup(agent: cython.pointer(Sender), pub: cython.pointer(NetworkStruct)) -> cython.void:
    frame: SetupFrame
    position: int64_t = pub.sender_position
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
    position: int64_t = pub.sender_position
    memset(cython.address(frame), 0, DATA_HEADER_LENGTH)
    frame.flags = FLAGS_UNFRAGMENTED
    if pub.end_applied == END_REVOKED:
        frame.flags = FLAGS_UNFRAGMENTED | FLAG_EOS | FLAG_REVOKED
    elif pub.signal_eos and publication_at_end(pub):
        frame.flags = FLAGS_UNFRAGMENTED | FLAG_EOS
    frame.type = TYPE_DATA
    frame.term_offset = cython.cast(int32_t, position & (pub.log.term_length - 1))
    frame.session_id = pub.session_id
    frame.stream_id = pub.stream_id
    frame.term_id = term_id_of_position(position, pub.log.position_bits, pub.log.initial_term_id)
    pub.last_send_ns = agent.context.now_ns
    if _send_frame(agent, pub, cython.address(frame), DATA_HEADER_LENGTH):
        count(cython.address(agent.context), BYTES_SENT, DATA_HEADER_LENGTH)
    count(cython.address(agent.context), HEARTBEATS_SENT, 1)


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def _collect(out: cython.pointer(Outgoing), pub: cython.pointer(NetworkStruct), position: int64_t, room: int64_t,
             patience: int64_t) -> cython.void:
    """Whole frames from `position`, at most `room` of the stream, as datagrams of at most the MTU.

    Datagrams of one size that follow each other in the log form one run, which a transport may hand over in one piece.
    Of padding only the header needs room, since it may be longer than any window; one that is not longer than
    `patience` waits until all of it has room, because a receiver drops what reaches more than half a term beyond its
    last word.
    """
    term: cython.pointer(uint8_t)
    data: cython.pointer(uint8_t)
    run: cython.pointer(Run) = cython.NULL
    available: int32_t
    padding: int32_t = 0
    most: int64_t
    out.run_count = 0
    out.count = 0
    out.limited = False
    while out.count < MAX_SEGMENTS and room > 0:
        most = room if room < pub.log.mtu_length else pub.log.mtu_length
        term = pub.log.terms[partition_of_position(position, pub.log.position_bits)]
        data = term + (position & (pub.log.term_length - 1))
        available = log_scan(pub.log, position, cython.cast(int32_t, most), cython.address(padding))
        if available <= 0:
            out.limited = load_acquire_i32(data) > 0
            return
        pillion_assert(available <= most, b"a datagram is within the limit and the MTU")
        if padding > 0 and available + padding > room and padding + DATA_HEADER_LENGTH <= patience:
            out.limited = True
            room = 0
            padding = 0
            available -= DATA_HEADER_LENGTH
            if available == 0:
                return
        if run != cython.NULL and data == run.data + run.length and available <= run.segment_size and (
            run.length % run.segment_size == 0
        ):
            run.length += available
        else:
            run = cython.address(out.runs[out.run_count])
            out.run_count += 1
            run.data = data
            run.length = available
            run.segment_size = available
            run.to = pub.endpoint.to
        pillion_assert(available > 0, b"a datagram has a frame")
        pillion_assert(out.run_count <= MAX_SEGMENTS, b"the runs fit their array")
        position += available + padding
        room -= available + padding
        out.ends[out.count] = position
        out.sizes[out.count] = available
        out.count += 1


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def _hand_out(agent: cython.pointer(Sender), pub: cython.pointer(NetworkStruct),
              total: cython.pointer(int64_t)) -> cython.int:
    """Send what was collected: how many datagrams were accepted, their bytes in `total`."""
    out: cython.pointer(Outgoing) = cython.address(agent.outgoing)
    sent: cython.int = pub.endpoint.transport.send(pub.endpoint.transport, out.runs, out.run_count)
    index: cython.int
    pillion_assert(sent >= 0, b"a transport reports no error as a count")
    pillion_assert(sent <= out.count, b"a transport sends no more than it was given")
    for index in range(sent):
        total[0] += out.sizes[index]
    if sent < out.count:
        count_shared(cython.address(agent.context), SHORT_SENDS, 1)
        agent.fell_short = True
    return sent


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def _send_data(agent: cython.pointer(Sender), pub: cython.pointer(NetworkStruct)) -> int64_t:
    """Send what the window allows; the bytes that went. What the socket did not take is tried again next cycle."""
    out: cython.pointer(Outgoing) = cython.address(agent.outgoing)
    total: int64_t = 0
    sent: cython.int
    window: int64_t = pub.sender_limit - pub.sender_position
    _collect(out, pub, pub.sender_position, window, pub.receiver_window // 2)
    if out.count == 0:
        if pub.track_limits and (window <= 0 or out.limited):
            # Once for each time the limit is run into, not for each cycle that it holds.
            pub.track_limits = False
            bump(pub.snd_bpe, 1)
            count(cython.address(agent.context), FLOW_CONTROL_LIMITS, 1)
        return 0
    sent = _hand_out(agent, pub, cython.address(total))
    if sent > 0:
        pub.last_send_ns = agent.context.now_ns
        pub.track_limits = True
        count(cython.address(agent.context), BYTES_SENT, total)
        pillion_assert(total <= window, b"the sender stays within its limit")
        pillion_assert(out.ends[sent - 1] > pub.sender_position, b"the sender's position only grows")
        store_release_i64(cython.address(pub.sender_position), out.ends[sent - 1])
        store_release_i64(pub.snd_pos, pub.sender_position)
    return total


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def _resend(agent: cython.pointer(Sender), pub: cython.pointer(NetworkStruct)) -> cython.void:
    """Send the range of the pending retransmission again, if it is still ours to send."""
    out: cython.pointer(Outgoing) = cython.address(agent.outgoing)
    position: int64_t = compute_position(pub.resend.term_id, pub.resend.offset, pub.log.position_bits,
                                         pub.log.initial_term_id)
    start: int64_t = position
    end: int64_t = position + pub.resend.length
    total: int64_t = 0
    sent: cython.int
    pub.resend.state = RESEND_LINGERING
    pub.resend.deadline_ns = agent.context.now_ns + pub.resend_linger_ns
    # The bottom keeps off what is being zeroed for the next round; above the sender position nothing was lost yet.
    if position < 0 or position >= pub.sender_position or (
        position < pub.sender_position - pub.log.term_length // 2 - pub.log.max_message_length
    ):
        return
    if agent.context.now_ns >= pub.resend_budget_ns:
        pub.resend_budget_ns = agent.context.now_ns + pub.resend_linger_ns
        pub.resend_budget = resend_window(pub)
    while position < end and pub.resend_budget > 0:
        _collect(out, pub, position, min(end, pub.sender_position) - position, 0)
        if out.count == 0:
            break
        sent = _hand_out(agent, pub, cython.address(total))
        if sent > 0:
            pub.resend_budget -= out.ends[sent - 1] - position
            position = out.ends[sent - 1]
        if sent < out.count:
            break
    if position > start:
        agent.context.traffic = True
        count(cython.address(agent.context), RETRANSMITS_SENT, 1)
        count(cython.address(agent.context), RETRANSMITTED_BYTES, position - start)
    # What did not go out may be asked for again at once.
    pub.resend.length = cython.cast(int32_t, position - start)


def resend_window(pub):
    """The most that one NAK brings back."""
    half: int64_t = pub.log.term_length // 2
    return min(half, MAX_RESEND_WINDOW) * RESEND_WINDOW_MULTIPLE


def publication_resend(agent, pub, term_id, term_offset, length):
    """After a valid NAK: resend, now or after the delay, unless that part is being resent."""
    resend: cython.pointer(Resend) = cython.address(pub.resend)
    if resend.state != RESEND_IDLE and resend.term_id == term_id and (
        resend.offset <= term_offset < resend.offset + resend.length
    ):
        return
    resend.term_id = term_id
    resend.offset = term_offset
    resend.length = cython.cast(int32_t, min(length, resend_window(pub)))
    resend.state = RESEND_DELAYED
    resend.deadline_ns = agent.context.now_ns + pub.resend_delay_ns
    if pub.resend_delay_ns == 0:
        _resend(agent, pub)


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def _resend_timeouts(agent: cython.pointer(Sender), pub: cython.pointer(NetworkStruct)) -> cython.void:
    if pub.resend.state != RESEND_IDLE and agent.context.now_ns > pub.resend.deadline_ns:
        if pub.resend.state == RESEND_DELAYED:
            _resend(agent, pub)
        else:
            pub.resend.state = RESEND_IDLE


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def _expire_receivers(agent: cython.pointer(Sender), pub: cython.pointer(NetworkStruct)) -> cython.void:
    index: int32_t = 0
    if pub.receiver_count == 0:
        return
    while index < pub.receiver_count:
        if agent.context.now_ns - pub.receivers[index].last_ns >= pub.connection_timeout_ns:
            pub.receiver_count -= 1
            pub.receivers[index] = pub.receivers[pub.receiver_count]
        else:
            index += 1
    store_release_i32(cython.address(pub.live_receivers), pub.receiver_count)


def publication_update_limit(pub):
    """Move the publisher's limit along with what was sent and spied on, after zeroing what it opens."""
    smallest: int64_t = NOBODY
    largest: int64_t = 0
    slowest: int64_t = pub.sender_position
    limit: cython.pointer(PublisherLimit) = cython.address(pub.limit)
    end_state: int32_t = load_acquire_i32(cython.address(pub.end_state))
    connected: cython.bint = publication_has_subscribers(pub)
    # Positions first: what was spied on was produced, so no honest position is held back by the producer's.
    spied: cython.bint = positions_range(cython.address(pub.spies), limit.clean_position, NOBODY,
                                         cython.address(smallest), cython.address(largest))
    producer: int64_t = limit_observe(limit, pub.sender_position)
    if spied:
        smallest = min(smallest, producer)
        largest = min(largest, producer)
        slowest = min(slowest, smallest)
        if largest > pub.max_spy_position:
            pub.max_spy_position = largest
    store_release_i64(cython.address(pub.slowest_spy), smallest)
    if end_state != pub.end_applied:
        limit_end(limit, producer, end_state == END_REVOKED)
        pub.end_applied = end_state
    publication_set_connected(pub, connected)
    if end_state != END_OPEN:
        return 0
    # A term behind stays for retransmissions.
    if connected:
        return slowest + limit.window > limit.position and limit_open(limit, slowest, slowest - pub.log.term_length)
    if limit.position > pub.sender_position:
        limit_shut(limit, pub.sender_position, pub.sender_position - pub.log.term_length)
        return 1
    return 0


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def _follow_spies(pub: cython.pointer(NetworkStruct)) -> cython.int:
    """Nobody listens on the network: the stream moves with its fastest spy."""
    if pub.max_spy_position <= pub.sender_position:
        return 0
    store_release_i64(cython.address(pub.sender_position), pub.max_spy_position)
    pub.sender_limit = pub.max_spy_position
    store_release_i64(pub.snd_pos, pub.sender_position)
    store_release_i64(pub.snd_lmt, pub.sender_limit)
    return 1


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def _serve(agent: cython.pointer(Sender), pub: cython.pointer(NetworkStruct),
           sent_bytes: cython.pointer(int64_t)) -> cython.int:
    now_ns: int64_t = agent.context.now_ns
    work: cython.int = 0
    simulated: cython.bint = pub.receiver_count == 0 and pub.spies_simulate and pub.spies.count > 0
    sent: int64_t = 0
    if (not pub.has_initial_connection or pub.setup_elicited) and now_ns - pub.last_setup_ns > INTERVAL_NS:
        _send_setup(agent, pub)
        work += 1
    if not simulated:
        sent = _send_data(agent, pub)
    if sent == 0:
        if pub.has_initial_connection and now_ns - pub.last_send_ns > INTERVAL_NS:
            _send_heartbeat(agent, pub)
            work += 1
        if simulated:
            work += _follow_spies(pub)
        _expire_receivers(agent, pub)
    else:
        sent_bytes[0] += sent
        agent.context.traffic = True
        work += 1
    _resend_timeouts(agent, pub)
    if publication_update_limit(pub):
        agent.context.traffic = True
        work += 1
    return work


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def _add_publication(agent: cython.pointer(Sender), pub: cython.pointer(NetworkStruct)) -> cython.bint:
    if not list_add(cython.address(agent.streams), pub):
        return False
    if not list_add(cython.address(pub.endpoint.publications), pub):
        list_remove(cython.address(agent.streams), pub)
        return False
    # The first set-up, and once connected the first heartbeat, are due at once.
    pub.last_setup_ns = agent.context.now_ns - INTERVAL_NS - 1
    pub.last_send_ns = pub.last_setup_ns
    store_release_i32(cython.address(pub.spy_count), pub.spies.count)
    return True


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def _add_spy(pub: cython.pointer(NetworkStruct), position: cython.pointer(int64_t)) -> int64_t:
    if not list_add(cython.address(pub.spies), position):
        return -1
    store_release_i64(position, pub.sender_position)
    store_release_i32(cython.address(pub.spy_count), pub.spies.count)
    return pub.sender_position


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def _handle(owner: cython.p_void, item: cython.pointer(Item), event: cython.pointer(Item)) -> cython.bint:
    agent: cython.pointer(Sender) = cython.cast(cython.pointer(Sender), owner)
    pub: cython.pointer(NetworkStruct) = cython.cast(cython.pointer(NetworkStruct), item.target)
    position: cython.pointer(int64_t) = cython.cast(cython.pointer(int64_t), item.other)
    if item.kind == COMMAND_ADD_STREAM:
        return _add_publication(agent, pub)
    elif item.kind == COMMAND_REMOVE_STREAM:
        list_remove(cython.address(agent.streams), pub)
        list_remove(cython.address(pub.endpoint.publications), pub)
        event.kind = EVENT_RELEASED
    elif item.kind == COMMAND_ADD_ENDPOINT:
        if not list_add(cython.address(agent.endpoints), item.target):
            return False
        collect_sockets(cython.address(agent.context.sockets), cython.address(agent.endpoints))
    elif item.kind == COMMAND_REMOVE_ENDPOINT:
        list_remove(cython.address(agent.endpoints), item.target)
        collect_sockets(cython.address(agent.context.sockets), cython.address(agent.endpoints))
        event.kind = EVENT_RELEASED
    elif item.kind == COMMAND_ADD_SUBSCRIBER:
        event.kind = EVENT_SUBSCRIBER_ADDED
        event.numbers[1] = _add_spy(pub, position)
    elif item.kind == COMMAND_REMOVE_SUBSCRIBER:
        list_remove(cython.address(pub.spies), position)
        store_release_i32(cython.address(pub.spy_count), pub.spies.count)
        event.kind = EVENT_SUBSCRIBER_REMOVED
    return True


def sender_do_work(agent):
    work: cython.int
    index: int32_t
    at: int32_t
    sent_bytes: int64_t = 0
    track_cycle(cython.address(agent.context), SENDER_MAX_CYCLE, SENDER_CYCLES_EXCEEDED)
    work = take_commands(cython.address(agent.context), _handle, agent)
    agent.fell_short = False
    if agent.cursor >= agent.streams.count:
        agent.cursor = 0
    for index in range(agent.streams.count):
        # Another stream first each cycle.
        at = agent.cursor + index
        if at >= agent.streams.count:
            at -= agent.streams.count
        work += _serve(agent, cython.cast(cython.pointer(NetworkStruct), agent.streams.items[at]),
                       cython.address(sent_bytes))
    agent.cursor += 1
    if sent_bytes:
        agent.sends_since_poll += 1
    agent.control_due = (sent_bytes == 0 or agent.sends_since_poll >= agent.poll_ratio or agent.fell_short
                         or agent.context.now_ns >= agent.poll_deadline_ns)
    return work
