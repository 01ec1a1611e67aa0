"""Processes that tests stop, go on with and kill: a driver, a publisher and a subscriber of numbered messages.

`life_child.py ROLE DIRECTORY CHANNEL STREAM`. Each prints a JSON line when it is ready and when it ends, and ends when
its standard input does. A subscriber shows in a counter of its own (type 1300) how many messages it has read. A watcher
writes down, every few ms by its own clock, how far the streams of a driver are, and tells it at its end.
"""

from __future__ import annotations

import json
import os
import sys
import threading
import time
from typing import Any

import pillion
from pillion.errors import ActiveDriverError, ClosedError, PillionError
from pillion.memory.cnc import CncFile
from pillion.protocol.ids import CounterType

RECEIVED_TYPE = 1300
PAUSE_S = 0.0005
LONGEST_TURN_S = 1.0            # of a process that nobody stops; the driver of these tests lets go after two
WATCH_PAUSE_S = 0.005
WATCHED = (CounterType.SUBSCRIBER_POSITION, CounterType.PUBLISHER_LIMIT, CounterType.SENDER_POSITION)


def say(event: str, **fields: Any) -> None:
    print(json.dumps({"event": event, **fields}), flush=True)


def _end_with_stdin() -> threading.Event:
    ended = threading.Event()

    def wait() -> None:
        sys.stdin.read()
        ended.set()

    threading.Thread(target=wait, daemon=True).start()
    return ended


def publish(directory: str, channel: str, stream_id: int, ended: threading.Event) -> None:
    with pillion.connect(directory, on_error=on_error) as client:
        publication = client.add_publication(channel, stream_id)
        say("ready", client_id=client.client_id, registration_id=publication.registration_id)
        number = 0
        while not ended.is_set() and not client.is_closed:
            if publication.offer(number.to_bytes(8, "little")) > 0:
                number += 1
                if number % 16 == 0:
                    time.sleep(PAUSE_S)
            else:
                time.sleep(PAUSE_S)


def subscribe(directory: str, channel: str, stream_id: int, ended: threading.Event) -> None:
    expected: dict[int, int] = {}           # by image: a new one begins wherever the stream is

    def on_message(image_id: int, number: int) -> None:
        if time.monotonic() - began > LONGEST_TURN_S:
            return          # stopped while it read: by now it was let go, and its message written over
        assert expected.setdefault(image_id, number) == number, f"{number} came, {expected[image_id]} was expected"
        expected[image_id] = number + 1
        counter.value += 1

    with pillion.connect(directory, on_error=on_error) as client:
        counter = client.add_counter(RECEIVED_TYPE, "messages received")
        subscription = client.add_subscription(channel, stream_id)
        say("ready", client_id=client.client_id, counter_id=counter.counter_id)
        while not ended.is_set() and not client.is_closed:
            count = 0
            began = time.monotonic()
            for image in subscription.images:
                count += image.poll(
                    lambda buffer, header, image=image: on_message(
                        image.correlation_id, int.from_bytes(bytes(buffer), "little")),
                    64,
                )
            if not count:
                time.sleep(PAUSE_S)


def drive(directory: str, ended: threading.Event, settings: dict[str, Any]) -> None:
    from pillion.driver.media_driver import MediaDriver

    if "at" in settings:
        # Drivers that start at once: as near as a clock that both read can bring them.
        say("loaded")
        at_ns = int(sys.stdin.readline())
        del settings["at"]
        while time.monotonic_ns() < at_ns:
            pass
    try:
        driver = MediaDriver(aeron_dir=directory, **settings)
    except ActiveDriverError as error:
        say("refused", pid=error.pid, text=str(error))
        return
    with driver:
        say("ready", pid=os.getpid())
        stop = _end_with_stdin()
        threading.Thread(target=lambda: (stop.wait(), driver.request_stop()), daemon=True).start()
        driver.run_until_stopped()
        say("ended")


def watch(directory: str, ended: threading.Event) -> None:
    cnc = CncFile.open(directory, read_only=True)
    counters = cnc.counters_reader()
    say("ready")
    samples = []
    while not ended.is_set():
        positions = {record.label: record.value for record in counters.scan() if record.type_id in WATCHED}
        samples.append((time.monotonic_ns(), cnc.to_driver_ring.consumer_heartbeat_ms, positions))
        time.sleep(WATCH_PAUSE_S)
    say("samples", samples=samples)


def on_error(error: Exception) -> None:
    say("error", type=type(error).__name__, text=str(error))


def main(role: str, directory: str, *rest: str) -> None:
    if role == "drive":
        drive(directory, threading.Event(), json.loads(rest[0]))
        return
    ended = _end_with_stdin()
    try:
        if role == "watch":
            watch(directory, ended)
        else:
            {"publish": publish, "subscribe": subscribe}[role](directory, rest[0], int(rest[1]), ended)
    except ClosedError:
        pass        # why the client ended has been said by then
    except PillionError as error:
        on_error(error)
    say("ended")


if __name__ == "__main__":
    main(*sys.argv[1:])
