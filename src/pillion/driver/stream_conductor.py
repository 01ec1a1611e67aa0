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
    take_commands,
)
from cython.cimports.pillion.driver.positions import list_add, list_remove, positions_range
from cython.cimports.pillion.driver.publisher_limit import (
    PublisherLimit,
    limit_end,
    limit_observe,
    limit_open,
    limit_shut,
)
from cython.cimports.pillion.driver.queues import Item
from cython.cimports.pillion.driver.streams import IpcStruct
from cython.cimports.pillion.memory.atomics import (
    load_acquire_i32,
    store_release_i32,
    store_release_i64,
)

if not cython.compiled:
    raise ImportError("pillion.driver.stream_conductor must be compiled: run `pip install .`")

NOBODY = cython.declare(int64_t, 0x7FFFFFFFFFFFFFFF)


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def _serve(stream: cython.pointer(IpcStruct)) -> cython.int:
    smallest: int64_t = NOBODY
    largest: int64_t = 0
    limit: cython.pointer(PublisherLimit) = cython.address(stream.limit)
    end_state: int32_t = load_acquire_i32(cython.address(stream.end_state))
    # Positions first, then the producer's: what was consumed was produced, so no honest position is held back here.
    consumed: cython.bint = positions_range(cython.address(stream.subscribers), limit.clean_position, NOBODY,
                                            cython.address(smallest), cython.address(largest))
    producer: int64_t = limit_observe(limit, limit.clean_position)
    if consumed:
        smallest = min(smallest, producer)
        largest = min(largest, producer)
        if largest > stream.consumer_position:
            store_release_i64(cython.address(stream.consumer_position), largest)
    store_release_i64(cython.address(stream.slowest_position), smallest)
    if end_state != stream.end_applied:
        _apply_end(stream, end_state, producer)
    if end_state != END_OPEN:
        return 0
    if consumed:
        if smallest + limit.window > stream.trip_limit and limit_open(limit, smallest, smallest):
            stream.trip_limit = limit.position + limit.window // 8
            return 1
    elif limit.position > stream.consumer_position:
        stream.trip_limit = stream.consumer_position
        limit_shut(limit, stream.consumer_position, stream.consumer_position)
        return 1
    return 0


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def _apply_end(stream: cython.pointer(IpcStruct), state: int32_t, producer: int64_t) -> cython.void:
    limit_end(cython.address(stream.limit), producer, state == END_REVOKED)
    if state == END_REVOKED:
        store_release_i32(cython.address(stream.log.metadata.is_connected), 0)
    stream.end_applied = state


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def _add_subscriber(stream: cython.pointer(IpcStruct), position: cython.pointer(int64_t)) -> int64_t:
    """The new subscriber's position: the slowest's, or the furthest ever read if it is alone. -1: no memory."""
    smallest: int64_t = NOBODY
    largest: int64_t = 0
    positions_range(cython.address(stream.subscribers), stream.limit.clean_position, stream.consumer_position,
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
def _handle(owner: cython.p_void, item: cython.pointer(Item), event: cython.pointer(Item)) -> cython.bint:
    agent: cython.pointer(StreamConductor) = cython.cast(cython.pointer(StreamConductor), owner)
    stream: cython.pointer(IpcStruct) = cython.cast(cython.pointer(IpcStruct), item.target)
    position: cython.pointer(int64_t) = cython.cast(cython.pointer(int64_t), item.other)
    if item.kind == COMMAND_ADD_STREAM:
        if not list_add(cython.address(agent.streams), stream):
            return False
        _subscribers_changed(stream)                # those linked before the stream was handed over
        return True
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


def stream_conductor_do_work(agent):
    work: cython.int = take_commands(cython.address(agent.context), _handle, agent)
    index: int32_t
    for index in range(agent.streams.count):
        work += _serve(cython.cast(cython.pointer(IpcStruct), agent.streams.items[index]))
    agent.context.traffic = work > 0
    if agent.context.now_ns - agent.last_heartbeat_ns >= agent.heartbeat_interval_ns:
        agent.last_heartbeat_ns = agent.context.now_ns
        store_release_i64(cython.address(agent.ring.consumer_heartbeat_ms), agent.context.now_ms)
        work += 1
    return work
