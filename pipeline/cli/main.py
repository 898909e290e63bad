"""`zerosum …`: what people do with trained models. Thin: each command imports its work when called."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from pipeline.settings import UserError

app = typer.Typer(
    help="Reproducible GAN training: the registry's models, and the project's health.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)

weights = typer.Typer(help="The networks that scores are measured with.", no_args_is_help=True)
app.add_typer(weights, name="weights")

Name = Annotated[str | None, typer.Option(help="Registered model; else register.name of params.yaml.")]


def main() -> None:
    """The console script: a mistake of the user's ends in a sentence and exit code 2."""
    try:
        app()
    except UserError as error:
        print(f"zerosum: {error}", file=sys.stderr)
        sys.exit(2)


def _show_version(wanted: bool) -> None:
    if wanted:
        from importlib import metadata

        print(f"zerosum {metadata.version('zerosum')}")
        raise typer.Exit


@app.callback()
def options(
    version: Annotated[
        bool, typer.Option("--version", callback=_show_version, is_eager=True, help="Show the version and leave.")
    ] = False,
) -> None:
    """Options that stand before any command."""


@app.command()
def generate(
    model: Annotated[str, typer.Option(help="models:/NAME@ALIAS, models:/NAME/VERSION, or a model folder.")],
    out: Annotated[Path, typer.Option(help="Folder of the PNG files; made if missing.")],
    n: Annotated[int, typer.Option(min=1, help="How many samples.")] = 64,
    seed: Annotated[int, typer.Option(min=0, help="Same seed, same bytes.")] = 0,
    truncation: Annotated[float, typer.Option(min=0.0, help="Below 1: nearer to the mean, less varied.")] = 1.0,
    label: Annotated[
        list[str] | None, typer.Option(help="Class by name or index; may be repeated. Default: all in turn.")
    ] = None,
) -> None:
    """Write samples of a model as PNG files, and one grid of them."""
    from pipeline.cli import generate as work

    written = work.generate(model, out, n, work.Request(seed, truncation, tuple(label or ())))
    print(f"{n} samples and {written.grid.name} in {out.resolve()}")
    if written.older:
        print(f"it also holds {written.older} samples of an earlier run")


@app.command()
def models(name: Name = None) -> None:
    """List a model's versions with their aliases and scores."""
    from pipeline.cli import promote as work

    work.show_models(name)


@app.command()
def promote(
    version: Annotated[int, typer.Option(min=1, help="The version to be champion.")],
    force: Annotated[str | None, typer.Option(help="Promote whatever the scores say; keeps this reason.")] = None,
    name: Name = None,
) -> None:
    """Move `champion` to a version, unless its score is worse."""
    from pipeline.cli import promote as work

    work.promote(version, force, name)


@app.command()
def rollback(name: Name = None) -> None:
    """Move `champion` back to the version before."""
    from pipeline.cli import promote as work

    work.rollback(name)


@app.command()
def check(
    params: Annotated[Path | None, typer.Argument(help="The file; else the project's params.yaml.")] = None,
) -> None:
    """Validate params.yaml: every key, every range, every rule across sections."""
    from pipeline import params as reader
    from pipeline.cli import project

    path = params or project.root() / "params.yaml"
    found = reader.load(path)
    print(f"{path.name} is in order: family {found.train.family}")


@app.command()
def doctor() -> None:
    """Check versions, threads, folders, disk, git, DVC and the registry."""
    from pipeline.cli import doctor as work

    if not work.show():
        raise typer.Exit(1)


@weights.command("fetch")
def fetch_weights(
    name: Annotated[str, typer.Argument(help="Which network: inception.")],
    source: Annotated[str | None, typer.Option("--from", help="Another URL, or a file, of the same bytes.")] = None,
    to: Annotated[Path | None, typer.Option(help="Folder; else the cache ($ZEROSUM_CACHE, ~/.cache/zerosum).")] = None,
    sha256: Annotated[str | None, typer.Option(help="Of the file, where it is not the public one.")] = None,
) -> None:
    """Download a network's public weights once, verified, and keep them as safetensors."""
    from pipeline.cli import weights as work

    fetched = work.fetch(name, source, to, sha256)
    print(f"{'written' if fetched.new else 'here already'}: {fetched.path.resolve()}")
    if to is not None or sha256 is not None:
        print(f"use it as reference.extractor: {{name: {name}, weights: {fetched.path.resolve()}}}")
