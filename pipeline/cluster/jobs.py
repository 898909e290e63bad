"""Ray Jobs over HTTP: versions and token checked, a job found again by its name, its log followed, its end told."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import platform
import time
from collections.abc import Callable
from typing import Any, TypeVar

import ray
import requests
from ray.dashboard.modules.dashboard_sdk import get_auth_headers_if_auth_enabled
from ray.job_submission import JobStatus, JobSubmissionClient

from pipeline.cluster.connect.tokens import token_here
from pipeline.errors import UserError
from pipeline.run.addresses import is_loopback

PAUSE = 1.0  # seconds between two looks at a job that says nothing
PATIENCE = 300.0  # seconds without an answer before a cluster is given up
ENDING = 120.0  # seconds for a job that was asked to end
UNFINISHED = {JobStatus.PENDING, JobStatus.RUNNING}
UNREACHED = OSError  # of sockets and of requests: nobody heard, or no answer came through
LOST = (UNREACHED, RuntimeError)  # or the server refused

Answer = TypeVar("Answer")


class Jobs:
    """A cluster's job server.

    Raises:
        UserError: if nobody answers there, it runs another Ray or Python, or anybody could use it.
    """

    def __init__(self, url: str) -> None:
        self.url = url
        self._guard()
        # Ray's clients set their own loggers to INFO; this process says what is worth saying.
        logging.disable(logging.INFO)
        try:
            self._client = JobSubmissionClient(url)
        except LOST as error:
            raise UserError(f"run.address: {url} does not take jobs: {_sentence(error)}") from None

    def find(self, name: str) -> tuple[str, JobStatus] | None:
        """The newest attempt at a job, `<name>-<number>`, and how it stands; None if there was none.

        Raises:
            UserError: if the cluster does not answer for `PATIENCE` seconds, or will not say.
        """
        attempts = {
            int(job.submission_id.rpartition("-")[2]): job
            for job in self._patiently(self._client.list_jobs)
            if job.submission_id and job.submission_id.rpartition("-")[0] == name
        }
        if not attempts:
            return None
        job = attempts[max(attempts)]
        return str(job.submission_id), job.status

    def following(self, name: str) -> str:
        """The id of a new attempt, numbered after the last: Ray may not see an id twice."""
        found = self.find(name)
        return f"{name}-{int(found[0].rpartition('-')[2]) + 1 if found else 1}"

    def submit(
        self, job: str, entrypoint: str, working_dir: str, environment: dict[str, str], metadata: dict[str, str]
    ) -> None:
        """Have a command run in a copy of `working_dir`, on the head; once, however often the connection is lost.

        metadata: what the cluster's dashboard says of it.

        Raises:
            UserError: if the cluster does not answer for `PATIENCE` seconds, or does not take the job.
        """
        environments = {"working_dir": working_dir, "env_vars": environment}

        def submitted() -> None:
            # An attempt whose answer was lost has arrived, perhaps.
            if all(known.submission_id != job for known in self._client.list_jobs()):
                self._client.submit_job(
                    entrypoint=entrypoint, submission_id=job, runtime_env=environments, metadata=metadata
                )

        self._patiently(submitted)

    def follow(self, job: str, say: Callable[[str], None]) -> tuple[JobStatus, str]:
        """Hand on the job's log until it ends; a lost connection is taken up where it broke. How it ended, and why.

        Raises:
            UserError: if the cluster does not answer for `PATIENCE` seconds.
        """
        heard, answered = 0, time.monotonic()
        while True:
            try:
                heard = asyncio.run(self._listen(job, heard, say))
                info = self._client.get_job_info(job)
                answered = time.monotonic()
                if info.status not in UNFINISHED:
                    self._rest(job, heard, say)
                    return info.status, str(info.message or "")
            except LOST as error:
                if time.monotonic() - answered > PATIENCE:
                    raise UserError(
                        f"run.address: {self.url} has not answered for {PATIENCE:.0f} s ({_sentence(error)}); "
                        f"the job {job} may go on: run it again to follow it"
                    ) from None
            time.sleep(PAUSE)

    def log(self, job: str) -> str:
        """All that the job has printed; empty where the cluster does not have it any more.

        Raises:
            UserError: if the cluster does not answer for `PATIENCE` seconds.
        """

        def asked() -> str:
            try:
                return self._client.get_job_logs(job)
            except RuntimeError:
                return ""

        return self._patiently(asked)

    def stop(self, job: str) -> None:
        """Ask the job to end, and wait until it has.

        Raises:
            UserError: if the cluster does not answer, or the job has not ended after `ENDING` seconds.
        """
        self._patiently(lambda: self._client.stop_job(job))
        end = time.monotonic() + ENDING
        while self._patiently(lambda: self._client.get_job_status(job)) in UNFINISHED:
            if time.monotonic() > end:
                raise UserError(f"run.address: the job {job} was asked to end {ENDING:.0f} s ago and still runs")
            time.sleep(PAUSE)

    def _patiently(self, ask: Callable[[], Answer]) -> Answer:
        """The answer to a request that may be made again, after as many lost connections as `PATIENCE` allows."""
        begun = time.monotonic()
        while True:
            try:
                return ask()
            except UNREACHED as error:
                if time.monotonic() - begun > PATIENCE:
                    raise UserError(
                        f"run.address: {self.url} has not answered for {PATIENCE:.0f} s ({_sentence(error)})"
                    ) from None
            except RuntimeError as error:
                raise UserError(f"run.address: {self.url} refuses: {_sentence(error)}") from None
            time.sleep(PAUSE)

    async def _listen(self, job: str, heard: int, say: Callable[[str], None]) -> int:
        """The log beyond its first `heard` characters; how many are known now."""
        passed = 0
        try:
            async for text in self._client.tail_job_logs(job):
                fresh = text[max(0, heard - passed) :]
                passed += len(text)
                if fresh:
                    say(fresh)
        except LOST:
            return max(heard, passed)
        return max(heard, passed)

    def _rest(self, job: str, heard: int, say: Callable[[str], None]) -> None:
        with contextlib.suppress(*LOST):
            text = self._client.get_job_logs(job)
            if len(text) > heard:
                say(text[heard:])

    def _guard(self) -> None:
        """Look at the cluster before anything is sent to it."""
        headers = get_auth_headers_if_auth_enabled({})
        try:
            answer = requests.get(f"{self.url}/api/v0/cluster_metadata", headers=headers, timeout=10)
            open_to_all = not is_loopback(self.url) and requests.get(f"{self.url}/api/version", timeout=10).ok
        except requests.RequestException as error:
            raise UserError(f"run.address: no Ray dashboard answers at {self.url} ({_sentence(error)})") from None
        if open_to_all:
            raise UserError(
                f"run.address: {self.url} answers without a token, so that anybody who reaches it can run code there; "
                "start the cluster with RAY_AUTH_MODE=token"
            )
        if answer.status_code in {401, 403}:
            hint = "is not the cluster's" if token_here() else "is not here: name the head's in RAY_AUTH_TOKEN_PATH"
            raise UserError(f"run.address: {self.url} asks for a token, and yours {hint}")
        if not answer.ok:
            raise UserError(f"run.address: {self.url} is no Ray dashboard (it answers {answer.status_code})")
        known: dict[str, Any] = answer.json().get("data") or {}
        ours = {"rayVersion": ray.__version__, "pythonVersion": platform.python_version()}
        for key, word in (("rayVersion", "Ray"), ("pythonVersion", "Python")):
            theirs, here = str(known.get(key)), ours[key]
            same = theirs == here if word == "Ray" else theirs.split(".")[:2] == here.split(".")[:2]
            if not same:
                raise UserError(f"run.address: {self.url} runs {word} {theirs}, and this is {here}; make them equal")


def _sentence(error: BaseException) -> str:
    text = str(error).strip().splitlines()
    return text[0][:200] if text else type(error).__name__
