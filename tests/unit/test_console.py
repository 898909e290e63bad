"""What is printed is readable in any encoding and at any width, and costs no work."""

from __future__ import annotations

import io
import os
import pty
import subprocess
import sys
from pathlib import Path

import pytest

from pipeline import streams
from pipeline.console import ShownColumn, folded, show_table
from pipeline.streams import plain

ROOT = Path(__file__).parents[2]
START = "import os, sys; from pipeline import streams; streams.settle(); "
COLUMNS = [
    ShownColumn("version", right=True),
    ShownColumn("aliases", folds=True),
    ShownColumn("family"),
    ShownColumn("frechet_classifier", right=True),
    ShownColumn("precision", right=True),
    ShownColumn("commit"),
]
ROWS = [
    ("2", "candidate, champion, previous", "dcgan", "0.2934", "0.71", "d29ee18a+"),
    ("1", "", "wgan_gp", "0.3141", "", "1a56dd2b"),
]


class Terminal(io.StringIO):
    encoding = "utf-8"

    def isatty(self) -> bool:
        return True


def python(code: str, *, encoding: str = "utf-8", **more: object) -> subprocess.CompletedProcess[bytes]:
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "PYTHONIOENCODING": encoding}
    return subprocess.run(
        [sys.executable, "-c", START + code],
        env=environment,
        timeout=60,
        check=False,
        **{"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, **more},  # pyright: ignore
    )


@pytest.mark.parametrize(
    ("text", "ascii_"),
    [
        ("1×8×8", "1x8x8"),
        ("0.02 ± 0.01", "0.02 +/- 0.01"),
        ("a – b — c … → ≠", "a - b - c ... -> !="),
        ("5 µs, 5 μs", "5 us, 5 us"),
        ("Fréchet, Ångström, Straße, Łódź", "Frechet, Angstrom, Strasse, Lodz"),
        ("e\N{COMBINING ACUTE ACCENT}", "e"),
        ("−1 ≤ x²", "-1 <= x2"),
        ("日本", "??"),
        ("a\udcffb", "a?b"),
    ],
)
def test_what_ascii_lacks_is_readable(text: str, ascii_: str) -> None:
    assert plain(text, "ascii") == ascii_
    assert plain("Fréchet × …", "latin-1") == "Fréchet × ..."
    assert plain("× \udcff", "utf-8") == "× ?"


@pytest.mark.parametrize(
    ("encoding", "said"),
    [("ascii", b"Frechet x ... ?"), ("latin-1", b"Fr\xe9chet \xd7 ... ?"), ("cp1252:strict", None)],
)
def test_streams_write_what_their_encoding_lacks(encoding: str, said: bytes | None) -> None:
    done = python("print('Fréchet × … 日'); print('Fréchet × … 日', file=sys.stderr)", encoding=encoding)
    wanted = "Fréchet × … ?".encode("cp1252") if said is None else said
    assert (done.returncode, done.stdout.strip(), done.stderr.strip()) == (0, wanted, wanted)


def test_a_reader_that_has_gone_ends_nothing(tmp_path: Path) -> None:
    """Neither the work nor its exit code, however much is printed, nor what C code and children print."""
    read, write = os.pipe()
    os.close(read)
    mark = tmp_path / "done"
    done = python(
        f"[print('x' * 1000, flush=True) for _ in range(99)]; os.write(1, b'x'); os.system('echo x');"
        f"open({str(mark)!r}, 'w').write('done'); sys.exit(7)",
        stdout=write,
    )
    os.close(write)
    assert (done.returncode, done.stderr, mark.read_text()) == (7, b"", "done")


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="Linux only")
def test_a_full_disk_behind_stdout_ends_nothing() -> None:
    with Path("/dev/full").open("wb") as full:
        done = python("print('x' * 100_000); print(streams.lost().errno, file=sys.stderr); sys.exit(5)", stdout=full)
    assert (done.returncode, done.stderr) == (5, b"28\n")


@pytest.mark.parametrize("closed", ["1", "2", "0 1 2"])
def test_closed_descriptors_are_taken(tmp_path: Path, closed: str) -> None:
    """Else the next file that is opened would be stdout to whatever prints in C."""
    kept = tmp_path / "kept"
    code = (
        START + f"file = open({str(kept)!r}, 'w'); print('a'); sys.stdout.flush(); print('b', file=sys.stderr);"
        "os.write(1, b'c'); os.write(2, b'd'); file.write('whole'); file.close(); sys.exit(file.closed + 2)"
    )
    shut = " ".join(f"{number}>&-" if number != "0" else "0<&-" for number in closed.split())
    done = subprocess.run(
        ["bash", "-c", f'exec "$0" -c "$1" {shut}', sys.executable, code],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 3
    assert kept.read_text() == "whole"


def test_a_pipe_that_does_not_block_loses_nothing() -> None:
    read, write = os.pipe()
    os.set_blocking(write, False)
    process = subprocess.Popen(
        [sys.executable, "-c", START + "print('x' * 300_000); print('end')"],
        stdout=write,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )
    os.close(write)
    with os.fdopen(read, "rb") as file:
        found = file.read()
    assert process.wait(60) == 0
    assert found == b"x" * 300_000 + b"\nend\n"


def test_unbuffered_output_is_there_while_the_work_goes_on() -> None:
    """PYTHONUNBUFFERED, as containers and supervisors set it: a line is seen when it is written."""
    code = START + "print('begun', end=' '); print('±'); sys.stdin.read()"
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "PYTHONUNBUFFERED": "1", "PYTHONIOENCODING": "ascii"}
    process = subprocess.Popen(
        [sys.executable, "-c", code], env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    try:
        assert process.stdout is not None
        assert process.stdout.readline() == b"begun +/-\n"
        assert process.poll() is None
    finally:
        process.communicate(timeout=60)
    assert process.returncode == 0


def test_twice_is_once_and_a_test_s_stream_is_left(monkeypatch: pytest.MonkeyPatch) -> None:
    other = io.StringIO()
    monkeypatch.setattr(sys, "stdout", other)
    streams.settle()
    assert sys.stdout is other
    done = python("first = sys.stdout; streams.settle(); print(first is sys.stdout, sys.stdout.fileno())")
    assert done.stdout == b"True 1\n"


# --- width ------------------------------------------------------------------------------------


def shown(monkeypatch: pytest.MonkeyPatch, columns: int | None, encoding: str = "utf-8", title: str = "") -> str:
    stream = io.StringIO() if columns is None else Terminal()
    monkeypatch.setattr(Terminal, "encoding", encoding)
    monkeypatch.setenv("COLUMNS", str(columns or 40))
    monkeypatch.setenv("NO_COLOR", "1")
    monkeypatch.setenv("TERM", "dumb")
    monkeypatch.setattr(sys, "stdout", stream)
    show_table(COLUMNS, ROWS, title)
    return stream.getvalue()


@pytest.mark.parametrize("columns", [None, 200, 100, 80, 60, 40, 20])
def test_nothing_is_cut_at_any_width(monkeypatch: pytest.MonkeyPatch, columns: int | None) -> None:
    text = shown(monkeypatch, columns, title="zerosum-digits")
    assert "…" not in text
    words = [word for row in ROWS for cell in row for word in cell.split(", ") if word]
    assert [word for word in (*words, "zerosum-digits", "frechet_classifier") if word not in text] == []
    if columns is not None and columns >= 40:
        assert max(len(line) for line in text.splitlines()) <= columns


def test_without_a_terminal_a_table_has_its_natural_width(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever COLUMNS says: a file has none."""
    lines = shown(monkeypatch, None).splitlines()
    assert len({len(line) for line in lines}) == 1
    assert "candidate, champion, previous" in shown(monkeypatch, None)


def test_columns_fold_before_records_are_written(monkeypatch: pytest.MonkeyPatch) -> None:
    folds = shown(monkeypatch, 85)
    assert "candidate," in folds
    assert "candidate, champion, previous" not in folds
    assert "│" in folds
    assert shown(monkeypatch, 40).splitlines()[:6] == [
        "version 2",
        "  aliases:            candidate,",
        "                      champion, previous",
        "  family:             dcgan",
        "  frechet_classifier: 0.2934",
        "  precision:          0.71",
    ]
    assert "precision" not in shown(monkeypatch, 40).partition("version 1")[2], "an empty cell has no line"


def test_boxes_are_drawn_by_what_the_encoding_has(monkeypatch: pytest.MonkeyPatch) -> None:
    assert "│" in shown(monkeypatch, 120)
    for encoding in ("ascii", "latin-1"):
        text = shown(monkeypatch, 120, encoding)
        assert text.isascii()
        assert "| dcgan " in text


def test_marks_of_rich_are_text(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdout", io.StringIO())
    show_table([ShownColumn("[bold]score")], [("[red]a",)])
    assert "[bold]score" in sys.stdout.getvalue()  # pyright: ignore
    assert "[red]a" in sys.stdout.getvalue()  # pyright: ignore


def test_a_line_is_folded_between_words_on_a_terminal_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "30")
    line = "  note: 64 samples cannot fill 2048 dimensions/of-a-very-long-covariance"
    assert folded(line, "    ", io.StringIO()) == line
    assert folded(line, "    ", Terminal()).splitlines() == [
        "  note: 64 samples cannot fill",
        "    2048",
        "    dimensions/of-a-very-long-covariance",
    ]


def test_a_real_terminal_is_asked_for_its_width() -> None:
    main, side = pty.openpty()
    import fcntl
    import struct
    import termios

    fcntl.ioctl(side, termios.TIOCSWINSZ, struct.pack("HHHH", 24, 72, 0, 0))
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    environment.pop("COLUMNS", None)
    done = subprocess.run(
        [sys.executable, "-c", START + "from pipeline import console; print(console.width(), file=sys.stderr)"],
        stdout=side,
        stderr=subprocess.PIPE,
        env=environment,
        timeout=60,
        check=False,
    )
    os.close(main)
    os.close(side)
    assert done.stderr == b"72\n"
