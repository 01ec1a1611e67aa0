"""The native half of the conductor: IPC streams and the driver's heartbeat, without the GIL.

Owns every `IpcStruct` that was handed to it. Its work per stream and cycle is to move the publisher's limit along with
the slowest consumer and to zero what everybody has read.
"""

import cython
from cython.cimports.libc.stdint import int32_t, int64_t
from cython.cimports.pillion.driver.context import (
    COMMAND_ADD_STREAM,
    COMMAND_ADD_SUBSCRIBER,
    COMMAND_REMOVE_STREAM,
    COMMAND_REMOVE_SUBSCRIBER,
    END_OPEN,
    END_REVOKED,
    EVENT_RELEASED,
    EVENT_SUBSCRIBER_ADDED,
    EVENT_SUBSCRIBER_REMOVED,
)
from cython.cimports.pillion.driver.positions import list_add, list_remove, positions_range
from cython.cimports.pillion.driver.queues import Item, queue_claim, queue_peek, queue_publish, queue_release
from cython.cimports.pillion.driver.streams import IpcStruct
from cython.cimports.pillion.memory.assertions import pillion_assert
from cython.cimports.pillion.memory.atomics import (
    load_acquire_i32,
    store_release_i32,
    store_release_i64,
    store_release_u8,
)
from cython.cimports.pillion.memory.log_buffer import log_clean, log_producer_position

if not cython.compiled:
    raise ImportError("pillion.driver.stream_conductor must be compiled: run `pip install .`")

NOBODY = cython.declare(int64_t, 0x7FFFFFFFFFFFFFFF)


@cython.cfunc
@cython.inline
@cython.nogil
@cython.exceptval(check=False)
def _producer(stream: cython.pointer(IpcStruct)) -> int64_t:
    # The tail lies in memory that a client writes: an honest one is at most a term beyond the highest limit ever given,
    # since whoever runs over the end of a term stops there.
    position: int64_t = log_producer_position(stream.log)
    if position < stream.clean_position:
        position = stream.clean_position
    if position > stream.highest_limit + stream.log.term_length:
        position = stream.highest_limit + stream.log.term_length
    return position & ~cython.cast(int64_t, 31)


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def _set_limit(stream: cython.pointer(IpcStruct), limit: int64_t) -> cython.void:
    pillion_assert(limit & 31 == 0, b"a publisher's limit is where a frame can begin")
    stream.publisher_limit = limit
    if limit > stream.highest_limit:
        store_release_i64(cython.address(stream.highest_limit), limit)
    # Release: the terms that this opens for writing were zeroed before.
    store_release_i64(stream.pub_lmt, limit)


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def _clean(stream: cython.pointer(IpcStruct), target: int64_t) -> cython.void:
    # One call stops at the end of a term. Two reach the target, unless a hostile position leapt there; then the
    # test on the limit waits for the next cycles.
    stream.clean_position = log_clean(stream.log, stream.clean_position, target)
    stream.clean_position = log_clean(stream.log, stream.clean_position, target)


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def _apply_end(stream: cython.pointer(IpcStruct), state: int32_t, producer: int64_t) -> cython.void:
    if stream.publisher_limit > producer:
        _set_limit(stream, producer)
    store_release_i64(cython.address(stream.log.metadata.end_of_stream_position), producer)
    if state == END_REVOKED:
        store_release_u8(cython.address(stream.log.metadata.is_publication_revoked), 1)
        store_release_i32(cython.address(stream.log.metadata.is_connected), 0)
    stream.end_applied = state


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def _serve(stream: cython.pointer(IpcStruct)) -> cython.int:
    smallest: int64_t = NOBODY
    largest: int64_t = 0
    limit: int64_t
    terms: int64_t
    bits: int32_t = stream.log.position_bits
    end_state: int32_t = load_acquire_i32(cython.address(stream.end_state))
    # Positions first, then the producer's: what was consumed was produced, so no honest position is held back here.
    consumed: cython.bint = positions_range(cython.address(stream.subscribers), stream.clean_position, NOBODY,
                                            cython.address(smallest), cython.address(largest))
    producer: int64_t = _producer(stream)
    store_release_i64(stream.pub_pos, producer)
    if end_state != stream.end_applied:
        _apply_end(stream, end_state, producer)
    if consumed:
        smallest = min(smallest, producer)
        largest = min(largest, producer)
        if largest > stream.consumer_position:
            store_release_i64(cython.address(stream.consumer_position), largest)
    store_release_i64(cython.address(stream.slowest_position), smallest)
    if end_state != END_OPEN:
        return 0
    if consumed:
        limit = smallest + stream.window
        if limit > stream.trip_limit:
            _clean(stream, smallest)
            pillion_assert(stream.clean_position <= smallest, b"nothing is zeroed that a consumer has not read")
            # Nobody may write where the term is not zero yet.
            terms = (limit >> bits) - (stream.clean_position >> bits)
            if terms < 2 or (terms == 2 and stream.clean_position & (stream.log.term_length - 1)):
                # A writer below the limit fills its term, which had its place three terms ago.
                pillion_assert((stream.clean_position >> bits) >= ((limit - 1) >> bits) - 2,
                               b"the publisher's limit stays behind what is zeroed")
                _set_limit(stream, limit)
                stream.trip_limit = limit + stream.window // 8
                return 1
    elif stream.publisher_limit > stream.consumer_position:
        _set_limit(stream, stream.consumer_position)
        stream.trip_limit = stream.consumer_position
        _clean(stream, stream.consumer_position)
        pillion_assert(stream.clean_position <= stream.consumer_position, b"nothing is zeroed that was not read")
        return 1
    return 0


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def _add_subscriber(stream: cython.pointer(IpcStruct), position: cython.pointer(int64_t)) -> int64_t:
    """The new subscriber's position: the slowest's, or the furthest ever read if it is alone. -1: no memory."""
    smallest: int64_t = NOBODY
    largest: int64_t = 0
    positions_range(cython.address(stream.subscribers), stream.clean_position, stream.consumer_position,
                    cython.address(smallest), cython.address(largest))
    smallest = min(smallest, stream.consumer_position)
    if not list_add(cython.address(stream.subscribers), position):
        return -1
    store_release_i64(position, smallest)
    _subscribers_changed(stream)
    return smallest


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def _subscribers_changed(stream: cython.pointer(IpcStruct)) -> cython.void:
    store_release_i32(cython.address(stream.subscriber_count), stream.subscribers.count)
    if stream.end_applied != END_REVOKED:
        store_release_i32(cython.address(stream.log.metadata.is_connected), stream.subscribers.count > 0)


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def _handle(agent: cython.pointer(StreamConductor), item: cython.pointer(Item),
            event: cython.pointer(Item)) -> cython.bint:
    """True if an event is to be published."""
    stream: cython.pointer(IpcStruct) = cython.cast(cython.pointer(IpcStruct), item.target)
    position: cython.pointer(int64_t) = cython.cast(cython.pointer(int64_t), item.other)
    event.target = item.target
    event.numbers[0] = item.numbers[0]
    if item.kind == COMMAND_ADD_STREAM:
        _subscribers_changed(stream)                # those linked before the stream was handed over
        return False
    # Who joins, and who stays after somebody left, goes by how far the consumers are now and not when we last looked.
    _serve(stream)
    if item.kind == COMMAND_REMOVE_STREAM:
        list_remove(cython.address(agent.streams), stream)
        event.kind = EVENT_RELEASED
    elif item.kind == COMMAND_ADD_SUBSCRIBER:
        event.kind = EVENT_SUBSCRIBER_ADDED
        event.numbers[1] = _add_subscriber(stream, position)
    elif item.kind == COMMAND_REMOVE_SUBSCRIBER:
        list_remove(cython.address(stream.subscribers), position)
        _subscribers_changed(stream)
        event.kind = EVENT_SUBSCRIBER_REMOVED
    return True


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def _handle_commands(agent: cython.pointer(StreamConductor)) -> cython.int:
    work: cython.int = 0
    item: cython.pointer(Item)
    event: cython.pointer(Item)
    while True:
        item = queue_peek(cython.address(agent.context.commands))
        if item == cython.NULL:
            return work
        event = queue_claim(cython.address(agent.context.events))
        if event == cython.NULL:
            return work                             # the conductor is behind: this command waits
        if item.kind == COMMAND_ADD_STREAM and not list_add(cython.address(agent.streams), item.target):
            return work                             # no memory: it waits too
        if _handle(agent, item, event):
            queue_publish(cython.address(agent.context.events))
        queue_release(cython.address(agent.context.commands))
        work += 1


def stream_conductor_do_work(agent):
    work: cython.int = _handle_commands(agent)
    index: int32_t
    for index in range(agent.streams.count):
        work += _serve(cython.cast(cython.pointer(IpcStruct), agent.streams.items[index]))
    if agent.context.now_ns - agent.last_heartbeat_ns >= agent.heartbeat_interval_ns:
        agent.last_heartbeat_ns = agent.context.now_ns
        store_release_i64(cython.address(agent.ring.consumer_heartbeat_ms), agent.context.now_ms)
        work += 1
    return work
