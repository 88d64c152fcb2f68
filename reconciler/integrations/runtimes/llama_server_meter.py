"""Times a model file of a store with a llama-server of its own, started for it and stopped again.

Run with llama.cpp b10434. ``-lv 4`` makes it say what it allocates; older builds say
so anyway.
"""

from __future__ import annotations

import asyncio
import os
import re
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

from reconciler.domain.desired import Target
from reconciler.domain.measurement import PROMPT, SHORTEST_RUN, Run, Timing, Trial
from reconciler.domain.observation import Installed
from reconciler.domain.units import MIB, Bytes, show_bytes
from reconciler.errors import Corrupt, Refused, Unreachable
from reconciler.formats.gguf import PREFIX_BYTES, read_header
from reconciler.integrations.runtimes.host_load import other_load
from reconciler.integrations.runtimes.llama_server_content import cached_file
from reconciler.integrations.runtimes.llama_server_program import (
    CANNOT_START,
    HOW_TO,
    PROGRAMS,
    named_program,
    supervised,
)
from reconciler.integrations.runtimes.store_files import place_in
from reconciler.ports import Clock

if TYPE_CHECKING:
    from reconciler.integrations.http import Http, Reply

_LOOK_SECONDS = 0.1
_STOP_SECONDS = 5.0
_GONE_LOOKS = 10
_LOG_TAIL_BYTES = 4096
_BUFFER = re.compile(rb":\s+(\S+)\s+(?:\S+\s+)?buffer size =\s+([\d.]+) MiB")


@dataclass(slots=True)
class _Server:
    """A started llama-server."""

    process: subprocess.Popen[bytes]
    url: str
    log: IO[bytes]
    until: float
    """By ``Clock.elapsed``."""


def model_file(target: Target, environ: Mapping[str, str]) -> Callable[[str], Path | None]:
    """Where the first file of a model is, by its name; asking blocks. A router's models are found in its cache."""
    if target.runtime == "llama-server":
        return lambda name: cached_file(target, environ, name)
    return lambda name: place_in(Path(target.path or ""), name)


class LlamaServerMeter:
    """The ``Meter`` port over the files of one store, or of a router's cache where this host can read it.

    The server listens on loopback only, on a port of its own, in a process group of its own that is gone when
    ``measure`` returns, raises or is cancelled.

    Args:
        target: a store or a router on this host.
        program: of the server; None: the first of ``PROGRAMS`` on the path.
        http: closed with this meter.
        clock: waits, and tells when the time is over.
        environ: what the server is started with, and whose ``PATH`` is searched.
    """

    def __init__(
        self, target: Target, *, program: Path | None, http: Http, clock: Clock, environ: Mapping[str, str]
    ) -> None:
        self._target = target
        self._place = model_file(target, environ)
        self._named = program
        self._http = http
        self._clock = clock
        self._environ = dict(environ)

    async def close(self) -> None:
        await self._http.close()

    @property
    def program(self) -> str | None:
        """The server's program; None where there is none."""
        if self._named is not None:
            return named_program(self._named, self._environ.get("PATH"))
        found = (shutil.which(name, path=self._environ.get("PATH")) for name in PROGRAMS)
        return next((path for path in found if path), None)

    async def obstacle(self, model: Installed, ram: Bytes) -> str | None:
        if self.program is None:
            named = f"{self._named} is not a program" if self._named else "no llama-server is on the path"
            return f"{named}: {HOW_TO}"
        if model.loaded:
            return "another program has it open: both would be slower"
        path = await asyncio.to_thread(self._place, model.name)
        if path is None:
            return f"its file cannot be found here: `cache:` of {self._target.name} says where its router keeps them"
        wrong = await asyncio.to_thread(_not_a_model, path)
        if wrong is not None:
            return wrong
        import psutil

        available = psutil.virtual_memory().available
        if ram > available:
            return f"it takes {show_bytes(ram)} of memory, and {show_bytes(available)} are free now"
        return None

    async def measure(self, model: Installed, trial: Trial) -> Timing:
        path = await asyncio.to_thread(self._place, model.name)
        if path is None:
            raise Refused(f"{model.name} is not there any more", code="not-measurable")
        load = await other_load()
        begun = self._clock.elapsed()
        async with self._running(path, trial) as server:
            await self._ready(server, model, trial)
            loaded = self._clock.elapsed() - begun
            properties = await self._properties(server)
            runs = await self._runs(server, model, trial)
            taken, accelerated = _buffers(server.log) or (_resident(server.process.pid), None)
        return Timing(
            runtime="llama-server",
            runtime_version=properties.get("build_info") if isinstance(properties.get("build_info"), str) else None,
            context=_context(properties) or trial.context,
            runs=runs,
            load_seconds=loaded,
            loaded_bytes=taken,
            on_accelerator=accelerated,
            other_load=load,
        )

    @asynccontextmanager
    async def _running(self, path: Path, trial: Trial) -> AsyncIterator[_Server]:
        if self.program is None:
            raise Refused(HOW_TO, code="not-measurable")
        port = _free_port()
        words = [
            self.program, "-m", str(path), "--host", "127.0.0.1", "--port", str(port), "-c", str(trial.context),
            "-np", "1", "-lv", "4",
        ]  # fmt: skip
        with tempfile.TemporaryFile() as log:
            reading, writing = os.pipe()  # closed by the system when we die, however we die: then the server goes too
            try:
                process = subprocess.Popen(  # noqa: ASYNC220 - at once: nothing may come between starting and stopping
                    supervised(words, reading), stdin=subprocess.DEVNULL, stdout=log, stderr=log, env=self._environ,
                    start_new_session=True, pass_fds=(reading,),
                )  # fmt: skip
            except OSError as error:
                os.close(writing)
                reason = error.strerror or type(error).__name__
                raise Refused(f"{self.program} cannot be started: {reason}", hint=HOW_TO) from error
            finally:
                os.close(reading)
            try:
                until = self._clock.elapsed() + trial.max_seconds
                yield _Server(process, f"http://127.0.0.1:{port}", log, until)
            finally:
                try:
                    await asyncio.shield(asyncio.to_thread(_stop, process))
                finally:
                    os.close(writing)

    def _seconds_left(self, server: _Server) -> float:
        return server.until - self._clock.elapsed()

    async def _ready(self, server: _Server, model: Installed, trial: Trial) -> None:
        """Until it has loaded the model.

        Raises:
            Refused: it ended. Unreachable: it takes too long.
        """
        while self._seconds_left(server) > 0:
            if server.process.poll() == CANNOT_START:
                raise Refused(_last_words(server.log), hint=HOW_TO)
            if server.process.poll() is not None:
                raise Refused(f"llama-server does not load {model.name}: {_last_words(server.log)}")
            with suppress(Unreachable):
                reply = await self._http.request("GET", f"{server.url}/health", timeout_seconds=2, retries=0)
                if reply.ok:
                    return
            await self._clock.sleep(_LOOK_SECONDS)
        raise _too_slow(model, trial)

    async def _properties(self, server: _Server) -> Mapping[str, Any]:
        reply = await self._http.request("GET", f"{server.url}/props", timeout_seconds=5, retries=1)
        return _mapping(reply) if reply.ok else {}

    async def _runs(self, server: _Server, model: Installed, trial: Trial) -> tuple[Run, ...]:
        """As many as were asked for, or as the time allows; at least one."""
        runs: list[Run] = []
        for number in range(1, trial.runs + 1):
            left = self._seconds_left(server)
            if runs and left < 1.5 * (runs[-1].seconds + runs[-1].prompt_seconds):
                break
            try:
                runs.append(await self._run(server, model, number, trial.generate_tokens, max(0.01, left)))
            except Unreachable as error:
                if runs:
                    break
                raise (_too_slow(model, trial) if error.code == "timed-out" else error) from error
        return tuple(runs)

    async def _run(self, server: _Server, model: Installed, number: int, tokens: int, seconds: float) -> Run:
        asked = {
            "prompt": f"{number}. {PROMPT}", "n_predict": tokens, "temperature": 0, "seed": 1, "cache_prompt": False,
            "ignore_eos": True,
        }  # fmt: skip
        reply = await self._http.request(
            "POST", f"{server.url}/completion", json=asked, timeout_seconds=seconds, retries=0
        )
        if not reply.ok:
            raise Refused(
                f"llama-server does not generate with {model.name}: it answered {reply.status}: "
                f"{reply.body[:200].decode('utf-8', 'replace').strip()}",
                code="not-measurable",
            )
        return _timed(_mapping(reply).get("timings"), model)


def _timed(timings: object, model: Installed) -> Run:
    """What the server says of one answer. Its clock starts with the first token, which comes with the prompt.

    Raises:
        Corrupt: it says nothing, or too little to tell a speed.
    """
    found = timings if isinstance(timings, dict) else {}
    count, milliseconds = _number(found.get("predicted_n")), _number(found.get("predicted_ms"))
    if count < SHORTEST_RUN or milliseconds <= 0:
        raise Corrupt(f"{model.name} answered with {count:g} tokens: too few to tell its speed", code="not-measurable")
    return Run(
        prompt_tokens=int(_number(found.get("prompt_n"))),
        prompt_seconds=_number(found.get("prompt_ms")) / 1000,
        generated_tokens=int(count),
        seconds=milliseconds / 1000 * count / (count - 1),
    )


def _number(value: object) -> float:
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    return float(value) if is_number and value > 0 else 0.0  # type: ignore[operator, arg-type]


def _mapping(reply: Reply) -> Mapping[str, Any]:
    document = reply.json()
    if not isinstance(document, dict):
        raise Corrupt("llama-server answered something else than an object", code="bad-answer")
    return document


def _context(properties: Mapping[str, Any]) -> int | None:
    settings = properties.get("default_generation_settings")
    found = settings.get("n_ctx") if isinstance(settings, dict) else None
    return found if isinstance(found, int) and found > 0 else None


def _buffers(log: IO[bytes]) -> tuple[Bytes, float] | None:
    r"""Bytes it allocated as it logged them, and the share on accelerators; None where it logged nothing.

    >>> import io
    >>> _buffers(io.BytesIO(b"x:  CUDA0 model buffer size =  30.00 MiB\nx:  CPU KV buffer size =  10.00 MiB\n"))
    (41943040, 0.75)
    """
    log.seek(0)
    found = [(device, float(size)) for device, size in _BUFFER.findall(log.read())]
    total = sum(size for _, size in found)
    if total <= 0:
        return None
    accelerated = sum(size for device, size in found if not device.startswith(b"CPU") and b"_Host" not in device)
    return Bytes(round(total * MIB)), accelerated / total


def _resident(pid: int) -> Bytes | None:
    """Memory of a process and its children, mapped files included."""
    import psutil

    with suppress(psutil.Error):
        process = psutil.Process(pid)
        return Bytes(sum(one.memory_info().rss for one in (process, *process.children(recursive=True))))
    return None


def _last_words(log: IO[bytes]) -> str:
    """The last error in a log, else its last line."""
    size = log.seek(0, os.SEEK_END)
    log.seek(max(0, size - _LOG_TAIL_BYTES))
    lines = [line.strip() for line in log.read().decode("utf-8", "replace").splitlines() if line.strip()]
    errors = [line for line in lines if "error" in line.lower()]
    return next(iter([*errors[-1:], *lines[-1:]]), "it said nothing")[-300:]


def _not_a_model(path: Path) -> str | None:
    """What its first bytes tell of a file that no server could load. What cannot be read is the server's to say."""
    try:
        size = path.stat().st_size
        with path.open("rb") as file:
            beginning = file.read(PREFIX_BYTES)
    except OSError:
        return None
    if size == 0:
        return "its file is empty"
    try:
        read_header(beginning, size=size, dimensions_only=True)
    except ValueError as error:
        return f"its file cannot be loaded: {error}"
    return None


def _free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])


def _stop(process: subprocess.Popen[bytes]) -> None:
    """The whole group: the program may be a script that started the server."""
    for number in (signal.SIGTERM, signal.SIGKILL):
        with suppress(ProcessLookupError, PermissionError):
            os.killpg(process.pid, number)
        with suppress(subprocess.TimeoutExpired):
            process.wait(_STOP_SECONDS)
    for _ in range(_GONE_LOOKS):  # what it started is init's to reap: that takes a moment
        try:
            os.killpg(process.pid, 0)
        except (ProcessLookupError, PermissionError):
            return
        time.sleep(_LOOK_SECONDS)


def _too_slow(model: Installed, trial: Trial) -> Unreachable:
    return Unreachable(
        f"{model.name} was not done within {trial.max_seconds:g} s",
        code="timed-out",
        hint="give it longer with --max-time",
    )
