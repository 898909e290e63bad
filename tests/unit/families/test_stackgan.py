"""StackGAN: both forms of its networks against transcriptions, its losses against their equations, its two stages."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from test_text_to_image import SAID, bce, copy_weights, number, residual
from torch import Tensor, nn

from pipeline import captions, plugins
from pipeline.contract import AnyFamily, State, Turn, draw_latents
from pipeline.errors import SettingsError
from pipeline.families import _conditions
from pipeline.networks.architectures.stackgan import (
    PictureGenerator,
    SketchGenerator,
    StackedDiscriminator,
    StackedPlan,
)
from pipeline.types import DataSpec, FieldSpec

SPEC = DataSpec("image", (3, 16, 16), ("a", "b", "c"), fields=(FieldSpec("text", "text", (3, 40), "uint8", False),))
LRELU = nn.LeakyReLU(0.2)


@pytest.fixture(autouse=True)
def _one_thread() -> None:
    torch.set_num_threads(1)
    torch.manual_seed(3)


def load(**keys: Any) -> Any:
    return plugins.load("families", {"name": "stackgan", "preset": "smoke", **keys})


# --- networks ---------------------------------------------------------------------------------------------------


def flat(maps: int, narrow: int, act: nn.Module) -> nn.Sequential:
    """A bottleneck whose convolutions have no bias."""
    found = residual(maps, narrow, act)
    for each in found:
        if isinstance(each, nn.Conv2d):
            each.bias = None
    return found


def c3(inputs: int, outputs: int) -> list[nn.Module]:
    return [nn.Conv2d(inputs, outputs, 3, 1, 1, bias=False), nn.BatchNorm2d(outputs)]


def up(inputs: int, outputs: int) -> list[nn.Module]:
    return [nn.Upsample(scale_factor=2), *c3(inputs, outputs)]


class WrittenSketch(nn.Module):
    """Of 64 pixels, widths 8·g, 4·g, 2·g, g (and g/2 in the port)."""

    def __init__(self, z: int, c: int, g: int, port: bool) -> None:
        super().__init__()
        self.port, self.g = port, g
        self.fc = nn.Linear(z + c, 128 * g, bias=not port)
        self.bn = nn.BatchNorm1d(128 * g)
        if port:
            layers: list[nn.Module] = []
            for before, after in ((8 * g, 4 * g), (4 * g, 2 * g), (2 * g, g), (g, g // 2)):
                layers += [*up(before, after), nn.ReLU()]
            self.rest = nn.Sequential(*layers, nn.Conv2d(g // 2, 3, 3, 1, 1, bias=False), nn.Tanh())
        else:
            self.r1, self.u1 = flat(8 * g, 2 * g, nn.ReLU()), nn.Sequential(*up(8 * g, 4 * g))
            self.r2 = flat(4 * g, g, nn.ReLU())
            last = [nn.Upsample(scale_factor=2), nn.Conv2d(g, 3, 3, 1, 1, bias=False), nn.Tanh()]
            self.rest = nn.Sequential(*up(4 * g, 2 * g), nn.ReLU(), *up(2 * g, g), nn.ReLU(), *last)

    def forward(self, z: Tensor, c: Tensor) -> Tensor:
        x = self.bn(self.fc(torch.cat((z, c) if self.port else (c, z), 1))).view(-1, 8 * self.g, 4, 4)
        if self.port:
            return self.rest(F.relu(x))
        x = self.u1(F.relu(x + self.r1(x)))
        return self.rest(F.relu(x + self.r2(x)))


class WrittenPicture(nn.Module):
    def __init__(self, c: int, g: int) -> None:
        super().__init__()
        down = [nn.Conv2d(3, g, 3, 1, 1, bias=False), nn.ReLU()]
        for before in (g, 2 * g):
            down += [nn.Conv2d(before, 2 * before, 4, 2, 1, bias=False), nn.BatchNorm2d(2 * before), nn.ReLU()]
        self.down, self.joint = nn.Sequential(*down), nn.Sequential(*c3(4 * g + c, 4 * g), nn.ReLU())
        self.blocks = nn.ModuleList(nn.Sequential(*c3(4 * g, 4 * g), nn.ReLU(), *c3(4 * g, 4 * g)) for _ in range(2))
        layers: list[nn.Module] = []
        for before, after in ((4 * g, 2 * g), (2 * g, g), (g, g // 2), (g // 2, g // 4)):
            layers += [*up(before, after), nn.ReLU()]
        self.rest = nn.Sequential(*layers, nn.Conv2d(g // 4, 3, 3, 1, 1, bias=False), nn.Tanh())

    def forward(self, x: Tensor, c: Tensor) -> Tensor:
        x = self.down(x)
        x = self.joint(torch.cat([x, c[:, :, None, None].repeat(1, 1, *x.shape[2:])], 1))
        for block in self.blocks:
            x = F.relu(x + block(x))
        return self.rest(x)


class WrittenJudge(nn.Module):
    """Of 64 pixels (4 halvings) or 256 (6)."""

    def __init__(self, text: int, c: int, d: int, halvings: int, port: bool) -> None:
        super().__init__()
        self.port, k = port, 3 if port else 1
        layers: list[nn.Module] = [nn.Conv2d(3, d, 4, 2, 1, bias=False), LRELU]
        for level in range(1, halvings):
            width = d * 2**level
            layers += [nn.Conv2d(width // 2, width, 4, 2, 1, bias=False), nn.BatchNorm2d(width)]
            layers += [] if not port and halvings == 4 and level >= 2 else [LRELU]
        if halvings == 6:
            for before, after in ((32 * d, 16 * d), (16 * d, 8 * d)):
                layers += [nn.Conv2d(before, after, k, 1, k // 2, bias=False), nn.BatchNorm2d(after), LRELU]
            layers = layers if port else layers[:-1]
        self.down = nn.Sequential(*layers)
        self.r = None if port else flat(8 * d, 2 * d, LRELU)
        self.fc = None if port else nn.Sequential(nn.Linear(text, c), LRELU)
        self.joint = nn.Sequential(nn.Conv2d(8 * d + c, 8 * d, k, 1, k // 2, bias=False), nn.BatchNorm2d(8 * d), LRELU)
        self.head = nn.Conv2d(8 * d, 1, 4, 4, bias=port)
        self.alone = nn.Conv2d(8 * d, 1, 4, 4) if port and halvings == 6 else None

    def forward(self, x: Tensor, text: Tensor) -> Tensor:
        x = self.down(x)
        if self.r is not None:
            x = F.leaky_relu(x + self.r(x), 0.2)
        code = text if self.fc is None else self.fc(text)
        logits = self.head(self.joint(torch.cat([x, code[:, :, None, None].repeat(1, 1, 4, 4)], 1))).flatten()
        return logits if self.alone is None else torch.stack([logits, self.alone(x).flatten()])


@pytest.mark.parametrize("port", [False, True])
def test_all_four_networks_are_the_reference_s(port: bool) -> None:
    plan = StackedPlan((4, 4), 4, 3, 7, 6, 5, 4, 2, 2, port)
    z, c, text, x = (
        torch.randn(3, 5),
        torch.randn(3, 6),
        torch.randn(3, 6 if port else 7),
        torch.rand(3, 3, 64, 64) * 2 - 1,
    )
    large = torch.rand(3, 3, 256, 256) * 2 - 1
    pairs: list[tuple[nn.Module, nn.Module, tuple[Tensor, ...]]] = [
        (SketchGenerator(plan), WrittenSketch(5, 6, 4, port), (z, c)),
        (PictureGenerator(plan), WrittenPicture(6, 4), (x, c)),
        (StackedDiscriminator(plan, 4), WrittenJudge(7, 6, 2, 4, port), (x, text)),
        (StackedDiscriminator(plan, 6, port), WrittenJudge(7, 6, 2, 6, port), (large, text)),
    ]
    for ours, theirs, given in pairs:
        for each in ours.modules():
            if isinstance(each, nn.BatchNorm1d | nn.BatchNorm2d):
                nn.init.normal_(each.weight)
                nn.init.normal_(each.bias)
        copy_weights(ours, theirs, *given)
        assert torch.allclose(ours(*given), theirs(*given), atol=1e-4), type(ours).__name__


def test_a_condition_is_drawn_as_each_form_draws_it() -> None:
    for port, slope in ((False, 0.2), (True, 0.0)):
        network: Any = SketchGenerator(StackedPlan((4, 4), 1, 3, 7, 6, 5, 4, 2, 0, port))
        text = torch.randn(3, 7)
        mean, spread = network.conditioning(text)
        both = F.leaky_relu(network.conditioning.linear(text), slope)
        assert torch.allclose(mean, both[:, :6])
        assert torch.allclose(spread, both[:, 6:] / (2 if port else 1))


def test_noise_is_normal_and_cut_at_two_deviations() -> None:
    drawn = _conditions.cut_normal(torch.rand(200_000, generator=torch.Generator().manual_seed(1)) * 2 - 1)
    assert float(drawn.abs().max()) <= 2.0001
    # The deviation of N(0, 1) between −2 and 2: √(1 − 4·φ(2) / (2·Φ(2) − 1)).
    density, inside = math.exp(-2) / math.sqrt(2 * math.pi), math.erf(math.sqrt(2))
    assert float(drawn.std()) == pytest.approx(math.sqrt(1 - 4 * density / inside), rel=0.01)
    assert abs(float(drawn.mean())) < 0.01


def test_the_divergence_is_that_of_two_normals() -> None:
    mean, spread = torch.randn(4, 5), torch.randn(4, 5) / 3
    normals = torch.distributions.Normal(mean, spread.exp()), torch.distributions.Normal(torch.zeros(4, 5), 1.0)
    expected = torch.distributions.kl_divergence(*normals).mean()
    assert float(_conditions.divergence(mean, spread)) == pytest.approx(float(expected), rel=1e-5)


# --- objectives -------------------------------------------------------------------------------------------------


def turn_of(family: AnyFamily, networks: dict[str, nn.Module], phase: str, memory: Any) -> Turn:
    coded = torch.stack([torch.from_numpy(captions.packed(each, 3, 40)) for each in SAID]).long()
    x = torch.rand(4, 3, 16, 16, generator=torch.Generator().manual_seed(2)) * 2 - 1
    read: Any = memory.setdefault("read", {"x": x, "text": coded, "label": torch.tensor([0, 1, 2, 0])})
    noise = draw_latents(family.latents, 4, torch.Generator().manual_seed(9))
    return Turn(networks, read, noise, State(seed=1), 0, phase, memory=memory)


def objectives(family: AnyFamily) -> dict[str, Any]:
    return {phase.name: phase.objective for segment in family.segments() for phase in segment.phases}


def drawn_by_hand(family: Any, networks: Any, turn: Turn, port: bool) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Fake and mean of both stages."""
    text = family.text(turn)
    found: list[Tensor] = []
    sketch = None
    for name, noise in (("generator", "condition"), ("generator2", "condition2")):
        mean, spread = networks[name].conditioning(text)
        eps = turn.latents[noise] if port else _conditions.cut_normal(turn.latents[noise])
        condition = mean + spread.exp() * eps
        given = turn.latents["z"] if sketch is None else sketch
        sketch = networks[name](given, condition)
        found += [sketch, mean]
    return found[0], found[1], found[2], found[3]


@pytest.mark.parametrize("port", [False, True])
@pytest.mark.parametrize("stage", ["", "2"])
def test_the_losses_are_sums_of_cross_entropies(port: bool, stage: str) -> None:
    family = load(**({"networks": "port", "share_fakes": True} if port else {}))
    networks: Any = family.build(SPEC)
    memory: dict[str, Any] = {}
    turn = turn_of(family, networks, f"discriminator{stage}", memory)
    parts = objectives(family)[f"discriminator{stage}"](turn)
    sketch, mean, picture, mean2 = drawn_by_hand(family, networks, turn, port)
    fake, told = (picture, mean2) if stage else (sketch, mean)
    text = family.text(turn)
    told = told.detach() if port else text
    x: Any = turn.batch.get("x")
    real = x if stage else F.avg_pool2d(x, 4)
    judge = networks[f"discriminator{stage}"]
    other, there = family.wrong(turn)
    assert there.all()
    wrong = judge(real[:-1], told[1:]) if port else judge(real[other], told)
    on_real, on_fake = judge(real, told), judge(fake.detach(), told)
    if port and stage:
        expected = (bce(on_real[0], 1) + bce(on_real[1], 1)) / 2
        expected = expected + (bce(on_fake[0], 0) + bce(wrong[0], 0) + bce(on_fake[1], 0)) / 3
    else:
        expected = bce(on_real, 1) + (bce(wrong, 0) + bce(on_fake, 0)) / 2
    assert number(parts["total"]) == pytest.approx(number(expected), rel=1e-5)

    turn = turn_of(family, networks, f"generator{stage}", memory)
    parts = objectives(family)[f"generator{stage}"](turn)
    mean, spread = networks[f"generator{stage}"].conditioning(text)
    on_fake = judge(fake, told)
    expected = bce(on_fake, 1) if on_fake.dim() == 1 else bce(on_fake[0], 1) + bce(on_fake[1], 1)
    expected = expected + 2 * _conditions.divergence(mean, spread)
    assert number(parts["total"]) == pytest.approx(number(expected), rel=1e-5)


def test_stage_two_leaves_stage_one_alone() -> None:
    family = load()
    networks: Any = family.build(SPEC)
    parts = objectives(family)["generator2"](turn_of(family, networks, "generator2", {}))
    found = torch.autograd.grad(parts["total"], list(networks["generator"].parameters()), allow_unused=True)
    assert all(each is None for each in found)
    assert [(each.name, each.examples) for each in family.segments()] == [("sketch", 64), ("picture", None)]


def test_samples_are_enlarged_sketches_until_stage_two_has_begun() -> None:
    family = load()
    networks: Any = family.build(SPEC)
    for network in networks.values():
        network.eval()
    turn = turn_of(family, networks, "generator", {})
    read: Any = turn.batch
    before = family.sample(networks, turn.latents, read)
    assert torch.equal(before[:, :, ::4, ::4].repeat_interleave(4, 2).repeat_interleave(4, 3), before)
    state = State(seed=1)
    family.after_step(networks, state, {"generator/loss": 1.0})
    assert torch.equal(family.sample(networks, turn.latents, read), before)
    family.after_step(networks, state, {"generator2/loss": 1.0})
    assert not torch.equal(family.sample(networks, turn.latents, read), before)


@pytest.mark.parametrize(
    ("keys", "says"),
    [
        ({"penalties": ["r1"]}, "penalties"),
        ({"simultaneous": True}, "simultaneous"),
        ({"discriminator_steps": 2}, "discriminator_steps"),
    ],
)
def test_settings_that_cannot_be_are_refused(keys: dict[str, Any], says: str) -> None:
    with pytest.raises(SettingsError, match=says):
        load(**keys)


def test_images_that_are_too_small_are_refused() -> None:
    with pytest.raises(SettingsError, match=r"families\.stackgan: stage I needs a doubling"):
        load(smallest=4).check(SPEC)
