from __future__ import annotations

import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from pipeline.errors import BrokenArtefact
from pipeline.registry import lineage
from pipeline.storage import files

LOCK: dict[str, Any] = {
    "ingest": {
        "cmd": "python -m stages.ingest",
        "deps": [{"path": "stages/ingest.py", "hash": "md5", "md5": "a1", "size": 10}],
        "params": {"params.yaml": {"ingest": {"seed": 0}}},
        "outs": [{"path": "artifacts/shards", "hash": "md5", "md5": "b2.dir", "size": 9, "nfiles": 3}],
    },
    "train": {
        "cmd": "python -m stages.train",
        "deps": [{"path": "artifacts/shards", "hash": "md5", "md5": "b2.dir", "size": 9, "nfiles": 3}],
        "outs": [
            {"path": "artifacts/model", "hash": "md5", "md5": "c3.dir", "size": 5, "nfiles": 2},
            {"path": "artifacts/curves/train.csv", "hash": "md5", "md5": "d4", "size": 7},
        ],
    },
    "register": {"cmd": "python -m stages.register", "deps": [{"path": "artifacts/model", "md5": "c3.dir"}]},
}


def _write(root: Path, lock: dict[str, Any]) -> None:
    (root / "dvc.lock").write_text(yaml.safe_dump({"schema": "2.0", "stages": lock}))


def _git(root: Path, *arguments: str) -> None:
    identity = [
        "-c",
        "user.name=a",
        "-c",
        "user.email=a@b",
        "-c",
        "init.defaultBranch=main",
        "-c",
        "commit.gpgsign=false",
    ]
    subprocess.run(["git", *identity, *arguments], cwd=root, check=True, capture_output=True)


@pytest.fixture
def repository(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for name in ("GIT_DIR", "GIT_INDEX_FILE", "GIT_WORK_TREE"):
        monkeypatch.delenv(name, raising=False)
    _git(tmp_path, "init")
    (tmp_path / "code.py").write_text("x = 1\n")
    _write(tmp_path, LOCK)
    _git(tmp_path, "add", "-A")
    _git(tmp_path, "commit", "-m", "first")
    return tmp_path


def test_upstream_holds_hashes_only_and_leaves_out_register_and_rates() -> None:
    assert lineage.upstream(LOCK) == {
        "ingest": {
            "cmd": "python -m stages.ingest",
            "deps": {"stages/ingest.py": {"md5": "a1"}},
            "outs": {"artifacts/shards": {"md5": "b2.dir"}},
            "params": {"params.yaml": {"ingest": {"seed": 0}}},
        },
        "train": {
            "cmd": "python -m stages.train",
            "deps": {"artifacts/shards": {"md5": "b2.dir"}},
            "outs": {"artifacts/model": {"md5": "c3.dir"}},
            "params": {},
        },
    }


def test_the_hash_moves_with_what_was_made_and_with_nothing_else(tmp_path: Path) -> None:
    def hashed(lock: dict[str, Any]) -> str:
        _write(tmp_path, lock)
        return lineage.gather(tmp_path)["dvc_lock_sha256"]

    before = hashed(LOCK)
    registered = {**LOCK, "register": {"cmd": "python -m stages.register", "deps": [], "outs": []}}
    assert hashed(registered) == before
    curves = yaml.safe_load(yaml.safe_dump(LOCK))
    curves["train"]["outs"][1]["md5"] = "e5"
    assert hashed(curves) == before
    assert hashed(dict(reversed(LOCK.items()))) == before
    looked = {"cmd": "python -m stages.code", "deps": [{"path": "pipeline", "hash": "md5", "md5": "f6.dir"}]}
    assert hashed({**LOCK, "code": looked}) == before, "a comment anywhere would make another version"
    changed = yaml.safe_load(yaml.safe_dump(LOCK))
    changed["train"]["outs"][0]["md5"] = "e5.dir"
    assert hashed(changed) != before


def test_outside_git_and_dvc_everything_is_none(tmp_path: Path) -> None:
    assert set(lineage.gather(tmp_path).values()) == {"none"}


def test_manifest_and_settings_are_hashed(tmp_path: Path) -> None:
    (tmp_path / "manifest.json").write_bytes(b"{}")
    found = lineage.gather(tmp_path, tmp_path / "manifest.json", {"train": {"lr": 1}})
    assert found["manifest_sha256"] == files.sha256_bytes(b"{}")
    assert found["settings_sha256"] == files.sha256_json({"train": {"lr": 1}})


def test_the_lock_and_outs_may_differ_from_the_commit(repository: Path) -> None:
    clean = lineage.gather(repository)
    assert clean["git_dirty"] == "no"
    assert len(clean["git_commit"]) == 40
    (repository / "artifacts/model").mkdir(parents=True)
    (repository / "artifacts/model/model.json").write_text("{}")
    _write(repository, {**LOCK, "register": {"cmd": "x"}})
    assert lineage.gather(repository)["git_dirty"] == "no"


@pytest.mark.parametrize("name", ["code.py", "new plug-in ü.py", "artifacts/modelling.txt"])
def test_anything_else_is_a_difference(repository: Path, name: str) -> None:
    (repository / name).parent.mkdir(exist_ok=True)
    (repository / name).write_text("x = 2\n")
    assert lineage.changes(repository, lineage.outs(LOCK)) == [name]
    assert lineage.gather(repository)["git_dirty"] == "yes"


def test_a_project_in_a_sub_folder_looks_at_itself_only(repository: Path) -> None:
    inner = repository / "inner"
    inner.mkdir()
    (inner / "kept.py").write_text("")
    _git(repository, "add", "-A")
    _git(repository, "commit", "-m", "second")
    (repository / "code.py").write_text("x = 3\n")
    assert lineage.gather(inner)["git_dirty"] == "no"
    (inner / "dvc.lock").write_text("stages: {}\n")
    assert lineage.gather(inner)["git_dirty"] == "no"
    (inner / "kept.py").write_text("y")
    assert lineage.changes(inner, []) == ["kept.py"]


def test_the_key_ignores_the_commit_and_nothing_else() -> None:
    base = {"git_commit": "a", "git_dirty": "no", "dvc_lock_sha256": "b"}
    assert lineage.key(base) == lineage.key({**base, "git_commit": "z", "git_dirty": "yes"})
    assert lineage.key(base) != lineage.key({**base, "dvc_lock_sha256": "c"})


def test_a_broken_lock_is_said_so(tmp_path: Path) -> None:
    (tmp_path / "dvc.lock").write_text("<<<<<<< HEAD\na: [\n")
    with pytest.raises(BrokenArtefact, match=r"dvc\.lock is not valid YAML"):
        lineage.gather(tmp_path)
