"""Who else may write where this user reads: modes that honour the umask, and folders that are its owner's alone.

A file that others may replace is theirs. So caches that are found by default are made for their owner alone, and are
not read where others could have written to them.
"""

from __future__ import annotations

import contextlib
import os
import stat
import sys
from pathlib import Path

from pipeline.errors import UserError

READABLE = 0o644  # safetensors makes files that nobody else may read
STATUS = Path("/proc/self/status")
SITE_CACHE = "DVC_SITE_CACHE_DIR"
SITE = Path("/var/tmp/dvc")  # DVC's own choice; it opens the folder to everybody
OTHERS, GROUP = stat.S_IWOTH, stat.S_IWGRP


def umask() -> int:
    """This process's mask of modes."""
    # The system's call can only be asked by changing the mask, for all threads.
    with contextlib.suppress(OSError, ValueError):
        for line in STATUS.read_text(encoding="ascii", errors="replace").splitlines():
            if line.startswith("Umask:"):
                return int(line.split()[1], 8)
    found = os.umask(0o077)
    os.umask(found)
    return found


def readable(path: Path) -> None:
    """Let those read our file whom the umask leaves it to, and nobody write; of a folder, take what it forbids."""
    mode = stat.S_IMODE(path.stat().st_mode) if path.is_dir() else READABLE
    path.chmod(mode & ~umask())


def folder(path: Path) -> Path:
    """`path`, made for its owner alone where it is missing; one that is there must be nobody else's to write to.

    Raises:
        UserError: if others could have written to it.
    """
    with contextlib.suppress(OSError):  # whoever writes to it meets the same error, and says for what
        missing = [each for each in (path, *path.parents) if not each.exists()]
        for each in reversed(missing):
            each.mkdir(mode=0o700, exist_ok=True)
    if who := others(path):
        raise UserError(
            f"{path} {who}, so that what is in it may be anybody's; look at it, and make it yours alone: "
            f"`chown -R $(id -un) {path} && chmod -R go-w {path}`, or remove it"
        )
    return path


def is_anothers(path: Path) -> bool:
    """Whether a folder is there, and another user made it."""
    try:
        return path.lstat().st_uid != os.getuid()
    except OSError:
        return False


def others(path: Path, above: bool = False) -> str | None:
    """Who else than this user and root may put files into a folder, or change a file; None if nobody, or it is missing.

    above: the folder holds what matters in a folder of its own, which nobody else renames where it is sticky, as /tmp.
    """
    try:
        status = path.stat()
    except OSError:
        return None
    if status.st_uid not in {os.getuid(), 0}:
        return f"belongs to {_name(status.st_uid)}"
    if above and status.st_mode & stat.S_ISVTX:
        return None
    if status.st_mode & OTHERS:
        return "can be written to by everybody"
    if status.st_mode & GROUP and status.st_gid != 0 and not _own_group(status.st_gid):
        return "can be written to by its group"
    return None


def intruded(path: Path) -> tuple[Path, str] | None:
    """Where others could replace `path` or what is in it: the uppermost such folder, and who; None if nowhere."""
    path = path.absolute()
    for each in (*reversed(path.parents), path):
        if who := others(each, above=each != path):
            return each, who
    return None


def read_by_others(path: Path) -> bool:
    """Whether a file can be read by others than its owner."""
    try:
        status = path.stat()
    except OSError:
        return False
    group = status.st_mode & stat.S_IRGRP and not _own_group(status.st_gid)
    return bool(status.st_mode & stat.S_IROTH or group)


def own_site_cache() -> Path:
    """Where `make` and the environment's `activate` have DVC keep its cache."""
    return Path(sys.prefix) / f"dvc-{os.getuid()}"


def make_sticky() -> None:
    """Where this user's DVC opened a folder to everybody, have nobody else rename or remove what is in it."""
    site = Path(os.environ.get(SITE_CACHE) or SITE)
    for path in (site, site / "repo"):
        with contextlib.suppress(OSError):
            status = path.lstat()
            if stat.S_ISDIR(status.st_mode) and status.st_uid == os.getuid() and status.st_mode & OTHERS:
                path.chmod(stat.S_IMODE(status.st_mode) | stat.S_ISVTX)


def _own_group(number: int) -> bool:
    """Whether nobody else is in a group, as where every user has one of his own (umask 002)."""
    import grp
    import pwd

    try:
        group, user = grp.getgrgid(number), pwd.getpwuid(os.getuid())
    except KeyError:
        return False
    return number == user.pw_gid and group.gr_name == user.pw_name and set(group.gr_mem) <= {user.pw_name}


def _name(number: int) -> str:
    import pwd

    try:
        return pwd.getpwuid(number).pw_name
    except KeyError:
        return f"the user {number}"
