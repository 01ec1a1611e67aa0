"""Objects that nobody set up: everything about them may be called, and nothing may crash.

In a process of their own, so that a crash is a failed test.
"""

from __future__ import annotations

import subprocess
import sys

ABUSE = """
import copy, pickle
import pillion
from pillion.client import publication

ARGUMENTS = [
    (), (1,), (b"x",), (None,), ("a",), (print,), (print, 5), (5, 5), (print, -1, -1), (2**70,),
    (1.5,), ([b"a", b"b"],), ((1, 2),), (print, 1, 2, 3),
]
VALUES = [1, None, "x", 2**70, b"", -1]
SKIPPED = {"__class__", "__init_subclass__", "__subclasshook__", "__del__"}


def attempt(call, *args):
    try:
        return call(*args)
    except Exception:
        return None


def abuse(thing):
    for name in sorted(set(dir(type(thing))) - SKIPPED):
        found = attempt(getattr, thing, name)
        if callable(found):
            for args in ARGUMENTS:
                attempt(found, *args)
        for value in VALUES:
            attempt(setattr, thing, name, value)
    for call in (copy.copy, copy.deepcopy, pickle.dumps, repr, str, hash, bytes, memoryview, len,
                 list, iter, bool, memoryview):
        attempt(call, thing)


for name in ("FragmentBuffer", "Header", "Image", "Subscription", "Publication",
             "ExclusivePublication", "BufferClaim", "FragmentAssembler", "Client", "Counter"):
    kind = getattr(pillion, name)
    assert attempt(kind) is None, f"{name}() makes something"
    abuse(kind.__new__(kind))
    print(name)
abuse(publication._PublicationBase.__new__(publication._PublicationBase))
header = pillion.Header.__new__(pillion.Header)
try:
    header.flags
except TypeError as error:
    print(error)
"""


def test_blank_objects() -> None:
    done = subprocess.run(
        [sys.executable, "-X", "faulthandler", "-c", ABUSE],
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 0, done.stderr
    assert "this Header was not made by poll: it has no frame" in done.stdout
