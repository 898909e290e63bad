from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from measured_toys import Halves
from test_evaluate import publish

from pipeline.contract import LocalWorld
from pipeline.contract.moments import Moments
from pipeline.errors import UserError
from pipeline.metrics import frechet
from pipeline.scoring import reference as measuring
from pipeline.scoring.evaluate import evaluate
from pipeline.scoring.settings import EvaluateSettings, PathLengthSettings, ReferenceSettings
from pipeline.storage.files import sha256_file

EXTRACTOR = {"name": "random_projection", "dimension": 8}


def test_foreign_statistics_stand_for_train_in_the_distance_alone(
    tmp_path: Path, halves: tuple[Halves, Halves]
) -> None:
    path = tmp_path / "theirs.npz"
    np.savez(path, mu=np.ones(8), sigma=2 * np.eye(8))
    settings = ReferenceSettings(extractor=EXTRACTOR, statistics=str(path))
    reference = measuring.measure(settings, *halves, tmp_path / "reference", "ab" * 32)
    asked = EvaluateSettings(
        samples=64,
        repeats=1,
        metrics=[{"name": "frechet"}, {"name": "precision_recall"}],
        path_length=PathLengthSettings(samples=64, epsilon=0.01),
    )
    found = {each.name: each for each in evaluate(asked, reference, publish(tmp_path / "model"), LocalWorld()).records}
    distance, control = found["frechet_random_projection"], found["frechet_holdout"]
    assert (distance.split, distance.n_real, distance.real) == (None, None, sha256_file(path))
    assert "theirs.npz" in distance.note
    theirs = reference.statistics
    assert theirs is not None
    expected = frechet.distance(theirs, Moments.of(np.asarray(reference.features("holdout"))))
    assert control.value == pytest.approx(expected)
    assert (found["precision"].split, found["precision"].n_real) == ("train", 160)
    assert found["path_length_random_projection"].value > 0
    plain = measuring.measure(ReferenceSettings(extractor=EXTRACTOR), *halves, tmp_path / "plain", "ab" * 32)
    assert plain.key != reference.key
    assert plain.statistics is None


def test_statistics_of_another_dimension_are_refused_at_once(tmp_path: Path, halves: tuple[Halves, Halves]) -> None:
    np.savez(tmp_path / "theirs.npz", mu=np.ones(3), sigma=np.eye(3))
    settings = ReferenceSettings(extractor=EXTRACTOR, statistics=str(tmp_path / "theirs.npz"))
    with pytest.raises(UserError, match=r"reference\.statistics .* has 3 dimensions and the extractor 8"):
        measuring.measure(settings, *halves, tmp_path / "reference", "ab" * 32)
