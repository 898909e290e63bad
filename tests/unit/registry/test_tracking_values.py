from __future__ import annotations

import json
from pathlib import Path

import pytest

from pipeline.registry import tracking


def test_long_values_are_cut_with_their_hash_behind() -> None:
    assert tracking.cut("short", 10) == "short"
    cut, other = tracking.cut("x" * 99 + "a", 60), tracking.cut("x" * 99 + "b", 60)
    assert len(cut) == 60
    assert cut.startswith("xxx")
    assert cut != other


def test_scores_leave_out_what_is_undefined(tmp_path: Path) -> None:
    (tmp_path / "metrics.json").write_text(json.dumps({"a": 1, "b": 0.5, "c": None, "d": "words", "e": True}))
    assert tracking.scores(tmp_path) == {"a": 1.0, "b": 0.5}


def test_a_missing_report_names_who_makes_it(tmp_path: Path) -> None:
    from pipeline.errors import UserError

    with pytest.raises(UserError, match="the evaluate stage makes it"):
        tracking.scores(tmp_path)
