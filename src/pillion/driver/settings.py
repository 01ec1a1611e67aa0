"""Every setting of a driver, declared once: name, unit, default, range and what it is for.

A value comes from the first of: a keyword argument, properties (files and `-D` of the command
line), the environment (`AERON_...`, empty is unset), the default. Keywords are held to their range.
What a deployment sets is taken as the reference driver takes it, so that drivers can be swapped:
numbers out of range become the nearest limit, text that cannot be read is warned about on stderr.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from pillion.directory import default_aeron_dir
from pillion.driver.properties import environment_name
from pillion.driver.setting_types import (
    Declared,
    Setting,
    choice,
    duration,
    flag,
    idle,
    integer,
    interceptors,
    loss_rates,
    milliseconds,
    ports,
    size,
    text,
)
from pillion.driver.setting_values import IdleSpec, LossRates, LossSpec, PortRange
from pillion.errors import SettingError
from pillion.parameters import (
    FRAME_ALIGNMENT,
    MAX_MTU_LENGTH,
    MAX_RESEND,
    MAX_TERM_LENGTH,
    MAX_TTL,
    MAX_WINDOW_LENGTH,
    MIN_MTU_LENGTH,
    MIN_TERM_LENGTH,
)
from pillion.units import (
    GIB,
    INT32_MAX,
    INT32_MIN,
    INT64_MAX,
    INT64_MIN,
    KIB,
    MIB,
    MICROSECOND_NS,
    MILLISECOND_NS,
    SECOND_NS,
)

RING_TRAILER_LENGTH = 768
BROADCAST_TRAILER_LENGTH = 128
THREADING_MODES = ("dedicated", "shared_network", "shared", "invoker")
# Fewer processors than this cannot give three agents and their client one each.
DEDICATED_PROCESSORS = 4


def default_threading_mode() -> str:
    """`shared` where this process may use fewer than four processors, else `dedicated`."""
    few = len(os.sched_getaffinity(0)) < DEDICATED_PROCESSORS
    return "shared" if few else "dedicated"


def _term_length(default: int, property_name: str, doc: str) -> Any:
    return size(
        default,
        property_name,
        doc,
        MIN_TERM_LENGTH,
        MAX_TERM_LENGTH,
        power_of_two=True,
        clamped=False,
    )


def _mtu(property_name: str, doc: str) -> Any:
    return size(1408, property_name, doc, MIN_MTU_LENGTH, MAX_MTU_LENGTH, multiple=FRAME_ALIGNMENT)


# Not a dataclass: that takes 10 ms of a start that has 150.
class DriverSettings:
    """The settings of one driver; `load` makes them from where they are given.

    Lengths are bytes and durations nanoseconds, as the names say. `SettingError` is raised for a
    value out of its range and for values that contradict each other.
    """

    # Directory and files.
    aeron_dir: str = text(
        "", "aeron.dir", "Directory of the driver's files; the user's own in /dev/shm if unset."
    )
    dir_warn_if_exists: bool = flag(
        False, "aeron.dir.warn.if.exists", "Warn at the start if the directory exists."
    )
    dir_delete_on_start: bool = flag(
        False,
        "aeron.dir.delete.on.start",
        "Delete the directory at the start, even if a living driver uses it.",
    )
    dir_delete_on_shutdown: bool = flag(
        False, "aeron.dir.delete.on.shutdown", "Delete the directory at the end."
    )
    conductor_buffer_length: int = size(
        MIB + RING_TRAILER_LENGTH,
        "aeron.conductor.buffer.length",
        "Commands of the clients: a power of two and the ring buffer's trailer.",
        MIB + RING_TRAILER_LENGTH,
        trailer=RING_TRAILER_LENGTH,
    )
    clients_buffer_length: int = size(
        MIB + BROADCAST_TRAILER_LENGTH,
        "aeron.clients.buffer.length",
        "Events for the clients: a power of two and the broadcast buffer's trailer.",
        MIB + BROADCAST_TRAILER_LENGTH,
        trailer=BROADCAST_TRAILER_LENGTH,
    )
    counters_buffer_length: int = size(
        MIB,
        "aeron.counters.buffer.length",
        "Values of the counters, 128 bytes each; their metadata takes four times as much. The "
        "reference has 8m, 65536 counters, which takes 40 MiB of memory at the start.",
        MIB,
        500 * MIB,
        multiple=128,
    )
    error_buffer_length: int = size(
        4 * MIB, "aeron.error.buffer.length", "The log of distinct errors.", 4 * MIB
    )
    loss_report_buffer_length: int = size(
        MIB, "aeron.loss.report.buffer.length", "The loss report.", KIB
    )
    file_page_size: int = size(
        4 * KIB,
        "aeron.file.page.size",
        "What the lengths of mapped files are rounded up to.",
        4 * KIB,
        GIB,
        power_of_two=True,
    )
    term_buffer_sparse_file: bool = flag(
        True,
        "aeron.term.buffer.sparse.file",
        "Let log buffers take memory as they are used, not at once.",
    )
    perform_storage_checks: bool = flag(
        True,
        "aeron.perform.storage.checks",
        "Refuse a stream when there is no space for its log buffer.",
    )
    low_file_store_warning_threshold: int = size(
        160 * MIB,
        "aeron.low.file.store.warning.threshold",
        "Free space at or below which a warning is logged.",
        high=INT64_MAX,
    )

    # Threads.
    threading_mode: str = choice(
        default_threading_mode(),
        "aeron.threading.mode",
        "Which agents share a thread; `invoker` has none of its own.",
        THREADING_MODES,
    )
    conductor_idle: IdleSpec = idle(
        "aeron.conductor.idle.strategy", "What the conductor does when there is nothing to do."
    )
    sender_idle: IdleSpec = idle("aeron.sender.idle.strategy", "The same for the sender.")
    receiver_idle: IdleSpec = idle("aeron.receiver.idle.strategy", "The same for the receiver.")
    shared_idle: IdleSpec = idle(
        "aeron.shared.idle.strategy", "The same for the one thread of the mode `shared`."
    )
    sharednetwork_idle: IdleSpec = idle(
        "aeron.sharednetwork.idle.strategy",
        "The same for sender and receiver in the mode `shared_network`.",
    )

    # Time-outs and limits of the conductor.
    driver_timeout_ms: int = milliseconds(
        10_000, "aeron.driver.timeout", "Age of its heartbeat at which a driver counts as dead."
    )
    client_liveness_timeout_ns: int = duration(
        10 * SECOND_NS,
        "aeron.client.liveness.timeout",
        "Silence after which a client is removed.",
        MICROSECOND_NS,
    )
    image_liveness_timeout_ns: int = duration(
        10 * SECOND_NS,
        "aeron.image.liveness.timeout",
        "Silence after which an image is gone; how long a drained one lingers.",
        MICROSECOND_NS,
    )
    publication_unblock_timeout_ns: int = duration(
        15 * SECOND_NS,
        "aeron.publication.unblock.timeout",
        "Age at which an unfinished claim is filled with padding.",
        MICROSECOND_NS,
    )
    publication_connection_timeout_ns: int = duration(
        5 * SECOND_NS,
        "aeron.publication.connection.timeout",
        "Time without a status message after which a publication is not connected.",
        MICROSECOND_NS,
    )
    publication_linger_timeout_ns: int = duration(
        5 * SECOND_NS,
        "aeron.publication.linger.timeout",
        "How long a closed and drained publication still answers NAKs.",
        MICROSECOND_NS,
    )
    timer_interval_ns: int = duration(
        SECOND_NS,
        "aeron.timer.interval",
        "How often the conductor looks for what timed out.",
        MICROSECOND_NS,
    )
    counters_free_to_reuse_timeout_ns: int = duration(
        SECOND_NS,
        "aeron.counters.free.to.reuse.timeout",
        "Quarantine of a freed counter before its id is used again.",
    )
    conductor_cycle_threshold_ns: int = duration(
        100 * MILLISECOND_NS,
        "aeron.driver.conductor.cycle.threshold",
        "A longer duty cycle of the conductor is counted as a stall.",
    )
    sender_cycle_threshold_ns: int = duration(
        100 * MILLISECOND_NS, "aeron.driver.sender.cycle.threshold", "The same for the sender."
    )
    receiver_cycle_threshold_ns: int = duration(
        100 * MILLISECOND_NS, "aeron.driver.receiver.cycle.threshold", "The same for the receiver."
    )
    name_resolver_threshold_ns: int = duration(
        5 * SECOND_NS,
        "aeron.driver.name.resolver.threshold",
        "A name that takes longer to resolve is counted as a stall.",
    )
    stream_session_limit: int = integer(
        INT32_MAX,
        "aeron.driver.stream.session.limit",
        "Sessions of one stream that a subscription accepts.",
        1,
        INT32_MAX,
    )
    resource_free_limit: int = integer(
        1,
        "aeron.driver.resource.free.limit",
        "Log buffers that are deleted in one pass of the timers.",
        1,
        INT32_MAX,
    )

    # Logs, frames, windows and sockets.
    term_buffer_length: int = _term_length(
        16 * MIB, "aeron.term.buffer.length", "A term of a network stream; a log has three."
    )
    ipc_term_buffer_length: int = _term_length(
        64 * MIB, "aeron.ipc.term.buffer.length", "A term of an IPC stream."
    )
    publication_term_window_length: int = size(
        0,
        "aeron.publication.term.window.length",
        "How far a publisher may be ahead of the sender; 0 is half a term.",
        0,
        MAX_WINDOW_LENGTH,
    )
    ipc_publication_term_window_length: int = size(
        0,
        "aeron.ipc.publication.term.window.length",
        "How far an IPC publisher may be ahead of its slowest subscriber; 0 is half a term.",
        0,
        MAX_WINDOW_LENGTH,
    )
    mtu_length: int = _mtu("aeron.mtu.length", "The longest datagram of network streams.")
    ipc_mtu_length: int = _mtu("aeron.ipc.mtu.length", "The longest frame of IPC streams.")
    initial_window_length: int = size(
        128 * KIB,
        "aeron.rcv.initial.window.length",
        "How far a sender may be ahead of a receiver.",
        256,
        MAX_WINDOW_LENGTH,
    )
    socket_so_sndbuf: int = size(
        0, "aeron.socket.so_sndbuf", "SO_SNDBUF of sockets; 0 is the system's default."
    )
    socket_so_rcvbuf: int = size(
        128 * KIB, "aeron.socket.so_rcvbuf", "SO_RCVBUF of sockets; 0 is the system's default."
    )
    socket_multicast_ttl: int = integer(
        0,
        "aeron.socket.multicast.ttl",
        "Hops that multicast may take; 0 is the system's default.",
        0,
        MAX_TTL,
        unit="hops",
    )
    connect_enabled: bool = flag(
        True,
        "aeron.driver.connect",
        "Connect sockets that send to one address, so that the system reports refusals.",
    )
    sender_wildcard_port_range: PortRange = ports(
        "aeron.sender.wildcard.port.range", "Ports for sending from port 0; `0 0` is any."
    )
    receiver_wildcard_port_range: PortRange = ports(
        "aeron.receiver.wildcard.port.range", "Ports for an endpoint with port 0; `0 0` is any."
    )
    publication_reserved_session_id_low: int = integer(
        -1,
        "aeron.publication.reserved.session.id.low",
        "The first of the session ids that are never chosen by the driver.",
        INT32_MIN,
        INT32_MAX,
        unit="id",
    )
    publication_reserved_session_id_high: int = integer(
        1000,
        "aeron.publication.reserved.session.id.high",
        "The last of them.",
        INT32_MIN,
        INT32_MAX,
        unit="id",
    )

    # Flow control, loss and recovery; defaults of what a channel may say for itself.
    status_message_timeout_ns: int = duration(
        200 * MILLISECOND_NS,
        "aeron.rcv.status.message.timeout",
        "How often a receiver reports when nothing else makes it.",
        MICROSECOND_NS,
    )
    receiver_group_tag: int | None = integer(
        None,
        "aeron.receiver.group.tag",
        "The tag that receivers send in status messages.",
        INT64_MIN,
        INT64_MAX,
        unit="tag",
    )
    group_subscription: str = choice(
        "infer",
        "aeron.receiver.group.consideration",
        "Whether subscribers count as a group (which delays NAKs); `infer` asks the channel.",
        ("true", "false", "infer"),
    )
    nak_unicast_delay_ns: int = duration(
        MICROSECOND_NS,
        "aeron.nak.unicast.delay",
        "Age of a gap at which the first NAK is sent.",
        MICROSECOND_NS,
    )
    nak_unicast_retry_delay_ratio: int = integer(
        100,
        "aeron.nak.unicast.retry.delay.ratio",
        "That delay times this is the time between NAKs for one gap.",
        1,
        INT64_MAX,
        unit="ratio",
    )
    retransmit_unicast_delay_ns: int = duration(
        0, "aeron.retransmit.unicast.delay", "How long a sender waits after a NAK."
    )
    retransmit_unicast_linger_ns: int = duration(
        10 * MILLISECOND_NS,
        "aeron.retransmit.unicast.linger",
        "How long NAKs for what was just sent again are ignored.",
        MICROSECOND_NS,
    )
    max_resend: int = integer(
        16,
        "aeron.max.resend",
        "Retransmissions of one stream that can be active at once.",
        1,
        MAX_RESEND,
    )
    reliable_stream: bool = flag(
        True, "aeron.reliable.stream", "Ask for what was lost; if not, gaps are filled."
    )
    tether_subscriptions: bool = flag(
        True, "aeron.tether.subscriptions", "Slow subscribers hold a stream back."
    )
    rejoin_stream: bool = flag(
        True, "aeron.rejoin.stream", "An untethered subscriber that was left behind comes back."
    )
    spies_simulate_connection: bool = flag(
        False, "aeron.spies.simulate.connection", "Spies alone make a publication connected."
    )
    untethered_window_limit_timeout_ns: int = duration(
        5 * SECOND_NS,
        "aeron.untethered.window.limit.timeout",
        "How long an untethered subscriber may be behind before it is left behind.",
    )
    untethered_linger_timeout_ns: int | None = duration(
        None,
        "aeron.untethered.linger.timeout",
        "How long it keeps its image then; the window limit's timeout if unset.",
    )
    untethered_resting_timeout_ns: int = duration(
        10 * SECOND_NS,
        "aeron.untethered.resting.timeout",
        "How long it rests before it may come back.",
    )

    # Naming, control, and faults on purpose.
    resolver_name: str = text(
        "", "aeron.driver.resolver.name", "This driver's name among drivers that resolve names."
    )
    name_resolver_supplier: str = choice(
        "default",
        "aeron.name.resolver.supplier",
        "How host names are resolved.",
        ("default", "driver", "csv_table"),
        fatal=True,
    )
    termination_validator: str = choice(
        "deny",
        "aeron.driver.termination.validator",
        "Whether a client may stop the driver.",
        ("allow", "deny"),
        fatal=True,
    )
    print_configuration: bool = flag(
        False, "aeron.print.configuration", "Print all settings at the start."
    )
    receive_loss: tuple[LossSpec, ...] = interceptors(
        "aeron.udp.channel.incoming.interceptors", "Loss generators for what arrives."
    )
    send_loss: tuple[LossSpec, ...] = interceptors(
        "aeron.udp.channel.outgoing.interceptors", "Loss generators for what is sent."
    )
    udp_offload: bool = flag(
        True,
        "pillion.udp.offload",
        "Let the kernel split what is sent and join what arrives (UDP_SEGMENT, UDP_GRO), where it can.",
    )
    loss: LossRates | None = loss_rates(
        "pillion.loss",
        "Random faults of what arrives: drop=0.05|duplicate=0.01|reorder=0.01|seed=1.",
    )

    sources: Mapping[str, str]
    """Where each setting that is not at its default was given, by attribute name."""

    def __init__(self, *, sources: Mapping[str, str] | None = None, **values: Any) -> None:
        for name in values:
            if name not in SETTINGS:
                raise _unknown(name, values[name])
        values["aeron_dir"] = values.get("aeron_dir") or default_aeron_dir()
        self.__dict__.update(values, sources=dict(sources or {}))
        for name, setting in SETTINGS.items():
            value = getattr(self, name)
            if value is None and setting.optional:
                continue
            try:
                setting.check(value)
            except ValueError as error:
                raise _error(name, value, self.sources.get(name, "keyword"), error) from None
        _check_together(self)

    def __setattr__(self, name: str, value: object) -> None:
        raise AttributeError(f"settings are fixed: make others to change {name!r} (see `with_`)")

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, DriverSettings):
            return NotImplemented
        return all(getattr(self, name) == getattr(other, name) for name in SETTINGS)

    def __hash__(self) -> int:
        return hash(tuple(getattr(self, name) for name in SETTINGS))

    def with_(self, **changes: Any) -> DriverSettings:
        """These settings with some changed; raises `SettingError` like `load`."""
        values = {name: getattr(self, name) for name in SETTINGS}
        sources = {**self.sources, **dict.fromkeys(changes, "keyword")}
        return DriverSettings(sources=sources, **(values | changes))

    @classmethod
    def load(
        cls,
        environ: Mapping[str, str] | None = None,
        properties: Mapping[str, str] | None = None,
        **keywords: Any,
    ) -> DriverSettings:
        """The settings from `keywords`, `properties` and `environ` (None: the process's own).

        A keyword that is None counts as not given; text is read as in the environment ("64k",
        "5s"). Properties go by their dotted or their environment name; an empty one hides the
        environment's. Raises `SettingError`, which names setting, value and source.
        """
        given = {environment_name(name): value for name, value in (properties or {}).items()}
        env = os.environ if environ is None else environ
        values: dict[str, Any] = {}
        sources: dict[str, str] = {}
        for name, keyword in keywords.items():
            if name not in SETTINGS:
                raise _unknown(name, keyword)
            if keyword is not None:
                values[name] = _from_keyword(name, keyword)
                sources[name] = "keyword"
        for name, setting in SETTINGS.items():
            if name not in values:
                found = _from_deployment(name, setting, given, env)
                if found is not None:
                    values[name], sources[name] = found
        if not values.get("aeron_dir"):
            values["aeron_dir"] = default_aeron_dir(env)
        return cls(**values, sources=sources)

    def __repr__(self) -> str:
        given = [f"{name}={getattr(self, name)!r}" for name in self.sources]
        return f"DriverSettings({', '.join(given)})"

    def format_configuration(self) -> str:
        """All settings as text, one `property=value` a line."""
        lines = [
            f"    {setting.property_name}={setting.describe(getattr(self, name))}"
            for name, setting in SETTINGS.items()
        ]
        return "\n".join(["pillion_driver_settings {", *lines, "}"])


_DECLARED: dict[str, Declared] = {
    name: value for name, value in vars(DriverSettings).items() if isinstance(value, Declared)
}
#: Every setting by attribute name, in the order of declaration.
SETTINGS: dict[str, Setting] = {name: each.setting for name, each in _DECLARED.items()}
#: The defaults, which are also what the class itself says.
DEFAULTS: dict[str, Any] = {name: each.default for name, each in _DECLARED.items()}
for _name, _default in DEFAULTS.items():
    setattr(DriverSettings, _name, _default)


def _from_keyword(name: str, value: Any) -> Any:
    value = os.fspath(value) if name == "aeron_dir" else value
    try:
        return SETTINGS[name].accept(value)
    except ValueError as error:
        raise _error(name, value, "keyword", error) from None


def _from_deployment(
    name: str, setting: Setting, properties: Mapping[str, str], environ: Mapping[str, str]
) -> tuple[Any, str] | None:
    """The value that properties or the environment give, and which; None for the default."""

    def look_up(variable: str) -> tuple[str, str]:
        if variable in properties:
            return properties[variable], "properties"
        return environ.get(variable, ""), "environment"

    variable = setting.environment_name
    value, source = look_up(variable)
    arguments = [look_up(environment_name(each))[0] for each in setting.argument_properties]
    if not value and not any(arguments):
        return None
    source = f"{source} {variable}"
    try:
        return setting.read(value, *arguments), source
    except ValueError as error:
        if setting.fatal:
            given = " ".join([value, *arguments]).strip()
            raise _error(name, given, source, error) from None
        sys.stderr.write(f"WARNING: {variable}={value} is invalid, using default\n")
        return None


class _Rule(NamedTuple):
    """Two settings that have to fit together."""

    first: str
    holds: Callable[[Any, Any], bool]
    second: str
    why: str


def _above(first: Any, second: Any) -> bool:
    return first is None or first > second


def _at_least(first: Any, second: Any) -> bool:
    return bool(first >= second)


_RULES = (
    _Rule("publication_unblock_timeout_ns", _above, "client_liveness_timeout_ns", "above"),
    _Rule("client_liveness_timeout_ns", _above, "timer_interval_ns", "above"),
    _Rule("untethered_window_limit_timeout_ns", _above, "timer_interval_ns", "above"),
    _Rule("untethered_linger_timeout_ns", _above, "timer_interval_ns", "above"),
    _Rule("untethered_resting_timeout_ns", _above, "timer_interval_ns", "above"),
    _Rule("initial_window_length", _at_least, "mtu_length", "at least"),
    _Rule(
        "publication_reserved_session_id_high",
        _at_least,
        "publication_reserved_session_id_low",
        "at least",
    ),
    _Rule(
        "publication_reserved_session_id_high",
        lambda high, low: high - low <= INT32_MAX,
        "publication_reserved_session_id_low",
        f"at most {INT32_MAX} above",
    ),
    _Rule(
        "nak_unicast_retry_delay_ratio",
        lambda ratio, delay_ns: ratio * delay_ns <= INT64_MAX,
        "nak_unicast_delay_ns",
        "small enough for 64 bits of nanoseconds when multiplied by",
    ),
)


def _check_together(settings: DriverSettings) -> None:
    for rule in _RULES:
        value, other = getattr(settings, rule.first), getattr(settings, rule.second)
        if not rule.holds(value, other):
            limit = f"{rule.second}={SETTINGS[rule.second].describe(other)}"
            source = settings.sources.get(rule.first, "default")
            other_source = settings.sources.get(rule.second, "default")
            why = ValueError(f"must be {rule.why} {limit} (from {other_source})")
            raise _error(rule.first, value, source, why)


def _error(name: str, value: Any, source: str, why: ValueError) -> SettingError:
    try:
        shown = value if isinstance(value, str) else SETTINGS[name].describe(value)
    except (TypeError, ValueError):
        shown = repr(value)
    return SettingError(
        f"{name}={shown} {why} (from {source})", setting=name, value=value, source=source
    )


def _unknown(name: str, value: Any) -> SettingError:
    import difflib

    near = difflib.get_close_matches(name, SETTINGS, n=1)
    hint = f"; did you mean {near[0]!r}?" if near else ""
    return SettingError(
        f"{name!r} is not a setting of a driver{hint}", setting=name, value=value, source="keyword"
    )


class SettingRow(NamedTuple):
    """One setting for a reader: attribute, property and environment name, unit, default, doc."""

    name: str
    property_name: str
    environment_name: str
    unit: str
    default: str
    doc: str


def describe_settings() -> list[SettingRow]:
    """A row for every setting, in the order of declaration."""
    return [
        SettingRow(
            name,
            setting.property_name,
            setting.environment_name,
            setting.unit,
            setting.describe(DEFAULTS[name]),
            setting.doc,
        )
        for name, setting in SETTINGS.items()
    ]
