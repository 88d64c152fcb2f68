"""Which files another process has open or mapped: a model in use must not be removed.

Best effort, Linux only: ``/proc`` shows a process to its own user and to root; what cannot be read counts as not open.
Elsewhere nothing counts as open (unlinking an open file does no harm there either: its content lives until closed).
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path


def open_inodes(files: Mapping[int, str], device: int, proc: Path = Path("/proc")) -> set[int]:
    """The inodes among ``files`` that another process has open or mapped.

    Args:
        files: file name (without folders) by inode: the name is compared first, because reading a link is cheap.
        device: of the file system they are on.
        proc: where the kernel lists processes.
    """
    if not files or not proc.is_dir():
        return set()
    names = {os.fsencode(name) for name in files.values()}
    own = str(os.getpid())
    found: set[int] = set()
    for process in _listed(proc):
        if process.isdigit() and process != own:
            found.update(_mapped(proc / process, names))
            found.update(_opened(proc / process, names, device))
    return found & files.keys()


def _listed(folder: Path) -> Iterable[str]:
    try:
        with os.scandir(folder) as entries:
            return [entry.name for entry in entries]
    except OSError:
        return ()


def _mapped(process: Path, names: set[bytes]) -> Iterator[int]:
    """Source: proc(5), ``/proc/pid/maps``: address, permissions, offset, device, inode, path."""
    try:
        lines = (process / "maps").read_bytes().split(b"\n")
    except OSError:
        return
    for line in lines:
        if line.rpartition(b"/")[2] in names:
            yield int(line.split(None, 5)[4])


def _opened(process: Path, names: set[bytes], device: int) -> Iterator[int]:
    for descriptor in _listed(process / "fd"):
        link = process / "fd" / descriptor
        try:
            if os.fsencode(link.readlink().name) in names:
                status = link.stat()
                if status.st_dev == device:
                    yield status.st_ino
        except OSError:
            continue
