from __future__ import annotations

from typing import get_args

from reconciler.engine.explain import REMEDIES
from reconciler.planning.option import RejectionReason
from reconciler.planning.trust import PolicyReason


def test_every_rejection_has_a_line_in_the_table_of_remedies() -> None:
    reasons = {*get_args(PolicyReason), *get_args(RejectionReason)} - {PolicyReason}
    assert set(REMEDIES) == reasons
