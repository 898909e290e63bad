"""Ray's cluster launcher: its schema and its own start command, Amazon's rights, and the notice of a spot machine."""

from __future__ import annotations

import json
import os
import re
import shlex
import shutil
import subprocess
import sys
import threading
from pathlib import Path

import pytest
from answering import Request, answering
from infra_files import INFRA, ROOT, parsed

pytestmark = pytest.mark.slow

RAY = INFRA / "ray"
POLICIES = sorted(RAY.glob("*.json"))


@pytest.mark.parametrize("name", ["aws", "gcp", "rack"])
def test_ray_accepts_the_definition_and_its_start_commands(name: str) -> None:
    import jsonschema
    from ray.autoscaler._private.util import prepare_config, validate_config
    from ray.scripts.scripts import start

    config = prepare_config(parsed(RAY / f"{name}.yaml"))  # completed with Ray's defaults
    validate_config(config)
    with pytest.raises(jsonschema.ValidationError):
        validate_config({**config, "idle_timeout": 10})
    assert config["file_mounts"] == {"~/.ray/auth_token": "~/.ray/auth_token"}
    assert "--security-opt no-new-privileges" in config["docker"]["run_options"]
    for role in ("head", "worker"):
        setup = config[f"{role}_setup_commands"]
        assert setup, "else Ray's defaults would install other versions"
        assert not any("pip" in command for command in setup)
        (started,) = [command for command in config[f"{role}_start_ray_commands"] if "ray start" in command]
        before, _, options = started.partition("ray start")
        assert "export RAY_AUTH_MODE=token" in before
        context = start.make_context("start", shlex.split(options), resilient_parsing=True)
        assert not context.args
        if role == "head":
            assert (context.params["num_cpus"], context.params["num_gpus"]) == (0, 0), "the head lends nothing"
            assert context.params["dashboard_host"] == "127.0.0.1"
    for path in re.findall(r"/opt/zerosum/(\S+)", (RAY / f"{name}.yaml").read_text()):
        assert (ROOT / path).is_file(), path


@pytest.mark.parametrize(("mode", "code"), [(0o600, 0), (0o644, 1), (None, 1)])
def test_a_machine_without_a_token_of_its_own_is_refused(tmp_path: Path, mode: int | None, code: int) -> None:
    (command,) = parsed(RAY / "rack.yaml")["setup_commands"]
    if mode is not None:
        (tmp_path / ".ray").mkdir()
        (tmp_path / ".ray" / "auth_token").touch()
        (tmp_path / ".ray" / "auth_token").chmod(mode)
    # As Ray does before it hands a command to the container.
    done = subprocess.run(["bash", "-c", command.replace("~/", f"{tmp_path}/")], capture_output=True, check=False)
    assert done.returncode == code


# --- Amazon's rights --------------------------------------------------------------------------


def statements(path: Path) -> list[tuple[list[str], list[str], dict[str, str]]]:
    """(actions, resources, what must be equal) of every statement of a policy."""
    found: list[tuple[list[str], list[str], dict[str, str]]] = []
    for each in json.loads(path.read_text())["Statement"]:
        assert each["Effect"] == "Allow"
        actions, places = (
            [part] if isinstance(part, str) else part for part in (each["Action"], each.get("Resource", []))
        )
        found.append((actions, places, each.get("Condition", {}).get("StringEquals", {})))
    return found


@pytest.mark.parametrize("path", POLICIES, ids=lambda path: path.stem)
def test_nothing_is_changed_anywhere_without_a_condition(path: Path) -> None:
    for actions, places, condition in statements(path):
        changing = [action for action in actions if not re.fullmatch(r"\w+:(Describe|List|Get)[\w*]*", action)]
        assert not any("*" in action for action in changing), changing
        assert condition or not changing or "*" not in places, changing


def test_the_head_makes_and_ends_its_own_machines_only_and_passes_one_role() -> None:
    """Whoever may tag any machine as this cluster's may end any machine."""
    from ray.autoscaler.tags import TAG_RAY_CLUSTER_NAME

    name = parsed(RAY / "aws.yaml")["cluster_name"]
    own = {f"ec2:ResourceTag/{TAG_RAY_CLUSTER_NAME}": name}
    new = {f"aws:RequestTag/{TAG_RAY_CLUSTER_NAME}": name}
    found: dict[str, list[dict[str, str]]] = {}
    for actions, places, condition in statements(RAY / "aws-head-policy.json"):
        for action in actions:
            found.setdefault(action, []).append(condition)
        assert actions != ["iam:PassRole"] or all(place.endswith(":role/zerosum-worker") for place in places)
        assert condition or actions != ["ec2:RunInstances"] or not any(":instance/" in place for place in places)
    assert found.pop("ec2:Describe*") == [{}]
    assert found == {
        "ec2:RunInstances": [new, {}],
        "ec2:CreateTags": [{"ec2:CreateAction": "RunInstances", **new}, own],
        **{f"ec2:{what}Instances": [own] for what in ("Terminate", "Stop", "Start")},
        "iam:PassRole": [{"iam:PassedToService": "ec2.amazonaws.com"}],
    }


@pytest.mark.long
@pytest.mark.filterwarnings("default")
def test_rays_own_provider_starts_these_machines_on_a_simulated_amazon(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    moto = pytest.importorskip("moto", reason="needs moto, which simulates Amazon")
    boto3 = pytest.importorskip("boto3", reason="needs boto3, which speaks to Amazon")
    from ray.autoscaler._private.util import prepare_config, validate_config

    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, "none")
    monkeypatch.setenv("HOME", str(tmp_path))  # where Ray puts the SSH key it makes
    (tmp_path / ".ssh").mkdir()
    config = parsed(RAY / "aws.yaml")
    region, zone = config["provider"]["region"], config["provider"]["availability_zone"]
    with moto.mock_aws():
        from ray.autoscaler._private.aws.config import bootstrap_aws
        from ray.autoscaler._private.aws.node_provider import AWSNodeProvider

        ec2, iam = boto3.client("ec2", region_name=region), boto3.client("iam", region_name=region)
        network = ec2.create_vpc(CidrBlock="10.1.0.0/16")["Vpc"]["VpcId"]
        subnet = ec2.create_subnet(VpcId=network, CidrBlock="10.1.1.0/24", AvailabilityZone=zone)["Subnet"]["SubnetId"]
        ec2.modify_subnet_attribute(SubnetId=subnet, MapPublicIpOnLaunch={"Value": True})
        group = ec2.create_security_group(GroupName="zerosum", Description="-", VpcId=network)["GroupId"]
        for name in ("zerosum-head", "zerosum-worker"):
            iam.create_instance_profile(InstanceProfileName=name)
        image = ec2.describe_images(Owners=["amazon"])["Images"][0]["ImageId"]
        for each in config["available_node_types"].values():
            each["node_config"] |= {"ImageId": image, "SubnetIds": [subnet], "SecurityGroupIds": [group]}
        before = len(ec2.describe_security_groups()["SecurityGroups"])
        config = AWSNodeProvider.fillout_available_node_types_resources(prepare_config(config))
        validate_config(config)
        ready = bootstrap_aws(config)
        assert len(ec2.describe_security_groups()["SecurityGroups"]) == before, "Ray made a group, open to SSH"
        assert not iam.list_roles()["Roles"], "Ray made a role, with all rights"
        provider = AWSNodeProvider(ready["provider"], "zerosum")
        for kind, node in ready["available_node_types"].items():
            tags = {"ray-node-type": "head" if kind == "head" else "worker", "ray-user-node-type": kind}
            tags |= {"ray-launch-config": "-", "ray-node-name": kind, "ray-node-status": "-"}
            provider.create_node({**node["node_config"]}, tags, 1)
        machines = [each for part in ec2.describe_instances()["Reservations"] for each in part["Instances"]]
        lifecycles = {each["InstanceType"]: each.get("InstanceLifecycle") for each in machines}
        assert lifecycles == {"m7i.xlarge": None, "c7i.4xlarge": "spot", "g5.2xlarge": "spot"}
        # Without the tag at its start the head's policy would let nothing start.
        assert all({"Key": "ray-cluster-name", "Value": "zerosum"} in each["Tags"] for each in machines)


# --- spot-notice.sh ---------------------------------------------------------------------------


@pytest.mark.skipif(shutil.which("wget") is None, reason="needs wget, which the image has")
@pytest.mark.parametrize(("cloud", "left"), [("aws", 110), ("gcp", 25)])
def test_ray_is_told_when_a_spot_machine_is_taken_back(tmp_path: Path, cloud: str, left: int) -> None:
    from ray.scripts.scripts import drain_node

    taken, asked = threading.Event(), threading.Event()

    def metadata(request: Request) -> tuple[int, str]:
        """Both clouds' service; asked: whether it has said once that the machine stays."""
        headers, path = request.headers, request.path
        if (request.method, path) == ("PUT", "/latest/api/token"):
            return (200, "pass") if headers["X-aws-ec2-metadata-token-ttl-seconds"] else (403, "")
        aws = path == "/latest/meta-data/spot/instance-action" and headers["X-aws-ec2-metadata-token"] == "pass"
        gcp = path == "/computeMetadata/v1/instance/preempted" and headers["Metadata-Flavor"] == "Google"
        if taken.is_set():
            return (200, "TRUE") if aws or gcp else (404, "")
        if aws or gcp:
            asked.set()
        return (200, "FALSE") if gcp else (404, "")

    heard, ray, node = tmp_path / "heard", tmp_path / "ray", "a1" * 28
    # The first try is refused, as while the head restarts.
    ray.write_text(f'#!/bin/bash\necho "$*" >> {heard}; (($(grep -c "" {heard}) > 1))\n')
    ray.chmod(0o755)
    idle = [sys.executable, "-c", "import signal; signal.pause()"]
    own = subprocess.Popen([*idle, f"--node_id={node}", "--gcs-address=10.0.0.10:6379"])
    other = subprocess.Popen([*idle, f"--node_id={'b2' * 28}", "--gcs-address=10.0.0.99:6379"])
    try:
        with answering(metadata) as address:
            environment = {**os.environ, "PATH": f"{tmp_path}:{os.environ['PATH']}", "TMPDIR": str(tmp_path)}
            environment |= {"ZEROSUM_METADATA": address, "no_proxy": "127.0.0.1"}
            command = [str(RAY / "spot-notice.sh"), cloud, "10.0.0.10:6379"]
            with subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL) as watcher:
                assert asked.wait(20)
                second = subprocess.run(command, env=environment, check=False, timeout=10)
                assert second.returncode == 0, "one watcher a machine"
                assert not heard.exists()
                taken.set()
                assert watcher.wait(20) == 0
    finally:
        for raylet in (own, other):
            raylet.kill()
            raylet.wait()
    first, again = heard.read_text().splitlines()
    assert first == again
    told = shlex.split(re.sub(r"(--reason-message=)(.*?)( --)", r"\1'\2'\3", first))
    assert told[0] == "drain-node"
    given = drain_node.make_context("drain-node", told[1:]).params
    assert (given["node_id"], given["address"]) == (node, "10.0.0.10:6379")
    assert given["reason"] == "DRAIN_NODE_REASON_PREEMPTION"
    assert given["deadline_remaining_seconds"] == left
