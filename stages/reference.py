"""reference: the measuring stick, once: an extractor, and the statistics of real train and holdout."""

from __future__ import annotations

from pipeline.data.batches import Reader
from pipeline.evaluation.reference import measure
from pipeline.params import Params
from stages import _checks, _stage


def main(params: Params, project: _stage.Project) -> None:
    shards = project.artefact("shards")
    _checks.after_ingest(params, shards)
    cache, budget = project.work(params) / "cache", params.run.cache_megabytes * 2**20
    train = Reader(shards, "train", cache=cache, cache_budget=budget)
    holdout = Reader(shards, "holdout", cache=cache, cache_budget=budget)
    out = project.artefact("reference")
    measure(params.reference, train, holdout, out, train.manifest.sha256, progress=print)


if __name__ == "__main__":
    _stage.run("reference", main)
