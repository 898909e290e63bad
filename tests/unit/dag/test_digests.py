"""Which edits concern which stage."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import yaml

from pipeline import params as whole
from pipeline.dag import digests, layout
from pipeline.errors import UserError
from pipeline.settings import override

ROOT = Path(__file__).parents[3]
STAGES = ("ingest", "reference", "tune", "train", "evaluate", "register")
GAME = {"tune", "train"}
SCORED = {"tune", "train", "evaluate"}
MEASURED = {"reference", *SCORED}


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The code and settings of this checkout, to be edited."""
    folder = tmp_path_factory.mktemp("project")
    for name in ("pipeline", "stages"):
        shutil.copytree(ROOT / name, folder / name, ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("dvc.yaml", "params.yaml"):
        shutil.copy2(ROOT / name, folder)
    return folder


def settings(**changes: Any) -> whole.Params:
    raw = yaml.safe_load((ROOT / "params.yaml").read_text())
    return whole.check(override(raw, {key.replace("__", "."): value for key, value in changes.items()}))


def state(project: Path, params: whole.Params) -> dict[str, dict[str, str]]:
    return {stage: digests.modules(params, project, stage) for stage in STAGES}


@pytest.fixture(scope="module")
def before(project: Path) -> dict[str, dict[str, str]]:
    return state(project, settings())


@pytest.mark.parametrize(
    ("module", "concerns"),
    [
        ("pipeline.types", set(STAGES)),
        ("pipeline.data.sources.digits", {"ingest"}),
        ("pipeline.data.sources.idx", set[str]()),
        ("pipeline.data.packing", {"ingest"}),
        ("pipeline.data.cache", MEASURED),
        ("pipeline.extractors._shared", MEASURED),
        ("pipeline.extractors.inception", set[str]()),
        ("pipeline.formats.shards", set(STAGES)),
        ("pipeline.formats.reference", MEASURED),
        ("pipeline.families.dcgan", {*SCORED, "register"}),
        ("pipeline.families.r3gan", set[str]()),
        ("pipeline.penalties.r1", {*SCORED, "register"}),
        ("pipeline.penalties.dragan", set[str]()),
        ("pipeline.losses.non_saturating", {*SCORED, "register"}),
        ("pipeline.losses.hinge", set[str]()),
        ("pipeline.training.loop", GAME),
        ("pipeline.cluster.search.populations", {"tune"}),
        ("pipeline.reporting.report", {"evaluate"}),
        ("pipeline.reporting.report (report.html.j2)", {"evaluate"}),
        ("pipeline.registry.models", {"register"}),
        ("pipeline.registry.served_model", {"register"}),
        ("pipeline.cli.main", set[str]()),
        ("stages.train", {"train"}),
        ("pipeline.dag.remote", set[str]()),
    ],
)
def test_a_module_concerns_the_stages_that_use_it(
    module: str, concerns: set[str], before: dict[str, dict[str, str]]
) -> None:
    assert {stage for stage, modules in before.items() if module in modules} == concerns


@pytest.mark.slow
def test_edits_change_what_they_concern(project: Path, before: dict[str, dict[str, str]]) -> None:
    file = project / "pipeline/training/loop.py"
    text = file.read_text()
    try:
        file.write_text(f"{text}\n\n# A comment.\n")
        assert state(project, settings()) == before
        file.write_text(f"{text}\nEDITED = 1\n")
        after = state(project, settings())
    finally:
        file.write_text(text)
    for stage in STAGES:
        assert digests.changed(before[stage], after[stage]) == (["pipeline.training.loop"] if stage in GAME else [])


@pytest.mark.slow
def test_a_new_file_concerns_nobody(project: Path, before: dict[str, dict[str, str]]) -> None:
    rooms = ("families", "losses", "metrics", "data/sources", "data/transforms", "extractors")
    paths = [project / "pipeline" / room / "newcomer.py" for room in rooms]
    for path in paths:
        path.write_text("EDITED = 1\n")
    try:
        assert state(project, settings()) == before
    finally:
        for path in paths:
            path.unlink()


def plugins_in(project: Path, params: whole.Params, stage: str, room: str) -> set[str]:
    found = (name.rpartition(".") for name in digests.modules(params, project, stage))
    return {name for parent, _, name in found if parent == f"pipeline.{room}" and not name.startswith("_")}


def test_transforms_concern_whoever_reads_the_shards(project: Path) -> None:
    derived = settings(ingest__derive={"low": {"name": "downscale"}})
    concerned = {stage for stage in STAGES if "downscale" in plugins_in(project, derived, stage, "data.transforms")}
    assert concerned == {"ingest", *MEASURED}
    assert not any(plugins_in(project, settings(), stage, "data.transforms") for stage in STAGES)


def test_chosen_and_searched_plugins_count(project: Path) -> None:
    plain = settings()
    assert plugins_in(project, plain, "train", "families") == {"dcgan"}
    assert plugins_in(project, plain, "evaluate", "metrics") >= {"frechet", "precision_recall", "label_agreement"}
    other = settings(train__family="r3gan", tune__space={}, ingest__source={"name": "idx", "folder": "x"})
    assert plugins_in(project, other, "tune", "families") == {"r3gan"}
    assert plugins_in(project, other, "train", "losses") == {"relativistic"}
    assert plugins_in(project, other, "ingest", "data.sources") == {"idx"}
    raw = yaml.safe_load((ROOT / "params.yaml").read_text())
    del raw["train"]["family"]
    searched = {
        "train.family": {"choice": ["dcgan", "gan"]},
        "families.dcgan.loss": {"choice": ["hinge", "wasserstein"]},
    }
    either = whole.check(override(raw, {"tune.space": searched}))
    assert plugins_in(project, either, "train", "families") == {"dcgan", "gan"}
    assert plugins_in(project, either, "train", "losses") >= {"hinge", "wasserstein"}


def test_ingest_reaches_neither_the_loop_nor_mlflow(project: Path) -> None:
    found = digests.modules(settings(), project, "ingest")
    assert not {
        "pipeline.training.loop",
        "pipeline.experiment",
        "pipeline.registry.store",
        "pipeline.dag.remote",
    } & set(found)
    for name in found:
        path = project.joinpath(*name.split(".")).with_suffix(".py")
        if path.is_file():
            assert "import mlflow" not in path.read_text(), name


def test_dvc_yaml_names_the_record_of_each_stage() -> None:
    assert layout.names(ROOT) == ["code", *STAGES]
    for stage in STAGES:
        deps = layout.described(ROOT, stage)["deps"]
        assert f"artifacts/code/{stage}.json" in deps
        assert not [dep for dep in deps if dep.startswith(("pipeline", "stages"))]


def test_under_dvc_a_stage_refuses_code_that_was_not_recorded(
    project: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    params, record = settings(), tmp_path / "artifacts/code/ingest.json"
    monkeypatch.delenv(digests.UNDER_DVC, raising=False)
    digests.check_recorded(params, tmp_path, "ingest")  # by hand, nothing is recorded
    monkeypatch.setenv(digests.UNDER_DVC, "ingest")
    with pytest.raises(UserError, match="dvc repro -s code"):
        digests.check_recorded(params, tmp_path, "ingest")
    record.parent.mkdir(parents=True)
    modules = digests.modules(params, tmp_path, "ingest")
    for text in ("", "[]", json.dumps({**modules, "pipeline.types": "0"})):
        record.write_text(text)
        with pytest.raises(UserError, match="dvc repro -s code"):
            digests.check_recorded(params, tmp_path, "ingest")
    record.write_text(json.dumps(modules))
    digests.check_recorded(params, tmp_path, "ingest")


def test_a_file_that_is_no_python_is_a_sentence(project: Path) -> None:
    file = project / "pipeline/types.py"
    text = file.read_text()
    try:
        file.write_text(text + "\ndef (:\n")
        with pytest.raises(UserError, match=rf"types.py, line {len(text.splitlines()) + 2}"):
            digests.modules(settings(), project, "ingest")
    finally:
        file.write_text(text)
