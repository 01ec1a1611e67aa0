"""One stream from one process to another, checked message by message."""

from __future__ import annotations

import functools
import sys
from pathlib import Path

from processes import Process

sys.path.insert(0, str(Path(__file__).resolve().parent / "peers"))
import messages

COUNT = 100_000
SMALL_TERM = 64 * 1024


@functools.cache
def expected_digest(count: int, largest: int) -> str:
    return messages.expected_digest(count, largest)


def channel_of(media: str, port: int, term_length: int = SMALL_TERM) -> str:
    """Small terms, so that every run goes around the log many times."""
    if media == "ipc":
        return f"aeron:ipc?term-length={term_length}"
    return f"aeron:udp?endpoint=127.0.0.1:{port}|term-length={term_length}"


def check_stream(
    publisher_kind: str,
    publisher_dir: str,
    subscriber_kind: str,
    subscriber_dir: str,
    channel: str,
    *,
    mode: str,
    stream_id: int,
    count: int = COUNT,
    largest: int = SMALL_TERM // 8,
) -> None:
    """Every message of 0 to `largest` bytes arrives once, in order, unchanged, with its reserved value."""
    options = [
        "--channel",
        channel,
        "--stream",
        stream_id,
        "--count",
        count,
        "--largest",
        largest,
        "--mode",
        mode,
    ]
    with Process(subscriber_kind, "subscribe", "--dir", subscriber_dir, *options) as subscriber:
        with Process(publisher_kind, "publish", "--dir", publisher_dir, *options) as publisher:
            subscriber.expect("ready")
            publisher.expect("ready")
            publisher.expect("published", timeout=90)
            received = subscriber.expect("received", timeout=90)
            publisher.finish()
        subscriber.finish()
    assert received["count"] == count
    assert received["digest"] == expected_digest(count, largest)
    assert received["reserved"] == (0 if mode == "claim" else count * (count - 1) // 2)
