"""The command line without a driver: help, errors, formats of the inspecting commands."""

from __future__ import annotations

import argparse
import os
import re
import signal
import subprocess
import sys
from collections import deque
from types import SimpleNamespace

import pytest

from pillion.memory.counters import CounterRecord
from pillion.memory.error_log import ErrorRecord
from pillion.memory.loss_report import LossRecord
from pillion.protocol.ids import CounterType
from pillion.tools import console, driver, errors, inspection, loss, stat, subscribe
from pillion.tools.main import COMMANDS, main


def key(session_id, stream_id, channel):
    numbers = (session_id, stream_id, len(channel))
    packed = b"".join(number.to_bytes(4, "little", signed=True) for number in numbers)
    return (bytes(8) + packed + channel.encode()).ljust(112, b"\0")


def record(counter_id, type_id, label, *, value=0, registration_id=1, key=bytes(112)):
    return CounterRecord(counter_id, type_id, registration_id, -1, 0, value, key, label)


POSITIONS = [
    record(0, CounterType.SYSTEM, "Bytes sent", value=1120, registration_id=0),
    record(52, 12, "pub-pos", registration_id=6, key=key(-922, 1001, "aeron:udp?endpoint=a:1")),
    record(53, 1, "pub-lmt", registration_id=6, key=key(-922, 1001, "aeron:udp?endpoint=a:1")),
    record(62, 4, "sub-pos", registration_id=2, key=key(-922, 1002, "aeron:ipc")),
    record(63, 1234, "of an application"),
]


def matching(*arguments):
    wanted = stat.make_filter(stat._parser().parse_args(list(arguments)))
    return [each.counter_id for each in POSITIONS if wanted(each)]


@pytest.mark.parametrize(
    ("arguments", "ids"),
    [
        ((), [0, 52, 53, 62, 63]),
        (("--type", "1"), [53]),
        (("--type", "subscriber_position", "--type", "1234"), [62, 63]),
        (("--label", "POS"), [52, 62]),
        (("--session", "-922"), [52, 53, 62]),
        (("--stream", "1001"), [52, 53]),
        (("--stream", "1001", "--type", "12"), [52]),
        (("--channel", "endpoint=.:1"), [52, 53]),
        (("--identity", "2"), [62]),
    ],
)
def test_filters_of_stat(arguments, ids):
    assert matching(*arguments) == ids


def test_stream_of_a_corrupt_key_stays_within_it():
    found = inspection.stream_key(1, bytes(16) + b"\xff\xff\xff\x7f" + b"aeron:ipc".ljust(92, b"!"))
    assert found is not None
    assert len(found.channel) == 92
    assert inspection.stream_key(1, bytes(16) + b"\xff" * 96).channel == ""
    assert inspection.stream_key(CounterType.CLIENT_HEARTBEAT, bytes(112)) is None


def test_rates_compare_the_same_counter_only():
    before = stat.Sample(0, {(1, 10): 100, (2, 20): 5})
    after = stat.Sample(2_000_000_000, {(1, 10): 300, (2, 21): 7})
    assert after.rates(before) == {1: 100.0}


def test_times_show_milliseconds_and_zone(monkeypatch):
    import time

    monkeypatch.setenv("TZ", "UTC")
    time.tzset()
    try:
        assert inspection.format_time(1795387382130) == "2026-11-22 22:43:02.130+0000"
        assert inspection.format_time(-1) == "1969-12-31 23:59:59.999+0000"
    finally:
        monkeypatch.undo()
        time.tzset()


def test_errors_are_printed_as_the_aeron_tools_do():
    text = errors.format_errors([ErrorRecord(2, 0, 1000, "(-1) invalid channel")])
    assert re.fullmatch(
        r"\*\*\*\n2 observations from [-\d]+ [\d:.]+[+-]\d{4} to [-\d]+ [\d:.]+[+-]\d{4} for:\n"
        r" \(-1\) invalid channel\n\n1 distinct errors observed\.",
        text,
    )
    assert errors.format_errors([]) == "0 distinct errors observed."


def test_losses_are_lines_of_comma_separated_values():
    header, line, end = loss.format_losses(
        [LossRecord(1680, 2343936, 0, 1000, 247, 1001, "aeron:udp?endpoint=a:1", "127.0.0.1:4")]
    ).splitlines()
    assert header.startswith("OBSERVATION_COUNT, TOTAL_BYTES_LOST, ")
    assert line.startswith("1680,2343936,")
    assert line.endswith(",247,1001,aeron:udp?endpoint=a:1,127.0.0.1:4")
    assert end == "1 entries read"


def settings_of(*arguments):
    return driver.load_settings(driver._parser().parse_args(list(arguments)))


def test_driver_takes_settings_in_the_order_of_the_reference(tmp_path, monkeypatch):
    monkeypatch.setenv("AERON_MTU_LENGTH", "2k")
    monkeypatch.setenv("AERON_MAX_RESEND", "5")
    path = tmp_path / "p"
    path.write_text("aeron.ipc.mtu.length=8k\naeron.dir=/from/file\n")
    settings = settings_of("-Daeron.mtu.length=4k", "-Daeron.ipc.mtu.length=4k", str(path), "--dir", "/from/option")
    assert settings.mtu_length == 4096
    assert settings.ipc_mtu_length == 8192
    assert settings.max_resend == 5
    assert settings.aeron_dir == "/from/option"
    assert settings.dir_delete_on_shutdown is False


def test_driver_flags():
    settings = settings_of("--threading", "invoker", "--delete-on-shutdown", "--loss", "drop=0.5")
    assert settings.threading_mode == "invoker"
    assert settings.dir_delete_on_shutdown
    assert settings.loss.drop == 0.5


def test_driver_lists_every_setting():
    table = driver.settings_table()
    assert "aeron.term.buffer.length = 16m   (bytes; AERON_TERM_BUFFER_LENGTH)\n" in table
    assert "aeron.receiver.group.tag = unset" in table


@pytest.mark.parametrize("command", sorted(COMMANDS))
def test_help_of_every_command_shows_examples_and_exit_codes(command, capsys):
    with pytest.raises(SystemExit) as caught:
        main([command, "--help"])
    assert caught.value.code == 0
    text = capsys.readouterr().out
    assert text.startswith(f"usage: pillion {command} ")
    assert f"  pillion {command}" in text[text.index("examples:") :]
    assert "exit codes:" in text


def test_help_without_a_command(capsys):
    assert main(["--help"]) == 0
    assert all(f"\n  {command} " in capsys.readouterr().out for command in ["driver"])
    assert main([]) == 2
    assert "usage: pillion COMMAND" in capsys.readouterr().err


def test_version(capsys):
    from pillion.version import __version__

    assert main(["--version"]) == 0
    assert capsys.readouterr().out == f"pillion {__version__}\n"


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (["publsh"], 2, "did you mean 'publish'?"),
        (["stat", "--dir", "/none/such", "--timeout", "0.01"], 3, "pillion driver --dir /none/such"),
        (["errors", "--file", "/none/such"], 1, "/none/such"),
        (["driver", "-Dnothing"], 2, "malformed define: 'nothing'"),
        (["driver", "-Daeron.mtu.length=1409"], 2, "multiple of 32"),
        (["driver", "--loss", "drop=2"], 2, "loss=drop=2 is not a number in 0..1"),
        (["driver", "/none/such.properties"], 2, "/none/such.properties"),
        (
            ["publish", "--dir", "/none/such", "--driver-timeout", "0.01", "/dev/null"],
            3,
            "there is no driver in /none/such",
        ),
        (["publish", "/none/such"], 1, "/none/such"),
    ],
)
def test_errors_are_one_line_with_a_remedy(arguments, code, words, capsys):
    assert main(arguments) == code
    captured = capsys.readouterr()
    assert words in captured.err
    assert captured.err.count("\n") == 1
    assert captured.err.startswith("pillion")
    assert captured.out == ""


@pytest.mark.parametrize(
    "arguments",
    [
        ["ping", "--length", "23"],
        ["ping", "--timeout", "0"],
        ["subscribe", "--once", "--follow"],
        ["stat", "--label", "("],
        ["publish", "--format", "xml"],
    ],
)
def test_wrong_use_is_exit_code_2(arguments, capsys):
    with pytest.raises(SystemExit) as caught:
        main(arguments)
    assert caught.value.code == 2
    assert "usage: pillion" in capsys.readouterr().err


def test_sizes_in_arguments():
    parse = console.whole_number(1, 1 << 20)
    assert parse("64k") == 65536
    for wrong in ("0", "2m", "x", "-1", "1.5"):
        with pytest.raises(argparse.ArgumentTypeError):
            parse(wrong)


@pytest.mark.parametrize(
    ("count", "text"),
    [(0, "0 B"), (999, "999 B"), (1000, "1.0 KiB"), (1 << 20, "1.0 MiB"), (1 << 30, "1.00 GiB")],
)
def test_bytes_for_people(count, text):
    assert console.format_bytes(count) == text


def test_progress_is_for_terminals_only(capsys):
    traffic = console.Traffic("sent")
    traffic.add(2, 100)
    traffic.finish()
    assert capsys.readouterr().err == ""
    assert (traffic.summary()["messages"], traffic.summary()["bytes"]) == (2, 100)


def test_write_all_writes_all_into_a_narrow_pipe():
    import threading

    reading, writing = os.pipe()
    data = bytes(range(256)) * 4096
    thread = threading.Thread(target=lambda: (console.write_all(writing, data), os.close(writing)))
    thread.start()
    with os.fdopen(reading, "rb") as reader:
        assert reader.read() == data
    thread.join()


@pytest.mark.parametrize(("number", "error"), [(signal.SIGINT, KeyboardInterrupt), (signal.SIGTERM, SystemExit)])
def test_signal_waits_for_what_is_held_and_a_second_does_not(number, error):
    done = []

    def hold(stop):
        with stop.held():
            signal.raise_signal(number)
            done.append("held")

    with console.DeferredStop() as stop:
        for _ in range(2):
            with pytest.raises(error):
                hold(stop)
    assert done == ["held"]
    with console.DeferredStop(), pytest.raises(error):
        signal.raise_signal(number)
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


class EndingImage:
    """Ends and is closed by another thread while somebody asks whether it has ended."""

    is_closed = False
    is_publication_revoked = False
    session_id, source_identity, position = 1, "aeron:ipc", 0

    @property
    def is_end_of_stream(self):
        was_over, self.is_closed = self.is_closed, True
        return was_over


def test_stream_that_ends_while_it_is_looked_at_is_not_cut_off():
    args = subscribe._parser().parse_args([])
    receiver = subscribe.Receiver(args, deque(), 1, console.Traffic("received"), None)
    receiver.images = [EndingImage()]
    receiver._retire()
    assert receiver.ended == 0
    receiver._retire()
    assert (receiver.ended, receiver.images) == (1, [])


def test_stream_that_is_gone_without_its_end_was_cut_off():
    args = subscribe._parser().parse_args([])
    receiver = subscribe.Receiver(args, deque(), 1, console.Traffic("received"), None)
    image = SimpleNamespace(
        is_closed=False,
        is_end_of_stream=False,
        is_publication_revoked=False,
        session_id=1,
        source_identity="aeron:ipc",
        position=0,
    )
    receiver.images = [image]
    receiver._retire()
    assert receiver.images == [image]
    image.is_closed = True
    with pytest.raises(console.CommandError, match="session 1 from aeron:ipc was cut off"):
        receiver._retire()


def test_commands_are_imported_when_used_and_the_driver_loads_no_client():
    code = (
        "import sys, pillion.tools.main as m; assert 'argparse' not in sys.modules\n"
        "import pillion.tools.driver, pillion.driver.media_driver\n"
        "print([n for n in ('click', 'rich', 'asyncio', 'numpy', 'pillion.client.client')"
        " if n in sys.modules])"
    )
    command = [sys.executable, "-c", code]
    done = subprocess.run(command, capture_output=True, text=True)
    assert (done.stdout, done.stderr) == ("[]\n", "")
