"""Whether a candidate may become champion: a pure decision on two score records. Imports no MLflow."""

from __future__ import annotations

from dataclasses import dataclass

from pipeline.formats.report import ScoreRecord, unlike
from pipeline.params.register import RegisterSettings


@dataclass(frozen=True)
class Decision:
    """Allowed or refused, with the reasons a person reads, both records among them."""

    allowed: bool
    reasons: tuple[str, ...]

    @property
    def text(self) -> str:
        return "\n".join(self.reasons)


def decide(candidate: ScoreRecord | None, champion: ScoreRecord | None, settings: RegisterSettings) -> Decision:
    """Allowed where the candidate's score is not worse than the champion's by more than the tolerance.

    A record that is missing, or measured by another protocol, decides nothing: refused.
    """
    missing = [name for name, record in (("candidate", candidate), ("champion", champion)) if record is None]
    if candidate is None or champion is None:
        return Decision(False, tuple(f"the {name} has no record of '{settings.metric}'" for name in missing))
    differing = unlike(candidate, champion)
    if differing:
        return Decision(
            False,
            (
                f"the two were measured by unlike protocols (candidate | champion): {'; '.join(differing)}",
                *described(candidate, champion),
            ),
        )
    worse_by = _worse_by(candidate, champion, settings)
    if worse_by > settings.tolerance:
        allowance = f", more than the tolerance of {settings.tolerance:g}" if settings.tolerance else ""
        verdict = f"the candidate's {settings.metric} is worse by {worse_by:g}{allowance}{_within(candidate, champion)}"
        return Decision(False, (verdict, *described(candidate, champion)))
    verdict = "equals the champion's" if worse_by == 0 else f"is {'better' if worse_by < 0 else 'worse'}"
    by = f" by {abs(worse_by):g}" if worse_by else ""
    within = f", within the tolerance of {settings.tolerance:g}" if worse_by > 0 else ""
    return Decision(True, (f"the candidate's {settings.metric} {verdict}{by}{within}", *described(candidate, champion)))


def described(candidate: ScoreRecord | None, champion: ScoreRecord | None) -> tuple[str, str]:
    """Both records, a line each."""
    return f"candidate: {_line(candidate)}", f"champion:  {_line(champion)}"


def _worse_by(candidate: ScoreRecord, champion: ScoreRecord, settings: RegisterSettings) -> float:
    difference = candidate.value - champion.value
    return difference if settings.lower_is_better else -difference


def _within(candidate: ScoreRecord, champion: ScoreRecord) -> str:
    """Says so where the difference is no larger than what seeds alone make."""
    spread = max(candidate.spread or 0.0, champion.spread or 0.0)
    if spread and abs(candidate.value - champion.value) <= spread:
        return f" (less than the spread over seeds, {spread:g}: perhaps by chance)"
    return ""


def _line(record: ScoreRecord | None) -> str:
    if record is None:
        return "no record"
    spread = "" if record.spread is None else f" ± {record.spread:g}"
    against = "" if record.split is None else f" against {record.n_real} of {record.split}"
    weights = "averaged weights" if record.ema else "raw weights"
    return (
        f"{record.name} {record.value:g}{spread}: {record.n_fake} samples{against}, {record.repeats} seeds from"
        f" {record.seed}, {weights}, truncation {record.truncation:g}, resize {record.resize},"
        f" extractor {record.extractor.name} {record.extractor.sha256[:12]}"
    )
