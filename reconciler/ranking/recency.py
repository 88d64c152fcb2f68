"""How much an observation still says: it halves every nine months, and with every generation behind."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date

HALF_LIFE_MONTHS = 9.0
FLOOR = 0.05
LINEAGE_STEP = 0.6
DAYS_A_MONTH = 30.0


@dataclass(frozen=True, slots=True)
class Recency:
    """The weight of an observation's age."""

    age_months: float
    weight: float
    lineage_penalty_applied: bool


def parse_day(text: str) -> date | None:
    """The day an ISO date or time names; None where it names none. Never raises."""
    try:
        return date.fromisoformat(text.strip()[:10])
    except ValueError:
        return None


def recency(observed_at: date | None, today: date | None, generations_behind: int = 0) -> Recency:
    """Weight of an observation by its age: ``max(0.05, 0.5^(months / 9) × 0.6^generations)``, months of 30 days.

    A future date counts as today; an unknown one too. Source: the origin's ``recency.ts``; here the generations are
    really supplied, for models that inherit from their lineage.
    """
    days = (today - observed_at).days if observed_at is not None and today is not None else 0
    age = max(0.0, days / DAYS_A_MONTH)
    lineage = LINEAGE_STEP**generations_behind if generations_behind > 0 else 1.0
    return Recency(age, max(FLOOR, 0.5 ** (age / HALF_LIFE_MONTHS) * lineage), generations_behind > 0)
