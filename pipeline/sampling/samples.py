"""From a trained model to pixels, by counted noise: sample i is the same bytes however it is asked for.

Noise is drawn per fixed chunk of 64 and networks always see whole chunks, because the bits of a
float depend on the size of its batch. This module travels inside the registered model: it needs
torch, numpy, and the rooms contract, plugins, formats and randomness.
"""

from __future__ import annotations

import itertools
from collections.abc import Generator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any, Protocol, cast

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from pipeline import limits, plugins, randomness
from pipeline.contract import AnyFamily, LatentSpec, draw_latents
from pipeline.contract.planned import planned
from pipeline.errors import UserError
from pipeline.formats.model import ModelCard, load_card, load_states
from pipeline.threads import fixed_threads
from pipeline.types import Batch, DataSpec, FieldSpec

CHUNK = 64
Labels = NDArray[np.int64]
Pixels = NDArray[np.uint8]


@contextmanager
def evaluating(networks: Mapping[str, nn.Module]) -> Generator[None, None, None]:
    """Every module in evaluation mode inside, in its own mode again outside."""
    modes = [(module, module.training) for network in networks.values() for module in network.modules()]
    for network in networks.values():
        network.eval()
    try:
        yield
    finally:
        for module, training in modes:
            module.training = training


class Inputs(Protocol):
    """What samples are made from, for designs that translate: batch fields of examples, by the sample's number."""

    def __call__(self, numbers: Labels) -> Mapping[str, NDArray[Any]]:
        """Fields (n, …) as shards hold them: uint8 for images."""
        ...


def quantise(x: Tensor) -> Tensor:
    """[-1, 1] floats → uint8 pixels, rounded; what lies outside is cut off."""
    return x.add(1).mul(127.5).round_().clamp_(0, 255).to(torch.uint8)


class SampleSource:
    """A family's networks as a source of samples."""

    def __init__(
        self,
        family: AnyFamily,
        networks: Mapping[str, nn.Module],
        spec: DataSpec,
        *,
        device: str | torch.device = "cpu",
        threads: int = 1,
        inputs: Inputs | None = None,
    ) -> None:
        self.inputs = inputs
        self.family = family
        self.spec = spec
        self.device = torch.device(device)
        self.threads = threads
        with fixed_threads(threads):
            self.networks = family.settled(networks)

    @property
    def conditional(self) -> bool:
        return self.family.conditional and bool(self.spec.classes)

    @property
    def design(self) -> str:
        """The family's name."""
        return self.family.name

    @property
    def noise(self) -> LatentSpec:
        """The noise each sample is made of."""
        return self.family.latents_for(self.spec)

    def default_labels(self, n: int, start: int = 0) -> Labels:
        """Balanced: sample i asks for class i mod classes; zeros where nothing is asked."""
        classes = len(self.spec.classes) if self.conditional else 1
        return (np.arange(start, start + n) % classes).astype(np.int64)

    def latents(self, seed: int, chunk: int) -> dict[str, Tensor]:
        """The noise of samples 64·chunk … 64·chunk + 63, on the CPU."""
        return draw_latents(self.noise, CHUNK, randomness.generator(seed, "sample", chunk))

    @torch.no_grad()
    def decode(
        self, latents: Mapping[str, Tensor], labels: Labels, truncation: float = 1.0, numbers: Labels | None = None
    ) -> Tensor:
        """Float samples (64, *spec.shape), not cut to [-1, 1], of one whole chunk of latents and labels (64,).

        numbers (64,): whose inputs they are made from, where the design translates; the first 64 by default.
        """
        condition = self.condition(np.arange(CHUNK) if numbers is None else numbers)
        if self.conditional:
            condition["label"] = torch.as_tensor(labels, dtype=torch.int64).to(self.device)
        moved = {name: latent.to(self.device) for name, latent in latents.items()}
        with fixed_threads(self.threads), evaluating(self.networks):
            return self.family.sample(self.networks, moved, condition, truncation)

    def chunk(self, seed: int, index: int, labels: Labels | None = None, truncation: float = 1.0) -> Tensor:
        """Float samples of chunk `index`, with labels (64,) or the default ones."""
        if labels is None:
            labels = self.default_labels(CHUNK, index * CHUNK)
        numbers = np.arange(index * CHUNK, (index + 1) * CHUNK, dtype=np.int64)
        return self.decode(self.latents(seed, index), labels, truncation, numbers)

    def condition(self, numbers: Labels) -> Batch:
        """The inputs of these samples on the device, in [-1, 1]; nothing for designs that need none.

        Raises:
            UserError: if the design translates, and there is nothing to translate.
        """
        if not self.family.inputs:
            return {}
        if self.inputs is None:
            raise UserError(
                f"this model translates: its samples are made from {' and '.join(sorted(self.family.inputs))}, which "
                "the stages take from the holdout; nothing was handed in here"
            )
        found = self.inputs(numbers)
        return cast(
            Batch,
            {
                name: self.field(name).tensor(np.ascontiguousarray(found[name]), self.device)
                for name in sorted(self.family.inputs)
            },
        )

    def field(self, name: str) -> FieldSpec:
        """What an input is; as x, where the model's card does not say."""
        return self.spec.field(name) or replace(self.spec.x, name=name)

    def sample(
        self, n: int, labels: Labels | None = None, seed: int = 0, truncation: float = 1.0, start: int = 0
    ) -> Pixels:
        """Samples `start` … `start + n - 1` (n, *spec.shape): uint8 for images, else float32 in [-1, 1].

        Rows of a table have no bounds.

        Sample i depends on (seed, i, its label, truncation) alone. `labels` (n,) are theirs.

        Raises:
            UserError: for labels of another number or out of range, or non-finite samples.
        """
        asked = self._asked(n, labels, start)
        result = np.empty((n, *self.spec.shape), dtype=self.spec.dtype)
        for index in range(start // CHUNK, -(-(start + n) // CHUNK)):
            begin, end = max(start, index * CHUNK), min(start + n, (index + 1) * CHUNK)
            wanted = self.default_labels(CHUNK, index * CHUNK)
            wanted[begin - index * CHUNK : end - index * CHUNK] = asked[begin - start : end - start]
            made = self.chunk(seed, index, wanted, truncation)[begin - index * CHUNK : end - index * CHUNK]
            result[begin - start : end - start] = stored(made, self.spec)
        return result

    def grid(self, seed: int = 0, rows: int = 8, columns: int = 10) -> Pixels:
        """Samples (rows, columns, *spec.shape) of one seed; where classes are asked for, a column is a class."""
        if self.conditional:
            columns = min(columns, len(self.spec.classes))
        labels = np.tile(np.arange(columns, dtype=np.int64), rows) if self.conditional else None
        return self.sample(rows * columns, labels, seed).reshape(rows, columns, *self.spec.shape)

    def _asked(self, n: int, labels: Labels | None, start: int) -> Labels:
        if n < 0 or start < 0:
            raise UserError(f"cannot make {n} samples from the {start}-th: neither may be negative")
        if labels is None:
            return self.default_labels(n, start)
        if not self.conditional:
            raise UserError(f"labels were asked for, but this {self.design} model has no classes")
        found = np.asarray(labels, dtype=np.int64)
        if found.shape != (n,):
            raise UserError(f"{n} samples need {n} labels, and here are {found.size}")
        classes = len(self.spec.classes)
        if n and (found.min() < 0 or found.max() >= classes):
            raise UserError(f"labels must be indices 0 … {classes - 1}, and here are {found.min()} … {found.max()}")
        return found


def pixels(made: Tensor) -> Pixels:
    """Float samples → uint8 on the CPU.

    Raises:
        UserError: if any number is not finite.
    """
    return quantise(_finite(made)).cpu().numpy()


def _finite(made: Tensor) -> Tensor:
    if not bool(made.isfinite().all()):
        raise UserError("the generator gives non-finite samples: its weights are broken; train it again")
    return made


def as_stored(x: Tensor, spec: DataSpec) -> Tensor:
    """Samples as a person would save them, and an extractor is shown them: uint8 for images, else cut to [-1, 1].

    The numbers of a table's rows have no bounds, and stay.
    """
    if spec.columns:
        return x
    return quantise(x) if spec.dtype == "uint8" else x.clamp(-1, 1)


def stored(made: Tensor, spec: DataSpec) -> NDArray[Any]:
    """`as_stored` on the CPU.

    Raises:
        UserError: if any number is not finite.
    """
    return pixels(made) if spec.dtype == "uint8" else as_stored(_finite(made), spec).cpu().numpy()


def open_model(
    folder: Path, *, device: str | torch.device = "cpu", threads: int = 1, inputs: Inputs | None = None
) -> tuple[SampleSource, ModelCard]:
    """The published model in `folder`, verified, its networks in evaluation mode.

    Raises:
        BrokenArtefact: if a file is missing or changed.
        UserError: if the weights don't fit the family as it is now.
    """
    card = load_card(folder)
    family: AnyFamily = plugins.load("families", {"name": card.family, **card.config})
    states = {name: family.modern_state(name, state) for name, state in load_states(folder, card).items()}
    _check_fit(folder, family, card, states)
    with torch.random.fork_rng(devices=[]):
        built = family.build(card.spec)
    networks: dict[str, nn.Module] = {}
    for name, state in states.items():
        try:
            built[name].load_state_dict(state)
        except (KeyError, RuntimeError) as error:
            raise _unfit(folder, name, card, " ".join(str(error).split())) from None
        networks[name] = built[name].eval().requires_grad_(False).to(device)
    return SampleSource(family, networks, card.spec, device=device, threads=threads, inputs=inputs), card


def _check_fit(folder: Path, family: AnyFamily, card: ModelCard, states: Mapping[str, Mapping[str, Tensor]]) -> None:
    """Refuse weights of other shapes than the card's settings have before networks of those settings take memory."""
    size = 0
    for name, network in planned(family, card.spec).items():
        tensors = dict(itertools.chain(network.named_parameters(), network.named_buffers()))
        size += sum(tensor.numel() * tensor.element_size() for tensor in tensors.values())
        if name in states and (missing := sorted(network.state_dict().keys() - states[name].keys())):
            raise _unfit(folder, name, card, f"its file lacks {missing[0]}")
        for key, found in states.get(name, {}).items():
            if key in tensors and tensors[key].shape != found.shape:
                what = f"{key} is {tuple(found.shape)} where it has {tuple(tensors[key].shape)}"
                raise _unfit(folder, name, card, what)
    if size > limits.NETWORKS_BYTES:
        raise UserError(
            f"{folder}: networks as its card describes them take {size} bytes; {limits.NETWORKS_BYTES} are built"
        )


def _unfit(folder: Path, name: str, card: ModelCard, told: str) -> UserError:
    return UserError(
        f"{folder}: network '{name}' does not fit the family '{card.family}' of this version: {told[:200]} …"
    )
