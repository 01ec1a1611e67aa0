"""The default aeron directory, the same for client and driver."""

from __future__ import annotations

import os
from collections.abc import Mapping


def default_aeron_dir(environ: Mapping[str, str] | None = None) -> str:
    """`AERON_DIR`, or `/dev/shm/aeron-<user>` where there is a /dev/shm, else under the temporary directory."""
    env = os.environ if environ is None else environ
    if env.get("AERON_DIR"):
        return env["AERON_DIR"]
    user = env.get("USER") or ""
    if not user:
        import pwd

        try:
            user = pwd.getpwuid(os.getuid()).pw_name
        except KeyError:
            user = "default"
    base = "/dev/shm" if os.path.isdir("/dev/shm") else env.get("TMPDIR") or "/tmp"
    return os.path.join(base, f"aeron-{user}")
