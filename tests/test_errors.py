"""The error tree: codes, what can be retried, and what an error carries."""

from __future__ import annotations

import json

import pytest

from reconciler import errors
from reconciler.errors import OutsideError, ReconcilerError, Refused, Unreachable

KINDS = [kind for kind in vars(errors).values() if isinstance(kind, type) and issubclass(kind, ReconcilerError)]


def test_an_error_keeps_its_fields() -> None:
    error = Refused("no", code="gated", hint="ask", details={"target": "a"}, retry_after_seconds=3)
    assert (error.message, error.code, error.hint, error.details) == ("no", "gated", "ask", {"target": "a"})
    assert (str(error), error.retry_after_seconds, error.retryable) == ("no", 3, False)


def test_what_is_not_given_is_absent() -> None:
    error = Unreachable("down")
    assert (error.hint, error.details, error.retry_after_seconds) == (None, {}, None)
    assert error.code == "unreachable"


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_has_a_code_of_its_own_that_survives_json(kind: type[ReconcilerError]) -> None:
    error = kind("what happened")
    assert json.loads(json.dumps({"code": error.code, "details": error.details}))["code"] == kind.default_code
    assert sum(other.default_code == kind.default_code for other in KINDS) == 1


def test_the_cause_is_kept() -> None:
    cause = OSError("reset")
    with pytest.raises(Unreachable) as caught:
        raise Unreachable("lost") from cause
    assert caught.value.__cause__ is cause


def test_only_errors_of_the_outside_are_errors_of_the_outside() -> None:
    assert isinstance(Unreachable("x"), OutsideError)
    assert not isinstance(OSError("x"), OutsideError)
    assert not isinstance(errors.RecordError("x"), OutsideError)
