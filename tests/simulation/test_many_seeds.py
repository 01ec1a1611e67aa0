"""A seed a story: clients, streams, networks and drivers come, go, stop and go on at random, and the invariants hold.

At its end everything is closed, and each machine is as it was at the beginning. `PILLION_SEEDS=500 pytest` runs more
of them, `PILLION_SEED=17` one.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from machines import MS, SECOND, Flow, Listener, Machine, World, seeds

from pillion.client.client import Client
from pillion.client.publication import ExclusivePublication
from pillion.errors import ErrorCode, RegistrationError
from pillion.protocol.ids import SystemCounter

PUBLICATIONS = (
    ("left", "aeron:udp?endpoint=right:5001", ""),
    ("left", "aeron:udp?endpoint=right:5001", "|linger=50ms"),
    ("left", "aeron:udp?endpoint=right:5003", "|ssc=true"),
    ("right", "aeron:udp?endpoint=left:5002", ""),
    ("right", "aeron:udp?endpoint=left:5002", "|eos=false"),
    ("left", "aeron:ipc", ""),
    ("right", "aeron:ipc", ""),
)
SUBSCRIPTIONS = (
    ("right", "aeron:udp?endpoint=right:5001", ""),
    ("right", "aeron:udp?endpoint=right:5001", "|rejoin=false"),
    ("right", "aeron:udp?endpoint=right:5003", ""),
    ("right", "aeron:udp?endpoint=right:5003", "|tether=false"),
    ("left", "aeron:udp?endpoint=left:5002", ""),
    ("left", "aeron:ipc", ""),
    ("left", "aeron:ipc", "?tether=false"),
    ("right", "aeron:ipc", ""),
    ("left", "aeron-spy:aeron:udp?endpoint=right:5001", ""),
    ("left", "aeron-spy:aeron:udp?endpoint=right:5003", "|tether=false"),
)
ACTIONS = 40


class Story:
    """What a seed makes happen."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.random = world.random
        hosts = {"left": "10.0.0.1", "right": "10.0.0.2"}
        self.machines = {name: world.machine(name, host) for name, host in hosts.items()}
        #: By machine that publishes, channel without options, stream and session.
        self.flows: dict[tuple[str, str, int, int], Flow] = {}
        self.publications: list[tuple[Machine, Client, Flow]] = []
        self.listeners: list[tuple[Machine, Client, Listener]] = []
        #: Machine that publishes, channel without options, and stream of what each listener reads.
        self.sources: dict[Listener, tuple[str, str, int]] = {}
        self.numbers = iter(range(10**6))

    # ---- what may happen ----

    def client(self, machine: Machine) -> Client:
        alive = [client for client in machine.clients if client not in machine.silent and not client.is_closed]
        if len(alive) < 2 or (len(alive) < 4 and self.random.random() < 0.3):
            alive.append(machine.connect(on_error=lambda error: self.world.note(f"{machine.name} client: {error}")))
        return self.random.choice(alive)

    def is_available(self, *machines: Machine) -> bool:
        return not any(machine.is_suspended for machine in machines)

    def publish(self) -> None:
        name, channel, options = self.random.choice(PUBLICATIONS)
        machine = self.machines[name]
        if not self.is_available(machine):
            return
        client = self.client(machine)
        stream_id = self.random.choice((1, 2))
        exclusive = self.random.random() < 0.5
        add = client.add_exclusive_publication if exclusive else client.add_publication
        publication = self.ask(lambda: add(channel + options, stream_id))
        if publication is None:
            return
        key = (name, channel, stream_id, publication.session_id)
        if not exclusive and key in self.flows and any(flow is self.flows[key] for _, _, flow in self.publications):
            # Shared: the other one of this session is who writes.
            publication.close()
            return
        if publication.position != 0 or key in self.flows:
            publication.close()         # an old session goes on: who writes must know what was sent
            return
        flow = Flow(self.world, publication, largest=2000, name=str(next(self.numbers)))
        self.flows[key] = flow
        self.publications.append((machine, client, flow))

    def subscribe(self) -> None:
        name, channel, options = self.random.choice(SUBSCRIPTIONS)
        machine = self.machines[name]
        if not self.is_available(machine):
            return
        client = self.client(machine)
        stream_id = self.random.choice((1, 2))
        subscription = self.ask(lambda: client.add_subscription(channel + options, stream_id))
        if subscription is None:
            return
        short = channel.removeprefix("aeron-spy:")
        publisher = next(row[0] for row in PUBLICATIONS if row[1] == short and (short != "aeron:ipc" or row[0] == name))
        listener = Listener(subscription, lambda session_id: self.flows[publisher, short, stream_id, session_id])
        self.sources[listener] = publisher, short, stream_id
        self.listeners.append((machine, client, listener))

    def ask(self, add: Any) -> Any:
        try:
            return add()
        except RegistrationError as error:
            # Endpoints that still close, and streams whose options contradict each other.
            assert error.error_code in (ErrorCode.RESOURCE_TEMPORARILY_UNAVAILABLE, ErrorCode.GENERIC_ERROR), error
            return None

    def unpublish(self) -> None:
        if self.publications:
            _, _, flow = self.publications.pop(self.random.randrange(len(self.publications)))
            flow.publication.close()

    def unsubscribe(self) -> None:
        if self.listeners:
            _, _, listener = self.listeners.pop(self.random.randrange(len(self.listeners)))
            listener.subscription.close()

    def revoke(self) -> None:
        for _, _, flow in self.publications:
            if isinstance(flow.publication, ExclusivePublication):
                flow.publication.revoke()
                return

    def reject(self) -> None:
        images = [
            image for machine, client, listener in self.listeners
            if self.is_available(machine) and client not in machine.silent and not listener.subscription.is_closed
            and not listener.subscription.channel.startswith("aeron-spy:")
            for image in listener.subscription.images
        ]
        if images:
            self.ask(lambda: self.random.choice(images).reject("not wanted"))

    def add_counter(self) -> None:
        machine = self.random.choice(list(self.machines.values()))
        if self.is_available(machine):
            counter = self.client(machine).add_counter(1400, "of the story")
            if self.random.random() < 0.5:
                counter.close()

    def disturb(self) -> None:
        rate = self.random.choice((0.0, 0.01, 0.1, 0.3, 1.0))
        self.random.choice(list(self.machines.values())).disturb({
            "drop": rate, "duplicate": self.random.choice((0.0, 0.2)), "reorder": self.random.choice((0.0, 0.2)),
            "delay_ns": self.random.choice((0, 50_000, 2 * MS)), "jitter_ns": self.random.choice((0, 100_000)),
        })

    def calm(self) -> None:
        for machine in self.machines.values():
            machine.disturb()
            machine.is_suspended = False

    def suspend(self) -> None:
        machine = self.random.choice(list(self.machines.values()))
        machine.is_suspended = not machine.is_suspended

    def silence(self) -> None:
        machine = self.random.choice(list(self.machines.values()))
        if machine.clients:
            machine.silent.symmetric_difference_update({self.random.choice(machine.clients)})

    def close_client(self) -> None:
        machine = self.random.choice(list(self.machines.values()))
        if machine.clients:
            client = machine.clients.pop(self.random.randrange(len(machine.clients)))
            machine.silent.discard(client)
            client.close()

    # ---- the story ----

    def work(self) -> None:
        for machine, client, flow in self.publications:
            if client not in machine.silent:
                flow.offer(3)
        for machine, client, listener in self.listeners:
            if client not in machine.silent and not listener.subscription.is_closed:
                listener.read(20)

    def forget_closed(self) -> None:
        self.publications = [row for row in self.publications if not row[2].publication.is_closed]
        self.listeners = [row for row in self.listeners if not row[2].subscription.is_closed]

    def tell(self) -> None:
        actions = [self.publish] * 4 + [self.subscribe] * 4 + [self.disturb] * 3 + [self.calm] * 3 + [
            self.unpublish, self.unsubscribe, self.suspend, self.silence, self.close_client, self.revoke, self.reject,
            self.add_counter]
        for _ in range(ACTIONS):
            action = self.random.choice(actions)
            self.world.note(action.__name__)
            action()
            self.forget_closed()
            # Mostly moments, now and then longer than any time-out.
            self.world.step_ns, duration_ns = self.random.choice(
                ((100_000, 2 * MS), (100_000, 5 * MS), (MS, 50 * MS), (5 * MS, 2 * SECOND)))
            self.world.run(duration_ns, self.work)

    def settle(self) -> None:
        """Everybody goes on over a network that loses nothing: who can be connected is, and all arrives."""
        self.world.note("settle")
        self.calm()
        for machine in self.machines.values():
            machine.silent.clear()
        # Those that the driver has let go hear of it before they read what may be another's counter by now.
        self.world.step_ns = MS
        self.world.step()

        def is_settled() -> bool:
            self.forget_closed()
            for _, _, listener in self.listeners:
                listener.read()
            return all(self.is_delivered(flow) for _, _, flow in self.publications)

        self.world.until(is_settled, "everything arrives")

    def is_delivered(self, flow: Flow) -> bool:
        key = next(key for key, known in self.flows.items() if known is flow)
        readers = [listener for _, _, listener in self.listeners if self.sources[listener] == key[:3]]
        # A session that was let go stays away from who does not want it back, and a spy connects only who asked for it.
        expected = [listener for listener in readers if not listener.subscription.channel.startswith("aeron-spy:")]
        stays_away = any("rejoin=false" in listener.subscription.channel for listener in expected)
        if expected and not stays_away and not flow.publication.is_connected:
            return False
        return all(
            image.position == flow.publication.position
            for listener in readers for image in listener.subscription.images
            if image.session_id == flow.publication.session_id
        )

    def end(self) -> None:
        self.world.note("end")
        self.calm()
        for machine in self.machines.values():
            for client in machine.clients:
                client.close()
            machine.clients.clear()
            machine.silent.clear()
        self.world.step_ns = 5 * MS
        for machine in self.machines.values():
            self.world.until(
                machine.is_clean, f"{machine.name} is clean, not {machine.counters()} and {machine.logs()}", seconds=20)


@pytest.mark.parametrize("seed", seeds(12))
def test_whatever_happens_the_invariants_hold_and_nothing_is_left(tmp_path: Path, seed: int) -> None:
    with World(tmp_path, seed) as world:
        story = Story(world)
        story.tell()
        received = sum(listener.received for _, _, listener in story.listeners)
        world.note(f"received {received}")
        story.settle()
        story.end()
        for machine in story.machines.values():
            assert machine.count(SystemCounter.FREE_FAILS) == 0
            assert machine.count(SystemCounter.INVALID_PACKETS) == 0
            errors = [entry.text for entry in machine.driver.cnc.read_errors()]
            assert not [text for text in errors if "internal error" in text]
