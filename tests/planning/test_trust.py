"""Whose a registry's models are: a registry that nobody named stands for itself, whatever namespace it claims."""

from __future__ import annotations

import pytest

from reconciler.planning.trust import registry_organisation


@pytest.mark.parametrize("namespace", ["library", "Qwen", "acme"])
def test_a_registry_that_nobody_named_cannot_claim_an_organisation(namespace: str) -> None:
    assert registry_organisation("evil.example", namespace) == "evil.example"
    assert registry_organisation("registry.ollama.ai.evil.example", namespace, trusted="own.example") != namespace
    expected = "ollama-library" if namespace == "library" else namespace
    assert registry_organisation("own.example", namespace, trusted="own.example") == expected
    assert registry_organisation("registry.ollama.ai", namespace) == expected
