"""`zerosum register`: what artifacts/ hold, into the registry that is chosen now."""

from __future__ import annotations

from pipeline import params as whole
from pipeline.cli import project
from pipeline.errors import UserError
from pipeline.registry import registering
from pipeline.registry.store import opened


def register() -> list[str]:
    """Register the project's model and report; returns what to tell.

    Raises:
        UserError: outside a project, where an artefact is missing, or where settings changed after it was made.
    """
    root = project.root()
    if not (root / "params.yaml").is_file():
        raise UserError(
            f"there is no project here: neither {root} nor a folder above it holds a params.yaml; change to a "
            "project's folder"
        )
    params = whole.load(root / "params.yaml")
    registering.settled(params, root)
    work = registering.Work()
    told = registering.lines(registering.register(params, root, work), params, work)
    return told if work.changed else [*told, "it was registered already: nothing had to be done"]


def ready() -> None:
    """Open the registry once: what has to be mended before MLflow's own commands read it is mended.

    Raises:
        UserError: if there is none, or it cannot be used.
    """
    with opened(project.root()):
        pass
