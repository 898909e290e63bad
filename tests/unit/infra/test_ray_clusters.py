from __future__ import annotations

import copy
import json
import os
import re
import shlex
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from answering import Request, answering
from infra_files import INFRA, ROOT, YOURS, parsed, walk

pytestmark = pytest.mark.slow


RAY = INFRA / "ray"
CLUSTERS = ("aws", "gcp", "rack")
CLOUDS = ("aws", "gcp")


@pytest.fixture(scope="module")
def prepared() -> dict[str, dict[str, Any]]:
    """Each definition as Ray completes it with its defaults."""
    from ray.autoscaler._private.util import prepare_config

    return {name: prepare_config(parsed(RAY / f"{name}.yaml")) for name in CLUSTERS}


@pytest.mark.parametrize("name", CLUSTERS)
def test_ray_accepts_the_definition(prepared: dict[str, dict[str, Any]], name: str) -> None:
    from ray.autoscaler._private.util import validate_config

    validate_config(prepared[name])


def test_rays_schema_would_refuse_a_misspelt_key() -> None:
    import jsonschema
    from ray.autoscaler._private.util import prepare_config, validate_config

    wrong = parsed(RAY / "aws.yaml")
    wrong["available_node_types"]["cpu_spot"]["idle_timeout"] = 10
    with pytest.raises(jsonschema.ValidationError, match="idle_timeout"):
        validate_config(prepare_config(wrong))


@pytest.mark.parametrize("name", CLUSTERS)
def test_rays_defaults_install_nothing(prepared: dict[str, dict[str, Any]], name: str) -> None:
    commands = [command for key, each in prepared[name].items() if key.endswith("setup_commands") for command in each]
    assert commands
    assert not [command for command in commands if "pip" in command or "wheel" in command]


@pytest.mark.parametrize("name", CLUSTERS)
def test_ray_knows_every_option_of_the_start_commands(prepared: dict[str, dict[str, Any]], name: str) -> None:
    from ray.scripts.scripts import start

    for role in ("head", "worker"):
        commands = prepared[name][f"{role}_start_ray_commands"]
        assert commands[0] == "ray stop"
        started = [each for each in commands if "ray start" in each]
        assert len(started) == 1
        before, _, options = started[0].partition("ray start")
        assert "export RAY_AUTH_MODE=token" in before
        context = start.make_context("start", shlex.split(options), resilient_parsing=True)
        assert not context.args, f"Ray would not know {context.args}"
        given = context.params
        if role == "head":
            assert given["head"]
            assert (given["num_cpus"], given["num_gpus"]) == (0, 0), "the head lends nothing"
            assert given["dashboard_host"] == "127.0.0.1"
            assert given["autoscaling_config"] == "~/ray_bootstrap_config.yaml"
        else:
            assert given["address"] == "$RAY_HEAD_IP:6379"


@pytest.mark.parametrize("name", CLUSTERS)
def test_the_token_goes_to_every_machine_and_is_looked_at(prepared: dict[str, dict[str, Any]], name: str) -> None:
    assert prepared[name]["file_mounts"] == {"~/.ray/auth_token": "~/.ray/auth_token"}
    for role in ("head", "worker"):
        assert any("stat --format=%a ~/.ray/auth_token" in each for each in prepared[name][f"{role}_setup_commands"])


@pytest.mark.parametrize(("mode", "code"), [(0o600, 0), (0o644, 1), (None, 1)])
def test_the_look_at_the_token(tmp_path: Path, mode: int | None, code: int) -> None:
    (command,) = parsed(RAY / "rack.yaml")["setup_commands"]
    token = tmp_path / ".ray" / "auth_token"
    token.parent.mkdir()
    if mode is not None:
        token.touch(mode)
        token.chmod(mode)
    # As Ray does before it hands a command to the container.
    command = command.replace("~/", f"{tmp_path}/")
    done = subprocess.run(["bash", "-c", command], capture_output=True, text=True, check=False)
    assert done.returncode == code
    assert ("must be of mode 600" in done.stdout) == bool(code)


@pytest.mark.parametrize("name", CLUSTERS)
def test_containers_gain_no_rights_and_see_the_image_of_this_version(
    prepared: dict[str, dict[str, Any]], name: str
) -> None:
    from importlib import metadata

    docker = prepared[name]["docker"]
    assert "--security-opt no-new-privileges" in docker["run_options"]
    assert not [option for option in docker["run_options"] if "privileged" in option.replace("no-new-privileges", "")]
    images = [value for path, value in walk(prepared[name]) if path.endswith(("docker.image", "worker_image"))]
    assert images
    for image in images:
        assert image.startswith(f"REGISTRY/zerosum:{metadata.version('zerosum')}-")


@pytest.mark.parametrize("name", CLOUDS)
def test_the_head_is_kept_and_workers_are_spot(prepared: dict[str, dict[str, Any]], name: str) -> None:
    config = prepared[name]
    types = copy.deepcopy(config["available_node_types"])
    head = types.pop(config["head_node_type"])
    assert head["labels"] == {"ray.io/market-type": "on-demand"}
    assert head["resources"]["CPU"] == 0
    assert head["max_workers"] == 0
    assert types.keys() == {"cpu_spot", "gpu_spot"}
    for each in types.values():
        assert each["labels"] == {"ray.io/market-type": "spot"}
        assert each["min_workers"] == 0, "nothing costs while nothing runs"
        assert each["max_workers"] <= config["max_workers"]
        node = each["node_config"]
        if name == "aws":
            assert node["InstanceMarketOptions"]["MarketType"] == "spot"
            assert node["IamInstanceProfile"] == {"Name": "zerosum-worker"}
        else:
            assert node["scheduling"]["provisioningModel"] == "SPOT"
            assert node["serviceAccounts"][0]["email"].startswith("zerosum-worker@")
    if name == "aws":
        assert "InstanceMarketOptions" not in head["node_config"]
        assert head["node_config"]["IamInstanceProfile"] == {"Name": "zerosum-head"}
    else:
        assert "scheduling" not in head["node_config"]
    assert 0 < config["idle_timeout_minutes"] <= 30
    assert config["provider"]["cache_stopped_nodes"] is False


def test_nobody_else_reaches_the_machines_of_amazon(prepared: dict[str, dict[str, Any]]) -> None:
    # Ray opens SSH to the world in a security group of its own making.
    for each in prepared["aws"]["available_node_types"].values():
        node = each["node_config"]
        assert len(node["SecurityGroupIds"]) == 1
        assert node["SubnetIds"]
        assert node["MetadataOptions"]["HttpTokens"] == "required"
        assert all(disk["Ebs"]["Encrypted"] for disk in node["BlockDeviceMappings"])


@pytest.mark.parametrize("name", CLUSTERS)
def test_what_a_user_must_change_is_marked(name: str) -> None:
    placeholder = re.compile(r"REGISTRY|PROJECT|FAMILY|ami-0{17}|subnet-0{17}|sg-0{17}|\b10\.0\.0\.\d+\b")
    lines = (RAY / f"{name}.yaml").read_text().splitlines()
    for index, line in enumerate(lines):
        if placeholder.search(line) and not line.lstrip().startswith("#"):
            assert YOURS.search(line) or YOURS.search(lines[index - 1]), line
    assert any(YOURS.search(line) for line in lines)


@pytest.mark.parametrize("name", CLUSTERS)
def test_paths_of_the_image_are_in_the_repository(name: str) -> None:
    for path in re.findall(r"/opt/zerosum/(\S+)", (RAY / f"{name}.yaml").read_text()):
        assert (ROOT / path).is_file(), path


# --- Amazon's rights --------------------------------------------------------------------------


def statements(name: str) -> list[dict[str, Any]]:
    policy = json.loads((RAY / name).read_text())
    assert policy["Version"] == "2012-10-17"
    assert all(each["Effect"] == "Allow" for each in policy["Statement"])
    return policy["Statement"]


def actions(statement: dict[str, Any]) -> list[str]:
    found = statement["Action"]
    return [found] if isinstance(found, str) else found


def test_the_bucket_policy_opens_one_bucket() -> None:
    for each in statements("aws-bucket-policy.json"):
        assert each["Resource"] in {"arn:aws:s3:::BUCKET", "arn:aws:s3:::BUCKET/*"}
        of_objects = each["Resource"].endswith("/*")
        for action in actions(each):
            assert re.fullmatch(r"s3:\w+", action)
            assert ("Object" in action or action.endswith(("MultipartUpload", "UploadParts"))) == of_objects, action
    allowed = {action for each in statements("aws-bucket-policy.json") for action in actions(each)}
    assert {"s3:GetObject", "s3:PutObject", "s3:DeleteObject", "s3:ListBucket"} <= allowed


LOOKS = re.compile(r"\w+:(Describe|List|Get)[\w*]*")


@pytest.mark.parametrize("name", [path.name for path in sorted(RAY.glob("*.json"))])
def test_nothing_is_changed_anywhere_without_a_condition(name: str) -> None:
    for each in statements(name):
        places = each.get("Resource", [])
        open_to_all = "*" in ([places] if isinstance(places, str) else places)
        changing = [action for action in actions(each) if not LOOKS.fullmatch(action)]
        assert not any("*" in action for action in changing), changing
        assert not (open_to_all and changing) or "Condition" in each, changing


def test_the_head_makes_and_ends_its_own_machines_only_and_passes_one_role() -> None:
    """Whoever may tag any machine as this cluster's may end any machine."""
    name = parsed(RAY / "aws.yaml")["cluster_name"]
    own = {"ec2:ResourceTag/ray-cluster-name": name}
    as_they_start = {"ec2:CreateAction": "RunInstances", "aws:RequestTag/ray-cluster-name": name}
    found: dict[str, list[dict[str, str] | None]] = {}
    for each in statements("aws-head-policy.json"):
        for action in actions(each):
            found.setdefault(action, []).append(each.get("Condition", {}).get("StringEquals"))
    for action in ("ec2:TerminateInstances", "ec2:StopInstances", "ec2:StartInstances"):
        assert found[action] == [own]
    assert found["ec2:CreateTags"] == [as_they_start, own]
    assert found["ec2:RunInstances"] == [{"aws:RequestTag/ray-cluster-name": name}, None]
    (passing,) = (each for each in statements("aws-head-policy.json") if actions(each) == ["iam:PassRole"])
    assert passing["Resource"].endswith(":role/zerosum-worker")
    assert passing["Condition"] == {"StringEquals": {"iam:PassedToService": "ec2.amazonaws.com"}}
    (started,) = (
        each["Resource"]
        for each in statements("aws-head-policy.json")
        if actions(each) == ["ec2:RunInstances"] and "Condition" not in each
    )
    assert not any("instance/" in resource.replace("spot-instances-request", "") for resource in started)


def test_ray_tags_a_machine_as_it_starts_it() -> None:
    """Without it the conditions above would let nothing start."""
    from ray.autoscaler._private.aws import node_provider
    from ray.autoscaler.tags import TAG_RAY_CLUSTER_NAME

    specs = [{"ResourceType": "instance", "Tags": [{"Key": TAG_RAY_CLUSTER_NAME, "Value": "zerosum"}]}]
    assert TAG_RAY_CLUSTER_NAME == "ray-cluster-name"
    source = Path(node_provider.__file__).read_text()
    assert re.search(r'"Key": TAG_RAY_CLUSTER_NAME,\s+"Value": self\.cluster_name', source)
    node_provider.AWSNodeProvider._merge_tag_specs(specs, [])
    assert specs[0]["Tags"][0]["Value"] == "zerosum"


def test_a_machine_is_trusted_with_roles_by_ec2_only() -> None:
    assert actions(statements("aws-trust-policy.json")[0]) == ["sts:AssumeRole"]


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
    region = config["provider"]["region"]
    with moto.mock_aws():
        from ray.autoscaler._private.aws.config import bootstrap_aws
        from ray.autoscaler._private.aws.node_provider import AWSNodeProvider

        ec2, iam = boto3.client("ec2", region_name=region), boto3.client("iam", region_name=region)
        network = ec2.create_vpc(CidrBlock="10.1.0.0/16")["Vpc"]["VpcId"]
        zone = config["provider"]["availability_zone"]
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
        types = config["available_node_types"]
        assert types["head"]["resources"] == {"CPU": 0}
        assert types["cpu_spot"]["resources"]["CPU"] == 16
        assert types["gpu_spot"]["resources"]["GPU"] == 1
        ready = bootstrap_aws(config)
        assert len(ec2.describe_security_groups()["SecurityGroups"]) == before, "Ray made a group, open to SSH"
        assert not iam.list_roles()["Roles"], "Ray made a role, with all rights"
        provider = AWSNodeProvider(ready["provider"], "zerosum")
        for kind, node in ready["available_node_types"].items():
            role = "head" if kind == "head" else "worker"
            tags = {"ray-node-type": role, "ray-user-node-type": kind, "ray-launch-config": "-", "ray-node-name": kind}
            provider.create_node(copy.deepcopy(node["node_config"]), tags | {"ray-node-status": "-"}, 1)
        machines = [each for part in ec2.describe_instances()["Reservations"] for each in part["Instances"]]
        lifecycles = {each["InstanceType"]: each.get("InstanceLifecycle") for each in machines}
        assert lifecycles == {"m7i.xlarge": None, "c7i.4xlarge": "spot", "g5.2xlarge": "spot"}


# --- spot-notice.sh ---------------------------------------------------------------------------


@contextmanager
def metadata_service(taken: threading.Event) -> Generator[str]:
    """The metadata service of both clouds on loopback; `taken` is the moment of the notice."""

    def answers(request: Request) -> tuple[int, str]:
        headers, notice = request.headers, taken.is_set()
        match request.method, request.path:
            case "PUT", "/latest/api/token":
                return (200, "pass") if headers["X-aws-ec2-metadata-token-ttl-seconds"] else (403, "")
            case "GET", "/latest/meta-data/spot/instance-action":
                if headers["X-aws-ec2-metadata-token"] != "pass":
                    return 401, ""
                return (200, '{"action": "terminate"}') if notice else (404, "")
            case "GET", "/computeMetadata/v1/instance/preempted" if headers["Metadata-Flavor"] == "Google":
                return 200, "TRUE" if notice else "FALSE"
            case _:
                return 404, ""

    with answering(answers) as url:
        yield url


@pytest.mark.skipif(shutil.which("wget") is None, reason="needs wget, which the image has")
@pytest.mark.parametrize(("cloud", "left"), [("aws", "110"), ("gcp", "25")])
def test_ray_is_told_when_a_spot_machine_is_taken_back(tmp_path: Path, cloud: str, left: str) -> None:
    heard = tmp_path / "heard"
    ray = tmp_path / "ray"
    # The first try is refused, as while the head restarts.
    ray.write_text(
        f'#!/bin/bash\nprintf "%s\\n" "$@" >> {heard}; echo end >> {heard}; (($(grep -c end {heard}) > 1))\n'
    )
    ray.chmod(0o755)
    node = "a1" * 28
    sleeps = [sys.executable, "-c", "import time; time.sleep(60)"]
    raylets = [
        subprocess.Popen([*sleeps, f"--node_id={node}", "--gcs-address=10.0.0.10:6379"]),
        subprocess.Popen([*sleeps, f"--node_id={'b2' * 28}", "--gcs-address=10.0.0.99:6379"]),
    ]
    taken = threading.Event()
    try:
        with metadata_service(taken) as address:
            watcher = subprocess.Popen(
                [str(RAY / "spot-notice.sh"), cloud, "10.0.0.10:6379"],
                env={
                    **os.environ,
                    "PATH": f"{tmp_path}:{os.environ['PATH']}",
                    "TMPDIR": str(tmp_path),
                    "ZEROSUM_METADATA": address,
                    "no_proxy": "127.0.0.1",
                },
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                text=True,
            )
            time.sleep(1.0)
            assert watcher.poll() is None, watcher.communicate()
            assert not heard.exists()
            second = subprocess.run(watcher.args, env={**os.environ, "TMPDIR": str(tmp_path)}, check=False, timeout=10)
            assert second.returncode == 0, "one watcher a machine"
            taken.set()
            said, _ = watcher.communicate(timeout=20)
    finally:
        for raylet in raylets:
            raylet.kill()
            raylet.wait()
    assert watcher.returncode == 0, said
    assert "this machine is taken back" in said
    command, *options = heard.read_text().split("end\n")[0].split("\n")[:-1]
    assert command == "drain-node"
    from ray.scripts.scripts import drain_node

    given = drain_node.make_context("drain-node", options).params
    assert given["node_id"] == node
    assert given["address"] == "10.0.0.10:6379"
    assert given["reason"] == "DRAIN_NODE_REASON_PREEMPTION"
    assert given["deadline_remaining_seconds"] == int(left)


@pytest.mark.parametrize("words", [(), ("azure", "10.0.0.10:6379"), ("aws",)])
def test_the_watcher_says_what_it_wants(words: tuple[str, ...]) -> None:
    done = subprocess.run([str(RAY / "spot-notice.sh"), *words], capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert "spot-notice.sh aws 10.0.0.10:6379" in done.stderr
