"""`zerosum …`: what people do with trained models. Thin: each command imports its work when called."""

from __future__ import annotations

import shlex
import sys
from pathlib import Path
from typing import Annotated

import typer

from pipeline import console, limits, own_plugins, streams
from pipeline.errors import UserError
from pipeline.settings import home

app = typer.Typer(
    help="Reproducible GAN training: the registry's models, and the project's health.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)

weights = typer.Typer(help="Pretrained networks, for scores and perceptual losses.", no_args_is_help=True)
app.add_typer(weights, name="weights")

Name = Annotated[str | None, typer.Option(help="Registered model; else register.name of params.yaml.")]


def main() -> None:
    """The console script: a mistake of the user's ends in a sentence and exit code 2.

    What cannot be printed ends no work. A reader that has gone (`| head`) is nothing to tell of; where what was
    printed is lost otherwise, as on a full disk, the exit code of work that is done is 1.
    """
    streams.settle()
    try:
        app()
    except UserError as error:
        print(f"zerosum: {error}", file=sys.stderr)
        if (unused := own_plugins.unused(Path.cwd())) is not None:
            print(f"the plug-ins in {unused} were not used: export {own_plugins.VARIABLE}={unused}", file=sys.stderr)
        sys.exit(2)
    except SystemExit as left:
        sys.stdout.flush()
        if error := streams.lost():
            print(f"zerosum: what it printed could not all be written: {error.strerror}", file=sys.stderr)
            sys.exit(left.code or 1)
        raise


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
    out: Annotated[Path, typer.Option(help="Folder of the files; made if missing.")],
    n: Annotated[int, typer.Option(min=1, help="How many samples.")] = 64,
    seed: Annotated[int, typer.Option(min=0, help="Same seed, same bytes.")] = 0,
    truncation: Annotated[float, typer.Option(min=0.0, help="Below 1: nearer to the mean, less varied.")] = 1.0,
    label: Annotated[
        list[str] | None,
        typer.Option(help="Class by name (3 is the class named 3); may be repeated. Default: all in turn."),
    ] = None,
    label_index: Annotated[
        list[int] | None, typer.Option(help="Class by its index from 0, instead of --label; may be repeated.")
    ] = None,
    text: Annotated[
        list[str] | None, typer.Option(help="What a model that draws from words is to draw; may be repeated, in turn.")
    ] = None,
    texts: Annotated[Path | None, typer.Option(help="The same from a file in UTF-8, a sentence a line.")] = None,
    grid: Annotated[
        Path | None, typer.Option(help="PNG file of the grid. Default: beside the folder, OUT-grid.png.")
    ] = None,
    no_grid: Annotated[bool, typer.Option("--no-grid", help="Write no grid.")] = False,
    trust_code: Annotated[
        bool,
        typer.Option("--trust-code", help="Run the code that came with a registered model, with all your rights."),
    ] = False,
) -> None:
    """Write samples of a model as PNG files, and beside their folder one grid of them; rows of a table as a csv."""
    from pipeline.cli import generate as work

    if grid is not None and no_grid:
        raise UserError("--grid and --no-grid: give one of them")
    said = work.sentences(text, None if texts is None else Path(home(str(texts))))
    request = work.SampleRequest(seed, truncation, tuple(label or ()), tuple(label_index or ()), said)
    out, place = Path(home(str(out))), None if grid is None else Path(home(str(grid)))
    written = work.generate(home(model), out, n, request, place, with_grid=not no_grid, trust_code=trust_code)
    print(f"{n} samples in {out.resolve()}" + (f", a grid of them at {written.grid}" if written.grid else ""))
    if written.older:
        print(f"it also holds {written.older} samples of an earlier run")
    if written.note:
        print(console.folded(written.note, "  ", sys.stderr), file=sys.stderr)
    if written.stray:
        print(f"it also holds {written.stray.name}, a grid of an earlier run, which is no sample: remove it")


@app.command(rich_help_panel="Scores")
def score(
    fake: Annotated[
        str,
        typer.Option(
            help="What is scored: images, shards, a model, .npy features, .npz statistics (or features and labels, "
            "which are indices of classes; everywhere else a class is its name)."
        ),
    ],
    real: Annotated[
        str | None,
        typer.Option(help="What it is held against: the same kinds, or a reference; folder:holdout a split."),
    ] = None,
    extractor: Annotated[str | None, typer.Option(help="inception (default), random_projection, classifier.")] = None,
    weights: Annotated[
        str | None, typer.Option(help="Of the Inception network: a path; else what was fetched.")
    ] = None,
    tap: Annotated[int | None, typer.Option(help="Its layer: 64, 192, 768 or 2048.")] = None,
    resize: Annotated[str | None, typer.Option(help="legacy_torch (default), legacy_tf or clean.")] = None,
    size: Annotated[
        str | None,
        typer.Option(help="Bring images of both sides to this size first: 64, or 48x64 (bicubic, antialiased)."),
    ] = None,
    alpha: Annotated[str | None, typer.Option(help="A fourth channel: drop (default), white or black.")] = None,
    sha256: Annotated[str | None, typer.Option(help="What the weights file must be.")] = None,
    batch_size: Annotated[int | None, typer.Option(help="Images at once: 1, 2, 4 … 64; changes no score.")] = None,
    metrics: Annotated[
        list[str] | None, typer.Option(help="fid, kid, is, precision_recall, density_coverage, …; comma or repeated.")
    ] = None,
    n: Annotated[
        int | None,
        typer.Option(min=2, help="Maximum number of images per side; number of samples to draw from a model."),
    ] = None,
    seed: Annotated[int, typer.Option(min=0, help="Of samples, subsets and choices.")] = 0,
    truncation: Annotated[float, typer.Option(min=0.0, help="Of a model's samples.")] = 1.0,
    splits: Annotated[int | None, typer.Option(min=1, help="Parts of the inception score (10).")] = None,
    shuffle: Annotated[
        bool | None, typer.Option(help="Cut those parts from an order shuffled by the seed (default).")
    ] = None,
    degree: Annotated[int | None, typer.Option(min=1, help="Of KID's polynomial kernel (3).")] = None,
    gamma: Annotated[float | None, typer.Option(help="Of KID's kernel (1 / dimension).")] = None,
    coef: Annotated[float | None, typer.Option(help="Of KID's kernel (1).")] = None,
    subsets: Annotated[int | None, typer.Option(min=1, help="Of KID, at most (50).")] = None,
    subset_size: Annotated[int | None, typer.Option(min=2, help="Of KID (1000, or what there is).")] = None,
    precision_k: Annotated[int | None, typer.Option(min=1, help="The neighbour of precision and recall (3).")] = None,
    density_k: Annotated[int | None, typer.Option(min=1, help="The neighbour of density and coverage (5).")] = None,
    limit: Annotated[int | None, typer.Option(min=8, help="Rows that neighbours are sought among (10,000).")] = None,
    steps: Annotated[int | None, typer.Option(min=64, help="Of the path length (1024).")] = None,
    epsilon: Annotated[float | None, typer.Option(help="Of the path length (1e-4).")] = None,
    workers: Annotated[int, typer.Option(min=1, help="Ray workers; changes no score.")] = 1,
    threads: Annotated[
        int | None, typer.Option(min=1, help="Blocks at once in this process; changes no score.")
    ] = None,
    cache: Annotated[bool, typer.Option(help="Keep statistics of reals, by content, in the cache folder.")] = True,
    skip_broken: Annotated[bool, typer.Option(help="Leave broken images out instead of refusing them.")] = False,
    max_pixels: Annotated[
        int, typer.Option(min=1, max=limits.MOST_PIXELS, help="Of one image; larger ones count as broken.")
    ] = limits.ITEM_PIXELS,
    as_json: Annotated[bool, typer.Option("--json", help="A list of records on stdout.")] = False,
    quiet: Annotated[bool, typer.Option(help="No progress.")] = False,
) -> None:
    """Score any set against another: FID, KID, inception score, precision, recall, density, coverage, …"""
    if workers > 1:
        from pipeline.cluster.connect.supervisor import supervise

        supervise("zerosum score")
    from pipeline.cli import score as work

    keys: dict[tuple[str, str], int | float | bool | None] = {
        ("inception_score", "splits"): splits,
        ("inception_score", "shuffle"): shuffle,
        ("kernel", "degree"): degree,
        ("kernel", "gamma"): gamma,
        ("kernel", "constant"): coef,
        ("kernel", "subsets"): subsets,
        ("kernel", "subset_size"): subset_size,
        ("precision_recall", "k"): precision_k,
        ("density_coverage", "k"): density_k,
        ("path_length", "samples"): steps,
        ("path_length", "epsilon"): epsilon,
    }
    options = work.Options(
        real=None if real is None else home(real),
        fake=home(fake),
        extractor=extractor,
        extractor_keys={
            "weights": weights,
            "tap": tap,
            "resize": resize,
            "alpha": alpha,
            "sha256": sha256,
            "batch_size": batch_size,
        },
        metrics=tuple(metrics or ()),
        keys=keys,
        limit=limit,
        n=n,
        seed=seed,
        truncation=truncation,
        workers=workers,
        threads=threads,
        cache=cache,
        skip_broken=skip_broken,
        max_pixels=max_pixels,
        quiet=quiet,
        size=size,
    )
    from pipeline.errors import TrainingFailed

    try:
        records, said = work.score(options)
    except TrainingFailed as error:
        print(f"zerosum: {error}", file=sys.stderr)
        raise typer.Exit(1) from None
    work.show(records, said, as_json)


@app.command(rich_help_panel="Scores")
def compare(
    runs: Annotated[
        list[str], typer.Argument(help="Report folders, JSON of `score`, models:/NAME/VERSION, MLflow run ids.")
    ],
    anyway: Annotated[bool, typer.Option("--anyway", help="Show unlike protocols too, marked.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Records on stdout.")] = False,
) -> None:
    """Put runs' scores side by side; refuses what was measured by unlike protocols."""
    from pipeline.cli import compare as work

    runs = [home(run) for run in runs]
    work.show(work.compare(runs, anyway), runs, as_json)


@app.command()
def models(name: Name = None) -> None:
    """List a model's versions with their aliases and scores."""
    from pipeline.cli import promote as work

    work.show_models(name)


@app.command()
def register() -> None:
    """Register what artifacts/ hold in the registry that is chosen now; repeating it changes nothing."""
    from pipeline.cli import register as work

    print("\n".join(work.register()))


@app.command(hidden=True)
def ready() -> None:
    """Have the registry ready for MLflow's own commands: reachable, and where the project was moved, told of it."""
    from pipeline.cli import register as work

    work.ready()


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
    """Validate params.yaml and what it names: keys, ranges, files, data, family, weights. Does no work."""
    from pipeline.cli import check as work

    print("\n".join(work.check(params)))


@app.command()
def new(
    folder: Annotated[Path, typer.Argument(help="The project's folder, new or empty.")],
    name: Annotated[str | None, typer.Option(help="Of its registered model; else the folder's.")] = None,
) -> None:
    """Make a project of your own: params.yaml, dvc.yaml, stages, plug-ins, Makefile; git and DVC initialised."""
    from pipeline.cli import new as work

    made = work.new(Path(home(str(folder))), name)
    print(f"{made}\nnext: cd {shlex.quote(str(folder))} && make repro")


@app.command()
def families(
    as_json: Annotated[bool, typer.Option("--json", help="As a list of records.")] = False,
) -> None:
    """List every family and preset: paper, data it needs, parameters of each network."""
    import json

    from pipeline.cli import families as work

    records = work.describe()
    if as_json:
        print(json.dumps(records, indent=2))
        return
    shown = [console.folded(part, " " * 25) for line in work.lines(records) for part in line.split("\n")]
    print("\n".join(shown).strip())


@app.command()
def explore(
    model: Annotated[str | None, typer.Argument(help="models:/NAME@ALIAS, models:/NAME/VERSION, or a folder.")] = None,
    how: Annotated[str | None, typer.Argument(help="Which exploration; without one, they are listed.")] = None,
    out: Annotated[Path, typer.Option(help="Folder of the pictures and explore.json; made if missing.")] = Path(
        "explored"
    ),
    settings: Annotated[
        list[str] | None, typer.Option("--set", "-s", help="key=value of the exploration; may be repeated.")
    ] = None,
) -> None:
    """Walk, mix, sweep, move codes or project with a trained model. Classes by name; by index: label_index."""
    from pipeline.cli import explore as work

    if model is None or how is None:
        for name, sentence in work.names():
            print(console.folded(f"{name:<20} {sentence}", " " * 21))
        return
    for path in work.explore(home(model), how, Path(home(str(out))), settings or ()):
        print(path)


@app.command()
def doctor() -> None:
    """Check versions, threads, folders, disk, git, DVC and the registry."""
    from pipeline.cli import doctor as work

    if not work.show():
        raise typer.Exit(1)


@weights.command("list")
def list_weights() -> None:
    """List the networks, whether they are here, and under which licence they are published."""
    from pipeline.cli import weights as work
    from pipeline.console import ShownColumn, show_table

    columns = [
        ShownColumn("name"),
        ShownColumn("here"),
        ShownColumn("licence", folds=True),
        ShownColumn("page", folds=True),
    ]
    show_table(columns, work.listed())


@weights.command("fetch")
def fetch_weights(
    name: Annotated[str, typer.Argument(help="Which network; `zerosum weights list` shows them.")],
    source: Annotated[str | None, typer.Option("--from", help="Another URL, or a file, of the same bytes.")] = None,
    to: Annotated[Path | None, typer.Option(help="Folder; else the cache ($ZEROSUM_CACHE, ~/.cache/zerosum).")] = None,
    sha256: Annotated[str | None, typer.Option(help="Of the file, where it is not the public one.")] = None,
) -> None:
    """Download a network's public weights once, verified, and keep them as safetensors."""
    import json
    import re

    from pipeline import plugins
    from pipeline.cli import weights as work

    fetched = work.fetch(name, source, None if to is None else Path(home(str(to))), sha256)
    print(f"{'written' if fetched.new else 'here already'}: {fetched.path.resolve()}")
    if (to is not None or sha256 is not None) and name in plugins.names("extractors"):
        path = str(fetched.path.resolve())
        # In a flow mapping of YAML a comma, a colon or a # would end it.
        quoted = path if re.fullmatch(r"[\w./-]+", path) else json.dumps(path, ensure_ascii=False)
        print(f"use it as reference.extractor: {{name: {name}, weights: {quoted}}}")
