"""What a publication's or subscription's channel says about it, with the driver's defaults filled in.

A driver looks only at what concerns the command at hand: a subscription's `mtu` is ignored, a
publication's is checked. Wrong values raise `ChannelError` or `Refusal`, code 11.
"""

from __future__ import annotations

from typing import NamedTuple

from pillion.channel import ChannelUri, InitialPosition, is_tagged, parse_term_length, tag_of
from pillion.driver.refusal import Refusal, not_supported
from pillion.driver.settings import DriverSettings
from pillion.errors import ErrorCode
from pillion.parameters import MAX_MTU_LENGTH, MAX_RESEND, check_size
from pillion.units import INT32_MAX, INT32_MIN, KIB, parse_int, parse_size

# What the reference takes for the smallest frame that carries anything.
LARGER_THAN_HEADER = 64
SHORTEST_DEFAULT_TERM = 256 * KIB


class UntetheredTimeouts(NamedTuple):
    """How long a subscription with `tether=false` may lag, linger and rest; ns."""

    window_limit_ns: int
    linger_ns: int
    resting_ns: int


class PublicationParams(NamedTuple):
    """A publication as its channel wants it. Lengths in bytes, times in ns.

    The `given_*` fields are what the channel itself says, None where it leaves it to the driver:
    they have to agree with an existing publication that is to be shared.
    """

    term_length: int
    mtu_length: int
    window_length: int
    initial_position: InitialPosition | None
    given_session_id: int | None
    given_mtu_length: int | None
    given_term_length: int | None
    linger_ns: int
    signal_eos: bool
    sparse: bool
    spies_simulate_connection: bool
    max_resend: int
    entity_tag: int
    untethered: UntetheredTimeouts


class SessionOfTag(NamedTuple):
    """What `session-id=tag:<n>` copies from the publication with that entity tag."""

    session_id: int
    mtu_length: int
    term_length: int


class SubscriptionParams(NamedTuple):
    """A subscription as its channel wants it."""

    session_id: int | None
    reliable: bool
    tether: bool
    rejoin: bool
    sparse: bool
    window_length: int
    nak_delay_ns: int | None
    group_tag: int | None
    untethered: UntetheredTimeouts


def session_tag(uri: ChannelUri) -> int | None:
    """The entity tag that `session-id=tag:<n>` names, None for any other session id."""
    text = uri.get("session-id", "")
    return uri.get_with("session-id", tag_of, 0) if is_tagged(text) else None


def publication_params(
    uri: ChannelUri,
    settings: DriverSettings,
    tagged: SessionOfTag | None = None,
    room: int | None = None,
) -> PublicationParams:
    """`tagged` is what was found for the `session-id=tag:` of `uri`.

    `room` is what the file system has left, in bytes, for a term length that nobody gave.
    """
    if "response-correlation-id" in uri or uri.has_control_mode_response:
        raise not_supported("a response channel (control-mode=response, response-correlation-id)", uri)
    _refuse_udp_extensions(uri)
    given_term = uri.get_with("term-length", parse_term_length, None)
    given_mtu = uri.get_with("mtu", _parse_mtu, None)
    if tagged is not None:
        given_term, given_mtu = tagged.term_length, tagged.mtu_length
        session_id: int | None = tagged.session_id
    else:
        session_id = uri.get_int32("session-id")
    is_ipc = uri.is_ipc
    term_length = given_term or _default_term_length(settings, is_ipc, room)
    position = uri.initial_position(term_length)
    mtu = given_mtu or (settings.ipc_mtu_length if is_ipc else settings.mtu_length)
    if mtu > term_length:
        raise uri.error("mtu", f"is larger than term-length={term_length}")
    return PublicationParams(
        term_length=term_length,
        mtu_length=mtu,
        window_length=_publication_window(uri, settings, mtu, term_length),
        initial_position=position,
        given_session_id=session_id,
        given_mtu_length=given_mtu,
        given_term_length=given_term,
        linger_ns=uri.get_duration_ns("linger", settings.publication_linger_timeout_ns),
        signal_eos=uri.get_bool("eos", True),
        sparse=uri.get_bool("sparse", settings.term_buffer_sparse_file),
        spies_simulate_connection=uri.get_bool("ssc", settings.spies_simulate_connection),
        max_resend=uri.get_with("max-resend", lambda text: parse_int(text, 1, MAX_RESEND), 0),
        entity_tag=-1 if uri.entity_tag is None else uri.entity_tag,
        untethered=_untethered(uri, settings),
    )


def subscription_params(uri: ChannelUri, settings: DriverSettings) -> SubscriptionParams:
    if uri.is_udp and uri.has_control_mode_response:
        raise not_supported("control-mode=response (response channels)", uri)
    _refuse_udp_extensions(uri)
    return SubscriptionParams(
        session_id=uri.get_with("session-id", lambda t: parse_int(t, INT32_MIN, INT32_MAX), None),
        reliable=uri.get_bool("reliable", settings.reliable_stream),
        tether=uri.get_bool("tether", settings.tether_subscriptions),
        rejoin=uri.get_bool("rejoin", settings.rejoin_stream),
        sparse=uri.get_bool("sparse", settings.term_buffer_sparse_file),
        window_length=uri.get_with("rcv-wnd", _parse_window, settings.initial_window_length),
        nak_delay_ns=uri.get_duration_ns("nak-delay"),
        group_tag=uri.get_int64("gtag") if "gtag" in uri else settings.receiver_group_tag,
        untethered=_untethered(uri, settings),
    )


def _refuse_udp_extensions(uri: ChannelUri) -> None:
    """Timestamps and authentication, which IPC ignores."""
    if not uri.is_udp:
        return
    _ = uri.timestamp_offsets()  # wrong ones are wrong before they are not supported
    for name in ("media-rcv-ts-offset", "channel-rcv-ts-offset", "channel-snd-ts-offset"):
        if name in uri:
            raise not_supported(f"{name} (timestamps in messages)", uri)
    if uri.get_bool("ats", False):
        raise uri.error("ats", "needs an authenticated transport, which this driver has not")


def refuse_unsupported_addressing(uri: ChannelUri, *, is_subscription: bool) -> None:
    """Raises for channels of kinds that come later: multicast and several destinations."""
    mode = uri.control_mode
    if mode:
        raise not_supported(f"control-mode={mode} (several destinations)", uri)
    if is_subscription and "control" in uri:
        raise not_supported("a subscription with control (a publisher with several destinations)", uri)
    endpoint = uri.endpoint
    if endpoint is not None and endpoint.is_multicast:
        literal = endpoint.literal or b""
        if literal[-1] % 2 == 0:
            raise uri.error(
                "endpoint", "is an even multicast address: data groups are odd, control is one above"
            )
        raise not_supported("a multicast endpoint", uri)


def leaves_term_length_open(uri: ChannelUri, settings: DriverSettings) -> bool:
    """Whether neither the channel nor the deployment says how long a term is."""
    setting = "ipc_term_buffer_length" if uri.is_ipc else "term_buffer_length"
    return "term-length" not in uri and setting not in settings.sources


def _default_term_length(settings: DriverSettings, is_ipc: bool, room: int | None) -> int:
    """The default, halved until a log of three terms is no more than a quarter of `room`.

    A container has 64 MB of shared memory where nobody asked for more: short terms beat none.
    """
    length = settings.ipc_term_buffer_length if is_ipc else settings.term_buffer_length
    while room is not None and length > SHORTEST_DEFAULT_TERM and length * 3 > room // 4:
        length //= 2
    return length


def _parse_mtu(text: str) -> int:
    size = parse_size(text)
    check_size(size, LARGER_THAN_HEADER, MAX_MTU_LENGTH, multiple=32)
    return size


def _parse_window(text: str) -> int:
    size = parse_size(text)
    check_size(size, 1, INT32_MAX)
    return size


def _publication_window(
    uri: ChannelUri, settings: DriverSettings, mtu: int, term_length: int
) -> int:
    window = uri.get_size("pub-wnd")
    if window is None:
        configured = (
            settings.ipc_publication_term_window_length
            if uri.is_ipc
            else settings.publication_term_window_length
        )
        return min(configured or term_length // 2, term_length // 2)
    if window < mtu:
        raise uri.error("pub-wnd", f"is smaller than mtu={mtu}")
    if window > term_length // 2:
        raise uri.error("pub-wnd", f"is larger than half of term-length={term_length}")
    return window


def _untethered(uri: ChannelUri, settings: DriverSettings) -> UntetheredTimeouts:
    limit = uri.get_duration_ns(
        "untethered-window-limit-timeout", settings.untethered_window_limit_timeout_ns
    )
    linger = uri.get_duration_ns("untethered-linger-timeout")
    if linger is None:
        linger = settings.untethered_linger_timeout_ns
    return UntetheredTimeouts(
        window_limit_ns=limit,
        linger_ns=limit if linger is None else linger,
        resting_ns=uri.get_duration_ns(
            "untethered-resting-timeout", settings.untethered_resting_timeout_ns
        ),
    )


def refuse_port_zero(uri: ChannelUri) -> None:
    """A unicast publication has to know where it sends to."""
    endpoint = uri.endpoint
    if endpoint is not None and endpoint.port == 0:
        raise Refusal(
            ErrorCode.GENERIC_ERROR,
            f"endpoint={uri.get('endpoint')!r} has port 0: a publication needs the port its "
            f"subscribers listen on (channel {uri})",
        )
