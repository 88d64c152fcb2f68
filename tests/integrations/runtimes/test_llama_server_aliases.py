from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reconciler.domain.observation import Alias, Serving
from reconciler.errors import OutsideError, Refused, Unreachable
from reconciler.integrations.http import Response
from reconciler.integrations.runtimes.llama_server_aliases import told, with_alias, with_serving, without_alias
from reconciler.integrations.runtimes.llama_server_preset import OURS, Preset
from reconciler.ports import Names
from tests.integrations.runtimes.router_double import NAME, RouterDouble, put, runtime_on

OTHER_REPO = "acme/beta-GGUF"
OTHER = f"{OTHER_REPO}:Q8_0"
THEIRS = "version = 1\n\n[*]\nthreads = 2\n"
WANTED = Serving(context=4096, parallel=2, kv_cache="q8_0")


@pytest.fixture
def double(tmp_path: Path) -> RouterDouble:
    double = RouterDouble(tmp_path / "cache")
    double.arrive()
    put(double.cache, "beta-Q8_0.gguf", b"GGUFb", repo=OTHER_REPO)
    double.add(OTHER)
    double.preset = tmp_path / "presets.ini"
    double.preset.write_text(THEIRS)
    return double


def runtime(double: RouterDouble):
    return runtime_on(double, target={"preset": str(double.preset)})


async def seen(double: RouterDouble) -> tuple[Alias, ...]:
    return (await runtime(double).observe()).aliases


def settings(double: RouterDouble, name: str) -> dict[str, str]:
    return dict(Preset(double.preset.read_text()).sections[name].settings)


# the file


servings = st.builds(Serving, context=st.integers(1, 9999), parallel=st.integers(1, 9), load=st.booleans())


@given(servings, servings, st.one_of(st.none(), st.integers(1, 9999)))
def test_a_name_never_changes_how_its_model_is_served(first: Serving, second: Serving, context: int | None) -> None:
    preset = with_serving(Preset(THEIRS), NAME, first)
    named = with_alias(preset, "coder", NAME, context)
    assert told(named.sections, NAME) == first
    assert named.sections["coder"].serving == first.model_copy(update={"context": context or first.context})
    changed = with_serving(named, NAME, second)
    assert told(changed.sections, NAME) == second
    moved = with_alias(changed, "coder", OTHER, context)
    assert (moved.sections["coder"].model, told(moved.sections, NAME)) == (OTHER, second)
    for left in (without_alias(changed, "coder"), without_alias(moved, "coder")):
        assert "coder" not in left.sections
        assert told(left.sections, NAME) == second


@given(servings)
def test_a_model_that_is_to_be_loaded_is_loaded_once(serving: Serving) -> None:
    named = with_alias(with_serving(Preset(THEIRS), NAME, serving), "coder", NAME, None)
    again = with_serving(named, NAME, serving)
    for preset in (named, again):
        loads = [name for name, section in preset.sections.items() if "load-on-startup" in section.settings]
        assert loads == (["coder"] if serving.load else [])


# on a router


async def test_a_name_is_made_moved_and_taken_away(double):
    assert isinstance(runtime(double), Names)
    made = await runtime(double).name("coder", NAME, context=1024)
    assert made == Alias(name="coder", model=NAME, context=1024)
    assert settings(double, "coder") == {
        "hf-repo": NAME, "offline": "true", "ctx-size": "1024", "parallel": "1",
    }  # fmt: skip
    assert await seen(double) == (made,)
    assert [model.name for model in (await runtime(double).observe()).installed] == [NAME, OTHER], "a name is no model"
    before = double.preset.stat().st_mtime_ns
    assert await runtime(double).name("coder", NAME, context=1024) == made
    assert double.preset.stat().st_mtime_ns == before
    moved = await runtime(double).name("coder", OTHER, context=2048)
    assert (moved.model, moved.context) == (OTHER, 2048)
    assert await seen(double) == (moved,)
    await runtime(double).unname("coder")
    await runtime(double).unname("coder")
    assert (await seen(double), double.preset.read_text()) == ((), THEIRS)


async def test_a_name_that_lost_our_mark_is_seen_as_somebody_elses(double):
    made = await runtime(double).name("coder", NAME, context=None)
    assert not made.foreign
    double.preset.write_text(double.preset.read_text().replace(f"{OURS}\n[coder]", "[coder]"))
    (there,) = await seen(double)
    assert (there.name, there.model, there.foreign) == ("coder", NAME, True)


async def test_it_is_served_as_its_model_is(double):
    await runtime(double).serve(NAME, WANTED)
    await runtime(double).name("coder", NAME, context=512)
    assert settings(double, "coder")["cache-type-k"] == "q8_0"
    assert settings(double, "coder")["ctx-size"] == "1024"
    await runtime(double).serve(NAME, WANTED.model_copy(update={"parallel": 4}))
    assert (settings(double, "coder")["ctx-size"], (await seen(double))[0].context) == ("2048", 512)


async def test_a_loaded_name_is_loaded_after_the_move_and_the_model_not_twice(double):
    loaded = WANTED.model_copy(update={"load": True})
    await runtime(double).serve(NAME, loaded)
    await runtime(double).name("coder", NAME, context=None)
    assert (double.models["coder"]["status"], double.models[NAME]["status"]) == ("loaded", "unloaded")
    (model, _) = (await runtime(double).observe()).installed
    assert model.serving == loaded, "what the slot asked for still holds"
    await runtime(double).name("coder", OTHER, context=512)
    assert double.models["coder"]["status"] == "loaded"
    assert "load-on-startup" in settings(double, NAME)


async def test_a_new_model_that_does_not_load_leaves_the_name_with_the_old(double):
    await runtime(double).name("coder", NAME, context=512)
    double.models["coder"]["status"], double.broken = "loaded", {OTHER}
    before = double.preset.read_text()
    with pytest.raises(Refused) as raised:
        await runtime(double).name("coder", OTHER, context=512)
    assert "does not load" in raised.value.message
    assert double.preset.read_text() == before
    assert (await seen(double))[0].model == NAME


async def test_what_a_person_writes_meanwhile_stays(double):
    await runtime(double).name("coder", NAME, context=512)
    double.models["coder"]["status"], double.broken = "loaded", {OTHER}
    load = double._post_models_load

    def edited(name):
        double.preset.write_text(double.preset.read_text() + "\n[mine]\nmodel = /mine.gguf\n")
        return load(name)

    double._post_models_load = edited
    with pytest.raises(Refused):
        await runtime(double).name("coder", OTHER, context=512)
    assert settings(double, "coder")["hf-repo"] == NAME
    assert settings(double, "mine") == {"model": "/mine.gguf"}


async def test_nobody_who_asks_under_the_name_is_cut_off(double):
    await runtime(double).name("coder", NAME, context=512)
    double.models["coder"]["status"], double.busy = "loaded", {"coder"}
    text = double.preset.read_text()
    (alias,) = await seen(double)
    (model, other) = (await runtime(double).observe()).installed
    assert (alias.loaded, model.loaded, other.loaded) == (True, True, False)
    for doing in (
        runtime(double).name("coder", OTHER, context=512),
        runtime(double).unname("coder"),
        runtime(double).serve(NAME, WANTED),
        runtime(double).remove(NAME),
    ):
        with pytest.raises(Refused) as raised:
            await doing
        assert raised.value.code == "in-use"
    assert double.preset.read_text() == text
    assert NAME in double.models


async def test_what_is_taken_is_refused(double):
    double.add("mine", source="preset", settings={"model": "/x.gguf"})
    double.preset.write_text(f"{THEIRS}\n[chat]\nhf-repo = {OTHER}\n\n[mine]\nmodel = /x.gguf\n")
    double.models[OTHER]["aliases"] = ["old"]
    text = double.preset.read_text()
    for alias in (NAME, OTHER, "acme/none-GGUF:F16", "chat", "mine", "old"):
        with pytest.raises(Refused) as raised:
            await runtime(double).name(alias, NAME, context=512)
        assert raised.value.code == "unmanaged-conflict", alias
    for alias in ("chat", "mine", "old"):
        with pytest.raises(Refused) as raised:
            await runtime(double).unname(alias)
        assert raised.value.code == "unmanaged-conflict", alias
    assert double.preset.read_text() == text
    assert [(alias.name, alias.model) for alias in await seen(double)] == [("chat", OTHER), ("old", OTHER)]


@pytest.mark.parametrize("alias", ["*", "a]b", "a\nb", "", " a", "[x", "a = b", "; a"])
async def test_what_cannot_stand_at_the_head_of_a_section_is_no_name(double, alias):
    with pytest.raises(Refused):
        await runtime(double).name(alias, NAME, context=512)
    assert double.preset.read_text() == THEIRS


async def test_a_model_that_is_not_there_gets_no_name(double):
    with pytest.raises(Refused) as raised:
        await runtime(double).name("coder", "acme/none-GGUF:Q8_0", context=512)
    assert raised.value.code == "not-found"


async def test_without_a_preset_file_it_says_how_to_have_names(double):
    with pytest.raises(Refused) as raised:
        await runtime_on(double).name("coder", NAME, context=512)
    assert "--models-preset" in raised.value.hint
    await runtime_on(double).unname("coder")


async def test_a_router_that_does_not_read_the_file_leaves_nothing_behind(double):
    ours, double.preset = double.preset, None
    with pytest.raises(Refused) as raised:
        await runtime_on(double, target={"preset": str(ours)}).name("coder", NAME, context=512)
    assert "does not take" in raised.value.message
    assert ours.read_text() == THEIRS


async def test_a_crash_before_the_router_read_it_is_seen_and_done_again(double):
    double.preset.write_text(with_alias(Preset(THEIRS), "coder", NAME, 512).text)
    assert await seen(double) == (Alias(name="coder"),)
    assert (await runtime(double).name("coder", NAME, context=512)).model == NAME
    double.preset.write_text(with_alias(Preset(double.preset.read_text()), "coder", OTHER, 512).text)
    assert (await seen(double))[0].model is None, "the file says otherwise than the router"
    assert (await runtime(double).name("coder", OTHER, context=512)).model == OTHER


async def test_a_router_that_dies_in_the_middle_is_asked_again(double):
    asked = double._read_preset
    double._read_preset = lambda: asked() if "coder" not in double.preset.read_text() else Response(503)
    with pytest.raises(Unreachable):
        await runtime(double).name("coder", NAME, context=512)
    double._read_preset = asked
    assert (await runtime(double).name("coder", NAME, context=512)).model == NAME
    assert OURS in double.preset.read_text()


async def test_a_model_behind_somebody_elses_name_is_not_removed(double):
    double.preset.write_text(f"{THEIRS}\n[chat]\nhf-repo = {NAME}\n")
    with pytest.raises(OutsideError) as raised:
        await runtime(double).remove(NAME)
    assert "[chat]" in raised.value.hint or "section chat" in raised.value.hint
    assert NAME in double.models


async def test_an_idle_name_is_unloaded_before_its_model_goes(double):
    await runtime(double).name("coder", NAME, context=512)
    double.models["coder"]["status"] = "loaded"
    assert await runtime(double).remove(NAME) > 0
    assert double.asked.index("POST /models/unload coder") < double.asked.index(f"DELETE /models {NAME}")
    assert (await seen(double))[0].model is None


async def test_a_model_that_a_section_of_somebody_elses_serves_is_seen_as_held(double):
    double.preset.write_text(f"{THEIRS}\n[theirs]\nhf-repo = {NAME}\n")
    await runtime(double).name("coder", OTHER, context=None)
    held, free = (await runtime(double).observe()).installed
    assert (free.name, free.held_by) == (OTHER, None), "a name of ours goes with its model"
    assert "take theirs out" in held.held_by
    with pytest.raises(Refused, match="theirs"):
        await runtime(double).remove(NAME)
    double.preset.write_text(THEIRS)
    assert [model.held_by for model in (await runtime(double).observe()).installed] == [None, None]
    assert await runtime(double).remove(NAME) > 0


async def test_a_preset_file_that_somebody_deleted_is_made_again_by_whichever_step_comes_first(double):
    await runtime(double).name("coder", NAME, context=None)
    double.preset.unlink()
    named = await runtime(double).name("coder", NAME, context=None)
    assert (named.model, (await seen(double))) == (NAME, (named,))
    double.preset.unlink()
    assert await runtime(double).remove(NAME) > 0
    await runtime(double).unname("coder")
    assert await seen(double) == ()


async def test_a_folder_in_place_of_the_preset_file_is_told_before_the_router_is_asked(double):
    double.preset.unlink()
    double.preset.mkdir()
    steps = (
        runtime(double).name("coder", NAME, context=None),
        runtime(double).unname("coder"),
        runtime(double).serve(NAME, WANTED),
        runtime(double).remove(NAME),
    )
    for step in steps:
        with pytest.raises(Refused, match="is a folder") as raised:
            await step
        assert (raised.value.code, "move the folder away" in raised.value.hint) == ("unreadable", True)
    assert double.asked == []


async def test_what_the_router_says_of_a_preset_file_it_cannot_read_is_refused_with_what_to_do(double):
    double.preset.unlink()
    for make in (lambda: None, double.preset.mkdir):
        make()
        with pytest.raises(Refused, match="cannot read its preset file") as raised:
            await runtime(double)._api.models(reload=True)
        assert "--models-preset" in (raised.value.hint or "")
