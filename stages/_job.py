"""What a job runs on the cluster: its inputs, the stage itself, its outs into the store.

python -m stages._job <storage> <ticket>
"""

from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path, PurePosixPath
from types import FrameType
from typing import Any

import yaml

from pipeline.formats.store import Store
from pipeline.settings import UserError
from stages import _project


def main(storage: str, ticket: str) -> int:
    """The stage's exit code; where it is 0, the outs are in the store and `end.json` names them."""
    root, store = Path.cwd(), Store(storage)
    asked: dict[str, Any] = store.read(ticket)
    stage = str(asked["stage"])
    if asked["inputs"]:
        store.pull(asked["inputs"], root)
    (root / "params.yaml").write_text(yaml.safe_dump(asked["params"], sort_keys=False, allow_unicode=True))
    if _project.code_sha256(root, stage) != asked["code"]:
        print(f"{stage}: the code that arrived is not the code that was sent; submit it again", file=sys.stderr)
        return _project.DRIFTED
    code = _work(stage)
    outs = ""
    if code == 0:
        outs = store.push(root, [str(out) for out in _project.described(root, stage).get("outs", [])])
    store.write(str(PurePosixPath(ticket).with_name("end.json")), {"code": code, "outs": outs})
    return code


def _work(stage: str) -> int:
    """The stage as a process of its own; a job that is stopped ends it as a signal would."""
    process = subprocess.Popen([sys.executable, "-m", f"stages.{stage}"])

    def forward(number: int, frame: FrameType | None) -> None:
        process.send_signal(number)

    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, forward)
    code = process.wait()
    return code if code >= 0 else 128 - code


if __name__ == "__main__":
    try:
        sys.exit(main(*sys.argv[1:]))
    except UserError as mistake:
        print(mistake, file=sys.stderr)
        sys.exit(_project.WRONG)
