"""Streams over shared memory through our own driver and client."""

from __future__ import annotations

import os
from collections.abc import Callable

import pytest
from transfers import messages, transfer

import pillion
from pillion.client.client import Client
from pillion.driver.media_driver import MediaDriver
from pillion.protocol.ids import SystemCounter
from support import wait_until

STREAM = 1001


@pytest.mark.parametrize("exclusive", [False, True], ids=["concurrent", "exclusive"])
def test_every_message_arrives_once_and_in_order(client: Client, exclusive: bool) -> None:
    subscription = client.add_subscription("aeron:ipc", STREAM)
    add = client.add_exclusive_publication if exclusive else client.add_publication
    publication = add("aeron:ipc", STREAM)
    wanted = messages(3000, publication.max_message_length)
    assert transfer(publication, subscription, wanted) == wanted


def test_what_a_handler_keeps_stays_its_own(client: Client) -> None:
    subscription = client.add_subscription("aeron:ipc", STREAM)
    publication = client.add_exclusive_publication("aeron:ipc", STREAM)
    wait_until(lambda: publication.is_connected, "connected")
    ends = [publication.send(b"%03d" % number, reserved_value=number) for number in range(200)]
    seen = 0
    buffers, headers = {}, {}

    def handler(buffer: pillion.FragmentBuffer, header: pillion.Header) -> None:
        nonlocal seen
        if seen % 3 == 0:
            buffers[seen] = buffer
        if seen % 4 == 0:
            headers[seen] = [header, header]
        seen += 1

    wait_until(lambda: subscription.poll(handler, 7) >= 0 and seen == 200, "all of them")
    assert {number: bytes(buffer) for number, buffer in buffers.items()} == {n: b"%03d" % n for n in range(0, 200, 3)}
    for number, (header, _) in headers.items():
        assert (header.reserved_value, header.position) == (number, ends[number])
    assert all(header.context is subscription.images[0] for header, _ in headers.values())


def test_a_publication_is_connected_while_somebody_subscribes(client: Client) -> None:
    publication = client.add_publication("aeron:ipc", STREAM)
    assert not publication.is_connected
    assert publication.offer(b"nobody") == pillion.NOT_CONNECTED
    subscription = client.add_subscription("aeron:ipc", STREAM)
    wait_until(lambda: publication.is_connected, "connected")
    wait_until(lambda: publication.offer(b"somebody") > 0, "taken")
    subscription.close()
    wait_until(lambda: not publication.is_connected, "not connected")


def test_a_full_window_pushes_back_and_frees_up(client: Client) -> None:
    subscription = client.add_subscription("aeron:ipc", STREAM)
    publication = client.add_publication("aeron:ipc", STREAM)
    wait_until(lambda: publication.is_connected, "connected")
    payload = bytes(1000)
    sent = 0
    while publication.offer(payload) != pillion.BACK_PRESSURED:
        sent += 1
        assert sent < 10_000
    assert publication.available_window <= 0
    wait_until(lambda: subscription.poll(lambda buffer, header: None, 1000) > 100, "consumed")
    wait_until(lambda: publication.offer(payload) > 0, "room again")


def test_clients_share_a_publication(driver: MediaDriver, connect: Callable[..., Client]) -> None:
    first, second = connect(driver), connect(driver)
    one = first.add_publication("aeron:ipc", STREAM)
    two = second.add_publication("aeron:ipc", STREAM)
    assert one.session_id == two.session_id
    assert two.original_registration_id == one.registration_id
    subscription = second.add_subscription("aeron:ipc", STREAM)
    wait_until(lambda: one.is_connected, "connected")
    one.close()
    wait_until(lambda: two.offer(b"still there") > 0, "the other one goes on")
    found: list[bytes] = []
    wait_until(
        lambda: subscription.poll(lambda buffer, header: found.append(bytes(buffer))), "message"
    )
    assert found == [b"still there"]
    assert len(subscription.images) == 1


def test_an_exclusive_publication_has_a_session_of_its_own(client: Client) -> None:
    first = client.add_exclusive_publication("aeron:ipc", STREAM)
    second = client.add_exclusive_publication("aeron:ipc", STREAM)
    assert first.session_id != second.session_id


def test_the_end_of_a_stream_reaches_the_subscriber(client: Client, driver: MediaDriver) -> None:
    gone: list[int] = []
    subscription = client.add_subscription(
        "aeron:ipc", STREAM, on_unavailable_image=lambda image: gone.append(image.session_id)
    )
    publication = client.add_publication("aeron:ipc", STREAM)
    log = f"{driver.aeron_dir}/publications/{publication.registration_id}.logbuffer"
    assert os.path.exists(log)
    wait_until(lambda: publication.offer(b"the last") > 0, "taken")
    image = wait_until(lambda: subscription.images, "image")[0]
    publication.close()
    received: list[bytes] = []
    wait_until(
        lambda: subscription.poll(lambda buffer, header: received.append(bytes(buffer))), "message"
    )
    assert received == [b"the last"]
    wait_until(lambda: gone, "image unavailable")
    assert image.is_end_of_stream
    wait_until(lambda: not os.path.exists(log), "log file deleted")
    assert publication.offer(b"closed") == pillion.CLOSED


def test_a_late_subscriber_joins_where_the_stream_is(client: Client) -> None:
    first = client.add_subscription("aeron:ipc", STREAM)
    publication = client.add_publication("aeron:ipc", STREAM)
    wait_until(lambda: publication.is_connected, "connected")
    before = messages(100, 500)
    assert transfer(publication, first, before) == before
    late = client.add_subscription("aeron:ipc", STREAM)
    image = wait_until(lambda: late.images, "image")[0]
    assert image.join_position == publication.position
    after = messages(50, 500, seed=2)
    assert transfer(publication, late, after) == after


def test_a_session_filter_takes_only_its_session(client: Client) -> None:
    wanted = client.add_exclusive_publication("aeron:ipc?session-id=7", STREAM)
    other = client.add_exclusive_publication("aeron:ipc", STREAM)
    subscription = client.add_subscription("aeron:ipc?session-id=7", STREAM)
    wait_until(lambda: wanted.is_connected, "connected")
    assert wanted.session_id == 7
    assert not other.is_connected
    wait_until(lambda: subscription.images, "image")
    assert [image.session_id for image in subscription.images] == [7]


def test_try_claim_commits_and_aborts(client: Client) -> None:
    subscription = client.add_subscription("aeron:ipc", STREAM)
    publication = client.add_publication("aeron:ipc", STREAM)
    wait_until(lambda: publication.is_connected, "connected")
    claim = wait_until(lambda: _claim(publication, 5), "claim")
    claim.buffer[:] = b"first"
    claim.abort()
    with wait_until(lambda: _claim(publication, 6), "claim") as claim:
        claim.buffer[:] = b"second"
    received: list[bytes] = []
    wait_until(
        lambda: subscription.poll(lambda buffer, header: received.append(bytes(buffer))), "message"
    )
    assert received == [b"second"]


def _claim(publication: pillion.Publication, length: int) -> object:
    claim = publication.try_claim(length)
    return claim if isinstance(claim, pillion.BufferClaim) else None


def test_a_start_position_is_where_the_stream_begins(client: Client) -> None:
    channel = "aeron:ipc?term-length=64k|init-term-id=1|term-id=3|term-offset=4096"
    publication = client.add_exclusive_publication(channel, STREAM)
    assert publication.position == 2 * 65536 + 4096
    subscription = client.add_subscription("aeron:ipc", STREAM)
    wanted = messages(500, 1000)
    wait_until(lambda: publication.is_connected, "connected")
    assert transfer(publication, subscription, wanted) == wanted


def test_a_revoked_publication_takes_its_images_along(client: Client, driver: MediaDriver) -> None:
    subscription = client.add_subscription("aeron:ipc", STREAM)
    publication = client.add_exclusive_publication("aeron:ipc", STREAM)
    wait_until(lambda: publication.offer(b"lost") > 0, "taken")
    image = wait_until(lambda: subscription.images, "image")[0]
    publication.revoke()
    wait_until(lambda: not subscription.images, "image gone")
    assert image.is_publication_revoked
    assert client.counters.value(SystemCounter.PUBLICATIONS_REVOKED) == 1


def test_a_rejected_image_comes_back_after_its_cool_down(client: Client) -> None:
    errors: list[object] = []
    subscription = client.add_subscription("aeron:ipc", STREAM)
    publication = client.add_publication("aeron:ipc", STREAM)
    image = wait_until(lambda: subscription.images, "image")[0]
    image.reject("not what I wanted")
    wait_until(lambda: not subscription.images, "image gone")
    wait_until(lambda: not publication.is_connected, "not connected")
    assert client.counters.value(SystemCounter.IMAGES_REJECTED) == 1
    wait_until(lambda: subscription.images, "image back")
    wait_until(lambda: publication.offer(b"again") > 0, "taken")
    assert errors == []


def test_an_untethered_subscriber_that_lags_is_let_go_and_comes_back(client: Client) -> None:
    tethered = client.add_subscription("aeron:ipc", STREAM)
    untethered = client.add_subscription("aeron:ipc?tether=false", STREAM)
    publication = client.add_publication("aeron:ipc", STREAM)
    wait_until(lambda: len(untethered.images) == 1 and len(tethered.images) == 1, "both linked")
    payload = bytes(1000)

    def push() -> bool:
        publication.offer(payload)
        tethered.poll(lambda buffer, header: None, 64)
        return not untethered.images

    wait_until(push, "the lagging one is let go")
    limit = publication.position + 4 * publication.term_length

    def flow() -> bool:
        publication.offer(payload)
        tethered.poll(lambda buffer, header: None, 64)
        untethered.poll(lambda buffer, header: None, 64)
        return publication.position > limit and len(untethered.images) == 1

    wait_until(flow, "the stream flows without it, and it comes back")


def test_a_dead_writers_claim_is_unblocked(client: Client) -> None:
    subscription = client.add_subscription("aeron:ipc", STREAM)
    publication = client.add_publication("aeron:ipc", STREAM)
    wait_until(lambda: publication.is_connected, "connected")
    claim = wait_until(lambda: _claim(publication, 100), "claim")
    wait_until(lambda: publication.offer(b"behind the claim") > 0, "taken")
    received: list[bytes] = []
    wait_until(
        lambda: subscription.poll(lambda buffer, header: received.append(bytes(buffer))),
        "unblocked",
    )
    assert received == [b"behind the claim"]
    assert client.counters.value(SystemCounter.UNBLOCKED_PUBLICATIONS) == 1
    claim.abort()
