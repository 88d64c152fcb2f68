"""The command that serves a base with an adapter, by provider, dialect and rank."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest

from reconciler.lora.dialect import HARN, OURS
from reconciler.lora.launch import adapter_value, launch
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
    assert (found.max_rank, found.findings) == (None, ())
    assert "--max-lora-rank" not in found.argv


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
