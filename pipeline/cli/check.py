"""`zerosum check`: whether a params.yaml can be worked with, as far as that is known without work."""

from __future__ import annotations

import os
from pathlib import Path

from pipeline import params as reader
from pipeline import watched
from pipeline.cli import project
from pipeline.preflight import everything
from pipeline.registry.addresses import check_place


def check(file: Path | None) -> list[str]:
    """Check `file`, or the project's params.yaml, and return what a person should be told, the verdict last.

    The project's own also has its links for DVC set again, so that DVC finds data that has moved.

    Raises:
        UserError: with everything that is wrong.
    """
    root = project.root()
    path = file.absolute() if file is not None else root / "params.yaml"
    os.chdir(root)  # as in a stage, relative paths are the project's
    check_place(root)
    params = reader.load(path)
    own = path == root / "params.yaml" and (root / "dvc.yaml").is_file()
    # Before anything is refused: where data has moved, DVC stops at a link that leads nowhere.
    said = [line for stage in ("code", *watched.PLACES) for line in watched.link(root, params, stage)] if own else []
    said += everything.check(params)
    if own:
        work = Path(params.run.storage if "://" not in params.run.storage else ".work").absolute()
        apart = watched.apart(root, params, work, root / "artifacts" / "shards")
        said += [apart] if apart else []
    return [*said, f"{path.name} is in order: family {params.train.family}"]
