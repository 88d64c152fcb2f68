"""What a server says of itself and its base counts for an adapter: the folder it reads the base from, its version."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from reconciler.domain.adapter import AdapterVerdict
from reconciler.domain.desired import Target
from tests.engine.lora.test_verdict import errors, judge, lora
from tests.lora_files import TINY, config, folder, pairs

ELSEWHERE = Target(
    name="gpu", runtime="advisory", program="vllm", endpoint="http://10.0.0.7:8000", is_asked=True, is_local=False
)


@pytest.fixture
def base(tmp_path: Path) -> Path:
    place = tmp_path / "models" / "base"
    place.mkdir(parents=True)
    (place / "config.json").write_text(json.dumps(TINY))
    return place


def codes(verdict: AdapterVerdict, severity: str = "warning") -> list[str]:
    return [one.code for one in verdict.findings if one.severity == severity]


# ------------------------------------------------------------------------------------------------ the folder of its base


def test_the_config_of_the_folder_that_the_server_reads_decides_about_widths(base: Path, tmp_path: Path) -> None:
    wide = {name: (32, outputs) for name, (_, outputs) in {"q_proj": (16, 16), "v_proj": (16, 8)}.items()}
    wrong = lora(folder(tmp_path / "wrong", pairs("q_proj", "v_proj", widths=wide)))
    assert errors(judge(wrong)) == [], "nobody knows this base"
    (flaw,) = judge(wrong, base_folder=str(base)).errors
    assert flaw.code == "base_shape_mismatch"
    assert "32 inputs, the base has 16" in flaw.message
    assert errors(judge(lora(folder(tmp_path / "right")), base_folder=f"{base}/")) == []


def test_layers_that_the_base_lacks_are_an_error(base: Path, tmp_path: Path) -> None:
    """vLLM 0.32 passes over them silently."""
    adapter = lora(folder(tmp_path / "sql", pairs("q_proj", "v_proj", layers=(0, 1, 7))), on_mismatch="warn")
    (flaw,) = judge(adapter, base_folder=str(base)).errors
    assert flaw.code == "base_shape_mismatch"
    assert "layers.7" in flaw.message
    assert "the base has 2 layers" in flaw.message


@pytest.mark.parametrize("content", ["", "[]", "{", None])
def test_a_folder_that_tells_nothing_forbids_nothing(content: str | None, base: Path, tmp_path: Path) -> None:
    (base / "config.json").unlink()
    if content is not None:
        (base / "config.json").write_text(content)
    assert errors(judge(lora(folder(tmp_path / "sql")), base_folder=str(base))) == []


@pytest.mark.parametrize("seen", [{"target": ELSEWHERE}, {"target": None}, {"base_folder": "models/base"}])
def test_a_folder_of_another_host_is_not_looked_for_here(seen: dict[str, Any], base: Path, tmp_path: Path) -> None:
    (base / "config.json").write_text(json.dumps(TINY | {"num_hidden_layers": 1}))
    assert errors(judge(lora(folder(tmp_path / "sql")), **{"base_folder": str(base), **seen})) == []


def test_an_adapter_that_names_that_folder_names_this_base(base: Path, tmp_path: Path) -> None:
    place = folder(tmp_path / "sql", document=config(base_model_name_or_path=f"{base}/"))
    assert codes(judge(lora(place))) == ["base_unstated"]
    for target in (ELSEWHERE, judge_target()):
        assert codes(judge(lora(place), base_folder=str(base), target=target)) == []
    other = folder(tmp_path / "other", document=config(base_model_name_or_path=str(base).upper()))
    assert codes(judge(lora(other), base_folder=str(base), target=ELSEWHERE)) == ["base_unstated"]


def judge_target() -> Target:
    return ELSEWHERE.model_copy(update={"endpoint": "http://127.0.0.1:8000", "is_local": True})


# ---------------------------------------------------------------------------------------------------------- its version


@pytest.mark.parametrize(
    ("version", "expected"),
    [
        ("0.32.0", []), ("0.32.1.dev3+gabc", []), ("1.0.0", []),
        ("0.18.0", ["error rank_pattern_refused"]), ("0.8.5.post1", ["error rank_pattern_refused"]),
        ("dev", ["warning rank_pattern_since"]), (None, ["warning rank_pattern_since"]),
    ],
)  # fmt: skip
def test_ranks_by_module_are_taken_from_a_version_on(version: str | None, expected: list[str], tmp_path: Path) -> None:
    tensors = pairs("q_proj", rank=2) | pairs("v_proj")
    place = folder(tmp_path / "sql", tensors, config(rank_pattern={"q_proj": 2}))
    found = judge(lora(place), version=version).findings
    assert [f"{one.severity} {one.code}" for one in found if "pattern" in one.code] == expected


def test_an_older_one_is_named_with_the_version_that_would_do(tmp_path: Path) -> None:
    (flaw,) = judge(
        lora(folder(tmp_path / "sql", document=config(alpha_pattern={"v_proj": 4}))), version="0.18.0"
    ).errors
    assert flaw.message == "vLLM is known to take adapters with alpha_pattern from 0.32.0 on, and this one is 0.18.0"


# ------------------------------------------------------------------------------------------- what 0.32 refuses when loaded


@pytest.mark.parametrize(
    ("stated", "expected"),
    [
        ({"init_lora_weights": "pissa"}, "init_lora_weights_refused"),
        ({"init_lora_weights": "pissa_niter_4"}, "init_lora_weights_refused"),
        ({"init_lora_weights": "OLoRA"}, "init_lora_weights_refused"),
        ({"init_lora_weights": "corda"}, "init_lora_weights_refused"),
        ({"init_lora_weights": "loftq"}, "init_lora_weights_refused"),
        ({"init_lora_weights": "of tomorrow"}, "init_lora_weights_refused"),
        ({"init_lora_weights": "gaussian"}, None), ({"init_lora_weights": "eva"}, None),
        ({"init_lora_weights": "orthogonal"}, None), ({"init_lora_weights": "mica"}, None),
        ({"init_lora_weights": "lora_ga"}, None), ({"init_lora_weights": True}, None),
        ({"init_lora_weights": False}, None), ({"init_lora_weights": ["pissa"]}, None),
        ({"alora_invocation_tokens": [5, 6]}, "alora_refused"), ({"alora_invocation_tokens": []}, None),
        ({"use_bdlora": {"nblocks": 2}}, "bdlora_refused"), ({"use_qalora": True}, "qalora_refused"),
        ({"layer_replication": [[0, 2]]}, "layer_replication_refused"), ({"lora_bias": True}, "bias_refused"),
    ],
)  # fmt: skip
def test_what_vllm_was_seen_to_refuse_is_refused_before(
    stated: dict[str, Any], expected: str | None, tmp_path: Path
) -> None:
    verdict = judge(lora(folder(tmp_path / "sql", document=config(**stated))), version="0.32.0")
    assert [code for code in errors(verdict) if code.endswith("_refused")] == ([expected] if expected else [])


def test_whoever_serves_the_plain_base_serves_another_than_such_a_start_left(tmp_path: Path) -> None:
    place = folder(tmp_path / "sql", document=config(init_lora_weights="pissa"))
    router = Target(name="gpu", runtime="llama-server", endpoint="http://127.0.0.1:8080")
    verdict = judge(lora(place), target=router, takes="gguf")
    assert "init_changes_base" in codes(verdict)
    (told,) = (one for one in verdict.findings if one.code == "init_changes_base")
    assert "pissa" in told.message
    assert "path_initial_model_for_weight_conversion" in (told.hint or "")
    assert codes(judge(lora(folder(tmp_path / "plain")), target=router, takes="gguf")) == []
