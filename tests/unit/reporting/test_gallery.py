from __future__ import annotations

import io
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from measured_toys import SPEC, Halves, Toy, toy_networks
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from pipeline import plugins
from pipeline.contract import Latent, Networks
from pipeline.formats.reference import Reference
from pipeline.reporting import gallery
from pipeline.sampling import texts
from pipeline.sampling.samples import Labels, SampleSource
from pipeline.scoring.settings import EvaluateSettings, GallerySettings
from pipeline.types import Batch, DataSpec, FieldSpec

SOURCE = SampleSource(Toy(), toy_networks(Toy()), SPEC)
SHOW = GallerySettings(per_class=3, rows=2, interpolations=2, steps=4, neighbours=5, searched=70, side=8)


def opened(data: bytes) -> np.ndarray:
    return np.asarray(Image.open(io.BytesIO(data)))


@pytest.mark.parametrize(("channels", "mode"), [(1, "L"), (3, "RGB"), (4, "RGB")])
def test_a_grid_holds_its_images_between_grey_gutters(channels: int, mode: str) -> None:
    images = np.random.default_rng(0).integers(0, 256, (5, channels, 4, 6), dtype=np.uint8)
    images[:, 3:] = 255
    data = gallery.grid(images, columns=3, side=6)
    assert Image.open(io.BytesIO(data)).mode == mode
    pixels = opened(data).reshape(14, 26, -1)
    assert (pixels[:2] == gallery.GREY).all()
    assert (pixels[:, 8:10] == gallery.GREY).all()
    assert np.array_equal(pixels[2:6, 10:16], images[1, :3].transpose(1, 2, 0))
    assert np.array_equal(pixels[8:12, 2:8], images[3, :3].transpose(1, 2, 0))
    assert (pixels[8:, 18:] == gallery.GREY).all()


def test_small_images_are_enlarged_a_whole_number_of_times() -> None:
    pixels = opened(gallery.grid(np.arange(4, dtype=np.uint8).reshape(1, 1, 2, 2), 1, side=8))
    assert pixels.shape == (12, 12)
    assert (pixels[2:6, 6:10] == 1).all()
    assert opened(gallery.grid(np.zeros((1, 1, 100, 100), dtype=np.uint8), 1, side=8)).shape == (104, 104)


def test_transparency_shows_checks() -> None:
    pixels = opened(gallery.grid(np.zeros((1, 4, 8, 8), dtype=np.uint8), 1, side=8))
    assert set(np.unique(pixels[2:10, 2:10])) == set(gallery.CHECKS)


def test_equal_images_give_equal_bytes(tmp_path: Path) -> None:
    images = SOURCE.grid(rows=2)
    gallery.save_grid(tmp_path / "a.png", images)
    gallery.save_grid(tmp_path / "b.png", SOURCE.grid(rows=2))
    assert (tmp_path / "a.png").read_bytes() == (tmp_path / "b.png").read_bytes()


@pytest.mark.parametrize("shape", [(0, 1, 4, 4), (1, 2, 4, 4), (4, 4, 4)])
def test_what_is_no_image_is_refused(shape: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match="a grid needs images"):
        gallery.grid(np.zeros(shape, dtype=np.uint8), 2)


SAID = [f"picture {number}" for number in range(5)]


def drawing_from_words() -> SampleSource:
    field = FieldSpec("text", "text", (2, 12), "uint8", False)
    spec = DataSpec("image", (3, 16, 16), fields=(field,))
    family = plugins.load("families", {"name": "text_to_image", "preset": "smoke"})
    torch.manual_seed(0)
    return texts.drawing(SampleSource(family, family.build(spec), spec), SAID)


def test_samples_of_sentences_stand_with_what_they_were_drawn_from() -> None:
    source = drawing_from_words()
    assert gallery.captions_of(source, 7) == (*SAID, *SAID[:2])
    assert gallery.captions_of(SOURCE, 7) == ()
    data, names, sliders = gallery.translations(source, SHOW, seed=0)
    assert names == ("output",)
    assert sliders == ()
    assert opened(data).ndim == 3


def test_a_walk_stays_with_one_sentence() -> None:
    source = drawing_from_words()
    asked: list[list[int]] = []
    inputs = source.inputs

    def watched(numbers: Labels) -> Mapping[str, NDArray[Any]]:
        assert inputs is not None
        asked.append(numbers.tolist())
        return inputs(numbers)

    source.inputs = watched
    gallery.interpolation(source, SHOW, seed=0)
    assert asked[0][:8] == [0, 0, 0, 0, 1, 1, 1, 1]


def test_a_row_for_each_class_and_its_name() -> None:
    data, names = gallery.by_class(SOURCE, SHOW, seed=0)
    assert names == ("left", "right")
    assert opened(data).shape == (22, 32)
    data, names = gallery.by_class(SampleSource(Toy(False), toy_networks(Toy()), SPEC), SHOW, seed=0)
    assert names == ()


def test_slerp_keeps_to_the_sphere_and_meets_its_ends() -> None:
    latent = Latent("z", (2,))
    a, b = torch.tensor([1.0, 0.0]), torch.tensor([0.0, 1.0])
    found = gallery.between(latent, a, b, torch.tensor([0.0, 0.5, 1.0]))
    torch.testing.assert_close(found, torch.tensor([[1.0, 0.0], [0.5**0.5, 0.5**0.5], [0.0, 1.0]]))
    same = gallery.between(latent, a, a, torch.tensor([0.0, 0.3]))
    torch.testing.assert_close(same, a.expand(2, 2))


def test_other_latents_go_straight_or_jump() -> None:
    a, b, share = torch.tensor([1.0, 0.0]), torch.tensor([0.0, 1.0]), torch.tensor([0.0, 0.25, 0.75, 1.0])
    straight = gallery.between(Latent("u", (2,), "uniform"), a, b, share)
    torch.testing.assert_close(straight[1], torch.tensor([0.75, 0.25]))
    jump = gallery.between(Latent("c", (2,), "categorical"), a, b, share)
    assert jump.tolist() == [[1, 0], [1, 0], [0, 1], [0, 1]]


def test_walks_longer_than_a_chunk_start_at_their_own_latents() -> None:
    show = SHOW.model_copy(update={"interpolations": 40, "steps": 2, "side": 8})
    pixels = opened(gallery.interpolation(SOURCE, show, seed=0))
    whole = SOURCE.sample(80, np.repeat(SOURCE.default_labels(40), 2), seed=0)
    assert np.array_equal(pixels[2 + 39 * 10 : 10 + 39 * 10, 2:10], whole[78, 0])
    assert np.array_equal(pixels[2 + 39 * 10 : 10 + 39 * 10, 12:20], whole[79, 0])


def test_the_whole_gallery_repeats(measured: Reference, halves: tuple[Halves, Halves]) -> None:
    settings = EvaluateSettings(gallery=SHOW, truncations=[0.5, 1.0])
    first = gallery.build(settings, SOURCE, measured, halves[0])
    assert gallery.build(settings, SOURCE, measured, halves[0]) == first
    assert opened(first.nearest).shape == (22, 52)
    assert opened(first.truncation).shape == (22, 32)
    assert first.truncations == (0.5, 1.0)


def test_the_neighbours_of_copies_are_the_originals(measured: Reference, halves: tuple[Halves, Halves]) -> None:
    train = halves[0]

    class Copier(Toy):
        def sample(
            self, networks: Networks, latents: Mapping[str, Tensor], condition: Batch, truncation: float = 1.0
        ) -> Tensor:
            index = (latents["z"][:, 0].abs() * 1000).long() % len(train)
            return torch.as_tensor(train.x)[index].float() / 127.5 - 1

    data = gallery.neighbours(SampleSource(Copier(), {}, SPEC), measured, train, EvaluateSettings(gallery=SHOW))
    pixels = opened(data)
    assert np.array_equal(pixels[2:10], pixels[12:20])
