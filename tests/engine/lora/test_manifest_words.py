"""A contract manifest in the shapes that people write it in: hashes as rows or by name, paths of any system, empty words."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from reconciler.domain.adapter import ExpectedContract
from tests.engine.lora.test_verdict import BASE, judge, lora
from tests.lora_files import folder

CONFIG, WEIGHTS = "adapter_config.json", "adapter_model.safetensors"


def told(tmp_path: Path, **document: Any) -> dict[str, str]:
    """Messages by code of what a manifest brings up."""
    place = folder(tmp_path / "sql")
    manifest = tmp_path / "manifest.json"
    document.setdefault("contract", {"base_model": BASE, "provider": "vllm"})
    manifest.write_text(json.dumps(document))
    verdict = judge(lora(place, contract=ExpectedContract(manifest=str(manifest))))
    return {one.code: one.message for one in verdict.findings}


def right(tmp_path: Path) -> str:
    from hashlib import sha256

    return sha256((folder(tmp_path / "sql") / WEIGHTS).read_bytes()).hexdigest()


@pytest.mark.parametrize("shape", ["rows", "path", "file", "windows", "by-name", "text-by-name", "prefixed", "upper"])
def test_hashes_of_files_in_every_shape(tmp_path: Path, shape: str) -> None:
    def artifacts(digest: str) -> Any:
        return {
            "rows": [{"name": WEIGHTS, "sha256": digest}],
            "path": [{"path": f"out/{WEIGHTS}", "name": "ignored", "sha256": digest}],
            "file": [{"file": WEIGHTS, "sha256": digest}],
            "windows": [{"path": f"C:\\out\\{WEIGHTS}", "sha256": digest}],
            "by-name": {WEIGHTS: {"sha256": digest}},
            "text-by-name": {WEIGHTS: digest},
            "prefixed": [{"name": WEIGHTS, "sha256": f"sha256:{digest}"}],
            "upper": [{"name": WEIGHTS, "sha256": digest.upper()}],
        }[shape]

    assert not {"artifact_differs", "artifact_missing"} & told(tmp_path, artifacts=artifacts(right(tmp_path))).keys()
    assert "artifact_differs" in told(tmp_path, artifacts=artifacts("0" * 64))


@pytest.mark.parametrize(
    ("row", "missing"),
    [
        ({"name": "adapter_model.bin", "sha256": "0" * 64}, True),
        ({"name": "training.log", "sha256": "0" * 64}, False),
        ({"name": WEIGHTS}, False),
        ({"name": WEIGHTS, "sha256": ""}, False),
        ({"sha256": "0" * 64}, False),
        ("not an object", False),
    ],
)
def test_only_files_of_an_adapter_with_a_hash_are_missed(tmp_path: Path, row: Any, missing: bool) -> None:
    found = told(tmp_path, artifacts=[row])
    assert ("artifact_missing" in found, "artifact_differs" in found) == (missing, False)


@pytest.mark.parametrize("empty", ["", None, 7])
def test_an_empty_word_is_a_missing_one(tmp_path: Path, empty: object) -> None:
    found = told(tmp_path, contract={"base_model": empty, "provider": empty})
    assert "for base (none stated)" in found["contract_base_mismatch"]
    assert "a provider that it does not state" in found["contract_provider_mismatch"]


def test_what_it_states_is_named(tmp_path: Path) -> None:
    found = told(tmp_path, contract={"base_model": "other/model", "provider": "sglang"})
    assert "for base other/model" in found["contract_base_mismatch"]
    assert "for sglang, not" in found["contract_provider_mismatch"]
