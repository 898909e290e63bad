"""What a stage reads from outside the DAG, as links that DVC looks through.

    inputs/ingest/data → ../../flowers        what `ingest.source` names: a folder or a file
    inputs/ingest/more                        a second file that it names, such as a csv of labels
    inputs/ingest/linked                      where links to folders within the data lead
    … of an address (s3://, https://)         a small file that says what is there: ETag, size, time of change
    inputs/reference/statistics, weights      files that the section `reference` names
    inputs/code/library                       the installed library, in a project that has no copy of it

dvc.yaml names these paths as dependencies, so DVC hashes whatever they lead to, inside the project or outside, and
runs the stage again when it changes. A stage sets its links when it starts. A place that has nothing to link to holds a
small file that says so. DVC does not follow links to folders within a dependency, which is why `linked` exists.
"""

from __future__ import annotations

import hashlib
import os
import stat
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pipeline import own_plugins, plugins
from pipeline.data.opening import open_source
from pipeline.data.source import printable
from pipeline.errors import BrokenArtefact, UserError
from pipeline.formats.shards import Manifest
from pipeline.params import Params
from pipeline.settings import at as setting
from pipeline.storage import fetched, files

FOLDER = "inputs"
PLACES: dict[str, tuple[str, ...]] = {"ingest": ("data", "more", "linked"), "reference": ("statistics", "weights")}
LIBRARY = Path(FOLDER, "code", "library")
UNUSED = "Nothing is read here: see pipeline/watched.py.\n"
ABSENT = "Not on this machine, so DVC cannot see it change: {}\n"
RECORD = "ingested.json"
UNSEEN = (".git", ".hg", ".dvc", "._", ".#", ".DS_Store", ".ipynb_checkpoints")  # by DVC, with our .dvcignore


@dataclass(frozen=True)
class Stamp:
    """How many files there are, and one hash over their names, sizes and times of change."""

    files: int
    digest: str


def named(params: Params, stage: str) -> dict[str, Path]:
    """The files and folders that the settings of a stage name, by their dotted setting; none for most stages."""
    if stage == "ingest":
        return {f"ingest.source.{field}": Path(path) for field, path in open_source(params.ingest).named().items()}
    if stage != "reference":
        return {}
    settings = params.reference
    found = {"reference.statistics": Path(settings.statistics)} if settings.statistics else {}
    config = plugins.configure("extractors", settings.extractor, "reference.extractor")
    own = plugins.class_of("extractors", str(settings.extractor["name"])).files(config)
    return found | {f"reference.extractor.{key}": path for key, path in own.items()}


def link(root: Path, params: Params, stage: str) -> list[str]:
    """Set the links of a stage in the project `root`; returns what a person should be told.

    Raises:
        UserError: if DVC could not watch the data where it is.
    """
    if stage == "code":
        link_library(root)
    places = PLACES.get(stage)
    if places is None:
        return []
    paths = _placed(root, params, stage)
    remote = open_source(params.ingest).remote() if stage == "ingest" else ()
    free = next((place for place in places if place not in paths), "")
    said: list[str] = []
    (root / FOLDER / stage).mkdir(parents=True, exist_ok=True)
    for place in places:
        path, at = paths.get(place), root / FOLDER / stage / place
        if remote and place == free:
            _settle(at, files.canonical_json(fetched.accounts(remote)).decode())
        elif path is None:
            _settle(at, UNUSED)
        elif not (root / path).exists():
            _settle(at, ABSENT.format(path))
            said.append(
                f"{path} is not on this machine, so DVC cannot see it change: after a change, `dvc repro -f -s {stage}`"
            )
        else:
            _refuse_unwatchable(root, root / path, stage)
            _point(at, path)
    return said


def link_library(root: Path) -> None:
    """Set the link by which DVC sees another version of the library, where the project holds no copy of its own."""
    if not (root / "pipeline").is_dir() and (root / "dvc.yaml").is_file():
        (root / LIBRARY).parent.mkdir(parents=True, exist_ok=True)
        _point(root / LIBRARY, Path(own_plugins.__file__).parent)


def _placed(root: Path, params: Params, stage: str) -> dict[str, Path]:
    """Which path goes to which place."""
    if stage == "reference":
        # What `auto` stands for was fetched and verified: known by its sha256, and in another place for others.
        given = {
            key: path for key, path in named(params, stage).items() if setting(params.raw, key) not in (None, "auto")
        }
        return {"statistics" if key == "reference.statistics" else "weights": path for key, path in given.items()}
    source = open_source(params.ingest)
    paths = list(named(params, stage).values())
    # What lies in the first needs no link of its own.
    rest = [path for path in paths[1:] if not path.absolute().is_relative_to(paths[0].absolute())]
    if len(rest) > 1:
        raise UserError(
            f"ingest.source: {source.describe()['name']} reads {len(paths)} places, and DVC can watch two; "
            "bring them under one folder"
        )
    found: dict[str, Path] = dict(zip(PLACES["ingest"], [*paths[:1], *rest], strict=False))
    # What was fetched from an address has no links that lead elsewhere.
    folders = source.linked() if paths and not source.remote() else ()
    linked = [path for path in folders if not path.is_relative_to(paths[0].resolve())]
    if linked:
        above, project = _above(linked), root.resolve()
        # A place of the project is named as such, since clones and moved projects have it elsewhere.
        found["linked"] = above.relative_to(project) if above.is_relative_to(project) else above
    return found


def _above(folders: Sequence[Path]) -> Path:
    """The folder that holds all of these.

    Raises:
        UserError: if that would be most of the machine.
    """
    common = Path(os.path.commonpath(folders))
    if common in {Path(common.anchor), Path.home(), Path("/home"), Path("/mnt"), Path("/media")} and len(folders) > 1:
        raise UserError(
            f"ingest.source: links lead to {folders[0]} and {folders[-1]}, which no folder but {common} holds; bring "
            "what is linked under one folder, so that DVC can watch it"
        )
    return common


def _settle(at: Path, text: str) -> None:
    if at.is_symlink() or not at.is_file() or at.read_text(encoding="utf-8") != text:
        at.unlink(missing_ok=True)
        at.write_text(text, encoding="utf-8")


def _point(at: Path, path: Path) -> None:
    """A link to `path`: relative if that is, so that a moved project keeps it."""
    target = path if path.is_absolute() else Path("../" * 2) / path
    if at.is_symlink() and at.readlink() == target:
        return
    at.unlink(missing_ok=True)
    at.symlink_to(target)


def _refuse_unwatchable(root: Path, path: Path, stage: str) -> None:
    """Refuse data at which DVC would fail or hang after all the work, or which it would pass over without a word."""
    if root.resolve().is_relative_to(path.resolve()):
        raise UserError(
            f"{stage}: {path} holds this project itself, and all that it writes would count as a change of the data; "
            "keep the data in a folder of its own"
        )
    broken: list[str] = []
    for folder, entries in _folders(path, hidden=True) if path.is_dir() else ():
        if (folder / ".dvc").is_dir():
            raise UserError(
                f"{stage}: {folder} is a DVC project of its own, into which DVC does not look, so that it would miss "
                "changes; name a folder inside of it"
            )
        for entry in entries:
            if entry.is_file(follow_symlinks=False):
                continue
            try:
                regular = stat.S_ISREG(entry.stat().st_mode)
            except OSError:
                broken.append(entry.path)
                continue
            if not regular:
                raise UserError(
                    f"{stage}: {printable(entry.path)} is no regular file (a pipe, a socket or a device), at which DVC "
                    "would wait for ever; remove it"
                )
    if broken:
        many = f"{len(broken):,} links lead nowhere, such as" if len(broken) > 1 else "a link leads nowhere:"
        raise UserError(
            f"{stage}: {many} {printable(min(broken))}. DVC fails at such links: bring what they lead to (`git annex "
            "get`, `dvc pull`), or remove them"
        )


# --- what has changed -------------------------------------------------------------------------


def stamp(root: Path, stage: str) -> Stamp:
    """Names, sizes and times of change of all that the links of a stage lead to; hidden files are left out."""
    digest, count = hashlib.sha256(), 0
    for place in PLACES.get(stage, ()):
        at = root / FOLDER / stage / place
        if not at.is_symlink():
            continue
        for name, size, changed in sorted(_seen(at)):
            count += 1
            digest.update(f"{place}/{name}\0{size}\0{changed}\n".encode("utf-8", "surrogateescape"))
    return Stamp(count, digest.hexdigest())


def _seen(at: Path) -> Iterator[tuple[str, int, int]]:
    if at.is_file():
        status = at.stat()
        yield "", status.st_size, status.st_mtime_ns
        return
    start = str(at)
    for _, entries in _folders(at):
        for entry in entries:
            try:
                status = entry.stat()
            except OSError:  # a broken link, or gone in this moment
                yield entry.path[len(start) :], -1, 0
                continue
            yield entry.path[len(start) :], status.st_size, status.st_mtime_ns


def _folders(start: Path, hidden: bool = False) -> Iterator[tuple[Path, list[os.DirEntry[str]]]]:
    """Each folder below `start` with what is in it but folders and links to them, which are not followed.

    hidden: with hidden names, of which DVC passes over some as well.
    """
    waiting = [start]
    while waiting:
        folder = waiting.pop()
        try:
            with os.scandir(folder) as found:
                entries = [entry for entry in found if not entry.name.startswith(UNSEEN if hidden else ".")]
        except OSError:
            continue
        waiting += [Path(entry.path) for entry in entries if entry.is_dir(follow_symlinks=False)]
        yield folder, [entry for entry in entries if not _is_folder(entry)]


def _is_folder(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_dir()
    except OSError:  # a link that leads to itself
        return False


def remember(root: Path, work: Path, shards: Path) -> None:
    """Keep in scratch what the files looked like when ingest packed them."""
    seen = stamp(root, "ingest")
    content = {"manifest": Manifest.load(shards).sha256, "files": seen.files, "digest": seen.digest}
    files.write_json(work / RECORD, content)


def apart(root: Path, params: Params, work: Path, shards: Path) -> str:
    """A sentence where shards and source are apart: other settings, or files that have changed since; else nothing.

    Where no more is known, as in a fresh clone, files are not compared.
    """
    try:
        manifest = Manifest.load(shards)
    except BrokenArtefact:
        return ""
    settings = {"source": open_source(params.ingest).describe(), "packing": params.ingest.describe()}
    recorded = {"source": manifest.source, "packing": manifest.packing}
    # Settings that are newer than the shards have no say.
    if any(recorded[part].get(key) != settings[part].get(key) for part in recorded for key in recorded[part]):
        return "the shards were packed by other settings than ingest has now; `dvc repro` packs them again"
    try:
        kept: Mapping[str, Any] = files.read_json(work / RECORD, "the ingest stage")
        if kept["manifest"] != manifest.sha256:
            return ""
    except (BrokenArtefact, KeyError, TypeError):
        return ""
    now = stamp(root, "ingest")
    if (now.files, now.digest) == (kept["files"], kept["digest"]):
        return ""
    change = (
        f"{now.files:,} files now, {kept['files']:,} then" if now.files != kept["files"] else "other sizes or times"
    )
    return f"the source has changed since ingest packed it ({change}); `dvc repro` packs it again"
