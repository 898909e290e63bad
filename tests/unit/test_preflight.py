"""What the stages check of scores before any work."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from inceptions import random_state
from safetensors.torch import save_file

from pipeline.errors import SettingsError
from pipeline.networks.architectures.inception import fold, shapes
from pipeline.preflight import scores
from pipeline.storage.files import sha256_file


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("weights") / "weights.safetensors"
    state = fold(random_state())
    save_file({name: state[name] for name in shapes(64)}, path)
    return path


def params(weights: Path, metric: str) -> Any:
    extractor = {"name": "inception", "weights": str(weights), "tap": 64}
    return SimpleNamespace(reference=SimpleNamespace(extractor=extractor), register=SimpleNamespace(metric=metric))


def test_a_published_name_needs_published_weights(weights: Path) -> None:
    scores.metric(params(weights, "frechet_inception"))
    scores.metric(params(weights, "precision"))
    with pytest.raises(SettingsError, match="not the published ones, so that 'fid_64' is called 'frechet_inception'"):
        scores.metric(params(weights, "fid_64"))


def test_a_reference_of_other_weights_is_noticed(weights: Path, tmp_path: Path) -> None:
    def measured(sha256: str) -> Any:
        return SimpleNamespace(card=SimpleNamespace(report={"weights_sha256": sha256}))

    own = params(weights, "frechet_inception")
    scores.same_weights(own, measured(sha256_file(weights)))
    with pytest.raises(SettingsError, match=r"measured with the weights ababab.*dvc repro -f -s reference"):
        scores.same_weights(own, measured("ab" * 32))
    # Where the file is gone, the artefact's own weights serve.
    scores.same_weights(params(tmp_path / "gone.safetensors", "frechet_inception"), measured("ab" * 32))
