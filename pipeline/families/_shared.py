"""What the families share: published configurations, checks, what objectives need of a turn, lazy optimisers."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

import torch
from torch import Tensor, nn

from pipeline.contract import Optimiser, Ramp, Scheduled, Turn
from pipeline.errors import SettingsError
from pipeline.types import Batch, Column, DataSpec, FieldSpec, Modality, like_x

# --- published configurations ---------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Canon:
    """The data a preset was published for; a family's `CANON` maps preset → Canon.

    reference: the configuration's name in the field, as `zerosum families` prints it.
    shape: one example's, without the batch. classes: 0 where the configuration has none.
    fields: what the data holds beside x as x is, with shapes; further: fields of other kinds.
    counts: parameters of each network, on the reference's code, in the order in which the family builds them.
    idle: how many of these the reference declares and never trains, or sets to 0 before every use; the networks here
    are without them. columns: of rows of a table, what the numbers of x stand for.
    """

    reference: str
    shape: tuple[int, ...]
    classes: int = 0
    modality: Modality = "image"
    fields: tuple[tuple[str, tuple[int, ...]], ...] = ()
    counts: tuple[int, ...] = ()
    idle: tuple[int, ...] = ()
    further: tuple[FieldSpec, ...] = ()
    columns: tuple[Column, ...] = ()

    @property
    def spec(self) -> DataSpec:
        classes = tuple(f"class {number}" for number in range(self.classes))
        dtype = "uint8" if self.modality == "image" else "float32"
        fields = (*like_x(dict(self.fields), self.modality, dtype), *self.further)
        return DataSpec(self.modality, self.shape, classes, dtype, fields, columns=self.columns)


def both(**keys: Any) -> dict[str, Any]:
    """In a preset: these keys for the optimisers of both players."""
    return {"generator": keys, "discriminator": keys}


# --- checks ---------------------------------------------------------------------------------


MAKES: dict[Modality, str] = {
    "image": "images", "waveform": "sound", "rows": "rows of numbers", "voxels": "voxels", "video": "video"
}  # fmt: skip


def check_modality(family: str, modality: Modality, spec: DataSpec) -> None:
    """Refuse what the design does not make.

    Raises:
        SettingsError: naming the modality.
    """
    if spec.modality != modality:
        raise SettingsError(
            f"families.{family}: makes {MAKES[modality]}, and the data is {spec.modality}; choose another family, or a "
            f"source of {MAKES[modality]}"
        )


def check_columns(family: str, spec: DataSpec) -> None:
    """Refuse rows of numbers that stand for no columns of a table.

    Raises:
        SettingsError: naming the sources that would do.
    """
    check_modality(family, "rows", spec)
    if not spec.columns:
        raise SettingsError(
            f"families.{family}: makes rows of a table, and nothing says what these rows stand for; take "
            "ingest.source: {name: csv, path: …} or {name: parquet_table, path: …}"
        )


# --- turns ----------------------------------------------------------------------------------


def real_of(turn: Turn) -> Tensor:
    """The batch's examples (n, *shape).

    Raises:
        KeyError: if the phase reads no data.
    """
    if "x" not in turn.batch:
        raise KeyError(f"phase {turn.phase} needs a batch with x")
    return turn.batch["x"]


def label_of(batch: Batch, conditional: bool) -> Tensor | None:
    """The labels (n,) of a batch, or of what samples are to be; none where the design is not conditional."""
    return batch["label"] if conditional and "label" in batch else None


def without_graph(make: Callable[[], Tensor]) -> Tensor:
    """What `make` gives, with no graph back to the networks that made it."""
    with torch.no_grad():
        return make()


def unit(x: Tensor) -> Tensor:
    """[−1, 1] → [0, 1]."""
    return (x + 1) / 2


def means(real: Tensor, fake: Tensor, signed: bool) -> dict[str, Tensor]:
    """Mean logits on reals and fakes; where their sign says something, the share of both on their own side of 0."""
    found = {"real": real.detach().mean(), "fake": fake.detach().mean()}
    if signed:
        right = (real.detach() > 0).float().mean() + (fake.detach() < 0).float().mean()
        found["accuracy"] = right / 2
    return found


def called(network: nn.Module, x: Tensor, label: Tensor | None) -> Any:
    """What the network gives for x, and for labels where there are any."""
    return network(x) if label is None else network(x, label)


def per_example(logits: Tensor) -> Tensor:
    """Logits (n,), or the mean of each example's map of them, as a penalty needs them: (n,)."""
    return logits if logits.dim() == 1 else logits.flatten(1).mean(1)


# --- optimisers -----------------------------------------------------------------------------


def lazy(optimiser: Optimiser, *every: int) -> Optimiser:
    """Adam for a player with lazy phases every k steps: lr·c and β^c, c = 1/(1 + Σ 1/k).

    StyleGAN2's correction (Karras et al. 2020, appendix B), there for one: k + 1 updates now do the work of k.
    """
    rare = [Fraction(1, k) for k in every if k > 1]
    if not rare or optimiser.name != "adam":
        return optimiser
    share = float(1 / (1 + sum(rare)))
    return optimiser.model_copy(
        update={
            "lr": _mapped(optimiser.lr, lambda lr: lr * share),
            "beta1": _mapped(optimiser.beta1, lambda beta: beta**share),
            "beta2": _mapped(optimiser.beta2, lambda beta: beta**share),
        }
    )


def _mapped(value: Scheduled, change: Callable[[float], float]) -> Scheduled:
    if isinstance(value, Ramp):
        return value.model_copy(update={"start": change(value.start), "end": change(value.end)})
    return change(value)


def count_parameters(network: nn.Module) -> int:
    """Numbers the optimiser owns."""
    return sum(parameter.numel() for parameter in network.parameters())
