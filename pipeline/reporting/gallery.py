"""Pictures of what a generator makes, as PNG bytes that repeat: grids, walks, the truncation sweep, neighbours."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from pipeline import captions
from pipeline.contract import Latent
from pipeline.contract.extractor import Examples
from pipeline.extractors import _shared as extractors
from pipeline.formats.reference import Reference
from pipeline.metrics._neighbours import centred, nearest
from pipeline.reporting.comparison import GREY, Slider, heat, of_one_size
from pipeline.sampling import pictures
from pipeline.sampling.pictures import as_images, field_images, wav
from pipeline.sampling.samples import CHUNK, Labels, Pixels, SampleSource, stored
from pipeline.scoring.settings import EvaluateSettings, GallerySettings
from pipeline.storage import files
from pipeline.threads import fixed_threads, one_blas_thread

GUTTER = 2
CHECKS = (255, 222)
MOVING = ("normal", "uniform")
SLIDERS = 4


@dataclass(frozen=True)
class Gallery:
    """PNG bytes of each picture, and the names of the rows of `samples` (empty where nothing is asked).

    A picture without bytes means nothing for this design. translated: what stands in a row of `samples`
    for designs that translate (input, output, target, difference). sliders: the first of these rows, one picture over
    the other. sounds: (name, wav bytes) of a waveform design. moving: (name,
    bytes of an animated PNG) where samples are volumes or videos. captions: what each item of `samples` was drawn
    from, row by row, of designs that draw from words.
    """

    samples: bytes
    classes: tuple[str, ...]
    interpolation: bytes
    truncation: bytes
    truncations: tuple[float, ...]
    nearest: bytes
    translated: tuple[str, ...] = ()
    sounds: tuple[tuple[str, bytes], ...] = ()
    moving: tuple[tuple[str, bytes], ...] = ()
    captions: tuple[str, ...] = ()
    sliders: tuple[Slider, ...] = ()


def build(settings: EvaluateSettings, generator: SampleSource, reference: Reference, train: Examples) -> Gallery:
    """Every picture of the report, from the settings' seed."""
    show, family = settings.gallery, generator.family
    samples, classes, translated = b"", (), ()
    said: tuple[str, ...] = ()
    sliders: tuple[Slider, ...] = ()
    if generator.spec.columns:  # rows are shown as a table
        return Gallery(b"", (), b"", b"", tuple(settings.truncations), b"")
    if family.inputs:
        samples, translated, sliders = translations(generator, show, settings.seed, settings.truncation)
        said = captions_of(generator, _translated_count(show))
    else:
        samples, classes = by_class(generator, show, settings.seed, settings.truncation)
    walks = any(latent.distribution in MOVING for latent in family.latents)
    noisy = bool(family.latents) and generator.spec.modality != "rows"
    return Gallery(
        samples=samples,
        classes=classes,
        interpolation=interpolation(generator, show, settings.seed, settings.truncation) if walks else b"",
        truncation=sweep(generator, settings) if noisy else b"",
        truncations=tuple(settings.truncations),
        nearest=neighbours(generator, reference, train, settings) if not reference.blind else b"",
        translated=translated,
        sounds=sounds(generator, show, settings) if generator.spec.modality == "waveform" else (),
        moving=moving(generator, show, settings) if generator.spec.modality in pictures.MOVING else (),
        captions=said,
        sliders=sliders,
    )


def translations(
    generator: SampleSource, show: GallerySettings, seed: int, truncation: float = 1.0
) -> tuple[bytes, tuple[str, ...], tuple[Slider, ...]]:
    """Inputs, what was made of them, and what was to be made where that is known, side by side; and their names.

    Behind them is how far the output is from the target; where none is known, from an input that is such an image.
    Inputs that no picture shows, such as texts, are left out. Sliders are of the first input and output of some rows.
    """
    count = _translated_count(show)
    numbers = np.arange(count, dtype=np.int64)
    assert generator.inputs is not None  # `sample` says so to a person
    made = generator.sample(count, seed=seed, truncation=truncation)
    target: NDArray[Any] | None = getattr(generator.inputs, "targets", lambda _: None)(numbers)
    given = generator.inputs(numbers)
    shown = {name: field_images(values, generator.field(name)) for name, values in given.items()}
    columns = {name if len(given) > 1 else "input": coloured(each) for name, each in shown.items() if each is not None}
    x = generator.spec.x
    for name, values in {"output": made, "target": target}.items():
        images = None if values is None else field_images(values, x)
        columns |= {} if images is None else {name: coloured(images)}
    pairs: dict[str, list[NDArray[np.uint8]]] = {}
    translates = any(each is not None for each in shown.values())  # what is drawn from words has no one truth
    alike = [name for name in given if (generator.field(name).kind, generator.field(name).shape) == (x.kind, x.shape)]
    if translates and {"output", "target"} <= set(columns):
        pairs = {"difference": [columns["output"], columns["target"]]}
    elif "output" in columns and len(given) == len(alike) == 1:
        pairs = {"change": [columns["output"], columns["input"]]}
    columns |= {name: heat(*both) for name, both in pairs.items()}
    pictures = of_one_size(list(columns.values()))
    rows = np.stack(pictures, axis=1).reshape(-1, *pictures[0].shape[1:])
    names = tuple(columns)
    sliders = _sliders(pictures, names) if names[0] != "output" and "output" in names else ()
    return grid(rows, len(columns) * (count // show.rows), show.side), names, sliders


def _sliders(pictures: Sequence[NDArray[np.uint8]], names: Sequence[str]) -> tuple[Slider, ...]:
    output = names.index("output")
    pairs = zip(pictures[0][:SLIDERS], pictures[output][:SLIDERS], strict=True)
    plain = [tuple(png(np.ascontiguousarray(each.transpose(1, 2, 0))) for each in pair) for pair in pairs]
    return tuple(Slider(before, after, (names[0], "output")) for before, after in plain)


def captions_of(generator: SampleSource, count: int) -> tuple[str, ...]:
    """The first caption of each of the first samples, where they are drawn from words."""
    if generator.inputs is None:
        return ()
    given = generator.inputs(np.arange(count, dtype=np.int64))
    texts = [values for name, values in sorted(given.items()) if generator.field(name).kind == "text"]
    return tuple(captions.unpacked(texts[0][:, 0])) if texts else ()


def _translated_count(show: GallerySettings) -> int:
    return show.rows * max(1, show.per_class // 3)


def coloured(images: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Images (n, 1, 3 or 4, H, W) as RGB, so that they can stand beside each other."""
    if images.shape[1] == 4:
        return _opaque(images)
    return images.repeat(3, axis=1) if images.shape[1] == 1 else images


def sounds(generator: SampleSource, show: GallerySettings, settings: EvaluateSettings) -> tuple[tuple[str, bytes], ...]:
    """A row's samples to listen to; named for their class where classes are asked for."""
    return tuple((name, wav(x, generator.spec.rate)) for name, x in _named(generator, show, settings))


def moving(generator: SampleSource, show: GallerySettings, settings: EvaluateSettings) -> tuple[tuple[str, bytes], ...]:
    """A row's samples in motion: volumes turn, videos run; named as sounds are."""
    modality = generator.spec.modality
    return tuple((name, pictures.animation(x, modality)) for name, x in _named(generator, show, settings))


def _named(generator: SampleSource, show: GallerySettings, settings: EvaluateSettings) -> list[tuple[str, Pixels]]:
    made = generator.sample(show.per_class, seed=settings.seed, truncation=settings.truncation)
    labels, names = generator.default_labels(show.per_class), generator.spec.classes
    words = [f", {names[label]}" if generator.conditional else "" for label in labels]
    return [(f"sample {number + 1}{word}", x) for number, (x, word) in enumerate(zip(made, words, strict=True))]


def by_class(
    generator: SampleSource, show: GallerySettings, seed: int, truncation: float = 1.0
) -> tuple[bytes, tuple[str, ...]]:
    """A row for each class (or plain rows), and the rows' names."""
    columns = show.per_class
    if not generator.conditional:
        made = generator.sample(columns * show.rows, seed=seed, truncation=truncation)
        return grid(as_images(made, generator.spec), columns, show.side), ()
    names = generator.spec.classes[: show.classes]
    labels = np.repeat(np.arange(len(names), dtype=np.int64), columns)
    made = generator.sample(len(labels), labels, seed, truncation)
    return grid(as_images(made, generator.spec), columns, show.side), names


def sweep(generator: SampleSource, settings: EvaluateSettings) -> bytes:
    """The same latents (columns) at each truncation (rows)."""
    columns = settings.gallery.per_class
    rows = [generator.sample(columns, seed=settings.seed, truncation=value) for value in settings.truncations]
    return grid(as_images(np.concatenate(rows), generator.spec), columns, settings.gallery.side)


def interpolation(generator: SampleSource, show: GallerySettings, seed: int, truncation: float = 1.0) -> bytes:
    """Rows of walks, each between two latents under one label: on the sphere where latents are normal."""
    walks, steps = show.interpolations, show.steps
    share = torch.linspace(0, 1, steps)
    latents: dict[str, Tensor] = {}
    chunks = [generator.latents(seed, index) for index in range(-(-2 * walks // CHUNK))]
    for latent in generator.noise:
        ends = torch.cat([chunk[latent.name] for chunk in chunks])[: 2 * walks]
        frames = [between(latent, ends[2 * walk], ends[2 * walk + 1], share) for walk in range(walks)]
        latents[latent.name] = torch.cat(frames)
    labels = np.repeat(generator.default_labels(walks), steps)
    # A walk stays with one input, where samples are made of such.
    made = _decoded(generator, latents, labels, truncation, np.repeat(np.arange(walks), steps))
    return grid(as_images(made, generator.spec), steps, show.side)


def between(latent: Latent, a: Tensor, b: Tensor, share: Tensor) -> Tensor:
    """Latents (steps, *shape) from `a` to `b` at `share` (steps,): slerp, straight, or a jump half-way."""
    t = share.reshape(-1, *[1] * a.ndim)
    if latent.distribution == "uniform":
        return (1 - t) * a + t * b
    if latent.distribution != "normal":
        return torch.where(t < 0.5, a, b)
    cosine = (a.flatten() @ b.flatten() / (a.norm() * b.norm()).clamp_min(1e-12)).clamp(-1, 1)
    angle = torch.arccos(cosine)
    if angle.sin() < 1e-4:
        return (1 - t) * a + t * b
    return (torch.sin((1 - t) * angle) * a + torch.sin(t * angle) * b) / torch.sin(angle)


def neighbours(generator: SampleSource, reference: Reference, train: Examples, settings: EvaluateSettings) -> bytes:
    """Of `searched` samples those closest to the training data (upper rows), over the example closest to each."""
    show = settings.gallery
    made = generator.sample(show.searched, seed=settings.seed, truncation=settings.truncation)
    extractor = reference.extractor()
    with fixed_threads(reference.card.threads):
        parts = [extractors.extract(extractor, made[i : i + CHUNK])[0] for i in range(0, len(made), CHUNK)]
    with one_blas_thread():
        real, fake = centred(reference.features("train"), np.concatenate(parts))
        distance, position = nearest(fake, real)
    closest = np.argsort(distance, kind="stable")[: show.neighbours]
    found = train.examples(position[closest])["x"]
    both = np.concatenate([made[closest], found])
    return grid(as_images(both, generator.spec), len(closest), show.side)


def _decoded(
    generator: SampleSource, latents: Mapping[str, Tensor], labels: Labels, truncation: float, numbers: Labels
) -> Pixels:
    """Pixels (n, C, H, W) of latents (n, …), in whole chunks; numbers (n,): whose inputs they are made from."""
    total = len(labels)
    index = torch.arange(-(-total // CHUNK) * CHUNK) % total
    made: list[Pixels] = []
    for part in index.split(CHUNK):
        chunk = {name: latent[part] for name, latent in latents.items()}
        places = part.numpy()
        decoded = generator.decode(chunk, labels[places], truncation, numbers[places])
        made.append(stored(decoded, generator.spec))
    return np.concatenate(made)[:total]


def grid(images: NDArray[np.uint8], columns: int, side: int = 48) -> bytes:
    """Uint8 images (n, C, H, W) of 1, 3 or 4 channels as a PNG, row by row, between grey gutters.

    Images smaller than `side` are enlarged a whole number of times; transparency shows checks.

    Raises:
        ValueError: for no image, or another number of channels.
    """
    if images.ndim != 4 or len(images) == 0 or images.shape[1] not in (1, 3, 4):
        raise ValueError(f"a grid needs images (n, C, H, W) of 1, 3 or 4 channels, not {images.shape}")
    whole = _opaque(images) if images.shape[1] == 4 else images
    scale = max(1, round(side / max(whole.shape[2:])))
    whole = whole.repeat(scale, axis=2).repeat(scale, axis=3)
    count, channels, height, width = whole.shape
    columns = min(columns, count)
    rows = -(-count // columns)
    shape = (rows * (height + GUTTER) + GUTTER, columns * (width + GUTTER) + GUTTER, channels)
    canvas = np.full(shape, GREY, dtype=np.uint8)
    for index, image in enumerate(whole):
        top = GUTTER + (index // columns) * (height + GUTTER)
        left = GUTTER + (index % columns) * (width + GUTTER)
        canvas[top : top + height, left : left + width] = image.transpose(1, 2, 0)
    return png(canvas)


def save_grid(path: Path, images: NDArray[np.uint8], side: int = 48) -> None:
    """Write uint8 images (rows, columns, C, H, W) as a PNG, atomically."""
    files.write_bytes(path, grid(images.reshape(-1, *images.shape[2:]), images.shape[1], side))


def png(canvas: NDArray[np.uint8], effort: int = 9) -> bytes:
    """PNG bytes of uint8 (H, W, 1, 3 or 4): no metadata, so equal pixels give equal bytes. effort: zlib's, 1 to 9."""
    from PIL import Image

    buffer = io.BytesIO()
    Image.fromarray(canvas[:, :, 0] if canvas.shape[2] == 1 else canvas).save(buffer, "PNG", compress_level=effort)
    return buffer.getvalue()


def _opaque(images: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """RGBA over light checks → RGB."""
    height, width = images.shape[2:]
    checks = (np.add.outer(np.arange(height) // 4, np.arange(width) // 4) % 2).astype(bool)
    behind = np.where(checks, CHECKS[0], CHECKS[1]).astype(np.float64)
    alpha = images[:, 3:].astype(np.float64) / 255
    return np.rint(images[:, :3] * alpha + behind * (1 - alpha)).astype(np.uint8)
