"""`make zoo`: every image family at its `zoo` preset on Fashion-MNIST, the same minutes of training each.

Resumable: a family goes on where it was stopped, and one that is done is passed over, so the table can
grow over several runs. Rows carry the commit they were trained at. Writes docs/zoo/{zoo.json,zoo.md,zoo.png}.

Minutes are summed over ticks, each at the rate of the fastest of those around it: what else the machine does for a
moment makes a row take longer, and costs the family nothing; and a design that grows is slower at each size.

    python tests/bench/zoo.py [--families dcgan,sngan] [--minutes 5] [--again]
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image, ImageDraw

from pipeline import plugins
from pipeline.contract import AnyFamily, LocalWorld, Record
from pipeline.data import packing
from pipeline.data.settings import IngestSettings
from pipeline.experiment import Experiment, fit_and_score, publish
from pipeline.formats.reference import Reference
from pipeline.reporting.gallery import save_grid
from pipeline.sampling.samples import open_model
from pipeline.scoring.evaluate import evaluate
from pipeline.scoring.extract import ShardExamples
from pipeline.scoring.reference import measure
from pipeline.scoring.settings import EvaluateSettings, ReferenceSettings
from pipeline.storage import files

ROOT = Path(__file__).parents[2]
DATA = Path(os.environ.get("ZEROSUM_TEST_DATA", ROOT.parent / "shared" / "data")) / "fashion-mnist"
WORK = ROOT / ".work" / "zoo"
OUT = ROOT / "docs" / "zoo"
THREADS = 2
BATCH = 64
TICK = 1_280
AROUND = 2  # ticks on each side of one
EQUAL = 25_600  # examples at which all families are compared as well
SAMPLES = 5_000
ITEMS = 25_000
FIELDS = frozenset({"x", "label"})
SCORES = ("frechet_classifier", "precision", "recall")


@dataclass
class Stopwatch:
    """A reporter that notes the rates of ticks: of training alone, neither scoring nor starting."""

    rates: list[float]

    def tick(self, record: Record) -> None:
        self.rates.append(round(float(record["examples_per_second"] or 1), 1))

    def note(self, message: str) -> None:
        if "going on" not in message:
            print(f"  {message}", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--families", default="", help="by name, with commas between; else all that fit")
    parser.add_argument("--minutes", type=float, default=5.0, help="of training a family")
    parser.add_argument("--again", action="store_true", help="train again what is done")
    arguments = parser.parse_args()
    if not DATA.is_dir():
        sys.exit(f"there is no Fashion-MNIST at {DATA}; set ZEROSUM_TEST_DATA to the folder that holds it")
    torch.set_num_threads(THREADS)
    fitting = designs()
    chosen = arguments.families.split(",") if arguments.families else fitting
    if unknown := sorted(set(chosen) - set(fitting)):
        sys.exit(f"no image family with a zoo preset: {', '.join(unknown)}; there are {', '.join(fitting)}")
    prepare()
    for name in chosen:
        row(name, arguments.minutes * 60, arguments.again)
        write_page()


def designs() -> list[str]:
    """Families that make images from noise, given labels at most."""
    found: list[str] = []
    for name in plugins.names("families"):
        if "zoo" in getattr(plugins.module("families", name), "PRESETS", {}):
            family: AnyFamily = plugins.load("families", {"name": name, "preset": "zoo"})
            if family.needs and family.needs <= FIELDS and family.latents and _for_images(name):
                found.append(name)
    return found


def _for_images(name: str) -> bool:
    canon = getattr(plugins.module("families", name), "CANON", {})
    return all(each.modality == "image" for each in canon.values())


def prepare() -> None:
    """Shards and the measuring stick, once."""
    if not (WORK / "shards" / "manifest.json").exists():
        print(f"packing {ITEMS:,} of Fashion-MNIST at 32×32", flush=True)
        source = {"name": "idx", "folder": str(DATA)}
        settings = IngestSettings.model_validate(
            {"source": source, "resolution": 32, "resize": "pad", "limit": ITEMS, "shard_examples": 4096}
        )
        packing.ingest(settings, WORK / "shards")
    if not (WORK / "reference" / "reference.json").exists():
        train, holdout = (
            ShardExamples(WORK / "shards", split, WORK / "cache", 2**30) for split in ("train", "holdout")
        )
        measure(ReferenceSettings(), train, holdout, WORK / "reference", train.manifest_sha256, print)


def row(name: str, budget: float, again: bool) -> None:
    """Train one family to its budget of seconds, scored at `EQUAL` examples and at the end."""
    folder = WORK / name
    if again:
        shutil.rmtree(folder, ignore_errors=True)
    state: dict[str, Any] = {"family": name, "examples": 0, "rates": []}
    if (folder / "state.json").exists():
        state = json.loads((folder / "state.json").read_text())
    while not finished(state, budget):
        rate = rate_of(state)
        left = max(budget - seconds_of(state), 0) * rate
        step = max(1, round(min(left, 40 * rate) / TICK)) * TICK
        target = state["examples"] + step
        if state["examples"] < EQUAL < target:
            target = EQUAL
        advance(name, folder, state, target)
        if target == EQUAL:
            state["equal_examples"] = scored(name, folder, "equal")
        if seconds_of(state) >= budget - 1 and "equal_time" not in state:
            state["equal_time"] = {
                "examples": target, "seconds": round(seconds_of(state), 1), **scored(name, folder, "time")
            }  # fmt: skip
        state["commit"] = commit()
        files.write_json(folder / "state.json", state)
        print(f"{name}: {target:,} examples, {seconds_of(state):.0f} s of training", flush=True)


def finished(state: dict[str, Any], budget: float) -> bool:
    return "equal_time" in state and "equal_examples" in state and state["equal_time"]["seconds"] >= budget - 1


def quiet(rates: Sequence[float]) -> list[float]:
    """Each tick's examples a second, had nothing else been going on: the best of it and its neighbours."""
    return [max(rates[max(0, index - AROUND) : index + AROUND + 1]) for index in range(len(rates))]


def rate_of(state: dict[str, Any]) -> float:
    """Examples a second as of late; a guess before the first tick."""
    return quiet(state["rates"])[-1] if state["rates"] else 200.0


def seconds_of(state: dict[str, Any]) -> float:
    """Of training, by the machine's speed for this family at each point of it."""
    return sum(TICK / rate for rate in quiet(state["rates"]))


def experiment(name: str, folder: Path, examples: int) -> Experiment:
    """The whole training of a row: threads and lanes as one process on two cores has them."""
    train = {
        "family": name,
        "examples": examples,
        "batch_size": BATCH,
        "lanes": 1,
        "threads_per_lane": THREADS,
        "tick": TICK,
        "checkpoint": TICK,
        "keep": 1,
        "grid": TICK,
        "averaging": {"half_life": 5_000, "ramp": 0.1},
        "score": {"every": 1_000 * TICK, "samples": 512},
    }
    shards, reference, cache = (str(WORK / each) for each in ("shards", "reference", "cache"))
    return Experiment(train, {"preset": "zoo"}, shards, reference, str(folder / "run"), cache, 2**30, grids=False)


def advance(name: str, folder: Path, state: dict[str, Any], examples: int) -> None:
    """Go on to `examples`, and publish the average."""
    watch = Stopwatch(state["rates"])
    work = experiment(name, folder, examples)
    outcome = fit_and_score(work, LocalWorld(), watch)
    publish(work, outcome, folder / "model")
    state["examples"] = examples


def scored(name: str, folder: Path, what: str) -> dict[str, float]:
    """Fréchet distance, precision and recall of 5,000 samples, and a grid of them."""
    settings = EvaluateSettings(
        samples=SAMPLES, repeats=1, threads=THREADS, metrics=[{"name": "frechet"}, {"name": "precision_recall"}]
    )
    reference = Reference.load(WORK / "reference")
    records = evaluate(settings, reference, folder / "model", LocalWorld()).records
    source, _ = open_model(folder / "model", threads=THREADS)
    grid = source.grid(rows=4, columns=10)
    save_grid(folder / f"{what}.png", grid, side=32)
    return {record.name: round(record.value, 4) for record in records if record.name in SCORES}


def commit() -> str:
    """The short hash, with a plus where files differ from it."""
    said = [
        subprocess.run(["git", "-C", str(ROOT), *words], capture_output=True, text=True, check=True).stdout.strip()
        for words in (("rev-parse", "--short", "HEAD"), ("status", "--porcelain", "--", "pipeline"))
    ]
    return said[0] + ("+" if said[1] else "")


# --- the page ---------------------------------------------------------------------------------


def write_page() -> None:
    """The table, its numbers as JSON, and the grids side by side, of every row that is done."""
    rows = [json.loads(path.read_text()) for path in sorted(WORK.glob("*/state.json"))]
    known = {each["family"]: each for each in _earlier()}
    known |= {each["family"]: each for each in rows if "equal_time" in each}
    done = sorted(known.values(), key=lambda each: each["equal_time"]["frechet_classifier"])
    kept = [{key: value for key, value in each.items() if key != "rates"} for each in done]
    files.write_json(OUT / "zoo.json", kept)
    files.write_bytes(OUT / "zoo.md", "\n".join(page(kept)).encode())
    for each in rows:
        if "equal_time" in each:
            shutil.copyfile(WORK / each["family"] / "time.png", OUT / f"{each['family']}.png")
    side_by_side([each["family"] for each in kept])


def _earlier() -> list[dict[str, Any]]:
    path = OUT / "zoo.json"
    return json.loads(path.read_text()) if path.exists() else []


HEAD = f"""# The zoo

Every image family at its `zoo` preset on {ITEMS:,} of Fashion-MNIST at 32×32: small widths, batches of {BATCH}, five
minutes of training on two cores, class-conditional where the design can be. The Fréchet distance is
`frechet_classifier`: {SAMPLES:,} samples against train, by the features of a small classifier of these data; precision
and recall are by the same features. One training each, of one seed. An example is a real one that was drawn: designs
that draw for each critic step, or for each player, make fewer steps of as many. This says how soon these small presets
learn, and nothing of the designs at full width and length.

The presets did not have equal care. r3gan's was chosen from about fifteen tries by this very score, and has two keys
that its paper has not (`bounded`: a tanh at the end; `last_gain`: blocks that do not begin as nothing); the others' are
their papers' settings at a small width, or nearly. biggan, infogan, wgan and stylegan2 had a busy machine for a part of
their minutes, and may have seen somewhat less than on a quiet one. Minutes were counted by the rate of the fastest
tenth of all ticks, but for progan and stylegan, whose rates change with their size: theirs were counted tick by tick,
as all are now.

    make zoo                          every family, going on where it was stopped
    make zoo ZOO="--families dcgan"   one of them; --again begins again

![samples of every family, a column a class](zoo.png)
"""

ORIGINAL = "gan"

# Of those that may be worse than the 2014 GAN at equal time.
WHY = {
    "age_cgan": "The generator trains on the first 64,000 examples alone, for about two of the five minutes; the rest "
    "go to its encoder. A tenth of the examples that the 2014 GAN sees bring it as near, and nearer in recall.",
    "actor_critic": "The generator sees the reward only as the critic has learnt it, which lags behind a discriminator "
    "that moves on, so that its gradient is a poor copy of the 2014 GAN's. Its samples are trousers and little else: "
    "its recall is next to nothing, and the run says that it collapsed.",
    "wgan": "Clipping each weight probably leaves the critic too simple a function to tell fine texture (Gulrajani "
    "et al. 2017, section 3), and most of the time goes into the critic's turns. It covers the data better all the "
    "same: its recall is the higher of the two.",
    "lapgan": "Three pairs of networks share the minutes, one for each size, and only the smallest generator ever "
    "makes a whole garment: what it gets wrong at 8×8 is handed up, for the larger two add nothing but detail. Its "
    "samples all but collapsed on the way, at 69,120 examples, and had not recovered when the time was over.",
    "stylegan2": "Convolutions whose weights differ for each example cost a CPU so much that it sees a small part of "
    "what the 2014 GAN sees in as many minutes. Its generator ends without an activation as well, and the grey "
    "haloes around its garments are probably a black background that is still being learned.",
    "progan": "Half of the examples that the minutes allow are seen at smaller sizes, or while the last one fades "
    "in. Its generator ends without an activation, so that an exactly black background has to be learned, which is "
    "probably the rest: a tanh there, and one other change, took r3gan from far behind to where it is.",
    "stylegan": "Much of what the minutes allow is seen at smaller sizes, or while the last one fades in. Like "
    "ProGAN's, its generator ends without an activation, and probably loses by it what r3gan lost before it had a "
    "tanh there.",
}


def page(rows: Sequence[dict[str, Any]]) -> list[str]:
    """Markdown, best first at equal time; then why some are worse than the first design of all."""
    lines = [
        *HEAD.splitlines(),
        "",
        "| family | examples | Fréchet, equal time | precision | recall "
        f"| Fréchet at {EQUAL:,} examples | precision | recall | commit |",
        "|---|---:|---:|---:|---:|---:|---:|---:|---|",
    ]
    for each in rows:
        time, equal = each["equal_time"], each["equal_examples"]
        numbers = [
            f"{time['examples']:,}",
            *(f"{time[name]:.3g}" for name in SCORES),
            *(f"{equal[name]:.3g}" for name in SCORES),
        ]
        lines.append(f"| {each['family']} | {' | '.join(numbers)} | {each['commit']} |")
    names = [str(each["family"]) for each in rows]
    behind = [name for name in behind_the_original(names) if name in WHY]
    if behind:
        lines += ["", "Behind the 2014 GAN after as much time:", ""]
        lines += [f"- **{name}**: {WHY[name]}" for name in behind]
    return [*lines, ""]


def behind_the_original(names: Sequence[str]) -> Sequence[str]:
    """Of families, best first, those that come after the 2014 GAN."""
    return names[names.index(ORIGINAL) + 1 :] if ORIGINAL in names else []


def side_by_side(names: Sequence[str]) -> None:
    """Every family's grid under its name, two in a row."""
    pictures = [
        (name, Image.open(OUT / f"{name}.png").convert("RGB")) for name in names if (OUT / f"{name}.png").exists()
    ]
    if not pictures:
        return
    width = max(image.width for _, image in pictures) + 12
    height = max(image.height for _, image in pictures) + 24
    canvas = Image.new("RGB", (2 * width, -(-len(pictures) // 2) * height), "white")
    pen = ImageDraw.Draw(canvas)
    for index, (name, image) in enumerate(pictures):
        left, top = (index % 2) * width + 6, (index // 2) * height
        pen.text((left, top + 5), name, fill="black")
        canvas.paste(image, (left, top + 20))
    from pipeline.reporting.gallery import png

    files.write_bytes(OUT / "zoo.png", png(np.asarray(canvas)))


if __name__ == "__main__":
    main()
