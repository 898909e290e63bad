from __future__ import annotations

import os
import pty
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.data.source import printable
from pipeline.redaction import visible

START = "import sys; from pipeline import streams; streams.settle(); "
TITLE = "\x1b]0;owned\x07"


def run(code: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", START + code],
        capture_output=True,
        encoding="utf-8",
        env={**os.environ, "PYTHONIOENCODING": "utf-8", **environment},
        timeout=60,
        check=False,
    )


@pytest.mark.parametrize("stream", ["stdout", "stderr"])
@pytest.mark.parametrize("name", [TITLE, "a\rb", "\x9b2J", "\x08", "\u202e", "\x1b[2J", "\x1b[31m"])
def test_no_control_character_reaches_a_stream(stream: str, name: str) -> None:
    done = run(f"print({name!r}, 'end', file=sys.{stream})")

    said = getattr(done, stream)
    assert said.endswith(" end\n")
    assert "\\" in said
    assert not set(said) & set("\x1b\r\x9b\x08\x07\u202e")


@settings(deadline=None)
@given(st.text())
def test_a_name_is_one_line_without_controls(name: str) -> None:
    try:
        os.fsencode(name)
    except UnicodeEncodeError:
        return
    shown = printable(name)

    assert all(letter >= " " and not "\x7f" <= letter <= "\x9f" for letter in shown)


def test_usual_text_is_as_it_was() -> None:
    assert visible("Ähre\tè 日本 – \n") == "Ähre\tè 日本 – \n"
    assert printable("Ähre è 日本.png") == "Ähre è 日本.png"


def test_what_draws_keeps_its_controls_and_others_on_the_terminal_only_colours() -> None:
    main, side = pty.openpty()
    code = START + (
        "print('\\x1b[1mbold\\x1b[0m', repr('') + '\\x1b[2J', flush=True);"
        "streams.terminal(sys.stdout).write('\\rdrawn'); sys.stdout.flush()"
    )
    subprocess.run([sys.executable, "-c", code], stdout=side, timeout=60, check=True)
    os.close(side)
    said = os.read(main, 10_000)
    os.close(main)

    assert b"\x1b[1mbold\x1b[0m" in said
    assert b"\x1b[2J" not in said
    assert b"\rdrawn" in said


def test_stderr_shows_no_secret_even_of_a_traceback(tmp_path: Path) -> None:
    done = run(
        "raise ValueError('s3://KEY:sentinel12@bucket, and ' + __import__('os').environ['AWS_SESSION_TOKEN'])",
        AWS_SESSION_TOKEN="sentinel34",
    )

    assert done.returncode == 1
    assert "ValueError" in done.stderr
    assert "sentinel" not in done.stderr


@pytest.mark.parametrize("name", [TITLE, "\x1b[2J", "\x1b[8m", "\x9b2J"])
@pytest.mark.parametrize(
    "said", ["raise UserError(NAME)", "raise SettingsError(NAME)", "show_table([COLUMN], [[NAME]])"]
)
def test_what_others_named_is_no_command_in_messages_and_tables(name: str, said: str) -> None:
    """On a terminal too, where what is written in colours is let through."""
    main, side = pty.openpty()
    code = (
        "import sys; from pipeline import streams; streams.settle(); from pipeline.console import *;"
        f"from pipeline.errors import SettingsError, UserError; NAME = 'a' + {name!r}; COLUMN = ShownColumn(NAME)\n"
        f"try: {said}\nexcept UserError as error: print(error)"
    )
    subprocess.run([sys.executable, "-c", code], stdout=side, timeout=60, check=True)
    os.close(side)
    said_there = os.read(main, 10_000).decode()
    os.close(main)

    assert "\\x" in said_there
    assert name[:2] not in said_there.replace("\x1b[1m", "").replace("\x1b[0m", "")
