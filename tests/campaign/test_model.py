"""Lives of a machine in any order of events: on stores, on the double of Ollama, and few on a real llama-server."""

from __future__ import annotations

import os

import pytest
from hypothesis import HealthCheck, settings
from hypothesis.stateful import run_state_machine_as_test

from tests.campaign.adapter_life import AdaptedOllamaLife, AdaptedRouterLife
from tests.campaign.life import Life, OllamaLife, RouterLife

EXAMPLES = int(os.environ.get("LOCALMODELS_CAMPAIGN_EXAMPLES", "12"))


def lived(life: type[Life], examples: int) -> None:
    run_state_machine_as_test(
        life,
        settings=settings(
            max_examples=max(2, examples),
            stateful_step_count=12,
            deadline=None,
            suppress_health_check=list(HealthCheck),
            derandomize=bool(os.environ.get("CI")),
        ),
    )


def test_whatever_happens_to_a_machine_the_books_balance_and_nothing_foreign_is_lost() -> None:
    lived(Life, EXAMPLES)


@pytest.mark.e2e
@pytest.mark.parametrize("life", [OllamaLife, RouterLife], ids=["ollama", "llama-server"])
def test_whatever_happens_to_a_model_server_the_books_balance_too(life: type[Life]) -> None:
    lived(life, EXAMPLES // 4)


@pytest.mark.e2e
@pytest.mark.parametrize("life", [AdaptedOllamaLife, AdaptedRouterLife], ids=["ollama", "llama-server"])
def test_whatever_happens_to_adapters_they_are_ours_or_theirs_and_have_their_files(life: type[Life]) -> None:
    lived(life, EXAMPLES // 6)
