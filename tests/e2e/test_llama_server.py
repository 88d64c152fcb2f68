"""A real llama-server in router mode as a target: what it downloads, verifies, keeps in use and gives back."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from reconciler.domain.artifact import ArtifactFile, HubArtifact
from reconciler.domain.desired import Target
from reconciler.domain.observation import Serving
from reconciler.domain.plan import Action, Row
from reconciler.domain.units import Bytes
from reconciler.errors import Corrupt, Refused
from reconciler.formats.router_names import RouterName
from reconciler.integrations.clock import SystemClock
from reconciler.integrations.http import Http
from reconciler.integrations.runtimes.hub_layout import look, set_aside
from reconciler.integrations.runtimes.llama_server import LlamaServer
from reconciler.servers.mirror import serve
from tests.doubles.ollama_rig import install_row
from tests.e2e.rig import CHAT, SMOL_NAME, SMOL_REPO, Machine, sha256_of, tiny_name, tiny_slot, wait_for
from tests.e2e.router import Line, Router, copied, loadable_gguf
from tests.integrations.runtimes.router_double import put

CHAT_NAME = f"{SMOL_REPO}:Q4_1"
ALPHA, BETA = "acme/alpha-GGUF:Q8_0", "acme/beta-GGUF:Q8_0"


@pytest.fixture
def hub_line(tmp_path: Path) -> Iterator[Line]:
    """The way to a Hub with two small models that a real server loads."""
    for vocab, name in ((512, "alpha"), (768, "beta")):
        loadable_gguf(tmp_path / "hub" / tiny_name(name), vocab=vocab)
    with serve(tmp_path / "hub") as hub, Line(hub.url) as line:
        yield line


@pytest.fixture
def router(tmp_path: Path, hub_line: Line) -> Iterator[Router]:
    with Router(tmp_path / "router", hub_line.url, "-c", "512") as running:
        yield running


@pytest.fixture
def lab(tmp_path: Path, hub_line: Line, router: Router) -> Machine:
    """A machine whose only target is the router; it asks the same Hub, by a way that nothing slows down."""
    return Machine(tmp_path / "here", hub_line.straight)


def target(router: Router) -> dict[str, str]:
    return {"name": "router", "runtime": "llama-server", "endpoint": router.url, "cache": str(router.cache)}


def write(lab: Machine, router: Router, *names: str, **more: object) -> None:
    lab.write(*(tiny_slot(name) for name in names), targets=[target(router)], **more)


def test_the_journey_of_a_real_model(tmp_path: Path, model: Path, llama_server: str) -> None:
    copied(model, tmp_path / "hub" / SMOL_NAME)
    loadable_gguf(tmp_path / "hub" / tiny_name("alpha"))
    with serve(tmp_path / "hub") as hub, Router(tmp_path / "router", hub.url, "-c", "512") as router:
        lab = Machine(tmp_path / "here", hub.url)
        lab.write(CHAT, targets=[target(router)])
        assert lab.plan().rows() == [("install", "missing", CHAT_NAME)]
        lab.apply()
        assert router.models() == {CHAT_NAME: "unloaded"}
        lab.in_sync()
        record = lab.record()
        lab.apply()
        assert lab.record() == record, "a second apply changes nothing"
        which = lab.run("which", "chat", "--json").data
        assert (which[0]["model"], which[0]["url"], which[0]["ours"]) == (CHAT_NAME, router.url, True)

        measured = lab.run("measure", "--llama-server", llama_server, "--runs", "1", "--json").data
        assert [(row["name"], row["state"]) for row in measured["rows"]] == [(CHAT_NAME, "measured")]

        router.load(CHAT_NAME)
        lab.write(tiny_slot("alpha"), targets=[target(router)])
        with router.answering(CHAT_NAME):
            assert lab.plan().rows("deferred") == [("keep", "in-use", CHAT_NAME)]
            lab.apply()
            assert set(router.models()) == {ALPHA, CHAT_NAME}, "nobody was cut off"
        assert ("evict", "not-desired", CHAT_NAME) in lab.plan().rows(), "loaded and idle may go"
        lab.apply()
        assert router.models() == {ALPHA: "unloaded"}
        assert len(router.blobs()) == 1
        lab.in_sync()


def test_what_is_not_the_planned_content_is_taken_away_again(lab: Machine, router: Router, hub_line: Line) -> None:
    hub_line.lie = (b"general.architecture", b"general.architecturE")
    write(lab, router, "alpha")
    ran = lab.apply("--json", expect=1)
    (ended,) = [line for line in ran.lines if line["type"] == "stepFinished"]
    assert ended["outcome"]["code"] == "corrupt"
    assert (router.models(), router.blobs()) == ({}, [])
    assert lab.owned() == set()
    hub_line.lie = None
    lab.apply()
    lab.in_sync()


def test_a_repository_the_router_cannot_see_is_a_clear_no(tmp_path: Path, lab: Machine, hub_line: Line) -> None:
    empty = tmp_path / "empty"
    loadable_gguf(empty / tiny_name("other"))
    with serve(empty) as other, Router(tmp_path / "blind", other.url) as blind:
        write(lab, blind, "alpha")
        ran = lab.apply(expect=1)
        assert "does not say why" in ran.out + ran.err
        assert "HF_ENDPOINT" in ran.out + ran.err
        assert blind.models() == {}


def test_a_router_that_dies_in_the_middle_goes_on_where_it_was(lab: Machine, router: Router, hub_line: Line) -> None:
    write(lab, router, "alpha")
    hub_line.rate = 1_500_000
    with lab.running("apply", "--yes") as running:
        wait_for(lambda: any(path.stat().st_size > 500_000 for path in partials(router)), router.log)
        router.kill()
        wait_for(lambda: len(partials(router)) == 1, router.log)
        kept = partials(router)[0].stat().st_size
        hub_line.rate, before = None, hub_line.bytes
        router.start()
        assert running.end(60).code == 0, running.text
    assert router.models() == {ALPHA: "unloaded"}
    assert hub_line.bytes - before < 3_000_000 - kept + 200_000, "what had arrived was not fetched again"
    lab.in_sync()


def test_an_apply_that_dies_in_the_middle_is_found_out_by_the_next(
    lab: Machine, router: Router, hub_line: Line
) -> None:
    write(lab, router, "alpha")
    hub_line.rate = 2_000_000
    with lab.running("apply", "--yes"):
        wait_for(lambda: router.models().get(ALPHA) == "downloading", router.log)
    assert lab.owned() == set()
    lab.apply()
    assert lab.owned() == {ALPHA}
    lab.in_sync()


def test_somebody_elses_model_is_never_ours_to_remove(lab: Machine, router: Router) -> None:
    write(lab, router, "alpha", "beta")
    lab.apply()
    lab.run("disown", ALPHA)
    write(lab, router, "beta")
    lab.apply()
    assert set(router.models()) == {ALPHA, BETA}


def test_two_builds_that_share_a_tag_are_not_asked_for(tmp_path: Path, lab: Machine, router: Router) -> None:
    loadable_gguf(tmp_path / "hub/acme/gamma-GGUF/gamma-UD-Q4_K_M.gguf")
    lab.write({"name": "gamma", "model": "acme/gamma-GGUF", "quant": "UD-Q4_K_M"}, targets=[target(router)])
    (row,) = lab.plan().data["blocked"]
    assert "which is another build's name" in row["message"]


def test_when_the_router_takes_the_other_of_two_files_it_is_not_kept(
    tmp_path: Path, lab: Machine, router: Router
) -> None:
    folder = tmp_path / "hub/acme/delta-GGUF"
    loadable_gguf(folder / "a-delta-it-UD-Q4_K_M.gguf", vocab=600)
    loadable_gguf(folder / "delta-it-Q4_K_M.gguf", vocab=640)
    lab.write({"name": "delta", "model": "acme/delta-GGUF", "quant": "Q4_K_M"}, targets=[target(router)])
    ran = lab.apply(expect=1)
    assert "not what was planned" in ran.out + ran.err
    assert (router.models(), router.blobs(), lab.owned()) == ({}, [], set())


def test_a_server_of_one_model_is_no_target(tmp_path: Path, lab: Machine) -> None:
    file = loadable_gguf(tmp_path / "one.gguf")
    with Router(tmp_path / "single", "http://127.0.0.1:9", "-m", str(file)) as single:
        write(lab, single, "alpha")
        ran = lab.plan(expect=1)
        assert "serves one model" in ran.out + ran.err


def test_context_and_conversations_are_told_to_the_router_and_drift_is_repaired(
    tmp_path: Path, lab: Machine, hub_line: Line
) -> None:
    preset = tmp_path / "presets.ini"
    theirs = "version = 1\n\n; mine, hands off\n[*]\nthreads = 2\n"
    preset.write_text(theirs, encoding="utf-8")
    slot = tiny_slot("alpha") | {"context": 1024, "parallel": 2}
    with Router(tmp_path / "told", hub_line.url, "--models-preset", str(preset)) as router:
        told = target(router) | {"preset": str(preset)}
        lab.write(slot, targets=[told])
        lab.apply()
        ours = "\n; written by localmodels\n[acme/alpha-GGUF:Q8_0]\nctx-size = 2048\nparallel = 2\n"
        assert preset.read_text() == f"{theirs}{ours}cache-type-k = f16\ncache-type-v = f16\noffline = true\n"
        lab.in_sync()
        router.load(ALPHA)
        assert [one["n_ctx"] for one in router.slots(ALPHA)] == [1024, 1024]

        with router.answering(ALPHA):
            lab.write(slot | {"context": 512, "kvCache": "q8_0"}, targets=[told])
            assert lab.plan().rows() == [("update", "serving", ALPHA)]
            lab.apply(expect=None)
            assert "ctx-size = 2048" in preset.read_text(), "nobody was cut off"
        lab.apply()
        router.load(ALPHA)
        assert [one["n_ctx"] for one in router.slots(ALPHA)] == [512, 512]
        lab.in_sync()

        preset.write_text(preset.read_text().replace("ctx-size = 1024", "ctx-size = 4096"), encoding="utf-8")
        assert lab.plan().rows() == [("update", "serving", ALPHA)]
        lab.apply()
        lab.in_sync()

        router.kill()
        router.start()
        lab.in_sync()
        lab.write(slot | {"load": True}, targets=[told])
        lab.apply()
        assert router.models() == {ALPHA: "loaded"}
        lab.in_sync()

        lab.write(targets=[told], fuses={"allowEmpty": True})
        lab.apply()
        assert (router.models(), preset.read_text()) == ({}, theirs)


def test_a_router_whose_command_line_wins_says_so_and_nothing_is_left(
    tmp_path: Path, lab: Machine, hub_line: Line
) -> None:
    preset = tmp_path / "presets.ini"
    preset.write_text("version = 1\n", encoding="utf-8")
    with Router(tmp_path / "fixed", hub_line.url, "-c", "256", "--models-preset", str(preset)) as router:
        lab.write(tiny_slot("alpha") | {"context": 1024}, targets=[target(router) | {"preset": str(preset)}])
        ran = lab.apply(expect=3)
        assert "ctx-size is 256" in ran.out + ran.err
        assert "without -c" in ran.out + ran.err
        assert preset.read_text() == "version = 1\n"
        assert lab.owned() == {ALPHA}, "it is installed all the same"


def test_clients_keep_their_name_while_the_model_changes(tmp_path: Path, model: Path) -> None:
    first, second = "acme/first-GGUF:Q4_1", "acme/second-GGUF:Q4_1"
    for name in ("first", "second"):
        copied(model, tmp_path / f"hub/acme/{name}-GGUF/{name}.Q4_1.gguf")
    preset = tmp_path / "presets.ini"
    theirs = "version = 1\n\n[*]\nthreads = 2\n"
    preset.write_text(theirs, encoding="utf-8")

    def slot(name: str) -> dict[str, object]:
        return {"name": "coder", "alias": "coder", "model": f"acme/{name}-GGUF", "quant": "Q4_1", "context": 512}

    with (
        serve(tmp_path / "hub") as hub,
        Router(tmp_path / "named", hub.url, "--models-preset", str(preset)) as router,
    ):
        lab = Machine(tmp_path / "here", hub.url)
        told = target(router) | {"preset": str(preset)}
        lab.write(slot("first"), targets=[told])
        lab.apply()
        assert router.chat("coder")
        assert ([one["n_ctx"] for one in router.slots("coder")], router.stands_for("coder")) == ([512], first)
        lab.in_sync()
        lab.write(slot("second"), targets=[told])
        with router.answering("coder"):
            lab.apply(expect=None)
            assert router.stands_for("coder") == first, "nobody was cut off"
        lab.apply()
        assert router.stands_for("coder") == second
        assert router.chat("coder")
        assert router.models() == {"coder": "loaded", second: "unloaded"}, "the old one went, and nothing runs twice"
        lab.in_sync()

        router.kill()
        router.start()
        assert router.chat("coder")
        lab.in_sync()
        lab.write(targets=[told], fuses={"allowEmpty": True})
        lab.apply()
        assert (router.models(), preset.read_text(), router.blobs()) == ({}, theirs, [])


def test_somebody_elses_name_stays(tmp_path: Path, lab: Machine, hub_line: Line) -> None:
    preset = tmp_path / "presets.ini"
    theirs = "version = 1\n\n[coder]\nhf-repo = acme/beta-GGUF:Q8_0\noffline = true\n"
    preset.write_text(theirs, encoding="utf-8")
    with Router(tmp_path / "taken", hub_line.url, "--models-preset", str(preset)) as router:
        lab.write(tiny_slot("alpha") | {"alias": "coder"}, targets=[target(router) | {"preset": str(preset)}])
        ran = lab.apply(expect=4)
        assert "coder" in ran.out + ran.err
        assert "[coder]\nhf-repo = acme/beta-GGUF:Q8_0\n" in preset.read_text()


async def test_an_update_keeps_the_old_until_the_new_is_verified(
    tmp_path: Path, router: Router, hub_line: Line
) -> None:
    row = tiny_row(tmp_path / "hub", hub_line.straight, "alpha")
    async with direct(router, tmp_path) as runtime:
        await runtime.install(row, _quiet)
        (old,) = router.blobs()
        loadable_gguf(tmp_path / "hub" / tiny_name("alpha"), vocab=640)
        fresh = tiny_row(tmp_path / "hub", hub_line.straight, "alpha", Action.UPDATE)
        hub_line.lie = (b"general.architecture", b"general.architecturE")
        with pytest.raises(Corrupt):
            await runtime.install(fresh, _quiet)
        assert (router.models(), router.blobs()) == ({ALPHA: "unloaded"}, [old]), "the old one is as it was"
        assert (await runtime.digest(ALPHA, _quiet))[0] == row.artifact.digest
        hub_line.lie = None
        await runtime.install(fresh, _quiet)
        (new,) = router.blobs()
        assert (router.models(), new != old) == ({ALPHA: "unloaded"}, True)


@pytest.mark.parametrize("moved", [False, True])
def test_an_update_that_was_killed_is_settled_by_the_next_apply(
    tmp_path: Path, lab: Machine, router: Router, hub_line: Line, moved: bool
) -> None:
    write(lab, router, "alpha")
    lab.apply()
    (old,) = router.blobs()
    set_aside(router.cache, RouterName.parse(ALPHA), look(router.cache).models[ALPHA])
    router.reload()
    assert router.models() == {}, "as kill -9 leaves it: the old content is hidden, and the new one not there yet"
    if moved:
        loadable_gguf(tmp_path / "hub" / tiny_name("alpha"), vocab=640)
    before = hub_line.bytes
    lab.apply()
    assert (router.models(), lab.owned()) == ({ALPHA: "unloaded"}, {ALPHA})
    assert moved or (router.blobs(), hub_line.bytes) == ([old], before), "nothing was fetched twice"
    assert len(router.blobs()) == 1
    lab.in_sync()


async def test_what_we_tell_it_to_serve_is_not_changed_by_a_load(tmp_path: Path, hub_line: Line) -> None:
    """A router that loads a model of its cache fetches what its repository holds by then."""
    preset = tmp_path / "presets.ini"
    preset.write_text("version = 1\n", encoding="utf-8")
    with Router(tmp_path / "told", hub_line.url, "--models-preset", str(preset)) as router:
        async with direct(router, tmp_path, preset=str(preset)) as runtime:
            await runtime.install(tiny_row(tmp_path / "hub", hub_line.straight, "alpha"), _quiet)
            before = router.blobs()
            loadable_gguf(tmp_path / "hub" / tiny_name("alpha"), vocab=640)
            await runtime.serve(ALPHA, Serving(context=256))
            await runtime.name("coder", ALPHA, context=256)
            for name in (ALPHA, "coder"):
                router.load(name)
                assert router.blobs() == before


async def test_two_files_that_share_a_tag_are_not_confused_when_one_goes(tmp_path: Path, router: Router) -> None:
    for path, vocab in (("delta-UD-Q4_K_M.gguf", 600), ("delta-Q4_K_M.gguf", 640)):
        file = loadable_gguf(tmp_path / path, vocab=vocab)
        put(router.cache, path, file.read_bytes(), repo="acme/delta-GGUF")
    before = router.blobs()
    async with direct(router, tmp_path) as runtime:
        with pytest.raises(Refused) as raised:
            await runtime.remove("acme/delta-GGUF:Q4_K_M")
    assert "would remove all of" in raised.value.message
    assert router.blobs() == before


async def test_what_another_program_fetched_can_be_removed(tmp_path: Path, router: Router) -> None:
    file = loadable_gguf(tmp_path / "gamma-Q8_0.gguf")
    put(router.cache, "gamma-Q8_0.gguf", file.read_bytes(), repo="acme/gamma-GGUF")
    assert router.models() == {}, "the router has not looked yet"
    async with direct(router, tmp_path) as runtime:
        assert await runtime.remove("acme/gamma-GGUF:Q8_0") == file.stat().st_size
    assert router.blobs() == []


def test_a_key_by_reference_opens_the_router_and_is_seen_nowhere(tmp_path: Path, lab: Machine, hub_line: Line) -> None:
    secret = "sesame-4711-open"
    (tmp_path / "key").write_text(f"{secret}\n", encoding="utf-8")
    with Router(tmp_path / "locked", hub_line.url, "-c", "512", "--api-key", secret) as router:
        write(lab, router, "alpha")
        ran = lab.plan(expect=1)
        assert "apiKeyFrom" in ran.out + ran.err
        said = [ran]
        for key in ({"file": str(tmp_path / "key")}, {"env": "ROUTER_KEY"}):
            lab.write(tiny_slot("alpha"), targets=[target(router) | {"apiKeyFrom": key}])
            said.append(lab.run("apply", "--yes", "--json", ROUTER_KEY=secret))
        said.append(lab.run("plan", "--json", "--out", str(tmp_path / "plan.json"), ROUTER_KEY=secret))
        wrong = lab.run("plan", "--json", expect=1, ROUTER_KEY="other-4711")
        assert "does not accept the API key" in wrong.out
        assert router.models() == {ALPHA: "unloaded"}
        assert secret not in "".join(one.out + one.err for one in said)
        assert "other-4711" not in wrong.out + wrong.err
    written = [
        path for root in (lab.root, tmp_path / "plan.json") for path in (root, *root.rglob("*")) if path.is_file()
    ]
    assert len(written) > 3
    assert not [path for path in written if secret.encode() in path.read_bytes()]


def test_without_a_preset_file_the_plan_says_how_a_context_is_set(lab: Machine, router: Router) -> None:
    lab.write(tiny_slot("alpha") | {"context": 1024}, targets=[target(router)])
    said = " ".join(lab.plan().data["warnings"])
    assert "--models-preset FILE" in said


@asynccontextmanager
async def direct(router: Router, folder: Path, preset: str | None = None) -> AsyncIterator[LlamaServer]:
    """The integration alone, without the engine."""
    cache = str(router.cache)
    there = Target(name="router", runtime="llama-server", endpoint=router.url, cache=cache, preset=preset)
    clock = SystemClock()
    runtime = LlamaServer(there, http=lambda: Http(clock=clock), clock=clock, cache_directory=folder / "ours")
    try:
        yield runtime
    finally:
        await runtime.close()


def tiny_row(hub: Path, endpoint: str, name: str, action: Action = Action.INSTALL) -> Row:
    file = hub / tiny_name(name)
    held = ArtifactFile(path=file.name, bytes=Bytes(file.stat().st_size), sha256=sha256_of(file))
    artifact = HubArtifact(endpoint=endpoint, repo=f"acme/{name}-GGUF", commit="a" * 40, files=(held,))
    return install_row(f"acme/{name}-GGUF:Q8_0", artifact, action)


def _quiet(done: Bytes, total: Bytes, note: str = "") -> None:
    pass


def partials(router: Router) -> list[Path]:
    return list(router.cache.glob("models--*/blobs/*.downloadInProgress"))
