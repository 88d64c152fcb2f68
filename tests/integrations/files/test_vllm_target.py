"""``runtime: vllm`` in the file: a server where it has an endpoint, else commands for a person."""

from __future__ import annotations

from pathlib import Path

import pytest

from reconciler.domain.desired import SecretReference, Target
from reconciler.errors import DesiredStateError
from reconciler.integrations.files.desired_file import read_desired


def targets(tmp_path: Path, *lines: str) -> tuple[Target, ...]:
    text = "localModels:\n  targets:\n" + "".join(f"    - {{{line}}}\n" for line in lines)
    return read_desired(text, source=str(tmp_path / "localmodels.yaml"), environment={}).targets


def test_with_an_endpoint_it_is_asked(tmp_path: Path) -> None:
    (target,) = targets(
        tmp_path, "name: gpu, runtime: vllm, endpoint: 'http://127.0.0.1:8000/', apiKeyFrom: {env: VLLM_API_KEY}"
    )
    assert (target.runtime, target.program, target.is_asked, target.is_local) == ("advisory", "vllm", True, True)
    assert (target.endpoint, target.api_key_from) == ("http://127.0.0.1:8000", SecretReference(env="VLLM_API_KEY"))


@pytest.mark.parametrize(
    "line",
    ["runtime: vllm", "runtime: advisory, program: vllm, endpoint: 'http://127.0.0.1:8000'", "runtime: lm-studio"],
)
def test_others_are_a_persons(tmp_path: Path, line: str) -> None:
    (target,) = targets(tmp_path, f"name: desk, {line}")
    assert (target.runtime, target.is_asked) == ("advisory", False)


def test_one_server_is_one_target(tmp_path: Path) -> None:
    lines = [f"name: {name}, runtime: vllm, endpoint: 'http://{host}:8000'" for name, host in
             (("a", "localhost"), ("b", "127.0.0.1"))]  # fmt: skip
    with pytest.raises(DesiredStateError) as raised:
        targets(tmp_path, *lines)
    assert "the same place as target 'a'" in raised.value.problems[0].message
    targets(tmp_path, "name: a, runtime: vllm", "name: b, runtime: vllm")


def test_one_elsewhere_says_what_its_machine_is(tmp_path: Path) -> None:
    line = "name: gpu, runtime: vllm, endpoint: 'http://big:8000'"
    with pytest.raises(DesiredStateError):
        targets(tmp_path, line)
    (target,) = targets(tmp_path, f"{line}, hardware: {{platform: nvidia, vramGb: 80}}, diskBudget: 1TB")
    assert (target.is_asked, target.is_local) == (True, False)


def test_what_it_was_started_for_is_said_as_vllm_takes_it(tmp_path: Path) -> None:
    line = "name: gpu, runtime: vllm, endpoint: 'http://127.0.0.1:8000', maxLoraRank: "
    assert targets(tmp_path, f"{line}32")[0].max_lora_rank == 32
    with pytest.raises(DesiredStateError) as raised:
        targets(tmp_path, f"{line}24", "name: files, runtime: store, maxLoraRank: 8")
    between, elsewhere = raised.value.problems
    assert "found 24; allowed: 1, 8, 16, 32" in between.message
    assert "maxLoraRank: 32" in (between.hint or "")
    assert "runtime: store" in elsewhere.message
