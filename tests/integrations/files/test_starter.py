"""The first file: fitted to the machine, and valid as it is."""

from __future__ import annotations

from datetime import UTC, date, datetime

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from syrupy.assertion import SnapshotAssertion

from reconciler.domain.catalog import Architecture, CatalogModel, Catalogue, Repository
from reconciler.domain.hardware import Device, Hardware, HardwareReading
from reconciler.domain.units import GB, GIB, Bytes
from reconciler.integrations.files.desired_file import read_desired
from reconciler.integrations.files.starter import budget_for, starter_text


def a_reading(*, vram_gib: float = 0, ram_gib: float = 32, name: str = "NVIDIA GeForce RTX 4090") -> HardwareReading:
    device = Device(name=name, vendor="nvidia", memory_bytes=Bytes(int(vram_gib * GIB)), bandwidth_gbps=1008)
    hardware = Hardware(
        platform="nvidia" if vram_gib else "cpu", devices=(device,) if vram_gib else (), ram_bytes=Bytes(int(ram_gib * GIB)),
        ram_bandwidth_gbps=80, ram_reserve_bytes=Bytes(2 * GIB), cpu_name="AMD Ryzen 9 7950X", cpu_count=32,
        detected_at=datetime(2026, 11, 1, tzinfo=UTC),
    )  # fmt: skip
    return HardwareReading(hardware=hardware)


def a_catalogue() -> Catalogue:
    def model(name: str, tag: str | None, *organisations: str) -> CatalogModel:
        return CatalogModel(
            id=name, lineage="x", generation="1", line="general", params=None, active_params=None, gguf_weights=None,
            architecture=Architecture(name=None), context_length=None, license=None, released=None, ollama_tag=tag,
            repositories=tuple(Repository(f"{organisation}/x-GGUF", ()) for organisation in organisations),
        )  # fmt: skip

    models = (
        model("Qwen/a", "a:1", "Qwen", "unsloth"),
        model("google/b", None, "unsloth", "ggml-org"),
        model("other/c", "c", "x"),
    )
    return Catalogue(models=models, observations=(), generated_at=date(2026, 11, 1), origin="bundled")


def test_what_a_person_reads(snapshot: SnapshotAssertion) -> None:
    text = starter_text(
        a_reading(vram_gib=24, ram_gib=64), catalogue=a_catalogue(), free_disk=Bytes(431 * GB), name="desk"
    )
    assert text == snapshot


@settings(max_examples=60, deadline=None)
@given(
    st.floats(0, 200),
    st.floats(1, 500),
    st.one_of(st.none(), st.integers(0, 10**14)),
    st.booleans(),
    st.text(max_size=20),
)
def test_it_loads_on_every_machine(vram: float, ram: float, free: int | None, catalogue: bool, name: str) -> None:
    text = starter_text(
        a_reading(vram_gib=vram, ram_gib=ram, name=name),
        catalogue=a_catalogue() if catalogue else None,
        free_disk=None if free is None else Bytes(free),
    )
    desired = read_desired(text, source="/x/localmodels.yaml", environment={}, thorough=True)
    assert desired.slots
    assert desired.notices == ()
    assert desired.pool.disk_budget > 0


@pytest.mark.parametrize(
    ("free", "budget"),
    [(None, 100), (431 * GB, 210), (30 * GB, 15), (3 * GB, 1), (0, 1), (10**14, 500)],
)
def test_the_budget_is_half_of_what_is_free(free: int | None, budget: int) -> None:
    assert budget_for(None if free is None else Bytes(free)) == budget * GB


def test_a_small_machine_is_asked_less_of() -> None:
    small = read_desired(starter_text(a_reading(ram_gib=6), catalogue=None), source="/x", environment={})
    large = read_desired(starter_text(a_reading(vram_gib=48), catalogue=None), source="/x", environment={})
    assert len(small.slots) < len(large.slots)
