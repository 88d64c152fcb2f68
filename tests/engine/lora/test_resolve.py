"""From what a person types to a route: names of a base, providers, and what nobody knows."""

from __future__ import annotations

from dataclasses import replace

import pytest

from reconciler.domain.catalog import Repository
from reconciler.engine.lora.resolve import resolve_base, resolve_route
from reconciler.errors import UsageError
from reconciler.lora.dialect import HARN, OURS
from tests.builders import catalogue, model
from tests.lora.tables import TABLE

COYOTE = replace(
    model("acme/coyote-8b", repos=("packer/coyote-8b-GGUF",)),
    ollama_tag="coyote:8b",
)
MLX = Repository("packer/coyote-8b-mlx", COYOTE.repositories[0].builds, format="mlx")
COYOTE = replace(COYOTE, repositories=(*COYOTE.repositories, MLX))
GEMMA = model("google/gemma-4-E4B-it", lineage="gemma", context=131_072)
KNOWN = catalogue(COYOTE, GEMMA)


@pytest.mark.parametrize(
    ("selector", "provider"),
    [
        ("acme/coyote-8b", "vllm"),
        ("ACME/Coyote-8B", "vllm"),
        ("coyote-8b", "vllm"),
        (" acme/coyote-8b ", "vllm"),
        ("packer/coyote-8b-GGUF", "llamacpp"),
        ("hf.co/packer/coyote-8b-GGUF:Q4_K_M", "llamacpp"),
        ("packer/coyote-8b-mlx", "mlx"),
        ("coyote:8b", "ollama"),
    ],
)
def test_a_base_by_any_name_every_command_knows(selector: str, provider: str) -> None:
    found = resolve_route(selector, None, KNOWN, TABLE, OURS)
    assert (found.selector, found.id, found.provider) == (selector, "acme/coyote-8b", provider)
    assert found.resolved_alias == (None if selector.strip() == found.id else selector.strip())


def test_the_repository_that_was_named_is_kept() -> None:
    found = resolve_route("packer/coyote-8b-GGUF", None, KNOWN, TABLE, OURS)
    assert found.repository == "packer/coyote-8b-GGUF"
    assert resolve_route("acme/coyote-8b", None, KNOWN, TABLE, OURS).repository is None


def test_a_repository_nobody_knows_is_taken_as_it_is() -> None:
    found = resolve_route("somebody/new-7b", "local_vllm", KNOWN, TABLE, OURS)
    assert (found.id, found.provider, found.model, found.family) == ("somebody/new-7b", "vllm", None, None)
    assert found.launches_lora


@pytest.mark.parametrize(
    ("selector", "provider", "origin"),
    [("acme/tiny-GGUF", "llamacpp", "local"), ("mlx-community/tiny", "mlx", "local"), ("acme/tiny", "vllm", "local")],
)
def test_a_repository_nobody_knows_says_by_its_name_what_it_holds(selector: str, provider: str, origin: str) -> None:
    assert resolve_route(selector, None, KNOWN, TABLE, OURS).provider == provider
    assert resolve_route(selector, None, KNOWN, TABLE, HARN).provider == origin


def test_a_name_that_nothing_has_is_an_error_with_the_nearest() -> None:
    with pytest.raises(UsageError) as caught:
        resolve_route("coyote-9b", None, KNOWN, TABLE, OURS)
    assert caught.value.code == "unknown-model"
    assert "coyote-8b" in str(caught.value.hint)


@pytest.mark.parametrize("dialect", [OURS, HARN])
@pytest.mark.parametrize("selector", ["", " \t"])
def test_a_blank_base_is_an_error(selector: str, dialect: object) -> None:
    with pytest.raises(UsageError, match="--base is empty"):
        resolve_route(selector, None, KNOWN, TABLE, dialect)  # type: ignore[arg-type]


class TestTheOrigin:
    def test_its_own_names_are_known_with_what_our_catalogue_knows(self) -> None:
        found = resolve_route("local-gemma4-e4b", "local-vllm", KNOWN, TABLE, HARN)
        assert (found.id, found.provider, found.resolved_alias) == ("gemma-4-e4b-it", "vllm", "local-gemma4-e4b")
        assert (found.tool_format, found.tier, found.context_window) == ("json", "small", 131_072)
        assert (found.lineage, found.is_gemma4) == ("gemma", True)
        assert found.model is GEMMA

    def test_its_names_are_none_of_ours(self) -> None:
        with pytest.raises(UsageError):
            resolve_route("local-gemma4-e4b", None, KNOWN, TABLE, OURS)

    def test_an_id_stays_as_it_is_written(self) -> None:
        found = resolve_route("coyote-8b", None, KNOWN, TABLE, HARN)
        assert (found.id, found.lineage, found.provider) == ("coyote-8b", "coyote", "local")

    def test_any_name_is_a_base(self) -> None:
        found = resolve_route("whatever", None, KNOWN, TABLE, HARN)
        assert (found.id, found.provider, found.family) == ("whatever", "local", None)

    def test_a_name_that_begins_with_a_providers_is_that_providers(self) -> None:
        assert resolve_route("dashscope/qwen3-coder-next", None, KNOWN, TABLE, HARN).provider == "dashscope"


def test_errors_name_the_flag() -> None:
    with pytest.raises(UsageError, match="--teacher is empty"):
        resolve_base(" ", KNOWN, TABLE, OURS, "--teacher")
