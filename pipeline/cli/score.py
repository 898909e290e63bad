"""`zerosum score`: one set against another, from any folder, with no project around."""

from __future__ import annotations

import os
import signal
import sys
import tempfile
from collections.abc import Callable, Generator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pipeline import limits, plugins
from pipeline.cli import project
from pipeline.cli.progress import bars
from pipeline.console import ShownColumn, folded, show_table
from pipeline.errors import UserError
from pipeline.formats.report import ScoreRecord, dumps
from pipeline.settings import suggest

PATH_LENGTH = "path_length"


@dataclass(frozen=True)
class Options:
    """The command line as it was given; `keys` are settings of metrics by file and key, None = its default."""

    real: str | None
    fake: str
    extractor: str | None = None
    extractor_keys: Mapping[str, Any] = field(default_factory=lambda: {})
    metrics: tuple[str, ...] = ()
    keys: Mapping[tuple[str, str], Any] = field(default_factory=lambda: {})
    limit: int | None = None
    n: int | None = None
    seed: int = 0
    truncation: float = 1.0
    workers: int = 1
    threads: int | None = None
    cache: bool = True
    skip_broken: bool = False
    max_pixels: int = limits.ITEM_PIXELS
    quiet: bool = False
    size: str | None = None


def score(options: Options) -> tuple[list[ScoreRecord], list[str]]:
    """The records, and what a person should be told besides.

    Raises:
        UserError: for sides that cannot be scored, or options that don't fit them.
    """
    from pipeline.data.source import Limits
    from pipeline.scoring import score as scoring
    from pipeline.scoring.inputs import Opening
    from pipeline.scoring.sizes import parse_size
    from pipeline.storage.files import own_cache

    with ExitStack() as stack:
        scratch = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="zerosum-")))
        progress = stack.enter_context(bars(options.quiet))
        metrics = chosen(options)
        request = scoring.Request(
            real=options.real,
            fake=options.fake,
            extractor=extractor(options),
            metrics=[each for each in metrics if each["name"] != PATH_LENGTH],
            strict=bool(options.metrics),
            path_length=next((_path_length(each) for each in metrics if each["name"] == PATH_LENGTH), None),
            n=options.n,
            seed=options.seed,
            truncation=options.truncation,
            cache=own_cache("statistics") if options.cache else None,
            size=None if options.size is None else parse_size(options.size),
        )
        fetch = stack.enter_context(_registered(options, scratch))
        opening = Opening(fetch, progress, options.skip_broken, 1, Limits(max_pixels=options.max_pixels))
        mapped = stack.enter_context(_spread(options))
        found = scoring.score(request, scoring.Execution(opening, mapped, scratch if options.workers > 1 else None))
    return found.records, found.said


def chosen(options: Options) -> list[dict[str, Any]]:
    """The metrics' settings by their files' names; those that everyone means where none was named.

    Raises:
        UserError: for an unknown name, or a setting of a metric that is not among them.
    """
    from pipeline.scoring.score import DEFAULT

    known, called = [*plugins.names("metrics"), PATH_LENGTH], aliases()
    names: list[str] = []
    for word in (word.strip().lower() for given in options.metrics for word in given.split(",")):
        name = called.get(word, word)
        if name not in known:
            raise UserError(f"--metrics {word}: there is no such metric{suggest(word, [*known, *called])}")
        if name not in names:
            names.append(name)
    names = names or list(DEFAULT)
    for name, key in options.keys:
        if name not in names and options.keys[name, key] is not None:
            raise UserError(f"--{key.replace('_', '-')} is a setting of {name}, which is not among --metrics")
    return [{"name": name, **_own(name, options)} for name in names]


def aliases() -> dict[str, str]:
    """What the field calls the files of metrics/, and what each of their values is asked for by."""
    classes = {name: plugins.class_of("metrics", name) for name in plugins.names("metrics")}
    return {alias: name for name, found in classes.items() for alias in found.aliases} | {"ppl": PATH_LENGTH}


def _own(name: str, options: Options) -> dict[str, Any]:
    given = {key: value for (owner, key), value in options.keys.items() if owner == name and value is not None}
    if name == PATH_LENGTH:
        return given
    metric = plugins.class_of("metrics", name)
    if options.limit is not None and metric.neighbours:
        given["limit"] = options.limit
    return {**metric.usual, **given}


def _path_length(settings: Mapping[str, Any]) -> Any:
    from pipeline.scoring.settings import PathLengthSettings
    from pipeline.settings import validate

    return validate(PathLengthSettings, {k: v for k, v in settings.items() if k != "name"}, PATH_LENGTH)


def extractor(options: Options) -> dict[str, Any] | None:
    """The extractor's settings; None where the command line says nothing of one.

    Raises:
        UserError: for a key that the named one does not have.
    """
    keys = {key: value for key, value in options.extractor_keys.items() if value is not None}
    if options.extractor is None and not keys:
        return None
    name = options.extractor or "inception"
    settings = {"name": name, **keys}
    known = plugins.module("extractors", name, "--extractor").Config.model_fields
    for key in keys:
        if key not in known:
            raise UserError(f"--{key.replace('_', '-')} is no setting of the extractor '{name}'")
    plugins.configure("extractors", settings, "--extractor")
    return settings


@contextmanager
def _registered(options: Options, scratch: Path) -> Generator[Callable[[str], Path], None, None]:
    """The way to a registered model's folder, the store opened where one is asked for."""
    addresses = [each for each in (options.real, options.fake) if each is not None and each.startswith("models:/")]
    if not addresses:
        yield lambda uri: Path(uri)
        return
    from pipeline.registry import opening

    root = project.root()
    yield lambda uri: opening.folder_at(uri, root, scratch / "models")


@contextmanager
def _spread(options: Options) -> Generator[Any, None, None]:
    """How blocks are mapped: over this process's threads, or a private Ray's workers, with the same result."""
    from pipeline.scoring.extract import in_threads

    if options.workers == 1:
        yield in_threads(options.threads or os.cpu_count() or 1)
        return
    from pipeline.cluster.connect.session import session
    from pipeline.cluster.tasks import map_tasks
    from pipeline.run.settings import RunSettings

    with session(RunSettings(num_workers=options.workers), options.workers):
        # Ray's own handler aborts the process.
        signal.signal(signal.SIGTERM, lambda number, frame: sys.exit(128 + number))
        yield map_tasks.in_order


def show(records: list[ScoreRecord], said: list[str], as_json: bool) -> None:
    """Records on stdout, the rest on stderr."""
    for line in said:
        print(folded(line, "  ", sys.stderr), file=sys.stderr)
    if as_json:
        print(dumps(records))
        return
    _show_table(records)
    first = records[0]
    at = f" at tap {first.extractor.tap}" if first.extractor.tap else ""
    resize = f", resize {first.resize}" if first.resize not in {None, "none"} else ""
    weights = first.extractor.sha256[:12] or "ready-made"
    print(folded(f"extractor {first.extractor.name}{at} ({weights}){resize}, seed {first.seed}", "  "))
    for warning in dict.fromkeys(line for record in records for line in record.warnings):
        print(folded(f"  note: {warning}", "    "))


def _show_table(records: list[ScoreRecord]) -> None:
    rows: list[tuple[str, ...]] = []
    for record in records:
        spread = "" if record.spread is None else f"{record.spread:.2g}"
        sizes = ["" if not n else f"{n:,}" for n in (record.n_real, record.n_fake)]
        rows.append((record.name, f"{record.value:.7g}", spread, *sizes, record.note))
    numbers = [ShownColumn(heading, right=True) for heading in ("value", "spread", "real", "fake")]
    show_table([ShownColumn("score"), *numbers, ShownColumn("", folds=True)], rows)
