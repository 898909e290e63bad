"""GAN-CLS and GAN-INT: networks against an independent transcription, losses against their equations, the captions."""

from __future__ import annotations

from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from pipeline import captions, plugins
from pipeline.contract import AnyFamily, State, Turn
from pipeline.errors import SettingsError
from pipeline.families import _texts
from pipeline.types import DataSpec, FieldSpec

FIELD = FieldSpec("text", "text", (3, 40), "uint8", False)
SPEC = DataSpec("image", (3, 64, 64), ("a", "b", "c"), fields=(FIELD,))
CLASSLESS = DataSpec("image", (3, 64, 64), fields=(FIELD,))
SAID = [["a red bird", "it is red"], ["a blue bird"], ["a green frog", "a frog", "frogs"], ["a red bird"]]


@pytest.fixture(autouse=True)
def _one_thread() -> None:
    torch.set_num_threads(1)
    torch.manual_seed(3)


def load(**keys: Any) -> AnyFamily:
    return plugins.load("families", {"name": "text_to_image", "preset": "smoke", **keys})


def batch(label: bool = True) -> Any:
    coded = torch.stack([torch.from_numpy(captions.packed(each, 3, 40)) for each in SAID]).long()
    found: Any = {"x": torch.rand(4, 3, 64, 64) * 2 - 1, "text": coded}
    return found | ({"label": torch.tensor([0, 1, 2, 0])} if label else {})


def turn_of(family: AnyFamily, networks: dict[str, nn.Module], phase: str, read: Any, memory: Any) -> Turn:
    noise = torch.randn((len(read["x"]), 8), generator=torch.Generator().manual_seed(len(phase)))
    return Turn(networks, read, {"z": noise}, State(seed=1), 0, phase, memory=memory)


# --- networks: a transcription of the reference's layers in their order -----------------------------------------


def residual(maps: int, narrow: int, act: nn.Module) -> nn.Sequential:
    layers: list[nn.Module] = []
    for before, after, kernel in ((maps, narrow, 1), (narrow, narrow, 3), (narrow, maps, 3)):
        layers += [nn.Conv2d(before, after, kernel, padding=kernel // 2), nn.BatchNorm2d(after), act]
    return nn.Sequential(*layers[:-1])


class WrittenGenerator(nn.Module):
    def __init__(self, text: int, nt: int, nz: int, ngf: int) -> None:
        super().__init__()
        self.fc = nn.Linear(text, nt)
        self.up = nn.ModuleList([nn.ConvTranspose2d(nz + nt, 8 * ngf, 4), nn.BatchNorm2d(8 * ngf)])
        self.r1 = residual(8 * ngf, 2 * ngf, nn.ReLU())
        self.up2 = nn.Sequential(nn.ConvTranspose2d(8 * ngf, 4 * ngf, 4, 2, 1), nn.BatchNorm2d(4 * ngf))
        self.r2 = residual(4 * ngf, ngf, nn.ReLU())
        self.rest = nn.Sequential(
            nn.ConvTranspose2d(4 * ngf, 2 * ngf, 4, 2, 1), nn.BatchNorm2d(2 * ngf), nn.ReLU(),
            nn.ConvTranspose2d(2 * ngf, ngf, 4, 2, 1), nn.BatchNorm2d(ngf), nn.ReLU(),
            nn.ConvTranspose2d(ngf, 3, 4, 2, 1), nn.Tanh(),
        )  # fmt: skip

    def forward(self, z: Tensor, text: Tensor) -> Tensor:
        x = torch.cat([z, F.leaky_relu(self.fc(text), 0.2)], 1)[:, :, None, None]
        x = self.up[1](self.up[0](x))
        x = F.relu(x + self.r1(x))
        x = self.up2(x)
        return self.rest(F.relu(x + self.r2(x)))


class WrittenDiscriminator(nn.Module):
    def __init__(self, text: int, nt: int, ndf: int, interpolating: bool) -> None:
        super().__init__()
        lrelu = nn.LeakyReLU(0.2)
        between = [] if interpolating else [lrelu]
        self.down = nn.Sequential(
            nn.Conv2d(3, ndf, 4, 2, 1), lrelu,
            nn.Conv2d(ndf, 2 * ndf, 4, 2, 1), nn.BatchNorm2d(2 * ndf), lrelu,
            nn.Conv2d(2 * ndf, 4 * ndf, 4, 2, 1), nn.BatchNorm2d(4 * ndf), *between,
            nn.Conv2d(4 * ndf, 8 * ndf, 4, 2, 1), nn.BatchNorm2d(8 * ndf),
        )  # fmt: skip
        self.r = residual(8 * ndf, 2 * ndf, lrelu)
        norm = [nn.BatchNorm1d(nt)] if interpolating else []
        self.fc = nn.Sequential(nn.Linear(text, nt), *norm, lrelu)
        self.joint = nn.Sequential(nn.Conv2d(8 * ndf + nt, 8 * ndf, 1), nn.BatchNorm2d(8 * ndf), lrelu)
        self.head = nn.Conv2d(8 * ndf, 1, 4)

    def forward(self, x: Tensor, text: Tensor) -> Tensor:
        x = self.down(x)
        x = F.leaky_relu(x + self.r(x), 0.2)
        tiled = self.fc(text)[:, :, None, None].repeat(1, 1, 4, 4)
        return self.head(self.joint(torch.cat([x, tiled], 1))).flatten()


KINDS = (nn.Linear, nn.ConvTranspose2d, nn.Conv2d, nn.BatchNorm1d, nn.BatchNorm2d)


def played(network: nn.Module, *given: Tensor) -> list[nn.Module]:
    """Layers with weights in the order in which they are called."""
    found: list[nn.Module] = []
    hooks = [
        each.register_forward_hook(lambda module, *_: found.append(module))
        for each in network.modules()
        if isinstance(each, KINDS)
    ]
    network(*given)
    for hook in hooks:
        hook.remove()
    return found


def copy_weights(ours: nn.Module, theirs: nn.Module, *given: Tensor) -> None:
    """Weights of each kind of layer in the order of their calls; the transcription's biases of convolutions are 0."""
    one, other = played(ours, *given), played(theirs, *given)
    for kind in KINDS:
        mine, its = ([each for each in layers if type(each) is kind] for layers in (one, other))
        for source, target in zip(mine, its, strict=True):
            none = {key: torch.zeros_like(each) for key, each in target.state_dict().items() if key == "bias"}
            state: Any = none | dict(source.state_dict())
            target.load_state_dict(state)


@pytest.mark.parametrize("interpolating", [True, False])
def test_both_networks_are_the_reference_s(interpolating: bool) -> None:
    keys = {} if interpolating else {"text_norm": False, "last_activation": True}
    networks = load(**keys).build(SPEC)
    for network in networks.values():
        for each in network.modules():
            if isinstance(each, nn.BatchNorm1d | nn.BatchNorm2d):
                nn.init.normal_(each.weight)
                nn.init.normal_(each.bias)
    generator, discriminator = WrittenGenerator(32, 6, 8, 4), WrittenDiscriminator(32, 6, 4, interpolating)
    z, text, x = torch.randn(5, 8), torch.randn(5, 32), torch.rand(5, 3, 64, 64) * 2 - 1
    copy_weights(networks["generator"], generator, z, text)
    copy_weights(networks["discriminator"], discriminator, x, text)
    assert torch.allclose(networks["generator"](z, text), generator(z, text), atol=1e-5)
    assert torch.allclose(networks["discriminator"](x, text), discriminator(x, text), atol=1e-4)


def test_a_new_network_has_the_reference_s_initialisation() -> None:
    networks = load(generator_width=32, discriminator_width=32, encoder={"name": "hashed", "dimension": 1024}).build(
        SPEC
    )
    generator: Any = networks["generator"].requires_grad_(False)
    assert float(generator.doublings[0].weight.std()) == pytest.approx(0.02, rel=0.02)
    assert float(generator.project.weight.abs().max()) == pytest.approx(1 / 32, rel=0.01)
    assert float(generator.project.weight.std()) == pytest.approx(1 / 32 / 3**0.5, rel=0.05)
    assert float(generator.project.bias.abs().max()) > 0


def test_other_sizes_than_64_have_a_base_and_levels() -> None:
    for shape in ((1, 28, 28), (3, 48, 32), (4, 16, 16)):
        spec = DataSpec("image", shape, fields=(FIELD,))
        networks = load().build(spec)
        x = networks["generator"](torch.randn(2, 8), torch.randn(2, 32))
        assert x.shape == (2, *shape)
        assert networks["discriminator"](x, torch.randn(2, 32)).shape == (2,)


# --- objectives -------------------------------------------------------------------------------------------------


def objectives(family: AnyFamily) -> dict[str, Any]:
    return {phase.name: phase.objective for phase in family.phases()}


def number(value: Tensor) -> float:
    return float(value.detach())


def bce(logits: Tensor, target: float) -> Tensor:
    return F.binary_cross_entropy_with_logits(logits, torch.full_like(logits, target))


def test_the_discriminator_s_loss_is_the_sum_of_three_cross_entropies() -> None:
    family: Any = load()
    networks = family.build(SPEC)
    read, memory = batch(), {}
    turn = turn_of(family, networks, "discriminator", read, memory)
    parts = objectives(family)["discriminator"](turn)
    text, (other, there) = family.text(turn), family.wrong(turn)
    assert there.all()
    label = read["label"]
    assert (label[other] != label).all(), "a wrong image is of another class"
    discriminator = networks["discriminator"]
    fake = networks["generator"](turn.latents["z"], text)
    x = read["x"]
    expected = bce(discriminator(x, text), 1) + 0.5 * bce(discriminator(x[other], text), 0)
    expected = expected + 0.5 * bce(discriminator(fake, text), 0)
    assert number(parts["total"]) == pytest.approx(number(expected), rel=1e-5)
    assert number(parts["wrong"]) == pytest.approx(number(discriminator(x[other], text).mean()), rel=1e-4)


def test_without_wrong_images_it_is_the_plain_game() -> None:
    family: Any = load(wrong_images=0.0)
    networks = family.build(SPEC)
    read = batch()
    turn = turn_of(family, networks, "discriminator", read, {})
    parts = objectives(family)["discriminator"](turn)
    text = family.text(turn)
    fake = networks["generator"](turn.latents["z"], text)
    expected = bce(networks["discriminator"](read["x"], text), 1) + bce(networks["discriminator"](fake, text), 0)
    assert number(parts["total"]) == pytest.approx(number(expected), rel=1e-5)
    assert "wrong" not in parts


@pytest.mark.parametrize("weight", [None, 0.0, 0.3, 1.0])
def test_the_generator_s_loss_has_a_half_batch_of_mean_texts(weight: float | None) -> None:
    family: Any = load(interpolation=weight)
    networks = family.build(SPEC)
    memory: dict[str, Any] = {}
    read = batch()
    objectives(family)["discriminator"](turn_of(family, networks, "discriminator", read, memory))
    seen = memory["text"][1]
    turn = turn_of(family, networks, "generator", read, memory)
    parts = objectives(family)["generator"](turn)
    text = family.text(turn)
    assert torch.equal(text, seen), "both players see the same texts"
    z = turn.latents["z"]
    if weight is not None:
        text = torch.cat([text, 0.5 * text[:2] + 0.5 * text[2:]])
        z = torch.cat([z, torch.randn((2, 8), generator=turn.generator("interpolation"))])
    logits = networks["discriminator"](networks["generator"](z, text), text)
    rows = torch.ones(len(text))
    rows[4:] = 0.0 if weight is None else weight
    expected = (rows * F.softplus(-logits)).sum() / len(text)
    assert number(parts["total"]) == pytest.approx(number(expected), rel=1e-5)


def test_at_first_neither_knows_anything() -> None:
    """D ≈ 2 ln 2 and G ≈ ln 2 with logits near 0."""
    family: Any = load(interpolation=None)
    networks = family.build(SPEC)
    nn.init.zeros_(networks["discriminator"].head.weight)  # pyright: ignore[reportArgumentType, reportAttributeAccessIssue]
    values = {
        name: number(objective(turn_of(family, networks, name, batch(), {}))["total"])
        for name, objective in objectives(family).items()
    }
    assert values == pytest.approx({"discriminator": 2 * 0.6931472, "generator": 0.6931472}, rel=1e-5)


# --- captions ---------------------------------------------------------------------------------------------------


def test_without_classes_a_wrong_image_has_other_captions() -> None:
    stored = batch(label=False)["text"]
    assert _texts.differing(stored).tolist() == [
        [False, True, True, False],
        [True, False, True, True],
        [True, True, False, True],
        [False, True, True, False],
    ]
    family: Any = load()
    networks = family.build(CLASSLESS)
    for seen in range(20):
        turn = turn_of(family, networks, "discriminator", batch(label=False), {})
        turn.state.examples_seen = seen
        other, there = family.wrong(turn)
        assert there.all()
        assert {int(other[0]), int(other[3])} <= {1, 2}


def test_where_all_captions_are_alike_there_is_no_wrong_image() -> None:
    read = batch(label=False)
    read["text"] = read["text"][[0, 3, 0, 3]]
    family: Any = load()
    turn = turn_of(family, family.build(CLASSLESS), "discriminator", read, {})
    parts = objectives(family)["discriminator"](turn)
    assert "wrong" not in parts
    assert torch.isfinite(parts["total"])


def test_captions_are_drawn_without_repeats_and_averaged() -> None:
    stored = batch()["text"]
    encoder: Any = plugins.load("text_encoders", {"name": "hashed", "dimension": 64})
    vectors = encoder.encode(SAID[2])
    counts = torch.zeros(3)
    for seed in range(60):
        chosen = _texts.drawn(stored, 2, torch.Generator().manual_seed(seed))
        assert chosen.sum(1).tolist() == [2, 1, 2, 1]
        counts += chosen[2]
        found = _texts.averaged(encoder, stored, chosen)
        assert torch.allclose(found[2], vectors[chosen[2]].mean(0), atol=1e-6)
    assert counts.min() > 25
    everything = _texts.drawn(stored, 9, torch.Generator().manual_seed(0))
    assert everything.sum(1).tolist() == [2, 1, 3, 1]


def test_a_turn_with_another_batch_has_its_own_texts() -> None:
    family: Any = load(discriminator_steps=2)
    networks = family.build(SPEC)
    memory: dict[str, Any] = {}
    first, second = batch(), batch()
    second["text"] = second["text"].flip(0)
    one = family.text(turn_of(family, networks, "discriminator", first, memory))
    other = family.text(turn_of(family, networks, "discriminator", second, memory))
    assert not torch.equal(one, other)


def test_samples_are_of_the_first_caption_alone() -> None:
    family: Any = load()
    networks = family.build(SPEC)
    for network in networks.values():
        network.eval()
    read = batch()
    alone = read["text"].clone()
    alone[:, 1:] = 0
    z = {"z": torch.randn(4, 8)}
    assert torch.equal(family.sample(networks, z, read), family.sample(networks, z, {"text": alone}))


# --- what is refused --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("keys", "says"),
    [
        ({"loss": "relativistic"}, "loss: relativistic"),
        ({"share_fakes": True}, "share_fakes"),
        ({"encoder": {"name": "hashed", "dimension": 0}}, "dimension"),
        ({"encoder": "nothing"}, "nothing"),
        ({"conditional": True}, "conditional"),
    ],
)
def test_settings_that_cannot_be_are_refused(keys: dict[str, Any], says: str) -> None:
    with pytest.raises(SettingsError, match=says):
        load(**keys)


def test_data_without_captions_is_refused_with_what_would_do() -> None:
    with pytest.raises(SettingsError, match=r"families\.text_to_image\.encoder.*ingest\.source\.captions"):
        load().check(DataSpec("image", (3, 64, 64)))


def test_precomputed_vectors_take_the_place_of_captions() -> None:
    fields = (FIELD, FieldSpec("text_vectors", "tensor", (2, 5), "float32", False))
    spec = DataSpec("image", (3, 64, 64), fields=fields)
    family: Any = load(encoder="precomputed", averaged_captions=2)
    assert family.needs == {"x", "text_vectors"}
    networks = family.build(spec)
    vectors = torch.randn(4, 2, 5)
    vectors[1, 1] = 0
    vectors[3] = vectors[0]
    read = {"x": torch.rand(4, 3, 64, 64), "text_vectors": vectors}
    turn = turn_of(family, networks, "discriminator", read, {})
    expected = torch.stack([vectors[0].mean(0), vectors[1, 0], vectors[2].mean(0), vectors[0].mean(0)])
    assert torch.allclose(family.text(turn), expected, atol=1e-6)
    other, there = family.wrong(turn)
    assert there.all()
    assert {int(other[0]), int(other[3])} <= {1, 2}
    assert torch.isfinite(objectives(family)["discriminator"](turn)["total"])
