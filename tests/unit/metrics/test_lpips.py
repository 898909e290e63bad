"""LPIPS against a transcription of its own, with random weights; its stand-in, and what is refused."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from test_pairs import GREY, statistics
from test_pairs import MADE as CLOSE
from test_pairs import TRUTH as OF
from torch import Tensor, nn

from pipeline import assets, plugins
from pipeline.contract.metric import Score
from pipeline.errors import UserError
from pipeline.types import Array

RNG = np.random.default_rng(3)
TRUTH, MADE = (RNG.integers(0, 256, (3, 3, 33, 40), np.uint8) for _ in range(2))
SHIFT, SCALE = ([-0.030, -0.088, -0.188], [0.458, 0.448, 0.450])
# Convolutions of torchvision's networks (maps in, maps out, kernel, stride, padding), pools, and where LPIPS looks.
VGG16 = [
    (3, 64), (64, 64), "look", "pool", (64, 128), (128, 128), "look", "pool", (128, 256), (256, 256), (256, 256),
    "look", "pool", (256, 512), (512, 512), (512, 512), "look", "pool", (512, 512), (512, 512), (512, 512), "look",
]  # fmt: skip
ALEXNET = [
    (3, 64, 11, 4, 2), "look", "pool", (64, 192, 5, 1, 2), "look", "pool", (192, 384), "look", (384, 256), "look",
    (256, 256), "look",
]  # fmt: skip
PLANS: dict[str, list[Any]] = {"vgg16": VGG16, "alexnet": ALEXNET}


@pytest.fixture
def fetched(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, dict[str, Tensor]]:
    """Random weights in the cache, under the public names."""
    monkeypatch.setenv("ZEROSUM_CACHE", str(tmp_path))
    found: dict[str, dict[str, Tensor]] = {}
    draw = torch.Generator().manual_seed(0)
    for name in ("vgg16", "alexnet", "lpips_vgg16", "lpips_alexnet"):
        shapes = plugins.load("assets", {"name": name}).shapes()
        found[name] = {key: torch.rand(shape, generator=draw) * 0.1 for key, shape in shapes.items()}
        found[name] = {key: x if "lin" in key else x - 0.048 for key, x in found[name].items()}
        assets.save(assets.place(name), found[name], "0" * 64)
    return found


def looked(network: str, weights: dict[str, Tensor], x: Tensor) -> list[Tensor]:
    """Maps of images in [−1, 1] where LPIPS looks, by layers written out."""
    x = (x - torch.tensor(SHIFT).view(1, 3, 1, 1)) / torch.tensor(SCALE).view(1, 3, 1, 1)
    values, found = list(weights.values()), list[Tensor]()
    for each in PLANS[network]:
        if each == "look":
            found.append(x)
        elif each == "pool":
            x = F.max_pool2d(x, 2, 2) if network == "vgg16" else F.max_pool2d(x, 3, 2)
        else:
            _, _, kernel, stride, padding = each if len(each) == 5 else (*each, 3, 1, 1)
            weight, bias, values = values[0], values[1], values[2:]
            assert weight.shape[-1] == kernel
            x = F.relu(F.conv2d(x, weight, bias, stride, padding))
    return found


def expected(network: str, fetched: dict[str, dict[str, Tensor]], a: Array, b: Array) -> Tensor:
    one, other = (torch.from_numpy(x).float() / 127.5 - 1 for x in (a, b))
    heads, total = list(fetched[f"lpips_{network}"].values()), torch.zeros(len(a))
    maps = zip(looked(network, fetched[network], one), looked(network, fetched[network], other), heads, strict=True)
    for ours, theirs, head in maps:
        apart = (F.normalize(ours, dim=1, eps=1e-10) - F.normalize(theirs, dim=1, eps=1e-10)) ** 2
        total += nn.functional.conv2d(apart, head).mean((1, 2, 3))
    return total


def scored(found: Any, **keys: Any) -> dict[str, Score]:
    return {each.name: each for each in plugins.load("metrics", {"name": "lpips", **keys}).compute(found)}


@pytest.mark.parametrize("network", ["alexnet", pytest.param("vgg16", marks=pytest.mark.slow)])
def test_it_is_the_published_formula(network: str, fetched: dict[str, dict[str, Tensor]]) -> None:
    found = scored(statistics(MADE, TRUTH), network=network)
    each = found[f"lpips_{network}"].each
    assert each is not None
    assert each == pytest.approx(expected(network, fetched, MADE, TRUTH).numpy(), rel=1e-4)
    assert min(each) > 0
    again = scored(statistics(TRUTH, TRUTH), network=network)[f"lpips_{network}"]
    assert again.value == 0


def test_the_input_stands_beside_it_and_grey_is_three_channels(fetched: dict[str, dict[str, Tensor]]) -> None:
    grey = RNG.integers(0, 256, (3, 1, 33, 40), np.uint8)
    found = scored(statistics(MADE, TRUTH, grey), network="alexnet")
    beside = expected("alexnet", fetched, grey.repeat(3, 1), TRUTH)
    assert found["lpips_alexnet_of_input"].value == pytest.approx(float(beside.mean()), rel=1e-4)


def test_without_weights_it_says_how_to_get_them(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ZEROSUM_CACHE", str(tmp_path))
    with pytest.raises(UserError, match="zerosum weights fetch alexnet"):
        scored(statistics(MADE, TRUTH), network="alexnet")
    metric = plugins.load("metrics", {"name": "lpips", "network": "vgg16"})
    assert metric.assets == ("vgg16", "lpips_vgg16")
    assert plugins.load("metrics", {"name": "lpips"}).assets == ()


def test_images_that_are_too_small_are_refused(fetched: dict[str, dict[str, Tensor]]) -> None:
    with pytest.raises(UserError, match="31 pixels or more"):
        scored(statistics(), network="alexnet")


def test_negative_heads_are_no_distance(tmp_path: Path) -> None:
    asset = plugins.load("assets", {"name": "lpips_alexnet"})
    state = {key: torch.ones(shape) for key, shape in asset.shapes().items()}
    state["lin2.model.1.weight"][0, 5] = -0.1
    torch.save(state, tmp_path / "w.pth")
    with pytest.raises(UserError, match=r"lin2\.model\.1\.weight has negative weights"):
        asset.converted(tmp_path / "w.pth")


def test_the_stand_in_is_named_by_its_extractor() -> None:
    def seen(x: Array) -> Array:
        return x.reshape(len(x), -1)[:, :7].astype(np.float64)

    found = statistics(given=GREY)
    assert found.pairs is not None
    scores = scored(replace(found, pairs=replace(found.pairs, features=seen)))
    assert scores.keys() == {"feature_distance_toy", "feature_distance_toy_of_input"}

    a, b = seen(CLOSE), seen(OF)
    cosine = (a * b).sum(1) / np.linalg.norm(a, axis=1) / np.linalg.norm(b, axis=1)
    assert scores["feature_distance_toy"].value == pytest.approx((1 - cosine).mean())
