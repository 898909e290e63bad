"""The structured joint embedding of pictures and captions, and how well it retrieves the one by the other."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from pipeline import captions, randomness
from pipeline.contract.retrieval import chance, recall
from pipeline.contract.text_encoder import Captioned
from pipeline.errors import UserError
from pipeline.networks.architectures.char_cnn_rnn import BOUND, CharCnnRnn, slots_of

MOST = 1000  # pictures, and captions, among which retrieval is measured
RANKS = (1, 5)
LAST = 0.1  # share of the steps whose batches tell how far the training came


@dataclass(frozen=True, slots=True)
class EmbeddingPlan:
    """How long, and of what, it is trained; the keys are Config's."""

    iterations: int
    batch_size: int
    distinct: Literal["auto", "classes", "images"]
    lr: float
    decay: float
    length: int


@dataclass(frozen=True, slots=True)
class Fitted:
    """The map of features (n, d) into the captions' space, f·weight + bias, and what is worth recording."""

    weight: Tensor
    bias: Tensor
    report: dict[str, Any]


def loss(images: Tensor, texts: Tensor) -> Tensor:
    """The symmetric hinge: mean over n² of max(0, 1 + s_ij − s_ii), i ≠ j, of each direction, s the plain products."""
    scores = texts @ images.T
    own, others = scores.diagonal(), ~torch.eye(len(scores), dtype=torch.bool, device=scores.device)
    by_text = (1 + scores - own[:, None]).clamp_min(0)
    by_image = (1 + scores - own[None, :]).clamp_min(0)
    return ((by_text + by_image) * others).mean()


def fit(
    network: CharCnnRnn,
    plan: EmbeddingPlan,
    train: Captioned,
    seed: int,
    progress: Callable[[str], None] = lambda _: None,
) -> Fitted:
    """Train the network, and a linear map of the features where they are not of its dimension, by RMSprop.

    Features are centred, and scaled by one number for all.

    Raises:
        UserError: where there are too few different pairs, or the weights became NaN or infinite.
    """
    pairs = _Pairs(train, plan)
    middle = train.features.mean(axis=0, dtype=np.float64)
    spread = float(np.sqrt(((train.features - middle) ** 2).mean(dtype=np.float64))) or 1.0
    features = torch.from_numpy(((train.features - middle) / spread).astype(np.float32))
    network.begin(randomness.generator(seed, "text_encoder/weights"))
    network.requires_grad_(True)
    wide, dimension = features.shape[1], network.plan.dimension
    mapped = wide != dimension
    weight = nn.Parameter(torch.eye(wide) if not mapped else torch.empty(wide, dimension))
    if mapped:
        with torch.no_grad():
            weight.uniform_(-BOUND, BOUND, generator=randomness.generator(seed, "text_encoder/image_weights"))
    trained = [*network.parameters(), *([weight] if mapped else [])]
    optimiser = torch.optim.RMSprop(trained, lr=plan.lr, alpha=0.99, eps=1e-8)
    right = [0, 0, 0]
    for step in range(plan.iterations):
        for group in optimiser.param_groups:
            group["lr"] = plan.lr * plan.decay ** (step // pairs.epoch)
        rows, said = pairs.batch(seed, step)
        texts = network(torch.tensor([slots_of(each, plan.length) for each in said]))
        images = features[rows] @ weight if mapped else features[rows]
        value = loss(images, texts)
        optimiser.zero_grad(set_to_none=True)
        value.backward()
        optimiser.step()
        if step >= plan.iterations - max(1, round(plan.iterations * LAST)):
            scores, own = (texts @ images.T).detach(), torch.arange(len(rows))
            right[0] += int((scores.argmax(1) == own).sum())
            right[1] += int((scores.argmax(0) == own).sum())
            right[2] += len(rows)
        if (step + 1) % max(1, plan.iterations // 5) == 0:
            progress(f"text encoder: step {step + 1} of {plan.iterations}, loss {float(value.detach()):.3f}")
    if not all(bool(each.isfinite().all()) for each in trained):
        raise UserError(
            f"the text encoder's training diverged; lower reference.text_encoder.lr (now {plan.lr}), or take more "
            "examples"
        )
    found = weight.detach() / spread
    report: dict[str, Any] = {
        "iterations": plan.iterations,
        "batch": pairs.size,
        "distinct": pairs.distinct,
        "image_map": "trained" if mapped else "none",
        "in_batch_text_to_image": right[0] / right[2],
        "in_batch_image_to_text": right[1] / right[2],
        "in_batch_chance": 1 / pairs.size,
    }
    return Fitted(found, -torch.from_numpy(middle.astype(np.float32)) @ found, report)


class _Pairs:
    """Batches of pairs that are all different, each a pure function of the seed and the step."""

    def __init__(self, train: Captioned, plan: EmbeddingPlan) -> None:
        self.said = [_said(each) for each in train.stored]
        labels = train.labels
        present = np.unique(labels[labels >= 0])
        by_class = plan.distinct == "classes" or (plan.distinct == "auto" and len(present) > 1)
        self.distinct = "classes" if by_class else "images"
        self.members = [np.flatnonzero(labels == each) for each in present] if by_class else []
        most = len(self.members) if by_class else _unlike(self.said, np.arange(len(self.said)), plan.batch_size)[0]
        self.size = min(plan.batch_size, most)
        if self.size < 2:
            what = "classes" if by_class else "captions"
            raise UserError(
                f"reference.text_encoder: it learns by telling pairs of different {what} apart, and the data has fewer "
                "than two"
            )
        self.epoch = len(self.members) or max(1, len(self.said) // self.size)

    def batch(self, seed: int, step: int) -> tuple[Tensor, list[str]]:
        """Numbers of pictures, and one caption of each."""
        draw = randomness.generator(seed, "text_encoder/batch", step)
        if self.members:
            classes = torch.randperm(len(self.members), generator=draw)[: self.size].tolist()
            rows = [int(self.members[each][_below(len(self.members[each]), draw)]) for each in classes]
        else:
            order = torch.randperm(len(self.said), generator=draw).numpy()
            rows = _unlike(self.said, order, self.size)[1]
        return torch.tensor(rows), [self.said[row][_below(len(self.said[row]), draw)] for row in rows]


def _below(count: int, draw: torch.Generator) -> int:
    return int(torch.randint(count, (), generator=draw))


def _said(stored: NDArray[Any]) -> list[str]:
    return [each for each in captions.unpacked(stored) if each]


def _unlike(said: Sequence[Sequence[str]], order: NDArray[np.int64], count: int) -> tuple[int, list[int]]:
    """The first `count` of an order of which no two have a caption in common, and how many they are."""
    taken: set[str] = set()
    found: list[int] = []
    for row in map(int, order):
        mine = said[row]
        if mine and taken.isdisjoint(mine):
            found.append(row)
            taken.update(mine)
            if len(found) == count:
                break
    return len(found), found


def sentences(found: Captioned) -> list[str]:
    """Every different caption, in the order in which they come first."""
    return list(dict.fromkeys(each for stored in found.stored for each in _said(stored)))


def retrieval(
    images: NDArray[np.float64], holdout: Captioned, encode: Callable[[Sequence[str]], NDArray[np.float64]]
) -> dict[str, Any]:
    """How often a held-out picture finds a caption of its own, and a caption a picture of its own, among all of them.

    images: the pictures (n, dimension) in the captions' space; the first 1,000 count. `zero_shot_accuracy`: a class is
    the mean vector of its held-out captions, and a picture of the class whose product is largest; the classes are
    those of training, so that this is not the paper's figure, whose classes are new.
    """
    kept = min(MOST, len(holdout))
    said = [_said(each) for each in holdout.stored[:kept]]
    known = list(dict.fromkeys(each for mine in said for each in mine))[:MOST]
    place = {each: number for number, each in enumerate(known)}
    right = np.zeros((kept, len(known)), dtype=bool)
    for row, mine in enumerate(said):
        right[row, [place[each] for each in mine if each in place]] = True
    vectors = encode(known)
    scores = images[:kept] @ vectors.T
    found: dict[str, Any] = {"pictures": kept, "captions": len(known)}
    for way, table, own in (("image_to_text", scores, right), ("text_to_image", scores.T, right.T)):
        for rank in RANKS:
            found[f"{way}_at_{rank}"] = recall(table, own, rank)
            found[f"{way}_at_{rank}_chance"] = chance(own, rank)
    labels = holdout.labels[:kept]
    present = [each for each in np.unique(labels) if each >= 0]
    if len(present) > 1:
        counts = np.stack([right[labels == each].sum(axis=0) for each in present]).astype(np.float64)
        of_class = counts @ vectors / np.maximum(counts.sum(axis=1, keepdims=True), 1)
        recognised = np.array(present)[(images[:kept] @ of_class.T).argmax(axis=1)]
        found["zero_shot_accuracy"] = float((recognised == labels)[labels >= 0].mean())
        found["zero_shot_chance"] = 1 / len(present)
    return found
