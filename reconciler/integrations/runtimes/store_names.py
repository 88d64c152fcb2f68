"""Stable names of a ``store``: symbolic links in ``<store>/aliases``, each replaced in one step.

A model of one file is ``aliases/NAME.gguf``. One of several files (shards, a projector) is ``aliases/NAME``, a link to
a folder of links to exactly its files, so that ``llama-server --models-dir <store>/aliases`` finds every name.
Every function here blocks and is run in a thread.
"""

from __future__ import annotations

import os
import posixpath
from collections.abc import Iterable, Sequence
from contextlib import suppress
from hashlib import sha256
from pathlib import Path

from reconciler.domain.observation import Alias
from reconciler.errors import Refused
from reconciler.integrations.runtimes.partials import disk_errors, fsync_folder
from reconciler.integrations.runtimes.store_files import ALIASES as FOLDER
from reconciler.integrations.runtimes.store_files import OWN_FOLDER, Bundle, safe_parts

SETS = f"{OWN_FOLDER}/sets"
"""Below the store: for each named model of several files a folder of links to them."""
_FILE_SUFFIX = ".gguf"
_FRESH = ".new"


def aliases(root: Path, bundles: Sequence[Bundle]) -> tuple[Alias, ...]:
    """Every stable name with the model it stands for; one that leads nowhere, or out of the store, stands for none.

    What is no link, or leads out of the store, is somebody's and takes the name; where both forms are there, for both.

    Raises:
        OSError: the folder cannot be read.
    """
    sets = {_set_of(bundle.name): bundle.name for bundle in bundles}
    names = {bundle.name for bundle in bundles}
    found: dict[str, set[str | None]] = {}
    for entry in _links(root):
        place = _leads_to(root, entry)
        whole = sets.get(place) if place is not None else None
        model = place if place in names and entry.name.endswith(_FILE_SUFFIX) else whole
        found.setdefault(entry.name.removesuffix(_FILE_SUFFIX), set()).add(model)
    taken = _taken(root)
    names_found = sorted(found.keys() | taken.keys())
    return tuple(
        Alias(name=name, foreign=True, taken_by=taken[name])
        if name in taken
        else Alias(name=name, model=_agreed(found[name]))
        for name in names_found
    )


def put(root: Path, alias: str, bundle: Bundle) -> Alias:
    """Make or move a name; the link under it is one or the other at every instant.

    Raises:
        Refused: ``bad-name``, ``outside-store``, or ``unmanaged-conflict`` where it is taken by what is no such link.
    """
    folder, name = _folder(root), _safe(alias)
    with disk_errors(folder):
        for entry in _entries_of(folder, name):
            _refuse_what_is_no_link(root, entry)
        folder.mkdir(exist_ok=True)
        if len(bundle.files) == 1:
            _replace(folder / f"{name}{_FILE_SUFFIX}", posixpath.join("..", bundle.name))
            _unlink(folder / name)
        else:
            _replace(folder / name, posixpath.join("..", _made_set(root, bundle)))
            _unlink(folder / f"{name}{_FILE_SUFFIX}")
        fsync_folder(folder)
        _sweep_sets(root)
    return Alias(name=name, model=bundle.name)


def drop(root: Path, alias: str) -> None:
    """Remove a name; nothing where it is gone.

    Raises:
        Refused: as ``put`` does.
    """
    folder, name = _folder(root), _safe(alias)
    with disk_errors(folder):
        if not folder.exists():
            return
        for entry in _entries_of(folder, name):
            _refuse_what_is_no_link(root, entry)
        for entry in _entries_of(folder, name):
            _unlink(entry)
        fsync_folder(folder)
        _sweep_sets(root)
        with suppress(OSError):
            folder.rmdir()


def sweep(root: Path) -> None:
    """Throw away links that a crash left half made, and folders of links that no name leads to."""
    folder = root / FOLDER
    if folder.is_symlink() or not folder.is_dir():
        return
    for entry in list(folder.iterdir()):
        if entry.name.startswith(".") and entry.name.endswith(_FRESH) and entry.is_symlink():
            _unlink(entry)
    _sweep_sets(root)


# ------------------------------------------------------------------------------------------------ links


def _safe(alias: str) -> str:
    if "/" in alias:
        raise Refused(f"{alias!r} is not a name: it has a '/'", code="bad-name")
    return safe_parts(alias)[0]


def _folder(root: Path) -> Path:
    folder = root / FOLDER
    if folder.is_symlink() or (folder.exists() and not folder.is_dir()):
        raise Refused(
            f"{folder} is no folder of the store",
            code="outside-store",
            hint="move it away: stable names are kept in a folder there",
        )
    return folder


def _entries_of(folder: Path, name: str) -> list[Path]:
    """Both forms of a name, where they stand."""
    return [path for path in (folder / name, folder / f"{name}{_FILE_SUFFIX}") if os.path.lexists(path)]


def _links(root: Path) -> list[Path]:
    folder = root / FOLDER
    if folder.is_symlink() or not folder.is_dir():
        return []
    return [entry for entry in folder.iterdir() if entry.is_symlink() and not entry.name.startswith(".")]


def _taken(root: Path) -> dict[str, str]:
    """Names that something of a person's stands under, and what that is, in words; hidden entries are nobody's name."""
    folder = root / FOLDER
    if folder.is_symlink() or not folder.is_dir():
        return {}
    entries = sorted(entry for entry in folder.iterdir() if not entry.name.startswith("."))
    taken = [entry for entry in entries if not entry.is_symlink() or _leads_to(root, entry) is None]
    return {entry.name.removesuffix(_FILE_SUFFIX): f"{_kind(entry)} {FOLDER}/{entry.name}" for entry in taken}


def _kind(entry: Path) -> str:
    if entry.is_symlink():
        return "a link out of the store,"
    return "the folder" if entry.is_dir() else "the file"


def _leads_to(root: Path, entry: Path) -> str | None:
    """Where a link leads, relative to the store, by its own words; None: out of the store, or nowhere.

    A folder on the way that is a link itself was put there by a person, as everywhere in a store.
    """
    try:
        target = entry.readlink().as_posix()
    except OSError:
        return None
    place = posixpath.normpath(posixpath.join(root.as_posix(), FOLDER, target))
    inside = f"{root.as_posix().rstrip('/')}/"
    return place.removeprefix(inside) if place.startswith(inside) else None


def _refuse_what_is_no_link(root: Path, path: Path) -> None:
    """A file, a folder, or a link out of the store is somebody's, whoever that is."""
    if path.is_symlink() and _leads_to(root, path) is not None:
        return
    found = "a link that leads out of the store" if path.is_symlink() else "no link"
    raise Refused(
        f"{path} is {found}, so it is not ours to replace",
        code="unmanaged-conflict",
        hint="move it away, or give the slot another alias",
        details={"path": str(path)},
    )


def _agreed(models: set[str | None]) -> str | None:
    """A crash may leave a name in both forms: where they do not agree, it cannot be told what it stands for."""
    return next(iter(models)) if len(models) == 1 else None


def _replace(link: Path, target: str) -> None:
    fresh = link.with_name(f".{link.name}{_FRESH}")
    _unlink(fresh)
    fresh.symlink_to(target)
    fresh.replace(link)


def _unlink(path: Path) -> None:
    """Remove a link, never what it leads to."""
    if path.is_symlink():
        path.unlink(missing_ok=True)


# ------------------------------------------------------------------------------------------------ several files


def _set_of(model: str) -> str:
    return f"{SETS}/{sha256(model.encode()).hexdigest()[:32]}"


def _made_set(root: Path, bundle: Bundle) -> str:
    """The folder of links to exactly the files of a model, relative to the store."""
    place = _set_of(bundle.name)
    folder = root / place
    folder.mkdir(parents=True, exist_ok=True)
    wanted = {file.name.rpartition("/")[2]: posixpath.join("../../..", file.name) for file in bundle.files}
    for entry in list(folder.iterdir()):
        if entry.name not in wanted:
            _unlink(entry)
    for name, target in wanted.items():
        if not _is_link_to(folder / name, target):
            _replace(folder / name, target)
    fsync_folder(folder)
    return place


def _is_link_to(path: Path, target: str) -> bool:
    try:
        return path.readlink().as_posix() == target
    except OSError:
        return False


def _sweep_sets(root: Path) -> None:
    """Folders of links that no name leads to any more."""
    sets = root / SETS
    if not sets.is_dir():
        return
    kept = {_leads_to(root, entry) for entry in _links(root)}
    for folder in _folders(sets.iterdir()):
        if f"{SETS}/{folder.name}" not in kept:
            for entry in list(folder.iterdir()):
                _unlink(entry)
            with suppress(OSError):
                folder.rmdir()


def _folders(paths: Iterable[Path]) -> list[Path]:
    return [path for path in paths if path.is_dir() and not path.is_symlink()]
