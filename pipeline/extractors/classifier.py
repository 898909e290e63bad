"""An extractor trained on the shards' own labels, whatever their modality: its last hidden layer."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from pydantic import Field
from torch import Tensor, nn

from pipeline import randomness
from pipeline.contract import extractor as contract
from pipeline.contract.extractor import Examples
from pipeline.errors import SettingsError, UserError
from pipeline.extractors._classifier_network import Classifier
from pipeline.extractors._shared import batches, extract, to_input
from pipeline.settings import Settings
from pipeline.types import DataSpec


class Config(Settings):
    """How wide, and how long to train; the defaults give ≥ 0.97 on handwritten digits in seconds.

    Images, volumes, videos and waveforms are seen by 2-D, 3-D and 1-D convolutions, rows by a perceptron.
    """

    dimension: int = Field(default=64, ge=2, description="numbers in a feature vector")
    width: int = Field(
        default=16, ge=4, description="channels of the first convolution, deeper ones 2× and 4×; rows: 8× units"
    )
    examples: int = Field(default=20_000, gt=0, description="training examples seen in all")
    batch_size: int = Field(default=64, ge=2, description="examples a step")
    lr: float = Field(default=3e-3, gt=0, description="AdamW's peak rate; a cosine takes it to zero")
    weight_decay: float = Field(default=0.01, ge=0)
    shift: float = Field(default=0.1, ge=0, le=0.5, description="largest random shift while training, of each side")
    smoothing: float = Field(default=0.05, ge=0, lt=1, description="label smoothing")


class Extractor(contract.Extractor[Config]):
    """Features are the last hidden layer (after its ReLU), float32 (n, dimension)."""

    learns = True
    predicts = "the data's classes"

    def __init__(self, config: Config) -> None:
        super().__init__(config)
        self.network: Classifier | None = None

    @property
    def dimension(self) -> int:
        return self.config.dimension

    @classmethod
    def check(cls, spec: DataSpec) -> None:
        """Refuse data without classes to learn.

        Raises:
            SettingsError: naming an extractor that needs no labels.
        """
        if len(spec.classes) < 2:
            found = f"one class, '{spec.classes[0]}'" if spec.classes else "no classes"
            raise SettingsError(
                f"reference.extractor: 'classifier' learns from labels, and the data has {found}; "
                "label the data (class folders or a labels csv), or choose an extractor that needs none: "
                "reference.extractor: {name: random_projection}, with register.metric: frechet_random_projection"
            )

    def prepare(self, train: Examples, holdout: Examples, seed: int) -> dict[str, Any]:
        """Train on `train`, measure on `holdout`; the same seed and threads give the same bytes.

        Raises:
            SettingsError: where nothing is labelled, or there is only one class.
            UserError: if the weights become non-finite.
        """
        self.check(train.spec)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(randomness.key(seed, "classifier/weights"))
            network = Classifier(train.spec, self.config.width, self.config.dimension)
        _fit(network, train, self.config, seed)
        self.network = network.eval().requires_grad_(False)
        return {"accuracy": self.accuracy(holdout), "train_accuracy": self.accuracy(train)}

    def accuracy(self, examples: Examples) -> float:
        """The fraction of `examples` recognised as their label."""
        right = 0
        for x, label in batches(examples):
            _, logits = extract(self, x)
            right += int((np.asarray(logits).argmax(axis=1) == label).sum())
        return right / max(len(examples), 1)

    def features(self, x: Tensor) -> tuple[Tensor, Tensor | None]:
        network = self._trained()
        device = next(network.parameters()).device
        return network(x.to(device))

    def state_dict(self) -> dict[str, Tensor]:
        return dict(self._trained().state_dict())

    def load(self, spec: DataSpec, state: Mapping[str, Tensor]) -> None:
        with torch.random.fork_rng(devices=[]):
            network = Classifier(spec, self.config.width, self.config.dimension)
        network.load_state_dict(dict(state))
        self.network = network.eval().requires_grad_(False)

    def _trained(self) -> Classifier:
        if self.network is None:
            raise RuntimeError("the classifier was neither prepared nor loaded")
        return self.network


def _fit(network: Classifier, train: Examples, config: Config, seed: int) -> None:
    """AdamW (Loshchilov & Hutter 2019) on the cross entropy, order and shifts from counters.

    Raises:
        UserError: if the loss diverges.
    """
    batch = min(config.batch_size, len(train))
    steps = max(1, config.examples // batch)
    optimiser = torch.optim.AdamW(network.parameters(), lr=config.lr, weight_decay=config.weight_decay)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, max_lr=config.lr, total_steps=steps + 1, pct_start=0.1)
    per_epoch = len(train) // batch
    order = torch.empty(0, dtype=torch.int64)
    network.train()
    for step in range(steps):
        epoch, within = divmod(step, per_epoch)
        if within == 0:
            order = torch.randperm(len(train), generator=randomness.generator(seed, "classifier/order", epoch))
        found = train.examples(np.sort(order[within * batch : (within + 1) * batch].numpy()))
        x = _shifted(to_input(found["x"]), config.shift, randomness.generator(seed, "classifier/shift", step))
        _, logits = network(x)
        label = torch.as_tensor(np.asarray(found["label"], dtype=np.int64))
        loss = nn.functional.cross_entropy(logits, label, label_smoothing=config.smoothing)
        optimiser.zero_grad(set_to_none=True)
        loss.backward()
        optimiser.step()
        schedule.step()
    if not all(bool(tensor.isfinite().all()) for tensor in network.state_dict().values()):
        raise UserError(f"the extractor's training diverged; lower reference.extractor.lr (now {config.lr})")


def _shifted(x: Tensor, share: float, generator: torch.Generator) -> Tensor:
    """Each example moved along each of its axes by up to `share` of that side, edges repeated; rows stay."""
    reach = [round(side * share) for side in x.shape[2:]]
    if not any(reach):
        return x
    moves = [torch.randint(-far, far + 1, (len(x), 1), generator=generator) for far in reach]
    for axis, move in enumerate(moves, start=2):
        side = x.shape[axis]
        index = (torch.arange(side) + move).clamp_(0, side - 1)
        x = x.gather(
            axis, index.view(len(x), *(side if each == axis else 1 for each in range(1, x.dim()))).expand_as(x)
        )
    return x
