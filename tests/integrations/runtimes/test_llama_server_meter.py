"""A llama-server is started for one model and is gone afterwards, however it ends. Here a script plays it; the real one
is in ``tests/e2e/test_measure.py``.
"""

from __future__ import annotations

import asyncio
import io
import json
import os
import subprocess
import sys
import textwrap
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import psutil
import pytest

from reconciler.domain.desired import Target
from reconciler.domain.measurement import PROMPT, Trial
from reconciler.domain.observation import Installed
from reconciler.domain.units import MIB, Bytes
from reconciler.errors import Corrupt, Refused, Unreachable
from reconciler.integrations.clock import SystemClock
from reconciler.integrations.http import Http
from reconciler.integrations.runtimes.llama_server_meter import LlamaServerMeter, _buffers
from reconciler.integrations.runtimes.llama_server_program import supervised

NAME = "acme/tiny-GGUF/tiny-Q8_0.gguf"
MODEL = Installed(name=NAME, bytes=Bytes(1000))
RAM = Bytes(1000)
TRIAL = Trial(context=1024, generate_tokens=41, runs=2, max_seconds=20)

SERVER = """
    import json, os, signal, subprocess, sys, time
    from http.server import BaseHTTPRequestHandler, HTTPServer
    from pathlib import Path

    mode = {mode!r}
    here = Path(__file__).parent
    words = dict(zip(sys.argv[1::2], sys.argv[2::2]))
    (here / "words.json").write_text(json.dumps(words))
    if mode == "ends":
        print("loading\\nE error loading model: bad magic")
        sys.exit(1)
    if mode == "stubborn":
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
    child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"])
    (here / "pids").write_text(f"{{os.getpid()}} {{child.pid}}")
    print("0.00 I load_tensors:   CPU_Mapped model buffer size =    30.00 MiB", file=sys.stderr)
    print("0.00 I llama_kv_cache:        CUDA0 KV buffer size =    10.00 MiB", file=sys.stderr, flush=True)

    class Answers(BaseHTTPRequestHandler):
        def do_GET(self):
            if self.path == "/health" and mode == "never":
                return self.give(503, {{"error": {{"message": "Loading model"}}}})
            self.give(200, {{"build_info": "b1", "default_generation_settings": {{"n_ctx": 1280}}}})

        def do_POST(self):
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            with (here / "asked.jsonl").open("a") as file:
                file.write(json.dumps(body) + "\\n")
            if mode == "hangs":
                time.sleep(60)
            if mode == "refuses":
                return self.give(501, {{"error": {{"message": "this model does not support completions"}}}})
            count = 3 if mode == "short" else body["n_predict"]
            timings = {{"prompt_n": 140, "prompt_ms": 350.0, "predicted_n": count, "predicted_ms": 1000.0}}
            self.give(200, {{"content": "words", "timings": timings}})

        def give(self, status, document):
            text = json.dumps(document).encode()
            self.send_response(status)
            self.send_header("Content-Length", str(len(text)))
            self.end_headers()
            self.wfile.write(text)

        def log_message(self, *_):
            pass

    HTTPServer((words["--host"], int(words["--port"])), Answers).serve_forever()
"""


def program(folder: Path, mode: str) -> Path:
    path = folder / "llama-server"
    path.write_text(f"#!{sys.executable}\n" + textwrap.dedent(SERVER.format(mode=mode)))
    path.chmod(0o755)
    return path


@asynccontextmanager
async def metering(folder: Path, mode: str, **more: object) -> AsyncIterator[LlamaServerMeter]:
    clock = SystemClock()
    environ = {"PATH": str(folder)}
    named = {"program": program(folder, mode)} | more
    target = Target(name="box", path=str(folder / "models"))
    meter = LlamaServerMeter(target, http=Http(clock=clock), clock=clock, environ=environ, **named)  # type: ignore[arg-type]
    yield meter
    await meter.close()


def running(folder: Path) -> list[int]:
    """Which of the server and its child are still there."""
    pids = [int(word) for word in (folder / "pids").read_text().split()]
    found = [psutil.Process(pid) for pid in pids if psutil.pid_exists(pid)]
    _, alive = psutil.wait_procs(found, timeout=3)
    return [one.pid for one in alive if one.status() != psutil.STATUS_ZOMBIE]


async def test_a_model_is_timed_by_what_its_server_says(tmp_path: Path) -> None:
    async with metering(tmp_path, "answers") as meter:
        assert await meter.obstacle(MODEL, RAM) is None
        found = await meter.measure(MODEL, TRIAL)
    assert running(tmp_path) == []
    words = json.loads((tmp_path / "words.json").read_text())
    assert words["-m"] == str(tmp_path / "models" / NAME)
    assert (words["--host"], words["-c"], words["-np"]) == ("127.0.0.1", "1024", "1")
    # the first of 41 tokens comes with the prompt: 40 took the second
    assert [round(speed, 9) for speed in found.speeds] == [40.0, 40.0]
    assert (found.runtime, found.runtime_version, found.context) == ("llama-server", "b1", 1280)
    assert found.prompt_speed == pytest.approx(400)
    assert (found.loaded_bytes, found.on_accelerator) == (40 * MIB, 0.25)
    asked = [json.loads(line) for line in (tmp_path / "asked.jsonl").read_text().splitlines()]
    assert [one["prompt"] for one in asked] == [f"1. {PROMPT}", f"2. {PROMPT}"]
    assert not any(one["cache_prompt"] for one in asked)


@pytest.mark.parametrize("mode", ["stubborn", "hangs"])
async def test_a_stop_leaves_nothing_running(tmp_path: Path, mode: str) -> None:
    (tmp_path / "asked.jsonl").touch()
    async with metering(tmp_path, "hangs" if mode == "hangs" else "stubborn") as meter:
        work = asyncio.create_task(meter.measure(MODEL, TRIAL.model_copy(update={"runs": 20})))
        while not (tmp_path / "asked.jsonl").read_text():
            await asyncio.sleep(0.02)
        work.cancel()
        with pytest.raises(asyncio.CancelledError):
            await work
    assert running(tmp_path) == []


@pytest.mark.parametrize("mode", ["never", "hangs"])
async def test_what_takes_too_long_is_stopped(tmp_path: Path, mode: str) -> None:
    async with metering(tmp_path, mode) as meter:
        with pytest.raises(Unreachable, match="not done within") as raised:
            await meter.measure(MODEL, TRIAL.model_copy(update={"max_seconds": 1.5}))
    assert (raised.value.code, raised.value.hint) == ("timed-out", "give it longer with --max-time")
    assert running(tmp_path) == []


async def test_a_model_that_does_not_load_is_told_in_the_servers_words(tmp_path: Path) -> None:
    async with metering(tmp_path, "ends") as meter:
        with pytest.raises(Refused, match=r"does not load acme/.*: E error loading model: bad magic"):
            await meter.measure(MODEL, TRIAL)


@pytest.mark.parametrize(("mode", "says"), [("refuses", "does not support completions"), ("short", "too few")])
async def test_what_has_no_speed_is_no_failure(tmp_path: Path, mode: str, says: str) -> None:
    async with metering(tmp_path, mode) as meter:
        with pytest.raises((Refused, Corrupt), match=says) as raised:
            await meter.measure(MODEL, TRIAL)
    assert raised.value.code == "not-measurable"
    assert running(tmp_path) == []


async def test_without_a_program_the_reason_says_how(tmp_path: Path) -> None:
    empty = tmp_path / "empty"
    empty.mkdir()
    async with metering(empty, "answers", program=tmp_path / "nothing") as meter:
        assert await meter.obstacle(MODEL, RAM) == (
            f"{tmp_path / 'nothing'} is not a program: install llama.cpp, or name its server: --llama-server PATH"
        )
    async with metering(empty, "answers", program=None) as meter:
        assert meter.program == str(empty / "llama-server"), "the one on the path"
        (empty / "llama-server").rename(empty / "llama-server-vulkan")
        assert meter.program == str(empty / "llama-server-vulkan")
        (empty / "llama-server-vulkan").unlink()
        assert "no llama-server is on the path" in str(await meter.obstacle(MODEL, RAM))
        with pytest.raises(Refused, match="--llama-server"):
            await meter.measure(MODEL, TRIAL)


async def test_what_is_open_elsewhere_or_larger_than_what_is_free_is_left_alone(tmp_path: Path) -> None:
    async with metering(tmp_path, "answers") as meter:
        assert "has it open" in str(await meter.obstacle(MODEL.model_copy(update={"loaded": True}), RAM))
        assert "are free now" in str(await meter.obstacle(MODEL, Bytes(10**18)))


async def test_a_name_that_leads_out_of_the_store_is_refused(tmp_path: Path) -> None:
    async with metering(tmp_path, "answers") as meter:
        with pytest.raises(Refused):
            await meter.measure(MODEL.model_copy(update={"name": "../../etc/passwd"}), TRIAL)


def test_what_it_allocates_is_read_from_either_form_of_log() -> None:
    old = b"llm_load_tensors:      CUDA0 buffer size =    60.00 MiB\nx:  CUDA_Host  output buffer size =    20.00 MiB\n"
    assert _buffers(io.BytesIO(old)) == (80 * MIB, 0.75)
    assert _buffers(io.BytesIO(b"nothing of the kind")) is None


async def test_a_file_that_is_no_model_is_not_tried(tmp_path: Path) -> None:
    path = tmp_path / "models" / NAME
    path.parent.mkdir(parents=True)
    async with metering(tmp_path, "answers") as meter:
        path.touch()
        assert await meter.obstacle(MODEL, RAM) == "its file is empty"
        path.write_text("words")
        assert "not a GGUF file" in str(await meter.obstacle(MODEL, RAM))


def test_a_server_ends_with_whoever_held_its_pipe(tmp_path: Path) -> None:
    path = program(tmp_path, "answers")
    words = [str(path), "--host", "127.0.0.1", "--port", "0"]
    reading, writing = os.pipe()
    started = subprocess.Popen(supervised(words, reading), pass_fds=(reading,), start_new_session=True)
    os.close(reading)
    while not (tmp_path / "pids").exists():
        time.sleep(0.02)
    os.close(writing)
    started.wait(10)
    assert running(tmp_path) == []
