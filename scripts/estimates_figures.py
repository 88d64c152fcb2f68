"""What the parts of ``docs/estimates.md`` have in common: who is compared, from how many rows on, and how a share reads."""

from __future__ import annotations

import statistics
from collections.abc import Sequence

from score_peers_llmfit import VERSION as LLMFIT

WHICHLLM = "0.5.21"
"""The version that the page is about; llmfit's stands with its formula."""
PEERS = f"whichllm {WHICHLLM} | llmfit {LLMFIT}"
"""Their columns in a table."""
FEW = 20
"""Groups with fewer rows are shown, not judged."""


def error(ratios: Sequence[float]) -> float:
    """Median of the absolute relative error."""
    return statistics.median(abs(ratio - 1) for ratio in ratios)


def percent(share: float, digits: int = 1) -> str:
    """``12.3 %``."""
    return f"{share:.{digits}%}".replace("%", " %")
