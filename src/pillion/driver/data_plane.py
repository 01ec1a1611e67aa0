"""The three native agents, the threads they run on, and the only door to them.

Every public method is called by the conductor under the GIL, in one thread. A method hands a command to the owning
agent and returns; what the agents have to say comes out of `poll_event`. What was handed over is kept alive here until
its agent released it.
"""

from __future__ import annotations

import os
import threading
import time
from collections import deque

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
    EVENT_SUBSCRIBER_ADDED,
    EVENT_SUBSCRIBER_REMOVED,
    RECEIVER_PROXY_FAILS,
    SENDER_PROXY_FAILS,
    AgentContext,
)
from cython.cimports.pillion.driver.control import poll_control
from cython.cimports.pillion.driver.idling import (
    IDLE_ADAPTIVE,
    PollSet,
    idle_after,
    poll_set_add,
    poll_set_free,
    prepare_thread,
    ring_bell,
    sleep_ns,
    wait_for_bell,
)
from cython.cimports.pillion.driver.positions import PointerList, list_free
from cython.cimports.pillion.driver.queues import (
    Item,
    queue_claim,
    queue_free,
    queue_has_items,
    queue_init,
    queue_peek,
    queue_publish,
    queue_release,
)
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
from cython.cimports.pillion.memory.atomics import load_acquire_i32, store_release_i32
from cython.cimports.pillion.memory.counters import CountersReader
from cython.cimports.posix.time import CLOCK_MONOTONIC, CLOCK_REALTIME, clock_gettime, timespec

from pillion.driver.events import DriverEvent
from pillion.driver.idling import idler_arguments

if not cython.compiled:
    raise ImportError("pillion.driver.data_plane must be compiled: run `pip install .`")

STREAMS = cython.declare(cython.int, 1)
SENDER = cython.declare(cython.int, 2)
RECEIVER = cython.declare(cython.int, 4)
ALL = cython.declare(cython.int, 7)
QUEUE_CAPACITY = cython.declare(int64_t, 1024)
MAX_WAIT_PARK_NS = cython.declare(int64_t, 1_000_000)         # of `wait` where no thread of ours rings
# While memory must be looked at: clients' commands, streams, consumers' positions.
STREAMS_PARK_NS = cython.declare(int64_t, 1_000_000)
EMPTY_PARK_NS = cython.declare(int64_t, 5_000_000)            # while only sockets and commands can bring work

#: Which agents share a thread in each threading mode, and the name of its idle strategy.
THREADS = {
    "dedicated": ((1, "conductor"), (2, "sender"), (4, "receiver")),
    "shared_network": ((1, "conductor"), (6, "sharednetwork")),
    "shared": ((7, "shared"),),
    "invoker": (),
}
IDLE_NAMES = ("conductor", "sender", "receiver", "shared", "sharednetwork")
AGENT_NAMES = ((1, "streams"), (2, "sender"), (4, "receiver"))


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def _clock(which: cython.int) -> int64_t:
    now: timespec
    clock_gettime(which, cython.address(now))
    return cython.cast(int64_t, now.tv_sec) * 1_000_000_000 + now.tv_nsec


class AgentThread:
    """One thread and the agents that it runs: cycles, and the idle strategy when there is nothing to do."""

    def __cinit__(self):
        self.doorbell = -1

    def __init__(self, plane: DataPlane, agents: int, idle):
        self.plane = plane
        self.agents = agents
        self.name = "pillion-" + "-".join(name for bit, name in AGENT_NAMES if agents & bit)
        kind, spins, yields, low, high = idler_arguments(idle)
        self.idler.kind = kind
        self.idler.max_spins = spins
        self.idler.max_yields = yields
        self.idler.min_park_ns = low
        self.idler.max_park_ns = high
        self.doorbell = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)
        self.thread = threading.Thread(target=self._run, name=self.name, daemon=True)

    def __dealloc__(self):
        poll_set_free(cython.address(self.idler.waits))
        if self.doorbell >= 0:
            os.close(self.doorbell)

    def start(self):
        self.thread.start()

    def join(self):
        self._ring()
        self.thread.join()

    def _ring(self):
        ring_bell(self.doorbell)

    def _watch(self):
        """Gather what this thread waits for: its doorbell, and the sockets of its agents."""
        waits: cython.pointer(PollSet) = cython.address(self.idler.waits)
        waits.count = 0
        poll_set_add(waits, self.doorbell)
        if self.agents & SENDER:
            _add_all(waits, cython.address(self.plane.sender.context.sockets))
        if self.agents & RECEIVER:
            _add_all(waits, cython.address(self.plane.receiver.context.sockets))

    def _longest_park(self):
        """How long this thread may sleep: shorter while something can change without a datagram or its doorbell."""
        busy: cython.bint = (
            self.agents & STREAMS                   # clients' commands come at any time
            or (self.agents & SENDER and self.plane.sender.streams.count > 0)
            or (self.agents & RECEIVER and self.plane.receiver.images.count > 0)
        )
        return STREAMS_PARK_NS if busy else EMPTY_PARK_NS

    def _run(self):
        """The body of the thread. Never takes the GIL between the first cycle and the last."""
        work: cython.int
        adaptive: cython.bint = self.idler.kind == IDLE_ADAPTIVE
        plane: DataPlane = self.plane
        raw: bytes = self.name.encode()
        name: cython.p_char = raw
        with cython.nogil:
            prepare_thread(name)
            while load_acquire_i32(cython.address(plane.stopping)) == 0:
                work = 0
                plane._cycle(self.agents, _clock(CLOCK_MONOTONIC), _clock(CLOCK_REALTIME) // 1_000_000,
                             cython.address(work))
                # A command that is claimed and not written yet rings too: the conductor looks, and waits again.
                if self.agents & STREAMS and load_acquire_i32(cython.address(plane.waiting)) and (
                    plane.ring.is_claimed() or plane._has_events()
                ):
                    ring_bell(plane.bell)
                if adaptive:
                    # Heartbeats are no reason to look again at once.
                    work = plane._has_traffic(self.agents)
                if work == 0 and self.idler.step >= self.idler.max_spins + self.idler.max_yields:
                    self._watch()
                idle_after(cython.address(self.idler), work, self._longest_park())


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def _add_all(waits: cython.pointer(PollSet), sockets: cython.pointer(PollSet)) -> cython.void:
    index: int32_t
    for index in range(sockets.count):
        poll_set_add(waits, sockets.fds[index].fd)


class DataPlane:
    """Sender, receiver and stream conductor of one driver.

    `threading_mode` is "dedicated", "shared_network", "shared" or "invoker"; `idle` gives the idle strategies by the
    names of the configuration ("conductor", "sender", "receiver", "shared", "sharednetwork"), each as `parse_idle`
    returns it, default adaptive. `cycle_threshold_ns` is a number for sender and receiver or a mapping with both names.
    Times in ns.
    """

    def __cinit__(self):
        self.bell = -1
        self.bell = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)
        self.streams = cython.cast(cython.pointer(StreamConductor), calloc(1, cython.sizeof(StreamConductor)))
        self.sender = cython.cast(cython.pointer(Sender), calloc(1, cython.sizeof(Sender)))
        self.receiver = cython.cast(cython.pointer(Receiver), calloc(1, cython.sizeof(Receiver)))
        if self.streams == cython.NULL or self.sender == cython.NULL or self.receiver == cython.NULL:
            raise MemoryError
        if not (_init(cython.address(self.streams.context)) and _init(cython.address(self.sender.context))
                and _init(cython.address(self.receiver.context))
                and batch_init(cython.address(self.sender.batch)) and batch_init(cython.address(self.receiver.batch))):
            raise MemoryError

    def __init__(self, *, counters: CountersReader, ring, threading_mode: str,
                 heartbeat_interval_ns: int = 1_000_000_000,
                 idle=None, cycle_threshold_ns=100_000_000, status_message_timeout_ns: int = 200_000_000,
                 send_to_status_poll_ratio: int = 6, now_ns: int | None = None):
        if threading_mode not in THREADS:
            raise ValueError(f"threading_mode={threading_mode!r} must be one of {', '.join(THREADS)}")
        self.idle = dict(idle or {})
        for name, spec in self.idle.items():
            if name not in IDLE_NAMES:
                raise ValueError(f"idle strategy for {name!r}: the names are {', '.join(IDLE_NAMES)}")
            idler_arguments(spec)
        thresholds = cycle_threshold_ns if isinstance(cycle_threshold_ns, dict) else {
            "sender": cycle_threshold_ns, "receiver": cycle_threshold_ns}
        self.counters = counters
        self.ring = ring
        self.threading_mode = threading_mode
        self.owned = {}
        self.leaving = set()
        self.backlog = deque()
        self.threads = []
        self.streams.context.system = counters.values
        self.sender.context.system = counters.values
        self.receiver.context.system = counters.values
        self.sender.context.cycle_threshold_ns = thresholds["sender"]
        self.receiver.context.cycle_threshold_ns = thresholds["receiver"]
        self.sender.poll_ratio = send_to_status_poll_ratio
        self.sender.poll_interval_ns = status_message_timeout_ns // 2
        self.streams.ring = self.ring.trailer
        self.streams.heartbeat_interval_ns = heartbeat_interval_ns
        self.now_ns = time.monotonic_ns() if now_ns is None else now_ns
        self.streams.last_heartbeat_ns = self.now_ns

    def __dealloc__(self):
        # Threads hold a reference to us while they run, so nothing runs here any more.
        if self.bell >= 0:
            os.close(self.bell)
        if self.streams != cython.NULL:
            _free(cython.address(self.streams.context), cython.address(self.streams.streams))
            free(self.streams)
        if self.sender != cython.NULL:
            _free(cython.address(self.sender.context), cython.address(self.sender.streams))
            list_free(cython.address(self.sender.endpoints))
            batch_free(cython.address(self.sender.batch))
            free(self.sender)
        if self.receiver != cython.NULL:
            _free(cython.address(self.receiver.context), cython.address(self.receiver.images))
            list_free(cython.address(self.receiver.endpoints))
            batch_free(cython.address(self.receiver.batch))
            free(self.receiver)

    # ---- running ----------------------------------------------------------------------------------------------------

    def _cycle(self, agents, now_ns, now_ms, work):
        # The clock is read once a cycle, by whoever runs the cycle.
        if agents & STREAMS:
            self.streams.context.now_ns = now_ns
            self.streams.context.now_ms = now_ms
            work[0] += stream_conductor_do_work(self.streams)
        if agents & SENDER:
            self.sender.context.now_ns = now_ns
            self.sender.context.now_ms = now_ms
            work[0] += sender_do_work(self.sender)
            if self.sender.control_due:
                work[0] += poll_control(self.sender)
        if agents & RECEIVER:
            self.receiver.context.now_ns = now_ns
            self.receiver.context.now_ms = now_ms
            work[0] += receiver_do_work(self.receiver)

    def _has_traffic(self, agents):
        return (
            (agents & STREAMS and self.streams.context.traffic)
            or (agents & SENDER and self.sender.context.traffic)
            or (agents & RECEIVER and self.receiver.context.traffic)
        )

    def do_work(self) -> int:
        """One cycle of all agents, in the caller's thread; for the invoker mode only."""
        self._require_no_threads()
        work: cython.int = 0
        with cython.nogil:
            self.now_ns = _clock(CLOCK_MONOTONIC)
            self.now_ms = _clock(CLOCK_REALTIME) // 1_000_000
            self._cycle(ALL, self.now_ns, self.now_ms, cython.address(work))
        return work

    def is_conductor_due(self, timer_ns: int64_t) -> bool:
        """After `do_work`: whether the conductor has anything to do, its timer included."""
        due: cython.bint = len(self.backlog) > 0 or self.now_ns >= timer_ns or self._has_work()
        if due:
            # Taken before the conductor looks, and only if it will: a `wake` that comes now counts for the next time.
            store_release_i32(cython.address(self.woken), 0)
        return due

    def step(self, now_ns: int, now_ms: int) -> int:
        """One cycle of all agents at a time the caller decides: simulations are built of this."""
        self._require_no_threads()
        work: cython.int = 0
        self.now_ns = now_ns
        self.now_ms = now_ms
        self._cycle(ALL, now_ns, now_ms, cython.address(work))
        return work

    def _require_no_threads(self):
        if self.threads:
            raise RuntimeError(f"the agents run on threads of their own in threading mode {self.threading_mode!r}")
        if self.stopping:
            raise RuntimeError("the data plane is closed")

    def start(self) -> None:
        """Start the threads of the mode. Again does nothing."""
        if self.threads or self.stopping:
            return
        for agents, name in THREADS[self.threading_mode]:
            self.threads.append(AgentThread(self, agents, self.idle.get(name, ("adaptive",))))
        for thread in self.threads:
            thread.start()

    def close(self) -> None:
        """Stop the threads and wait for them; nothing that was handed over is in use afterwards. Again does nothing."""
        store_release_i32(cython.address(self.stopping), 1)
        for thread in self.threads:
            thread.join()
        self.threads = []
        self.owned.clear()
        self.leaving.clear()

    def _has_events(self):
        return (
            queue_has_items(cython.address(self.streams.context.events))
            or queue_has_items(cython.address(self.sender.context.events))
            or queue_has_items(cython.address(self.receiver.context.events))
        )

    def _has_work(self):
        return self.ring.has_work() or self._has_events() or load_acquire_i32(cython.address(self.woken)) != 0

    def wait(self, timeout_ns: int64_t) -> bool:
        """Wait without the GIL until there is a command or an event, at most `timeout_ns`. True if there is."""
        deadline_ns: int64_t
        left_ns: int64_t
        park_ns: int64_t = 20_000
        found: cython.bint = len(self.backlog) > 0
        threaded: cython.bint = len(self.threads) > 0
        with cython.nogil:
            deadline_ns = _clock(CLOCK_MONOTONIC) + timeout_ns
            while not found:
                if self._has_work():
                    found = True
                    break
                left_ns = deadline_ns - _clock(CLOCK_MONOTONIC)
                if left_ns <= 0 or load_acquire_i32(cython.address(self.stopping)):
                    break
                if threaded:
                    # The stream conductor looks for us, once a cycle: what came between our look and this is seen by
                    # its next one. So an idle driver has one thread that wakes often, and not two.
                    store_release_i32(cython.address(self.waiting), 1)
                    wait_for_bell(self.bell, left_ns)
                    store_release_i32(cython.address(self.waiting), 0)
                else:
                    sleep_ns(min(park_ns, left_ns))
                    park_ns = min(park_ns * 2, MAX_WAIT_PARK_NS)
        if threaded:
            # The caller's conductor looks next. Where nobody runs it but when it is due, `is_conductor_due` takes this.
            store_release_i32(cython.address(self.woken), 0)
        return found

    def wake(self) -> None:
        """Make `wait` return. From any thread."""
        store_release_i32(cython.address(self.woken), 1)
        ring_bell(self.bell)

    # ---- commands ---------------------------------------------------------------------------------------------------

    def add_ipc_publication(self, stream: IpcPublication) -> None:
        self._own(cython.cast(int64_t, stream.stream), stream, stream.handed_over)
        stream.handed_over = True
        self._command(STREAMS, COMMAND_ADD_STREAM, cython.cast(int64_t, stream.stream), 0, 0, 0, 0)

    def remove_ipc_publication(self, stream: IpcPublication) -> None:
        """Answered by RELEASED, as every `remove_*` of a stream or endpoint."""
        self._leave(cython.cast(int64_t, stream.stream), stream)
        self._command(STREAMS, COMMAND_REMOVE_STREAM, cython.cast(int64_t, stream.stream), 0, 0, 0, 0)

    def add_send_endpoint(self, endpoint: SendEndpoint) -> None:
        self._own(cython.cast(int64_t, endpoint.endpoint), endpoint, False)
        self._command(SENDER, COMMAND_ADD_ENDPOINT, cython.cast(int64_t, endpoint.endpoint), 0, 0, 0, 0)

    def remove_send_endpoint(self, endpoint: SendEndpoint) -> None:
        """Once its publications were removed."""
        self._leave(cython.cast(int64_t, endpoint.endpoint), endpoint)
        self._command(SENDER, COMMAND_REMOVE_ENDPOINT, cython.cast(int64_t, endpoint.endpoint), 0, 0, 0, 0)

    def add_network_publication(self, stream: NetworkPublication) -> None:
        """After `add_send_endpoint` of its endpoint."""
        self._require(cython.cast(int64_t, stream.endpoint.endpoint), stream.endpoint)
        self._own(cython.cast(int64_t, stream.stream), stream, stream.handed_over)
        stream.handed_over = True
        self._command(SENDER, COMMAND_ADD_STREAM, cython.cast(int64_t, stream.stream), 0, 0, 0, 0)

    def remove_network_publication(self, stream: NetworkPublication) -> None:
        self._leave(cython.cast(int64_t, stream.stream), stream)
        self._command(SENDER, COMMAND_REMOVE_STREAM, cython.cast(int64_t, stream.stream), 0, 0, 0, 0)

    def add_receive_endpoint(self, endpoint: ReceiveEndpoint) -> None:
        self._own(cython.cast(int64_t, endpoint.endpoint), endpoint, False)
        self._command(RECEIVER, COMMAND_ADD_ENDPOINT, cython.cast(int64_t, endpoint.endpoint), 0, 0, 0, 0)

    def remove_receive_endpoint(self, endpoint: ReceiveEndpoint) -> None:
        """Once its images were removed."""
        self._leave(cython.cast(int64_t, endpoint.endpoint), endpoint)
        self._command(RECEIVER, COMMAND_REMOVE_ENDPOINT, cython.cast(int64_t, endpoint.endpoint), 0, 0, 0, 0)

    def add_image(self, stream: PublicationImage) -> None:
        """The answer to SETUP, after `add_receive_endpoint` of its endpoint; a status message follows at once."""
        self._require(cython.cast(int64_t, stream.endpoint.endpoint), stream.endpoint)
        self._own(cython.cast(int64_t, stream.stream), stream, stream.handed_over)
        stream.handed_over = True
        self._command(RECEIVER, COMMAND_ADD_STREAM, cython.cast(int64_t, stream.stream), 0, 0, 0, 0)

    def remove_image(self, stream: PublicationImage, cool_down: bool) -> None:
        """With `cool_down` its session is ignored until the subscriptions of the stream change."""
        self._leave(cython.cast(int64_t, stream.stream), stream)
        self._command(RECEIVER, COMMAND_REMOVE_STREAM, cython.cast(int64_t, stream.stream), 0, bool(cool_down), 0, 0)

    def add_subscription(self, endpoint: ReceiveEndpoint, stream_id: int, session_id: int | None) -> None:
        """One more subscription of a stream, or of one session of it. Counted: as many have to be removed."""
        self._require(cython.cast(int64_t, endpoint.endpoint), endpoint)
        self._command(RECEIVER, COMMAND_ADD_INTEREST, cython.cast(int64_t, endpoint.endpoint), 0, stream_id,
                      session_id or 0,
                      session_id is None)

    def remove_subscription(self, endpoint: ReceiveEndpoint, stream_id: int, session_id: int | None) -> None:
        """Images that no subscription wants any more get no more data; they are still to be removed."""
        self._require(cython.cast(int64_t, endpoint.endpoint), endpoint)
        self._command(RECEIVER, COMMAND_REMOVE_INTEREST, cython.cast(int64_t, endpoint.endpoint), 0, stream_id,
                      session_id or 0,
                      session_id is None)

    def setup_refused(self, endpoint: ReceiveEndpoint, stream_id: int, session_id: int) -> None:
        """The other answer to SETUP: no image now; the next set-up asks again."""
        self._require(cython.cast(int64_t, endpoint.endpoint), endpoint)
        self._command(RECEIVER, COMMAND_SETUP_REFUSED, cython.cast(int64_t, endpoint.endpoint), 0, stream_id,
                      session_id, 0)

    def add_subscriber(self, stream, position_id: int) -> None:
        """Follow a subscriber's position on a stream of any kind.

        The agent chooses the join position, stores it in the counter and answers with SUBSCRIBER_ADDED.
        """
        self._subscriber(stream, position_id, COMMAND_ADD_SUBSCRIBER)

    def remove_subscriber(self, stream, position_id: int) -> None:
        """Answered by SUBSCRIBER_REMOVED; the counter may be freed then."""
        self._subscriber(stream, position_id, COMMAND_REMOVE_SUBSCRIBER)

    def _subscriber(self, stream, position_id: int, kind: cython.int):
        address: int64_t = cython.cast(int64_t, self.counters.value_address(position_id))
        if address == 0:
            raise IndexError(f"counter id {position_id} is outside the counters")
        agent: cython.int
        target: int64_t
        if isinstance(stream, IpcPublication):
            agent, target = STREAMS, cython.cast(int64_t, cython.cast(IpcPublication, stream).stream)
        elif isinstance(stream, NetworkPublication):
            agent, target = SENDER, cython.cast(int64_t, cython.cast(NetworkPublication, stream).stream)
        elif isinstance(stream, PublicationImage):
            agent, target = RECEIVER, cython.cast(int64_t, cython.cast(PublicationImage, stream).stream)
        else:
            raise TypeError(f"{stream!r} is not a stream")
        self._require(target, stream)
        self._command(agent, kind, target, address, position_id, 0, 0)

    # What an agent has let go of may be freed memory, so nothing about it is ever sent.

    def _own(self, key: int64_t, thing, handed_over):
        if key in self.owned or handed_over:
            raise ValueError(f"{thing!r} was added already")
        self.owned[key] = thing

    def _require(self, key: int64_t, thing):
        if self.owned.get(key) is not thing or key in self.leaving:
            raise ValueError(f"{thing!r} was not added to this data plane, or was removed from it")

    def _leave(self, key: int64_t, thing):
        self._require(key, thing)
        self.leaving.add(key)

    def _command(self, agent: cython.int, kind: cython.int, target: int64_t, other: int64_t, first: int64_t,
                 second: int64_t,
                 flags: int32_t):
        context: cython.pointer(AgentContext) = self._context(agent)
        item: cython.pointer(Item) = queue_claim(cython.address(context.commands))
        if item == cython.NULL and agent != STREAMS:
            self.counters.add_to_value(SENDER_PROXY_FAILS if agent == SENDER else RECEIVER_PROXY_FAILS, 1)
        while item == cython.NULL:
            # An agent that waits for room for its events would never take our command: make room, then try again.
            self._gather_events()
            if self.threads:
                time.sleep(0.0001)
            else:
                self.step(self.now_ns, self.now_ms)
            item = queue_claim(cython.address(context.commands))
        item.kind = kind
        item.target = cython.cast(cython.p_void, target)
        item.other = cython.cast(cython.p_void, other)
        item.numbers[0] = first
        item.numbers[1] = second
        item.flags = flags
        queue_publish(cython.address(context.commands))
        for thread in self.threads:
            if cython.cast(AgentThread, thread).agents & agent:
                cython.cast(AgentThread, thread)._ring()

    def _context(self, agent):
        if agent == STREAMS:
            return cython.address(self.streams.context)
        if agent == SENDER:
            return cython.address(self.sender.context)
        return cython.address(self.receiver.context)

    # ---- events -----------------------------------------------------------------------------------------------------

    def poll_event(self):
        """The next event of any agent as a tuple that begins with a `DriverEvent`, None if there is none."""
        if not self.backlog:
            self._gather_events()
        return self.backlog.popleft() if self.backlog else None

    def _gather_events(self):
        for agent in (RECEIVER, SENDER, STREAMS):
            context: cython.pointer(AgentContext) = self._context(agent)
            item: cython.pointer(Item) = queue_peek(cython.address(context.events))
            while item != cython.NULL:
                self.backlog.append(_decode(self, item))
                queue_release(cython.address(context.events))
                item = queue_peek(cython.address(context.events))


@cython.cfunc
def _decode(plane: DataPlane, item: cython.pointer(Item)):
    key = cython.cast(int64_t, item.target)
    target = plane.owned.get(key)
    kind: cython.int = item.kind
    if kind == EVENT_RELEASED:
        plane.owned.pop(key, None)
        plane.leaving.discard(key)
        return DriverEvent.RELEASED, target
    if kind == EVENT_SUBSCRIBER_ADDED:
        return DriverEvent.SUBSCRIBER_ADDED, target, item.numbers[0], item.numbers[1]
    if kind == EVENT_SUBSCRIBER_REMOVED:
        return DriverEvent.SUBSCRIBER_REMOVED, target, item.numbers[0]
    if kind == EVENT_SETUP:
        return (DriverEvent.SETUP, target, *[item.numbers[i] for i in range(8)], item.flags,
                item.source.bytes[:item.source.length])
    if kind == EVENT_ERROR_FRAME:
        return (DriverEvent.ERROR_FRAME, target, item.numbers[0], item.numbers[1] if item.flags & 8 else -1,
                item.numbers[2],
                item.text[:item.text_length], item.source.bytes[:item.source.length])
    if kind == EVENT_FIRST_LOSS:
        return DriverEvent.FIRST_LOSS, target, item.numbers[0]
    return DriverEvent.SOCKET_ERROR, target, item.numbers[0], item.numbers[1]


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def _init(context: cython.pointer(AgentContext)) -> cython.bint:
    return queue_init(cython.address(context.commands), QUEUE_CAPACITY) and (
        queue_init(cython.address(context.events), QUEUE_CAPACITY))


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def _free(context: cython.pointer(AgentContext), streams: cython.pointer(PointerList)) -> cython.void:
    queue_free(cython.address(context.commands))
    queue_free(cython.address(context.events))
    poll_set_free(cython.address(context.sockets))
    list_free(streams)
