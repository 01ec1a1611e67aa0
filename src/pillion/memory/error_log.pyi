from collections.abc import Callable
from typing import NamedTuple

from pillion.memory.mapped_file import MappedFile

MAX_TEXT_LENGTH: int
MAX_ALIKE: int

class ErrorRecord(NamedTuple):
    count: int  # type: ignore[assignment]  # a field over the method of `tuple`
    first_ms: int
    last_ms: int
    text: str

class DistinctErrorLog:
    def __init__(self, owner: MappedFile, offset: int, length: int, epoch_ms: Callable[[], int]) -> None: ...
    @property
    def owner(self) -> MappedFile: ...
    def record(self, code: int, text: str) -> bool: ...

def read_errors(owner: MappedFile, offset: int, length: int, since_ms: int = 0) -> list[ErrorRecord]: ...
