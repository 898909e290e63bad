"""Signs of an unhealthy run: gradients that vanish, samples that collapse, NaN or infinite values."""

from __future__ import annotations

import math
from collections.abc import Mapping

from pipeline.contract import Record
from pipeline.training.settings import Health


def warnings(record: Record, settings: Health) -> list[str]:
    """What a person should know about this tick."""
    found: list[str] = []
    for name, number in record.items():
        if name.endswith("/gradient_norm") and isinstance(number, float) and number < settings.vanishing_norm:
            found.append(f"{name} is {number:.1e}: the gradient has vanished")
    return found


def collapse(scores: Mapping[str, float], examples_seen: int, settings: Health) -> str | None:
    """Why the samples count as collapsed, or None: by feature spread, or by recall."""
    if examples_seen < settings.grace:
        return None
    spread, recall = scores.get("feature_spread"), scores.get("recall")
    if spread is not None and (not math.isfinite(spread) or spread < settings.collapse_spread):
        return f"the samples' feature variance is {spread:.3f} of the data's (limit {settings.collapse_spread})"
    if recall is not None and recall < settings.collapse_recall:
        return f"recall is {recall:.3f} (limit {settings.collapse_recall})"
    return None
