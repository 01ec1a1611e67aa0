"""Fetch the peers that only the benchmarks have: pyzmq into an environment of its own, the Java program's classes.

Run `make peers` first: it fetches pyaeron and the jars. What cannot be had is said here, and again as the reason for
which the runner skips it.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
CACHE = ROOT / ".cache" / "benchmarks"
JARS = ROOT / ".cache" / "peers" / "jars"
JAVA_SOURCE = Path(__file__).resolve().parent / "programs" / "Bench.java"


def run(*command: str | Path) -> str:
    """"" or what went wrong."""
    try:
        done = subprocess.run([str(part) for part in command], capture_output=True, text=True, timeout=300)
    except (OSError, subprocess.TimeoutExpired) as error:
        return str(error)
    return "" if done.returncode == 0 else (done.stderr or done.stdout).strip()[-400:] or f"exit {done.returncode}"


def set_up_pyzmq() -> str:
    home = CACHE / "pyzmq"
    python = home / "bin" / "python"
    if python.exists():
        return ""
    reason = (
        run(sys.executable, "-m", "venv", home)
        or run(python, "-m", "pip", "install", "-q", "pyzmq")
        or run(python, "-c", "import zmq")
    )
    if reason:
        shutil.rmtree(home, ignore_errors=True)
    return reason


def set_up_java() -> str:
    jars = sorted(JARS.glob("*.jar"))
    if not jars:
        return f"there is no jar in {JARS.relative_to(ROOT)}: run `make peers`"
    if shutil.which("javac") is None:
        return "javac is not installed (apt-get install openjdk-17-jdk-headless)"
    classes = CACHE / "java"
    classes.mkdir(parents=True, exist_ok=True)
    return run("javac", "-cp", ":".join(map(str, jars)), "-d", classes, JAVA_SOURCE)


def main() -> None:
    for name, set_up in (("zmq", set_up_pyzmq), ("java", set_up_java)):
        reason = set_up()
        print(f"peer {name}: {'ready' if not reason else 'absent: ' + reason}")


if __name__ == "__main__":
    main()
