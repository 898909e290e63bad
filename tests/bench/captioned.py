"""Fashion-MNIST in six colours with captions of what is seen, and whether a model draws what a sentence asks for.

    python tests/bench/captioned.py make OUT [--count 12000]      a folder of images, and captions.csv in it
    python tests/bench/captioned.py measure MODEL REFERENCE       classes and colours asked for against those drawn

The colour of a picture is chosen by its number; the words are its class and its colour, in four kinds of sentence.
`measure` draws sentences of a kind that the captions do not hold.
"""

from __future__ import annotations

import argparse
import csv
import gzip
import os
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image

import zerosum as zs
from pipeline.extractors._shared import extract
from pipeline.formats.reference import Reference
from pipeline.randomness import shuffled

CLASSES = ("t-shirt", "trousers", "pullover", "dress", "coat", "sandal", "shirt", "sneaker", "bag", "boot")
COLOURS = {
    "red": (255, 40, 40),
    "green": (40, 220, 60),
    "blue": (60, 90, 255),
    "yellow": (250, 230, 40),
    "purple": (190, 60, 220),
    "white": (255, 255, 255),
}
KINDS = (
    "a {colour} {name}",
    "this {name} is {colour}",
    "a photo of a {name} in {colour}",
    "one {colour} {name} on black",
)
UNSEEN = "here you see a {name}, and it is {colour}"
DATA = Path(os.environ.get("ZEROSUM_TEST_DATA", "../shared/data")) / "fashion-mnist"


def make(out: Path, count: int) -> None:
    """Write the images into a folder a class, two captions each."""
    with gzip.open(DATA / "train-images-idx3-ubyte.gz") as file:
        images = np.frombuffer(file.read(), dtype=np.uint8, offset=16).reshape(-1, 28, 28)
    with gzip.open(DATA / "train-labels-idx1-ubyte.gz") as file:
        labels = np.frombuffer(file.read(), dtype=np.uint8, offset=8)
    rows: list[tuple[str, str]] = []
    colours, kinds = shuffled(len(images), 1, "colours"), shuffled(len(images), 1, "kinds")
    for number in range(count):
        name, colour = CLASSES[labels[number]], list(COLOURS)[colours[number] % len(COLOURS)]
        tinted = images[number][..., None].astype(np.float64) * np.array(COLOURS[colour]) / 255
        (out / name).mkdir(parents=True, exist_ok=True)
        file = f"{name}/{number:05d}.png"
        Image.fromarray(np.rint(tinted).astype(np.uint8)).save(out / file)
        first = kinds[number] % len(KINDS)
        rows += [(file, KINDS[(first + more) % len(KINDS)].format(name=name, colour=colour)) for more in (0, 1)]
    with (out / "captions.csv").open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([("file", "caption"), *rows])
    print(f"{count} images, {len({text for _, text in rows})} different captions in {out}")


def colour_of(images: NDArray[np.uint8]) -> list[str]:
    """The colour nearest to each image's (n, 3, H, W), by the direction of its sum."""
    summed = images.reshape(len(images), 3, -1).sum(2).astype(np.float64)
    known = np.array(list(COLOURS.values()), dtype=np.float64)
    unit = summed / np.maximum(np.linalg.norm(summed, axis=1, keepdims=True), 1e-9)
    return [
        list(COLOURS)[place] for place in (unit @ (known / np.linalg.norm(known, axis=1, keepdims=True)).T).argmax(1)
    ]


def measure(model: str, reference: Path, each: int = 10) -> None:
    """Draw `each` samples of every class in every colour, by sentences of a kind that was not in the captions."""
    asked = [(name, colour) for name in CLASSES for colour in COLOURS for _ in range(each)]
    opened = zs.load(model)
    made = opened.sample(len(asked), text=[UNSEEN.format(name=name, colour=colour) for name, colour in asked])
    measured = Reference.load(reference)
    extractor, classes = measured.extractor(), measured.card.spec.classes
    torch.set_num_threads(measured.card.threads)
    found = [extract(extractor, made[at : at + 64])[1] for at in range(0, len(made), 64)]
    logits = np.concatenate([each for each in found if each is not None])
    drawn = [classes[place] for place in logits.argmax(1)]
    colours = colour_of(made)
    right = np.array(
        [(one == name, other == colour) for (name, colour), one, other in zip(asked, drawn, colours, strict=True)]
    )
    print(f"{len(asked)} samples: class {right[:, 0].mean():.3f} (chance {1 / len(CLASSES):.3f}), ", end="")
    print(f"colour {right[:, 1].mean():.3f} (chance {1 / len(COLOURS):.3f}), both {right.all(1).mean():.3f}")
    for index, names in ((0, CLASSES), (1, tuple(COLOURS))):
        of = {
            name: np.mean([hit[index] for pair, hit in zip(asked, right, strict=True) if pair[index] == name])
            for name in names
        }
        print("  ".join(f"{name} {share:.2f}" for name, share in of.items()))


def main() -> None:
    """One of the two commands."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(dest="command", required=True)
    making = commands.add_parser("make")
    making.add_argument("out", type=Path)
    making.add_argument("--count", type=int, default=12_000)
    measuring = commands.add_parser("measure")
    measuring.add_argument("model")
    measuring.add_argument("reference", type=Path)
    given = parser.parse_args()
    if given.command == "make":
        make(given.out, given.count)
    else:
        measure(given.model, given.reference)


if __name__ == "__main__":
    main()
