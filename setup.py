"""Build of the compiled core.

The list of compiled modules is explicit: a module that is not in it is ordinary Python, and one that is in it
refuses to be imported uncompiled. A build that cannot be done stops with the name of the package to install.
"""

from __future__ import annotations

import os
import shutil
import sys
import sysconfig
from pathlib import Path

from setuptools import Extension, setup
from setuptools.command.build_ext import build_ext

ROOT = Path(__file__).resolve().parent

COMPILED_MODULES = [
    "pillion.protocol.frames",
    "pillion.protocol.layouts",
    "pillion.memory.mapped_file",
    "pillion.memory.ring_buffer",
    "pillion.memory.broadcast",
    "pillion.memory.counters",
    "pillion.memory.error_log",
    "pillion.memory.loss_report",
    "pillion.memory.cnc",
    "pillion.memory.log_buffer",
    "pillion.memory.appender",
    "pillion.client.fragment",
    "pillion.client.image",
    "pillion.client.assembler",
    "pillion.client.claim",
    "pillion.client.publication",
    "pillion.client.subscription",
    "pillion.driver.udp.transport",
    "pillion.driver.udp.simulated",
    "pillion.driver.queues",
    "pillion.driver.positions",
    "pillion.driver.publisher_limit",
    "pillion.driver.idling",
    "pillion.driver.endpoints",
    "pillion.driver.streams",
    "pillion.driver.stream_conductor",
    "pillion.driver.sender",
    "pillion.driver.control",
    "pillion.driver.feedback",
    "pillion.driver.dispatcher",
    "pillion.driver.receiver",
    "pillion.driver.data_plane",
]

# The variants, for tests and debugging: each is built apart (`make test-assert`, `make sanitize`) or in place.
ASSERT = bool(os.environ.get("PILLION_ASSERT"))
DEBUG = bool(os.environ.get("PILLION_DEBUG"))
SANITIZE = os.environ.get("PILLION_SANITIZE", "")
CHECKED = ASSERT or bool(SANITIZE)

DIRECTIVES = {
    "language_level": 3,
    # Not C pointers, which only a sanitizer sees: indices into tuples, bytes and C arrays of known size, and None.
    "boundscheck": CHECKED,
    "nonecheck": CHECKED,
    "wraparound": False,
    "cdivision": True,
    "initializedcheck": CHECKED,
    "embedsignature": True,
    "embedsignature.format": "python",
}


def fail(reason: str, remedy: str) -> None:
    sys.exit(f"\npillion: cannot build the compiled core: {reason}\n  remedy: {remedy}\n")


def check_tools() -> None:
    compiler = (os.environ.get("CC") or sysconfig.get_config_var("CC") or "cc").split()[0]
    if shutil.which(compiler) is None:
        fail(f"no C compiler ({compiler!r} is not on the path)", "apt-get install gcc libc6-dev")
    header = Path(sysconfig.get_path("include")) / "Python.h"
    if not header.exists():
        fail(f"the headers of this Python are missing ({header})", "apt-get install python3-dev")
    if not sys.platform.startswith("linux"):
        fail(f"platform {sys.platform!r} is not supported", "build on Linux")


def extensions() -> list[Extension]:
    only = [name for name in os.environ.get("PILLION_ONLY", "").split(",") if name]
    unknown = sorted(set(only) - set(COMPILED_MODULES))
    if unknown:
        fail(f"PILLION_ONLY names unknown modules {unknown}", "name modules of COMPILED_MODULES in setup.py")
    compile_args = ["-O3", "-g1", "-fno-strict-aliasing", "-Wno-unused-function", "-Wno-address-of-packed-member",
                    "-Wno-unused-const-variable"]  # the texts of assertions that are switched off
    link_args: list[str] = []
    macros: list[tuple[str, str | None]] = []
    # The last of several options counts. The macro makes `pillion_assert` of memory/assertions.pxd a check.
    if ASSERT:
        macros.append(("PILLION_ASSERT", "1"))
    if SANITIZE:
        compile_args += [f"-fsanitize={SANITIZE}", "-fno-omit-frame-pointer", "-O1", "-g"]
        link_args += [f"-fsanitize={SANITIZE}"]
    if DEBUG:
        compile_args += ["-O0", "-g3"]
    result = []
    for name in only or COMPILED_MODULES:
        source = Path("src", *name.split(".")).with_suffix(".py")
        if not (ROOT / source).exists():
            fail(f"{source} is missing", "restore the source tree")
        result.append(
            Extension(
                name,
                [str(source)],
                include_dirs=["src"],
                extra_compile_args=compile_args,
                extra_link_args=link_args,
                define_macros=macros,
            )
        )
    return result


class LoudBuild(build_ext):
    """`build_ext` whose failure says what to do about it."""

    def run(self) -> None:
        self.parallel = self.parallel or os.cpu_count()
        try:
            super().run()
        except Exception as error:
            fail(str(error), "see the compiler's message above; a C compiler and the Python headers are required "
                             "(apt-get install gcc libc6-dev python3-dev)")


def ext_modules() -> list[Extension]:
    wanted = {"build_ext", "build", "bdist_wheel", "install", "develop", "editable_wheel"}
    if not wanted.intersection(sys.argv):
        return []
    check_tools()
    try:
        from Cython.Build import cythonize
    except ImportError:
        fail("Cython is not installed", "pip install 'Cython>=3.1' (or build with `pip install .`)")
    return cythonize(
        extensions(),
        include_path=["src"],
        # The generated C differs with the directives and with who wants the compiler to name lines of the `.py`.
        build_dir="build/cython" + "-checked" * CHECKED + "-lines" * DEBUG,
        emit_linenums=CHECKED or DEBUG,
        nthreads=os.cpu_count() or 1,
        compiler_directives=DIRECTIVES,
        annotate=bool(os.environ.get("PILLION_ANNOTATE")),
        quiet=True,
    )


setup(ext_modules=ext_modules(), cmdclass={"build_ext": LoudBuild})
