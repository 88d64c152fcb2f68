"""How a verdict comes to be: which files count, what they will take, which name is judged, what is told of a doubt."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from reconciler.domain.adapter import AdapterServing, AdapterSource, Expected, ExpectedContract
from reconciler.domain.desired import Target
from reconciler.domain.units import Bytes
from reconciler.engine.lora.adapter_facts import read_adapter
from reconciler.engine.lora.verdict import judged, local_source, remote_source
from tests.engine.lora.adapting import FakeHub
from tests.engine.lora.test_verdict import BASE, FILES, NEED, SEEN, errors, judge, lora
from tests.lora_files import config, folder, gguf_adapter, pairs

CONFIG, WEIGHTS, PICKLE = "adapter_config.json", "adapter_model.safetensors", "adapter_model.bin"
SHAPES = {"blk.0.attn_q.weight": (16, 16)}


def held(path: Path) -> list[str]:
    return [file.name for file in local_source(lora(path), FILES).content.files]


def test_which_files_of_a_folder_are_its_adapter(tmp_path: Path) -> None:
    place = folder(tmp_path / "sql")
    (place / PICKLE).write_bytes(b"pickle")
    (place / "README.md").write_text("hello")
    assert held(place) == [CONFIG, WEIGHTS]
    mixed = folder(tmp_path / "mixed")
    (mixed / WEIGHTS).unlink()
    gguf_adapter(mixed / "a.gguf", "llama", SHAPES)
    assert held(mixed) == ["a.gguf"], "a configuration beside a GGUF is not a part of it"
    assert held(mixed / "a.gguf") == ["a.gguf"]


def test_what_it_will_take_is_its_files_and_what_is_made_of_them(tmp_path: Path) -> None:
    place = folder(tmp_path / "sql", pairs("q_proj", rank=4), config(target_modules=["q_proj"]))
    own = sum(path.stat().st_size for path in place.iterdir())
    numbers = 2 * (4 * 16 + 16 * 4)
    head = 64 * 1024
    for convert, each in (("f32", 4.0), ("f16", 2.0), ("bf16", 2.0), ("auto", 2.0), ("q8_0", 34 / 32)):
        made = judge(lora(place, convert=convert), takes="gguf")
        assert made.bytes == own + int(numbers * each) + head
    assert judge(lora(place)).bytes == own
    plain = gguf_adapter(tmp_path / "a.gguf", "llama", SHAPES)
    assert judge(lora(plain), takes="gguf").bytes == Bytes(plain.stat().st_size)


def test_the_name_that_is_judged_is_that_of_the_target(tmp_path: Path) -> None:
    place = folder(tmp_path / "sql")
    base = BASE.rpartition("/")[2]
    names = (AdapterServing(target="far", name=base), AdapterServing(target="gpu", name="sql"))
    assert "name_clash" not in errors(judge(lora(place, serve=names)))
    turned = (AdapterServing(target="far", name="sql"), AdapterServing(target="gpu", name=base))
    assert "name_clash" in errors(judge(lora(place, serve=turned)))


def test_a_form_that_the_target_does_not_take_is_an_error_whatever_its_runtime_is(tmp_path: Path) -> None:
    made = gguf_adapter(tmp_path / "a.gguf", "llama", SHAPES)
    router = Target(name="gpu", runtime="llama-server", endpoint="http://127.0.0.1:8080")
    assert "adapter_format_differs" in errors(judge(lora(made), target=router, takes="peft"))
    assert errors(judge(lora(made), target=router, takes="gguf")) == []
    assert errors(judge(lora(made), target=router, takes=None)) == []
    told = judge(lora(folder(tmp_path / "peft"), convert="q8_0"), target=router, takes="gguf")
    assert [one.message for one in told.findings if one.code == "adapter_conversion"] == [
        "it is converted to GGUF (q8_0) for its target"
    ]


def test_what_makes_an_error_pass_is_said_where_it_would(tmp_path: Path) -> None:
    """And not of a note or a warning, nor of what nothing lets pass."""
    place = folder(tmp_path / "sql", document=config(base_model_name_or_path="other/tiny-llama"))
    told = {one.code: one for one in judge(lora(place, expect=Expected(rank=8))).findings}
    assert told["base_suffix"].severity == "warning"
    assert "onMismatch" not in (told["base_suffix"].hint or "")
    named = folder(tmp_path / "named", document=config(base_model_name_or_path="acme/another"))
    (flaw,) = judge(lora(named)).errors
    assert (flaw.code, "onMismatch: warn" in (flaw.hint or "")) == ("base_mismatch", True)
    empty = tmp_path / "empty"
    empty.mkdir()
    (empty / CONFIG).write_text(json.dumps(config()))
    assert not any("onMismatch" in (one.hint or "") for one in judge(lora(empty)).errors)


def test_the_rank_of_a_verdict_is_the_weights_own(tmp_path: Path) -> None:
    tensors = pairs("q_proj", rank=2) | pairs("v_proj", rank=6)
    place = folder(tmp_path / "sql", tensors, config(r=2, rank_pattern={"v_proj": 6}))
    assert judge(lora(place)).rank == 6
    pickled = folder(tmp_path / "pickled", document=config(r=7))
    (pickled / WEIGHTS).rename(pickled / PICKLE)
    assert judge(lora(pickled, allow_pickle=True)).rank == 7, "nobody opened it, so its configuration says"


@pytest.mark.parametrize("allowed", [True, False])
def test_a_pickle_is_an_error_or_told(tmp_path: Path, allowed: bool) -> None:
    place = folder(tmp_path / "sql")
    (place / WEIGHTS).rename(place / PICKLE)
    found = [one for one in judge(lora(place, allow_pickle=allowed)).findings if one.code == "weights_pickle"]
    assert [one.severity for one in found] == ["warning" if allowed else "error"]
    assert ("allowPickle" in (found[0].hint or "")) is not allowed


def test_a_pickle_beside_safer_weights_is_no_matter(tmp_path: Path) -> None:
    place = folder(tmp_path / "sql")
    (place / PICKLE).write_bytes(b"pickle")
    verdict = judge(lora(place))
    assert (verdict.fits, [one.code for one in verdict.findings if one.code == "weights_pickle"]) == (True, [])
    read = read_adapter(FILES.find(str(place)), FILES)
    assert [one.severity for one in read.findings if one.code == "weights_pickle"] == ["note"]


@pytest.mark.parametrize("file", [CONFIG, WEIGHTS])
async def test_hashes_of_a_manifest_are_held_against_what_the_hub_says(tmp_path: Path, file: str) -> None:
    """The manifest is a file of this host, the adapter's files are not; each of them has a hash of its own."""
    place = folder(tmp_path / "sql")
    hub = FakeHub()
    hub.repos["acme/sql"] = place
    found = await hub.look("acme/sql", None, pickles=False)
    right = {one.path: one.sha256 for one in found.artifact.files}
    manifest = tmp_path / "manifest.json"

    def told(**hashes: str) -> list[str]:
        rows = [{"name": name, "sha256": digest} for name, digest in (right | hashes).items()]
        manifest.write_text(json.dumps({"contract": {"base_model": BASE}, "artifacts": rows}))
        adapter = lora(place, contract=ExpectedContract(manifest=str(manifest)))
        adapter = adapter.model_copy(update={"source": AdapterSource(repo="acme/sql")})
        verdict = judged(adapter, NEED, remote_source(adapter, found, FILES), SEEN, FILES)
        return [code for code in errors(verdict) if code.startswith("artifact_")]

    assert told() == []
    assert told(**{file: "0" * 64}) == ["artifact_differs"]


# ------------------------------------------------------------------------------------------------ expectations


def test_expectations_of_weights_that_nobody_opened_are_held_against_what_is_known(tmp_path: Path) -> None:
    place = folder(tmp_path / "sql", document=config(target_modules=["q_proj"]))
    (place / WEIGHTS).rename(place / PICKLE)
    right = lora(place, allow_pickle=True, expect=Expected(target_modules=("q_proj",)))
    assert errors(judge(right)) == []
    wrong = right.model_copy(update={"expect": Expected(target_modules=("v_proj",), dtype="float32")})
    told = {one.code: one.message for one in judge(wrong).errors}
    assert "expects v_proj, and it is q_proj" in told["expect_target_modules"]
    assert "and it is not known" in told["expect_dtype"]


def test_the_template_of_a_contract_is_compared_by_its_hash_or_its_text(tmp_path: Path) -> None:
    from hashlib import sha256

    template = "{{ messages }}"
    digest = sha256(template.encode()).hexdigest()
    place = folder(tmp_path / "sql")

    def told(stated: str | None, wanted: str) -> list[str]:
        document = {"contract": {"base_model": BASE, "chat_template": stated}}
        path = tmp_path / "manifest.json"
        path.write_text(json.dumps(document))
        expected = ExpectedContract(manifest=str(path), chat_template_sha256=wanted)
        return [one for one in errors(judge(lora(place, contract=expected))) if one == "expect_chat_template"]

    assert told(template, digest) == []
    assert told(digest, digest) == []
    assert told(f"sha256:{digest.upper()}", f"sha256:{digest}") == []
    assert told(template, "0" * 64) == ["expect_chat_template"]
    assert told("0" * 64, digest) == ["expect_chat_template"]
    assert told(None, digest) == ["expect_chat_template"]


# ------------------------------------------------------------------------------------------------ headers of any length


@pytest.mark.parametrize("form", ["gguf", "safetensors"])
def test_a_header_beyond_the_first_read_is_read_whole(tmp_path: Path, form: str) -> None:
    """A table of a thousand tensors takes more than the 64 KiB that are read first."""
    layers = range(600)
    if form == "gguf":
        shapes = {f"blk.{layer}.attn_q.weight": (1, 1) for layer in layers}
        path = gguf_adapter(tmp_path / "a.gguf", "llama", shapes, rank=1)
        assert path.read_bytes()[:4] == b"GGUF"
    else:
        tensors = {
            f"base_model.model.model.layers.{layer}.self_attn.q_proj.lora_{half}.weight": np.zeros((1, 1), "float32")
            for layer in layers
            for half in "AB"
        }
        path = folder(tmp_path / "sql", tensors, config(r=1, target_modules=["q_proj"]))
    verdict = judge(lora(path), target=None, takes=None)
    assert "weights_unreadable" not in errors(verdict)
    assert verdict.rank == 1
