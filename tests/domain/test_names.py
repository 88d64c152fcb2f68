"""Names as registries, the Hub and the file spell them."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reconciler.domain.names import OllamaName, glob_matches, nearest, split_repo

PART = st.from_regex(r"[A-Za-z0-9_][A-Za-z0-9_-]{0,20}", fullmatch=True)
TAG = st.from_regex(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,20}", fullmatch=True)


@pytest.mark.parametrize(
    ("text", "canonical"),
    [
        ("llama3.2", "llama3.2:latest"),
        ("library/llama3.2", "llama3.2:latest"),
        ("registry.ollama.ai/library/qwen3:8b", "qwen3:8b"),
        ("Registry.Ollama.AI/Library/Qwen3:8B", "Qwen3:8B"),
        ("me/finetune", "me/finetune:latest"),
        ("hf.co/Qwen/Qwen3-8B-GGUF:Q4_K_M", "hf.co/Qwen/Qwen3-8B-GGUF:Q4_K_M"),
        ("hf.co/Qwen/Qwen2.5-7B-GGUF:qwen2.5.gguf", "hf.co/Qwen/Qwen2.5-7B-GGUF:qwen2.5.gguf"),
        ("http://localhost:5000/library/tiny:v1", "localhost:5000/library/tiny:v1"),
        ("gpt-oss:120b-cloud", "gpt-oss:120b-cloud"),
    ],
)
def test_the_shortest_form_always_has_its_tag(text: str, canonical: str) -> None:
    assert OllamaName.parse(text).canonical == canonical


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", "empty model"),
        ("qwen3:", "without a tag"),
        ("a/b/c/d", "too many parts"),
        ("host//model", "empty namespace"),
        ("/model", "empty namespace"),
        ("name.space/model", "namespace 'name.space'"),
        ("-model", "model '-model'"),
        ("model:ta g", "tag 'ta g'"),
        ("m" * 81, "80 at most"),
        ("model@sha256:00", "model 'model@sha256'"),
        ("h" * 351 + "/n/m", "350 at most"),
    ],
)
def test_what_is_not_a_name_is_refused_with_the_part_that_is_wrong(text: str, reason: str) -> None:
    with pytest.raises(ValueError, match=reason):
        OllamaName.parse(text)


def test_names_are_one_whatever_their_case_and_hosts_are_not() -> None:
    assert OllamaName.parse("hf.co/Qwen/X:Q4_K_M").same_as(OllamaName.parse("HF.co/qwen/x:q4_k_m"))
    assert not OllamaName.parse("hf.co/Qwen/X").same_as(OllamaName.parse("huggingface.co/Qwen/X"))


@given(PART, PART, PART, TAG)
def test_the_canonical_form_parses_to_the_same_name(host: str, namespace: str, model: str, tag: str) -> None:
    name = OllamaName.parse(f"{host}/{namespace}/{model}:{tag}")
    again = OllamaName.parse(name.canonical)
    assert again.same_as(name)
    assert again.canonical == name.canonical


@pytest.mark.parametrize(
    ("pattern", "name", "matches"),
    [
        ("my-finetune:latest", "my-finetune:latest", True),
        ("my-finetune", "my-finetune:latest", True),
        ("my-finetune:latest", "my-finetune", True),
        ("my-finetune", "my-finetune:v2", False),
        ("MY-finetune", "my-FINETUNE:Latest", True),
        ("host:5000/me/x", "host:5000/me/x:latest", True),
        ("finetune", "my-finetune:latest", False),
        ("*-uncensored*", "Llama3-Uncensored:8b", True),
        ("*-uncensored*", "llama3:8b", False),
        ("qwen*:8b", "qwen3:8b", True),
        ("qwen*:8b", "qwen3:8b-q4", False),
        ("ab*ba", "aba", False),
        ("*", "anything", True),
        ("a**c", "abc", True),
        ("q?en3", "qwen3", False),
        ("[q]wen3*", "qwen3:8b", False),
    ],
)
def test_a_glob_is_anchored_and_only_a_star_is_special(pattern: str, name: str, matches: bool) -> None:
    assert glob_matches(pattern, name) is matches


@given(st.lists(st.text("ab:/", max_size=3), min_size=2, max_size=5), st.lists(st.text("ab", max_size=3), max_size=4))
def test_filling_each_star_always_matches(pieces: list[str], fillings: list[str]) -> None:
    name = "".join(
        piece + (fillings[i] if i < len(fillings) and i < len(pieces) - 1 else "") for i, piece in enumerate(pieces)
    )
    assert glob_matches("*".join(pieces), name)


def test_many_stars_do_not_blow_up() -> None:
    assert not glob_matches("*a" * 200 + "*b", "a" * 5000)


def test_the_nearest_words_come_best_first() -> None:
    assert nearest("diskbudgt", ["allowedOrgs", "diskBudget", "diskBudgetGb"]) == ("diskBudget", "diskBudgetGb")
    assert nearest("zzz", ["diskBudget"]) == ()
    assert nearest("allowed_orgs", ["allowedOrgs"], limit=1) == ("allowedOrgs",)
    assert nearest("tpu", ["cpu", "nvidia"]) == ()
    assert nearest("evn", ["env", "file"]) == ("env",)


def test_a_repository_has_an_organisation_and_a_name() -> None:
    assert split_repo("unsloth/Qwen3-8B-GGUF") == ("unsloth", "Qwen3-8B-GGUF")


@pytest.mark.parametrize("repo", ["", "qwen3", "a/b/c", "/b", "a/", "a b/c", "../x", "a/..", "a/.hidden", "a/b--c"])
def test_what_is_not_a_repository_is_refused(repo: str) -> None:
    with pytest.raises(ValueError, match="not a repository"):
        split_repo(repo)
