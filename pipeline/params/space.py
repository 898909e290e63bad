"""The searched settings: that they exist, and that every value searched is one that the setting takes."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from pipeline import plugins
from pipeline.errors import SettingsError
from pipeline.params.arithmetic import arithmetic
from pipeline.params.choices import configured, families
from pipeline.params.stand_ins import stand_in
from pipeline.search.settings import Range
from pipeline.settings import at, override, shown, suggest, validate
from pipeline.training import schedules
from pipeline.training.settings import TrainSettings
from pipeline.types import DataSpec

if TYPE_CHECKING:
    from pipeline.params import Params

FEW = 64  # whole numbers that are tried one by one
BETWEEN = 0.618  # lands on no whole number where the ends are near each other


def space(params: Params) -> list[str]:
    """They exist, are set nowhere else, and every value searched is one that the setting takes."""
    problems: list[str] = []
    for dotted, searched in params.tune.space.items():
        section, _, rest = dotted.partition(".")
        if section not in {"train", "families"} or not rest:
            problems.append(f"tune.space.{dotted}: only train.… and families.… can be searched")
            continue
        within = [other for other in params.tune.space if other.startswith(f"{dotted}.")]
        if within:
            problems.append(f"tune.space.{dotted}: is searched whole, and so is '{within[0]}' in it; remove one")
            continue
        value = at(params.raw, dotted)
        if value is not None:
            problems.append(
                f"{dotted}: is set to {shown(value)} and also searched by tune.space; "
                "remove one of the two (tune.trials: 0 uses the settings as they are)"
            )
            continue
        for value in tried(searched):
            wrong = _wrong_with(params, dotted, value)
            if wrong:
                why = "; ".join(line.removeprefix(f"{dotted}: ") for line in wrong)
                problems.append(f"tune.space.{dotted}: {shown(value)} is not a valid value: {why}")
                break
    if params.tune.mode == "population" and params.tune.space and not problems:
        problems = _steady(params)
    return problems


def _steady(params: Params) -> list[str]:
    """A population's members change their settings while they train: only some can be."""
    fixed = [dotted for dotted in params.tune.space if not dotted.startswith("families.")]
    problems = [
        f"tune.space.{dotted}: cannot change while a member of a population trains, as a family's own numbers can "
        "(learning rates, betas, weights of penalties); set it above, or take tune.mode: repeatable"
        for dotted in fixed
    ]
    family = params.with_overrides({"tune.space": {}}).load_family()
    spec = stand_in(family)
    return problems if problems or spec is None else list(unsteady(params, spec))


def unsteady(params: Params, spec: DataSpec) -> Iterator[str]:
    """What a population's searched settings would change that has to stay, for data of this kind."""
    before = params.with_overrides({"tune.space": {}}).load_family()
    for dotted, searched in params.tune.space.items():
        if not dotted.startswith(f"families.{params.train.family}."):
            continue
        for value in tried(searched):
            after = params.with_overrides({"tune.space": {}, dotted: value}).load_family()
            if difference := schedules.unlike(before, after, spec):
                yield (
                    f"tune.space.{dotted}: with {shown(value)}, {difference}, which a member of a population cannot do "
                    "while it trains; set it above, or take tune.mode: repeatable"
                )
                break


def tried(searched: Range) -> list[Any]:
    """Values that show whether a setting takes the range: all of few, else both ends and one between."""
    if searched.choice is not None:
        return list(searched.choice)
    if searched.randint is not None and searched.randint[1] - searched.randint[0] < FEW:
        return list(range(searched.randint[0], searched.randint[1] + 1))
    if searched.randint is not None:
        return list(searched.randint)
    low, high = searched.uniform or searched.loguniform or (0.0, 1.0)
    return [low, float(f"{low + (high - low) * BETWEEN:.4g}"), high]


def _wrong_with(params: Params, dotted: str, value: Any) -> list[str]:
    """Problems of the settings with one searched key at one value."""
    trial = override(params.raw, {dotted: value})
    if dotted.startswith("families."):
        name, known = dotted.split(".")[1], plugins.names("families")
        if name not in known:
            return [f"there is no family '{name}'{suggest(name, known)}"]
        return configured(name, trial["families"].get(name))
    try:
        train = validate(TrainSettings, trial.get("train"), "train")
    except SettingsError as error:
        return list(error.problems)
    return [*families(trial), *arithmetic(params, train)]
