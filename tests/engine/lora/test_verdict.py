"""What forbids an adapter, what only warns, and what of it never passes."""

from __future__ import annotations

import os
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from reconciler.domain.adapter import (
    Adapter,
    AdapterServing,
    AdapterSource,
    AdapterVerdict,
    Expected,
    ExpectedContract,
    Gate,
)
from reconciler.domain.desired import Target
from reconciler.domain.observation import AdapterNeed
from reconciler.engine.lora.verdict import Circumstances, judged, local_source, receipts_away
from reconciler.errors import Refused
from reconciler.integrations.files.adapter_files import LocalAdapterFiles
from reconciler.integrations.lora_routes import load_routes
from reconciler.lora.findings import error
from tests.builders import catalogue
from tests.lora_files import config, folder, gguf_adapter, pairs

BASE = "acme/tiny-llama"
NEED = AdapterNeed(adapter="sql", target="gpu", base_id=BASE, base_name=BASE)
FILES = LocalAdapterFiles(os.environ)
SEEN = Circumstances(
    now=datetime(2026, 11, 23, tzinfo=UTC),
    catalogue=catalogue(),
    routes=load_routes(),
    target=Target(name="gpu", runtime="advisory", program="vllm", endpoint="http://127.0.0.1:8000"),
    takes="peft",
    base_file=None,
    no_converter=None,
)


def lora(path: Path, **changes: Any) -> Adapter:
    base = Adapter(
        name="sql",
        base=BASE,
        source=AdapterSource(path=str(path)),
        serve=(AdapterServing(target="gpu", name="sql"),),
    )
    return base.model_copy(update=changes)


def judge(adapter: Adapter, **seen: Any) -> AdapterVerdict:
    return judged(adapter, NEED, local_source(adapter, FILES), replace(SEEN, **seen), FILES)


def errors(verdict: AdapterVerdict) -> list[str]:
    return [one.code for one in verdict.errors]


def base_gguf(path: Path, width: int) -> Path:
    shapes = {f"blk.{layer}.attn_{part}.weight": (width, width) for layer in (0, 1) for part in "qv"}
    whole = {name: np.zeros((outputs, inputs), "float16") for name, (inputs, outputs) in shapes.items()}
    return gguf_adapter(path, "llama", {}, kind="model", adapter_type=None, alpha=None, more=whole)


def test_content_is_the_same_however_its_source_is_named(tmp_path: Path) -> None:
    """A GGUF renamed, or the folder instead of a file in it, is no other content."""

    def digest(path: Path) -> str:
        return local_source(lora(path), LocalAdapterFiles(os.environ)).content.digest

    made = folder(tmp_path / "peft")
    assert len({digest(path) for path in (made, made / "adapter_config.json")}) == 1
    (tmp_path / "one").mkdir()
    old, new = tmp_path / "one" / "old.gguf", tmp_path / "new.GGUF"
    gguf_adapter(old, "llama", {"blk.0.attn_q": (64, 64)})
    new.write_bytes(old.read_bytes())
    assert digest(old) == digest(new) == digest(tmp_path / "one") != digest(made)


def test_a_whole_adapter_fits(tmp_path: Path) -> None:
    right = Expected(
        rank=4, max_rank=8, alpha=8, target_modules=("v_proj", "q_proj"), peft_type="LORA", dtype="float32"
    )
    verdict = judge(lora(folder(tmp_path / "sql"), expect=right))
    assert (errors(verdict), verdict.fits, verdict.format, verdict.rank) == ([], True, "peft", 4)
    assert verdict.bytes == sum(path.stat().st_size for path in (tmp_path / "sql").iterdir())


@pytest.mark.parametrize(
    ("expected", "code"),
    [
        (Expected(rank=8), "expect_rank"),
        (Expected(max_rank=2), "expect_max_rank"),
        (Expected(alpha=32), "expect_alpha"),
        (Expected(target_modules=("q_proj",)), "expect_target_modules"),
        (Expected(peft_type="IA3"), "expect_peft_type"),
        (Expected(dtype="bf16"), "expect_dtype"),
        (Expected(sha256=(("adapter_model.safetensors", "0" * 64),)), "expect_sha256"),
        (Expected(sha256=(("other.safetensors", "0" * 64),)), "expect_sha256"),
    ],
)
def test_each_expectation_forbids_or_warns(tmp_path: Path, expected: Expected, code: str) -> None:
    adapter = lora(folder(tmp_path / "sql"), expect=expected)
    (flaw,) = judge(adapter).errors
    assert (flaw.code, "onMismatch: warn" in (flaw.hint or "")) == (code, True)
    lenient = judge(adapter.model_copy(update={"on_mismatch": "warn"}))
    assert lenient.fits
    assert (code, "warning") in [(one.code, one.severity) for one in lenient.findings]


def test_the_contract_that_the_file_names(tmp_path: Path) -> None:
    place = folder(tmp_path / "sql", document=config(lora_contract_id="sha256:mine"))
    assert errors(judge(lora(place, contract=ExpectedContract(id="sha256:mine")))) == []
    verdict = judge(lora(place, contract=ExpectedContract(id="sha256:yours")))
    assert (errors(verdict), verdict.contract_id) == (["expect_contract_id"], "sha256:mine")
    plain = folder(tmp_path / "plain")
    wanted = ExpectedContract(id="sha256:mine", require_in_adapter=True, chat_template_sha256="0" * 64)
    assert {"contract_adapter_id_missing", "expect_chat_template"} <= set(errors(judge(lora(plain, contract=wanted))))


def test_damage_is_told_and_nothing_of_a_form_that_it_does_not_have(tmp_path: Path) -> None:
    made = gguf_adapter(tmp_path / "sql.gguf", "llama", {"blk.0.attn_q.weight": (16, 16)})
    made.write_bytes(made.read_bytes()[:-500])
    takes_gguf = {"takes": "gguf", "no_converter": "no converter is on this host"}
    damaged = judge(lora(made), **takes_gguf)
    assert (damaged.format, "converter_missing" in errors(damaged), damaged.fits) == ("gguf", False, False)
    (tmp_path / "nothing").mkdir()
    assert "converter_missing" not in errors(judge(lora(tmp_path / "nothing"), **takes_gguf))
    assert "converter_missing" in errors(judge(lora(folder(tmp_path / "peft")), **takes_gguf))


def test_a_base_of_another_name_may_be_allowed_and_other_shapes_never(tmp_path: Path) -> None:
    place = folder(tmp_path / "sql", document=config(base_model_name_or_path="acme/another"))
    lenient = lora(place, on_mismatch="warn")
    assert errors(judge(lora(place))) == ["base_mismatch"]
    assert judge(lenient).fits
    other = base_gguf(tmp_path / "base.gguf", 32)
    assert errors(judge(lenient, base_file=str(other))) == ["base_shape_mismatch"]


def test_a_base_file_that_cannot_be_read_leaves_what_is_known_otherwise(tmp_path: Path) -> None:
    (tmp_path / "base.gguf").write_bytes(b"no model")
    for base in (tmp_path / "base.gguf", tmp_path / "nowhere.gguf"):
        assert judge(lora(folder(tmp_path / "sql")), base_file=str(base)).fits


@pytest.mark.parametrize("damage", ["missing", "cut", "pickle"])
def test_what_never_passes(tmp_path: Path, damage: str) -> None:
    place = folder(tmp_path / "sql")
    weights = place / "adapter_model.safetensors"
    if damage == "missing":
        weights.unlink()
    elif damage == "cut":
        weights.write_bytes(weights.read_bytes()[:-10])
    else:
        weights.rename(place / "adapter_model.bin")
    assert errors(judge(lora(place, on_mismatch="warn")))


def test_the_form_that_the_target_takes(tmp_path: Path) -> None:
    place = folder(tmp_path / "sql")
    made = gguf_adapter(tmp_path / "a.gguf", "llama", {"blk.0.attn_q.weight": (16, 16)})
    assert "adapter_format_differs" in errors(judge(lora(made)))
    assert "converter_missing" in errors(judge(lora(place), takes="gguf", no_converter="there is none"))
    one, two = judge(lora(place), takes="gguf"), judge(lora(place))
    assert one.bytes > two.bytes
    assert one.digest == two.digest


def test_too_large_a_rank_and_dora_are_the_runtime_s_no(tmp_path: Path) -> None:
    large = folder(tmp_path / "large", pairs("q_proj", rank=600), config(r=600, target_modules=["q_proj"]))
    assert "rank_too_large" in errors(judge(lora(large)))
    dora = folder(tmp_path / "dora", document=config(use_dora=True))
    assert "dora_refused" in errors(judge(lora(dora)))


def test_nothing_there_is_said(tmp_path: Path) -> None:
    with pytest.raises(Refused, match="is not there"):
        local_source(lora(tmp_path / "nowhere"), FILES)


BROKEN = [b"{", b"[1]", b'"text"', b"", b"\x80\x02}q\x00.", b'{"r": ' * 5000, b'{"a": "\\ud800"}', b" " * (2**20 + 2)]
BROKEN_IDS = ["cut", "list", "text", "empty", "garbage", "deep", "half a character", "large"]


@pytest.mark.parametrize("content", BROKEN, ids=BROKEN_IDS)
@pytest.mark.parametrize("lenient", ["fail", "warn"])
def test_a_configuration_that_can_be_read_and_is_none_speaks_against_it(
    tmp_path: Path, content: bytes, lenient: str
) -> None:
    place = folder(tmp_path / "sql")
    (place / "adapter_config.json").write_bytes(content)
    verdict = judge(lora(place, on_mismatch=lenient))
    (flaw,) = verdict.errors
    assert (flaw.code, bool(flaw.hint)) == ("config_invalid", True)
    assert str(place) in flaw.message
    assert (verdict.format, verdict.bytes > 0) == ("peft", True)


@pytest.mark.parametrize("content", BROKEN, ids=BROKEN_IDS)
def test_a_manifest_that_can_be_read_and_is_none_speaks_against_it(tmp_path: Path, content: bytes) -> None:
    manifest = tmp_path / "manifest.json"
    manifest.write_bytes(content)
    verdict = judge(lora(folder(tmp_path / "sql"), contract=ExpectedContract(manifest=str(manifest))))
    assert errors(verdict) == ["manifest_invalid"]
    assert str(manifest) in verdict.errors[0].message


@given(content=st.binary(max_size=200))
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_whatever_stands_in_its_configuration_is_a_verdict(tmp_path: Path, content: bytes) -> None:
    place = folder(tmp_path / "sql")
    (place / "adapter_config.json").write_bytes(content)
    assert not judge(lora(place)).fits


@pytest.mark.parametrize("base", [None, "nowhere.gguf"])
def test_a_manifest_that_is_not_there_is_said_by_its_key(tmp_path: Path, base: str | None) -> None:
    wanted = lora(folder(tmp_path / "sql"), contract=ExpectedContract(manifest=str(tmp_path / "m.json")))
    with pytest.raises(Refused, match=r"its contract manifest .*m\.json cannot be read") as raised:
        judge(wanted, base_file=str(tmp_path / base) if base else None)
    assert raised.value.hint == "put it back, or correct contract.manifest of adapter sql"


def test_every_error_of_what_the_file_says_tells_how_to_let_it_pass(tmp_path: Path) -> None:
    place = folder(tmp_path / "sql", document=config(base_model_name_or_path="acme/another"))
    (flaw,) = judge(lora(place)).errors
    assert flaw.hint == "name the base that it was trained on; `onMismatch: warn` lets it pass"


@pytest.mark.parametrize(
    "changes", [{"r": -4}, {"r": True}, {"use_dora": "maybe"}, {"base_model_name_or_path": {"a": 1}}]
)
@pytest.mark.parametrize("lenient", ["fail", "warn"])
def test_a_value_that_cannot_be_speaks_against_it(tmp_path: Path, changes: dict[str, Any], lenient: str) -> None:
    verdict = judge(lora(folder(tmp_path / "sql", document=config(**changes)), on_mismatch=lenient))
    assert "config_invalid" in errors(verdict)


def test_only_a_receipt_that_is_away_is_passed_over_whatever_else_is_missing(tmp_path: Path) -> None:
    lost, gone, other = (error(code, code) for code in ("receipt_unreadable", "receipt_missing", "receipt_not_ok"))
    here, away = Gate(receipt=str(tmp_path / "receipt.json")), Gate(receipt=str(tmp_path / "share" / "receipt.json"))
    assert receipts_away((other, lost), here, FILES) == (lost,)
    assert receipts_away((lost, gone, other), here, FILES) == (lost,)
    assert receipts_away((lost, gone, other), away, FILES) == (lost, gone)
    assert receipts_away((lost, gone), away.model_copy(update={"max_age_seconds": 60.0}), FILES) == ()
    assert receipts_away((), away, FILES) == ()


@pytest.mark.parametrize("content", [b"", b"GGUF", b"\x01" * 4096], ids=["empty", "cut off", "random"])
def test_of_weights_that_nobody_can_read_no_more_is_told_than_that(tmp_path: Path, content: bytes) -> None:
    place = tmp_path / "sql.gguf"
    place.write_bytes(content)
    verdict = judge(lora(place, expect=Expected(max_rank=64)), takes="gguf")
    assert "weights_unreadable" in errors(verdict)
    assert not any(code.startswith("expect_") for code in errors(verdict))
    assert not any("onMismatch" in (one.hint or "") for one in verdict.findings)
    (flaw,) = [one for one in verdict.errors if one.code == "weights_unreadable"]
    assert ("the file is empty" in flaw.message) is (not content)


def test_a_gguf_with_half_a_pair_is_converted_again(tmp_path: Path) -> None:
    place = gguf_adapter(
        tmp_path / "sql.gguf", "llama", {"blk.0.attn_q.weight": (16, 16)}, leave_out=["blk.0.attn_q.weight.lora_a"]
    )
    (flaw,) = [one for one in judge(lora(place), takes="gguf").errors if one.code == "pair_incomplete"]
    assert "convert_lora_to_gguf.py" in (flaw.hint or "")
