"""Whether a file of an adapter store that a server reads is still what stands under its name there.

What a file should be is written beside it: of what was held, where it came from; of what was made here, its seal. Where
neither tells, or the file cannot be read now, nobody can say that it is damaged.
"""

from __future__ import annotations

import asyncio
from pathlib import Path

from reconciler.domain.adapter import digest_of_place, made_key_of_place
from reconciler.integrations.runtimes.adapter_copy import GGUF, ORIGIN, stored_names
from reconciler.integrations.runtimes.digest_cache import DigestCache
from reconciler.lora.adapter_content import AdapterContent, content_digest


class HeldFilesAsTheyStand:
    """Looks at what servers of this host read of a store: GGUF files, and folders as peft saves them.

    Args:
        digests: which hash a file had as it stands, so that it is read whole only once it was touched.
    """

    def __init__(self, digests: DigestCache) -> None:
        self._digests = digests

    async def damaged(self, paths: frozenset[str]) -> frozenset[str]:
        """Those of them that are not what they should be, or are gone."""
        return await asyncio.to_thread(lambda: frozenset(path for path in paths if self._is_damaged(path)))

    async def gone(self, paths: frozenset[str]) -> frozenset[str]:
        """Those of a store at which nothing stands any more."""
        return await asyncio.to_thread(lambda: frozenset(path for path in paths if _is_gone(path)))

    def _is_damaged(self, path: str) -> bool:
        digest, place = digest_of_place(path), Path(path)
        if digest is None:
            return False
        try:
            if place.name != GGUF:
                return _is_gone(path) or self._is_other_folder(place, digest)
            promised = _sealed(place) if made_key_of_place(path) else _promised(place, digest)
            return place.is_symlink() or (promised is not None and self._digests.sha256(place) != promised)
        except (FileNotFoundError, NotADirectoryError, IsADirectoryError):
            return True
        except (OSError, ValueError):  # not for us to read now
            return False

    def _is_other_folder(self, place: Path, digest: str) -> bool:
        content = _noted(place.parent / ORIGIN, digest)
        if content is None:
            return False
        files = ((place / name, file) for file in content.files for name in [stored_names(content)[file.name]])
        return any(path.is_symlink() or self._digests.sha256(path) != file.sha256.lower() for path, file in files)


def _is_gone(path: str) -> bool:
    if digest_of_place(path) is None:
        return False
    try:
        Path(path).stat()
    except (FileNotFoundError, NotADirectoryError):
        return True
    except (OSError, ValueError):
        return False
    return False


def _sealed(place: Path) -> str:
    return place.with_name("sha256").read_text(encoding="ascii", errors="replace").strip()


def _promised(place: Path, digest: str) -> str | None:
    """Of the one GGUF that the content is; None: nothing says."""
    content = _noted(place.parent.parent / ORIGIN, digest)
    if content is None:
        return None
    names = stored_names(content)
    return next((file.sha256.lower() for file in content.files if names[file.name] == GGUF), None)


def _noted(note: Path, digest: str) -> AdapterContent | None:
    """What is written beside the files of this content; None: nothing that belongs to it."""
    try:
        content = AdapterContent.model_validate_json(note.read_bytes())
    except (FileNotFoundError, ValueError):
        return None
    return content if digest == content.digest == content_digest(content.files) else None
