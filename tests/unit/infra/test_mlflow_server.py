from __future__ import annotations

import configparser
import json
import re
from importlib import resources
from typing import Any

import jsonschema
import pytest
from infra_files import INFRA, ROOT, lock, parsed, pins, walk

pytestmark = pytest.mark.slow


MLFLOW = INFRA / "mlflow"
SECRETS = {"POSTGRES_PASSWORD", "S3_ACCESS_KEY", "S3_SECRET_KEY", "MLFLOW_ADMIN_PASSWORD", "MLFLOW_SESSION_KEY"}


@pytest.fixture(scope="module")
def compose() -> dict[str, Any]:
    return parsed(MLFLOW / "compose.yaml")


def specification() -> dict[str, Any]:
    """The Compose Specification's schema, which check-jsonschema carries."""
    folder = resources.files("check_jsonschema") / "builtin_schemas" / "vendor"
    return json.loads((folder / "compose-spec.json").read_text())


def test_the_compose_specification_accepts_it(compose: dict[str, Any]) -> None:
    checker = jsonschema.Draft202012Validator(specification())
    assert not [error.message for error in checker.iter_errors(compose)]
    wrong = {**compose, "services": {"mlflow": {**compose["services"]["mlflow"], "helthcheck": {}}}}
    assert any(checker.iter_errors(wrong))


def test_images_are_pinned_and_mlflow_is_the_one_of_the_lock(compose: dict[str, Any]) -> None:
    images = {name: service["image"] for name, service in compose["services"].items()}
    for image in images.values():
        assert re.fullmatch(r"[\w./-]+:\d+\.\d+[\w.-]*(\$\{\w+_DIGEST:-\})?", image), image
    assert images["mlflow"] == f"zerosum-mlflow:{lock()['mlflow']}"
    build = compose["services"]["mlflow"]["build"]
    context = (MLFLOW / build["context"]).resolve()
    assert context == ROOT
    assert (context / build["dockerfile"]).is_file()
    text = (context / build["dockerfile"]).read_text()
    assert "--require-hashes --no-deps --requirement locks/server.lock" in text
    own = pins(MLFLOW / "requirements.lock")
    assert {"boto3", "psycopg2-binary", "flask-wtf"} <= own.keys()
    assert own["mlflow"] == lock()["mlflow"]


def test_only_mlflow_is_published_and_on_loopback(compose: dict[str, Any]) -> None:
    ports = {name: service.get("ports", []) for name, service in compose["services"].items()}
    assert {name for name, given in ports.items() if given} == {"mlflow"}
    assert ports["mlflow"] == ["127.0.0.1:5000:5000"]
    assert compose["networks"]["inside"]["internal"] is True
    for name, service in compose["services"].items():
        assert service["networks"] == (["inside", "outside"] if name == "mlflow" else ["inside"])


def test_secrets_have_no_default_and_are_in_no_file(compose: dict[str, Any]) -> None:
    text = (MLFLOW / "compose.yaml").read_text()
    asked = dict(re.findall(r"\$\{(\w+):([?-])", text))
    assert {name for name, how in asked.items() if how == "?"} == SECRETS
    plain = {name for name, how in asked.items() if how == "-" and not name.endswith("_DIGEST")}
    assert plain == {"ALLOWED_HOSTS"}
    for path, value in walk(compose):
        if re.search(r"PASSWORD|SECRET|ACCESS_KEY|_KEY\b", path) and not isinstance(value, dict):
            assert re.fullmatch(r"\$\{\w+:\?[^}]+\}", str(value)), path
    example = (MLFLOW / ".env.example").read_text()
    given = dict(line.split("=", 1) for line in example.splitlines() if line and not line.startswith("#"))
    assert given == dict.fromkeys(SECRETS, "")
    assert "# ALLOWED_HOSTS=" in example
    assert "/.env" in (MLFLOW / ".gitignore").read_text().split()


def test_what_is_needed_is_up_first(compose: dict[str, Any]) -> None:
    services = compose["services"]
    for name, service in services.items():
        for other, how in service.get("depends_on", {}).items():
            if how["condition"] == "service_healthy":
                assert "healthcheck" in services[other], f"{name} would wait for ever"
            else:
                assert how["condition"] == "service_completed_successfully"
                assert services[other]["restart"].startswith("on-failure"), "else it never completes"
    assert services["mlflow"]["depends_on"].keys() == {"postgres", "bucket"}
    assert all("healthcheck" in service for name, service in services.items() if name != "bucket")
    mounted = {volume.split(":")[0] for service in services.values() for volume in service.get("volumes", [])}
    assert mounted == compose["volumes"].keys()


def test_the_services_mean_the_same_names_and_ports(compose: dict[str, Any]) -> None:
    services = compose["services"]
    server = services["mlflow"]["environment"]
    assert server["MLFLOW_BACKEND_STORE_URI"] == "postgresql+psycopg2://mlflow@postgres:5432/mlflow"
    assert services["postgres"]["environment"]["POSTGRES_USER"] == "mlflow"
    assert services["postgres"]["environment"]["POSTGRES_DB"] == "mlflow"
    assert server["PGPASSWORD"] == services["postgres"]["environment"]["POSTGRES_PASSWORD"]
    endpoint = server["MLFLOW_S3_ENDPOINT_URL"]
    assert endpoint == "http://storage:8333"
    assert "-s3.port=8333" in services["storage"]["command"]
    (command,) = services["bucket"]["command"]
    assert command.count(f"--endpoint-url {endpoint}") == 2
    assert command.count("--bucket mlflow") == 2
    assert server["MLFLOW_ARTIFACTS_DESTINATION"] == "s3://mlflow"
    keys = ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY")
    assert len({tuple(services[name]["environment"][key] for key in keys) for name in ("storage", "bucket")}) == 1
    assert all(server[key] == services["storage"]["environment"][key] for key in keys)
    assert "-master.telemetry=false" in services["storage"]["command"]


def test_nobody_gains_rights(compose: dict[str, Any]) -> None:
    for service in compose["services"].values():
        assert service["security_opt"] == ["no-new-privileges:true"]
        assert "privileged" not in service
    assert compose["services"]["mlflow"]["cap_drop"] == ["ALL"]


@pytest.mark.filterwarnings("ignore")  # of what MLflow imports
def test_mlflow_reads_these_settings(compose: dict[str, Any]) -> None:
    from mlflow import environment_variables
    from mlflow.cli import server as command

    server = compose["services"]["mlflow"]
    of_options = {option.envvar for option in command.params}
    for name in server["environment"]:
        if name.startswith("MLFLOW_"):
            assert name in of_options or hasattr(environment_variables, name), f"MLflow reads no {name}"
    given = command.make_context("server", list(server["command"]), resilient_parsing=True).params
    assert given["app_name"] == "basic-auth"


def test_users_are_kept_in_postgres_and_no_password_in_a_file(compose: dict[str, Any]) -> None:
    server = compose["services"]["mlflow"]
    (config,) = server["configs"]
    assert config["target"] == server["environment"]["MLFLOW_AUTH_CONFIG_PATH"]
    users = configparser.ConfigParser()
    assert users.read(MLFLOW / compose["configs"][config["source"]]["file"])
    assert dict(users["mlflow"]) == {
        "default_permission": "READ",
        "database_uri": server["environment"]["MLFLOW_BACKEND_STORE_URI"],
        "admin_username": "admin",
        "authorization_function": "mlflow.server.auth:authenticate_request_basic_auth",
    }


def test_the_server_answers_to_names_of_this_machine_only(compose: dict[str, Any]) -> None:
    hosts = compose["services"]["mlflow"]["environment"]["MLFLOW_SERVER_ALLOWED_HOSTS"]
    found = re.fullmatch(r"\$\{ALLOWED_HOSTS:-(.*)\}", hosts)
    assert found
    assert {name.split(":")[0] for name in found[1].split(",")} == {"localhost", "127.0.0.1"}
