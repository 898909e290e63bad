"""code: what the code of each stage does → artifacts/code, so that DVC runs again only what an edit concerns."""

from __future__ import annotations

from pipeline.params import Params
from pipeline.storage import files
from stages import _code, _project, _stage

SHOWN = 4  # names of modules in a line


def main(params: Params, project: _stage.Project) -> None:
    stages = [name for name in _project.names(project.root) if name != project.stage]
    found = {name: _code.modules(params, project.root, name) for name in stages}
    for name, modules in found.items():
        if changed := _code.changed(_code.recorded(project.root, name), modules):
            more = f" and {len(changed) - SHOWN} more" if len(changed) > SHOWN else ""
            print(f"{name}: changed since it ran: {', '.join(changed[:SHOWN])}{more}")
    with files.replacing_folder(project.artefact(_code.FOLDER)) as folder:
        for name, modules in found.items():
            files.write_json(folder / f"{name}.json", modules)


if __name__ == "__main__":
    _stage.run("code", main)
