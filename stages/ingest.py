"""ingest: the source's examples → webdataset shards and their manifest."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from pipeline.cluster.connect.session import session
from pipeline.cluster.tasks import map_tasks
from pipeline.cluster.tasks.carried import carried
from pipeline.cluster.training import resources
from pipeline.dag import outside, runner
from pipeline.data import columns, listing, notes, packing
from pipeline.data.opening import open_source
from pipeline.formats.shards import Manifest
from pipeline.params import Params
from pipeline.preflight.fits import after_ingest
from pipeline.preflight.items import before_ingest
from pipeline.run.addresses import resolve


def main(params: Params, project: runner.Project) -> None:
    source = open_source(params.ingest)
    before_ingest(params, source)
    out = project.artefact("shards")
    run = params.run
    items = len(source.entries())
    used = min(items, params.ingest.limit or items)
    limited = f", of which {used:,} are used (ingest.limit)" if used < items else ""
    print(f"{items:,} items from {params.ingest.source['name']}{limited}")
    progress = Passes()
    if resources.spreads(run, used):
        mapped = carried if _apart(params) else map_tasks.in_order
        with session(run):
            runner.hear_signals()
            manifest = packing.ingest(params.ingest, out, source=source, map_shards=mapped, progress=progress)
    else:
        manifest = packing.ingest(params.ingest, out, source=source, progress=progress)
    after_ingest(params, out)
    describe(manifest)


def _apart(params: Params) -> bool:
    """Whether nodes may not see the source's files, or the folder of the shards, so that tasks take all along."""
    if resolve(params.run.address).kind == "private":
        return False
    return not resources.shares_folders(params.run) or outside.source_is_here_alone(params)


class Passes:
    """A dot for every piece of work that has come back, a line for each of the two passes."""

    def __init__(self) -> None:
        self._names = iter(("reading", "packing"))

    def __call__(self, answers: Iterable[Any]) -> Iterable[Any]:
        print(f"{next(self._names)} ", end="", flush=True)
        for answer in answers:
            print(".", end="", flush=True)
            yield answer
        print()


def describe(manifest: Manifest) -> None:
    """What was packed, in a few lines."""
    spec = manifest.spec
    shape = "×".join(str(side) for side in spec.shape)
    print(f"{spec.modality} {shape}, {f'{len(spec.classes)} classes' if spec.classes else 'unlabelled'}")
    if spec.columns:
        print(f"columns: {columns.pinned(spec.columns)}")
        print("  as ingest.source.columns they stay so when the table changes")
    for name, split in manifest.splits.items():
        size = sum(shard.bytes for shard in split.shards)
        shards = f"{len(split.shards)} shard{'s' if len(split.shards) != 1 else ''}"
        print(f"{name}: {split.examples:,} examples in {shards}, {size / 2**20:.1f} MiB")
        if split.histogram:
            print("  " + "  ".join(f"{label}: {count}" for label, count in split.histogram.items()))
    if manifest.captions:
        counts = manifest.captions
        print(
            f"captions: {counts['captions']:,} of {counts['pictures']:,} pictures, {counts['distinct']:,} different, "
            f"the longest of {counts['longest']} characters"
        )
    if manifest.duplicates.get("examples"):
        print(f"duplicates: {manifest.duplicates['examples']} ({manifest.duplicates['policy']})")
    for reason, count in manifest.rejects.items():
        print(f"rejected: {count} × {reason} (artifacts/shards/rejects.csv)")
    if manifest.passed_over:
        print(f"passed over: {listing.described(manifest.passed_over)} (artifacts/shards/passed_over.csv)")
    for sentence in notes.sentences(manifest.notes, "artifacts/shards"):
        print(f"note: {sentence}")


if __name__ == "__main__":
    runner.run("ingest", main)
