from __future__ import annotations

import os
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from pipeline.data.source import Entry, Limits
from pipeline.data.sources.image_folder import Config, Source
from pipeline.errors import Rejected, SettingsError

Noise = Callable[..., NDArray[np.uint8]]
Png = Callable[..., bytes]
Folder = Callable[..., Path]


def opened(folder: Path, labels: str | Path = "folders") -> Source:
    source = Source(Config(folder=str(folder), labels=str(labels)))
    source.check()
    return source


def problems(source: Source) -> dict[str, str]:
    """Key → reason, of everything that listing or reading rejects."""
    found: dict[str, str] = {}
    for entry in source.entries():
        try:
            if entry.problem:
                raise Rejected(*entry.problem)
            source.read(entry, Limits())
        except Rejected as problem:
            found[entry.key] = problem.reason
    return found


def test_sub_folders_are_classes_and_paths_give_the_order(folder_of: Folder, noise: Noise) -> None:
    source = opened(folder_of(dogs=2, cats=1))
    assert source.classes() == ("cats", "dogs")
    assert [(entry.key, entry.label) for entry in source.entries()] == [
        ("cats/0.png", "cats"),
        ("dogs/0.png", "dogs"),
        ("dogs/1.png", "dogs"),
    ]
    assert np.array_equal(source.read(source.entries()[0], Limits()), noise(1000))
    assert problems(source) == {}


def test_deeper_folders_belong_to_the_first(tmp_path: Path, noise: Noise, png: Png) -> None:
    (tmp_path / "a" / "b" / "c").mkdir(parents=True)
    (tmp_path / "a" / "b" / "c" / "x.y.png").write_bytes(png(noise(1)))
    (tmp_path / "empty").mkdir()
    source = opened(tmp_path)
    assert source.classes() == ("a",)
    assert source.entries() == [Entry("a/b/c/x.y.png", "a/b/c/x.y.png", "a")]


def test_a_flat_folder_and_labels_none_are_unlabelled(folder_of: Folder) -> None:
    folder = folder_of(cats=2)
    for source in (opened(folder / "cats"), opened(folder, "none")):
        assert source.classes() == ()
        assert [entry.label for entry in source.entries()] == [None, None]


def test_every_unusable_file_is_set_aside_with_its_reason(
    folder_of: Folder, tmp_path: Path, noise: Noise, png: Png
) -> None:
    folder = folder_of(cats=2)
    outside = tmp_path / "outside.png"
    outside.write_bytes(png(noise(9)))
    cats = folder / "cats"
    (cats / "away.png").symlink_to(outside)
    (cats / "broken.png").symlink_to(folder / "nowhere.png")
    (cats / "circle").symlink_to(cats)
    (cats / "loop.png").symlink_to(cats / "loop.png")
    (cats / "inside.png").symlink_to(cats / "0.png")
    (cats / "cut.png").write_bytes(png(noise(8, 50, 50))[:300])
    (cats / "notes.txt").write_text("not an image")
    (cats / ".DS_Store").write_bytes(b"\0\0\0\1Bud1")
    (cats / "empty.jpg").touch()
    os.mkfifo(cats / "pipe.png")
    (folder / "stray.png").write_bytes(png(noise(7)))
    (folder / ".hidden").mkdir()
    (folder / ".hidden" / "x.png").write_bytes(png(noise(6)))
    source = opened(folder)
    assert source.classes() == ("cats",)
    assert problems(source) == {
        "cats/away.png": "symlink leaving the folder",
        "cats/broken.png": "broken symlink",
        "cats/loop.png": "broken symlink",
        "cats/cut.png": "damaged image",
        "cats/empty.jpg": "not an image",
        "cats/pipe.png": "not a regular file",
        "stray.png": "outside every class folder",
    }
    assert len(source.entries()) == 10
    assert source.passed_over() == (
        (".hidden/", "hidden"),
        ("cats/.DS_Store", "left by the operating system or a tool"),
        ("cats/circle", "a link back to a folder that holds it"),
        ("cats/notes.txt", "no image"),
    )


def test_a_large_file_is_rejected_unread(folder_of: Folder) -> None:
    folder = folder_of(cats=1)
    with (folder / "cats" / "0.png").open("r+b") as file:
        file.truncate(2**40)  # sparse: reading it would take all memory
    source = opened(folder)
    with pytest.raises(Rejected, match="too many bytes"):
        source.read(source.entries()[0], Limits())


def test_names_of_any_kind(tmp_path: Path, noise: Noise, png: Png) -> None:
    names = ["a.b.c.png", "ångström 花.png", "-rf.png", "new\nline.png", "caf\u0065\u0301.png", "café.png"]
    (tmp_path / "花").mkdir()
    for name in names:
        (tmp_path / "花" / name).write_bytes(png(noise(1)))
    (tmp_path / "花" / os.fsdecode(b"\xff.png")).write_bytes(png(noise(1)))
    source = opened(tmp_path)
    assert source.classes() == ("花",)
    shown = [name.replace("\n", "\\x0a") for name in names]  # a line end would be one in rejects.csv and on a terminal
    assert {entry.key for entry in source.entries()} == {*(f"花/{name}" for name in shown), "花/\\xff.png"}
    assert problems(source) == {}
    for entry in source.entries():
        entry.key.encode()


# --- a csv of labels ----------------------------------------------------------------------------


def with_csv(folder: Path, text: str, name: str = "labels.csv") -> Source:
    (folder / name).write_text(text, encoding="utf-8")
    return opened(folder, folder / name)


def test_a_csv_names_the_classes(folder_of: Folder) -> None:
    folder = folder_of(x=3)
    source = with_csv(folder, "\ufefflabel,file,note\nspotted,x/0.png,\nplain,./x/2.png,a\nplain,x/1.png,\n")
    assert source.classes() == ("plain", "spotted")
    assert [(entry.key, entry.label) for entry in source.entries()] == [
        ("x/0.png", "spotted"),
        ("x/1.png", "plain"),
        ("x/2.png", "plain"),
    ]


def test_csv_rows_and_files_that_do_not_meet_are_set_aside(folder_of: Folder) -> None:
    source = with_csv(folder_of(x=3), "file,label\nx/0.png,a\nx/1.png,\nx/9.png,b\n../../etc/passwd,b\n/etc/passwd,b\n")
    assert problems(source) == {
        "x/1.png": "no label in the csv",
        "x/2.png": "no label in the csv",
        "x/9.png": "missing file",
        "../../etc/passwd": "path leaving the folder",
        "/etc/passwd": "path leaving the folder",
    }


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("name,class\na,b\n", "needs the columns file,label, not name,class"),
        ("", "is empty, or its first line is; it needs the columns file,label"),
        ("file,label,label\nx/0.png,a,b\n", "has 2 columns 'label'; leave one"),
        ("file,label\n", "holds no rows"),
        ("file,label\nx/0.png,a\nx/0.png,b\n", "two labels, 'a' and 'b'"),
        ('file,label\n"x/0.png,a\n', "no csv in UTF-8"),
    ],
)
def test_a_wrong_csv_is_refused(folder_of: Folder, text: str, message: str) -> None:
    with pytest.raises(SettingsError, match=message):
        with_csv(folder_of(x=1), text)


def test_a_csv_in_another_encoding_is_refused(folder_of: Folder) -> None:
    folder = folder_of(x=1)
    (folder / "l.csv").write_bytes("file,label\nx/0.png,é\n".encode("latin-1"))
    with pytest.raises(SettingsError, match="no csv in UTF-8"):
        opened(folder, folder / "l.csv")


def test_what_is_not_there_is_refused(tmp_path: Path, folder_of: Folder) -> None:
    with pytest.raises(SettingsError, match=r"ingest\.source\.folder: '.*/no' does not exist"):
        opened(tmp_path / "no")
    (tmp_path / "file").touch()
    with pytest.raises(SettingsError, match="is a file, not a folder"):
        opened(tmp_path / "file")
    (tmp_path / "empty").mkdir()
    with pytest.raises(SettingsError, match="is empty"):
        opened(tmp_path / "empty")
    with pytest.raises(SettingsError, match=r"ingest\.source\.labels: 'no\.csv' does not exist"):
        opened(folder_of(a=1), "no.csv")


def written(way: str, number: int) -> str:
    """The name of images/<number>.png as someone may have written it."""
    return {
        "dot": f"./{number}.png",
        "backslash": f".\\{number}.png",
        "folder": f"images/{number}.png",
        "absolute": f"/data/of/mine/and/yours/images/{number}.png",
        "windows": f"C:\\data\\images\\{number}.png",
        "no ending": f"{number}",
        "another ending": f"{number}.jpg",
        "capitals": f"{number}.PNG",
    }[way]


def numbered(folder: Folder, way: str, count: int = 4, other: int = 0) -> Source:
    """images/0.png …, and a csv that names them in one way, `other` of them as they are."""
    root = folder(images=count) / "images"
    rows = [f"{number}.png" if number < other else written(way, number) for number in range(count)]
    text = "file,label\n" + "".join(f"{row},{'ab'[number % 2]}\n" for number, row in enumerate(rows))
    (root.parent / "names.csv").write_text(text)
    return Source(Config(folder=str(root), labels=str(root.parent / "names.csv")))


@pytest.mark.parametrize("way", ["dot", "backslash"])
def test_names_written_otherwise_are_matched(folder_of: Folder, way: str) -> None:
    source = numbered(folder_of, way)
    source.check()
    assert [(entry.key, entry.label) for entry in source.entries()] == [(f"{n}.png", "ab"[n % 2]) for n in range(4)]
    assert problems(source) == {}


@pytest.mark.parametrize(("stored", "named"), [("cafe\u0301", "caf\u00e9"), ("caf\u00e9", "cafe\u0301")])
def test_forms_of_unicode_are_matched_where_only_one_file_can_be_meant(
    tmp_path: Path, noise: Noise, png: Png, stored: str, named: str
) -> None:
    (tmp_path / "x").mkdir()
    (tmp_path / "x" / f"{stored}.png").write_bytes(png(noise(1)))
    (tmp_path / "x" / "1.png").write_bytes(png(noise(2)))
    (tmp_path / "l.csv").write_text(f"file,label\n{named}.png,a\n1.png,b\n", encoding="utf-8")
    source = opened(tmp_path / "x", tmp_path / "l.csv")
    assert {entry.key: entry.label for entry in source.entries()} == {f"{stored}.png": "a", "1.png": "b"}
    (tmp_path / "x" / f"{named}.png").write_bytes(png(noise(3)))
    source = opened(tmp_path / "x", tmp_path / "l.csv")
    assert problems(source) == {f"{stored}.png": "no label in the csv"}, "the file of just that name is meant"


def test_a_file_that_two_rows_mean_has_one_label(folder_of: Folder) -> None:
    assert problems(with_csv(folder_of(x=1), "file,label\nx/0.png,a\nx\\0.png,a\n")) == {}
    with pytest.raises(SettingsError, match=r"gives 'x/0\.png' two labels, 'a' and 'b'"):
        with_csv(folder_of("third", x=1), "file,label\nx/0.png,a\nx\\0.png,b\n")


@pytest.mark.parametrize(
    ("way", "says"),
    [
        (
            "folder",
            "the csv says 'images/0.png', the folder holds '0.png'; leave 'images/' out of the names in the csv",
        ),
        ("absolute", "leave '/data/of/mine/and/yours/images/' out of the names in the csv"),
        ("windows", "leave 'C:/data/images/' out of the names in the csv"),
        ("no ending", "the csv says '0', the folder holds '0.png'; write the ending too, as in '0.png'"),
        ("another ending", "the csv says '0.jpg', the folder holds '0.png'; write the ending of the files, '.png'"),
        ("capitals", "the csv says '0.PNG', the folder holds '0.png'; write capitals and small letters as in"),
    ],
)
def test_names_that_never_meet_are_refused_with_the_change_that_makes_them(
    folder_of: Folder, way: str, says: str
) -> None:
    source = numbered(folder_of, way)
    with pytest.raises(SettingsError) as raised:
        source.check("ingest.source")
    message = str(raised.value)
    assert message.startswith("ingest.source.labels: no row of ")
    assert says in message


def test_rows_without_the_leading_folder_and_rows_of_something_else(folder_of: Folder, tmp_path: Path) -> None:
    folder = folder_of(x=2, y=1)
    with pytest.raises(SettingsError, match=r"the csv says '0\.png', the folder holds 'x/0\.png'; write 'x/' before"):
        with_csv(folder, "file,label\n0.png,a\n1.png,b\n")
    with pytest.raises(
        SettingsError, match=r"the csv says 'cat\.png', the folder holds 'x/0\.png'; write the names as"
    ):
        with_csv(folder, "file,label\ndog.png,a\ncat.png,b\n")


def test_where_some_rows_meet_the_others_are_set_aside(folder_of: Folder) -> None:
    source = numbered(folder_of, "folder", other=2)
    source.check()
    assert problems(source) == {
        "2.png": "no label in the csv",
        "3.png": "no label in the csv",
        "images/2.png": "missing file",
        "images/3.png": "missing file",
    }


def test_a_row_for_what_is_passed_over_says_so(folder_of: Folder) -> None:
    folder = folder_of(x=1)
    (folder / "x" / "notes.txt").write_text("no image")
    (folder / "x" / ".kept").mkdir()
    (folder / "x" / ".kept" / "1.png").write_bytes((folder / "x" / "0.png").read_bytes())
    source = with_csv(folder, "file,label\nx/0.png,a\nx/notes.txt,a\nx/.kept/1.png,b\n")
    assert problems(source) == {"x/notes.txt": "passed over", "x/.kept/1.png": "passed over"}
    assert source.passed_over() == (("labels.csv", "the labels"), ("x/.kept/", "hidden"), ("x/notes.txt", "no image"))


@pytest.mark.parametrize(("mark", "name"), [(";", "semicolons"), ("\t", "tabs")])
def test_a_csv_without_commas_is_named(folder_of: Folder, mark: str, name: str) -> None:
    with pytest.raises(SettingsError, match=f"needs the columns .* separated by {name}: save it with commas"):
        with_csv(folder_of(x=1), f"file{mark}label\nx/0.png{mark}a\n")


def test_blanks_around_the_columns_names_are_nothing(folder_of: Folder) -> None:
    assert with_csv(folder_of(x=1), "file, label\nx/0.png, a\n").classes() == ("a",)


# --- real folders -------------------------------------------------------------------------------


@pytest.mark.slow
def test_flowers(unpacked: Callable[[str], Path]) -> None:
    source = opened(unpacked("flowers-64px-jpeg.tar.xz"))
    entries = source.entries()
    assert source.classes() == ("daisy", "dandelion", "roses", "sunflowers", "tulips")
    counts = Counter(entry.label for entry in entries)
    assert counts == {"daisy": 633, "dandelion": 898, "roses": 641, "sunflowers": 699, "tulips": 799}
    assert {source.read(entry, Limits()).shape for entry in entries[::50]} == {(64, 64, 3)}


@pytest.mark.slow
def test_sprites(unpacked: Callable[[str], Path]) -> None:
    folder = unpacked("pokesprite-pairs.tar.xz") / "pokemon-gen8"
    regular, shiny = opened(folder / "regular", "none"), opened(folder / "shiny", "none")
    names = [{entry.key for entry in source.entries() if "/" not in entry.key} for source in (regular, shiny)]
    assert len(names[0] & names[1]) == 1332  # and 20 more in the sub-folders `female`
    assert {regular.read(entry, Limits()).shape for entry in regular.entries()[::40]} == {(56, 68, 4)}


def test_a_class_named_in_a_csv_commands_no_terminal(tmp_path: Path, noise: Noise, png: Png) -> None:
    for number in range(2):
        (tmp_path / f"{number}.png").write_bytes(png(noise(number)))
    (tmp_path / "labels.csv").write_text('file,label\n0.png,"a\x1b[2Jb\nc"\n1.png,d\n', encoding="utf-8")
    source = opened(tmp_path, labels=str(tmp_path / "labels.csv"))
    assert source.classes() == ("a\\x1b[2Jb\\x0ac", "d")
    assert [entry.label for entry in source.entries()] == ["a\\x1b[2Jb\\x0ac", "d"]
