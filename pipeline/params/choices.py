"""The chosen plug-ins: the family and its own keys, the source, the extractor whose score decides."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, cast

from pipeline import plugins
from pipeline.contract.extractor import ExtractorIdentity, identity_of
from pipeline.errors import SettingsError
from pipeline.score_names import KINDS, extractor_class, reported_name
from pipeline.settings import Settings, shown, suggest
from pipeline.training.settings import TrainSettings

if TYPE_CHECKING:
    from pipeline.params import Params

ENDINGS = ("", "_at_holdout_n", "_holdout")


def families(raw: Mapping[str, Any]) -> list[str]:
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
        problems += configured(chosen, sections.get(chosen))
    return problems


def configured(family: str, keys: Mapping[str, Any] | None) -> list[str]:
    """What is wrong with a family's own keys."""
    try:
        plugins.configure("families", {**(keys or {}), "name": family}, f"families.{family}")
    except SettingsError as error:
        return list(error.problems)
    return []


def deciding(params: Params) -> list[str]:
    """Refuse a score to promote by that the chosen extractor does not measure; say which it does."""
    metric, settings = params.register.metric, params.reference.extractor
    if not extractor_class(str(settings["name"])).looks:
        if metric == params.load_family().objective and not metric.startswith(KINDS):
            return []
        names = [reported_name(kind, each) for each in _every_identity() for kind in KINDS]
        compares = metric.startswith(KINDS) or any(metric.startswith(name) for name in names)
        why = f"'{metric}' compares features, and reference.extractor.name: {settings['name']} looks at nothing; take"
        return [f"register.metric: {why} '{params.load_family().objective}'"] if compares else []
    chosen = _identities(str(settings["name"]), plugins.configure("extractors", settings, "reference.extractor"))
    right = [reported_name(kind, own) for kind in KINDS for own in chosen]
    if any(metric == f"{name}{ending}" for name in right for ending in ENDINGS):
        return []  # other extractors' code is not even imported: no stage depends on it
    for kind in KINDS:
        for other in _every_identity():
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
    settings = extractor_class(name).variants() if config is None else (config.model_dump(mode="json"),)
    found = [identity_of(name, each, 0, {"published": True}, "") for each in settings]
    return [*found, *(identity_of(name, each, 0, {}, "") for each in settings)]


def _every_identity() -> list[ExtractorIdentity]:
    return [each for name in plugins.names("extractors") for each in _identities(name)]
