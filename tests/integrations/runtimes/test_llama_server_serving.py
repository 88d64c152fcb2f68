from __future__ import annotations

from pathlib import Path

import pytest

from reconciler.domain.observation import Serving
from reconciler.domain.plan import Action
from reconciler.errors import Refused
from reconciler.integrations.runtimes.llama_server_preset import OURS, UNREAD, Preset
from reconciler.ports import Serves
from tests.doubles.ollama_rig import Heard
from tests.integrations.runtimes.router_double import CONTENT, NAME, RouterDouble, put, row, runtime_on, sha

WANTED = Serving(context=4096, parallel=2)
ROTTEN = b"GGUF" + b"r" * 2000
THEIRS = "version = 1\n\n[*]\nthreads = 2\n"


@pytest.fixture
def double(tmp_path: Path) -> RouterDouble:
    double = RouterDouble(tmp_path / "cache")
    double.arrive()
    double.preset = tmp_path / "presets.ini"
    double.preset.write_text(THEIRS)
    return double


def runtime(double: RouterDouble):
    return runtime_on(double, target={"preset": str(double.preset)})


async def look(double: RouterDouble):
    return next(model for model in (await runtime(double).observe()).installed if model.name == NAME)


async def test_it_is_written_once_and_seen(double):
    assert isinstance(runtime(double), Serves)
    assert ((await look(double)).serving, (await look(double)).serving_is_ours) == (None, True)
    await runtime(double).serve(NAME, WANTED)
    found = await look(double)
    assert (found.serving, found.serving_is_ours, found.model_context) == (WANTED, True, 4096)
    written, asked = double.preset.stat().st_mtime_ns, len(double.asked)
    await runtime(double).serve(NAME, WANTED)
    assert (double.preset.stat().st_mtime_ns, len(double.asked)) == (written, asked)


async def test_an_update_that_fails_leaves_the_section_and_what_a_person_wrote(double):
    await runtime(double).serve(NAME, WANTED)
    double.brings = lambda _: double.preset.write_text(double.preset.read_text() + "\n[mine]\nmodel = /mine.gguf\n")
    fresh = row(Action.UPDATE, b"GGUF" + b"n" * 900)
    with pytest.raises(Refused):
        await runtime(double).install(fresh, Heard())
    sections = Preset(double.preset.read_text()).sections
    assert (sections[NAME].serving, sections["mine"].settings) == (WANTED, {"model": "/mine.gguf"})
    assert (await look(double)).serving == WANTED


async def test_nobody_is_cut_off_for_it(double):
    double.models[NAME]["status"], double.busy = "loaded", {NAME}
    with pytest.raises(Refused) as raised:
        await runtime(double).serve(NAME, WANTED)
    assert (raised.value.code, double.preset.read_text()) == ("in-use", THEIRS)
    double.busy = set()
    await runtime(double).serve(NAME, WANTED)
    assert double.models[NAME]["status"] == "unloaded"


async def test_a_command_line_that_wins_leaves_nothing_behind(double):
    double.command_line = {"ctx-size": "512"}
    with pytest.raises(Refused) as raised:
        await runtime(double).serve(NAME, WANTED)
    assert "ctx-size is 512" in raised.value.message
    assert "parallel" not in raised.value.message
    assert double.preset.read_text() == THEIRS


async def test_a_file_the_router_does_not_read_leaves_nothing_behind(double):
    ours, double.preset = double.preset, None
    told = runtime_on(double, target={"preset": str(ours)})
    with pytest.raises(Refused) as raised:
        await told.serve(NAME, WANTED)
    assert f"--models-preset {ours}" in raised.value.hint
    assert ours.read_text() == THEIRS


async def test_it_is_loaded_at_once_and_only_once(double):
    loaded = WANTED.model_copy(update={"load": True})
    await runtime(double).serve(NAME, loaded)
    assert double.models[NAME]["status"] == "loaded"
    assert "load-on-startup = true" in double.preset.read_text()
    assert (await look(double)).serving == loaded
    double.models[NAME]["status"] = "unloaded"
    await runtime(double).serve(NAME, loaded)
    assert double.asked.count(f"POST /models/load {NAME}") == 1, "idle models may go"


async def test_what_does_not_load_is_told_and_stays(double):
    double.broken = {NAME}
    with pytest.raises(Refused) as raised:
        await runtime(double).serve(NAME, WANTED.model_copy(update={"load": True}))
    assert "exit code 1" in raised.value.message
    assert NAME in double.models


async def test_after_a_restart_a_section_hides_where_the_model_comes_from(double):
    await runtime(double).serve(NAME, WANTED)
    double.models[NAME]["source"] = "preset"
    assert ((await look(double)).repo, (await look(double)).serving) == ("acme/alpha-GGUF", WANTED)
    put(double.cache, "alpha-F16.gguf", b"another quant")
    assert await runtime(double).remove(NAME) == len(CONTENT)
    assert (double.models, double.preset.read_text()) == ({}, THEIRS)
    assert [path.read_bytes() for path in double.cache.glob("models--*/blobs/*")] == [b"another quant"]


@pytest.mark.parametrize("restarted", [False, True])
async def test_a_rotten_file_goes_with_its_section_given_up_once(double, restarted):
    """The router remembers the section that it was started with: asked twice, the model would seem a person's."""
    double.arrive(content=ROTTEN, named=sha(CONTENT))
    await runtime(double).serve(NAME, WANTED)
    double.models[NAME]["source"] = "preset" if restarted else "cache"
    assert (await runtime(double).install(row(Action.UPDATE), Heard())).digest == sha(CONTENT)
    assert [path.read_bytes() for path in double.cache.glob("models--*/blobs/*")] == [CONTENT]


@pytest.mark.parametrize("step", ["remove", "update"])
async def test_what_died_right_after_giving_up_the_section_is_done_by_the_next_run(double, step):
    await runtime(double).serve(NAME, WANTED)
    double.models[NAME]["source"] = "preset"
    double.preset.write_text(THEIRS)
    double.arrive(content=ROTTEN, named=sha(CONTENT))
    double.models[NAME].update(source="preset", settings={"hf-repo": NAME, "ctx-size": "4096"})
    if step == "remove":
        assert await runtime(double).remove(NAME) == len(ROTTEN)
        assert double.models == {}
    else:
        assert (await runtime(double).install(row(Action.UPDATE), Heard())).digest == sha(CONTENT)


async def test_a_section_of_somebody_else_stays(double):
    double.preset.write_text(f"{THEIRS}\n[{NAME}]\nctx-size = 512\n")
    found = await look(double)
    assert (found.serving, found.serving_is_ours) == (Serving(context=512), False)
    with pytest.raises(Refused) as raised:
        await runtime(double).serve(NAME, WANTED)
    assert raised.value.code == "unmanaged-conflict"


async def test_what_a_crash_left_unread_is_done_again(double):
    double.preset.write_text(Preset(THEIRS).with_section(NAME, WANTED, is_read=False).text)
    assert (await look(double)).serving is None
    await runtime(double).serve(NAME, WANTED)
    text = double.preset.read_text()
    assert OURS in text
    assert UNREAD not in text


async def test_a_ghost_of_ours_does_not_stand_in_for_the_model(double):
    await runtime(double).serve(NAME, WANTED)
    double._delete_models(NAME)
    installed = await runtime(double).install(row(), Heard())
    assert installed.digest == sha(CONTENT)
    assert double.preset.read_text() == THEIRS


async def test_a_ghost_of_somebody_else_is_no_model(double):
    double._delete_models(NAME)
    double.preset.write_text(f"{THEIRS}\n[{NAME}]\nctx-size = 512\n")
    with pytest.raises(Refused) as raised:
        await runtime(double).install(row(), Heard())
    assert raised.value.code == "unmanaged-conflict"


async def test_removing_takes_the_section_along(double):
    await runtime(double).serve(NAME, WANTED)
    assert await runtime(double).remove(NAME) == len(CONTENT)
    assert (double.models, double.preset.read_text()) == ({}, THEIRS)


async def test_a_preset_that_cannot_be_read_is_nothing_to_tell(double):
    double.preset.write_bytes(b"\xff")
    found = await look(double)
    assert (found.serving, found.serving_is_ours) == (None, False)
