"""What the words of an allow-list mean."""

from __future__ import annotations

import pytest

from reconciler.domain.catalog import Architecture, CatalogModel
from reconciler.domain.desired import DesiredState, Pool
from reconciler.domain.families import family_matches, family_warnings, known_families, normalise_license


def a_model(lineage: str, generation: str) -> CatalogModel:
    return CatalogModel(
        id=f"org/{lineage}-{generation}", lineage=lineage, generation=generation, line="general", params=None,
        active_params=None, gguf_weights=None, architecture=Architecture(name=None), context_length=None, license=None,
        released=None,
    )  # fmt: skip


@pytest.mark.parametrize(
    ("pattern", "lineage", "generation", "matches"),
    [
        ("qwen", "qwen", "2.5", True),
        ("QWEN", "qwen", "3", True),
        ("llama-3", "llama", "3", True),
        ("llama-3", "llama", "3.1", True),
        ("Llama_3", "llama", "3.3", True),
        ("llama 3", "llama", "3.2", True),
        ("llama-3", "llama", "4", False),
        ("llama-3", "llama", "2", False),
        ("llama-3", "llama", "guard-3", False),
        ("qwen3", "qwen", "3.5", True),
        ("qwen3", "qwen", "3-next", True),
        ("qwen3", "qwen", "3-2507", True),
        ("qwen3", "qwen", "30", False),
        ("qwen3", "qwen", "2.5", False),
        ("qwen3.0", "qwen", "3", True),
        ("qwen3.0", "qwen", "3.0", True),
        ("qwen3.0", "qwen", "3.5", False),
        ("qwen3.0", "qwen", "3-next", False),
        ("qwen2.5", "qwen", "2.5", True),
        ("qwen2.5", "qwen", "2", False),
        ("gemma3", "gemma", "3n", True),
        ("deepseek-v3", "deepseek", "v3.1", True),
        ("deepseek-v3", "deepseek", "v3-0324", True),
        ("deepseek-v3.0", "deepseek", "v3", True),
        ("deepseek-v3.0", "deepseek", "v3.1", False),
        ("deepseek", "deepseek-r1", "r1", False),
        ("deepseek-r1", "deepseek-r1", "r1-distill", True),
        ("deepseek-r1-0528", "deepseek-r1", "r1-0528", True),
        ("deepseek-r1-0528", "deepseek-r1", "r1", False),
        ("mistral-7b-v0.3", "mistral", "7b-v0.3", True),
        ("command-r", "command", "r-08-2024", True),
        ("command-r", "command", "r7b", False),
        ("kimi-k", "kimi", "k2", False),
        ("minicpm-v", "minicpm", "4.1", False),
        ("qwe", "qwen", "3", False),
        ("", "qwen", "3", False),
        ("qwen", "", "", False),
    ],
)
def test_a_family_is_a_lineage_or_a_lineage_with_a_generation(
    pattern: str, lineage: str, generation: str, matches: bool
) -> None:
    assert family_matches(pattern, lineage=lineage, generation=generation) is matches


def test_known_families_name_every_lineage_and_its_generations() -> None:
    models = [
        a_model("qwen", "3"),
        a_model("qwen", "2.5"),
        a_model("deepseek-r1", "r1"),
        a_model("deepseek-r1", "r1-0528"),
    ]
    known = known_families(models)
    assert known == ("deepseek-r1", "deepseek-r1-0528", "qwen", "qwen-2.5", "qwen-3")
    assert all(
        any(family_matches(name, lineage=model.lineage, generation=model.generation) for model in models)
        for name in known
    )


def test_a_family_that_matches_nothing_is_a_warning_with_the_nearest_names() -> None:
    desired = DesiredState(pool=Pool(allowed_families=("qwen3", "quen3", "zzzz")))
    warnings = family_warnings(desired, [a_model("qwen", "3"), a_model("llama", "3.1")])
    assert warnings == (
        "pool.allowedFamilies: 'quen3' matches no model of the catalogue; did you mean qwen-3, qwen?",
        "pool.allowedFamilies: 'zzzz' matches no model of the catalogue; 'localmodels catalog' lists the families",
    )


def test_no_families_asked_for_means_no_warning() -> None:
    assert family_warnings(DesiredState(), []) == ()


@pytest.mark.parametrize(
    ("text", "slug"),
    [
        ("Apache-2.0", "apache-2.0"),
        ("Apache 2.0", "apache-2.0"),
        ("apache_2.0", "apache-2.0"),
        ("Apache License, Version 2.0", "apache-2.0"),
        ("Apache License v2.0", "apache-2.0"),
        ("The MIT License", "mit"),
        ("MIT", "mit"),
        ("llama-3.1", "llama3.1"),
        ("Meta Llama 3 Community License Agreement", "llama3"),
        ("Gemma License", "gemma"),
        ("GPL v3", "gpl-3.0"),
        ("Falcon LLM License", "falcon-llm-license"),
        ("", ""),
    ],
)
def test_spellings_of_one_licence_share_a_slug(text: str, slug: str) -> None:
    assert normalise_license(text) == slug


@pytest.mark.parametrize(
    "slug",
    ["apache-2.0", "mit", "llama3.1", "llama2", "gemma", "falcon-llm-license", "modified-mit", "nvidia-open-model-license",
     "cc-by-nc-4.0", "qwen-community-1.0", "bigcode-openrail-m", "openmdw-1.1", "lfm1.0", "mrl", "tencent-hunyuan-a13b",
     "glm-5.3", "upstage-solar-license", "customized-nscl-v1", "deepseek", "kimi-k3"],
)  # fmt: skip
def test_slugs_of_the_catalogue_stay_as_they_are(slug: str) -> None:
    assert normalise_license(slug) == slug
