"""`zerosum new`: a project with params.yaml, stages and plug-ins of its own, beside the installed library."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from importlib import metadata
from pathlib import Path

import pipeline
from pipeline import own_plugins, plugins, watched
from pipeline.errors import SettingsError, UserError
from pipeline.params.register import RegisterSettings
from pipeline.settings import validate

HERE = Path(pipeline.__path__[0])
CODE = "      - pipeline\n"  # what the stage `code` of a checkout looks at
DVC = (sys.executable, "-m", "dvc")

MAKEFILE = """\
# `make repro` is the whole thing. The shell's python is used; PYTHON=… names another.
PYTHON ?= python
export PATH := $(dir $(shell command -v $(PYTHON))):$(PATH)
export ZEROSUM_PLUGINS := $(CURDIR)/plugins
export DVC_NO_ANALYTICS := 1

.PHONY: repro check ui clean

# `zerosum check` comes first: it says mistakes within seconds, and links what DVC is to watch.
repro: check  ## the DAG: shards, search, training, scores, registry
	@$(PYTHON) -m dvc repro
	@if [ -n "$$MLFLOW_TRACKING_URI" ] || [ ! -e mlflow.db ]; then zerosum register; fi
	@echo "report: artifacts/report/report.html"

check:  ## whether params.yaml can be worked with
	@zerosum check

ui:  ## MLflow's pages on 127.0.0.1:5000
	@env -u MLFLOW_TRACKING_URI zerosum ready
	@MLFLOW_SERVER_ENABLE_JOB_EXECUTION=false mlflow server --host 127.0.0.1 --port 5000 \\
		--backend-store-uri sqlite:///mlflow.db --artifacts-destination mlartifacts

clean:  ## everything that `make repro` made, but the registry
	rm -rf .work artifacts dvc_plots
"""

README = """\
# {name}

A project of zerosum: shards, search, GAN training, scores and a registered model, by one command.

    make repro                                # the DAG; a second time it does nothing
    zerosum generate --model models:/{model}@champion --out samples --n 16
    make ui                                   # experiments and the registry in a browser

| what | where |
|---|---|
| settings: your data, the family, the search | `params.yaml`; `zerosum check` says what is wrong with it |
| plug-ins of your own, found by name like the library's | `plugins/`, such as `plugins/families/mine.py` |
| the DAG and what each stage runs | `dvc.yaml`, `stages/` |
| the report | `artifacts/report/report.html` |

Made by zerosum {version}. `make` runs the code in `plugins/`. So do the stages; for other commands, name it first:
`export ZEROSUM_PLUGINS=$PWD/plugins`. A clone of somebody else's project runs nothing of theirs before you do either.
"""

PLUGINS = """\
# Plug-ins of this project

One file adds one thing, found by its name; nothing else is edited. What a file holds is in the library's
docs/adding.md, with examples.

| to add | write |
|---|---|
{rows}
"""

IGNORED = """\
/.venv
/.work
/artifacts
/mlflow.db
/mlflow.db-*
/mlruns
/mlartifacts
/plots
/dvc_plots
/samples
/samples-grid.png
/explored
/inputs/code
__pycache__/
"""


def new(target: Path, name: str | None = None) -> Path:
    """Make the project `target`, a folder that is not there yet or empty; all of it or nothing.

    Args:
        target: the project's folder; parents are made.
        name: of its registered model; else the folder's.

    Returns:
        The folder, absolute.

    Raises:
        UserError: if the folder holds anything, or git or DVC cannot be used.
    """
    target = target.absolute()
    if target.exists() and (not target.is_dir() or any(target.iterdir())):
        raise UserError(f"{target} is there already and not empty; name a new folder")
    if shutil.which("git") is None:
        raise UserError("git is not installed, and a project's history and DVC need it; install it")
    model = _checked(name, target.name)
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=target.parent, prefix=f".{target.name}-") as scratch:
            made = Path(scratch) / target.name
            _write(made, model)
            _initialise(made, inside=_in_a_repository(target.parent))
            if target.exists():
                target.rmdir()
            made.rename(target)
    except OSError as error:
        raise UserError(f"{target}: cannot be made: {error.strerror or error}") from None
    return target


def template() -> Path:
    """The folder that holds stages/, dvc.yaml and params.yaml: within the installed library, or the checkout's."""
    packed = HERE / "template"
    return packed if packed.is_dir() else HERE.parent


def _write(project: Path, model: str) -> None:
    source = template()
    shutil.copytree(source / "stages", project / "stages", ignore=shutil.ignore_patterns("__pycache__"))
    dag = (source / "dvc.yaml").read_text(encoding="utf-8")
    (project / "dvc.yaml").write_text(
        dag.replace(CODE, f"      - {watched.LIBRARY}\n      - {own_plugins.FOLDER}\n", 1), encoding="utf-8"
    )
    settings = (source / "params.yaml").read_text(encoding="utf-8")
    (project / "params.yaml").write_text(settings.replace("name: zerosum-digits", f"name: {model}", 1), "utf-8")
    ignored = next(path for path in (source / "dvcignore", source / ".dvcignore") if path.is_file())
    shutil.copy2(ignored, project / ".dvcignore")
    rows = "\n".join(
        f"| {kind.lower()} | `{room.replace('.', '/')}/<name>.py` |" for room, kind in plugins.ROOMS.items()
    )
    texts = {
        "Makefile": MAKEFILE,
        ".gitignore": IGNORED,
        "README.md": README.format(name=project.name, model=model, version=metadata.version("zerosum")),
        f"{own_plugins.FOLDER}/README.md": PLUGINS.format(rows=rows),
        f"{watched.FOLDER}/register/.gitignore": "*\n!.gitignore\n",
    }
    for path, text in texts.items():
        (project / path).parent.mkdir(parents=True, exist_ok=True)
        (project / path).write_text(text, encoding="utf-8")
    for stage, places in watched.PLACES.items():
        for place in places:
            (project / watched.FOLDER / stage).mkdir(parents=True, exist_ok=True)
            (project / watched.FOLDER / stage / place).write_text(watched.UNUSED, encoding="utf-8")
    watched.link_library(project)


def _checked(name: str | None, folder: str) -> str:
    """What the model is registered as: the name that was asked for, or the folder's.

    Raises:
        UserError: if it is no name of a registered model.
    """
    try:
        validate(RegisterSettings, {"name": name or folder}, "")
    except SettingsError as error:
        said = "" if name else "; the model would be named for the folder: give it a name by --name"
        raise UserError(f"--name: {str(error).removeprefix('.name: ')}{said}") from None
    return name or folder


def _in_a_repository(folder: Path) -> bool:
    """Whether git would take the project for a part of one that is there."""
    return _done(folder, "git", "rev-parse", "--is-inside-work-tree").returncode == 0


def _initialise(project: Path, inside: bool) -> None:
    """git, unless the project lies in a repository, and DVC.

    Raises:
        UserError: with what they said.
    """
    commands = [(*DVC, "init", "--quiet", *(("--subdir",) if inside else ()))]
    commands = commands if inside else [("git", "init", "--quiet"), *commands]
    for command in commands:
        done = _done(project, *command)
        if done.returncode:
            raise UserError(f"`{' '.join(command[-3:])}` failed: {done.stderr.strip() or done.stdout.strip()}")


def _done(folder: Path, *command: str) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "DVC_NO_ANALYTICS": "1"}
    return subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False)
