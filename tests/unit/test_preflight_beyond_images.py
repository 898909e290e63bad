from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from pipeline import params
from pipeline.errors import SettingsError
from pipeline.preflight import items
from pipeline.settings import override

OWN = params.read(Path(__file__).parents[2] / "params.yaml")
NO_SEARCH = {"tune.trials": 0, "tune.space": {}}
BITS: dict[str, Any] = {
    **NO_SEARCH,
    "ingest.resolution": None,
    "ingest.source": {"name": "synthetic", "shape": [16]},
    "train.family": "adversarial_cryptography",
    "reference.extractor": {"name": "none"},
    "register.metric": "bits_lost",
}


def before_ingest(changes: dict[str, Any], tmp_path: Path) -> None:
    items.before_ingest(params.check(override(OWN, {**changes, "run.storage": str(tmp_path)})))


def test_bits_need_neither_data_nor_extractor(tmp_path: Path) -> None:
    before_ingest(BITS, tmp_path)


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        (
            {"reference.extractor": {"name": "random_projection"}},
            "adversarial_cryptography has no data that an extractor could look at; take none, with register.metric: "
            "bits_lost",
        ),
        ({"ingest.source": {"name": "synthetic", "shape": [8]}}, "bits: is 16, and the data has rows of 8"),
        ({"ingest.source": {"name": "digits"}}, "plays with bits, and the data is image; take the source"),
        ({"ingest.resolution": 16}, "ingest.resolution: fits images, and the source gives rows"),
    ],
)
def test_what_does_not_fit_bits_is_said_before_any_work(changes: dict[str, Any], says: str, tmp_path: Path) -> None:
    with pytest.raises(SettingsError) as raised:
        before_ingest({**BITS, **changes}, tmp_path)
    assert says in str(raised.value)


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        (
            {"reference.extractor": {"name": "none"}},
            "extractor.name: none looks at nothing, and dcgan is scored",
        ),
        (
            {"train.family": "pix2pix"},
            "families.pix2pix: needs pair with every batch, which the data lacks; take in",
        ),
        ({"train.family": "wavegan"}, "families.wavegan: makes sound, and the data is image"),
    ],
)
def test_what_does_not_fit_the_digits_is_said_before_any_work(
    changes: dict[str, Any], says: str, tmp_path: Path
) -> None:
    chosen = {**NO_SEARCH, **changes}
    if "reference.extractor" in changes:
        chosen["register.metric"] = "precision"
    with pytest.raises(SettingsError) as raised:
        before_ingest(chosen, tmp_path)
    assert says in str(raised.value)


# --- from words -------------------------------------------------------------------------------------------------


@pytest.fixture
def captioned(tmp_path: Path) -> dict[str, Any]:
    """Twelve pictures of two classes with captions, and text_to_image."""
    for number in range(12):
        file = tmp_path / "pictures" / "ab"[number % 2] / f"{number}.png"
        file.parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (16, 16), (number * 20, 0, 0)).save(file)
    rows = [f"{'ab'[number % 2]}/{number}.png,picture {number}\n" for number in range(12)]
    (tmp_path / "captions.csv").write_text("file,caption\n" + "".join(rows))
    source = {"name": "image_folder", "folder": str(tmp_path / "pictures"), "captions": str(tmp_path / "captions.csv")}
    return {
        **NO_SEARCH,
        "ingest.source": source,
        "ingest.resolution": 16,
        "ingest.channels": 3,
        "train.family": "text_to_image",
        "families.text_to_image": {"preset": "smoke"},
    }


def test_words_and_their_design_are_in_order(captioned: dict[str, Any], tmp_path: Path) -> None:
    before_ingest(captioned, tmp_path)


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"ingest.source": {"name": "digits"}}, "take ingest.source: {name: image_folder, captions: captions.csv, …}"),
        ({"train.lanes": 32, "train.batch_size": 32}, "train.lanes: text_to_image needs 2 examples a lane"),
        ({"families.text_to_image": {"preset": "smoke", "encoder": "precomputed"}}, "caption_vectors: vectors.npy"),
        (
            {"families.text_to_image": {"preset": "smoke", "encoder": "char_cnn_rnn"}},
            "set reference.text_encoder: {name: char_cnn_rnn}",
        ),
        (
            {
                "families.text_to_image": {"preset": "smoke", "encoder": "char_cnn_rnn"},
                "reference.text_encoder": {"name": "char_cnn_rnn", "width": 512},
            },
            "families.text_to_image.encoder.width: is 256, and reference.text_encoder.width is 512",
        ),
        ({"ingest.source": {"name": "digits"}, "reference.text_encoder": "char_cnn_rnn"}, "reference.text_encoder"),
    ],
)
def test_what_does_not_fit_words_is_said_before_any_work(
    changes: dict[str, Any], says: str, captioned: dict[str, Any], tmp_path: Path
) -> None:
    with pytest.raises(SettingsError) as raised:
        before_ingest({**captioned, **changes}, tmp_path)
    assert says in str(raised.value)
