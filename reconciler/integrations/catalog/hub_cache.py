"""Answers of the Hub on disk, with their age: fresh for a day, usable for ever when nothing newer can be had."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from reconciler.formats.foreign_json import read_json
from reconciler.integrations.replace_file import replace_file
from reconciler.ports import Clock

VERSION = 1
DAY_SECONDS = 86_400.0
_TOLERANCE_SECONDS = 60.0
"""By which two clocks, or one that is corrected, may differ."""
_MOST_ENTRIES = 4096
_LARGEST_FILE_BYTES = 64 * 2**20


@dataclass(frozen=True, slots=True)
class Entry:
    """One remembered answer."""

    value: Any
    stored_at: datetime
    """UTC."""
    age_seconds: float
    is_fresh: bool
    """Younger than the time to live; exactly as old is stale. An entry from the future is stale too."""
    is_ahead: bool = False
    """Dated later than now: the clock was set back since, and its age is not known."""


class HubCache:
    """One JSON file: ``{"version": 1, "entries": {key: {"storedAt": epoch ms, "value": …}}}``. Safe to delete.

    Nothing here raises for what is on the disk: a file that cannot be used reads as empty and leaves one warning.

    Args:
        path: the file; its folder is made when something is kept.
        clock: what age is counted from.
        ttl_seconds: how long an entry counts as fresh.
    """

    def __init__(self, path: Path, *, clock: Clock, ttl_seconds: float = DAY_SECONDS) -> None:
        self._path = path
        self._clock = clock
        self._ttl_seconds = ttl_seconds
        self._entries: dict[str, dict[str, Any]] = {}
        self._is_loaded = False
        self.warnings: tuple[str, ...] = ()

    def load(self) -> None:
        """Read the file, once ever. A missing one is empty, silently."""
        if self._is_loaded:
            return
        self._is_loaded = True
        try:
            with self._path.open("rb") as file:
                raw = file.read(_LARGEST_FILE_BYTES + 1)
        except FileNotFoundError:
            return
        except OSError as error:
            self._warn(f"cache read failed: {error.strerror or error}")
            return
        self._take(raw)

    def get(self, key: str) -> Entry | None:
        """What is remembered under ``key``, however old; None where nothing is."""
        self.load()
        row = self._entries.get(key)
        if row is None:
            return None
        stored = datetime.fromtimestamp(row["storedAt"] / 1000, UTC)
        age = (self._clock.now() - stored).total_seconds()
        return Entry(
            row["value"],
            stored,
            max(0.0, age),
            is_fresh=-_TOLERANCE_SECONDS <= age < self._ttl_seconds,
            is_ahead=age < -_TOLERANCE_SECONDS,
        )

    def set(self, key: str, value: Any) -> None:
        """Remember a JSON value now, in memory; ``persist`` writes it."""
        self.load()
        self._entries[key] = {"storedAt": round(self._clock.now().timestamp() * 1000), "value": value}

    def clear(self) -> None:
        self._is_loaded = True
        self._entries.clear()

    def snapshot(self) -> Mapping[str, Mapping[str, Any]]:
        """A shallow copy of every entry, as it would be written."""
        self.load()
        return dict(self._entries)

    def persist(self) -> None:
        """Write the file: folder, temporary file beside it, rename. A disk that refuses costs a warning only."""
        self.load()
        newest = sorted(self._entries.items(), key=lambda item: (-item[1]["storedAt"], item[0]))[:_MOST_ENTRIES]
        self._entries = dict(sorted(newest))
        text = json.dumps({"version": VERSION, "entries": self._entries}, ensure_ascii=False, indent=1)
        try:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            replace_file(self._path, text.encode(), temporary=f"{self._path.name}.tmp-")
        except OSError as error:
            self._warn(f"cache write failed: {error.strerror or error}")

    def _take(self, raw: bytes) -> None:
        try:
            envelope = read_json(raw) if len(raw) <= _LARGEST_FILE_BYTES else None
        except (ValueError, RecursionError):
            self._warn("the file is not valid JSON")
            return
        version = envelope.get("version") if isinstance(envelope, dict) else None
        entries = envelope.get("entries") if isinstance(envelope, dict) else None
        if type(version) is not int or version != VERSION or not isinstance(entries, dict):
            self._warn("schema version mismatch")
        elif not all(map(_is_entry, entries.values())):
            self._warn("an entry has no usable date")
        else:
            self._entries = entries

    def _warn(self, what: str) -> None:
        self.warnings = (*self.warnings, f"Hub cache {self._path}: {what}; it counts as empty")


_LATEST_MS = 221_845_392_000_000
"""The first instant of the year 9000: what lies beyond is no date."""


def _is_entry(row: object) -> bool:
    if not isinstance(row, dict) or "value" not in row:
        return False
    stored = row.get("storedAt")
    return isinstance(stored, int | float) and not isinstance(stored, bool) and 0 <= stored <= _LATEST_MS
