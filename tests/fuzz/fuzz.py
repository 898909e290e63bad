"""Hands changed files to every reader: each is to read them, or refuse them in a sentence. `make fuzz`.

FUZZ_SECONDS (60) in all, FUZZ_SEED (0), FUZZ_READERS (all; names with commas). The input of a (seed, reader, number) is
the same each time; what escapes is kept in .work/fuzz, and `python tests/fuzz/fuzz.py READER FILE` reads it once more.
"""

from __future__ import annotations

import os
import random
import shutil
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

import limited
from limited import Outcome
from readers import READERS, Reader

KEPT = Path(__file__).parents[2] / ".work" / "fuzz"


def changed(reader: Reader, name: str, seed: int, number: int) -> bytes:
    """An input; the first few are the seeds themselves."""
    seeds = reader.seeds()
    if number < len(seeds):
        return seeds[number]
    chance = random.Random(f"{seed}/{name}/{number}")
    return chance.choice(reader.changes)(chance.choice(seeds), chance)


def fuzzed(name: str, seed: int, count: int, seconds: float = float("inf")) -> list[Outcome]:
    """What became of up to `count` inputs, as many as there is time for."""
    reader = READERS[name]
    reader.seeds()
    with tempfile.TemporaryDirectory(prefix="zerosum-fuzz-") as folder:

        def read(number: int) -> object:
            data = changed(reader, name, seed, number)
            place = Path(folder) / str(number % 8)
            if name != "reference" and place.exists():
                shutil.rmtree(place)
            place.mkdir(exist_ok=True)
            return reader.read(data, place)

        return list(limited.each(read, range(count), until=time.monotonic() + seconds))


def escaped(outcomes: list[Outcome]) -> list[Outcome]:
    """What is neither read nor refused."""
    return [each for each in outcomes if each.how not in ("decoded", "refused") or each.seconds > limited.SECONDS]


def main() -> int:
    seconds, seed = float(os.environ.get("FUZZ_SECONDS", "60")), int(os.environ.get("FUZZ_SEED", "0"))
    names = [name for name in os.environ.get("FUZZ_READERS", "").split(",") if name] or list(READERS)
    heads = "".join(f"{head:>9}" for head in ("tried", "refused", "decoded", "escaped", "slowest"))
    print(f"seed {seed}, {seconds:g} s\n{'reader':<12}{heads}")
    bad = 0
    for name in names:
        outcomes = fuzzed(name, seed, 10**7, seconds / len(names))
        wrong = escaped(outcomes)
        how = Counter(each.how for each in outcomes)
        slowest = max((each.seconds for each in outcomes), default=0.0)
        print(
            f"{name:<12}{len(outcomes):>9}{how['refused']:>9}{how['decoded']:>9}{len(wrong):>9}{slowest:>8.2f}s",
            flush=True,
        )
        bad += len(wrong)
        kinds = {each.what.partition(" (")[2] or each.how: each for each in wrong}
        for each in list(kinds.values())[:10]:
            KEPT.mkdir(parents=True, exist_ok=True)
            path = KEPT / f"{name}-{seed}-{each.number}"
            path.write_bytes(changed(READERS[name], name, seed, each.number))
            print(f"  {each.how}: {each.what} [{path}]")
    return 1 if bad else 0


def once(name: str, path: Path) -> int:
    """Read one file again, with its traceback."""
    with tempfile.TemporaryDirectory(prefix="zerosum-fuzz-") as folder:
        print(READERS[name].read(path.read_bytes(), Path(folder)))
    return 0


if __name__ == "__main__":
    sys.exit(once(sys.argv[1], Path(sys.argv[2])) if len(sys.argv) > 2 else main())
