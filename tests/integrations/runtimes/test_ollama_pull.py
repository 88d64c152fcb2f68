from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reconciler.errors import Corrupt, OutOfSpace, OutsideError, Refused, Unreachable
from reconciler.integrations.runtimes.ollama_api import PullLine
from reconciler.integrations.runtimes.ollama_pull import WHOLE_MODEL, Ledger, Patience, pull_failure
from tests.doubles.ollama_model import packed, tiny_gguf

MODEL = packed(tiny_gguf(5000))
ARTIFACT = MODEL.registry_artifact("registry.ollama.ai", "library", "tiny", "1b")


@pytest.mark.parametrize(
    ("text", "error", "code"),
    [
        ("pull model manifest: file does not exist", Refused, "not-found"),
        ("pull model manifest: 404: manifest unknown", Refused, "not-found"),
        ("unauthorized: access denied", Refused, "unauthorised"),
        ("pull model manifest: 403: gated", Refused, "unauthorised"),
        (
            "pull model manifest: 412: \n\nThe model you are pulling requires a newer version of Ollama.",
            Refused,
            "unsupported",
        ),
        ("pull model manifest: 501: not implemented", Refused, "unsupported"),
        ("this model requires MLX support, which is not available", Refused, "unsupported"),
        ("http: no Location header in response", Refused, "not-installable"),
        ('pull model manifest: 400: {"error":"sharded GGUF"}', Refused, "not-installable"),
        ("http: server gave HTTP response to HTTPS client", Refused, "refused"),
        ("tls: failed to verify certificate: x509: unknown authority", Refused, "refused"),
        ("digest mismatch, file must be downloaded again: want sha256:a, got sha256:b", Corrupt, "corrupt"),
        ("write /m/blobs/sha256-x-partial: no space left on device", OutOfSpace, "out-of-space"),
        ("max retries exceeded: unexpected EOF", Unreachable, "unreachable"),
    ],
)
def test_a_failure_is_understood_by_its_text(text, error, code):
    failure = pull_failure(text, "tiny:1b")
    assert type(failure) is error
    assert failure.code == code
    assert failure.hint
    assert "tiny:1b" in failure.message


@pytest.mark.parametrize(
    "text",
    [
        "pull model manifest: Get https://registry.ollama.ai: dial tcp: lookup registry.ollama.ai: no such host",
        "pull model manifest: 502: upstream not found",
        "pull model manifest: 429: too many requests",
        "pull model manifest: Get: EOF",
        "lookup: host not found",
    ],
)
def test_changed_what_is_transient_stays_retryable_where_the_origin_gave_up(text):
    """The origin took every text with "manifest" or "not found" for final (lifecycle 18.4, point 43)."""
    assert pull_failure(text, "tiny:1b").retryable


@given(st.text(max_size=400))
def test_any_text_becomes_one_of_our_errors(text):
    failure = pull_failure(text, "tiny:1b")
    assert isinstance(failure, OutsideError)
    assert len(failure.message) < 400


lines = st.builds(
    PullLine,
    status=st.just("pulling"),
    digest=st.sampled_from([blob.digest for blob in MODEL.blobs] + ["sha256:" + "0" * 64, WHOLE_MODEL, ""]),
    total=st.integers(0, 10**12) | st.none(),
    completed=st.integers(0, 10**12),
)


@given(st.lists(lines))
def test_progress_never_falls_and_never_passes_the_total(said):
    ledger, before = Ledger(ARTIFACT), 0
    for line in said:
        ledger.add(line)
        assert before <= ledger.done <= ledger.total == MODEL.size
        before = ledger.done


def test_every_layer_complete_is_the_total():
    ledger = Ledger(ARTIFACT)
    assert all(ledger.add(PullLine(digest=blob.digest, completed=blob.size)) for blob in MODEL.blobs)
    assert ledger.done == ledger.total
    assert not ledger.add(PullLine(digest=MODEL.weights.digest, completed=1))


def test_a_layer_that_the_manifest_does_not_name_is_strange_and_a_hub_models_template_is_not():
    strange = PullLine(digest="sha256:" + "0" * 64, total=900)
    assert Ledger(ARTIFACT).is_stranger(strange)
    assert not Ledger(ARTIFACT).is_stranger(PullLine(digest=MODEL.weights.digest, total=MODEL.weights.size))
    assert not Ledger(MODEL.hub_artifact("o/r")).is_stranger(strange)


def test_a_first_layer_as_large_as_a_hub_models_weights_is_other_weights():
    ledger, strange = Ledger(MODEL.hub_artifact("o/r")), PullLine(digest="sha256:" + "0" * 64, total=MODEL.weights.size)
    assert ledger.is_stranger(strange)
    ledger.add(PullLine(digest=MODEL.weights.digest, total=MODEL.weights.size))
    assert not ledger.is_stranger(strange), "a projector that the plan does not name"


def test_pauses_double_up_to_the_longest():
    patience = Patience(idle_seconds=1, retries=9)
    assert [patience.pause_seconds(failures) for failures in (0, 1, 2, 3, 6, 60)] == [0.5, 1, 2, 4, 30, 30]
