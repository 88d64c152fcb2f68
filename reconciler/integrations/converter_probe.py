"""Whether llama.cpp's converter would run, asked before anything depends on it: is it that script, and can its Python
find what it imports. Nothing of it is run for that, and nothing large imported.

Source:
    llama.cpp b10605: of ``requirements/requirements-convert_lora_to_gguf.txt``, the packages that are large and so
    often not there.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
from collections.abc import Iterable, Mapping
from contextlib import suppress
from pathlib import Path

from reconciler.errors import Refused
from reconciler.integrations.runtimes.digest_cache import stamp_of

_IMPORTED = re.compile(r"^[ \t]*(?:import|from)[ \t]+(torch|transformers|safetensors)\b", re.MULTILINE)
_USAGE = ("--outfile", "--outtype", "lora")
_SOURCE_BYTES = 4 * 2**20
_SECONDS = 20.0
_ASK = (
    "import importlib.util as u, json, sys;"
    "print(json.dumps([name for name in sys.argv[1:] if u.find_spec(name) is None]))"
)
_complete: set[tuple[str, str, tuple[str, ...]]] = set()
"""(interpreter, its stamp, packages) that were all there; what is missing may be installed at any time."""


def refuse_what_is_no_converter(script: Path, name: str, hint: str) -> None:
    """A file of Python source that is called as the converter is, or is used as it.

    Raises:
        Refused: ``no-converter``.
    """
    text = _text(script)
    if "\0" in text or (script.name != name and not all(word in text for word in _USAGE)):
        raise Refused(
            f"an adapter as peft saves it cannot be made a GGUF: {script} is not llama.cpp's {name}",
            code="no-converter",
            hint=hint,
        )


def missing_packages(words: list[str], companions: Iterable[Path], environ: Mapping[str, str]) -> tuple[str, ...]:
    """Packages that the converter imports and its Python cannot find; nothing where nobody can tell. Blocks.

    Args:
        words: how it is started: an interpreter and the script, or the script alone.
        companions: what it imports from beside it.
        environ: that it is started with.
    """
    script = Path(words[-1])
    sources = "\n".join(_text(path) for path in (script, *companions))
    wanted = tuple(sorted(set(_IMPORTED.findall(sources))))
    python = words[0] if len(words) > 1 else _interpreter(script, environ)
    if not wanted or python is None:
        return ()
    with suppress(OSError, subprocess.SubprocessError, ValueError):
        known = (python, stamp_of(Path(python).stat()), wanted)
        if known in _complete:
            return ()
        asked = subprocess.run(
            [python, "-c", _ASK, *wanted], env=dict(environ), cwd=script.parent, stdin=subprocess.DEVNULL,
            capture_output=True, timeout=_SECONDS, check=True,
        )  # fmt: skip
        missing = json.loads(asked.stdout)
        if missing == []:
            _complete.add(known)
        return tuple(name for name in wanted if name in missing)
    return ()


def _interpreter(script: Path, environ: Mapping[str, str]) -> str | None:
    """Of a script that says itself what runs it; None: no Python, or it says nothing."""
    first, _, _ = _text(script).partition("\n")
    words = first.removeprefix("#!").split() if first.startswith("#!") else []
    if words and Path(words[0]).name == "env":
        words = [word for word in words[1:] if not word.startswith("-")]
    if not words or "python" not in Path(words[0]).name:
        return None
    return words[0] if os.path.isabs(words[0]) else shutil.which(words[0], path=environ.get("PATH"))  # noqa: PTH117


def _text(path: Path) -> str:
    with suppress(OSError), path.open("rb") as file:
        return file.read(_SOURCE_BYTES).decode("utf-8", "replace")
    return ""
