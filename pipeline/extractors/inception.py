"""The Inception network of the published FID, KID and Inception Score: scores that compare with published ones."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import torch
from pydantic import Field, field_validator
from torch import Tensor

from pipeline.assets import inception as published
from pipeline.contract import extractor as contract
from pipeline.contract.extractor import Examples, ExtractorIdentity
from pipeline.errors import SettingsError
from pipeline.extractors._resizing import Resize, network_input
from pipeline.networks.architectures.inception import TAPS, Inception, Tap
from pipeline.settings import LocalPath, Settings
from pipeline.types import DataSpec

# What the field calls the three of the published network at its last pool, or its logits.
PUBLISHED = {"frechet": "fid", "kernel": "kid", "score": "inception_score"}
LAST_TAP = 2048


class Config(Settings):
    """Which weights, how deep, and how images come to the network's size."""

    weights: LocalPath = Field(default="auto", description="auto = what `zerosum weights fetch` got; or a path")
    sha256: str | None = Field(default=None, description="what the weights file must be; null = what its name promises")
    tap: Tap = Field(default=2048, description="numbers in a feature vector: 64, 192, 768 or 2048 (and logits)")
    resize: Resize = Field(default="legacy_torch", description="legacy_torch, legacy_tf or clean: part of the protocol")
    alpha: Literal["drop", "white", "black"] = Field(
        default="drop", description="a fourth channel: left out (as pytorch-fid does), or blended over white or black"
    )
    batch_size: Literal[1, 2, 4, 8, 16, 32, 64] = Field(
        default=4, description="images at once: 4 suits a processor's caches, 64 an accelerator"
    )

    @field_validator("sha256")
    @classmethod
    def _hexadecimal(cls, value: str | None) -> str | None:
        if value is not None and (len(value) != 64 or set(value.lower()) - set("0123456789abcdef")):
            raise ValueError(f"must be 64 hexadecimal digits, not {value!r}")
        return value


class Extractor(contract.Extractor[Config]):
    """Features are the mean over positions at the tap, float32 (n, tap); logits (n, 1008) at 2048 alone."""

    predicts = "its own classes"
    any_size = True
    incidental = ("weights", "sha256", "batch_size")

    def __init__(self, config: Config) -> None:
        super().__init__(config)
        self.network: Inception | None = None

    @property
    def dimension(self) -> int:
        return self.config.tap

    @property
    def resize(self) -> Resize:
        """The way to 299×299, for the records."""
        return self.config.resize

    @classmethod
    def check(cls, spec: DataSpec) -> None:
        """Refuse what is no image of 1, 3 or 4 channels.

        Raises:
            SettingsError: saying which extractor would do.
        """
        if spec.modality != "image":
            raise SettingsError(f"reference.extractor: 'inception' sees images, and these shards hold {spec.modality}")
        if spec.channels not in {1, 3, 4}:
            raise SettingsError(
                f"reference.extractor: 'inception' sees grey, RGB or RGBA images, and these have {spec.channels} "
                "channels; choose another extractor, such as reference.extractor: {name: classifier}"
            )

    @classmethod
    def about(cls, config: Config) -> dict[str, Any]:
        weights = published.load(published.resolve(config.weights), config.tap, config.sha256)
        return {"weights_sha256": weights.sha256, "published": weights.published}

    @classmethod
    def files(cls, config: Config) -> dict[str, Path]:
        return {"weights": published.place(config.weights)}

    @classmethod
    def variants(cls) -> tuple[dict[str, Any], ...]:
        return tuple({"tap": tap} for tap in TAPS)

    @classmethod
    def published_as(cls, identity: ExtractorIdentity) -> Mapping[str, str] | None:
        if not identity.published:
            return None
        lower = "" if identity.tap == LAST_TAP else f"_{identity.tap}"
        return {kind: f"{name}{lower}" for kind, name in PUBLISHED.items()}

    @classmethod
    def without_logits(cls, identity: ExtractorIdentity) -> str | None:
        if identity.tap == LAST_TAP:
            return None
        return f"it needs the network's logits, which come after tap {identity.tap}; take --tap {LAST_TAP}"

    def prepare(self, train: Examples, holdout: Examples, seed: int) -> dict[str, Any]:
        """Read the weights; nothing is learnt.

        Raises:
            SettingsError: for data that are no images of 1, 3 or 4 channels.
            UserError: for weights that are missing, damaged, incomplete or of another network.
        """
        self.check(train.spec)
        path = published.resolve(self.config.weights)
        weights = published.load(path, self.config.tap, self.config.sha256)
        self._take(weights.state)
        return {"weights_sha256": weights.sha256, "published": weights.published}

    def features(self, x: Tensor) -> tuple[Tensor, Tensor | None]:
        """x (n, C, H, W) in [-1, 1], taken as the 8-bit pixels that a person would save."""
        device = next(self._loaded().parameters()).device
        parts = x.split(self.config.batch_size)
        return _joined([self._seen(self.resized(to_pixels(part.to(device)))) for part in parts])

    def smooth(self, x: Tensor) -> Tensor:
        """The features (n, tap) of x (n, C, H, W) in [-1, 1] without rounding to pixels: for small differences."""
        device = next(self._loaded().parameters()).device
        parts = x.float().add(1).mul(127.5).split(self.config.batch_size)
        return _joined([self._seen(self.resized(part.to(device))) for part in parts])[0]

    def features_of_sizes(self, images: Sequence[Tensor]) -> tuple[Tensor, Tensor | None]:
        """As `features`, of images (C, H, W) in [-1, 1] each of its own size, as the FID protocol sees them."""
        device, size = next(self._loaded().parameters()).device, self.config.batch_size
        found: list[tuple[Tensor, Tensor | None]] = []
        for begin in range(0, len(images), size):
            shown = torch.cat(
                [self.resized(to_pixels(image[None].to(device))) for image in images[begin : begin + size]]
            )
            # A whole batch always: bits may depend on its size.
            padding = shown.new_zeros((size - len(shown), *shown.shape[1:]))
            features, logits = self._seen(torch.cat([shown, padding]))
            found.append((features[: len(shown)], None if logits is None else logits[: len(shown)]))
        return _joined(found)

    def resized(self, pixels: Tensor) -> Tensor:
        """Pixels 0 … 255 (n, C, H, W) → what the network is shown, (n, 3, 299, 299)."""
        return network_input(three_channels(pixels, self.config.alpha), self.config.resize)

    def state_dict(self) -> dict[str, Tensor]:
        return dict(self._loaded().state_dict())

    def load(self, spec: DataSpec, state: Mapping[str, Tensor]) -> None:
        self._take(state)

    def _take(self, state: Mapping[str, Tensor]) -> None:
        with torch.device("meta"):
            network = Inception(self.config.tap)
        # Channels last: a processor's convolutions are ~1.5 times as fast, and equal to rounding.
        own = {
            name: tensor.clone(memory_format=torch.channels_last if tensor.dim() == 4 else torch.contiguous_format)
            for name, tensor in state.items()
        }
        network.load_state_dict(own, assign=True)
        self.network = network.eval().requires_grad_(False)

    def _seen(self, shown: Tensor) -> tuple[Tensor, Tensor | None]:
        return self._loaded()(shown.contiguous(memory_format=torch.channels_last))

    def _loaded(self) -> Inception:
        if self.network is None:
            raise RuntimeError("the Inception network was neither prepared nor loaded")
        return self.network


def _joined(parts: Sequence[tuple[Tensor, Tensor | None]]) -> tuple[Tensor, Tensor | None]:
    logits = [part for _, part in parts if part is not None]
    return torch.cat([features for features, _ in parts]), torch.cat(logits) if logits else None


def to_pixels(x: Tensor) -> Tensor:
    """[-1, 1] → whole numbers 0 … 255, float32: from uint8 and back is exact."""
    return x.float().add(1).mul(127.5).round().clamp(0, 255)


def three_channels(pixels: Tensor, alpha: Literal["drop", "white", "black"]) -> Tensor:
    """Pixels (n, 1 | 3 | 4, h, w) → (n, 3, h, w): grey three times; RGBA as `alpha` says, rounded to pixels."""
    channels = pixels.shape[1]
    if channels == 1:
        return pixels.expand(-1, 3, -1, -1)
    if channels == 3 or alpha == "drop":
        return pixels[:, :3]
    cover = pixels[:, 3:] / 255
    ground = 255.0 if alpha == "white" else 0.0
    return (pixels[:, :3] * cover + ground * (1 - cover)).round()
