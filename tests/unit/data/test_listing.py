"""One walk over a folder: items, problems, what is passed over; links by every rule."""

from __future__ import annotations

import os
import socket
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from pipeline.data import kinds, listing, regular
from pipeline.data.kinds import IMAGES, SOUNDS
from pipeline.data.links import Links
from pipeline.data.listing import LEAVING
from pipeline.errors import Rejected

PNG = b"\x89PNG\r\n\x1a\n"
RIFF = b"RIFF\0\0\0\0WAVEfmt "


def put(root: Path, *names: str, data: bytes = PNG) -> None:
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(data)


def items(folder: Path, kind: kinds.Kind = IMAGES, links: Links = "auto") -> dict[str, str]:
    """Name → reason, empty where nothing is wrong."""
    return {name: problem[0] if problem else "" for name, problem in listing.listed(folder, kind, links).items}


def passed(folder: Path, kind: kinds.Kind = IMAGES) -> dict[str, str]:
    return dict(listing.listed(folder, kind).passed)


# --- what is an item --------------------------------------------------------------------------------


def test_an_image_is_known_by_its_ending_or_else_by_its_first_bytes(tmp_path: Path) -> None:
    put(tmp_path, "a.PNG", "b.jpeg", "c.webp", "d.gif", "e.HEIC", "f.bmp", data=b"")
    put(tmp_path, "0123abcd", "photo.jpg_large", "odd.txt", "x.y.z")
    put(tmp_path, "jpeg", data=b"\xff\xd8\xff\xe0")
    put(tmp_path, "webp", data=b"RIFF\1\2\3\4WEBPVP8 ")
    put(tmp_path, "tiff", data=b"II*\0")
    put(tmp_path, "avif", data=b"\0\0\0\x1cftypavif")
    put(tmp_path, "bmp", data=b"BM\x36\0\0\0\0\0\0\0\x36\0\0\0\x28\0\0\0")
    put(tmp_path, "caption.txt", "BMW", "README", "a.npz", "wave", data=b"BMW is a brand and no picture")
    put(tmp_path, "nothing", data=b"")
    found = items(tmp_path)
    assert sorted(found) == sorted(
        [
            *("a.PNG", "b.jpeg", "c.webp", "d.gif", "e.HEIC", "f.bmp", "0123abcd", "photo.jpg_large", "odd.txt"),
            *("x.y.z", "jpeg", "webp", "tiff", "avif", "bmp"),
        ]
    )
    assert set(found.values()) == {""}
    assert set(passed(tmp_path)) == {"caption.txt", "BMW", "README", "a.npz", "wave", "nothing"}


def test_a_sound_is_known_the_same_way(tmp_path: Path) -> None:
    put(tmp_path, "a.wav", "b.WAVE", "c.mp3", "d.flac", data=b"")
    put(tmp_path, "plain", "x.dat", data=RIFF)
    put(tmp_path, "long", data=b"RF64\xff\xff\xff\xffWAVEds64")
    put(tmp_path, "ogg", data=b"OggS\0")
    put(tmp_path, "cover.png", "picture")
    assert sorted(items(tmp_path, SOUNDS)) == ["a.wav", "b.WAVE", "c.mp3", "d.flac", "long", "ogg", "plain", "x.dat"]
    assert passed(tmp_path, SOUNDS) == {"cover.png": "no sound", "picture": "no sound"}


@pytest.mark.parametrize(
    ("name", "why"),
    [
        (".DS_Store", kinds.LEFT),
        ("._0.png", kinds.LEFT),
        (".0.png", kinds.HIDDEN),
        (".gitignore", kinds.HIDDEN),
        ("Thumbs.db", kinds.LEFT),
        ("THUMBS.DB", kinds.LEFT),
        ("Desktop.ini", kinds.LEFT),
        ("Icon\r", kinds.LEFT),
        ("0.png~", kinds.LEFT),
        ("captions.jsonl", "no image"),
        ("LICENSE", "no image"),
        ("0.png:Zone.Identifier", "no image"),
    ],
)
def test_what_is_passed_over_says_why(tmp_path: Path, name: str, why: str) -> None:
    put(tmp_path, name, data=b"[x]" if why == "no image" else PNG)
    assert passed(tmp_path) == {name: why}
    assert items(tmp_path) == {}


@pytest.mark.parametrize(
    "name", ["__MACOSX", "@eaDir", "$RECYCLE.BIN", "System Volume Information", "lost+found", "__pycache__", ".git"]
)
def test_folders_that_tools_leave_are_not_walked_through(tmp_path: Path, name: str) -> None:
    put(tmp_path, f"a/{name}/0.png", "a/1.png")
    found = listing.listed(tmp_path, IMAGES)
    assert [item for item, _ in found.items] == ["a/1.png"]
    assert [item for item, _ in found.passed] == [f"a/{name}/"]
    assert listing.counted(found.named()) == {f"{name}/": 1}


def test_our_own_grid_is_no_sample_but_another_grid_is(tmp_path: Path) -> None:
    put(tmp_path, "ours/00000.png", "ours/00001.png", "ours/grid.png", "mine/0.png", "mine/grid.png")
    put(tmp_path, "ours-grid.png", "other-grid.png")  # beside the folder that it shows, and beside none
    put(tmp_path, "sounds/00000.wav", "sounds/grid.png", data=RIFF)
    assert sorted(items(tmp_path)) == [
        "mine/0.png",
        "mine/grid.png",
        "other-grid.png",
        "ours/00000.png",
        "ours/00001.png",
    ]
    assert passed(tmp_path)["ours-grid.png"] == kinds.GRID
    assert passed(tmp_path)["ours/grid.png"] == passed(tmp_path, SOUNDS)["sounds/grid.png"] == kinds.GRID


def test_the_grids_of_an_exploration_are_no_samples(tmp_path: Path) -> None:
    put(tmp_path, "found/interpolation.png", "found/0.png")
    (tmp_path / "found/explore.json").write_text('{"exploration": "interpolation", "grids": {"interpolation": [2, 3]}}')
    put(tmp_path, "mine/0.png")
    (tmp_path / "mine/explore.json").write_text('["0"]')
    assert sorted(items(tmp_path)) == ["found/0.png", "mine/0.png"]


def test_counts_go_by_what_it_is_and_stay_few(tmp_path: Path) -> None:
    rows = [(f"a/{number}.txt", "no image") for number in range(60)]
    rows += [
        ("a/._0.png", kinds.LEFT),
        ("b/._1.png", kinds.LEFT),
        ("b/back", kinds.CIRCLE),
        ("c.001", "no image"),
    ]
    assert listing.counted(rows) == {"._*": 2, ".txt": 60, "links back": 1, "other": 1}
    assert listing.described(listing.counted(rows)) == "60 × .txt, 2 × ._*, 1 × links back, 1 × other"
    counts = listing.counted([(f"file{number}", "no image") for number in range(1000)])
    assert (len(counts), counts["others"]) == (21, 980)


def test_names_of_any_kind_at_any_depth(tmp_path: Path) -> None:
    odd = [os.fsdecode(b"\xff.png"), "new\nline.png", "花.png"]
    put(tmp_path, *odd, os.fsdecode(b"\xfe.txt"), data=b"")
    assert sorted(items(tmp_path)) == sorted(odd)
    assert listing.listed(tmp_path, IMAGES).named() == (("\\xfe.txt", "no image"),)
    deep = tmp_path / "deep"
    place = deep
    for _ in range(1200):
        place.mkdir()
        place /= "d"
    last = place.parent / "0.png"
    last.touch()
    assert list(items(deep)) == ["d/" * 1199 + "0.png"]
    last.unlink()
    while place != deep:  # pytest could not remove so deep a folder
        place = place.parent
        place.rmdir()


def test_what_is_no_file_is_a_problem_and_not_opened(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    os.mkfifo(tmp_path / "pipe.png")
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "null.png").symlink_to("/dev/null")
    (tmp_path / "piped.png").symlink_to("pipe.png")
    monkeypatch.chdir(tmp_path)
    with socket.socket(socket.AF_UNIX) as bound:
        bound.bind("socket.png")
    assert items(tmp_path) == {
        "null.png": LEAVING,
        "pipe": "not a regular file",
        "pipe.png": "not a regular file",
        "piped.png": "not a regular file",
        "socket.png": "not a regular file",
    }


# --- links ------------------------------------------------------------------------------------------


@pytest.fixture
def place(tmp_path: Path) -> Path:
    """A source folder `data` with one image, among others."""
    put(tmp_path, "work/data/cats/0.png", "work/kept/1.png", "work/kept/deep/2.png", "work/.hidden/3.png")
    put(tmp_path, "work/loose.png", "far/4.png")
    return tmp_path / "work" / "data"


def test_links_go_by_the_setting(place: Path) -> None:
    leads = {
        "inside.png": place / "cats" / "0.png",
        "beside.png": Path("../kept/1.png"),
        "folder": Path("../kept"),
        "hidden.png": Path("../.hidden/3.png"),
        "loose.png": Path("../loose.png"),
        "far.png": place.parents[1] / "far" / "4.png",
        "broken.png": Path("nowhere.png"),
    }
    for name, target in leads.items():
        (place / name).symlink_to(target)
    always = {"cats/0.png": "", "inside.png": "", "broken.png": "broken symlink"}
    refused = {"hidden.png": LEAVING, "loose.png": LEAVING, "far.png": LEAVING}
    followed = {"beside.png": "", "folder/1.png": "", "folder/deep/2.png": ""}
    assert items(place) == always | refused | followed
    nothing = {"beside.png": LEAVING, "folder": LEAVING}
    assert items(place, links="inside") == items(place, links=()) == always | refused | nothing
    far = [str(place.parents[1] / "far")]
    assert items(place, links=far) == always | refused | nothing | {"far.png": ""}
    every = [str(place.parents[1])]
    assert set(items(place, links=every).values()) == {"", "broken symlink"}


def test_a_link_that_is_not_followed_says_where_it_leads_and_what_allows_it(
    place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (place / "cats" / "odd.png").symlink_to("../../loose.png")
    (place / "all").symlink_to(place.parents[1] / "far")
    monkeypatch.chdir(place.parent)
    found = listing.listed(Path("data"), IMAGES, allow="links: [{}]")
    problems = dict(found.items)
    assert problems["cats/odd.png"] == (LEAVING, "to .; links: [.]"), "as the link says it, so that clones agree"
    assert problems["all"] == (LEAVING, f"to {place.parents[1] / 'far'}; links: [{place.parents[1] / 'far'}]")
    assert found.unfollowed == {"all": str(place.parents[1] / "far")}
    for allowed in ([".", str(place.parents[1] / "far")],):
        assert set(items(Path("data"), links=allowed).values()) == {""}


KEPT = f"ab/{'cdef01' * 5}"  # as DVC names what it keeps


def test_a_configuration_that_came_with_the_data_opens_no_other_folder(tmp_path: Path) -> None:
    put(tmp_path, "home/private.png", "home/ab/private.png", "got/data/x.png")
    data = tmp_path / "got/data"
    (data / ".dvc").mkdir()
    (data / ".dvc/config").write_text(f"[cache]\n    dir = {tmp_path / 'home'}\n")
    (data / "0.png").symlink_to(tmp_path / "home/private.png")
    (data / "1.png").symlink_to(tmp_path / "home/ab/private.png")

    found = items(data)
    assert (found["0.png"], found["1.png"], found["x.png"]) == (LEAVING, LEAVING, "")


@pytest.mark.parametrize("configured", ["", "../store", "absolute", "local"])
def test_dvc_s_cache_is_followed(tmp_path: Path, configured: str) -> None:
    put(tmp_path, "project/data/x/keep.png")
    dvc = tmp_path / "project" / ".dvc"
    caches = {
        "": dvc / "cache",
        "../store": tmp_path / "project/store",
        "absolute": tmp_path / "s",
        "local": tmp_path / "s",
    }
    cache = caches[configured]
    put(cache, f"files/md5/{KEPT}")
    dvc.mkdir(exist_ok=True)
    if configured:
        named = configured if configured.startswith("..") else str(cache)
        config = dvc / ("config.local" if configured == "local" else "config")
        config.write_text(
            f"[core]\n    remote = kept\n['remote \"kept\"']\n    url = s3://x/%y\n[cache]\n    dir = {named}\n"
        )
    (tmp_path / "project" / "data" / "x" / "0.png").symlink_to(cache / f"files/md5/{KEPT}")
    assert items(tmp_path / "project" / "data") == {"x/0.png": "", "x/keep.png": ""}


def test_the_cache_of_the_project_one_works_in_is_followed_from_elsewhere(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    put(tmp_path, f"project/.dvc/cache/{KEPT}", "else/where/data/x.txt", data=PNG)
    (tmp_path / "else/where/data/0.png").symlink_to(tmp_path / f"project/.dvc/cache/{KEPT}")
    assert items(tmp_path / "else/where/data")["0.png"] == LEAVING
    monkeypatch.chdir(tmp_path / "project")
    assert items(tmp_path / "else/where/data")["0.png"] == ""


@pytest.mark.parametrize("submodule", [False, True])
def test_git_annex_is_followed(tmp_path: Path, submodule: bool) -> None:
    put(tmp_path, "set/images/a/keep.png")
    git = tmp_path / ("top/.git/modules/set" if submodule else "set/.git")
    put(git, "annex/objects/W4/x/SHA256E-s8--ab.png/SHA256E-s8--ab.png")
    if submodule:
        (tmp_path / "set" / ".git").write_text("gitdir: ../top/.git/modules/set\n")
    link = tmp_path / "set/images/a/0.png"
    link.symlink_to(os.path.relpath(git / "annex/objects/W4/x/SHA256E-s8--ab.png/SHA256E-s8--ab.png", link.parent))
    (tmp_path / "set/images/a/1.png").symlink_to(git / "annex/objects/not/fetched.png")
    assert items(tmp_path / "set" / "images") == {"a/0.png": "", "a/1.png": "broken symlink", "a/keep.png": ""}


def test_a_hub_s_snapshot_is_followed_to_its_blobs(tmp_path: Path) -> None:
    hub = tmp_path / "hub" / "datasets--x--y"
    put(hub, "blobs/0a1b", "blobs/2c3d")
    put(hub, "blobs/text", data=b"no picture")
    (hub / "snapshots/abc/train/cat").mkdir(parents=True)
    for name, blob in (("0.png", "0a1b"), ("one", "2c3d"), ("README.md", "text")):
        (hub / "snapshots/abc/train/cat" / name).symlink_to(f"../../../../blobs/{blob}")
    assert items(hub / "snapshots/abc/train") == {"cat/0.png": "", "cat/one": ""}
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine/data").symlink_to(hub / "snapshots/abc/train")
    assert items(tmp_path / "mine/data") == {"cat/0.png": "", "cat/one": ""}


STORES = {
    "hub/blobs": ("hub/snapshots/abc", "5e" * 20, "8d" * 32),
    "set/.git/annex/objects": (
        "set/images",
        "Xa/0/MD5E-s8--ab.png/MD5E-s8--ab.png",
        "W4/x1/SHA256E-s8-m9--a/SHA256E-s8-m9--a",
    ),
}


@pytest.mark.parametrize("store", STORES)
def test_a_store_that_a_link_leads_to_holds_what_its_tool_put_there_alone(tmp_path: Path, store: str) -> None:
    """Others' data may bring such a link; who moved his store to a larger disk has one too."""
    folder, *kept = STORES[store]
    put(tmp_path, f"{folder}/keep.png", "elsewhere/disk/private.png", "elsewhere/disk/aa/bb/private.png")
    put(tmp_path, *(f"elsewhere/disk/{name}" for name in kept))
    (tmp_path / store).parent.mkdir(parents=True, exist_ok=True)
    (tmp_path / store).symlink_to(tmp_path / "elsewhere/disk")
    for number, name in enumerate(("private.png", "aa/bb/private.png", *kept)):
        (tmp_path / folder / f"{number}.png").symlink_to(tmp_path / store / name)
    found = items(tmp_path / folder)
    assert found == {"0.png": LEAVING, "1.png": LEAVING, "2.png": "", "3.png": "", "keep.png": ""}


def test_neighbours_in_a_folder_that_is_open_to_all_are_strangers(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    put(tmp_path, "data/keep.png", "other/0.png")
    (tmp_path / "data" / "0.png").symlink_to("../other/0.png")
    assert items(tmp_path / "data")["0.png"] == ""
    monkeypatch.setenv("HOME", str(tmp_path))
    assert items(tmp_path / "data")["0.png"] == LEAVING
    monkeypatch.setenv("HOME", str(tmp_path / "data"))
    assert items(tmp_path / "data")["0.png"] == LEAVING, "homes lie side by side"


def test_loops_end_and_a_folder_reached_twice_is_fine(tmp_path: Path) -> None:
    put(tmp_path, "data/a/0.png", "kept/1.png")
    (tmp_path / "data/a/self").symlink_to(".")
    (tmp_path / "data/a/up").symlink_to("..")
    (tmp_path / "data/one").symlink_to("../kept")
    (tmp_path / "data/two").symlink_to("../kept")
    (tmp_path / "kept/back").symlink_to("../data")
    (tmp_path / "data/a/loop.png").symlink_to("loop.png")
    assert items(tmp_path / "data") == {
        "a/0.png": "",
        "a/loop.png": "broken symlink",
        "one/1.png": "",
        "two/1.png": "",
    }
    circles = ["a/self", "a/up", "one/back", "two/back"]
    assert [item for item, why in listing.listed(tmp_path / "data", IMAGES).passed if why == kinds.CIRCLE] == circles
    every = listing.listed(tmp_path / "data", IMAGES, [str(tmp_path)])
    assert len(every.items) == 4, "through the parent, and into the folder again"


def test_folders_that_all_link_to_each_other_are_walked_in_bounded_time(tmp_path: Path) -> None:
    for number in range(8):
        put(tmp_path, f"data/{number}/x.png")
        for other in set(range(8)) - {number}:
            (tmp_path / f"data/{number}/to{other}").symlink_to(f"../{other}")
    found = listing.listed(tmp_path / "data", IMAGES).items
    assert len(found) < 30_000
    assert {problem[0] for _, problem in found if problem} == {"too many symlinks in a row"}


def test_captions_that_are_links_need_no_look(tmp_path: Path) -> None:
    put(tmp_path, "data/0.png", "far/x.txt")
    (tmp_path / "data/0.txt").symlink_to("nowhere.txt")
    (tmp_path / "data/1.txt").symlink_to("/proc/self/environ")
    (tmp_path / "data/LICENSE").symlink_to("/nowhere")
    assert items(tmp_path / "data") == {"0.png": ""}


# --- reading ----------------------------------------------------------------------------------------


def test_a_file_is_read_whole_or_not_at_all(tmp_path: Path, noise: Callable[..., NDArray[np.uint8]]) -> None:
    data = noise(1, 50, 50).tobytes()
    put(tmp_path, "x", data=data)
    (tmp_path / "link").symlink_to("x")
    assert regular.read(tmp_path / "x", len(data)) == regular.read(tmp_path / "link", len(data)) == data
    for name in ("x", "link"):
        with pytest.raises(Rejected) as raised:
            regular.read(tmp_path / name, len(data) - 1)
        assert (raised.value.reason, raised.value.detail) == ("too many bytes", "7500, allowed are 7499")


@pytest.mark.parametrize(("target", "reason"), [("pipe", "not a regular file"), ("/dev/zero", "not a regular file")])
def test_what_has_become_something_else_is_not_waited_for(tmp_path: Path, target: str, reason: str) -> None:
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "x.png").symlink_to(target)
    with pytest.raises(Rejected) as raised:
        regular.read(tmp_path / "x.png", 100)
    assert raised.value.reason == reason
    (tmp_path / "gone.png").symlink_to("nothing")
    with pytest.raises(Rejected) as raised:
        regular.read(tmp_path / "gone.png", 100)
    assert raised.value.reason == "cannot be read"


def test_a_file_whose_size_is_not_told_is_read_to_the_limit() -> None:
    assert regular.read(Path("/proc/self/status"), 2**20).startswith(b"Name:")
    with pytest.raises(Rejected, match="too many bytes"):
        regular.read(Path("/proc/self/status"), 10)
