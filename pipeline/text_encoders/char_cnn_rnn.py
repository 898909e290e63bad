"""Char-CNN-RNN: characters as they stand, trained so that a caption's vector fits what is seen in its picture."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import Field, model_validator
from torch import Tensor, nn

from pipeline.contract import text_encoder as contract
from pipeline.contract.text_encoder import Captioned, Learnt
from pipeline.networks.architectures.char_cnn_rnn import CharCnnRnn, CharPlan, Recurrence, slots_of
from pipeline.settings import Settings
from pipeline.text_encoders import _joint_embedding

REMEMBERED = 2**27  # numbers of vectors that are kept, 512 MiB


class Config(Settings):
    """The network, and how the reference stage trains it: there all keys count, in a family those of the network."""

    width: int = Field(
        default=256, ge=8, le=4096, description="of the recurrence: 256 in the CVPR paper, 512 in ICML's"
    )
    recurrence: Recurrence = Field(default="rnn", description="rnn: ReLUs, over 8 steps; gru: over 18 steps")
    dimension: int = Field(default=1024, ge=2, le=16_384, description="numbers in a vector")
    length: int = Field(default=201, ge=40, le=4096, description="characters that are read of a caption")
    iterations: int = Field(default=200, ge=1, description="steps of training; the paper takes 200 for each class")
    batch_size: int = Field(default=40, ge=2, description="pairs a step, all different; fewer where the data has fewer")
    distinct: Literal["auto", "classes", "images"] = Field(
        default="auto",
        description="classes: pairs of a step are of different classes; images: of different images without a common "
        "caption; auto: classes, where there are any",
    )
    lr: float = Field(default=7e-4, gt=0, description="RMSprop's rate")
    decay: float = Field(
        default=0.98, gt=0, le=1, description="of the rate, for each as many steps as there are classes"
    )

    @model_validator(mode="after")
    def _long_enough(self) -> Config:
        if CharPlan(self.length, self.width, self.dimension, self.recurrence).steps < 1:
            raise ValueError(
                f"length: {self.length} characters leave nothing behind three convolutions; take 75 or more"
            )
        return self


class TextEncoder(contract.TextEncoder[Config]):
    """“Learning deep representations of fine-grained visual descriptions”, Reed et al. 2016, arXiv:1605.05395.

    Three convolutions over one-hot characters, a recurrence, the mean of its states, a projection φ(t). It is trained
    by the symmetric structured joint embedding (equations 4 to 6) against the frozen features of the reference's
    extractor; the vectors are (φ(t) − mean)/std: the mean of each number over the training captions, one deviation
    for all. What was learnt is how captions and pictures of these data go together; words that they do not hold mean
    little to it. Vectors that were computed are remembered, as equal sentences come again and again.
    """

    learns = True
    shape = ("width", "recurrence", "dimension", "length")

    def __init__(self, config: Config) -> None:
        super().__init__(config)
        self.network = CharCnnRnn(CharPlan(config.length, config.width, config.dimension, config.recurrence))
        # Parameters, as float buffers would be averaged over lanes.
        self.mean = nn.Parameter(torch.zeros(config.dimension))
        self.std = nn.Parameter(torch.ones(()))
        self.requires_grad_(False)
        self.remembered: dict[str, Tensor] = {}
        self.register_load_state_dict_post_hook(_forget)

    @property
    def dimension(self) -> int:
        return self.config.dimension

    def encode(self, sentences: Sequence[str]) -> Tensor:
        found = [self._vector(each) for each in sentences]
        return torch.stack(found) if found else torch.zeros(0, self.dimension)

    @torch.no_grad()
    def _vector(self, sentence: str) -> Tensor:
        """One at a time: bits of a convolution depend on what else is in its batch."""
        if sentence not in self.remembered:
            if (len(self.remembered) + 1) * self.dimension > REMEMBERED:
                self.remembered.clear()
            slots = torch.tensor([slots_of(sentence, self.config.length)], device=self.mean.device)
            self.remembered[sentence] = ((self.network(slots)[0] - self.mean) / self.std).cpu()
        return self.remembered[sentence]

    def learn(
        self, train: Captioned, holdout: Captioned, seed: int, progress: Callable[[str], None] = lambda _: None
    ) -> Learnt:
        config = self.config
        plan = _joint_embedding.EmbeddingPlan(
            config.iterations, config.batch_size, config.distinct, config.lr, config.decay, config.length
        )
        image = _joint_embedding.fit(self.network, plan, train, seed, progress)
        self.requires_grad_(False)
        self.remembered.clear()
        raw = self.encode(_joint_embedding.sentences(train))
        with torch.no_grad():
            self.mean.copy_(raw.mean(0))
            self.std.copy_((raw - raw.mean(0)).square().mean().sqrt().clamp_min(1e-6))
        self.remembered.clear()
        weight, bias = image.weight * self.std, image.bias * self.std
        seen = (holdout.features @ weight.numpy() + bias.numpy()).astype(np.float64)
        report: dict[str, Any] = {
            **image.report,
            "scale": {"mean": float(self.mean.square().mean().sqrt()), "std": float(self.std)},
            "holdout": _joint_embedding.retrieval(seen, holdout, self._numbers),
        }
        return Learnt(weight, bias, report)

    def _numbers(self, sentences: Sequence[str]) -> NDArray[np.float64]:
        return self.encode(sentences).numpy().astype(np.float64)


def _forget(module: Any, _keys: Any) -> None:
    module.remembered.clear()
