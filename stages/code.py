"""code: what the code of each stage does → artifacts/code, so that DVC runs again only what an edit concerns."""

from __future__ import annotations

from pipeline.dag import digests, layout, runner
from pipeline.params import Params
from pipeline.storage import files

SHOWN = 4  # names of modules in a line


def main(params: Params, project: runner.Project) -> None:
    stages = [name for name in layout.names(project.root) if name != project.stage]
    found = {name: digests.modules(params, project.root, name) for name in stages}
    for name, modules in found.items():
        if changed := digests.changed(digests.recorded(project.root, name), modules):
            more = f" and {len(changed) - SHOWN} more" if len(changed) > SHOWN else ""
            print(f"{name}: changed since it ran: {', '.join(changed[:SHOWN])}{more}")
    with files.replacing_folder(project.artefact(digests.FOLDER)) as folder:
        for name, modules in found.items():
            files.write_json(folder / f"{name}.json", modules)


if __name__ == "__main__":
    runner.run("code", main)
