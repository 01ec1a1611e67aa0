"""What `test_abuse.py` runs, each scenario in a process of its own: `python abuse.py SCENARIO DIRECTORY`.

A scenario does what nobody should, and checks that each call has one of the outcomes that the interface promises. It
prints `done` when it has come to its end; a crash or a hang is the test's to see.
"""

from __future__ import annotations

import contextlib
import gc
import os
import signal
import subprocess
import sys
import threading
import time
from array import array
from collections.abc import Callable, Iterator
from types import SimpleNamespace
from typing import Any

import pillion
from pillion.errors import ForkedError, PillionError

IPC = "aeron:ipc?term-length=64k"
SHORT: dict[str, Any] = {
    "timer_interval_ns": 20_000_000,
    "client_liveness_timeout_ns": 2_000_000_000,
    "publication_linger_timeout_ns": 100_000_000,
    "image_liveness_timeout_ns": 500_000_000,
    "ipc_term_buffer_length": 64 * 1024,
    "term_buffer_length": 64 * 1024,
}
CLOSED = pillion.CLOSED
#: What a call may raise: nothing that says "a bug".
CLEAR = (PillionError, TypeError, ValueError, IndexError, AttributeError, OverflowError, BufferError, StopIteration)
ARGUMENTS: list[tuple[Any, ...]] = [
    (), (1,), (-1,), (2**31,), (2**63,), (2**70,), (1.5,), (True,), (None,), ("a",), ("aeron:ipc",), (b"x",),
    (b"x" * 100_000,), (bytearray(b"y"),), (array("d", [1.0]),), (memoryview(bytes(64))[::2],), ([b"a", b"b"],),
    ((1, 2),), ([[b"a"]],), (print, 5), (len,), (int, -1), (int, 2**40), (int, -(2**63), 2**31 - 1), (int, 2**63, 1),
    ("aeron:ipc", 2**31), ("aeron:ipc", "x"), (b"x", 0.01), (b"x", 0, 2**64), ("a", "b", "c"), (1, 2, 3, 4, 5),
]  # fmt: skip
VALUES = (None, 1, -1, 2**70, "x", b"x", 32)
# They wait for ever, as they say, are called by name below, or belong to Python.
SKIPPED = {
    "__class__", "__init_subclass__", "__subclasshook__", "__dict__", "__weakref__", "__module__", "__new__",
    "__getattribute__", "__dir__", "__sizeof__", "__init__", "__reduce__", "__reduce_ex__",
    "__getstate__", "run_until_stopped",
}  # fmt: skip
LAST = ("reject", "revoke_on_close", "revoke", "__exit__", "__del__", "close")


def attempt(call: Callable[..., Any], *args: Any) -> Any:
    """The result, or the exception if it is one that says clearly what is wrong."""
    try:
        return call(*args)
    except CLEAR as error:
        assert str(error) or isinstance(error, (AttributeError, StopIteration)), f"{call} {args}: {error!r}"
        return error


def abuse(thing: Any, *, skip: tuple[str, ...] = ()) -> None:
    """Everything public of `thing`, with everything that does not fit; what ends it comes last."""
    names = sorted(name for name in dir(type(thing)) if not name.startswith("_") or name.startswith("__"))
    names = [name for name in names if name not in SKIPPED | set(skip)]
    for name in sorted(names, key=lambda name: LAST.index(name) if name in LAST else -1):
        try:
            found = attempt(getattr, thing, name)
            if callable(found) and not isinstance(found, BaseException):
                for args in ARGUMENTS:
                    attempt(found, *args)
            elif not name.startswith("__"):
                for value in VALUES:
                    attempt(setattr, thing, name, value)
        except Exception as error:
            raise AssertionError(f"{type(thing).__name__}.{name}: {error!r} is not clear") from error
    for call in (repr, str, bytes, memoryview, len, list, iter, bool, hash):
        attempt(call, thing)


def until(condition: Callable[[], Any], what: str) -> Any:
    deadline = time.monotonic() + 30
    while not (value := condition()):
        assert time.monotonic() < deadline, f"did not happen: {what}"
        time.sleep(0.001)
    return value


def keep(into: list[Any]) -> Callable[[Any, Any], None]:
    """A handler that keeps what it must not."""
    return lambda buffer, header: into.extend((buffer, header, memoryview(buffer), header.context))


class Everything:
    """A client of a driver, and one of each kind of thing that it can give."""

    def __init__(self, client: Any, stream_id: int = 10) -> None:
        self.client = client
        self.subscription = client.add_subscription(IPC, stream_id)
        self.publication = client.add_publication(IPC, stream_id)
        self.exclusive = client.add_exclusive_publication(IPC, stream_id)
        self.counter = client.add_counter(1001, "abused")
        self.static_counter = client.add_static_counter(1002, 7, "abused for ever")
        self.counters = client.counters
        until(lambda: self.subscription.image_count == 2, "two images")
        self.images = self.subscription.images
        self.kept: list[Any] = []
        self.assembler = pillion.FragmentAssembler(keep(self.kept))
        for publication in (self.publication, self.exclusive):
            assert publication.send(b"small") > 0
            assert publication.send(b"large" * 1000) > 0
        until(lambda: self.subscription.poll(self.assembler) + len(self.kept) >= 16, "four messages")
        assert len(self.kept) == 16
        self.claims = [self.publication.try_claim(100), self.exclusive.try_claim(100)]
        self.views = [memoryview(claim) for claim in self.claims]
        self.messages = self.subscription.messages(timeout=0.01)

    def things(self) -> list[Any]:
        kept = [each for each in self.kept if not isinstance(each, memoryview)]
        found = [*kept, *self.claims, self.counters, self.counter, self.static_counter, self.assembler]
        return [*found, *self.images, self.publication, self.exclusive, self.subscription, self.client]

    def read_views(self) -> None:
        """What was kept is readable memory, and what was claimed writable, whatever became of the rest."""
        for thing in self.kept:
            if isinstance(thing, (pillion.FragmentBuffer, memoryview)):
                assert len(bytes(thing)) in (5, 5000)
            elif isinstance(thing, pillion.Header):
                assert isinstance(thing.position, int)
                assert "session" in repr(thing)
        for view in self.views:
            view[:] = b"z" * len(view)
            assert bytes(view) == b"z" * 100

    def check_closed(self, *, is_forked: bool = False) -> None:
        """The outcomes that are promised for things that are closed."""

        def is_closed(result: Any) -> bool:
            return isinstance(result, ForkedError) if is_forked else result == CLOSED

        for publication in (self.publication, self.exclusive):
            assert is_closed(attempt(publication.offer, b"x"))
            assert is_closed(attempt(publication.offer, [b"x", b"y"]))
            assert is_closed(attempt(publication.try_claim, 10))
            assert publication.position == publication.position_limit == CLOSED
            assert publication.is_closed
            assert not publication.is_connected
            assert isinstance(attempt(publication.send, b"x"), PillionError)
            assert isinstance(attempt(publication.add_destination, "aeron:udp?endpoint=a:1"), PillionError)
        assert is_closed(attempt(self.exclusive.append_padding, 32))
        assert is_closed(attempt(self.exclusive.offer_block, bytes(64)))
        for image in self.images:
            assert image.is_closed
            assert image.poll(int) == image.controlled_poll(int) == image.block_poll(int, 10_000) == 0
            assert image.position > 0
            assert isinstance(attempt(setattr, image, "position", 0), PillionError)
            assert isinstance(attempt(image.reject, "no"), PillionError)
        assert isinstance(attempt(self.subscription.poll, int), PillionError)
        left = attempt(list, self.messages)
        assert left == [] or isinstance(left, PillionError)
        for call in ("value", "label", "type_id"):
            assert isinstance(attempt(getattr, self.counter, call), PillionError)
        assert isinstance(attempt(self.counter.add, 1), PillionError)
        assert self.counters.capacity > 0
        assert len(self.counters.scan()) >= 0
        self.close()

    def close(self) -> None:
        for _ in range(2):
            for thing in (*self.claims,):
                attempt(thing.commit)
            for thing in (self.counter, self.static_counter, self.publication, self.exclusive, self.subscription):
                thing.close()


def driver(directory: str, **settings: Any) -> Any:
    return pillion.MediaDriver(aeron_dir=directory, **{"threading_mode": "shared", **SHORT, **settings})


def connect(directory: str, **settings: Any) -> Any:
    return pillion.connect(directory, **{"driver_timeout": 0.5, "on_error": lambda error: None, **settings})


@contextlib.contextmanager
def world(directory: str, **settings: Any) -> Iterator[SimpleNamespace]:
    with driver(directory, **settings) as media, connect(directory, driver_timeout=10) as client:
        yield SimpleNamespace(driver=media, client=client, all=Everything(client))


# ---- after the end ------------------------------------------------------------------------------


def after_each_was_closed(directory: str) -> None:
    with world(directory) as it:
        it.all.close()
        until(lambda: all(image.is_closed for image in it.all.images), "the images went")
        it.all.check_closed()
        for thing in it.all.things()[:-1]:
            abuse(thing)
        it.all.read_views()


def after_the_client_was_closed(directory: str) -> None:
    with world(directory) as it:
        it.client.close()
        it.all.check_closed()
        for thing in it.all.things():
            abuse(thing)
        it.all.read_views()


def after_the_driver_was_closed(directory: str) -> None:
    with world(directory, dir_delete_on_shutdown=True) as it:
        it.driver.close()
        abuse(it.driver)
        it.driver.run_until_stopped()
        it.all.read_views()
        it.client.close()
        it.all.check_closed()
        for thing in it.all.things():
            abuse(thing)
        it.all.read_views()


def after_the_driver_was_killed(directory: str) -> None:
    process = subprocess.Popen([sys.executable, __file__, "_drive", directory])
    client = until(lambda: connected(directory), "a driver to connect to")
    it = Everything(client)
    process.send_signal(signal.SIGKILL)
    process.wait()
    # It does not know yet: what needs no driver works, what needs one times out.
    assert it.publication.offer(b"into the void") > 0
    assert isinstance(attempt(client.add_publication, IPC, 11), PillionError)
    for thing in it.things()[:-1]:
        abuse(thing, skip=("close", "revoke", "__exit__"))
    until(lambda: client.is_closed, "the client notices")
    it.check_closed()
    for thing in it.things():
        abuse(thing)
    it.read_views()


def connected(directory: str) -> Any:
    found = attempt(connect, directory)
    return None if isinstance(found, Exception) else found


def _drive(directory: str) -> None:
    with driver(directory) as media:
        print("driving", flush=True)
        media.run_until_stopped()


def with_views_alone(directory: str) -> None:
    """Nothing is left but the views: not the objects, not the client, the driver, or its files."""
    with world(directory, dir_delete_on_shutdown=True) as it:
        everything = it.all
    it.__dict__.clear()
    views, kept = everything.views, [each for each in everything.kept if not isinstance(each, pillion.Image)]
    headers = [each for each in kept if isinstance(each, pillion.Header)]
    buffers = [each for each in kept if not isinstance(each, pillion.Header)]
    everything.__dict__.clear()
    del it, everything, kept
    gc.collect()
    assert not os.path.exists(directory)
    for view in views:
        view[:] = bytes(100)
    for buffer in buffers:
        assert len(bytes(buffer)) in (5, 5000)
    for header in headers:
        assert isinstance(header.position, int)
        assert header.context.poll(int) == 0
        abuse(header)
    del views, buffers, headers
    gc.collect()


# ---- while it lives -----------------------------------------------------------------------------


def with_wrong_arguments(directory: str) -> None:
    with world(directory) as it:
        for thing in it.all.things()[:-1]:
            abuse(thing, skip=() if thing in it.all.claims else LAST)
        abuse(it.client, skip=("__exit__", "__del__", "close", "settings"))
        abuse(it.driver, skip=("__exit__", "close", "request_stop"))
        assert not it.client.is_closed
        it.all.read_views()
        for thing in (*it.all.things(), it.driver):
            abuse(thing)


def with_callbacks_that_end_it(directory: str) -> None:
    for name in ("image", "subscription", "publication", "client", "driver"):
        with world(f"{directory}/{name}") as here:
            it = here.all
            end = {
                "image": lambda it=it: [attempt(image.reject, "no") for image in it.images],
                "subscription": it.subscription.close,
                "publication": lambda it=it: (it.publication.close(), it.exclusive.revoke()),
                "client": here.client.close,
                "driver": here.driver.close,
            }[name]
            for claim in it.claims:
                claim.commit()
            for _ in range(20):
                it.exclusive.offer(b"a message")
            attempt(it.publication.offer, b"x", lambda buffer, end=end: len(repr(end())))
            attempt(it.exclusive.offer, Ending(end))

            def handler(buffer: Any, header: Any, it: Any = it, end: Any = end) -> None:
                end()
                attempt(it.subscription.poll, int)
                attempt(header.context.poll, int)
                bytes(buffer)
                repr(header)

            for poll in (it.subscription.poll, *(image.poll for image in it.images)):
                attempt(poll, handler)
            for image in it.images:
                attempt(image.block_poll, lambda block, *ids, end=end: (end(), bytes(block)), 100_000)
                attempt(image.controlled_poll, lambda buffer, header, end=end: end())
            here.client.close()
            for thing in it.things():
                abuse(thing)


class Ending(list[Any]):
    """Parts of a message; to ask for them ends something."""

    def __init__(self, end: Callable[[], Any]) -> None:
        super().__init__([b"a", b"b"])
        self.end = end

    def __iter__(self) -> Iterator[Any]:
        self.end()
        return super().__iter__()


def with_limits_at_the_end_of_numbers(directory: str) -> None:
    with world(directory) as it:
        seen: list[int] = []
        for claim in it.all.claims:
            claim.abort()
        image = it.all.images[1]
        while it.all.exclusive.offer(b"x") > 0:
            pass
        until(lambda: not it.all.subscription.poll(lambda buffer, header: None, 1000), "nothing is left")
        it.all.exclusive.send(b"more")
        image = next(each for each in it.all.images if each.session_id == it.all.exclusive.session_id)
        for limit in (-(2**63), -(2**63) + 1, -1, 0, image.position):
            poll = image.bounded_poll
            assert poll(lambda buffer, header: seen.append(1), limit) == 0, limit
            assert image.bounded_controlled_poll(lambda buffer, header: seen.append(1), limit) == 0, limit
            assert it.all.subscription.bounded_poll(lambda buffer, header: seen.append(1), limit) == 0, limit
        assert not seen
        assert image.bounded_poll(lambda buffer, header: seen.append(1), 2**63 - 1) == 1


# ---- forked -------------------------------------------------------------------------------------


def in_a_forked_child(directory: str) -> None:
    with world(directory) as it:
        for leave in (os._exit, sys.exit):
            child = os.fork()
            if child == 0:
                try:
                    it.all.check_closed(is_forked=True)
                    assert isinstance(attempt(it.client.add_publication, IPC, 11), PillionError)
                    assert isinstance(attempt(it.driver.run_until_stopped), PillionError)
                    assert isinstance(attempt(it.driver.invoke), PillionError)
                    for thing in (*it.all.things(), it.driver):
                        abuse(thing)
                    it.driver.close()
                except BaseException:
                    import traceback

                    traceback.print_exc()
                    os._exit(1)
                leave(0)
            assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
        check_unharmed(it)


def check_unharmed(it: Any) -> None:
    """Parent's streams go on; nobody committed or aborted its claims."""
    assert all(claim.is_open for claim in it.all.claims)
    for claim in it.all.claims:
        claim.commit()
    it.all.publication.send(b"afterwards")
    received: list[bytes] = []
    until(lambda: it.all.subscription.poll(lambda b, h: received.append(bytes(b))) and b"afterwards" in received, "it")
    assert not it.driver.is_closed


def with_an_invoked_driver_in_a_forked_child(directory: str) -> None:
    with driver(directory, threading_mode="invoker") as media:
        client = pillion.connect(directory, driver_agent_invoker=media.invoke, use_conductor_agent_invoker=True)
        before = client.next_correlation_id()
        child = os.fork()
        if child == 0:
            outcome = attempt(media.invoke)
            media.close()
            os._exit(0 if isinstance(outcome, PillionError) and os.path.exists(f"{directory}/cnc.dat") else 1)
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
        assert client.next_correlation_id() == before + 1
        assert client.add_publication(IPC, 11).offer(b"x") == pillion.NOT_CONNECTED
        client.close()


# ---- several threads ----------------------------------------------------------------------------


def run_all(*calls: Callable[[], None]) -> None:
    """Run the calls at once; the first failure of any is raised."""
    failures: list[BaseException] = []

    def guarded(call: Callable[[], None]) -> None:
        try:
            call()
        except BaseException as error:
            failures.append(error)

    threads = [threading.Thread(target=guarded, args=(call,), daemon=True) for call in calls]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
        assert not thread.is_alive(), f"{thread.name} hangs"
    if failures:
        raise failures[0]


def with_threads_that_use_and_close(directory: str) -> None:
    sys.setswitchinterval(1e-5)
    with driver(directory), connect(directory, driver_timeout=30) as client:
        for round_ in range(8):
            it = Everything(client, 100 + round_)

            def offer(it: Any = it) -> None:
                while it.publication.offer(b"x" * 100) != CLOSED:
                    attempt(it.exclusive.offer, [b"y" * 50, b"z"])
                    claim = it.publication.try_claim(64)
                    if isinstance(claim, pillion.BufferClaim):
                        claim.commit()

            def poll(it: Any = it) -> None:
                while not it.subscription.is_closed:
                    attempt(it.subscription.poll, lambda buffer, header: bytes(buffer))
                    for image in it.images:
                        attempt(image.poll, lambda buffer, header: bytes(buffer))

            def finish(it: Any = it) -> None:
                for _ in range(50):
                    for claim in it.claims:
                        attempt(claim.commit)
                        attempt(claim.abort)
                    attempt(it.counter.add, 1)

            def close(it: Any = it, things: Any = (it.subscription, it.publication, it.exclusive, it.counter)) -> None:
                time.sleep(0.01)
                for thing in things if round_ % 2 else things[::-1]:
                    thing.close()

            run_all(offer, offer, poll, poll, finish, finish, close, close)
            it.check_closed()


def with_threads_that_add_and_remove(directory: str) -> None:
    sys.setswitchinterval(1e-5)
    with driver(directory), connect(directory, driver_timeout=60) as client:

        def storm(stream: int) -> None:
            for turn in range(15):
                made = [
                    client.add_subscription(IPC, stream),
                    client.add_publication(IPC, stream),
                    client.add_publication(f"aeron:udp?endpoint=127.0.0.1:{24000 + stream}|term-length=64k", 1),
                    client.add_counter(1001, f"counter {turn}"),
                ]
                made[1].offer(b"x")
                made[0].poll(lambda buffer, header: bytes(buffer))
                for thing in made if turn % 2 else made[::-1]:
                    thing.close()

        run_all(*(lambda stream=stream: storm(stream) for stream in (1, 1, 2, 3)))
        assert not client.is_closed


def with_threads_while_the_driver_closes(directory: str) -> None:
    sys.setswitchinterval(1e-5)
    for mode in ("shared", "dedicated", "shared_network"):
        media = driver(f"{directory}/{mode}", threading_mode=mode, dir_delete_on_shutdown=True)
        client = connect(media.aeron_dir)
        it = Everything(client)

        def use(it: Any = it, client: Any = client) -> None:
            while not client.is_closed:
                it.publication.offer(b"x" * 100)
                attempt(it.exclusive.offer, b"x" * 100)
                attempt(it.subscription.poll, lambda buffer, header: bytes(buffer))

        def add(client: Any = client) -> None:
            while not client.is_closed:
                made = attempt(client.add_publication, IPC, 20)
                if not isinstance(made, Exception):
                    made.close()

        run_all(use, use, add, lambda media=media: media.close(), media.close)
        assert client.is_closed
        it.check_closed()


def with_threads_that_invoke_one_driver(directory: str) -> None:
    sys.setswitchinterval(1e-5)
    for turn in range(10):
        media = driver(f"{directory}/{turn}", threading_mode="invoker", dir_delete_on_shutdown=True)
        client = connect(media.aeron_dir, driver_timeout=10, driver_agent_invoker=media.invoke)
        started = threading.Event()

        def invoke(media: Any = media) -> None:
            while not media.is_closed:
                attempt(media.invoke)

        def stream(stream_id: int, client: Any = client, started: Any = started) -> None:
            while not client.is_closed:
                channel = f"aeron:udp?endpoint=127.0.0.1:{24000 + stream_id}|term-length=64k"
                made = [attempt(client.add_subscription, channel, 1), attempt(client.add_publication, channel, 1)]
                if not any(isinstance(each, Exception) for each in made):
                    attempt(made[1].send, b"x" * 1000, 0.05)
                    attempt(made[0].poll, lambda buffer, header: bytes(buffer))
                    started.set()
                for each in made:
                    attempt(getattr(each, "close", int))

        def close(media: Any = media, client: Any = client, started: Any = started) -> None:
            started.wait(10)
            media.close()
            client.close()

        run_all(invoke, invoke, invoke, lambda: stream(1), lambda: stream(2), close)
        assert isinstance(attempt(media.invoke), PillionError)


# ---- signals ------------------------------------------------------------------------------------


def in_signal_handlers(directory: str) -> None:
    with world(directory) as it:
        calls = 0
        things = it.all

        def handler(number: int, frame: Any) -> None:
            nonlocal calls
            calls += 1
            things.publication.offer(b"from a handler")
            things.exclusive.offer(b"from a handler")
            attempt(things.subscription.poll, lambda buffer, header: bytes(buffer))
            things.counter.increment()
            for claim in things.claims:
                attempt(claim.abort)
            if calls % 20 == 0:
                it.client.add_publication(IPC, 30 + calls % 3).close()

        with interrupted(handler):
            while calls < 300:
                attempt(things.subscription.poll, lambda buffer, header: bytes(buffer))
                things.publication.offer([b"x" * 100] * 5)
                if calls % 7 == 0:
                    it.client.add_subscription(IPC, 40).close()
        assert not it.client.is_closed


@contextlib.contextmanager
def interrupted(handler: Callable[[int, Any], None]) -> Iterator[None]:
    """`handler` in the middle of whatever the main thread does, every millisecond."""
    signal.signal(signal.SIGALRM, handler)
    signal.setitimer(signal.ITIMER_REAL, 0.001, 0.001)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)


def with_signal_handlers_that_close(directory: str) -> None:
    complaints: list[Exception] = []
    for turn in range(12):
        media = driver(f"{directory}/{turn}", dir_delete_on_shutdown=True)
        client = connect(media.aeron_dir, driver_timeout=10, on_error=complaints.append)
        it = Everything(client)
        calls = 0

        def handler(number: int, frame: Any, it: Any = it, client: Any = client, media: Any = media,
                    turn: int = turn) -> None:
            nonlocal calls
            calls += 1
            if calls >= 5 + turn % 3:
                (it.subscription.close, it.publication.close, client.close, media.close)[turn % 4]()

        with interrupted(handler):
            while calls < 30:
                attempt(client.add_subscription, IPC, 50)
                attempt(it.subscription.poll, lambda buffer, header: bytes(buffer))
                attempt(it.publication.offer, b"x" * 100)
                client.invoke()
                if turn % 4 == 2:
                    client.close()
                if turn % 4 == 3:
                    media.close()
            client.close()
            media.close()
        it.check_closed()
    assert all(isinstance(each, PillionError) for each in complaints), complaints


# ---- the end of the interpreter -----------------------------------------------------------------

_alive: list[Any] = []


def leave_open(directory: str, **settings: Any) -> None:
    """Everything open, in use by threads, and referred to from where nothing clears it in time."""
    media = driver(directory, dir_delete_on_shutdown=True, **settings)
    client = connect(directory, driver_timeout=10)
    it = Everything(client)
    stream = it.subscription.messages()
    it.claims[0].commit()
    it.exclusive.send(b"for the generator")
    next(stream)

    def use() -> None:
        while True:
            it.publication.offer(b"x" * 100)
            it.exclusive.offer(b"x" * 100)

    def poll() -> None:
        while True:
            attempt(it.images[0].poll, lambda buffer, header: bytes(buffer))
            attempt(client.add_counter, 1003, "late")

    for call in (use, use, poll):
        threading.Thread(target=call, daemon=True).start()
    _alive.extend((media, client, it, stream, *it.views))
    sys.modules["pillion"].kept_by_abuse = _alive  # type: ignore[attr-defined]
    print("done", flush=True)


def at_exit_with_everything_open(directory: str) -> None:
    leave_open(directory)


def at_exit_of_a_dedicated_driver(directory: str) -> None:
    leave_open(directory, threading_mode="dedicated")


def at_exit_by_an_exception(directory: str) -> None:
    leave_open(directory)
    raise SystemExit(3)


def at_exit_by_a_signal(directory: str) -> None:
    leave_open(directory)
    os.kill(os.getpid(), signal.SIGINT)
    time.sleep(10)


def at_exit_with_an_embedded_driver(directory: str) -> None:
    client = pillion.connect(embedded=True)
    _alive.append(Everything(client))
    print("done", flush=True)


def at_exit_while_adding(directory: str) -> None:
    media = driver(directory, dir_delete_on_shutdown=True)
    client = connect(directory, driver_timeout=10)
    started = threading.Barrier(5)

    def add() -> None:
        started.wait()
        while True:
            attempt(client.add_subscription, IPC, 7)
            attempt(client.add_publication, IPC, 7)

    for _ in range(4):
        threading.Thread(target=add, daemon=True).start()
    started.wait()
    _alive.extend((media, client))
    print("done", flush=True)


def main() -> None:
    scenario, directory = sys.argv[1:]
    globals()[scenario](directory)
    if not scenario.startswith(("at_exit", "_")):
        print("done", flush=True)


if __name__ == "__main__":
    main()
