"""The command that serves a base with an adapter, by provider, dialect and rank."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest

from reconciler.lora.dialect import HARN, OURS
from reconciler.lora.hub_reference import HubReference, hub_reference, is_address
from reconciler.lora.launch import launch
from reconciler.lora.launch_value import adapter_value
from reconciler.lora.routes import NamedBase, route_of
from tests.lora.tables import TABLE, provider, route

VALUE = '{"name":"sql","path":"./sql","base_model_name":"acme/m"}'


@pytest.mark.parametrize(
    ("at", "argv", "limit"),
    [
        ("vllm", ("vllm", "serve", "acme/m", "--enable-lora", "--max-lora-rank", "32", "--lora-modules", VALUE), 32),
        (
            "sglang",
            ("python", "-m", "sglang.launch_server", "--model-path", "acme/m", "--enable-lora", "--max-lora-rank", "24", "--lora-paths", "sql=./sql"),
            24,
        ),
        ("llamacpp", ("llama-server", "--model", "BASE.gguf", "--lora", "./sql"), None),
        ("mlx", ("mlx_lm.server", "--model", "acme/m", "--adapter-path", "./sql"), None),
        ("tgi", ("text-generation-launcher", "--model-id", "acme/m", "--lora-adapters", "sql=./sql"), None),
        ("ollama", (), None),
        ("openai", (), None),
        ("somebody", (), None),
    ],
)  # fmt: skip
def test_the_runtimes_own_command(at: str, argv: tuple[str, ...], limit: int | None) -> None:
    found = launch(route("acme/m", at), "sql", "./sql", 24, OURS)
    assert (found.argv, found.max_rank) == (argv, limit)


def test_a_rank_that_is_none_of_the_limits_is_rounded_up_and_told() -> None:
    (found,) = launch(route(), "sql", "./sql", 24, OURS).findings
    assert (found.code, found.severity) == ("rank_rounded", "note")
    assert "512" in str(found.hint)
    assert launch(route(), "sql", "./sql", 32, OURS).findings == ()


def test_a_rank_above_every_limit_is_an_error_and_no_limit() -> None:
    found = launch(route(), "sql", "./sql", 513, OURS)
    assert [(one.code, one.severity) for one in found.findings] == [("rank_too_large", "error")]
    assert found.max_rank is None
    assert "--max-lora-rank" not in found.argv


def test_an_unknown_rank_sets_no_limit() -> None:
    found = launch(route(), "sql", "./sql", None, OURS)
    assert found.max_rank is None
    assert "--max-lora-rank" not in found.argv
    assert [(one.code, one.severity) for one in found.findings] == [("rank_unknown", "warning")]
    assert "none above 16" in found.findings[0].message, "vLLM's own limit"
    assert launch(route("acme/m", "sglang"), "sql", "./sql", None, OURS).findings == (), "it reads the adapter's"


def test_a_repository_of_files_is_fetched_by_its_name() -> None:
    base = NamedBase("acme/m-GGUF", "acme/m", format="gguf", repository="acme/m-GGUF")
    found = launch(route_of(base, "llamacpp", TABLE, OURS), "sql", "sql.gguf", None, OURS)
    assert found.argv == ("llama-server", "--hf-repo", "acme/m-GGUF", "--lora", "sql.gguf")


def test_a_named_source_is_what_is_loaded() -> None:
    found = launch(route("acme/m"), "sql", "./sql", None, OURS, source="./base")
    assert found.argv[2] == "./base"
    assert json.loads(found.argv[-1])["base_model_name"] == "./base"
    files = launch(route("acme/m", "llamacpp"), "sql", "sql.gguf", None, OURS, source="base.gguf")
    assert files.argv[1:3] == ("--model", "base.gguf")


def test_native_calls_need_their_parser_where_one_is_known() -> None:
    known = route("acme/m", tool_call_parser="hermes")
    parser = ("--enable-auto-tool-choice", "--tool-call-parser", "hermes")
    assert launch(known, "sql", "./sql", 16, OURS, parser=True).argv[-3:] == parser
    assert "hermes" not in launch(known, "sql", "./sql", 16, OURS).argv
    assert "--tool-call-parser" not in launch(route("acme/m"), "sql", "./sql", 16, OURS, parser=True).argv
    elsewhere = route("acme/m", "tgi", tool_call_parser="hermes")
    assert "hermes" not in launch(elsewhere, "sql", "./sql", 16, OURS, parser=True).argv


def test_the_origins_launcher_with_the_raw_rank() -> None:
    base = replace(route("gemma-4-e4b-it", dialect=HARN), selector="local-gemma4-e4b")
    found = launch(base, "tools", "./a", 24, HARN)
    assert found.argv == (
        "harn", "local", "launch", "local-gemma4-e4b", "--provider", "vllm", "--model-source", "gemma-4-e4b-it",
        "--lora-adapter", "tools=./a", "--max-lora-rank", "24",
    )  # fmt: skip
    assert (found.max_rank, found.findings) == (24, ())


def test_the_origins_launcher_loads_what_the_adapter_declares() -> None:
    found = launch(route(dialect=HARN), "tools", "./a", None, HARN, source="google/gemma-4-e4b-it")
    assert found.argv[6:8] == ("--model-source", "google/gemma-4-e4b-it")
    assert "--max-lora-rank" not in found.argv


@pytest.mark.parametrize("at", ["llamacpp", "sglang", "mlx", "tgi", "ollama", "openai", "local", "somebody"])
def test_the_origins_launcher_starts_no_other_runtime_with_adapters(at: str) -> None:
    assert launch(route(at=at, dialect=HARN), "tools", "./a", 16, HARN).argv == ()


def test_a_rank_limit_without_a_list_takes_any_rank() -> None:
    runtime = provider(
        lora_modules_arg="--lora", lora_modules_value_format="name_path", max_lora_rank_arg="--rank", command=("serve",)
    )
    found = launch(replace(route("acme/m"), runtime=runtime), "sql", "./sql", 1000, OURS)
    assert found.argv == ("serve", "acme/m", "--rank", "1000", "--lora", "sql=./sql")


@pytest.mark.parametrize(
    ("value_format", "value"),
    [("name_path", "sql=./sql"), ("path", "./sql"), ("json_with_base_model", VALUE)],
)
def test_an_adapter_behind_its_flag(value_format: str, value: str) -> None:
    runtime = provider(lora_modules_arg="--lora", lora_modules_value_format=value_format)
    assert adapter_value(runtime, "sql", "./sql", "acme/m") == value


HUB = HubReference("acme/sql", "v1")


@pytest.mark.parametrize(
    ("at", "value", "code", "called"),
    [
        ("tgi", "acme/sql@v1", "name_by_id", "acme/sql"),
        ("vllm", '{"name":"sql","path":"acme/sql","base_model_name":"acme/m"}', "revision_not_served", None),
        ("sglang", "sql=acme/sql", "revision_not_served", None),
        ("llamacpp", None, "hub_adapter_refused", None),
        ("mlx", None, "hub_adapter_refused", None),
    ],
)
def test_an_adapter_of_the_hub(at: str, value: str | None, code: str, called: str | None) -> None:
    found = launch(route("acme/m", at), "sql", "acme/sql@v1", 16, OURS, hub=HUB)
    assert (found.argv[-1] if found.argv else None, found.called) == (value, called)
    (told,) = [one for one in found.findings if one.code == code]
    assert "hf download acme/sql --revision v1 --local-dir sql" in str(told.hint)


def test_the_newest_of_a_repository_needs_no_word_about_its_revision() -> None:
    newest = HubReference("acme/sql")
    assert launch(route("acme/m"), "sql", "acme/sql", 16, OURS, hub=newest).findings == ()
    assert launch(route("acme/m", "tgi"), "acme/sql", "acme/sql", 16, OURS, hub=newest).findings == ()


@pytest.mark.parametrize(
    ("at", "name", "path", "codes"),
    [
        ("tgi", "sql", "./a=b", ["path_invalid"]),
        ("tgi", "sql@1", "./a,b", ["name_invalid", "path_invalid"]),
        ("tgi", "sql", "./a", []),
        ("llamacpp", "sql@1", "./a@b=c.gguf", []),
        ("llamacpp", "sql", "./a,b.gguf", ["path_invalid"]),
        ("llamacpp", "sql", './a"b.gguf', ["path_invalid"]),
        ("vllm", "sql@1", './a,"b=c', []),
        ("sglang", "sql@1", "./a=b,c", []),
        ("mlx", "sql", "./a,b", ["launch_caveat"]),
    ],
)
def test_what_cannot_stand_behind_a_flag(at: str, name: str, path: str, codes: list[str]) -> None:
    found = launch(route("acme/m", at), name, path, 16, OURS)
    assert [one.code for one in found.findings] == codes
    assert bool(found.argv) is not any(one.severity == "error" for one in found.findings)


def test_mlx_may_serve_the_base_alone() -> None:
    (told,) = launch(route("acme/m", "mlx"), "sql", "./sql", 16, OURS).findings
    assert "0.32.0" in told.message


@pytest.mark.parametrize(
    ("text", "repository", "revision"),
    [
        ("acme/sql", "acme/sql", None),
        (" acme/sql@v1.2 ", "acme/sql", "v1.2"),
        ("acme/sql@refs/pr/1", "acme/sql", "refs/pr/1"),
        ("https://huggingface.co/acme/sql", "acme/sql", None),
        ("https://huggingface.co/acme/sql/", "acme/sql", None),
        ("https://huggingface.co/acme/sql/tree/v1", "acme/sql", "v1"),
        ("https://huggingface.co/acme/sql/blob/v1/adapter_config.json?x=1#L3", "acme/sql", "v1"),
        ("hf.co/acme/sql", "acme/sql", None),
        ("hf://acme/sql@v1", "acme/sql", "v1"),
        ("hf:acme/sql", "acme/sql", None),
    ],
)
def test_spellings_of_a_repository(text: str, repository: str, revision: str | None) -> None:
    assert hub_reference(text) == HubReference(repository, revision)


@pytest.mark.parametrize(
    "text", ["sql", "./acme/sql", "/acme/sql", "a/b/c", "acme/", "acme/sql@", "s3://acme/sql", "../x"]
)
def test_what_names_no_repository(text: str) -> None:
    assert hub_reference(text) is None
    assert is_address(text) is text.startswith("s3:")
