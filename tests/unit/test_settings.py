"""Settings of the driver: where they come from, what they accept, what they say when wrong."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from pillion.driver.properties import environment_name, parse_properties, read_properties
from pillion.driver.setting_values import FixedLoss, LossRates, MultiGapLoss, RandomLoss
from pillion.driver.settings import SETTINGS, DriverSettings, describe_settings
from pillion.errors import SettingError

MIB = 1024 * 1024


def load(environ=None, properties=None, **keywords):
    return DriverSettings.load(environ or {}, properties, **keywords)


def test_defaults_are_the_reference_drivers_but_for_waiting_and_threads():
    settings = load()
    assert settings.term_buffer_length == 16 * MIB
    assert settings.ipc_term_buffer_length == 64 * MIB
    assert settings.mtu_length == 1408
    assert settings.initial_window_length == 131072
    assert settings.conductor_buffer_length == MIB + 768
    assert settings.clients_buffer_length == MIB + 128
    assert settings.driver_timeout_ms == 10_000
    assert settings.image_liveness_timeout_ns == 10_000_000_000
    assert settings.untethered_linger_timeout_ns is None
    assert settings.receiver_group_tag is None
    assert settings.sender_idle == ("adaptive",)
    assert settings.loss is None
    assert settings.sources == {}


@pytest.mark.parametrize(("processors", "mode"), [(2, "shared"), (3, "shared"), (4, "dedicated")])
def test_threads_are_shared_where_processors_are_few(monkeypatch, processors, mode):
    from pillion.driver import settings

    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: set(range(processors)))
    assert settings.default_threading_mode() == mode


def test_keyword_beats_properties_beat_environment_beats_default():
    environ = {"AERON_MTU_LENGTH": "2048", "AERON_MAX_RESEND": "2", "AERON_TIMER_INTERVAL": "2s"}
    properties = {"aeron.mtu.length": "4096", "AERON_MAX_RESEND": "3"}
    settings = load(environ, properties, mtu_length=8192)
    assert settings.mtu_length == 8192
    assert settings.max_resend == 3
    assert settings.timer_interval_ns == 2_000_000_000
    assert settings.sources == {
        "mtu_length": "keyword",
        "max_resend": "properties AERON_MAX_RESEND",
        "timer_interval_ns": "environment AERON_TIMER_INTERVAL",
    }


def test_empty_is_unset_and_an_empty_property_hides_the_environment():
    environ = {"AERON_MAX_RESEND": "", "AERON_MTU_LENGTH": "2048"}
    settings = load(environ, {"aeron.mtu.length": ""})
    assert settings.max_resend == 16
    assert settings.mtu_length == 1408


def test_directory_comes_from_the_environment_or_the_user(tmp_path):
    assert load({"AERON_DIR": "/x/y"}).aeron_dir == "/x/y"
    assert load({"USER": "joe", "TMPDIR": "/t"}).aeron_dir.endswith("aeron-joe")
    assert load({"AERON_DIR": "/x/y"}, aeron_dir=tmp_path).aeron_dir == str(tmp_path)
    assert DriverSettings().aeron_dir


def test_text_is_read_from_keywords_too():
    settings = load(
        term_buffer_length="64k",
        image_liveness_timeout_ns="2s",
        driver_timeout_ms="3s",
        threading_mode="INVOKER",
        conductor_idle="backoff",
        loss="drop=0.5|seed=7",
    )
    assert settings.term_buffer_length == 65536
    assert settings.image_liveness_timeout_ns == 2_000_000_000
    assert settings.driver_timeout_ms == 3000
    assert settings.threading_mode == "invoker"
    assert settings.conductor_idle == ("backoff", 10, 20, 1_000, 1_000_000)
    assert settings.loss == LossRates(drop=0.5, seed=7)


@pytest.mark.parametrize(
    ("text", "value"),
    [("1", True), ("ON", True), ("true", True), ("0", False), ("off", False), ("False", False)],
)
def test_booleans(text, value):
    assert load({"AERON_RELIABLE_STREAM": text}).reliable_stream is value


@pytest.mark.parametrize(
    ("strategy", "args", "spec"),
    [
        ("backoff", "", ("backoff", 10, 20, 1_000, 1_000_000)),
        ("", "1-2-3us-4ms", ("backoff", 1, 2, 3_000, 4_000_000)),
        ("sleep-ns", "50us", ("sleep-ns", 50_000)),
        ("sleeping", "", ("sleep-ns", 1)),
        ("sleep-ms", "", ("sleep-ns", 1_000_000)),
        ("spin", "", ("spin",)),
        ("org.agrona.concurrent.BusySpinIdleStrategy", "", ("spin",)),
        ("adaptive", "", ("adaptive",)),
    ],
)
def test_idle_strategies(strategy, args, spec):
    environ = {
        "AERON_SENDER_IDLE_STRATEGY": strategy,
        "AERON_SENDER_IDLE_STRATEGY_INIT_ARGS": args,
    }
    assert load(environ).sender_idle == spec


def test_loss_generators():
    environ = {
        "AERON_UDP_CHANNEL_INCOMING_INTERCEPTORS": "loss, fixed-loss",
        "AERON_UDP_CHANNEL_OUTGOING_INTERCEPTORS": "multi-gap-loss",
        "AERON_UDP_CHANNEL_TRANSPORT_BINDINGS_LOSS_ARGS": "rate=0.05|seed=1|recv-msg-mask=0xF",
        "AERON_UDP_CHANNEL_TRANSPORT_BINDINGS_FIXED_LOSS_ARGS": "term-id=7|term-offset=64|length=1",
        "AERON_UDP_CHANNEL_TRANSPORT_BINDINGS_MULTI_GAP_LOSS_ARGS": (
            "term-id=-7|gap-radix=1000|gap-length=100|total-gaps=5"
        ),
    }
    settings = load(environ)
    assert settings.receive_loss == (RandomLoss(0.05, 1, 0xF), FixedLoss(7, 64, 1))
    assert settings.send_loss == (MultiGapLoss(-7, 1024, 100, 5),)


def test_loss_rates():
    environ = {"PILLION_LOSS": "drop=0.05|duplicate=0.01|reorder=0.02|seed=1|mask=2"}
    assert load(environ).loss == LossRates(0.05, 0.01, 0.02, 1, 2)


@pytest.mark.parametrize(
    ("name", "text", "default"),
    [
        ("AERON_MTU_LENGTH", "1408x", 1408),
        ("AERON_IMAGE_LIVENESS_TIMEOUT", "10 s", 10_000_000_000),
        ("AERON_MAX_RESEND", "010", 16),
        ("AERON_THREADING_MODE", "TURBO", None),
        ("AERON_RELIABLE_STREAM", "yes", True),
    ],
)
def test_text_in_the_environment_that_cannot_be_read_warns(capsys, name, text, default):
    settings = load({name: text})
    attribute = next(key for key, each in SETTINGS.items() if each.environment_name == name)
    assert getattr(settings, attribute) == (default or getattr(load(), attribute))
    warning = f"WARNING: {name}={text} is invalid, using default\n"
    assert capsys.readouterr().err == warning


def test_numbers_in_the_environment_are_clamped_silently(capsys):
    environ = {
        "AERON_MTU_LENGTH": "1m",
        "AERON_MAX_RESEND": "100000",
        "AERON_COUNTERS_BUFFER_LENGTH": "1",
        "AERON_TIMER_INTERVAL": "1",
        "AERON_RCV_INITIAL_WINDOW_LENGTH": "4g",
    }
    settings = load(environ)
    assert settings.mtu_length == 65504
    assert settings.max_resend == 256
    assert settings.counters_buffer_length == MIB
    assert settings.timer_interval_ns == 1000
    assert settings.initial_window_length == 1024 * MIB
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize(
    ("name", "text", "right"),
    [
        ("AERON_TERM_BUFFER_LENGTH", "32k", "64k..1g"),
        ("AERON_TERM_BUFFER_LENGTH", "100000", "power of two"),
        ("AERON_MTU_LENGTH", "1409", "multiple of 32"),
        ("AERON_CONDUCTOR_BUFFER_LENGTH", "2m", "power of two plus 768"),
        ("AERON_FILE_PAGE_SIZE", "5000", "power of two"),
        ("AERON_SENDER_IDLE_STRATEGY", "nap", "none of adaptive, backoff"),
        ("AERON_SENDER_WILDCARD_PORT_RANGE", "9 8", "low <= high"),
        ("AERON_DRIVER_TERMINATION_VALIDATOR", "maybe", "none of allow, deny"),
        ("AERON_UDP_CHANNEL_INCOMING_INTERCEPTORS", "fog", "none of loss"),
        ("PILLION_LOSS", "drop=0.9|reorder=0.9", "more than 1 together"),
        ("PILLION_LOSS", "drip=0.9", "unknown key 'drip'"),
    ],
)
def test_a_driver_does_not_start_with_what_has_no_nearest_value(name, text, right):
    with pytest.raises(SettingError, match=right) as caught:
        load({name: text})
    assert SETTINGS[caught.value.setting].environment_name == name
    assert caught.value.source == f"environment {name}"
    assert text in str(caught.value)


@pytest.mark.parametrize(
    ("keywords", "right"),
    [
        ({"mtu_length": 32}, "outside 64..65504"),
        ({"mtu_length": 65536}, "outside 64..65504"),
        ({"max_resend": 257}, "outside 1..256"),
        ({"max_resend": True}, "not a whole number"),
        ({"timer_interval_ns": 999}, "below 1us"),
        ({"timer_interval_ns": "soon"}, "write a whole number with ns, us, ms or s"),
        ({"reliable_stream": 1}, "neither True nor False"),
        ({"threading_mode": "turbo"}, "none of dedicated"),
        ({"conductor_idle": ("sleep-ns",)}, "1 numbers"),
        ({"receive_loss": "loss,fog"}, "none of loss"),
        ({"loss": 0.05}, "not a LossRates"),
        ({"sender_wildcard_port_range": (5, 4)}, "low <= high"),
    ],
)
def test_keywords_are_held_to_their_range(keywords, right):
    (name,) = keywords
    with pytest.raises(SettingError, match=right) as caught:
        load(**keywords)
    assert (caught.value.setting, caught.value.source) == (name, "keyword")
    assert name in str(caught.value)


def test_direct_construction_is_held_to_the_range_too():
    with pytest.raises(SettingError, match="mtu_length=1409"):
        DriverSettings(mtu_length=1409)
    with pytest.raises(SettingError, match="max_resend"):
        load().with_(max_resend=0)


def test_largest_and_smallest_values_that_work():
    assert load(mtu_length=65504).mtu_length == 65504
    assert load(mtu_length=64).mtu_length == 64
    assert load(term_buffer_length=1024 * MIB).term_buffer_length == 1024 * MIB
    assert load(max_resend=256, stream_session_limit=1).stream_session_limit == 1


def test_unknown_keyword_is_named_with_the_nearest():
    with pytest.raises(SettingError, match=r"'mtu_lenght'.*did you mean 'mtu_length'"):
        load(mtu_lenght=1408)


@pytest.mark.parametrize(
    ("keywords", "first", "second"),
    [
        ({"publication_unblock_timeout_ns": "10s"}, "publication_unblock", "client_liveness"),
        ({"client_liveness_timeout_ns": "1s"}, "client_liveness", "timer_interval"),
        ({"untethered_linger_timeout_ns": "1s"}, "untethered_linger", "timer_interval"),
        ({"initial_window_length": 1024}, "initial_window", "mtu_length"),
        ({"publication_reserved_session_id_low": 1001}, "session_id_high", "session_id_low"),
        ({"nak_unicast_retry_delay_ratio": 2**62}, "nak_unicast_retry", "nak_unicast_delay"),
    ],
)
def test_settings_that_contradict_each_other(keywords, first, second):
    with pytest.raises(SettingError, match=f"{first}.*{second}"):
        load(**keywords)


def test_a_contradiction_says_where_both_come_from():
    with pytest.raises(SettingError) as caught:
        load({"AERON_TIMER_INTERVAL": "20s"})
    assert caught.value.source == "default"
    assert "(from environment AERON_TIMER_INTERVAL)" in str(caught.value)


def test_properties_file(tmp_path):
    path = tmp_path / "low-latency.properties"
    path.write_text(
        "# comment\n! another\n\naeron.mtu.length = 8k\naeron.socket.so_rcvbuf: 2m\n"
        "aeron.dir=/a\\\n  # inside\n  /b\nAERON_MTU_LENGTH=16k\n"
    )
    properties = read_properties(path)
    assert properties == {
        "AERON_MTU_LENGTH": "16k",
        "AERON_SOCKET_SO_RCVBUF": "2m",
        "AERON_DIR": "/a/b",
    }
    assert read_properties(f"file://{path}") == properties
    assert load({}, properties).socket_so_rcvbuf == 2 * MIB


@pytest.mark.parametrize("line", ["aeron.dir", "=x", " : y"])
def test_properties_file_error_names_the_line(line):
    with pytest.raises(SettingError, match=r"f\.properties line 2"):
        parse_properties(["a=b\n", line], source="f.properties")


def test_properties_file_that_is_not_there(tmp_path):
    with pytest.raises(SettingError, match=r"nothing\.properties"):
        read_properties(tmp_path / "nothing.properties")


def test_names_are_unique_and_describe_themselves():
    rows = describe_settings()
    assert len({row.environment_name for row in rows}) == len(rows) == len(SETTINGS)
    assert [row.name for row in rows] == list(SETTINGS)
    assert all(row.doc.endswith(".") for row in rows)
    by_name = {row.name: row for row in rows}
    assert by_name["term_buffer_length"].default == "16m"
    assert by_name["term_buffer_length"].environment_name == "AERON_TERM_BUFFER_LENGTH"
    assert environment_name("aeron.socket.so_rcvbuf") == "AERON_SOCKET_SO_RCVBUF"


@pytest.mark.parametrize("name", list(SETTINGS))
def test_what_a_default_shows_is_read_back(name):
    setting = SETTINGS[name]
    value = getattr(load(), name)
    if value is None or name in ("receive_loss", "send_loss", "loss"):
        return
    assert setting.read(setting.describe(value)) == value


def test_repr_shows_what_was_given():
    assert repr(load({"AERON_MAX_RESEND": "2"}, mtu_length="2k")) == (
        "DriverSettings(mtu_length=2048, max_resend=2)"
    )


def test_dump_names_every_property():
    dump = load(mtu_length=2048).format_configuration()
    assert "    aeron.mtu.length=2k\n" in dump
    assert dump.count("\n") == len(SETTINGS) + 1


def test_import_loads_nothing_heavy():
    code = (
        "import sys, pillion.driver.settings;"
        "print([m for m in ('click', 'rich', 'argparse', 'asyncio', 'numpy', 'typing_extensions')"
        " if m in sys.modules])"
    )
    command = [sys.executable, "-c", code]
    output = subprocess.run(command, capture_output=True, text=True, check=True)
    assert output.stdout == "[]\n"
