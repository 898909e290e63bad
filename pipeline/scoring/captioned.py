"""Samples of held-out captions, and how well they fit these and other captions: for designs that read sentences."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, cast

import numpy as np
import torch
from numpy.typing import NDArray

from pipeline import captions, plugins
from pipeline.contract.extractor import AnyExtractor
from pipeline.contract.metric import CaptionChoice, Captions
from pipeline.contract.text_encoder import AnyTextEncoder, TextEncoder
from pipeline.errors import UserError
from pipeline.extractors._shared import extract
from pipeline.formats.reference import Reference
from pipeline.randomness import choose
from pipeline.sampling.samples import CHUNK, SampleSource, stored
from pipeline.scoring.extract import ShardExamples, ShardInputs
from pipeline.scoring.text_choice import ROOM
from pipeline.threads import fixed_threads

Table = NDArray[np.float64]

FITTED = 8192  # training pairs at most, of a regression
RIDGE = 0.01  # added to the variances of the features, which are 1
PIECE = 256


@dataclass(frozen=True)
class Judge:
    """Who tells how well pictures fit captions. fits: features (n, d), stored captions (K, …) → (n, K)."""

    fits: Callable[[Table, NDArray[Any]], Table]
    said: str
    settings: dict[str, Any]


def captions_of(source: SampleSource, reference: Reference, seed: int, truncation: float = 1.0) -> Captions | None:
    """The samples of a seed of a model that reads captions, each of the first caption of a held-out picture.

    None for other models, or where nobody looks at pictures. Sample i is that of the same number anywhere else, and
    every rank makes all of them.
    """
    inputs, encoder = source.inputs, encoder_of(source)
    if encoder is None or reference.blind or not isinstance(inputs, ShardInputs) or not len(inputs.examples):
        return None

    def choice(limit: int, candidates: int) -> CaptionChoice:
        field = encoder.reads
        said = np.concatenate([inputs(numbers)[field] for numbers in _numbers(min(limit, len(inputs.examples)))])
        known, right = choices(said, candidates)
        rows = np.flatnonzero(_known_first(said, known))
        judge = judge_of(encoder, reference, inputs)
        extractor = reference.extractor()
        with fixed_threads(reference.card.threads):
            made = _features(source, extractor, seed, truncation, len(said))[rows]
            real = np.asarray(reference.features("holdout")[rows], dtype=np.float64)
            return CaptionChoice(
                judge.fits(made, known), judge.fits(real, known), right[rows], judge.said, judge.settings
            )

    return Captions(choice)


def encoder_of(source: SampleSource) -> AnyTextEncoder | None:
    """The model's own text encoder."""
    found = [each for each in source.networks.values() if isinstance(each, TextEncoder)]
    return cast(AnyTextEncoder, found[0]) if found else None


def choices(said: NDArray[Any], count: int) -> tuple[NDArray[Any], NDArray[np.bool_]]:
    """The first `count` different captions among the first of each picture, and which are a picture's own, (n, K).

    said (n, K', …): of each picture its captions as they are stored, a row of zeros for none.
    """
    firsts: dict[bytes, NDArray[Any]] = {}
    for mine in said:
        if len(firsts) < count:
            firsts.setdefault(mine[0].tobytes(), mine[0])
    place = {data: number for number, data in enumerate(firsts)}
    right = np.zeros((len(said), len(firsts)), dtype=bool)
    for row, mine in enumerate(said):
        for each in mine:
            if each.any() and (number := place.get(each.tobytes())) is not None:
                right[row, number] = True
    return np.stack(list(firsts.values())), right


def judge_of(encoder: AnyTextEncoder, reference: Reference, inputs: ShardInputs) -> Judge:
    """The reference's joint embedding where there is one that reads what the model reads; else a regression."""
    trained = reference.text_encoder()
    if trained is not None and encoder.reads == captions.FIELD:
        joint: AnyTextEncoder = plugins.load(ROOM, {"name": trained.name, **trained.config})
        joint.load_state_dict(dict(trained.state))
        weight, bias = (each.numpy().astype(np.float64) for each in (trained.weight, trained.bias))

        def fits(features: Table, known: NDArray[Any]) -> Table:
            return (features @ weight + bias) @ _vectors(joint, known).T

        said = f"the joint embedding of {trained.name} and {reference.card.extractor}'s features"
        return Judge(fits, said, {"judge": "joint_embedding", "text_encoder": trained.name})
    train = ShardExamples(inputs.examples.folder, "train", inputs.examples.cache, inputs.examples.cache_budget)
    rows = choose(len(train), min(len(train), FITTED), 0, "caption_agreement/pairs")
    first = np.concatenate(
        [train.examples(rows[begin : begin + PIECE])[encoder.reads][:, 0] for begin in range(0, len(rows), PIECE)]
    )
    regression = Regression.fitted(
        np.asarray(reference.features("train")[rows], dtype=np.float64), _vectors(encoder, first)
    )
    name = type(encoder).__module__.rpartition(".")[2]
    said = f"a ridge regression from {reference.card.extractor}'s features to vectors of {name}, on {len(rows)} pairs"
    return Judge(
        lambda features, known: regression.fits(features, _vectors(encoder, known)),
        said,
        {"judge": "ridge_regression", "text_encoder": name, "pairs": len(rows)},
    )


@dataclass(frozen=True)
class Regression:
    """Vectors of captions, linear in a picture's features: v ≈ middle + ((f − mean)/deviation)·weight."""

    mean: Table
    deviation: Table
    weight: Table
    middle: Table

    @classmethod
    def fitted(cls, features: Table, vectors: Table) -> Regression:
        """Ridge regression (Hoerl & Kennard 1970) on standardised features (n, d) and vectors (n, e).

        Raises:
            UserError: if the captions all have one vector.
        """
        mean, deviation, middle = features.mean(axis=0), np.maximum(features.std(axis=0), 1e-8), vectors.mean(axis=0)
        if not np.abs(vectors - middle).max() > 0:
            raise UserError("caption agreement needs captions that differ, and all of them have one vector")
        x = (features - mean) / deviation
        squares = x.T @ x / len(x) + RIDGE * np.eye(x.shape[1])
        return cls(mean, deviation, np.linalg.solve(squares, x.T @ (vectors - middle) / len(x)), middle)

    def fits(self, features: Table, vectors: Table) -> Table:
        """The cosine of what is expected of each picture and each caption's vector, both from their middle, (n, K)."""
        expected = ((features - self.mean) / self.deviation) @ self.weight
        return _unit(expected) @ _unit(vectors - self.middle).T


def _unit(rows: Table) -> Table:
    return rows / np.maximum(np.linalg.norm(rows, axis=1, keepdims=True), 1e-12)


def _vectors(encoder: AnyTextEncoder, stored_captions: NDArray[Any]) -> Table:
    device = next((each.device for each in encoder.state_dict().values()), torch.device("cpu"))
    with torch.no_grad():
        found = encoder(torch.from_numpy(np.ascontiguousarray(stored_captions)).to(device))
    return found.cpu().numpy().astype(np.float64)


def _known_first(said: NDArray[Any], known: NDArray[Any]) -> NDArray[np.bool_]:
    """Which pictures' first caption, of which their sample is, is among those that are known."""
    held = {each.tobytes() for each in known}
    return np.array([mine[0].tobytes() in held for mine in said])


def _numbers(count: int) -> list[NDArray[np.int64]]:
    return [np.arange(begin, min(begin + PIECE, count), dtype=np.int64) for begin in range(0, count, PIECE)]


def _features(source: SampleSource, extractor: AnyExtractor, seed: int, truncation: float, count: int) -> Table:
    """What the extractor sees in the first samples, as they would be saved, (count, d)."""
    found: list[NDArray[Any]] = []
    for chunk in range(-(-count // CHUNK)):
        made = stored(source.chunk(seed, chunk, truncation=truncation), source.spec)
        found.append(extract(extractor, made)[0])
    return np.concatenate(found)[:count].astype(np.float64)
