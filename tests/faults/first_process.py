"""`python -m tests.faults.first_process PROGRAM`: ingress or worker as process 1 of a PID namespace, as in a container.

The kernel delivers to process 1 only signals that it handles, and no init process forwards any. A signal to the process
group reaches it from outside its namespace, as Cloud Run's does; this process waits for it, and exits as it did.
"""

import ctypes
import functools
import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Final

NEW_USER: Final = 0x10000000
NEW_PID: Final = 0x20000000
"""CLONE_NEWUSER and CLONE_NEWPID. os.unshare comes with Python 3.12."""

CHECK: Final = "--check"
STARTED: Final = "first_process_started"


@functools.cache
def why_impossible() -> str | None:
    """Why this machine allows no namespaces, or None. Tried in a process of its own, since it cannot be undone."""
    asked = subprocess.run(
        [sys.executable, "-m", "tests.faults.first_process", CHECK], capture_output=True, text=True, check=False
    )
    last = "".join(asked.stderr.strip().splitlines()[-1:])
    return None if asked.returncode == 0 else f"no PID namespace here: {last or f'exit code {asked.returncode}'}"


def enter_namespaces() -> None:
    """Makes the next child process 1. The user namespace allows this without privileges, where the kernel has it.

    Raises:
        OSError: the kernel lacks it, or it is forbidden.
    """
    uid, gid = os.getuid(), os.getgid()
    if not sys.platform.startswith("linux"):
        raise OSError(f"{sys.platform} has none")
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.unshare(NEW_USER | NEW_PID) != 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))
    own = Path("/proc/self")
    # Without these maps the program would run as nobody. A group can be mapped only after setgroups is denied.
    (own / "uid_map").write_text(f"{uid} {uid} 1")
    (own / "setgroups").write_text("deny")
    (own / "gid_map").write_text(f"{gid} {gid} 1")


def main() -> int:
    program = sys.argv[1]
    enter_namespaces()
    # A handler, since the program would inherit SIG_IGN; before the fork, so that no signal ends this process first.
    signal.signal(signal.SIGTERM, lambda *_: None)
    child = os.fork()
    if child == 0:
        if program == CHECK:
            os._exit(0)
        os.execv(sys.executable, [sys.executable, "-m", program])  # noqa: S606 - no shell is the point
    if program != CHECK:
        sys.stdout.write(json.dumps({"message": STARTED, "pid": child}) + "\n")
        sys.stdout.flush()
    code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    return code if code >= 0 else 128 - code


if __name__ == "__main__":
    sys.exit(main())
