"""A stage as a job of a cluster: what it needs is sent by content, its log is followed, what it made comes back.

The job's name is a hash of what is computed, so that a workstation that died finds it again. Everything
that DVC looks at stays here: dvc.yaml, dvc.lock, and the outs, which are those of a run on this machine.
"""

from __future__ import annotations

import contextlib
import os
import re
import shlex
import shutil
import signal
import sys
import tempfile
from collections.abc import Generator, Mapping
from pathlib import Path
from typing import Any, cast

from pipeline import own_plugins
from pipeline.dag import digests, layout, outside
from pipeline.dag.recording import Recording
from pipeline.errors import BrokenArtefact, TrainingFailed, UserError
from pipeline.params import Params
from pipeline.run.addresses import Address
from pipeline.settings import override
from pipeline.storage import files
from pipeline.storage.store import Store

CODE = ("pipeline", "stages", own_plugins.FOLDER, "dvc.yaml", "params.yaml")
LEFT_OUT = shutil.ignore_patterns("__pycache__", "*.pyc", ".*")
ARTEFACTS = "artifacts"
ENDED = "the sha256 of the job's end:"  # with it, the last line of a job's log
END = re.compile(rf"^{re.escape(ENDED)} ([0-9a-f]{{64}})$", re.MULTILINE)


def stays(params: Params, stage: str) -> bool:
    """Whether a stage is no job, because what it reads is on this machine alone: its outs then go to the cluster."""
    return stage == "ingest" and outside.source_is_here_alone(params)


def run(params: Params, project: layout.Project, address: Address) -> None:
    """Have the stage done by a job, new or found again, and put its outs in their places.

    Raises:
        UserError: if cluster or storage cannot be used, or the job met a mistake in settings or data.
        TrainingFailed: if the job failed or was stopped.
        KeyboardInterrupt: after asking whether the job is to end too.
    """
    from pipeline.cluster.jobs import Jobs

    jobs, store = Jobs(address.value), Store(params.run.storage)
    described = layout.described(project.root, project.stage)
    # Not the record of the code: it travels itself, and a stage run by hand has none.
    made = [str(dep) for dep in described.get("deps", []) if str(dep).startswith(f"{ARTEFACTS}/")]
    needed = [dep for dep in made if not dep.startswith(f"{ARTEFACTS}/{digests.FOLDER}/")]
    inputs = store.push(project.root, needed) if needed else ""
    files_sent = outside.sent(store, params, project.stage)
    settings = layout.own_settings(params.raw, project.root, project.stage)
    identity = {"settings": settings, "code": project.code_sha256, "stage": project.stage}
    sent = {"inputs": inputs, "outside": files_sent}
    name = f"zerosum-{project.stage}-{files.sha256_json({**identity, **sent})[:16]}"
    job = _found(jobs, store, name) or _submitted(jobs, store, name, sent, params, project)
    with Recording(store, job, project.root, params.register.experiment) as recording, _asking(jobs, job):
        status, why = jobs.follow(job, _say)
        recording.ended("KILLED" if status.value == "STOPPED" else "FAILED")
    end = ending(jobs, store, job)
    if status.value == "SUCCEEDED" and end.get("code") == 0:
        return _fetch(store, str(end["outs"]), [str(out) for out in described.get("outs", [])], project.root)
    if end.get("code") == layout.WRONG:
        raise UserError(f"the job {job} was refused; its reason is above{whose_folders(params, project.stage)}")
    said = (
        f"with exit code {end['code']}"
        if end
        else f"as {str(status.value).lower()}: {why.strip() or 'no reason given'}"
    )
    raise TrainingFailed(f"the job {job} ended {said}; run it again to go on")


def whose_folders(params: Params, stage: str) -> str:
    """What explains a refusal where the source's files are here: the job does not look for them on this machine."""
    if stage != "ingest" or not outside.source_is_here(params):
        return ""
    return (
        " (it looks for the source on the cluster: what an absolute path names must be in a folder that cluster and "
        "workstation share; by a path relative to the project, it would be packed on this machine)"
    )


def _found(jobs: Any, store: Store, name: str) -> str | None:
    """The newest attempt, if it runs or has succeeded."""
    found = jobs.find(name)
    if found is None:
        return None
    job, status = found
    try:
        ended = status.value == "SUCCEEDED" and ending(jobs, store, job).get("code") == 0
    except BrokenArtefact as error:
        print(f"the job {job} is done, and its end is not what it wrote ({error}); it is done again", flush=True)
        ended = False
    if status.value in {"PENDING", "RUNNING"} or ended:
        print(f"{'it was done by' if ended else 'following'} the job {job} at {jobs.url}", flush=True)
        return job
    return None


def ending(jobs: Any, store: Store, job: str) -> dict[str, Any]:
    """How the job ended: `code`, and the bundle of its `outs`; empty where it has not said so.

    Its log, which comes through Ray, says which document of the store is its own.

    Raises:
        BrokenArtefact: if the store holds another.
    """
    told = END.findall(jobs.log(job))
    return cast(dict[str, Any], store.read(f"jobs/{job}/end.json", told[-1])) if told else {}


def command(storage: str, ticket: str, sha256: str) -> str:
    """The job's line of the shell."""
    return shlex.join(["python", "-m", "pipeline.dag.job", storage, ticket, sha256])


def _submitted(
    jobs: Any, store: Store, name: str, sent: dict[str, Any], params: Params, project: layout.Project
) -> str:
    raw = {**params.raw, "run": {**params.run.model_dump(exclude_defaults=True), "address": "env"}}
    raw = override(raw, outside.written_out(params))
    job = str(jobs.following(name))
    ticket = f"jobs/{job}/ticket.json"
    origin = _lineage(params, project)
    told = {"stage": project.stage, "params": raw, "code": project.code_sha256, "lineage": origin}
    sha256 = store.write(ticket, {**told, **sent})
    with tempfile.TemporaryDirectory() as folder:
        # A project made by `zerosum new` has no copy of the library.
        library, own = Path(own_plugins.__file__).parent, own_plugins.folder()
        elsewhere = {"pipeline": library} if not (project.root / "pipeline").is_dir() else {}
        elsewhere |= {own_plugins.FOLDER: own} if own else {}
        copy_code({part: elsewhere.get(part, project.root / part) for part in CODE}, Path(folder))
        line = command(params.run.storage, ticket, sha256)
        environment = {"PYTHONUNBUFFERED": "1"}
        if own:
            # Relative: on each node Ray's workers begin in its copy of this folder.
            environment[own_plugins.VARIABLE] = own_plugins.FOLDER
        jobs.submit(job, line, folder, environment, {"stage": project.stage, **origin})
    print(f"submitted the job {job} to {jobs.url}", flush=True)
    return job


def copy_code(parts: Mapping[str, Path], target: Path) -> None:
    """Each file or folder into `target` by its name; what a project need not have may be missing."""
    for part, source in parts.items():
        if source.is_dir():
            shutil.copytree(source, target / part, ignore=LEFT_OUT)
        elif part != own_plugins.FOLDER:
            shutil.copy2(source, target / part)


def _lineage(params: Params, project: layout.Project) -> dict[str, str]:
    """Where the job comes from: git and DVC are here, and not there."""
    from pipeline.registry import lineage

    settings = {name: section for name, section in params.raw.items() if name not in {"run", "register"}}
    return lineage.gather(project.root, project.artefact("shards") / "manifest.json", settings)


def _fetch(store: Store, key: str, outs: list[str], root: Path) -> None:
    """Each out whole, or as it was."""
    (root / ARTEFACTS).mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory(dir=root / ARTEFACTS, prefix=".") as temporary:
        store.pull(key, Path(temporary), within=outs)
        for out in outs:
            made = Path(temporary) / out
            if not made.is_dir():
                raise BrokenArtefact(f"{store.uri}: the job left no {out}; remove its end there and run it again")
            with files.replacing_folder(root / out) as folder:
                shutil.copytree(made, folder, dirs_exist_ok=True)


def _say(text: str) -> None:
    sys.stdout.write(text)
    sys.stdout.flush()


@contextlib.contextmanager
def _asking(jobs: Any, job: str) -> Generator[None]:
    """On Ctrl-C, ask whether the job is to end as well; where nobody can answer, it goes on."""
    try:
        yield
    except KeyboardInterrupt:
        if _wants_it_stopped():
            print(f"stopping the job {job}", flush=True)
            jobs.stop(job)
        else:
            print(f"\nthe job {job} goes on; run it again to follow it", file=sys.stderr)
        raise


def _wants_it_stopped() -> bool:
    """An answer from the terminal, which this process has to take over: its supervisor is the one in front."""
    if not (sys.stdin and sys.stdin.isatty()):
        return False
    before = signal.signal(signal.SIGTTOU, signal.SIG_IGN)
    front = os.tcgetpgrp(sys.stdin.fileno())
    try:
        os.tcsetpgrp(sys.stdin.fileno(), os.getpgrp())
        return input("\nstop the job too? [y/N] ").strip().lower() in {"y", "yes"}
    except (EOFError, KeyboardInterrupt):
        return False
    finally:
        os.tcsetpgrp(sys.stdin.fileno(), front)
        signal.signal(signal.SIGTTOU, before)
