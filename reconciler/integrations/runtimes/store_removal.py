"""Taking things out of a store: a model with what only it needs, and downloads that nobody will resume.

Every function here blocks and is run in a thread.
"""

from __future__ import annotations

import stat
from pathlib import Path

from reconciler.domain.units import Bytes
from reconciler.errors import Refused
from reconciler.formats import gguf_names
from reconciler.integrations.runtimes import store_files as files
from reconciler.integrations.runtimes import store_names
from reconciler.integrations.runtimes.partials import disk_errors, fsync_folder, is_being_fetched


def remove(root: Path, name: str) -> Bytes:
    """Unlink the model's files, its note, and the folders that are empty then; bytes freed.

    Raises:
        Refused: another program has one of them open; or one lies behind a link that leads out of the store.
    """
    with disk_errors(root):
        if not root.exists():
            return Bytes(0)
        found, _ = files.scan(root)
        manifests = files.read_manifests(root)
    doomed = _files_of(name, found, manifests)
    for file in doomed:
        if not (root / file.name).parent.resolve().is_relative_to(root.resolve()):
            raise Refused(
                f"{file.name} lies behind a link that leads out of the store",
                code="outside-store",
                hint=f"remove it by hand: {root / file.name}",
            )
    if opened := files.in_use(root, doomed):
        names = ", ".join(file.name for file in doomed if file.inode in opened)
        raise Refused(f"{names} is open in another program", code="in-use", hint="stop that program, then retry")
    with disk_errors(root):
        freed = sum(_unlinked(root / file.name) for file in doomed)
        files.manifest_path(root, name).unlink(missing_ok=True)
        for file in doomed:
            _remove_empty(root, (root / file.name).parent)
    return Bytes(freed)


def clean_partials(root: Path, names: frozenset[str]) -> Bytes:
    """Throw away what nobody in ``names`` will resume, or nobody can, and nobody is fetching now; bytes freed."""
    freed = files.sweep_notes(root)
    with disk_errors(root):
        store_names.sweep(root)
    with disk_errors(files.partial_folder(root)):
        for partial in files.partials(root):
            if (partial.model is None or partial.model not in names) and not is_being_fetched(partial.paths):
                freed += partial.bytes
                for path in partial.paths:
                    path.unlink(missing_ok=True)
    return Bytes(freed)


def _files_of(
    name: str, found: dict[str, files.FoundFile], manifests: dict[str, tuple[str, ...]]
) -> list[files.FoundFile]:
    """The files that go with a model: its shards, and companions that nothing else needs."""
    shards = files.shard_siblings(name, found)
    others = {other: names for other, names in manifests.items() if other != name and other in found}
    needed = {file for names in others.values() for file in names}
    strangers = {
        other.rpartition("/")[0]
        for other in found
        if other not in shards and other not in needed and gguf_names.parse(other).role == "model"
    }
    companions = {
        file
        for file in manifests.get(name, ())
        if file in found and file not in needed and name.rpartition("/")[0] not in strangers
    }
    return [found[file] for file in sorted(shards | companions)]


def _unlinked(path: Path) -> int:
    """Bytes freed by unlinking; of a symbolic link only the link goes, and a second hard link keeps the content."""
    try:
        status = path.lstat()
        path.unlink()
    except FileNotFoundError:
        return 0
    return status.st_size if stat.S_ISREG(status.st_mode) and status.st_nlink == 1 else 0


def _remove_empty(root: Path, folder: Path) -> None:
    """Remove ``folder`` and its parents below ``root`` as far as they are empty."""
    while folder != root and folder.is_relative_to(root):
        try:
            folder.rmdir()
        except OSError:
            return
        folder = folder.parent
    if root.exists():
        fsync_folder(root)
