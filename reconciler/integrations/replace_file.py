"""A file's content replaced in one step: for record, measurements, the cache of the Hub and the user's own file."""

from __future__ import annotations

import os
from pathlib import Path
from tempfile import mkstemp


def replace_file(path: Path, content: bytes, *, temporary: str, mode: int = 0o600) -> None:
    """Write a temporary file beside ``path``, flush it and rename it over: all of it or nothing, whoever else writes.

    Where ``path`` is a link, the link is replaced: resolve it first to keep it. The rename outlives a power cut only
    once its folder is flushed too; that is for the caller to do where it matters.

    Args:
        path: what is replaced, or begun.
        content: the whole of it.
        temporary: how the temporary file's name begins, so that one left behind by a crash is known.
        mode: permissions of the new file; the owner's alone unless said otherwise.

    Raises:
        OSError: it cannot be written; ``path`` is as it was, and no temporary file is left.
    """
    handle, name = mkstemp(dir=path.parent, prefix=temporary)
    written = Path(name)
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        if mode != 0o600:
            written.chmod(mode)
        written.replace(path)
    except BaseException:
        written.unlink(missing_ok=True)
        raise
