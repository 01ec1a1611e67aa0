"""Images over a log and counters, without a driver."""

from __future__ import annotations

from pathlib import Path

import pytest
from log_tools import new_writer
from plane_tools import Reader, image

from pillion.errors import ClosedError
from pillion.memory.counters import CountersManager
from pillion.memory.mapped_file import MappedFile


@pytest.fixture
def counters() -> CountersManager:
    memory = MappedFile.anonymous(8 * (512 + 128))
    return CountersManager(memory, 0, 8 * 512, 8 * 512, 8 * 128, free_to_reuse_ms=0)


def test_a_counter_given_to_somebody_else_is_neither_read_nor_written(
    tmp_path: Path, counters: CountersManager
) -> None:
    """The driver frees the counters of a client that it takes for dead; the client may hear of it later."""
    writer = new_writer(tmp_path)
    position_id = counters.allocate(4, b"", "sub-pos", value=0, registration_id=7)
    reader = Reader(image(writer.log.buffer, counters, position_id))
    writer.publication.offer(b"before")
    assert reader.read() == [b"before"]
    writer.publication.offer(b"after")
    counters.free(position_id, 0)
    assert counters.allocate(1, b"", "another", value=960, registration_id=8) == position_id
    assert reader.read() == []
    assert reader.image.block_poll(lambda *args: None, 1 << 16) == 0
    assert reader.image.position == 64
    with pytest.raises(ClosedError):
        reader.image.position = 128
    assert counters.value(position_id) == 960
    reader.image._close()
    assert (reader.image.position, reader.image.is_closed) == (64, True)
