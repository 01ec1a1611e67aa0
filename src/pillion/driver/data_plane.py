"""The three native agents, the threads they run on, and the only door to them.

Every public method is called by the conductor under the GIL. A method hands a command to the owning agent and returns;
what the agents have to say comes out of `poll_event`. What was handed over is kept alive here until its agent released it.
"""

from __future__ import annotations

import threading
import time

import cython
from cython.cimports.libc.stdint import int32_t, int64_t
from cython.cimports.libc.stdlib import calloc, free
from cython.cimports.pillion.driver.context import (
    COMMAND_ADD_ENDPOINT,
    COMMAND_ADD_INTEREST,
    COMMAND_ADD_STREAM,
    COMMAND_ADD_SUBSCRIBER,
    COMMAND_REMOVE_ENDPOINT,
    COMMAND_REMOVE_INTEREST,
    COMMAND_REMOVE_STREAM,
    COMMAND_REMOVE_SUBSCRIBER,
    COMMAND_SETUP_REFUSED,
    EVENT_ERROR_FRAME,
    EVENT_FIRST_LOSS,
    EVENT_RELEASED,
    EVENT_SETUP,
)
from cython.cimports.pillion.driver.queues import Item, Queue, queue_claim, queue_free, queue_init, queue_peek, queue_publish, queue_release
from cython.cimports.pillion.driver.receiver import Receiver, receiver_do_work
from cython.cimports.pillion.driver.sender import Sender, sender_do_work
from cython.cimports.pillion.driver.stream_conductor import StreamConductor, stream_conductor_do_work
from cython.cimports.pillion.driver.streams import (
    IpcPublication,
    NetworkPublication,
    PublicationImage,
    ReceiveEndpoint,
    SendEndpoint,
)
from cython.cimports.pillion.driver.udp.transport import batch_free, batch_init
from cython.cimports.pillion.memory.atomics import cpu_pause, load_acquire_i32, store_release_i32
from cython.cimports.pillion.memory.counters import CountersReader
from cython.cimports.posix.time import CLOCK_MONOTONIC, CLOCK_REALTIME, clock_gettime, nanosleep, timespec

from pillion.driver.events import DriverEvent

if not cython.compiled:
    raise ImportError("pillion.driver.data_plane must be compiled: run `pip install .`")

STREAMS = cython.declare(cython.int, 1)
SENDER = cython.declare(cython.int, 2)
RECEIVER = cython.declare(cython.int, 4)
QUEUE_CAPACITY = cython.declare(int64_t, 1024)

#: Which agents share a thread in each threading mode.
THREADS = {
    "dedicated": (1, 2, 4),
    "shared_network": (1, 6),
    "shared": (7,),
    "invoker": (),
}


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def _clock(which: cython.int) -> int64_t:
    now: timespec
    clock_gettime(which, cython.address(now))
    return cython.cast(int64_t, now.tv_sec) * 1_000_000_000 + now.tv_nsec


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def _sleep(duration_ns: int64_t) -> cython.void:
    pause: timespec
    pause.tv_sec = 0
    pause.tv_nsec = duration_ns
    nanosleep(cython.address(pause), cython.NULL)


class DataPlane:
    """Sender, receiver and stream conductor of one driver."""

    def __cinit__(self):
        self.streams = cython.cast(cython.pointer(StreamConductor), calloc(1, cython.sizeof(StreamConductor)))
        self.sender = cython.cast(cython.pointer(Sender), calloc(1, cython.sizeof(Sender)))
        self.receiver = cython.cast(cython.pointer(Receiver), calloc(1, cython.sizeof(Receiver)))
        if self.streams == cython.NULL or self.sender == cython.NULL or self.receiver == cython.NULL:
            raise MemoryError
        if not (_init(cython.address(self.streams.context)) and _init(cython.address(self.sender.context))
                and _init(cython.address(self.receiver.context))
                and batch_init(cython.address(self.sender.batch)) and batch_init(cython.address(self.receiver.batch))):
            raise MemoryError

    def __init__(self, *, counters: CountersReader, ring, threading_mode: str, heartbeat_interval_ns: int,
                 max_park_ns: int = 1_000_000):
        if threading_mode not in THREADS:
            raise ValueError(f"threading_mode={threading_mode!r} must be one of {', '.join(THREADS)}")
        self.counters = counters
        self.ring = ring
        self.threading_mode = threading_mode
        self.max_park_ns = max_park_ns
        self.owned = {}
        self.threads = []
        self.streams.context.system = counters.values
        self.sender.context.system = counters.values
        self.receiver.context.system = counters.values
        self.streams.ring = self.ring.trailer
        self.streams.heartbeat_interval_ns = heartbeat_interval_ns
        self.streams.last_heartbeat_ns = time.monotonic_ns()

    def __dealloc__(self):
        # Threads hold a reference to us while they run, so nothing runs here any more.
        if self.streams != cython.NULL:
            queue_free(cython.address(self.streams.context.commands))
            queue_free(cython.address(self.streams.context.events))
            free(self.streams)
        if self.sender != cython.NULL:
            queue_free(cython.address(self.sender.context.commands))
            queue_free(cython.address(self.sender.context.events))
            batch_free(cython.address(self.sender.batch))
            free(self.sender)
        if self.receiver != cython.NULL:
            queue_free(cython.address(self.receiver.context.commands))
            queue_free(cython.address(self.receiver.context.events))
            batch_free(cython.address(self.receiver.batch))
            free(self.receiver)

    # ---- running ----------------------------------------------------------------------------------------------------

    def _cycle(self, agents, now_ns, now_ms, work):
        # The clock is read once a cycle, by whoever runs the cycle.
        if agents & STREAMS:
            self.streams.context.now_ns = now_ns
            self.streams.context.now_ms = now_ms
            work[0] += stream_conductor_do_work(self.streams)
        if agents & RECEIVER:
            self.receiver.context.now_ns = now_ns
            self.receiver.context.now_ms = now_ms
            work[0] += receiver_do_work(self.receiver)
        if agents & SENDER:
            self.sender.context.now_ns = now_ns
            self.sender.context.now_ms = now_ms
            work[0] += sender_do_work(self.sender)

    def do_work(self) -> int:
        """One cycle of all agents, in the caller's thread; for the invoker mode only."""
        work: cython.int = 0
        with cython.nogil:
            self._cycle(STREAMS | SENDER | RECEIVER, _clock(CLOCK_MONOTONIC), _clock(CLOCK_REALTIME) // 1_000_000,
                        cython.address(work))
        return work

    def step(self, now_ns: int, now_ms: int) -> int:
        """One cycle of all agents at a time the caller decides: simulations are built of this."""
        work: cython.int = 0
        self._cycle(STREAMS | SENDER | RECEIVER, now_ns, now_ms, cython.address(work))
        return work

    def _run(self, agents: cython.int):
        """The body of an agent thread: cycles, and the back-off when there is nothing to do. Never takes the GIL."""
        work: cython.int
        idle: int64_t = 0
        park_ns: int64_t = 0
        with cython.nogil:
            while load_acquire_i32(cython.address(self.stopping)) == 0:
                work = 0
                self._cycle(agents, _clock(CLOCK_MONOTONIC), _clock(CLOCK_REALTIME) // 1_000_000, cython.address(work))
                if work > 0:
                    idle = 0
                    continue
                idle += 1
                if idle < 20:
                    cpu_pause()
                elif idle < 60:
                    _sleep(1)
                else:
                    park_ns = 10_000 if idle < 200 else park_ns * 2
                    if park_ns > self.max_park_ns:
                        park_ns = self.max_park_ns
                    _sleep(park_ns)

    def start(self) -> None:
        """Start the threads of the mode."""
        for agents in THREADS[self.threading_mode]:
            names = [name for bit, name in ((1, "streams"), (2, "sender"), (4, "receiver")) if agents & bit]
            thread = threading.Thread(target=self._run, args=(agents,), name=f"pillion-{'-'.join(names)}", daemon=True)
            self.threads.append(thread)
            thread.start()
        self.running = True

    def close(self) -> None:
        """Stop the threads and wait for them. Again does nothing."""
        store_release_i32(cython.address(self.stopping), 1)
        for thread in self.threads:
            thread.join()
        self.threads = []
        self.owned.clear()

    def _has_events(self):
        return (
            queue_peek(cython.address(self.streams.context.events)) != cython.NULL
            or queue_peek(cython.address(self.sender.context.events)) != cython.NULL
            or queue_peek(cython.address(self.receiver.context.events)) != cython.NULL
        )

    def wait(self, timeout_ns: int64_t) -> bool:
        """Wait without the GIL until there is a command or an event, at most `timeout_ns`. True if there is."""
        deadline_ns: int64_t
        park_ns: int64_t = 20_000
        found: cython.bint = False
        with cython.nogil:
            deadline_ns = _clock(CLOCK_MONOTONIC) + timeout_ns
            while True:
                if self.ring.has_work() or self._has_events() or load_acquire_i32(cython.address(self.woken)):
                    found = True
                    break
                if _clock(CLOCK_MONOTONIC) >= deadline_ns or load_acquire_i32(cython.address(self.stopping)):
                    break
                _sleep(park_ns)
                if park_ns < self.max_park_ns:
                    park_ns *= 2
        store_release_i32(cython.address(self.woken), 0)
        return found

    def wake(self) -> None:
        """Make `wait` return. From any thread."""
        store_release_i32(cython.address(self.woken), 1)

    # ---- commands ---------------------------------------------------------------------------------------------------

    def add_ipc_publication(self, stream: IpcPublication) -> None:
        self.owned[cython.cast(int64_t, stream.stream)] = stream
        _command(self, cython.address(self.streams.context.commands), COMMAND_ADD_STREAM, stream.stream, cython.NULL, 0, 0, 0)

    def remove_ipc_publication(self, stream: IpcPublication) -> None:
        _command(self, cython.address(self.streams.context.commands), COMMAND_REMOVE_STREAM, stream.stream, cython.NULL, 0, 0, 0)

    def add_send_endpoint(self, endpoint: SendEndpoint) -> None:
        self.owned[cython.cast(int64_t, endpoint.endpoint)] = endpoint
        _command(self, cython.address(self.sender.context.commands), COMMAND_ADD_ENDPOINT, endpoint.endpoint, cython.NULL, 0, 0, 0)

    def remove_send_endpoint(self, endpoint: SendEndpoint) -> None:
        _command(self, cython.address(self.sender.context.commands), COMMAND_REMOVE_ENDPOINT, endpoint.endpoint, cython.NULL, 0, 0, 0)

    def add_network_publication(self, stream: NetworkPublication) -> None:
        self.owned[cython.cast(int64_t, stream.stream)] = stream
        _command(self, cython.address(self.sender.context.commands), COMMAND_ADD_STREAM, stream.stream, cython.NULL, 0, 0, 0)

    def remove_network_publication(self, stream: NetworkPublication) -> None:
        _command(self, cython.address(self.sender.context.commands), COMMAND_REMOVE_STREAM, stream.stream, cython.NULL, 0, 0, 0)

    def add_receive_endpoint(self, endpoint: ReceiveEndpoint) -> None:
        self.owned[cython.cast(int64_t, endpoint.endpoint)] = endpoint
        _command(self, cython.address(self.receiver.context.commands), COMMAND_ADD_ENDPOINT, endpoint.endpoint, cython.NULL, 0, 0, 0)

    def remove_receive_endpoint(self, endpoint: ReceiveEndpoint) -> None:
        _command(self, cython.address(self.receiver.context.commands), COMMAND_REMOVE_ENDPOINT, endpoint.endpoint, cython.NULL, 0, 0, 0)

    def add_image(self, stream: PublicationImage) -> None:
        self.owned[cython.cast(int64_t, stream.stream)] = stream
        _command(self, cython.address(self.receiver.context.commands), COMMAND_ADD_STREAM, stream.stream, cython.NULL, 0, 0, 0)

    def remove_image(self, stream: PublicationImage, cool_down: bool) -> None:
        _command(self, cython.address(self.receiver.context.commands), COMMAND_REMOVE_STREAM, stream.stream, cython.NULL, cool_down, 0, 0)

    def add_subscription(self, endpoint: ReceiveEndpoint, stream_id: int, session_id: int | None) -> None:
        _command(self, cython.address(self.receiver.context.commands), COMMAND_ADD_INTEREST, endpoint.endpoint, cython.NULL,
                 stream_id, session_id or 0, session_id is None)

    def remove_subscription(self, endpoint: ReceiveEndpoint, stream_id: int, session_id: int | None) -> None:
        _command(self, cython.address(self.receiver.context.commands), COMMAND_REMOVE_INTEREST, endpoint.endpoint, cython.NULL,
                 stream_id, session_id or 0, session_id is None)

    def setup_refused(self, endpoint: ReceiveEndpoint, stream_id: int, session_id: int) -> None:
        _command(self, cython.address(self.receiver.context.commands), COMMAND_SETUP_REFUSED, endpoint.endpoint, cython.NULL,
                 stream_id, session_id, 0)

    def add_subscriber(self, stream, position_id: int) -> None:
        """Follow a subscriber's position on a stream of any kind."""
        self._subscriber(stream, position_id, COMMAND_ADD_SUBSCRIBER)

    def remove_subscriber(self, stream, position_id: int) -> None:
        self._subscriber(stream, position_id, COMMAND_REMOVE_SUBSCRIBER)

    def _subscriber(self, stream, position_id: int, kind: cython.int):
        address: cython.p_void = self.counters.value_address(position_id)
        if isinstance(stream, IpcPublication):
            _command(self, cython.address(self.streams.context.commands), kind,
                     cython.cast(IpcPublication, stream).stream, address, 0, 0, 0)
        elif isinstance(stream, NetworkPublication):
            _command(self, cython.address(self.sender.context.commands), kind,
                     cython.cast(NetworkPublication, stream).stream, address, 0, 0, 0)
        else:
            _command(self, cython.address(self.receiver.context.commands), kind,
                     cython.cast(PublicationImage, stream).stream, address, 0, 0, 0)

    # ---- events -----------------------------------------------------------------------------------------------------

    def poll_event(self):
        """The next event of any agent as a tuple that begins with a `DriverEvent`, None if there is none."""
        event = _take(self, cython.address(self.receiver.context.events))
        if event is None:
            event = _take(self, cython.address(self.sender.context.events))
        if event is None:
            event = _take(self, cython.address(self.streams.context.events))
        return event


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def _init(context: cython.pointer(AgentContext)) -> cython.bint:
    return queue_init(cython.address(context.commands), QUEUE_CAPACITY) and (
        queue_init(cython.address(context.events), QUEUE_CAPACITY))


@cython.cfunc
def _command(plane: DataPlane, queue: cython.pointer(Queue), kind: cython.int, target: cython.p_void,
             other: cython.p_void, first: int64_t, second: int64_t, flags: int32_t):
    item: cython.pointer(Item) = queue_claim(queue)
    while item == cython.NULL:
        # The agents drain their commands each cycle, so this is short; in invoker mode the cycle is ours to run.
        if plane.threads:
            time.sleep(0.0001)
        else:
            plane.do_work()
        item = queue_claim(queue)
    item.kind = kind
    item.target = target
    item.other = other
    item.numbers[0] = first
    item.numbers[1] = second
    item.flags = flags
    queue_publish(queue)


@cython.cfunc
def _take(plane: DataPlane, queue: cython.pointer(Queue)):
    item: cython.pointer(Item) = queue_peek(queue)
    if item == cython.NULL:
        return None
    key = cython.cast(int64_t, item.target)
    target = plane.owned.get(key)
    source = item.source.bytes[:item.source.length]
    if item.kind == EVENT_RELEASED:
        plane.owned.pop(key, None)
        event = (DriverEvent.RELEASED, target)
    elif item.kind == EVENT_SETUP:
        event = (DriverEvent.SETUP, target, *[item.numbers[i] for i in range(8)], item.flags, source)
    elif item.kind == EVENT_ERROR_FRAME:
        event = (DriverEvent.ERROR_FRAME, target, item.numbers[0], item.numbers[1] if item.flags & 8 else -1,
                 item.numbers[2], item.text[:item.text_length], source)
    elif item.kind == EVENT_FIRST_LOSS:
        event = (DriverEvent.FIRST_LOSS, target, item.numbers[0])
    else:
        event = None
    queue_release(queue)
    return event
