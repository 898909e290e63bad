"""register: the model, its scores and its lineage → MLflow, as `candidate`, `champion` if there is none."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, cast

from pipeline.formats import files
from pipeline.formats.model import load_card
from pipeline.formats.report import load_scores
from pipeline.formats.search import Best, load_best
from pipeline.params import Params
from pipeline.settings import SettingsError, suggest
from stages import _stage
from stages.evaluate import table


def main(params: Params, project: _stage.Project) -> None:
    from pipeline.registry import lineage
    from pipeline.registry.models import register_run
    from pipeline.registry.tracking import Training, scores

    model, report = project.artefact("model"), project.artefact("report")
    load_card(model)
    scores(report)
    known = [record.name for record in load_scores(report)]
    if params.register.metric not in known:
        near = suggest(params.register.metric, known)
        raise SettingsError(f"register.metric: the report holds no score '{params.register.metric}'{near}")
    best = load_best(project.artefact("search"))
    settings = {name: section for name, section in params.raw.items() if name not in {"run", "register"}}
    training = Training(
        model=model,
        report=report,
        params={**flat(settings), **searched(best)},
        history=table(model / "history.tsv", "\t"),
        lineage=lineage.gather(project.root, project.artefact("shards") / "manifest.json", settings),
        attachments=[path for path in (project.root / "params.yaml", project.root / "dvc.lock") if path.exists()],
    )
    registered = register_run(training, params.register, project.root)
    aliases = ", ".join(registered["aliases"])
    files.write_json(project.artefact("curves") / "registration" / "registration.json", dict(registered))
    print(f"{registered['name']} version {registered['version']}: {aliases}")
    champion = params.register.champion
    alias = champion if champion in registered["aliases"] else params.register.candidate
    print(f"  zerosum generate --model models:/{registered['name']}@{alias} --n 64 --out samples")
    if alias != champion:
        print(f"  zerosum promote --version {registered['version']}")


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


if __name__ == "__main__":
    _stage.run("register", main)
