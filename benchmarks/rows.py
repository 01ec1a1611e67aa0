"""What is measured: a row is one piece of work, done in turn by each of its peers."""

from __future__ import annotations

from dataclasses import dataclass

IPC_TERM = "16m"
UDP_TERM = "4m"
#: The largest message that fits one frame at this MTU: 1,408 less the 32 bytes of a data header, rounded down to 32.
MTU = 1408


@dataclass(frozen=True)
class Row:
    """`target` is the ratio to `reference` that is wanted, at least or at most as `higher_is_better` says."""

    name: str
    title: str
    kind: str
    media: str
    peers: tuple[str, ...]
    unit: str
    higher_is_better: bool
    #: (ours, theirs): the ratio that the row is about.
    compared: tuple[tuple[str, str], ...] = ()
    target: float | None = None
    #: In units of the row, for the first peer, where the target is no ratio.
    limit: float | None = None
    length: int = 32
    count: int = 0
    warm_up: int = 0
    yields: bool = True
    handler: str = "empty"
    #: Between two network namespaces, a driver in each, over devices that do not segment.
    has_network: bool = False
    #: Whether the place of the processors moves the figure, so that only samples of one state are compared.
    is_topological: bool = True

    @property
    def work(self) -> str:
        """What both sides do, in words."""
        if self.kind == "throughput":
            words = {"empty": "an empty Python handler", "read": "a Python handler that takes a copy as bytes"}
            waiting = "sched_yield when there is no room or no message" if self.yields else "spin"
            return (
                f"{self.count:,} messages of {self.length} bytes, offered one by one and polled into "
                f"{words[self.handler]}; publisher and subscriber {waiting}; warmed up with {self.warm_up:,}"
            )
        if self.kind == "round_trip":
            waiting = "sched_yield while nothing comes" if self.yields else "spin"
            return (
                f"{self.count:,} round trips of {self.length} bytes between two processes; both {waiting}; "
                f"warmed up with {self.warm_up:,}"
            )
        if self.kind == "start":
            return "from starting the process until the directory's cnc.dat says that the driver is ready"
        return "CPU time of the driver's process, user and system, while 100 connected streams are idle"

    def channels(self, hosts: tuple[str, str], ports: tuple[int, int], term: str = "") -> tuple[str, str]:
        """The channel there and the channel back; `term` in place of the usual term length."""
        if self.kind == "idle":
            term = "64k"
        if self.media == "ipc":
            return (f"aeron:ipc?term-length={term or IPC_TERM}",) * 2
        there, back = (
            f"aeron:udp?endpoint={host}:{port}|term-length={term or UDP_TERM}|mtu={MTU}"
            for host, port in zip(hosts, ports, strict=True)
        )
        return there, back


# Three terms of 16 MiB at 64 bytes a frame are 786,432 messages: a warm-up of one round touches every page.
_IPC_WARM_UP = 800_000
_RATE = {"unit": "messages/s", "higher_is_better": True, "kind": "throughput"}
# The largest message of one frame, as many as fill the log a few times.
_DATAGRAMS = {"media": "udp", "length": 1344, "count": 200_000, "warm_up": 20_000, **_RATE}
_TRIP = {"unit": "us (p50)", "higher_is_better": False, "kind": "round_trip"}

_ROWS = (
    Row(
        "ipc",
        "Shared memory, 32 bytes",
        media="ipc",
        peers=("pillion", "pyaeron"),
        compared=(("pillion", "pyaeron"),),
        target=1.5,
        count=3_000_000,
        warm_up=_IPC_WARM_UP,
        **_RATE,
    ),
    Row(
        "ipc-read",
        "Shared memory, 32 bytes, each message copied out",
        media="ipc",
        peers=("pillion", "pyaeron"),
        compared=(("pillion", "pyaeron"),),
        count=2_000_000,
        warm_up=_IPC_WARM_UP,
        handler="read",
        **_RATE,
    ),
    Row(
        "ipc-rtt",
        "Shared memory round trip, 32 bytes",
        media="ipc",
        peers=("pillion", "pyaeron"),
        compared=(("pillion", "pyaeron"),),
        target=1.0,
        count=300_000,
        warm_up=50_000,
        yields=False,
        **_TRIP,
    ),
    Row(
        "udp",
        "UDP loopback, 1,344 bytes at MTU 1,408",
        peers=("pillion", "pyaeron"),
        compared=(("pillion", "pyaeron"),),
        target=1.0,
        **_DATAGRAMS,
    ),
    Row(
        "udp-c-client",
        "UDP loopback, 1,344 bytes, the C client on both drivers",
        peers=("pyaeron-on-pillion", "pyaeron"),
        compared=(("pyaeron-on-pillion", "pyaeron"),),
        target=1.0,
        **_DATAGRAMS,
    ),
    Row(
        "udp-veth",
        "UDP between two network namespaces, 1,344 bytes at MTU 1,408, devices without segmentation",
        peers=("pillion", "pyaeron"),
        compared=(("pillion", "pyaeron"),),
        has_network=True,
        **_DATAGRAMS,
    ),
    Row(
        "udp-rtt",
        "UDP round trip, 32 bytes",
        media="udp",
        peers=("pillion", "pillion-invoker", "pyaeron", "udp", "udp-spinning"),
        compared=(("pillion", "pyaeron"), ("pillion", "udp"), ("pillion-invoker", "udp-spinning")),
        count=2_000,
        warm_up=300,
        **_TRIP,
    ),
    Row(
        "start",
        "Start of a stand-alone driver",
        kind="start",
        media="ipc",
        peers=("pillion", "pyaeron", "java"),
        unit="ms",
        higher_is_better=False,
        compared=(("pillion", "pyaeron"),),
        limit=150.0,
        is_topological=False,
    ),
    Row(
        "idle-udp",
        "An idle driver with 100 connected UDP streams",
        kind="idle",
        media="udp",
        peers=("pillion", "pyaeron"),
        unit="ms CPU/s",
        higher_is_better=False,
        compared=(("pillion", "pyaeron"),),
        is_topological=False,
    ),
    Row(
        "idle-ipc",
        "An idle driver with 100 connected shared-memory streams",
        kind="idle",
        media="ipc",
        peers=("pillion", "pyaeron"),
        unit="ms CPU/s",
        higher_is_better=False,
        compared=(("pillion", "pyaeron"),),
        is_topological=False,
    ),
    Row(
        "context",
        "32 bytes from process to process, beside other ways",
        media="ipc",
        peers=("pillion", "pyaeron", "java", "zmq", "tcp"),
        compared=(("pillion", "pyaeron"), ("pillion", "zmq"), ("pillion", "tcp")),
        count=1_000_000,
        warm_up=_IPC_WARM_UP,
        **_RATE,
    ),
)

ROWS: dict[str, Row] = {row.name: row for row in _ROWS}
