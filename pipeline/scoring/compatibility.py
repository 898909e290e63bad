"""Whether two inputs fit each other and a metric: every refusal of `zerosum score`, in a sentence, before any work."""

from __future__ import annotations

from collections.abc import Set
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from pipeline.contract.extractor import ExtractorIdentity
from pipeline.contract.metric import Need
from pipeline.errors import UserError
from pipeline.score_names import extractor_class
from pipeline.scoring.bound_extractor import BoundExtractor
from pipeline.scoring.inputs import GivenFeatures, GivenStatistics, ImageSet, Input, classes, labels_of, size

TRUSTED = "taken on trust to be of this extractor and resizing"


@dataclass(frozen=True)
class Pair:
    """Two opened inputs and who looks at them; alone: a single metric was asked for."""

    real: Input | None
    fake: Input
    viewer: BoundExtractor | None
    alone: bool

    @property
    def sides(self) -> dict[str, Input | None]:
        """By the options that named them."""
        return {"--real": self.real, "--fake": self.fake}


def fits(pair: Pair, identity: ExtractorIdentity) -> list[str]:
    """What every record has to say of the two sides.

    Raises:
        UserError: for sides of unlike dimension or protocol, or of one example.
    """
    warnings: list[str] = []
    for where, side in pair.sides.items():
        if side is None:
            continue
        if isinstance(side, ImageSet | GivenFeatures) and size(side) < 2:
            raise UserError(f"{where} {side.name} holds {size(side)}; statistics need at least 2")
        wide = dimension(side)
        if wide is not None and wide != identity.dimension:
            who = f"the extractor '{identity.name}' gives" if pair.viewer else "the other side has"
            raise UserError(
                f"{where} {side.name} has {wide} dimensions, and {who} {identity.dimension}: these are statistics of "
                "another extractor"
            )
        if isinstance(side, GivenStatistics) and pair.viewer is not None:
            _agrees(where, side, pair.viewer)
        if isinstance(side, GivenStatistics | GivenFeatures) and pair.viewer is not None:
            warnings.append(f"{where} is {Path(side.name).name}, {TRUSTED}")
        if isinstance(side, ImageSet):
            warnings += side.said
    return warnings


def _agrees(where: str, side: GivenStatistics, viewer: BoundExtractor) -> None:
    """What a file says of its extractor is held against the one that is used."""
    mine = {"extractor": viewer.identity.name, "tap": str(viewer.identity.tap), "resize": viewer.resize}
    for key, said in side.about.items():
        if mine[key] != said:
            raise UserError(f"{where} {side.name}: its statistics are of another {key}, {said} and not {mine[key]}")


def hindrance(needs: Set[Need], pair: Pair, has_holdout: bool) -> str | None:
    """Why a metric of these needs cannot be had; None where it can."""
    if "pairs" in needs:
        return "it compares samples with the truths of their inputs, which the stage evaluate alone has"
    if "captions" in needs:
        return "it draws pictures of held-out captions, which the stage evaluate alone has"
    if "cycles" in needs:
        return "it sends held-out images there and back, which the stage evaluate alone does"
    if "label_maps" in needs:
        return "it compares samples with the label maps they are made from, which the stage evaluate alone has"
    if "examples" in needs:
        return "it looks at the examples themselves, which the evaluate stage hands it"
    if "logits" in needs:
        return _no_predictions(needs, pair)
    if pair.real is None:
        return "it compares with reals, and there is no --real"
    if "columns" in needs and (pair.viewer is None or not _as_columns(pair.viewer)):
        return "it needs rows of a table as they are: give shards, a reference or a model of one, and --extractor rows"
    if "labels" in needs and (absent := _absent(pair)):
        return f"it needs the reals' classes on both sides, and the samples have no '{absent}'"
    if "holdout" in needs and not has_holdout:
        return "it needs a holdout beside the reals: give --real a folder of shards, or a reference"
    for where, side in pair.sides.items():
        assert side is not None  # both are there
        if isinstance(side, GivenStatistics) and needs & {"features", "labels"}:
            return f"it needs the features themselves, and {where} {side.name} holds mean and covariance alone"
        if isinstance(side, GivenFeatures) and side.rows is None:
            return f"it needs features, and {where} {side.name} holds class predictions alone"
        if "labels" in needs and labels_of(side) is None:
            return f"it needs labels, and {where} {side.name} has none"
    return None


def _as_columns(viewer: BoundExtractor) -> bool:
    """Whether features are rows of a table whose columns are known."""
    return bool(viewer.spec.columns) and extractor_class(viewer.identity.name).verbatim


def _no_predictions(needs: Set[Need], pair: Pair) -> str | None:
    fake = pair.fake
    if isinstance(fake, GivenFeatures):
        if fake.predicted is None and not pair.alone:
            return (
                f"{fake.name} holds one table; where its rows are logits or probabilities, ask for this metric "
                "alone, or put them in an .npz as `logits` or `probabilities` beside `features`"
            )
        return _no_labels(fake) if "labels" in needs else None
    if isinstance(fake, GivenStatistics) or pair.viewer is None:
        return f"it needs class predictions, and {fake.name} holds mean and covariance alone"
    identity = pair.viewer.identity
    seen_by = extractor_class(identity.name)
    if (reason := seen_by.without_logits(identity)) is not None:
        return reason
    if "classes" in needs and (seen_by.predicts != "the data's classes" or labels_of(fake) is None):
        return "it needs a conditional model and the classifier of its classes"
    return _no_labels(fake) if "labels" in needs else None


def _no_labels(fake: Input) -> str | None:
    """Why the labels of samples cannot be compared with what they are recognised as."""
    labels = labels_of(fake)
    if labels is None:
        return "it needs labels, and --fake has none"
    if (labels < 0).any():
        return f"it needs a class of the reals for each sample, and {int((labels < 0).sum()):,} have none"
    return None


def _absent(pair: Pair) -> str | None:
    """The first class that occurs among the reals and that the samples don't have."""
    reals, fakes, labels = classes(pair.real), classes(pair.fake), labels_of(pair.real)
    if reals is None or fakes is None or labels is None:
        return None
    occurring = [reals[index] for index in np.unique(labels[labels >= 0])]
    return next((name for name in occurring if name not in fakes), None)


def dimension(side: Input | None) -> int | None:
    """The dimension of what is ready; None for what is yet to be seen."""
    if isinstance(side, GivenStatistics):
        return side.gaussian.dimension
    if isinstance(side, GivenFeatures) and side.rows is not None:
        return side.rows.shape[1]
    return None
