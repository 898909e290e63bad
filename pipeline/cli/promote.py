"""`zerosum models`, `promote` and `rollback`: the registry's versions and who is champion."""

from __future__ import annotations

from pipeline.cli import project
from pipeline.console import ShownColumn, show_table
from pipeline.errors import UserError
from pipeline.params.register import RegisterSettings
from pipeline.registry import models
from pipeline.registry.store import opened

SHOWN = ("precision", "recall", "label_agreement")


def show_models(name: str | None) -> None:
    """Print the table of versions, the newest first."""
    root = project.root()
    settings = project.register_settings(root, name)
    with opened(root) as store:
        found = models.versions(store, settings.name)
    _show(found, settings)


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


def _show(found: list[models.Version], settings: RegisterSettings) -> None:
    scored = [settings.metric, *(name for name in SHOWN if name != settings.metric)]
    shown = [name for name in scored if any(name in version.scores for version in found)]
    headings = ("version", "aliases", "family", "examples", *shown, "commit", "weights")
    right = {"version", "examples", *shown}
    rows: list[tuple[str, ...]] = []
    for version in found:
        tags = version.tags
        dirty = "+" if tags.get("lineage.git_dirty") == "yes" else ""
        rows.append(
            (
                str(version.version),
                ", ".join(version.aliases),
                tags.get("family", ""),
                tags.get("examples_seen", ""),
                *(f"{version.scores[name]:.4g}" if name in version.scores else "" for name in shown),
                tags.get("lineage.git_commit", "")[:8] + dirty,
                tags.get(models.tracking.WEIGHTS_TAG, "")[:8],
            )
        )
    columns = [ShownColumn(heading, heading in right, heading == "aliases") for heading in headings]
    show_table(columns, rows, settings.name)
