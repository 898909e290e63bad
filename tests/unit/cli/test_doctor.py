from __future__ import annotations

import shutil
import subprocess
from importlib import metadata
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from pipeline.cli import doctor
from pipeline.registry import addresses


def _found(checked: Any, root: Path) -> list[tuple[str, str, str]]:
    return [(finding.state, finding.what, finding.detail) for finding in checked(root)]


def test_versions_in_order_are_shown_for_the_four_tools(tmp_path: Path) -> None:
    found = _found(doctor._versions, tmp_path)
    assert {what for _, what, _ in found} == {"torch", "ray", "dvc", "mlflow"}
    assert {state for state, _, _ in found} == {"ok"}


def test_other_and_missing_versions_are_wrong(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real = metadata.version

    def version(name: str) -> str:
        if name == "ray":
            raise metadata.PackageNotFoundError(name)
        return "9.9.9" if name == "numpy" else real(name)

    monkeypatch.setattr(metadata, "version", version)
    wrong = [entry for entry in _found(doctor._versions, tmp_path) if entry[0] == "wrong"]
    assert [what for _, what, _ in wrong] == ["ray", "numpy"]
    assert "is missing (wanted ==2.60.0)" in wrong[0][2]
    assert "9.9.9 (wanted ==" in wrong[1][2]


class _Usage(NamedTuple):
    total: int
    used: int
    free: int


def test_little_disk_is_wrong(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("shutil.disk_usage", lambda path: _Usage(10**12, 10**12, 10**9))
    assert _found(doctor._disk, tmp_path)[0][0] == "wrong"
    monkeypatch.setattr("shutil.disk_usage", lambda path: _Usage(10**12, 0, 10**12))
    assert _found(doctor._disk, tmp_path) == [("ok", "disk", "1000.0 GB free")]


def test_a_file_where_a_folder_belongs_is_wrong(tmp_path: Path) -> None:
    assert [state for state, _, _ in _found(doctor._folders, tmp_path)] == ["ok"]
    (tmp_path / "artifacts").write_text("")
    assert ("wrong", "folder") in {entry[:2] for entry in _found(doctor._folders, tmp_path)}


def test_outside_a_project_git_dvc_and_settings_say_so(tmp_path: Path) -> None:
    assert _found(doctor._git, tmp_path)[0][0] == "note"
    assert _found(doctor._settings, tmp_path)[0][0] == "wrong"
    assert _found(doctor._dvc, tmp_path)[0][0] == "wrong"
    assert _found(doctor._model, tmp_path)[0][0] == "note"


def test_a_registry_is_looked_for_and_not_made(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    assert _found(doctor._registry, tmp_path)[0][0] == "note"
    assert list(tmp_path.iterdir()) == []
    receipt = tmp_path / addresses.RECEIPT
    receipt.parent.mkdir(parents=True)
    receipt.write_text('{"registry": "sqlite:///mlflow.db"}')
    assert _found(doctor._registry, tmp_path)[0][0] == "wrong"
    shutil.rmtree(receipt.parent)  # lost with the database, and what led to it is left
    receipt.parent.symlink_to("../../mlflow.db-registered/zerosum-digits")
    ((verdict, _, said),) = _found(doctor._registry, tmp_path)
    assert verdict == "wrong"
    assert "dvc repro" in said
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "mlruns")
    assert _found(doctor._registry, tmp_path)[0][0] == "wrong"


@pytest.mark.parametrize(
    ("answer", "code", "expected"),
    [
        ("{}", 0, ("ok", "dvc", "everything is up to date")),
        ('{"train": [{"changed deps": {}}]}', 0, ("note", "dvc", "train are not up to date: `make repro`")),
        ("", 255, ("wrong", "dvc", "ERROR: dvc.yaml is broken")),
    ],
)
def test_what_dvc_says_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, answer: str, code: int, expected: tuple[str, str, str]
) -> None:
    (tmp_path / ".dvc").mkdir()

    def run(command: list[str], **options: Any) -> subprocess.CompletedProcess[str]:
        return subprocess.CompletedProcess(command, code, answer, "" if code == 0 else "ERROR: dvc.yaml is broken\n")

    monkeypatch.setattr("subprocess.run", run)
    assert _found(doctor._dvc, tmp_path) == [expected]


def test_one_wrong_finding_makes_it_fail(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    findings = [doctor.Finding("ok", "a", "[fine]"), doctor.Finding("wrong", "b", "is bad")]
    monkeypatch.setattr(doctor, "examine", lambda root: findings)
    assert not doctor.show()
    assert capsys.readouterr().out.splitlines() == ["ok    a: [fine]", "wrong b: is bad", "1 of 2 findings are wrong"]
    monkeypatch.setattr(doctor, "examine", lambda root: findings[:1])
    assert doctor.show()
