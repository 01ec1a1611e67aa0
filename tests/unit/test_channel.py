"""`ChannelUri` against every table of the channel URIs."""

from __future__ import annotations

import pickle

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pillion.address import EndpointAddress, InterfaceAddress
from pillion.channel import (
    MAX_CHANNEL_LENGTH,
    RESERVED_VALUE_OFFSET,
    ChannelUri,
    ControlMode,
    InitialPosition,
    TimestampOffsets,
    is_tagged,
    parse_term_length,
    parse_timestamp_offset,
    tag_of,
    with_wildcard_port,
)
from pillion.errors import ChannelError, ErrorCode
from pillion.parameters import PARAMETERS, format_parameter

UDP = "aeron:udp?endpoint=localhost:45100"

# ---- parsing --------------------------------------------------------------------------------------------------------

# Section 12.1: what any of the two reference parsers takes. The text, and what it is written as.
ACCEPTED = [
    ("aeron:ipc", "aeron:ipc"),
    ("aeron:ipc?", "aeron:ipc"),
    ("aeron:udp?", "aeron:udp"),
    ("aeron:udp", "aeron:udp"),
    (UDP, UDP),
    (f"{UDP}|", UDP),
    (f"{UDP}|foo", UDP),
    (f"{UDP}|foo=bar", f"{UDP}|foo=bar"),
    ("aeron:udp?endpoint=", "aeron:udp"),
    (f"{UDP}|mtu=", UDP),
    ("aeron:udp?endpoint=[::1]:45103", "aeron:udp?endpoint=[::1]:45103"),
    (f"aeron-spy:{UDP}", f"aeron-spy:{UDP}"),
    ("aeron:udp?control-mode=manual", "aeron:udp?control-mode=manual"),
    (f"{UDP}|alias=a=b:c?d", f"{UDP}|alias=a=b:c?d"),
    ("aeron:ipc?mtu=1|mtu=2", "aeron:ipc?mtu=2"),
    ("aeron-spy:aeron:ipc", "aeron-spy:aeron:ipc"),
    ("aeron:ipc? k = v ", "aeron:ipc? k = v "),
]

# Section 12.2 and the parser's rules of section 1: the text, and the part at fault.
REFUSED = [
    ("", "scheme"),
    ("aeron", "scheme"),
    ("udp://localhost:1", "scheme"),
    ("Aeron:udp", "scheme"),
    (" aeron:udp", "scheme"),
    ("aeron-spy:", "scheme"),
    ("aeron-spy:aeron-spy:aeron:udp", "scheme"),
    ("aeron-Spy:aeron:udp", "scheme"),
    ("aeron:", "media"),
    ("aeron:ipcx", "media"),
    ("aeron:UDP", "media"),
    ("aeron:udpx?endpoint=localhost:1", "media"),
    ("aeron:tcp?endpoint=localhost:1", "media"),
    ("aeron:udp:x?endpoint=localhost:1", "media"),
    ("aeron:udp|x", "media"),
    ("aeron:udp=x", "media"),
    ("aeron:foo?x", "media"),
    ("aeron:udp?=v", ""),
    ("aeron:udp?=", ""),
    ("aeron:udp?|endpoint=localhost:1", ""),
    (f"{UDP}||ttl=1", ""),
    ("aeron:udp?k|endpoint=localhost:1", "k"),
    ("aeron:udp?endpoint=|ttl=1", "endpoint"),
]


@pytest.mark.parametrize(("text", "written"), ACCEPTED)
def test_accepted(text: str, written: str) -> None:
    uri = ChannelUri.parse(text)
    assert str(uri) == written
    assert ChannelUri.parse(str(uri)) == uri
    assert repr(uri) == f"ChannelUri({written!r})"


@pytest.mark.parametrize(("text", "parameter"), REFUSED)
def test_refused(text: str, parameter: str) -> None:
    with pytest.raises(ChannelError) as caught:
        ChannelUri.parse(text)
    assert caught.value.parameter == parameter
    assert caught.value.error_code is ErrorCode.INVALID_CHANNEL
    assert caught.value.channel == text
    assert isinstance(caught.value, ValueError)


def test_length_limit() -> None:
    longest = "aeron:ipc?alias=".ljust(MAX_CHANNEL_LENGTH, "x")
    assert len(str(ChannelUri.parse(longest))) == 4095
    with pytest.raises(ChannelError, match="4096 bytes, the longest has 4095") as caught:
        ChannelUri.parse(longest + "x")
    assert len(str(caught.value)) < 500, "the message stays readable"
    with pytest.raises(ChannelError, match="longest"):
        ChannelUri.parse(longest).put("more", "y")


@pytest.mark.parametrize("text", ["aeron:ipc?alias=\0", "aeron:ipc?alias=\udcff"])
def test_what_is_not_text(text: str) -> None:
    with pytest.raises(ChannelError, match="not text"):
        ChannelUri.parse(text)


def test_order_does_not_matter() -> None:
    one = ChannelUri.parse("aeron:udp?endpoint=a:1|mtu=1408")
    two = ChannelUri.parse("aeron:udp?mtu=1408|endpoint=a:1")
    assert one == two
    assert hash(one) == hash(two)
    assert str(one) != str(two)
    assert one != ChannelUri.parse("aeron-spy:aeron:udp?endpoint=a:1|mtu=1408")
    assert one != ChannelUri.parse("aeron:udp?endpoint=a:1|mtu=1409")
    assert ChannelUri.parse("aeron:ipc?a=b") != ChannelUri.parse("aeron:udp?a=b")
    assert one != str(one)


def test_getters() -> None:
    uri = ChannelUri.parse("aeron-spy:aeron:udp?endpoint=a:1|control=b:2|interface={lo}|foo=bar|tags=7,-8")
    assert (uri.media, uri.is_udp, uri.is_ipc, uri.is_spy) == ("udp", True, False, True)
    assert uri.endpoint == EndpointAddress("a", 1)
    assert uri.control == EndpointAddress("b", 2)
    assert uri.interface == InterfaceAddress("", "lo")
    assert uri.get("foo") == "bar"
    assert uri.get("none") is None
    assert uri.get("none", "default") == "default"
    assert "foo" in uri
    assert "none" not in uri
    assert dict(uri.params)["foo"] == "bar"
    with pytest.raises(TypeError):
        uri.params["foo"] = "changed"  # type: ignore[index]
    assert (uri.channel_tag, uri.entity_tag) == (7, -8)
    ipc = ChannelUri.parse("aeron:ipc")
    assert (ipc.endpoint, ipc.control, ipc.interface, ipc.channel_tag, ipc.entity_tag) == (None,) * 5
    assert ipc.control_mode is ControlMode.NONE


@pytest.mark.parametrize(
    ("text", "mode"),
    [("manual", "manual"), ("dynamic", "dynamic"), ("response", "response"), ("bogus", ""), ("MANUAL", "")],
)
def test_control_modes(text: str, mode: str) -> None:
    uri = ChannelUri.parse(f"aeron:udp?control-mode={text}")
    assert uri.control_mode == mode
    assert uri.has_control_mode_response is (mode == "response")


@pytest.mark.parametrize(
    ("tags", "channel_tag", "entity_tag"),
    [("1", 1, None), ("1,2", 1, 2), (",2", None, 2), ("1,", 1, None), ("0x10,-3", 16, -3)],
)
def test_tags(tags: str, channel_tag: int | None, entity_tag: int | None) -> None:
    uri = ChannelUri.parse(f"aeron:udp?tags={tags}")
    assert (uri.channel_tag, uri.entity_tag) == (channel_tag, entity_tag)


@pytest.mark.parametrize(("tags", "code"), [("abc", 1), ("1002,abc", 11), ("1,2,3", 11), ("9223372036854775808", 1)])
def test_no_tags(tags: str, code: int) -> None:
    uri = ChannelUri.parse(f"aeron:udp?tags={tags}")
    for tag in ("channel_tag", "entity_tag"):
        with pytest.raises(ChannelError) as caught:
            getattr(uri, tag)
        assert caught.value.parameter == "tags"
        assert caught.value.error_code == code


def test_typed_values() -> None:
    uri = ChannelUri.parse("aeron:ipc?mtu=8k|linger=5s|eos=false|session-id=-5|gtag=0x7fffffffffffffff")
    assert uri.get_size("mtu") == 8192
    assert uri.get_duration_ns("linger") == 5_000_000_000
    assert uri.get_bool("eos") is False
    assert uri.get_int32("session-id") == -5
    assert uri.get_int64("gtag") == 2**63 - 1
    assert uri.get_size("none") is None
    assert uri.get_size("none", 7) == 7
    assert uri.get_duration_ns("none", 7) == 7
    assert uri.get_bool("none", True) is True
    assert uri.get_int32("none", 7) == 7
    assert uri.get_int64("none", 7) == 7


@pytest.mark.parametrize(
    ("getter", "text"),
    [
        ("get_size", "abc"), ("get_size", "-1"), ("get_duration_ns", "5x"), ("get_duration_ns", "-1s"),
        ("get_bool", "yes"), ("get_bool", "1"), ("get_int32", "abc"), ("get_int32", "2147483648"),
        ("get_int32", "4294967296"), ("get_int64", "9223372036854775808"), ("get_int64", "1k"),
    ],
)  # fmt: skip
def test_values_of_another_type(getter: str, text: str) -> None:
    uri = ChannelUri.parse(f"aeron:ipc?some-name={text}")
    with pytest.raises(ChannelError) as caught:
        getattr(uri, getter)("some-name")
    assert caught.value.parameter == "some-name"
    assert caught.value.value == text
    assert caught.value.channel == str(uri)
    assert caught.value.error_code is ErrorCode.GENERIC_ERROR
    assert f"some-name='{text}'" in str(caught.value)


@pytest.mark.parametrize("name", ["endpoint", "control", "interface"])
def test_addresses_name_their_parameter(name: str) -> None:
    uri = ChannelUri.parse(f"aeron:udp?{name}=localhost:abc")
    with pytest.raises(ChannelError) as caught:
        getattr(uri, name)
    assert caught.value.parameter == name
    assert caught.value.channel == str(uri)


# ---- building -------------------------------------------------------------------------------------------------------

# Every row of the tables of section 5: parameter, values that are right with their text, values that are wrong.
VALUES: dict[str, tuple[list[tuple[object, str]], list[object]]] = {
    "tags": ([("1,2", "1,2"), (5, "5"), ((1, 2), "1,2"), ((None, 2), ",2"), ((1, None), "1")], ["abc", "1,x", ""]),
    "endpoint": ([("localhost:1", "localhost:1"), ("[::1]:0", "[::1]:0")], ["localhost", ":1", "a:65536", 5, ""]),
    "interface": ([("127.0.0.1/8", "127.0.0.1/8"), ("{lo}:1", "{lo}:1")], ["127.0.0.1/33", "{", 5]),
    "control": ([("localhost:0", "localhost:0")], ["localhost", "[::1:1"]),
    "control-mode": ([(mode, mode) for mode in ("manual", "dynamic", "response")], ["bogus", "MANUAL", "", 1]),
    "ttl": ([(0, "0"), (255, "255"), ("4", "4")], [-1, 256, "abc", True]),
    "alias": ([("for humans", "for humans"), ("a=b", "a=b")], ["a|b", "", 5, "\0"]),
    "session-id": (
        [(-5, "-5"), ("0x10", "0x10"), (2**31 - 1, "2147483647"), ("tag:99", "tag:99")],
        ["abc", 2**31, "tag:", "tag:x"],
    ),
    "stream-id": ([(-(2**31), "-2147483648")], [2**31, "x"]),
    "mtu": ([(64, "64"), ("1408", "1408"), (8192, "8k"), (65_504, "65504")], [32, 1400, 65_536, 63, "x", -32]),
    "term-length": (
        [(65_536, "64k"), ("64k", "64k"), (2**30, "1g"), ("16M", "16M")],
        ["60k", "32k", "2g", "abc", "-1", 65_537, 0],
    ),
    "init-term-id": ([(-1, "-1")], ["4294967296", "x"]),
    "term-id": ([(2**31 - 1, "2147483647")], [2**31]),
    "term-offset": ([(0, "0"), (64, "64"), (2**30, "1073741824")], [65, -32, 2**30 + 32, "64k"]),
    "pub-wnd": ([(32_768, "32k"), ("1m", "1m")], [0, -1, "x", 2**30 + 1]),
    "linger": ([(0, "0s"), (5_000_000, "5ms"), ("5m", "5m"), ("0", "0")], ["abc", "5x", "-1s", -1]),
    "eos": ([(True, "true"), (False, "false"), ("true", "true")], ["yes", 1, ""]),
    "sparse": ([(True, "true")], ["yes", "1"]),
    "ssc": ([(False, "false")], ["1", 1]),
    "fc": ([("min,t:5s,g:/2", "min,t:5s,g:/2")], [5, "", "a|b"]),
    "cc": ([("cubic", "cubic")], [5, ""]),
    "gtag": ([(-(2**63), "-9223372036854775808")], ["abc", 2**63]),
    "group": ([("infer", "infer"), (True, "true"), ("false", "false")], ["xyz", 2]),
    "rcv-wnd": ([(131_072, "128k")], [0, "abc"]),
    "so-sndbuf": ([(0, "0"), ("4k", "4k")], [-1, 2**31]),
    "so-rcvbuf": ([(2**20, "1m")], ["x"]),
    "max-resend": ([(1, "1"), (256, "256")], [0, 257, "x"]),
    "nak-delay": ([("100us", "100us"), (1500, "1500ns")], ["x"]),
    "reliable": ([(True, "true")], ["maybe"]),
    "tether": ([(False, "false")], ["no"]),
    "rejoin": ([(False, "false")], [0]),
    "untethered-window-limit-timeout": ([("5s", "5s")], ["1x"]),
    "untethered-linger-timeout": ([(10**9, "1s")], ["1x"]),
    "untethered-resting-timeout": ([("10s", "10s")], ["-1"]),
    "response-correlation-id": ([(-1, "-1"), ("prototype", "prototype"), (2**63 - 1, "9223372036854775807")],
                                [-2, "other"]),
    "response-endpoint": ([("localhost:5", "localhost:5")], ["localhost"]),
    "media-rcv-ts-offset": ([(0, "0"), ("reserved", "reserved")], ["abc", -8]),
    "channel-rcv-ts-offset": ([(8, "8")], ["Reserved"]),
    "channel-snd-ts-offset": ([("16", "16")], [-1]),
    "ats": ([(False, "false")], ["x"]),
}  # fmt: skip
RIGHT = [(name, value, text) for name, (right, _) in VALUES.items() for value, text in right]
WRONG = [(name, value) for name, (_, wrong) in VALUES.items() for value in wrong]


def test_every_parameter_is_tested() -> None:
    assert set(VALUES) == set(PARAMETERS)


@pytest.mark.parametrize(("name", "value", "text"), RIGHT)
def test_right_values(name: str, value: object, text: str) -> None:
    assert format_parameter(name, value) == text
    keyword = {name.replace("-", "_"): value}
    assert ChannelUri.parse("aeron:ipc").with_(**keyword).get(name) == text  # type: ignore[arg-type]


@pytest.mark.parametrize(("name", "value"), WRONG)
def test_wrong_values(name: str, value: object) -> None:
    with pytest.raises(ChannelError) as caught:
        format_parameter(name, value, "aeron:udp?...")
    assert caught.value.parameter == name
    assert caught.value.value == value
    with pytest.raises(ChannelError) as caught:
        ChannelUri.udp(**{name.replace("-", "_"): value, "alias": "x"} if name != "alias"
                       else {"alias": value})  # type: ignore[arg-type]  # fmt: skip
    assert caught.value.parameter in (name, "endpoint"), name


def test_builder_order_is_that_of_the_reference() -> None:
    order = """tags endpoint interface control control-mode mtu term-length init-term-id term-id term-offset
    session-id ttl reliable linger alias cc fc gtag sparse eos tether group rejoin ssc so-sndbuf so-rcvbuf rcv-wnd
    media-rcv-ts-offset channel-rcv-ts-offset channel-snd-ts-offset response-endpoint response-correlation-id
    nak-delay untethered-window-limit-timeout untethered-linger-timeout untethered-resting-timeout max-resend
    stream-id pub-wnd"""
    assert [name for name in PARAMETERS if name != "ats"] == order.split()
    uri = ChannelUri.udp(pub_wnd="32k", mtu=1408, endpoint="a:1", tags=5)
    assert str(uri) == "aeron:udp?tags=5|endpoint=a:1|mtu=1408|pub-wnd=32k"


def test_none_leaves_out() -> None:
    assert str(ChannelUri.ipc(mtu=None, alias="x")) == "aeron:ipc?alias=x"
    uri = ChannelUri.ipc(alias="x", mtu=64)
    assert str(uri.with_(alias=None)) == "aeron:ipc?mtu=64"
    assert str(uri.with_(alias="y")) == "aeron:ipc?mtu=64|alias=y"
    assert str(uri) == "aeron:ipc?mtu=64|alias=x", "immutable"


def test_unknown_keywords_are_refused_with_a_hint() -> None:
    for make in (ChannelUri.udp, ChannelUri.ipc, ChannelUri.ipc().with_):
        with pytest.raises(ChannelError, match="did you mean 'term-length'") as caught:
            make(term_lenght="64k")  # type: ignore[call-arg]
        assert caught.value.parameter == "term_lenght"


# Section 12.2, what the channel alone can tell: parameters, and the one that is at fault.
@pytest.mark.parametrize(
    ("query", "parameter", "code"),
    [
        ("", "endpoint", 1),
        ("mtu=1408", "endpoint", 1),
        ("control-mode=dynamic", "control-mode", 1),
        ("endpoint=a:1|control-mode=dynamic", "control-mode", 1),
        ("endpoint=localhost", "endpoint", 11),
        ("endpoint=localhost:abc", "endpoint", 11),
        ("endpoint=:45100", "endpoint", 9),
        ("endpoint=[::1:45103", "endpoint", 9),
        ("endpoint=a:1|interface=127.0.0.1/33", "interface", 11),
        ("endpoint=a:1|term-length=60k", "term-length", 11),
        ("endpoint=a:1|term-length=32k", "term-length", 11),
        ("endpoint=a:1|term-length=2g", "term-length", 11),
        ("endpoint=a:1|mtu=32", "mtu", 11),
        ("endpoint=a:1|mtu=1400", "mtu", 11),
        ("endpoint=a:1|init-term-id=1", "term-id", 11),
        ("endpoint=a:1|term-id=1|term-offset=0", "init-term-id", 11),
        ("endpoint=a:1|init-term-id=1|term-id=1", "term-offset", 11),
        ("endpoint=a:1|init-term-id=2|term-id=1|term-offset=0", "term-id", 11),
        ("endpoint=a:1|init-term-id=1|term-id=1|term-offset=65", "term-offset", 11),
        ("endpoint=a:1|init-term-id=1|term-id=1|term-offset=65568|term-length=64k", "term-offset", 11),
        ("endpoint=a:1|init-term-id=4294967296", "init-term-id", 11),
        ("endpoint=a:1|session-id=abc", "session-id", 11),
        ("endpoint=a:1|session-id=2147483648", "session-id", 11),
        ("endpoint=a:1|linger=5x", "linger", 11),
        ("endpoint=a:1|sparse=yes", "sparse", 11),
        ("endpoint=a:1|max-resend=257", "max-resend", 11),
        ("endpoint=a:1|mtu=1408|pub-wnd=1k", "pub-wnd", 11),
        ("endpoint=a:1|term-length=64k|pub-wnd=33k", "pub-wnd", 11),
        ("endpoint=a:1|gtag=abc", "gtag", 11),
        ("endpoint=a:1|media-rcv-ts-offset=reserved|channel-rcv-ts-offset=reserved", "channel-rcv-ts-offset", 11),
        ("endpoint=a:1|channel-snd-ts-offset=8|channel-rcv-ts-offset=12", "channel-snd-ts-offset", 11),
        ("endpoint=a:1|channel-snd-ts-offset=abc", "channel-snd-ts-offset", 11),
    ],
)
def test_validate_refuses(query: str, parameter: str, code: int) -> None:
    uri = ChannelUri.parse(f"aeron:udp?{query}")
    with pytest.raises(ChannelError) as caught:
        uri.validate()
    assert caught.value.parameter == parameter
    assert caught.value.error_code == code
    assert caught.value.channel == str(uri)


@pytest.mark.parametrize(
    "text",
    [
        "aeron:ipc", UDP, "aeron:udp?control-mode=manual", "aeron:udp?control-mode=response|control=a:1",
        "aeron:udp?tags=5", "aeron:udp?control=localhost:0|control-mode=dynamic", "aeron:udp?control=a:5",
        f"{UDP}|init-term-id=1|term-id=3|term-offset=65536|term-length=64k",
        f"{UDP}|init-term-id=2147483647|term-id=-2147483648|term-offset=0",
        f"{UDP}|term-length=64k|pub-wnd=32k", f"{UDP}|max-resend=256", f"{UDP}|foo=bar", f"{UDP}|fc=anything",
        f"{UDP}|channel-snd-ts-offset=8|channel-rcv-ts-offset=16|media-rcv-ts-offset=reserved",
        "aeron:ipc?control-mode=manual", f"{UDP}|mtu=64", f"{UDP}|session-id=0x10",
    ],
)  # fmt: skip
def test_validate_accepts(text: str) -> None:
    uri = ChannelUri.parse(text)
    assert uri.validate() is uri


def test_initial_position() -> None:
    uri = ChannelUri.parse(f"{UDP}|init-term-id=1|term-id=3|term-offset=65536")
    assert uri.initial_position(65_536) == InitialPosition(1, 3, 65_536)
    assert ChannelUri.parse(UDP).initial_position(65_536) is None
    with pytest.raises(ChannelError, match="outside"):
        ChannelUri.parse(f"{UDP}|init-term-id=1|term-id=3|term-offset=65568").initial_position(65_536)


def test_timestamp_offsets() -> None:
    uri = ChannelUri.parse(f"{UDP}|media-rcv-ts-offset=reserved|channel-snd-ts-offset=0")
    assert uri.timestamp_offsets() == TimestampOffsets(RESERVED_VALUE_OFFSET, None, 0)
    assert ChannelUri.parse(UDP).timestamp_offsets() == (None, None, None)
    assert parse_timestamp_offset("reserved") == -8
    for offset, is_right in ((7, False), (8, True), (0, False)):
        channel = ChannelUri.parse(f"{UDP}|channel-rcv-ts-offset=0|channel-snd-ts-offset={offset}")
        if is_right:
            channel.timestamp_offsets()
        else:
            with pytest.raises(ChannelError, match="overlaps"):
                channel.timestamp_offsets()


@pytest.mark.parametrize(
    ("position", "initial", "term_length", "expected"),
    [
        (0, 7, 65_536, (7, 7, 0)),
        (65_600, 100, 65_536, (100, 101, 64)),
        (65_536 * 3, 2**31 - 1, 65_536, (2**31 - 1, -(2**31) + 2, 0)),
        ((65_536 << 31) - 32, -1, 65_536, (-1, 2**31 - 2, 65_504)),
    ],
)
def test_with_initial_position(position: int, initial: int, term_length: int, expected: tuple[int, ...]) -> None:
    uri = ChannelUri.parse(UDP).with_initial_position(position, initial, term_length)
    assert uri.initial_position(term_length) == expected
    assert uri.get_size("term-length") == term_length
    uri.validate()


@pytest.mark.parametrize(("position", "term_length"), [(-32, 65_536), (33, 65_536), (32, 65_537), (32, 1024)])
def test_no_initial_position(position: int, term_length: int) -> None:
    with pytest.raises(ChannelError) as caught:
        ChannelUri.parse(UDP).with_initial_position(position, 0, term_length)
    assert caught.value.parameter in ("position", "term-length")


# ---- tools of section 11 --------------------------------------------------------------------------------------------


def test_put_without_alias_and_destination() -> None:
    uri = ChannelUri.parse(f"{UDP}|interface={{lo}}|mtu=1408")
    assert str(uri.put("mtu", "x").without("interface")) == f"{UDP}|mtu=x"
    assert uri.with_alias_if_absent("a").get("alias") == "a"
    assert uri.put("alias", "b").with_alias_if_absent("a").get("alias") == "b"
    assert str(uri.destination("other:5")) == "aeron:udp?endpoint=other:5|interface={lo}"
    assert str(ChannelUri.parse(UDP).destination("other:5")) == "aeron:udp?endpoint=other:5"
    with pytest.raises(ChannelError):
        uri.destination("other")
    for name, value in (("", "x"), ("a", ""), ("a=b", "x"), ("a|b", "x"), ("a", "x|y")):
        with pytest.raises(ChannelError):
            uri.put(name, value)


@pytest.mark.parametrize(
    ("channel", "resolved", "expected"),
    [
        ("aeron:udp?control-mode=manual", "127.0.0.1:5", "aeron:udp?control-mode=manual|endpoint=127.0.0.1:5"),
        ("aeron:udp?endpoint=localhost:0", "127.0.0.1:5", "aeron:udp?endpoint=localhost:5"),
        ("aeron:udp?endpoint=[::1]:0", "[::1]:77", "aeron:udp?endpoint=[::1]:77"),
        ("aeron:udp?endpoint=localhost:10", "127.0.0.1:5", "aeron:udp?endpoint=localhost:10"),
    ],
)
def test_resolved_port(channel: str, resolved: str, expected: str) -> None:
    assert str(ChannelUri.parse(channel).with_resolved_port(resolved)) == expected


@pytest.mark.parametrize("resolved", ["127.0.0.1", "127.0.0.1:0", "127.0.0.1:x"])
def test_no_resolved_port(resolved: str) -> None:
    with pytest.raises(ChannelError) as caught:
        ChannelUri.parse("aeron:udp?endpoint=localhost:0").with_resolved_port(resolved)
    assert caught.value.parameter == "endpoint"


def test_small_tools() -> None:
    assert with_wildcard_port("localhost:5") == "localhost:0"
    assert with_wildcard_port("[::1]:5") == "[::1]:0"
    with pytest.raises(ChannelError):
        with_wildcard_port("localhost")
    assert is_tagged("tag:5")
    assert not is_tagged("5")
    assert tag_of("tag:-5") == -5
    for text in ("5", "tag:", "tag:x"):
        with pytest.raises(ValueError, match="number"):
            tag_of(text)
    assert parse_term_length("64k") == 65_536
    for text in ("60k", "x"):
        with pytest.raises(ValueError, match="is not a"):
            parse_term_length(text)


def test_spies() -> None:
    assert str(ChannelUri.spy_of(UDP)) == f"aeron-spy:{UDP}"
    assert ChannelUri.spy_of(ChannelUri.parse(UDP)).is_spy
    with pytest.raises(ChannelError) as caught:
        ChannelUri.spy_of("aeron:ipc")
    assert caught.value.parameter == "media"
    assert ChannelUri.parse(f"aeron-spy:{UDP}").with_(mtu=64).is_spy


def test_errors_and_channels_can_be_pickled() -> None:
    uri = ChannelUri.parse(f"{UDP}|term-length=x")
    assert pickle.loads(pickle.dumps(uri)) == uri
    with pytest.raises(ChannelError) as caught:
        uri.get_size("term-length")
    copy = pickle.loads(pickle.dumps(caught.value))
    assert (copy.parameter, copy.value, copy.channel) == ("term-length", "x", str(uri))
    assert str(copy) == str(caught.value)


# ---- properties -----------------------------------------------------------------------------------------------------

NAME_CHARACTERS = st.characters(blacklist_characters="=|\0", blacklist_categories=("Cs",))
TEXT_CHARACTERS = st.characters(blacklist_characters="|\0", blacklist_categories=("Cs",))
NAMES = st.text(alphabet=NAME_CHARACTERS, min_size=1, max_size=12)
TEXTS = st.text(alphabet=TEXT_CHARACTERS, min_size=1, max_size=20)


@given(st.sampled_from(["udp", "ipc"]), st.dictionaries(NAMES, TEXTS, max_size=8), st.booleans())
def test_any_channel_round_trips(media: str, params: dict[str, str], is_spy: bool) -> None:
    uri = ChannelUri(media, params, is_spy=is_spy)
    parsed = ChannelUri.parse(str(uri))
    assert parsed == uri
    assert dict(parsed.params) == params
    assert (parsed.media, parsed.is_spy) == (media, is_spy)


@given(
    st.fixed_dictionaries(
        {},
        optional={
            "term_length": st.integers(16, 30).map(lambda bits: 1 << bits),
            "mtu": st.integers(2, 2047).map(lambda n: n * 32),
            "linger": st.integers(0, 2**63 - 1),
            "session_id": st.integers(-(2**31), 2**31 - 1),
            "reliable": st.booleans(),
            "gtag": st.integers(-(2**63), 2**63 - 1),
            "ttl": st.integers(0, 255),
            "group": st.booleans() | st.just("infer"),
        },
    )
)
def test_built_values_are_read_back(parameters: dict[str, object]) -> None:
    uri = ChannelUri.udp(endpoint="localhost:40123", **parameters)  # type: ignore[arg-type]
    again = ChannelUri.parse(str(uri)).validate()
    assert again == uri
    assert again.get_size("term-length") == parameters.get("term_length")
    assert again.get_size("mtu") == parameters.get("mtu")
    assert again.get_duration_ns("linger") == parameters.get("linger")
    assert again.get_int32("session-id") == parameters.get("session_id")
    assert again.get_bool("reliable") == parameters.get("reliable")
    assert again.get_int64("gtag") == parameters.get("gtag")
