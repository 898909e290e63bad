"""Plug-ins that a family's settings choose: a loss, penalties, an augmentation; and which of them go together."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Any, cast

from pydantic import AfterValidator, BeforeValidator, Field

from pipeline import plugins
from pipeline.contract import Augmentation, Loss, Penalty
from pipeline.errors import SettingsError
from pipeline.settings import shown

# --- in a Config ------------------------------------------------------------------------------


def _named(value: Any) -> Any:
    return {"name": value} if isinstance(value, str) else value


def _valid(room: str) -> Callable[[dict[str, Any]], dict[str, Any]]:
    def check(value: dict[str, Any]) -> dict[str, Any]:
        plugins.configure(room, value, "")
        return value

    return check


LossChoice = Annotated[dict[str, Any], AfterValidator(_valid("losses")), BeforeValidator(_named)]
"""`hinge`, or `{name: hinge, …its own keys}`."""

AugmentChoice = Annotated[dict[str, Any], AfterValidator(_valid("augmentation")), BeforeValidator(_named)]
"""`ada`, or `{name: diff_augment, policy: [color]}`."""


def _listed(value: Any) -> Any:
    """One choice, a list of them, or a section that names each: all as a list."""
    if value is None:
        return ()
    if isinstance(value, Mapping) and "name" not in value:
        sections = cast(Mapping[str, Any], value).items()
        return [{"name": name, **keys} if isinstance(keys, Mapping) else _bare(name, keys) for name, keys in sections]
    return [_named(each) for each in cast(list[Any], value if isinstance(value, (list, tuple)) else [value])]


def _bare(name: str, keys: Any) -> dict[str, Any]:
    if keys is not None:
        raise SettingsError(f".{name}: must be a section of keys, not {shown(keys)}")
    return {"name": name}


def _penalties(choices: Sequence[dict[str, Any]]) -> tuple[dict[str, Any], ...]:
    names = [choice.get("name") for choice in choices]
    for choice, name in zip(choices, names, strict=True):
        where = f".{name}" if isinstance(name, str) else ""
        plugins.configure("penalties", {key: value for key, value in choice.items() if key != "every"}, where)
        every = choice.get("every", 1)
        if type(every) is not int or every < 1:
            raise SettingsError(f"{where}.every: {shown(every)} is not allowed; it must be a whole number, 1 or above")
    twice = next((name for name in names if names.count(name) > 1), None)
    if twice is not None:
        raise SettingsError(f".{twice}: stands twice; list each penalty once")
    return tuple(choices)


PenaltyChoices = Annotated[Sequence[dict[str, Any]], AfterValidator(_penalties), BeforeValidator(_listed)]
"""`r1`, `[r1, r2]`, `[{name: r1, gamma: 1.0, every: 16}]`, or by name, `{r1: {gamma: 1.0}, r2: {}}`.

By name, keys are laid on those of a preset, and can be searched: `families.dcgan.penalties.r1.gamma`.
"""

Width = Annotated[int, Field(ge=1)]
"""Maps or units of one layer."""

# --- loaded -----------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class ChosenPenalty:
    """A penalty by the name of its file, and in which steps it is taken: above 1, in a lazy phase."""

    name: str
    every: int
    value: Penalty


def load_loss(choice: dict[str, Any]) -> Loss:
    """The loss that a validated choice names."""
    return cast(Loss, plugins.load("losses", choice))


def load_penalties(choices: Sequence[dict[str, Any]], usual_every: int = 1) -> tuple[ChosenPenalty, ...]:
    """The penalties that validated choices name; `usual_every` is for those that do not say."""
    found: list[ChosenPenalty] = []
    for choice in choices:
        keys = {key: value for key, value in choice.items() if key != "every"}
        every = int(choice.get("every", usual_every))
        found.append(ChosenPenalty(str(choice["name"]), every, cast(Penalty, plugins.load("penalties", keys))))
    return tuple(found)


def load_augmentation(choice: dict[str, Any] | None) -> Augmentation | None:
    """The augmentation that a validated choice names; none without one."""
    return None if choice is None else cast(Augmentation, plugins.load("augmentation", choice))


# --- what goes together -------------------------------------------------------------------------


def check_penalties(choices: Sequence[dict[str, Any]], batch_norm: bool, what_helps: str) -> None:
    """Refuse a penalty per example on a discriminator whose batch norm mixes them (Gulrajani et al. 2017, section 4).

    Raises:
        ValueError: naming the penalty, and `what_helps`.
    """
    for choice in choices if batch_norm else ():
        if plugins.module("penalties", choice["name"]).Penalty.per_example:
            raise ValueError(
                f"penalties: {choice['name']} asks for a norm of the gradient at each example, and the discriminator's "
                f"batch norm ties the examples together; {what_helps}"
            )


def check_bounded(loss: dict[str, Any], penalties: Sequence[dict[str, Any]]) -> None:
    """Refuse a Wasserstein critic that nothing bounds (Arjovsky et al. 2017, section 3).

    Raises:
        ValueError: naming the loss.
    """
    if loss["name"] == "wasserstein" and not penalties:
        raise ValueError("loss: wasserstein needs a bounded critic and penalties is empty; take gradient_penalty")


def check_augment(augment: dict[str, Any] | None, loss: dict[str, Any]) -> None:
    """Refuse an ADA that watches signs where the loss does not threshold its logits at 0.

    Raises:
        ValueError: naming the loss.
    """
    watches = augment is not None and augment["name"] == "ada" and augment.get("p") is None
    if watches and not plugins.module("losses", loss["name"]).Loss.signed:
        raise ValueError(
            f"augment: ada watches the sign of D(real), and {loss['name']} does not threshold its logits at 0; "
            "give augment.p a number or a ramp"
        )


# --- settings by older names --------------------------------------------------------------------


def old_penalties(config: Mapping[str, Any]) -> dict[str, Any]:
    """A card's settings with its one `penalty`, and `penalty_every`, as `penalties`."""
    found = dict(config)
    if "penalty" in found:
        penalty, every = found.pop("penalty"), found.pop("penalty_every", None)
        keys = {} if every is None else {"every": every}
        one = {**cast(Mapping[str, Any], penalty), **keys} if isinstance(penalty, Mapping) else penalty
        found["penalties"] = [] if penalty is None else [one]
    return found
