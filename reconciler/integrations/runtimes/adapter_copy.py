"""The files of one adapter in a folder of ours: under which names, copied exactly, and whether they are still whole.

What somebody promised of a file is compared with what arrives. What was made here (GGUF) has no promise of anybody's:
its hash is noted beside it, which is its seal. Pickles are copied, never opened.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from contextlib import suppress
from io import BufferedReader
from pathlib import Path

from reconciler.errors import Corrupt, Refused
from reconciler.integrations.regular_file import open_regular
from reconciler.integrations.runtimes.digest_cache import DigestCache
from reconciler.integrations.runtimes.partials import disk_errors
from reconciler.lora.adapter_content import LONE_GGUF, AdapterContent, ContentFile

GGUF = LONE_GGUF
"""What every GGUF is called here: flags of llama.cpp give ``:`` and ``,`` in a path a meaning."""
ORIGIN = "origin.json"
"""What files are called at their source and where they came from, beside them."""
_NAMES = frozenset({"adapter_config.json", "adapter_model.safetensors", "adapter_model.bin"})
_BLOCK = 2**20


def shown(place: Path, names: dict[str, str]) -> str:
    """The folder, or the one GGUF file in it."""
    return str(place / GGUF) if list(names.values()) == [GGUF] else str(place)


def stored_names(content: AdapterContent) -> dict[str, str]:
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
        names[file.name] = GGUF if is_gguf else file.name
    if not names or len(set(names.values())) != len(names):
        raise Refused("an adapter is one GGUF file, or a folder as peft saves it", code="not-installable")
    return names


def copy_file(source: Path, destination: Path, file: ContentFile, moved: Callable[[int], None]) -> None:
    """Copy exactly what was looked at.

    Raises:
        Corrupt: it is not what it was. Refused: it cannot be read.
    """
    changed = Corrupt(f"{source} is not what it was when it was looked at", code="content-changed", hint="plan again")
    with disk_errors(destination), _opened(source) as old, destination.open("xb") as new:
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


def _opened(source: Path) -> BufferedReader:
    try:
        file = open_regular(source)
    except OSError as error:
        reason = error.strerror or type(error).__name__
        raise Refused(f"{source} cannot be read: {reason}", code="not-readable", hint="plan again") from error
    if file is None:
        raise Refused(f"{source} is not a regular file", code="not-readable", hint="plan again")
    return file


def is_whole(place: Path, content: AdapterContent, names: dict[str, str], known: DigestCache | None = None) -> bool:
    """Every file is there with its content, and nothing else is; damage is found here, before a server reads it."""
    with suppress(OSError):  # what cannot be read is of no use to a server either
        return _is_whole(place, content, names, known)
    return False


def _is_whole(place: Path, content: AdapterContent, names: dict[str, str], known: DigestCache | None) -> bool:
    if place.is_symlink() or not place.is_dir():
        return False
    if {each.name for each in place.iterdir()} != set(names.values()):
        return False
    for file in content.files:
        path = place / names[file.name]
        if path.is_symlink() or not path.is_file() or path.stat().st_size != file.bytes:
            return False
        if (_hash_of(path) if known is None else known.sha256(path)) != file.sha256.lower():
            return False
    return True


def _hash_of(path: Path) -> str:
    with path.open("rb") as opened:
        return hashlib.file_digest(opened, "sha256").hexdigest()


def seal(draft: Path) -> None:
    """Note the hash of what was made beside it: it has no promise of anybody's to be compared with later."""
    with disk_errors(draft):
        (draft / "sha256").write_text(_hash_of(draft / GGUF), encoding="ascii")


def is_sealed(place: Path) -> bool:
    with suppress(OSError, ValueError):
        if place.is_symlink() or (place / GGUF).is_symlink():
            return False
        return _hash_of(place / GGUF) == (place / "sha256").read_text(encoding="ascii").strip()
    return False
