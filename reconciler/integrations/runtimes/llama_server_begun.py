"""Which downloads of a router we began: its unfinished files carry a digest and no name, and may be anybody's.

Safe to delete and safe to damage: what is not known here is not ours, and stays.
"""

from __future__ import annotations

import json
import time
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from reconciler.domain.artifact import HubArtifact
from reconciler.errors import Refused
from reconciler.integrations.replace_file import replace_file
from reconciler.integrations.runtimes.hub_layout import partials

FILE_NAME = "llama-server-downloads.json"
_MOST_ENTRIES = 1000
_QUIET_SECONDS = 30.0
"""A file that was written to more recently may be another program's download, which no list shows."""


class Begun:
    """Names by the SHA-256 of the files that were asked for.

    Args:
        directory: of our own cache; None: nothing is remembered, and nothing known.
    """

    def __init__(self, directory: Path | None) -> None:
        self._path = None if directory is None else directory / FILE_NAME

    def note(self, name: str, artifact: HubArtifact) -> None:
        """Remember; a file that cannot be written is no failure. Blocks."""
        if self._path is None:
            return
        entries = {**self._load(), **{file.sha256: name for file in artifact.files}}
        with suppress(OSError):
            self._path.parent.mkdir(parents=True, exist_ok=True)
            text = json.dumps(dict(list(entries.items())[-_MOST_ENTRIES:]))
            replace_file(self._path, text.encode(), temporary=f".{FILE_NAME}.")

    def left(self, directory: Path | None) -> Mapping[Path, str]:
        """Our unfinished files in a router's cache that nobody is writing to, with their model's name. Blocks."""
        if directory is None:
            return {}
        names, now = self._load(), time.time()
        with suppress(OSError, ValueError):
            return {
                path: names[sha256]
                for sha256, path in partials(directory)
                if sha256 in names and now - path.stat().st_mtime > _QUIET_SECONDS
            }
        return {}

    def _load(self) -> dict[str, str]:
        if self._path is None:
            return {}
        try:
            raw: Any = json.loads(self._path.read_bytes())
            return {str(sha256): str(name) for sha256, name in raw.items()}
        except (OSError, ValueError, AttributeError, RecursionError):
            return {}


def remove_files(paths: list[Path]) -> int:
    """Bytes given back. Blocks.

    Raises:
        Refused: they are not ours to remove.
    """
    freed = 0
    for path in paths:
        try:
            there = path.stat()
            path.unlink()
            freed += min(there.st_size, there.st_blocks * 512)
        except FileNotFoundError:
            continue
        except OSError as error:
            raise Refused(
                f"{path} cannot be removed: {error.strerror or type(error).__name__}", code="not-writable"
            ) from error
    return freed
