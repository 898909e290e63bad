"""What every stage does: settings first, signals heard, code unchanged while it ran, honest exit codes.

Exit codes: 0 done; 1 the work failed; 2 a mistake in settings or data; 3 the code changed while
the stage ran; 130 and 143 interrupted; 137 killed. DVC records a stage only at 0.
"""

from __future__ import annotations

import importlib
import os
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from types import FrameType
from typing import NoReturn

from pipeline import own_plugins, streams, watched
from pipeline import params as whole
from pipeline.cluster.connect import supervisor
from pipeline.dag import digests
from pipeline.dag.layout import DRIFTED, FAILED, INPUTS, WRONG, Project, own_settings
from pipeline.errors import TrainingFailed, UserError
from pipeline.params import Params
from pipeline.registry.addresses import check_place
from pipeline.run.addresses import resolve
from pipeline.storage import private
from pipeline.storage.files import disk_is_full

STAY = frozenset({"code", "register"})  # done here though others are jobs: the code and the registry are here

heard: list[int] = []  # signals


def run(stage: str, work: Callable[[Params, Project], None]) -> NoReturn:
    """Run one stage and leave with its exit code. A user's mistake is a sentence, no traceback."""
    streams.settle()
    if signal.getsignal(signal.SIGINT) is signal.SIG_DFL:
        signal.signal(signal.SIGINT, signal.default_int_handler)  # from here on it is heard
    supervisor.supervise(stage)
    signal.signal(signal.SIGTERM, _terminated)
    root = Path.cwd()
    try:
        check_place(root)
        private.make_sticky()
        if own_plugins.folder() is None and (root / own_plugins.FOLDER).is_dir():
            own_plugins.use(root / own_plugins.FOLDER)
        params = whole.load(root / "params.yaml")
        code, settings = digests.sha256(params, root, stage), own_settings(params.raw, root, stage)
        project, address = Project(root, stage, code), resolve(params.run.address)
        if stage != "code":
            digests.check_recorded(params, root, stage)
        seen = _look_outside(params, project)
        # By name, so that what only carries a stage elsewhere, MLflow too, is no part of the code it depends on.
        submits = address.kind == "submit" and stage not in STAY
        remote = importlib.import_module("pipeline.dag.remote") if submits else None
        if remote is None:
            work(params, project)
        elif remote.stays(params, stage):
            print(f"{stage} is done on this machine, as what it reads is here alone")
            work(params.with_overrides({"run.address": "", "run.storage": ".work"}), project)
        else:
            remote.run(params, project, address)
        for what, before, after in (
            ("its code", code, digests.sha256(params, root, stage)),
            ("its settings", settings, own_settings(whole.read(root / "params.yaml"), root, stage)),
            (f"what it reads ({watched.FOLDER}/{stage})", seen, watched.stamp(root, stage)),
        ):
            if before != after:
                print(f"{stage}: {what} changed while it ran, and DVC would record the new ones; run it again")
                _leave(DRIFTED)
        if stage == "ingest" and INPUTS not in os.environ:
            watched.remember(root, project.work(params), project.artefact("shards"))
    except UserError as error:
        print(f"\n{stage}: {error}", file=sys.stderr)
        _leave(WRONG)
    except TrainingFailed as error:
        print(f"\n{stage}: {error}", file=sys.stderr)
        _leave(FAILED)
    except OSError as error:
        if not disk_is_full(error):
            raise
        print(f"\n{stage}: the disk is full: {error}; free some space and run it again", file=sys.stderr)
        _leave(FAILED)
    except KeyboardInterrupt:
        print(f"\n{stage}: interrupted; run it again to go on", file=sys.stderr)
        _leave(130)
    except SystemExit:
        # SIGTERM (Ray may have lost the code on the way); where a library leaves in the midst, that is no success.
        _leave(128 + heard[0] if heard else FAILED)
    _leave(0)


def _look_outside(params: Params, project: Project) -> watched.Stamp:
    """Show DVC what the stage reads from outside the DAG; say where the source has changed since ingest."""
    root, stage = project.root, project.stage
    if INPUTS not in os.environ:  # a job's workstation does it
        for line in watched.link(root, params, stage):
            print(line)
        shards = project.artefact("shards")
        if stage not in {"code", "ingest"} and (said := watched.apart(root, params, project.work(params), shards)):
            print(f"{stage}: {said}", file=sys.stderr)
    return watched.stamp(root, stage)


def _terminated(number: int, frame: FrameType | None) -> None:
    heard.append(number)
    raise SystemExit(128 + number)


def hear_signals() -> None:
    """Take SIGTERM back: `ray.init` installs a handler that aborts the process without cleaning up."""
    signal.signal(signal.SIGTERM, _terminated)


def _leave(code: int) -> NoReturn:
    sys.stdout.flush()
    sys.stderr.flush()
    # A library's threads must not turn the code around on the way out.
    os._exit(code)
