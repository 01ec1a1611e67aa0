from typing import NamedTuple

from pillion.memory.mapped_file import MappedFile

class LossRecord(NamedTuple):
    count: int  # type: ignore[assignment]  # a field over the method of `tuple`
    bytes_lost: int
    first_ms: int
    last_ms: int
    session_id: int
    stream_id: int
    channel: str
    source: str

class LossReportEntry: ...

class LossReport:
    def __init__(self, owner: MappedFile) -> None: ...
    @property
    def owner(self) -> MappedFile: ...
    def create_entry(
        self,
        bytes_lost: int,
        now_ms: int,
        session_id: int,
        stream_id: int,
        channel: str,
        source: str,
    ) -> LossReportEntry | None: ...

def read_losses(owner: MappedFile) -> list[LossRecord]: ...
