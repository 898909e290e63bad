from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from pipeline import plugins
from pipeline.contract import AnyFamily, Family, Player
from pipeline.contract.checks import check_data
from pipeline.data import packing
from pipeline.data.settings import IngestSettings
from pipeline.errors import SettingsError, UserError
from pipeline.preflight.fits import sources_of_fields
from pipeline.reporting import comparison, gallery
from pipeline.sampling import pictures
from pipeline.sampling.pictures import as_images, spectrogram
from pipeline.sampling.samples import SampleSource
from pipeline.scoring.extract import inputs_of
from pipeline.scoring.in_training import own_scores, summed
from pipeline.scoring.settings import EvaluateSettings, GallerySettings
from pipeline.settings import Settings
from pipeline.types import DataSpec, FieldSpec, Modality

SHOW = GallerySettings(per_class=4, rows=2)


@pytest.mark.parametrize("bin_", [8, 32, 100])
def test_a_tone_is_a_line_at_its_height(bin_: int) -> None:
    """256 samples a window: bin k is k/256 of the rate, and low notes are below."""
    x = np.sin(2 * np.pi * bin_ / 256 * np.arange(4096))[None]
    found = spectrogram(x)
    assert found.shape == (1, 129, 32)
    assert set(found[0, :, 1:-3].argmax(axis=0).tolist()) == {128 - bin_}
    assert found.max() == 255
    assert np.median(found) == 0


def test_silence_is_dark_and_no_sound_is_too_short() -> None:
    assert spectrogram(np.zeros((1, 1000))).max() == 0
    for length in (1, 7, 8, 100, 70_000):
        found = spectrogram(np.ones((2, length), dtype=np.float32))
        assert found.dtype == np.uint8
        assert found.shape[2] <= 128


@pytest.mark.parametrize(
    ("modality", "shape", "image"),
    [
        ("image", (3, 4, 5), (3, 4, 5)),
        ("voxels", (1, 4, 5, 6), (1, 6, 13)),
        ("video", (3, 7, 4, 5), (3, 4, 5)),
        ("rows", (16,), (1, 4, 16)),
        ("waveform", (1, 512), (1, 65, 8)),
    ],
)
def test_every_modality_can_be_looked_at(modality: Modality, shape: tuple[int, ...], image: tuple[int, ...]) -> None:
    x = np.random.default_rng(0).uniform(-1, 1, (2, 3, *shape)).astype(np.float32)
    found = as_images(x, DataSpec(modality, shape, (), "float32"))
    assert found.shape == (2, 3, *image)
    assert found.dtype == np.uint8
    assert gallery.grid(found.reshape(6, *image), 3).startswith(b"\x89PNG")


def test_pixels_stay_as_they_are() -> None:
    x = np.arange(24, dtype=np.uint8).reshape(1, 1, 4, 6)
    assert as_images(x, DataSpec("image", (1, 4, 6))) is not None
    assert np.array_equal(as_images(x, DataSpec("image", (1, 4, 6))), x)
    ends = np.array([[[[-1.0, 0.0, 1.0]]]], dtype=np.float32)
    assert as_images(ends, DataSpec("image", (1, 1, 3), (), "float32")).flatten().tolist() == [0, 128, 255]


# --- designs that translate ---------------------------------------------------------------------


@pytest.fixture(scope="module")
def packed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root, source = tmp_path_factory.mktemp("pairs"), np.random.default_rng(0)
    for side, channels in (("input", ()), ("target", (3,))):
        (root / side).mkdir()
        for number in range(10):
            pixels = source.integers(0, 256, (8, 16, *channels), dtype=np.uint8)
            Image.fromarray(pixels).save(root / side / f"{number}.png")
    settings = IngestSettings(source={"name": "paired_folder", "folder": str(root)}, holdout_fraction=0.5)
    packing.ingest(settings, root / "shards")
    return root / "shards"


def translator(packed: Path, inputs: bool = True) -> SampleSource:
    torch.manual_seed(0)
    family: AnyFamily = plugins.load("families", {"name": "pix2pix", "preset": "smoke"})
    spec = packing.Manifest.load(packed).spec
    networks = {"generator": family.build(spec)["generator"].eval()}
    return SampleSource(family, networks, spec, inputs=inputs_of(family, packed) if inputs else None)


def test_samples_are_made_from_held_out_inputs_in_turn(packed: Path) -> None:
    source = translator(packed)
    made = source.sample(12, seed=3)
    assert made.shape == (12, 3, 8, 16)
    assert np.array_equal(source.sample(4, seed=3, start=5), made[5:9]), "sample i is the same however it is asked for"
    still = source.sample(12, seed=3, truncation=0.0)
    assert np.array_equal(still[:5], still[5:10]), "five inputs, then the first again"
    assert not np.array_equal(made[:5], made[5:10]), "with other noise"


def test_without_inputs_a_translator_says_so(packed: Path) -> None:
    with pytest.raises(UserError, match="this model translates: its samples are made from pair"):
        translator(packed, inputs=False).sample(1)


def test_input_output_and_target_stand_side_by_side(packed: Path) -> None:
    source = translator(packed)
    png, names, sliders = gallery.translations(source, SHOW, seed=1)
    assert names == ("input", "output", "target", "difference")
    shown = np.asarray(Image.open(io.BytesIO(png)))
    scale = 3  # 16 pixels towards the 48 of `side`
    high, wide = 8 * scale + 2, 16 * scale + 2
    assert shown.shape == (2 * high + 2, 4 * wide + 2, 3)
    assert source.inputs is not None
    numbers = np.arange(2)
    given = source.inputs(numbers)["pair"]
    target: Any = source.inputs.targets(numbers)  # type: ignore[attr-defined]
    for row in range(2):
        cells = [
            shown[row * high + 2 : (row + 1) * high : scale, c * wide + 2 : (c + 1) * wide : scale] for c in range(4)
        ]
        assert np.array_equal(cells[0], given[row].repeat(3, axis=0).transpose(1, 2, 0))
        assert np.array_equal(cells[1], source.sample(2, seed=1)[row].transpose(1, 2, 0))
        assert np.array_equal(cells[2], target[row].transpose(1, 2, 0))
        apart = np.abs(cells[1].astype(int) - cells[2]).mean(axis=2)
        assert np.array_equal(cells[3][:, :, 0], np.rint(255 * np.minimum(3 * apart / 128, 1)))
        before, after = (np.asarray(Image.open(io.BytesIO(each))) for each in (sliders[row].before, sliders[row].after))
        assert np.array_equal(before, cells[0])
        assert np.array_equal(after, cells[1])


@pytest.mark.parametrize(("name", "source"), [("pix2pix", "paired_folder"), ("cyclegan", "two_folders")])
def test_data_without_the_other_half_is_refused_with_the_source_that_has_it(name: str, source: str) -> None:
    family: AnyFamily = plugins.load("families", {"name": name, "preset": "smoke"})
    with pytest.raises(SettingsError, match=rf"families\.{name}: needs .* take ingest\.source: \{{name: {source}"):
        check_data(family, DataSpec("image", (3, 16, 16)), sources_of_fields)


class Config(Settings):
    """Nothing to set."""


class _Inputs:
    """Low-resolution pictures and words, for a generator that looks at neither."""

    def __call__(self, numbers: Any) -> dict[str, Any]:
        low = np.random.default_rng(0).integers(0, 256, (len(numbers), 3, 4, 8), np.uint8)
        return {"low": low, "words": np.zeros((len(numbers), 5), np.int64)}


class Enlarging(Family[Config]):
    """Makes 8 × 16 pictures of what it is given, each pixel four times."""

    paper = "none"
    latents = ()

    @property
    def inputs(self) -> frozenset[str]:
        return frozenset({"low", "words"})

    def build(self, spec: DataSpec) -> dict[str, torch.nn.Module]:
        return {}

    def players(self) -> tuple[Player, ...]:
        return ()

    def sample(self, networks: Any, latents: Any, condition: Any, truncation: float = 1.0) -> torch.Tensor:
        assert condition["words"].dtype == torch.int64
        return condition["low"].repeat_interleave(2, 2).repeat_interleave(2, 3)


def test_inputs_of_other_sizes_are_enlarged_and_texts_left_out() -> None:
    fields = (FieldSpec.usual("low", "image", (3, 4, 8), "derived"), FieldSpec.usual("words", "text", (5,)))
    source = SampleSource(Enlarging(Config()), {}, DataSpec("image", (3, 8, 16), fields=fields), inputs=_Inputs())
    png, names, sliders = gallery.translations(source, SHOW, seed=1)
    assert names == ("low", "output")
    assert sliders[0].names == ("low", "output")
    shown = np.asarray(Image.open(io.BytesIO(png)))
    wide = 16 * 3 + 2
    assert np.array_equal(shown[2:26, 2:50], shown[2:26, wide + 2 : wide + 50]), "each pixel four times"


def test_fields_as_pictures() -> None:
    mask = np.full((2, 1, 4, 4), 255, np.uint8)
    assert pictures.field_images(mask, FieldSpec.usual("f", "mask", (1, 4, 4))) is mask
    assert pictures.field_images(np.zeros((2, 7), np.float32), FieldSpec.usual("f", "tensor", (7,))) is None
    rising = np.arange(6, dtype=np.float32).reshape(1, 1, 3, 2).repeat(2, axis=1)
    found = pictures.field_images(rising, FieldSpec.usual("f", "spectrogram", (2, 3, 2)))
    assert found is not None
    assert found[0, 0].tolist() == [[204, 255], [102, 153], [0, 51]]
    sound = np.zeros((2, 1, 64), np.float32)
    heard = pictures.field_images(sound, FieldSpec.usual("f", "waveform", (1, 64)))
    assert heard is not None
    assert np.array_equal(heard, pictures.as_images(sound, DataSpec("waveform", (1, 64), (), "float32")))


def test_pictures_of_two_sizes_stand_on_one_ground() -> None:
    small, large = np.zeros((2, 3, 3, 3), np.uint8), np.ones((2, 3, 8, 7), np.uint8)
    one, other = comparison.of_one_size([small, large])
    assert np.array_equal(other, large)
    assert np.array_equal(one[:, :, 1:7, :6], np.zeros((2, 3, 6, 6)))
    assert int((one == 0).sum()) == 2 * 3 * 36


# --- designs that measure themselves, and sound -------------------------------------------------


def crypto() -> SampleSource:
    torch.manual_seed(0)
    family: AnyFamily = plugins.load("families", {"name": "adversarial_cryptography", "bits": 8})
    spec = DataSpec("rows", (8,), (), "float32")
    return SampleSource(family, {name: net.eval() for name, net in family.build(spec).items()}, spec)


def test_own_scores_of_the_first_samples_do_not_depend_on_how_many_follow() -> None:
    source = crypto()
    few, many = own_scores(source, 50, 7), own_scores(source, 300, 7)
    assert set(few) == {"bob_bits_wrong", "eve_bits_wrong"}
    for name, values in few.items():
        assert values.shape == (50,)
        assert np.array_equal(values, many[name][:50])
    found = summed(source.family, many)
    bob, eve = many["bob_bits_wrong"].mean(), many["eve_bits_wrong"].mean()
    assert found == {"bob_bits_wrong": bob, "eve_bits_wrong": eve, "bits_lost": bob + abs(4 - eve)}


def test_most_designs_measure_nothing() -> None:
    family: AnyFamily = plugins.load("families", {"name": "gan", "preset": "small"})
    assert own_scores(SampleSource(family, {}, DataSpec("image", (1, 8, 8))), 10, 0) == {}
    assert summed(family, {}) == {}


def test_sound_comes_as_floats_and_as_players() -> None:
    torch.manual_seed(0)
    family: AnyFamily = plugins.load("families", {"name": "wavegan", "preset": "smoke", "levels": 3})
    spec = DataSpec("waveform", (1, 1024), (), "float32", rate=8_000)
    source = SampleSource(family, {"generator": family.build(spec)["generator"].eval()}, spec)
    made = source.sample(5)
    assert (made.dtype, made.shape) == (np.float32, (5, 1, 1024))
    assert np.abs(made).max() <= 1
    players = gallery.sounds(source, SHOW, EvaluateSettings())
    assert [name for name, _ in players] == [f"sample {number}" for number in range(1, 5)]
    assert all(data[:4] == b"RIFF" and data[24:28] == (8_000).to_bytes(4, "little") for _, data in players)


def test_volumes_and_videos_move_in_the_report() -> None:
    torch.manual_seed(0)
    for name, spec in (
        ("gan3d", DataSpec("voxels", (1, 8, 8, 8), (), "uint8")),
        ("vgan", DataSpec("video", (3, 8, 8, 8), (), "uint8")),
    ):
        family: AnyFamily = plugins.load("families", {"name": name, "preset": "smoke"})
        source = SampleSource(family, {"generator": family.build(spec)["generator"].eval()}, spec)
        shown = gallery.moving(source, SHOW, EvaluateSettings())
        assert [label for label, _ in shown] == [f"sample {number}" for number in range(1, 5)]
        for (_, data), x in zip(shown, source.sample(4), strict=True):
            assert data == pictures.animation(x, spec.modality)
            assert data.startswith(b"\x89PNG")
