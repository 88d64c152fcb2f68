"""What a container may use of the machine: memory and processors, cgroup versions 1 and 2."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass

from reconciler.integrations.hardware.edges import FileTree, read_or_none

ROOT = "/sys/fs/cgroup"
_NO_LIMIT = 2**60
"""Version 1 writes "no limit" as the largest page-aligned number."""


@dataclass(frozen=True, slots=True)
class Limits:
    """None: not limited."""

    memory_bytes: int | None = None
    memory_used_bytes: int | None = None
    """Of the group that sets the limit; file cache that can be dropped is not counted."""
    cpus: float | None = None


def cgroup_limits(files: FileTree) -> Limits:
    """The tightest limits of this process's groups and their ancestors.

    Inside a container the group's path may be that of the host and not exist; the root is then the container's own.

    Source:
        Linux Documentation/admin-guide/cgroup-v2.rst, cgroup-v1/memory.rst and scheduler/sched-bwc.rst.
    """
    groups = _groups(read_or_none(files, "/proc/self/cgroup") or "")
    memory = [
        *(_v2_memory(files, folder) for folder in _folders(ROOT, groups.get("", "/"))),
        *(_v1_memory(files, folder) for folder in _folders(f"{ROOT}/memory", groups.get("memory", "/"))),
    ]
    cpus = [
        *(_v2_cpus(files, folder) for folder in _folders(ROOT, groups.get("", "/"))),
        *(_v1_cpus(files, folder) for name in ("cpu", "cpu,cpuacct") for folder in _v1_cpu_folders(groups, name)),
    ]
    limit, used = min((pair for pair in memory if pair), default=(None, None), key=lambda pair: pair[0])
    return Limits(limit, used, min((count for count in cpus if count), default=None))


def _groups(text: str) -> dict[str, str]:
    """Paths by controller; the empty controller is version 2's."""
    found = {}
    for line in text.splitlines():
        parts = line.split(":", 2)
        if len(parts) == 3:
            found.update(dict.fromkeys(parts[1].split(","), parts[2]))
    return found


def _folders(root: str, path: str) -> list[str]:
    """The group's folder and every one above it, down to the root."""
    steps = [step for step in path.split("/")[:32] if step not in {"", ".", ".."}]
    return [root + "".join(f"/{step}" for step in steps[:count]) for count in range(len(steps), -1, -1)]


def _v1_cpu_folders(groups: dict[str, str], name: str) -> list[str]:
    return _folders(f"{ROOT}/{name}", groups.get("cpu", "/"))


def _v2_memory(files: FileTree, folder: str) -> tuple[int, int | None] | None:
    limits = [_limit(files, f"{folder}/{name}") for name in ("memory.max", "memory.high")]
    known = [limit for limit in limits if limit]
    return (min(known), _used(files, folder, "memory.current")) if known else None


def _v1_memory(files: FileTree, folder: str) -> tuple[int, int | None] | None:
    limit = _limit(files, f"{folder}/memory.limit_in_bytes")
    return (limit, _used(files, folder, "memory.usage_in_bytes")) if limit else None


def _used(files: FileTree, folder: str, name: str) -> int | None:
    current = _number(read_or_none(files, f"{folder}/{name}"))
    stat = read_or_none(files, f"{folder}/memory.stat") or ""
    cached = re.search(r"(?m)^(?:total_)?inactive_file ([0-9]{1,18})$", stat)
    return None if current is None else max(0, current - int(cached[1] if cached else 0))


def _limit(files: FileTree, path: str) -> int | None:
    value = _number(read_or_none(files, path))
    return value if value and value < _NO_LIMIT else None


def _v2_cpus(files: FileTree, folder: str) -> float | None:
    quota, _, period = (read_or_none(files, f"{folder}/cpu.max") or "").partition(" ")
    return _share(_number(quota), _number(period))


def _v1_cpus(files: FileTree, folder: str) -> float | None:
    names = ("cpu.cfs_quota_us", "cpu.cfs_period_us")
    return _share(*(_number(read_or_none(files, f"{folder}/{name}")) for name in names))


def _share(quota: int | None, period: int | None) -> float | None:
    return quota / period if quota and period else None


def _number(text: str | None) -> int | None:
    text = (text or "").strip()
    return int(text) if re.fullmatch(r"[0-9]{1,20}", text) else None


def usable_cpus(count: int, limits: Limits) -> int:
    """Processors that can run at once; part of one counts as one.

    >>> usable_cpus(16, Limits(cpus=1.5))
    2
    """
    return max(1, min(count, math.ceil(limits.cpus) if limits.cpus else count))
