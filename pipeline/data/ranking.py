"""The order of the examples, and which are held out: both by content hash, so that no file name decides."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pipeline.errors import UserError

TOO_FEW = (
    "{count} examples with 1 content between them cannot be cut into train and holdout; bring more data, "
    "or raise ingest.limit if it is set"
)
LAST = "each example that would be held out is the last of its class, and training needs it"
ALL_LAST = f"{LAST}; bring at least one more of another content, for a class that has one already"


@dataclass(frozen=True)
class Ranking:
    """Examples by content hash: `order` (m,) indexes the survey's entries; the first `train` are the training split.

    repeats: for each repeat of an earlier content, (the repeat, the first), as survey indices.
    """

    order: NDArray[np.int64]
    train: int
    repeats: tuple[tuple[int, int], ...]


def rank(
    hashes: NDArray[np.uint8], holdout_fraction: float, drop: bool, labels: NDArray[np.int64] | None = None
) -> Ranking:
    """Order examples by content hash, ties by source order, and cut: train is the first 1 - `holdout_fraction`.

    The cut moves up to the next change of content (down, where that was the last), so that no content
    is in both splits; with `drop`, repeats of a content are left out. Of a class of `labels` (n,) (-1: none) that
    would have no example in train, the first content goes there, whole; the order within each split stays.

    Raises:
        UserError: if there are too few different contents for two splits, or for train to see every class.
    """
    words = np.ascontiguousarray(hashes).view(">u8").reshape(len(hashes), 4)
    order = np.lexsort((words[:, 3], words[:, 2], words[:, 1], words[:, 0])).astype(np.int64)
    new = np.ones(len(order), dtype=bool)
    new[1:] = (words[order[1:]] != words[order[:-1]]).any(axis=1)
    firsts = order[new][np.cumsum(new) - 1]
    repeats = tuple(sorted((int(a), int(b)) for a, b in zip(order[~new], firsts[~new], strict=True)))
    if drop:
        order, new = order[new], new[new]
    count = len(order)
    train = count - round(count * holdout_fraction)
    if holdout_fraction > 0:
        changes = np.flatnonzero(new)[1:]
        if not len(changes):
            raise UserError(TOO_FEW.format(count=count))
        train = int(changes[min(np.searchsorted(changes, train), len(changes) - 1)])
        if labels is not None:
            content = np.cumsum(new) - 1
            moved = _needed_in_train(labels[order], content, train)
            if moved.all():
                raise UserError(_nothing_held_out(labels[order], content, changes, holdout_fraction))
            places = train + np.flatnonzero(moved), train + np.flatnonzero(~moved)
            order = order[np.concatenate([np.arange(train), *places])]
            train += len(places[0])
    return Ranking(order, train, repeats)


def _needed_in_train(labels: NDArray[np.int64], content: NDArray[np.int64], train: int) -> NDArray[np.bool_]:
    """Which of the ranked examples from `train` on have to go there, so that it sees every class.

    labels, content: (n,) in the order of rank; equal numbers of `content` are equal contents, and lie together.
    """
    held = labels[train:]
    moved = np.zeros(len(held), dtype=bool)
    seen = {*np.unique(labels[:train]).tolist(), -1}
    classes, first = np.unique(held, return_index=True)
    for label, place in sorted(zip(classes.tolist(), first.tolist(), strict=True), key=lambda pair: pair[1]):
        if label not in seen:
            number = content[train + place]
            begin, end = (int(np.searchsorted(content[train:], number, side)) for side in ("left", "right"))
            moved[begin:end] = True
            seen.update(held[begin:end].tolist())
    return moved


def _nothing_held_out(
    labels: NDArray[np.int64], content: NDArray[np.int64], changes: NDArray[np.int64], fraction: float
) -> str:
    """What to say where every example that would be held out is the only one of its class."""
    for tenths in range(1, 10):
        wider = tenths / 10
        cut = len(labels) - round(len(labels) * wider)
        cut = int(changes[min(np.searchsorted(changes, cut), len(changes) - 1)])
        if wider > fraction and not _needed_in_train(labels, content, cut).all():
            return f"{LAST}; set ingest.holdout_fraction to {wider:g}, or bring more examples of these classes"
    return ALL_LAST
