from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from pipeline.contract import Family, Latent, LatentSpec, Networks, Player
from pipeline.contract.extractor import ExtractorIdentity
from pipeline.errors import UserError
from pipeline.extractors import none
from pipeline.sampling.samples import SampleSource
from pipeline.scoring.path_length import on_the_way, path_length, path_lengths
from pipeline.scoring.settings import PathLengthSettings
from pipeline.settings import Settings
from pipeline.types import Batch, DataSpec

SPEC = DataSpec("rows", (5,), dtype="float32")
MATRIX = torch.randn(3, 5, generator=torch.Generator().manual_seed(0))


class Linear(Family[Settings]):
    """x = zA: its path length is known."""

    paper = "none"

    def __init__(self, distribution: Any) -> None:
        super().__init__(Settings())
        self.latents_: LatentSpec = (Latent("z", (3,), distribution),)

    @property
    def latents(self) -> LatentSpec:
        return self.latents_

    def build(self, spec: DataSpec) -> dict[str, nn.Module]:
        return {}

    def players(self) -> tuple[Player, ...]:
        return ()

    def sample(
        self, networks: Networks, latents: Mapping[str, Tensor], condition: Batch, truncation: float = 1.0
    ) -> Tensor:
        return latents["z"].double() @ MATRIX.double()


def source(distribution: str) -> SampleSource:
    return SampleSource(Linear(distribution), {}, SPEC)


def test_a_linear_generator_s_is_its_matrix_s_norm() -> None:
    # x moves by ε (b − a)A; a, b uniform over (−1, 1): E ‖(b − a)A‖² = Var(b − a) ‖A‖² = ⅔ ‖A‖².
    settings = PathLengthSettings(samples=64 * 400, epsilon=1e-2, trim=0)
    found = path_lengths(source("uniform"), lambda x: x, settings, 0)
    expected = float(2 / 3 * (MATRIX**2).sum())
    assert len(found) == 64 * 400
    assert found.mean() == pytest.approx(expected, abs=4 * found.std() / np.sqrt(len(found)))


def test_the_step_does_not_matter_where_the_way_is_straight() -> None:
    values = [
        path_lengths(source("uniform"), lambda x: x, PathLengthSettings(samples=64, epsilon=epsilon), 3)
        for epsilon in (1e-1, 1e-2)
    ]
    np.testing.assert_allclose(values[0], values[1], rtol=1e-3)


def test_normal_latents_move_on_the_sphere() -> None:
    latent = Latent("z", (3,))
    a, b = torch.tensor([[1.0, 0, 0]]).expand(3, -1), torch.tensor([[0, 2.0, 0]]).expand(3, -1)
    found = on_the_way(latent, a, b, torch.tensor([0.0, 0.5, 1.0], dtype=torch.float64))
    assert found[0].tolist() == [1, 0, 0]
    assert found[1].tolist() == pytest.approx([0.5**0.5, 2 * 0.5**0.5, 0])
    assert found[2].tolist() == pytest.approx([0, 2, 0], abs=1e-6)
    alike = on_the_way(latent, a, a, torch.tensor([0.0, 0.5, 1.0], dtype=torch.float64))
    assert torch.allclose(alike, a)


class Plain(none.Extractor):
    """Features are the samples; rounded ones are far coarser than a step."""

    def features(self, x: Tensor) -> tuple[Tensor, Tensor | None]:
        return x, None


class Coarse(Plain):
    def features(self, x: Tensor) -> tuple[Tensor, Tensor | None]:
        return (x / 100).round(), None


def test_it_is_named_for_its_extractor_and_repeats() -> None:
    settings = PathLengthSettings(samples=128)
    who = ExtractorIdentity("classifier", "ab", 5)
    plain = Plain(none.Config())
    score = path_length(source("normal"), plain, who, settings, 0)
    assert (score.name, score.n_real, score.n_fake, score.split) == ("path_length_classifier", 0, 128, None)
    assert score == path_length(source("normal"), plain, who, settings, 0)
    assert score.value != path_length(source("normal"), plain, who, settings, 1).value
    untrimmed = path_length(source("normal"), plain, who, PathLengthSettings(samples=128, trim=0), 0)
    assert untrimmed.value > score.value


def test_what_cannot_be_walked_or_seen_is_refused() -> None:
    who = ExtractorIdentity("classifier", "ab", 5)
    plain = Plain(none.Config())
    coarse = Coarse(none.Config())
    with pytest.raises(UserError, match="'z' jumps"):
        path_length(source("bits"), plain, who, PathLengthSettings(), 0)
    with pytest.raises(UserError, match="raise its epsilon"):
        path_length(source("normal"), coarse, who, PathLengthSettings(samples=64), 0)
