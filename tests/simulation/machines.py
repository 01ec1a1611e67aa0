"""Whole drivers on simulated machines: real conductors, agents and clients on one clock and one network, from one seed.

Everything runs in one thread and is stepped by it. A client's blocking calls step the world while they wait.
"""

from __future__ import annotations

import os
import random
from collections.abc import Callable
from types import TracebackType
from typing import Any

from invariants import Invariants

from pillion.client.client import Client
from pillion.client.settings import ClientSettings
from pillion.clock import Clock
from pillion.driver.assembly import DriverParts, build_driver
from pillion.driver.resources import InlineResources
from pillion.driver.settings import DriverSettings
from pillion.driver.udp.simulated import SimulatedNetwork, SimulatedTransport
from pillion.protocol.frames import FRAME_TYPES
from pillion.protocol.ids import CounterType, SystemCounter
from support import FAST

MS = 1_000_000
SECOND = 1_000_000_000
STEP_NS = 50_000
EPOCH_MS = 1_700_000_000_000
TERM = 64 * 1024
SETTINGS: dict[str, Any] = {
    **FAST,
    "threading_mode": "invoker",
    "term_buffer_length": TERM,
    "ipc_term_buffer_length": TERM,
    "counters_buffer_length": 1024 * 1024,
    "perform_storage_checks": False,        # what the disk has left is no business of a seed
}
ANY_HOST = "0.0.0.0"
TRACE_TAIL = 60
_NAMES = {number: name for name, number in FRAME_TYPES.items()}


class Seeded(random.Random):
    """A driver's randomness."""

    def int32(self) -> int:
        return self.getrandbits(32) - 2**31


class Machine:
    """One driver and its clients; `host` is its address, which other machines know by its name."""

    def __init__(self, world: World, name: str, host: str, **settings: Any) -> None:
        self.world = world
        self.name = name
        self.host = host
        self.transports: list[SimulatedTransport] = []
        self.rules: list[dict[str, Any]] = []
        self.clients: list[Client] = []
        #: Clients that are not run, as if their process were stopped.
        self.silent: set[Client] = set()
        #: As if the driver's process were stopped.
        self.is_suspended = False
        #: What the wall clock is off by, ms.
        self.wall_offset_ms = 0
        self.clock = Clock(lambda: world.network.now_ns, self.epoch_ms)
        self.directory = os.path.join(world.directory, name)
        for part in ("publications", "images"):
            os.makedirs(os.path.join(self.directory, part))
        loaded = DriverSettings.load(environ={}, aeron_dir=self.directory, **{**SETTINGS, **settings})
        self.driver: DriverParts = build_driver(
            loaded,
            clock=self.clock,
            random=Seeded(f"{world.seed} {name}"),
            make_resources=lambda wake: InlineResources(),
            open_transport=self.open_transport,
            resolver=world.resolve,
            request_stop=lambda: None,
        )
        self.driver.cnc.publish_version()
        self.invariants = Invariants(self.driver)
        self.counters_at_start = self.counters()

    def epoch_ms(self) -> int:
        return EPOCH_MS + self.world.network.now_ns // MS + self.wall_offset_ms

    # ---- the network ----

    def open_transport(
        self, *, bind: tuple[str, int], connect: tuple[str, int] | None = None, so_sndbuf: int = 0, so_rcvbuf: int = 0
    ) -> SimulatedTransport:
        host = self.host if bind[0] == ANY_HOST else bind[0]
        transport = SimulatedTransport(
            self.world.network, bind=(host, bind[1]), connect=connect, so_sndbuf=so_sndbuf, so_rcvbuf=so_rcvbuf
        )
        for rule in self.rules:
            transport.add_rule(**rule)
        self.transports.append(transport)
        return transport

    def disturb(self, *rules: dict[str, Any]) -> None:
        """What happens to everything this machine sends from now on: `SimulatedTransport.add_rule`'s keywords."""
        self.rules = list(rules)
        self.transports = [transport for transport in self.transports if transport.network is not None]
        for transport in self.transports:
            transport.clear_rules()
            for rule in rules:
                transport.add_rule(**rule)

    # ---- running ----

    def step(self) -> None:
        if not self.is_suspended:
            self.driver.step(self.world.network.now_ns, self.epoch_ms())
            self.invariants.check()
        for client in list(self.clients):
            if client not in self.silent:
                client.invoke()

    def connect(self, **settings: Any) -> Client:
        client = Client(ClientSettings(
            aeron_dir=self.directory,
            use_conductor_agent_invoker=True,
            keepalive_interval_ns=100 * MS,
            driver_timeout_ns=10 * SECOND,
            driver_agent_invoker=self.world.step,
            clock=self.clock,
            **settings,
        ))
        self.clients.append(client)
        return client

    # ---- looking ----

    def count(self, counter: SystemCounter) -> int:
        return self.driver.services.counters.value(counter)

    def counters(self) -> list[str]:
        """Labels of the counters in use, but those that only count what went on."""
        scan = self.driver.services.counters.scan()
        return sorted(record.label for record in scan if record.type_id != CounterType.SYSTEM)

    def logs(self) -> list[str]:
        """The log files there are."""
        return sorted(
            f"{part}/{name}" for part in ("publications", "images")
            for name in os.listdir(os.path.join(self.directory, part))
        )

    def is_clean(self) -> bool:
        """Nothing of any client, stream or endpoint is left."""
        return (
            self.counters() == self.counters_at_start
            and not self.logs()
            and all(transport.network is None for transport in self.transports)
        )

    def close(self) -> None:
        for client in self.clients:
            client.close()
        self.clients.clear()
        self.driver.close()


class World:
    """Machines and the network between them. A failure in its `with` block prints the seed and the last datagrams."""

    def __init__(self, directory: object, seed: int = 1) -> None:
        self.directory = str(directory)
        self.seed = seed
        self.random = random.Random(seed)
        self.network = SimulatedNetwork(seed, record=True)
        self.names: dict[str, str] = {}
        self.machines: list[Machine] = []
        self.log: list[tuple[int, str]] = []
        self.step_ns = STEP_NS

    def machine(self, name: str, host: str, **settings: Any) -> Machine:
        self.names.setdefault(name, host)
        self.machines.append(Machine(self, name, host, **settings))
        return self.machines[-1]

    def resolve(self, host: str) -> str:
        if host not in self.names:
            raise OSError(f"nobody knows {host}")
        return self.names[host]

    # ---- time ----

    def step(self) -> None:
        self.network.now_ns += self.step_ns
        for machine in self.machines:
            machine.step()

    def run(self, duration_ns: int, work: Callable[[], object] | None = None) -> None:
        """Step for so long; `work` is done after each step."""
        end_ns = self.network.now_ns + duration_ns
        while self.network.now_ns < end_ns:
            self.step()
            if work is not None:
                work()

    def until(self, condition: Callable[[], Any], what: str, *, seconds: float = 30) -> Any:
        """Step until it holds, and give what it gave; fails after so much simulated time."""
        end_ns = self.network.now_ns + int(seconds * SECOND)
        while not (found := condition()):
            assert self.network.now_ns < end_ns, f"not within {seconds} simulated s: {what}"
            self.step()
        return found

    def note(self, event: str) -> None:
        """A line of the trace."""
        self.log.append((self.network.now_ns, event))

    # ---- the trace ----

    def trace(self) -> list[str]:
        """Every datagram and every event noted, in the order of time: equal for equal seeds."""
        lines = [(time_ns, 1, _datagram(*rest)) for time_ns, *rest in self.network.trace()]
        lines += [(time_ns, 0, f"-- {event}") for time_ns, event in self.log]
        return [f"{time_ns / MS:12.3f} ms {text}" for time_ns, _, text in sorted(lines, key=lambda line: line[:2])]

    def __enter__(self) -> World:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, where: TracebackType | None
    ) -> None:
        if error is not None:
            print(f"seed {self.seed} at {self.network.now_ns / MS:.3f} ms, network {self.network.counts}")
            print("\n".join(self.trace()[-TRACE_TAIL:]))
            for machine in self.machines:
                for record in machine.driver.services.counters.scan():
                    if record.value and record.label:
                        print(f"{machine.name}: {record.value} {record.label}")
                for entry in machine.driver.cnc.read_errors():
                    print(f"{machine.name}: {entry.count} times {entry.text}")
        for machine in self.machines:
            machine.close()


def _datagram(source: int, target: int, kind: int, length: int, due_ns: int) -> str:
    fate = "lost" if due_ns < 0 else f"there at {due_ns / MS:.3f}"
    return f"{source} -> {target} {_NAMES.get(kind, kind)} {length} bytes, {fate}"


class Flow:
    """Numbered messages of a publication, and what their reader checks: once each, in order, whole.

    Messages are derived from the flow's own seed, so that a reader that joins late knows what to expect.
    """

    def __init__(self, world: World, publication: Any, *, largest: int = 4000, name: str = "flow") -> None:
        self.publication = publication
        self.name = name
        self._random = random.Random(f"{world.seed} {name}")
        self._largest = min(largest, publication.max_message_length)
        self.sent: list[bytes] = []
        self._next = self._make()

    def _make(self) -> bytes:
        size = self._random.choice((0, 1, 24, 25, 56, 700, 1368, self._largest))
        return len(self.sent).to_bytes(8, "little") + self._random.randbytes(size)[: max(self._largest - 8, 0)]

    def offer(self, limit: int = 10) -> int:
        """Offer up to so many messages; how many were taken."""
        for count in range(limit):
            if self.publication.is_closed or self.publication.offer(self._next) <= 0:
                return count
            self.sent.append(self._next)
            self._next = self._make()
        return limit


class Listener:
    """Reads a subscription and holds every image to its flow: no message twice, none left out, none changed."""

    def __init__(self, subscription: Any, flows: Callable[[int], Flow]) -> None:
        self.subscription = subscription
        self._flows = flows
        self._parts: dict[Any, list[bytes]] = {}
        #: The number of each image's next message; None before the first. Who rejoins gets another image.
        self.expected: dict[Any, int | None] = {}
        self.received = 0

    def read(self, limit: int = 100) -> int:
        count = 0
        for image in self.subscription.images:
            self.expected.setdefault(image, None)
            count += image.poll(lambda buffer, header, image=image: self._on_fragment(image, buffer, header), limit)
        return count

    def _on_fragment(self, image: Any, buffer: Any, header: Any) -> None:
        parts = self._parts.setdefault(image, [])
        if header.flags & 0x80:
            assert not parts, f"{image}: a message begins in the middle of another one"
        elif not parts:
            # Who joins in the middle of a message does not get its beginning.
            assert self.expected[image] is None, f"{image}: the beginning of a message is missing"
            return
        parts.append(bytes(buffer))
        if header.flags & 0x40:
            self._on_message(image, b"".join(parts))
            parts.clear()

    def _on_message(self, image: Any, message: bytes) -> None:
        number = int.from_bytes(message[:8], "little")
        expected = self.expected[image]
        assert expected in (None, number), f"{image}: message {number} came, {expected} was expected"
        sent = self._flows(image.session_id).sent
        assert sent[number : number + 1] == [message], f"{image}: message {number} is not what was sent"
        self.expected[image] = number + 1
        self.received += 1

    def has_all(self, flow: Flow) -> bool:
        """Whether an image that is there has everything the flow has sent."""
        return any(
            image.session_id == flow.publication.session_id
            and self.expected.get(image) == len(flow.sent)
            for image in self.subscription.images
        )


def seeds(count: int) -> list[int]:
    """Seeds of a test; PILLION_SEED runs one of them, PILLION_SEEDS as many as it says."""
    if "PILLION_SEED" in os.environ:
        return [int(os.environ["PILLION_SEED"])]
    return list(range(1, int(os.environ.get("PILLION_SEEDS", count)) + 1))
