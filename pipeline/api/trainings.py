"""Trainings: the loop in this process, or on Ray's workers, with the same result."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from pipeline import fingerprint, own_plugins
from pipeline import params as whole
from pipeline.api.data import WORK, Data
from pipeline.api.models import Model
from pipeline.cluster.training import resources
from pipeline.contract import LocalWorld, MemoryReporter
from pipeline.errors import Collapsed, SettingsError
from pipeline.experiment import PUBLISHED, Experiment, fit_and_score, publish_run
from pipeline.formats.reference import Reference
from pipeline.params import Params
from pipeline.params.chosen import plugins_of
from pipeline.preflight.fits import after_ingest
from pipeline.sampling.samples import open_model
from pipeline.storage import files
from pipeline.storage.damage import parse_json
from pipeline.training.progress import ConsoleReporter

if TYPE_CHECKING:
    from collections.abc import Generator

    from pipeline.api.searching import SearchResult

CACHE = 2048  # MB of decoded examples


@dataclass(frozen=True)
class Run:
    """A finished training.

    history: a record for each tick: `examples_seen`, `time`, losses as `<phase>/<part>`, scores.
    reference: the statistics of the data that it was scored against.
    folder: checkpoints, grids and the published model; equal settings, data and code come back to it.
    """

    model: Model
    history: list[dict[str, Any]]
    reference: Reference
    folder: Path

    def __repr__(self) -> str:
        return f"Run({self.model!r} in {str(self.folder)!r})"


def train(
    family: str,
    data: Data,
    *,
    preset: str | None = None,
    settings: Mapping[str, Any] | None = None,
    found: SearchResult | None = None,
    extractor: str | Mapping[str, Any] | None = None,
    run: Mapping[str, Any] | None = None,
    folder: str | Path | None = None,
    progress: bool = True,
    **keys: Any,
) -> Run:
    """Train a family on data to the end; a training that was interrupted goes on when this is called again.

    Args:
        family: a file of pipeline/families, such as `"dcgan"`; `zerosum families` lists them.
        data: what `ingest` or `open_data` gave.
        preset: a name of the family's own, for its published or small settings.
        settings: keys of the family, such as `{"generator": {"lr": 1e-3}}`, over those of the preset.
        found: what `search` gave; its best settings go over all others.
        extractor: what scores on the way are computed with; by default `classifier` for labelled data, and
            `random_projection` for other data.
        run: keys of the section `run` of params.yaml. `num_workers: 2` trains on a private Ray, and
            `address: host:port` on a cluster's; without either the training runs in this process. All give the same
            bytes.
        folder: where it works; by default `.work/runs/…`, named for all that is computed.
        progress: print a line for each tick.
        keys: keys of the section `train`, such as `examples=50_000, batch_size=64, seed=1`.

    Raises:
        SettingsError: for an unknown or impossible setting, or data that the family cannot be trained on.
        TrainingFailed: if it diverges, or the workers die.
    """
    params = checked(family, data, preset, settings, extractor, run, {"train": keys})
    schedule: tuple[dict[str, Any], ...] = ()
    if found is not None:
        params = params.with_overrides(found.best.overrides)
        schedule = tuple(
            {"from": entry["from"], "family": params.with_overrides(entry["overrides"]).family}
            for entry in found.best.schedule
        )
    reference = reference_of(data, params)
    places = paths(data, reference)
    computed = params.train.model_dump(mode="json")
    named = {name: value for name, value in computed.items() if name != "examples"}
    scratch = scratch_of(
        "train", params, {"train": named, "family": params.family, "schedule": schedule}, places, folder
    )
    experiment = Experiment(computed, params.family, scratch=str(scratch), schedule=schedule, **places)
    reporter = ConsoleReporter(params.train.examples) if progress else MemoryReporter()
    if is_local(params):
        published = _here(experiment, params, reporter)
    else:
        from pipeline.cluster.connect.session import session
        from pipeline.cluster.training import launch

        with session(params.run, resources.private_cpus(params.run)):
            published = launch.train(experiment, params.run, reporter)
    history = [parse_json(line) for line in (published / "history.jsonl").read_text(encoding="utf-8").splitlines()]
    return Run(Model(*open_model(published), published), history, reference, scratch)


def checked(
    family: str,
    data: Data,
    preset: str | None,
    settings: Mapping[str, Any] | None,
    extractor: str | Mapping[str, Any] | None,
    run: Mapping[str, Any] | None,
    sections: Mapping[str, Mapping[str, Any]],
) -> Params:
    """The arguments as a params.yaml would hold them, checked with the data.

    Raises:
        SettingsError: naming every wrong key at once.
    """
    chosen = extractor or ("classifier" if data.classes else "random_projection")
    own = {**({} if preset is None else {"preset": preset}), **(settings or {})}
    raw: dict[str, Any] = {
        "reference": {"extractor": {"name": chosen} if isinstance(chosen, str) else dict(chosen)},
        "tune": {"trials": 0},
        "families": {family: own},
        "register": {"metric": "precision"},  # nothing is registered; a name that no extractor refuses
        "run": {"storage": str(WORK), "cache_megabytes": CACHE, "num_workers": 1, **(run or {})},
        **sections,
    }
    raw["train"] = {"family": family, **sections.get("train", {})}
    if str(raw["run"].get("address", "")).startswith("http"):
        raise SettingsError("run.address: jobs are for the stages of a project; name a cluster's host:port")
    params = whole.check(raw)
    after_ingest(params, data.folder)
    return params


def reference_of(data: Data, params: Params) -> Reference:
    """The statistics that the settings ask for."""
    chosen = params.reference
    return data.reference(chosen.extractor, seed=chosen.seed, threads=chosen.threads)


def paths(data: Data, reference: Reference) -> dict[str, Any]:
    """What an `Experiment` needs besides settings."""
    return {
        "shards": str(data.folder),
        "reference": str(reference.folder.absolute()),
        "cache": str((WORK / "cache").absolute()),
        "cache_budget": CACHE * 2**20,
    }


def scratch_of(
    work: str, params: Params, computed: Mapping[str, Any], places: Mapping[str, Any], folder: str | Path | None
) -> Path:
    """A folder named for settings, data and code, or the one that was asked for."""
    packages = {"pipeline": own_plugins.folders()}
    entries = ["pipeline.experiment", *plugins_of(params, work)]
    code = fingerprint.digests(fingerprint.closure(entries, packages))
    data = Data(Path(places["shards"])).manifest.sha256
    identity = {"computed": dict(computed), "data": data, "reference": Path(places["reference"]).name, "code": code}
    name = f"{work}-{params.train.family}-{files.sha256_json(identity)[:12]}"
    found = (WORK / "runs" / name if folder is None else Path(folder)).absolute()
    found.mkdir(parents=True, exist_ok=True)
    return found


def is_local(params: Params) -> bool:
    """Whether no Ray is needed."""
    return not params.run.address and params.run.most_workers == 1


def _here(experiment: Experiment, params: Params, reporter: Any) -> Path:
    device = "cuda" if resources.use_cuda(params.run) else "cpu"
    with _threads_kept():
        outcome = fit_and_score(experiment, LocalWorld(device), reporter)
    if outcome.status == "collapsed":
        raise Collapsed(outcome.reason)
    published = Path(experiment.scratch) / PUBLISHED
    shutil.rmtree(published, ignore_errors=True)
    return publish_run(experiment, outcome)


@contextmanager
def _threads_kept() -> Generator[None]:
    """A training sets the number of torch's threads; a notebook gets its own back."""
    before = torch.get_num_threads()
    try:
        yield
    finally:
        torch.set_num_threads(before)
