"""The media drivers, each in a process of its own, under the Python or Java of its library."""

from __future__ import annotations

import json
import shutil
import sys

from benchmarks.peers.base import PEERS, PROGRAMS, DriverKind, fetched

PYAERON_PYTHON = PEERS / "pyaeron" / "bin" / "python"
PYAERON_PROGRAM = PROGRAMS / "pyaeron_program.py"
JAVA_OPENS = ("java.base/jdk.internal.misc=ALL-UNNAMED", "java.base/sun.nio.ch=ALL-UNNAMED")


def pyaeron_absence() -> str:
    return fetched("pyaeron") or ("" if PYAERON_PYTHON.exists() else f"{PYAERON_PYTHON} does not exist")


def java_absence() -> str:
    return fetched("java") or ("" if shutil.which("java") else "java is not installed")


def java_command(*arguments: str) -> list[str]:
    """A program of the jars that `make peers` fetched."""
    opens = [word for opened in JAVA_OPENS for word in ("--add-opens", opened)]
    jars = [*sorted(map(str, (PEERS / "jars").glob("*.jar")))]
    return ["java", *opens, "-XX:+UseSerialGC", "-cp", ":".join(jars), *arguments]


def _pillion(directory: str, threading_mode: str) -> list[str]:
    mode = ["--threading", threading_mode] if threading_mode else []
    return [sys.executable, "-m", "pillion", "driver", "--dir", directory, *mode]


def _c(directory: str, threading_mode: str) -> list[str]:
    options = {"directory": directory, "threading_mode": threading_mode or "dedicated"}
    return [str(PYAERON_PYTHON), str(PYAERON_PROGRAM), "driver", json.dumps(options)]


def _java(directory: str, threading_mode: str) -> list[str]:
    mode = [f"-Daeron.threading.mode={threading_mode.upper()}"] if threading_mode else []
    return java_command(f"-Daeron.dir={directory}", *mode, "io.aeron.driver.MediaDriver")


PILLION_DRIVER = DriverKind("pillion", _pillion, bare=lambda: [sys.executable, "-c", ""])
C_DRIVER = DriverKind(
    "c", _c, bare=lambda: [str(PYAERON_PYTHON), "-c", ""], absence=pyaeron_absence, speaks=True
)
JAVA_DRIVER = DriverKind("java", _java, bare=lambda: ["java", "-version"], absence=java_absence)
