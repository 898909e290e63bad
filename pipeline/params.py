"""params.yaml as a whole: every section typed, and the rules that span sections, before any work."""

from __future__ import annotations

import re
from collections.abc import Hashable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import yaml

from pipeline import plugins
from pipeline.cluster.settings import Range, RunSettings, TuneSettings
from pipeline.contract import AnyFamily
from pipeline.data.settings import IngestSettings
from pipeline.evaluation.settings import EvaluateSettings, ReferenceSettings
from pipeline.formats.reference import BLIND, ExtractorIdentity, identity_of
from pipeline.metrics._shared import Kind, reported_name
from pipeline.networks.inception import TAPS
from pipeline.registry.settings import RegisterSettings
from pipeline.settings import Settings, SettingsError, UserError, override, shown, suggest, validate
from pipeline.training import schedules
from pipeline.training.settings import TrainSettings
from pipeline.types import DataSpec

SECTIONS: dict[str, type[Settings]] = {
    "ingest": IngestSettings,
    "reference": ReferenceSettings,
    "tune": TuneSettings,
    "train": TrainSettings,
    "evaluate": EvaluateSettings,
    "register": RegisterSettings,
    "run": RunSettings,
}
KINDS: tuple[Kind, ...] = ("frechet", "kernel", "score")
ENDINGS = ("", "_at_holdout_n", "_holdout")
MERGE = "tag:yaml.org,2002:merge"
STAND_INS = (32, 64, 16, 128, 28, 256)  # sides of images
FEW = 64  # whole numbers that are tried one by one
BETWEEN = 0.618  # lands on no whole number where the ends are near each other


@dataclass(frozen=True)
class Params:
    """The validated whole; `raw` is what the file said, for overrides and fingerprints."""

    ingest: IngestSettings
    reference: ReferenceSettings
    tune: TuneSettings
    train: TrainSettings
    evaluate: EvaluateSettings
    register: RegisterSettings
    run: RunSettings
    raw: dict[str, Any]

    @property
    def family(self) -> dict[str, Any]:
        """The chosen family's own keys."""
        return dict((self.raw.get("families") or {}).get(self.train.family) or {})

    def load_family(self) -> AnyFamily:
        """The chosen family, configured."""
        name = self.train.family
        return plugins.load("families", {**self.family, "name": name}, f"families.{name}")

    def with_overrides(self, overrides: Mapping[str, Any]) -> Params:
        """The same with dotted keys replaced, validated again."""
        return check(override(self.raw, overrides))


def load(path: Path) -> Params:
    """Read and check the file.

    Raises:
        SettingsError: naming every wrong key at once.
    """
    return check(read(path))


def read(path: Path) -> dict[str, Any]:
    """The file's sections, unchecked.

    Raises:
        SettingsError: if it is missing, or not YAML, or not sections.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        raise SettingsError(f"{path.name} is missing from {path.parent.resolve()}; run this in the project") from None
    except UnicodeDecodeError as error:
        raise SettingsError(f"{path.name} is not a text file in UTF-8: {error}") from None
    except OSError as error:
        raise SettingsError(f"{path.name} cannot be read: {error.strerror}") from None
    try:
        data = yaml.load(text, Loader=_Loader)
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        place = f" at line {mark.line + 1}, column {mark.column + 1}" if mark else ""
        problem = getattr(error, "problem", None) or str(error)
        raise SettingsError(f"{path.name} is not valid YAML{place}: {problem}") from None
    except RecursionError:
        raise SettingsError(f"{path.name} is not valid YAML: it is nested too deeply") from None
    if data is None:
        raise SettingsError(f"{path.name} is empty; it must hold sections ({', '.join(SECTIONS)})")
    if not isinstance(data, dict):
        raise SettingsError(f"{path.name} must hold sections ({', '.join(SECTIONS)}), not {shown(data)}")
    return cast(dict[str, Any], data)


def check(raw: dict[str, Any]) -> Params:
    """Every section typed, every plug-in choice resolved, every rule across sections held."""
    problems: list[str] = []
    for name in raw:
        if name not in SECTIONS and name != "families":
            problems.append(f"{name}: unknown section{suggest(str(name), [*SECTIONS, 'families'])}")
    parts: dict[str, Any] = {}
    for name, model in SECTIONS.items():
        try:
            parts[name] = validate(model, raw.get(name), name)
        except SettingsError as error:
            problems.extend(error.problems)
    problems.extend(_families(raw))
    if problems:
        raise SettingsError(*problems)
    params = Params(**parts, raw=raw)
    problems = _across(params)
    if problems:
        raise SettingsError(*problems)
    return params


def _families(raw: Mapping[str, Any]) -> list[str]:
    """Only the chosen family's keys are checked strictly; the others' names must exist."""
    problems: list[str] = []
    found = raw.get("families")
    sections = cast(Mapping[str, Any], found if found is not None else {})
    if not isinstance(found, Mapping | None):
        return [f"families: must be a section of families, not {shown(found)}"]
    known = plugins.names("families")
    for name, keys in sections.items():
        if name not in known:
            problems.append(f"families.{name}: there is no such family{suggest(str(name), known)}")
        elif not isinstance(keys, Mapping | None):
            problems.append(f"families.{name}: must be a section of keys, not {shown(keys)}")
    train = raw.get("train")
    default = TrainSettings.model_fields["family"].default
    chosen = cast(Mapping[str, Any], train).get("family", default) if isinstance(train, Mapping) else default
    if not isinstance(chosen, str):
        return problems  # `train` says so
    if chosen not in known:
        return [*problems, f"train.family: there is no family '{chosen}'{suggest(chosen, known)}"]
    if not problems:
        problems += _configured(chosen, sections.get(chosen))
    return problems


def _configured(family: str, keys: Mapping[str, Any] | None) -> list[str]:
    """What is wrong with a family's own keys."""
    try:
        plugins.configure("families", {**(keys or {}), "name": family}, f"families.{family}")
    except SettingsError as error:
        return list(error.problems)
    return []


def _across(params: Params) -> list[str]:
    """Rules that span sections."""
    problems: list[str] = []
    try:
        plugins.configure("data.sources", params.ingest.source, "ingest.source")
    except SettingsError as error:
        problems.extend(error.problems)
    if params.ingest.holdout_fraction == 0:
        problems.append(
            "ingest.holdout_fraction: 0 holds nothing out, and the reference stage measures the holdout; "
            "it must be above 0, such as 0.2"
        )
    problems.extend(_arithmetic(params, params.train))
    problems.extend(_metric(params))
    if params.tune.trials:
        problems.extend(_space(params))
    return problems


def _arithmetic(params: Params, train: TrainSettings) -> list[str]:
    """Workers share the lanes evenly; the search's clock stops at ticks."""
    run, tune = params.run, params.tune
    problems: list[str] = []
    if train.lanes % run.most_workers:
        problems.append(
            f"run.num_workers: {run.most_workers} workers cannot share train.lanes: {train.lanes}; "
            f"take one of {[n for n in range(1, train.lanes + 1) if train.lanes % n == 0]}, or raise train.lanes"
        )
    if not tune.trials:
        return problems
    if tune.workers_per_trial > 1 and train.lanes % tune.workers_per_trial:
        problems.append(f"tune.workers_per_trial: {tune.workers_per_trial} does not divide train.lanes: {train.lanes}")
    clock = "interval" if tune.mode == "population" else "first_rung"
    for name, value in (("examples", tune.examples), (clock, getattr(tune, clock))):
        if value % train.tick:
            problems.append(f"tune.{name}: {value} is not a multiple of train.tick: {train.tick}")
    return problems


def _metric(params: Params) -> list[str]:
    """The score that decides a promotion is one that the chosen extractor measures."""
    metric, settings = params.register.metric, params.reference.extractor
    if settings["name"] == BLIND:
        compares = metric.partition("_")[0] in {*KINDS, "fid", "kid", "inception"}
        why = (
            f"register.metric: '{metric}' compares features, and reference.extractor.name: none looks at nothing; take"
        )
        return [f"{why} '{params.load_family().objective}'"] if compares else []
    chosen = _identities(str(settings["name"]), plugins.configure("extractors", settings, "reference.extractor"))
    right = [reported_name(kind, own) for kind in KINDS for own in chosen]
    for kind in KINDS:
        for other in (each for name in plugins.names("extractors") for each in _identities(name)):
            wrong = reported_name(kind, other)
            if wrong in right or metric not in {f"{wrong}{ending}" for ending in ENDINGS}:
                continue
            instead = metric.replace(wrong, reported_name(kind, chosen[0]))
            by, key, own = f"the extractor '{other.name}'", "name", f"'{chosen[0].name}'"
            if other.name == chosen[0].name:
                by, key, own = f"{by} at tap {other.tap}", "tap", str(chosen[0].tap)
            return [
                f"register.metric: '{metric}' is measured by {by}, and reference.extractor.{key} is {own}; "
                f"take '{instead}'"
            ]
    return []


def _identities(name: str, config: Settings | None = None) -> list[ExtractorIdentity]:
    """Who the extractor may turn out to be: at its tap, or any, with the published weights or others."""
    known = {} if config is None else config.model_dump(mode="json")
    taps = [known.get("tap")] if config is not None else TAPS if name == "inception" else [None]
    found = [identity_of(name, {"tap": tap}, 0, {"published": True}, "") for tap in taps]
    return [*found, *(identity_of(name, {"tap": tap}, 0, {}, "") for tap in taps)]


# --- the searched settings ----------------------------------------------------------------------


def _space(params: Params) -> list[str]:
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
                problems.append(f"tune.space.{dotted}: {shown(value)} would not do: {why}")
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


def stand_in(family: AnyFamily) -> DataSpec | None:
    """Images of some size that the family takes, where the data has not been looked at; None where it takes none."""
    for side in STAND_INS:
        for channels in (3, 1):
            spec = DataSpec("image", (channels, side, side), ("a", "b"))
            try:
                family.check(spec)
            except UserError:
                continue
            return spec if {"x"} <= family.needs <= {"x", "label"} else None
    return None


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
        return _configured(name, trial["families"].get(name))
    try:
        train = validate(TrainSettings, trial.get("train"), "train")
    except SettingsError as error:
        return list(error.problems)
    return [*_families(trial), *_arithmetic(params, train)]


def at(raw: Mapping[str, Any], dotted: str) -> Any:
    """The value of a dotted setting; None where it is not set."""
    current: Any = raw
    for part in dotted.split("."):
        if not isinstance(current, Mapping):
            return None
        current = cast(Mapping[str, Any], current).get(part)
    return current


class _Loader(yaml.SafeLoader):
    """YAML 1.2's numbers (1e-4 is one), and a key said twice is a mistake, not a choice."""


def _mapping(loader: _Loader, node: yaml.MappingNode) -> dict[Any, Any]:
    found: dict[Any, Any] = {}
    for key_node, value_node in node.value:
        if key_node.tag == MERGE:
            raise yaml.MarkedYAMLError(
                None, None, "merge keys (<<) are not read; write the keys out", key_node.start_mark
            )
        name = loader.construct_object(key_node, deep=True)  # pyright: ignore[reportUnknownMemberType]
        if not isinstance(name, Hashable):
            raise yaml.MarkedYAMLError(None, None, "a key must be a plain word", key_node.start_mark)
        if name in found:
            raise yaml.MarkedYAMLError(None, None, f"the key '{name}' stands twice", key_node.start_mark)
        found[name] = loader.construct_object(value_node, deep=True)  # pyright: ignore[reportUnknownMemberType]
    return found


def _float(loader: _Loader, node: yaml.ScalarNode) -> Any:
    return float(node.value.replace("_", ""))


_Loader.add_constructor(yaml.resolver.BaseResolver.DEFAULT_MAPPING_TAG, _mapping)
_Loader.add_implicit_resolver(
    "tag:zerosum,2026:exponent",
    re.compile(r"^[-+]?[0-9][0-9_]*(\.[0-9_]*)?[eE][-+]?[0-9]+$"),
    list("-+0123456789"),
)
_Loader.add_constructor("tag:zerosum,2026:exponent", _float)
