"""What is particular to vLLM; what every runtime that takes adapters promises is in ``tests/contracts``."""

from __future__ import annotations

import asyncio
import shutil
import threading
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reconciler.domain.adapter import HeldAdapter
from reconciler.domain.desired import Target
from reconciler.domain.observation import ObservedTarget, UnknownTarget
from reconciler.errors import Refused, Unreachable
from reconciler.integrations.http import Http, MockTransport, Response
from reconciler.integrations.runtimes.adapter_store import LocalAdapterStore
from reconciler.integrations.runtimes.server import Server
from reconciler.integrations.runtimes.vllm import Vllm
from reconciler.integrations.runtimes.vllm_api import VllmApi
from reconciler.lora.adapter_content import AdapterContent
from tests import lora_files
from tests.contracts.adapter_drivers import held
from tests.doubles.ollama_rig import Heard, QuickClock, install_row
from tests.doubles.vllm import VllmDouble
from tests.integrations.runtimes.test_adapter_store import ME, content_of, quiet, store

MODELS, LOAD, UNLOAD = ("GET", "/v1/models"), ("POST", "/v1/load_lora_adapter"), ("POST", "/v1/unload_lora_adapter")
COMPLETE = ("POST", "/v1/completions")


def runtime_on(url: str, *, here: bool = True, key: str | None = None, transport: MockTransport | None = None) -> Vllm:
    target = Target(name="gpu", runtime="advisory", program="vllm", endpoint=url, is_asked=True, is_local=here)
    clock = QuickClock()
    return Vllm(target, http=lambda: Http(clock=clock, retries=0, transport=transport), api_key=key, clock=clock)


@pytest.fixture
async def lab():
    """Opens runtimes over doubles, and closes both."""
    opened: list[Vllm] = []
    doubles: list[VllmDouble] = []

    def begin(*, here: bool = True, asked_with: str | None = None, **how) -> tuple[VllmDouble, Vllm]:
        double = VllmDouble(**how)
        doubles.append(double.__enter__())
        opened.append(runtime_on(double.url, here=here, key=asked_with))
        return double, opened[-1]

    yield begin
    for runtime in opened:
        await runtime.close()
    for double in doubles:
        double.__exit__(None, None, None)


@pytest.fixture
def adapter(tmp_path):
    """Makes an adapter that is held, of a base."""

    def make(name: str = "sql", base: str = "Acme/Tiny-1B", **config):
        folder = lora_files.folder(tmp_path / f"{name}-{len(config)}", document=lora_files.config(**config))
        return held(tmp_path / "adapters", folder, name, base, rank=config.get("r", 4))

    return make


async def looked(runtime: Vllm) -> ObservedTarget:
    observed = await runtime.observe()
    assert isinstance(observed, ObservedTarget), observed
    return observed


class TestLooking:
    async def test_the_base_is_there_and_takes_no_room(self, lab):
        _, runtime = lab()
        seen = await looked(runtime)
        (model,) = seen.installed
        assert (model.name, model.repo, model.quant, model.bytes) == ("Acme/Tiny-1B", "Acme/Tiny-1B", "BF16", 0)
        assert (model.model_context, model.resident, model.loaded, model.digest) == (8192, True, False, None)
        assert (seen.version, seen.disk, seen.takes_adapters, seen.notes) == ("0.32.0", None, "peft", ())

    @pytest.mark.parametrize(
        ("root", "names", "expected"),
        [
            ("/srv/base", ("acme/tiny", "tiny"), ("acme/tiny", "/srv/base", ("acme/tiny", "tiny"))),
            ("/srv/base", (), ("/srv/base", "/srv/base", ())),
            ("Acme/Tiny-1B", ("coder",), ("Acme/Tiny-1B", None, ("coder",))),
            ("Acme/Tiny-1B", (), ("Acme/Tiny-1B", None, ())),
        ],
    )
    async def test_what_it_was_started_with_is_told(self, root, names, expected, lab):
        _, runtime = lab(root=root, names=names)
        (model,) = (await looked(runtime)).installed
        assert (model.name, model.served_from, model.served_as) == expected

    async def test_names_it_is_served_under_are_stable_names(self, lab):
        _, runtime = lab(names=("coder", "tiny"))
        seen = await looked(runtime)
        assert [model.name for model in seen.installed] == ["Acme/Tiny-1B"]
        assert [(alias.name, alias.model) for alias in seen.aliases] == [
            ("coder", "Acme/Tiny-1B"),
            ("tiny", "Acme/Tiny-1B"),
        ]

    @pytest.mark.parametrize("root", ["/models/tiny", "./tiny"])
    async def test_a_base_from_a_folder_is_called_as_it_is_served(self, lab, root):
        _, runtime = lab(root=root, names=("tiny",))
        (model,) = (await looked(runtime)).installed
        assert (model.name, model.repo, model.quant) == ("tiny", None, None)

    @pytest.mark.parametrize("root", ["Acme/Tiny-1B-AWQ", "Acme/Tiny-1B-FP8", "Acme/Tiny-1B-4bit"])
    async def test_a_quantised_repository_is_not_taken_for_the_publishers_weights(self, lab, root):
        _, runtime = lab(root=root)
        (model,) = (await looked(runtime)).installed
        assert (model.repo, model.quant) == (root, None)

    async def test_in_use_while_it_answers(self, lab):
        double, runtime = lab()
        with double.in_flight():
            assert (await looked(runtime)).installed[0].loaded
        assert not (await looked(runtime)).installed[0].loaded

    async def test_which_adapter_is_in_use(self, lab, adapter):
        double, runtime = lab(modules={name: adapter(name).path for name in ("old", "sql")})
        with double.in_flight("sql"):
            assert [one.loaded for one in (await looked(runtime)).adapters] == [False, True]
        with double.in_flight():
            assert [one.loaded for one in (await looked(runtime)).adapters] == [False, False]
        double.faults.answers["GET", "/metrics"] = [(200, b"vllm:num_requests_running 1.0\n")]
        assert [one.loaded for one in (await looked(runtime)).adapters] == [True, True]

    async def test_in_use_where_it_does_not_tell(self, lab):
        double, runtime = lab()
        double.faults.answers["GET", "/metrics"] = [(404, b"")]
        assert (await looked(runtime)).installed[0].loaded

    async def test_an_adapter_that_it_was_started_with_is_seen(self, lab, adapter):
        mine = adapter("old")
        _, runtime = lab(modules={"old": mine.path})
        (one,) = (await looked(runtime)).adapters
        assert (one.name, one.base, one.path, one.digest) == ("old", "Acme/Tiny-1B", mine.path, mine.digest)

    async def test_an_adapter_from_elsewhere_has_no_digest(self, lab, tmp_path):
        path = lora_files.folder(tmp_path / "theirs")
        _, runtime = lab(modules={"theirs": str(path)})
        (one,) = (await looked(runtime)).adapters
        assert (one.path, one.digest) == (str(path), None)

    async def test_it_says_when_adapters_are_given_at_the_start_only(self, lab):
        _, runtime = lab(updating=False)
        seen = await looked(runtime)
        assert seen.takes_adapters is None
        assert "VLLM_ALLOW_RUNTIME_LORA_UPDATING" in seen.notes[0]

    @pytest.mark.parametrize("status", [401, 429, 503])
    async def test_whether_it_takes_adapters_is_not_guessed(self, lab, status):
        """A proxy's no is not the server's: nobody is told to start it anew."""
        double, runtime = lab()
        double.faults.answers["GET", "/v1/load_lora_adapter"] = [(status, b"")] * 3
        assert isinstance(await runtime.observe(), UnknownTarget)

    async def test_a_server_without_adapters_is_told_from_one_that_takes_them(self, lab):
        _, runtime = lab(lora=False)
        seen = await looked(runtime)
        assert (seen.takes_adapters, "--enable-lora" in seen.notes[0]) == (None, True)

    @pytest.mark.parametrize(("how", "rank"), [({}, None), ({"dev": True}, 16), ({"dev": True, "lora": False}, None)])
    async def test_the_highest_rank_where_it_tells(self, lab, how, rank):
        _, runtime = lab(**how)
        seen = await looked(runtime)
        assert seen.max_adapter_rank == rank
        assert (seen.takes_adapters is None) == ("lora" in how)

    @pytest.mark.parametrize(
        "answer",
        [b"", b"[]", b'{"vllm_config": "text"}', b'{"vllm_config": {"lora_config": {"max_lora_rank": "16"}}}'],
    )
    async def test_half_of_what_it_was_started_with_hides_nothing_else(self, lab, answer):
        double, runtime = lab(dev=True)
        double.faults.answers["GET", "/server_info"] = [(200, answer)]
        seen = await looked(runtime)
        assert (seen.max_adapter_rank, seen.takes_adapters) == (None, "peft")

    async def test_a_server_elsewhere_reads_its_own_disk(self, lab):
        _, runtime = lab(here=False)
        seen = await looked(runtime)
        assert seen.takes_adapters is None
        assert "another host" in seen.notes[0]

    async def test_looking_only_reads(self, lab):
        double, runtime = lab()
        await looked(runtime)
        assert {method for method, _ in double.requests} == {"GET"}

    @pytest.mark.parametrize(
        ("request_line", "answer"),
        [
            (MODELS, b"{}"),
            (MODELS, b'{"data": []}'),
            (MODELS, b'{"data": [{"id": 7}]}'),
            (MODELS, b'{"data": [{"id": "a", "root": 3}]}'),
            (MODELS, b'{"data": [{"id": "a", "parent": "b"}]}'),
            (MODELS, b"<html>"),
            (("GET", "/version"), b"[]"),
            (("GET", "/version"), b'{"version": ""}'),
        ],
    )
    async def test_half_an_answer_is_unknown(self, lab, request_line, answer):
        double, runtime = lab()
        double.faults.answers[request_line] = [(200, answer)]
        seen = await runtime.observe()
        assert isinstance(seen, UnknownTarget)
        assert seen.code == "bad-answer"

    async def test_an_engine_that_died_is_unknown(self, lab):
        double, runtime = lab()
        double.healthy = False
        assert isinstance(await runtime.observe(), UnknownTarget)

    @given(st.binary(max_size=200))
    async def test_no_answer_breaks_a_look(self, body):
        transport = MockTransport(lambda _: Response(200, content=body))
        runtime = runtime_on("http://gpu.test", transport=transport)
        assert isinstance(await runtime.observe(), ObservedTarget | UnknownTarget)
        await runtime.close()


class TestKeys:
    async def test_a_key_goes_with_every_request(self, lab, adapter):
        _, runtime = lab(key="s3cret", asked_with="s3cret")
        assert (await looked(runtime)).takes_adapters == "peft"
        await runtime.attach(adapter())
        await runtime.detach("sql", "Acme/Tiny-1B")

    @pytest.mark.parametrize(("given", "words"), [(None, "wants an API key"), ("wrong", "does not accept")])
    async def test_without_the_key_it_is_unknown(self, lab, given, words):
        _, runtime = lab(key="s3cret", asked_with=given)
        seen = await runtime.observe()
        assert isinstance(seen, UnknownTarget)
        assert (seen.code, words in seen.reason) == ("unauthorised", True)
        assert "s3cret" not in f"{seen}"

    async def test_a_server_that_repeats_the_key_is_not_repeated(self, lab, adapter):
        double, runtime = lab(key="s3cret", asked_with="s3cret")
        echo = b'{"error": {"message": "you sent Bearer s3cret"}}'
        double.faults.answers[MODELS] = [(500, echo)]
        assert "s3cret" not in f"{await runtime.observe()}"
        double.faults.answers[LOAD] = [(400, echo)]
        with pytest.raises(Refused, match="you sent Bearer …") as raised:
            await runtime.attach(adapter())
        assert "s3cret" not in f"{raised.value.details}"

    @given(st.text(max_size=300))
    async def test_no_metrics_break_a_look(self, text):
        lines = f'vllm:lora_requests_info{{running_lora_adapters="{text}"}} {text}\nvllm:num_requests_running {text}\n{text}'
        transport = MockTransport(lambda _: Response(200, content=lines.encode()))
        api = VllmApi(Server("http://gpu.test", http=lambda: Http(clock=QuickClock(), transport=transport)))
        assert isinstance((await api.use()).busy, bool)

    async def test_what_cannot_be_a_key_is_not_sent(self):
        runtime = runtime_on("http://gpu.test", key="two words")
        seen = await runtime.observe()
        assert isinstance(seen, UnknownTarget)
        assert "two words" not in f"{seen}"
        await runtime.close()


class TestModels:
    async def test_models_are_a_persons(self, lab):
        _, runtime = lab()
        with pytest.raises(Refused) as raised:
            await runtime.install(install_row("Acme/Other-1B", None), Heard())
        assert (raised.value.code, raised.value.hint) == ("no-api", "vllm serve Acme/Other-1B")
        for step in (runtime.remove("Acme/Tiny-1B"), runtime.digest("Acme/Tiny-1B", Heard())):
            with pytest.raises(Refused, match="cannot") as raised:
                await step
            assert raised.value.code == "no-api"
        assert await runtime.clean_partials(frozenset()) == 0


class TestAttaching:
    async def test_it_answers_before_it_has_its_name(self, lab, adapter):
        double, runtime = lab()
        mine = adapter()
        await runtime.attach(mine)
        assert double.asked == [f"sql@{mine.digest[:8]}"]
        assert list(double.loras) == ["sql"]

    @pytest.mark.parametrize("in_place", [True, False])
    async def test_it_is_never_loaded_in_place(self, lab, adapter, in_place):
        """A real server would read it again at every step, and stop where its directory has gone."""
        double, runtime = lab(in_place=in_place, dev=True)
        first, second = adapter(), adapter(lora_alpha=16)
        await runtime.attach(first)
        await runtime.attach(second)
        assert not double.loras["sql"].in_place
        double.faults.gone |= {first.path, second.path}
        assert (await VllmApi(Server(double.url, http=lambda: Http(clock=QuickClock()))).answers("sql")).ok
        assert (double.healthy, double.cache_resets) == (True, 1)

    async def test_what_answers_somebody_is_not_changed(self, lab, adapter):
        double, runtime = lab()
        old = adapter()
        await runtime.attach(old)
        with double.in_flight("sql"):
            with pytest.raises(Refused) as raised:
                await runtime.attach(adapter(lora_alpha=16))
            assert raised.value.code == "in-use"
            with pytest.raises(Refused) as raised:
                await runtime.detach("sql", old.base)
            assert raised.value.code == "in-use"
        assert {name: lora.path for name, lora in double.loras.items()} == {"sql": old.path}

    async def test_another_that_answers_somebody_is_no_hindrance(self, lab, adapter):
        double, runtime = lab(slots=2)
        await runtime.attach(adapter())
        await runtime.attach(adapter("chat"))
        with double.in_flight("chat"), double.in_flight():
            await runtime.attach(adapter(lora_alpha=16))
            await runtime.detach("sql", "Acme/Tiny-1B")
        assert list(double.loras) == ["chat"]

    async def test_it_is_detached_when_its_last_answer_is_given(self, lab, adapter):
        """Its files may go then; a request that began in the last moment would read them again."""
        double, runtime = lab()
        await runtime.attach(adapter())
        double.on_unload = lambda: double.running.append("sql")
        with pytest.raises(Unreachable, match="still answers somebody"):
            await runtime.detach("sql", "Acme/Tiny-1B")
        assert not double.loras
        double.running.clear()
        await runtime.detach("sql", "Acme/Tiny-1B")

    async def test_where_nobody_tells_who_is_answered_nothing_waits(self, lab, adapter):
        double, runtime = lab()
        await runtime.attach(adapter())
        double.faults.answers["GET", "/metrics"] = [(200, b"# no statistics\n")] * 9
        await runtime.attach(adapter(lora_alpha=16))
        await runtime.detach("sql", "Acme/Tiny-1B")
        assert not double.loras

    async def test_a_rank_beyond_the_limit_names_the_command(self, lab, adapter):
        _, runtime = lab(max_rank=16)
        big = adapter(r=24)
        with pytest.raises(Refused) as raised:
            await runtime.attach(big)
        assert raised.value.code == "no-api"
        assert raised.value.hint == (
            "start it again: VLLM_ALLOW_RUNTIME_LORA_UPDATING=True vllm serve Acme/Tiny-1B --enable-lora"
            f' --max-lora-rank 32 --lora-modules \'{{"name":"sql","path":"{big.path}","base_model_name":"Acme/Tiny-1B"}}\''
        )

    async def test_the_command_keeps_the_names_of_the_base(self, lab, adapter):
        _, runtime = lab(root="/models/tiny", names=("Acme/Tiny-1B", "tiny"))
        with pytest.raises(Refused) as raised:
            await runtime.attach(adapter(r=24))
        assert "vllm serve /models/tiny --served-model-name Acme/Tiny-1B tiny --enable-lora" in (
            raised.value.hint or ""
        )

    async def test_a_refusal_is_in_the_words_of_whoever_refused(self, lab, adapter):
        _, runtime = lab()
        with pytest.raises(Refused) as raised:
            await runtime.attach(adapter(use_dora=True))
        assert raised.value.message == "gpu does not take sql: vLLM does not yet support DoRA."

    async def test_the_command_serves_what_is_served_now_too(self, lab, adapter):
        big, small = adapter("big", r=24), adapter()
        _, runtime = lab(updating=False, max_rank=64, modules={"big": big.path})
        with pytest.raises(Refused) as raised:
            await runtime.attach(small)
        command = raised.value.details["command"]
        assert "--max-lora-rank 32 --lora-modules" in command
        assert [command.count(one.path) for one in (big, small)] == [1, 1]

    async def test_a_rank_that_fails_at_the_first_request_only(self, lab, adapter):
        double, runtime = lab(max_rank=16, rank_at_load=False)
        await runtime.attach(adapter())
        with pytest.raises(Refused) as raised:
            await runtime.attach(adapter(r=64))
        assert raised.value.code == "no-api"
        assert [lora.rank for lora in double.loras.values()] == [4]

    @pytest.mark.parametrize("how", [{"updating": False}, {"lora": False}])
    async def test_a_server_that_takes_none_says_how_it_would(self, lab, adapter, how):
        double, runtime = lab(**how)
        with pytest.raises(Refused) as raised:
            await runtime.attach(adapter())
        assert (raised.value.code, "--enable-lora" in (raised.value.hint or "")) == ("no-api", True)
        assert not double.loras

    async def test_a_server_elsewhere_takes_no_path_of_this_host(self, lab, adapter):
        _, runtime = lab(here=False)
        with pytest.raises(Refused, match="another host") as raised:
            await runtime.attach(adapter())
        assert raised.value.code == "no-api"

    async def test_a_path_that_the_server_does_not_see(self, lab, adapter):
        double, runtime = lab()
        mine = adapter()
        double.faults.gone.add(mine.path)
        with pytest.raises(Refused, match="finds no adapter") as raised:
            await runtime.attach(mine)
        assert raised.value.code == "not-found"

    async def test_it_has_no_scale(self, lab, adapter):
        _, runtime = lab()
        with pytest.raises(Refused, match=r"not at scale 0\.5"):
            await runtime.attach(adapter().model_copy(update={"scale": 0.5}))

    @pytest.mark.parametrize("name", ["coder", "Acme/Tiny-1B"])
    async def test_no_name_of_the_base_is_taken(self, lab, adapter, name):
        double, runtime = lab(names=("coder",))
        with pytest.raises(Refused) as raised:
            await runtime.attach(adapter().model_copy(update={"name": name}))
        assert raised.value.code == "unmanaged-conflict"
        with pytest.raises(Refused):
            await runtime.detach("coder", "Acme/Tiny-1B")
        assert not double.loras

    async def test_what_it_was_started_with_is_replaced_where_we_are_told_to(self, lab, adapter, tmp_path):
        theirs = lora_files.folder(tmp_path / "theirs")
        _, runtime = lab(modules={"sql": str(theirs)})
        made = await runtime.attach(adapter(lora_alpha=16))
        assert made.digest == adapter(lora_alpha=16).digest


class TestFailing:
    """Every answer that may be lost: the base serves, and the name stands for the old content or the new."""

    @pytest.mark.parametrize("in_place", [True, False])
    @pytest.mark.parametrize("line", [MODELS, LOAD, UNLOAD, COMPLETE])
    @pytest.mark.parametrize("answer", [(0, b""), (500, b'{"error": {"message": "no"}}'), (400, b"nonsense")])
    @pytest.mark.parametrize("after", [0, 1])
    async def test_whatever_fails_once_is_made_good(self, lab, adapter, in_place, line, answer, after):
        double, runtime = lab(in_place=in_place)
        old, new = adapter(), adapter(lora_alpha=16)
        await runtime.attach(old)
        double.faults.answers[line] = [*([None] * after), answer]
        try:
            await runtime.attach(new)
        except (Refused, Unreachable):
            double.faults.answers.clear()
        served = {one.name: one.digest for one in (await looked(runtime)).adapters}
        assert served in ({"sql": old.digest}, {"sql": new.digest})
        await runtime.attach(new)
        assert set(double.loras) == {"sql"}
        assert double.loras["sql"].path == new.path

    async def test_the_old_one_comes_back_where_the_gap_was_for_nothing(self, lab, adapter):
        double, runtime = lab(in_place=False)
        old, new = adapter(), adapter(lora_alpha=16)
        await runtime.attach(old)
        fails = b'{"message": "CUDA out of memory", "type": "BadRequestError"}'
        double.faults.answers[LOAD] = [None, (400, fails)]
        with pytest.raises(Refused, match="CUDA out of memory"):
            await runtime.attach(new)
        assert double.loras["sql"].path == old.path

    async def test_what_a_cut_off_change_left_is_hidden_and_swept(self, lab, adapter):
        mine = adapter()
        double, runtime = lab(modules={"sql@0123abcd": mine.path})
        assert (await looked(runtime)).adapters == ()
        await runtime.attach(mine)
        assert set(double.loras) == {"sql"}

    async def test_what_the_engine_has_dropped_is_unloaded_all_the_same(self, lab, adapter):
        double, runtime = lab()
        await runtime.attach(adapter())
        double.faults.not_in_engine.add("sql")
        await runtime.detach("sql", "Acme/Tiny-1B")
        assert not double.loras

    async def test_what_it_was_started_with_stays_where_nothing_can_be_unloaded(self, lab, adapter):
        _, runtime = lab(updating=False, modules={"sql": adapter().path})
        with pytest.raises(Refused, match="cannot be unloaded") as raised:
            await runtime.detach("sql", "Acme/Tiny-1B")
        assert raised.value.code == "no-api"


# our copies


async def peft_held(tmp_path, keeper: LocalAdapterStore, name: str = "sql") -> tuple[AdapterContent, HeldAdapter]:
    source = lora_files.folder(tmp_path / name, document=lora_files.config(lora_alpha=len(name)))
    content = content_of(source, **{file.name.replace(".", "__"): file.read_bytes() for file in source.iterdir()})
    path = await keeper.hold(content, ME, quiet)
    return content, HeldAdapter(name=name, base="Acme/Tiny-1B", path=path, digest=content.digest, format="peft")


async def test_a_copy_that_is_gone_is_put_back_and_nothing_is_unloaded(tmp_path, lab):
    double, runtime = lab(slots=1)
    keeper = store(tmp_path)
    content, sql = await peft_held(tmp_path, keeper)
    _, other = await peft_held(tmp_path, keeper, "other")
    for one in (sql, other):
        await runtime.attach(one)
    shutil.rmtree(Path(sql.path).parent)
    observed = await runtime.observe()
    assert {one.name: one.damaged for one in observed.adapters} == {"sql": True, "other": False}
    unloaded = []
    double.on_unload = lambda: unloaded.append(1)
    assert await keeper.hold(content, ME, quiet) == sql.path
    assert (await runtime.attach(sql)).digest == sql.digest
    assert unloaded == []
    assert (await complete(double, "sql"), await complete(double, "Acme/Tiny-1B"), double.healthy) == (200, 200, True)


async def test_a_damaged_copy_is_bound_anew_once_it_is_whole(tmp_path, lab):
    double, runtime = lab()
    keeper = store(tmp_path)
    content, sql = await peft_held(tmp_path, keeper)
    await runtime.attach(sql)
    before = double.loras["sql"].number
    weights = Path(sql.path) / "adapter_model.safetensors"
    weights.chmod(0o644)
    weights.write_bytes(weights.read_bytes()[:-1] + b"x")
    (one,) = (await runtime.observe()).adapters
    assert (one.damaged, one.digest) == (True, None)
    await keeper.hold(content, ME, quiet)
    await runtime.attach(sql)
    assert double.loras["sql"].number != before, "the engine read it anew"
    (one,) = (await runtime.observe()).adapters
    assert (one.damaged, one.digest) == (False, sql.digest)
    again = double.loras["sql"].number
    await runtime.attach(sql)
    assert double.loras["sql"].number == again, "once is enough"


async def test_copies_on_another_host_are_not_looked_at(tmp_path, lab):
    double, runtime = lab(here=False)
    _, sql = await peft_held(tmp_path, store(tmp_path))
    double._load("sql", sql.path)
    shutil.rmtree(Path(sql.path).parent)
    (one,) = (await runtime.observe()).adapters
    assert (one.damaged, one.digest) == (False, sql.digest)


async def complete(double: VllmDouble, name: str) -> int:
    http = Http(clock=QuickClock(), retries=0)
    reply = await http.request("POST", f"{double.url}/v1/completions", json={"model": name, "prompt": "a"})
    await http.close()
    return reply.status


# stopped in between


@pytest.mark.parametrize("times", [1, 2])
async def test_a_change_that_is_stopped_between_unload_and_load_is_carried_to_its_end(lab, adapter, times):
    """However often somebody presses Ctrl-C: there the name stands for nothing."""
    double, runtime = lab()
    await runtime.attach(adapter())
    wanted = adapter(lora_alpha=16)
    loop, cancelled = asyncio.get_running_loop(), threading.Event()
    task = asyncio.create_task(runtime.attach(wanted))

    async def cancel() -> None:
        for _ in range(times):
            task.cancel()
            for _ in range(5):
                await asyncio.sleep(0)
        cancelled.set()

    def interrupted() -> None:
        double.on_unload = lambda: None
        asyncio.run_coroutine_threadsafe(cancel(), loop)
        assert cancelled.wait(5)

    double.on_unload = interrupted
    with pytest.raises(asyncio.CancelledError):
        await task
    if times > 1:  # it ends behind whoever would not wait for it
        async with asyncio.timeout(5):
            await asyncio.gather(*(asyncio.all_tasks() - {asyncio.current_task()}), return_exceptions=True)
    assert {name: lora.path for name, lora in double.loras.items()} == {"sql": wanted.path}
