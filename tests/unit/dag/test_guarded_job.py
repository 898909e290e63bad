"""A job runs what was sent through Ray, whatever somebody else writes to the store."""

from __future__ import annotations

import shlex
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from pipeline import params as whole
from pipeline.dag import digests, job, layout, remote
from pipeline.errors import BrokenArtefact, UserError
from pipeline.storage import files
from pipeline.storage.store import Store

ROOT = Path(__file__).parents[3]
TICKET = "jobs/zerosum-ingest-0a-1/ticket.json"
PAYLOAD = "import pathlib; pathlib.Path({!r}).touch()\n"


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(str(tmp_path / "store"))


@pytest.fixture
def marker(tmp_path: Path) -> Path:
    """A file that a stranger's code would make."""
    return tmp_path / "ran"


def ticket(**changes: Any) -> dict[str, Any]:
    params = yaml.safe_load((ROOT / "params.yaml").read_text())
    code = digests.sha256(whole.check(params), ROOT, "ingest")
    asked = {"stage": "ingest", "params": params, "code": code, "lineage": {}}
    return {**asked, "inputs": "", "outside": {}, "source": "", **changes}


def run(store: Store, sha256: str) -> subprocess.CompletedProcess[str]:
    """The very line that Ray is given."""
    line = shlex.split(remote.command(store.uri, TICKET, sha256))
    return subprocess.run([sys.executable, *line[1:]], cwd=ROOT, capture_output=True, text=True, check=False)


@pytest.mark.parametrize(
    "storage", ["/shared/it's here", "s3://b/x?region=a&scheme=http", "/a; touch ran", "/$(x) `y`"]
)
def test_the_line_of_the_shell_is_read_as_it_was_meant(storage: str) -> None:
    told = shlex.split(remote.command(storage, TICKET, "0" * 64))
    assert told == ["python", "-m", "pipeline.dag.job", storage, TICKET, "0" * 64]


@pytest.mark.slow
def test_a_ticket_that_was_swapped_is_refused(store: Store) -> None:
    sent = store.write(TICKET, ticket())
    store.write(TICKET, ticket(stage="evaluate"))
    done = run(store, sent)
    assert done.returncode == 2, done.stderr
    assert "somebody has changed it" in done.stderr
    assert "Traceback" not in done.stderr
    assert not (Path(store.uri) / "projects").exists()


@pytest.mark.slow
@pytest.mark.parametrize("name", ["yaml.py", "sitecustomize.py", "pipeline/console.py"])
def test_inputs_bring_no_code(name: str, store: Store, marker: Path, tmp_path: Path) -> None:
    files.write_bytes(tmp_path / "theirs" / name, PAYLOAD.format(str(marker)).encode())
    files.write_bytes(tmp_path / "theirs/artifacts/x", b"x")
    inputs = store.push(tmp_path / "theirs", [name, "artifacts"])
    done = run(store, store.write(TICKET, ticket(inputs=inputs)))
    assert done.returncode == 2, done.stderr
    assert "outside of artifacts" in done.stderr
    assert not marker.exists()


@pytest.mark.slow
def test_modules_come_from_the_folder_that_ray_made(marker: Path, tmp_path: Path) -> None:
    """Not from the project's, where others may have put something if the storage is a folder."""
    for name in ("yaml.py", "sitecustomize.py", "stages/ingest.py", "stages/__init__.py", "pipeline/__init__.py"):
        files.write_bytes(tmp_path / name, PAYLOAD.format(str(marker)).encode())
    assert job._work("ingest", tmp_path, {}) == layout.WRONG, "there is no params.yaml"
    assert not marker.exists()


def test_a_project_that_somebody_has_made_before_is_not_used(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)
    (tmp_path / "theirs").mkdir()
    (tmp_path / "store/projects").mkdir(parents=True)
    (tmp_path / "store/projects/zerosum-ingest-0a-1").symlink_to(tmp_path / "theirs")
    with pytest.raises(UserError, match="is there already"):
        job.project(str(tmp_path / "store"), TICKET)
    assert list((tmp_path / "theirs").iterdir()) == []
    (tmp_path / "store/projects/zerosum-ingest-0a-1").unlink()
    left = tmp_path / "store/projects/zerosum-ingest-0a-0/yaml.py"
    files.write_bytes(left, b"")
    made = job.project(str(tmp_path / "store"), TICKET)
    assert made.stat().st_mode & 0o777 == 0o700
    assert sorted(path.name for path in made.iterdir()) == ["dvc.yaml", "params.yaml", "pipeline", "stages"]
    assert not left.exists()


class Log:
    """What Ray has of a job."""

    def __init__(self, text: str) -> None:
        self._text = text

    def log(self, job: str) -> str:
        return self._text


def test_outs_that_were_swapped_are_refused(store: Store, tmp_path: Path) -> None:
    """What the job made is known by its log, which comes through Ray; the last line is the job's own."""
    written = store.write("jobs/j-1/end.json", {"code": 0, "outs": "a" * 64})
    told = f"shards: {remote.ENDED} {'b' * 64}\n{remote.ENDED} {'b' * 64}\n{remote.ENDED} {written}\n"
    assert remote.ending(Log(told), store, "j-1") == {"code": 0, "outs": "a" * 64}
    assert remote.ending(Log("killed\n"), store, "j-1") == {}
    assert remote.ending(Log(f"a class named {remote.ENDED} {written}\n"), store, "j-1") == {}
    store.write("jobs/j-1/end.json", {"code": 0, "outs": "c" * 64})
    with pytest.raises(BrokenArtefact, match="somebody has changed it"):
        remote.ending(Log(told), store, "j-1")


def test_outs_of_other_names_are_refused(store: Store, tmp_path: Path) -> None:
    for name in ("artifacts/model/model.json", "artifacts/report/x", "params.yaml"):
        files.write_bytes(tmp_path / "theirs" / name, b"{}")
    key = store.push(tmp_path / "theirs", ["artifacts", "params.yaml"])
    with pytest.raises(BrokenArtefact, match="outside of artifacts/model"):
        remote._fetch(store, key, ["artifacts/model"], tmp_path)
    assert [path.name for path in (tmp_path / "artifacts").iterdir()] == []
