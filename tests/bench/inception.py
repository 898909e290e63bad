"""`make bench`: images per second through the Inception network, ours against a plain one, as a ratio.

Same weights, same images, one run, to the same tap, from uint8 pixels to features. The plain one
is tests/bench/plain_inception.py: eager, torch's default memory format, pytorch-fid's resizing and
its batch of 50. Rounds are interleaved and take turns at going first; the ratio is the median of
each round's, so that a busy machine disturbs both alike.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import time
from collections.abc import Callable, Mapping
from pathlib import Path

import torch
import torch.nn.functional as F
from plain_inception import features
from torch import Tensor

from pipeline.assets import inception
from pipeline.extractors._shared import extract
from pipeline.extractors.inception import Config, Extractor
from pipeline.networks.architectures.inception import shapes
from pipeline.types import DataSpec

DATA = Path(os.environ.get("ZEROSUM_TEST_DATA", Path(__file__).parents[2].parent / "shared" / "data"))
PARTIAL = DATA / "inception-2015-12-05-to-Mixed_6e.safetensors"
PLAIN_BATCH = 50
TAP = 768


def weights() -> tuple[str, dict[str, Tensor]]:
    """The published layers where they are; else random ones: speed is the same."""
    if PARTIAL.is_file():
        return "published weights", inception.load(PARTIAL, TAP).state
    draw = torch.Generator().manual_seed(0)
    state = {name: torch.randn(shape, generator=draw) * 0.02 for name, shape in shapes(TAP).items()}
    return "random weights", state


def ours(state: Mapping[str, Tensor], images: Tensor) -> Tensor:
    """As the reference stage does it: the extractor, 64 at a time."""
    extractor = Extractor(Config(tap=TAP))
    extractor.load(DataSpec("image", (3, 32, 32)), state)
    return torch.cat([torch.as_tensor(extract(extractor, part)[0]) for part in images.split(64)])


@torch.inference_mode()
def plain(state: Mapping[str, Tensor], images: Tensor) -> Tensor:
    found: list[Tensor] = []
    for part in images.split(PLAIN_BATCH):
        x = F.interpolate(part.float() / 255, size=(299, 299), mode="bilinear", align_corners=False)
        found.append(features(state, 2 * x - 1, TAP)[0])
    return torch.cat(found)


def measure(rounds: int, images: int, threads: int) -> dict[str, float | str]:
    """Median images per second of either, and the median ratio of rounds."""
    torch.set_num_threads(threads)
    what, state = weights()
    # A multiple of 64 and of 50 would be long; what is padded is work of ours that is not counted.
    x = torch.randint(0, 256, (images, 3, 32, 32), generator=torch.Generator().manual_seed(1), dtype=torch.uint8)
    runs: dict[str, Callable[[], Tensor]] = {"ours": lambda: ours(state, x), "plain": lambda: plain(state, x)}
    seconds: dict[str, list[float]] = {name: [] for name in runs}
    apart = 0.0
    for number in range(rounds + 1):
        results: dict[str, Tensor] = {}
        for name in sorted(runs, reverse=bool(number % 2)):
            begin = time.perf_counter()
            results[name] = runs[name]()
            seconds[name].append(time.perf_counter() - begin)
        apart = float((results["ours"] - results["plain"]).abs().max() / results["plain"].abs().max())
    timed = {name: values[1:] for name, values in seconds.items()}  # the first round warms up
    ratio = statistics.median(p / o for p, o in zip(timed["plain"], timed["ours"], strict=True))
    rates = {f"{name}_images_per_second": images / statistics.median(values) for name, values in timed.items()}
    return {"weights": what, **rates, "ratio": ratio, "largest_difference": apart}


def main() -> None:
    """Print the table, or JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--images", type=int, default=64)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--json", action="store_true")
    arguments = parser.parse_args()
    found = measure(arguments.rounds, arguments.images, arguments.threads)
    if arguments.json:
        print(json.dumps(found))
        return
    print(
        f"Inception to tap {TAP}, {arguments.images} images of 32×32, {arguments.threads} thread(s), {found['weights']}"
    )
    print(f"  plain eager   {found['plain_images_per_second']:.2f} images/s")
    print(f"  ours          {found['ours_images_per_second']:.2f} images/s")
    print(f"  ratio         {found['ratio']:.2f} × (floor: 1.5); features differ by {found['largest_difference']:.1e}")


if __name__ == "__main__":
    main()
