"""Illustrations: the sentences of a file, a row of samples each, with the sentences above them."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image, ImageDraw, ImageFont
from pydantic import Field

from pipeline.data.sentences import of_file
from pipeline.explorations import _shared
from pipeline.sampling import texts
from pipeline.sampling.pictures import as_images
from pipeline.sampling.samples import CHUNK, Pixels, SampleSource, stored
from pipeline.settings import LocalPath, Settings
from pipeline.types import Array

ROWS = 50  # sentences of one sheet
SIDE = 48  # smaller samples are enlarged to about this many pixels
LINE = 18  # pixels of height for a sentence
GAP = 4
PAPER, INK = (255, 255, 255), (0, 0, 0)


class Config(Settings):
    """The first samples of all sentences have one noise, the second another: rows differ by what they say alone."""

    sentences: LocalPath = Field(description="a file in UTF-8, a sentence a line")
    samples: int = Field(default=8, ge=1, le=64, description="of each sentence")
    seed: int = Field(default=0, ge=0)
    truncation: float = Field(default=1.0, ge=0)


class Exploration:
    """Sheets of 50 sentences, each above a row of its samples; the record says which row is of which sentence.

    Letters that Pillow's own font lacks are boxes on the sheet, and as they are in the record.
    """

    modalities = _shared.PICTURES

    def __init__(self, config: Config) -> None:
        self.config = config

    def run(self, source: SampleSource) -> _shared.Findings:
        """Draw every sentence.

        Raises:
            UserError: for a model that reads no text, or a file without sentences, or with one that it cannot read.
        """
        said = of_file(Path(self.config.sentences), "sentences")
        drawn = texts.drawing(source, said, "sentences")
        parts = [said[begin : begin + ROWS] for begin in range(0, len(said), ROWS)]
        names = (
            ["illustrations"] if len(parts) == 1 else [f"illustrations-{number:03d}" for number in range(len(parts))]
        )
        told = [
            {"sentence": sentence, "sheet": f"{name}.png", "row": row}
            for name, part in zip(names, parts, strict=True)
            for row, sentence in enumerate(part)
        ]
        record: dict[str, Any] = {"samples": self.config.samples, "sentences": told}
        return _shared.Findings({}, record, pictures=self._sheets(drawn, names, parts))

    def _sheets(
        self, source: SampleSource, names: list[str], parts: list[tuple[str, ...]]
    ) -> Iterator[tuple[str, Pixels]]:
        for number, (name, part) in enumerate(zip(names, parts, strict=True)):
            made = _shared.shaped(self._rows(source, number * ROWS, len(part)), self.config.samples)
            yield name, _sheet([as_images(row, source.spec).transpose(0, 2, 3, 1) for row in made], part)

    def _rows(self, source: SampleSource, first: int, count: int) -> Array:
        """Samples (count · samples, *shape) of the sentences from `first` on, in whole chunks."""
        total = count * self.config.samples
        noise = _shared.noise(source, self.config.seed, self.config.samples)
        order = np.arange(-(-total // CHUNK) * CHUNK) % total
        found: list[Array] = []
        for chunk in np.split(order, len(order) // CHUNK):
            latents = _shared.rows(noise, torch.from_numpy(chunk % self.config.samples))
            numbers = first + chunk // self.config.samples
            labels = source.default_labels(CHUNK)
            found.append(stored(source.decode(latents, labels, self.config.truncation, numbers), source.spec))
        return np.concatenate(found)[:total]


def _sheet(rows: list[Pixels], said: tuple[str, ...]) -> Pixels:
    """Rows of images (n, H, W, C), uint8, each below its sentence, as one picture (3, height, width)."""
    height, width = rows[0].shape[1:3]
    times = max(1, round(SIDE / max(height, width)))
    height, width = height * times, width * times
    across = max(len(rows[0]) * (width + GAP) + GAP, 320)
    sheet = Image.new("RGB", (across, len(rows) * (LINE + height + GAP) + GAP), PAPER)
    pen, font = ImageDraw.Draw(sheet), ImageFont.load_default(12)
    for number, (images, sentence) in enumerate(zip(rows, said, strict=True)):
        top = GAP + number * (LINE + height + GAP)
        pen.text((GAP, top), sentence, INK, font)
        for column, pixels in enumerate(images):
            shown = Image.fromarray(pixels[..., 0] if pixels.shape[2] == 1 else pixels).convert("RGB")
            place = (GAP + column * (width + GAP), top + LINE)
            sheet.paste(shown.resize((width, height), Image.Resampling.NEAREST), place)
    return np.ascontiguousarray(np.asarray(sheet).transpose(2, 0, 1))
