"""The llama-server that measures: which program it is, and how it is started so that it never outlives us."""

from __future__ import annotations

import shutil
import sys
from contextlib import suppress
from pathlib import Path

PROGRAMS = ("llama-server", "llama-server-vulkan")
"""Looked for on the path, in this order."""
HOW_TO = "install llama.cpp, or name its server: --llama-server PATH"
CANNOT_START = 127
_MAGIC = (
    b"#!", b"\x7fELF", b"MZ", b"\xcf\xfa\xed\xfe", b"\xce\xfa\xed\xfe", b"\xca\xfe\xba\xbe", b"\xfe\xed\xfa\xcf",
)  # fmt: skip
"""What a script or a program of Linux, Windows and macOS begins with."""

_SUPERVISOR = """
import os, signal, subprocess, sys, threading

def nothing(*_):
    pass

for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
    signal.signal(number, nothing)  # the server gets them too, and ends by itself; so do we then
pipe = int(sys.argv[1])
try:
    server = subprocess.Popen(sys.argv[2:])
except OSError as error:
    print(f"error: {sys.argv[2]} cannot be started: {error.strerror or error}", file=sys.stderr)
    sys.exit(127)

def watch():
    while os.read(pipe, 1):
        pass
    os.killpg(0, signal.SIGKILL)

threading.Thread(target=watch, daemon=True).start()
code = server.wait()
os._exit(code if code >= 0 else 128 - code)
"""
"""Holds the reading end of a pipe whose other end only we hold: it ends, however we do, and the whole group with it."""


def named_program(named: Path, search: str | None) -> str | None:
    """The path of a program that a person named, by place or by a name on the search path; None: it is none."""
    found = shutil.which(str(named.expanduser()), path=search)
    if found is None:
        return None
    beginning = b""
    with suppress(OSError), open(found, "rb") as file:  # noqa: PTH123 - a path as ``which`` gives it
        beginning = file.read(4)
    return found if not beginning or beginning.startswith(_MAGIC) else None


def supervised(words: list[str], pipe: int) -> list[str]:
    """The command that runs ``words`` and ends it, with all it started, once the other end of ``pipe`` is closed.

    Args:
        words: the program and its arguments.
        pipe: the reading end, inherited by the command.
    """
    if not sys.executable:  # embedded: nothing to hold the pipe with
        return words
    return [sys.executable, "-I", "-S", "-c", _SUPERVISOR, str(pipe), *words]
