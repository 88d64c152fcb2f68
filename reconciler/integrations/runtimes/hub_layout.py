"""A Hub cache directory, looked at: ``models--ORG--NAME/{refs,snapshots,blobs}``. One model may be taken out of it.

llama-server keeps what it downloads there, beside what other programs do. A file of a snapshot is a link to a blob
whose name is the SHA-256 that the Hub stated; nobody has checked that it is the content's.

Source:
    llama.cpp b10434, tried on the real server; huggingface_hub, "Understand caching".
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from reconciler.domain.observation import DiskSpace
from reconciler.domain.units import Bytes
from reconciler.formats.gguf_names import parse
from reconciler.formats.router_names import RouterName, tag_of
from reconciler.integrations.runtimes.digest_cache import stamp_of
from reconciler.integrations.runtimes.store_files import disk_space

PARTIAL_SUFFIX = ".downloadInProgress"
_VARIABLES = (("LLAMA_CACHE", ""), ("HF_HUB_CACHE", ""), ("HUGGINGFACE_HUB_CACHE", ""), ("HF_HOME", "hub"),
              ("XDG_CACHE_HOME", "huggingface/hub"))  # fmt: skip
"""Where llama-server looks for its cache, and the folder below; the first that is set counts."""
_SHA256 = re.compile(r"[0-9a-f]{64}")
_REPOSITORIES_AT_MOST = 5000


@dataclass(frozen=True, slots=True)
class CachedFile:
    """One file of a snapshot."""

    path: str
    """Inside its repository."""
    blob: Path
    """What the link leads to."""
    bytes: Bytes
    stamp: str

    @property
    def stated_sha256(self) -> str | None:
        """What the blob is called: a claim, until the content was read."""
        return self.blob.name if _SHA256.fullmatch(self.blob.name) else None


@dataclass(frozen=True, slots=True)
class CachedModel:
    """What one listed name stands for: the model's files, shard 1 first, and the repository's projector."""

    commit: str
    files: tuple[CachedFile, ...]
    projectors: tuple[CachedFile, ...]
    is_ambiguous: bool
    """Files of more than one build share the tag: removing the name would remove all of them."""

    @property
    def all_files(self) -> tuple[CachedFile, ...]:
        return (*self.files, *self.projectors)

    @property
    def bytes(self) -> Bytes:
        return Bytes(sum(file.bytes for file in self.all_files))

    @property
    def stamp(self) -> str:
        return "+".join(file.stamp for file in self.all_files)


@dataclass(frozen=True, slots=True)
class CacheView:
    """A whole look at one directory."""

    models: Mapping[str, CachedModel]
    """By the name a router lists them under."""
    partial_bytes: Bytes
    disk: DiskSpace
    orphan_bytes: Bytes
    """Of whole blobs that no snapshot leads to, and of projectors without a model: what removals left behind."""


def cache_directories(environ: Mapping[str, str]) -> tuple[Path, ...]:
    """Where a llama-server with these variables keeps its downloads; with none of them, where it does by default.

    A service runs with variables of its own, so the default is looked at too.
    """
    home = Path(environ.get("HOME") or Path.home()) / ".cache/huggingface/hub"
    for variable, below in _VARIABLES:
        if named := environ.get(variable, "").strip():
            return tuple(dict.fromkeys((Path(named).expanduser() / below, home)))
    return (home,)


def look(directory: Path) -> CacheView | None:
    """Everything in a cache directory; None where it cannot be read whole. One that is not there yet is empty.

    Blocks: run it in a thread.
    """
    models: dict[str, CachedModel] = {}
    partial = orphans = 0
    try:
        for folder, repo in _repositories(directory):
            held = _models(folder, repo)
            models.update(held)
            partial += sum(_allocated(path) for path in (folder / "blobs").glob(f"*{PARTIAL_SUFFIX}"))
            orphans += _orphan_bytes(folder) + (0 if held else _lone_projector_bytes(folder))
        return CacheView(models, Bytes(partial), disk_space(directory), Bytes(orphans))
    except (OSError, ValueError, RuntimeError):
        return None


def unlink_model(directory: Path, name: RouterName, model: CachedModel) -> None:
    """Take the model's own files out of every snapshot: the router lists it no more. Blobs stay. Blocks.

    Raises:
        OSError: not permitted, or the disk fails.
    """
    for file in model.files:
        for link in _folder(directory, name.repo).glob("snapshots/*"):
            (link / file.path).unlink(missing_ok=True)


def unlink_blobs(directory: Path, name: RouterName, model: CachedModel) -> None:
    """Remove what the model's files led to, where no file of any snapshot leads there still. Blocks.

    Raises:
        OSError: not permitted, or the disk fails.
    """
    folder = _folder(directory, name.repo)
    needed = {path.resolve() for path in folder.glob("snapshots/**/*") if path.is_file()}
    own = (folder / "blobs").resolve()
    for file in model.files:
        if file.blob not in needed and file.blob.parent == own:
            file.blob.unlink(missing_ok=True)


def blob_bytes(directory: Path, repo: str) -> Mapping[str, int]:
    """Bytes by blob of one repository: what is compared before and after a removal. Blocks."""
    folder = _folder(directory, repo) / "blobs"
    found: dict[str, int] = {}
    try:
        for path in folder.iterdir():
            if not path.name.endswith(PARTIAL_SUFFIX):
                found[path.name] = path.stat().st_size
    except OSError:
        return found
    return found


def _folder(directory: Path, repo: str) -> Path:
    return directory / f"models--{repo.replace('/', '--')}"


def _repositories(directory: Path) -> Iterator[tuple[Path, str]]:
    if not directory.exists():
        return
    for count, folder in enumerate(sorted(directory.glob("models--*"))):
        if count >= _REPOSITORIES_AT_MOST:
            raise ValueError("more repositories than a look reads")
        _, organisation, *name = folder.name.split("--")
        if folder.is_dir() and organisation and name:
            yield folder, f"{organisation}/{'--'.join(name)}"


def _models(folder: Path, repo: str) -> dict[str, CachedModel]:
    """Every tag of one repository, from the snapshot that ``refs/main`` names, else from the next that has it."""
    found: dict[str, CachedModel] = {}
    for snapshot in _snapshots(folder):
        files = sorted(_files(snapshot), key=lambda file: file.path)
        projectors = tuple(file for file in files if parse(file.path).role == "projector")
        by_tag: dict[str, list[CachedFile]] = {}
        for file in files:
            if parse(file.path).role == "model" and (tag := tag_of(file.path)):
                by_tag.setdefault(tag, []).append(file)
        for tag, held in by_tag.items():
            name = str(RouterName(repo, tag))
            if name not in found:
                found[name] = CachedModel(snapshot.name, tuple(held), projectors[:1], _builds(held) > 1)
    return found


def _builds(files: list[CachedFile]) -> int:
    """How many different models the files are; shards of one count once."""
    return len({(file.path.rpartition("/")[0], parse(file.path).stem, parse(file.path).shards) for file in files})


def _snapshots(folder: Path) -> list[Path]:
    root = folder / "snapshots"
    if not root.is_dir():
        return []
    main = folder / "refs" / "main"
    head = main.read_text(encoding="utf-8").strip() if main.is_file() else ""
    return sorted((path for path in root.iterdir() if path.is_dir()), key=lambda path: (path.name != head, path.name))


def _files(snapshot: Path) -> Iterator[CachedFile]:
    """GGUF files of a snapshot. A link that leads nowhere is no file."""
    for path in snapshot.rglob("*"):
        if path.suffix.lower() != ".gguf" or not path.is_file():
            continue
        blob = path.resolve()
        there = blob.stat()
        yield CachedFile(path.relative_to(snapshot).as_posix(), blob, Bytes(there.st_size), stamp_of(there))


def _orphan_bytes(folder: Path) -> int:
    """Of large blobs that nothing leads to. A blob that is just being finished has no link yet, and a partial name."""
    needed = {path.resolve().name for path in folder.glob("snapshots/**/*") if path.is_symlink()}
    return sum(
        path.stat().st_size
        for path in (folder / "blobs").glob("*")
        if _SHA256.fullmatch(path.name) and path.name not in needed and path.is_file()
    )


def _lone_projector_bytes(folder: Path) -> int:
    """Of the projectors of a repository that has no model here any more."""
    blobs = {file.blob: file.bytes for snapshot in _snapshots(folder) for file in _files(snapshot)
             if parse(file.path).role == "projector"}  # fmt: skip
    return sum(blobs.values())


def _allocated(path: Path) -> int:
    there = path.stat()
    return min(there.st_size, there.st_blocks * 512)
