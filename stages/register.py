"""register: the model, its scores and its lineage → MLflow, as `candidate`, `champion` if there is none."""

from __future__ import annotations

from pipeline.dag import runner
from pipeline.params import Params


def main(params: Params, project: runner.Project) -> None:
    from pipeline.registry import registering

    work = registering.Work()
    registered = registering.register(params, project.root, work)
    print("\n".join(registering.lines(registered, params, work)))


if __name__ == "__main__":
    runner.run("register", main)
