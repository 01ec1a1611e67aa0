from typing import Final

from pillion.memory.mapped_file import MappedFile

LOG_CONCURRENT: Final = 0
LOG_EXCLUSIVE: Final = 1
LOG_IMAGE: Final = 2
MAX_MESSAGE_LENGTH: Final = 16777216
NO_END: Final = 9223372036854775807

class LogSpec:
    term_length: int
    mtu_length: int
    initial_term_id: int
    session_id: int
    stream_id: int
    correlation_id: int
    log_type: int
    page_size: int
    term_id: int | None
    term_offset: int
    publication_window_length: int
    receiver_window_length: int
    socket_sndbuf_length: int
    os_default_socket_sndbuf_length: int
    os_max_socket_sndbuf_length: int
    socket_rcvbuf_length: int
    os_default_socket_rcvbuf_length: int
    os_max_socket_rcvbuf_length: int
    max_resend: int
    entity_tag: int
    response_correlation_id: int
    linger_timeout_ns: int
    untethered_window_limit_timeout_ns: int
    untethered_resting_timeout_ns: int
    untethered_linger_timeout_ns: int
    group: bool
    is_response: bool
    rejoin: bool
    reliable: bool
    sparse: bool
    signal_eos: bool
    spies_simulate_connection: bool
    tether: bool
    def __init__(
        self,
        *,
        term_length: int,
        mtu_length: int,
        initial_term_id: int,
        session_id: int,
        stream_id: int,
        correlation_id: int,
        log_type: int = LOG_CONCURRENT,
        page_size: int = 4096,
        term_id: int | None = None,
        term_offset: int = 0,
        publication_window_length: int = 0,
        receiver_window_length: int = 0,
        socket_sndbuf_length: int = 0,
        os_default_socket_sndbuf_length: int = 0,
        os_max_socket_sndbuf_length: int = 0,
        socket_rcvbuf_length: int = 0,
        os_default_socket_rcvbuf_length: int = 0,
        os_max_socket_rcvbuf_length: int = 0,
        max_resend: int = 0,
        entity_tag: int = -1,
        response_correlation_id: int = -1,
        linger_timeout_ns: int = 0,
        untethered_window_limit_timeout_ns: int = 0,
        untethered_resting_timeout_ns: int = 0,
        untethered_linger_timeout_ns: int = 0,
        group: bool = False,
        is_response: bool = False,
        rejoin: bool = False,
        reliable: bool = False,
        sparse: bool = True,
        signal_eos: bool = False,
        spies_simulate_connection: bool = False,
        tether: bool = False,
    ) -> None: ...
    @property
    def file_length(self) -> int: ...

def log_file_length(term_length: int, page_size: int) -> int: ...

class LogBuffer:
    def __init__(self) -> None: ...
    @staticmethod
    def create(path: str, spec: LogSpec, mode: int = 0o600) -> LogBuffer: ...
    @staticmethod
    def open(path: str, *, pre_touch: bool = False) -> LogBuffer: ...
    @property
    def file(self) -> MappedFile: ...
    @property
    def path(self) -> str: ...
    @property
    def term_length(self) -> int: ...
    @property
    def mtu_length(self) -> int: ...
    @property
    def initial_term_id(self) -> int: ...
    @property
    def position_bits(self) -> int: ...
    @property
    def session_id(self) -> int: ...
    @property
    def stream_id(self) -> int: ...
    @property
    def correlation_id(self) -> int: ...
    @property
    def active_term_count(self) -> int: ...
    @property
    def producer_position(self) -> int: ...
    @property
    def is_connected(self) -> bool: ...
    @is_connected.setter
    def is_connected(self, value: bool) -> None: ...
    @property
    def active_transport_count(self) -> int: ...
    @active_transport_count.setter
    def active_transport_count(self, value: int) -> None: ...
    @property
    def end_of_stream_position(self) -> int: ...
    @end_of_stream_position.setter
    def end_of_stream_position(self, position: int) -> None: ...
    @property
    def is_publication_revoked(self) -> bool: ...
    @is_publication_revoked.setter
    def is_publication_revoked(self, value: bool) -> None: ...
    def raw_tail(self, index: int) -> int: ...
    def clean(self, clean_position: int, target: int) -> int: ...
    def unblock(self, position: int) -> bool: ...
    def rotate(self, term_count: int, term_id: int) -> bool: ...
    def scan_available(self, position: int, max_bytes: int) -> tuple[int, int]: ...
    def insert_packet(self, term_id: int, term_offset: int, packet: bytes) -> bool: ...
    def fill_gap(self, term_id: int, term_offset: int, length: int) -> bool: ...
    def find_contiguous(self, position: int, limit: int) -> int: ...
    def find_gap(self, position: int, limit: int) -> int: ...
