"""What a job runs on the cluster: its inputs, the stage itself, its outs into the store.

python -m pipeline.dag.job <storage> <ticket> <sha256 of the ticket>

The command comes through Ray, whose token guards it, and the store is guarded less: so the command holds the ticket's
hash, the ticket those of all else that is fetched, and the job's log, which is Ray's too, that of how it ended. Code
comes from the folder that Ray made of what was sent, never from one that the store's files are put in.
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path, PurePosixPath
from types import FrameType
from typing import Any

from pipeline import own_plugins, streams
from pipeline import params as whole
from pipeline.dag import digests, journal, layout, outside
from pipeline.dag.remote import ARTEFACTS, CODE, ENDED, copy_code
from pipeline.errors import UserError
from pipeline.settings import override
from pipeline.storage import files, yaml_text
from pipeline.storage.filesystems import is_remote
from pipeline.storage.node_cache import JOBS, LEAST, NodeCache
from pipeline.storage.store import Store


def main(storage: str, ticket: str, sha256: str) -> int:
    """The stage's exit code; where it is 0, the outs are in the store and `end.json` names them.

    Raises:
        BrokenArtefact: if the ticket, or what it names, is not what was sent.
        UserError: if the store does not answer.
    """
    store = Store(storage)
    asked: dict[str, Any] = store.read(ticket, sha256)
    stage, root = str(asked["stage"]), project(storage, ticket)
    if asked["inputs"]:
        _pull(store, asked["inputs"], root, int(whole.check(asked["params"]).run.cache_megabytes))
    settings = override(asked["params"], outside.received(store, asked["outside"], root / "outside"))
    (root / "params.yaml").write_text(yaml_text.dump(settings), encoding="utf-8")
    if digests.sha256(whole.check(settings), root, stage) != asked["code"]:
        print(f"{stage}: the code that arrived is not the code that was sent; submit it again", file=sys.stderr)
        return layout.DRIFTED
    told = {layout.INPUTS: str(asked["inputs"])}
    entries, begun = root / "journal.jsonl", time.monotonic()
    job = root.name
    journal.write(entries, "job", job=job, stage=stage, lineage=asked["lineage"])
    with journal.sent(store, entries, job):
        code, outs = _work(stage, root, {**told, journal.PLACE: str(entries)}), ""
        if code == 0:
            outs = store.push(root, [str(out) for out in layout.described(root, stage).get("outs", [])])
        # After the push: a job whose outs did not arrive has not ended well.
        journal.write(entries, "end", code=code, seconds=round(time.monotonic() - begun, 1))
    end = store.write(str(PurePosixPath(ticket).with_name("end.json")), {"code": code, "outs": outs})
    shutil.rmtree(root)
    print(f"{ENDED} {end}", flush=True)
    return code


def project(storage: str, ticket: str) -> Path:
    """A new folder for the job's project: where all nodes see it, if storage is such a place.

    Not the working folder that Ray made: each node has its own, and none but the head's would hold the inputs. The code
    that was sent lies here too, to be hashed; it runs from Ray's folder (`_work`).

    Raises:
        UserError: if somebody else has put something in its place.
    """
    name = PurePosixPath(ticket).parent.name
    root = files.own_cache(JOBS) / name if is_remote(storage) else Path(storage) / "projects" / name
    # An attempt that was killed left its own.
    for old in root.parent.glob(f"{name.rpartition('-')[0]}-*"):
        shutil.rmtree(old, ignore_errors=True)
    root.parent.mkdir(parents=True, exist_ok=True)
    try:
        root.mkdir(mode=0o700)
    except FileExistsError:
        raise UserError(f"{root} is there already, and cannot be removed; the job needs a folder of its own") from None
    copy_code({part: Path.cwd() / part for part in CODE}, root)
    return root


def _pull(store: Store, key: str, root: Path, cache_megabytes: int) -> None:
    """The stage's inputs; of an object store without the shards, which come when they are read."""
    if is_remote(store.uri):
        NodeCache(max(cache_megabytes * 2**20, LEAST)).pull(store, key, root, within=(ARTEFACTS,))
    else:
        store.pull(key, root, within=(ARTEFACTS,))


def _work(stage: str, root: Path, told: dict[str, str]) -> int:
    """The stage as a process of its own; a job that is stopped ends it as a signal would.

    Python would look for modules in `root` first; here it looks in the folder that this module was loaded from.
    """
    code = os.pathsep.join(filter(None, (str(Path(__file__).parents[2]), os.environ.get("PYTHONPATH"))))
    environment = {**os.environ, **told, "PYTHONPATH": code, "PYTHONSAFEPATH": "1"}
    if own := own_plugins.folder():
        environment[own_plugins.VARIABLE] = str(own)  # of Ray's folder too
    process = subprocess.Popen([sys.executable, "-m", f"stages.{stage}"], cwd=root, env=environment)

    def forward(number: int, frame: FrameType | None) -> None:
        process.send_signal(number)

    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, forward)
    code = process.wait()
    return code if code >= 0 else 128 - code


if __name__ == "__main__":
    streams.settle()
    try:
        sys.exit(main(*sys.argv[1:]))
    except UserError as mistake:
        print(mistake, file=sys.stderr)
        sys.exit(layout.WRONG)
    except OSError as error:
        if not files.disk_is_full(error):
            raise
        print(f"the disk of the job's machine is full: {error}; free some space and run it again", file=sys.stderr)
        sys.exit(layout.FAILED)
