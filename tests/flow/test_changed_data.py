"""DVC sees what ingest and reference read: a change anywhere in it runs the stage again, and only a change does."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import checkout
import numpy as np
import pytest
from PIL import Image

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]


def images(folder: Path, count: int = 20) -> None:
    for number, name in enumerate(("cat", "dog")):
        (folder / name).mkdir(parents=True)
        for index in range(count):
            pixels = np.random.default_rng([number, index]).integers(0, 256, (8, 8, 3), dtype=np.uint8)
            Image.fromarray(pixels).save(folder / name / f"{index:02d}.png")


def changed(project: Path, stage: str = "ingest") -> set[str]:
    """The dependencies of a stage that DVC finds changed."""
    done = checkout.run(project, "dvc", "status", "--json", stage)
    assert done.returncode == 0, done.stdout
    found = json.loads(done.stdout[done.stdout.index("{") :]).get(stage, [])
    return {path for entry in found for path in entry.get("changed deps", {})}


def repro(project: Path, stage: str = "ingest") -> str:
    done = checkout.run(project, "dvc", "repro", stage)
    assert done.returncode == 0, done.stdout
    return done.stdout


def histogram(project: Path) -> dict[str, int]:
    splits = json.loads((project / "artifacts/shards/manifest.json").read_text())["splits"].values()
    return {name: sum(split["histogram"][name] for split in splits) for name in ("cat", "dog")}


@pytest.fixture
def project(tmp_path: Path) -> Path:
    return checkout.copy(tmp_path / "project", {"ingest.resolution": 8, "ingest.channels": 3})


def use(project: Path, folder: Path | str, **keys: str) -> None:
    checkout.configure(project, {"ingest.source": {"name": "image_folder", "folder": str(folder), **keys}})


def test_a_folder_outside_the_project(project: Path, tmp_path: Path) -> None:
    images(tmp_path / "photos")
    use(project, tmp_path / "photos")
    repro(project)
    assert changed(project) == set()
    assert "didn't change, skipping" in repro(project)
    for change in (
        lambda: (tmp_path / "photos/dog/00.png").unlink(),
        lambda: shutil.copy(tmp_path / "photos/cat/00.png", tmp_path / "photos/dog/99.png"),
        lambda: shutil.copy(tmp_path / "photos/cat/01.png", tmp_path / "photos/cat/02.png"),
    ):
        change()
        assert changed(project) == {"inputs/ingest/data"}
    assert "Running stage 'ingest'" in repro(project)
    assert histogram(project) == {"cat": 20, "dog": 20}
    (tmp_path / "photos/cat/.DS_Store").write_bytes(b"left by a file browser")
    assert changed(project) == set()


def test_a_folder_under_dvc_add_and_a_csv(project: Path) -> None:
    images(project / "flowers")
    rows = [
        f"{path.relative_to(project / 'flowers')},{path.parent.name}"
        for path in sorted(project.glob("flowers/*/*.png"))
    ]
    (project / "labels.csv").write_text("\n".join(["file,label", *rows, ""]))
    assert checkout.run(project, "dvc", "add", "-q", "flowers").returncode == 0
    use(project, "flowers", labels="labels.csv")
    repro(project)
    assert changed(project) == set()
    assert histogram(project) == {"cat": 20, "dog": 20}
    (project / "labels.csv").write_text("\n".join(["file,label", *rows[:-1], rows[-1].replace("dog", "cat"), ""]))
    assert changed(project) == {"inputs/ingest/more"}
    shutil.rmtree(project / "flowers/dog")
    assert checkout.run(project, "dvc", "commit", "-f", "-q", "flowers.dvc").returncode == 0
    assert changed(project) == {"inputs/ingest/data", "inputs/ingest/more"}
    assert checkout.run(project, "git", "diff", "--quiet", "--", "inputs/ingest/linked").returncode == 0


def test_a_changed_folder_under_dvc_add_is_packed_again_after_dvc_checkout_too(project: Path) -> None:
    images(project / "flowers")
    checkout.run(project, "dvc", "add", "-q", "flowers")
    use(project, "flowers")
    repro(project)
    shutil.rmtree(project / "flowers/dog/")
    assert changed(project) == {"inputs/ingest/data"}
    assert checkout.run(project, "dvc", "checkout", "-q", "-f", "flowers.dvc").returncode == 0
    assert changed(project) == set()


def test_files_kept_as_links_into_dvcs_cache(project: Path) -> None:
    """`cache.type symlink`: each file of the folder is a link."""
    checkout.run(project, "dvc", "config", "cache.type", "symlink")
    images(project / "flowers")
    checkout.run(project, "dvc", "add", "-q", "flowers")
    assert (project / "flowers/cat/00.png").is_symlink()
    use(project, "flowers")
    repro(project)
    assert histogram(project) == {"cat": 20, "dog": 20}
    assert changed(project) == set()
    (project / "flowers/cat/00.png").unlink()
    assert changed(project) == {"inputs/ingest/data"}


def test_statistics_of_the_reference(project: Path) -> None:
    def save(scale: float) -> None:
        np.savez(project / "real.npz", mu=np.zeros(8), sigma=scale * np.eye(8))

    save(1)
    checkout.configure(project, {"reference.statistics": "real.npz", "ingest.channels": 1})
    repro(project)
    repro(project, "reference")
    assert changed(project, "reference") == set()
    save(2)
    assert changed(project, "reference") == {"inputs/reference/statistics"}


def test_data_that_changes_while_it_is_packed_is_not_recorded(project: Path, tmp_path: Path) -> None:
    images(tmp_path / "photos")
    use(project, tmp_path / "photos")
    code = f"""
from pathlib import Path
from pipeline.data import packing
from pipeline.dag import runner
from stages import ingest
whole = packing.pack
def pack(*given, **named):
    made = whole(*given, **named)
    Path({str(tmp_path / "photos/cat/new.png")!r}).write_bytes(b"new")
    return made
packing.pack = pack
runner.run("ingest", ingest.main)
"""
    (project / "racing.py").write_text(code)
    done = checkout.run(project, "python", "racing.py")
    assert done.returncode == 3, done.stdout
    assert "inputs/ingest" in done.stdout


def test_a_source_that_moved_is_found_again_by_check(project: Path) -> None:
    images(project / "flowers")
    use(project, "flowers")
    repro(project)
    (project / "flowers").rename(project / "blossoms")
    assert checkout.run(project, "dvc", "repro", "-s", "ingest").returncode != 0  # never a silent skip
    use(project, "blossoms")
    assert checkout.run(project, "zerosum", "check").returncode == 0
    assert "Running stage 'ingest'" in repro(project)
    assert changed(project) == set()


def test_a_later_stage_says_that_shards_and_source_are_apart(project: Path) -> None:
    images(project / "flowers")
    use(project, "flowers")
    repro(project)
    (project / "flowers/cat/00.png").unlink()
    done = checkout.run(project, "python", "-m", "stages.reference")
    assert "39 files now, 40 then" in done.stdout
