"""Models that somebody else registered: no command runs their code, unless it is asked to."""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import registered_toy as toy

from pipeline.cli import generate, main
from pipeline.errors import UserError
from pipeline.params.register import RegisterSettings
from pipeline.registry import models, packaging, serving, travelling
from pipeline.registry.travelling import Whose
from pipeline.sampling.samples import open_model

pytestmark = [
    pytest.mark.slow,
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),  # MLflow's own, as in test_registry.py
    pytest.mark.filterwarnings("ignore::FutureWarning"),
    pytest.mark.filterwarnings("ignore::UserWarning"),
    pytest.mark.filterwarnings("ignore::ResourceWarning"),
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
]

REQUEST = generate.SampleRequest(3, 1.0, indices=(0, 1, 2))


@pytest.fixture(scope="module")
def registered(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A project with a registered toy."""
    made = tmp_path_factory.mktemp("registered")
    with pytest.MonkeyPatch.context() as patched:
        patched.delenv("MLFLOW_TRACKING_URI", raising=False)
        models.register_run(toy.project(made), RegisterSettings(name="toy"), made)
    return made


@pytest.fixture
def root(registered: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of it."""
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    copied = tmp_path / "project"
    shutil.copytree(registered, copied)
    monkeypatch.chdir(copied)
    return copied


def zerosum(monkeypatch: pytest.MonkeyPatch, *arguments: str) -> int:
    monkeypatch.setattr(sys, "argv", ["zerosum", *arguments])
    try:
        main.main()
    except SystemExit as left:
        return int(left.code or 0)
    return 0


@pytest.fixture
def folder(root: Path) -> Path:
    """Where its files are: whoever may write there may put in any code."""
    return next(path.parent for path in (root / "mlartifacts").rglob("MLmodel"))


def marked(path: Path, marker: Path) -> None:
    """Have a file of Python leave a mark when it is run."""
    path.write_text(f"{path.read_text()}\nimport pathlib; pathlib.Path({str(marker)!r}).touch()\n")


def package(folder: Path) -> Path:
    return next(path for path in (folder / "code").iterdir() if path.name.startswith("zerosum_"))


def in_served_model(folder: Path, marker: Path) -> None:
    marked(folder / "served_model.py", marker)


def in_the_package(folder: Path, marker: Path) -> None:
    marked(package(folder) / "sampling/samples.py", marker)


def beside_the_package(folder: Path, marker: Path) -> None:
    (folder / "code/yaml.py").write_text("")
    marked(folder / "code/yaml.py", marker)


def as_loader_module(folder: Path, marker: Path) -> None:
    (folder / "code/loader.py").write_text("def _load_pyfunc(path): return None\n")
    marked(folder / "code/loader.py", marker)
    text = (folder / "MLmodel").read_text()
    (folder / "MLmodel").write_text(text.replace("mlflow.pyfunc.loaders.code_model", "loader"))


def out_of_the_folder(folder: Path, marker: Path) -> None:
    (folder.parent / "theirs").mkdir()
    (folder.parent / "theirs/served_model.py").write_text((folder / "served_model.py").read_text())
    marked(folder.parent / "theirs/served_model.py", marker)
    text = (folder / "MLmodel").read_text()
    (folder / "MLmodel").write_text(text.replace("model_code_path: served", "model_code_path: ../theirs/served"))


def renamed_for_its_content(folder: Path, marker: Path) -> None:
    """What anybody can do: it is no sign of whose it is."""
    in_the_package(folder, marker)
    before = package(folder)
    sources = {
        ".".join(["pipeline", *path.relative_to(before).with_suffix("").parts]).removesuffix(".__init__"): (
            packaging.renamed(path.read_text(), "pipeline", before.name)
        )
        for path in before.rglob("*.py")
    }
    name = packaging.name_of(sources)
    for path in before.rglob("*.py"):
        path.write_text(path.read_text().replace(before.name, name))
    before.rename(before.with_name(name))
    for path in (folder / "MLmodel", folder / "artifacts/serving.json"):
        path.write_text(path.read_text().replace(before.name, name))


WAYS: dict[Callable[[Path, Path], None], Whose] = {
    in_served_model: Whose.OTHERS,
    in_the_package: Whose.UNKNOWN,
    beside_the_package: Whose.UNKNOWN,
    as_loader_module: Whose.UNKNOWN,
    out_of_the_folder: Whose.UNKNOWN,
    renamed_for_its_content: Whose.OTHERS,
}


@pytest.mark.parametrize("way", WAYS)
def test_no_command_runs_the_code_of_a_model(
    way: Callable[[Path, Path], None], root: Path, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert travelling.whose(folder) is Whose.OURS
    way(folder, root / "ran")
    assert travelling.whose(folder) is WAYS[way]
    written = generate.generate("models:/toy/1", root / "out", 3, REQUEST)
    assert "was not run" in written.note
    ours, _ = open_model(root / "artifacts/model")
    drawn = ours.sample(3, np.arange(3), seed=3)
    assert (root / "out/00002.png").read_bytes() == picture(drawn[2])
    (root / "params.yaml").write_text("register: {name: toy}\n")
    for command in (
        ["generate", "--model", "models:/toy@champion", "--out", "more", "--n", "2"],
        ["explore", "models:/toy/1", "interpolation", "--out", "explored"],
        ["models"],
        ["promote", "--version", "1"],
        ["compare", "models:/toy/1", "models:/toy/1"],
    ):
        assert zerosum(monkeypatch, *command) == 0, command
    models.register_run(toy.project(root), RegisterSettings(name="toy"), root)
    assert not (root / "ran").exists()


def picture(image: np.ndarray) -> bytes:
    from pipeline.reporting import gallery

    return gallery.png(np.moveaxis(image, 0, -1))


def test_code_that_travels_runs_where_that_is_asked_for(root: Path, folder: Path) -> None:
    in_served_model(folder, root / "ran")
    generate.generate("models:/toy/1", root / "out", 3, REQUEST, trust_code=True)
    assert (root / "ran").exists()
    ours, _ = open_model(root / "artifacts/model")
    assert (root / "out/00001.png").read_bytes() == picture(ours.sample(3, np.arange(3), seed=3)[1])
    with pytest.raises(UserError, match="--trust-code"):
        generate.generate(str(root / "artifacts/model"), root / "out", 3, REQUEST, trust_code=True)


def test_a_model_of_ours_is_drawn_without_a_note(root: Path, folder: Path) -> None:
    assert generate.generate("models:/toy/1", root / "out", 3, REQUEST).note == ""
    generate.generate("models:/toy/1", root / "served", 3, REQUEST, trust_code=True)
    for name in ("00000.png", "00001.png", "00002.png"):
        assert (root / "out" / name).read_bytes() == (root / "served" / name).read_bytes()
    assert travelling.whose(folder) is Whose.OURS, "that it was run leaves byte code, and nothing else"


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ('"family": "dcgan"', '"family": "of_another_version"'),
        ('"latent": 8', '"latent_of_another_version": 8'),
        ('"format_version": 1', '"format_version": 2'),
    ],
)
def test_a_model_that_only_its_own_code_opens(before: str, after: str, root: Path, folder: Path) -> None:
    card = folder / "artifacts/model/model.json"
    assert before in card.read_text()
    card.write_text(card.read_text().replace(before, after))
    in_served_model(folder, root / "ran")
    with pytest.raises(UserError, match="--trust-code runs that instead"):
        generate.generate("models:/toy/1", root / "out", 3, REQUEST)
    assert not (root / "ran").exists()
    assert not (root / "out").exists()


def bomb(text: str) -> str:
    lines = ["a0: &a0 [x, x, x, x, x, x, x, x, x]"]
    lines += [f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 9)}]" for n in range(1, 12)]
    return "\n".join([text, *lines])


@pytest.mark.parametrize(
    "change", [bomb, lambda _: "[" * 5000, lambda _: "", lambda _: "- x", lambda text: text + "# " + "x" * 2**21]
)
def test_metadata_that_is_no_metadata_is_read_in_no_time(
    change: Callable[[str], str], root: Path, folder: Path
) -> None:
    path = folder / "MLmodel"
    path.write_text(change(path.read_text()))
    assert travelling.whose(folder) is Whose.UNKNOWN
    assert generate.generate("models:/toy/1", root / "out", 3, REQUEST).note


def test_links_and_pipes_in_a_registered_model_are_refused(root: Path, folder: Path) -> None:
    """A link to a file without end would be copied for ever."""
    (folder / "artifacts/model/endless").symlink_to("/dev/zero")
    with pytest.raises(UserError, match="holds files; remove it"):
        generate.generate("models:/toy/1", root / "out", 3, REQUEST)
    (folder / "artifacts/model/endless").unlink()
    os.mkfifo(folder / "artifacts/pipe")
    with pytest.raises(UserError, match="holds files; remove it"):
        generate.generate("models:/toy/1", root / "out", 3, REQUEST)


def test_registering_copies_nothing_beside_the_card_s_files(root: Path, tmp_path: Path) -> None:
    """A stranger's model folder: names that lead out, links, files of other bytes."""
    theirs, target = root / "theirs", root / "served"
    shutil.copytree(root / "artifacts/model", theirs)
    _, card = open_model(theirs)
    (theirs / "generator.safetensors").unlink()
    (theirs / "generator.safetensors").symlink_to("/etc/hostname")
    with pytest.raises(UserError):
        serving.build(theirs, card, conditional=True, target=target)
    assert not target.exists()
