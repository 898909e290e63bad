"""An extractor trained on the shards' own labels: a small convolutional network, its last hidden layer."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from pydantic import Field
from torch import Tensor, nn

from pipeline import randomness
from pipeline.extractors._shared import batches, extract, to_input
from pipeline.formats.reference import Examples
from pipeline.settings import Settings, SettingsError, UserError
from pipeline.types import DataSpec

# A mean over the whole image would forget what is where; quarters keep a little of it.
QUARTERS = 2


class Config(Settings):
    """How wide, and how long to train; the defaults give ≥ 0.97 on handwritten digits in seconds."""

    dimension: int = Field(default=64, ge=2, description="numbers in a feature vector")
    width: int = Field(default=16, ge=4, description="channels of the first convolution; deeper ones have 2× and 4×")
    examples: int = Field(default=20_000, gt=0, description="training examples seen in all")
    batch_size: int = Field(default=64, ge=2, description="examples a step")
    lr: float = Field(default=3e-3, gt=0, description="AdamW's peak rate; a cosine takes it to zero")
    weight_decay: float = Field(default=0.01, ge=0)
    shift: float = Field(default=0.1, ge=0, le=0.5, description="largest random shift while training, of the side")
    smoothing: float = Field(default=0.05, ge=0, lt=1, description="label smoothing")


class Extractor:
    """Features are the last hidden layer (after its ReLU), float32 (n, dimension)."""

    def __init__(self, config: Config) -> None:
        self.config = config
        self.network: Classifier | None = None

    @property
    def dimension(self) -> int:
        return self.config.dimension

    def prepare(self, train: Examples, holdout: Examples, seed: int) -> dict[str, Any]:
        """Train on `train`, measure on `holdout`; the same seed and threads give the same bytes.

        Raises:
            SettingsError: where nothing is labelled, or there is only one class.
            UserError: if the weights become non-finite.
        """
        check(train.spec)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(randomness.key(seed, "classifier/weights"))
            network = Classifier(train.spec, self.config)
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
            network = Classifier(spec, self.config)
        network.load_state_dict(dict(state))
        self.network = network.eval().requires_grad_(False)

    def _trained(self) -> Classifier:
        if self.network is None:
            raise RuntimeError("the classifier was neither prepared nor loaded")
        return self.network


def check(spec: DataSpec) -> None:
    """Raise a SettingsError for data this extractor cannot learn from."""
    if spec.modality != "image":
        raise SettingsError(f"reference.extractor: 'classifier' sees images, and the data is {spec.modality}")
    if len(spec.classes) < 2:
        found = f"one class, '{spec.classes[0]}'" if spec.classes else "no classes"
        raise SettingsError(
            f"reference.extractor: 'classifier' learns from labels, and the data has {found}; "
            "label the data (class folders or a labels csv), or choose an extractor that needs none: "
            "reference.extractor: {name: random_projection}, with register.metric: frechet_random_projection"
        )


class Classifier(nn.Module):
    """3×3 convolutions halving the image until a side is ≤ 4, means over its quarters, two linear layers."""

    def __init__(self, spec: DataSpec, config: Config) -> None:
        super().__init__()
        side = min(spec.resolution)
        halvings = max(1, math.ceil(math.log2(max(side, 1) / 4))) if side > 4 else 0
        layers: list[nn.Module] = _block(spec.channels, config.width, stride=1)
        before = config.width
        for depth in range(halvings):
            after = config.width * min(2 ** (depth + 1), 4)
            layers += _block(before, after, stride=2)
            before = after
        layers += [*_block(before, 4 * config.width, stride=1), nn.AdaptiveAvgPool2d(QUARTERS), nn.Flatten()]
        self.body = nn.Sequential(*layers)
        self.hidden = nn.Linear(4 * config.width * QUARTERS**2, config.dimension)
        self.output = nn.Linear(config.dimension, len(spec.classes))

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """x (n, C, H, W) in [-1, 1] → features (n, dimension), logits (n, classes)."""
        features = self.hidden(self.body(x)).relu()
        return features, self.output(features)


def _block(before: int, after: int, stride: int) -> list[nn.Module]:
    convolution = nn.Conv2d(before, after, 3, stride=stride, padding=1, bias=False)
    return [convolution, nn.BatchNorm2d(after), nn.ReLU()]


def _fit(network: Classifier, train: Examples, config: Config, seed: int) -> None:
    """AdamW (Loshchilov & Hutter 2019) on the cross entropy, order and shifts from counters."""
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
    """Each image moved by up to `share` of its sides, edges repeated."""
    height, width = x.shape[2:]
    reach = (round(height * share), round(width * share))
    if not any(reach):
        return x
    rows = torch.randint(-reach[0], reach[0] + 1, (len(x), 1), generator=generator)
    columns = torch.randint(-reach[1], reach[1] + 1, (len(x), 1), generator=generator)
    row = (torch.arange(height) + rows).clamp_(0, height - 1)
    column = (torch.arange(width) + columns).clamp_(0, width - 1)
    index = torch.arange(len(x))[:, None, None, None]
    channel = torch.arange(x.shape[1])[None, :, None, None]
    return x[index, channel, row[:, None, :, None], column[:, None, None, :]]
