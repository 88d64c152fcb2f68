"""The folder of a ``store`` as it lies on disk: which names are safe, which files make one model.

Only looks; what changes the folder is in ``store`` and ``store_removal``. Every function here blocks and is run in a
thread.
"""

from __future__ import annotations

import json
import os
import re
import stat
from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any

from reconciler.domain.observation import DiskSpace, PartialDownload
from reconciler.domain.units import Bytes
from reconciler.errors import OutsideError, Refused
from reconciler.formats import gguf_names
from reconciler.integrations.runtimes.digest_cache import stamp_of
from reconciler.integrations.runtimes.open_files import open_inodes
from reconciler.integrations.runtimes.partials import PARTIAL_SUFFIX, STATE_SUFFIX, PartialState

OWN_FOLDER = ".localmodels"
"""What we keep inside a store besides models: unfinished downloads, and which files make a model."""
ALIASES = "aliases"
"""Folder of a store whose symbolic links are stable names, and no models."""
DEEPEST = 8
LONGEST_PART_BYTES = 255
LONGEST_NAME_BYTES = 1024
_RESERVED = re.compile(r"(?:con|prn|aux|nul|com[0-9]|lpt[0-9])(?:\..*)?", re.IGNORECASE)
_FORBIDDEN = re.compile(r'[\x00-\x1f\x7f\\:*?"<>|]')
_MOUNT_ROOTS = frozenset({"/", "/mnt", "/media", "/run/media", "/Volumes", "/net"})


def safe_parts(name: str) -> tuple[str, ...]:
    """The folders and file of a canonical name.

    Raises:
        Refused: the name is absolute, climbs, hides, is reserved on some system, or is too long.

    >>> safe_parts("org/repo/model-Q8_0.gguf")
    ('org', 'repo', 'model-Q8_0.gguf')
    """
    parts = tuple(name.split("/"))
    if (
        len(name.encode("utf-8", "replace")) <= LONGEST_NAME_BYTES
        and len(parts) <= DEEPEST
        and all(map(_is_safe, parts))
    ):
        return parts
    raise Refused(
        f"{name[:200]!r} is not a name this store can hold",
        code="bad-name",
        hint="names are org/repo/file.gguf: no '..', no leading '/' or '.', no control or reserved characters",
    )


def _is_safe(part: str) -> bool:
    return bool(
        part
        and not part.startswith(".")
        and not part.endswith((".", " "))
        and not part.startswith(" ")
        and not _FORBIDDEN.search(part)
        and not _RESERVED.fullmatch(part)
        and part.isprintable()
        and len(part.encode("utf-8", "replace")) <= LONGEST_PART_BYTES - len(PARTIAL_SUFFIX)
    )


def place_in(root: Path, name: str) -> Path:
    """The path of a canonical name, surely inside ``root`` even where a folder on the way is a symbolic link.

    Raises:
        Refused: the name is not safe, or leads out of the store.
    """
    path = root.joinpath(*safe_parts(name))
    if not path.parent.resolve().is_relative_to(root.resolve()):
        raise Refused(
            f"{name}: a folder of this name is a link that leads out of the store",
            code="outside-store",
            hint=f"replace the link at {path.parent} by a folder, or remove the file by hand",
            details={"path": str(path)},
        )
    return path


@dataclass(frozen=True, slots=True)
class FoundFile:
    """One ``.gguf`` file as a look tells it."""

    name: str
    """Relative to the store, with ``/``."""
    size: int
    stamp: str
    modified: float
    """Seconds since the epoch."""
    inode: int


def scan(root: Path) -> tuple[dict[str, FoundFile], tuple[str, ...]]:
    """Every GGUF file below ``root`` by name, and notes on what could not be followed. Hidden folders are skipped.

    Raises:
        OSError: a folder cannot be read: half an answer is no answer.
    """
    found: dict[str, FoundFile] = {}
    notes: list[str] = []
    seen: set[tuple[int, int]] = set()

    def walk(folder: Path, prefix: str, depth: int) -> None:
        there = folder.stat()
        if (there.st_dev, there.st_ino) in seen or depth > DEEPEST:
            return
        seen.add((there.st_dev, there.st_ino))
        with os.scandir(folder) as entries:
            for entry in sorted(entries, key=lambda entry: entry.name):
                if entry.name.startswith(".") or (prefix == f"{ALIASES}/" and entry.is_symlink()):
                    continue
                name = prefix + entry.name
                if not name.isprintable():
                    notes.append(f"{name!a}: a name with such characters is passed over")
                    continue
                status = _look(entry)
                if status is None:
                    notes.append(f"{name} is a link that leads nowhere")
                    continue
                if stat.S_ISDIR(status.st_mode):
                    walk(Path(entry.path), f"{name}/", depth + 1)
                elif stat.S_ISREG(status.st_mode) and name.lower().endswith(".gguf"):
                    found[name] = FoundFile(name, status.st_size, stamp_of(status), status.st_mtime, status.st_ino)

    walk(root, "", 1)
    return found, tuple(notes)


def _look(entry: os.DirEntry[str]) -> os.stat_result | None:
    """Of what the entry leads to; None for a broken link, or a file that went away meanwhile."""
    try:
        return entry.stat()
    except FileNotFoundError:
        return None
    except OSError:
        if entry.is_symlink():
            return None
        raise


@dataclass(frozen=True, slots=True)
class Bundle:
    """The files of one model: shards in order, then companions that were installed with it."""

    name: str
    """Of the first file."""
    files: tuple[FoundFile, ...]


def bundles(found: Mapping[str, FoundFile], manifests: Mapping[str, tuple[str, ...]]) -> tuple[list[Bundle], list[str]]:
    """The whole models among the files, by name, and notes on shard sets with holes.

    Args:
        found: as ``scan`` returns it.
        manifests: which files were installed under a name; decides where the names alone cannot tell.
    """
    whole: dict[str, Bundle] = {}
    notes: list[str] = []
    sets: dict[tuple[str, str, int], dict[int, FoundFile]] = {}
    for name, file in found.items():
        read = gguf_names.parse(name)
        if read.role == "model" or name in manifests:
            sets.setdefault((name.rpartition("/")[0], read.stem, read.shards or 0), {})[read.shard or 0] = file
    for (folder, stem, shards), parts in sets.items():
        if set(parts) != (set(range(1, shards + 1)) if shards else {0}):
            place = f"{folder}/{stem}" if folder else stem
            notes.append(f"{place}: {len(parts)} of {shards} shards are there; it is not counted as installed")
            continue
        ordered = tuple(parts[number] for number in sorted(parts))
        names = {file.name for file in ordered}
        extra = tuple(found[m] for m in manifests.get(ordered[0].name, ()) if m in found and m not in names)
        whole[ordered[0].name] = Bundle(ordered[0].name, ordered + extra)
    return [whole[name] for name in sorted(whole)], sorted(notes)


def in_use(root: Path, found: Iterable[FoundFile]) -> set[int]:
    """Inodes of these that another program has open, as far as a look can tell."""
    names = {file.inode: file.name.rpartition("/")[2] for file in found}
    return open_inodes(names, root.stat().st_dev) if names else set()


def shard_siblings(name: str, found: Iterable[str]) -> set[str]:
    """The files of the same shard set as ``name``, itself included, as far as they are there."""
    wanted = gguf_names.parse(name)
    key = (name.rpartition("/")[0], wanted.stem, wanted.shards)
    same = {other for other in found if _set_of(other) == key}
    return same if wanted.shards else same & {name}


def _set_of(name: str) -> tuple[str, str, int | None]:
    read = gguf_names.parse(name)
    return name.rpartition("/")[0], read.stem, read.shards


# ------------------------------------------------------------------- what we note about a model of several files


def manifest_path(root: Path, name: str) -> Path:
    return root / OWN_FOLDER / "models" / f"{sha256(name.encode()).hexdigest()[:32]}.json"


def save_manifest(root: Path, name: str, files: Iterable[str]) -> None:
    """Note which files were installed under ``name``, durably."""
    path = manifest_path(root, name)
    path.parent.mkdir(parents=True, exist_ok=True)
    fresh = path.with_suffix(".new")
    try:
        with fresh.open("w", encoding="utf-8") as file:
            file.write(json.dumps({"name": name, "files": list(files)}))
            file.flush()
            os.fsync(file.fileno())
        fresh.replace(path)
    except OSError:
        with suppress(OSError):
            fresh.unlink()
        raise


def sweep_notes(root: Path) -> int:
    """Throw away notes that a crash left half written; bytes freed. Safe: another run would write its note anew."""
    freed = 0
    for path in _entries(root / OWN_FOLDER / "models", ".new"):
        with suppress(OSError):
            freed += allocated(path)
            path.unlink()
    return freed


def read_manifests(root: Path) -> dict[str, tuple[str, ...]]:
    """Every note, by model name; a damaged one does not exist."""
    notes: dict[str, tuple[str, ...]] = {}
    for path in _entries(root / OWN_FOLDER / "models", ".json"):
        try:
            raw: Any = json.loads(path.read_bytes())
            name, files = str(raw["name"]), tuple(map(str, raw["files"]))
            for file in (name, *files):
                safe_parts(file)
        except (OSError, ValueError, KeyError, TypeError, OutsideError, RecursionError):
            continue
        if path == manifest_path(root, name):
            notes[name] = files
    return notes


# -------------------------------------------------------------------------------------------- unfinished downloads


def partial_folder(root: Path) -> Path:
    return root / OWN_FOLDER / "partial"


@dataclass(frozen=True, slots=True)
class FoundPartial:
    """One unfinished download."""

    paths: tuple[Path, ...]
    model: str | None
    """Whose it is; None where its state is gone, so that nobody can resume it."""
    bytes: Bytes
    """What it takes on disk."""


def partials(root: Path) -> list[FoundPartial]:
    """Every unfinished download of a store, by file name."""
    return partials_in(partial_folder(root))


def partials_in(folder: Path) -> list[FoundPartial]:
    """Every unfinished download of a folder for them, by file name."""
    stems: dict[str, list[Path]] = {}
    for path in (*_entries(folder, PARTIAL_SUFFIX), *_entries(folder, STATE_SUFFIX), *_entries(folder, ".new")):
        stems.setdefault(path.stem, []).append(path)
    found = []
    for stem, paths in sorted(stems.items()):
        has_content = any(path.suffix == PARTIAL_SUFFIX for path in paths)
        state = PartialState.read(folder / f"{stem}{STATE_SUFFIX}") if has_content else None
        size = sum(allocated(path) for path in paths)
        found.append(FoundPartial(tuple(paths), state.name if state else None, Bytes(size)))
    return found


def downloads_by_model(unfinished: Iterable[FoundPartial]) -> tuple[PartialDownload, ...]:
    """Unfinished downloads, those of one model together."""
    sizes: dict[str, int] = {}
    for partial in unfinished:
        if partial.model:
            sizes[partial.model] = sizes.get(partial.model, 0) + partial.bytes
    return tuple(PartialDownload(name=name, bytes=Bytes(size)) for name, size in sorted(sizes.items()))


def allocated(path: Path) -> int:
    """Bytes the file takes on disk: less than its length where it has holes; 0 when it is gone."""
    try:
        return path.stat(follow_symlinks=False).st_blocks * 512
    except FileNotFoundError:
        return 0


def _entries(folder: Path, suffix: str) -> list[Path]:
    try:
        return sorted(path for path in folder.iterdir() if path.suffix == suffix)
    except FileNotFoundError:
        return []


# ------------------------------------------------------------------------------------------------ the disk


def existing_ancestor(root: Path) -> Path:
    """The nearest place upwards that exists; ``root`` itself where it does."""
    path = root
    while not path.exists() and path != path.parent:
        path = path.parent
    return path


def why_not_ours_to_create(root: Path) -> str | None:
    """Why a missing folder may not be taken for an empty store; None where it may."""
    ancestor = existing_ancestor(root)
    broken = next((folder for folder in (root, *root.parents) if folder.is_symlink() and not folder.exists()), None)
    if broken is not None:
        return f"{broken} is a link that leads nowhere: is its disk mounted?"
    if str(ancestor) in _MOUNT_ROOTS and root.parent != ancestor:
        return f"{root} does not exist, and neither does {root.parent}: is its disk mounted?"
    if str(root.parent) in _MOUNT_ROOTS - {"/"}:
        return f"{root} does not exist: is its disk mounted?"
    if not ancestor.is_dir():
        return f"{ancestor} is not a folder, so {root} cannot be made"
    if not os.access(ancestor, os.W_OK | os.X_OK):
        return f"{root} does not exist, and {ancestor} may not be written by this user"
    return None


def disk_space(root: Path) -> DiskSpace:
    """The file system the store writes to, or will write to once the folder is made."""
    place = existing_ancestor(root)
    there = os.statvfs(place)
    return DiskSpace(
        device=str(place.stat().st_dev),
        total_bytes=Bytes(there.f_blocks * there.f_frsize),
        free_bytes=Bytes(there.f_bavail * there.f_frsize),
    )
