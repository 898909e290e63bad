"""What the families share: plug-in choices in a Config, labels, lazy optimisers, common checks."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Annotated, Any, cast

import torch
from pydantic import AfterValidator, BeforeValidator, Field
from torch import Tensor, nn

from pipeline import plugins
from pipeline.contract import Augmentation, Loss, Optimiser, Penalty, Ramp, Scheduled, State, Turn
from pipeline.settings import SettingsError
from pipeline.types import DataSpec, Modality, like_x

# --- published configurations ---------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Canon:
    """The data a preset was published for; a family's `CANON` maps preset → Canon.

    reference: the configuration's name in the field, as `zerosum families` prints it.
    shape: one example's, without the batch. classes: 0 where the configuration has none.
    fields: what the data holds beside x, with shapes.
    """

    reference: str
    shape: tuple[int, ...]
    classes: int = 0
    modality: Modality = "image"
    fields: tuple[tuple[str, tuple[int, ...]], ...] = ()

    @property
    def spec(self) -> DataSpec:
        classes = tuple(f"class {number}" for number in range(self.classes))
        dtype = "uint8" if self.modality == "image" else "float32"
        return DataSpec(self.modality, self.shape, classes, dtype, like_x(dict(self.fields), self.modality, dtype))


# --- plug-in choices ------------------------------------------------------------------------


def _named(value: Any) -> Any:
    return {"name": value} if isinstance(value, str) else value


def _valid(room: str) -> Callable[[dict[str, Any]], dict[str, Any]]:
    def check(value: dict[str, Any]) -> dict[str, Any]:
        plugins.configure(room, value, "")
        return value

    return check


LossChoice = Annotated[dict[str, Any], AfterValidator(_valid("losses")), BeforeValidator(_named)]
"""`hinge`, or `{name: hinge, …its own keys}`."""

PenaltyChoice = Annotated[dict[str, Any], AfterValidator(_valid("penalties")), BeforeValidator(_named)]
"""`r1`, or `{name: r1, gamma: 1.0}`."""

AugmentChoice = Annotated[dict[str, Any], AfterValidator(_valid("augmentation")), BeforeValidator(_named)]
"""`ada`, or `{name: diff_augment, policy: [color]}`."""

Width = Annotated[int, Field(ge=1)]
"""Maps or units of one layer."""


def load_loss(choice: dict[str, Any]) -> Loss:
    """The loss that a validated choice names."""
    return cast(Loss, plugins.load("losses", choice))


def load_penalty(choice: dict[str, Any]) -> Penalty:
    """The penalty that a validated choice names."""
    return cast(Penalty, plugins.load("penalties", choice))


def load_augmentation(choice: dict[str, Any] | None) -> Augmentation | None:
    """The augmentation that a validated choice names; none without one."""
    return None if choice is None else cast(Augmentation, plugins.load("augmentation", choice))


PER_EXAMPLE = frozenset({"gradient_penalty", "dragan"})
"""Penalties on the critic's gradient at each example, with a target other than 0."""


def check_penalty(choice: dict[str, Any] | None, batch_norm: bool, what_helps: str) -> None:
    """Refuse a penalty per example on a critic whose batch norm mixes the examples (Gulrajani et al. 2017, section 4).

    Raises:
        ValueError: naming the penalty, and `what_helps`.
    """
    if choice and batch_norm and choice["name"] in PER_EXAMPLE:
        raise ValueError(
            f"penalty: {choice['name']} asks for a norm of the gradient at each example, and the critic's batch norm "
            f"ties the examples together; {what_helps}"
        )


def check_bounded(loss: dict[str, Any], penalty: dict[str, Any] | None) -> None:
    """Refuse a Wasserstein critic that nothing bounds (Arjovsky et al. 2017, section 3).

    Raises:
        ValueError: naming the loss.
    """
    if loss["name"] == "wasserstein" and penalty is None:
        raise ValueError("loss: wasserstein needs a bounded critic and penalty is none; take gradient_penalty")


UNSIGNED = frozenset({"least_squares", "relativistic", "wasserstein"})
"""Losses under which the sign of D(real) says nothing of overfitting."""


def check_augment(augment: dict[str, Any] | None, loss: dict[str, Any]) -> None:
    """Refuse an ADA that watches signs where the loss does not part reals from fakes at 0.

    Raises:
        ValueError: naming the loss.
    """
    if augment and augment["name"] == "ada" and augment.get("p") is None and loss["name"] in UNSIGNED:
        raise ValueError(
            f"augment: ada watches the sign of D(real), and {loss['name']} does not part logits at 0; "
            "give augment.p a number or a ramp"
        )


# --- checks ---------------------------------------------------------------------------------


def check_image(family: str, spec: DataSpec) -> None:
    """Refuse what is no image.

    Raises:
        SettingsError: naming the modality.
    """
    if spec.modality != "image":
        raise SettingsError(f"families.{family}: makes images, and the data is {spec.modality}; choose another family")


def check_classes(family: str, conditional: bool, spec: DataSpec) -> None:
    """Refuse a conditional design for data without classes.

    Raises:
        SettingsError: naming `conditional`.
    """
    if conditional and not spec.classes:
        raise SettingsError(
            f"families.{family}.conditional: is true, but the data has no classes; set it to false or use labelled data"
        )


# --- turns ----------------------------------------------------------------------------------


def real_of(turn: Turn) -> Tensor:
    """The batch's examples (n, *shape)."""
    if "x" not in turn.batch:
        raise KeyError(f"phase {turn.phase} needs a batch with x")
    return turn.batch["x"]


def label_of(turn: Turn, conditional: bool) -> Tensor | None:
    """The batch's labels (n,) where the design is conditional."""
    return turn.batch["label"] if conditional and "label" in turn.batch else None


def drawn_label(turn: Turn, classes: int, like: Tensor) -> Tensor | None:
    """A class for each row of `like`, drawn evenly by the turn's counters; none without classes."""
    if not classes:
        return None
    return even_labels(classes, like.shape[0], turn.generator("label")).to(like.device)


def even_labels(classes: int, count: int, generator: torch.Generator) -> Tensor:
    """Labels (count,), each class as likely as any other."""
    return torch.randint(0, classes, (count,), generator=generator)


def without_graph(make: Callable[[], Tensor]) -> Tensor:
    """What `make` gives, with no graph back to the networks that made it."""
    with torch.no_grad():
        return make()


def shown(augmentation: Augmentation | None, turn: Turn, x: Tensor, purpose: str) -> Tensor:
    """x as the critic is to see it, augmented by this lane's draws for `purpose`."""
    return x if augmentation is None else augmentation(x, turn.state, turn.generator(f"augment/{purpose}"))


def sign_part(augmentation: Augmentation | None, turn: Turn, on_real: Tensor) -> dict[str, Tensor]:
    """`sign`: E[sign D(real)], which ADA watches, 0 where D is lost and 1 where it knows every real; and p."""
    if augmentation is None:
        return {}
    moving = {name: value for name, value in turn.state.tensors.items() if name == "augment_p"}
    return {"sign": on_real.detach().sign().mean(), **moving}


def augment_state(augmentation: Augmentation | None) -> dict[str, Tensor]:
    """What a family's `state` holds for its augmentation."""
    return {} if augmentation is None else augmentation.state()


def move_augment(augmentation: Augmentation | None, state: State, observed: Mapping[str, float]) -> None:
    """A family's `after_step` for its augmentation; the discriminator's phase is named for it."""
    if augmentation is not None:
        augmentation.after_step(state, observed.get("discriminator/sign"))


def critic_means(real: Tensor, fake: Tensor) -> dict[str, Tensor]:
    """Mean critic outputs on reals and fakes."""
    return {"real": real.detach().mean(), "fake": fake.detach().mean()}


def critic_parts(real: Tensor, fake: Tensor) -> dict[str, Tensor]:
    """Mean logits on reals and fakes, and the share of both on their own side of 0."""
    right = (real.detach() > 0).float().mean() + (fake.detach() < 0).float().mean()
    return {**critic_means(real, fake), "accuracy": right / 2}


# --- optimisers -----------------------------------------------------------------------------


def lazy(optimiser: Optimiser, every: int) -> Optimiser:
    """Adam for a player with a lazy phase every k steps: lr·c and β^c, c = k/(k + 1).

    StyleGAN2's correction (Karras et al. 2020, appendix B): k + 1 updates now do the work of k.
    """
    if every <= 1 or optimiser.name != "adam":
        return optimiser
    share = every / (every + 1)
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
