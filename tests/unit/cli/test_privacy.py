"""What `zerosum doctor` says of files and folders that other users can read or write."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from pipeline.cli import privacy
from pipeline.storage import private


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A project as one user has it on a machine of his own, umask 022."""
    root = tmp_path / "project"
    site = tmp_path / "site"
    for folder in (root, root / ".dvc", root / "infra", root / "infra" / "mlflow", site, site / "repo"):
        folder.mkdir(mode=0o755)
    (root / ".dvc" / "config").write_text("[core]\n    no_scm = true\n")
    (root / ".dvc" / "config.local").write_text("[core]\n    no_scm = true\n")
    (root / "mlflow.db").touch()
    (tmp_path / "home" / ".ray").mkdir(parents=True)
    (tmp_path / "home" / ".ray" / "auth_token").touch(0o600)
    for name in ("ZEROSUM_CACHE", "XDG_CACHE_HOME", "RAY_AUTH_TOKEN_PATH"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.setenv(private.SITE_CACHE, str(site))
    return root


def said(root: Path) -> dict[str, str]:
    return dict(privacy.exposed(root))


@pytest.mark.slow
def test_a_usual_machine_shows_nothing(project: Path) -> None:
    assert said(project) == {}


OPENED: dict[str, tuple[str, Callable[[Path], None]]] = {
    "the project": ("project", lambda root: root.chmod(0o777)),
    "above the project": ("project", lambda root: root.parent.chmod(0o777)),
    "the registry": ("registry", lambda root: (root / "mlflow.db").chmod(0o666)),
    "the cache": ("cache", lambda root: (root.parent / "home/.cache/zerosum").chmod(0o777)),
    "the token": ("secret", lambda root: (root.parent / "home/.ray/auth_token").chmod(0o644)),
    "DVC's own": ("secret", lambda root: put(root / ".dvc/config.local", "    secret_access_key = abc\n")),
    "MLflow's": ("secret", lambda root: put(root / "infra/mlflow/.env", "POSTGRES_PASSWORD=abc\n")),
    "DVC's cache": ("dvc", lambda root: (root.parent / "site").chmod(0o777)),
}


def put(path: Path, text: str) -> None:
    path.write_text(text)
    path.chmod(0o644)


@pytest.mark.slow
@pytest.mark.parametrize("what", OPENED)
def test_what_is_open_to_others_is_said(project: Path, what: str) -> None:
    from pipeline.storage import files

    files.cache_folder()
    word, open_it = OPENED[what]
    if what == "DVC's cache" and os.getuid() != 0:
        pytest.skip("a folder of ours is closed at once")
    open_it(project)
    if what == "DVC's cache":
        os.chown(project.parent / "site", 65534, 65534)
    found = said(project)
    assert word in found
    assert "ch" in found[word]


@pytest.mark.slow
def test_a_mask_that_lets_everybody_write_is_said(project: Path) -> None:
    before = os.umask(0)
    try:
        assert "umask" in said(project)
    finally:
        os.umask(before)


@pytest.mark.slow
def test_what_dvc_opened_is_made_sticky(project: Path) -> None:
    site = project.parent / "site"
    for folder in (site, site / "repo"):
        folder.chmod(0o777)
    assert said(project) == {}
    for folder in (site, site / "repo"):
        assert folder.stat().st_mode & 0o7777 == 0o1777
