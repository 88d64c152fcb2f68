"""Keeps the last reading on disk, so that ``plan`` starts no program.

A cache is never worth an error: what cannot be read, is of another machine or another day is as good as absent, and
what cannot be written is not written.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import tempfile
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from reconciler.domain.hardware import HardwareReading
from reconciler.integrations.hardware.edges import FileTree, OperatingSystem, read_or_none
from reconciler.integrations.hardware.graphics import DRM
from reconciler.integrations.hardware.limits import cgroup_limits

FORMAT_VERSION = 1
_VARIABLES = (
    "CUDA_VISIBLE_DEVICES",
    "CUDA_DEVICE_ORDER",
    "ROCR_VISIBLE_DEVICES",
    "HIP_VISIBLE_DEVICES",
    "ZE_AFFINITY_MASK",
)


def machine_key(system: OperatingSystem, files: FileTree, environment: Mapping[str, str]) -> str:
    """A digest of what makes a reading another one: machine, boot, cards, limits, visible devices.

    Cheap to compute: a cache directory may be shared by machines, or by a host and its containers.
    """
    limits = cgroup_limits(files)
    facts: list[Any] = [
        system.system,
        system.arch,
        system.node,
        read_or_none(files, "/proc/sys/kernel/random/boot_id"),
        files.names(DRM),
        limits.memory_bytes,
        limits.cpus,
        [environment.get(name) for name in _VARIABLES],
    ]
    return hashlib.sha256(json.dumps(facts).encode()).hexdigest()


class ReadingCache:
    """One reading, in memory and, where a path is given, in a file."""

    def __init__(self, path: Path | None) -> None:
        self._path = path
        self._kept: tuple[str, datetime, HardwareReading] | None = None

    def get(self, key: str, now: datetime) -> HardwareReading | None:
        """The reading of this machine, while it has not expired; one from the future was written by a wrong clock."""
        kept = self._kept or self._load()
        if kept is None or kept[0] != key or kept[1] <= now:
            return None
        if kept[2].hardware.detected_at > now + timedelta(minutes=5):
            return None
        self._kept = kept
        return kept[2]

    def put(self, key: str, expires_at: datetime, reading: HardwareReading) -> None:
        self._kept = (key, expires_at, reading)
        if self._path is None:
            return
        document = {
            "formatVersion": FORMAT_VERSION,
            "key": key,
            "expiresAt": expires_at.isoformat(),
            "reading": reading.model_dump(mode="json"),
        }
        with contextlib.suppress(OSError):
            _write(self._path, json.dumps(document))

    def forget(self) -> None:
        self._kept = None
        if self._path is not None:
            with contextlib.suppress(OSError):
                self._path.unlink(missing_ok=True)

    def _load(self) -> tuple[str, datetime, HardwareReading] | None:
        if self._path is None:
            return None
        try:
            document = json.loads(self._path.read_text(encoding="utf-8"))
            if document["formatVersion"] != FORMAT_VERSION:
                return None
            expires_at = datetime.fromisoformat(document["expiresAt"])
            reading = HardwareReading.model_validate(document["reading"])
            return str(document["key"]), expires_at.astimezone(UTC), reading
        except (OSError, ValueError, TypeError, KeyError, ValidationError, RecursionError, OverflowError):
            return None


def _write(path: Path, text: str) -> None:
    """By rename: a reader sees the old file or the new one."""
    path.parent.mkdir(parents=True, exist_ok=True)
    descriptor, name = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
    try:
        with os.fdopen(descriptor, "w", encoding="utf-8") as file:
            file.write(text)
        Path(name).replace(path)
    except OSError:
        with contextlib.suppress(OSError):
            Path(name).unlink()
        raise
