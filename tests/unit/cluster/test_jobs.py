"""Ray Jobs by HTTP, against a stand-in for the dashboard: what is refused, and lost connections."""

from __future__ import annotations

import json
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass, field
from importlib.metadata import version
from pathlib import Path
from platform import python_version
from typing import Any

import pytest
from answering import Request, answering

from pipeline.errors import UserError

pytestmark = pytest.mark.slow  # for what Ray imports

RAY = version("ray")


@dataclass
class Dashboard:
    """As much of Ray's as `Jobs` asks for; what happens to submissions is told beforehand."""

    data: dict[str, str] = field(default_factory=lambda: {"rayVersion": RAY, "pythonVersion": python_version()})
    status: int = 200
    submissions: list[str] = field(default_factory=lambda: [])  # arrives, lost before, lost after, refused
    jobs: list[dict[str, Any]] = field(default_factory=lambda: [])
    stopped: bool = False
    metadata: dict[str, str] = field(default_factory=lambda: {})

    def __call__(self, request: Request) -> tuple[int, str] | None:
        path = request.path.partition("?")[0]
        if path == "/api/v0/cluster_metadata":
            return self.status, json.dumps({"result": True, "data": self.data})
        if path == "/api/version":
            return 200, json.dumps({"version": "4", "ray_version": RAY, "ray_commit": "", "session_name": "s"})
        if path.startswith("/api/packages/"):
            return 200, "{}"
        if path == "/api/jobs/" and request.method == "POST":
            return self._submitted(json.loads(request.body))
        if path == "/api/jobs/":
            return 200, json.dumps(self.jobs)
        if path.endswith("/stop"):
            return 200, json.dumps({"stopped": True})
        return 200, json.dumps(next(job for job in self.jobs if job["submission_id"] in path))

    def _submitted(self, asked: dict[str, Any]) -> tuple[int, str] | None:
        fate, self.metadata = self.submissions.pop(0), asked["metadata"]
        if fate == "refused":
            return 400, "the entrypoint is of no use"
        if fate != "lost before":
            self.jobs.append(
                {"type": "SUBMISSION", "submission_id": asked["submission_id"], "status": "RUNNING", "entrypoint": "e"}
            )
        name = asked["submission_id"]
        return None if fate.startswith("lost") else (200, json.dumps({"submission_id": name, "job_id": name}))


@pytest.fixture
def jobs(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Any:
    from pipeline.cluster import jobs

    monkeypatch.setenv("RAY_AUTH_MODE", "disabled")
    monkeypatch.setenv("RAY_AUTH_TOKEN_PATH", str(tmp_path / "none"))
    for name, seconds in {"PAUSE": 0.01, "PATIENCE": 1.0, "ENDING": 0.5}.items():
        monkeypatch.setattr(jobs, name, seconds)
    return jobs


@contextmanager
def submitting(jobs: Any, dashboard: Dashboard, tmp_path: Path) -> Generator[tuple[Any, str]]:
    (tmp_path / "code").mkdir()
    (tmp_path / "code" / "a.py").touch()
    with answering(dashboard) as url:
        yield jobs.Jobs(url), str(tmp_path / "code")


@pytest.mark.parametrize(
    ("status", "data", "said"),
    [
        (401, {}, "asks for a token, and yours is not here: name the head's in RAY_AUTH_TOKEN_PATH"),
        (404, {}, r"is no Ray dashboard \(it answers 404\)"),
        (200, {"rayVersion": "2.50.0", "pythonVersion": "3.11.7"}, f"runs Ray 2.50.0, and this is {RAY}"),
        (200, {"rayVersion": RAY, "pythonVersion": "3.9.1"}, r"runs Python 3\.9\.1, and this is 3\.11"),
    ],
)
def test_a_cluster_that_will_not_do(status: int, data: dict[str, str], said: str, jobs: Any) -> None:
    with answering(Dashboard(data, status)) as url, pytest.raises(UserError, match=said):
        jobs.Jobs(url)


def test_a_cluster_that_is_open_to_all(jobs: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    def elsewhere(url: str) -> bool:
        return False

    monkeypatch.setattr(jobs, "is_loopback", elsewhere)
    with answering(Dashboard()) as url, pytest.raises(UserError, match="answers without a token"):
        jobs.Jobs(url)


def test_nobody_there(jobs: Any) -> None:
    with pytest.raises(UserError, match=r"no Ray dashboard answers at http://127\.0\.0\.1:1"):
        jobs.Jobs("http://127.0.0.1:1")


@pytest.mark.parametrize(
    "fates", [["arrives"], ["lost before", "arrives"], ["lost after"], ["lost before", "lost before", "lost after"]]
)
def test_a_job_is_submitted_once_however_often_the_connection_is_lost(
    fates: list[str], jobs: Any, tmp_path: Path
) -> None:
    dashboard = Dashboard(submissions=list(fates))
    with submitting(jobs, dashboard, tmp_path) as (client, code):
        client.submit("zerosum-train-ab-1", "true", code, {}, {"stage": "train"})
        assert [job["submission_id"] for job in dashboard.jobs] == ["zerosum-train-ab-1"]
        assert dashboard.metadata == {"stage": "train"}
        assert dashboard.submissions == []
        assert client.following("zerosum-train-ab") == "zerosum-train-ab-2"


def test_a_job_that_is_refused(jobs: Any, tmp_path: Path) -> None:
    with (
        submitting(jobs, Dashboard(submissions=["refused"]), tmp_path) as (client, code),
        pytest.raises(UserError, match=r"refuses: .*the entrypoint is of no use"),
    ):
        client.submit("zerosum-train-ab-1", "true", code, {}, {"stage": "train"})


def test_a_cluster_that_stays_away(jobs: Any, tmp_path: Path) -> None:
    dashboard = Dashboard(submissions=["lost before"] * 10_000)
    with (
        submitting(jobs, dashboard, tmp_path) as (client, code),
        pytest.raises(UserError, match="has not answered for 1 s"),
    ):
        client.submit("zerosum-train-ab-1", "true", code, {}, {"stage": "train"})


def test_a_job_that_does_not_end(jobs: Any, tmp_path: Path) -> None:
    dashboard = Dashboard(submissions=["arrives"])
    with submitting(jobs, dashboard, tmp_path) as (client, code):
        client.submit("zerosum-train-ab-1", "true", code, {}, {"stage": "train"})
        with pytest.raises(UserError, match="was asked to end 0 s ago and still runs"):
            client.stop("zerosum-train-ab-1")
        dashboard.jobs[0]["status"] = "STOPPED"
        client.stop("zerosum-train-ab-1")
