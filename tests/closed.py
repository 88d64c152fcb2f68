"""Folders that may not be read: for us, and for root too, whom nothing is closed to."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

NOBODY = 65534


@contextmanager
def open_folder() -> Iterator[Path]:
    """A folder that another user may walk into, other than those of pytest."""
    with tempfile.TemporaryDirectory() as folder:
        Path(folder).chmod(0o755)
        yield Path(folder)


@contextmanager
def closed(folder: Path, mode: int = 0) -> Iterator[None]:
    """For as long as this runs; root is nobody meanwhile, so what is to be written must be open to all."""
    was, is_root = folder.stat().st_mode, os.geteuid() == 0
    folder.chmod(mode)
    try:
        if is_root:
            os.seteuid(NOBODY)
        yield
    finally:
        if is_root:
            os.seteuid(0)
        folder.chmod(was)
