"""Clips as files hold them, and the source that reads folders of them."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from pipeline.data import clips, packing, preview
from pipeline.data.batches import Reader
from pipeline.data.settings import IngestSettings
from pipeline.data.source import Limits
from pipeline.data.sources.video_folder import Config, Source
from pipeline.errors import Rejected
from pipeline.sampling import pictures

X = np.random.default_rng(0).integers(0, 256, (6, 4, 8, 3), dtype=np.uint8)
ALL = clips.Cut(6, 1, 0, 10**6)


def animation(frames: np.ndarray, form: str = "WEBP", **options: Any) -> bytes:
    first, *rest = (Image.fromarray(each.squeeze()) for each in frames)
    buffer = io.BytesIO()
    first.save(buffer, form, save_all=True, append_images=rest, **options)
    return buffer.getvalue()


def png(pixels: np.ndarray) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(pixels.squeeze()).save(buffer, "PNG")
    return buffer.getvalue()


def side_by_side(frames: np.ndarray) -> bytes:
    return png(np.concatenate(list(frames), axis=1))


def opened(folder: Path, **keys: Any) -> Source:
    source = Source(Config(folder=str(folder), **keys))
    source.check()
    return source


@pytest.mark.parametrize("data", [animation(X, "WEBP", lossless=True), animation(X, "PNG")], ids=["webp", "apng"])
def test_an_animation_gives_its_frames(data: bytes) -> None:
    np.testing.assert_array_equal(clips.animated(data, ALL, Limits()), X)
    np.testing.assert_array_equal(clips.animated(data, clips.Cut(2, 2, 1, 10**6), Limits()), X[1:4:2])


def test_a_gif_of_few_colours_is_exact_and_grey_stays_grey() -> None:
    colours = np.array([[0, 0, 0], [255, 0, 0], [9, 200, 30]], np.uint8)[np.arange(6 * 32).reshape(6, 4, 8) % 3]
    np.testing.assert_array_equal(clips.animated(animation(colours, "GIF"), ALL, Limits()), colours)
    grey = X[..., :1]
    found = clips.animated(animation(grey, "PNG"), ALL, Limits())
    np.testing.assert_array_equal(found, grey)


def test_transparency_is_kept() -> None:
    see_through = np.concatenate([X, np.full((6, 4, 8, 1), 255, np.uint8)], axis=3)
    see_through[2, 1, 1, 3] = 0
    found = clips.animated(animation(see_through, "WEBP", lossless=True, exact=True), ALL, Limits())
    assert found.shape == (6, 4, 8, 4)
    assert np.array_equal(found[..., 3], see_through[..., 3])


def test_a_strip_is_cut_from_left_to_right() -> None:
    np.testing.assert_array_equal(clips.strip(side_by_side(X), 8, ALL, Limits()), X)
    square = X[:, :, :4]
    np.testing.assert_array_equal(clips.strip(side_by_side(square), None, clips.Cut(2, 3, 0, 1), Limits()), square[::3])


def test_frames_of_grey_and_colour_become_one() -> None:
    grey = X[0, :, :, :1]
    found = clips.pictures([png(grey), png(X[1])], clips.Cut(2, 1, 0, 10**6), Limits())
    np.testing.assert_array_equal(found, np.stack([grey.repeat(3, axis=2), X[1]]))


@pytest.mark.parametrize(
    ("read", "reason"),
    [
        (lambda: clips.animated(animation(X[:5], lossless=True), ALL, Limits()), "too few frames"),
        (lambda: clips.animated(png(X[0]), ALL, Limits()), "too few frames"),
        (lambda: clips.animated(b"GIF89a", ALL, Limits()), "not a clip"),
        (lambda: clips.animated(b"", ALL, Limits()), "not a clip"),
        (lambda: clips.animated(animation(X), clips.Cut(6, 1, 0, 6 * 32 - 1), Limits()), "too many pixels"),
        (lambda: clips.animated(animation(X), ALL, Limits(max_pixels=31)), "too many pixels"),
        (lambda: clips.strip(side_by_side(X), 7, ALL, Limits()), "no whole frames"),
        (lambda: clips.strip(side_by_side(X[:5]), 8, ALL, Limits()), "too few frames"),
        (lambda: clips.strip(b"x", 8, ALL, Limits()), "not an image"),
        (lambda: clips.pictures([png(X[0]), png(X[1, :3])], ALL, Limits()), "frames of several sizes"),
        (lambda: clips.pictures([png(X[0])] * 2, clips.Cut(2, 1, 0, 63), Limits()), "too many pixels"),
    ],
)
def test_what_is_no_clip_is_rejected(read: Any, reason: str) -> None:
    with pytest.raises(Rejected) as found:
        read()
    assert found.value.reason == reason


def test_a_truncated_animation_is_rejected() -> None:
    for form in ("WEBP", "GIF", "PNG"):
        whole = animation(X, form)
        with pytest.raises(Rejected):
            clips.animated(whole[: len(whole) // 2], ALL, Limits())


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for name, data in (
        ("walk/a.webp", animation(X, lossless=True)),
        ("walk/b.png", animation(X[::-1], "PNG")),
        ("run/a.gif", animation(X[:2], "GIF")),
        ("run/b.mp4", b"\0\0\0\x18ftypisom"),
        ("run/c.webp", animation(X[::-1].copy() // 2, lossless=True)),
        ("run/notes.txt", b"x"),
    ):
        path = tmp_path / "clips" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
    return tmp_path / "clips"


def test_clips_are_packed_at_the_resolution_of_ingest(folder: Path, tmp_path: Path) -> None:
    source = {"name": "video_folder", "folder": str(folder), "frames": 5, "skip": 1}
    settings = IngestSettings(
        source=source, resolution=[2, 4], channels=1, max_rejected_fraction=0.5, holdout_fraction=0, filter="nearest"
    )
    manifest = packing.ingest(settings, tmp_path / "shards")
    assert manifest.rejects == {"too few frames": 1, "unread video": 1}
    assert manifest.passed_over == {".txt": 1}
    assert (manifest.spec.modality, manifest.spec.shape, manifest.spec.dtype) == ("video", (1, 5, 2, 4), "uint8")
    assert manifest.spec.classes == ("run", "walk")
    assert preview.preflight(settings).spec(1) == manifest.spec
    plain = IngestSettings(source=source, max_rejected_fraction=0.5, holdout_fraction=0)
    spec = packing.ingest(plain, tmp_path / "plain").spec
    assert spec.shape == (3, 5, 4, 8)
    x = Reader(tmp_path / "plain", "train").examples(np.arange(3))["x"]
    clip = X[1:].transpose(3, 0, 1, 2)
    assert any(np.array_equal(each, clip) for each in x)


def test_what_generate_writes_is_read_again(tmp_path: Path) -> None:
    x = X.transpose(3, 0, 1, 2)
    (data,) = pictures.as_files(x, "video").values()
    (tmp_path / "00000.webp").write_bytes(data)
    source = opened(tmp_path, frames=6)
    assert source.classes() == ()
    np.testing.assert_array_equal(source.read(source.entries()[0], Limits()), X)


def test_a_folder_a_clip(tmp_path: Path) -> None:
    for clip in ("a/one", "a/two", "b/one"):
        (tmp_path / clip).mkdir(parents=True)
        for number in range(12):
            (tmp_path / clip / f"{number}.png").write_bytes(png(X[number % 6] // (1 + len(clip) % 2)))
    (tmp_path / "b/two").mkdir()
    (tmp_path / "b/two/0.png").write_bytes(png(X[0]))
    source = opened(tmp_path, layout="frames", frames=4, stride=3)
    assert source.classes() == ("a", "b")
    found = [(entry.key, entry.label) for entry in source.entries()]
    assert found == [("a/one", "a"), ("a/two", "a"), ("b/one", "b"), ("b/two", "b")]
    np.testing.assert_array_equal(source.read(source.entries()[0], Limits()), X[[0, 3, 0, 3]] // (1 + 5 % 2))
    with pytest.raises(Rejected, match="too few frames"):
        source.read(source.entries()[3], Limits())
    assert source.native_shape() == (3, 4, 4, 8)


def test_strips_by_class(tmp_path: Path) -> None:
    for label in ("0", "1"):
        (tmp_path / label).mkdir()
        (tmp_path / label / "a.png").write_bytes(side_by_side(X[:, :, :4] // (1 + int(label))))
    source = opened(tmp_path, layout="strips", frames=3, stride=2)
    np.testing.assert_array_equal(source.read(source.entries()[0], Limits()), X[::2, :, :4])
    assert source.classes() == ("0", "1")
