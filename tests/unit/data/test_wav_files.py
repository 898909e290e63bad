from __future__ import annotations

import struct
import wave
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from pipeline import plugins
from pipeline.data import notes, packing, preview, waves
from pipeline.data.batches import Batches, Reader
from pipeline.data.settings import IngestSettings
from pipeline.errors import Rejected, SettingsError, UserError
from pipeline.formats import shards
from pipeline.sampling.pictures import wav


def pcm(values: NDArray[Any], bits: int = 16, rate: int = 8_000, encoding: int = 1) -> bytes:
    """(channels, n) as a wav file, chunk by chunk."""
    kinds = {(1, 8): "u1", (1, 16): "<i2", (1, 32): "<i4", (3, 32): "<f4", (3, 64): "<f8"}
    channels, width = len(values), bits // 8
    if (encoding, bits) == (1, 24):
        whole = np.ascontiguousarray(values.T.astype("<i4")).view(np.uint8).reshape(-1, 4)
        data = np.ascontiguousarray(whole[:, :3]).tobytes()
    else:
        data = np.ascontiguousarray(values.T.astype(kinds.get((encoding, bits), "u1"))).tobytes()
    form = struct.pack("<HHIIHH", encoding, channels, rate, rate * channels * width, channels * width, bits)
    body = b"WAVE" + b"fmt " + struct.pack("<I", 16) + form + b"data" + struct.pack("<I", len(data)) + data
    return b"RIFF" + struct.pack("<I", len(body)) + body


def tone(length: int, pitch: float = 440.0, rate: int = 8_000) -> NDArray[np.float64]:
    return np.sin(2 * np.pi * pitch * np.arange(length) / rate)[None] * 0.5


def spoken(folder: Path, lengths: tuple[int, ...] = (900, 1024, 1300), rate: int = 8_000) -> Path:
    """digit_speaker_take.wav, three lengths, three classes."""
    folder.mkdir(parents=True, exist_ok=True)
    for digit in range(3):
        for take in range(6):
            values = np.rint(tone(lengths[take % len(lengths)], 200 + 90 * digit + 7 * take) * 32_767)
            (folder / f"{digit}_ann_{take}.wav").write_bytes(pcm(values, rate=rate))
    return folder


# --- one file -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("bits", "encoding", "stored", "read"),
    [
        (8, 1, [0, 64, 128, 255], [-1.0, -0.5, 0.0, 127 / 128]),
        (16, 1, [-32_768, -1, 0, 16_384], [-1.0, -1 / 32_768, 0.0, 0.5]),
        (24, 1, [-(2**23), -1, 0, 2**22], [-1.0, -(2.0**-23), 0.0, 0.5]),
        (32, 1, [-(2**31), 0, 2**30, 2**29], [-1.0, 0.0, 0.5, 0.25]),
        (32, 3, [-2.0, -0.5, 0.0, 1.5], [-1.0, -0.5, 0.0, 1.0]),
        (64, 3, [-0.25, 0.0, 0.125, 1.0], [-0.25, 0.0, 0.125, 1.0]),
    ],
)
def test_every_width_is_read(bits: int, encoding: int, stored: list[float], read: list[float]) -> None:
    found, rate = waves.decode(pcm(np.array([stored]), bits, 11_025, encoding), "cut")
    assert rate == 11_025
    assert found.dtype == np.float32
    assert found.tolist() == [np.array(read, dtype=np.float32).tolist()]


def test_what_the_standard_library_writes_is_read(tmp_path: Path) -> None:
    values = np.array([[1, 2, 3], [-1, -2, -3]], dtype="<i2")
    with wave.open(str(tmp_path / "a.wav"), "wb") as file:
        file.setnchannels(2)
        file.setsampwidth(2)
        file.setframerate(44_100)
        file.writeframes(np.ascontiguousarray(values.T).tobytes())
    found, rate = waves.decode((tmp_path / "a.wav").read_bytes())
    assert rate == 44_100
    assert np.array_equal(found * 32_768, values)


@given(st.lists(st.integers(-32_767, 32_767), min_size=1, max_size=50), st.integers(1, 2))
@settings(max_examples=30, deadline=None)
def test_what_the_report_plays_is_read_back(values: list[int], channels: int) -> None:
    x = np.repeat(np.array([values]) / 32_767, channels, axis=0)
    found, rate = waves.decode(wav(x, None))
    assert rate == 16_000
    assert np.array_equal(np.rint(found * 32_768), np.repeat([values], channels, axis=0))


def test_notes_before_the_sound_are_passed_over(tmp_path: Path) -> None:
    plain = pcm(np.array([[5, 6]]))
    note = b"LIST" + struct.pack("<I", 100_001) + bytes(100_002)
    (tmp_path / "a.wav").write_bytes(plain[:36] + note + plain[36:])
    assert waves.read_header(tmp_path / "a.wav").samples == 2
    assert waves.decode((tmp_path / "a.wav").read_bytes())[0].shape == (1, 2)


@pytest.mark.parametrize(
    ("data", "reason", "detail"),
    [
        (b"ID3" + bytes(50), "not a wav file", ""),
        (pcm(np.zeros((1, 8)), 8, encoding=17), "compressed wav file", "IMA ADPCM; save it as PCM"),
        (pcm(np.zeros((1, 8)), 8, encoding=7), "compressed wav file", "µ-law"),
        (pcm(np.zeros((1, 8)), 8, encoding=999), "compressed wav file", "encoding 999"),
        (pcm(np.zeros((1, 100)))[:-7], "damaged wav file", "cut short: 193 of 200 bytes"),
        (pcm(np.zeros((1, 100)))[:36], "damaged wav file", "holds no sound"),
        (pcm(np.zeros((1, 0))), "empty wav file", "no sample"),
        (pcm(np.array([[np.nan]]), 32, encoding=3), "damaged wav file", "not finite"),
        (pcm(np.zeros((1, 8)), rate=0), "damaged wav file", "0 samples a second"),
    ],
)
def test_what_cannot_be_used_is_rejected_with_a_reason(data: bytes, reason: str, detail: str) -> None:
    with pytest.raises(Rejected) as raised:
        waves.decode(data)
    assert raised.value.reason == reason
    assert detail in raised.value.detail


# --- headers that pipes leave, and those of large files -------------------------------------------

SOUND = np.arange(1, 101)[None] * 100


def sized(data: int, riff: int | None = None, sound: bytes = SOUND.astype("<i2").tobytes()) -> bytes:
    """A mono file of 16 bits whose header tells these sizes; riff None: the true one."""
    form = struct.pack("<HHIIHH", 1, 1, 8_000, 16_000, 2, 16)
    body = b"WAVE" + b"fmt " + struct.pack("<I", 16) + form + b"data" + struct.pack("<I", data) + sound
    return b"RIFF" + struct.pack("<I", len(body) if riff is None else riff) + body


def both_ways(data: bytes, folder: Path) -> NDArray[np.float32]:
    """What is decoded, after the header read of the file's beginning has told as much."""
    (folder / "a.wav").write_bytes(data)
    told = waves.read_header(folder / "a.wav")
    assert told == waves.header_of(data, len(data)).sound
    found, rate = waves.decode(data)
    assert (told.samples, told.rate) == (found.shape[1], rate)
    return found


@pytest.mark.parametrize(
    ("data", "riff"),
    [
        pytest.param(0xFFFFFFFF, 0xFFFFFFFF, id="ffmpeg"),
        pytest.param(0x7FFFF000, 0x7FFFF024, id="sox"),
        pytest.param(0x80000000, 0x80000024, id="arecord"),
        pytest.param(0x7FFFFF00, 0x7FFFFF24, id="arecord without a limit"),
        pytest.param(0xFFFFFFFF, 0x00000023, id="a sum that overflows"),
        pytest.param(0xFFFFFFDB, 0xFFFFFFFF, id="the largest that fits"),
        pytest.param(0xFFFFFFFF, 0, id="no size of the whole"),
        pytest.param(0, 0, id="none filled in"),
        pytest.param(0, 36, id="as if it were empty"),
        pytest.param(0, 0xFFFFFFFF, id="none of the sound"),
        pytest.param(0, 8, id="a stand-in for the whole"),
    ],
)
def test_sizes_that_were_never_filled_in_mean_all_there_is(data: int, riff: int, tmp_path: Path) -> None:
    assert np.array_equal(both_ways(sized(data, riff), tmp_path) * 32_768, SOUND)
    torn = both_ways(sized(data, riff) + b"x", tmp_path)  # the last frame was not written whole
    assert np.array_equal(torn * 32_768, SOUND)


@pytest.mark.parametrize(
    ("data", "riff", "reason", "detail"),
    [
        (201, None, "damaged wav file", "cut short: 200 of 201 bytes"),
        (10**6, 10**6 + 36, "damaged wav file", "cut short: 200 of 1000000 bytes"),
        (0xFFFFFFFF, None, "damaged wav file", "cut short"),  # the size of the whole is true: no pipe
        (0, None, "empty wav file", "no sample"),
        (1, None, "empty wav file", "no sample"),
    ],
)
def test_sizes_that_were_filled_in_are_believed(data: int, riff: int | None, reason: str, detail: str) -> None:
    with pytest.raises(Rejected) as raised:
        waves.decode(sized(data, riff))
    assert raised.value.reason == reason
    assert detail in raised.value.detail


def test_a_pipe_that_wrote_nothing_is_empty() -> None:
    for data, riff in ((0, 0), (0, 36), (0xFFFFFFFF, 0xFFFFFFFF)):
        with pytest.raises(Rejected, match="empty wav file"):
            waves.decode(sized(data, riff, b""))


@given(st.integers(0, 60), st.integers(1, 3), st.sampled_from([0, 0x7FFFF000, 0x80000000, 0xFFFFFFFF]), st.booleans())
@settings(max_examples=60, deadline=None)
def test_whole_frames_of_a_pipe(size: int, channels: int, told: int, matching: bool) -> None:
    plain = bytearray(pcm(np.zeros((channels, 0)))) + bytes(range(size))
    plain[40:44] = struct.pack("<I", told)
    plain[4:8] = struct.pack("<I", (told + 36) % 2**32 if matching else 0)
    frames = size // (2 * channels)
    if not frames:
        with pytest.raises(Rejected, match="empty wav file"):
            waves.decode(bytes(plain))
        return
    found, _ = waves.decode(bytes(plain))
    assert found.shape == (channels, frames)
    expected = np.frombuffer(bytes(range(frames * channels * 2)), "<i2").reshape(frames, channels).T
    assert np.array_equal(found * 32_768, expected)


def long(kind: bytes, data: int | None, told: int = 0xFFFFFFFF, whole: int | None = None) -> bytes:
    """RF64 or BW64 with these sizes in its ds64 chunk, None: the true ones; told: the size in the data chunk."""
    sound = SOUND.astype("<i2").tobytes()
    sizes = struct.pack("<QQQI", 104 if whole is None else whole, len(sound) if data is None else data, 100, 0)
    form = struct.pack("<HHIIHH", 1, 1, 8_000, 16_000, 2, 16)
    body = b"WAVE" + b"ds64" + struct.pack("<I", 28) + sizes + b"fmt " + struct.pack("<I", 16) + form
    return kind + b"\xff\xff\xff\xff" + body + b"data" + struct.pack("<I", told) + sound


@pytest.mark.parametrize("kind", [b"RF64", b"BW64"])
def test_sizes_of_64_bits_are_read(kind: bytes, tmp_path: Path) -> None:
    for data in (long(kind, None), long(kind, 0, whole=0), long(kind, 2**64 - 1, whole=2**64 - 1), long(kind, 7, 200)):
        assert np.array_equal(both_ways(data, tmp_path) * 32_768, SOUND)
    without = kind + sized(0xFFFFFFFF, 0xFFFFFFFF)[4:]  # no ds64 at all
    assert np.array_equal(both_ways(without, tmp_path) * 32_768, SOUND)
    behind = long(kind, None) + b"LIST" + struct.pack("<I", 4) + b"note"
    assert np.array_equal(both_ways(behind, tmp_path) * 32_768, SOUND)
    with pytest.raises(Rejected, match="cut short: 200 of 5000000000 bytes"):
        waves.decode(long(kind, 5 * 10**9, whole=5 * 10**9 + 80))


@pytest.mark.parametrize(
    ("data", "reason", "detail"),
    [
        (b"RIFX" + pcm(np.ones((1, 9)))[4:], "big-endian wav file", "RIFX; save it as RIFF"),
        (b"riff\x2e\x91\xcf\x11\xa5\xd6\x28\xdb\x04\xc1\0\0" + bytes(90), "Wave64 file", "save it as RIFF"),
        (b"FORM\0\0\0\x40AIFF" + bytes(90), "not a wav file", "AIFF"),
        (b"RIFF\0\0\0\x40AVI " + bytes(90), "not a wav file", ""),
        (b"RIFF\0\0\0\x40WAVE" + bytes(10**6), "damaged wav file", "holds no sound"),
    ],
)
def test_other_containers_are_named(data: bytes, reason: str, detail: str, tmp_path: Path) -> None:
    (tmp_path / "a.wav").write_bytes(data)
    for read in (lambda: waves.decode(data), lambda: waves.read_header(tmp_path / "a.wav")):
        with pytest.raises(Rejected) as raised:
            read()
        assert raised.value.reason == reason
        assert detail in raised.value.detail


def test_a_folder_of_piped_files_is_packed(tmp_path: Path) -> None:
    folder = spoken(tmp_path / "wavs", (1024,))
    packing.ingest(settings_for(folder), tmp_path / "whole")
    for path in folder.iterdir():
        data = path.read_bytes()
        path.write_bytes(data[:4] + b"\xff" * 4 + data[8:40] + b"\xff" * 4 + data[44:])
    packing.ingest(settings_for(folder), tmp_path / "piped")
    for name in ("train-000000.tar", "manifest.json"):
        assert (tmp_path / "whole" / name).read_bytes() == (tmp_path / "piped" / name).read_bytes()


# --- louder than full scale -----------------------------------------------------------------------


@pytest.mark.parametrize("bits", [32, 64])
def test_floats_beyond_full_scale_are_rejected_divided_or_cut(bits: int) -> None:
    data = pcm(np.array([[0.5, -8.0, 2.0, 0.25]]), bits, encoding=3)
    with pytest.raises(Rejected) as raised:
        waves.decode(data)
    assert raised.value.reason == "louder than full scale"
    assert raised.value.detail == "peak 8, 50 % of samples beyond ±1; set ingest.source.beyond: normalise or cut"
    with notes.collected() as left:
        assert waves.decode(data, "normalise")[0].tolist() == [[0.0625, -1.0, 0.25, 0.03125]]
        assert waves.decode(data, "cut")[0].tolist() == [[0.5, -1.0, 1.0, 0.25]]
    assert [(note.kind, note.value, note.amount) for note in left] == [("normalised", 8.0, 2), ("cut", 8.0, 2)]


def test_what_rounding_adds_is_cut_without_a_word() -> None:
    with notes.collected() as left:
        for peak in (1.0, 1 + 2.0**-16, -1 - 2.0**-15):
            found, _ = waves.decode(pcm(np.array([[peak, 0.5]]), 64, encoding=3))
            assert found.tolist() == [[np.sign(peak), 0.5]]
    assert left == []
    with pytest.raises(Rejected, match="louder"):
        waves.decode(pcm(np.array([[1 + 2.0**-14, 0.5]]), 64, encoding=3))


def loud(folder: Path, count: int = 8) -> Path:
    folder.mkdir()
    for number in range(count):
        sound = tone(1024, 200 + 30 * number) * (65_534 if number else 1)
        (folder / f"{number}.wav").write_bytes(pcm(sound, 32, encoding=3))
    return folder


def test_loud_files_are_set_aside_until_it_is_said_what_is_done_with_them(tmp_path: Path) -> None:
    folder = loud(tmp_path / "wavs")
    with pytest.raises(UserError, match=r"7 of 8 items cannot be used.*\n  7 × louder than full scale"):
        packing.ingest(settings_for(folder, labels="none"), tmp_path / "out")
    divided = packing.ingest(settings_for(folder, labels="none", beyond="normalise"), tmp_path / "divided")
    found = divided.notes["normalised"]
    assert (found["items"], found["of"], found["worst"]) == (7, 8, 32_767.0)
    assert found["amount"] > 6 * 1000
    rows = (tmp_path / "divided" / "notes.csv").read_text().splitlines()
    assert rows[0] == "item,note,detail"
    assert [row.partition(",")[0] for row in rows[1:]] == [f"{number}.wav" for number in range(1, 8)]
    x = Reader(tmp_path / "divided", "train").examples(np.arange(3))["x"]
    assert float(np.abs(x).max()) == 1.0
    assert float((np.abs(x) == 1).mean()) < 0.05, "a sine, and no square wave"
    cut = packing.ingest(settings_for(folder, labels="none", beyond="cut"), tmp_path / "cut")
    assert {kind: values["items"] for kind, values in cut.notes.items()} == {"cut": 7}
    peaks = packing.ingest(settings_for(folder, labels="none", level="peak"), tmp_path / "peaks")
    assert peaks.rejects == {}
    x = Reader(tmp_path / "peaks", "train").examples(np.arange(6))["x"]
    assert np.abs(x).max(axis=(1, 2)).tolist() == [1.0] * 6


# --- channels and silence -------------------------------------------------------------------------


def energies(stereo: list[list[float]]) -> NDArray[np.float32]:
    """Two channels of one tone, each as (factor of the tone)."""
    return (np.array(stereo) @ tone(512)).astype(np.float32)


def test_channels_that_cancel_are_not_mixed() -> None:
    opposite = energies([[1.0], [-1.0]])
    with pytest.raises(Rejected) as raised:
        waves.with_channels(opposite, 1)
    assert raised.value.reason == "channels cancel"
    assert "set ingest.source.mix: first, or ingest.source.channels: 2" in raised.value.detail
    assert np.array_equal(waves.with_channels(opposite, 1, "first"), opposite[:1])
    assert waves.with_channels(opposite, 2) is opposite
    assert waves.with_channels(np.zeros((2, 9), dtype=np.float32), 1).tolist() == [[0.0] * 9]


@pytest.mark.parametrize(
    ("factors", "kinds"),
    [
        ([[1.0], [1.0]], []),
        ([[1.0], [0.0]], []),
        ([[1.0], *[[0.0]] * 7], []),
        ([[1.0], [-0.6]], ["cancelling_channels"]),  # 0.04 / 0.68 is left
        ([[1.0], [-0.3]], []),  # 0.1225 / 0.545
    ],
)
def test_channels_that_partly_cancel_are_noted(factors: list[list[float]], kinds: list[str]) -> None:
    with notes.collected() as left:
        mixed = waves.with_channels(energies(factors), 1)
    assert [note.kind for note in left] == kinds
    assert np.allclose(mixed, np.mean(factors) * tone(512), atol=1e-6)
    if kinds:
        assert left[0].value == pytest.approx(1 - 0.04 / 0.68, abs=1e-4)


def test_a_file_of_opposite_channels_is_set_aside(tmp_path: Path) -> None:
    folder = spoken(tmp_path / "wavs", (1024,))
    both = np.rint(np.concatenate([tone(1024), -tone(1024)]) * 32_767)
    (folder / "0_bob_0.wav").write_bytes(pcm(both))
    chosen = settings_for(folder).model_copy(update={"max_rejected_fraction": 0.1})
    assert packing.ingest(chosen, tmp_path / "out").rejects == {"channels cancel": 1}
    assert packing.ingest(settings_for(folder, mix="first"), tmp_path / "out").rejects == {}


def test_silence_is_noted(tmp_path: Path) -> None:
    folder = spoken(tmp_path / "wavs", (1024,))
    late = np.concatenate([np.zeros((1, 1024)), np.rint(tone(1024) * 32_767)], axis=1)
    (folder / "0_bob_0.wav").write_bytes(pcm(np.full((1, 1024), 300)))  # an offset is no sound
    (folder / "0_bob_1.wav").write_bytes(pcm(late))
    manifest = packing.ingest(settings_for(folder), tmp_path / "out")
    assert manifest.rejects == {}
    assert {kind: values["items"] for kind, values in manifest.notes.items() if kind == "silent"} == {"silent": 2}
    assert (tmp_path / "out" / "notes.csv").read_text().splitlines()[1:] == [
        "0_bob_0.wav,silent,nothing moves in it",
        "0_bob_1.wav,silent,in the 1024 of its 2048 samples that are kept",
    ]
    manifest = packing.ingest(settings_for(folder, longer="center"), tmp_path / "out")
    assert manifest.notes["silent"]["items"] == 1


# --- fitting ------------------------------------------------------------------------------------


def test_crops_and_pads_where_it_was_told_to() -> None:
    x = np.arange(1, 6, dtype=np.float32)[None]
    assert waves.with_length(x, 3, "start", "end").tolist() == [[1, 2, 3]]
    assert waves.with_length(x, 3, "center", "end").tolist() == [[2, 3, 4]]
    assert waves.with_length(x, 8, "start", "end").tolist() == [[1, 2, 3, 4, 5, 0, 0, 0]]
    assert waves.with_length(x, 8, "start", "both").tolist() == [[0, 1, 2, 3, 4, 5, 0, 0]]
    assert waves.with_length(x, 5, "reject", "reject") is x
    for length, reason in ((3, "too long"), (8, "too short")):
        with pytest.raises(Rejected, match=reason):
            waves.with_length(x, length, "reject", "reject")


def test_channels_are_mixed_or_repeated() -> None:
    stereo = np.array([[1.0, 0.0], [0.0, 0.5]], dtype=np.float32)
    assert waves.with_channels(stereo, 1).tolist() == [[0.5, 0.25]]
    assert waves.with_channels(stereo[:1], 2).tolist() == [[1, 0], [1, 0]]
    assert waves.with_channels(stereo, 2) is stereo
    with pytest.raises(Rejected, match="other channels"):
        waves.with_channels(stereo, 3)


def test_the_peak_becomes_one_and_silence_stays() -> None:
    assert waves.to_peak(np.array([[0.25, -0.5]], dtype=np.float32)).tolist() == [[0.5, -1.0]]
    assert waves.to_peak(np.zeros((1, 3), dtype=np.float32)).tolist() == [[0, 0, 0]]


# --- the source ---------------------------------------------------------------------------------


def settings_for(folder: Path, **keys: Any) -> IngestSettings:
    source = {"name": "wav_folder", "folder": str(folder), "labels": r"(?P<label>\d)_.*", "length": 1024, **keys}
    return IngestSettings(source=source, shard_examples=5)


def test_labels_stand_in_the_names_or_the_folders(tmp_path: Path) -> None:
    folder = spoken(tmp_path / "by_name")
    by_name = packing.open_source(settings_for(folder))
    assert by_name.classes() == ("0", "1", "2")
    assert [entry.label for entry in by_name.entries()] == sorted("012" * 6)
    for word in ("yes", "no"):
        spoken(tmp_path / "by_folder" / word)
    by_folder = packing.open_source(settings_for(tmp_path / "by_folder", labels="folders"))
    assert by_folder.classes() == ("no", "yes")
    assert packing.open_source(settings_for(folder, labels="none")).classes() == ()
    unlabelled = packing.open_source(settings_for(folder, labels="folders"))
    assert (unlabelled.classes(), unlabelled.entries()[0].label) == ((), None)


def test_packed_twice_alike_and_read_alike(tmp_path: Path) -> None:
    chosen = settings_for(spoken(tmp_path / "wavs"))
    first, second = (packing.ingest(chosen, tmp_path / name) for name in ("a", "b"))
    assert first.sha256 == second.sha256
    assert first.spec.rate == 8_000
    assert (first.spec.modality, first.spec.shape, first.spec.dtype) == ("waveform", (1, 1024), "float32")
    assert shards.Manifest.load(tmp_path / "a").spec == first.spec
    streamed = Reader(tmp_path / "a", "train")
    cached = Reader(tmp_path / "a", "train", cache=tmp_path / "cache", cache_budget=10**9)
    batches = [Batches(reader, 3).batch(7, 2, 9) for reader in (streamed, cached)]
    assert batches[0].keys() == {"x", "label"}
    for name in batches[0]:
        assert bool((batches[0][name] == batches[1][name]).all())  # pyright: ignore[reportGeneralTypeIssues]
    assert float(batches[0]["x"].abs().max()) <= 1  # pyright: ignore[reportTypedDictNotRequiredAccess]


def test_mixed_rates_are_an_error_until_one_is_named(tmp_path: Path) -> None:
    folder = spoken(tmp_path / "wavs")
    (folder / "1_bob_0.wav").write_bytes(pcm(np.ones((1, 1024)), rate=16_000))
    with pytest.raises(SettingsError, match=r"sample_rate: the files differ: 8000 \(18\), 16000 \(1\)"):
        packing.ingest(settings_for(folder), tmp_path / "out")
    chosen = settings_for(folder, sample_rate=8_000).model_copy(update={"max_rejected_fraction": 0.1})
    manifest = packing.ingest(chosen, tmp_path / "out")
    assert manifest.rejects == {"another sample rate": 1}
    assert '1_bob_0.wav,another sample rate,"16000, asked for are 8000"' in (tmp_path / "out/rejects.csv").read_text()
    with pytest.raises(SettingsError, match="no file has 44100; they have 8000, 16000"):
        packing.ingest(settings_for(folder, sample_rate=44_100), tmp_path / "out")


def test_broken_files_are_set_aside_with_their_reason(tmp_path: Path) -> None:
    folder = spoken(tmp_path / "wavs")
    (folder / "0_bob_0.wav").write_bytes(pcm(np.ones((1, 1024)))[:-100])
    (folder / "0_bob_1.wav").write_bytes(pcm(np.zeros((1, 8)), 8, encoding=17))
    (folder / "notes.txt").write_text("hello")
    (folder / "hum.wav").write_bytes(pcm(np.ones((1, 1024))))
    chosen = settings_for(folder)
    (folder / "song.mp3").write_bytes(b"\xff\xfb")
    with pytest.raises(UserError, match="4 of 22 items cannot be used"):
        packing.ingest(chosen, tmp_path / "out")
    manifest = packing.ingest(chosen.model_copy(update={"max_rejected_fraction": 0.5}), tmp_path / "out")
    assert manifest.rejects == {
        "compressed wav file": 1,
        "damaged wav file": 1,
        "no label in the name": 1,
        "not a wav file": 1,
    }
    assert (
        "song.mp3,not a wav file,.mp3 is not read; save it as wav or flac" in (tmp_path / "out/rejects.csv").read_text()
    )
    assert manifest.passed_over == {".txt": 1}


@pytest.mark.parametrize(
    ("keys", "says"),
    [
        ({"labels": "(?P<digit>.)"}, r"labels: .*needs a group \(\?P<label>…\)"),
        ({"labels": "("}, "labels: .*no pattern"),
        ({"longer": "wrap"}, "longer"),
    ],
)
def test_wrong_settings_are_named(tmp_path: Path, keys: dict[str, Any], says: str) -> None:
    with pytest.raises(SettingsError, match=says):
        plugins.configure("data.sources", settings_for(tmp_path, **keys).source, "ingest.source")


@pytest.mark.parametrize("pattern", [r"(?P<label>\d)_.*", r"(?P<label>\d)\.wav", r"(?P<label>x)?\d"])
def test_a_pattern_that_finds_no_label_is_refused(tmp_path: Path, pattern: str) -> None:
    (tmp_path / "7.wav").write_bytes(pcm(np.arange(64.0)))
    source = plugins.load("data.sources", settings_for(tmp_path, labels=pattern).source, "ingest.source")
    with pytest.raises(SettingsError, match=r"labels: .* finds a label in no name; .* without .* its ending.* '7'$"):
        source.check()
    plugins.load("data.sources", settings_for(tmp_path, labels=r"(?P<label>\d)").source, "ingest.source").check()


def test_folders_without_sound_are_refused(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    with pytest.raises(SettingsError, match="is empty"):
        packing.ingest(settings_for(tmp_path / "empty"), tmp_path / "out")
    (tmp_path / "texts").mkdir()
    (tmp_path / "texts" / "a.txt").write_text("x" * 60)
    with pytest.raises(SettingsError, match=r"holds no sound, only what is passed over \(1 × \.txt\)"):
        packing.ingest(settings_for(tmp_path / "texts"), tmp_path / "out")
    (tmp_path / "texts" / "a.wav").write_text("x" * 60)
    with pytest.raises(SettingsError, match=r"no sound that can be read; the first, a\.wav, is: not a wav file"):
        packing.ingest(settings_for(tmp_path / "texts"), tmp_path / "out")


def test_lengths_that_differ_need_one(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match=r"differ in shape: 1×900 \(6\), 1×1024 \(6\), 1×1300 \(6\)"):
        packing.ingest(settings_for(spoken(tmp_path / "wavs"), length=None), tmp_path / "out")
    manifest = packing.ingest(settings_for(spoken(tmp_path / "equal", (512,)), length=None), tmp_path / "out")
    assert manifest.spec.shape == (1, 512)


def test_keys_of_images_do_not_fit_sound(tmp_path: Path) -> None:
    chosen = settings_for(spoken(tmp_path / "wavs")).model_copy(update={"resolution": 16})
    with pytest.raises(SettingsError, match=r"ingest\.resolution: fits images, and the source gives waveform"):
        preview.preflight(chosen)


@pytest.mark.parametrize(
    ("keys", "reason"),
    [
        ({"length": 100, "longer": "reject"}, "too long"),
        ({"length": 10_000, "shorter": "reject"}, "too short"),
        ({"channels": 2}, None),
    ],
)
def test_what_a_header_shows_is_known_before_any_sound_is_read(
    tmp_path: Path, keys: dict[str, Any], reason: str | None
) -> None:
    settings = settings_for(spoken(tmp_path / "by_name"), **keys)
    source = packing.open_source(settings)
    for entry in source.entries():
        assert (entry.problem[0] if entry.problem else None) == reason
    if reason is None:
        preview.foresee(settings)
        return
    with pytest.raises(UserError, match=reason):
        preview.foresee(settings)


def test_more_channels_than_asked_for_are_seen_in_the_header(tmp_path: Path) -> None:
    folder = tmp_path / "three"
    folder.mkdir()
    samples = np.zeros((64, 3), dtype="<i2").tobytes()
    form = struct.pack("<HHIIHH", 1, 3, 8_000, 48_000, 6, 16)
    data = b"fmt " + struct.pack("<I", 16) + form + b"data" + struct.pack("<I", len(samples)) + samples
    (folder / "0_a.wav").write_bytes(b"RIFF" + struct.pack("<I", 4 + len(data)) + b"WAVE" + data)
    (entry,) = packing.open_source(settings_for(folder, channels=2)).entries()
    assert entry.problem == ("other channels", "3, asked for are 2")
