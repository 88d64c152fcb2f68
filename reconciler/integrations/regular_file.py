"""Files that strangers may have made, opened without waiting for anybody."""

from __future__ import annotations

import os
import stat
from io import BufferedReader
from pathlib import Path


def open_regular(path: str | Path) -> BufferedReader | None:
    """The file, to read; None: what is there is a pipe, a device or a folder, which is not waited for. Blocks.

    Raises:
        OSError: it cannot be opened. ValueError: nothing can have this path.
    """
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | getattr(os, "O_NONBLOCK", 0))
    if stat.S_ISREG(os.fstat(descriptor).st_mode):
        return os.fdopen(descriptor, "rb")
    os.close(descriptor)
    return None
