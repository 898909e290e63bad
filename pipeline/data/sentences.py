"""A file of sentences, as people write them to be drawn."""

from __future__ import annotations

from pathlib import Path

from pipeline import limits
from pipeline.data import regular
from pipeline.errors import Rejected, UserError


def of_file(file: Path, where: str) -> tuple[str, ...]:
    """The sentences of a file in UTF-8, a line each; where: how a person calls the file.

    Raises:
        UserError: for a file that cannot be read, is too large, is no UTF-8, or holds none.
    """
    try:
        data = regular.read(file, limits.TEXTS_BYTES).decode("utf-8-sig")
    except Rejected as error:
        raise UserError(f"{where} {file}: {error.reason}{f' ({error.detail})' if error.detail else ''}") from None
    except UnicodeDecodeError as error:
        raise UserError(f"{where} {file} is not UTF-8 ({error}); save it as UTF-8") from None
    found = tuple(line.strip() for line in data.splitlines() if line.strip())
    if not found:
        raise UserError(f"{where} {file} holds no sentence")
    return found
