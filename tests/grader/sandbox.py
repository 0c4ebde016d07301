"""A room of its own for a submission: no network, nowhere to write, nothing left running, as far as the system allows.

`python sandbox.py ROOM SCRATCH HIDDEN COMMAND...` enters the room and runs the command in it: that is `Limits.prefix`.
Only the standard library is imported, because a fresh interpreter runs this file for every child.

What no room bounds is the number of processes: RLIMIT_NPROC counts those of the user, not of the submission. A fork
bomb ends with its room when time or memory is over; for worse, grade inside a container with a limit on processes.
"""

from __future__ import annotations

import ctypes
import os
import socket
import struct
import subprocess
import sys
import tempfile
from functools import cache
from pathlib import Path

_NAMESPACES = {
    "closed": ("--net", "--mount", "--pid", "--fork", "--kill-child", "--mount-proc"),
    "offline": ("--net",),
    "open": None,
}
SENTENCES = {
    "closed": "Each submission runs without network, can write to a scratch folder only, and leaves nothing running.",
    "offline": "Each submission runs without network, but this system does not let me keep it from writing elsewhere.",
    "open": "The network stays on and files outside stay writable: this system has no `unshare` that I may use.",
}
SCRATCH_BYTES = 2 << 30
_PRIVATE_RECURSIVE, _READ_ONLY, _MOUNT_SETATTR, _AT_FDCWD, _AT_RECURSIVE = 0x44000, 1, 442, -100, 0x8000


@cache
def best_room() -> str:
    """The strictest of "closed", "offline" and "open" that works here; tried once."""
    with tempfile.TemporaryDirectory() as scratch:
        for room in _NAMESPACES:
            try:
                probe = [*prefix(room, Path(scratch)), sys.executable, "-I", "-c", ""]
                if subprocess.run(probe, capture_output=True, timeout=20, check=False).returncode == 0:
                    return room
            except (OSError, subprocess.TimeoutExpired):  # there is no unshare
                continue
    return "open"


def prefix(room: str, scratch: Path, hidden: Path | None = None) -> tuple[str, ...]:
    """The command that runs another one in the room.

    Args:
        room: "closed", "offline" or "open".
        scratch: an empty folder for temporary files and caches.
        hidden: in the closed room this folder looks empty: the other submissions.
    """
    flags = _NAMESPACES[room]
    unshare = () if flags is None else ("unshare", "--map-root-user", *flags)
    return (*unshare, sys.executable, "-I", __file__, room, str(scratch), str(hidden or ""))


def main(argv: list[str]) -> int:
    """Enter the room and run the command; its exit code, 128 + n when signal n ended it."""
    room, scratch, hidden, *command = argv
    os.environ.update(TMPDIR=scratch, XDG_CACHE_HOME=scratch, MLI_CACHE=f"{scratch}/cache")
    if room != "open":
        _loopback_up()
    if room == "closed":
        _close(scratch, hidden)
    if room != "open":
        for capability in range(64):  # PR_CAPBSET_DROP: root of its own room must not be able to open it again
            ctypes.CDLL(None).prctl(24, capability, 0, 0, 0)
    # as process 1 the command could not be ended by a signal of its own: it gets a parent, which also buries orphans
    child = os.fork() if room == "closed" else 0
    if child == 0:
        os.execvp(command[0], command)
    os.closerange(3, 1024)  # the job's letter holds the key of the stream
    ended, status = 0, 0
    while ended != child:
        ended, status = os.wait()
    code = os.waitstatus_to_exitcode(status)
    return code if code >= 0 else 128 - code


def _loopback_up() -> None:
    """A new network has a loopback that is down; tests with a server on 127.0.0.1 need it."""
    import fcntl  # not on every system, but wherever there are namespaces

    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as any_socket:
        fcntl.ioctl(any_socket, 0x8914, struct.pack("16sh14x", b"lo", 0x1))  # SIOCSIFFLAGS, IFF_UP


def _close(scratch: str, hidden: str) -> None:
    """Make every file system read-only but a fresh scratch in memory, which is also /dev/shm."""
    libc = ctypes.CDLL(None, use_errno=True)

    def done(result: int) -> None:
        if result:
            raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))

    def mount(kind: bytes | None, source: str, place: str, flags: int, options: str = "") -> None:
        done(libc.mount(os.fsencode(source), os.fsencode(place), kind, flags, options.encode()))

    mount(None, "none", "/", _PRIVATE_RECURSIVE)
    attributes = struct.pack("QQQQ", _READ_ONLY, 0, 0, 0)
    done(libc.syscall(_MOUNT_SETATTR, _AT_FDCWD, b"/", _AT_RECURSIVE, attributes, len(attributes)))
    if hidden:
        mount(b"tmpfs", "none", hidden, _READ_ONLY, "size=4k")
    mount(b"tmpfs", "none", scratch, 0, f"size={SCRATCH_BYTES}")
    mount(None, scratch, "/dev/shm", 0x1000)  # MS_BIND


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
