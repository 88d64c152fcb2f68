"""Declared adapters on a vLLM: of a Hub on its double; of folders on a real one that is lent (docs/testing.md)."""

from __future__ import annotations

import json
import os
import shlex
import shutil
import subprocess
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.doubles.hub import DoubleFile, DoubleRepo, HubDouble
from tests.doubles.vllm import VllmDouble
from tests.doubles.vllm_exchanges import REFUSED
from tests.e2e.rig import VLLM_BASE as BASE
from tests.e2e.rig import Machine
from tests.lora_files import TINY, WIDTHS, config, folder, pairs

CONFIG, WEIGHTS = "adapter_config.json", "adapter_model.safetensors"


@pytest.fixture
def hub(tmp_path: Path) -> Iterator[HubDouble]:
    double = HubDouble()
    double.repos["acme/sql"] = DoubleRepo("acme/sql")
    push(double, tmp_path / "v1", "v1")
    with double.serve() as url:
        double.url = url  # type: ignore[attr-defined]
        yield double


def push(double: HubDouble, place: Path, tag: str, **document: Any) -> None:
    made = folder(place, pairs("q_proj", "v_proj"), config(base_model_name_or_path=BASE, **document))
    files = {
        CONFIG: DoubleFile((made / CONFIG).read_bytes(), lfs=False),
        WEIGHTS: DoubleFile((made / WEIGHTS).read_bytes()),
    }
    double.repos["acme/sql"].push(files)
    double.repos["acme/sql"].refs[tag] = double.repos["acme/sql"].head


@pytest.fixture
def lab(tmp_path: Path, hub: HubDouble) -> Machine:
    return Machine(tmp_path / "here", hub.url)  # type: ignore[attr-defined]


def write(lab: Machine, vllm: VllmDouble, *adapters: dict[str, Any], **more: Any) -> None:
    target = {"name": "gpu", "runtime": "vllm", "endpoint": vllm.url}
    lab.write(targets=[target], adapters=list(adapters), **more)


def sql(tag: str = "v1", **changes: Any) -> dict[str, Any]:
    source = {"hub": {"repo": "acme/sql", "revision": tag}}
    return {"name": "sql", "base": BASE, "source": source, "serve": [{"target": "gpu"}], **changes}


def held(lab: Machine) -> list[str]:
    root = lab.root / "data" / "adapters"
    return sorted(path.name for path in root.iterdir() if len(path.name) == 64) if root.exists() else []


def test_the_journey_of_a_hub_adapter(lab: Machine, vllm: VllmDouble, hub: HubDouble, tmp_path: Path) -> None:
    write(lab, vllm, sql())
    assert [row[0] for row in lab.plan("--detailed-exitcode", expect=2).rows()] == ["attach"]
    lab.apply()
    lab.in_sync()
    (digest,) = held(lab)
    assert digest in vllm.loras["sql"].path
    record = lab.record()
    lab.apply()
    assert lab.record() == record, "a second apply changes nothing"

    vllm.restart()
    assert vllm.loras == {}
    assert [row[:2] for row in lab.plan().rows()] == [("attach", "drifted")]
    lab.apply()
    lab.in_sync()
    assert "sql" in vllm.loras

    push(hub, tmp_path / "v2", "v2", lora_alpha=16)
    write(lab, vllm, sql("v2"))
    assert [row[0] for row in lab.plan().rows()] == ["update"]
    lab.apply()
    lab.in_sync()
    assert len(held(lab)) == 1
    assert held(lab) != [digest]

    write(lab, vllm)
    lab.apply()
    lab.in_sync()
    assert (vllm.loras, held(lab)) == ({}, [])


def test_copies_that_are_gone_are_put_back_before_the_engine_looks_for_them(
    lab: Machine, vllm: VllmDouble, tmp_path: Path
) -> None:
    """Two adapters, one place in the engine: whoever asks for the other one would take the base down."""
    entries = []
    for name, rank in (("one", 1), ("two", 2)):
        made = config(r=rank, base_model_name_or_path=BASE)
        folder(lab.repository / "adapters" / name, pairs("q_proj", "v_proj", rank=rank), made)
        source = {"path": f"adapters/{name}"}
        entries.append({"name": name, "base": BASE, "source": source, "serve": [{"target": "gpu"}]})
    write(lab, vllm, *entries)
    lab.apply()
    lab.in_sync()
    shutil.rmtree(lab.root / "data" / "adapters")
    unloaded: list[int] = []
    vllm.on_unload = lambda: unloaded.append(1)
    assert [row[:2] for row in lab.plan("--detailed-exitcode", expect=2).rows()] == [("update", "drifted")] * 2
    lab.apply()
    lab.in_sync()
    assert unloaded == []
    for name in ("one", "two", BASE):
        body = json.dumps({"model": name, "prompt": "a"}).encode()
        asked = urllib.request.Request(f"{vllm.url}/v1/completions", body, {"Content-Type": "application/json"})
        with urllib.request.urlopen(asked) as answer:
            assert answer.status == 200
    assert vllm.healthy


def test_a_vllm_that_left_the_file_is_called_so_and_destroy_detaches_there(lab: Machine, vllm: VllmDouble) -> None:
    write(lab, vllm, sql())
    lab.apply()
    elsewhere = [{"name": "new", "runtime": "store", "path": str(lab.root / "models")}]
    lab.write(targets=elsewhere, adapters=[])
    shown = lab.run("status").text
    assert f"gpu (vllm {vllm.url}): orphaned" in shown, shown
    lab.write(targets=elsewhere, adapters=[{"name": "sql", "absent": True}])
    assert "`destroy` detaches it" in lab.plan().text
    lab.apply()
    assert "sql" in vllm.loras, "nobody asks a server that left the file"
    lab.run("destroy", "--yes")
    assert (vllm.loras, held(lab)) == ({}, [])


def test_a_pinned_commit_that_we_hold_needs_no_hub(lab: Machine, vllm: VllmDouble, hub: HubDouble) -> None:
    write(lab, vllm, sql(hub.repos["acme/sql"].head))
    lab.apply()
    hub.requests.clear()
    lab.in_sync()
    vllm.restart()
    lab.apply()
    assert "sql" in vllm.loras
    assert not any("acme/sql" in one.path for one in hub.requests)


def test_a_hub_that_is_down_costs_a_restarted_server_nothing(lab: Machine, vllm: VllmDouble, hub: HubDouble) -> None:
    """By its tag: nobody can say what that means now."""
    write(lab, vllm, sql())
    lab.apply()
    first = vllm.loras["sql"].path
    vllm.restart()
    repo = hub.repos.pop("acme/sql")
    assert [row[:2] for row in lab.plan("--detailed-exitcode", expect=2).rows()] == [("attach", "drifted")]
    saved = lab.root / "plan.json"
    lab.run("plan", "--out", saved)
    lab.run("apply", saved, "--yes")
    assert vllm.loras["sql"].path == first
    vllm.restart()
    lab.apply("--offline")
    assert vllm.loras["sql"].path == first
    hub.repos["acme/sql"] = repo
    lab.in_sync()


def test_a_saved_plan_attaches_exactly_that_or_nothing(lab: Machine, vllm: VllmDouble, tmp_path: Path) -> None:
    write(lab, vllm, sql())
    saved = tmp_path / "plan.json"
    lab.run("plan", "--out", saved)
    lab.run("apply", saved, "--yes")
    lab.in_sync()
    again = lab.run("apply", saved, "--yes", expect=6)
    assert "moved" in again.err + again.out


def test_a_stranger_on_the_hub_and_wrong_bytes_attach_nothing(lab: Machine, vllm: VllmDouble, hub: HubDouble) -> None:
    write(lab, vllm, sql(), pool={"allowedOrgs": ["somebody"]})
    assert "pool.allowedOrgs" in lab.apply(expect=1).err, "the file itself is refused"
    repo = hub.repos["acme/sql"]
    true = repo.commits[repo.head][WEIGHTS]
    repo.commits[repo.head][WEIGHTS] = DoubleFile(true.content[:-1] + b"!", sha256=true.digest)
    write(lab, vllm, sql())
    ran = lab.apply(expect=None)
    assert ran.code != 0, ran.text
    assert (vllm.loras, held(lab)) == ({}, [])


def test_what_the_server_refuses_leaves_everything(
    lab: Machine, vllm: VllmDouble, hub: HubDouble, tmp_path: Path
) -> None:
    write(lab, vllm, sql())
    lab.apply()
    before = vllm.loras["sql"].path
    push(hub, tmp_path / "v2", "v2", use_dora=True)
    write(lab, vllm, sql("v2"))
    lab.apply(expect=None)
    assert vllm.loras["sql"].path == before
    assert len(held(lab)) == 1


def test_a_base_that_is_served_from_a_folder_of_this_host(lab: Machine, tmp_path: Path) -> None:
    """Its ``config.json`` counts, it is what adapters may name, and what it is started with again."""
    base = tmp_path / "my models" / "base"
    base.mkdir(parents=True)
    (base / "config.json").write_text(json.dumps(TINY))
    document = config(base_model_name_or_path=str(base))
    sources = {
        "right": folder(tmp_path / "right", pairs("q_proj", "v_proj"), document),
        "deep": folder(tmp_path / "deep", pairs("q_proj", "v_proj", layers=(0, 1, 7)), document),
        "wide": folder(tmp_path / "wide", pairs("q_proj", "v_proj", widths=WIDTHS | {"q_proj": (32, 16)}), document),
        "high": folder(tmp_path / "high", pairs("q_proj", "v_proj", rank=24), {**document, "r": 24}),
    }
    with VllmDouble(str(base), names=("acme/tiny", "tiny"), dev=True) as vllm:
        serve = [{"target": "gpu"}]
        declared = [
            {"name": name, "base": "acme/tiny", "source": {"path": str(place)}, "serve": serve}
            for name, place in sources.items()
        ]
        write(lab, vllm, *declared)
        said = lab.run("plan", "--detailed-exitcode", expect=2).out
        assert [row[0] for row in lab.plan().rows()] == ["attach"]
        assert "the base has 2 layers" in said
        assert "32 inputs, the base has 16" in said
        assert "another machine" not in said
        assert f"vllm serve '{base}' --served-model-name acme/tiny tiny --enable-lora --max-lora-rank 32" in said
        lab.apply(expect=None)
        assert list(vllm.loras) == ["right"]


class RealVllm:
    """A server of ``scripts/real_vllm.py``."""

    def __init__(self, url: str, models: Path) -> None:
        self.url, self.models, self.key = url, models, os.environ.get("LOCALMODELS_TEST_VLLM_KEY", "")
        self.restarting = shlex.split(os.environ.get("LOCALMODELS_TEST_VLLM_RESTART", ""))

    def ask(self, path: str, body: dict[str, Any] | None = None) -> Any:
        headers = {"Content-Type": "application/json", "Authorization": f"Bearer {self.key}"}
        request = urllib.request.Request(self.url + path, json.dumps(body).encode() if body else None, headers)
        with urllib.request.urlopen(request, timeout=120) as reply:
            return json.loads(reply.read() or b"null")

    def adapters(self) -> dict[str, str]:
        return {card["id"]: card["root"] for card in self.ask("/v1/models")["data"] if card["parent"]}

    def says(self, name: str, tokens: int = 8) -> str:
        body = {"model": name, "prompt": "a", "max_tokens": tokens, "temperature": 0, "ignore_eos": True}
        return str(self.ask("/v1/completions", body)["choices"][0]["text"])

    def restart(self) -> None:
        subprocess.run(self.restarting, check=True)


@pytest.fixture
def real_vllm() -> RealVllm:
    url, models = os.environ.get("LOCALMODELS_TEST_VLLM_URL"), os.environ.get("LOCALMODELS_TEST_VLLM_MODELS")
    if not url or not models or not os.environ.get("LOCALMODELS_TEST_VLLM_RESTART"):
        pytest.skip("no real vLLM of scripts/real_vllm.py")
    return RealVllm(url, Path(models))


@pytest.fixture
def desk(tmp_path: Path, real_vllm: RealVllm) -> Iterator[Machine]:
    with HubDouble().serve() as endpoint:
        lab = Machine(tmp_path / "here", endpoint)
        (lab.repository / "key").write_text(real_vllm.key)
        yield lab
        on_real(lab, real_vllm, None)
        lab.apply()


def on_real(lab: Machine, server: RealVllm, adapter: str | None, **target: Any) -> None:
    """Declare one of the adapters that lie beside its base, or none."""
    source = lab.repository / "adapters" / "sql"
    shutil.rmtree(source, ignore_errors=True)
    if adapter is not None:
        shutil.copytree(server.models / adapter, source)
    declared = {"name": "sql", "base": "acme/tiny", "source": {"path": "adapters/sql"}, "serve": [{"target": "gpu"}]}
    gpu = {"name": "gpu", "runtime": "vllm", "endpoint": server.url, "apiKeyFrom": {"file": "key"}} | target
    lab.write(targets=[gpu], adapters=[declared] if adapter is not None else [])


@pytest.mark.e2e
def test_the_journey_on_a_real_vllm(desk: Machine, real_vllm: RealVllm) -> None:
    on_real(desk, real_vllm, "one")
    assert [row[:2] for row in desk.plan("--detailed-exitcode", expect=2).rows()] == [("attach", "missing")]
    desk.apply()
    desk.in_sync()
    base, first = real_vllm.says("acme/tiny"), real_vllm.says("sql")
    assert base != first, "the adapter's weights are in force"

    real_vllm.restart()
    assert real_vllm.adapters() == {}
    assert [row[:2] for row in desk.plan().rows()] == [("attach", "drifted")]
    desk.apply()
    desk.in_sync()
    assert real_vllm.says("sql") == first

    on_real(desk, real_vllm, "two")
    assert [row[:2] for row in desk.plan().rows()] == [("update", "upstream-moved")]
    desk.apply()
    desk.in_sync()
    assert len(held(desk)) == 1, "the old content is gone from our store"
    assert list(real_vllm.adapters()) == ["sql"]
    assert real_vllm.says("sql") not in (base, first)

    on_real(desk, real_vllm, None)
    desk.apply()
    desk.in_sync()
    assert (real_vllm.adapters(), held(desk)) == ({}, [])
    assert real_vllm.says("acme/tiny") == base


@pytest.mark.e2e
def test_a_rank_that_a_real_vllm_does_not_take_is_seen_by_plan(desk: Machine, real_vllm: RealVllm) -> None:
    on_real(desk, real_vllm, "one")
    desk.apply()
    on_real(desk, real_vllm, "rank24")
    said = desk.run("plan", "--detailed-exitcode", expect=4).out
    assert "takes ranks up to 16 as it was started, and sql has 24" in said
    served = (
        f"vllm serve {real_vllm.models / 'base'} --served-model-name acme/tiny tiny --enable-lora --max-lora-rank 32"
    )
    assert served in " ".join(said.split())
    assert "sql" in real_vllm.adapters()


@pytest.mark.e2e
def test_what_a_real_vllm_refuses_or_passes_over_is_refused_by_plan(desk: Machine, real_vllm: RealVllm) -> None:
    for adapter in (*REFUSED, "dora", "saved", "bias", "deep"):
        on_real(desk, real_vllm, adapter)
        said = desk.run("plan", "--detailed-exitcode", expect=4).out
        assert "adapter-rejected" in said, adapter
    assert "layers.7" in said, "by the config.json of the folder that it serves its base from"
    assert "another machine" not in said, "that folder is what the adapter names"


@pytest.mark.e2e
def test_what_a_real_vllm_takes_beyond_plain_pairs_is_attached(desk: Machine, real_vllm: RealVllm) -> None:
    for adapter in ("ranks", "embedding", "orthogonal", "eva"):
        on_real(desk, real_vllm, adapter)
        desk.apply()
        desk.in_sync()
        real_vllm.says("sql")


@pytest.mark.e2e
def test_a_real_vllm_outlives_what_it_refuses_and_what_we_remove(desk: Machine, real_vllm: RealVllm) -> None:
    on_real(desk, real_vllm, "one")
    desk.apply()
    first = real_vllm.says("sql")
    on_real(desk, real_vllm, "pattern", maxLoraRank=64)
    desk.apply(expect=None)
    for adapter in ("truncated", "dora", "noweights"):
        on_real(desk, real_vllm, adapter)
        desk.apply(expect=None)
        assert real_vllm.says("sql") == first, adapter
    for adapter in ("two", "rank16", "one"):
        on_real(desk, real_vllm, adapter)
        desk.apply()
        real_vllm.says("sql")
        real_vllm.says("acme/tiny")
    assert real_vllm.says("sql") == first
