"""Several questions at once, each with an answer or the exception it ended in."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping
from typing import TypeVar

from reconciler.errors import Unreachable
from reconciler.integrations.hardware.edges import SHELL_TIMEOUT_SECONDS

T = TypeVar("T")


def concurrently(
    questions: Mapping[str, Callable[[], T]], *, timeout_seconds: float = SHELL_TIMEOUT_SECONDS + 1
) -> dict[str, T | Exception]:
    """Answers by name, in the order of the questions.

    Threads are daemons: a driver call that never returns costs its time limit and cannot keep the process alive.

    Args:
        questions: each runs in a thread of its own.
        timeout_seconds: for all of them together; what has no answer by then is ``Unreachable``.
    """
    answers: dict[str, T | Exception] = {}
    threads = [_started(name, question, answers) for name, question in questions.items()]
    deadline = time.monotonic() + timeout_seconds
    for thread in threads:
        thread.join(max(0.0, deadline - time.monotonic()))
    late = Unreachable(f"no answer within {timeout_seconds:g} s")
    seen = dict(answers)
    return {name: seen.get(name, late) for name in questions}


def _started(name: str, question: Callable[[], T], answers: dict[str, T | Exception]) -> threading.Thread:
    def answer() -> None:
        try:
            answers[name] = question()
        except Exception as error:  # noqa: BLE001 — handed to the caller, who decides
            answers[name] = error

    thread = threading.Thread(target=answer, name=f"hardware-{name}", daemon=True)
    thread.start()
    return thread
