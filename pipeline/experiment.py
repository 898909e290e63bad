"""`fit_and_score`: the one function that train, every trial and bench call."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file
from torch import nn

from pipeline import plugins
from pipeline.assets import place
from pipeline.contract import AnyFamily, LocalWorld, Reporter, Scorer, World
from pipeline.contract.checks import check_data
from pipeline.data.batches import Batches, Reader
from pipeline.errors import ScratchRemoved
from pipeline.formats.checkpoint import CheckpointStore
from pipeline.formats.model import ModelCard, save_model
from pipeline.formats.reference import Reference
from pipeline.formats.remote_checkpoints import GRIDS, MirroredStore
from pipeline.formats.shards import Manifest
from pipeline.reporting.gallery import save_grid
from pipeline.sampling.pictures import as_images
from pipeline.sampling.samples import SampleSource
from pipeline.scoring.extract import inputs_of
from pipeline.scoring.in_training import InTrainingScorer
from pipeline.scoring.text_training import text_state
from pipeline.settings import validate
from pipeline.storage import files, scratch
from pipeline.storage.files import sha256_file, sha256_json
from pipeline.storage.node_cache import LEAST, NodeCache, node_folder
from pipeline.storage.store import Store
from pipeline.training import beside, schedules
from pipeline.training.loop import Outcome, RunParts, fit
from pipeline.training.settings import TrainSettings
from pipeline.types import DataSpec

CHECKPOINTS, SNAPSHOTS, PUBLISHED = "checkpoints", "snapshots", "published"  # in the scratch folder, beside GRIDS


@dataclass(frozen=True)
class Experiment:
    """One training: what is computed (`train`, `family`) and where its files are.

    Plain and picklable by value as JSON: it travels to workers. Paths are absolute.

    store: the object store of nodes that share no folder; `inputs` is the bundle of shards and reference in it.
    mirror: the name, in the store, under which checkpoints are kept as well; empty = on the machine alone.
    schedule: settings that take the place of `family` on the way: `from`, in examples, and `family`, each in whole.
    """

    train: dict[str, Any]
    family: dict[str, Any]
    shards: str
    reference: str
    scratch: str
    cache: str
    cache_budget: int
    stop_on_collapse: bool = False
    grids: bool = True
    store: str = ""
    inputs: str = ""
    mirror: str = ""
    schedule: tuple[dict[str, Any], ...] = ()

    @property
    def settings(self) -> TrainSettings:
        return validate(TrainSettings, self.train, "train")

    def load_family(self) -> AnyFamily:
        """The family, configured."""
        name = self.settings.family
        return plugins.load("families", {"name": name, **self.family}, f"families.{name}")

    def load_later(self) -> list[tuple[int, AnyFamily]]:
        """The schedule's families, configured."""
        name = self.settings.family
        return [
            (int(entry["from"]), plugins.load("families", {"name": name, **entry["family"]}, f"families.{name}"))
            for entry in self.schedule
        ]

    def here(self) -> Experiment:
        """The same with folders of this machine: from the store, if there is one, shards as they are read."""
        if not self.store:
            return self
        own = node_folder()
        cache = NodeCache(max(self.cache_budget, LEAST))
        found = cache.get(Store(self.store), self.inputs) / "artifacts"
        return replace(
            self,
            shards=str(found / "shards"),
            reference=str(found / "reference"),
            cache=str(own / "decoded"),
            scratch=str(own / "scratch" / files.sha256_bytes(self.scratch.encode())[:16]),
        )

    def checkpoints(self) -> CheckpointStore:
        """Where this machine keeps them; `here` comes first."""
        if not (self.store and self.mirror):
            return CheckpointStore(Path(self.scratch) / CHECKPOINTS, self.settings.keep)
        return MirroredStore(Path(self.scratch), self.settings.keep, self.mirrored())

    @property
    def guarded(self) -> bool:
        """Whether checkpoints, snapshots and grids are in one folder that is not to lose any of them on the way."""
        return self.grids and not self.store

    def intact(self) -> None:
        """Raise where the scratch folder has been removed since the training began.

        Raises:
            ScratchRemoved: saying so, and that it begins again.
        """
        if self.guarded and not scratch.is_whole(Path(self.scratch)):
            raise ScratchRemoved(scratch.removed(Path(self.scratch)))

    def mirrored(self) -> Store:
        """The run's own place in the store."""
        return Store(self.store).within(f"runs/{self.mirror}")

    def as_json(self) -> dict[str, Any]:
        """Plain values only."""
        return asdict(self)


def fit_and_score(
    experiment: Experiment,
    world: World,
    reporter: Reporter,
    start: beside.Start | None = None,
    leaving: Callable[[], bool] | None = None,
) -> Outcome:
    """Train to the end, scored on the way; goes on from the newest checkpoint in `scratch`.

    Every rank calls it and gets the same networks. Its result depends on neither the number
    of ranks nor how often it was killed. With `start`, somebody else calls `score_snapshot` while
    training goes on, and rank 0 collects the same scores. `leaving` is the loop's.
    """
    experiment = experiment.here()
    settings = experiment.settings
    family = experiment.load_family()
    # The lanes' arithmetic, the reader's and the scorer's alike: threads decide bytes.
    torch.set_num_threads(settings.threads_per_lane)
    shards = Path(experiment.shards)
    spec = Manifest.load(shards).spec
    check_data(family, spec)
    later = experiment.load_later()
    schedules.check(family, later, spec)
    for each in (family, *(family for _, family in later)):
        if each.perceives:
            each.perceive(Reference.load(Path(experiment.reference)).extractor())
        if each.learnt_encoder is not None:
            each.take_encoder(text_state(each, Reference.load(Path(experiment.reference))))
    needs = family.needs.union(*(each.needs for _, each in later))
    reader = Reader(shards, "train", cache=Path(experiment.cache), cache_budget=experiment.cache_budget)
    folder = Path(experiment.scratch)
    if experiment.guarded and world.rank == 0:
        scratch.begin(folder, (CHECKPOINTS, SNAPSHOTS, GRIDS), reporter.note)

    def grid(networks: Mapping[str, nn.Module], examples_seen: int) -> None:
        source = SampleSource(family, dict(networks), spec, inputs=inputs_of(family, shards))
        save_grid(folder / GRIDS / f"{examples_seen:012d}.png", as_images(source.grid(seed=settings.seed), spec))

    return fit(
        RunParts(
            settings=settings,
            family=family,
            spec=spec,
            batches=Batches(reader, settings.seed, settings.flip, needs) if needs else None,
            world=world,
            reporter=reporter,
            store=experiment.checkpoints(),
            scorer=_scorer(experiment, family, spec),
            grid=grid if experiment.grids else None,
            stop_on_collapse=experiment.stop_on_collapse,
            beside=beside.Snapshots(folder / SNAPSHOTS, start, family.objective, world) if start else None,
            leaving=leaving,
            intact=experiment.intact,
            later=later,
        )
    )


def score_snapshot(experiment: dict[str, Any], snapshot: str, device: str = "cpu") -> None:
    """Score one snapshot of the average, as the loop itself would, and write the answer beside it.

    experiment: `Experiment.as_json`. Where the answer is there already, nothing is done.
    """
    path = Path(snapshot)
    if beside.answer_of(path).exists():
        return
    found = Experiment(**experiment)
    family = found.load_family()
    torch.set_num_threads(found.settings.threads_per_lane)
    spec = Manifest.load(Path(found.shards)).spec
    tensors = load_file(path)
    with torch.random.fork_rng(devices=[]):
        built = family.build(spec)
    networks = {name: built[name].to(device) for name in family.averaged}
    for name, network in networks.items():
        prefix = f"{name}/"
        state = {key.removeprefix(prefix): value for key, value in tensors.items() if key.startswith(prefix)}
        network.load_state_dict(state)
        network.eval().requires_grad_(False)
    beside.write_answer(path, _scorer(found, family, spec)(networks, LocalWorld(device)))


def publish_run(experiment: Experiment, outcome: Outcome) -> Path:
    """Write the averaged networks and the history, a JSON line for each tick, into a folder of the scratch."""
    out = Path(experiment.here().scratch) / PUBLISHED
    publish(experiment, outcome, out)
    lines = [json.dumps(record, sort_keys=True) + "\n" for record in outcome.history]
    files.write_bytes(out / "history.jsonl", "".join(lines).encode())
    return out


def publish(experiment: Experiment, outcome: Outcome, out: Path) -> ModelCard:
    """Write the averaged networks as a model folder; equal trainings give equal bytes."""
    experiment = experiment.here()
    settings = experiment.settings
    family = experiment.load_family()
    spec = Manifest.load(Path(experiment.shards)).spec
    computed: dict[str, Any] = {"train": experiment.train, "family": experiment.family}
    if experiment.schedule:
        computed["schedule"] = list(experiment.schedule)
    card = ModelCard(
        family=settings.family,
        config=family.config.model_dump(mode="json"),
        spec=spec if family.reads_summary else replace(spec, summary=None),
        networks=family.averaged,
        examples_seen=outcome.state.examples_seen,
        step=outcome.state.step,
        seed=settings.seed,
        averaged=True,
        provenance={
            "manifest_sha256": Manifest.load(Path(experiment.shards)).sha256,
            "reference": Reference.load(Path(experiment.reference)).key,
            "settings_sha256": sha256_json(computed),
            "torch": torch.__version__,
            # What the objectives looked through: other weights would have trained another model.
            **{f"{name}_sha256": sha256_file(place(name)) for name in family.assets},
        },
        files={},
    )
    return save_model(out, card, {name: network.state_dict() for name, network in outcome.networks.items()})


def _scorer(experiment: Experiment, family: AnyFamily, spec: DataSpec) -> Scorer:
    settings = experiment.settings.score
    reference = Reference.load(Path(experiment.reference))
    inputs = inputs_of(family, Path(experiment.shards))
    return InTrainingScorer(reference, family, n=settings.samples, seed=settings.seed, inputs=inputs)
