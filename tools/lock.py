"""`make lock`: gives each pin of the lock files the sha256 of every file that pip may take for it, one package a line.

    lock.py                 the lock files of this project, from the index that pip is configured for

A file's hash is what the index says. Files are not fetched, but for small ones without metadata beside them. Those
count that Python 3.11 can use on Linux (x86-64, arm64) and macOS; a source archive only where there is no wheel. The
name of no host is written.
"""

from __future__ import annotations

import hashlib
import io
import json
import re
import subprocess
import sys
import urllib.error
import urllib.request
import zipfile
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import cache
from html.parser import HTMLParser
from importlib import metadata
from pathlib import Path
from urllib.parse import unquote, urldefrag, urljoin, urlsplit

from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet
from packaging.utils import InvalidWheelFilename, canonicalize_name, parse_sdist_filename, parse_wheel_filename
from packaging.version import Version

ROOT = Path(__file__).parents[1]
RUN, DEV, CUDA, BUILD = (ROOT / f"requirements{name}.lock" for name in ("", "-dev", "-cuda", "-build"))
CLOUDS = (ROOT / "infra" / "docker" / "aws.lock", ROOT / "infra" / "docker" / "gcp.lock")
SERVER = ROOT / "infra" / "mlflow" / "requirements.lock"
BUILDERS = ("setuptools",)  # what a source archive is built with, since pip would fetch the newest
PYTHON = (3, 11)
SMALL = 16 * 2**20  # bytes of a wheel that is fetched for its metadata
PLATFORM = re.compile(r"any|(manylinux\w*|linux)_(x86_64|aarch64)|macosx_\d+_\d+_(arm64|x86_64|universal2)")
SIMPLE = "application/vnd.pypi.simple.v1+json"
LINUX = {"platform_system": "Linux", "sys_platform": "linux", "python_version": "3.11", "python_full_version": "3.11.0"}


@dataclass(frozen=True)
class File:
    """One file of a project: its name, where it is, and its sha256."""

    name: str
    url: str
    sha256: str


def main() -> None:
    """Write every lock file again, in place."""
    run = pins(RUN)
    write(RUN, run)
    write(DEV, pins(DEV))
    for path in CLOUDS:
        write(path, pins(path))
    write(BUILD, {name: run[name] for name in BUILDERS})
    extra = {name: version for name, version in pins(SERVER).items() if canonicalize_name(name) not in canonical(run)}
    needed = closure(["mlflow", *extra])
    write(SERVER, extra | {name: version for name, version in run.items() if canonicalize_name(name) in needed})
    write(CUDA, cuda(run))


def pins(path: Path) -> dict[str, str]:
    """Name → version, as a lock file has them."""
    lines = [
        line.split()[0] for line in path.read_text(encoding="utf-8").splitlines() if line.strip()[:1] not in {"", "#"}
    ]
    return dict(line.split("==", 1) for line in lines)


def write(path: Path, found: dict[str, str]) -> None:
    """Keep the remark at the head; then a line a package, in order."""
    head = [line for line in path.read_text(encoding="utf-8").splitlines() if line.startswith("#")]
    lines = [line_of(name, found[name]) for name in sorted(found, key=str.lower)]
    path.write_text("\n".join([*head, *lines]) + "\n", encoding="utf-8")
    print(f"{path.relative_to(ROOT)}: {len(lines)} packages, {sum(line.count('--hash') for line in lines)} files")


def line_of(name: str, version: str) -> str:
    """`name==version --hash=… --hash=…`."""
    hashes = sorted({file.sha256 for file in usable(name, version)})
    if not hashes:
        raise SystemExit(f"{name}=={version}: the index has no file of it that Python 3.11 could use here")
    return " ".join([f"{name}=={version}", *(f"--hash=sha256:{each}" for each in hashes)])


def usable(name: str, version: str) -> list[File]:
    """The wheels of a version that a machine of ours could take; the source archive where there are none."""
    wheels: list[File] = []
    archives: list[File] = []
    for file in files(name):
        try:
            if file.name.endswith(".whl"):
                _, found, _, tags = parse_wheel_filename(file.name)
                if found.public == version and any(fits(tag.interpreter, tag.abi, tag.platform) for tag in tags):
                    wheels.append(file)
            elif file.name.endswith((".tar.gz", ".zip")) and parse_sdist_filename(file.name)[1] == Version(version):
                archives.append(file)
        except (InvalidWheelFilename, ValueError):
            continue  # of a time before names had rules
    return wheels or archives


def fits(interpreter: str, abi: str, platform: str) -> bool:
    """Whether Python 3.11 on Linux or macOS takes a wheel of this tag."""
    if not PLATFORM.fullmatch(platform):
        return False
    of = re.fullmatch(r"(py|cp)(\d)(\d*)", interpreter)
    if of is None:
        return False
    least = (int(of[2]), int(of[3] or 0))
    if of[1] == "py" or abi == "abi3":
        return least[0] == PYTHON[0] and least <= PYTHON
    return least == PYTHON


@cache
def files(name: str) -> tuple[File, ...]:
    """Every file of a project: of the index, and of the folders that pip is told to look into as well."""
    index, folders = sources()
    found = list(listed(f"{index.rstrip('/')}/{canonicalize_name(name)}/"))
    for folder in folders:
        for path in folder.glob("*.whl"):
            if canonicalize_name(path.name.partition("-")[0]) == canonicalize_name(name):
                with path.open("rb") as data:
                    found.append(File(path.name, str(path), hashlib.file_digest(data, "sha256").hexdigest()))
    return tuple(found)


@cache
def sources() -> tuple[str, tuple[Path, ...]]:
    """The index and the folders that pip is configured for."""
    done = subprocess.run([sys.executable, "-m", "pip", "config", "list"], capture_output=True, text=True, check=True)
    said = {
        key.rpartition(".")[2]: value.strip().strip("'\"")
        for key, _, value in (line.partition("=") for line in done.stdout.splitlines())
    }
    folders = tuple(Path(word) for word in said.get("find-links", "").split() if Path(word).is_dir())
    return said.get("index-url", "https://pypi.org/simple"), folders


def listed(page: str) -> Iterator[File]:
    """What a page of the simple index lists with a sha256, be it JSON or HTML."""
    request = urllib.request.Request(page, headers={"Accept": f"{SIMPLE}, text/html;q=0.1"})
    with urllib.request.urlopen(request, timeout=60) as answer:
        text, kind = answer.read().decode(), answer.headers.get_content_type()
    if kind == SIMPLE:
        for each in json.loads(text)["files"]:
            if "sha256" in each["hashes"] and not each.get("yanked"):
                yield File(each["filename"], urljoin(page, each["url"]), each["hashes"]["sha256"])
        return
    links = Links()
    links.feed(text)
    for link in links.found:
        url, fragment = urldefrag(urljoin(page, link))
        if fragment.startswith("sha256="):
            yield File(unquote(urlsplit(url).path.rpartition("/")[2]), url, fragment.removeprefix("sha256="))


class Links(HTMLParser):
    """The addresses of a page."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found += [value for key, value in attrs if tag == "a" and key == "href" and value]


def closure(roots: Iterable[str]) -> set[str]:
    """The roots and all that they need, as this environment has them installed."""
    needed: set[str] = set()
    waiting = [Requirement(root) for root in roots]
    done: set[tuple[str, frozenset[str]]] = set()
    while waiting:
        wanted = waiting.pop()
        name = canonicalize_name(wanted.name)
        if (name, frozenset(wanted.extras)) in done:
            continue
        done.add((name, frozenset(wanted.extras)))
        needed.add(name)
        try:
            lines = metadata.requires(name) or []
        except metadata.PackageNotFoundError:
            continue  # of an image alone; what it needs is pinned beside it
        for each in map(Requirement, lines):
            if each.marker is None or any(each.marker.evaluate({"extra": extra}) for extra in ("", *wanted.extras)):
                waiting.append(each)
    return needed


def cuda(run: dict[str, str]) -> dict[str, str]:
    """What torch's build for CUDA needs beside the lock, by the metadata that the index has of its wheel."""
    known = canonical(run)
    found: dict[str, str] = {}
    allowed: dict[str, SpecifierSet] = {}
    waiting = [Requirement(f"torch=={run['torch']}")]
    while waiting:
        wanted = waiting.pop(0)
        name = canonicalize_name(wanted.name)
        allowed[name] = allowed.get(name, SpecifierSet()) & wanted.specifier
        wheels = [file for file in fetched(name) if allowed[name].contains(version_of(file))]
        newest = max(wheels, key=lambda file: Version(version_of(file)))
        if found.get(name) == version_of(newest) and not wanted.extras:
            continue
        found[name] = version_of(newest)
        for line in metadata_of(newest):
            if not line:
                break
            if line.startswith("Requires-Dist: "):
                each = Requirement(line.removeprefix("Requires-Dist: "))
                applies = each.marker is None or any(
                    each.marker.evaluate({**LINUX, "extra": extra}) for extra in ("", *wanted.extras)
                )
                if applies and canonicalize_name(each.name) not in known:
                    waiting.append(each)
    return {name: version for name, version in found.items() if name not in known}


@cache
def metadata_of(file: File) -> list[str]:
    """The lines of a wheel's METADATA: as the index has them beside it, else out of the wheel, if that is small."""
    try:
        with urllib.request.urlopen(f"{file.url}.metadata", timeout=60) as answer:
            return answer.read().decode().splitlines()
    except urllib.error.HTTPError as error:
        if error.code != 404:
            raise
    with urllib.request.urlopen(file.url, timeout=60) as answer:
        size = int(answer.headers.get("Content-Length") or SMALL + 1)
        if size > SMALL:
            print(f"{file.name}: no metadata beside it, and {size / 2**20:.0f} MiB; taken to need nothing else")
            return []
        data = io.BytesIO(answer.read())
    with zipfile.ZipFile(data) as archive:
        (name,) = (each for each in archive.namelist() if each.endswith(".dist-info/METADATA"))
        return archive.read(name).decode().splitlines()


def fetched(name: str) -> list[File]:
    """The wheels of the index for Linux on x86-64: those of a folder have no metadata beside them."""
    found: list[File] = []
    for file in files(name):
        if file.url.startswith("http") and file.name.endswith(".whl"):
            tags = parse_wheel_filename(file.name)[3]
            if any(
                fits(tag.interpreter, tag.abi, tag.platform) and not re.search("macos|aarch", tag.platform)
                for tag in tags
            ):
                found.append(file)
    return found


def version_of(file: File) -> str:
    """Of a wheel's name."""
    return file.name.split("-")[1]


def canonical(found: Iterable[str]) -> set[str]:
    """Names in one spelling."""
    return {canonicalize_name(name) for name in found}


if __name__ == "__main__":
    main()
