"""FLAC and Ogg beside wav: the same samples, and each kind of damage by its reason."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
from numpy.typing import NDArray

from pipeline import limits
from pipeline.data import compressed_sounds, notes, packing, waves
from pipeline.data.compressed_sounds import Sound
from pipeline.data.settings import IngestSettings
from pipeline.errors import Rejected
from pipeline.formats.shards import Manifest

RATE = 16_000


def written(values: NDArray[Any], form: str, subtype: str, rate: int = RATE) -> bytes:
    """(n, channels) as a file."""
    file = io.BytesIO()
    soundfile.write(file, values, rate, format=form, subtype=subtype)
    return file.getvalue()


def tone(length: int = 8000, channels: int = 1, loud: float = 0.5) -> NDArray[np.float64]:
    pitches = 220.0 * np.arange(1, channels + 1)
    return loud * np.sin(2 * np.pi * np.outer(np.arange(length), pitches) / RATE)


@pytest.mark.parametrize("channels", [1, 2])
@pytest.mark.parametrize("bits", [16, 24])
def test_flac_gives_the_samples_of_a_wav(bits: int, channels: int, tmp_path: Path) -> None:
    chance = np.random.default_rng(0)
    whole = chance.integers(-(2 ** (bits - 1)), 2 ** (bits - 1), (999, channels)) * 2 ** (32 - bits)
    flac, wav = (written(whole.astype(np.int32), form, f"PCM_{bits}") for form in ("FLAC", "WAV"))
    (x, rate), (expected, _) = waves.decode(flac), waves.decode(wav)
    assert rate == RATE
    assert x.dtype == np.float32
    np.testing.assert_array_equal(x, expected)
    (tmp_path / "a.flac").write_bytes(flac)
    assert waves.read_header(tmp_path / "a.flac") == Sound(channels, RATE, 999)


@pytest.mark.parametrize("subtype", ["VORBIS", "OPUS"])
def test_ogg_is_decoded_to_steps_of_16_bits(subtype: str, tmp_path: Path) -> None:
    data = written(tone(), "OGG", subtype)
    x, rate = waves.decode(data)
    assert (x.shape, rate) == ((1, 8000), RATE)
    np.testing.assert_array_equal(x * 2**15, np.rint(x * 2**15))
    correlation = np.corrcoef(x[0, 500:7500], tone()[500:7500, 0])[0, 1]
    assert correlation > 0.99
    (tmp_path / "a.ogg").write_bytes(data)
    assert waves.read_header(tmp_path / "a.ogg") == Sound(1, RATE, 8000)


def test_a_decoder_may_go_beyond_full_scale_and_that_is_said() -> None:
    data = written(np.sign(tone(loud=1)) * 0.999, "OGG", "VORBIS")
    with pytest.raises(Rejected) as raised:
        waves.decode(data)
    assert raised.value.reason == "louder than full scale"
    with notes.collected() as left:
        cut, _ = waves.decode(data, "cut")
    assert [note.kind for note in left] == [notes.CUT]
    assert np.abs(cut).max() == 1


@pytest.mark.parametrize("form", ["FLAC", "OGG"])
@pytest.mark.parametrize("share", [0.01, 0.5, 0.999])
def test_what_is_cut_short_is_rejected(form: str, share: float) -> None:
    data = written(tone(40_000), form, {"FLAC": "PCM_16", "OGG": "VORBIS"}[form])
    with pytest.raises(Rejected) as raised:
        waves.decode(data[: int(share * len(data))])
    assert raised.value.reason == compressed_sounds.DAMAGED


def test_a_flac_whose_length_its_writer_could_not_know_is_rejected(tmp_path: Path) -> None:
    """As a pipe leaves it: the 36 bits of its length are 0."""
    data = bytearray(written(tone(), "FLAC", "PCM_16"))
    assert data[4] & 0x7F == 0, "the first block says how long it is"
    data[21] &= 0xF0
    data[22:26] = bytes(4)
    (tmp_path / "a.flac").write_bytes(data)
    for read in (lambda: waves.decode(bytes(data)), lambda: waves.read_header(tmp_path / "a.flac")):
        with pytest.raises(Rejected) as raised:
            read()
        assert raised.value.reason == compressed_sounds.DAMAGED


def test_a_small_file_that_decodes_to_much_is_rejected(monkeypatch: pytest.MonkeyPatch) -> None:
    """Silence: a thousandth of its size."""
    data = written(np.zeros((200_000, 2)), "FLAC", "PCM_16")
    assert len(data) < 20_000
    monkeypatch.setattr(limits, "SOUND_VALUES", 399_999)
    with pytest.raises(Rejected) as raised:
        waves.decode(data)
    assert raised.value.reason == "too long"
    monkeypatch.setattr(limits, "SOUND_VALUES", 400_000)
    assert waves.decode(data)[0].shape == (2, 200_000)


def test_a_folder_of_all_forms_is_packed(tmp_path: Path) -> None:
    forms = [("wav", "WAV", "PCM_16"), ("flac", "FLAC", "PCM_16"), ("ogg", "OGG", "VORBIS"), ("opus", "OGG", "OPUS")]
    for number in range(16):
        ending, form, subtype = forms[number % 4]
        path = tmp_path / "sounds" / "ab"[number // 8] / f"{number}.{ending}"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(written(tone(900 + number) * (1 - number / 40), form, subtype))
    (tmp_path / "sounds" / "a" / "broken.flac").write_bytes(b"fLaC" + bytes(50))
    source = {"name": "wav_folder", "folder": str(tmp_path / "sounds"), "length": 1024}
    manifest = packing.ingest(IngestSettings(source=source, max_rejected_fraction=0.1), tmp_path / "out")
    assert sum(split.examples for split in manifest.splits.values()) == 16
    assert manifest.rejects == {compressed_sounds.DAMAGED: 1}
    assert Manifest.load(tmp_path / "out").spec.x.shape == (1, 1024)
