"""The exception tree: one root, values as attributes, safe to send to another process."""

from __future__ import annotations

import inspect
import pickle

import pytest

from pillion import errors
from pillion.errors import (
    ChannelError,
    DirectoryError,
    DriverTimeoutError,
    ErrorCode,
    PillionError,
    RegistrationError,
    SettingError,
)

CLASSES = [found for _, found in inspect.getmembers(errors, inspect.isclass) if issubclass(found, Exception)]


@pytest.mark.parametrize("kind", CLASSES)
def test_every_class(kind: type[PillionError]) -> None:
    assert issubclass(kind, PillionError)
    assert kind.__doc__
    error = kind("what is wrong")
    assert "what is wrong" in str(error)
    copy = pickle.loads(pickle.dumps(error))
    assert type(copy) is kind
    assert str(copy) == str(error)
    assert vars(copy) == vars(error)


def test_values_survive_pickling() -> None:
    error = RegistrationError(
        "no", error_code=9, correlation_id=5, command="add publication", channel="aeron:udp", stream_id=7
    )
    copy = pickle.loads(pickle.dumps(error))
    assert vars(copy) == vars(error)
    assert str(copy) == "add publication aeron:udp stream 7: UNKNOWN_HOST (9): no"
    full = DirectoryError("full", path="/x", needed=10, available=5)
    assert (full.path, full.needed, full.available) == ("/x", 10, 5)
    assert vars(pickle.loads(pickle.dumps(full))) == vars(full)
    setting = SettingError("wrong", setting="mtu", value=5, source="AERON_MTU_LENGTH")
    assert vars(pickle.loads(pickle.dumps(setting))) == vars(setting)


def test_codes_of_later_versions_keep_their_number() -> None:
    error = RegistrationError("new", error_code=77)
    assert error.error_code is ErrorCode.UNKNOWN
    assert error.error_code_value == 77
    assert "UNKNOWN (77): new" in str(error)


def test_what_python_programs_expect() -> None:
    assert issubclass(ChannelError, ValueError)
    assert issubclass(SettingError, ValueError)
    assert issubclass(DriverTimeoutError, TimeoutError)
    assert issubclass(DirectoryError, OSError)


def test_channel_errors_of_a_parameter() -> None:
    error = ChannelError.of_parameter("mtu", 33, "is wrong", channel="aeron:ipc?mtu=33")
    assert str(error) == "mtu=33 is wrong in channel 'aeron:ipc?mtu=33'"
    assert error.error_code is ErrorCode.GENERIC_ERROR
    assert str(ChannelError.of_parameter("mtu", 33, "is wrong")) == "mtu=33 is wrong"
