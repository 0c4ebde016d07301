"""What this process may use, as opposed to what the machine has: cores and memory under affinity and cgroup limits.

A container on a 64-core host with a quota of 2 still sees 64 cores in os.cpu_count(). A runtime that starts 64
threads there is throttled for most of every period: latency in steps of 100 ms.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

_NO_LIMIT_BYTES = 1 << 60  # cgroup v1 writes a number near 2^63 for "no limit"


def usable_cores(root: Path = Path("/"), affinity: int | None = None) -> int:
    """Cores that this process can keep busy all the time; at least 1.

    The smaller of the affinity mask and the tightest CPU quota from this process's cgroup up to the root, v1 and v2.
    A quota of 1.5 cores counts as 1: the second thread would use up the period's budget early, and then all threads
    stand still until the next.

    Args:
        root: of the file system that holds proc and sys.
        affinity: cores in the mask; the process's own unless given.
    """
    cores = affinity if affinity is not None else _affinity()
    quota = cpu_quota(root)
    return max(1, cores if quota is None else min(cores, int(quota + 1e-9)))


def cpu_quota(root: Path = Path("/")) -> float | None:
    """The tightest CPU quota in cores, e.g. 1.5; None without a limit."""
    quotas = []
    for group in _groups(root, "cpu"):
        try:
            if (limit := group / "cpu.max").exists():
                quota, period = limit.read_text().split()
            else:
                quota = (group / "cpu.cfs_quota_us").read_text().strip()
                period = (group / "cpu.cfs_period_us").read_text().strip()
            if quota != "max" and float(quota) > 0 and float(period) > 0:
                quotas.append(float(quota) / float(period))
        except (OSError, ValueError):  # the root group has no limits; a group may vanish
            continue
    return min(quotas, default=None)


def memory_limit_bytes(root: Path = Path("/")) -> int | None:
    """The tightest memory limit of the cgroups this process is in; None without a limit."""
    limits = []
    for group in _groups(root, "memory"):
        for name in ("memory.max", "memory.limit_in_bytes"):
            try:
                text = (group / name).read_text().strip()
                if text != "max" and int(text) < _NO_LIMIT_BYTES:
                    limits.append(int(text))
            except (OSError, ValueError):
                continue
    return min(limits, default=None)


def _affinity() -> int:
    try:
        return len(os.sched_getaffinity(0))
    except AttributeError:  # macOS has no affinity masks
        return os.cpu_count() or 1


def _groups(root: Path, controller: str) -> Iterator[Path]:
    """Folders of this process's cgroups that may limit `controller`, each followed by its parents up to its mount."""
    own = _own_groups(root)
    for mounted_root, mount, controllers in _mounts(root):
        if controllers is not None and controller not in controllers:
            continue
        path = own.get(controller if controllers is not None else "", "/")
        # In a container the mount may show a subtree (mounted_root) only, and /proc/self/cgroup the host's full path.
        inside = path.removeprefix(mounted_root.rstrip("/")) if path.startswith(mounted_root) else ""
        group = mount / inside.strip("/")
        if not group.is_dir():
            group = mount
        yield group
        while group != mount:
            group = group.parent
            yield group


def _own_groups(root: Path) -> dict[str, str]:
    """Controller -> path of this process's group; "" is the key of v2."""
    own: dict[str, str] = {}
    for line in _lines(root / "proc/self/cgroup"):
        _, _, rest = line.partition(":")
        controllers, _, path = rest.partition(":")
        for controller in controllers.split(","):
            own[controller] = path
    return own


def _mounts(root: Path) -> list[tuple[str, Path, frozenset[str] | None]]:
    """(path inside the hierarchy, where it is mounted, its v1 controllers or None for v2).

    From proc_pid_mountinfo(5); the customary places where that cannot be read.
    """
    mounts: list[tuple[str, Path, frozenset[str] | None]] = []
    for line in _lines(root / "proc/self/mountinfo"):
        left, _, right = line.partition(" - ")
        fields, tail = left.split(), right.split()
        if len(fields) < 5 or len(tail) < 3 or tail[0] not in ("cgroup", "cgroup2"):
            continue
        controllers = frozenset(tail[2].split(",")) if tail[0] == "cgroup" else None
        mounts.append((fields[3], root / fields[4].lstrip("/"), controllers))
    if mounts:
        return mounts
    base = root / "sys/fs/cgroup"
    return [("/", base, None), *(("/", base / name, frozenset([name])) for name in ("cpu", "memory"))]


def _lines(path: Path) -> list[str]:
    try:
        return path.read_text().splitlines()
    except OSError:
        return []
