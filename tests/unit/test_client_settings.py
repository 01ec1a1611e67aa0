"""Settings of a client: keywords win over the environment, and what is out of range is named."""

from __future__ import annotations

import pytest

from pillion.client.settings import client_settings
from pillion.errors import SettingError


def test_defaults() -> None:
    settings = client_settings(environ={"AERON_DIR": "/dev/shm/somewhere"})
    assert settings.aeron_dir == "/dev/shm/somewhere"
    assert settings.client_name == ""
    assert settings.driver_timeout_ns == 10_000_000_000
    assert settings.keepalive_interval_ns == 500_000_000
    assert settings.idle_sleep_ns == 16_000_000
    assert settings.pre_touch_mapped_memory is False


def test_environment() -> None:
    settings = client_settings(
        environ={
            "AERON_DRIVER_TIMEOUT": "2500",
            "AERON_CLIENT_IDLE_SLEEP_DURATION": "3ms",
            "AERON_CLIENT_PRE_TOUCH_MAPPED_MEMORY": "true",
            "AERON_CLIENT_NAME": "named",
        }
    )
    assert settings.driver_timeout_ns == 2_500_000_000
    assert settings.idle_sleep_ns == 3_000_000
    assert settings.pre_touch_mapped_memory is True
    assert settings.client_name == "named"


def test_keywords_win() -> None:
    settings = client_settings(
        "/tmp/mine",
        client_name="",
        driver_timeout=1,
        idle_sleep=0,
        pre_touch_mapped_memory=False,
        environ={
            "AERON_DIR": "/dev/shm/other",
            "AERON_DRIVER_TIMEOUT": "nonsense that nobody reads",
            "AERON_CLIENT_IDLE_SLEEP_DURATION": "nonsense",
            "AERON_CLIENT_PRE_TOUCH_MAPPED_MEMORY": "nonsense",
            "AERON_CLIENT_NAME": "other",
        },
    )
    assert settings.aeron_dir == "/tmp/mine"
    assert settings.client_name == ""
    assert settings.driver_timeout_ns == 1_000_000_000
    assert settings.idle_sleep_ns == 0
    assert settings.pre_touch_mapped_memory is False


@pytest.mark.parametrize(
    ("keywords", "setting"),
    [
        ({"driver_timeout": 0}, "driver_timeout"),
        ({"keepalive_interval": -1}, "keepalive_interval"),
        ({"idle_sleep": 1.001}, "idle_sleep"),
        ({"client_name": "x" * 101}, "client_name"),
    ],
)
def test_out_of_range(keywords: dict[str, object], setting: str) -> None:
    with pytest.raises(SettingError) as info:
        client_settings(environ={}, **keywords)  # type: ignore[arg-type]
    assert info.value.setting == setting


def test_largest_that_works() -> None:
    settings = client_settings(environ={}, idle_sleep=1.0, client_name="x" * 100)
    assert settings.idle_sleep_ns == 1_000_000_000


def test_unreadable_environment() -> None:
    with pytest.raises(SettingError, match="AERON_DRIVER_TIMEOUT='soon'") as info:
        client_settings(environ={"AERON_DRIVER_TIMEOUT": "soon"})
    assert info.value.source == "environment"


def test_wrong_types() -> None:
    with pytest.raises(TypeError):
        client_settings(environ={}, driver_timeout="10")  # type: ignore[arg-type]
    with pytest.raises(TypeError):
        client_settings(environ={}, driver_timeout=float("nan"))
