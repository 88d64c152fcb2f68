from __future__ import annotations

from pathlib import Path

import pytest

from reconciler.domain.desired import SecretReference
from reconciler.errors import DesiredStateError
from reconciler.integrations.files.desired_file import DesiredFile

FILE = """localModels:
  pool: {{allowedOrgs: [acme]}}
  slots: []
  targets:
    - {{name: router, runtime: {runtime}, apiKeyFrom: {key}}}
"""


async def load(folder: Path, key: str, runtime: str = "llama-server"):
    path = folder / "localmodels.yaml"
    path.write_text(FILE.format(key=key, runtime=runtime), encoding="utf-8")
    return await DesiredFile(path, environment={}).load()


async def test_a_key_is_a_reference(tmp_path: Path) -> None:
    (target,) = (await load(tmp_path, "{env: ROUTER_KEY}")).targets
    assert target.api_key_from == SecretReference(env="ROUTER_KEY")
    (target,) = (await load(tmp_path, "{file: keys/router}")).targets
    assert target.api_key_from == SecretReference(file=str(tmp_path / "keys/router"))


@pytest.mark.parametrize(
    ("key", "runtime"),
    [
        ("sesame-4711", "llama-server"),
        ("{env: A, file: b}", "llama-server"),
        ("{}", "llama-server"),
        ("{env: A}", "store"),
    ],
)
async def test_anything_else_is_refused_and_not_repeated(tmp_path: Path, key: str, runtime: str) -> None:
    with pytest.raises(DesiredStateError) as raised:
        await load(tmp_path, key, runtime)
    assert any("apiKeyFrom" in problem.path for problem in raised.value.problems)
    assert "sesame" not in " ".join(f"{problem.message} {problem.hint}" for problem in raised.value.problems)
