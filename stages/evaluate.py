"""evaluate: one pass of samples feeds every metric → metrics.json, scores.json, report.html."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from pipeline import plugins
from pipeline.cluster.connect.session import session
from pipeline.cluster.training import resources
from pipeline.contract import LocalWorld
from pipeline.contract.extractor import Examples
from pipeline.dag import journal, runner
from pipeline.dag.paths import mapped
from pipeline.data.batches import Reader
from pipeline.formats.model import load_card
from pipeline.formats.reference import Reference
from pipeline.formats.search import load_best
from pipeline.formats.shards import Manifest
from pipeline.params import Params
from pipeline.preflight.scores import same_weights
from pipeline.reporting import gallery, table_view
from pipeline.reporting.report import ReportInputs, write_report
from pipeline.sampling.samples import open_model
from pipeline.scoring import text_training
from pipeline.scoring.evaluate import Evaluation, confusion, evaluate
from pipeline.scoring.extract import ShardInputs, inputs_of
from pipeline.scoring.in_training import floor
from pipeline.storage import tables, yaml_text


def main(params: Params, project: runner.Project) -> None:
    model, shards = project.artefact("model"), project.artefact("shards")
    manifest = Manifest.load(shards)
    reference = Reference.load(project.artefact("reference"), manifest.sha256)
    same_weights(params, reference)
    card = load_card(model)
    given = inputs_of(plugins.load("families", {"name": card.family, **card.config}), shards)
    cache, budget = project.work(params) / "cache", params.run.cache_megabytes * 2**20
    splits = {split: Reader(shards, split, cache=cache, cache_budget=budget) for split in ("train", "holdout")}
    result = scored(params, project, reference, model, given, splits)
    source, card = open_model(model, threads=params.evaluate.threads, inputs=given)
    print("drawing the report")
    best = load_best(project.artefact("search"))
    computed = {name: params.raw.get(name) or {} for name in ("ingest", "reference", "train", "evaluate")}
    # The manifest's account of the source names no folder of this machine.
    computed["ingest"] = {**computed["ingest"], "source": manifest.source}
    computed["families"] = {card.family: card.config}
    if best.overrides:
        computed["searched"] = best.overrides
    if best.schedule:
        computed["schedule"] = best.schedule
    curves = table(model / "history.tsv", "\t")
    inputs = ReportInputs(
        title=f"{params.register.name} · {card.family}",
        records=result.records,
        gallery=gallery.build(params.evaluate, source, reference, splits["train"]),
        grids=[
            (f"{int(path.stem):,}", path.read_bytes())
            for path in sorted((model / "grids").glob("*.png"))
            if path.stem.isdecimal()
        ],
        curves=curves,
        trials=table(project.artefact("search") / "trials.csv", ","),
        settings=yaml_text.dump(computed),
        provenance={**card.provenance, "weights_sha256": card.weights_sha256, "manifest_sha256": manifest.sha256},
        confusion=confusion(result.seen, manifest.spec.classes),
        accuracy=reference.card.report.get("accuracy"),
        text_encoder=text_training.described(reference.card),
        pairs=result.pairs,
        floor=small_n(reference, curves, params.evaluate.seed),
        table=table_view.build(source, splits["train"], params.evaluate.seed, params.evaluate.truncation),
    )
    write_report(project.artefact("report"), inputs)
    journal.tell("scores", {record.name: record.value for record in result.records})
    width = max(len(record.name) for record in result.records)
    for record in result.records:
        value = f"{record.value:,.0f}" if abs(record.value) >= 10_000 else f"{record.value:.4f}"
        print(f"  {record.name:{width}}  {value}{f' ± {record.spread:.2g}' if record.spread else ''}")
    print("open artifacts/report/report.html")


def small_n(reference: Reference, curves: Sequence[Mapping[str, Any]], seed: int) -> tuple[int, float, float] | None:
    """How many samples the scores during training had, and what the same number of real training examples scores."""
    sizes = {int(row["score_samples"]) for row in curves if row.get("score_samples")}
    if reference.blind or not sizes:
        return None
    n = max(sizes)
    return (n, *floor(reference, n, seed))


def scored(
    params: Params,
    project: runner.Project,
    reference: Reference,
    model: Path,
    inputs: ShardInputs | None,
    splits: Mapping[str, Examples],
) -> Evaluation:
    """The scores; a long pass of samples is spread over Ray's workers, with the same result."""
    run, settings = params.run, params.evaluate
    samples = settings.repeats * (settings.samples or reference.card.counts["train"])
    if not resources.spreads(run, samples, run.spread_from):
        return evaluate(settings, reference, model, LocalWorld(), print, inputs=inputs, splits=splits)
    with session(run):
        runner.hear_signals()
        return evaluate(settings, reference, model, LocalWorld(), print, mapped(params, project), inputs, splits)


def table(path: Path, delimiter: str) -> list[dict[str, Any]]:
    """A table's rows with numbers as numbers; empty where there is no such file."""
    return [{name: number(value) for name, value in row.items() if value != ""} for row in tables.read(path, delimiter)]


def number(text: str) -> Any:
    """`text` as an int or float where it is one."""
    for kind in (int, float):
        try:
            return kind(text)
        except ValueError:
            continue
    return text


if __name__ == "__main__":
    runner.run("evaluate", main)
