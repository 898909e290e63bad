"""CUT: the contrast in closed form, both objectives against a transcription, the antialiased layers, mirror images."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from pipeline import plugins, randomness
from pipeline.contract import AnyFamily, State, Turn
from pipeline.errors import SettingsError
from pipeline.networks.architectures.cut import PatchProjector, draw_places, patch_contrast
from pipeline.networks.architectures.cyclegan import Translator, TranslatorPlan
from pipeline.networks.architectures.pix2pix import PatchDiscriminator, PatchPlan
from pipeline.types import DataSpec, like_x

SOURCE = torch.Generator().manual_seed(1)
X, OTHER = (torch.rand((2, 3, 16, 16), generator=SOURCE) * 2 - 1 for _ in range(2))
SPEC = DataSpec("image", (3, 16, 16), fields=like_x({"unpaired": (3, 16, 16)}))
LAYERS = (0, 4, 12)


@pytest.fixture(autouse=True)
def _one_thread() -> None:
    torch.set_num_threads(1)
    torch.manual_seed(0)


def family(**keys: Any) -> AnyFamily:
    return plugins.load("families", {"name": "cut", "preset": "smoke", **keys})


def play(design: AnyFamily, networks: dict[str, nn.Module], phase: str, seen: int = 0) -> dict[str, Tensor]:
    (chosen,) = (each for each in design.phases() if each.name == phase)
    batch: Any = {"x": X, "unpaired": OTHER}
    return chosen.objective(Turn(networks, batch, {}, State(seed=0, examples_seen=seen), 0, phase))


# --- the contrast ---------------------------------------------------------------------------


def test_equal_features_leave_every_patch_as_likely_as_its_own() -> None:
    features = F.normalize(torch.ones(3, 7, 5), dim=2)
    assert patch_contrast(features, features, 0.07).item() == pytest.approx(math.log(7), rel=1e-5)


def test_orthogonal_patches_know_their_own() -> None:
    features = torch.eye(4)[None]
    assert patch_contrast(features, features, 0.5).item() == pytest.approx(math.log(1 + 3 * math.exp(-2)), rel=1e-6)


def test_negatives_are_of_the_same_image_and_keys_get_no_gradient() -> None:
    query, key = (F.normalize(torch.randn(2, 5, 8), dim=2).requires_grad_() for _ in range(2))
    whole = patch_contrast(query, key, 0.07)
    alone = [patch_contrast(query[n : n + 1], key[n : n + 1], 0.07) for n in range(2)]
    assert torch.allclose(whole, torch.stack(alone).mean())
    whole.backward()
    assert key.grad is None
    assert query.grad is not None


def test_projections_are_of_the_same_places_and_of_length_one() -> None:
    features = [torch.arange(24.0).view(1, 2, 3, 4), torch.randn(1, 3, 2, 2)]
    places = draw_places(features, 5, torch.Generator().manual_seed(0))
    assert [len(each.unique()) for each in places] == [5, 4]
    network = PatchProjector([2, 3], 6)
    found = network(features, places)
    assert [tuple(each.shape) for each in found] == [(1, 5, 6), (1, 4, 6)]
    assert torch.allclose(found[0].norm(dim=2), torch.ones(1, 5))
    row, column = divmod(int(places[0][3]), 4)
    by_hand = network.layers[0](features[0][0, :, row, column])
    assert torch.allclose(found[0][0, 3], by_hand / by_hand.norm(), atol=1e-6)


# --- the objectives, transcribed ------------------------------------------------------------


def infonce(query: Tensor, key: Tensor) -> Tensor:
    """A positive in front of all keys of the image, whose diagonal is put out of reach."""
    losses = []
    for q, k in zip(query, key, strict=True):
        negatives = (q @ k.T).masked_fill(torch.eye(len(q), dtype=torch.bool), -10.0)
        logits = torch.cat([(q * k).sum(1, keepdim=True), negatives], dim=1) / 0.07
        losses.append(F.cross_entropy(logits, torch.zeros(len(q), dtype=torch.long)))
    return torch.stack(losses).mean()


def encoded(network: Translator, x: Tensor) -> list[Tensor]:
    found = []
    for number, layer in enumerate(network.layers):
        x = layer(x)
        if number in LAYERS:
            found.append(x)
    return found


def nce(networks: dict[str, Any], source: Tensor, target: Tensor, purpose: str) -> Tensor:
    keys, queries = encoded(networks["generator"], source), encoded(networks["generator"], target)
    counted = randomness.generator(0, f"generator/{purpose}", 0, 0, 0, 0)
    total = torch.zeros(())
    for layer, key, query in zip(networks["projector"].layers, keys, queries, strict=True):
        chosen = torch.randperm(key[0, 0].numel(), generator=counted)[:16]
        unit = []
        for maps in (query, key):
            rows = layer(maps.permute(0, 2, 3, 1).flatten(1, 2)[:, chosen])
            unit.append(rows / (rows.pow(2).sum(2, keepdim=True).sqrt() + 1e-7))
        total = total + infonce(unit[0], unit[1].detach())
    return total / len(keys)


def test_both_objectives_are_the_authors() -> None:
    design = family()
    networks: Any = design.build(SPEC)
    for each in networks.values():
        for parameter in each.parameters():
            torch.nn.init.normal_(parameter, 0, 0.2)
    fake = networks["generator"](OTHER)
    found = play(design, networks, "discriminator")["total"]
    score = networks["discriminator"]
    assert torch.allclose(found, 0.5 * (score(fake).square().mean() + (score(X) - 1).square().mean()), atol=1e-6)
    found = play(design, networks, "generator")["total"]
    contrast = nce(networks, OTHER, fake, "patches") + nce(networks, X, networks["generator"](X), "patches_identity")
    wanted = (score(fake) - 1).square().mean() + 0.5 * contrast
    assert torch.allclose(found, wanted, atol=1e-5)
    owned = [*networks["generator"].parameters(), *networks["projector"].parameters()]
    for ours, theirs in zip(torch.autograd.grad(found, owned), torch.autograd.grad(wanted, owned), strict=True):
        assert torch.allclose(ours, theirs, atol=1e-5)


def test_fast_translates_mirror_images_in_some_steps_and_mirrors_their_features_back() -> None:
    design = family(contrast=10, contrast_identity=False, flip_equivariance=True)
    networks: Any = design.build(SPEC)
    score, generator = networks["discriminator"], networks["generator"]
    plain, mirrored = generator(OTHER), generator(OTHER.flip(3))
    seen = [play(design, networks, "discriminator", seen)["fake"] for seen in range(12)]
    flips = [torch.allclose(each, score(mirrored).mean(), atol=1e-7) for each in seen]
    assert {True, False} == set(flips)
    assert all(
        flip or torch.allclose(each, score(plain).mean(), atol=1e-7) for flip, each in zip(flips, seen, strict=True)
    )
    parts = play(design, networks, "generator")
    assert "contrast_identity" not in parts
    assert torch.allclose(parts["total"], 2 * parts["loss"] + 10 * parts["contrast"])


# --- networks and settings ------------------------------------------------------------------


def test_antialiased_networks_keep_convolutions_at_stride_one_and_the_sizes() -> None:
    plan = TranslatorPlan(3, 3, 4, 2, antialiased=True)
    network = Translator(plan)
    kinds = [type(each).__name__ for each in network.layers]
    assert kinds[4:12] == ["Conv2d", "InstanceNorm2d", "ReLU", "MirroredDownsample"] * 2
    assert kinds[14:22] == ["RepeatedUpsample", "Conv2d", "InstanceNorm2d", "ReLU"] * 2
    assert network(torch.rand(1, 3, 12, 20)).shape == (1, 3, 12, 20)
    judge = PatchDiscriminator(PatchPlan(3, 4, 3, "instance", antialiased=True))
    assert judge(torch.rand(1, 3, 64, 48)).shape == (1, 1, 6, 4)
    strides = [each.stride for each in judge.modules() if isinstance(each, nn.Conv2d)]
    assert strides == [(1, 1)] * 5


@pytest.mark.parametrize("antialiased", [False, True])
def test_the_plan_knows_the_maps_of_each_layer(antialiased: bool) -> None:
    plan = TranslatorPlan(3, 3, 4, 2, antialiased)
    maps = plan.encoder_maps
    found = Translator(plan).features(torch.rand(1, 3, 16, 16), range(len(maps)))
    assert [each.shape[1] for each in found] == list(maps)


@pytest.mark.parametrize("layers", [[4, 0], [0, 0], [-1], [13]])
def test_layers_outside_the_encoder_are_refused(layers: list[int]) -> None:
    with pytest.raises(SettingsError, match=r"contrast_layers"):
        family(contrast_layers=layers)


def test_domains_of_different_channels_and_small_images_are_refused() -> None:
    with pytest.raises(SettingsError, match=r"ingest\.channels"):
        family().check(DataSpec("image", (3, 16, 16), fields=like_x({"unpaired": (1, 16, 16)})))
    with pytest.raises(SettingsError, match=r"families\.cut\.discriminator_layers"):
        family(discriminator_layers=3).check(SPEC)


def test_weights_are_glorot_normal_times_a_fiftieth() -> None:
    networks: Any = family(generator_width=32).build(SPEC)
    convolution = networks["generator"].layers[8]
    assert convolution.weight.std().item() == pytest.approx(0.02 * math.sqrt(2 / (9 * (64 + 128))), rel=0.05)
    assert not convolution.bias.any()
