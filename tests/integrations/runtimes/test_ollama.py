"""Ollama behind the port, over the double: observing, installing, removing, and every trap on the way."""

from __future__ import annotations

import asyncio
import contextlib
import json
from datetime import UTC, datetime, timedelta

import pytest

from reconciler.domain.desired import Target
from reconciler.domain.observation import ObservedTarget, UnknownTarget
from reconciler.domain.plan import Action
from reconciler.errors import Corrupt, OutOfSpace, Refused, Unreachable
from reconciler.integrations.http import Http, MockTransport, Response
from reconciler.integrations.runtimes.ollama import Ollama
from tests.doubles.ollama import Faults, OllamaDouble
from tests.doubles.ollama_model import packed, tiny_gguf
from tests.doubles.ollama_rig import Heard, QuickClock, install_row, library_row, runtime_on, small
from tests.doubles.registry_front_memory import MemoryRegistry

TINY = small(1)
OTHER = small(2)
REPO = "Org/Tiny-GGUF"
HUB_NAME = f"hf.co/{REPO}:Q4_K_M"


@pytest.fixture
def registry():
    with MemoryRegistry() as registry:
        registry.add("library/tiny:1b", TINY)
        registry.add("library/other:latest", OTHER)
        registry.add(f"{REPO}:Q4_K_M", TINY)
        yield registry


@pytest.fixture
def double(tmp_path, registry):
    hosts = {"registry.ollama.ai": registry.url, "hf.co": registry.url}
    with OllamaDouble(tmp_path / "models", registries=hosts) as double:
        yield double


@pytest.fixture
async def runtime(double):
    runtime = runtime_on(double)
    yield runtime
    await runtime.close()


@pytest.fixture
async def seeing(double):
    """A runtime that may read the server's directory."""
    runtime = runtime_on(double, directories=[double.store.root])
    yield runtime
    await runtime.close()


def scripted(answer, *, clock=None, **more) -> Ollama:
    """A runtime over one function from request to response."""
    clock = clock or QuickClock()
    return Ollama(
        Target(name="local", runtime="ollama"),
        http=lambda: Http(clock=clock, transport=MockTransport(answer)),
        clock=clock,
        directories=[],
        environ={},
        **more,
    )


def arriving(body: bytes, status: int = 200) -> Response:
    """A response whose body comes as a stream does."""

    async def pieces():
        yield body

    return Response(status, content=pieces())


async def observed(runtime) -> ObservedTarget:
    seen = await runtime.observe()
    assert isinstance(seen, ObservedTarget), seen
    return seen


async def only(runtime):
    (model,) = (await observed(runtime)).installed
    return model


# observing


async def test_list_names_sizes_digests_and_quants(runtime):
    await runtime.install(library_row("tiny:1b", TINY), Heard())
    model = await only(runtime)
    assert (model.name, model.bytes, model.digest, model.quant) == ("tiny:1b", TINY.size, TINY.digest, "Q4_1")
    assert model.blobs == (TINY.weights.digest,)
    assert model.modified_at is not None
    assert not model.loaded
    assert not model.remote
    assert (await observed(runtime)).version == "0.33.0"


async def test_a_hub_name_tells_repository_and_quant(runtime):
    await runtime.install(install_row(HUB_NAME, TINY.hub_artifact(REPO)), Heard())
    model = await only(runtime)
    assert (model.name, model.repo, model.quant) == (HUB_NAME, REPO, "Q4_K_M")


async def test_names_are_canonical_and_compared_in_any_case(runtime, double):
    await runtime.install(library_row("tiny:1b", TINY), Heard())
    assert await runtime.install(library_row("TINY:1B", TINY), Heard()) == await only(runtime)
    assert double.pulled == ["tiny:1b"]
    await runtime.remove("Tiny:1b")
    assert (await observed(runtime)).installed == ()


async def test_latest_is_implied(runtime):
    await runtime.install(library_row("other", OTHER), Heard())
    assert (await only(runtime)).name == "other:latest"
    assert await runtime.remove("other") == OTHER.size


async def test_a_cloud_entry_is_remote_and_counts_nothing(runtime, double):
    double.add_cloud("gpt-oss:120b-cloud")
    model = await only(runtime)
    assert model.remote
    assert model.bytes == 0
    with pytest.raises(Refused):
        await runtime.remove(model.name)


@pytest.mark.parametrize(
    ("path", "status", "body"),
    [
        ("/api/tags", 200, b"[]"),
        ("/api/tags", 200, b"not json"),
        ("/api/tags", 200, b'{"models": null}'),
        ("/api/tags", 200, b"{}"),
        ("/api/tags", 200, b'{"models": [{"name": "a:b", "size": 1'),
        ("/api/tags", 500, b'{"error": "hydration failed"}'),
        ("/api/tags", 0, b""),
        ("/api/ps", 200, b'{"models": [{}]}'),
        ("/api/ps", 404, b"404 page not found"),
        ("/api/version", 200, b"<html>a proxy's login page</html>"),
        ("/api/version", 401, b""),
    ],
)
async def test_changed_a_bad_list_is_unknown_where_the_origin_took_it_for_empty(runtime, double, path, status, body):
    """The origin warned and went on with an empty list, which pruned the whole pool (lifecycle 18.4, point 30)."""
    double.faults.status[path] = (status, body)
    seen = await runtime.observe()
    assert isinstance(seen, UnknownTarget)
    assert seen.reason
    assert seen.hint


@pytest.mark.parametrize(
    "entry",
    [{}, {"name": "a:b"}, {"name": "a:b", "size": "1", "digest": "0" * 64}, {"name": "a:b", "size": 1, "digest": "x"}],
)
async def test_changed_an_incomplete_row_makes_the_target_unknown_where_the_origin_skipped_it(runtime, double, entry):
    """A row that is left out would be taken for removed, and its record forgotten."""
    whole = {"name": "fine:1b", "size": 5, "digest": "0" * 64}
    double.faults.status["/api/tags"] = (200, json.dumps({"models": [whole, entry]}).encode())
    assert isinstance(await runtime.observe(), UnknownTarget)


async def test_list_on_a_dead_endpoint_is_unknown(double):
    runtime = scripted(lambda _: Response(503, text="later"))
    assert isinstance(await runtime.observe(), UnknownTarget)
    await runtime.close()


async def test_list_can_be_cancelled():
    async def never(_):
        await asyncio.sleep(60)

    runtime = scripted(never)
    task = asyncio.create_task(runtime.observe())
    await asyncio.sleep(0.01)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    await runtime.close()


async def test_a_model_whose_weights_are_gone_is_still_listed_and_installed_anew(runtime, double):
    await runtime.install(library_row("tiny:1b", TINY), Heard())
    double.store.blob(TINY.weights.digest).unlink()
    assert (await only(runtime)).blobs == (TINY.weights.digest,)  # as remembered for this digest
    await runtime.install(library_row("tiny:1b", TINY), Heard())
    assert double.store.blob(TINY.weights.digest).exists()


async def test_a_damaged_model_does_not_hide_the_others(double):
    fresh = runtime_on(double)
    await fresh.install(library_row("tiny:1b", TINY), Heard())
    await fresh.install(library_row("other", OTHER), Heard())
    await fresh.close()
    double.store.blob(TINY.weights.digest).unlink()
    again = runtime_on(double)
    seen = await again.observe()
    await again.close()
    if isinstance(seen, ObservedTarget):
        assert {model.name for model in seen.installed} == {"tiny:1b", "other:latest"}
    else:
        pytest.fail(seen.reason)


async def test_a_readable_directory_tells_disk_partials_and_orphans(seeing, double):
    await seeing.install(library_row("tiny:1b", TINY), Heard())
    double.add_orphan(b"x" * 70_000)
    (double.store.blobs / ("sha256-" + "a" * 64 + "-partial")).write_bytes(b"y" * 9_000)
    seen = await observed(seeing)
    assert seen.disk is not None
    assert seen.disk.total_bytes >= seen.disk.free_bytes > 0
    assert seen.partial_bytes >= 9_000
    assert any("no model refers to" in note for note in seen.notes)
    assert "/api/show" not in {path for _, path in double.requests[-3:]}


async def test_a_directory_of_another_server_is_not_believed(double, tmp_path):
    strange = runtime_on(double, directories=[tmp_path / "elsewhere", double.store.root])
    (tmp_path / "elsewhere" / "manifests").mkdir(parents=True)
    (tmp_path / "elsewhere" / "blobs").mkdir()
    await strange.install(library_row("tiny:1b", TINY), Heard())
    assert (await observed(strange)).disk is not None
    blind = runtime_on(double, directories=[tmp_path / "elsewhere"])
    seen = await observed(blind)
    assert seen.disk is None
    assert any("API" in note for note in seen.notes)
    await strange.close()
    await blind.close()


@pytest.mark.parametrize("readable", [True, False])
async def test_the_context_a_model_is_served_with(double, registry, readable):
    registry.add("library/long:1b", long := small(3, parameters={"num_ctx": 16384}))
    runtime = runtime_on(double, directories=[double.store.root] if readable else [])
    await runtime.install(library_row("long:1b", long), Heard())
    await runtime.install(library_row("tiny:1b", TINY), Heard())
    contexts = {model.name: model.model_context for model in (await observed(runtime)).installed}
    assert contexts == {"long:1b": 16384, "tiny:1b": None}
    double.load("long:1b")
    assert (await observed(runtime)).served_context is None, "a model with its own context says nothing of the server's"
    double.load("tiny:1b")
    seen = await observed(runtime)
    assert seen.served_context == 4096
    assert {model.name: model.model_context for model in seen.installed} == {"long:1b": 16384, "tiny:1b": 4096}
    await runtime.close()


async def test_the_configured_context_of_this_host(double):
    clock = QuickClock()
    runtime = Ollama(
        Target(name="local", runtime="ollama", endpoint=double.url),
        http=lambda: Http(clock=clock),
        clock=clock,
        directories=[],
        environ={"OLLAMA_CONTEXT_LENGTH": "32768"},
    )
    assert (await observed(runtime)).served_context == 32768
    await runtime.close()


async def test_what_was_deleted_and_is_still_loaded_is_noted(runtime, double):
    await runtime.install(library_row("tiny:1b", TINY), Heard())
    double.load("tiny:1b")
    double.store.delete(double.store.all()[0])
    seen = await observed(runtime)
    assert seen.installed == ()
    assert any("still loaded" in note for note in seen.notes)


# installing


async def test_install_tells_pulling_progress_and_the_end_in_order(runtime, double):
    heard = Heard()
    await runtime.install(library_row("tiny:1b", TINY), heard)
    notes = list(dict.fromkeys(heard.notes))
    assert notes[0] == "pulling manifest"
    assert notes[-3:] == ["verifying sha256 digest", "writing manifest", ""]
    assert any(note.startswith(f"pulling {TINY.weights.digest[7:19]}") for note in notes)
    assert double.pulled == ["tiny:1b"]


async def test_install_asks_for_the_name_with_its_registry_rules():
    bodies = []

    def answer(request):
        if request.url.path == "/api/pull":
            bodies.append(json.loads(request.content))
            return arriving(b'{"error":"pull model manifest: file does not exist"}')
        return Response(200, json={"models": []})

    runtime = Ollama(
        Target(name="local", runtime="ollama", insecure=True),
        http=lambda: Http(clock=QuickClock(), transport=MockTransport(answer)),
        clock=QuickClock(),
    )
    with pytest.raises(Refused):
        await runtime.install(library_row("tiny", TINY), Heard())
    assert bodies == [{"model": "tiny:latest", "insecure": True, "stream": True}]
    await runtime.close()


async def test_a_manifest_that_does_not_exist_is_refused_at_once(runtime, double):
    with pytest.raises(Refused) as raised:
        await runtime.install(library_row("nowhere:1b", TINY), Heard())
    assert raised.value.code == "not-found"
    assert double.pulled == ["nowhere:1b"], "a clear no is not repeated"


async def test_a_refused_connection_is_unreachable():
    dead = Ollama(
        Target(name="dead", runtime="ollama", endpoint="http://127.0.0.1:9"),
        http=lambda: Http(clock=QuickClock()),
        clock=QuickClock(),
    )
    with pytest.raises(Unreachable):
        await dead.install(library_row("tiny:1b", TINY), Heard())
    await dead.close()


@pytest.mark.parametrize(
    ("status", "error", "code"),
    [
        (404, Refused, "not-found"),
        (400, Refused, "refused"),
        (401, Refused, "unauthorised"),
        (500, Unreachable, "unreachable"),
    ],
)
async def test_a_status_before_the_stream(status, error, code):
    def answer(request):
        if request.url.path == "/api/pull":
            return arriving(b'{"error": "because"}', status)
        return Response(200, json={"models": []})

    runtime = scripted(answer, max_pull_retries=1)
    with pytest.raises(error) as raised:
        await runtime.install(library_row("tiny:1b", TINY), Heard())
    assert raised.value.code == code
    assert "because" in raised.value.message
    await runtime.close()


async def test_a_stream_that_ends_without_success_is_looked_at_again_and_resumed(runtime, double):
    double.faults = Faults(end_after=100_000, times=1)
    heard = Heard()
    await runtime.install(library_row("tiny:1b", TINY), heard)
    assert double.pulled == ["tiny:1b"] * 2
    assert any("ended without success" in note for note in heard.notes)


async def test_a_stream_without_success_whose_pull_succeeded_counts():
    """The last line was lost, the model is there: nothing is pulled again."""
    listed = {"name": "tiny:1b", "model": "tiny:1b", "size": TINY.size, "digest": TINY.digest}
    pulls = []

    def answer(request):
        path = request.url.path
        if path == "/api/pull":
            pulls.append(path)
            return arriving(b'{"status":"writing manifest"}\n')
        if path == "/api/tags":
            return Response(200, json={"models": [listed] if pulls else []})
        if path == "/api/show":
            return Response(200, json={"modelfile": f"FROM /blobs/{TINY.weights.digest.replace(':', '-')}\n"})
        return Response(200, json={"models": [], "version": "0.33.0"})

    runtime = scripted(answer)
    assert (await runtime.install(library_row("tiny:1b", TINY), Heard())).digest == TINY.digest
    assert len(pulls) == 1
    await runtime.close()


async def test_cancelling_reaches_the_server_and_leaves_a_resumable_download(runtime, double):
    double.pace.bytes_per_second = 100_000
    arrived = asyncio.Event()

    def listen(done, total, note=""):
        if done:
            arrived.set()

    task = asyncio.create_task(runtime.install(library_row("tiny:1b", TINY), listen))
    await arrived.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert (await observed(runtime)).installed == ()
    partial = next(double.store.blobs.glob("*-partial"))
    assert partial.stat().st_size == TINY.weights.size, "stretched to its full size at once"
    for _ in range(200):
        if not double.downloads._running:
            break
        await asyncio.sleep(0.01)
    assert double.downloads._running == {}, "nobody waits any more, so the server stopped"


async def test_changed_a_raising_listener_is_not_swallowed_and_leaves_a_resumable_state(runtime, double):
    """The origin logged it and went on; here a mistake in our own code is never caught."""

    def broken(done, total, note=""):
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        await runtime.install(library_row("tiny:1b", TINY), broken)
    assert (await observed(runtime)).installed == ()
    await runtime.install(library_row("tiny:1b", TINY), Heard())


async def test_a_pull_resumes_after_the_connection_broke(runtime, double, registry):
    double.faults = Faults(disconnect_after=130_000, times=1)
    heard = Heard()
    await runtime.install(library_row("tiny:1b", TINY), heard)
    assert any("resuming (retry 1)" in note for note in heard.notes)
    assert heard.done == sorted(heard.done)


async def test_progress_gives_back_the_retries():
    """Each attempt brings more: many may fail, though only one may fail in a row."""
    total, pulls = TINY.weights.size, []

    def answer(request):
        if request.url.path != "/api/pull":
            return Response(200, json={"models": []})
        pulls.append(request)
        line = {"status": "pulling x", "digest": TINY.weights.digest, "total": total, "completed": len(pulls) * 1000}
        if len(pulls) > 6:
            line["completed"] = 6000
        return arriving(json.dumps(line).encode() + b'\n{"error":"max retries exceeded: EOF"}\n')

    clock = QuickClock()
    runtime = scripted(answer, clock=clock, max_pull_retries=2)
    with pytest.raises(Unreachable):
        await runtime.install(library_row("tiny:1b", TINY), Heard())
    assert len(pulls) == 6 + 3
    least = [0.5] * 6 + [1.0, 2.0]
    assert len(clock.slept) == len(least)
    told = "half the first pause after progress, then doubling; as much again as a half by chance"
    assert all(low <= slept <= 1.5 * low for low, slept in zip(least, clock.slept, strict=True)), told
    assert len(set(clock.slept)) == len(least), "those who failed together do not come back together"
    await runtime.close()


async def test_a_pull_without_progress_stops_after_the_first_and_its_retries(runtime, double):
    double.faults = Faults(manifest_error="pull model manifest: Get: dial tcp: lookup registry: no such host")
    limited = runtime_on(double, max_pull_retries=2)
    with pytest.raises(Unreachable):
        await limited.install(library_row("tiny:1b", TINY), Heard())
    assert len(double.pulled) == 3
    await limited.close()


async def test_no_retry_where_none_is_wanted(double):
    double.faults = Faults(error_after=1)
    once = runtime_on(double, max_pull_retries=0)
    with pytest.raises(Unreachable):
        await once.install(library_row("tiny:1b", TINY), Heard())
    assert len(double.pulled) == 1
    await once.close()


async def test_no_retry_after_cancelling(double):
    class Hanging(QuickClock):
        async def sleep(self, seconds):
            await asyncio.sleep(60)

    double.faults = Faults(error_after=100_000)
    runtime = runtime_on(double, clock=Hanging())
    task = asyncio.create_task(runtime.install(library_row("tiny:1b", TINY), Heard()))
    while not double.pulled:
        await asyncio.sleep(0.01)
    await asyncio.sleep(0.1)
    task.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await task
    assert len(double.pulled) == 1
    await runtime.close()


async def test_an_error_is_a_failure_though_success_follows(double):
    double.faults = Faults(error_then_success="unauthorized: access denied")
    runtime = runtime_on(double)
    with pytest.raises(Refused) as raised:
        await runtime.install(library_row("tiny:1b", TINY), Heard())
    assert raised.value.code == "unauthorised"
    await runtime.close()


async def test_counting_backwards_is_not_passed_on(runtime, double):
    double.faults = Faults(roll_back_at=40_000)
    heard = Heard()
    await runtime.install(library_row("tiny:1b", TINY), heard)
    assert heard.done == sorted(heard.done)
    assert heard.done[-1] == TINY.size


@pytest.mark.parametrize("silent", [True, False])
async def test_a_pull_that_brings_nothing_new_is_stalled(double, silent):
    """Lines may go on for ever without a byte (1.6), or stop: both end at the deadline."""
    double.faults = Faults(stall_after=50_000, silent_stall=silent)
    runtime = runtime_on(double, idle_timeout_seconds=0.15, max_pull_retries=0)
    with pytest.raises(Unreachable) as raised:
        await runtime.install(library_row("tiny:1b", TINY), Heard())
    assert raised.value.code == "timed-out"
    await runtime.close()


async def test_a_stall_is_noticed_though_the_clock_is_set_back(double):
    clock = QuickClock()
    double.faults = Faults(stall_after=50_000)
    runtime = runtime_on(double, clock=clock, idle_timeout_seconds=0.3, max_pull_retries=0)
    pulling = asyncio.create_task(runtime.install(library_row("tiny:1b", TINY), Heard()))
    while not double.pulled:
        await asyncio.sleep(0.01)
    clock.jump(-365 * 86_400)
    async with asyncio.timeout(30):
        with pytest.raises(Unreachable) as raised:
            await pulling
    assert raised.value.code == "timed-out"
    await runtime.close()


async def test_a_stalled_pull_is_begun_again(double):
    double.faults = Faults(stall_after=50_000, times=1)
    runtime = runtime_on(double, idle_timeout_seconds=1.0)
    await runtime.install(library_row("tiny:1b", TINY), Heard())
    assert len(double.pulled) == 2
    await runtime.close()


async def test_a_full_disk_keeps_what_is_there_and_is_not_repeated(runtime, double):
    double.faults = Faults(no_space_after=60_000, times=1)
    with pytest.raises(OutOfSpace):
        await runtime.install(library_row("tiny:1b", TINY), Heard())
    assert len(double.pulled) == 1
    assert list(double.store.blobs.glob("*-partial"))
    await runtime.install(library_row("tiny:1b", TINY), Heard())


async def test_wrong_bytes_are_corrupt_and_leave_nothing_listed(runtime, double, registry):
    registry.corrupt(TINY.weights.digest)
    with pytest.raises(Corrupt):
        await runtime.install(library_row("tiny:1b", TINY), Heard())
    assert (await observed(runtime)).installed == ()
    assert not double.store.blob(TINY.weights.digest).exists()


async def test_a_line_that_is_no_status_is_reported_and_the_pull_goes_on(runtime, double):
    double.faults = Faults(garbage_line=b"\xff<html>")
    heard = Heard()
    await runtime.install(library_row("tiny:1b", TINY), heard)
    assert any("no status" in note and "html" in note for note in heard.notes)


async def test_a_server_that_sends_nothing_but_nonsense_is_given_up():
    def answer(request):
        if request.url.path == "/api/pull":
            return arriving(b"nonsense\n" * 500)
        return Response(200, json={"models": []})

    runtime = scripted(answer)
    with pytest.raises(Corrupt) as raised:
        await runtime.install(library_row("tiny:1b", TINY), Heard())
    assert raised.value.code == "bad-answer"
    await runtime.close()


async def test_a_line_without_an_end_is_given_up():
    async def endless():
        for _ in range(40):
            yield b"x" * 65_536

    def answer(request):
        if request.url.path == "/api/pull":
            return Response(200, content=endless())
        return Response(200, json={"models": []})

    runtime = scripted(answer)
    with pytest.raises(Corrupt):
        await runtime.install(library_row("tiny:1b", TINY), Heard())
    await runtime.close()


async def test_other_content_at_the_registry_is_stopped_before_it_replaces_anything(runtime, double, registry):
    await runtime.install(library_row("tiny:1b", TINY), Heard())
    registry.add("library/tiny:1b", small(9))
    with pytest.raises(Corrupt) as raised:
        await runtime.install(library_row("tiny:1b", OTHER, Action.UPDATE), Heard())
    assert "plan again" in (raised.value.hint or "")
    assert (await only(runtime)).digest == TINY.digest


async def test_a_hub_model_must_hold_the_planned_file(runtime, double, registry):
    with pytest.raises(Corrupt):
        await runtime.install(install_row(HUB_NAME, OTHER.hub_artifact(REPO)), Heard())
    assert (await observed(runtime)).installed == (), "what we brought under a new name is taken away again"


async def test_what_stood_there_before_is_not_taken_away(runtime, double, registry):
    await runtime.install(install_row(HUB_NAME, TINY.hub_artifact(REPO)), Heard())
    with pytest.raises(Corrupt):
        await runtime.install(install_row(HUB_NAME, OTHER.hub_artifact(REPO), Action.UPDATE), Heard())
    assert (await only(runtime)).name == HUB_NAME


async def test_other_content_that_is_not_ours_is_never_replaced(runtime, double, registry):
    await runtime.install(library_row("tiny:1b", TINY), Heard())
    registry.add("library/tiny:1b", OTHER)
    with pytest.raises(Refused) as raised:
        await runtime.install(library_row("tiny:1b", OTHER), Heard())
    assert raised.value.code == "unmanaged-conflict"
    assert double.pulled == ["tiny:1b"]
    assert (await only(runtime)).digest == TINY.digest


async def test_an_update_replaces_the_content_and_the_old_files_go(runtime, double, registry):
    await runtime.install(library_row("tiny:1b", TINY), Heard())
    registry.add("library/tiny:1b", OTHER)
    heard = Heard()
    updated = await runtime.install(library_row("tiny:1b", OTHER, Action.UPDATE), heard)
    assert updated.digest == OTHER.digest
    assert "removing unused layers" in heard.notes
    assert not double.store.blob(TINY.weights.digest).exists()


async def test_what_is_there_already_is_not_pulled(runtime, double):
    await runtime.install(library_row("tiny:1b", TINY), Heard())
    heard = Heard()
    await runtime.install(library_row("tiny:1b", TINY), heard)
    assert double.pulled == ["tiny:1b"]
    assert heard.calls[-1][:2] == (TINY.size, TINY.size)


async def test_an_unresolved_row_fetches_nothing(runtime, double):
    with pytest.raises(Refused):
        await runtime.install(install_row("tiny:1b", None), Heard())
    assert double.pulled == []


async def test_a_registry_that_does_not_redirect_is_refused_with_the_way_out(double, registry):
    registry.redirects = False
    runtime = runtime_on(double)
    with pytest.raises(Refused) as raised:
        await runtime.install(library_row("tiny:1b", TINY), Heard())
    assert raised.value.code == "not-installable"
    assert "front" in (raised.value.hint or "")
    await runtime.close()


@pytest.mark.parametrize(
    ("status", "body", "error", "code"),
    [
        (412, b"The model requires a newer version of Ollama", Refused, "unsupported"),
        (501, b"not implemented", Refused, "unsupported"),
        (401, b"no", Refused, "unauthorised"),
        (400, b'{"error":"sharded GGUF is not supported"}', Refused, "not-installable"),
        (503, b"manifest temporarily not found", Unreachable, "unreachable"),
    ],
)
async def test_the_registrys_own_refusal(double, registry, status, body, error, code):
    registry.failures["library/tiny:1b"] = (status, body)
    runtime = runtime_on(double, max_pull_retries=1)
    with pytest.raises(error) as raised:
        await runtime.install(library_row("tiny:1b", TINY), Heard())
    assert raised.value.code == code
    assert raised.value.hint
    await runtime.close()


async def test_a_bad_name_is_refused(runtime):
    with pytest.raises(Refused):
        await runtime.install(install_row("no spaces/please:x", TINY.registry_artifact("r", "n", "m", "t")), Heard())


# removing


async def test_evict_sends_delete_with_the_name_in_its_body():
    seen = []

    def answer(request):
        if request.method == "DELETE":
            seen.append(json.loads(request.content))
            return Response(200)
        listed = {"name": "tiny:1b", "size": 7, "digest": "0" * 64}
        models = [listed] if request.url.path == "/api/tags" and not seen else []
        return Response(200, json={"models": models})

    runtime = scripted(answer)
    assert await runtime.remove("tiny:1b") == 7
    assert seen == [{"model": "tiny:1b"}]
    await runtime.close()


async def test_changed_evicting_what_is_gone_is_done_where_the_origin_failed_it(runtime):
    """The origin answered not_in_pool; what should not be there and is not there is no failure."""
    assert await runtime.remove("never-there:1b") == 0


async def test_a_delete_that_finds_nothing_any_more_frees_nothing():
    def answer(request):
        if request.method == "DELETE":
            return Response(404, json={"error": "model 'tiny:1b' not found"})
        listed = {"name": "tiny:1b", "size": 7, "digest": "0" * 64}
        return Response(200, json={"models": [listed] if request.url.path == "/api/tags" else []})

    runtime = scripted(answer)
    assert await runtime.remove("tiny:1b") == 0
    await runtime.close()


async def test_evict_on_a_dead_endpoint_is_unreachable(tmp_path):
    dead = Ollama(
        Target(name="dead", runtime="ollama", endpoint="http://127.0.0.1:9"),
        http=lambda: Http(clock=QuickClock()),
        clock=QuickClock(),
    )
    with pytest.raises(Unreachable):
        await dead.remove("tiny:1b")
    await dead.close()


@pytest.mark.parametrize("later_use", [False, True])
async def test_a_loaded_model_is_not_evicted(runtime, double, later_use):
    """Moving while the first use runs, past while a later one does (1.8): in use, and it stays."""
    await runtime.install(library_row("tiny:1b", TINY), Heard())
    with double.in_flight("tiny:1b") as runner:
        if later_use:
            runner.first_use = False
            runner.expires_at = datetime.now(UTC) - timedelta(seconds=5)
        assert (await only(runtime)).loaded
        with pytest.raises(Refused) as raised:
            await runtime.remove("TINY:1b")
        assert raised.value.code == "in-use"
    assert (await only(runtime)).name == "tiny:1b"


async def test_shared_files_are_freed_with_the_last_name(seeing, double, registry):
    weights = tiny_gguf(150_000, seed=5)
    one, two = packed(weights, template="one"), packed(weights, template="two!")
    registry.add("library/one:1b", one)
    registry.add("library/two:1b", two)
    await seeing.install(library_row("one:1b", one), Heard())
    await seeing.install(library_row("two:1b", two), Heard())
    first, second = await seeing.remove("one:1b"), await seeing.remove("two:1b")
    assert first == one.size - len(weights)
    assert second == two.size
    assert list(double.store.blobs.iterdir()) == []


async def test_without_the_directory_the_bytes_are_those_of_the_api(runtime, double):
    await runtime.install(library_row("tiny:1b", TINY), Heard())
    double.store.write(double.store.all()[0].name.parse("copy:1b"), TINY.manifest)
    assert await runtime.remove("copy:1b") == 0, "another name holds the very same files"
    assert await runtime.remove("tiny:1b") == TINY.size


async def test_a_delete_that_fails_after_the_entry_is_gone_counts():
    seen = []

    def answer(request):
        if request.method == "DELETE":
            seen.append(1)
            return Response(500, json={"error": "remove blob: being used by another process"})
        listed = {"name": "tiny:1b", "size": 7, "digest": "0" * 64}
        models = [listed] if request.url.path == "/api/tags" and not seen else []
        return Response(200, json={"models": models})

    runtime = scripted(answer)
    assert await runtime.remove("tiny:1b") == 7
    await runtime.close()


async def test_a_delete_that_fails_and_leaves_the_entry_is_a_failure(runtime, double):
    await runtime.install(library_row("tiny:1b", TINY), Heard())
    double.faults.status["/api/delete"] = (500, b'{"error":"permission denied"}')
    with pytest.raises(Unreachable):
        await runtime.remove("tiny:1b")
    assert (await only(runtime)).name == "tiny:1b"


async def test_partials_have_no_interface_and_are_left(seeing, double):
    (double.store.blobs / ("sha256-" + "a" * 64 + "-partial")).write_bytes(b"y" * 9_000)
    assert await seeing.clean_partials(frozenset()) == 0
    assert (await observed(seeing)).partial_bytes > 0


# inspecting


async def test_inspect_tells_the_digest_of_what_is_installed(runtime):
    await runtime.install(library_row("tiny:1b", TINY), Heard())
    assert await runtime.digest("tiny:1b", Heard()) == (TINY.digest, TINY.digest)


async def test_inspect_of_what_is_missing_is_refused(runtime):
    with pytest.raises(Refused) as raised:
        await runtime.digest("tiny:1b", Heard())
    assert raised.value.code == "not-found"


async def test_changed_sizes_come_from_the_list_where_the_origin_asked_show(runtime, double):
    """``/api/show`` has no size; the origin fell back to the list, we start there."""
    await runtime.install(library_row("tiny:1b", TINY), Heard())
    double.faults.status["/api/show"] = (400, b"{}")
    assert (await only(runtime)).bytes == TINY.size


async def test_inspect_on_a_dead_endpoint_is_unreachable():
    dead = Ollama(
        Target(name="dead", runtime="ollama", endpoint="http://127.0.0.1:9"),
        http=lambda: Http(clock=QuickClock()),
        clock=QuickClock(),
    )
    with pytest.raises(Unreachable):
        await dead.digest("tiny:1b", Heard())
    await dead.close()
