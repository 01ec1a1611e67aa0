"""What our client does on a real driver, beyond moving data."""

from __future__ import annotations

import gc
import os
import threading
from collections.abc import Callable, Iterator
from itertools import count
from typing import Any

import pytest
from drivers import Driver
from processes import PATIENT_TIMEOUTS, wait_until

import pillion
from pillion.client.client import is_driver_active
from pillion.errors import ChannelError, ClosedError, ErrorCode, ForkedError, RegistrationError

pytestmark = pytest.mark.interop

IPC = "aeron:ipc?term-length=64k"
stream_ids = count(6001)


@pytest.fixture(params=["pillion", "c", "java"])
def driver(
    request: pytest.FixtureRequest,
    shared_driver: Callable[[str], Driver],
    monkeypatch: pytest.MonkeyPatch,
) -> Driver:
    monkeypatch.setenv("AERON_DRIVER_TIMEOUT", PATIENT_TIMEOUTS["AERON_DRIVER_TIMEOUT"])
    return shared_driver(request.param)


@pytest.fixture
def errors() -> list[Exception]:
    return []


@pytest.fixture
def client(driver: Driver, errors: list[Exception]) -> Iterator[pillion.Client]:
    with pillion.connect(driver.directory, on_error=errors.append) as client:
        yield client
    assert errors == []


@pytest.fixture
def stream() -> int:
    return next(stream_ids)


def connected(client: pillion.Client, stream: int, channel: str = IPC) -> tuple[Any, Any, Any]:
    """A subscription, an exclusive publication to it, and the image between them."""
    subscription = client.add_subscription(channel, stream)
    publication = client.add_exclusive_publication(channel, stream)
    wait_until("the image", lambda: subscription.is_connected and publication.is_connected)
    return subscription, publication, subscription.images[0]


def test_registration_error_says_what_was_asked(client: pillion.Client) -> None:
    with pytest.raises(RegistrationError) as info:
        client.add_publication("aeron:udp?term-length=64k", 7)
    assert info.value.error_code == ErrorCode.INVALID_CHANNEL
    assert info.value.channel == "aeron:udp?term-length=64k"
    assert info.value.stream_id == 7
    with pytest.raises(ChannelError):
        client.add_publication("udp://localhost:40123", 7)
    with pytest.raises(ValueError, match="2147483648"):
        client.add_publication(IPC, 2**31)
    assert not client.has_active_commands


def test_shared_publications(client: pillion.Client, stream: int) -> None:
    first = client.add_publication(IPC, stream)
    second = client.add_publication(IPC, stream)
    assert first.is_original
    assert not second.is_original
    assert second.original_registration_id == first.registration_id
    assert second.session_id == first.session_id
    first.close()
    subscription = client.add_subscription(IPC, stream)
    second.send(b"still there", timeout=30)
    assert next(subscription.messages(timeout=30)) == b"still there"


def test_asynchronous_calls(client: pillion.Client, stream: int) -> None:
    asked = client.async_add_publication(IPC, stream)
    publication = wait_until("the publication", lambda: client.poll_async(asked))
    assert publication.registration_id == asked
    assert not client.is_command_active(asked)
    assert client.cancel_async(asked)
    assert publication.is_closed
    assert not client.cancel_async(asked)
    refused = client.async_add_publication("aeron:udp?term-length=64k", stream)
    with pytest.raises(RegistrationError):
        wait_until("the refusal", lambda: client.poll_async(refused))
    assert client.poll_async(refused) is None


def test_cancelled_call_is_given_back(client: pillion.Client, stream: int) -> None:
    asked = client.async_add_counter(1001, f"cancelled {stream}")
    client.cancel_async(asked)
    wait_until("the removal of what the driver made", lambda: asked in gone(client, asked))


def gone(client: pillion.Client, registration_id: int) -> set[int]:
    """The id, once the driver has answered later commands and has no such counter."""
    with client.add_counter(1002, "later"):
        found = client.counters.find_by_type_and_registration(1001, registration_id)
    return set() if found >= 0 else {registration_id}


def test_counters_and_their_handlers(client: pillion.Client) -> None:
    made: list[int] = []
    went: list[int] = []
    client.add_available_counter_handler(lambda counters, registration, counter_id: made.append(registration))
    leaving = client.add_unavailable_counter_handler(
        lambda counters, registration, counter_id: went.append(registration)
    )
    counter = client.add_counter(1001, "interop", b"key")
    assert counter.registration_id in made
    assert counter.label == "interop"
    assert client.counters.key(counter.counter_id).startswith(b"key")
    counter.value = 40
    assert counter.add(2) == 40
    assert client.counters.value(counter.counter_id) == 42
    counter.close()
    wait_until("the counter to go", lambda: counter.registration_id in went)
    with pytest.raises(ClosedError):
        counter.value = 1
    assert client.remove_unavailable_counter_handler(leaving)
    assert not client.remove_unavailable_counter_handler(leaving)


def test_static_counter(client: pillion.Client, driver: Driver) -> None:
    registration_id = client.next_correlation_id()
    static = client.add_static_counter(1003, registration_id, "static")
    static.value = 9
    static.close()
    with pillion.connect(driver.directory) as other:
        again = other.add_static_counter(1003, registration_id, "static")
        assert again.counter_id == static.counter_id
        assert again.value == 9
    with client.add_counter(1003, "not static") as counter, pytest.raises(RegistrationError):
        client.add_static_counter(1003, counter.registration_id, "static")


def test_next_session_id(client: pillion.Client, stream: int) -> None:
    session_id = client.next_session_id(stream)
    publication = client.add_publication(f"{IPC}|session-id={session_id}", stream)
    assert publication.session_id == session_id


def test_resolved_port(client: pillion.Client, stream: int) -> None:
    subscription = client.add_subscription("aeron:udp?endpoint=127.0.0.1:0|term-length=64k", stream)
    channel = wait_until("the port", subscription.try_resolve_channel_endpoint_port)
    assert subscription.channel_status == 1
    assert subscription.local_socket_addresses == [subscription.resolved_endpoint]
    assert subscription.resolved_endpoint in channel
    publication = client.add_publication(channel, stream)
    publication.send(b"found", timeout=30)
    assert next(subscription.messages(timeout=30)) == b"found"
    assert len(publication.local_socket_addresses) == 1
    subscription.close()
    assert subscription.channel_status == -1
    assert subscription.resolved_endpoint is None


@pytest.mark.parametrize("driver", ["c", "java"], indirect=True)
def test_destinations(client: pillion.Client, stream: int, free_port: Callable[[], int]) -> None:
    here = f"aeron:udp?endpoint=127.0.0.1:{free_port()}"
    publication = client.add_publication("aeron:udp?control-mode=manual|term-length=64k", stream)
    subscription = client.add_subscription(here, stream)
    by_id = publication.add_destination(here)
    publication.send(b"one", timeout=30)
    assert next(subscription.messages(timeout=30)) == b"one"
    publication.remove_destination(by_id)
    done = publication.async_add_destination(here)
    assert wait_until("the destination", lambda: client.poll_async(done)) == done
    publication.remove_destination(here)
    with pytest.raises(RegistrationError):
        publication.add_destination(f"aeron-spy:{here}")
    publication.close()
    with pytest.raises(ClosedError):
        publication.add_destination(here)


@pytest.mark.parametrize("driver", ["c", "java"], indirect=True)
def test_receive_destinations(client: pillion.Client, stream: int, free_port: Callable[[], int]) -> None:
    here = f"aeron:udp?endpoint=127.0.0.1:{free_port()}|term-length=64k"
    subscription = client.add_subscription("aeron:udp?control-mode=manual", stream)
    subscription.add_destination(here)
    publication = client.add_publication(here, stream)
    publication.send(b"one", timeout=30)
    assert next(subscription.messages(timeout=30)) == b"one"
    image = subscription.images[0]
    wait_until("the transport to be counted", lambda: image.active_transport_count == 1)
    subscription.remove_destination(here)


@pytest.mark.parametrize("media", ["ipc", "udp"])
def test_rejected_image(driver: Driver, stream: int, free_port: Callable[[], int], media: str) -> None:
    frames: list[Any] = []
    unavailable: list[Any] = []
    udp = f"aeron:udp?endpoint=127.0.0.1:{free_port()}|term-length=64k"
    channel = IPC if media == "ipc" else udp
    with pillion.connect(driver.directory, on_publication_error=frames.append) as client:
        subscription = client.add_subscription(channel, stream, on_unavailable_image=unavailable.append)
        publication = client.add_publication(channel, stream)
        wait_until("the image", lambda: subscription.images)
        subscription.images[0].reject("not wanted")
        frame = wait_until("the publication error", lambda: frames and frames[0])
        assert frame.publication is publication
        assert frame.error_code == ErrorCode.IMAGE_REJECTED
        assert frame.message == "not wanted"
        if media == "udp":
            assert frame.source_address.startswith("127.0.0.1:")
        else:
            wait_until("the image to go", lambda: unavailable)


def test_revoked_publication(client: pillion.Client, stream: int) -> None:
    unavailable: list[Any] = []
    subscription = client.add_subscription(IPC, stream, on_unavailable_image=unavailable.append)
    publication = client.add_exclusive_publication(IPC, stream)
    publication.send(b"never read", timeout=30)
    wait_until("the image", lambda: subscription.images)
    publication.revoke()
    image = wait_until("the image to go", lambda: unavailable and unavailable[0])
    assert image.is_publication_revoked
    assert image.is_closed


def test_end_of_stream(client: pillion.Client, stream: int) -> None:
    subscription, publication, image = connected(client, stream)
    publication.send(b"last")
    publication.close()
    wait_until("the end to be known", lambda: image.end_of_stream_position < 2**63 - 1)
    assert not image.is_end_of_stream
    assert subscription.poll(lambda buffer, header: None) == 1
    assert image.is_end_of_stream
    wait_until("the image to go", lambda: image.is_closed)
    assert image.is_end_of_stream
    assert image.position == image.end_of_stream_position


def test_controlled_poll(client: pillion.Client, stream: int) -> None:
    subscription, publication, image = connected(client, stream)
    for index in range(4):
        publication.send(bytes([index]))
    seen: list[tuple[int, int]] = []

    def handler(actions: list[int]) -> Callable[[Any, Any], int]:
        def on_fragment(buffer: Any, header: Any) -> int:
            seen.append((buffer[0], image.position))
            return actions.pop(0)

        return on_fragment

    start = image.position
    assert subscription.controlled_poll(handler([pillion.COMMIT, pillion.CONTINUE, pillion.ABORT])) == 2
    assert seen == [(0, start), (1, start + 64), (2, start + 64)]
    assert image.position == start + 128
    assert subscription.controlled_poll(handler([pillion.BREAK])) == 1
    assert image.position == start + 192
    with pytest.raises(ValueError, match="True"):
        subscription.controlled_poll(lambda buffer, header: True)
    assert image.position == start + 256
    assert subscription.controlled_poll(handler([])) == 0


def test_bounded_and_block_poll(client: pillion.Client, stream: int) -> None:
    subscription, publication, image = connected(client, stream)
    start = image.position
    for _ in range(4):
        publication.send(b"x" * 32)
    seen: list[Any] = []
    collect = lambda buffer, header: seen.append(bytes(buffer))  # noqa: E731
    assert image.bounded_poll(collect, start) == 0
    assert image.bounded_poll(collect, start + 1) == 1  # a fragment that begins before it
    assert image.bounded_poll(collect, start + 64) == 0
    assert image.bounded_controlled_poll(collect, start + 128) == 1
    blocks: list[tuple[int, int, int]] = []
    on_block = lambda buffer, session, term: blocks.append((len(buffer), session, term))  # noqa: E731
    assert subscription.block_poll(on_block, 63) == 0
    assert subscription.block_poll(on_block, 4096) == 128
    assert blocks == [(128, publication.session_id, publication.initial_term_id)]
    publication.append_padding(100)
    assert subscription.block_poll(on_block, 32) == 160  # padding comes alone, whatever the limit
    assert image.position == publication.position


def test_blocks_can_be_offered(client: pillion.Client, stream: int) -> None:
    """Across the end of a term as well: the first block of a term makes it current."""
    subscription, publication, image = connected(client, stream)
    source_subscription, source, _ = connected(client, stream + 100_000)
    blocks: list[bytes] = []
    for _ in range(3000):
        source.send(b"y" * 96)
        assert source_subscription.block_poll(lambda buffer, *_: blocks.append(bytes(buffer)), 65536)
        block = bytearray(blocks.pop())
        header = {
            8: publication.position % 65536,
            12: publication.session_id,
            16: stream,
            20: publication.initial_term_id + publication.position // 65536,
        }
        for offset, value in header.items():
            block[offset : offset + 4] = (value & 0xFFFFFFFF).to_bytes(4, "little")
        wait_until("the block to be taken", lambda: publication.offer_block(block) > 0)
        while subscription.poll(lambda buffer, header: None):
            pass
    assert image.position == publication.position >= 2 * 65536
    with pytest.raises(ValueError, match="continue this stream"):
        publication.offer_block(bytes(64))


def test_claims(client: pillion.Client, stream: int) -> None:
    subscription, publication, _ = connected(client, stream)
    with publication.try_claim(5) as claim:
        assert (claim.flags, claim.header_type, claim.reserved_value) == (0xC0, 1, 0)
        claim.buffer[:] = b"first"
        claim.reserved_value = -7
    publication.try_claim(5).abort()
    with pytest.raises(RuntimeError), publication.try_claim(5):
        raise RuntimeError
    publication.try_claim(5)
    gc.collect()  # a forgotten claim is aborted
    kept = publication.try_claim(4)
    publication.close()
    kept.buffer[:] = b"kept"
    kept.commit()
    with pytest.raises(ClosedError):
        kept.commit()
    with pytest.raises(ValueError, match="in 0"):
        publication.try_claim(publication.max_payload_length + 1)
    assert publication.try_claim(1) == pillion.CLOSED
    seen: list[tuple[bytes, int]] = []
    subscription.poll(lambda buffer, header: seen.append((bytes(buffer), header.reserved_value)))
    assert seen == [(b"first", -7), (b"kept", 0)]


def test_assembled_header(client: pillion.Client, stream: int) -> None:
    subscription, publication, image = connected(client, stream)
    start = publication.position
    publication.send(b"z" * 5000, reserved_value=77)
    seen: list[Any] = []
    assembler = pillion.FragmentAssembler(lambda buffer, header: seen.append((buffer, header)))
    wait_until("the message", lambda: subscription.poll(assembler) and seen)
    buffer, header = seen[0]
    assert bytes(buffer) == b"z" * 5000
    assert header.frame_length == 5032
    assert header.flags == 0xC0
    assert header.reserved_value == 77
    assert header.term_offset == start % 65536
    assert header.position == publication.position == image.position
    assert header.next_term_offset == publication.position % 65536
    assert header.fragmented_frame_length == publication.max_payload_length + 32
    assert header.context is image
    assert assembler.is_empty


def test_views_outlive_everything(driver: Driver, stream: int) -> None:
    kept: list[Any] = []
    with pillion.connect(driver.directory) as client:
        subscription, publication, _ = connected(client, stream)
        publication.send(b"kept")
        subscription.poll(lambda buffer, header: kept.extend((buffer, memoryview(buffer), header)))
        del subscription, publication
    gc.collect()
    assert bytes(kept[0]) == bytes(kept[1]) == b"kept"
    assert kept[2].frame_length == 36
    assert kept[2].context.is_closed


def test_closed_while_polling(client: pillion.Client, stream: int) -> None:
    subscription, publication, image = connected(client, stream)
    for _ in range(3):
        publication.send(b"x")
    assert subscription.poll(lambda buffer, header: subscription.close()) == 1
    assert image.is_closed
    with pytest.raises(ClosedError):
        subscription.poll(lambda buffer, header: None)
    assert image.poll(lambda buffer, header: None) == 0


def test_poll_is_not_reentrant_and_takes_handlers_only(client: pillion.Client, stream: int) -> None:
    subscription, publication, image = connected(client, stream)
    with pytest.raises(TypeError, match="not callable"):
        subscription.poll(None)
    publication.send(b"x")
    with pytest.raises(TypeError, match="not callable"):
        subscription.poll(7)
    with pytest.raises(pillion.PillionError, match="polled already"):
        subscription.poll(lambda buffer, header: image.poll(print))
    assert subscription.poll(print) == 0  # the handler that raised had it


def test_handlers_may_use_the_client(driver: Driver, stream: int) -> None:
    """An answer to whoever comes, from the handler that tells of him."""
    answers: list[Any] = []

    def on_available(image: Any) -> None:
        answers.append(client.add_publication(IPC, stream + 100_000))
        answers.append(client.add_counter(1004, "from a handler"))

    with pillion.connect(driver.directory) as client:
        subscription = client.add_subscription(IPC, stream, on_available_image=on_available)
        client.add_publication(IPC, stream)
        wait_until("the handler", lambda: len(answers) == 2)
        assert not answers[0].is_closed
        assert subscription.image_count == 1


def test_handler_that_closes_its_client(driver: Driver, stream: int) -> None:
    closed = threading.Event()
    client = pillion.connect(driver.directory, on_close=closed.set, on_available_image=lambda image: client.close())
    subscription = client.add_subscription(IPC, stream)
    asked = client.async_add_publication(IPC, stream)
    assert closed.wait(30)
    assert subscription.is_closed
    with pytest.raises(ClosedError, match="closed"):
        client.poll_async(asked)
    client.close()


def test_handler_errors_are_told(driver: Driver, stream: int) -> None:
    errors: list[Exception] = []
    with pillion.connect(
        driver.directory,
        on_error=errors.append,
        on_available_image=lambda image: image.no_such_thing,
    ) as client:
        subscription, publication, _ = connected(client, stream)
        wait_until("the error", lambda: errors)
        assert isinstance(errors[0], AttributeError)
        publication.send(b"goes on", timeout=30)
        assert next(subscription.messages(timeout=30)) == b"goes on"


def test_messages_left_over_come_next(client: pillion.Client, stream: int) -> None:
    subscription, publication, _ = connected(client, stream)
    for index in range(5):
        publication.send(b"%d" % index)
    for message in subscription.messages(timeout=30):
        assert message == b"0"
        break
    assert list(subscription.messages(timeout=0)) == [b"1", b"2", b"3", b"4"]


def test_invoker_mode(driver: Driver, stream: int) -> None:
    threads = threading.active_count()
    with pillion.connect(driver.directory, use_conductor_agent_invoker=True) as client:
        assert threading.active_count() == threads
        subscription, publication, _ = connected_by_invoking(client, stream)
        publication.send(b"by hand", timeout=30)
        assert next(subscription.messages(timeout=30)) == b"by hand"


def connected_by_invoking(client: pillion.Client, stream: int) -> tuple[Any, Any, Any]:
    subscription = client.add_subscription(IPC, stream)
    publication = client.add_publication(IPC, stream)
    wait_until("the image", lambda: client.invoke() is not None and subscription.images)
    return subscription, publication, subscription.images[0]


def test_forgotten_client_is_closed(driver: Driver, stream: int) -> None:
    client = pillion.connect(driver.directory)
    publication = client.add_publication(IPC, stream)
    with pytest.warns(ResourceWarning, match="unclosed"):
        del client
        gc.collect()
    wait_until("the publication to be closed", lambda: publication.is_closed)
    assert publication.offer(b"x") == pillion.CLOSED


def in_child(body: Callable[[], None]) -> int:
    """What `body` ends with in a forked child: 0, or 1 if it raised."""
    pid = os.fork()
    if pid == 0:
        code = 1
        try:
            body()
            code = 0
        finally:
            os._exit(code)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


def test_forked_child_is_refused(client: pillion.Client, stream: int) -> None:
    subscription, publication, image = connected(client, stream)
    counter = client.add_counter(1005, "parent's")
    publication.send(b"parent's")
    claim = publication.try_claim(4)
    held = [claim]

    def child() -> None:
        for attempt in (
            lambda: client.add_counter(1005, "x"),
            lambda: client.next_correlation_id(),
            lambda: subscription.poll(print),
            lambda: publication.offer(b"x"),
            lambda: claim.commit(),
        ):
            with pytest.raises(ForkedError):
                attempt()
        with pytest.raises(ClosedError):
            counter.value = 5
        assert image.poll(print) == 0
        held.clear()
        client.close()

    assert in_child(child) == 0
    assert not client.is_closed
    claim.buffer[:] = b"ours"
    claim.commit()
    seen: list[bytes] = []
    assert subscription.poll(lambda buffer, header: seen.append(bytes(buffer))) == 2
    assert seen == [b"parent's", b"ours"]
    assert counter.value == 0


def test_liveness_can_be_asked(driver: Driver, tmp_path: Any) -> None:
    assert is_driver_active(driver.directory)
    assert not is_driver_active(tmp_path)
