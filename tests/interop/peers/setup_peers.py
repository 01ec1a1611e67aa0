"""Fetch the real Aeron for the interop tests: the C client and driver through pyaeron, the Java jars through Maven.

`setup_peers.py [DIRECTORY]` (default `.cache/peers` of the repository) leaves `status.json` there, which names each
peer with "" or the reason why it is absent: the tests that need it are then skipped with the same words.
"""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path

AERON_ALL = "io.aeron:aeron-all:1.51.0"
COPY_GOAL = "org.apache.maven.plugins:maven-dependency-plugin:3.6.1:copy"
HERE = Path(__file__).resolve().parent
JAVA_SOURCE = HERE.parent / "java" / "Peer.java"
DEFAULT_ROOT = HERE.parents[2] / ".cache" / "peers"


def run(*command: str | Path, timeout: float = 300) -> str:
    done = subprocess.run([str(part) for part in command], capture_output=True, text=True, timeout=timeout)
    if done.returncode:
        raise RuntimeError(f"{' '.join(map(str, command))}: {(done.stderr or done.stdout).strip()[-400:]}")
    return done.stdout


def newer_pythons() -> list[str]:
    found = [path for name in ("python3.12", "python3.13", "python3.14") if (path := shutil.which(name))]
    found += [str(path) for path in sorted(Path.home().glob(".pyenv/versions/3.1[234]*/bin/python"))]
    return [sys.executable, *found]


def set_up_pyaeron(root: Path) -> str:
    python = root / "pyaeron" / "bin" / "python"
    if python.exists():
        return ""
    reason = "CPython 3.12 or later is needed for pyaeron and was not found"
    for candidate in newer_pythons():
        try:
            run(candidate, "-c", "import sys; assert sys.version_info >= (3, 12)")
            run(candidate, "-m", "venv", root / "pyaeron")
            run(python, "-m", "pip", "install", "-q", "pyaeron")
            run(python, "-c", "import pyaeron")
            return ""
        except (OSError, RuntimeError, subprocess.TimeoutExpired) as error:
            if "AssertionError" not in str(error):
                reason = str(error)
            shutil.rmtree(root / "pyaeron", ignore_errors=True)
    return reason


def set_up_java(root: Path) -> str:
    for tool in ("java", "javac", "mvn"):
        if shutil.which(tool) is None:
            return f"{tool} is not installed (apt-get install openjdk-17-jdk-headless maven)"
    if not JAVA_SOURCE.exists():
        return f"{JAVA_SOURCE} is missing"
    jars, classes = root / "jars", root / "classes"
    _, artifact, version = AERON_ALL.split(":")
    jar = jars / f"{artifact}-{version}.jar"
    try:
        if not jar.exists():
            run("mvn", "-q", "-B", COPY_GOAL, f"-Dartifact={AERON_ALL}", f"-DoutputDirectory={jars}")
        classes.mkdir(parents=True, exist_ok=True)
        run("javac", "-cp", jar, "-d", classes, JAVA_SOURCE)
    except (OSError, RuntimeError, subprocess.TimeoutExpired) as error:
        return str(error)
    return ""


def main() -> None:
    # Absolute, because a virtual environment and Maven each have their own idea of what a path is relative to.
    root = Path(sys.argv[1] if len(sys.argv) > 1 else DEFAULT_ROOT).resolve()
    root.mkdir(parents=True, exist_ok=True)
    status = {"pyaeron": set_up_pyaeron(root), "java": set_up_java(root)}
    (root / "status.json").write_text(json.dumps(status))
    for name, reason in status.items():
        print(f"peer {name}: {'ready' if not reason else 'absent: ' + reason}")


if __name__ == "__main__":
    main()
