"""The DAG as DVC runs it: outs, repeats, two copies with equal bytes, and what re-runs what."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import checkout
import imported
import matrix
import pytest
import yaml

from pipeline import fingerprint
from pipeline import params as whole_params
from pipeline.params.chosen import plugins_of

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]

STAGES = ["code", "ingest", "reference", "tune", "train", "evaluate", "register"]
SAME = ("shards", "reference", "search/best.yaml", "model", "report")


@pytest.fixture(scope="module")
def made(whole: tuple[Path, str], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the project that has run through, to be edited."""
    project = tmp_path_factory.mktemp("first") / "project"
    shutil.copytree(whole[0], project, symlinks=True)
    return project


def changed(project: Path) -> set[str]:
    """The stages `dvc status` would run."""
    done = checkout.run(project, "dvc", "status", "--json")
    return set(json.loads(done.stdout[done.stdout.index("{") :]))


def test_commands_and_outs_are_exactly_these() -> None:
    dag = yaml.safe_load((checkout.ROOT / "dvc.yaml").read_text())["stages"]
    assert list(dag) == STAGES
    assert all(stage["cmd"] == f"python -m stages.{name}" for name, stage in dag.items())
    outs = sorted(out if isinstance(out, str) else next(iter(out)) for stage in dag.values() for out in stage["outs"])
    artefacts = ["code", "model", "reference", "report", "search", "shards"]
    curves = ["curves/registration/registration.json", "curves/search", "curves/training"]
    assert outs == sorted(f"artifacts/{name}" for name in [*artefacts, *curves])
    assert all((checkout.ROOT / dep).exists() for s in dag.values() for dep in s["deps"] if "artifacts" not in dep)


def test_run_settings_are_nobodys_dependency() -> None:
    dag = yaml.safe_load((checkout.ROOT / "dvc.yaml").read_text())["stages"]
    assert not any(param.split(".")[0] == "run" for stage in dag.values() for param in stage["params"])


def test_nothing_is_warned_of(whole: tuple[Path, str]) -> None:
    assert "Warning" not in whole[1], whole[1]
    assert "Traceback" not in whole[1], whole[1]


def test_a_second_repro_does_nothing(made: Path) -> None:
    before = (made / "dvc.lock").read_text()
    done = checkout.run(made, "dvc", "repro")
    assert done.returncode == 0
    assert done.stdout.count("didn't change, skipping") == len(STAGES)
    assert (made / "dvc.lock").read_text() == before


def test_another_copy_ends_in_the_same_bytes_with_one_worker_and_two(made: Path, tmp_path: Path) -> None:
    differently = {"run.num_workers": 2, "run.concurrent_trials": 1, "run.cache_megabytes": 64}
    project = checkout.copy(tmp_path / "another place", {**matrix.SETTINGS, **differently})
    done = checkout.run(project, "dvc", "repro", timeout=600)
    assert done.returncode == 0, done.stdout
    assert checkout.hashes(project, *SAME) == checkout.hashes(made, *SAME)


@pytest.mark.parametrize("stage", STAGES[1:])
def test_what_a_stage_imports_is_what_it_depends_on(whole: tuple[Path, str], stage: str) -> None:
    """Nothing else but what checking the other sections of params.yaml takes: their plug-ins, and what these import."""
    project = whole[0]
    really = imported.noted(project.parent / "imported", stage, project)
    dependencies = set(json.loads((project / f"artifacts/code/{stage}.json").read_text()))
    assert len(really & dependencies) > 50
    params = whole_params.load(project / "params.yaml")
    chosen = {plugin for other in STAGES[1:] for plugin in plugins_of(params, other)}
    checked = set(fingerprint.closure(chosen, {"pipeline": [project / "pipeline"]}))
    assert really - dependencies - checked == set()


def test_metrics_are_dvcs_and_the_report_loads_nothing(made: Path) -> None:
    done = checkout.run(made, "dvc", "metrics", "show", "--json")
    metrics = json.loads(done.stdout)[""]["data"]["artifacts/report/metrics.json"]["data"]
    distances = ("frechet_classifier", "frechet_classifier_at_holdout_n", "frechet_holdout")
    for name in (*distances, "precision", "recall"):
        assert isinstance(metrics[name], float)
    assert 0 <= metrics["label_agreement"] <= 1
    page = (made / "artifacts" / "report" / "report.html").read_text()
    assert 'src="http' not in page
    assert 'href="http' not in page


@pytest.mark.parametrize(
    ("path", "runs"),
    [
        ("pipeline/training/loop.py", {"tune", "train"}),
        ("pipeline/data/images.py", {"ingest"}),
        ("pipeline/reporting/report.html.j2", {"evaluate"}),
        ("pipeline/registry/models.py", {"register"}),
    ],
)
def test_what_an_edit_runs_again(made: Path, path: str, runs: set[str]) -> None:
    file = made / path
    before = file.read_text()
    try:
        file.write_text(before + "\nEDITED = 1\n")
        assert changed(made) == {"code"}
        done = checkout.run(made, "dvc", "repro", "code")
        assert done.returncode == 0, done.stdout
        assert changed(made) == runs
        assert all(f"{stage}: changed since it ran: pipeline." in done.stdout for stage in runs)
    finally:
        file.write_text(before)
        checkout.run(made, "dvc", "repro", "code")
    assert changed(made) == set()


def test_a_comment_a_docstring_and_another_family_run_nothing_again(made: Path) -> None:
    edits = {
        "README.md": lambda text: text + "\nMore.\n",
        "pipeline/families/r3gan.py": lambda text: text + "\nEDITED = 1\n",
        "pipeline/families/dcgan.py": lambda text: text + "\n# A comment.\n",
        "pipeline/training/loop.py": lambda text: text.replace('"""', '"""More words. ', 1),
    }
    before = {path: (made / path).read_text() for path in edits}
    newcomer = made / "pipeline/families/newcomer.py"
    try:
        for path, edit in edits.items():
            (made / path).write_text(edit(before[path]))
        newcomer.write_text(before["pipeline/families/r3gan.py"])
        done = checkout.run(made, "dvc", "repro")
        assert done.returncode == 0, done.stdout
        assert done.stdout.count("didn't change, skipping") == len(STAGES) - 1
        assert "Running stage 'code'" in done.stdout
        assert changed(made) == set()
    finally:
        newcomer.unlink(missing_ok=True)
        for path, text in before.items():
            (made / path).write_text(text)
        checkout.run(made, "dvc", "repro", "code")


def test_a_stage_on_its_own_refuses_code_that_dvc_has_not_seen(made: Path) -> None:
    file, lock = made / "pipeline/data/packing.py", (made / "dvc.lock").read_text()
    before = file.read_text()
    try:
        file.write_text(before + "\nEDITED = 1\n")
        done = checkout.run(made, "dvc", "repro", "--force", "--single-item", "ingest")
        assert done.returncode != 0
        assert "dvc repro -s code" in done.stdout
        assert (made / "dvc.lock").read_text() == lock
    finally:
        file.write_text(before)
        checkout.run(made, "dvc", "checkout")  # it removes outs before a stage


def test_how_it_is_run_re_runs_nothing(made: Path) -> None:
    before = (made / "params.yaml").read_text()
    try:
        checkout.configure(made, {"run.num_workers": 2, "run.spread_from": 0})
        assert changed(made) == set()
    finally:
        (made / "params.yaml").write_text(before)
