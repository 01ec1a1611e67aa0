"""Addresses against section 3 of the channel URIs."""

from __future__ import annotations

from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pillion.address import (
    EndpointAddress,
    InterfaceAddress,
    multicast_control_address,
    packed_address,
    parse_endpoint,
    parse_interface,
)
from pillion.errors import ChannelError, ErrorCode


@pytest.mark.parametrize(
    ("text", "host", "port", "ipv6"),
    [
        ("localhost:40123", "localhost", 40123, False),
        ("127.0.0.1:0", "127.0.0.1", 0, False),
        ("[::1]:65535", "::1", 65535, True),
        ("[fe80::1%eth0]:9", "fe80::1", 9, True),
        ("::1:40123", "::1", 40123, False),
        ("a.b-c_d:00080", "a.b-c_d", 80, False),
    ],
)
def test_endpoints(text: str, host: str, port: int, ipv6: bool) -> None:
    assert parse_endpoint(text) == EndpointAddress(host, port, ipv6)


@pytest.mark.parametrize(
    ("text", "code"),
    [
        ("localhost", ErrorCode.GENERIC_ERROR), ("localhost:", ErrorCode.GENERIC_ERROR),
        ("localhost:abc", ErrorCode.GENERIC_ERROR), ("localhost:65536", ErrorCode.GENERIC_ERROR),
        ("localhost:-1", ErrorCode.GENERIC_ERROR), ("localhost:+1", ErrorCode.GENERIC_ERROR),
        ("localhost: 1", ErrorCode.GENERIC_ERROR), ("localhost:\u0661", ErrorCode.GENERIC_ERROR),
        ("localhost:000080", ErrorCode.GENERIC_ERROR), ("", ErrorCode.GENERIC_ERROR),
        ("[::1]", ErrorCode.GENERIC_ERROR), ("[::1]40123", ErrorCode.GENERIC_ERROR),
        (":45100", ErrorCode.UNKNOWN_HOST), ("[::1:45103", ErrorCode.UNKNOWN_HOST),
        ("[]:1", ErrorCode.UNKNOWN_HOST), ("[127.0.0.1]:1", ErrorCode.UNKNOWN_HOST),
        ("[localhost]:1", ErrorCode.UNKNOWN_HOST), ("[::g]:1", ErrorCode.UNKNOWN_HOST),
    ],
)  # fmt: skip
def test_no_endpoints(text: str, code: ErrorCode) -> None:
    with pytest.raises(ChannelError) as caught:
        parse_endpoint(text, parameter="control", channel="aeron:udp?...")
    assert caught.value.error_code is code
    assert caught.value.parameter == "control"
    assert caught.value.value == text
    assert caught.value.channel == "aeron:udp?..."


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("127.0.0.1", InterfaceAddress("127.0.0.1")),
        ("127.0.0.1/8", InterfaceAddress("127.0.0.1", prefix_length=8)),
        ("127.0.0.0:45106/24", InterfaceAddress("127.0.0.0", port=45106, prefix_length=24)),
        ("0.0.0.0/0", InterfaceAddress("0.0.0.0", prefix_length=0)),
        ("10.0.0.1/32", InterfaceAddress("10.0.0.1", prefix_length=32)),
        ("[::1]", InterfaceAddress("::1", is_ipv6_literal=True)),
        ("[fe80::%eth0]:5/128", InterfaceAddress("fe80::", port=5, prefix_length=128, is_ipv6_literal=True)),
        ("{lo}", InterfaceAddress("", "lo")),
        ("{lo}:45106", InterfaceAddress("", "lo", 45106)),
        ("{abcdefghijklmno}", InterfaceAddress("", "abcdefghijklmno")),
        ("localhost", InterfaceAddress("localhost")),
    ],
)
def test_interfaces(text: str, expected: InterfaceAddress) -> None:
    assert parse_interface(text) == expected


@pytest.mark.parametrize(
    "text",
    ["", "/8", "127.0.0.1/33", "[::1]/129", "127.0.0.1/", "127.0.0.1/x", "127.0.0.1/-1", "127.0.0.1/8/8",
     "127.0.0.1:65536", "127.0.0.1:", "127.0.0.1:x", "127.0.0.1:1:2", "[::1", "[x]", "[127.0.0.1]", "::1", "{lo",
     "lo}", "{}", "{lo}x", "{lo}:", "{lo}:123456", "{lo}/8", "{abcdefghijklmnop}", "[::1]x"],
)  # fmt: skip
def test_no_interfaces(text: str) -> None:
    with pytest.raises(ChannelError) as caught:
        parse_interface(text)
    assert caught.value.error_code is ErrorCode.GENERIC_ERROR
    assert caught.value.parameter == "interface"
    assert caught.value.value == text


@pytest.mark.parametrize(
    ("text", "is_group"),
    [("224.0.0.1:1", True), ("239.255.255.255:1", True), ("223.255.255.255:1", False), ("240.0.0.0:1", False),
     ("[ff02::1]:1", True), ("[fe80::1]:1", False), ("localhost:1", False), ("ff02::1:1", False)],
)  # fmt: skip
def test_multicast(text: str, is_group: bool) -> None:
    assert parse_endpoint(text).is_multicast is is_group


@pytest.mark.parametrize(
    ("data", "control"),
    [("224.20.30.39", "224.20.30.40"), ("224.0.0.1", "224.0.0.2"), ("239.1.1.253", "239.1.1.254"),
     ("239.1.1.255", "239.1.1.0")],  # that byte only, without a carry
)
def test_control_group_is_one_above(data: str, control: str) -> None:
    address = packed_address(data, ipv6=False)
    assert address is not None
    assert multicast_control_address(address) == packed_address(control, ipv6=False)


def test_control_group_of_ipv6() -> None:
    for data, control in (("ff02::3:f1", "ff02::3:f2"), ("ff02::12ff", "ff02::1200")):
        address = packed_address(data, ipv6=True)
        assert address is not None
        assert multicast_control_address(address) == packed_address(control, ipv6=True)


@pytest.mark.parametrize("last", [0, 2, 40, 254])
def test_even_data_groups_are_refused(last: int) -> None:
    with pytest.raises(ValueError, match="even"):
        multicast_control_address(bytes([224, 20, 30, last]))


@given(st.from_regex(r"[a-zA-Z0-9.\-]{1,30}", fullmatch=True), st.integers(0, 65535))
def test_names_round_trip(host: str, port: int) -> None:
    address = EndpointAddress(host, port)
    assert parse_endpoint(str(address)) == address


@given(st.ip_addresses(v=6), st.integers(0, 65535))
def test_ipv6_round_trips(host: object, port: int) -> None:
    address = EndpointAddress(str(host), port, True)
    assert parse_endpoint(str(address)) == address
    assert address.literal == host.packed  # type: ignore[attr-defined]


@given(st.text(max_size=40) | st.text(alphabet="[]{}:/%0123456789abcdef.", max_size=20))
def test_any_text_is_read_or_refused(text: str) -> None:
    for parse in (parse_endpoint, parse_interface):
        with suppress(ChannelError):
            assert 0 <= parse(text).port <= 65535
