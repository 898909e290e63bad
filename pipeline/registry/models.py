"""Registered models: one version for the same weights, its tags, and the aliases it goes by."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypedDict

from pipeline.errors import BrokenArtefact, UserError
from pipeline.formats.model import ModelCard, load_card
from pipeline.formats.report import ScoreRecord, load_scores
from pipeline.params.register import RegisterSettings
from pipeline.registry import kept, promotion, serving, tracking
from pipeline.registry.addresses import RECEIPT, receipt, unregistered
from pipeline.registry.store import TrackingStore, opened
from pipeline.sampling.samples import open_model

if TYPE_CHECKING:
    from mlflow.entities.model_registry import ModelVersion, RegisteredModel

LONGEST_TAG = 5000
PREVIOUS = "previous_champion"
RECORD = "record."


class Registered(TypedDict):
    """Where a training has been put: version is the model's, run_id the training's."""

    name: str
    version: int
    run_id: str
    aliases: list[str]


@dataclass
class Work:
    """What registering had to do: whether anything in the store changed, and what was mended, as sentences."""

    changed: bool = False
    mended: list[str] = field(default_factory=lambda: [])

    def mend(self, sentence: str) -> None:
        """Note something that was there once and had to be put right."""
        self.changed = True
        self.mended.append(sentence)


@dataclass(frozen=True)
class Version:
    """One version as a table shows it; `scores` by the report's names."""

    version: int
    aliases: tuple[str, ...]
    scores: dict[str, float]
    tags: dict[str, str]


def register_run(
    training: tracking.Training, settings: RegisterSettings, root: Path, work: Work | None = None
) -> Registered:
    """Record a training and register its model, in the store of the project in `root`, made on first use.

    Repeating it makes neither a second run nor a second version; files that are gone from the store come back. work:
    is told what had to be done.

    Raises:
        UserError: if an artefact is missing or broken, or the store cannot be used.
    """
    with opened(root, create=True) as store, store.locked("registering"):
        run_id = tracking.record(store, settings.experiment, training)
        return register(store, settings, training, run_id, work)


def register(
    store: TrackingStore, settings: RegisterSettings, training: tracking.Training, run_id: str, work: Work | None = None
) -> Registered:
    """The version of these weights: found by their sha256, or made; tags and aliases brought up to date.

    It becomes `candidate`, and `champion` where there is none. A version whose files are gone gets them again; one
    whose logged model was deleted is replaced by a new one, with its tags and aliases.
    """
    work = work or Work()
    card = load_card(training.model)
    tags = _tags(training, card)
    found = _by_weights(store, settings.name, card.weights_sha256)
    if not found:
        _make(store, settings, training, run_id, tags)
        work.changed = True
        found = _by_weights(store, settings.name, card.weights_sha256)
    version, *later = found
    # Without a lock two clients of one server may both have made a version: the first stays.
    for double in later:
        store.client.delete_model_version(settings.name, double)
    version = _mended(store, settings, training, run_id, tags, version, work)
    known = store.client.get_model_version(settings.name, version).tags
    for key, value in {**tags, "run_id": run_id}.items():
        if known.get(key) != value:
            store.client.set_model_version_tag(settings.name, version, key, value)
            work.changed = True
    aliases = _model(store, settings.name).aliases
    wanted = [settings.candidate, *([] if settings.champion in aliases else [settings.champion])]
    for alias in wanted:
        if str(aliases.get(alias)) != version:
            store.client.set_registered_model_alias(settings.name, alias, version)
            work.changed = True
    aliases = _model(store, settings.name).aliases
    own = sorted(alias for alias, held in aliases.items() if str(held) == version)
    return Registered(name=settings.name, version=int(version), run_id=run_id, aliases=own)


def _mended(
    store: TrackingStore,
    settings: RegisterSettings,
    training: tracking.Training,
    run_id: str,
    tags: Mapping[str, str],
    number: str,
    work: Work,
) -> str:
    """The version with everything it needs to be opened: itself, or the one that takes its place."""
    version = store.client.get_model_version(settings.name, number)
    if kept.SOURCE.fullmatch(str(version.source)) is None:
        return number  # of other making
    logged = kept.logged_model(store, version)
    if logged is not None:
        generator, card = open_model(training.model)
        if not kept.whole(store, logged, card):
            serving.log_files(store, logged, training.model, card, generator.conditional)
            work.mend(f"the files of version {number} were gone from the store, and are there again")
        return number
    # MLflow never lets a version's source be changed.
    aliases = [alias for alias, held in _model(store, settings.name).aliases.items() if str(held) == number]
    _make(store, settings, training, run_id, {**version.tags, **tags})
    made = _by_weights(store, settings.name, weights := tags[tracking.WEIGHTS_TAG])[-1]
    for alias in aliases:
        store.client.set_registered_model_alias(settings.name, alias, made)
    for other in _all_versions(store, f"name = '{settings.name}'"):
        if other.tags.get(PREVIOUS) == number:
            store.client.set_model_version_tag(settings.name, str(other.version), PREVIOUS, made)
    for old in _by_weights(store, settings.name, weights)[:-1]:
        store.client.delete_model_version(settings.name, old)
    work.mend(f"the logged model of version {number} had been deleted: version {made} takes its place and its aliases")
    return made


def versions(store: TrackingStore, name: str) -> list[Version]:
    """Every version of the model, the newest first.

    Raises:
        UserError: if there is no such model.
    """
    aliases = _model(store, name).aliases
    found = [_version(version, aliases) for version in _all_versions(store, f"name = '{name}'")]
    return sorted(found, key=lambda each: -each.version)


def promote(
    store: TrackingStore, settings: RegisterSettings, version: int, forced: str | None = None
) -> promotion.Decision:
    """Move `champion` to `version` where the decision allows it, or a reason is given to force it.

    The version keeps who was champion before, when, and why.

    Raises:
        UserError: with both records, if it is refused; or if there is no such version.
    """
    candidate = _get(store, settings.name, version)
    champion = _champion(store, settings)
    if champion == version:
        return promotion.Decision(True, (f"version {version} is {settings.champion} already",))
    if champion is None:
        decision = promotion.Decision(True, (f"there is no {settings.champion} yet",))
    else:
        incumbent = _get(store, settings.name, champion)
        decision = promotion.decide(_record(candidate, settings), _record(incumbent, settings), settings)
    if not decision.allowed and not forced:
        raise UserError(
            f"version {version} of {settings.name} is not promoted over version {champion}:\n{decision.text}\n"
            'to promote it nevertheless: --force "reason"'
        )
    tags = {
        "promotion.time": datetime.now(UTC).isoformat(timespec="seconds"),
        "promotion.reason": forced or decision.reasons[0],
        "promotion.forced": "yes" if not decision.allowed else "no",
        "promotion.decision": decision.text,
        **({PREVIOUS: str(champion)} if champion is not None else {}),
    }
    # Tags before the alias: a kill between the two leaves a note on a version that did not move.
    for key, value in tags.items():
        store.client.set_model_version_tag(settings.name, str(version), key, tracking.cut(value, LONGEST_TAG))
    store.client.set_registered_model_alias(settings.name, settings.champion, str(version))
    return decision


def rollback(store: TrackingStore, settings: RegisterSettings) -> tuple[int, int]:
    """Move `champion` back to the one before; returns (from, to).

    Each promotion is undone once, so that repeating it ends where knowledge does.

    Raises:
        UserError: if there is no champion, none before it, or that one has been deleted.
    """
    current = _champion(store, settings)
    if current is None:
        raise UserError(f"{settings.name} has no {settings.champion}: there is nothing to roll back")
    before = _get(store, settings.name, current).tags.get(PREVIOUS)
    if before is None:
        raise UserError(f"no {settings.champion} is known before version {current} of {settings.name}: it stays")
    _get(store, settings.name, int(before))
    store.client.set_registered_model_alias(settings.name, settings.champion, before)
    store.client.set_model_version_tag(
        settings.name, str(current), "rolled_back", datetime.now(UTC).isoformat(timespec="seconds")
    )
    store.client.delete_model_version_tag(settings.name, str(current), PREVIOUS)
    return current, int(before)


# --- making a version -------------------------------------------------------------------------


def _make(
    store: TrackingStore, settings: RegisterSettings, training: tracking.Training, run_id: str, tags: Mapping[str, str]
) -> None:
    generator, card = open_model(training.model)
    logged = serving.log(store, training.model, card, generator.conditional, run_id)
    if not kept.whole(store, logged, card):
        serving.log_files(store, logged, training.model, card, generator.conditional)
    _make_model(store, settings.name)
    store.client.create_model_version(settings.name, f"models:/{logged}", run_id, dict(tags), model_id=logged)


def _make_model(store: TrackingStore, name: str) -> None:
    from mlflow.exceptions import MlflowException

    try:
        store.client.create_registered_model(name)
    except MlflowException as error:
        if error.error_code != "RESOURCE_ALREADY_EXISTS":
            raise


def _tags(training: tracking.Training, card: ModelCard) -> dict[str, str]:
    """Flat strings: identity, scores, their records, lineage, provenance."""
    records = {record.name: record for record in load_scores(training.report)}
    tags = {
        tracking.WEIGHTS_TAG: card.weights_sha256,
        "family": card.family,
        "examples_seen": str(card.examples_seen),
        "format_version": str(card.format_version),
        **{f"score.{name}": repr(value) for name, value in tracking.scores(training.report).items()},
        **{f"{RECORD}{name}": _compact(record.to_json()) for name, record in records.items()},
        **{f"lineage.{name}": value for name, value in training.lineage.items()},
        **{f"provenance.{name}": value for name, value in card.provenance.items()},
    }
    return {key: tracking.cut(value, LONGEST_TAG) for key, value in tags.items()}


def _compact(value: Any) -> str:
    return json.dumps(value, sort_keys=True, separators=(",", ":"))


# --- reading ----------------------------------------------------------------------------------


def _model(store: TrackingStore, name: str) -> RegisteredModel:
    from mlflow.exceptions import MlflowException

    try:
        return store.client.get_registered_model(name)
    except MlflowException as error:
        if error.error_code != "RESOURCE_DOES_NOT_EXIST":
            raise
        unregistered(store.root)
        raise UserError(
            f"{store.address.shown} holds no model '{name}'{_elsewhere(store, name)}. `zerosum register` registers "
            "what artifacts/ hold; `dvc repro` does so too, and makes them first where they are not there yet"
        ) from None


def _elsewhere(store: TrackingStore, name: str) -> str:
    """Where the project's receipt says that it was registered, if that is another store."""
    said = receipt(store.root)
    registry = said.get("registry")
    if said.get("name") != name or not isinstance(registry, str) or registry == store.address.recorded:
        return ""
    return f"; {RECEIPT} says that it was registered in {registry}, which MLFLOW_TRACKING_URI may name"


def _get(store: TrackingStore, name: str, version: int) -> ModelVersion:
    from mlflow.exceptions import MlflowException

    try:
        return store.client.get_model_version(name, str(version))
    except MlflowException as error:
        if error.error_code != "RESOURCE_DOES_NOT_EXIST":
            raise
        known = ", ".join(str(each.version) for each in versions(store, name)) or "none"
        raise UserError(f"{name} has no version {version}; it has {known}") from None


def _champion(store: TrackingStore, settings: RegisterSettings) -> int | None:
    held = _model(store, settings.name).aliases.get(settings.champion)
    return None if held is None else int(held)


def _by_weights(store: TrackingStore, name: str, weights_sha256: str) -> list[str]:
    """Versions of these weights, the oldest first."""
    wanted = f"name = '{name}' and tags.`{tracking.WEIGHTS_TAG}` = '{weights_sha256}'"
    return [str(number) for number in sorted(int(each.version) for each in _all_versions(store, wanted))]


def _all_versions(store: TrackingStore, wanted: str) -> list[ModelVersion]:
    found: list[ModelVersion] = []
    token: str | None = None
    while True:
        page = store.client.search_model_versions(wanted, page_token=token)
        found.extend(page)
        token = page.token
        if not token:
            return found


def _version(version: ModelVersion, aliases: Mapping[str, Any]) -> Version:
    own = sorted(alias for alias, held in aliases.items() if str(held) == str(version.version))
    scored = {
        name.removeprefix("score."): found
        for name, value in version.tags.items()
        if name.startswith("score.") and (found := tracking.number_in(value)) is not None
    }
    return Version(int(version.version), tuple(own), scored, dict(version.tags))


def _record(version: ModelVersion, settings: RegisterSettings) -> ScoreRecord | None:
    found = version.tags.get(f"{RECORD}{settings.metric}")
    try:
        return None if found is None else ScoreRecord.from_text(found)
    except BrokenArtefact:
        return None
