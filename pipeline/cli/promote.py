"""`zerosum models`, `promote` and `rollback`: the registry's versions and who is champion."""

from __future__ import annotations

from rich.console import Console
from rich.table import Table

from pipeline.cli import project
from pipeline.registry import models
from pipeline.registry.settings import RegisterSettings
from pipeline.registry.store import opened
from pipeline.settings import UserError

SHOWN = ("precision", "recall", "label_agreement")
PLAIN_WIDTH = 160  # where no terminal says how wide it is


def show_models(name: str | None) -> None:
    """Print the table of versions, the newest first."""
    root = project.root()
    settings = project.register_settings(root, name)
    with opened(root) as store:
        found = models.versions(store, settings.name)
    console = Console()
    if not console.is_terminal:
        console = Console(width=PLAIN_WIDTH)
    console.print(_table(found, settings))


def promote(version: int, forced: str | None, name: str | None) -> None:
    """Move the champion; prints why it was allowed.

    Raises:
        UserError: if it is refused, with both records.
    """
    if forced is not None and not forced.strip():
        raise UserError('--force needs a reason, which is kept with the version: --force "why"')
    root = project.root()
    settings = project.register_settings(root, name)
    with opened(root) as store, store.locked("promoting"):
        decision = models.promote(store, settings, version, forced)
    print(decision.text)
    print(f"models:/{settings.name}@{settings.champion} is version {version}")


def rollback(name: str | None) -> None:
    """Move the champion back, and say from where to where."""
    root = project.root()
    settings = project.register_settings(root, name)
    with opened(root) as store, store.locked("rolling back"):
        left, reached = models.rollback(store, settings)
    print(f"models:/{settings.name}@{settings.champion} is version {reached} again; it was {left}")


def _table(found: list[models.Version], settings: RegisterSettings) -> Table:
    scored = [settings.metric, *(name for name in SHOWN if name != settings.metric)]
    shown = [name for name in scored if any(name in version.scores for version in found)]
    table = Table(title=settings.name)
    for heading in ("version", "aliases", "family", "examples", *shown, "commit", "weights"):
        table.add_column(heading, justify="right" if heading in {"version", "examples", *shown} else "left")
    for version in found:
        tags = version.tags
        dirty = "+" if tags.get("lineage.git_dirty") == "yes" else ""
        table.add_row(
            str(version.version),
            ", ".join(version.aliases),
            tags.get("family", ""),
            tags.get("examples_seen", ""),
            *(f"{version.scores[name]:.4g}" if name in version.scores else "" for name in shown),
            tags.get("lineage.git_commit", "")[:8] + dirty,
            tags.get(models.tracking.WEIGHTS_TAG, "")[:8],
        )
    return table
