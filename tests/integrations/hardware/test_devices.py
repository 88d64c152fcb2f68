"""The table that ships."""

from __future__ import annotations

import pytest

from reconciler.integrations.hardware.devices import bundled_table, words_of
from tests.integrations.hardware.recorded import GIB


def test_every_row_names_a_dated_source_and_makes_sense() -> None:
    table = bundled_table()
    assert all(source["date"] and source["what"] for source in table.sources.values())
    for entry in table.entries:
        assert entry.source in table.sources
        assert entry.kind in {"discrete", "mobile", "integrated", "unified"}
        assert 0 <= entry.bandwidth_gbps < 20_000
        assert entry.kind == "integrated" or entry.bandwidth_gbps > 0
        assert entry.memory_bytes == 0 or 4 * GIB <= entry.memory_bytes <= 512 * GIB


@pytest.mark.parametrize("kind", ["discrete", "mobile", "unified"])
def test_every_row_is_found_by_its_own_name_and_size(kind: str) -> None:
    table = bundled_table()
    for entry in (entry for entry in table.entries if entry.kind == kind):
        match = table.find(entry.name, entry.memory_bytes or None)
        assert match is not None, entry.name
        assert match.entry.vendor == entry.vendor
        assert match.entry.bandwidth_gbps <= entry.bandwidth_gbps * 1.01 or match.entry.source == "origin", entry.name


def test_pci_numbers_lead_to_rows() -> None:
    table = bundled_table()
    for key, name in table._pci.items():
        match = table.find(name)
        known_without_a_row = {"Radeon Vega", "Radeon Van Gogh", "Arc A310"}
        assert match is not None or name in known_without_a_row, (key, name)


@pytest.mark.parametrize(
    "name",
    [
        "",
        "NVIDIA",
        "GeForce",
        "NVIDIA Graphics Device",
        "RTX",
        "NVIDIA GeForce RTX 4095",
        "GRID A100-10C",
        "4090 Ti Super",
    ],
)
def test_a_name_that_is_merely_like_a_row_is_unknown(name: str) -> None:
    assert bundled_table().find(name) is None


def test_a_desktop_name_never_matches_a_laptop_row_nor_the_reverse() -> None:
    table = bundled_table()
    for entry in table.entries:
        if entry.kind == "mobile" and words_of(entry.name) & {"mobile", "maxq"}:
            desktop = table.find(entry.name.replace("Mobile", "").replace("Max-Q", "").strip())
            assert desktop is None or not words_of(desktop.entry.name) & {"mobile", "maxq"}, entry.name


def test_spelling_does_not_matter() -> None:
    table = bundled_table()
    names = ["rtx 4090", "RTX-4090", "NVIDIA GeForce RTX 4090", "geforce_rtx_4090"]
    assert {table.find(name).entry.name for name in names if table.find(name)} == {"NVIDIA GeForce RTX 4090"}
