from socket import socket as Socket

class DatagramTransport:
    @property
    def local_address(self) -> tuple[str, int]: ...
    def close(self) -> None: ...

class UdpTransport(DatagramTransport):
    def __init__(
        self,
        *,
        bind: tuple[str, int] | None = None,
        connect: tuple[str, int] | None = None,
        so_sndbuf: int = 0,
        so_rcvbuf: int = 0,
        offload: bool = False,
    ) -> None: ...
    @property
    def socket(self) -> Socket: ...
    @property
    def offload(self) -> bool: ...
    @property
    def so_sndbuf(self) -> int: ...
    @property
    def so_rcvbuf(self) -> int: ...
    def set_loss(
        self,
        *,
        drop: float = 0.0,
        duplicate: float = 0.0,
        reorder: float = 0.0,
        seed: int = 1,
        mask: int = 0xFFFF,
        direction: str = "both",
    ) -> None: ...
    def reconnect(self, address: tuple[str, int]) -> None: ...
    def close(self) -> None: ...

def encode_address(host: str, port: int) -> bytes: ...
def format_address(host: str, port: int) -> str: ...
