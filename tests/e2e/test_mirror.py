"""Real programs on the mirror: our own store, huggingface_hub, and a llama-server that loads what it fetched."""

from __future__ import annotations

import asyncio
import hashlib
import importlib.util
import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import httpx
import pytest

from reconciler.domain.artifact import ArtifactFile, HubArtifact
from reconciler.domain.desired import Limits, Target
from reconciler.domain.observation import ObservedTarget
from reconciler.domain.plan import Action, Reason, Row
from reconciler.domain.units import Bytes
from reconciler.integrations.clock import SystemClock
from reconciler.integrations.http import Http
from reconciler.integrations.runtimes.store import Store
from reconciler.servers.mirror import Mirror, serve
from tests.e2e.rig import SMOL_FILE as FILE
from tests.e2e.rig import SMOL_NAME as NAME
from tests.e2e.rig import SMOL_REPO as REPO
from tests.e2e.rig import fetch, free_port, missing, wait_for


@pytest.fixture(scope="module")
def mirror(model: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Mirror]:
    root = tmp_path_factory.mktemp("mirror")
    folder = root / REPO
    folder.mkdir(parents=True)
    shutil.copy(model, folder / FILE)
    with serve(root) as running:
        yield running


@pytest.fixture(scope="module")
def digest(model: Path) -> str:
    with model.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def row_for(mirror: Mirror) -> Row:
    """As a plan would have it: resolved by what the mirror itself says."""
    detail = fetch(f"{mirror.url}/api/models/{REPO}?blobs=true")
    lfs = detail["siblings"][0]["lfs"]
    file = ArtifactFile(path=FILE, bytes=Bytes(lfs["size"]), sha256=lfs["sha256"])
    return Row(
        address="slot/chat[0]",
        action=Action.INSTALL,
        reason=Reason.MISSING,
        target="local",
        target_key="store|x",
        name=NAME,
        artifact=HubArtifact(endpoint=mirror.url, repo=REPO, commit=detail["sha"], files=(file,)),
    )


class Counting(httpx.AsyncBaseTransport):
    """The real network, counting what comes in."""

    def __init__(self) -> None:
        self._inner = httpx.AsyncHTTPTransport()
        self.bytes = 0

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        response = await self._inner.handle_async_request(request)
        return httpx.Response(response.status_code, headers=response.headers, stream=Counted(response, self))

    async def aclose(self) -> None:
        await self._inner.aclose()


class Counted(httpx.AsyncByteStream):
    def __init__(self, response: httpx.Response, to: Counting) -> None:
        self._response, self._to = response, to

    async def __aiter__(self) -> AsyncIterator[bytes]:
        assert isinstance(self._response.stream, httpx.AsyncByteStream)
        async for chunk in self._response.stream:
            self._to.bytes += len(chunk)
            yield chunk

    async def aclose(self) -> None:
        await self._response.aclose()


def store_at(root: Path, endpoint: str, transport: httpx.AsyncBaseTransport | None = None, rate: int = 0) -> Store:
    clock = SystemClock()
    return Store(
        Target(name="local", path=str(root / "store")),
        http=lambda: Http(clock=clock, transport=transport),
        clock=clock,
        token=None,
        hub_endpoint=endpoint,
        limits=Limits(download_rate=Bytes(rate) if rate else None),
        cache_directory=root / "cache",
    )


async def test_two_stores_fetch_from_one_mirror(mirror: Mirror, digest: str, tmp_path: Path) -> None:
    row = row_for(mirror)
    stores = [store_at(tmp_path / name, mirror.url) for name in ("one", "two")]
    installed = await asyncio.gather(*(store.install(row, lambda *_: None) for store in stores))
    assert {each.digest for each in installed} == {digest}
    for store in stores:
        seen = await store.observe()
        assert isinstance(seen, ObservedTarget)
        assert [(each.name, each.digest, each.quant) for each in seen.installed] == [(NAME, digest, "Q4_1")]
        await store.close()


CHILD = """
import asyncio, pathlib, sys
from reconciler.domain.plan import Row
from tests.e2e.test_mirror import store_at
root, row = pathlib.Path(sys.argv[1]), Row.model_validate_json(sys.argv[2])
def told(done, total, note=""): print(done, flush=True)
asyncio.run(store_at(root, row.artifact.endpoint, rate=40_000_000).install(row, told))
"""


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGINT])
async def test_a_killed_download_goes_on_where_it_stopped(
    mirror: Mirror, digest: str, tmp_path: Path, how: signal.Signals
) -> None:
    row = row_for(mirror)
    assert row.artifact is not None
    size = row.artifact.bytes
    here = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])}
    with subprocess.Popen(
        [sys.executable, "-c", CHILD, str(tmp_path), row.model_dump_json()],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        env=here,
    ) as child:
        assert child.stdout is not None
        at_kill = next(done for line in child.stdout if (done := int(line)) > size * 6 // 10)
        child.send_signal(how)
        child.communicate()
    assert child.returncode not in (0, None)

    counting = Counting()
    told: list[tuple[int, str]] = []
    store = store_at(tmp_path, mirror.url, counting)
    seen = await store.observe()
    assert isinstance(seen, ObservedTarget)
    assert (seen.installed, seen.partial_names) == ((), (NAME,))
    installed = await store.install(row, lambda done, _total, note="": told.append((done, note)))
    await store.close()
    kept, note = told[0]
    assert note == "resumed"
    assert counting.bytes == size - kept
    # a kill loses what was not flushed yet: half a second, at the child's 40 MB a second, and a slow machine's share
    assert kept >= at_kill - (4_000_000 if how is signal.SIGINT else 40_000_000)
    assert kept > size // 5
    assert installed.digest == digest


HUB_CLIENT = """
import json, sys
from huggingface_hub import HfApi, hf_hub_download, snapshot_download
from huggingface_hub.errors import EntryNotFoundError, RepositoryNotFoundError, RevisionNotFoundError
repo, file = sys.argv[1:]
api, said = HfApi(), {}
said["listed"] = [model.id for model in api.list_models(filter="gguf", search="smollm2")]
said["files"] = {each.rfilename: each.lfs.sha256 for each in api.model_info(repo, files_metadata=True).siblings}
said["tree"] = {each.path: each.size for each in api.list_repo_tree(repo, recursive=True)}
said["refs"] = [branch.name for branch in api.list_repo_refs(repo).branches]
said["path"] = hf_hub_download(repo, file)
said["snapshot"] = snapshot_download(repo, allow_patterns=["*.gguf"])
for name, call, error in (
    ("entry", lambda: hf_hub_download(repo, "nope.gguf"), EntryNotFoundError),
    ("repo", lambda: api.model_info("nobody/nothing"), RepositoryNotFoundError),
    ("revision", lambda: api.model_info(repo, revision="v9"), RevisionNotFoundError),
):
    try:
        call()
    except error:
        said[name] = True
print(json.dumps(said))
"""


def test_huggingface_hub_lists_and_downloads(mirror: Mirror, digest: str, model: Path, tmp_path: Path) -> None:
    if importlib.util.find_spec("huggingface_hub") is None:
        missing("huggingface_hub")
    env = {**os.environ, "HF_ENDPOINT": mirror.url, "HF_HOME": str(tmp_path), "HF_HUB_DISABLE_TELEMETRY": "1"}
    env |= {"HF_HUB_DISABLE_UPDATE_CHECK": "1", "HF_HUB_DISABLE_PROGRESS_BARS": "1", "HF_TOKEN": ""}
    run = subprocess.run(
        [sys.executable, "-c", HUB_CLIENT, REPO, FILE],
        env=env,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert run.returncode == 0, run.stderr
    said = json.loads(run.stdout.splitlines()[-1])
    size = model.stat().st_size
    assert said["listed"] == [REPO]
    assert said["files"] == {FILE: digest}
    assert said["tree"] == {FILE: size}
    assert said["refs"] == ["main"]
    assert (said["entry"], said["repo"], said["revision"]) == (True, True, True)
    with Path(said["path"]).open("rb") as file:
        assert hashlib.file_digest(file, "sha256").hexdigest() == digest
    assert (Path(said["snapshot"]) / FILE).stat().st_size == size


@pytest.fixture
def router(llama_server: str, mirror: Mirror, tmp_path: Path) -> Iterator[str]:
    """A real llama-server that downloads by itself, from our mirror instead of the Hub."""
    port = free_port()
    env = {name: value for name, value in os.environ.items() if not name.startswith(("HF_", "LLAMA_"))}
    env |= {"HF_ENDPOINT": mirror.url, "LLAMA_CACHE": str(tmp_path / "cache"), "HOME": str(tmp_path)}
    with (tmp_path / "log").open("wb") as log:
        arguments = ["--host", "127.0.0.1", "--port", str(port), "--no-models-autoload", "-c", "512", "-t", "2"]
        server = subprocess.Popen([llama_server, *arguments], stdout=log, stderr=log, env=env, cwd=tmp_path)
    try:
        wait_for(lambda: fetch(f"http://127.0.0.1:{port}/health")["status"] == "ok", (tmp_path / "log").read_text)
        yield f"http://127.0.0.1:{port}"
    finally:
        server.terminate()
        try:
            server.wait(10)
        except subprocess.TimeoutExpired:
            server.kill()
            server.wait()


def test_a_llama_server_downloads_loads_and_answers(
    router: str, mirror: Mirror, model: Path, digest: str, tmp_path: Path
) -> None:
    name = f"{REPO}:Q4_1"
    log = tmp_path / "log"
    assert fetch(f"{router}/models", {"model": name})["success"]

    def status() -> str:
        rows = {row["id"]: row["status"]["value"] for row in fetch(f"{router}/models?reload=1")["data"]}
        return str(rows.get(name, "absent"))

    wait_for(lambda: status() == "unloaded", log.read_text)
    files = [path for path in (tmp_path / "cache").rglob("*.gguf") if path.stat().st_size == model.stat().st_size]
    assert files, log.read_text(errors="replace")[-2000:]
    with files[0].open("rb") as file:
        assert hashlib.file_digest(file, "sha256").hexdigest() == digest
    assert fetch(f"{router}/models/load", {"model": name})["success"]
    wait_for(lambda: status() == "loaded", log.read_text)
    messages = [{"role": "user", "content": "Say hello."}]
    said = fetch(f"{router}/v1/chat/completions", {"model": name, "messages": messages, "max_tokens": 8})
    assert said["choices"][0]["message"]["content"].strip()


async def test_a_llama_server_reads_the_store_and_then_it_is_in_use(
    mirror: Mirror, tmp_path: Path, llama_server: str
) -> None:
    store = store_at(tmp_path, mirror.url)
    await store.install(row_for(mirror), lambda *_: None)
    port = free_port()
    with (tmp_path / "log2").open("wb") as log:
        arguments = ["-m", str(tmp_path / "store" / NAME), "--host", "127.0.0.1", "--port", str(port), "-c", "512"]
        server = subprocess.Popen([llama_server, *arguments], stdout=log, stderr=log, cwd=tmp_path)
    try:
        await asyncio.to_thread(
            wait_for, lambda: fetch(f"http://127.0.0.1:{port}/health")["status"] == "ok", (tmp_path / "log2").read_text
        )
        seen = await store.observe()
        assert isinstance(seen, ObservedTarget)
        assert [each.loaded for each in seen.installed] == [sys.platform == "linux"]
    finally:
        server.terminate()
        server.wait()
    seen = await store.observe()
    assert isinstance(seen, ObservedTarget)
    assert [each.loaded for each in seen.installed] == [False]
    assert await store.remove(NAME) > 90_000_000
    await store.close()
