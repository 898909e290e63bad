"""What of an archive is an item, what is passed over, and the folder that holds all of it."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from pipeline.data.kinds import IMAGES, OTHER, WITHOUT_ENDING, ending, why_passed
from pipeline.data.listing import Listing
from pipeline.data.sources._members import Member

DATASET = "dataset.json"
"""Labels as StyleGAN's tools write them."""


@dataclass(frozen=True)
class Held:
    """members: by their whole names. root: what stands before the names of the listing's items, with its slash."""

    members: dict[str, Member]
    root: str
    listing: Listing


def held(members: Sequence[Member], folder: str | None, first: Callable[[Member], bytes]) -> Held:
    """What an archive holds below a folder.

    first: the first bytes of a member, asked for where its name does not say what it is.
    """
    named: dict[str, Member] = {}
    for member in members:
        named.setdefault(_plain(member.name), member)
    root = _root(named) if folder is None else f"{folder.strip('/')}/"
    found, passed = Listing(IMAGES), dict[str, str]()
    for number, member in enumerate(members):
        name = _plain(member.name)
        inside = name.startswith(root)
        if not inside and folder is not None:
            continue
        own = name[len(root) :] if inside else name
        if (left := _passed(own)) is not None:
            passed.setdefault(*left)
        elif not inside or not _is_item(own, member, first):
            passed[own] = OTHER.format(IMAGES.name)
        else:
            again = named[name] is not member
            found.items.append((f"{own} (member {number})" if again else own, member.problem))
    found.items.sort(key=lambda item: os.fsencode(item[0]))
    found.passed = sorted(passed.items(), key=lambda item: os.fsencode(item[0]))
    return Held(named, root, found)


def _plain(name: str) -> str:
    return name.removeprefix("./")


def _is_item(own: str, member: Member, first: Callable[[Member], bytes]) -> bool:
    end = ending(own)
    if end in IMAGES.endings:
        return True
    if member.problem is not None:
        return end not in IMAGES.others and own.rpartition("/")[2].lower() not in WITHOUT_ENDING
    return IMAGES.begins.match(first(member)) is not None


def _passed(name: str) -> tuple[str, str] | None:
    """The file or folder by which a member is passed over, and why."""
    parts = name.split("/")
    for number, part in enumerate(parts, 1):
        if part not in ("", ".", "..") and (why := why_passed(part)) is not None:
            return "/".join(parts[:number]) + ("/" if number < len(parts) else ""), why
    return None


def _root(names: Iterable[str]) -> str:
    """The folder that holds all images and dataset.json, if there is one: archives often hold one folder."""
    kept = [name for name in names if _passed(name) is None]
    shown = [name for name in kept if ending(name) in IMAGES.endings or name.rpartition("/")[2] == DATASET]
    firsts = {name.partition("/")[0] if "/" in name else "" for name in shown or kept}
    return f"{firsts.pop()}/" if len(firsts) == 1 and not firsts & {"", ".."} else ""
