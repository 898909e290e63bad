"""Every exception of the library.

UserError                a mistake that the user can mend; shown without a traceback, exit code 2
├── SettingsError        one or more wrong settings, a line each (a ValueError too)
└── BrokenArtefact       a file of an artefact is missing, torn, or not what its manifest says
TrainingFailed           the training cannot go on
├── ScratchRemoved       its scratch folder was removed meanwhile
└── Collapsed            a trial of the search was ended, as its samples have collapsed
NonFinite                a gradient or a part of an objective is NaN or infinite; rolled back by the loop
Rejected                 one item of the data cannot be used; counted by ingest
Damaged                  bytes are not what they were said to be; each reader turns it into its own error
"""

from __future__ import annotations

from pipeline.redaction import redact, visible


class UserError(Exception):
    """A mistake of the user's: shown without a traceback, exit code 2.

    Its text holds no password, key or token, and nothing that a terminal obeys, colours too, whoever shows, logs or
    stores it.
    """

    def __init__(self, *args: object) -> None:
        super().__init__(*(visible(redact(value)) if isinstance(value, str) else value for value in args))


class SettingsError(UserError, ValueError):
    """One or more settings are wrong; each line says which, why, and what would do.

    Raised inside a validator, its lines that begin with `.`, `:` or `[` are taken as relative to the key validated.
    """

    def __init__(self, *problems: str) -> None:
        super().__init__("\n".join(problems))
        self.problems = tuple(visible(redact(problem)) for problem in problems)


class BrokenArtefact(UserError):
    """A file of an artefact is missing, torn, or not what its manifest says."""


class TrainingFailed(RuntimeError):
    """The run cannot go on: names the phase and the tensor."""


class ScratchRemoved(TrainingFailed):
    """The folder that a training writes to was removed meanwhile, so its result would not be what it began."""


class Collapsed(TrainingFailed):
    """A trial of the search was ended, as its samples have collapsed."""


class NonFinite(ArithmeticError):
    """A gradient or a part of an objective is NaN or infinite.

    `where` names phase and tensor.
    """

    def __init__(self, where: str, examples_seen: int) -> None:
        super().__init__(f"{where} is not finite at {examples_seen} examples")
        self.where = where


class Rejected(Exception):
    """One item cannot be used and is rejected, with a short reason that can be counted, and details."""

    def __init__(self, reason: str, detail: str = "") -> None:
        super().__init__(reason, detail)
        self.reason = reason
        self.detail = detail


class Damaged(ValueError):
    """The bytes are not what they were said to be, or more than is read."""
