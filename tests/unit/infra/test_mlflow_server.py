"""The MLflow server for a team: the schema of Compose, MLflow's own options, and what is open to whom."""

from __future__ import annotations

import configparser
import re
from typing import Any

import pytest
from infra_files import INFRA, parsed, tool

pytestmark = pytest.mark.slow

MLFLOW = INFRA / "mlflow"


@pytest.fixture(scope="module")
def compose() -> dict[str, Any]:
    return parsed(MLFLOW / "compose.yaml")


def test_the_compose_specification_accepts_it() -> None:
    tool("check-jsonschema", "--builtin-schema", "vendor.compose-spec", MLFLOW / "compose.yaml")


@pytest.mark.filterwarnings("ignore")  # of what MLflow imports
def test_mlflow_reads_these_settings(compose: dict[str, Any]) -> None:
    from mlflow import environment_variables
    from mlflow.cli import server as command

    server = compose["services"]["mlflow"]
    of_options = {option.envvar for option in command.params}
    for name in server["environment"]:
        assert not name.startswith("MLFLOW_") or name in of_options or hasattr(environment_variables, name), name
    given = command.make_context("server", list(server["command"]), resilient_parsing=True).params
    assert given["app_name"] == "basic-auth"
    users = configparser.ConfigParser()
    users.read(MLFLOW / compose["configs"]["users"]["file"])
    assert users["mlflow"]["database_uri"] == server["environment"]["MLFLOW_BACKEND_STORE_URI"]
    assert "admin_password" not in users["mlflow"]


def test_only_mlflow_is_published_and_on_loopback(compose: dict[str, Any]) -> None:
    published = {name: service["ports"] for name, service in compose["services"].items() if "ports" in service}
    assert published == {"mlflow": ["127.0.0.1:5000:5000"]}
    outside = {name for name, service in compose["services"].items() if service["networks"] != ["inside"]}
    assert outside == {"mlflow"}
    assert compose["networks"]["inside"]["internal"] is True
    assert all(service["security_opt"] == ["no-new-privileges:true"] for service in compose["services"].values())


def test_secrets_have_no_default_and_are_in_no_file(compose: dict[str, Any]) -> None:
    asked = dict(re.findall(r"\$\{(\w+):([?-])", (MLFLOW / "compose.yaml").read_text()))
    example = (MLFLOW / ".env.example").read_text()
    given = dict(line.split("=", 1) for line in example.splitlines() if line and not line.startswith("#"))
    assert given == dict.fromkeys((name for name, how in asked.items() if how == "?"), "")
    for service in compose["services"].values():
        for name, value in service.get("environment", {}).items():
            if re.search(r"PASSWORD|SECRET|_KEY", name):
                assert re.fullmatch(r"\$\{\w+:\?[^}]+\}", value), name


def test_the_server_answers_to_names_of_this_machine_only(compose: dict[str, Any]) -> None:
    hosts = compose["services"]["mlflow"]["environment"]["MLFLOW_SERVER_ALLOWED_HOSTS"]
    found = re.fullmatch(r"\$\{ALLOWED_HOSTS:-(.*)\}", hosts)
    assert found
    assert {name.split(":")[0] for name in found[1].split(",")} == {"localhost", "127.0.0.1"}
