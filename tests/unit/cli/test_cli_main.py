from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from pipeline.cli import main, project
from pipeline.errors import SettingsError, UserError

HEAVY = ("torch", "ray", "mlflow", "numpy", "sklearn", "matplotlib", "pandas")


def _run(monkeypatch: pytest.MonkeyPatch, *arguments: str) -> int:
    monkeypatch.setattr(sys, "argv", ["zerosum", *arguments])
    with pytest.raises(SystemExit) as ended:
        main.main()
    return int(ended.value.code or 0)


def test_help_imports_nothing_heavy() -> None:
    code = (
        "import sys; from pipeline.cli import main; sys.argv = ['zerosum', '--help']\n"
        "try: main.main()\n"
        f"except SystemExit: print([name for name in {HEAVY!r} if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True)
    assert done.stdout.splitlines()[-1] == "[]"
    for command in ("generate", "models", "promote", "rollback", "check", "doctor"):
        assert command in done.stdout


def test_the_version_is_shown(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    from importlib import metadata

    assert _run(monkeypatch, "--version") == 0
    assert capsys.readouterr().out == f"zerosum {metadata.version('zerosum')}\n"


def test_a_users_mistake_is_a_sentence_and_code_2(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    monkeypatch.chdir(tmp_path)
    assert _run(monkeypatch, "generate", "--model", "nowhere", "--out", "x") == 2
    said = capsys.readouterr()
    assert said.err.startswith("zerosum: --model nowhere is neither a folder nor a registered model")
    assert "Traceback" not in said.err
    assert not (tmp_path / "x").exists()


@pytest.mark.parametrize(
    "arguments",
    [
        ("generate", "--model", "m", "--out", "x", "--n", "0"),
        ("generate", "--model", "m", "--out", "x", "--seed", "-1"),
        ("promote", "--version", "0"),
        ("promote",),
        ("nothing",),
    ],
)
def test_wrong_options_are_refused(monkeypatch: pytest.MonkeyPatch, arguments: tuple[str, ...]) -> None:
    assert _run(monkeypatch, *arguments) == 2


def test_check_names_wrong_keys(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    (tmp_path / "params.yaml").write_text("trane: {}\n")
    monkeypatch.chdir(tmp_path)
    assert _run(monkeypatch, "check") == 2
    assert "did you mean 'train'" in capsys.readouterr().err
    assert _run(monkeypatch, "check", "absent.yaml") == 2


def test_a_forced_promotion_needs_a_reason(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    assert _run(monkeypatch, "promote", "--version", "1", "--force", " ") == 2
    assert "--force needs a reason" in capsys.readouterr().err


def test_the_project_is_found_upwards(tmp_path: Path) -> None:
    inner = tmp_path / "a" / "b"
    inner.mkdir(parents=True)
    assert project.root(inner) == inner
    (tmp_path / "params.yaml").write_text("register: {name: mine}\ntrain: {nonsense: 1}\n")
    assert project.root(inner) == tmp_path
    assert project.register_settings(tmp_path).name == "mine"
    assert project.register_settings(tmp_path, "other").name == "other"
    with pytest.raises(SettingsError, match=r"--name\.name"):
        project.register_settings(tmp_path, "a/b")


def test_the_register_section_is_typed(tmp_path: Path) -> None:
    assert project.register_settings(tmp_path).metric == "frechet_classifier"
    (tmp_path / "params.yaml").write_text("register: {metrics: fid}\n")
    with pytest.raises(UserError, match="did you mean 'metric'"):
        project.register_settings(tmp_path)


def test_the_console_script_is_installed() -> None:
    script = Path(sys.executable).with_name("zerosum")
    done = subprocess.run([script], capture_output=True, text=True, timeout=60, check=False, env={**os.environ})
    assert "Usage" in done.stdout + done.stderr


@pytest.mark.parametrize(
    "arguments",
    [
        ("models",),
        ("promote", "--version", "1"),
        ("rollback",),
        ("register",),
        ("ready",),
        ("compare", "models:/toy/1", "models:/toy/2"),
        ("generate", "--model", "models:/toy@champion", "--out", "out"),
        ("explore", "models:/toy@champion", "interpolation"),
    ],
    ids=lambda arguments: str(arguments[0]),
)
def test_outside_a_project_it_is_said_and_nothing_is_left(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], arguments: tuple[str, ...]
) -> None:
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    monkeypatch.chdir(tmp_path)
    assert _run(monkeypatch, *arguments) == 2
    assert "there is no project here" in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []
