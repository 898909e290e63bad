"""CUT: two domains without pairs and one direction; each patch must stay nearer to its source than to others."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar, cast

import torch
from pydantic import Field, model_validator
from torch import Tensor, nn

from pipeline.contract import LatentSpec, Networks, Optimiser, Resizing, Turn
from pipeline.errors import SettingsError
from pipeline.families import _choices, _shared, _translation
from pipeline.families._adversarial import AdversarialFamily, Passes, Terms
from pipeline.families._choices import LossChoice
from pipeline.families._settings import GameSettings
from pipeline.families._shared import Canon, both
from pipeline.families._translation import ADAM, Jitter, fading
from pipeline.networks.architectures.cut import PatchProjector, draw_places, patch_contrast
from pipeline.networks.architectures.cyclegan import Translator, TranslatorPlan
from pipeline.networks.architectures.pix2pix import PatchDiscriminator, PatchPlan
from pipeline.networks.layers import init
from pipeline.types import Batch, DataSpec

MULTIPLE = 4


class Config(GameSettings):
    """Park et al. 2020: CycleGAN's networks with antialiased sampling; sides must be multiples of 4."""

    labelled: ClassVar[bool] = False

    generator_width: int = Field(default=64, ge=1, description="maps at full resolution")
    blocks: int = Field(default=9, ge=0, le=32, description="residual blocks: 9 at 256 px, 6 at 128")
    discriminator_width: int = Field(default=64, ge=1)
    discriminator_layers: int = Field(default=3, ge=0, le=6, description="halvings; 0: a pixel at a time")
    antialias: bool = Field(default=True, description="fixed filters halve and double, in both networks")
    contrast: float = Field(default=1.0, ge=0, description="weight of the patches' contrast")
    contrast_identity: bool = Field(
        default=True, description="contrast what the generator makes of its target domain too, each half of the weight"
    )
    contrast_layers: tuple[int, ...] = Field(
        default=(0, 4, 8, 12, 16), min_length=1, max_length=16, description="layers of the encoder, counted from 0"
    )
    patches: int = Field(default=256, ge=2, le=65_536, description="places of each layer that are compared")
    temperature: float = Field(default=0.07, gt=0, description="divides the likeness of two patches")
    projection_width: int = Field(default=256, ge=1, description="numbers that a patch is projected to")
    flip_equivariance: bool = Field(
        default=False, description="translate mirror images in half the steps, and mirror their features back"
    )
    adversarial: float = Field(
        default=2.0, gt=0, description="weight of the generator's loss: the authors' least squares are without the ½"
    )
    loss: LossChoice = Field(default={"name": "least_squares"}, description="a file of pipeline/losses")
    share_fakes: bool = Field(default=True, description="the generator answers for the fakes that D has just seen")
    init_gain: float = Field(default=0.02, gt=0, description="Glorot-normal weights times this, in all networks")
    jitter: Jitter | None = Field(default=Jitter(), description="each image for itself, in training; null: none")
    generator: Optimiser = Field(default=ADAM, description="of the generator and of the patches' perceptrons")
    discriminator: Optimiser = ADAM

    @model_validator(mode="after")
    def _fits(self) -> Config:
        layers, last = self.contrast_layers, len(self.plan(3, 3).encoder_maps) - 1
        if any(each < 0 for each in layers) or list(layers) != sorted(set(layers)) or layers[-1] > last:
            raise ValueError(
                f"contrast_layers: {list(layers)} is not allowed; with {self.blocks} blocks the encoder has the "
                f"layers 0 to {last}, each named once and in rising order"
            )
        _choices.check_bounded(self.loss, self.penalties)
        return self

    def plan(self, inputs: int, outputs: int) -> TranslatorPlan:
        """The generator's."""
        return TranslatorPlan(inputs, outputs, self.generator_width, self.blocks, self.antialias)


FAST: dict[str, Any] = {"contrast": 10.0, "contrast_identity": False, "flip_equivariance": True}
"""FastCUT, appendix C: half the passes of the generator."""

_SMALL: dict[str, Any] = {"jitter": None, **both(lr=5e-4)}

PRESETS: dict[str, dict[str, Any]] = {
    # Epochs of horse2zebra's larger side, 1,334 images, in batches of one.
    "horse2zebra256": both(**fading(1_334, 200, 200)),
    "fast256": {**FAST, **both(**fading(1_334, 150, 50))},
    "zoo": {
        "generator_width": 16,
        "blocks": 3,
        "contrast_layers": [0, 4, 8, 12, 14],
        "projection_width": 64,
        "patches": 64,
        "discriminator_width": 16,
        "discriminator_layers": 2,
        **_SMALL,
    },
    "smoke": {
        "generator_width": 6,
        "blocks": 1,
        "contrast_layers": [0, 4, 12],
        "projection_width": 8,
        "patches": 16,
        "discriminator_width": 8,
        "discriminator_layers": 1,
        **_SMALL,
    },
}

_CANON: dict[str, Any] = {"shape": (3, 256, 256), "fields": (("unpaired", (3, 256, 256)),)}

CANON: dict[str, Canon] = {
    "horse2zebra256": Canon("CUT 256 (ResNet-9 IN; PatchGAN IN)", counts=(11_378_179, 2_764_737, 560_384), **_CANON),
    "fast256": Canon("FastCUT 256 (ResNet-9 IN; PatchGAN IN)", counts=(11_378_179, 2_764_737, 560_384), **_CANON),
}


class Family(AdversarialFamily[Config]):
    """“Contrastive learning for unpaired image-to-image translation”, Park et al. 2020.

    With a from the `unpaired` domain and b = `x`, D minimises ½E[(D(b) − 1)²] + ½E[D(G(a))²], and G, with a
    perceptron H_l for each layer l, E[(D(G(a)) − 1)²] + ½·NCE(a, G(a)) + ½·NCE(b, G(b)). NCE(s, t) is the mean over
    layers l of G's encoder of −log softmax(q·k/τ): q a place of H_l(G_l(t)), k the same place of H_l(G_l(s)), against
    other places of the same image (equations 1 to 4; the halves are the authors' code). Good for: changing looks where
    no pairs can be had, with half the networks of CycleGAN and no way back.

    One optimiser owns G and the perceptrons: the authors' two have equal settings, which is the same for Adam.
    Samples are G's, of images that the evaluation hands in.
    """

    paper = "Park, Efros, Zhang, Zhu 2020, arXiv:2007.15651"

    @property
    def needs(self) -> frozenset[str]:
        return frozenset({"x", "unpaired"})

    @property
    def inputs(self) -> frozenset[str]:
        return frozenset({"unpaired"})

    @property
    def resizing(self) -> Resizing:
        # Mirrored margins of one at a quarter of the size need two places there.
        return Resizing(multiple=MULTIPLE, least=2 * MULTIPLE)

    @property
    def latents(self) -> LatentSpec:
        return ()

    @property
    def generator_networks(self) -> tuple[str, ...]:
        return ("generator", "projector")

    @property
    def adversarial(self) -> float:
        return self.config.adversarial

    def check(self, spec: DataSpec) -> None:
        super().check(spec)
        _translation.check_planes(self.name, spec, "unpaired", MULTIPLE)
        _translation.check_patches(self.name, spec, self.config.discriminator_layers)
        other = _translation.other_shape(spec, "unpaired")[0]
        if other != spec.channels:
            raise SettingsError(
                f"families.{self.name}: one encoder reads both domains, and they have {other} and {spec.channels} "
                "channels; set ingest.channels for both"
            )

    def build(self, spec: DataSpec) -> dict[str, nn.Module]:
        self.check(spec)
        config, channels = self.config, spec.channels
        plan = config.plan(channels, channels)
        maps = plan.encoder_maps
        patches = PatchPlan(
            channels, config.discriminator_width, config.discriminator_layers, "instance", config.antialias
        )
        networks: dict[str, nn.Module] = {
            "generator": Translator(plan),
            "discriminator": PatchDiscriminator(patches),
            "projector": PatchProjector([maps[each] for each in config.contrast_layers], config.projection_width),
        }
        init.glorot_normal(config.init_gain, *networks.values())
        return networks

    def sample(
        self, networks: Networks, latents: Mapping[str, Tensor], condition: Batch, truncation: float = 1.0
    ) -> Tensor:
        return networks["generator"](_translation.field_of(condition, "unpaired", self.name))

    # --- objectives ---

    def _domains(self, turn: Turn) -> tuple[Tensor, Tensor, bool]:
        """Images of the `unpaired` domain and of x, each jittered for itself, and whether G sees mirror images."""

        def make() -> tuple[Tensor, Tensor, bool]:
            images = {
                "source": _translation.field_of(turn.batch, "unpaired", self.name),
                "target": _shared.real_of(turn),
            }
            source, target = (
                _translation.jittered(each, self.config.jitter, turn.generator(f"jitter_{name}"))
                for name, each in images.items()
            )
            flipped = self.config.flip_equivariance and torch.rand(1, generator=turn.generator("flip")).item() < 0.5
            return source, target, flipped

        # With several turns of D, each has a batch of its own.
        return make() if self.config.repeats else turn.once("domains", make)

    def real(self, turn: Turn) -> Tensor:
        return self._domains(turn)[1]

    def _translate(self, turn: Turn, x: Tensor) -> Tensor:
        return turn.networks["generator"](x.flip(3) if self._domains(turn)[2] else x)

    def generate(self, turn: Turn) -> Tensor:
        return self._translate(turn, self._domains(turn)[0])

    def generator_terms(self, turn: Turn, seen: Passes) -> Terms:
        if not self.config.contrast:
            return {}
        source, target, _ = self._domains(turn)
        of_source = self._contrast(turn, source, seen.fake, "patches")
        if not self.config.contrast_identity:
            return {"contrast": (self.config.contrast, of_source)}
        of_target = self._contrast(turn, target, self._translate(turn, target), "patches_identity")
        weight = self.config.contrast / 2
        return {"contrast": (weight, of_source), "contrast_identity": (weight, of_target)}

    def _contrast(self, turn: Turn, source: Tensor, translated: Tensor, purpose: str) -> Tensor:
        """NCE(source, translated): the mean over the layers."""
        generator, projector = cast(Translator, turn.networks["generator"]), turn.networks["projector"]
        layers = self.config.contrast_layers
        queries = generator.features(translated, layers)
        if self._domains(turn)[2]:
            queries = [maps.flip(3) for maps in queries]
        with torch.no_grad():
            keys = generator.features(source, layers)
            places = draw_places(keys, self.config.patches, turn.generator(purpose))
            keys = projector(keys, places)
        pairs = zip(projector(queries, places), keys, strict=True)
        losses = [patch_contrast(query, key, self.config.temperature) for query, key in pairs]
        return torch.stack(losses).mean()
