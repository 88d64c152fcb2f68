from __future__ import annotations

from reconciler.integrations.runtimes.host_load import busy_note


def test_a_host_with_other_work_says_so_in_a_sentence() -> None:
    assert "load 2.0 on 2 processors" in busy_note(2.0, 2)[0]
    assert busy_note(0.9, 2) == ()
    assert isinstance(busy_note(), tuple), "as the system says"
