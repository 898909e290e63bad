"""Ray's token: where it is, and that Ray asks for one. Imports next to nothing.

Ray reads RAY_AUTH_MODE once, at its import. So the package sets the mode before any of its modules imports Ray.
"""

from __future__ import annotations

import os
from pathlib import Path

MODE, TOKEN, TOKEN_PATH = "RAY_AUTH_MODE", "RAY_AUTH_TOKEN", "RAY_AUTH_TOKEN_PATH"
ON = "token"


def token_file() -> Path:
    """Where Ray looks for a token that is not in the environment itself."""
    return Path(os.environ.get(TOKEN_PATH) or Path.home() / ".ray" / "auth_token")


def token_here() -> bool:
    """Whether Ray would find a token: in the environment, in the file it names, or in the home folder."""
    return bool(os.environ.get(TOKEN)) or token_file().is_file()


def use_found() -> None:
    """Have Ray use a token that is here, unless the environment says how Ray is to be spoken to."""
    if not os.environ.get(MODE):
        try:
            found = token_here()
        except (OSError, RuntimeError):  # no home folder, or one that cannot be looked into
            found = False
        if found:
            os.environ[MODE] = ON


def required() -> bool:
    """Whether Ray is to ask for a token, as far as the environment says."""
    return os.environ.get(MODE, "").lower() == ON
