"""Which links in a folder of data are followed: to places that belong to the data, and to no others."""

from __future__ import annotations

import configparser
import functools
import os
import re
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Literal

from pipeline import limits
from pipeline.errors import BrokenArtefact
from pipeline.settings import home
from pipeline.storage.files import contents

Links = Literal["auto", "inside"] | Sequence[str]
"""Which links are followed: those to places within the folder (`inside`), within other folders too, or `auto`."""


CACHED = re.compile(r"/(?:files/md5/)?[0-9a-f]{2}/[0-9a-f]{30}(?:\.dir)?")  # below a cache of DVC's, 3 and before
HUB = re.compile(r"/(?:[0-9a-f]{40}|[0-9a-f]{64})")  # below a hub's blobs
ANNEX = re.compile(
    r"(?:/[0-9A-Za-z]{1,3}){2}/(?P<key>[A-Z0-9_]+(?:-[a-zA-Z]\d+)*--[^/]+)/(?P=key)"
)  # below its objects


def inside(path: str, folder: str) -> bool:
    """Whether a real path is this folder or lies below it."""
    return path == folder or path.startswith(folder if folder.endswith("/") else f"{folder}/")


class Followed:
    """The places that a link may lead to; looked for when there is a link."""

    def __init__(self, folders: Sequence[Path], links: Links) -> None:
        self.folders, self.links = folders, links

    def may(self, target: str, is_folder: bool) -> bool:
        """Whether a link to the real path `target` is followed."""
        if any(inside(target, place) for place in self._places):
            return True
        if any(inside(target, cache) and names.fullmatch(target[len(cache) :]) for cache, names in self._caches):
            return True
        for parent in self._parents:
            if target != parent and inside(target, parent):
                parts = target[len(parent) :].strip("/").split("/")
                if (is_folder or len(parts) > 1) and not any(part.startswith(".") for part in parts):
                    return True
        return False

    @functools.cached_property
    def _places(self) -> list[str]:
        own = [os.path.realpath(folder) for folder in self.folders]
        if self.links == "inside":
            return own
        if self.links == "auto":
            return [*own, *(place for place, beside, _ in self._stores if place == beside)]
        return [*own, *(os.path.realpath(home(place)) for place in self.links)]

    @functools.cached_property
    def _caches(self) -> list[tuple[str, re.Pattern[str]]]:
        """Places that are taken for what they hold, by its names alone: DVC's caches, and stores that are elsewhere.

        Whoever made the folder may have written where they are: only what those tools put there counts.
        """
        if self.links != "auto":
            return []
        caches = dict.fromkeys(cache for folder in self.folders for cache in _dvc_caches(folder))
        found = [(os.path.realpath(cache).rstrip("/"), CACHED) for cache in caches]
        return [*found, *((place, names) for place, beside, names in self._stores if place != beside)]

    @functools.cached_property
    def _stores(self) -> list[tuple[str, str, re.Pattern[str]]]:
        """Of each store its real place, where that would be if no link led there, and the names of what it holds."""
        found: list[tuple[str, str, re.Pattern[str]]] = []
        for root, below, names in dict.fromkeys(store for folder in self.folders for store in _stores(folder)):
            found.append((os.path.realpath(root / below), os.path.join(os.path.realpath(root), below), names))
        return found

    @functools.cached_property
    def _parents(self) -> list[str]:
        """Folders whose other sub-folders may be led to: where the folder is, as it is named and in truth."""
        if self.links != "auto":
            return []
        found: set[str] = set()
        for folder in self.folders:
            found |= {os.path.realpath(folder.absolute().parent), os.path.dirname(os.path.realpath(folder))}
        return sorted(found - _open_to_all())


def _open_to_all() -> set[str]:
    """Folders in which things lie side by side that have nothing to do with each other."""
    known = {"/", "/tmp", "/var/tmp", "/dev/shm", tempfile.gettempdir(), home("~")}
    real = {os.path.realpath(place) for place in known}
    return real | {os.path.dirname(os.path.realpath(home("~")))}


def _stores(folder: Path) -> list[tuple[Path, str, re.Pattern[str]]]:
    """Where tools keep the content of files that they link to: git-annex's objects, a hub's blobs.

    Each as the folder that it is in, its path from there, and how what it holds is named.
    """
    found: list[tuple[Path, str, re.Pattern[str]]] = []
    for place in _named_and_real(folder):
        repository = next((each for each in (place, *place.parents) if (each / ".git").exists()), None)
        if repository is not None:
            found += [(git, "annex/objects", ANNEX) for git in _git_folders(repository / ".git")]
        hubs = [each.parent.parent for each in (place, *place.parents) if each.parent.name == "snapshots"]
        found += [(hub, "blobs", HUB) for hub in hubs]
    return found


def _named_and_real(folder: Path) -> list[Path]:
    return list(dict.fromkeys((folder.absolute(), Path(os.path.realpath(folder)))))


def _dvc_caches(folder: Path) -> list[Path]:
    """The caches of the projects that a folder is in, and of the one that is worked in."""
    found: list[Path] = []
    for place in dict.fromkeys((*_named_and_real(folder), Path.cwd())):
        repository = next((each for each in (place, *place.parents) if (each / ".dvc").is_dir()), None)
        if repository is not None:
            found += _caches_of(repository / ".dvc")
    return found


def _caches_of(dvc: Path) -> list[Path]:
    found = [dvc / "cache"]
    everywhere = Path(os.environ.get("XDG_CONFIG_HOME") or home("~/.config")) / "dvc" / "config"
    for path in (everywhere, dvc / "config", dvc / "config.local"):
        parser = configparser.ConfigParser(strict=False, interpolation=None, allow_no_value=True)
        try:
            parser.read_string(_named(path))
            named = parser.get("cache", "dir", fallback=None)
        except (configparser.Error, ValueError, OSError, BrokenArtefact):
            continue  # DVC itself will say so
        if named:
            found.append(path.parent / home(named.strip().strip("\"'")))
    return found


def _git_folders(git: Path) -> list[Path]:
    """A repository's own folder; of a work tree or a submodule, the one that its file names, and what that shares."""
    try:
        if git.is_file():
            git = git.parent / _named(git).partition("gitdir:")[2].strip()
        common = git / "commondir"
        shared = [git / _named(common).strip()] if common.is_file() else []
    except (OSError, ValueError, BrokenArtefact):
        return []
    return [git, *shared]


def _named(file: Path) -> str:
    """The text of a small file; `ValueError` where it holds a zero byte, which is in no name."""
    text = contents(file, limits.POINTER_BYTES, "its tool").decode()
    if "\0" in text:
        raise ValueError(file)
    return text
