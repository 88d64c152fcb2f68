"""What hosts and names in the file mean."""

from __future__ import annotations

import pytest

from reconciler.domain.desired_document import Block, Long, Metadata, Plain, Settings
from reconciler.domain.desired_rules import broken_rules, document_name, host_of, is_loopback
from reconciler.domain.names import is_ollama_name


@pytest.mark.parametrize(
    ("endpoint", "local"),
    [
        ("http://127.0.0.1:11434", True), ("http://127.1.2.3", True), ("http://LocalHost/", True), ("http://[::1]:80/x", True),
        ("http://ollama.localhost", True), ("http://0.0.0.0:1", True), ("http://10.0.0.5", False), ("http://box.lan", False),
        ("http://localhost.evil.example", False), ("http://[fe80::1]", False), ("http://127.example", False),
    ],
)  # fmt: skip
def test_loopback_is_this_host(endpoint: str, local: bool) -> None:
    assert is_loopback(endpoint) is local


def test_the_host_of_a_url_has_no_port() -> None:
    assert host_of("https://Big.lan:11434/x") == "big.lan"


@pytest.mark.parametrize(
    ("model", "ollama"),
    [("qwen3", True), ("qwen3:8b", True), ("hf.co/Qwen/X:Q4_K_M", True), ("Qwen/X", False), ("me/x:tag", True)],
)
def test_a_tag_or_a_host_or_a_bare_name_is_ollamas(model: str, ollama: bool) -> None:
    assert is_ollama_name(model) is ollama


def test_the_name_comes_from_either_form() -> None:
    assert document_name(Plain(localModels=Block(name="a"))) == "a"
    assert document_name(Plain(localModels=Block())) == "default"
    metadata = Metadata(name="b")
    assert (
        document_name(
            Long(apiVersion="localmodels.dev/v1alpha1", kind="LocalModels", metadata=metadata, spec=Settings())
        )
        == "b"
    )


def test_an_empty_block_breaks_no_rule() -> None:
    assert list(broken_rules(Block())) == []
