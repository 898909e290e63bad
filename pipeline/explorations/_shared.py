"""What every exploration shares: the model it looks at, its noise, whole chunks of samples, what it answers."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar, Protocol, get_args

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import Field, model_validator
from torch import Tensor, nn

from pipeline.contract import Latent
from pipeline.errors import UserError
from pipeline.sampling.labels import Wording, as_indices, checked_indices, label_indices
from pipeline.sampling.samples import CHUNK, SampleSource, evaluating, stored
from pipeline.settings import Settings
from pipeline.threads import fixed_threads
from pipeline.types import Array, Modality

Labels = NDArray[np.int64]


@dataclass
class Findings:
    """What an exploration answers.

    grids: name → samples (rows, columns, *shape) in the data's own type. said: plain values, the record that is
    written as JSON. arrays: name → numbers worth keeping. networks: weights that it changed, if it did.
    pictures: uint8 (C, H, W) by name, each written as a PNG before the next is made; `said` is whole when all are.
    """

    grids: dict[str, Array]
    said: dict[str, Any] = field(default_factory=lambda: {})
    arrays: dict[str, NDArray[Any]] = field(default_factory=lambda: {})
    networks: Mapping[str, nn.Module] | None = None
    pictures: Iterable[tuple[str, Array]] = ()


class Labelled(Settings):
    """Which classes are drawn: by name, or by index."""

    label: tuple[str, ...] = Field(default=(), description="classes by name; none = all in turn")
    label_index: tuple[int, ...] = Field(default=(), description="classes by index from 0, instead of `label`")

    @model_validator(mode="after")
    def _by_one_of_them(self) -> Labelled:
        if self.label and self.label_index:
            raise ValueError("label and label_index: give classes by name or by index, not both")
        return self


EVERY: frozenset[Modality] = frozenset(get_args(Modality))
PICTURES: frozenset[Modality] = frozenset({"image"})


class Exploration(Protocol):
    """A file of this room: `Config`, and `Exploration(config)`. `modalities`: of the models that it can look at."""

    modalities: ClassVar[frozenset[Modality]]

    def run(self, source: SampleSource) -> Findings:
        """Look at a model.

        Raises:
            UserError: where this model's design has no such thing.
        """
        ...


def check_served(how: str, exploration: Exploration, source: SampleSource) -> None:
    """Refuse a model of a modality that the exploration `how` does not serve.

    Raises:
        UserError: naming those that it serves.
    """
    if source.spec.modality not in exploration.modalities:
        served = " and ".join(sorted(exploration.modalities))
        raise UserError(f"{how}: is for models of {served}, and this one makes {source.spec.modality}")


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
) -> Array:
    """Samples (n, *shape) of latents (n, …) as they would be saved, in whole chunks: the bits don't depend on n.

    label: (n,) int64, or (n, classes) float weights of classes, where the model is conditional.
    """
    count = len(next(iter(latents.values())))
    index = torch.arange(-(-count // CHUNK) * CHUNK) % count
    made: list[Array] = []
    for part in index.split(CHUNK):
        chunk = {name: values[part].to(source.device) for name, values in latents.items()}
        condition: Any = {} if label is None else {"label": label[part].to(source.device)}
        with torch.no_grad(), fixed_threads(source.threads), evaluating(source.networks):
            made.append(stored(source.family.sample(source.networks, chunk, condition, truncation), source.spec))
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


def shaped(samples: Array, columns: int) -> Array:
    """(n, *shape) → (n / columns, columns, *shape)."""
    return samples.reshape(-1, columns, *samples.shape[1:])


def design(source: SampleSource) -> str:
    """The family's name."""
    return source.design


def unit(source: SampleSource) -> str:
    """What distances of samples are in, as the end of a record's key: grey levels of images, else the data's own."""
    return "_in_grey_levels" if source.spec.dtype == "uint8" else ""


def distance(a: Array, b: Array) -> NDArray[np.float64]:
    """Root mean squared difference of pairs of samples (n,), in grey levels of images."""
    difference = a.astype(np.float64) - b.astype(np.float64)
    return np.sqrt((difference**2).reshape(len(a), -1).mean(axis=1))
