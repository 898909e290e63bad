"""What every exploration shares: the model it looks at, its noise, whole chunks of samples, what it answers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import Field, model_validator
from torch import Tensor, nn

from pipeline.contract import Latent
from pipeline.evaluation.labels import Wording, as_indices, checked_indices, label_indices
from pipeline.evaluation.samples import CHUNK, Pixels, SampleSource, evaluating, fixed_threads, pixels
from pipeline.settings import Settings, UserError

Labels = NDArray[np.int64]


@dataclass
class Findings:
    """What an exploration answers.

    grids: name → uint8 (rows, columns, *shape). said: plain values, the record that is written as
    JSON. arrays: name → numbers worth keeping. networks: weights that it changed, if it did.
    """

    grids: dict[str, Pixels]
    said: dict[str, Any] = field(default_factory=lambda: {})
    arrays: dict[str, NDArray[Any]] = field(default_factory=lambda: {})
    networks: Mapping[str, nn.Module] | None = None


class Labelled(Settings):
    """Which classes are drawn: by name, or by index."""

    label: tuple[str, ...] = Field(default=(), description="classes by name; none = all in turn")
    label_index: tuple[int, ...] = Field(default=(), description="classes by index from 0, instead of `label`")

    @model_validator(mode="after")
    def _by_one_of_them(self) -> Labelled:
        if self.label and self.label_index:
            raise ValueError("label and label_index: give classes by name or by index, not both")
        return self


class Exploration(Protocol):
    """A file of this room: `Config`, and `Exploration(config)`."""

    def run(self, source: SampleSource) -> Findings:
        """Look at a model.

        Raises:
            UserError: where this model's design has no such thing.
        """
        ...


def noise(source: SampleSource, seed: int, count: int) -> dict[str, Tensor]:
    """The latents (count, …) of the first samples of a seed: those that `zerosum generate` draws."""
    chunks = [source.latents(seed, index) for index in range(-(-count // CHUNK))]
    return {latent.name: torch.cat([chunk[latent.name] for chunk in chunks])[:count] for latent in of(source)}


def of(source: SampleSource) -> tuple[Latent, ...]:
    """The model's noise inputs.

    Raises:
        UserError: where it has none.
    """
    if not source.noise:
        raise UserError(f"{design(source)} draws no noise; there is nothing to walk through")
    return source.noise


def rows(latents: Mapping[str, Tensor], index: Sequence[int] | Tensor) -> dict[str, Tensor]:
    """The same latents at other positions, repeated as often as asked."""
    chosen = torch.as_tensor(index, dtype=torch.int64)
    return {name: values[chosen] for name, values in latents.items()}


def draw(
    source: SampleSource, latents: Mapping[str, Tensor], label: Tensor | None = None, truncation: float = 1.0
) -> Pixels:
    """Pixels (n, *shape) of latents (n, …), in whole chunks: the bits don't depend on n.

    label: (n,) int64, or (n, classes) float weights of classes, where the model is conditional.
    """
    count = len(next(iter(latents.values())))
    index = torch.arange(-(-count // CHUNK) * CHUNK) % count
    made: list[Pixels] = []
    for part in index.split(CHUNK):
        chunk = {name: values[part].to(source.device) for name, values in latents.items()}
        condition: Any = {} if label is None else {"label": label[part].to(source.device)}
        with torch.no_grad(), fixed_threads(source.threads), evaluating(source.networks):
            made.append(pixels(source.family.sample(source.networks, chunk, condition, truncation)))
    return np.concatenate(made)[:count]


def chosen_labels(source: SampleSource, count: int, config: Labelled) -> Tensor | None:
    """Labels (count,): those asked for in turn, or every class in turn; None where the model asks for none.

    Raises:
        UserError: for labels that the model does not have.
    """
    asked = "label_index" if config.label_index else "label"
    if not source.conditional:
        if config.label or config.label_index:
            raise UserError(f"{asked}: this model is unconditional and knows no classes")
        return None
    classes = source.spec.classes
    wording = Wording(asked, by_index("label_index", config.label, classes))
    known = (
        label_indices(config.label, classes, wording)
        or checked_indices(config.label_index, classes, wording)
        or list(range(len(classes)))
    )
    return torch.tensor([known[index % len(known)] for index in range(count)])


def by_index(key: str, names: Sequence[str], classes: Sequence[str]) -> str:
    """The setting that asks for the same classes by index, "" where some are neither names nor indices."""
    meant = as_indices(names, classes)
    return "" if meant is None else f"{key}={meant}"


def named(source: SampleSource, label: Tensor | None) -> list[str] | None:
    """The classes of labels, by name."""
    return None if label is None else [source.spec.classes[int(index)] for index in label]


def shaped(images: Pixels, columns: int) -> Pixels:
    """(n, *shape) → (n / columns, columns, *shape)."""
    return images.reshape(-1, columns, *images.shape[1:])


def design(source: SampleSource) -> str:
    """The family's name."""
    return source.design


def distance(a: Pixels, b: Pixels) -> NDArray[np.float64]:
    """Root mean squared difference of pairs of images, in grey levels (n,)."""
    difference = a.astype(np.float64) - b.astype(np.float64)
    return np.sqrt((difference**2).reshape(len(a), -1).mean(axis=1))
