"""The real command line in a process of its own that dies, or is refused something, at a chosen file operation.

Run as a program it keeps everything loaded and forks once for each line of JSON it reads; each fork is one command from
its first line to its last. Every change of a file is an instant: open for writing, write, flush, rename, remove, mkdir;
and so is every connection to a server.

    {"arguments", "folder", "environment", "out", "root", "at": 17, "how": "kill" | "torn" | "power" | "filled" | errno}

``kill`` dies before the operation; ``torn`` in the middle of it, where it is a write; ``power`` also loses what was never
flushed to the disk, as a machine does that is switched off; ``filled``: from then on nothing is free on the disk, because
another program took it, which no operation is refused for yet (without ``at``: once the file ``full`` is there); ``changed``:
somebody saves the file ``save[0]`` as ``save[1]`` there, and it goes on; a number is an error that this operation meets, and every
later one where ``for_good`` says so. With ``finely`` each block of a file that is copied and each request, before it goes
and before its answer is read, is an instant too. ``roots`` are more folders like ``root``. ``plant`` names a defect of ``planted.py``. With ``after`` it is killed from outside so many seconds after it began, whatever it
is doing. The answer is ``{"code", "instants", "copies"}``, a code below zero being the signal's.
"""

# ruff: noqa: PTH100, PTH113, PTH115, PTH202, T201 - it stands below pathlib, and talks over a pipe
from __future__ import annotations

import importlib
import io
import json
import os
import shutil
import signal
import socket
import sys
import time
from pathlib import Path
from typing import Any

WRITING = os.O_WRONLY | os.O_RDWR | os.O_CREAT
LONGEST_SECONDS = 60.0
KILLED = 137


class Disk:
    """Counts the operations below its roots, and lets one of them go wrong."""

    def __init__(self, wish: dict[str, Any]) -> None:
        self.roots = tuple(os.path.realpath(root) for root in (wish["root"], *wish.get("roots", ())))
        self.finely: bool = wish.get("finely", False)
        self.save: list[str] = wish.get("save", [])
        self.at, self.how, self.for_good = wish.get("at"), wish.get("how", "kill"), wish.get("for_good", False)
        self.instants = 0
        self.copies: list[int] = []
        """Instants of these at which a block of a file is copied."""
        self.full: str = wish.get("full", "")
        self.unflushed: dict[str, list[tuple[int, int]] | None] = {}
        """Path → ranges written since the last flush; None: the whole file."""
        self._fsync, self._pwrite, self._write, self._statvfs = os.fsync, os.pwrite, os.write, os.statvfs
        self._busy = self._refused = False

    def watch(self) -> None:
        """From now on, in this process."""
        os.fsync, os.fdatasync = self.fsync, self.fsync
        os.pwrite, os.write, os.statvfs = self.pwrite, self.write, self.statvfs
        sys.addaudithook(self.heard)
        if self.finely:
            self.watch_finely()

    def watch_finely(self) -> None:
        """Requests over a connection that stands, and blocks of a file that is written whole."""
        disk, opened, send, receive = self, io.open, socket.socket.send, socket.socket.recv
        asked: set[int] = set()

        class Blocks(io.FileIO):
            def write(self, content: Any) -> int:
                disk.copies.append(disk.instants + 1)
                half = bytes(content)[: len(content) // 2]
                disk.instant(lambda: super(Blocks, self).write(half))
                return super().write(content) or 0

        def whole(file: Any, mode: str = "r", *more: Any, **named: Any) -> Any:
            if mode == "xb" and disk._is_ours(os.fspath(file)):
                return io.BufferedWriter(Blocks(file, mode))
            return opened(file, mode, *more, **named)

        def sent(connection: socket.socket, *given: Any) -> int:
            asked.add(connection.fileno())
            disk.line()
            return send(connection, *given)

        def received(connection: socket.socket, *given: Any) -> bytes:
            answer = receive(connection, *given)
            if connection.fileno() in asked:
                asked.discard(connection.fileno())
                disk.line()
            return answer

        io.open = whole  # type: ignore[assignment]
        socket.socket.send, socket.socket.recv = sent, received  # type: ignore[method-assign,assignment]

    # what the interpreter tells of

    def heard(self, event: str, arguments: tuple[Any, ...]) -> None:
        if event == "socket.connect":
            self.line()
        if self._busy or event not in ("open", "os.rename", "os.remove", "os.rmdir", "os.mkdir", "os.truncate"):
            return
        path = arguments[0]
        if event == "open" and (not isinstance(path, str | bytes) or not (arguments[2] or 0) & WRITING):
            return
        if not isinstance(path, str | bytes | os.PathLike) or not self._is_ours(os.fspath(path)):
            return
        self.instant()
        name = os.path.abspath(os.fsdecode(path))
        if event == "open" and not name.endswith(".partial"):
            self.unflushed[name] = None
        elif event == "os.rename":
            moved = self.unflushed.pop(name, [])
            if moved != []:
                self.unflushed[os.path.abspath(os.fsdecode(arguments[1]))] = moved

    def _is_ours(self, path: str | bytes) -> bool:
        return os.path.abspath(os.fsdecode(path)).startswith(self.roots)

    def _path(self, descriptor: int) -> str | None:
        try:
            path = os.readlink(f"/proc/self/fd/{descriptor}")
        except OSError:
            return None
        return path if self._is_ours(path) else None

    # what it does not tell of

    def fsync(self, descriptor: int) -> None:
        path = self._path(descriptor)
        if path is not None:
            self.instant()
        self._fsync(descriptor)
        self.unflushed.pop(path or "", None)

    def pwrite(self, descriptor: int, content: Any, offset: int) -> int:
        path = self._path(descriptor)
        if path is not None:
            self.instant(lambda: self._pwrite(descriptor, bytes(content)[: len(content) // 2], offset))
            ranges = self.unflushed.setdefault(path, [])
            if ranges is not None:
                ranges.append((offset, len(content)))
        return self._pwrite(descriptor, content, offset)

    def write(self, descriptor: int, content: Any) -> int:
        if self._path(descriptor) is not None:
            self.instant(lambda: self._write(descriptor, bytes(content)[: len(content) // 2]))
        return self._write(descriptor, content)

    def statvfs(self, path: Any) -> os.statvfs_result:
        found = self._statvfs(path)
        begun = self.instants >= self.at if self.at is not None else os.path.lexists(self.full)
        if self.how != "filled" or not begun:
            return found
        size, fragment, blocks, _free, _available, *rest = found
        return os.statvfs_result((size, fragment, blocks, 0, 0, *rest))

    # what goes wrong

    def line(self) -> None:
        """A connection is an instant to die at; the disk has nothing to refuse there, and does at its next operation."""
        if isinstance(self.how, int):
            self.instants += 1
            return
        self.instant()

    def instant(self, half: Any = lambda: None) -> None:
        self.instants += 1
        if self.at is None or self.instants < self.at or self._busy or self.how == "filled":
            return
        if isinstance(self.how, int):
            if self.for_good or not self._refused:
                self._refused = True
                raise OSError(self.how, os.strerror(self.how))
            return
        self._busy = True
        if self.how == "changed":
            if self.instants == self.at:
                shutil.copyfile(self.save[0], self.save[1])
            self._busy = False
            return
        if self.how == "torn":
            half()
        if self.how == "power":
            self._lose()
        os._exit(KILLED)

    def _lose(self) -> None:
        """Of what was not flushed, half a file or zeros are left."""
        for path, ranges in self.unflushed.items():
            if not os.path.isfile(path):
                continue
            if ranges is None:
                os.truncate(path, os.path.getsize(path) // 2)
                continue
            descriptor = os.open(path, os.O_RDWR)
            for offset, length in ranges:
                self._pwrite(descriptor, bytes(length), offset)
            os.close(descriptor)


def live(wish: dict[str, Any]) -> None:
    """One command, in this process, to its end."""
    os.chdir(wish["folder"])
    os.environ.clear()
    os.environ.update(wish["environment"])
    Path(wish["root"]).mkdir(parents=True, exist_ok=True)
    for number, name in ((0, os.devnull), (1, wish["out"] + ".out"), (2, wish["out"] + ".err")):
        descriptor = os.open(name, os.O_RDWR | os.O_CREAT | os.O_TRUNC, 0o600)
        os.dup2(descriptor, number)
    disk = Disk(wish)
    disk.watch()
    from reconciler.__main__ import main

    if plant := wish.get("plant"):
        importlib.import_module("tests.campaign.planted").PLANTS[plant]()
    code = 1
    try:
        code = main(wish["arguments"])
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        disk._busy = True
        found = {"instants": disk.instants, "copies": disk.copies, "modules": sorted(sys.modules)}
        Path(wish["out"] + ".count").write_text(json.dumps(found), encoding="utf-8")
        os._exit(code)


def ended(pid: int, seconds: float) -> int:
    """How a fork ended; one that takes longer is killed, and that is what it says."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        found, status = os.waitpid(pid, os.WNOHANG)
        if found:
            return os.waitstatus_to_exitcode(status)
        time.sleep(0.005)
    os.kill(pid, signal.SIGKILL)
    os.waitpid(pid, 0)
    return -signal.SIGKILL


def load(modules: list[str]) -> None:
    """What a command needed, so that the next one has it already."""
    for name in modules:
        if name not in sys.modules and name.partition(".")[0] in {
            "reconciler",
            "httpx",
            "httpcore",
            "anyio",
            "filelock",
        }:
            importlib.import_module(name)


def serve() -> None:
    """Answer one line after the other."""
    for line in sys.stdin:
        wish = json.loads(line)
        pid = os.fork()
        if pid == 0:
            live(wish)
        code = ended(pid, wish.get("after") or LONGEST_SECONDS)
        count = Path(wish["out"] + ".count")
        told = json.loads(count.read_text(encoding="utf-8")) if count.exists() else {}
        count.unlink(missing_ok=True)
        load(told.get("modules", []))
        print(
            json.dumps({"code": code, "instants": told.get("instants"), "copies": told.get("copies", [])}), flush=True
        )


if __name__ == "__main__":
    serve()
