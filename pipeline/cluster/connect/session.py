"""One Ray for one stage: an explicit address always, quiet, and gone when the stage ends."""

from __future__ import annotations

import contextlib
import logging
import os
import secrets
import socket
import sys
from collections.abc import Generator
from contextlib import contextmanager
from typing import Any

from pipeline import own_plugins
from pipeline.cluster.connect import machine, tokens
from pipeline.cluster.connect.startup_timeout import OPENING, ended_after
from pipeline.errors import TrainingFailed, UserError
from pipeline.run import addresses
from pipeline.run.settings import RunSettings

QUIET = {
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_TRAIN_V2_ENABLED": "1",
    "RAY_TRAIN_HEALTH_CHECK_INTERVAL_S": "0.5",
    "RAY_TRAIN_WORKER_GROUP_START_TIMEOUT_S": "300",
    "RAY_TRAIN_METRICS_ENABLED": "0",
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",
    "TUNE_DISABLE_AUTO_CALLBACK_LOGGERS": "1",
    "TUNE_DISABLE_SIGINT_HANDLER": "1",
    "RAY_CHDIR_TO_TRIAL_DIR": "0",
    "RAY_AIR_NEW_OUTPUT": "0",
}

HTTP_2 = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + bytes(3) + b"\4" + bytes(5)  # a client's first words: RFC 9113, 3.4
SETTINGS = 4  # the kind of frame that a server of gRPC begins with

OF_A_JOB = "RAY_JOB_CONFIG_JSON_ENV_VAR"  # Ray's, in the environment of a submitted job

OBJECT_STORE = 256 * 2**20  # bytes: batches never travel through it

# Of this process's private Rays. Ray reads a token once a process, so that it cannot be another for each of them.
TOKEN = secrets.token_hex(32)


@contextmanager
def session(run: RunSettings, cpus: int | None = None) -> Generator[None]:
    """Ray up for the block. An empty address is a private Ray, whatever the environment names.

    Raises:
        UserError: if the cluster at `run.address` cannot be joined, or no token for it is here.
        TrainingFailed: if Ray does not start, twice; in place of what the block raised, if the cluster's head is
            not there any more.
    """
    for name, value in QUIET.items():
        os.environ.setdefault(name, value)
    address = addresses.resolve(run.address)
    private = address.kind == "private"
    if not private:
        _knock(address.value)
        _need_token()
    else:
        _closed_to_others()
        os.environ.setdefault("RAY_TRAIN_ENABLE_PREEMPTION_WATCHER", "0")
    with (
        _own_token() if private else contextlib.nullcontext(),
        machine.prepared(OBJECT_STORE) if private else contextlib.nullcontext(machine.Surroundings()) as surroundings,
    ):
        import ray
        from ray.exceptions import RayError

        _start(address, cpus, surroundings)
        try:
            yield
        except (RayError, TrainingFailed, UserError):
            # Whatever the workers last said, this is what ended them.
            if not private and gone(address.value):
                raise TrainingFailed(
                    f"the head of the cluster at {address.value} is gone; start one again, name it in run.address if "
                    "it is elsewhere, and run the stage again: it goes on from what is saved"
                ) from None
            raise
        finally:
            ray.shutdown()


def _start(address: addresses.Address, cpus: int | None, surroundings: machine.Surroundings) -> None:
    """`ray.init`, once more where a process of Ray's own died as it began.

    Raises:
        UserError: if the cluster cannot be joined, or this machine lacks something that Ray needs.
        TrainingFailed: if Ray does not start, twice.
    """
    import ray
    from ray.exceptions import RayError

    private = address.kind == "private"
    places = {"_temp_dir": surroundings.folder, "_plasma_directory": surroundings.store}
    _check_imported()
    chosen: dict[str, Any] = {name: place for name, place in places.items() if place}
    if not private and OF_A_JOB not in os.environ and (own := own_plugins.folder()):
        # A private Ray's workers inherit it, and a job's have it from the job; a joined cluster's have not.
        chosen["runtime_env"] = {"env_vars": {own_plugins.VARIABLE: str(own)}}
    for last in (False, True):
        try:
            with ended_after(OPENING):
                ray.init(
                    address="local" if private else address.value,
                    num_cpus=cpus if private else None,
                    object_store_memory=OBJECT_STORE if private else None,
                    include_dashboard=False if private else None,
                    log_to_driver=False,
                    logging_level=logging.CRITICAL,
                    **chosen,
                )
        except (RayError, OSError, RuntimeError, ValueError) as error:
            ray.shutdown()
            raise _refused(address, error) from None
        except Exception as error:
            # Ray tells of a process of its own that died as it began by a bare Exception; its kinds are passed on.
            if type(error) is not Exception:
                raise
            ray.shutdown()
            refused = _refused(address, error, keep=last)
            if last or isinstance(refused, UserError):
                raise refused from None
        else:
            return


def _closed_to_others() -> None:
    """Have a private Ray ask for a token: its ports are open to the network.

    Raises:
        UserError: if the environment has it opened to everybody.
    """
    mode = os.environ.get(tokens.MODE, "")
    if mode and not tokens.required():
        raise UserError(
            f"Ray cannot start: {tokens.MODE}={mode} would open a private Ray to everybody who reaches this machine; "
            f"unset {tokens.MODE}"
        )
    if mode or "ray" not in sys.modules:
        os.environ[tokens.MODE] = tokens.ON
    else:
        os.environ.pop(tokens.MODE, None)  # `ray.init` sets one that is unset, and takes an empty one for disabled


def _need_token() -> None:
    """Have Ray join a cluster with a token only, unless the environment says otherwise.

    Raises:
        UserError: if no token is here.
    """
    if not os.environ.get(tokens.MODE):
        os.environ[tokens.MODE] = tokens.ON  # a cluster without a token runs whatever anybody sends it
    if tokens.required() and not tokens.token_here():
        raise UserError(
            "run.address: no token for the cluster is here; copy the head's, and name it in "
            f"{tokens.TOKEN_PATH}. (Only where the cluster has none, and anybody who reaches it can use it: "
            f"`env {tokens.MODE}=disabled dvc repro`, for that one command; do not export it)"
        )


def _check_imported() -> None:
    """Refuse a process whose Ray was imported before the mode was set: it would not get into a Ray with a token.

    Raises:
        UserError: at once; Ray itself would try for half a minute.
    """
    from ray._private.authentication.authentication_utils import is_token_auth_enabled

    if tokens.required() and not is_token_auth_enabled():
        raise UserError(
            f"Ray cannot be used: it was imported while {tokens.MODE} was not {tokens.ON}; set "
            f"{tokens.MODE}={tokens.ON} in the environment, and start this process again"
        )


def _refused(address: addresses.Address, error: Exception, keep: bool = True) -> UserError | TrainingFailed:
    """What a person is told where `ray.init` raised this: the reason where it is known, else Ray's last words.

    keep: whether Ray's logs are to outlive its folder.
    """
    said = str(error).strip() or type(error).__name__
    if address.kind != "private":
        return UserError(f"run.address: cannot join Ray at {address.value}: {machine.unjoined(said)}")
    logs = machine.logs_of(os.getpid())
    words = machine.last_words(logs) if logs else []
    if known := machine.reason(said, words):
        return UserError(f"Ray cannot start: {known}")
    where = f" (its logs: {machine.kept(logs)})" if logs and keep else ""
    quoted = "".join(f"\n  {line}" for line in words)
    hint = "" if logs is None else "; if the machine was busy, run it again"
    return TrainingFailed(f"Ray does not start: {machine.first_line(said).rstrip('.')}{where}{hint}{quoted}")


@contextmanager
def _own_token() -> Generator[None]:
    """A token for a private Ray, whose ports are as open to the network as any, where its processes inherit it.

    Ray asks for one from `ray.init` on. It would make one too, and leave it in the home folder, where it passes for
    that of a cluster.
    """
    given = os.environ.get(tokens.TOKEN)
    os.environ[tokens.TOKEN] = TOKEN
    try:
        yield
    finally:
        os.environ.pop(tokens.TOKEN)
        if given is not None:
            os.environ[tokens.TOKEN] = given


def _knock(address: str) -> None:
    """Refuse an address where nothing answers, or nothing that speaks gRPC: Ray itself would try for minutes.

    Raises:
        UserError: with what is wrong.
    """
    host, _, port = address.rpartition(":")
    try:
        with socket.create_connection((host.strip("[]"), int(port)), timeout=5) as connection:
            if os.environ.get("RAY_USE_TLS", "0") not in {"0", ""}:
                return  # only Ray has the certificates
            connection.sendall(HTTP_2)
            answer = _first_words(connection)
    except OSError as error:
        raise UserError(f"run.address: no Ray cluster answers at {address} ({error})") from None
    if len(answer) < 9 or answer[3] != SETTINGS:
        raise UserError(f"run.address: what answers at {address} is no Ray cluster; `ray start --head` says its port")


def gone(address: str) -> bool:
    """Whether no cluster answers where one did."""
    try:
        _knock(address)
    except UserError:
        return True
    return False


def _first_words(connection: socket.socket) -> bytes:
    """A frame's nine bytes, or what there is of them."""
    with contextlib.suppress(TimeoutError, ConnectionError):
        return connection.recv(9, socket.MSG_WAITALL)
    return b""
