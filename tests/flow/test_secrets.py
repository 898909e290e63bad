"""Passwords, keys and tokens are in nothing that a command prints, logs, tags or leaves on the disk."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import checkout
import pytest
import registered_toy
import typer.main
from answering import Request, answering
from mlflow_server import serving

from pipeline.cli.main import app
from pipeline.errors import SettingsError
from pipeline.run.settings import RunSettings
from pipeline.settings import validate

pytestmark = pytest.mark.slow

ZEROSUM = ["-c", "from pipeline.cli.main import main; main()"]
SENTINEL = "SENTINEL4711"
SECRETS = {
    "MLFLOW_TRACKING_TOKEN": f"{SENTINEL}a",
    "AWS_ACCESS_KEY_ID": f"{SENTINEL}b",
    "AWS_SECRET_ACCESS_KEY": f"{SENTINEL}c/+",
    "AWS_SESSION_TOKEN": f"{SENTINEL}d",
    "RAY_AUTH_TOKEN": f"{SENTINEL}e",
    "HF_TOKEN": f"{SENTINEL}f",
}
URL = f"http://ann:{SENTINEL}g%2Fx@{{host}}/x/w.pth?sig={SENTINEL}h&X-Amz-Signature={SENTINEL}i"
# Every command, in the way that makes it speak to the registry or name an address.
COMMANDS = {
    "generate": ["--model", "models:/toy@champion", "--out", "drawn"],
    "models": [],
    "register": [],
    "ready": [],
    "promote": ["1"],
    "rollback": [],
    "check": [],
    "new": ["made"],
    "families": [],
    "explore": ["--model", "models:/toy@champion", "--out", "walk", "walk"],
    "doctor": [],
    "score": ["--fake", "models:/toy@champion", "--real", URL],
    "compare": ["models:/toy/1", "models:/toy/2"],
    "weights list": [],
    "weights fetch": ["inception", "--from", URL, "--to", "fetched"],
}
STORAGES = [
    f"s3://AKIA:{SENTINEL}@bucket/x",
    f"s3://AKIA:a/{SENTINEL}@bucket/x",
    f"s3://{SENTINEL}@bucket",
    f"s3://bucket/x?access_key=AKIA&secret_key={SENTINEL}",
    f"s3://bucket/x?endpoint_override=http://ann:{SENTINEL}@host:9000",
    f"gs://ann:{SENTINEL}@bucket",
    f"s3:AKIA:{SENTINEL}@bucket",
]


def reflected(request: Request) -> tuple[int, str]:
    """A server that repeats all it was asked in its refusal, as proxies and frameworks in debug mode do."""
    headers = "\n".join(f"{name}: {value}" for name, value in request.headers.items())
    return 403, f"{request.method} {request.path}\n{headers}"


def call(project: Path, command: list[str], environment: dict[str, str]) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, *command],
        cwd=project,
        env={**checkout.environment(project), **environment},
        capture_output=True,
        encoding="utf-8",
        timeout=280,
        check=False,
    )


def holders(folder: Path, secret: str = SENTINEL) -> list[Path]:
    """The files below `folder` that hold the secret."""
    found = [path for path in folder.rglob("*") if path.is_file() and not path.is_symlink()]
    return [path for path in found if secret.encode() in path.read_bytes()]


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    target = checkout.copy(tmp_path_factory.mktemp("secrets"), {"register.name": "toy"})
    kept = (target / "params.yaml").read_bytes()
    registered_toy.project(target)
    (target / "params.yaml").write_bytes(kept)
    return target


def test_every_command_is_here() -> None:
    group = typer.main.get_command(app)
    names = set()
    for name, command in group.commands.items():  # type: ignore[attr-defined] (a group, by its own type a command)
        names |= {f"{name} {inner}" for inner in getattr(command, "commands", ())} or {name}
    assert names == set(COMMANDS)


@pytest.mark.parametrize("name", COMMANDS)
def test_no_command_shows_or_leaves_a_secret(project: Path, name: str) -> None:
    with answering(reflected) as url:
        host = url.removeprefix("http://")
        arguments = [word.replace("{host}", host) for word in COMMANDS[name]]
        environment = {**SECRETS, "MLFLOW_TRACKING_URI": f"http://ann:{SENTINEL}j%2Fy@{host}"}
        done = call(project, [*ZEROSUM, *name.split(), *arguments], environment)

    assert SENTINEL not in done.stdout + done.stderr
    assert "Traceback" not in done.stderr
    assert holders(project) == []


@pytest.mark.parametrize("storage", STORAGES)
def test_storage_with_a_key_is_refused_and_not_repeated(storage: str) -> None:
    with pytest.raises(SettingsError) as refused:
        validate(RunSettings, {"storage": storage}, "run")
    assert "run.storage" in str(refused.value)
    assert SENTINEL not in str(refused.value)


def test_a_stage_and_check_refuse_it_as_well(tmp_path: Path) -> None:
    target = checkout.copy(tmp_path, {"run.storage": STORAGES[1]})

    for command in (["-m", "stages.ingest"], [*ZEROSUM, "check"]):
        done = call(target, command, {})
        assert done.returncode == 2
        assert "run.storage" in done.stderr
        assert SENTINEL not in done.stdout + done.stderr
        assert "Traceback" not in done.stderr


def test_the_whole_dag_leaves_no_secret(tmp_path: Path) -> None:
    target = checkout.copy(tmp_path / "project", {"tune.trials": 0, "train.examples": 640})
    with serving(tmp_path / "store") as url:
        address = url.replace("://", f"://ann:{SENTINEL}j%2Fy@")
        environment = {**SECRETS, "MLFLOW_TRACKING_URI": address}
        environment.pop("RAY_AUTH_TOKEN")  # of a cluster; a private Ray has its own
        done = call(target, ["-m", "dvc", "repro"], environment)

    assert done.returncode == 0, done.stdout + done.stderr
    assert SENTINEL not in done.stdout + done.stderr
    assert holders(target) == []
    assert holders(tmp_path / "store") == []
    assert any((tmp_path / "store" / "kept").rglob("model.json"))
