"""The score that training and search go by: few samples of a fixed seed, the same bits at any world size."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from pipeline import randomness
from pipeline.contract import AnyFamily, Networks, World
from pipeline.contract.extractor import AnyExtractor
from pipeline.contract.moments import Moments
from pipeline.extractors import _shared as extractors
from pipeline.formats.reference import Features, Reference
from pipeline.metrics import frechet, precision_recall
from pipeline.randomness import choose, shuffled
from pipeline.sampling.samples import CHUNK, Inputs, Labels, SampleSource, as_stored, evaluating
from pipeline.scoring.extract import FeatureBlock
from pipeline.threads import fixed_threads, one_blas_thread
from pipeline.types import DataSpec

# What a broken generator scores: finite, so that a search can rank it, and worse than any real score.
WORST = 1e6
K = 3


class InTrainingScorer:
    """Implements `contract.Scorer`: n samples, seed and reals are the same at every call.

    Answers `frechet` (against all of train, biased upwards at small n), `feature_spread` (trace of
    the samples' covariance over the reals': near 0 = collapse), `recall` (k = 3, on at most
    `recall_limit`), `score_samples` (n) and `nonfinite` (the fraction of samples with numbers that aren't).
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
        inputs: Inputs | None = None,
    ) -> None:
        self.inputs = inputs
        self.reference = reference
        self.family = family
        self.n = n
        self.seed = seed
        self.threads = threads
        if reference.blind:
            return
        with one_blas_thread():
            self._train = frechet.Spread(reference.moments("train"))
        real = reference.features("train")
        count = min(n, len(real), recall_limit)
        self._real = np.asarray(real[choose(len(real), count, seed, "scorer/recall")])

    def __call__(self, networks: Networks, world: World) -> Mapping[str, float]:
        spec = self.reference.card.spec
        generator = SampleSource(
            self.family, networks, spec, device=world.device, threads=self.threads, inputs=self.inputs
        )
        own = summed(self.family, own_scores(generator, self.n, self.seed))
        if any(value - value != 0 for value in own.values()):
            own = dict.fromkeys(own, WORST)
        if self.reference.blind:
            return own
        asked = asked_labels(self.reference, generator, self.seed)

        def make(chunk: int) -> tuple[Tensor, Labels]:
            labels = asked(chunk)
            return generator.chunk(self.seed, chunk, labels), labels

        # Few by design: n is hundreds, so all of them are held at once.
        seen = list(see(make, self.n, self.reference, world))
        nonfinite = sum(block.nonfinite for block in seen)
        if nonfinite:
            worst = {"frechet": WORST, "feature_spread": 0.0, "recall": 0.0, "score_samples": self.n}
            return {**worst, "nonfinite": nonfinite / self.n, **own}
        with one_blas_thread():
            return {**self._compare(np.concatenate([block.features for block in seen])), "nonfinite": 0.0, **own}

    def _compare(self, features: Features) -> dict[str, float]:
        moments = Moments.of(features, CHUNK)
        spread = float(np.trace(moments.covariance) / max(np.trace(self._train.covariance), 1e-30))
        count = len(self._real)
        recall = precision_recall.precision_recall(self._real, features[:count], K)[1] if count > K else 0.0
        distance = min(self._train.distance(moments), WORST)
        return {"frechet": distance, "feature_spread": spread, "recall": recall, "score_samples": self.n}


def floor(reference: Reference, n: int, seed: int, draws: int = 4) -> tuple[float, float]:
    """What n draws from train itself score against train: mean and deviation over `draws`.

    The bias of a Fréchet distance at small n and its scatter: a perfect generator reads this, not 0.
    """
    features = reference.features("train")
    found: list[float] = []
    with one_blas_thread():
        train = frechet.Spread(reference.moments("train"))
        for draw in range(draws):
            chosen = torch.randint(len(features), (n,), generator=randomness.generator(seed, "scorer/floor", draw))
            found.append(train.distance(Moments.of(np.asarray(features[np.sort(chosen.numpy())]), CHUNK)))
    return float(np.mean(found)), float(np.std(found, ddof=1))


def own_scores(generator: SampleSource, n: int, seed: int) -> dict[str, NDArray[np.float64]]:
    """What the family measures of itself: (n,) numbers a name, from the noise of the first n samples.

    Every rank makes all of them, in whole chunks: such designs are small.
    """
    parts: dict[str, list[NDArray[np.float64]]] = {}
    for chunk in range(-(-n // CHUNK)):
        latents = {name: noise.to(generator.device) for name, noise in generator.latents(seed, chunk).items()}
        with torch.no_grad(), fixed_threads(generator.threads), evaluating(generator.networks):
            found = generator.family.measure(generator.networks, latents)
        if not found:
            return {}
        for name, values in found.items():
            parts.setdefault(name, []).append(values.double().cpu().numpy())
    return {name: np.concatenate(values)[:n] for name, values in parts.items()}


def summed(family: AnyFamily, scores: Mapping[str, NDArray[np.float64]]) -> dict[str, float]:
    """The means, and what the family concludes from them; nothing for designs that measure nothing."""
    means = {name: float(values.mean()) for name, values in scores.items()}
    return {**means, **family.conclude(means)} if means else {}


def asked_labels(reference: Reference, generator: SampleSource, seed: int) -> Callable[[int], Labels]:
    """Chunk index → the labels (64,) to ask for, each class as frequent as in train in *every* prefix.

    A balanced choice would count against a generator wherever the data are not balanced, and a
    shuffled one would add the noise of its first n labels to every score at small n.
    """
    labels = reference.labels("train")
    return lambda chunk: asked(labels, generator, seed, CHUNK, chunk * CHUNK)


def asked(labels: Labels, generator: SampleSource, seed: int, count: int, start: int = 0) -> Labels:
    """The labels (count,) of samples `start` …, after the classes of the reals `labels`; zeros where none are asked."""
    order = stratified(labels if generator.conditional else np.zeros(1, dtype=np.int64), seed)
    return order[np.arange(start, start + count) % len(order)]


def stratified(labels: Labels, seed: int) -> Labels:
    """The same labels, ordered so that any prefix holds each class in proportion, to within about one.

    Class c's k-th label stands at (k + u_c) / n_c, with a seeded shift u_c in [0, 1).
    """
    classes, counts = np.unique(labels, return_counts=True)
    shifts = (shuffled(len(classes), seed, "scorer/labels") + 0.5) / len(classes)
    places = np.concatenate([(np.arange(n) + u) / n for n, u in zip(counts, shifts, strict=True)])
    return np.repeat(classes, counts)[np.argsort(places, kind="stable")].astype(np.int64)


def see(
    make: Callable[[int], tuple[Tensor, Labels]], n: int, reference: Reference, world: World
) -> Iterator[FeatureBlock]:
    """Have the ranks make and measure n samples between them; every rank gets all, in order, a chunk at a time.

    make: chunk index → float samples (64, *shape) and their labels (64,). Rank r makes chunks r,
    r + size, …; each chunk is whole, so its bits don't depend on who made it. Samples are
    quantised to uint8 first, as a person would save them.
    """
    extractor = reference.extractor()
    dimension, chunks = extractor.dimension, -(-n // CHUNK)
    for first in range(0, chunks, world.size):
        # The last turn may have too few chunks for all ranks; shapes must be equal, so some repeat the last.
        with fixed_threads(reference.card.threads):
            row, width = _measured(extractor, reference.card.spec, *make(min(first + world.rank, chunks - 1)))
        parts = world.gather(row.to(world.device))
        for index, part in enumerate(parts[: chunks - first], first):
            table = part.cpu().numpy()[: n - index * CHUNK]
            logits = table[:, dimension : dimension + width] if width else None
            yield FeatureBlock(table[:, :dimension], logits, table[:, -2].astype(np.int64), int(table[:, -1].sum()))


def _measured(extractor: AnyExtractor, spec: DataSpec, made: Tensor, labels: Labels) -> tuple[Tensor, int]:
    """One chunk's row block (64, d + classes + 2): features, logits, label, 1 where non-finite."""
    broken = ~made.flatten(1).isfinite().all(dim=1)
    features, logits = extractors.extract(extractor, as_stored(torch.nan_to_num(made), spec))
    parts = [torch.as_tensor(features)]
    if logits is not None:
        parts.append(torch.as_tensor(logits))
    parts += [torch.as_tensor(labels, dtype=torch.float32)[:, None], broken.cpu().float()[:, None]]
    return torch.cat(parts, dim=1), 0 if logits is None else logits.shape[1]
