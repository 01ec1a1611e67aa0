"""What a driver refuses: the code and the parameter named, and nothing left behind."""

from __future__ import annotations

import os
import struct
from collections.abc import Callable

import pytest

from pillion.client.client import Client
from pillion.driver.media_driver import MediaDriver
from pillion.errors import ChannelError, ErrorCode, RegistrationError
from pillion.memory.cnc import CncFile
from pillion.protocol.ids import CommandType, SystemCounter
from support import free_port, wait_until

STREAM = 3001
UDP = "aeron:udp?endpoint=localhost:40456"

INVALID_PUBLICATIONS = [
    ("aeron:udp", ErrorCode.INVALID_CHANNEL),
    ("aeron:udp?endpoint=", ErrorCode.INVALID_CHANNEL),
    ("aeron:ipcx", ErrorCode.INVALID_CHANNEL),
    ("aeron:tcp?endpoint=localhost:1", ErrorCode.INVALID_CHANNEL),
    ("aeron:udp?=v", ErrorCode.INVALID_CHANNEL),
    ("aeron:udp?k|endpoint=localhost:1", ErrorCode.INVALID_CHANNEL),
    ("aeron:udp?endpoint=|ttl=1", ErrorCode.INVALID_CHANNEL),
    ("aeron:udp?endpoint=localhost", ErrorCode.GENERIC_ERROR),
    ("aeron:udp?endpoint=localhost:65536", ErrorCode.GENERIC_ERROR),
    ("aeron:udp?endpoint=:45100", ErrorCode.UNKNOWN_HOST),
    ("aeron:udp?endpoint=no.such.host.invalid:1", ErrorCode.UNKNOWN_HOST),
    ("aeron:udp?endpoint=[::1:45103", ErrorCode.UNKNOWN_HOST),
    ("aeron:udp?endpoint=224.20.30.40:45104", ErrorCode.GENERIC_ERROR),
    ("aeron:udp?endpoint=localhost:0", ErrorCode.GENERIC_ERROR),
    ("aeron:udp?control-mode=dynamic", ErrorCode.INVALID_CHANNEL),
    ("aeron:udp?control=127.0.0.1:45112", ErrorCode.GENERIC_ERROR),
    (UDP + "|interface=10.99.0.0/16", ErrorCode.GENERIC_ERROR),
    (UDP + "|interface={nope0}", ErrorCode.GENERIC_ERROR),
    (UDP + "|interface=127.0.0.1/33", ErrorCode.GENERIC_ERROR),
    *((UDP + f"|term-length={v}", ErrorCode.GENERIC_ERROR) for v in ("60k", "32k", "2g", "abc", "-1")),
    *((UDP + f"|mtu={v}", ErrorCode.GENERIC_ERROR) for v in ("32", "1400", "65536")),
    (UDP + "|mtu=8k|so-sndbuf=4k", ErrorCode.GENERIC_ERROR),
    (UDP + "|init-term-id=1", ErrorCode.GENERIC_ERROR),
    (UDP + "|init-term-id=3|term-id=1|term-offset=0", ErrorCode.GENERIC_ERROR),
    (UDP + "|init-term-id=1|term-id=1|term-offset=65", ErrorCode.GENERIC_ERROR),
    *((UDP + f"|session-id={v}", ErrorCode.GENERIC_ERROR) for v in ("abc", "2147483648", "tag:99")),
    *((UDP + f"|linger={v}", ErrorCode.GENERIC_ERROR) for v in ("abc", "5x", "-1s")),
    (UDP + "|sparse=yes", ErrorCode.GENERIC_ERROR),
    (UDP + "|ssc=1", ErrorCode.GENERIC_ERROR),
    *((UDP + f"|max-resend={v}", ErrorCode.GENERIC_ERROR) for v in ("0", "257")),
    (UDP + "|pub-wnd=1k", ErrorCode.GENERIC_ERROR),
    (UDP + "|term-length=64k|pub-wnd=33k", ErrorCode.GENERIC_ERROR),
    ("aeron:ipc?term-length=64k|pub-wnd=33k", ErrorCode.GENERIC_ERROR),
    (UDP + "|ats=true", ErrorCode.GENERIC_ERROR),
    (UDP + "|tags=abc", ErrorCode.INVALID_CHANNEL),
    (UDP + "|tags=1002,abc", ErrorCode.GENERIC_ERROR),
    ("aeron:udp?tags=5555", ErrorCode.GENERIC_ERROR),
    ("aeron-spy:" + UDP, ErrorCode.INVALID_CHANNEL),
]
INVALID_SUBSCRIPTIONS = [
    ("aeron-spy:aeron:ipc", ErrorCode.INVALID_CHANNEL),
    (UDP + "|reliable=maybe", ErrorCode.GENERIC_ERROR),
    (UDP + "|rcv-wnd=1m", ErrorCode.GENERIC_ERROR),
    (UDP + "|rcv-wnd=abc", ErrorCode.GENERIC_ERROR),
    (UDP + "|so-rcvbuf=64k", ErrorCode.GENERIC_ERROR),
    (UDP + "|gtag=abc", ErrorCode.GENERIC_ERROR),
    (UDP + "|untethered-linger-timeout=1x", ErrorCode.GENERIC_ERROR),
    (UDP + "|ats=true", ErrorCode.GENERIC_ERROR),
]
LATER_PUBLICATIONS = [
    ("aeron:udp?control-mode=manual", "control-mode=manual"),
    ("aeron:udp?control=localhost:40457|control-mode=dynamic", "control-mode=dynamic"),
    ("aeron:udp?endpoint=224.20.30.39:45110|interface=127.0.0.1", "multicast"),
    (UDP + "|response-correlation-id=5", "response"),
    (UDP + "|channel-snd-ts-offset=reserved", "channel-snd-ts-offset"),
]
LATER_SUBSCRIPTIONS = [
    ("aeron:udp?control-mode=manual", "control-mode=manual"),
    ("aeron:udp?endpoint=localhost:40458|control=localhost:40459", "control"),
    ("aeron:udp?endpoint=224.20.30.39:45110|interface=127.0.0.1", "multicast"),
    (UDP + "|media-rcv-ts-offset=reserved", "media-rcv-ts-offset"),
]


@pytest.fixture
def driver(start_driver: Callable[..., MediaDriver]) -> MediaDriver:
    return start_driver(threading_mode="shared")


def _raises(add: Callable[[str, int], object], channel: str, code: ErrorCode) -> Exception:
    try:
        add(channel, STREAM)
    except RegistrationError as error:
        assert error.error_code == code, error
        return error
    except ChannelError as error:
        return error
    pytest.fail(f"{channel} was accepted")


def _shape(client: Client) -> tuple[list[int], list[str], int]:
    """What a refused command must leave as it was."""
    directory = client.aeron_dir
    logs = os.listdir(f"{directory}/publications") + os.listdir(f"{directory}/images")
    return (
        sorted(record.counter_id for record in client.counters if record.type_id not in (0, 11)),
        logs,
        len(os.listdir("/proc/self/fd")),
    )


@pytest.mark.parametrize(("channel", "code"), INVALID_PUBLICATIONS)
def test_an_invalid_publication_is_refused_and_leaves_nothing(
    client: Client, channel: str, code: ErrorCode
) -> None:
    before = _shape(client)
    _raises(client.add_publication, channel, code)
    wait_until(lambda: _shape(client) == before, f"nothing left of {channel}")


@pytest.mark.parametrize(("channel", "code"), INVALID_SUBSCRIPTIONS)
def test_an_invalid_subscription_is_refused_and_leaves_nothing(
    client: Client, channel: str, code: ErrorCode
) -> None:
    before = _shape(client)
    _raises(client.add_subscription, channel, code)
    wait_until(lambda: _shape(client) == before, f"nothing left of {channel}")


@pytest.mark.parametrize(("channel", "name"), LATER_PUBLICATIONS)
def test_a_publication_that_comes_later_is_named(client: Client, channel: str, name: str) -> None:
    error = _raises(client.add_publication, channel, ErrorCode.NOT_SUPPORTED)
    assert name in str(error)


@pytest.mark.parametrize(("channel", "name"), LATER_SUBSCRIPTIONS)
def test_a_subscription_that_comes_later_is_named(client: Client, channel: str, name: str) -> None:
    error = _raises(client.add_subscription, channel, ErrorCode.NOT_SUPPORTED)
    assert name in str(error)


@pytest.mark.parametrize(
    "channel",
    [
        "aeron:ipc?endpoint=localhost:1",
        "aeron:ipc?control-mode=bogus",
        "aeron:udp?endpoint=localhost:{port}|",
        "aeron:udp?endpoint=localhost:{port}|foo=bar",
        "aeron:udp?endpoint=localhost:{port}|interface=127.0.0.1/8",
        "aeron:udp?endpoint=localhost:{port}|interface={{lo}}",
        "aeron:udp?endpoint=localhost:{port}|linger=0",
        "aeron:udp?endpoint=localhost:{port}|session-id=0x10",
        "aeron:udp?endpoint=localhost:{port}|term-length=64k|pub-wnd=32k",
        "aeron:udp?endpoint=localhost:{port}|mtu=64",
        "aeron:udp?endpoint=localhost:{port}|fc=anything",
        "aeron:udp?endpoint=localhost:{port}|init-term-id=1|term-id=3|term-offset=65536|term-length=64k",
        "aeron:udp?endpoint=localhost:{port}|control-mode=bogus",
    ],
)
def test_what_the_reference_accepts_is_accepted(client: Client, channel: str) -> None:
    client.add_publication(channel.format(port=free_port()), STREAM).close()


@pytest.mark.parametrize(
    ("first", "second", "name"),
    [
        ("", "|mtu=2048", "mtu"),
        ("", "|term-length=64k", "term-length"),
        ("|session-id=7", "|session-id=8", "session-id"),
        ("", "|ssc=true", "ssc"),
        ("", "|init-term-id=1|term-id=1|term-offset=0", "init-term-id"),
    ],
)
def test_a_shared_publication_must_agree(
    client: Client, first: str, second: str, name: str
) -> None:
    channel = f"aeron:udp?endpoint=localhost:{free_port()}"
    client.add_publication(channel + first, STREAM)
    with pytest.raises(RegistrationError, match=name) as failure:
        client.add_publication(channel + second, STREAM)
    assert failure.value.error_code == ErrorCode.GENERIC_ERROR


def test_a_session_id_is_used_once_a_stream(client: Client) -> None:
    client.add_exclusive_publication("aeron:ipc?session-id=9", STREAM)
    client.add_exclusive_publication("aeron:ipc?session-id=9", STREAM + 1)
    with pytest.raises(RegistrationError, match="clashing sessionId") as failure:
        client.add_exclusive_publication("aeron:ipc?session-id=9", STREAM)
    assert failure.value.error_code == ErrorCode.INVALID_CHANNEL


def test_conflicting_subscriptions_are_refused(client: Client) -> None:
    channel = f"aeron:udp?endpoint=localhost:{free_port()}"
    client.add_subscription(channel, STREAM)
    with pytest.raises(RegistrationError, match="reliable"):
        client.add_subscription(f"{channel}|reliable=false", STREAM)
    client.add_subscription(f"{channel}|reliable=false", STREAM + 1)


def test_an_address_in_use_is_named(client: Client) -> None:
    port = free_port()
    client.add_subscription(f"aeron:udp?endpoint=localhost:{port}", STREAM)
    before = _shape(client)
    with pytest.raises(RegistrationError, match=f"{port}.*in use"):
        client.add_subscription(f"aeron:udp?endpoint=127.0.0.1:{port}", STREAM)
    assert _shape(client) == before


def test_malformed_and_unknown_commands_are_logged_and_skipped(
    driver: MediaDriver, client: Client
) -> None:
    cnc = CncFile.open(driver.aeron_dir)
    for type_id, message in (
        (0x55, bytes(24)),
        (CommandType.ADD_PUBLICATION, bytes(20)),
        (CommandType.ADD_PUBLICATION, struct.pack("<qqii", 1, 2, 3, 1 << 30)),
        (CommandType.ADD_SUBSCRIPTION, struct.pack("<qqqii", 1, 2, -1, 3, -5)),
        (CommandType.ADD_COUNTER, bytes(17)),
    ):
        assert cnc.to_driver_ring.write(type_id, message)
    client.add_publication("aeron:ipc", STREAM)
    texts = [error.text for error in cnc.read_errors()]
    assert len(texts) == 5
    assert client.counters.value(SystemCounter.ERRORS) == 5


def test_unknown_ids_are_refused(driver: MediaDriver, client: Client) -> None:
    publication = client.add_publication("aeron:ipc", STREAM)
    subscription = client.add_subscription("aeron:ipc", STREAM)
    for number, error in ((True, TypeError), (2**63, ValueError)):
        with pytest.raises(error):
            publication.remove_destination(number)
    with pytest.raises(TypeError, match="must be bytes"):
        client.terminate_driver(2**31)  # type: ignore[arg-type]
    with pytest.raises(RegistrationError) as failure:
        publication.add_destination("aeron:udp?endpoint=localhost:40460")
    assert failure.value.error_code == ErrorCode.GENERIC_ERROR
    with pytest.raises(RegistrationError) as failure:
        subscription.add_destination("aeron:udp?endpoint=localhost:40460")
    assert failure.value.error_code == ErrorCode.INVALID_CHANNEL
