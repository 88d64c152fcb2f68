"""Where we keep what is ours on this machine, and under which name."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

BENCHMARKS_FILE = "benchmarks.json"
"""In the data directory; see ``reconciler.cli.benchmarks``."""


@dataclass(frozen=True, slots=True)
class Places:
    """Our directories: record and journal in ``state``, what is safe to delete in ``cache``, models in ``data``."""

    state: Path
    cache: Path
    data: Path

    @classmethod
    def of(cls, environment: Mapping[str, str]) -> Places:
        """``LOCALMODELS_STATE_DIR``, ``…_CACHE_DIR``, ``…_DATA_DIR``; else the platform's own (XDG on Linux)."""
        from platformdirs import PlatformDirs

        own = PlatformDirs("localmodels", appauthor=False)
        return cls(
            state=_place(environment, "LOCALMODELS_STATE_DIR", own.user_state_path),
            cache=_place(environment, "LOCALMODELS_CACHE_DIR", own.user_cache_path),
            data=_place(environment, "LOCALMODELS_DATA_DIR", own.user_data_path),
        )


def _place(environment: Mapping[str, str], variable: str, default: Path) -> Path:
    named = environment.get(variable, "").strip()
    return Path(named).expanduser().absolute() if named else default
