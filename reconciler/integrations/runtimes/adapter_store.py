"""Our own copies of LoRA adapters, by content: ``<store>/<digest>/files/…``, verified before they have that name.

Runtimes read adapters from here, so what stands under a digest never changes: another content is another folder, and
a server goes on reading the old one until it was told of the new. What is half fetched lies under ``.partial``; what
was made from an adapter (GGUF) under ``made``, by what made it. The folder itself is ``adapter_shelf``, the files of
one adapter are ``adapter_copy``.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Awaitable, Callable
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from reconciler.domain.desired import Limits
from reconciler.domain.observation import DiskSpace, PartialDownload
from reconciler.domain.units import Bytes
from reconciler.errors import Refused
from reconciler.integrations.replace_file import replace_file
from reconciler.integrations.runtimes.adapter_copy import (
    GGUF,
    ORIGIN,
    copy_file,
    is_sealed,
    is_whole,
    seal,
    shown,
    stored_names,
)
from reconciler.integrations.runtimes.adapter_shelf import AdapterShelf
from reconciler.integrations.runtimes.digest_cache import DigestCache
from reconciler.integrations.runtimes.fetching import Fetching
from reconciler.integrations.runtimes.partials import (
    PARTIAL_SUFFIX,
    STATE_SUFFIX,
    Partial,
    PartialState,
    Wanted,
    disk_errors,
    is_being_fetched,
)
from reconciler.integrations.runtimes.rate_limit import RateLimit
from reconciler.integrations.runtimes.store_files import disk_space, downloads_by_model, partials_in
from reconciler.lora.adapter_content import AdapterContent, HeldFiles, content_digest
from reconciler.ports import Clock, Progress

if TYPE_CHECKING:
    from reconciler.integrations.http import Http

_KEY = re.compile(r"[0-9a-z][0-9a-z_-]{0,120}")
_FORGOTTEN_SECONDS = 7 * 86400
"""A download that broke off is gone on with by the next attempt; one that nobody touched for so long is not wanted."""


class LocalAdapterStore:
    """The ``AdapterStore`` port over one folder.

    Args:
        root: absolute; made when something is held.
        http: makes the client when the first byte is fetched.
        clock: sleeps between tries, and tells how old what is half fetched is.
        token: for the Hub; sent to the origin of ``hub_endpoint`` only.
        hub_endpoint: base URL.
        limits: connections per download and bytes a second.
        reserve_bytes: of a disk of so many bytes, what is never used (``pool.minFreeDisk``).
        rate: shared between downloads of one host; None makes one of ``limits``.
        cache_directory: where digests are remembered, so that what is held is not read whole whenever it is asked
            about; None: it is. What a target is given is read whole every time.
    """

    def __init__(
        self,
        root: Path,
        *,
        http: Callable[[], Http],
        clock: Clock,
        token: str | None = None,
        hub_endpoint: str = "",
        limits: Limits | None = None,
        reserve_bytes: Callable[[int], int] = lambda _: 0,
        rate: RateLimit | None = None,
        cache_directory: Path | None = None,
    ) -> None:
        self._shelf = AdapterShelf(root)
        self._half_fetched = root / ".partial"
        self._make_http = http
        self._clock = clock
        self._fetching = Fetching(
            root,
            clock=clock,
            token=token,
            hub_endpoint=hub_endpoint,
            limits=limits or Limits(),
            reserve_bytes=reserve_bytes,
            rate=rate,
        )
        self._known = DigestCache(cache_directory) if cache_directory is not None else None

    async def hold(self, content: AdapterContent, holder: str, progress: Progress) -> str:
        """The folder with these files, or the GGUF that is one; see ``ports.AdapterStore``."""
        names = stored_names(content)
        await asyncio.to_thread(self._shelf.mark, content.digest, holder)
        place = self._shelf.place(content.digest) / "files"
        whole = partial(is_whole, place, content, names)
        if not await asyncio.to_thread(whole):
            with self._shelf.draft(content.digest) as draft:
                await asyncio.to_thread(self._ensure_room, content)
                if content.artifact is None:
                    await self._copied(content, names, draft, progress)
                else:
                    await self._fetched(content, names, draft, progress)
                await asyncio.to_thread(self._shelf.put, draft, place, is_whole=whole)
        progress(content.bytes, content.bytes, "")
        await asyncio.to_thread(self._note_origin, content)
        return shown(place, names)

    async def converted(self, digest: str, key: str, make: Callable[[str], Awaitable[None]]) -> str:
        """The GGUF that ``make`` writes out of a held adapter, made once by ``key``."""
        if not _KEY.fullmatch(key):
            raise Refused(f"{key!r} cannot name what was made from an adapter", code="bad-name")
        place = self._shelf.place(digest) / "made" / key
        if not await asyncio.to_thread(is_sealed, place):
            with self._shelf.draft(digest) as draft:
                await make(str(draft / GGUF))
                await asyncio.to_thread(seal, draft)
                await asyncio.to_thread(self._shelf.put, draft, place, is_whole=partial(is_sealed, place))
        return str(place / GGUF)

    async def find(self, repo: str, commit: str) -> tuple[AdapterContent, str] | None:
        """By the note that says where files were fetched from; damage is nobody's answer."""
        return await asyncio.to_thread(self._find, repo, commit)

    async def recall(self, digest: str) -> tuple[AdapterContent, str] | None:
        """By the note that says what its files are called at their source; damage is nobody's answer."""
        return await asyncio.to_thread(self._recalled, digest)

    async def made(self, digest: str) -> tuple[str, ...]:
        """Keys of what was made of an adapter and is whole."""
        return await asyncio.to_thread(self._made, digest)

    async def held(self) -> tuple[HeldFiles, ...]:
        """What is there, by digest."""
        return await asyncio.to_thread(self._shelf.held)

    async def half_fetched(self) -> tuple[PartialDownload, ...]:
        """Bytes on the disk of what is not whole, by digest."""
        return await asyncio.to_thread(self._arrived_of_all)

    @property
    def folder(self) -> str:
        """Where everything of it lies."""
        return str(self._shelf.root)

    async def disk(self) -> DiskSpace | None:
        """Of the folder, or of where it will be made; None where nobody may look."""
        with suppress(OSError):
            return await asyncio.to_thread(disk_space, self._shelf.root)
        return None

    async def keep(self, digest: str, holder: str) -> None:
        """One more holder, written down."""
        await asyncio.to_thread(self._shelf.keep, digest, holder)

    async def drop(self, digest: str, holder: str) -> Bytes:
        """This holder lets go; the files go with the last one. Bytes freed."""
        return await asyncio.to_thread(self._shelf.drop, digest, holder)

    async def sweep(self) -> None:
        """Remove what killed runs left and nobody is working on, and downloads that nobody went on with for days."""
        await asyncio.to_thread(self._shelf.sweep)
        await asyncio.to_thread(_sweep_downloads, self._half_fetched, self._clock.now().timestamp())

    # ------------------------------------------------------------------ files in

    def _ensure_room(self, content: AdapterContent) -> None:
        """For what is still to come: what has arrived of it is on the disk already."""
        there = sum(self._arrived(file.sha256.lower()) for file in content.files) if content.artifact else 0
        self._fetching.ensure_room(self._shelf.root, content.bytes - there)

    def _arrived_of_all(self) -> tuple[PartialDownload, ...]:
        with disk_errors(self._half_fetched):
            return downloads_by_model(partials_in(self._half_fetched))

    def _arrived(self, sha256: str) -> int:
        state = PartialState.read(self._half_fetched / f"{sha256}{STATE_SUFFIX}")
        return state.ranges.total if state is not None else 0

    async def _copied(self, content: AdapterContent, names: dict[str, str], draft: Path, progress: Progress) -> None:
        loop, done = asyncio.get_running_loop(), 0
        for file in content.files:
            before = done

            def moved(count: int, before: int = before) -> None:
                loop.call_soon_threadsafe(progress, Bytes(before + count), content.bytes, "copying")

            source = Path(content.folder or "/nonexistent") / file.name
            await asyncio.to_thread(copy_file, source, draft / names[file.name], file, moved)
            done += file.bytes

    async def _fetched(self, content: AdapterContent, names: dict[str, str], draft: Path, progress: Progress) -> None:
        artifact, done = content.artifact, 0
        if artifact is None:
            return
        http = self._make_http()
        try:
            for file, remote in zip(content.files, artifact.files, strict=True):

                def moved(count: int, before: int = done) -> None:
                    progress(Bytes(before + count), content.bytes)

                wanted = Wanted(artifact.url(remote), artifact.commit, file.sha256, file.bytes, content.digest)
                with Partial(self._half_fetched, wanted) as half:
                    await self._fetching.fetch(half, http, moved)
                    await asyncio.to_thread(half.finish, draft / names[file.name])
                done += file.bytes
        finally:
            await http.close()

    # ------------------------------------------------------------------ where it came from

    def _note_origin(self, content: AdapterContent) -> None:
        """Files of this host were called something too; that they can be fetched again is worth more to know."""
        note = self._shelf.place(content.digest) / ORIGIN
        if content.artifact is None and self._noted(note) is not None:
            return
        with disk_errors(note):
            replace_file(note, content.model_dump_json().encode(), temporary=f".{ORIGIN}.")

    def _noted(self, note: Path) -> AdapterContent | None:
        """What a note says that belongs to what it stands beside."""
        with suppress(OSError, ValueError):
            content = AdapterContent.model_validate_json(note.read_bytes())
            if note.parent.name == content.digest == content_digest(content.files):
                return content
        return None

    def _find(self, repo: str, commit: str) -> tuple[AdapterContent, str] | None:
        with disk_errors(self._shelf.root):
            notes = sorted(self._shelf.root.glob(f"*/{ORIGIN}"))
        for note in notes:
            content = self._noted(note)
            artifact = content.artifact if content is not None else None
            if content is None or artifact is None or (artifact.repo, artifact.commit) != (repo, commit):
                continue
            if (path := self._whole(content)) is not None:
                return content, path
        return None

    def _recalled(self, digest: str) -> tuple[AdapterContent, str] | None:
        content = self._noted(self._shelf.place(digest) / ORIGIN)
        path = self._whole(content) if content is not None else None
        return (content, path) if content is not None and path is not None else None

    def _whole(self, content: AdapterContent) -> str | None:
        """Where the files are, every byte of them right."""
        with suppress(OSError, Refused):
            names, place = stored_names(content), self._shelf.place(content.digest) / "files"
            if is_whole(place, content, names, self._known):
                return shown(place, names)
        return None

    def _made(self, digest: str) -> tuple[str, ...]:
        folder = self._shelf.place(digest) / "made"
        with suppress(OSError):
            return tuple(
                sorted(each.name for each in folder.iterdir() if _KEY.fullmatch(each.name) and is_sealed(each))
            )
        return ()


def _sweep_downloads(folder: Path, now: float) -> None:
    with disk_errors(folder):
        for half in list(folder.glob(f"*{PARTIAL_SUFFIX}")):
            age = now - half.lstat().st_mtime
            if age > _FORGOTTEN_SECONDS and not is_being_fetched((half,)):
                half.unlink(missing_ok=True)
                half.with_suffix(STATE_SUFFIX).unlink(missing_ok=True)
