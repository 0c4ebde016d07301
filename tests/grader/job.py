"""What the parent tells a child, and the signed stream in which the child answers.

Both travel through inherited file descriptors without a name. Every line is signed together with its number, so a line
that is written by anything but the plugin, twice, or out of order does not count.
"""

from __future__ import annotations

import hashlib
import hmac
import json
import os
import resource
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any


@dataclass(frozen=True, slots=True)
class Job:
    """The work of one child.

    `exercises` are the ids to grade (None: all); `done` are node ids that are settled; `strikes` counts, per exercise,
    tests that hung or ended the process; 0 means no limit for the two sizes in bytes.
    """

    key: str
    stream_fd: int
    exercises: list[str] | None = None
    done: list[str] = field(default_factory=list)
    strikes: dict[str, int] = field(default_factory=dict)
    test_s: float = 60.0
    memory_bytes: int = 0
    file_bytes: int = 0
    trusted: bool = False

    def write(self, fd: int) -> None:
        """Leave the job in an open file, ready to be read from its start."""
        data = json.dumps(asdict(self)).encode()
        while data:
            data = data[os.write(fd, data) :]
        os.lseek(fd, 0, os.SEEK_SET)

    def limit(self) -> None:
        """Bound this process before any learner code is there; the bounds cannot be raised again."""
        # RLIMIT_DATA, not RLIMIT_AS: drivers and thread pools reserve address space that they never use
        for kind, size in ((resource.RLIMIT_DATA, self.memory_bytes), (resource.RLIMIT_FSIZE, self.file_bytes)):
            if size:
                resource.setrlimit(kind, (size, size))

    @classmethod
    def read(cls, fd: int) -> Job:
        """The job in an inherited file, which is closed: the key is in no file that learner code could open."""
        with os.fdopen(fd, encoding="utf-8") as file:
            return cls(**json.load(file))


class Stream:
    """The writing end; records leave the process at once, so a crash loses none."""

    def __init__(self, job: Job) -> None:
        self._fd, self._key, self._owner, self._sent = job.stream_fd, job.key.encode(), os.getpid(), 0
        os.set_inheritable(self._fd, False)

    def send(self, record: Mapping[str, Any]) -> None:
        """Append one record; a forked copy of this process has no say."""
        if os.getpid() != self._owner:
            return
        body = json.dumps(record).encode()
        os.write(self._fd, body + b"\t" + _signature(self._key, self._sent, body) + b"\n")
        self._sent += 1


class Reader:
    """The reading end: whole lines, signed and in order."""

    def __init__(self, fd: int, key: str) -> None:
        self._fd, self._key, self._offset, self._next = fd, key.encode(), 0, 0

    def read(self) -> list[dict[str, Any]]:
        """The records that arrived since the last call."""
        data = b""
        while part := os.pread(self._fd, 1 << 16, self._offset + len(data)):
            data += part
        lines = data[: data.rfind(b"\n") + 1]
        self._offset += len(lines)
        records = []
        for line in lines.splitlines():
            body, _, signature = line.rpartition(b"\t")
            if hmac.compare_digest(signature, _signature(self._key, self._next, body)):
                records.append(json.loads(body))
                self._next += 1
        return records


def _signature(key: bytes, number: int, body: bytes) -> bytes:
    return hmac.new(key, b"%d " % number + body, hashlib.sha256).hexdigest().encode()
