"""What artifacts/ hold → the registry: the register stage and `zerosum register` are this."""

from __future__ import annotations

import json
import os
import shlex
import shutil
import uuid
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, cast

from pipeline.errors import SettingsError, UserError
from pipeline.formats.model import load_card
from pipeline.formats.report import load_scores
from pipeline.formats.search import Best, load_best
from pipeline.params import Params
from pipeline.registry import lineage
from pipeline.registry.addresses import RECEIPT, SEEN, TrackingAddress, project_of, read_receipt, resolve
from pipeline.registry.models import Registered, Work, register_run
from pipeline.registry.tracking import Training, scores
from pipeline.settings import at, suggest
from pipeline.storage import files, tables

APART = frozenset({"run", "register"})  # sections that no artefact depends on


def register(params: Params, root: Path, work: Work | None = None) -> Registered:
    """Register the model and report in `root`/artifacts by the settings, and leave the receipt.

    Repeating it makes neither a second run nor a second version. work: is told what had to be done.

    Raises:
        UserError: if an artefact is missing or broken, or the store cannot be used.
        SettingsError: if register.metric is no score of the report.
    """
    artifacts = root / "artifacts"
    model, report = artifacts / "model", artifacts / "report"
    card = load_card(model)
    scores(report)
    known = [record.name for record in load_scores(report)]
    if params.register.metric not in known:
        near = suggest(params.register.metric, known)
        raise SettingsError(f"register.metric: the report holds no score '{params.register.metric}'{near}")
    settings = {name: section for name, section in params.raw.items() if name not in APART}
    training = Training(
        model=model,
        report=report,
        params={**flat(settings), **searched(load_best(artifacts / "search"))},
        history=list(_history(model / "history.tsv")),
        lineage=lineage.gather(root, artifacts / "shards" / "manifest.json", settings),
        attachments=[path for path in (root / "params.yaml", root / "dvc.lock") if path.exists()],
    )
    registered = register_run(training, params.register, root, work)
    address = resolve(root)
    leave_receipt(root, registered, address)
    told = {"name": registered["name"], "registry": address.recorded, "weights_sha256": card.weights_sha256}
    files.write_json(root / SEEN, told)
    return registered


def lines(registered: Registered, params: Params, work: Work) -> list[str]:
    """What a person is told: the version and its aliases, and what to do with it."""
    name, version, champion = registered["name"], registered["version"], params.register.champion
    alias = champion if champion in registered["aliases"] else params.register.candidate
    return [
        f"{name} version {version}: {', '.join(registered['aliases'])}",
        *(f"  {sentence}" for sentence in work.mended),
        f"  zerosum generate --model {shlex.quote(f'models:/{name}@{alias}')} --n 64 --out samples",
        *([f"  zerosum promote --version {version}"] if alias != champion else []),
    ]


def settled(params: Params, root: Path) -> None:
    """Refuse to register artifacts/ that other settings made than those of params.yaml now, as dvc.lock has them.

    The version would say that it was made by these. Without a dvc.lock nothing is known.

    Raises:
        UserError: naming the stages and their sections.
    """
    changed: dict[str, list[str]] = {}
    for stage, entry in lineage.upstream(lineage.read_lock(root)).items():
        recorded = cast(dict[str, Any], (entry["params"] or {}).get("params.yaml") or {})
        for key, value in recorded.items():
            if key not in APART and not key.startswith("register.") and at(params.raw, key) != value:
                changed.setdefault(key, []).append(stage)
    if changed:
        named = ", ".join(f"{key} ({', '.join(stages)})" for key, stages in changed.items())
        raise UserError(
            f"params.yaml has changed since artifacts/ were made: {named}; `dvc repro` makes and registers them again, "
            "`git checkout params.yaml` takes the change back"
        )


def leave_receipt(root: Path, registered: Registered, address: TrackingAddress) -> None:
    """Write artifacts/curves/registration/registration.json, register's out: what was registered, and where.

    A link to the receipt's folder beside an embedded database, so that DVC misses its out where the database is lost
    with what lies beside it, and registers again. A plain folder for another store, and in DVC's copy of a project for
    an experiment. A receipt that says so already stays, whatever aliases have moved since: DVC would see another out.
    """
    folder, content = root / RECEIPT.parent, {**registered, "registry": address.recorded}
    if address.receipts is not None:
        beside = address.receipts / registered["name"]
        _keep(beside / RECEIPT.name, content)
        if project_of(root.resolve()) == root.resolve():
            # Within the project the link is relative, so that both move together.
            _lead(folder, os.path.relpath(beside, folder.parent.resolve()) if address.home is not None else str(beside))
            return
    if folder.is_symlink():
        folder.unlink()
    _keep(root / RECEIPT, content)


def _keep(path: Path, content: dict[str, Any]) -> None:
    if {**read_receipt(path), "aliases": content["aliases"]} != content:
        files.write_json(path, content)


def _lead(folder: Path, to: str) -> None:
    """Make `folder` a link to `to`, in place of a link to elsewhere or a folder with an older receipt."""
    if folder.is_symlink() and str(folder.readlink()) == to:
        return
    if folder.is_dir() and not folder.is_symlink():
        shutil.rmtree(folder)
    folder.parent.mkdir(parents=True, exist_ok=True)
    temporary = folder.with_name(f".{folder.name}.{uuid.uuid4().hex[:8]}.tmp")
    try:
        temporary.symlink_to(to)
        temporary.replace(folder)
    finally:
        temporary.unlink(missing_ok=True)


def searched(best: Best) -> dict[str, Any]:
    """What the search found, and from which examples on something else."""
    found = {f"searched.{name}": value for name, value in best.overrides.items()}
    for entry in best.schedule:
        found |= {f"searched.from_{entry['from']}.{name}": value for name, value in entry["overrides"].items()}
    return found


def flat(section: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Nested settings by dotted name; lists as JSON."""
    found: dict[str, Any] = {}
    for name, value in section.items():
        if isinstance(value, Mapping):
            found |= flat(cast(Mapping[str, Any], value), f"{prefix}{name}.")
        else:
            found[f"{prefix}{name}"] = json.dumps(value) if isinstance(value, list) else value
    return found


def _history(path: Path) -> Iterator[dict[str, float]]:
    """The numbers of the training's curve, a row a tick; none where there is no such file."""
    for row in tables.read(path, "\t"):
        yield {name: number for name, text in row.items() if (number := _number(text)) is not None}


def _number(text: str | None) -> float | None:
    try:
        return float(text or "")
    except ValueError:
        return None
