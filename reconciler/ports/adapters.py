"""LoRA adapters and their files: read, looked into on a Hub, kept by content, converted."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Protocol, runtime_checkable

from reconciler.domain.adapter import Outtype
from reconciler.domain.observation import DiskSpace, PartialDownload
from reconciler.domain.units import Bytes
from reconciler.lora.adapter_files import AdapterPlace
from reconciler.ports.runtime import Progress

if TYPE_CHECKING:
    from reconciler.lora.adapter_content import AdapterContent, HeldFiles
    from reconciler.lora.remote_adapter import RemoteAdapter


class AdapterFiles(Protocol):
    """Reads LoRA adapters, and what they are compared with. It only reads; every call may block."""

    def find(self, given: str) -> AdapterPlace:
        """What is at a path as a person typed it. A path that leads nowhere is an answer, not an error.

        Raises:
            Refused: it is there and cannot be looked at.
        """
        ...

    def size(self, path: str) -> Bytes:
        """Length of a file; raises as ``beginning``."""
        ...

    def beginning(self, path: str, count: int) -> bytes:
        """The first ``count`` bytes, fewer where the file is shorter.

        Raises:
            Refused: it is not there, no regular file, or cannot be read.
        """
        ...

    def digest(self, path: str) -> str:
        """Hex SHA-256 of the whole file, in little memory; raises as ``beginning``, and where somebody writes to it."""
        ...


class AdapterHub(Protocol):
    """Looks into adapters that lie on a Hub, without fetching their weights."""

    async def look(self, repo: str, revision: str | None, *, pickles: bool) -> RemoteAdapter:
        """Its files at one commit, and the beginning of each.

        Args:
            repo: ``organisation/name``.
            revision: commit or tag; None: what the repository offers now.
            pickles: pickled weights count where there are no others.

        Raises:
            Refused: ``not-found``, ``gated``, ``unauthorised``, ``not-installable``. Unreachable, Corrupt: no answer,
                or nonsense.
        """
        ...


class AdapterStore(Protocol):
    """Keeps adapters that targets serve, by their content: what stands under a digest is verified and never changes."""

    async def hold(self, content: AdapterContent, holder: str, progress: Progress) -> str:
        """Have these files, and write down who wants them; a damaged copy is made again.

        Args:
            content: copied from this host, or fetched.
            holder: who keeps it; said first, so that a run that is killed leaves nothing without an owner.
            progress: of the bytes.

        Returns:
            Absolute path of the folder as peft saves it, or of the one GGUF file.

        Raises:
            Corrupt: ``content-changed``: they are not what was looked at; nothing of them is kept.
            Refused, Unreachable, OutOfSpace: as ``Runtime.install`` does.
        """
        ...

    async def converted(self, digest: str, key: str, make: Callable[[str], Awaitable[None]]) -> str:
        """Absolute path of the GGUF made from a held adapter; ``make`` writes it, once for every ``key``."""
        ...

    async def find(self, repo: str, commit: str) -> tuple[AdapterContent, str] | None:
        """What is held, whole, of a repository at one commit, and where; None: it would have to be fetched."""
        ...

    async def recall(self, digest: str) -> tuple[AdapterContent, str] | None:
        """What is held, whole, under a digest, as its source called it, and where; None: it is not, or not whole."""
        ...

    async def made(self, digest: str) -> tuple[str, ...]:
        """Keys under which ``converted`` has something made of a held adapter, whole; sorted."""
        ...

    async def held(self) -> tuple[HeldFiles, ...]:
        """What is there, by digest."""
        ...

    async def half_fetched(self) -> tuple[PartialDownload, ...]:
        """What has arrived of adapters that are not whole, by digest."""
        ...

    async def keep(self, digest: str, holder: str) -> None:
        """One more holder of files that are held; nothing where none are."""
        ...

    async def drop(self, digest: str, holder: str) -> Bytes:
        """This holder needs it no more; the files go with the last one. Bytes freed."""
        ...

    async def sweep(self) -> None:
        """Remove what killed runs left unfinished and nobody is working on."""
        ...


@runtime_checkable
class TellsDisk(Protocol):
    """An adapter store that knows where it writes."""

    @property
    def folder(self) -> str:
        """Absolute."""
        ...

    async def disk(self) -> DiskSpace | None:
        """The file system that holds it, or will; None where that cannot be told."""
        ...


class AdapterConverter(Protocol):
    """Makes the GGUF that llama.cpp takes out of an adapter as peft saves it. Keeping what it made is its caller's."""

    async def identity(self) -> str:
        """Which converter it is, by its content: with the adapter's digest and the element type, the key of a result.

        Raises:
            Refused: ``no-converter``: there is none on this host (``hint`` says how to get one).
        """
        ...

    async def convert(self, folder: str, base: str | None, outtype: Outtype, out: str) -> None:
        """Write ``out``, whole and verified to be a GGUF adapter when this returns; nothing stands there otherwise.

        Args:
            folder: with ``adapter_config.json`` and ``adapter_model.safetensors``; a pickle is never given to it.
            base: a folder with the base's Hugging Face ``config.json``, which is all that is read of it; or its Hub id,
                which the converter asks the Hub for, without any token; None: as the adapter's configuration names it,
                which may be either.
            outtype: element type.
            out: absolute; its folder exists.

        Raises:
            Refused: ``no-converter``; ``conversion-failed``: the converter says no (its words are in the message).
            Unreachable: it took too long.
        """
        ...
