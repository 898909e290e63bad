"""reference: the measuring stick, once: an extractor, and the statistics of real train and holdout."""

from __future__ import annotations

from pipeline.cluster.connect.session import session
from pipeline.cluster.training import resources
from pipeline.dag import runner
from pipeline.dag.paths import mapped
from pipeline.params import Params
from pipeline.preflight import scores
from pipeline.preflight.fits import after_ingest
from pipeline.scoring.extract import ShardExamples
from pipeline.scoring.reference import measure


def main(params: Params, project: runner.Project) -> None:
    shards, out, run = project.artefact("shards"), project.artefact("reference"), params.run
    after_ingest(params, shards)
    scores.metric(params)
    cache, budget = project.work(params) / "cache", run.cache_megabytes * 2**20
    train, holdout = (ShardExamples(shards, split, cache, budget) for split in ("train", "holdout"))
    if resources.spreads(run, len(train) + len(holdout), run.spread_from):
        with session(run):
            runner.hear_signals()
            over = mapped(params, project)
            measure(params.reference, train, holdout, out, train.manifest_sha256, print, over)
    else:
        measure(params.reference, train, holdout, out, train.manifest_sha256, print)


if __name__ == "__main__":
    runner.run("reference", main)
