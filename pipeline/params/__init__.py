"""params.yaml as a whole: every section typed, and the rules that span sections, before any work."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pipeline import plugins
from pipeline.contract import AnyFamily
from pipeline.data import derived
from pipeline.data.settings import IngestSettings
from pipeline.errors import SettingsError
from pipeline.params.arithmetic import arithmetic
from pipeline.params.choices import deciding, families
from pipeline.params.register import RegisterSettings
from pipeline.params.space import space
from pipeline.params.text import parse
from pipeline.run.settings import RunSettings
from pipeline.scoring.settings import EvaluateSettings, ReferenceSettings
from pipeline.search.settings import TuneSettings
from pipeline.settings import Settings, override, suggest, validate
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
    return parse(path, SECTIONS)


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
    problems.extend(families(raw))
    if problems:
        raise SettingsError(*problems)
    params = Params(**parts, raw=raw)
    problems = _across(params)
    if problems:
        raise SettingsError(*problems)
    return params


def _across(params: Params) -> list[str]:
    """Rules that span sections."""
    problems: list[str] = []
    try:
        plugins.configure("data.sources", params.ingest.source, "ingest.source")
    except SettingsError as error:
        problems.extend(error.problems)
    try:
        derived.check(params.ingest.derive)
    except SettingsError as error:
        problems.extend(error.problems)
    if params.ingest.holdout_fraction == 0:
        problems.append(
            "ingest.holdout_fraction: 0 holds nothing out, and the reference stage measures the holdout; "
            "it must be above 0, such as 0.2"
        )
    problems.extend(arithmetic(params, params.train))
    problems.extend(deciding(params))
    if params.tune.trials:
        problems.extend(space(params))
    return problems
