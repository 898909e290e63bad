"""`zerosum doctor`: whether this machine and this checkout can run the flow, one line a finding."""

from __future__ import annotations

import json
import os
import platform
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Literal, cast

from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet
from rich.console import Console
from rich.text import Text

from pipeline.cli import privacy, project
from pipeline.console import folded
from pipeline.errors import UserError

State = Literal["ok", "note", "wrong"]
SHOWN_ALWAYS = ("torch", "ray", "dvc", "mlflow")
FOLDERS = (".", "artifacts", ".work", ".dvc")
LEAST_FREE_GB = 2.0
DVC_SECONDS = 60
STYLES: dict[State, str] = {"ok": "green", "note": "yellow", "wrong": "bold red"}


@dataclass(frozen=True)
class Finding:
    """One line: `wrong` ones make the command fail."""

    state: State
    what: str
    detail: str


def show() -> bool:
    """Print every finding; False if one of them is wrong."""
    found = examine(project.root())
    console = Console(soft_wrap=True, highlight=False)
    for finding in found:
        first, *others = finding.detail.splitlines() or [""]
        for line in (f"{finding.state:<5} {finding.what}: {first}", *(f"      {other}" for other in others)):
            text = Text(folded(line, " " * 6))
            if line.startswith(finding.state):
                text.stylize(STYLES[finding.state], 0, len(finding.state))
            console.print(text)
    wrong = sum(finding.state == "wrong" for finding in found)
    print(f"{wrong} of {len(found)} findings are wrong" if wrong else f"{len(found)} findings, none wrong")
    return not wrong


def examine(root: Path) -> list[Finding]:
    """Every finding about the project in `root`."""
    checks: tuple[Callable[[Path], Iterator[Finding]], ...] = (
        _python,
        _versions,
        _processor,
        _folders,
        _disk,
        _settings,
        _git,
        _dvc,
        _registry,
        _model,
        _privacy,
    )
    return [finding for check in checks for finding in check(root)]


# --- the machine ------------------------------------------------------------------------------


def _python(root: Path) -> Iterator[Finding]:
    try:
        wanted = SpecifierSet(metadata.metadata("zerosum")["Requires-Python"] or "")
    except metadata.PackageNotFoundError:
        yield Finding("wrong", "zerosum", f"is not installed in {sys.prefix}; run `make repro` or `pip install -e .`")
        return
    version = platform.python_version()
    yield Finding("ok" if wanted.contains(version) else "wrong", "python", f"{version} (wanted {wanted})")


def _versions(root: Path) -> Iterator[Finding]:
    """Each pinned distribution as installed; those in order are shown only where they matter most."""
    try:
        lines = metadata.requires("zerosum") or []
    except metadata.PackageNotFoundError:
        return
    requirements = [Requirement(line) for line in lines]
    for wanted in requirements:
        if wanted.marker is not None and not wanted.marker.evaluate({"extra": ""}):
            continue
        try:
            version = metadata.version(wanted.name)
        except metadata.PackageNotFoundError:
            yield Finding("wrong", wanted.name, f"is missing (wanted {wanted.specifier}); run `make repro`")
            continue
        if not wanted.specifier.contains(version, prereleases=True):
            yield Finding("wrong", wanted.name, f"{version} (wanted {wanted.specifier}); run `make repro`")
        elif wanted.name in SHOWN_ALWAYS:
            yield Finding("ok", wanted.name, f"{version} (wanted {wanted.specifier})")


def _processor(root: Path) -> Iterator[Finding]:
    """What bytes depend on beside the wheels."""
    import torch

    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    yield Finding("ok", "processor", f"{platform.machine()}, {torch.backends.cpu.get_cpu_capability()}, {cores} cores")
    threads = torch.get_num_threads()
    fixed = os.environ.get("OMP_NUM_THREADS")
    yield Finding("ok", "threads", f"{threads}" + (f" (OMP_NUM_THREADS={fixed})" if fixed else ""))
    devices = torch.cuda.device_count() if torch.cuda.is_available() else 0
    names = ", ".join(torch.cuda.get_device_name(index) for index in range(devices))
    yield Finding("ok", "accelerator", names or "none: runs on the CPU")


def _folders(root: Path) -> Iterator[Finding]:
    """Folders that stages write to: there and writable, or where they can be made."""
    for name in FOLDERS:
        folder = root / name
        existing = next(each for each in (folder, *folder.parents) if each.exists())
        if not existing.is_dir() or not os.access(existing, os.W_OK | os.X_OK):
            yield Finding("wrong", "folder", f"{existing} cannot be written to; give yourself the right to")
    yield Finding("ok", "project", str(root))


def _disk(root: Path) -> Iterator[Finding]:
    free = shutil.disk_usage(root).free / 1e9
    enough = free >= LEAST_FREE_GB
    advice = "" if enough else f"; at least {LEAST_FREE_GB:g} GB are needed: `dvc gc -w`, or remove old .work folders"
    yield Finding("ok" if enough else "wrong", "disk", f"{free:.1f} GB free{advice}")


# --- the checkout -----------------------------------------------------------------------------


def _settings(root: Path) -> Iterator[Finding]:
    from pipeline import params

    if not (root / "params.yaml").is_file():
        yield Finding("wrong", "params.yaml", f"is missing from {root}; run this inside the project")
        return
    try:
        family = params.load(root / "params.yaml").train.family
    except UserError as error:
        yield Finding("wrong", "params.yaml", str(error))
    else:
        yield Finding("ok", "params.yaml", f"in order: family {family}")


def _privacy(root: Path) -> Iterator[Finding]:
    """Shown only where there is something to close."""
    for what, detail in privacy.exposed(root):
        yield Finding("note", what, detail)


def _git(root: Path) -> Iterator[Finding]:
    from pipeline.registry import lineage

    commit = lineage.git_commit(root)
    if commit == lineage.NONE:
        yield Finding("note", "git", "no commit here: models are registered without one")
        return
    changed = lineage.changes(root, lineage.outs(lineage.read_lock(root)))
    if not changed:
        yield Finding("ok", "git", f"{commit[:12]}, nothing changed")
        return
    shown = ", ".join(changed[:3]) + (", …" if len(changed) > 3 else "")
    yield Finding("note", "git", f"{commit[:12]} and {len(changed)} changed files ({shown}): models will say so")


def _dvc(root: Path) -> Iterator[Finding]:
    if not (root / ".dvc").is_dir():
        yield Finding("wrong", "dvc", f"{root} is no DVC project; run this inside the project, or `dvc init`")
        return
    command = [sys.executable, "-m", "dvc", "status", "--json"]
    try:
        done = subprocess.run(
            command,
            cwd=root,
            env=privacy.environment(),
            capture_output=True,
            encoding="utf-8",
            errors="replace",
            timeout=DVC_SECONDS,
            check=False,
        )
    except subprocess.TimeoutExpired:
        yield Finding("note", "dvc", f"did not answer within {DVC_SECONDS} s; is `dvc repro` running?")
        return
    if done.returncode != 0:
        last = (done.stderr.strip() or done.stdout.strip() or "no message").splitlines()[-1]
        yield Finding("wrong", "dvc", last)
        return
    stages = cast(dict[str, object], json.loads(done.stdout or "{}"))
    if stages:
        yield Finding("note", "dvc", f"{', '.join(stages)} are not up to date: `make repro`")
    else:
        yield Finding("ok", "dvc", "everything is up to date")


def _registry(root: Path) -> Iterator[Finding]:
    """The store, where there is one already: a check makes none."""
    from pipeline.registry import addresses, store

    try:
        address = addresses.resolve(root)
        if address.database is not None and not address.database.exists():
            gone = addresses.receipt(root).get("registry") == address.recorded or addresses.lost(root)
            yield Finding("wrong" if gone else "note", "registry", str(store.absent(root, address)))
            return
        store.quieten()
        with store.plainly(address):
            store.prepare(address)
    except UserError as error:
        yield Finding("wrong", "registry", str(error))
    else:
        yield Finding("ok", "registry", address.shown)


def _model(root: Path) -> Iterator[Finding]:
    """The published model against this machine: other wheels may give other bytes."""
    from pipeline.formats.model import load_card

    folder = root / "artifacts" / "model"
    if not (folder / "model.json").is_file():
        yield Finding("note", "model", "none yet: `make repro`")
        return
    try:
        card = load_card(folder)
    except UserError as error:
        yield Finding("wrong", "model", str(error))
        return
    trained, here = card.provenance.get("torch"), metadata.version("torch")
    same = trained in {None, here}
    detail = f"{card.family}, {card.examples_seen} examples, weights {card.weights_sha256[:12]}"
    yield Finding(
        "ok" if same else "note", "model", detail + ("" if same else f"; trained with torch {trained}, here is {here}")
    )
