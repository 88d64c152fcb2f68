"""Our own copies of LoRA adapters, by content: ``<store>/<digest>/files/…``, verified before they have that name.

Runtimes read adapters from here, so what stands under a digest never changes: another content is another folder, and
a server goes on reading the old one until it was told of the new. What is unfinished lies under ``.new`` and
``.partial``; what was made from an adapter (GGUF) under ``made``, by what made it. Pickles are copied, never opened.
"""

from __future__ import annotations

import asyncio
import fcntl
import hashlib
import os
import re
import secrets
import shutil
import stat
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING

from reconciler.domain.desired import Limits
from reconciler.domain.units import Bytes
from reconciler.errors import Corrupt, Refused
from reconciler.integrations.runtimes.digest_cache import DigestCache, stamp_of
from reconciler.integrations.runtimes.download import Download, RateLimit
from reconciler.integrations.runtimes.partials import Partial, Wanted, disk_errors, ensure_room, fsync_folder
from reconciler.lora.adapter_content import AdapterContent, ContentFile, HeldFiles
from reconciler.ports import Clock, Progress

if TYPE_CHECKING:
    from reconciler.integrations.http import Http

_DIGEST = re.compile(r"[0-9a-f]{64}")
_KEY = re.compile(r"[0-9a-z][0-9a-z_-]{0,120}")
_NAMES = frozenset({"adapter_config.json", "adapter_model.safetensors", "adapter_model.bin"})
_GGUF = "adapter.gguf"
"""What every GGUF is called here: flags of llama.cpp give ``:`` and ``,`` in a path a meaning."""
_ORIGIN = "origin.json"
"""Where fetched files came from, beside them."""
_BLOCK = 2**20


class LocalAdapterStore:
    """The ``AdapterStore`` port over one folder.

    Args:
        root: absolute; made when something is held.
        http: makes the client when the first byte is fetched.
        clock: sleeps between tries.
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
        self._root = root
        self._make_http = http
        self._clock = clock
        self._token = (token or "").strip() or None
        self._hub_endpoint = hub_endpoint
        self._limits = limits or Limits()
        self._rate = rate if rate is not None else RateLimit(self._limits.download_rate, clock)
        self._reserve_of = reserve_bytes
        self._known = DigestCache(cache_directory) if cache_directory is not None else None

    async def hold(self, content: AdapterContent, holder: str, progress: Progress) -> str:
        """The folder with these files, or the GGUF that is one; see ``ports.AdapterStore``."""
        names = _stored_names(content)
        await asyncio.to_thread(self._mark, content.digest, holder)
        place = self._place(content.digest) / "files"
        if not await asyncio.to_thread(_is_whole, place, content, names):
            with self._draft(content.digest) as draft:
                await asyncio.to_thread(self._ensure_room, content.bytes)
                if content.artifact is None:
                    await self._copied(content, names, draft, progress)
                else:
                    await self._fetched(content, names, draft, progress)
                await asyncio.to_thread(self._put, draft, place)
        progress(content.bytes, content.bytes, "")
        if content.artifact is not None:
            await asyncio.to_thread(self._note_origin, content)
        return _shown(place, names)

    async def converted(self, digest: str, key: str, make: Callable[[str], Awaitable[None]]) -> str:
        """The GGUF that ``make`` writes out of a held adapter, made once by ``key``."""
        if not _KEY.fullmatch(key):
            raise Refused(f"{key!r} cannot name what was made from an adapter", code="bad-name")
        place = self._place(digest) / "made" / key
        if not await asyncio.to_thread(_is_sealed, place):
            with self._draft(digest) as draft:
                await make(str(draft / _GGUF))
                await asyncio.to_thread(_seal, draft)
                await asyncio.to_thread(self._put, draft, place)
        return str(place / _GGUF)

    async def find(self, repo: str, commit: str) -> tuple[AdapterContent, str] | None:
        """By the note that says where files were fetched from; damage is nobody's answer."""
        return await asyncio.to_thread(self._find, repo, commit)

    async def held(self) -> tuple[HeldFiles, ...]:
        """What is there, by digest."""
        return await asyncio.to_thread(self._held)

    async def keep(self, digest: str, holder: str) -> None:
        """One more holder, written down."""
        await asyncio.to_thread(self._keep, digest, holder)

    async def drop(self, digest: str, holder: str) -> Bytes:
        """This holder lets go; the files go with the last one. Bytes freed."""
        return await asyncio.to_thread(self._drop, digest, holder)

    async def sweep(self) -> None:
        """Remove what killed runs left and nobody is working on."""
        await asyncio.to_thread(self._sweep)

    # ------------------------------------------------------------------ files in

    async def _copied(self, content: AdapterContent, names: dict[str, str], draft: Path, progress: Progress) -> None:
        loop, done = asyncio.get_running_loop(), 0
        for file in content.files:
            before = done

            def moved(count: int, before: int = before) -> None:
                loop.call_soon_threadsafe(progress, Bytes(before + count), content.bytes, "copying")

            source = Path(content.folder or "/nonexistent") / file.name
            await asyncio.to_thread(_copy, source, draft / names[file.name], file, moved)
            done += file.bytes

    async def _fetched(self, content: AdapterContent, names: dict[str, str], draft: Path, progress: Progress) -> None:
        artifact, done = content.artifact, 0
        if artifact is None:
            return
        http = self._make_http()
        try:
            for file, remote in zip(content.files, artifact.files, strict=True):
                before = done
                wanted = Wanted(artifact.url(remote), artifact.commit, file.sha256, file.bytes, content.digest)
                with Partial(self._root / ".partial", wanted) as partial:
                    download = Download(
                        partial,
                        http,
                        clock=self._clock,
                        token=self._token,
                        token_origin=self._hub_endpoint,
                        connections=self._limits.concurrent_downloads,
                        rate=self._rate,
                        reserve_bytes=self._reserve(),
                        moved=lambda count, before=before: progress(Bytes(before + count), content.bytes),  # type: ignore[misc]
                    )
                    await download.run()
                    await asyncio.to_thread(partial.finish, draft / names[file.name])
                done += file.bytes
        finally:
            await http.close()

    # ------------------------------------------------------------------ places

    def _place(self, digest: str) -> Path:
        if not _DIGEST.fullmatch(digest):
            raise Refused(f"{digest!r} is no digest of an adapter", code="bad-name")
        return self._root / digest

    @contextmanager
    def _draft(self, digest: str) -> Iterator[Path]:
        """A folder to write in, locked while this runs; gone afterwards unless it was put in its place."""
        with disk_errors(self._root):
            draft = self._root / ".new" / f"{digest}.{secrets.token_hex(4)}"
            draft.mkdir(parents=True)
            descriptor = os.open(draft, os.O_RDONLY)
            fcntl.flock(descriptor, fcntl.LOCK_EX)
        try:
            yield draft
        finally:
            shutil.rmtree(draft, ignore_errors=True)
            os.close(descriptor)

    def _put(self, draft: Path, place: Path) -> None:
        """The draft under its name, durably and in one step; damaged files that stood there go."""
        with disk_errors(place):
            for each in draft.iterdir():
                _fsync(each)
            fsync_folder(draft)
            with self._locked():
                place.parent.mkdir(parents=True, exist_ok=True)
                if place.exists():
                    aside = self._root / ".new" / f"old.{secrets.token_hex(4)}"
                    place.rename(aside)
                    draft.rename(place)
                    shutil.rmtree(aside, ignore_errors=True)
                else:
                    draft.rename(place)
                fsync_folder(place.parent)
                fsync_folder(self._root)

    @contextmanager
    def _locked(self) -> Iterator[None]:
        """Short changes of the store, one at a time across processes."""
        descriptor = os.open(self._root / ".lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX)
            yield
        finally:
            os.close(descriptor)

    def _mark(self, digest: str, holder: str) -> None:
        """Whoever holds it is written down first: nobody else's run removes it then."""
        marks = self._place(digest) / "holders"
        with disk_errors(marks):
            self._root.mkdir(parents=True, exist_ok=True)
            with self._locked():
                marks.mkdir(parents=True, exist_ok=True)
                _mark_of(marks, holder).write_text(holder, encoding="utf-8")

    def _keep(self, digest: str, holder: str) -> None:
        marks = self._place(digest) / "holders"
        with disk_errors(marks):
            if not marks.is_dir():
                return
            with self._locked():
                if marks.is_dir():
                    _mark_of(marks, holder).write_text(holder, encoding="utf-8")

    def _ensure_room(self, needed: Bytes) -> None:
        ensure_room(self._root, needed, self._reserve())

    def _reserve(self) -> int:
        with disk_errors(self._root):
            return self._reserve_of(shutil.disk_usage(self._root).total)

    # ------------------------------------------------------------------ what is there

    def _held(self) -> tuple[HeldFiles, ...]:
        with disk_errors(self._root):
            if not self._root.is_dir():
                return ()
            found = [each for each in self._root.iterdir() if _DIGEST.fullmatch(each.name) and not each.is_symlink()]
            return tuple(
                HeldFiles(digest=each.name, bytes=_size(each), holders=_holders(each / "holders"))
                for each in sorted(found)
            )

    def _note_origin(self, content: AdapterContent) -> None:
        note = self._place(content.digest) / _ORIGIN
        with disk_errors(note):
            fresh = note.with_suffix(".new")
            fresh.write_text(content.model_dump_json(), encoding="utf-8")
            fresh.replace(note)

    def _find(self, repo: str, commit: str) -> tuple[AdapterContent, str] | None:
        if not self._root.is_dir():
            return None
        for note in sorted(self._root.glob(f"*/{_ORIGIN}")):
            with suppress(OSError, ValueError, Refused):
                content = AdapterContent.model_validate_json(note.read_bytes())
                artifact = content.artifact
                if artifact is None or (artifact.repo, artifact.commit) != (repo, commit):
                    continue
                names, place = _stored_names(content), self._place(content.digest) / "files"
                if note.parent == place.parent and _is_whole(place, content, names, self._known):
                    return content, _shown(place, names)
        return None

    def _drop(self, digest: str, holder: str) -> Bytes:
        place = self._place(digest)
        with disk_errors(place):
            if not place.is_dir() or place.is_symlink():
                return Bytes(0)
            with self._locked():
                _mark_of(place / "holders", holder).unlink(missing_ok=True)
                if _holders(place / "holders"):
                    return Bytes(0)
                freed = _size(place)
                doomed = self._root / ".new" / f"{digest}.{secrets.token_hex(4)}"
                doomed.parent.mkdir(exist_ok=True)
                place.rename(doomed)
                fsync_folder(self._root)
            shutil.rmtree(doomed)
            return freed

    def _sweep(self) -> None:
        drafts = self._root / ".new"
        if not drafts.is_dir():
            return
        with disk_errors(drafts):
            for draft in drafts.iterdir():
                if draft.is_symlink() or not draft.is_dir():
                    draft.unlink(missing_ok=True)
                elif _is_abandoned(draft):
                    shutil.rmtree(draft, ignore_errors=True)


def _shown(place: Path, names: dict[str, str]) -> str:
    """The folder, or the one GGUF file in it."""
    return str(place / _GGUF) if list(names.values()) == [_GGUF] else str(place)


def _stored_names(content: AdapterContent) -> dict[str, str]:
    """Under which name each file is kept.

    Raises:
        Refused: a name that no file of an adapter has.
    """
    names: dict[str, str] = {}
    for file in content.files:
        plain = file.name not in ("", ".", "..") and not set(file.name) & set("/\\\0")
        is_gguf = plain and file.name.lower().endswith(".gguf")
        if not is_gguf and file.name not in _NAMES:
            raise Refused(f"{file.name!r} is no file of an adapter", code="not-installable")
        names[file.name] = _GGUF if is_gguf else file.name
    if not names or len(set(names.values())) != len(names):
        raise Refused("an adapter is one GGUF file, or a folder as peft saves it", code="not-installable")
    return names


def _copy(source: Path, destination: Path, file: ContentFile, moved: Callable[[int], None]) -> None:
    """Copy exactly what was looked at.

    Raises:
        Corrupt: it is not what it was. Refused: it cannot be read.
    """
    changed = Corrupt(f"{source} is not what it was when it was looked at", code="content-changed", hint="plan again")
    with disk_errors(destination):
        reading = _opened(source)
        with os.fdopen(reading, "rb") as old, destination.open("xb") as new:
            hasher, count = hashlib.sha256(), 0
            while block := old.read(_BLOCK):
                count += len(block)
                if count > file.bytes:
                    raise changed
                hasher.update(block)
                new.write(block)
                moved(count)
    if count != file.bytes or hasher.hexdigest() != file.sha256.lower():
        raise changed


def _opened(source: Path) -> int:
    try:
        descriptor = os.open(source, os.O_RDONLY | os.O_CLOEXEC | getattr(os, "O_NONBLOCK", 0))
    except OSError as error:
        reason = error.strerror or type(error).__name__
        raise Refused(f"{source} cannot be read: {reason}", code="not-readable", hint="plan again") from error
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise Refused(f"{source} is not a regular file", code="not-readable", hint="plan again")
    return descriptor


def _is_whole(place: Path, content: AdapterContent, names: dict[str, str], known: DigestCache | None = None) -> bool:
    """Every file is there with its content, and nothing else is; damage is found here, before a server reads it."""
    if place.is_symlink() or not place.is_dir():
        return False
    if {each.name for each in place.iterdir()} != set(names.values()):
        return False
    for file in content.files:
        path = place / names[file.name]
        if path.is_symlink() or not path.is_file() or path.stat().st_size != file.bytes:
            return False
        if _hash_of(path, known) != file.sha256.lower():
            return False
    return True


def _hash_of(path: Path, known: DigestCache | None) -> str:
    with path.open("rb") as opened:
        stamp = stamp_of(os.fstat(opened.fileno()))
        found = known.get(path, stamp) if known is not None else None
        if found is None:
            found = hashlib.file_digest(opened, "sha256").hexdigest()
            if known is not None and stamp_of(os.fstat(opened.fileno())) == stamp:
                known.put(path, stamp, found)
    return found


def _seal(draft: Path) -> None:
    """Note the hash of what was made beside it: it has no promise of anybody's to be compared with later."""
    with disk_errors(draft):
        with (draft / _GGUF).open("rb") as made:
            seal = hashlib.file_digest(made, "sha256").hexdigest()
        (draft / "sha256").write_text(seal, encoding="ascii")


def _is_sealed(place: Path) -> bool:
    with suppress(OSError, ValueError):
        if place.is_symlink() or (place / _GGUF).is_symlink():
            return False
        with (place / _GGUF).open("rb") as made:
            found = hashlib.file_digest(made, "sha256").hexdigest()
        return found == (place / "sha256").read_text(encoding="ascii").strip()
    return False


def _mark_of(marks: Path, holder: str) -> Path:
    return marks / hashlib.sha256(holder.encode()).hexdigest()[:32]


def _holders(marks: Path) -> tuple[str, ...]:
    if not marks.is_dir():
        return ()
    return tuple(sorted(each.read_text(encoding="utf-8", errors="replace") for each in marks.iterdir()))


def _size(folder: Path) -> Bytes:
    """Of regular files; links are not followed."""
    total = 0
    for path, _, names in os.walk(folder):
        if Path(path).name == "holders":
            continue
        for name in names:
            with suppress(FileNotFoundError):
                total += (Path(path) / name).lstat().st_size
    return Bytes(total)


def _is_abandoned(draft: Path) -> bool:
    descriptor = os.open(draft, os.O_RDONLY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    finally:
        os.close(descriptor)
    return True


def _fsync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
