"""The default directory against section 1.1 of the shared-memory format."""

from __future__ import annotations

import os
import pwd

import pytest

from pillion.directory import default_aeron_dir


def test_the_environment_decides() -> None:
    assert default_aeron_dir({"AERON_DIR": "/somewhere/else", "USER": "me"}) == "/somewhere/else"
    assert default_aeron_dir({"AERON_DIR": "relative"}) == "relative"


def test_by_user(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os.path, "isdir", lambda path: path == "/dev/shm")
    assert default_aeron_dir({"USER": "me"}) == "/dev/shm/aeron-me"
    assert default_aeron_dir({"USER": "me", "AERON_DIR": "", "TMPDIR": "/t"}) == "/dev/shm/aeron-me"
    name = pwd.getpwuid(os.getuid()).pw_name
    assert default_aeron_dir({}) == default_aeron_dir({"USER": ""}) == f"/dev/shm/aeron-{name}"


def test_without_shared_memory_directory(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os.path, "isdir", lambda path: False)
    assert default_aeron_dir({"USER": "me"}) == "/tmp/aeron-me"
    assert default_aeron_dir({"USER": "me", "TMPDIR": "/var/t"}) == "/var/t/aeron-me"
    assert default_aeron_dir({"USER": "me", "TMPDIR": "/var/t/"}) == "/var/t/aeron-me"


def test_a_user_without_a_name(monkeypatch: pytest.MonkeyPatch) -> None:
    def unknown(uid: int) -> None:
        raise KeyError(uid)

    monkeypatch.setattr(pwd, "getpwuid", unknown)
    assert os.path.basename(default_aeron_dir({})) == "aeron-default"


def test_the_real_environment_is_the_default(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AERON_DIR", "/from/the/environment")
    assert default_aeron_dir() == "/from/the/environment"
