"""A Hub cache directory, looked at: ``models--ORG--NAME/{refs,snapshots,blobs}``. One model may be taken out of it.

llama-server keeps what it downloads there, beside what other programs do. A file of a snapshot is a link to a blob
whose name is the SHA-256 that the Hub stated; nobody has checked that it is the content's.

Source:
    llama.cpp b10434, tried on the real server; huggingface_hub, "Understand caching".
"""

from __future__ import annotations

import os
import re
from collections.abc import Collection, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from reconciler.domain.observation import DiskSpace
from reconciler.domain.units import Bytes
from reconciler.formats.gguf_names import parse
from reconciler.formats.router_names import RouterName, tag_of
from reconciler.integrations.replace_file import replace_file
from reconciler.integrations.runtimes.digest_cache import stamp_of
from reconciler.integrations.runtimes.store_files import disk_space

PARTIAL_SUFFIX = ".downloadInProgress"
ASIDE_SUFFIX = ".localmodels-old"
"""Behind the name of a link whose model is being replaced: no program takes it for a GGUF file."""
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

    def states_any_of(self, digests: Collection[str]) -> bool:
        """Whether a file of the model's own is called by one of these digests, whatever is in it."""
        return any(file.stated_sha256 in digests for file in self.files)


@dataclass(frozen=True, slots=True)
class CacheView:
    """A whole look at one directory."""

    models: Mapping[str, CachedModel]
    """By the name a router lists them under."""
    partial_bytes: Bytes
    """Of unfinished downloads, and of old content set aside while an update runs."""
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
            _refuse_unreadable(folder)
            held = _models(folder, repo)
            models.update(held)
            partial += sum(_allocated(path) for path in (folder / "blobs").glob(f"*{PARTIAL_SUFFIX}"))
            partial += _aside_bytes(folder)
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


@dataclass(frozen=True, slots=True)
class Aside:
    """A model that is out of the router's sight, its bytes untouched, while another takes its place."""

    name: RouterName
    commit: str
    files: tuple[str, ...]
    """Paths inside the repository, as they were."""


def set_aside(directory: Path, name: RouterName, model: CachedModel) -> Aside | None:
    """Rename the model's links so that no router lists them; None where it cannot be brought back by that. Blocks.

    A router lists what the head's snapshot holds, so only what is there can come back as it was.

    Raises:
        OSError: not permitted; then nothing has changed.
    """
    folder = _folder(directory, name.repo)
    if _head(folder) != model.commit:
        return None
    aside = Aside(name, model.commit, tuple(file.path for file in model.files))
    try:
        for link in _links(directory, aside):
            link.rename(_hidden(link))
    except OSError:
        with suppress(OSError):
            bring_back(directory, aside)
        raise
    return aside


def bring_back(directory: Path, aside: Aside) -> None:
    """Have the model listed as it was, its commit being the head again. Blocks.

    Raises:
        OSError: not permitted, or the disk fails.
    """
    for link in _links(directory, aside):
        if _hidden(link).is_symlink() and not link.is_symlink():
            _hidden(link).rename(link)
    head = _folder(directory, aside.name.repo) / "refs" / "main"
    if _head(head.parent.parent) != aside.commit:
        replace_file(head, aside.commit.encode(), temporary=".main.", mode=0o644)


def drop_aside(directory: Path, aside: Aside) -> None:
    """Remove what was set aside, and its blobs where nothing else leads there. Blocks.

    Raises:
        OSError: not permitted, or the disk fails.
    """
    folder = _folder(directory, aside.name.repo)
    hidden = [_hidden(link) for link in _links(directory, aside) if _hidden(link).is_symlink()]
    blobs = {link.resolve() for link in hidden}
    for link in hidden:
        link.unlink(missing_ok=True)
    needed = {path.resolve() for path in folder.glob("snapshots/**/*") if path.is_symlink()}
    for blob in blobs - needed:
        if blob.parent == (folder / "blobs").resolve():
            blob.unlink(missing_ok=True)


def asides(directory: Path) -> tuple[Aside, ...]:
    """Everything that is set aside: the work of an update that was cut off. Blocks.

    Raises:
        OSError: it cannot be read.
    """
    found: dict[tuple[RouterName, str], list[str]] = {}
    for folder, repo in _repositories(directory):
        for link in folder.glob(f"snapshots/**/*{ASIDE_SUFFIX}"):
            commit, _, path = link.relative_to(folder / "snapshots").as_posix().partition("/")
            path = path.removesuffix(ASIDE_SUFFIX)
            if tag := tag_of(path):
                found.setdefault((RouterName(repo, tag), commit), []).append(path)
    return tuple(Aside(name, commit, tuple(sorted(paths))) for (name, commit), paths in found.items())


def partials(directory: Path) -> tuple[tuple[str, Path], ...]:
    """Unfinished files, each with the digest that it was promised. Blocks.

    Raises:
        OSError, ValueError: it cannot be read.
    """
    found = (path for folder, _ in _repositories(directory) for path in (folder / "blobs").glob(f"*{PARTIAL_SUFFIX}"))
    return tuple((path.name.removesuffix(PARTIAL_SUFFIX), path) for path in found)


def link_of(directory: Path, name: RouterName, commit: str, path: str) -> Path:
    """The file as programs open it: its shards lie beside it under their own names."""
    return _folder(directory, name.repo) / "snapshots" / commit / path


def _links(directory: Path, aside: Aside) -> list[Path]:
    return [link_of(directory, aside.name, aside.commit, path) for path in aside.files]


def _hidden(link: Path) -> Path:
    return link.with_name(link.name + ASIDE_SUFFIX)


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
    for count, folder in enumerate(sorted(path for path in directory.iterdir() if path.name.startswith("models--"))):
        if count >= _REPOSITORIES_AT_MOST:
            raise ValueError("more repositories than a look reads")
        _, organisation, *name = folder.name.split("--")
        if folder.is_dir() and organisation and name:
            yield folder, f"{organisation}/{'--'.join(name)}"


def _refuse_unreadable(directory: Path) -> None:
    """Patterns pass over folders that may not be read, as if they were empty: what is in them would be gone.

    Raises:
        OSError: it, or a folder in it that a look reads, cannot be read.
    """
    for name in ("blobs", "snapshots"):
        for _ in os.walk(directory / name, onerror=_raise):
            pass


def _raise(error: OSError) -> None:
    if not isinstance(error, FileNotFoundError | NotADirectoryError):
        raise error


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
    head = _head(folder)
    return sorted((path for path in root.iterdir() if path.is_dir()), key=lambda path: (path.name != head, path.name))


def _head(folder: Path) -> str:
    main = folder / "refs" / "main"
    return main.read_text(encoding="utf-8").strip() if main.is_file() else ""


def _files(snapshot: Path) -> Iterator[CachedFile]:
    """GGUF files of a snapshot. A link that leads nowhere is no file."""
    for path in snapshot.rglob("*"):
        if path.suffix.lower() != ".gguf" or not path.is_file():
            continue
        blob = path.resolve()
        there = blob.stat()
        yield CachedFile(path.relative_to(snapshot).as_posix(), blob, Bytes(there.st_size), stamp_of(there))


def _aside_bytes(folder: Path) -> int:
    blobs = {link.resolve() for link in folder.glob(f"snapshots/**/*{ASIDE_SUFFIX}") if link.is_file()}
    return sum(blob.stat().st_size for blob in blobs)


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
