"""Ageing: a picture's code, moved until the generator keeps whom it shows, then drawn in every class."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import Field
from torch import Tensor

from pipeline import limits
from pipeline.contract.extractor import AnyExtractor
from pipeline.errors import UserError
from pipeline.explorations import _pictures, _shared
from pipeline.explorations._pictures import Picture
from pipeline.formats.reference import Reference
from pipeline.sampling.samples import CHUNK, SampleSource, evaluating, fixed_threads, pixels
from pipeline.scoring.extract import ShardExamples
from pipeline.scoring.pairing import makes_again
from pipeline.settings import LocalPath

Latents = dict[str, Tensor]
COLUMNS = ("picture", "before optimisation", "after optimisation")


class Config(_shared.Labelled):
    """Pictures of faces, or of whatever the model draws by class; who sees identity; how long it is sought."""

    images: LocalPath | None = Field(
        default=None, description="a picture, or a folder of them; none: the first held-out examples of `shards`"
    )
    limit: int = Field(default=8, ge=1, le=64, description="pictures taken, in the order of their names")
    label: tuple[str, ...] = Field(
        default=(), description="the pictures' own classes, one for all or one each; none: the nearest reconstruction's"
    )
    label_index: tuple[int, ...] = Field(default=(), description="the same by index from 0, instead of `label`")
    reference: LocalPath = Field(
        default="artifacts/reference", description="whose extractor sees identity: the folder of a reference"
    )
    shards: LocalPath = Field(default="artifacts/shards", description="of held-out examples")
    steps: int = Field(default=50, ge=0, le=10_000, description="iterations of L-BFGS a picture")
    pixels: float = Field(default=0.0, ge=0, description="weight of the mean squared difference of pixels beside it")
    prior: float = Field(default=0.0, ge=0, description="weight of mean squares of noise being far from 1")
    max_pixels: int = Field(
        default=limits.ITEM_PIXELS, ge=1, le=limits.MOST_PIXELS, description="of a picture; a larger one is refused"
    )


class Exploration:
    """Antipov et al. 2017, section 2.3: z* = argmin ‖f(x) − f(G(z, y₀))‖² by L-BFGS from z = E(x), then G(z*, y).

    f: the features of a reference's extractor, less their mean over the training data, divided by the length of f(x).
    For designs with an encoder (`age_cgan`). Identity kept is the cosine of such features: 1 at best, and near 0 for
    unlike pictures where the features know whom they see. What extractor it was the record says: that of a reference
    which a face network measured is the paper's.
    """

    modalities = _shared.PICTURES

    def __init__(self, config: Config) -> None:
        self.config = config

    def run(self, source: SampleSource) -> _shared.Findings:
        if not makes_again(source):
            raise UserError(f"age: {_shared.design(source)} has no encoder; take a model of age_cgan")
        if not source.conditional:
            raise UserError(f"age: this model was trained without classes; train {_shared.design(source)} with bands")
        reference, classes = self._reference(source), source.spec.classes
        judge = IdentityJudge(source, reference)
        found, known = self._pictures(source)
        labels = self._labels(source, known, len(found))
        rows: list[NDArray[np.uint8]] = []
        records: list[dict[str, Any]] = []
        codes: list[Latents] = []
        before_all, after_all, originals = [], [], []
        for picture, given in zip(found, labels, strict=True):
            wanted = judge.features(picture.pixels[None])
            start, label = self._start(source, judge, picture.pixels, wanted, given)
            moved = self._moved(source, judge, picture.pixels, start, label, wanted)
            made = [drawn(source, code, [label])[0] for code in (start, moved)]
            aged = drawn(source, moved, range(len(classes)))
            kept = judge.kept(wanted, np.stack([*made, *aged]))
            before_all.append(kept[0])
            after_all.append(kept[1])
            originals.append(wanted)
            rows.append(np.stack([picture.pixels, *made, *aged]))
            codes.append(moved)
            height, width = source.spec.resolution
            sides = f"{picture.sides[0]}×{picture.sides[1]}"
            records.append(
                {
                    "picture": picture.name,
                    **({} if picture.sides == (height, width) else {"resized_from": sides}),
                    "label": classes[label],
                    "identity_kept_before": kept[0],
                    "identity_kept_after": kept[1],
                    "identity_kept_by_class": dict(zip(classes, kept[2:], strict=True)),
                }
            )
        said: dict[str, Any] = {
            "columns": [*COLUMNS, *classes],
            "extractor": reference.card.identity.to_json(),
            "identity_kept_before": float(np.mean(before_all)),
            "identity_kept_after": float(np.mean(after_all)),
            **({"identity_kept_of_others": others(np.concatenate(originals))} if len(found) > 1 else {}),
            "pictures": records,
        }
        arrays = {f"latents_{key}": np.stack([code[key][0].numpy() for code in codes]) for key in codes[0]}
        return _shared.Findings({"age": np.stack(rows)}, said, arrays)

    def _reference(self, source: SampleSource) -> Reference:
        folder = Path(self.config.reference)
        if not (folder / "reference.json").is_file():
            raise UserError(
                f"reference: there is no reference at {folder}; name the folder that the stage reference wrote"
            )
        found = Reference.load(folder)
        if found.blind:
            raise UserError(f"reference: {folder} was measured with the extractor none, which sees nothing")
        if found.card.spec.shape != source.spec.shape:
            shapes = ("×".join(map(str, each.shape)) for each in (found.card.spec, source.spec))
            raise UserError("reference: {} measured {}, and this model makes {}".format(folder, *shapes))
        return found

    def _pictures(self, source: SampleSource) -> tuple[list[Picture], list[int] | None]:
        """The pictures, and their classes where the data says them.

        Raises:
            UserError: if there are none, or none of this model's data.
        """
        config = self.config
        if config.images is not None:
            files = _pictures.files_of(Path(config.images), "images", config.limit)
            return _pictures.read(files, "images", source.spec.shape, config.max_pixels), None
        if not (Path(config.shards) / "manifest.json").is_file():
            raise UserError(f"images: name pictures, or shards: there are none at {config.shards}")
        held = ShardExamples(Path(config.shards), "holdout")
        if held.spec.shape != source.spec.shape or held.spec.classes != source.spec.classes:
            raise UserError(f"shards: {config.shards} holds other data than this model was trained on")
        numbers = np.arange(min(config.limit, len(held)), dtype=np.int64)
        rows, sides = held.examples(numbers), (source.spec.resolution[0], source.spec.resolution[1])
        found = [Picture(f"holdout {number}", x, sides) for number, x in enumerate(rows["x"])]
        return found, [int(label) for label in rows["label"]]

    def _labels(self, source: SampleSource, known: list[int] | None, count: int) -> list[int | None]:
        """Each picture's own class; None where it has to be found.

        Raises:
            UserError: for classes that are neither one for all nor one each.
        """
        asked = self.config.label or self.config.label_index
        if not asked:
            return [None] * count if known is None else list(known)
        if len(asked) not in (1, count):
            key = "label" if self.config.label else "label_index"
            raise UserError(f"{key}: {len(asked)} classes for {count} pictures; give one for all, or one each")
        chosen = _shared.chosen_labels(source, count, self.config)
        assert chosen is not None  # of a conditional model
        return [int(label) for label in chosen]

    def _start(
        self,
        source: SampleSource,
        judge: IdentityJudge,
        x: NDArray[np.uint8],
        wanted: NDArray[np.float64],
        label: int | None,
    ) -> tuple[Latents, int]:
        """The code of a picture, and its class: the one whose reconstruction is nearest where none is given."""
        shown = source.spec.x.tensor(np.ascontiguousarray(x[None].repeat(CHUNK, 0)), source.device)
        with torch.no_grad(), fixed_threads(source.threads), evaluating(source.networks):
            codes = source.family.procedures()["encode"](source.networks, shown)
        code = {key: value[:1].cpu() for key, value in codes.items()}
        if label is None:
            kept = judge.kept(wanted, drawn(source, code, range(len(source.spec.classes))))
            label = int(np.argmax(kept))
        return code, label

    def _moved(
        self,
        source: SampleSource,
        judge: IdentityJudge,
        x: NDArray[np.uint8],
        start: Latents,
        label: int,
        wanted: NDArray[np.float64],
    ) -> Latents:
        """The code that L-BFGS ends in; the start where that is better, or `steps` is 0."""
        config = self.config
        free = {key: value.clone().to(source.device).requires_grad_(True) for key, value in start.items()}
        picture = source.spec.x.tensor(np.ascontiguousarray(x[None]), source.device)
        target = torch.from_numpy(wanted).float()
        condition: Any = {"label": torch.tensor([label], device=source.device)}

        def loss() -> Tensor:
            made = source.family.sample(source.networks, free, condition)
            apart = judge.apart(made, target)
            if config.pixels:
                apart = apart + config.pixels * (made - picture).square().mean()
            if config.prior:
                noise = torch.stack([value.square().mean() for value in free.values()])
                apart = apart + config.prior * (noise - 1).square().sum()
            return apart

        optimiser = torch.optim.LBFGS(list(free.values()), max_iter=max(1, config.steps), line_search_fn="strong_wolfe")

        def closure() -> Tensor:
            value = loss()
            gradients = torch.autograd.grad(value, list(free.values()))
            for each, gradient in zip(free.values(), gradients, strict=True):
                each.grad = gradient
            return value.detach()

        with fixed_threads(source.threads), evaluating(source.networks):
            first = float(loss().detach())
            if config.steps:
                optimiser.step(closure)  # pyright: ignore[reportArgumentType] (it takes closures of tensors)
            last = float(loss().detach())
        if not last < first:  # a line search that failed may end in NaN
            return start
        return {key: value.detach().cpu() for key, value in free.items()}


class IdentityJudge:
    """How a reference's extractor sees whether two pictures show the same."""

    def __init__(self, source: SampleSource, reference: Reference) -> None:
        self.extractor: AnyExtractor = reference.extractor()
        self.threads = reference.card.threads
        self.spec = source.spec
        self.mean = reference.moments("train").mean

    def features(self, x: NDArray[np.uint8]) -> NDArray[np.float64]:
        """Of pictures (n, C, H, W), less the mean: (n, d)."""
        with torch.no_grad(), fixed_threads(self.threads):
            found = self.extractor.smooth(self.spec.x.tensor(np.ascontiguousarray(x)))
        return found.cpu().double().numpy() - self.mean

    def apart(self, made: Tensor, wanted: Tensor) -> Tensor:
        """‖f(G) − f(x)‖² / ‖f(x)‖², with a graph."""
        seen = self.extractor.smooth(made).cpu() - torch.from_numpy(self.mean).float()
        return (seen - wanted).square().sum() / wanted.square().sum().clamp_min(1e-12)

    def kept(self, wanted: NDArray[np.float64], x: NDArray[np.uint8]) -> list[float]:
        """Cosines of features (1, d) with those of pictures (n, C, H, W), as they are saved."""
        return [float(each) for each in cosine(wanted, self.features(x))]


def drawn(source: SampleSource, code: Mapping[str, Tensor], labels: Any) -> NDArray[np.uint8]:
    """One code (1, …) in some classes, as pictures (n, C, H, W); networks see whole chunks."""
    wanted = torch.tensor(list(labels))
    index = torch.arange(CHUNK) % len(wanted)
    latents = {key: value.expand(CHUNK, *value.shape[1:]).to(source.device) for key, value in code.items()}
    condition: Any = {"label": wanted[index].to(source.device)}
    with torch.no_grad(), fixed_threads(source.threads), evaluating(source.networks):
        return pixels(source.family.sample(source.networks, latents, condition))[: len(wanted)]


def cosine(a: NDArray[np.float64], b: NDArray[np.float64]) -> NDArray[np.float64]:
    """Of rows (1 or n, d) and (n, d): (n,)."""
    lengths = np.linalg.norm(a, axis=1) * np.linalg.norm(b, axis=1)
    return (a * b).sum(1) / np.maximum(lengths, 1e-12)


def others(features: NDArray[np.float64]) -> float:
    """The floor: the mean cosine of each picture's features (n, d) with the next one's."""
    return float(cosine(features, np.roll(features, -1, axis=0)).mean())
