"""Every example is a valid file, also by its schema."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from reconciler.domain.desired import HardwareOverride
from reconciler.domain.units import GIB
from reconciler.integrations.files.desired_file import DesiredFile, read_desired

EXAMPLES = Path(__file__).parent.parent / "examples"


@pytest.mark.parametrize("path", sorted(EXAMPLES.glob("*.yaml")), ids=lambda path: path.name)
def test_every_example_loads(path: Path) -> None:
    desired = asyncio.run(DesiredFile(path, environment={}).load())
    thorough = read_desired(path.read_bytes(), source=str(path), environment={}, thorough=True)
    assert thorough == desired
    assert desired.source == str(path)


def test_the_origins_own_block_means_what_it_meant() -> None:
    path = EXAMPLES / "seed-block.yaml"
    desired = read_desired(path.read_text(), source=str(path), environment={})
    assert desired.pool.disk_budget == 100 * GIB
    assert desired.slots_implied
    assert [slot.profile for slot in desired.slots] == ["general", "coding", "reasoning"]
    (target,) = desired.targets
    assert (target.runtime, target.endpoint, target.is_local) == ("ollama", "http://localhost:11434", True)
    assert (desired.refresh.interval_seconds, desired.refresh.jitter_seconds) == (86_400, 600)
    assert desired.hardware == HardwareOverride(
        platform="nvidia", vram_bytes=24 * GIB, bandwidth_gbps=1008, ram_bytes=64 * GIB,
        gpu_name="NVIDIA GeForce RTX 4090", cpu_name="AMD Ryzen 9 7950X",
    )  # fmt: skip
