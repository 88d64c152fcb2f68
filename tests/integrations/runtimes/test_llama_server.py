from __future__ import annotations

import asyncio
import contextlib
import os
from pathlib import Path

import pytest

from reconciler.domain.observation import ObservedTarget, UnknownTarget
from reconciler.domain.plan import Action
from reconciler.errors import Corrupt, OutsideError, Refused, Unreachable
from reconciler.formats.router_names import RouterName
from reconciler.integrations.http import Response
from reconciler.integrations.runtimes.hub_layout import look, set_aside
from tests.doubles.ollama_rig import Heard
from tests.integrations.runtimes.router_double import (
    COMMIT,
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


@pytest.mark.parametrize(
    "wrong",
    [
        progress(0, 7),
        progress(0, len(CONTENT), "alpha-UD-Q8_0.gguf"),
        progress(0, len(CONTENT), repo="evil/alpha-GGUF"),
    ],
)
async def test_another_file_is_stopped_before_it_has_cost_its_bytes(double, wrong):
    double.events = told(wrong)
    double.looks_while_downloading = 10_000
    with pytest.raises(Corrupt):
        await runtime_on(double).install(row(), Heard())
    assert f"POST /models/unload {NAME}" in double.asked
    assert double.models == {}


@pytest.mark.parametrize("events", [True, False])
async def test_a_revision_that_is_not_the_head_is_a_clear_no(double, events):
    pinned = row(revision="e" * 40)
    pinned = pinned.model_copy(update={"artifact": pinned.artifact.model_copy(update={"commit": "e" * 40})})
    if events:
        double.events, double.looks_while_downloading = told(progress(0, 7)), 10_000
    else:
        double.brings = lambda name: double.arrive(name, content=OTHER)
    with pytest.raises(Refused) as raised:
        await runtime_on(double).install(pinned, Heard())
    assert raised.value.code == "not-installable"
    assert "store" in raised.value.hint
    assert double.models == {}


async def test_a_revision_whose_file_is_what_the_head_holds_is_fine(double):
    assert (await runtime_on(double).install(row(revision="e" * 40), Heard())).digest == sha(CONTENT)


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


async def test_an_update_keeps_the_old_until_the_new_is_there(double):
    double.arrive(content=OTHER)
    there = []
    double.brings = lambda name: there.append(kept(double)) or double.arrive(name)
    assert (await runtime_on(double).install(row(Action.UPDATE), Heard())).digest == sha(CONTENT)
    assert there == [{OTHER}]
    assert kept(double) == {CONTENT}
    assert f"DELETE /models {NAME}" not in double.asked


@pytest.mark.parametrize("arrives", [None, b"GGUF" + b"z" * 2000])
async def test_an_update_that_fails_costs_nothing(double, arrives):
    double.arrive(content=OTHER)
    before = (await seen(runtime_on(double))).installed
    double.brings = lambda name: double.arrive(name, content=arrives, named=sha(CONTENT)) if arrives else None
    with pytest.raises(OutsideError):
        await runtime_on(double).install(row(Action.UPDATE), Heard())
    assert kept(double) == {OTHER}
    assert [model.bytes for model in (await seen(runtime_on(double))).installed] == [before[0].bytes]


async def test_an_update_that_was_cut_off_is_finished_or_undone(double):
    double.arrive(content=OTHER)
    view = look(double.cache)
    set_aside(double.cache, RouterName.parse(NAME), view.models[NAME])
    del double.models[NAME]
    found = await seen(runtime_on(double))
    assert (found.installed, found.partial_bytes) == ((), len(OTHER)), "its bytes are counted"
    await runtime_on(double).clean_partials(frozenset())
    assert [model.name for model in (await seen(runtime_on(double))).installed] == [NAME], "nothing that worked is lost"
    set_aside(double.cache, RouterName.parse(NAME), look(double.cache).models[NAME])
    put(double.cache)
    assert (await runtime_on(double).install(row(Action.UPDATE), Heard())).digest == sha(CONTENT)
    assert kept(double) == {CONTENT}


async def test_where_the_old_cannot_come_back_it_goes_first(double):
    double.arrive(content=OTHER)
    (double.cache / f"models--{REPO.replace('/', '--')}/refs/main").write_text("d" * 40)
    assert (await runtime_on(double).install(row(Action.UPDATE), Heard())).digest == sha(CONTENT)
    assert double.asked.index(f"DELETE /models {NAME}") < double.asked.index(f"POST /models {NAME}")


async def test_a_file_that_rotted_under_its_own_digest_is_fetched_again(double):
    double.arrive(content=OTHER, named=sha(CONTENT))
    assert (await runtime_on(double).install(row(Action.UPDATE), Heard())).digest == sha(CONTENT)
    assert kept(double) == {CONTENT}
    assert double.asked.count(f"POST /models {NAME}") == 1


async def test_the_rotten_file_is_out_of_the_way_before_a_router_is_asked_that_fetches_no_blob_it_has(double):
    double.arrive(content=OTHER, named=sha(CONTENT))
    blob = double.cache / f"models--{REPO.replace('/', '--')}/blobs/{sha(CONTENT)}"
    in_the_way = []
    double.brings = lambda name: in_the_way.append(blob.exists()) or double.arrive(name)
    await runtime_on(double).install(row(Action.UPDATE), Heard())
    assert in_the_way == [False]


async def test_a_rotten_file_that_cannot_be_fetched_now_is_fetched_by_the_next_run(double):
    double.arrive(content=OTHER, named=sha(CONTENT))
    fetch, double.brings = double.brings, lambda name: None
    with pytest.raises(OutsideError):
        await runtime_on(double).install(row(Action.UPDATE), Heard())
    double.brings = fetch
    assert (await runtime_on(double).install(row(Action.UPDATE), Heard())).digest == sha(CONTENT)
    assert kept(double) == {CONTENT}


def kept(double) -> set[bytes]:
    return {path.read_bytes() for path in double.cache.glob("models--*/blobs/*")}


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
    folder = double.cache / "models--acme--alpha-GGUF"
    double._delete_models = lambda name: (
        (double.models.pop(name) and (folder / f"snapshots/{COMMIT}/{FILE}").unlink()) or (Response(200, json={}))
    )
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


async def test_what_an_earlier_download_of_ours_left_is_removed(double, tmp_path):
    ours = tmp_path / "ours"
    double.brings = lambda _: None
    with pytest.raises(Refused):
        await runtime_on(double, cache_directory=ours).install(row(), Heard())
    blobs = put(double.cache, "alpha-F16.gguf", OTHER).parent
    mine, theirs = blobs / f"{sha(CONTENT)}.downloadInProgress", blobs / f"{sha(b'theirs')}.downloadInProgress"
    for path in (mine, theirs):
        path.write_bytes(b"x" * 8192)
    runtime = runtime_on(double, cache_directory=ours)
    assert (await seen(runtime)).partial_names == (), "somebody may be writing to it"
    assert await runtime.clean_partials(frozenset()) == 0
    for path in (mine, theirs):
        os.utime(path, (0, 0))
    assert (await seen(runtime)).partial_names == (NAME,)
    assert await runtime.clean_partials(frozenset({NAME})) == 0
    double._post_models(NAME)
    double._pending = {NAME: 10**9}
    assert await runtime.clean_partials(frozenset({NAME})) == 0
    del double._pending[NAME], double.models[NAME]
    assert await runtime.clean_partials(frozenset()) == 8192
    assert (mine.exists(), theirs.exists()) == (False, True)


async def test_what_no_snapshot_leads_to_is_told_and_stays(double):
    double.arrive()
    blob = put(double.cache, "old-Q8_0.gguf", OTHER, repo="acme/old-GGUF")
    (double.cache / f"models--acme--old-GGUF/snapshots/{COMMIT}/old-Q8_0.gguf").unlink()
    lone = put(double.cache, "mmproj-x-F16.gguf", b"GGUFm", repo="acme/lone-GGUF")
    (note,) = (await seen(runtime_on(double))).notes
    assert "2.0 KB" in note
    assert "belong to no model" in note
    await runtime_on(double).clean_partials(frozenset())
    assert blob.exists()
    assert lone.exists()


async def test_a_model_that_did_not_load_is_told_at_every_look(double):
    double.arrive()
    double.models[NAME]["failed"] = True
    for _ in range(2):
        (note,) = (await seen(runtime_on(double))).notes
        assert f"{NAME} did not load" in note
        assert "exit code 1" in note


# keys


async def test_a_key_opens_what_a_list_does_not_prove(double):
    double.arrive()
    double.key = "sesame-42"
    assert "apiKeyFrom" in (await unknown(double)).hint
    wrong = await runtime_on(double, api_key="wrong-key").observe()
    assert isinstance(wrong, UnknownTarget)
    assert (wrong.code, "does not accept" in wrong.reason) == ("unauthorised", True)
    assert "wrong-key" not in wrong.model_dump_json()
    right = runtime_on(double, api_key="sesame-42")
    assert [model.name for model in (await seen(right)).installed] == [NAME]
    assert await right.remove(NAME) == len(CONTENT)
    assert (await right.install(row(), Heard())).digest == sha(CONTENT)


async def test_a_key_goes_to_its_endpoint_only(double):
    asked = []

    def elsewhere(request):
        asked.append((request.url.host, request.headers.get("Authorization")))
        return Response(307, headers={"Location": "http://elsewhere/props"})

    found = await runtime_on(elsewhere, api_key="sesame-42").observe()
    assert isinstance(found, UnknownTarget)
    assert set(asked) == {("router", "Bearer sesame-42")}


async def test_what_is_no_key_is_refused_and_not_repeated(double):
    found = await runtime_on(double, api_key="two\nlines-of-a-file").observe()
    assert isinstance(found, UnknownTarget)
    assert "apiKeyFrom" in found.hint
    assert "lines-of-a-file" not in found.model_dump_json()
    assert double.asked == []


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
