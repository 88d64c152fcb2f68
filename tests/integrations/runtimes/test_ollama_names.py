"""Stable names on Ollama, over the double: made, moved in one step, verified, told from models of their own."""

from __future__ import annotations

import contextlib
import json
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reconciler.domain.names import OllamaName
from reconciler.domain.observation import Alias, ObservedTarget
from reconciler.errors import Corrupt, OutOfSpace, OutsideError, Refused, Unreachable
from reconciler.integrations.runtimes.ollama_api import Listed, Shown
from reconciler.integrations.runtimes.ollama_look import Look
from reconciler.integrations.runtimes.ollama_names import aliases_of
from reconciler.ports import Names
from tests.doubles.ollama import OllamaDouble
from tests.doubles.ollama_create import create
from tests.doubles.ollama_rig import Heard, library_row, runtime_on, small
from tests.doubles.ollama_store import IMAGE, Name
from tests.doubles.registry_front_memory import MemoryRegistry

OLD = small(1, parameters={"stop": "<end>"})
NEW = small(2, parameters={"num_ctx": 2048, "temperature": 0.5})


@pytest.fixture
def registry():
    with MemoryRegistry() as registry:
        registry.add("library/old:1b", OLD)
        registry.add("library/new:1b", NEW)
        registry.add("library/absent:1b", small(3))
        yield registry


@pytest.fixture
def double(tmp_path, registry):
    with OllamaDouble(tmp_path / "models", registries={"registry.ollama.ai": registry.url}) as double:
        yield double


@pytest.fixture(params=["directory", "api"])
async def runtime(request, double):
    """Once where the server's directory can be read, once where only the API tells."""
    runtime = runtime_on(double, directories=[double.store.root] if request.param == "directory" else [])
    await runtime.install(library_row("old:1b", OLD), Heard())
    await runtime.install(library_row("new:1b", NEW), Heard())
    yield runtime
    await runtime.close()


async def observed(runtime) -> ObservedTarget:
    seen = await runtime.observe()
    assert isinstance(seen, ObservedTarget), seen
    return seen


async def only_alias(runtime) -> Alias:
    (alias,) = (await observed(runtime)).aliases
    return alias


def created(double) -> int:
    return [path for _, path in double.requests].count("/api/create")


def direct(double, name, source, **more):
    """As a person would, by hand."""
    assert list(create(double, {"model": name, "from": source, **more}))[-1] == {"status": "success"}


async def test_a_name_is_made_from_a_model_and_shares_its_files(runtime, double):
    assert isinstance(runtime, Names)
    before = set(double.store.blobs.iterdir())
    alias = await runtime.name("coder", "old:1b", context=8192)
    assert (alias.name, alias.model, alias.context, alias.loaded) == ("coder", "old:1b", 8192, False)
    assert alias == await only_alias(runtime)
    own = [path.stat().st_size for path in set(double.store.blobs.iterdir()) - before]
    assert sum(own) < 1_000, "a config and parameters"
    by_name = {model.name: model for model in (await observed(runtime)).installed}
    assert set(by_name) == {"coder:latest", "old:1b", "new:1b"}
    assert by_name["coder:latest"].blobs == by_name["old:1b"].blobs == (OLD.weights.digest,)
    assert by_name["coder:latest"].model_context == 8192
    assert alias.digest == by_name["coder:latest"].digest != by_name["old:1b"].digest
    assert double.pulled == ["old:1b", "new:1b"]


async def test_a_name_keeps_the_models_other_parameters(runtime, double):
    await runtime.name("coder", "new:1b", context=8192)
    stored = double.store.find(Name.parse("coder"))
    told = json.loads(double.store.blob(stored.layer("params")["digest"]).read_bytes())
    assert told == {"num_ctx": 8192, "temperature": 0.5}


async def test_making_it_again_changes_nothing(runtime, double):
    first = await runtime.name("coder", "old:1b", context=8192)
    assert await runtime.name("Coder:latest", "OLD:1b", context=8192) == first
    assert await runtime.name("coder", "old:1b", context=None) == first
    assert created(double) == 1


async def test_it_moves_in_one_create_and_the_old_models_files_stay(runtime, double):
    await runtime.name("coder", "old:1b", context=8192)
    moved = await runtime.name("coder", "new:1b", context=4096)
    assert (moved.model, moved.context) == ("new:1b", 4096)
    assert moved == await only_alias(runtime)
    assert created(double) == 2
    assert "/api/delete" not in {path for _, path in double.requests}
    assert double.store.blob(OLD.weights.digest).exists()
    view = {path.name.replace("-", ":", 1) for path in double.store.blobs.iterdir()}
    used = {layer["digest"] for stored in double.store.all() for layer in stored.layers}
    assert view == used, "what only the old name had is gone with it"


async def test_another_context_is_a_move_too(runtime, double):
    await runtime.name("coder", "old:1b", context=8192)
    assert (await runtime.name("coder", "old:1b", context=16384)).context == 16384
    assert (await only_alias(runtime)).context == 16384


async def test_a_model_that_is_not_installed_is_never_pulled_for_a_name(runtime, double):
    with pytest.raises(Refused) as raised:
        await runtime.name("coder", "absent:1b", context=8192)
    assert raised.value.code == "not-found"
    assert double.pulled == ["old:1b", "new:1b"]
    assert created(double) == 0


async def test_a_create_that_begins_to_pull_is_left_at_once(runtime, double):
    """The model went away between the look and the create."""
    double.pace.bytes_per_second = 100_000

    def too_late(exchange, route):
        double.store.delete(double.store.find(Name.parse("old:1b")))
        route(exchange)

    creating(double, too_late)
    with pytest.raises(Refused) as raised:
        await runtime.name("coder", "old:1b", context=8192)
    assert raised.value.code == "not-found"
    assert {model.name for model in (await observed(runtime)).installed} == {"new:1b"}


async def test_a_model_of_its_own_under_the_name_is_left_alone(runtime, double):
    for move in (runtime.name("new:1b", "old:1b", context=8192), runtime.unname("new:1b")):
        with pytest.raises(Refused) as raised:
            await move
        assert raised.value.code == "unmanaged-conflict"
    assert {model.digest for model in (await observed(runtime)).installed} == {OLD.digest, NEW.digest}


async def test_a_model_cannot_stand_for_itself(runtime):
    with pytest.raises(Refused):
        await runtime.name("old:1B", "old:1b", context=8192)


@pytest.mark.parametrize(
    "more", [{"system": "You are a pirate."}, {"template": "{{ .System }}"}, {"parameters": {"temperature": 0.1}}]
)
async def test_what_somebody_made_of_a_model_is_no_stable_name(runtime, double, more):
    direct(double, "mine", "old:1b", **more)
    assert (await observed(runtime)).aliases == ()
    with pytest.raises(Refused) as raised:
        await runtime.name("mine", "new:1b", context=8192)
    assert raised.value.code == "unmanaged-conflict"
    assert double.store.find(Name.parse("mine")) is not None


async def test_a_copy_is_a_model_of_its_own(runtime, double):
    double.store.write(Name.parse("copy"), OLD.manifest)
    assert (await observed(runtime)).aliases == ()
    with pytest.raises(Refused):
        await runtime.unname("copy")


async def test_an_adapted_model_is_no_stable_name(runtime, double):
    adapter = double.store.add_blob(b"adapter", IMAGE + "adapter")["digest"]
    direct(double, "adapted", "old:1b", adapters={"a.gguf": adapter})
    assert (await observed(runtime)).aliases == ()


async def test_somebodys_own_stable_name_is_seen_as_one(runtime, double):
    direct(double, "acme/big:v2", "old:1b", parameters={"num_ctx": 32768})
    alias = await only_alias(runtime)
    assert (alias.name, alias.model, alias.context) == ("acme/big:v2", "old:1b", 32768)


async def test_a_name_whose_model_is_gone_stands_for_nothing(runtime, double):
    await runtime.name("coder", "old:1b", context=8192)
    await runtime.remove("old:1b")
    assert double.store.blob(OLD.weights.digest).exists(), "the name holds the files"
    assert (await only_alias(runtime)).model is None
    assert (await runtime.name("coder", "new:1b", context=8192)).model == "new:1b"
    assert not double.store.blob(OLD.weights.digest).exists()


async def test_a_name_whose_model_has_other_content_stands_for_nothing(runtime, double, registry):
    await runtime.name("coder", "old:1b", context=8192)
    double.store.write(Name.parse("old:1b"), NEW.manifest)
    assert (await only_alias(runtime)).model is None
    assert (await runtime.name("coder", "old:1b", context=8192)).model == "old:1b"


async def test_the_last_name_of_some_weights_does_not_move_while_they_answer(runtime, double):
    await runtime.name("coder", "old:1b", context=8192)
    await runtime.remove("old:1b")
    with double.in_flight("coder"):
        with pytest.raises(Refused) as raised:
            await runtime.name("coder", "new:1b", context=8192)
        assert raised.value.code == "in-use"
    assert (await runtime.name("coder", "new:1b", context=8192)).model == "new:1b"


async def test_a_move_lets_a_request_finish_with_what_it_began_with(runtime, double):
    await runtime.name("coder", "old:1b", context=8192)
    with double.in_flight("coder") as runner:
        assert (await only_alias(runtime)).loaded
        assert (await runtime.name("coder", "new:1b", context=8192)).model == "new:1b"
        assert runner.busy
        with pytest.raises(Refused) as raised:
            await runtime.remove("old:1b")
        assert raised.value.code == "in-use", "it still answers under the name, with the old weights"
    await runtime.remove("old:1b")
    assert double.generated == [{"model": "old:1b", "stream": False, "keep_alive": 0}], "so that its files are closed"


async def test_a_name_goes_and_no_file_of_a_model_with_it(runtime, double):
    before = set(double.store.blobs.iterdir())
    await runtime.name("coder", "old:1b", context=8192)
    double.load("coder")
    await runtime.unname("CODER")
    assert (await observed(runtime)).aliases == ()
    assert set(double.store.blobs.iterdir()) == before
    assert double.runners == {}
    await runtime.unname("coder")


async def test_a_name_in_use_stays(runtime, double):
    await runtime.name("coder", "old:1b", context=8192)
    with double.in_flight("coder"), pytest.raises(Refused) as raised:
        await runtime.unname("coder")
    assert raised.value.code == "in-use"
    assert await only_alias(runtime)


async def test_a_model_in_use_under_its_own_name_does_not_hold_its_alias(runtime, double):
    await runtime.name("coder", "old:1b", context=8192)
    with double.in_flight("old:1b"):
        await runtime.unname("coder")
    assert (await observed(runtime)).aliases == ()


async def test_an_idle_name_is_probably_idle_and_goes(runtime, double):
    await runtime.name("coder", "old:1b", context=8192)
    runner = double.load("coder")
    runner.expires_at = datetime.now(UTC) + timedelta(seconds=200)
    await runtime.unname("coder")
    assert double.store.find(Name.parse("coder")) is None


NAMES = ["a:latest", "b:1b", "c:1b"]
SHOWN = st.builds(
    Shown,
    blobs=st.sampled_from([(), ("sha256:1",), ("sha256:2",), ("sha256:1", "sha256:2")]),
    context=st.none() | st.integers(1, 9),
    parent=st.none() | st.sampled_from([*NAMES, "A", "gone:1b", "no name!"]),
    form=st.sampled_from(["", "other"]),
    is_adapted=st.booleans(),
)


@given(st.dictionaries(st.sampled_from(NAMES), SHOWN), st.permutations(NAMES))
def test_whatever_is_listed_an_alias_stands_for_another_name_with_its_weights(shown, order):
    listed = tuple(Listed(name, 1, name, None, None, remote=False) for name in order)
    look = Look(listed=listed, loaded=(), busy=frozenset(), view=None, shown=shown, weights={})
    found = aliases_of(look)
    assert [alias.name for alias in found] == sorted({alias.name for alias in found})
    for alias in found:
        own = shown[look.find(alias.name).name]
        assert own.parent
        assert not own.is_adapted
        if alias.model is not None:
            assert alias.model in NAMES
            assert not OllamaName.parse(alias.model).same_as(OllamaName.parse(alias.name))
            assert set(shown[alias.model].blobs) == set(own.blobs) != set()
            assert shown[alias.model].form == own.form


# what goes wrong


@pytest.mark.parametrize(("status", "error"), [(404, Refused), (400, Refused), (500, Unreachable), (0, Unreachable)])
async def test_a_server_that_does_not_create_leaves_everything_as_it_was(runtime, double, status, error):
    before = await runtime.name("coder", "old:1b", context=8192)
    double.faults.status["/api/create"] = (status, b'{"error":"no"}')
    with pytest.raises(error):
        await runtime.name("coder", "new:1b", context=8192)
    assert await only_alias(runtime) == before


def creating(double, spoil):
    """The double's create, with a hand in it."""
    route = double._server.route

    def spoilt(exchange):
        if exchange.path == "/api/create" and not spoilt.done:
            spoilt.done = True
            return spoil(exchange, route)
        return route(exchange)

    spoilt.done = False
    double._server.route = spoilt


def lines(*said):
    def answer(exchange, _):
        exchange.begin_stream()
        for line in said:
            exchange.send_chunk(json.dumps(line).encode() + b"\n")
        exchange.end_stream()

    return answer


@pytest.mark.parametrize(
    ("said", "error"),
    [
        (({"status": "writing manifest"},), Unreachable),
        (({"status": "success"},), Unreachable),
        (({"error": "oh"}, {"status": "success"}), Refused),
        (({"error": "write manifest: no space left on device"},), OutOfSpace),
    ],
)
async def test_only_what_a_look_sees_counts(runtime, double, said, error):
    """Success that is none, an error with success after it (1.5), an end without a word."""
    creating(double, lines(*said))
    with pytest.raises(error):
        await runtime.name("coder", "old:1b", context=8192)
    assert (await observed(runtime)).aliases == ()


async def test_a_create_whose_end_was_not_heard_of_counts_when_it_happened(runtime, double):
    def unheard(exchange, route):
        direct(double, "coder", "old:1b", parameters={"num_ctx": 8192})
        exchange.break_off()

    creating(double, unheard)
    assert (await runtime.name("coder", "old:1b", context=8192)).model == "old:1b"


@pytest.mark.parametrize("spoilt", [{"parameters": {"num_ctx": 1}}, {"from": "old:1b"}, {"system": "other"}])
async def test_what_came_out_otherwise_is_undone(runtime, double, spoilt):
    def otherwise(exchange, route):
        body = {"from": "new:1b", "parameters": {"num_ctx": 8192}, **spoilt}
        direct(double, "coder", body.pop("from"), **body)
        lines({"status": "success"})(exchange, route)

    creating(double, otherwise)
    with pytest.raises(Corrupt) as raised:
        await runtime.name("coder", "new:1b", context=8192)
    assert "removed again" in raised.value.message
    assert double.store.find(Name.parse("coder")) is None


async def test_a_move_that_came_out_otherwise_is_put_back(runtime, double):
    before = await runtime.name("coder", "old:1b", context=8192)

    def otherwise(exchange, route):
        direct(double, "coder", "new:1b", system="other")
        lines({"status": "success"})(exchange, route)

    creating(double, otherwise)
    with pytest.raises(Corrupt) as raised:
        await runtime.name("coder", "new:1b", context=8192)
    assert "stands for old:1b again" in raised.value.message
    after = await only_alias(runtime)
    assert (after.model, after.context) == (before.model, before.context)


async def test_a_damaged_model_gets_no_name(runtime, double):
    double.store.blob(OLD.weights.digest).unlink()
    with pytest.raises(Refused):
        await runtime.name("coder", "old:1b", context=8192)
    assert created(double) == 0


@pytest.mark.parametrize("alias", ["", "a b", "../up", "x:", "-x", "a" * 99])
async def test_a_name_no_server_could_have_is_refused(runtime, alias):
    with pytest.raises(Refused):
        await runtime.name(alias, "old:1b", context=8192)


@pytest.mark.parametrize("path", ["/api/tags", "/api/show", "/api/ps", "/api/create"])
@pytest.mark.parametrize(
    "body", [b"", b"[]", b"{}", b"<html>", b'{"models": [{}]}', b'{"status": 5, "error": []}\n' * 3]
)
async def test_whatever_a_server_answers_is_one_of_our_errors(runtime, double, path, body):
    double.faults.status[path] = (200, body)
    for step in (runtime.name("coder", "old:1b", context=8192), runtime.unname("coder"), runtime.remove("new:1b")):
        with contextlib.suppress(OutsideError):
            await step
    double.faults.status.clear()
    names = {model.name for model in (await observed(runtime)).installed}
    assert "old:1b" in names
