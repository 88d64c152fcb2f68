"""Every door that bytes from outside come in by: valid examples of each, and how it reads them.

A door may raise ``ReconcilerError``, or say what is wrong in its answer; anything else is a defect.
"""

from __future__ import annotations

import asyncio
import json
import tempfile
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import date
from functools import cache
from pathlib import Path
from typing import Any

import httpx

from reconciler.cli.benchmarks import added_observations
from reconciler.cli.commands.observe import read_observation
from reconciler.domain.desired import Target
from reconciler.domain.observation import HubNeed, RegistryNeed
from reconciler.engine.lora.export import ExportRequest, export
from reconciler.engine.lora.preflight import PreflightRequest, preflight
from reconciler.engine.reconcile import plan_once, reconcile
from reconciler.engine.saved_plan import parse, refuse_if_tampered, saved, text_of
from reconciler.errors import ReconcilerError
from reconciler.formats.catalog_json import catalogue_from_json, catalogue_to_json
from reconciler.formats.gguf import NeedMore, architecture_of, capabilities_of, read_header, read_tensors
from reconciler.formats.measured_file import parse_points
from reconciler.formats.observation_file import parse_observations
from reconciler.formats.seed_snapshot import seed_catalogue
from reconciler.integrations.catalog.hub import HubClient
from reconciler.integrations.catalog.hub_cache import HubCache
from reconciler.integrations.catalog.live import LiveCatalog
from reconciler.integrations.catalog.registry import RegistryClient
from reconciler.integrations.files.corpus_files import LocalCorpusFiles
from reconciler.integrations.files.desired_file import read_desired
from reconciler.integrations.http import Http
from reconciler.integrations.journal import Journal
from reconciler.integrations.measurements import MeasurementFile
from reconciler.integrations.record_store import FileRecordStore
from reconciler.integrations.runtimes import store_files
from reconciler.integrations.runtimes.ollama import Ollama
from reconciler.integrations.runtimes.partials import PartialState
from reconciler.lora.dialect import HARN, OURS
from reconciler.lora.training_config import read_training_config
from tests.builders import catalogue
from tests.doubles.hub import HUB, Asked, HubDouble
from tests.doubles.ollama_model import tiny_gguf
from tests.engine.worlds import ALPHA, BETA, OPTIONS, fakes, models, pin
from tests.fakes import FakeSource, FixedClock
from tests.fuzz import doors_of_servers as others
from tests.fuzz.doors_of_adapters import ADAPTER_DOORS
from tests.lora.corpora import heredoc_row, native_row, text_row
from tests.lora.tables import route
from tests.measurements import measured

ROOT = Path(__file__).parents[2]


@dataclass(frozen=True)
class Door:
    """One way in."""

    examples: Callable[[], list[bytes]]
    read: Callable[[bytes], object]


@cache
def folder() -> Path:
    return Path(tempfile.mkdtemp(prefix="fuzz-"))


def _written(name: str, content: bytes) -> Path:
    path = folder() / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    return path


def _run(work: Awaitable[object]) -> object:
    async def whole() -> object:
        return await work

    return asyncio.run(whole())


# files of a person


def _desired(content: bytes) -> object:
    return read_desired(content, source="/x/localmodels.yaml", environment={}, thorough=False)


def _yaml_examples() -> list[bytes]:
    return [path.read_bytes() for path in sorted((ROOT / "examples").glob("*.yaml"))]


@cache
def _plans() -> list[bytes]:
    async def made() -> list[bytes]:
        here = fakes(pin("a", ALPHA), pin("b", BETA))
        first = await plan_once(here.world, OPTIONS)
        await reconcile(here.world, OPTIONS)
        here.edit(pin("a", BETA))
        second = await plan_once(here.world, OPTIONS)
        return [text_of(saved(one)).encode() for one in (first, second)]

    return asyncio.run(made())


def _plan(content: bytes) -> object:
    document = parse(content)
    refuse_if_tampered(document)
    return document


def _observation_examples() -> list[bytes]:
    plan = json.loads(_plans()[0])
    return [json.dumps({"formatVersion": 1, "name": "default", "observation": plan["observation"]}).encode()]


# files of ours


@cache
def _records() -> tuple[list[bytes], list[bytes]]:
    async def made() -> tuple[list[bytes], list[bytes]]:
        here = fakes(pin("a", ALPHA), pin("b", BETA))
        await reconcile(here.world, OPTIONS)
        lines = "\n".join(json.dumps(line, default=str) for line in here.store.lines).encode()
        return [record.model_dump_json().encode() for record in here.store.saved[1:]], [lines]

    return asyncio.run(made())


def _record(content: bytes) -> object:
    _written("state/default/record.json", content)
    try:
        return _run(FileRecordStore(folder() / "state", "default", FixedClock()).load())
    finally:
        for path in (folder() / "state/default").glob("record.json*"):
            path.unlink()


def _notes(content: bytes) -> object:
    name = "acme/a-GGUF/a-Q8_0.gguf"
    store_files.manifest_path(folder(), name).parent.mkdir(parents=True, exist_ok=True)
    store_files.manifest_path(folder(), name).write_bytes(content)
    found = store_files.read_manifests(folder())
    return store_files.bundles({}, found)


def _note_examples() -> list[bytes]:
    name = "acme/a-GGUF/a-Q8_0.gguf"
    return [json.dumps({"name": name, "files": [name, "acme/a-GGUF/mmproj-F16.gguf"]}).encode()]


PARTIAL = {"name": "a/b/c.gguf", "url": "u", "commit": "c", "sha256": "a" * 64, "size": 900, "ranges": [[0, 5], [7, 9]]}


def _partial(content: bytes) -> object:
    state = PartialState.read(_written(f"{'a' * 64}.json", content))
    return state.ranges.missing(state.size) if state else None


def _measurements(content: bytes) -> object:
    _written("measurements.json", content)
    return _run(MeasurementFile(folder(), FixedClock()).load("m"))


def _measurement_examples() -> list[bytes]:
    store = MeasurementFile(folder() / "made", FixedClock())
    _run(store.add((measured(),)))
    return [store.path.read_bytes()]


def _json(read: Callable[[Any], object]) -> Callable[[bytes], object]:
    def reading(content: bytes) -> object:
        try:
            document = json.loads(content)
        except (ValueError, RecursionError):
            return None
        return read(document)

    return reading


def _catalogue(content: bytes) -> object:
    try:
        return catalogue_from_json(content)
    except ValueError as error:
        return str(error)  # what it says of a document that is not one of ours


def _seed_catalogue(document: object) -> object:
    try:
        return seed_catalogue(document, today=date(2026, 11, 1))
    except ValueError as error:
        return str(error)


OBSERVATIONS = {
    "source": {"name": "Mine", "url": "https://example.org", "date": "2026-01-02"},
    "observations": [{"model": "acme/alpha", "benchmark": "mmlu-pro", "score": 50.0}],
}
POINTS = {"columns": ["model", "quant", "device", "tokens_per_second"], "rows": [["a", "Q4_K_M", "rtx-4090", 50.0]]}


# answers


@cache
def _hub_answers() -> list[bytes]:
    hub = _hub()
    paths = [
        "/api/models?full=true",
        "/api/models/acme/a-GGUF?blobs=true",
        "/api/models/acme/a-GGUF/tree/main?recursive=true",
    ]
    asked = [Asked("GET", "hub.double", *path.split("?"), {}) for path in paths]
    return [hub.answer(one)[2] for one in asked]


def _hub() -> HubDouble:
    hub = HubDouble()
    hub.requests_left = 10**9
    hub.add("acme/a-GGUF", {"a-Q8_0.gguf": tiny_gguf(5000), "a-Q4_K_M.gguf": tiny_gguf(4000)}, tags=["gguf"])
    return hub


def _answering(content: bytes) -> Callable[[], Http]:
    def respond(request: httpx.Request) -> httpx.Response:
        return httpx.Response(200, content=content, request=request)

    return lambda: Http(clock=FixedClock(), transport=httpx.MockTransport(respond), retries=0, timeout_seconds=2)


def _hub_answer(content: bytes) -> object:
    async def asked() -> None:
        http = _answering(content)
        catalog = LiveCatalog(
            bundled=catalogue, hub=lambda: HubClient(http(), endpoint=HUB), registry=lambda: RegistryClient(http()),
            cache=HubCache(folder() / "none" / "hub.json", clock=FixedClock()), clock=FixedClock(), endpoint=HUB,
        )  # fmt: skip
        await catalog.candidates(_source().desired, freshness="refresh")  # type: ignore[arg-type]
        await catalog.resolve(HubNeed(repo="acme/a-GGUF", quant="Q8_0"))

    return _run(asked())


def _source() -> FakeSource:
    return fakes(pin("a", ALPHA)).source


def _registry_answer(content: bytes) -> object:
    need = RegistryNeed(name="registry.ollama.ai/library/a:1b")
    return _run(RegistryClient(_answering(content)()).manifest(need))


MANIFEST = {
    "schemaVersion": 2,
    "config": {"digest": f"sha256:{'b' * 64}", "size": 5},
    "layers": [{"digest": f"sha256:{'a' * 64}", "size": 900, "mediaType": "application/vnd.ollama.image.model"}],
}
TAGS = {
    "version": "0.33.0",
    "models": [{
        "name": "a:1b", "model": "a:1b", "size": 900, "digest": "c" * 64, "modified_at": "2026-01-02T03:04:05Z",
        "expires_at": "2026-01-02T03:04:05Z", "size_vram": 5, "details": {"quantization_level": "Q4_0"},
    }],
    "details": {"family": "llama"}, "model_info": {"general.architecture": "llama"}, "capabilities": ["tools"],
    "status": "pulling", "completed": 4, "total": 9,
}  # fmt: skip


def _ollama_answer(content: bytes) -> object:
    target = Target(name="o", runtime="ollama", endpoint="http://127.0.0.1:9")
    runtime = Ollama(target, http=_answering(content), clock=FixedClock(), environ={}, directories=[])

    async def asked() -> None:
        await runtime.observe()
        with suppress(ReconcilerError):
            await runtime.digest("a:1b", lambda *_: None)
        with suppress(ReconcilerError):
            await runtime.remove("a:1b")

    return _run(asked())


def _gguf(content: bytes) -> object:
    try:
        header = read_header(content, size=10**9)
        read_header(content, dimensions_only=True)
    except ValueError as error:
        return str(error)
    if isinstance(header, NeedMore):
        return header
    architecture_of(header)
    capabilities_of(header)
    try:
        return read_tensors(content, header, size=10**9)
    except ValueError as error:
        return str(error)


def _catalogue_examples() -> list[bytes]:
    return [catalogue_to_json(models()).encode()]


def _same(value: object) -> Callable[[], list[bytes]]:
    return lambda: [json.dumps(value).encode()]


def _corpus_examples() -> list[bytes]:
    rows = [text_row(), heredoc_row(), native_row()]
    return [json.dumps(row).encode() for row in rows] + [b"\n".join(json.dumps(row).encode() for row in rows)]


def _corpus(content: bytes) -> object:
    """Judged, and exported in every lane; a data set that was written is a corpus again."""
    path, files = str(_written("corpus.jsonl", content)), LocalCorpusFiles()
    found: list[object] = []
    for dialect, lane in ((OURS, "native"), (OURS, "text"), (HARN, "json")):
        found.append(preflight(PreflightRequest(path, behavior_strata_policy="strict"), route(), dialect, files))
        request = ExportRequest(path, lane, out=f"{path}.{lane}", manifest=f"{path}.json")
        report = export(request, route(), dialect, files)
        if report.ok and lane == "native":
            again = export(replace(request, corpus=f"{path}.native", check=True), route(), dialect, files)
            assert again.ok, again.errors
        found.append(report)
    return found


def _training_config(content: bytes) -> object:
    return [read_training_config(content, "train.yaml", dialect) for dialect in (OURS, HARN)]


DOORS: dict[str, Door] = {
    "desired state": Door(_yaml_examples, _desired),
    "saved plan": Door(_plans, _plan),
    "saved observation": Door(_observation_examples, lambda it: read_observation(_written("seen.json", it))),
    "record": Door(lambda: _records()[0], _record),
    "journal": Door(lambda: _records()[1], lambda it: list(Journal(_written("journal.jsonl", it)).lines())),
    "note of a model's files": Door(_note_examples, _notes),
    "partial download's state": Door(_same(PARTIAL), _partial),
    "measurements": Door(_measurement_examples, _measurements),
    "benchmarks of a person": Door(_same(OBSERVATIONS), _json(parse_observations)),
    "benchmarks kept": Door(
        _same(OBSERVATIONS), lambda it: added_observations(_written("data/benchmarks.json", it).parent)
    ),
    "measured points": Door(_same(POINTS), _json(parse_points)),
    "catalogue": Door(_catalogue_examples, _catalogue),
    "catalogue of the origin": Door(
        lambda: [(ROOT / "tests/formats/seed_snapshot.json").read_bytes()[:200_000]], _json(_seed_catalogue)
    ),
    "Hub's answers": Door(_hub_answers, _hub_answer),
    "registry's manifest": Door(_same(MANIFEST), _registry_answer),
    "Ollama's answers": Door(_same(TAGS), _ollama_answer),
    "corpus of tool calls": Door(_corpus_examples, _corpus),
    "training configuration": Door(lambda: [b"a: {max_seq_length: 4096}\nmin_fit_ratio: 0.9\n"], _training_config),
    "GGUF header": Door(lambda: [tiny_gguf(2000), tiny_gguf(2000, architecture="qwen2")], _gguf),
    "llama-server's answers": Door(
        others.examples(others.ROUTER, others.SLOTS), lambda it: _run(others.router_answers(_answering(it)))
    ),
    "llama-server's events": Door(others.event_examples, lambda it: _run(others.router_events(_answering(it)))),
    "llama-server's settings": Door(lambda: [others.PRESET], lambda it: others.preset(_written("presets.ini", it))),
    "adapter's configuration": Door(others.examples(others.CONFIG), others.adapter_config),
    "safetensors header": Door(others.safetensors_examples, others.safetensors),
    "corpus": Door(others.examples(others.CORPUS), others.corpus),
    **{name: Door(*one) for name, one in ADAPTER_DOORS.items()},
}
