from __future__ import annotations

import asyncio
import contextlib
from pathlib import Path

import pytest

from reconciler.domain.observation import ObservedTarget, UnknownTarget
from reconciler.domain.plan import Action
from reconciler.errors import Corrupt, OutsideError, Refused, Unreachable
from reconciler.integrations.http import Response
from tests.doubles.ollama_rig import Heard
from tests.integrations.runtimes.router_double import (
    CONTENT,
    FILE,
    NAME,
    REPO,
    RouterDouble,
    progress,
    put,
    row,
    runtime_on,
    sha,
    told,
)

OTHER = b"GGUF" + b"b" * 2000


@pytest.fixture
def double(tmp_path: Path) -> RouterDouble:
    return RouterDouble(tmp_path / "cache")


async def seen(runtime) -> ObservedTarget:
    found = await runtime.observe()
    assert isinstance(found, ObservedTarget), found
    return found


async def unknown(double) -> UnknownTarget:
    found = await runtime_on(double).observe()
    assert isinstance(found, UnknownTarget), found
    return found


# observing


async def test_what_a_look_tells(double):
    double.arrive()
    put(double.cache, "mmproj-alpha-F16.gguf", b"GGUFm")
    (model,) = (await seen(runtime_on(double))).installed
    assert (model.name, model.repo, model.quant) == (NAME, REPO, "Q8_0")
    assert model.bytes == len(CONTENT) + 5
    assert [file.path for file in model.files] == [FILE, "mmproj-alpha-F16.gguf"]
    assert (model.digest, model.blobs, model.loaded) == (None, (), False), "nobody has read it"


async def test_only_who_answers_is_in_use(double):
    double.arrive()
    for status, busy, in_use in (("loaded", False, False), ("loaded", True, True), ("loading", False, True),
                                 ("sleeping", False, False)):  # fmt: skip
        double.models[NAME]["status"], double.busy = status, {NAME} if busy else set()
        (model,) = (await seen(runtime_on(double))).installed
        assert model.loaded is in_use, (status, busy)


async def test_a_server_that_hides_its_slots_counts_as_in_use(double):
    double.arrive()
    double.models[NAME]["status"] = "loaded"
    double.answers["GET", "/slots"] = Response(501, json={"error": {"message": "no slots"}})
    assert (await seen(runtime_on(double))).installed[0].loaded


async def test_downloads_and_ghosts_are_not_installed(double):
    double.add(NAME, "downloading")
    double.add("acme/gone-GGUF:Q8_0", source="preset", settings={"hf-repo": "acme/gone-GGUF:Q8_0"})
    double.add("mine", source="preset", settings={"model": "/models/mine.gguf"})
    found = await seen(runtime_on(double))
    assert [model.name for model in found.installed] == ["mine"]
    assert found.partial_names == (NAME,)


async def test_partial_bytes_are_counted_and_told(double):
    blob = put(double.cache)
    double.add(NAME)
    blob.with_name(f"{sha(OTHER)}.downloadInProgress").write_bytes(OTHER)
    found = await seen(runtime_on(double))
    assert found.partial_bytes == len(OTHER)
    assert "resumes" in found.notes[0]


async def test_a_directory_without_what_is_listed_is_not_its(double):
    double.add(NAME)
    found = await seen(runtime_on(double))
    assert (found.disk, found.installed[0].bytes, found.installed[0].digest) == (None, 0, None)
    assert "`cache:`" in found.notes[0]


async def test_a_server_elsewhere_says_less(double):
    double.arrive()
    found = await seen(runtime_on(double, local=False))
    assert (found.disk, found.installed[0].name, found.installed[0].repo) == (None, NAME, REPO)
    with pytest.raises(Refused) as raised:
        await runtime_on(double, local=False).digest(NAME, Heard())
    assert raised.value.code == "not-readable"


@pytest.mark.parametrize(
    ("path", "answer", "said"),
    [
        ("/props", Response(200, json={"build_info": "b1"}), "serves one model"),
        ("/props", Response(401, json={}), "API key"),
        ("/props", Response(200, json={"version": "0.33"}), "not a llama-server"),
        ("/props", Response(404), "404"),
        ("/models", Response(200, json={"object": "list"}), "no whole list"),
        ("/models", Response(200, json={"data": [1]}), "no whole list"),
        ("/models", Response(200, json={"data": [{"id": "x"}]}), "without id or status"),
        ("/models", Response(200, json={"data": [{"id": "x", "status": {"value": "odd"}}]}), "status of x"),
        ("/models", Response(200, content=b"<html>"), "JSON"),
        ("/models", Response(503), "503"),
    ],
)
async def test_half_an_answer_is_unknown_and_not_empty(double, path, answer, said):
    double.answers["GET", path] = answer
    found = await unknown(double)
    assert said in found.reason
    assert found.hint


async def test_slots_that_make_no_sense_are_unknown_too(double):
    double.arrive()
    double.models[NAME]["status"] = "loaded"
    double.answers["GET", "/slots"] = Response(200, json=[{"id": 0}])
    assert "slots" in (await unknown(double)).reason


# installing


async def test_without_events_the_list_is_enough(double):
    heard = Heard()
    installed = await runtime_on(double).install(row(), heard)
    assert installed.digest == sha(CONTENT)
    assert heard.done[-1] == len(CONTENT)


async def test_events_are_progress(double):
    size, heard = len(CONTENT), Heard()
    double.events = told(progress(0, size), progress(100, size), progress(50, size), {"model": "x", "event": "y"})
    double.events += b"data: {broken\n\n: comment\n\ndata: []\n\n"
    await runtime_on(double).install(row(), heard)
    assert heard.done == [0, 100, size]


async def test_a_success_that_is_none_is_a_clear_no(double):
    double.brings = lambda _: None
    with pytest.raises(Refused) as raised:
        await runtime_on(double).install(row(), Heard())
    assert "does not say why" in raised.value.message
    assert "HF_ENDPOINT" in raised.value.hint


async def test_a_download_that_had_begun_is_tried_again(double):
    double.events = told(progress(100, len(CONTENT)))
    double.brings = lambda _: None
    double.looks_while_downloading = 20
    with pytest.raises(Unreachable) as raised:
        await runtime_on(double).install(row(), Heard())
    assert raised.value.code == "connection-lost"


@pytest.mark.parametrize("wrong", [progress(0, 7), progress(0, len(CONTENT), "alpha-UD-Q8_0.gguf")])
async def test_another_file_is_stopped_before_it_has_cost_its_bytes(double, wrong):
    double.events = told(wrong)
    double.looks_while_downloading = 10_000
    with pytest.raises(Corrupt):
        await runtime_on(double).install(row(), Heard())
    assert f"POST /models/unload {NAME}" in double.asked
    assert double.models == {}


async def test_a_projector_of_the_repository_is_no_surprise(double):
    double.events = told(progress(5, 5, "mmproj-alpha-F16.gguf"), progress(100, len(CONTENT)))
    assert (await runtime_on(double).install(row(), Heard())).digest == sha(CONTENT)


async def test_wrong_bytes_under_the_right_name_are_taken_away(double):
    double.brings = lambda name: double.arrive(name, content=OTHER, named=sha(CONTENT))
    with pytest.raises(Corrupt) as raised:
        await runtime_on(double).install(row(), Heard())
    assert raised.value.details["found"] == sha(OTHER)
    assert double.models == {}


async def test_from_afar_the_size_is_all_that_is_seen(double):
    double.events = told(progress(5, 5, "mmproj-alpha-F16.gguf"), progress(100, len(CONTENT)))
    double.looks_while_downloading = 20
    installed = await runtime_on(double, local=False).install(row(), Heard())
    assert (installed.name, installed.digest) == (NAME, None)
    assert installed == (await seen(runtime_on(double, local=False))).installed[0], "nothing has drifted by itself"


async def test_what_is_there_is_read_and_not_fetched_again(double):
    double.arrive()
    installed = await runtime_on(double).install(row(), Heard())
    assert installed.digest == sha(CONTENT)
    assert f"POST /models {NAME}" not in double.asked


async def test_other_content_that_is_not_ours_stays(double):
    double.arrive(content=OTHER)
    with pytest.raises(Refused) as raised:
        await runtime_on(double).install(row(), Heard())
    assert raised.value.code == "unmanaged-conflict"
    assert NAME in double.models


async def test_an_update_removes_the_old_first(double):
    double.arrive(content=OTHER)
    assert (await runtime_on(double).install(row(Action.UPDATE), Heard())).digest == sha(CONTENT)
    assert double.asked.index(f"DELETE /models {NAME}") < double.asked.index(f"POST /models {NAME}")


async def test_a_running_download_is_joined(double):
    double.answers["POST", "/models"] = Response(400, json={"error": {"message": "model already exists"}})
    double._post_models(NAME)
    assert (await runtime_on(double).install(row(), Heard())).digest == sha(CONTENT)


async def test_a_stalled_download_goes_on_alone(double):
    double.looks_while_downloading = 10**9
    with pytest.raises(Unreachable) as raised:
        await runtime_on(double, idle_timeout_seconds=0.05).install(row(), Heard())
    assert raised.value.code == "timed-out"
    assert double.models[NAME]["status"] == "downloading"


async def test_stopping_us_stops_the_download(double):
    double.looks_while_downloading = 10**9
    task = asyncio.create_task(runtime_on(double).install(row(), Heard()))
    while not any(line.startswith("POST /models ") for line in double.asked):
        await asyncio.sleep(0.001)
    task.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await task
    assert double.models == {}


@pytest.mark.parametrize(
    ("answer", "kind"),
    [
        (Response(500, json={"error": {"message": "model limit reached, try again later"}}), Unreachable),
        (Response(500), Unreachable),
        (Response(400, json={"error": {"message": "invalid HF repo format"}}), Refused),
        (Response(401), Refused),
    ],
)
async def test_a_router_that_does_not_begin(double, answer, kind):
    double.answers["POST", "/models"] = answer
    with pytest.raises(kind):
        await runtime_on(double).install(row(), Heard())


async def test_a_row_it_could_not_be_asked_for(double):
    for wrong in (row().model_copy(update={"artifact": None}), row().model_copy(update={"name": f"{REPO}:Q4_K_M"}),
                  row().model_copy(update={"name": "alpha"})):  # fmt: skip
        with pytest.raises(Refused) as raised:
            await runtime_on(double).install(wrong, Heard())
        assert raised.value.code in ("unresolved", "not-installable")
    assert double.asked == []


# removing


async def test_idle_is_unloaded_and_busy_stays(double):
    double.arrive()
    double.models[NAME]["status"], double.busy = "loaded", {NAME}
    with pytest.raises(Refused) as raised:
        await runtime_on(double).remove(NAME)
    assert raised.value.code == "in-use"
    double.busy = set()
    assert await runtime_on(double).remove(NAME) == len(CONTENT)
    assert double.asked.index(f"POST /models/unload {NAME}") < double.asked.index(f"DELETE /models {NAME}")
    assert await runtime_on(double).remove(NAME) == 0


async def test_a_blob_that_another_quant_needs_is_not_freed(double):
    double.arrive()
    folder = double.cache / "models--acme--alpha-GGUF/snapshots"
    (folder / ("d" * 40)).mkdir()
    double._delete_models = lambda name: double.models.pop(name) and Response(200, json={})
    assert await runtime_on(double).remove(NAME) == 0


@pytest.mark.parametrize("source", ["models_dir", "preset"])
async def test_what_does_not_come_from_the_cache_is_refused(double, source):
    double.add("mine", source=source, settings={"model": "/x.gguf"})
    with pytest.raises(Refused) as raised:
        await runtime_on(double).remove("mine")
    assert raised.value.hint
    assert "mine" in double.models


async def test_one_name_for_two_files_is_not_removed(double):
    double.arrive()
    put(double.cache, "alpha-UD-Q8_0.gguf", OTHER)
    with pytest.raises(Refused) as raised:
        await runtime_on(double).remove(NAME)
    assert "alpha-UD-Q8_0.gguf" in raised.value.message
    assert NAME in double.models


async def test_a_model_that_will_not_unload_is_not_deleted(double):
    double.arrive()
    double.models[NAME]["status"] = "loaded"
    double.answers["POST", "/models/unload"] = Response(200, json={"success": True})
    with pytest.raises(Unreachable):
        await runtime_on(double).remove(NAME)
    assert f"DELETE /models {NAME}" not in double.asked


async def test_a_delete_that_is_only_said_is_noticed(double):
    double.arrive()
    double.answers["DELETE", "/models"] = Response(200, json={"success": True})
    with pytest.raises(Unreachable):
        await runtime_on(double).remove(NAME)


async def test_a_delete_that_failed_and_happened_counts(double):
    double.arrive()
    delete = double._delete_models

    def odd(name):
        delete(name)
        return Response(500, json={"error": {"message": "internal"}})

    double._delete_models = odd
    assert await runtime_on(double).remove(NAME) == len(CONTENT)


async def test_unfinished_downloads_that_nobody_wants_are_stopped(double):
    double._post_models(NAME)
    double._post_models("acme/beta-GGUF:Q8_0")
    double._pending = dict.fromkeys(double._pending, 10**9)
    await runtime_on(double).clean_partials(frozenset({NAME}))
    assert list(double.models) == [NAME]


# digests


async def test_a_digest_is_read_once(double, tmp_path):
    double.arrive()
    runtime = runtime_on(double, cache_directory=tmp_path / "ours")
    heard = Heard()
    digest, stamp = await runtime.digest(NAME, heard)
    assert digest == sha(CONTENT)
    (model,) = (await seen(runtime)).installed
    assert (model.digest, model.stamp) == (digest, stamp)
    with pytest.raises(OutsideError):
        await runtime.digest("acme/none-GGUF:Q8_0", heard)
