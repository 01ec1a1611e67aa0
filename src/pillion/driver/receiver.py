"""The receiver: owns images. Takes datagrams in, finds what is lost, asks for it, tells the sender how far it may go.

One cycle: commands of the conductor, datagrams of every endpoint (`dispatcher`), then each image: rebuild position,
loss, status message.
"""

import cython
from cython.cimports.libc.stdint import int32_t, int64_t
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
    EVENT_FIRST_LOSS,
    EVENT_RELEASED,
    EVENT_SUBSCRIBER_ADDED,
    EVENT_SUBSCRIBER_REMOVED,
    LOSS_GAP_FILLS,
    RECEIVER_CYCLES_EXCEEDED,
    RECEIVER_MAX_CYCLE,
    count,
    take_commands,
    track_cycle,
)
from cython.cimports.pillion.driver.dispatcher import change_interest, dispatch, forget_session, set_session
from cython.cimports.pillion.driver.endpoints import collect_sockets, is_readable, look_at_sockets, report_errors
from cython.cimports.pillion.driver.feedback import send_nak, send_rejection, send_status
from cython.cimports.pillion.driver.positions import list_add, list_remove, positions_range
from cython.cimports.pillion.driver.queues import Item, queue_claim, queue_publish
from cython.cimports.pillion.driver.streams import (
    MODE_DRAINING,
    MODE_SILENT,
    SESSION_COOL_DOWN,
    SESSION_ELICITED,
    ImageStruct,
    ReceiveEndpointStruct,
)
from cython.cimports.pillion.driver.udp.transport import Arrival
from cython.cimports.pillion.memory.assertions import pillion_assert
from cython.cimports.pillion.memory.atomics import (
    load_acquire_i32,
    load_acquire_i64,
    store_release_i32,
    store_release_i64,
)
from cython.cimports.pillion.memory.log_buffer import (
    log_clean,
    log_fill_gap,
    log_find_contiguous,
    log_find_gap,
    term_id_of_position,
)
from cython.cimports.pillion.memory.loss_report import loss_observe
from cython.cimports.pillion.protocol.frames import SM_FLAG_EOS
from cython.cimports.pillion.protocol.layouts import LossEntry

if not cython.compiled:
    raise ImportError("pillion.driver.receiver must be compiled: run `pip install .`")

CONNECTION_NS = cython.declare(int64_t, 5_000_000_000)        # silence after which a source is not written to any more
NOBODY = cython.declare(int64_t, 0x7FFFFFFFFFFFFFFF)


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def _report_loss(agent: cython.pointer(Receiver), image: cython.pointer(ImageStruct), position: int64_t,
                 length: int32_t) -> cython.void:
    """Count in the loss report what of a gap was not counted before. The first asks the conductor for an entry."""
    event: cython.pointer(Item)
    end: int64_t = position + length
    lost: int64_t = end - max(position, image.reported_gap)
    if lost <= 0:
        return
    image.reported_gap = end
    if not image.asked_for_entry:
        event = queue_claim(cython.address(agent.context.events))
        if event != cython.NULL:
            event.kind = EVENT_FIRST_LOSS
            event.target = image
            event.numbers[0] = image.unreported_loss + lost
            queue_publish(cython.address(agent.context.events))
            image.asked_for_entry = True
            image.unreported_loss = 0
            return
    image.unreported_loss += lost


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def _flush_loss(agent: cython.pointer(Receiver), image: cython.pointer(ImageStruct)) -> cython.void:
    # Acquire: the entry was written before its address was handed over.
    entry: cython.pointer(LossEntry) = cython.cast(
        cython.pointer(LossEntry), load_acquire_i64(cython.address(image.loss_entry)))
    if entry != cython.NULL:
        loss_observe(entry, image.unreported_loss, agent.context.now_ms)
        image.unreported_loss = 0


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def _fill_gap(agent: cython.pointer(Receiver), image: cython.pointer(ImageStruct)) -> cython.void:
    if log_fill_gap(image.log,
                    term_id_of_position(image.gap_position, image.log.position_bits, image.log.initial_term_id),
                    cython.cast(int32_t, image.gap_position & (image.log.term_length - 1)), image.gap_length):
        count(cython.address(agent.context), LOSS_GAP_FILLS, 1)
    image.gap_position = -1


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def _detect_loss(agent: cython.pointer(Receiver), image: cython.pointer(ImageStruct)) -> cython.int:
    """Look for the first gap, ask for it after the first delay and then after each retry delay, or fill it."""
    now_ns: int64_t = agent.context.now_ns
    position: int64_t = image.rebuild_position
    length: int32_t
    if position >= image.hwm_position or image.eos_state == 2:
        image.gap_position = -1                     # forgotten once filled
        return 0
    if position == image.gap_position and now_ns < image.gap_deadline_ns:
        return 0
    length = log_find_gap(image.log, position, image.hwm_position)
    pillion_assert(position + length <= image.hwm_position, b"a gap ends where something was received")
    if length <= 0:
        return 0
    if position != image.gap_position or length != image.gap_length:
        image.gap_position = position
        image.gap_length = length
        image.gap_deadline_ns = now_ns + image.nak_delay_ns
        _report_loss(agent, image, position, length)
        if not image.reliable:
            _fill_gap(agent, image)
        return 1
    if now_ns - image.activity_ns < CONNECTION_NS:
        send_nak(agent, image)
    image.gap_deadline_ns = now_ns + image.nak_retry_ns
    return 1


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def _send_status(agent: cython.pointer(Receiver), image: cython.pointer(ImageStruct), mode: int32_t) -> cython.void:
    now_ns: int64_t = agent.context.now_ns
    transports: int32_t = now_ns - image.activity_ns < image.liveness_timeout_ns
    image.sm_due = False
    image.last_sm_ns = now_ns
    image.sent_mode = mode
    if now_ns - image.activity_ns < CONNECTION_NS:
        send_status(agent, image.endpoint, image.session_id, image.stream_id,
                    term_id_of_position(image.next_sm_position, image.log.position_bits, image.log.initial_term_id),
                    cython.cast(int32_t, image.next_sm_position & (image.log.term_length - 1)), image.window,
                    SM_FLAG_EOS if mode == MODE_DRAINING else 0, cython.address(image.source))
    if transports != image.transport_count:
        image.transport_count = transports
        store_release_i32(cython.address(image.log.metadata.active_transport_count), transports)


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def _slowest(image: cython.pointer(ImageStruct)) -> int64_t:
    """The slowest consumer's position. Nobody can honestly have read what is not there."""
    smallest: int64_t = NOBODY
    largest: int64_t = 0
    positions_range(cython.address(image.subscribers), image.clean_position, image.rebuild_position,
                    cython.address(smallest), cython.address(largest))
    store_release_i64(cython.address(image.slowest_subscriber), smallest)
    return smallest


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def _flow_control(agent: cython.pointer(Receiver), image: cython.pointer(ImageStruct)) -> cython.int:
    """Schedule and send status messages as the consumers move on; zero what everybody has read."""
    smallest: int64_t = _slowest(image)
    target: int64_t
    mode: int32_t = load_acquire_i32(cython.address(image.mode))
    due: cython.bint = image.sm_due or mode != image.sent_mode or (
        agent.context.now_ns - image.last_sm_ns >= image.sm_timeout_ns)
    if smallest != NOBODY and smallest > image.next_sm_position + image.window // 4:
        target = smallest - image.log.term_length
        image.clean_position = log_clean(image.log, image.clean_position, target)
        image.clean_position = log_clean(image.log, image.clean_position, target)
        # Data goes at most half a term beyond this position, so its place was zeroed.
        pillion_assert(image.clean_position >= target, b"what the window opens is zeroed")
        pillion_assert(image.clean_position <= smallest, b"nothing is zeroed that a consumer has not read")
        pillion_assert(smallest <= image.hwm_position, b"what was consumed was received")
        image.next_sm_position = smallest
        agent.context.traffic = True
        due = True
    if not due or mode == MODE_SILENT or image.superseded:
        return 0
    _send_status(agent, image, mode)
    return 1


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def _serve(agent: cython.pointer(Receiver), image: cython.pointer(ImageStruct)) -> cython.int:
    position: int64_t
    work: cython.int = 0
    if load_acquire_i32(cython.address(image.rejected)):
        _slowest(image)
        if agent.context.now_ns - image.last_sm_ns < image.sm_timeout_ns and image.sent_mode == MODE_SILENT:
            return 0
        # At once and then at each status message interval.
        image.sent_mode = MODE_SILENT
        image.last_sm_ns = agent.context.now_ns
        send_rejection(agent, image)
        return 1
    # Without a consumer nothing is rebuilt, so that the first one joins where the image begins.
    if image.subscribers.count > 0:
        if image.rebuild_position < image.hwm_position:
            position = log_find_contiguous(image.log, image.rebuild_position, image.hwm_position)
            pillion_assert(position >= image.rebuild_position, b"what was rebuilt only grows")
            pillion_assert(position <= image.hwm_position, b"what was rebuilt was received")
            if position != image.rebuild_position:
                store_release_i64(cython.address(image.rebuild_position), position)
                store_release_i64(image.rcv_pos, position)
        work = _detect_loss(agent, image)
        if work:
            agent.context.traffic = True            # the next deadline is near
    if image.unreported_loss > 0:
        _flush_loss(agent, image)
    return work + _flow_control(agent, image)


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def _add_image(agent: cython.pointer(Receiver), image: cython.pointer(ImageStruct)) -> cython.bint:
    index: int32_t
    other: cython.pointer(ImageStruct)
    if not list_add(cython.address(agent.images), image):
        return False
    if not list_add(cython.address(image.endpoint.images), image):
        list_remove(cython.address(agent.images), image)
        return False
    forget_session(image.endpoint, image.session_id, image.stream_id)
    for index in range(agent.images.count):
        other = cython.cast(cython.pointer(ImageStruct), agent.images.items[index])
        if other != image and other.endpoint == image.endpoint and other.session_id == image.session_id and (
            other.stream_id == image.stream_id
        ):
            other.superseded = True
    store_release_i32(cython.address(image.subscriber_count), image.subscribers.count)
    return True


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def _remove_image(agent: cython.pointer(Receiver), image: cython.pointer(ImageStruct),
                  cool_down: cython.bint) -> cython.void:
    dispatched: cython.bint = list_remove(cython.address(image.endpoint.images), image)
    list_remove(cython.address(agent.images), image)
    if load_acquire_i32(cython.address(image.mode)) == MODE_DRAINING and image.sent_mode != MODE_DRAINING and (
        not image.superseded and not image.rejected
    ):
        _send_status(agent, image, MODE_DRAINING)   # the source hears of the end at least once
    if cool_down and dispatched:
        set_session(agent, image.endpoint, image.session_id, image.stream_id, SESSION_COOL_DOWN)


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def _add_subscriber(image: cython.pointer(ImageStruct), position: cython.pointer(int64_t)) -> int64_t:
    """The new subscriber's position: the slowest's, or where the stream was rebuilt to. -1: no memory."""
    smallest: int64_t = min(_slowest(image), image.rebuild_position)
    if not list_add(cython.address(image.subscribers), position):
        return -1
    store_release_i64(position, smallest)
    store_release_i32(cython.address(image.subscriber_count), image.subscribers.count)
    return smallest


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def _handle_stream(agent: cython.pointer(Receiver), item: cython.pointer(Item),
                   event: cython.pointer(Item)) -> cython.bint:
    image: cython.pointer(ImageStruct) = cython.cast(cython.pointer(ImageStruct), item.target)
    position: cython.pointer(int64_t) = cython.cast(cython.pointer(int64_t), item.other)
    if item.kind == COMMAND_ADD_STREAM:
        return _add_image(agent, image)
    elif item.kind == COMMAND_REMOVE_STREAM:
        _remove_image(agent, image, item.numbers[0] != 0)
        event.kind = EVENT_RELEASED
    elif item.kind == COMMAND_ADD_SUBSCRIBER:
        event.kind = EVENT_SUBSCRIBER_ADDED
        event.numbers[1] = _add_subscriber(image, position)
    elif item.kind == COMMAND_REMOVE_SUBSCRIBER:
        list_remove(cython.address(image.subscribers), position)
        store_release_i32(cython.address(image.subscriber_count), image.subscribers.count)
        event.kind = EVENT_SUBSCRIBER_REMOVED
    return True


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def _handle(owner: cython.p_void, item: cython.pointer(Item), event: cython.pointer(Item)) -> cython.bint:
    agent: cython.pointer(Receiver) = cython.cast(cython.pointer(Receiver), owner)
    endpoint: cython.pointer(ReceiveEndpointStruct) = cython.cast(cython.pointer(ReceiveEndpointStruct), item.target)
    first: int32_t = cython.cast(int32_t, item.numbers[0])
    second: int32_t = cython.cast(int32_t, item.numbers[1])
    if item.kind == COMMAND_ADD_ENDPOINT:
        if not list_add(cython.address(agent.endpoints), endpoint):
            return False
        collect_sockets(cython.address(agent.context.sockets), cython.address(agent.endpoints))
    elif item.kind == COMMAND_REMOVE_ENDPOINT:
        list_remove(cython.address(agent.endpoints), endpoint)
        collect_sockets(cython.address(agent.context.sockets), cython.address(agent.endpoints))
        event.kind = EVENT_RELEASED
    elif item.kind == COMMAND_ADD_INTEREST:
        return change_interest(endpoint, first, second, item.flags, 1)
    elif item.kind == COMMAND_REMOVE_INTEREST:
        return change_interest(endpoint, first, second, item.flags, -1)
    elif item.kind == COMMAND_SETUP_REFUSED:
        # Set-ups may try again at once, data asks for one in a second.
        return set_session(agent, endpoint, second, first, SESSION_ELICITED)
    else:
        return _handle_stream(agent, item, event)
    return True


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def _receive(agent: cython.pointer(Receiver), endpoint: cython.pointer(ReceiveEndpointStruct),
             received_bytes: cython.pointer(int64_t)) -> cython.int:
    item: cython.int
    at: int32_t
    size: int32_t
    arrival: cython.pointer(Arrival)
    arrivals: cython.int = endpoint.transport.receive(endpoint.transport, cython.address(agent.batch))
    for item in range(arrivals):
        arrival = cython.address(agent.batch.arrivals[item])
        received_bytes[0] += arrival.length
        at = 0
        while True:                                 # also for an empty datagram, which is an invalid one
            size = min(arrival.segment_size, arrival.length - at)
            dispatch(agent, endpoint, arrival.data + at, size, arrival.source)
            at += size
            if at >= arrival.length or size <= 0:
                break
    if endpoint.transport.error_count != endpoint.transport.reported_count:
        report_errors(cython.address(agent.context), endpoint, endpoint.transport)
    return arrivals


def receiver_do_work(agent):
    work: cython.int
    index: int32_t
    looked: cython.bint
    received_bytes: int64_t = 0
    track_cycle(cython.address(agent.context), RECEIVER_MAX_CYCLE, RECEIVER_CYCLES_EXCEEDED)
    work = take_commands(cython.address(agent.context), _handle, agent)
    looked = look_at_sockets(cython.address(agent.context.sockets))
    for index in range(agent.endpoints.count):
        if not looked or is_readable(cython.address(agent.context.sockets), index):
            work += _receive(agent, cython.cast(cython.pointer(ReceiveEndpointStruct), agent.endpoints.items[index]),
                             cython.address(received_bytes))
    if received_bytes:
        count(cython.address(agent.context), BYTES_RECEIVED, received_bytes)
    for index in range(agent.images.count):
        work += _serve(agent, cython.cast(cython.pointer(ImageStruct), agent.images.items[index]))
    return work
