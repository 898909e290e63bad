"""params.yaml as a whole: every section typed, and the rules that span sections, before any work."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import yaml

from pipeline import plugins
from pipeline.cluster.settings import RunSettings, TuneSettings
from pipeline.contract import AnyFamily
from pipeline.data.settings import IngestSettings
from pipeline.evaluation.settings import EvaluateSettings, ReferenceSettings
from pipeline.registry.settings import RegisterSettings
from pipeline.settings import Settings, SettingsError, override, suggest, validate
from pipeline.training.settings import TrainSettings

SECTIONS: dict[str, type[Settings]] = {
    "ingest": IngestSettings,
    "reference": ReferenceSettings,
    "tune": TuneSettings,
    "train": TrainSettings,
    "evaluate": EvaluateSettings,
    "register": RegisterSettings,
    "run": RunSettings,
}


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
        raise SettingsError(f"{path.name} is missing from {path.parent.resolve()}") from None
    except (UnicodeDecodeError, IsADirectoryError) as error:
        raise SettingsError(f"{path.name} is not a text file: {error}") from None
    try:
        data = yaml.load(text, Loader=_Loader)
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        place = f" at line {mark.line + 1}, column {mark.column + 1}" if mark else ""
        raise SettingsError(f"{path.name} is not valid YAML{place}: {getattr(error, 'problem', error)}") from None
    if not isinstance(data, dict):
        raise SettingsError(f"{path.name} must hold sections ({', '.join(SECTIONS)}), not {type(data).__name__}")
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
    sections = raw.get("families") or {}
    if not isinstance(sections, Mapping):
        return [f"families: must be a section of families, not {sections!r}"]
    known = plugins.names("families")
    for name in cast(Mapping[str, Any], sections):
        if name not in known:
            problems.append(f"families.{name}: there is no such family{suggest(str(name), known)}")
    train = raw.get("train")
    chosen = cast(Mapping[str, Any], train).get("family", "dcgan") if isinstance(train, Mapping) else "dcgan"
    keys = cast(Mapping[str, Any], sections).get(chosen) or {}
    if not isinstance(keys, Mapping):
        return [*problems, f"families.{chosen}: must be a section of keys, not {keys!r}"]
    try:
        if chosen not in known:
            raise SettingsError(f"train.family: there is no family '{chosen}'{suggest(str(chosen), known)}")
        plugins.configure("families", {**cast(Mapping[str, Any], keys), "name": chosen}, f"families.{chosen}")
    except SettingsError as error:
        problems.extend(error.problems)
    return problems


def _across(params: Params) -> list[str]:
    """Rules that span sections."""
    train, run, tune = params.train, params.run, params.tune
    problems: list[str] = []
    for where, check_plugin in (
        ("ingest.source", lambda: plugins.configure("data.sources", params.ingest.source, "ingest.source")),
        (
            "reference.extractor",
            lambda: plugins.configure("extractors", params.reference.extractor, "reference.extractor"),
        ),
    ):
        try:
            check_plugin()
        except SettingsError as error:
            problems.extend(error.problems or (f"{where}: {error}",))
    if train.lanes % run.num_workers:
        problems.append(
            f"run.num_workers: {run.num_workers} workers cannot share train.lanes: {train.lanes}; "
            f"take one of {[n for n in range(1, train.lanes + 1) if train.lanes % n == 0]}, or raise train.lanes"
        )
    if tune.workers_per_trial > 1 and train.lanes % tune.workers_per_trial:
        problems.append(f"tune.workers_per_trial: {tune.workers_per_trial} does not divide train.lanes: {train.lanes}")
    if tune.trials:
        for name, value in (("examples", tune.examples), ("first_rung", tune.first_rung)):
            if value % train.tick:
                problems.append(f"tune.{name}: {value} is not a multiple of train.tick: {train.tick}")
        problems.extend(_space(params))
    return problems


def _space(params: Params) -> list[str]:
    """The searched settings exist, are set nowhere else, and every choice is one the setting takes."""
    problems: list[str] = []
    for dotted, searched in params.tune.space.items():
        section, _, rest = dotted.partition(".")
        if section not in {"train", "families"} or not rest:
            problems.append(f"tune.space.{dotted}: only train.… and families.… can be searched")
            continue
        if _at(params.raw, dotted) is not None:
            problems.append(
                f"{dotted}: is set to {_at(params.raw, dotted)!r} and also searched by tune.space; "
                "remove one of the two (tune.trials: 0 uses the settings as they are)"
            )
            continue
        ends = searched.choice or list(searched.uniform or searched.loguniform or searched.randint or ())
        for value in ends:
            try:
                _check_one(params, dotted, value)
            except SettingsError as error:
                problems.append(f"tune.space.{dotted}: {value!r} would not do: {'; '.join(error.problems)}")
                break
    return problems


def _check_one(params: Params, dotted: str, value: Any) -> None:
    trial = override(params.raw, {dotted: value})
    if dotted.startswith("families."):
        name = dotted.split(".")[1]
        if name not in plugins.names("families"):
            raise SettingsError(f"there is no family '{name}'{suggest(name, plugins.names('families'))}")
        keys = (trial.get("families") or {}).get(name) or {}
        plugins.configure("families", {**keys, "name": name}, f"families.{name}")
        return
    validate(TrainSettings, trial.get("train"), "train")
    problems = _families(trial)
    if problems:
        raise SettingsError(*problems)


def _at(raw: Mapping[str, Any], dotted: str) -> Any:
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
        name = loader.construct_object(key_node, deep=True)  # pyright: ignore[reportUnknownMemberType]
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
