from datetime import date

from reconciler.domain.catalog import (
    Architecture,
    BenchmarkObservation,
    Build,
    CatalogModel,
    Catalogue,
    CatalogueSource,
    Repository,
)
from reconciler.domain.catalogue_description import (
    BenchmarkSummary,
    CatalogueDescription,
    FamilySummary,
    NamedCount,
    PackagerSummary,
    describe,
)


def model(name, generation, rank, *repositories, tag=None, released=None):
    return CatalogModel(
        name, "qwen", generation, "general", 1, None, None, Architecture("qwen3", layers=2, heads=4), 1, None, released,
        repositories=repositories, generation_rank=rank, ollama_tag=tag,
    )  # fmt: skip


CATALOGUE = Catalogue(
    models=(
        model(
            "Qwen/a", "3", 30, Repository("Qwen/a-GGUF", (Build("Q8_0", 1, exact=True),)),
            Repository("unsloth/a-GGUF", (Build("Q8_0", 1, exact=False), Build("F16", 2, exact=False))),
            tag="qwen3:8b", released=date(2025, 4, 28),
        ),
        model("Qwen/b", "2.5", 25, Repository("unsloth/b-GGUF", ())),
    ),
    observations=(
        BenchmarkObservation("Qwen/a", "x", 1, "0-100", "s", date(2026, 1, 1)),
        BenchmarkObservation("Qwen/a", "x", 1, "0-100", "s", date(2026, 2, 1), variant="thinking"),
    ),
    generated_at=date(2026, 11, 22),
    origin="bundled",
    sources=(
        CatalogueSource("old", "Old", "MIT", date(2025, 1, 1)),
        CatalogueSource("new", "New", "MIT", date(2026, 11, 1)),
    ),
)  # fmt: skip


def test_counts_and_ages():
    shown = describe(CATALOGUE, date(2026, 12, 2))
    assert (shown.age_days, shown.models, shown.repositories, shown.builds, shown.exact_builds) == (10, 2, 3, 3, 1)
    assert (shown.with_dimensions, shown.observations) == (2, 2)
    assert shown.publishers == (NamedCount(name="Qwen", count=2),)
    assert shown.families == (FamilySummary(name="qwen", generations=("2.5", "3"), models=2, newest=date(2025, 4, 28)),)
    assert shown.packagers == (
        PackagerSummary(name="ollama-library", repositories=1, models=1, publishers=("Qwen",)),
        PackagerSummary(name="unsloth", repositories=2, models=2, publishers=("Qwen",)),
    )
    assert shown.benchmarks == (
        BenchmarkSummary(name="x", scale="0-100", observations=2, models=1, newest=date(2026, 2, 1)),
    )
    assert [(source.id, source.age_days) for source in shown.sources] == [("new", 31), ("old", 700)]


def test_a_catalogue_from_the_future_has_no_age():
    assert describe(CATALOGUE, date(2020, 1, 1)).age_days == 0


def test_it_crosses_json():
    shown = describe(CATALOGUE, date(2026, 12, 2))
    assert CatalogueDescription.model_validate_json(shown.model_dump_json()) == shown
