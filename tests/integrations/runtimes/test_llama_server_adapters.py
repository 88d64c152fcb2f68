"""Adapters on a router: each in a section of its own, tried before it gets the name, and never at anybody's cost."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reconciler.domain.adapter import HeldAdapter, ServedAdapter, is_same_scale
from reconciler.domain.observation import ObservedTarget, Serving
from reconciler.errors import OutsideError, Refused
from reconciler.integrations.http import Request, Response
from reconciler.integrations.runtimes.llama_server_aliases import with_alias, with_serving
from reconciler.integrations.runtimes.llama_server_lora import files_of
from reconciler.integrations.runtimes.llama_server_preset import OURS, UNREAD, Preset
from reconciler.ports import ServesAdapters
from tests.integrations.runtimes.router_double import NAME, RouterDouble, runtime_on

THEIRS = "version = 1\n\n[*]\nthreads = 2\n"
BESIDE = {"endpoint": "http://127.0.0.1:8080"}
"""A router on this host, whose processes can be asked too."""


@pytest.fixture
def double(tmp_path: Path) -> RouterDouble:
    double = RouterDouble(tmp_path / "cache")
    double.arrive()
    double.preset = tmp_path / "presets.ini"
    double.preset.write_text(THEIRS)
    return double


@pytest.fixture
def sql(tmp_path: Path) -> HeldAdapter:
    return held(tmp_path, "1")


def held(tmp_path: Path, digit: str, name: str = "sql", **more: object) -> HeldAdapter:
    path = tmp_path / "adapters" / (digit * 64) / "adapter.gguf"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(b"GGUF")
    return HeldAdapter(name=name, base=NAME, path=str(path), digest=digit * 64, format="gguf").model_copy(update=more)


def runtime(double: RouterDouble, **target: object):
    return runtime_on(double, target={"preset": str(double.preset), **target})


async def look(double: RouterDouble, **target: object) -> ObservedTarget:
    seen = await runtime(double, **target).observe()
    assert isinstance(seen, ObservedTarget), seen
    return seen


async def served(double: RouterDouble, **target: object) -> tuple[ServedAdapter, ...]:
    return (await look(double, **target)).adapters


async def refusal(double: RouterDouble, adapter: HeldAdapter, **target: object) -> Refused:
    with pytest.raises(Refused) as raised:
        await runtime(double, **target).attach(adapter)
    return raised.value


def settings(double: RouterDouble, name: str) -> dict[str, str]:
    return dict(Preset(double.preset.read_text()).sections[name].settings)


def loads(double: RouterDouble) -> list[str]:
    return [line.rpartition(" ")[2] for line in double.asked if line.startswith("POST /models/load")]


# the file


paths = st.from_regex(r"/[A-Za-z0-9_.-]{1,12}/[A-Za-z0-9_. -]{0,8}[a-z]", fullmatch=True)


@given(st.lists(st.tuples(paths, st.floats(-8, 8, allow_nan=False)), max_size=4), st.lists(paths, max_size=3))
def test_what_is_written_of_adapters_is_what_is_read(scaled, plain) -> None:
    said = {"lora": ",".join(plain), "lora-scaled": ",".join(f"{path}:{scale!r}" for path, scale in scaled)}
    assert files_of(said) == [*((path, 1.0) for path in plain), *scaled]


@given(st.text(st.characters(codec="utf-8")), st.text(alphabet='/a:,"\r\n 1.5einf-', max_size=30))
def test_any_line_of_anybody_is_read(plain: str, scaled: str) -> None:
    for path, scale in files_of({"lora": plain, "lora-scaled": scaled}):
        assert path is not None
        assert abs(scale) < float("inf")


@given(st.floats(-8, 8, allow_nan=False, width=32))
def test_a_scale_of_32_bits_is_the_same_scale(scale: float) -> None:
    assert is_same_scale(float(f"{scale:.7g}"), scale)
    assert not is_same_scale(scale + 0.01, scale)


async def test_it_is_a_section_of_its_own_and_nothing_else_changes(double, sql):
    assert isinstance(runtime(double), ServesAdapters)
    await runtime(double).attach(sql)
    assert double.preset.read_text() == (
        f"{THEIRS}\n{OURS}\n[sql]\nhf-repo = {NAME}\noffline = true\nlora-scaled = {sql.path}:1.0\n"
    )
    (one,) = await served(double)
    assert one == ServedAdapter(name="sql", base=NAME, path=sql.path, scale=1.0, digest=sql.digest)
    assert [model.name for model in (await look(double)).installed] == [NAME]
    await runtime(double).detach("sql", NAME)
    assert double.preset.read_text() == THEIRS
    assert await served(double) == ()


async def test_it_is_served_as_its_base_is_and_follows_it(double, sql):
    await runtime(double).serve(NAME, Serving(context=4096, parallel=2, kv_cache="q8_0", load=True))
    await runtime(double).attach(sql)
    said = settings(double, "sql")
    assert (said["ctx-size"], said["parallel"], said["cache-type-k"]) == ("8192", "2", "q8_0")
    assert said["load-on-startup"] == "true"
    await runtime(double).serve(NAME, Serving(context=1024, load=True))
    said = settings(double, "sql")
    assert (said["ctx-size"], said["parallel"]) == ("1024", "1")
    assert said["lora-scaled"] == f"{sql.path}:1.0"
    (model,) = (await look(double)).installed
    assert model.serving == Serving(context=1024, load=True)


async def test_what_a_person_says_of_the_base_holds_for_it_too(double, sql):
    double.preset.write_text(f"{THEIRS}\n[{NAME}]\nn-gpu-layers = 99\nalias = theirs\nload-on-startup = true\n")
    await runtime(double).attach(sql)
    assert settings(double, "sql") == {
        "hf-repo": NAME, "offline": "true", "n-gpu-layers": "99", "lora-scaled": f"{sql.path}:1.0"
    }  # fmt: skip


async def test_a_stable_name_of_the_base_is_the_base_alone(double, sql):
    await runtime(double).name("coder", NAME, context=512)
    await runtime(double).attach(sql)
    seen = await look(double)
    assert [(alias.name, alias.model) for alias in seen.aliases] == [("coder", NAME)]
    assert [one.name for one in seen.adapters] == ["sql"]
    assert "lora-scaled" not in settings(double, "coder")
    with pytest.raises(Refused) as raised:
        await runtime(double).name("sql", NAME, context=None)
    assert raised.value.code == "unmanaged-conflict"
    with pytest.raises(Refused) as raised:
        await runtime(double).unname("sql")
    assert raised.value.code == "unmanaged-conflict"
    assert (await refusal(double, sql.model_copy(update={"name": "coder"}))).code == "unmanaged-conflict"


@given(st.integers(1, 9999), st.booleans())
def test_names_and_adapters_of_one_model_do_not_touch_each_other(context: int, load: bool) -> None:
    said = {"hf-repo": NAME, "offline": "true", "lora-scaled": "/a.gguf:0.5"}
    preset = Preset(THEIRS).with_settings("sql", said, is_read=True)
    both = with_serving(with_alias(preset, "coder", NAME, None), NAME, Serving(context=context, load=load))
    assert both.sections["sql"].settings["lora-scaled"] == "/a.gguf:0.5"
    assert both.sections["sql"].model is None
    assert both.sections["coder"].model == NAME
    assert "load-on-startup" not in both.sections["sql"].settings


# proving and switching


async def test_it_is_tried_under_a_name_of_its_own_first(double, sql):
    await runtime(double).attach(sql)
    assert loads(double) == [f"sql@{'1' * 8}"]
    assert set(double.models) == {NAME, "sql"}


async def test_what_ran_runs_on_with_the_new_content(double, sql, tmp_path):
    await runtime(double).attach(sql)
    double.models["sql"]["status"] = "loaded"
    await runtime(double).attach(held(tmp_path, "2"))
    assert loads(double)[1:] == [f"sql@{'2' * 8}", "sql"]
    assert double.models["sql"]["status"] == "loaded"


@pytest.mark.parametrize("flaw", ["refused", "silent"])
async def test_what_does_not_serve_never_gets_the_name(double, sql, tmp_path, flaw):
    await runtime(double).attach(sql)
    before, two = double.preset.read_text(), held(tmp_path, "2")
    if flaw == "refused":
        double.refused_files.add(two.path)
    else:
        double.silent.add(f"sql@{'2' * 8}")
    assert (await refusal(double, two)).code == "adapter-refused"
    assert double.preset.read_text() == before
    assert set(double.models) == {NAME, "sql"}
    assert [one.digest for one in await served(double)] == [sql.digest]


async def test_a_switch_that_fails_is_taken_back(double, sql, tmp_path):
    await runtime(double).attach(sql)
    double.models["sql"]["status"] = "loaded"
    before = double.preset.read_text()
    two = held(tmp_path, "2")

    def breaks(request: Request) -> Response:
        if request.url.path == "/models/load" and b'"sql"' in request.content:
            double.silent.add("sql")
        return double(request)

    double.silent.clear()
    with pytest.raises(Refused) as raised:
        await runtime_on(breaks, target={"preset": str(double.preset), "cache": str(double.cache)}).attach(two)
    assert raised.value.code == "adapter-refused"
    assert double.preset.read_text() == before
    double.silent.clear()
    assert [one.digest for one in await served(double)] == [sql.digest]
    assert double.models["sql"]["status"] == "loaded"


async def test_what_had_to_go_for_the_try_comes_back(double, sql):
    double.models[NAME]["status"] = "loaded"
    double.most = 1
    await runtime(double).attach(sql)
    assert double.models[NAME]["status"] == "loaded"


async def test_a_router_that_has_no_place_now_is_asked_later(double, sql):
    double.models[NAME]["status"] = "loaded"
    double.busy.add(NAME)
    double.most = 1
    error = await refusal(double, sql)
    assert (error.code, "--models-max" in (error.hint or "")) == ("in-use", True)
    assert double.preset.read_text() == THEIRS


async def test_a_router_that_loads_it_without_the_adapter_is_not_believed(double, sql):
    double.command_line = {"lora-scaled": "/theirs.gguf:1"}
    assert (await refusal(double, sql)).code == "refused"
    assert double.preset.read_text() == THEIRS


@pytest.mark.parametrize("scale", [None, 0.5])
async def test_what_a_process_says_that_it_applies_counts_and_not_that_it_loads(double, sql, scale):
    applied = [] if scale is None else [{"id": 0, "path": sql.path, "scale": scale}]
    double.answers["GET", "/lora-adapters"] = Response(200, json=applied)
    refused = await refusal(double, sql)
    assert (refused.code, "without the adapter" in refused.message) == ("adapter-refused", True)
    assert double.preset.read_text() == THEIRS
    assert set(double.models) == {NAME}


# nobody is cut off


async def test_who_is_answered_by_it_is_not_cut_off(double, sql, tmp_path):
    await runtime(double).attach(sql)
    double.models["sql"]["status"] = "loaded"
    double.busy.add("sql")
    before = double.preset.read_text()
    assert (await refusal(double, held(tmp_path, "2"))).code == "in-use"
    assert (await refusal(double, sql.model_copy(update={"scale": 0.5}))).code == "in-use", "its process is elsewhere"
    with pytest.raises(Refused) as raised:
        await runtime(double).detach("sql", NAME)
    assert raised.value.code == "in-use"
    assert double.preset.read_text() == before
    (one,), (base,) = await served(double), (await look(double)).installed
    assert (one.loaded, base.loaded) == (True, True), "its base is in use as well"


async def test_its_base_is_not_even_asked(double, sql):
    double.models[NAME]["status"] = "loaded"
    double.busy.add(NAME)
    await runtime(double).attach(sql)
    await runtime(double).attach(sql.model_copy(update={"scale": 0.5}))
    await runtime(double).detach("sql", NAME)
    assert double.models[NAME]["status"] == "loaded"


async def test_a_scale_is_in_its_section_and_its_process_starts_again(double, sql):
    await runtime(double).attach(sql)
    double.models["sql"]["status"] = "loaded"
    one = await runtime(double).attach(sql.model_copy(update={"scale": 0.3}))
    assert one.scale == 0.3
    assert settings(double, "sql")["lora-scaled"] == f"{sql.path}:0.3"
    assert double.models["sql"]["status"] == "loaded"
    assert loads(double)[1:] == ["sql"], "the weights are known to load"


async def test_while_it_answers_the_new_scale_is_told_to_its_process(double, sql):
    await runtime(double).attach(sql)
    double.models["sql"]["status"] = "loaded"
    double.busy.add("sql")
    double.ports["sql"] = 40_001
    wanted = sql.model_copy(update={"scale": 0.3})
    one = await runtime(double, **BESIDE).attach(wanted)
    assert (one.scale, one.loaded) == (0.3, True)
    assert settings(double, "sql")["lora-scaled"] == f"{sql.path}:1.0", "a change of its section would stop it"
    double.busy.clear()
    (one,) = await served(double, **BESIDE)
    assert one.scale == 1.0, "idle, its section counts: the next apply writes it"
    await runtime(double, **BESIDE).attach(wanted)
    assert settings(double, "sql")["lora-scaled"] == f"{sql.path}:0.3"


async def test_a_process_that_cannot_be_told_is_left_until_it_has_answered(double, sql):
    double.key = "secret"
    await runtime_on(double, target={"preset": str(double.preset)}, api_key="secret").attach(sql)
    double.models["sql"]["status"] = "loaded"
    double.busy.add("sql")
    double.ports["sql"] = 40_001
    there = runtime_on(double, target={"preset": str(double.preset), **BESIDE}, api_key="secret")
    assert (await there.attach(sql.model_copy(update={"scale": 0.5}))).scale == 0.5
    double.silent.add("sql")
    with pytest.raises(Refused) as raised:
        await there.attach(sql.model_copy(update={"scale": 0.25}))
    assert raised.value.code == "in-use"
    assert f"its scale cannot be set meanwhile: {raised.value.__cause__.message}" in raised.value.message


# what is there


async def test_adapters_of_others_are_seen_and_left_alone(double, sql):
    double.preset.write_text(
        f"{THEIRS}\n[{NAME}]\nlora = /x/chat.gguf,/x/code.gguf\n\n[theirs]\nhf-repo = {NAME}\nlora-scaled = /y/z.gguf:0.5\n"
    )
    before = double.preset.read_text()
    await double_read(double)
    seen = [(one.name, one.base, one.path, one.scale, one.digest) for one in await served(double)]
    assert seen == [
        ("chat", NAME, "/x/chat.gguf", 1.0, None),
        ("code", NAME, "/x/code.gguf", 1.0, None),
        ("theirs", NAME, "/y/z.gguf", 0.5, None),
    ]
    assert (await look(double)).aliases == ()
    double.models[NAME]["status"] = "loaded"
    double.scales["/x/code.gguf"] = 0.25
    assert [one.scale for one in await served(double)] == [1.0, 0.25, 0.5]
    assert (await refusal(double, sql.model_copy(update={"name": "theirs"}))).code == "unmanaged-conflict"
    with pytest.raises(Refused) as raised:
        await runtime(double).detach("theirs", NAME)
    assert raised.value.code == "unmanaged-conflict"
    assert double.preset.read_text() == before


async def double_read(double: RouterDouble) -> None:
    await runtime(double).detach("nobody", NAME)
    double(Request("GET", "http://router:8080/models?reload=1"))


async def test_what_its_file_says_and_the_router_does_not_is_not_in_force(double, sql):
    await runtime(double).attach(sql)
    double.preset.write_text(double.preset.read_text().replace(":1.0", ":0.5").replace(OURS, UNREAD))
    (one,) = await served(double)
    assert (one.path, one.digest, one.scale) == (sql.path, None, None)
    await runtime(double).attach(sql)
    (one,) = await served(double)
    assert (one.digest, one.scale) == (sql.digest, 1.0)


async def test_a_file_that_is_gone_is_not_served(double, sql):
    await runtime(double).attach(sql)
    Path(sql.path).unlink()
    (one,) = await served(double)
    assert (one.path, one.digest) == (sql.path, None)


async def test_a_model_in_use_by_its_adapter_is_not_removed(double, sql):
    await runtime(double).attach(sql)
    double.models["sql"]["status"] = "loaded"
    double.busy.add("sql")
    with pytest.raises(Refused) as raised:
        await runtime(double).remove(NAME)
    assert raised.value.code == "in-use"


# where it cannot be


async def test_without_a_preset_file_the_lines_to_write_are_told(double, sql):
    double.preset = None
    seen = await runtime_on(double).observe()
    assert isinstance(seen, ObservedTarget)
    assert seen.takes_adapters is None
    with pytest.raises(Refused) as raised:
        await runtime_on(double).attach(sql)
    assert raised.value.code == "no-api"
    for word in ("--models-preset", "[sql]", f"hf-repo = {NAME}", f"lora-scaled = {sql.path}:1.0"):
        assert word in (raised.value.hint or "")


async def test_it_says_that_it_takes_gguf_where_the_file_is_ours_to_write(double, tmp_path):
    assert (await look(double)).takes_adapters == "gguf"
    nowhere = await runtime(double, preset=str(tmp_path / "no" / "folder" / "p.ini")).observe()
    assert isinstance(nowhere, ObservedTarget)
    assert nowhere.takes_adapters is None


@pytest.mark.parametrize(
    ("change", "code"),
    [
        ({"format": "peft"}, "not-installable"),
        ({"path": "/a:b/c.gguf"}, "not-installable"),
        ({"path": "/a,b/c.gguf"}, "not-installable"),
        ({"path": "/a #b/c.gguf"}, "not-installable"),
        ({"path": "/a\n[b]/c.gguf"}, "not-installable"),
        ({"name": "a]b"}, "refused"),
        ({"name": "a@b"}, "refused"),
        ({"name": NAME}, "unmanaged-conflict"),
        ({"base": "acme/none-GGUF:Q8_0"}, "not-found"),
    ],
)
async def test_what_cannot_be_written_is_refused_and_nothing_is_touched(double, sql, change, code):
    assert (await refusal(double, sql.model_copy(update=change))).code == code
    assert double.preset.read_text() == THEIRS


# what is cut off


@pytest.mark.parametrize("requests", range(1, 14))
async def test_a_run_that_is_cut_off_anywhere_is_finished_by_the_next(double, sql, tmp_path, requests):
    """As by power loss: nothing of it cleans up."""
    await runtime(double).attach(sql)
    double.models["sql"]["status"] = "loaded"
    two, left = held(tmp_path, "2"), requests

    def ends(request: Request) -> Response:
        nonlocal left
        left -= 1
        if left < 0:
            return Response(503)
        return double(request)

    dying = runtime_on(ends, target={"preset": str(double.preset), "cache": str(double.cache)})
    with suppress(OutsideError):
        await dying.attach(two)
    seen = await served(double)
    assert [one.name for one in seen] == ["sql"]
    assert seen[0].digest in (sql.digest, two.digest, None)
    await runtime(double).attach(two)
    assert [one.digest for one in await served(double)] == [two.digest]
    assert set(double.models) == {NAME, "sql"}
    assert UNREAD not in double.preset.read_text()


async def test_a_try_that_was_left_goes_with_the_next_step(double, sql):
    double.preset.write_text(
        f"{THEIRS}\n{UNREAD}\n[sql@{'7' * 8}]\nhf-repo = {NAME}\noffline = true\nlora-scaled = /x.gguf:1.0\n"
    )
    assert await served(double) == ()
    await runtime(double).detach("sql", NAME)
    assert double.preset.read_text() == THEIRS


@pytest.mark.parametrize("requests", range(1, 9))
async def test_cancelled_it_leaves_no_try_behind(double, sql, requests):
    left = requests

    def cuts(request: Request) -> Response:
        nonlocal left
        left -= 1
        if left == 0:
            task.cancel()
        return double(request)

    cut = runtime_on(cuts, target={"preset": str(double.preset), "cache": str(double.cache)})
    task = asyncio.create_task(cut.attach(sql))
    with suppress(asyncio.CancelledError):
        await task
    assert left <= 0, "it asks as often"
    assert "@" not in double.preset.read_text()
    await runtime(double).attach(sql)
    assert [one.digest for one in await served(double)] == [sql.digest]


# a server of one model


class One:
    """A llama-server that was started with a model and adapters."""

    def __init__(self, *files: str) -> None:
        self.loaded = [{"id": at, "path": path, "scale": 1.0} for at, path in enumerate(files)]
        self.deaf = False

    def __call__(self, request: Request) -> Response:
        if request.url.path == "/props":
            return Response(200, json={"build_info": "b1-test"})
        assert request.url.path == "/lora-adapters"
        if request.method == "POST" and not self.deaf:
            import json

            asked = {each["id"]: each["scale"] for each in json.loads(request.content)}
            for each in self.loaded:
                each["scale"] = asked.get(each["id"], 0.0)
        return Response(200, json=self.loaded if request.method == "GET" else {"success": True})


async def test_one_model_takes_the_scale_of_what_it_was_started_with(sql):
    server = One("/theirs.gguf", sql.path)
    one = await runtime_on(server).attach(sql.model_copy(update={"scale": 0.5}))
    assert (one.name, one.path, one.scale) == ("adapter", sql.path, 0.5)
    assert [each["scale"] for each in server.loaded] == [1.0, 0.5], "what is left out would go to 0"
    server.deaf = True
    with pytest.raises(Refused, match="keeps") as raised:
        await runtime_on(server).attach(sql)
    assert raised.value.code == "adapter-refused"


async def test_one_model_takes_no_other_while_it_runs(sql):
    with pytest.raises(Refused) as raised:
        await runtime_on(One("/theirs.gguf")).attach(sql)
    assert raised.value.code == "no-api"
    assert f"--lora-scaled {sql.path}:1.0" in (raised.value.hint or "")
    with pytest.raises(Refused) as raised:
        await runtime_on(One(sql.path)).detach("sql", NAME)
    assert raised.value.code == "no-api"


@pytest.mark.parametrize(
    "body",
    [
        b"{}",
        b"[1]",
        b'[{"id": 0}]',
        b'[{"id": 0, "path": "/a", "scale": "x"}]',
        b"no",
        b'[{"id": 0, "path": "/a", "scale": NaN}]',
        b'[{"id": 0, "path": "/a", "scale": 1' + b"0" * 400 + b"}]",
    ],
)
async def test_nonsense_about_adapters_never_breaks_a_look(double, sql, body):
    await runtime(double).attach(sql)
    double.models["sql"]["status"] = "loaded"
    double.answers["GET", "/lora-adapters"] = Response(200, content=body)
    (one,) = await served(double)
    assert (one.name, one.digest) == ("sql", sql.digest)


@pytest.mark.parametrize(
    ("scale", "told"),
    [
        (":0.5.0", "which is no FILE:SCALE"), (":abc", "which is no FILE:SCALE"), ("", "which is no FILE:SCALE"),
        (":0.5", "its server was started with"),
    ],
)  # fmt: skip
async def test_what_somebody_wrote_into_our_section_is_told(
    double: RouterDouble, sql: HeldAdapter, scale: str, told: str
) -> None:
    await runtime(double).attach(sql)
    assert [one.amiss for one in await served(double)] == [None]
    double.preset.write_text(double.preset.read_text().replace(f"{sql.path}:1.0", f"{sql.path}{scale}"))
    (found,) = await served(double)
    assert found.amiss is not None
    assert f"`lora-scaled = {sql.path}{scale}`" in found.amiss
    assert told in found.amiss
    await runtime(double).attach(sql)
    assert [(one.amiss, one.scale) for one in await served(double)] == [(None, 1.0)]


# what is loaded at once


async def kept_loaded(double: RouterDouble, sql: HeldAdapter) -> None:
    await runtime(double).serve(NAME, Serving(context=2048, load=True))
    await runtime(double).attach(sql)


async def test_an_adapter_of_a_base_that_is_loaded_at_once_is_loaded_at_once(double, sql):
    await kept_loaded(double, sql)
    assert settings(double, "sql")["load-on-startup"] == "true"
    assert double.models["sql"]["status"] == "loaded"
    (one,) = await served(double)
    assert one.amiss is None
    assert not any(
        "load-on-startup" in one.settings
        for one in Preset(double.preset.read_text()).sections.values()
        if "@" in one.name
    )


async def test_it_is_told_when_its_base_is_to_be_loaded_at_once_only_later(double, sql):
    await runtime(double).attach(sql)
    await runtime(double).serve(NAME, Serving(context=2048, load=True))
    assert (settings(double, "sql")["load-on-startup"], double.models["sql"]["status"]) == ("true", "loaded")
    assert (await served(double))[0].amiss is None
    await runtime(double).serve(NAME, Serving(context=2048))
    assert "load-on-startup" not in settings(double, "sql")
    assert (await served(double))[0].amiss is None


async def test_a_section_without_it_is_amiss_and_attaching_loads_it(double, sql):
    await kept_loaded(double, sql)
    text = double.preset.read_text()
    head, _, rest = text.partition("[sql]")
    double.preset.write_text(head + "[sql]" + rest.replace("load-on-startup = true\n", ""))
    double.models["sql"]["status"] = "unloaded"
    (one,) = await served(double)
    assert one.amiss == "it is not loaded whenever the router starts, and its base is"
    await runtime(double).attach(sql)
    assert (settings(double, "sql")["load-on-startup"], double.models["sql"]["status"]) == ("true", "loaded")
    assert (await served(double))[0].amiss is None


async def test_a_router_that_would_not_start_with_one_more_is_not_told_to_load_it(double, sql):
    """``--models-max 1``: its base is the one."""
    double.most = 1
    await kept_loaded(double, sql)
    assert "load-on-startup" not in settings(double, "sql")
    (one,) = await served(double)
    assert one.amiss is None


async def test_a_try_is_not_loaded_by_a_router_that_starts_anew(double, sql):
    """What a run that was killed left would be one more than the router may hold."""
    await runtime(double).serve(NAME, Serving(context=2048, load=True))
    seen = []
    double.silent.add(f"sql@{sql.digest[:8]}")
    taken = double.preset.read_text

    class Watched(type(double.preset)):
        def read_text(self, *more, **how):  # the double reads it whenever it reloads
            text = super().read_text(*more, **how)
            seen.append(text)
            return text

    assert taken
    double.preset = Watched(double.preset)
    await refusal(double, sql)
    tries = [Preset(text).sections.get(f"sql@{sql.digest[:8]}") for text in seen]
    assert any(tries)
    assert not any("load-on-startup" in one.settings for one in tries if one is not None)


# what did not load


async def test_one_that_did_not_load_is_amiss_until_it_was_loaded_again(double, sql):
    await runtime(double).attach(sql)
    double.models["sql"]["failed"] = True
    (one,) = await served(double)
    assert one.amiss is not None
    assert "did not load" in one.amiss
    await runtime(double).attach(sql)
    (one,) = await served(double)
    assert one.amiss is None
    assert double.models["sql"]["status"] == "loaded"


async def test_one_that_is_loaded_without_its_file_is_not_what_we_attached(double, sql):
    """Its section is in force, and its process tells of no adapter."""
    await runtime(double).attach(sql)
    await runtime(double)._router.load("sql")
    assert (await served(double))[0].digest == sql.digest
    double.answers["GET", "/lora-adapters"] = Response(200, json=[])
    (one,) = await served(double)
    assert (one.digest, one.scale, one.path) == (None, None, sql.path)


class OddlyAnswering(RouterDouble):
    """A base whose one token is not what its template promises, as a real server says it."""

    def _post_completion(self, name: str) -> Response:
        words = "The model produced output that does not match the expected Content-only format"
        return Response(500, json={"error": {"code": 500, "message": words}})


async def test_output_that_the_server_cannot_read_is_no_flaw_of_the_adapter(tmp_path: Path, sql: HeldAdapter) -> None:
    double = OddlyAnswering(tmp_path / "cache")
    double.arrive()
    double.preset = tmp_path / "presets.ini"
    double.preset.write_text(THEIRS)
    await runtime(double).attach(sql)
    assert [one.name for one in await served(double)] == ["sql"]


# another file than the router's


async def test_a_file_that_the_router_does_not_read_is_found_out_though_what_it_says_is_so_by_chance(
    double, sql, tmp_path
):
    wanted = Serving(context=2048)
    await runtime(double).serve(NAME, wanted)
    await runtime(double).attach(sql)
    other = tmp_path / "other.ini"
    with pytest.raises(
        Refused, match=r"reads another preset file than .*other\.ini: it serves sql by a section"
    ) as raised:
        await runtime(double, preset=str(other)).serve(NAME, wanted)
    assert "--models-preset" in (raised.value.hint or "")
    assert NAME not in Preset(other.read_text()).sections, "what was written is taken back"
    assert (await served(double))[0].digest == sql.digest
