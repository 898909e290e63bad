"""Ray's token: where it is, and that Ray asks for one. Imports no Ray.

Ray reads RAY_AUTH_MODE once, at its import. So the package sets the mode before any of its modules imports Ray.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

from pipeline.settings import UserError

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


def require_for_private() -> None:
    """Have a private Ray ask for a token: its ports are open to the network.

    Raises:
        UserError: if the environment has it opened to everybody.
    """
    if os.environ.get(MODE) and not required():
        raise UserError(
            f"Ray cannot start: {MODE}={os.environ[MODE]} would open a private Ray to everybody who reaches this "
            f"machine; unset {MODE}"
        )
    if "ray" not in sys.modules:  # else `ray.init` sets it itself, where it is unset
        os.environ[MODE] = ON


def need_for_cluster() -> None:
    """Have Ray join a cluster with a token only, unless the environment says otherwise.

    Raises:
        UserError: if no token is here.
    """
    if not os.environ.get(MODE):
        os.environ[MODE] = ON  # a cluster without a token runs whatever anybody sends it
    if required() and not token_here():
        raise UserError(
            f"run.address: no token for the cluster is here; copy the head's, and name it in {TOKEN_PATH}. (Only where "
            f"the cluster has none, and anybody who reaches it can use it: `env {MODE}=disabled dvc repro`, for that "
            "one command; do not export it)"
        )
