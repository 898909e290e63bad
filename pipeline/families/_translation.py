"""What the image translators share: checks of size and fields, the optimiser, critics that answer a map."""

from __future__ import annotations

from torch import Tensor

from pipeline.contract import Optimiser, Ramp, Scheduled
from pipeline.families import _shared
from pipeline.settings import SettingsError, UserError
from pipeline.types import Batch, DataSpec


class TranslatorOptimiser(Optimiser):
    """Adam as in both papers: 2e-4, (0.5, 0.999), batches of one example."""

    lr: Scheduled = 2e-4
    beta1: Scheduled = 0.5
    beta2: Scheduled = 0.999


def fading(examples: int) -> dict[str, Ramp]:
    """The published schedule: 2e-4 for 100 epochs of so many examples, then linearly to 0 in 100 more."""
    return {"lr": Ramp(start=2e-4, end=0.0, examples=100 * examples, after=100 * examples)}


def other_shape(spec: DataSpec, field: str) -> tuple[int, ...]:
    """The shape of the images that `field` holds; that of x where the data says nothing of it."""
    return spec.field_shape(field) or spec.shape


def check_planes(family: str, spec: DataSpec, field: str, multiple: int) -> None:
    """Refuse what is no image, sides that the networks would not give back, and two sizes.

    Raises:
        SettingsError: with the resolution that would do.
    """
    _shared.check_image(family, spec)
    written = "×".join(str(axis) for axis in spec.resolution)
    if any(axis % multiple for axis in spec.resolution):
        raise SettingsError(
            f"families.{family}: its networks halve and double, so that sides must be multiples of {multiple}, and the "
            f"data is {written}; {_shared.resize_to(spec.resolution, multiple)}"
        )
    other = other_shape(spec, field)[1:]
    if other != spec.resolution:
        found = "×".join(str(axis) for axis in other)
        raise SettingsError(
            f"families.{family}: x is {written} and {field} {found}; set one ingest.resolution for both"
        )


def field_of(batch: Batch, name: str, family: str) -> Tensor:
    """The batch's field (n, …).

    Raises:
        UserError: naming it, where the batch has none.
    """
    if name not in batch:
        raise UserError(f"{family} translates: it needs a batch with {name}, and was given none")
    return batch[name]  # pyright: ignore[reportGeneralTypeIssues, reportUnknownVariableType]


def mean_logit(answers: Tensor) -> Tensor:
    """A map of logits (n, 1, h, w) as one number an example (n,), for penalties."""
    return answers.flatten(1).mean(1)
