"""The score that training and search go by: few samples of a fixed seed, the same bits at any world size."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from pipeline.contract import AnyFamily, Networks, World
from pipeline.evaluation.samples import CHUNK, Labels, SampleSource, fixed_threads, quantise
from pipeline.extractors import _shared as extractors
from pipeline.formats.reference import Extractor, Moments, Reference
from pipeline.metrics import frechet, precision_recall
from pipeline.metrics._shared import choose, one_blas_thread, shuffled

# What a broken generator scores: finite, so that a search can rank it, and worse than any real score.
WORST = 1e6
K = 3


class InTrainingScorer:
    """Implements `contract.Scorer`: n samples, seed and reals are the same at every call.

    Answers `frechet` (against all of train, biased upwards at small n), `feature_spread` (trace of
    the samples' covariance over the reals': near 0 = collapse), `recall` (k = 3, on at most
    `recall_limit`) and `nonfinite` (the fraction of samples with numbers that aren't).
    """

    def __init__(
        self,
        reference: Reference,
        family: AnyFamily,
        n: int,
        seed: int,
        *,
        threads: int = 1,
        recall_limit: int = 512,
    ) -> None:
        self.reference = reference
        self.family = family
        self.n = n
        self.seed = seed
        self.threads = threads
        with one_blas_thread():
            self._train = frechet.Spread(reference.moments("train"))
        real = reference.features("train")
        count = min(n, len(real), recall_limit)
        self._real = np.asarray(real[choose(len(real), count, seed, "scorer/recall")])

    def __call__(self, networks: Networks, world: World) -> Mapping[str, float]:
        generator = SampleSource(
            self.family, networks, self.reference.card.spec, device=world.device, threads=self.threads
        )
        asked = asked_labels(self.reference, generator, self.seed)

        def make(chunk: int) -> tuple[Tensor, Labels]:
            labels = asked(chunk)
            return generator.chunk(self.seed, chunk, labels), labels

        seen = see(make, self.n, self.reference, world)
        if seen.nonfinite:
            return {"frechet": WORST, "feature_spread": 0.0, "recall": 0.0, "nonfinite": seen.nonfinite / self.n}
        with one_blas_thread():
            return {**self._compare(seen.features), "nonfinite": 0.0}

    def _compare(self, features: NDArray[Any]) -> dict[str, float]:
        moments = Moments.of(features, CHUNK)
        spread = float(np.trace(moments.covariance) / max(np.trace(self._train.covariance), 1e-30))
        count = len(self._real)
        recall = precision_recall.precision_recall(self._real, features[:count], K)[1] if count > K else 0.0
        return {"frechet": min(self._train.distance(moments), WORST), "feature_spread": spread, "recall": recall}


def asked_labels(reference: Reference, generator: SampleSource, seed: int) -> Callable[[int], Labels]:
    """Chunk index → the labels (64,) to ask for, each class as frequent as in train in *every* prefix.

    A balanced choice would count against a generator wherever the data are not balanced, and a
    shuffled one would add the noise of its first n labels to every score at small n.
    """
    labels = reference.labels("train")
    if not generator.conditional:
        labels = np.zeros(1, dtype=np.int64)
    order = stratified(labels, seed)
    return lambda chunk: order[np.arange(chunk * CHUNK, (chunk + 1) * CHUNK) % len(order)]


def stratified(labels: Labels, seed: int) -> Labels:
    """The same labels, ordered so that any prefix holds each class in proportion, to within about one.

    Class c's k-th label stands at (k + u_c) / n_c, with a seeded shift u_c in [0, 1).
    """
    classes, counts = np.unique(labels, return_counts=True)
    shifts = (shuffled(len(classes), seed, "scorer/labels") + 0.5) / len(classes)
    places = np.concatenate([(np.arange(n) + u) / n for n, u in zip(counts, shifts, strict=True)])
    return np.repeat(classes, counts)[np.argsort(places, kind="stable")].astype(np.int64)


class Seen:
    """Samples as the extractor saw them: features (n, d), logits (n, classes) or None, labels (n,)."""

    def __init__(self, features: NDArray[Any], logits: NDArray[Any] | None, labels: Labels, nonfinite: int) -> None:
        self.features = features
        self.logits = logits
        self.labels = labels
        self.nonfinite = nonfinite


def see(make: Callable[[int], tuple[Tensor, Labels]], n: int, reference: Reference, world: World) -> Seen:
    """Have the ranks make and measure n samples between them; every rank gets all, in order.

    make: chunk index → float samples (64, *shape) and their labels (64,). Rank r makes chunks r,
    r + size, …; each chunk is whole, so its bits don't depend on who made it. Samples are
    quantised to uint8 first, as a person would save them.
    """
    extractor = reference.extractor()
    chunks = -(-n // CHUNK)
    turns = -(-chunks // world.size)
    rows: list[Tensor] = []
    width = 0
    with fixed_threads(reference.card.threads):
        for turn in range(turns):
            # The last turn may have too few chunks for all ranks; shapes must be equal, so some repeat the last.
            index = min(turn * world.size + world.rank, chunks - 1)
            row, width = _measured(extractor, *make(index))
            rows.append(row)
    gathered = [part.cpu() for part in world.gather(torch.stack(rows).to(world.device))]
    whole = torch.cat([gathered[index % world.size][index // world.size] for index in range(chunks)])[:n]
    table = whole.numpy()
    dimension = extractor.dimension
    logits = table[:, dimension : dimension + width] if width else None
    labels = table[:, -2].astype(np.int64)
    return Seen(table[:, :dimension], logits, labels, int(table[:, -1].sum()))


def _measured(extractor: Extractor, made: Tensor, labels: Labels) -> tuple[Tensor, int]:
    """One chunk's row block (64, d + classes + 2): features, logits, label, 1 where non-finite."""
    broken = ~made.flatten(1).isfinite().all(dim=1)
    features, logits = extractors.extract(extractor, quantise(torch.nan_to_num(made)))
    parts = [torch.as_tensor(features)]
    if logits is not None:
        parts.append(torch.as_tensor(logits))
    parts += [torch.as_tensor(labels, dtype=torch.float32)[:, None], broken.cpu().float()[:, None]]
    return torch.cat(parts, dim=1), 0 if logits is None else logits.shape[1]
