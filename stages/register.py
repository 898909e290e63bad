"""register: the model, its scores and its lineage → MLflow, as `candidate`, `champion` if there is none."""

from __future__ import annotations

from pipeline.params import Params
from stages import _stage


def main(params: Params, project: _stage.Project) -> None:
    from pipeline.registry import registering

    work = registering.Work()
    registered = registering.register(params, project.root, work)
    print("\n".join(registering.lines(registered, params, work)))


if __name__ == "__main__":
    _stage.run("register", main)
