"""Our own directory of GGUF files, the embedded default target.

Laid out ``<path>/<org>/<repo>/<file>``, the way LM Studio and Hub downloads lie, so that ``llama-server --models-dir``,
LM Studio and an Ollama import read it too. The promises of ``docs/reliability.md`` hold without exception here: what
stands under a name is complete and verified, what is unfinished is kept apart and can be resumed.
"""

from __future__ import annotations

import asyncio
import stat
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

from reconciler.domain.artifact import ArtifactFile, HubArtifact
from reconciler.domain.desired import Limits, Target
from reconciler.domain.observation import (
    Alias,
    Installed,
    InstalledFile,
    ObservedTarget,
    TargetObservation,
    UnknownTarget,
)
from reconciler.domain.plan import Action, Row
from reconciler.domain.units import Bytes
from reconciler.errors import OutsideError, Refused, UsageError
from reconciler.formats import gguf_names
from reconciler.integrations.runtimes import store_files as files
from reconciler.integrations.runtimes import store_names, store_removal
from reconciler.integrations.runtimes.digest_cache import DigestCache, hashed, stamp_of
from reconciler.integrations.runtimes.download import STALL_SECONDS
from reconciler.integrations.runtimes.fetching import Fetching
from reconciler.integrations.runtimes.partials import Partial, Wanted, disk_errors
from reconciler.integrations.runtimes.rate_limit import RateLimit
from reconciler.ports import Clock, Progress

if TYPE_CHECKING:
    from reconciler.integrations.http import Http


@dataclass(frozen=True, slots=True)
class _Place:
    """One file of an artifact and where it goes."""

    file: ArtifactFile
    name: str
    path: Path


class Store:
    """The ``Runtime`` port over a directory.

    Args:
        target: with ``path`` set, absolute.
        http: makes the client when the first byte is fetched, so that offline commands never load it.
        clock: sleeps between tries.
        token: for the Hub; sent to the origin of ``hub_endpoint`` only.
        hub_endpoint: base URL.
        limits: connections per download and bytes a second.
        cache_directory: where digests of files are remembered; safe to delete.
        reserve_bytes: of a disk of so many bytes, what is never used (``pool.minFreeDisk``).
        rate: shared between targets of one host; None makes one of ``limits``.
        idle_timeout_seconds: a connection without a byte for so long is given up and tried again.
    """

    def __init__(
        self,
        target: Target,
        *,
        http: Callable[[], Http],
        clock: Clock,
        token: str | None,
        hub_endpoint: str,
        limits: Limits,
        cache_directory: Path,
        reserve_bytes: Callable[[int], int] = lambda _: 0,
        rate: RateLimit | None = None,
        idle_timeout_seconds: float = STALL_SECONDS,
    ) -> None:
        if not target.path or not Path(target.path).is_absolute():
            raise UsageError(f"target {target.name}: a store needs an absolute path", hint="add path: to the target")
        self._target = target
        self._root = Path(target.path)
        self._make_http = http
        self._http: Http | None = None
        self._fetching = Fetching(
            self._root,
            clock=clock,
            token=token,
            hub_endpoint=hub_endpoint,
            limits=limits,
            reserve_bytes=reserve_bytes,
            rate=rate,
            idle_timeout_seconds=idle_timeout_seconds,
        )
        self._digests = DigestCache(cache_directory)

    @property
    def target(self) -> Target:
        return self._target

    async def close(self) -> None:
        if self._http is not None:
            await self._http.close()
            self._http = None

    # ------------------------------------------------------------------ observe

    async def observe(self) -> TargetObservation:
        """What lies in the folder, by a look alone: nothing is read whole."""
        return await asyncio.to_thread(self._observe)

    def _observe(self) -> TargetObservation:
        try:
            if not self._root.exists() and (reason := files.why_not_ours_to_create(self._root)):
                return self._unknown(reason, "mount the disk, make the folder, or correct the target's path")
            return self._observed()
        except NotADirectoryError:
            return self._unknown(f"{self._root} is not a folder", "correct the target's path")
        except OSError as error:
            place = error.filename or self._root
            reason = f"{place} cannot be read: {error.strerror or type(error).__name__}"
            return self._unknown(reason, "check the folder's owner and mode, and its disk")

    def _unknown(self, reason: str, hint: str) -> UnknownTarget:
        return UnknownTarget(name=self._target.name, key=self._target.key, reason=reason, code="unreadable", hint=hint)

    def _observed(self) -> ObservedTarget:
        found, notes = files.scan(self._root) if self._root.exists() else ({}, ())
        whole, holes = files.bundles(found, files.read_manifests(self._root))
        in_use = files.in_use(self._root, [file for bundle in whole for file in bundle.files])
        unfinished = files.partials(self._root)
        return ObservedTarget(
            name=self._target.name,
            key=self._target.key,
            installed=tuple(self._installed(bundle, in_use) for bundle in whole),
            aliases=store_names.aliases(self._root, whole),
            disk=files.disk_space(self._root),
            partial_bytes=Bytes(sum(partial.bytes for partial in unfinished)),
            partial_names=tuple(sorted({partial.model for partial in unfinished if partial.model})),
            partials=files.downloads_by_model(unfinished),
            notes=(*notes, *holes),
        )

    def _installed(self, bundle: files.Bundle, in_use: set[int]) -> Installed:
        known = [self._digests.get(self._root / file.name, file.stamp) for file in bundle.files]
        parts = bundle.name.split("/")
        return Installed(
            name=bundle.name,
            bytes=Bytes(sum(file.size for file in bundle.files)),
            digest="+".join(digest for digest in known if digest) if all(known) else None,
            stamp="+".join(file.stamp for file in bundle.files),
            files=tuple(
                InstalledFile(path=file.name, bytes=Bytes(file.size), stamp=file.stamp) for file in bundle.files
            ),
            repo="/".join(parts[:2]) if len(parts) >= 3 else None,
            quant=gguf_names.parse(bundle.name).quant,
            modified_at=datetime.fromtimestamp(max(file.modified for file in bundle.files), UTC),
            loaded=any(file.inode in in_use for file in bundle.files),
        )

    async def file_of(self, name: str) -> str | None:
        """Where shard 1 lies; None where the folder holds no such model now."""
        try:
            bundle = await asyncio.to_thread(self._look_up, name)
        except OutsideError:
            return None
        return str(self._root / bundle.files[0].name) if bundle is not None else None

    def _look_up(self, name: str) -> files.Bundle | None:
        """The model as it stands now, or None.

        Raises:
            Refused: the folder cannot be read.
        """
        with disk_errors(self._root):
            if not self._root.exists():
                return None
            found, _ = files.scan(self._root)
            whole, _ = files.bundles(found, files.read_manifests(self._root))
        return next((bundle for bundle in whole if bundle.name == name), None)

    # ------------------------------------------------------------------- digest

    async def digest(self, name: str, progress: Progress) -> tuple[str, str]:
        """(digest, stamp) of a model, by reading its files whole unless they are known as they stand now."""
        bundle = await asyncio.to_thread(self._look_up, name)
        if bundle is None:
            raise Refused(
                f"{name} is not in {self._root}", code="not-found", hint="localmodels status lists what is there"
            )
        total, done, digests, stamps = Bytes(sum(file.size for file in bundle.files)), 0, [], []
        for file in bundle.files:
            digest, stamp = await self._digest_of(self._root / file.name, done, total, progress)
            digests.append(digest)
            stamps.append(stamp)
            done += file.size
        return "+".join(digests), "+".join(stamps)

    async def _digest_of(self, path: Path, before: int, total: int, progress: Progress) -> tuple[str, str]:
        stamp, known = self._known(path)
        if known is not None:
            return known, stamp
        loop, stopped = asyncio.get_running_loop(), False

        def moved(count: int) -> None:
            loop.call_soon_threadsafe(progress, Bytes(before + count), Bytes(total), "verifying")

        try:
            digest, stamp = await asyncio.to_thread(hashed, path, moved=moved, stop=lambda: stopped)
        finally:
            stopped = True
        self._digests.put(path, stamp, digest)
        return digest, stamp

    def _known(self, path: Path) -> tuple[str, str | None]:
        with disk_errors(path):
            stamp = stamp_of(path.stat())
        return stamp, self._digests.get(path, stamp)

    # ------------------------------------------------------------------ install

    async def install(self, row: Row, progress: Progress) -> Installed:
        """Fetch and verify every file of the row's artifact, then put all of them in place."""
        artifact = row.artifact
        if not isinstance(artifact, HubArtifact) or not artifact.files:
            raise Refused(
                f"{row.name}: a store holds files of Hub repositories only",
                code="not-installable",
                hint="pin a Hub repository (organisation/name), or use an ollama target",
            )
        places = _places(self._root, row.name, artifact)
        await asyncio.to_thread(self._make_folder)
        missing = await self._missing(row, places, artifact.bytes, progress)
        await self._fetch(row, artifact, missing, progress, places)
        bundle = await asyncio.to_thread(self._look_up, row.name)
        if bundle is None:
            raise Refused(
                f"{row.name}: its shards are not all named as one set, so no program could load it",
                code="not-installable",
                details={"files": [place.name for place in places]},
            )
        progress(artifact.bytes, artifact.bytes, "")
        return self._installed(bundle, set())

    def _make_folder(self) -> None:
        if not self._root.exists() and (reason := files.why_not_ours_to_create(self._root)):
            raise Refused(reason, code="not-writable", hint="mount the disk, or make the folder")
        with disk_errors(self._root):
            self._root.mkdir(parents=True, exist_ok=True)

    def _note_manifest(self, name: str, places: list[_Place]) -> None:
        with disk_errors(self._root):
            files.save_manifest(self._root, name, [place.name for place in places])

    async def _missing(self, row: Row, places: list[_Place], total: int, progress: Progress) -> list[_Place]:
        """What must really be fetched: a file that is there with the right content is not fetched again.

        Raises:
            Refused: other content, not ours, stands where an install would write.
        """
        missing, done = [], 0
        for place in places:
            if not await self._is_there(place, done, total, progress):
                if _stands(place.path) and row.action is not Action.UPDATE and not row.ours:
                    raise Refused(
                        f"{place.name}: other content stands under this name, and it is not ours to replace",
                        code="unmanaged-conflict",
                        hint=f"adopt it, or move {place.path} away",
                        details={"path": str(place.path)},
                    )
                missing.append(place)
            done += place.file.bytes
        return missing

    async def _is_there(self, place: _Place, before: int, total: int, progress: Progress) -> bool:
        if not _has_size(place.path, place.file.bytes):
            return False
        digest, _ = await self._digest_of(place.path, before, total, progress)
        return digest == place.file.sha256

    async def _fetch(
        self, row: Row, artifact: HubArtifact, missing: list[_Place], progress: Progress, places: list[_Place]
    ) -> None:
        """Fetch what is missing, then place it: the file that gives the model its name last.

        So a crash in between leaves no model that lacks a projector or a shard, and none whose files nobody noted.
        """
        folder = files.partial_folder(self._root)
        with ExitStack() as opened:
            partials = [opened.enter_context(Partial(folder, _wanted(row, artifact, place))) for place in missing]
            if partials:
                self._fetching.ensure_room(folder, sum(partial.missing_disk_bytes for partial in partials))
            done = artifact.bytes - sum(place.file.bytes for place in missing)
            for partial in partials:
                await self._download(partial, done, artifact.bytes, progress)
                done += partial.wanted.size
            await asyncio.to_thread(self._note_manifest, row.name, places)
            for place, partial in reversed(list(zip(missing, partials, strict=True))):
                await asyncio.to_thread(self._put_in_place, partial, place)

    async def _download(self, partial: Partial, before: int, total: int, progress: Progress) -> None:
        if self._http is None:
            self._http = self._make_http()
        note = "resumed" if partial.resumed_bytes else ""
        progress(Bytes(before + partial.resumed_bytes), Bytes(total), note)
        await self._fetching.fetch(
            partial, self._http, lambda count: progress(Bytes(before + count), Bytes(total), note)
        )

    def _put_in_place(self, partial: Partial, place: _Place) -> None:
        partial.finish(place.path)
        with disk_errors(place.path):
            self._digests.put(place.path, stamp_of(place.path.stat()), place.file.sha256)

    # ------------------------------------------------------------------- stable names

    async def name(self, alias: str, model: str, *, context: int | None) -> Alias:  # noqa: ARG002 - the port's
        """A link under ``aliases/``; a file carries no context, so the name says none."""
        bundle = await asyncio.to_thread(self._look_up, model)
        if bundle is None:
            raise Refused(
                f"{model} is not in {self._root}", code="not-found", hint="localmodels status lists what is there"
            )
        return await asyncio.to_thread(store_names.put, self._root, alias, bundle)

    async def unname(self, alias: str) -> None:
        """The link goes; what it leads to stays."""
        await asyncio.to_thread(store_names.drop, self._root, alias)

    # ------------------------------------------------------------------- remove

    async def remove(self, name: str) -> Bytes:
        """Unlink the model's files, its note, and the folders that are empty then."""
        return await asyncio.to_thread(store_removal.remove, self._root, name)

    async def clean_partials(self, names: frozenset[str]) -> Bytes:
        """Throw away what nobody in ``names`` will resume, or nobody can resume, and nobody is fetching now."""
        return await asyncio.to_thread(store_removal.clean_partials, self._root, names)


def _places(root: Path, name: str, artifact: HubArtifact) -> list[_Place]:
    """Where every file goes: the first under ``name``, the others as they lie beside it in the repository.

    Raises:
        Refused: a name that the store cannot hold, or two files of one name.
    """
    first = artifact.files[0].path
    prefix = name.removesuffix(first) if name.endswith(f"/{first}") else None
    base = name.rpartition("/")[0]
    names = [name]
    names += [f"{base}/{f.path.rpartition('/')[2]}" if prefix is None else prefix + f.path for f in artifact.files[1:]]
    if len({folded.casefold() for folded in names}) != len(names) or not name.lower().endswith(".gguf"):
        raise Refused(f"{name}: its files cannot be placed side by side", code="not-installable")
    return [_Place(file, place, files.place_in(root, place)) for file, place in zip(artifact.files, names, strict=True)]


def _stands(path: Path) -> bool:
    """Something is there, be it a broken link."""
    return path.exists() or path.is_symlink()


def _has_size(path: Path, size: int) -> bool:
    try:
        status = path.stat()
    except OSError:
        return False
    return stat.S_ISREG(status.st_mode) and status.st_size == size


def _wanted(row: Row, artifact: HubArtifact, place: _Place) -> Wanted:
    file = place.file
    return Wanted(artifact.url(file), artifact.commit, file.sha256.lower(), file.bytes, row.name)
