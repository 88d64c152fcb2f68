"""Everything a probe may touch, as small protocols: programs, files, the operating system.

Tests hand in recordings instead; nothing else in this package opens, runs or asks anything.
"""

from __future__ import annotations

import contextlib
import os
import platform
import signal
import subprocess
import sys
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Literal, Protocol

from reconciler.errors import Refused, Unreachable

SHELL_TIMEOUT_SECONDS = 5.0
SHELL_OUTPUT_BYTES = 4 * 2**20
FILE_BYTES = 2**20

System = Literal["linux", "macos", "windows", "other"]


class Shell(Protocol):
    """Runs one program to its end."""

    def run(self, argv: Sequence[str]) -> str:
        """What it printed on stdout.

        Raises:
            Refused: not installed, a non-zero exit, or more output than we take.
            Unreachable: no end within the time limit.
        """
        ...


class FileTree(Protocol):
    """Reads small text files such as those of ``/sys`` and ``/proc``."""

    def read(self, path: str) -> str:
        """The text, stripped. Raises ``OSError`` where there is none."""
        ...

    def names(self, path: str) -> tuple[str, ...]:
        """Names in a folder, sorted; empty where there is none."""
        ...


class OperatingSystem(Protocol):
    """What the interpreter itself knows of the machine."""

    @property
    def system(self) -> System: ...

    @property
    def arch(self) -> str: ...

    @property
    def node(self) -> str: ...

    def memory(self) -> tuple[int, int | None]:
        """Total and available bytes."""
        ...

    def processors(self) -> tuple[str, int]:
        """Brand string (may be empty) and logical processors this process may run on."""
        ...


class LocalShell:
    """Programs of this machine: argv only, never a shell; a process group each, so that nothing outlives its time."""

    def __init__(
        self, *, timeout_seconds: float = SHELL_TIMEOUT_SECONDS, output_bytes: int = SHELL_OUTPUT_BYTES
    ) -> None:
        self._timeout_seconds = timeout_seconds
        self._output_bytes = output_bytes

    def run(self, argv: Sequence[str]) -> str:
        try:
            process = _start(argv)
        except OSError as error:
            raise Refused(f"{argv[0]} is not installed ({error.strerror or error})") from error
        timed_out = threading.Event()
        timer = threading.Timer(self._timeout_seconds, _stop_late, (process, timed_out))
        timer.daemon = True
        timer.start()
        try:
            output = process.stdout.read(self._output_bytes + 1) if process.stdout else b""
            too_much = len(output) > self._output_bytes
            if too_much:
                _kill(process)
            code = process.wait()
        finally:
            timer.cancel()
            if process.stdout:
                process.stdout.close()
        if timed_out.is_set():
            raise Unreachable(f"{argv[0]} did not end within {self._timeout_seconds:g} s")
        if too_much:
            raise Refused(f"{argv[0]} printed more than {self._output_bytes} bytes")
        text = output.decode("utf-8", "replace")
        if code:
            raise Refused(f"{argv[0]} ended with {code}: {text.strip()[-200:] or 'no output'}")
        return text


def _start(argv: Sequence[str]) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        list(argv),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        env={**os.environ, "LC_ALL": "C"},
        start_new_session=True,
        creationflags=getattr(subprocess, "CREATE_NO_WINDOW", 0),
    )


def _stop_late(process: subprocess.Popen[bytes], timed_out: threading.Event) -> None:
    timed_out.set()
    _kill(process)


def _kill(process: subprocess.Popen[bytes]) -> None:
    with contextlib.suppress(OSError):
        if sys.platform == "win32":
            process.kill()
        else:
            os.killpg(process.pid, signal.SIGKILL)


class LocalFiles:
    """Files of this machine; at most 1 MiB of each."""

    def read(self, path: str) -> str:
        with Path(path).open("rb") as file:
            return file.read(FILE_BYTES).decode("utf-8", "replace").strip("\0 \t\r\n")

    def names(self, path: str) -> tuple[str, ...]:
        try:
            return tuple(sorted(os.listdir(path)))  # noqa: PTH208 — names, not paths
        except OSError:
            return ()


class LocalSystem:
    """This machine. On Linux all of it comes from ``/proc``; psutil, which takes 16 ms to import, serves the others."""

    def __init__(self, files: FileTree) -> None:
        self._files = files

    @property
    def system(self) -> System:
        known: dict[str, System] = {"linux": "linux", "darwin": "macos", "win32": "windows"}
        return known.get(sys.platform, "other")

    @property
    def arch(self) -> str:
        machine = platform.machine().lower()
        return {"amd64": "x86_64", "aarch64": "arm64"}.get(machine, machine)

    @property
    def node(self) -> str:
        return platform.node()

    def memory(self) -> tuple[int, int | None]:
        if self.system == "linux":
            fields = parse_meminfo(self._files.read("/proc/meminfo"))
            if fields.get("MemTotal"):
                return fields["MemTotal"], fields.get("MemAvailable")
        import psutil

        memory = psutil.virtual_memory()
        return int(memory.total), int(memory.available)

    def processors(self) -> tuple[str, int]:
        count = len(os.sched_getaffinity(0)) if sys.platform == "linux" else os.cpu_count() or 1
        return self._brand(), count

    def _brand(self) -> str:
        if sys.platform == "win32":  # pragma: no cover — by replay only
            import winreg

            path = r"HARDWARE\DESCRIPTION\System\CentralProcessor\0"
            with contextlib.suppress(OSError), winreg.OpenKey(winreg.HKEY_LOCAL_MACHINE, path) as key:
                return str(winreg.QueryValueEx(key, "ProcessorNameString")[0]).strip()
        if self.system == "linux":
            return linux_brand(self._files)
        return platform.processor()


def parse_meminfo(text: str) -> dict[str, int]:
    """Bytes by name, of ``/proc/meminfo``.

    >>> parse_meminfo("MemTotal:       24684092 kB")
    {'MemTotal': 25276510208}
    """
    found = {}
    for line in text.splitlines():
        name, _, value = line.partition(":")
        amount, _, unit = value.strip().partition(" ")
        if amount.isascii() and amount.isdigit():
            found[name.strip()] = int(amount) * (1024 if unit == "kB" else 1)
    return found


def linux_brand(files: FileTree) -> str:
    """The processor's brand string; on boards that print none, the board's name from the device tree."""
    with contextlib.suppress(OSError):
        for line in files.read("/proc/cpuinfo").splitlines():
            name, _, value = line.partition(":")
            if name.strip() == "model name" and value.strip():
                return value.strip()
    with contextlib.suppress(OSError):
        return files.read("/proc/device-tree/model").strip()
    return ""


def read_or_none(files: FileTree, path: str) -> str | None:
    """A file's text, or None where it cannot be read."""
    try:
        return files.read(path)
    except (OSError, ValueError):
        return None


def read_number(files: FileTree, path: str) -> int | None:
    """A file's whole number, decimal or ``0x…``; None where there is none."""
    text = read_or_none(files, path)
    try:
        return int(text, 0) if text else None
    except ValueError:
        return None
