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
    EVENT_RELEASED,
)
from cython.cimports.pillion.driver.queues import Item, queue_claim, queue_peek, queue_publish, queue_release
from cython.cimports.pillion.driver.streams import MAX_SUBSCRIBERS, IpcStruct
from cython.cimports.pillion.memory.atomics import load_acquire_i64, store_release_i64
from cython.cimports.pillion.memory.log_buffer import log_clean, log_producer_position

if not cython.compiled:
    raise ImportError("pillion.driver.stream_conductor must be compiled: run `pip install .`")


def positions_add(positions, address):
    if positions.count < MAX_SUBSCRIBERS:
        positions.addresses[positions.count] = address
        positions.count += 1


def positions_remove(positions, address):
    index: int32_t
    for index in range(positions.count):
        if positions.addresses[index] == address:
            positions.count -= 1
            positions.addresses[index] = positions.addresses[positions.count]
            return


def positions_min(positions, smallest, largest):
    """False when nobody consumes. Acquire: what a consumer has read, it has read before it stored its position."""
    index: int32_t
    position: int64_t
    for index in range(positions.count):
        position = load_acquire_i64(positions.addresses[index])
        if index == 0 or position < smallest[0]:
            smallest[0] = position
        if position > largest[0]:
            largest[0] = position
    return positions.count > 0


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def _serve(stream: cython.pointer(IpcStruct)) -> cython.int:
    smallest: int64_t = 0
    largest: int64_t = stream.consumer_position
    limit: int64_t
    store_release_i64(stream.pub_pos, log_producer_position(stream.log))
    if positions_min(cython.address(stream.subscribers), cython.address(smallest), cython.address(largest)):
        store_release_i64(cython.address(stream.consumer_position), largest)
        limit = smallest + stream.window
        if limit > stream.trip_limit:
            # Zero before the limit lets anybody write there.
            while stream.clean_position < smallest:
                stream.clean_position = log_clean(stream.log, stream.clean_position, smallest)
            store_release_i64(stream.pub_lmt, limit)
            stream.trip_limit = limit + stream.window // 8
            return 1
        return 0
    if stream.pub_lmt[0] > stream.consumer_position:
        stream.trip_limit = stream.consumer_position
        store_release_i64(stream.pub_lmt, stream.consumer_position)
        while stream.clean_position < stream.consumer_position:
            stream.clean_position = log_clean(stream.log, stream.clean_position, stream.consumer_position)
        return 1
    return 0


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def _handle_commands(agent: cython.pointer(StreamConductor)) -> cython.int:
    work: cython.int = 0
    index: int32_t
    item: cython.pointer(Item)
    event: cython.pointer(Item)
    while True:
        item = queue_peek(cython.address(agent.context.commands))
        if item == cython.NULL:
            return work
        if item.kind == COMMAND_ADD_STREAM:
            if agent.count < MAX_IPC_STREAMS:
                agent.streams[agent.count] = cython.cast(cython.pointer(IpcStruct), item.target)
                agent.count += 1
        elif item.kind == COMMAND_REMOVE_STREAM:
            event = queue_claim(cython.address(agent.context.events))
            if event == cython.NULL:
                return work                         # the conductor is behind: this one waits
            for index in range(agent.count):
                if agent.streams[index] == item.target:
                    agent.count -= 1
                    agent.streams[index] = agent.streams[agent.count]
                    break
            event.kind = EVENT_RELEASED
            event.target = item.target
            queue_publish(cython.address(agent.context.events))
        elif item.kind == COMMAND_ADD_SUBSCRIBER:
            positions_add(cython.address(cython.cast(cython.pointer(IpcStruct), item.target).subscribers),
                          cython.cast(cython.pointer(int64_t), item.other))
        elif item.kind == COMMAND_REMOVE_SUBSCRIBER:
            positions_remove(cython.address(cython.cast(cython.pointer(IpcStruct), item.target).subscribers),
                             cython.cast(cython.pointer(int64_t), item.other))
        queue_release(cython.address(agent.context.commands))
        work += 1


def stream_conductor_do_work(agent):
    work: cython.int = _handle_commands(agent)
    index: int32_t
    for index in range(agent.count):
        work += _serve(agent.streams[index])
    if agent.context.now_ns - agent.last_heartbeat_ns >= agent.heartbeat_interval_ns:
        agent.last_heartbeat_ns = agent.context.now_ns
        store_release_i64(cython.address(agent.ring.consumer_heartbeat_ms), agent.context.now_ms)
        work += 1
    return work
