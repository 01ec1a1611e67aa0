from pillion.driver.udp.transport import UdpTransport
from pillion.memory.counters import CountersReader
from pillion.memory.log_buffer import LogBuffer
from pillion.memory.loss_report import LossReportEntry

class IpcPublication:
    def __init__(
        self,
        log_buffer: LogBuffer,
        counters: CountersReader,
        *,
        pub_pos_id: int,
        pub_lmt_id: int,
        window_length: int,
    ) -> None: ...
    @property
    def log_buffer(self) -> LogBuffer: ...
    @property
    def counters(self) -> CountersReader: ...
    @property
    def consumer_position(self) -> int: ...

class SendEndpoint:
    def __init__(self, transport: UdpTransport) -> None: ...
    @property
    def transport(self) -> UdpTransport: ...

class NetworkPublication:
    def __init__(
        self,
        log_buffer: LogBuffer,
        counters: CountersReader,
        endpoint: SendEndpoint,
        *,
        pub_pos_id: int,
        pub_lmt_id: int,
        snd_pos_id: int,
        snd_lmt_id: int,
        snd_bpe_id: int,
        snd_naks_id: int,
        window_length: int,
        connection_timeout_ns: int,
        spies_simulate_connection: bool,
        signal_eos: bool,
    ) -> None: ...
    @property
    def log_buffer(self) -> LogBuffer: ...
    @property
    def counters(self) -> CountersReader: ...
    @property
    def endpoint(self) -> SendEndpoint: ...
    def signal_end(self, revoked: bool) -> None: ...
    @property
    def sender_position(self) -> int: ...
    @property
    def has_receivers(self) -> bool: ...
    @property
    def is_end_confirmed(self) -> bool: ...

class ReceiveEndpoint:
    def __init__(self, transport: UdpTransport, *, receiver_id: int, group_tag: int | None = None) -> None: ...
    @property
    def transport(self) -> UdpTransport: ...

class PublicationImage:
    def __init__(
        self,
        log_buffer: LogBuffer,
        counters: CountersReader,
        endpoint: ReceiveEndpoint,
        *,
        join_position: int,
        source: bytes,
        rcv_hwm_id: int,
        rcv_pos_id: int,
        rcv_naks_id: int,
        reliable: bool,
        window_length: int,
        nak_delay_ns: int,
        nak_retry_ns: int,
        sm_timeout_ns: int,
        now_ns: int,
    ) -> None: ...
    @property
    def log_buffer(self) -> LogBuffer: ...
    @property
    def counters(self) -> CountersReader: ...
    @property
    def endpoint(self) -> ReceiveEndpoint: ...
    @property
    def last_packet_ns(self) -> int: ...
    @property
    def end_state(self) -> int: ...
    @property
    def is_complete(self) -> bool: ...
    @property
    def rebuild_position(self) -> int: ...
    def set_mode(self, mode: int) -> None: ...
    def reject(self, reason: bytes) -> None: ...
    def set_loss_entry(self, entry: LossReportEntry) -> None: ...
