from __future__ import annotations

import copy
import re
import shutil
import subprocess
from ipaddress import ip_address, ip_network
from typing import Any

import kubernetes_validate
import pytest
import yaml
from infra_files import INFRA, ROOT, YOURS, documents, lock, parsed, walk

KUBERAY = INFRA / "kuberay"
KUBERNETES = "1.37"
FILES = sorted(path for path in KUBERAY.rglob("*.yaml") if path.name != "kustomization.yaml")

# The fields of KubeRay's v1 resources that its CRDs know (KubeRay 1.6, API reference): no registry carries the CRDs.
RAY_CLUSTER = {
    "authOptions": {"mode", "secretName", "enableK8sTokenAuth"},
    "autoscalerOptions": {
        "env",
        "envFrom",
        "idleTimeoutSeconds",
        "image",
        "imagePullPolicy",
        "resources",
        "securityContext",
        "upscalingMode",
        "version",
        "volumeMounts",
    },
    "enableInTreeAutoscaling": None,
    "gcsFaultToleranceOptions": None,
    "headGroupSpec": {
        "enableIngress",
        "headService",
        "labels",
        "rayStartParams",
        "resources",
        "serviceType",
        "template",
    },
    "headServiceAnnotations": None,
    "managedBy": None,
    "rayVersion": None,
    "suspend": None,
    "workerGroupSpecs": {
        "groupName",
        "idleTimeoutSeconds",
        "labels",
        "maxReplicas",
        "minReplicas",
        "numOfHosts",
        "rayStartParams",
        "replicas",
        "resources",
        "scaleStrategy",
        "suspend",
        "template",
    },
}
RAY_JOB = {
    "activeDeadlineSeconds": None,
    "backoffLimit": None,
    "clusterSelector": None,
    "deletionStrategy": None,
    "entrypoint": None,
    "entrypointNumCpus": None,
    "entrypointNumGpus": None,
    "entrypointResources": None,
    "jobId": None,
    "managedBy": None,
    "metadata": None,
    "preRunningDeadlineSeconds": None,
    "rayClusterSpec": set(RAY_CLUSTER),
    "runtimeEnvYAML": None,
    "shutdownAfterJobFinishes": None,
    "submissionMode": None,
    "submitterConfig": {"backoffLimit"},
    "submitterPodTemplate": {"metadata", "spec"},
    "suspend": None,
    "ttlSecondsAfterFinished": None,
}


def cluster() -> dict[str, Any]:
    return parsed(KUBERAY / "cluster" / "raycluster.yaml")


def job() -> dict[str, Any]:
    return parsed(KUBERAY / "job" / "rayjob.yaml")


def groups() -> dict[str, dict[str, Any]]:
    """The head and the worker groups by name."""
    spec = cluster()["spec"]
    return {"head": spec["headGroupSpec"], **{each["groupName"]: each for each in spec["workerGroupSpecs"]}}


def templates() -> dict[str, dict[str, Any]]:
    """Every pod that is made of these definitions."""
    found = {name: group["template"] for name, group in groups().items()}
    return {**found, "submitter": job()["spec"]["submitterPodTemplate"]}


def unknown(spec: dict[str, Any], known: dict[str, set[str] | None]) -> set[str]:
    found = set(spec) - set(known)
    for name, inner in known.items():
        given = spec.get(name)
        for each in given if isinstance(given, list) else [given]:
            if inner is not None and isinstance(each, dict):
                found |= {f"{name}.{key}" for key in set(each) - inner}
    return found


def test_the_resources_have_no_unknown_field() -> None:
    assert not unknown(cluster()["spec"], RAY_CLUSTER)
    assert not unknown(job()["spec"], RAY_JOB)
    wrong = copy.deepcopy(cluster()["spec"])
    wrong["autoscalerOptions"]["idleTimeout"] = 1
    assert unknown(wrong, RAY_CLUSTER) == {"autoscalerOptions.idleTimeout"}
    for each in (cluster(), job()):
        assert each["apiVersion"] == "ray.io/v1"
        assert each.keys() == {"apiVersion", "kind", "metadata", "spec"}


def test_values_are_among_those_that_kuberay_knows() -> None:
    spec = cluster()["spec"]
    assert spec["authOptions"] == {"mode": "token"}
    assert spec["autoscalerOptions"]["version"] == "v2"
    assert spec["autoscalerOptions"]["upscalingMode"] in {"Default", "Aggressive", "Conservative"}
    assert spec["autoscalerOptions"]["imagePullPolicy"] in {"Always", "IfNotPresent", "Never"}
    assert spec["headGroupSpec"]["serviceType"] == "ClusterIP"
    assert job()["spec"]["submissionMode"] in {"K8sJobMode", "HTTPMode", "InteractiveMode", "SidecarMode"}
    for group in groups().values():
        assert all(isinstance(value, str) for value in group["rayStartParams"].values()), "a map of strings"


def test_ray_is_the_one_of_the_lock() -> None:
    assert cluster()["spec"]["rayVersion"] == lock()["ray"]


def test_rays_autoscaler_reads_the_cluster() -> None:
    from ray.autoscaler._private.kuberay.autoscaling_config import _derive_autoscaling_config_from_ray_cr

    resource = cluster()
    resource["metadata"]["namespace"] = "zerosum"
    found = _derive_autoscaling_config_from_ray_cr(resource)
    types = found["available_node_types"]
    assert types["headgroup"]["resources"]["CPU"] == 0, "the head lends nothing"
    assert types["cpu"]["resources"]["CPU"] == 8
    assert types["gpu"]["resources"] == {"CPU": 4, "GPU": 1, "memory": 24 * 2**30}
    for name in ("cpu", "gpu"):
        assert types[name]["min_workers"] == 0
        assert types[name]["max_workers"] == 8
    assert {each["labels"]["ray.io/market-type"] for each in types.values()} <= {"on-demand", "spot"}
    assert found["idle_timeout_minutes"] == 10


def test_ray_knows_every_start_parameter() -> None:
    from ray.scripts.scripts import start

    for group in groups().values():
        options = [f"--{name}={value}" for name, value in group["rayStartParams"].items()]
        context = start.make_context("start", [*options, "--head"], resilient_parsing=True)
        assert not context.args
        assert context.params["object_store_memory"] == 2 * 2**30


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_kubernetes_knows_every_field(path: Any) -> None:
    for each in documents(path):
        if not each["apiVersion"].startswith("ray.io/"):
            kubernetes_validate.validate(each, KUBERNETES, strict=True)


@pytest.mark.parametrize("name", ["head", "cpu", "gpu", "submitter"])
def test_kubernetes_knows_every_field_of_the_pods(name: str) -> None:
    pods = {"apiVersion": "v1", "kind": "PodTemplate", "metadata": {"name": name}, "template": templates()[name]}
    kubernetes_validate.validate(pods, KUBERNETES, strict=True)
    wrong = copy.deepcopy(pods)
    wrong["template"]["spec"]["containers"][0]["imagePolicy"] = "Always"
    with pytest.raises(kubernetes_validate.ValidationError, match="imagePolicy"):
        kubernetes_validate.validate(wrong, KUBERNETES, strict=True)


@pytest.mark.parametrize("name", ["head", "cpu", "gpu", "submitter"])
def test_pods_are_let_into_a_restricted_namespace(name: str) -> None:
    """The Pod Security Standard that the namespace enforces."""
    pod = templates()[name]["spec"]
    assert pod["securityContext"]["runAsNonRoot"] is True
    assert pod["securityContext"]["runAsUser"] == 1000, "the image's user"
    assert pod["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
    assert not {"hostNetwork", "hostPID", "hostIPC"} & pod.keys()
    allowed = {"name", "configMap", "csi", "downwardAPI", "emptyDir", "ephemeral", "persistentVolumeClaim"}
    assert all(volume.keys() <= allowed | {"projected", "secret"} for volume in pod.get("volumes", []))
    for container in pod["containers"]:
        assert container["securityContext"]["allowPrivilegeEscalation"] is False
        assert container["securityContext"]["capabilities"] == {"drop": ["ALL"]}
        assert container["securityContext"]["readOnlyRootFilesystem"] is True
        written = {volume["name"] for volume in pod["volumes"] if "emptyDir" in volume}
        mounts = {mount["mountPath"]: mount["name"] for mount in container["volumeMounts"]}
        assert {mounts["/tmp"], mounts["/home/zerosum"]} <= written, "what Ray and the library write to"
        assert not any("hostPort" in port for port in container.get("ports", []))
    assert cluster()["spec"]["autoscalerOptions"]["securityContext"] == {
        "allowPrivilegeEscalation": False,
        "readOnlyRootFilesystem": True,
        "capabilities": {"drop": ["ALL"]},
    }


def test_containers_have_the_names_that_kuberay_looks_for() -> None:
    names = {name: [each["name"] for each in template["spec"]["containers"]] for name, template in templates().items()}
    assert names == {
        "head": ["ray-head"],
        "cpu": ["ray-worker"],
        "gpu": ["ray-worker"],
        "submitter": ["ray-job-submitter"],
    }


@pytest.mark.parametrize("name", ["head", "cpu", "gpu"])
def test_pods_share_memory_and_storage_and_have_time_to_save(name: str) -> None:
    pod = templates()[name]["spec"]
    volumes = {volume["name"]: volume for volume in pod["volumes"]}
    mounts = {mount["mountPath"]: mount["name"] for mount in pod["containers"][0]["volumeMounts"]}
    assert volumes[mounts["/dev/shm"]]["emptyDir"] == {"medium": "Memory", "sizeLimit": "4Gi"}
    store = int(groups()[name]["rayStartParams"]["object-store-memory"])
    assert store < 4 * 2**30, "Ray's objects are in /dev/shm"
    claim = parsed(KUBERAY / "common" / "storage.yaml")
    assert volumes[mounts["/shared"]]["persistentVolumeClaim"]["claimName"] == claim["metadata"]["name"]
    assert claim["spec"]["accessModes"] == ["ReadWriteMany"]
    resources = pod["containers"][0]["resources"]
    assert resources["requests"]["memory"] == resources["limits"]["memory"]
    drain = {each["name"]: int(each["value"]) for each in pod["containers"][0].get("env", [])}
    assert sum(drain.values()) < pod["terminationGracePeriodSeconds"]
    assert name == "head" or drain.keys() == {"RAY_GRACEFUL_SHUTDOWN_DRAIN_TIMEOUT_S"}


def test_gpus_are_asked_for_by_one_group() -> None:
    asked = {
        name: template["spec"]["containers"][0].get("resources", {}).get("limits", {}).get("nvidia.com/gpu")
        for name, template in templates().items()
    }
    assert asked == {"head": None, "cpu": None, "gpu": 1, "submitter": None}
    images = {name: template["spec"]["containers"][0]["image"] for name, template in templates().items()}
    assert images == {"head": "zerosum-cpu", "cpu": "zerosum-cpu", "gpu": "zerosum-cuda", "submitter": "zerosum-cpu"}


def test_workers_may_ask_nothing_of_kubernetes() -> None:
    accounts = {each["metadata"]["name"]: each for each in documents(KUBERAY / "common" / "accounts.yaml")}
    for name, template in templates().items():
        account = template["spec"]["serviceAccountName"]
        assert account in accounts
        assert account == ("zerosum-head" if name == "head" else "zerosum-worker")
        assert template["spec"]["automountServiceAccountToken"] is False
    assert all(each["automountServiceAccountToken"] is False for each in accounts.values())


def test_the_rights_of_the_autoscaler_are_in_its_container_alone() -> None:
    """A job's driver runs in the container beside it."""
    from ray.autoscaler._private.kuberay import node_provider

    pod = templates()["head"]["spec"]
    (held,) = (volume for volume in pod["volumes"] if "projected" in volume)
    paths = {path for each, path in walk(held) if each.endswith(".path")}
    place = "/var/run/secrets/kubernetes.io/serviceaccount"
    assert f"{place}/token" == node_provider.IN_CLUSTER_TOKEN_PATH
    assert f"{place}/ca.crt" == node_provider.IN_CLUSTER_CA_CERT_PATH
    assert paths >= {"token", "ca.crt"}
    mounts = cluster()["spec"]["autoscalerOptions"]["volumeMounts"]
    assert {"name": held["name"], "mountPath": place, "readOnly": True} in mounts
    assert {mount["name"] for mount in mounts} <= {volume["name"] for volume in pod["volumes"]}
    for template in templates().values():
        for container in template["spec"]["containers"]:
            assert not [mount for mount in container["volumeMounts"] if mount["name"] == held["name"]]


def test_workers_get_the_keys_of_the_store_and_no_others() -> None:
    given = {
        name: [each["secretRef"]["name"] for each in template["spec"]["containers"][0].get("envFrom", [])]
        for name, template in templates().items()
    }
    assert given == {
        "head": ["zerosum-store", "zerosum-environment"],
        "cpu": ["zerosum-store"],
        "gpu": ["zerosum-store"],
        "submitter": [],
    }
    assert not {"env", "envFrom"} & cluster()["spec"]["autoscalerOptions"].keys()


# --- who reaches Ray --------------------------------------------------------------------------

Labels = dict[str, str]
POD: Labels = {"ray.io/cluster": "zerosum", "ray.io/node-type": "head"}
OPERATOR: Labels = {"app.kubernetes.io/name": "kuberay-operator"}


def selects(selector: dict[str, Any], labels: Labels) -> bool:
    wanted = selector.get("matchLabels", {})
    exists = [each["key"] for each in selector.get("matchExpressions", []) if each["operator"] == "Exists"]
    assert len(exists) == len(selector.get("matchExpressions", []))
    return wanted.items() <= labels.items() and all(key in labels for key in exists)


def let_in(source: Labels, namespace: str, port: int) -> bool:
    """Whether the policies let a pod of `namespace` reach a port of a pod of Ray."""
    policies = documents(KUBERAY / "common" / "network.yaml")
    governing = [each["spec"] for each in policies if selects(each["spec"]["podSelector"], POD)]
    assert {"Ingress", "Egress"} <= set(policies[0]["spec"]["policyTypes"])
    assert policies[0]["spec"]["podSelector"] == {}
    for policy in governing:
        for rule in policy.get("ingress", []):
            ports = {each["port"] for each in rule.get("ports", [])}
            for peer in rule["from"]:
                space = peer.get("namespaceSelector")
                there = selects(space, {"kubernetes.io/metadata.name": namespace}) if space else namespace == "zerosum"
                if there and selects(peer["podSelector"], source) and (not ports or port in ports):
                    return True
    return False


@pytest.mark.parametrize(
    ("source", "namespace", "port", "allowed"),
    [
        (POD, "zerosum", 6379, True),
        (POD, "zerosum", 31234, True),
        (POD, "elsewhere", 6379, False),
        (OPERATOR, "kuberay", 8265, True),
        (OPERATOR, "kuberay", 6379, False),
        (OPERATOR, "elsewhere", 8265, False),
        ({}, "kuberay", 8265, False),
        ({"app.kubernetes.io/name": "zerosum-submitter"}, "zerosum", 8265, True),
        ({"app.kubernetes.io/name": "zerosum-submitter"}, "zerosum", 6379, False),
        ({"app": "notebook"}, "zerosum", 8265, False),
        ({"app": "notebook"}, "default", 10001, False),
    ],
)
def test_who_reaches_ray(source: Labels, namespace: str, port: int, allowed: bool) -> None:
    assert let_in(source, namespace, port) is allowed


WORKER: Labels = {"ray.io/cluster": "zerosum", "ray.io/node-type": "worker"}
SUBMITTER: Labels = {"app.kubernetes.io/name": "zerosum-submitter"}
DNS: Labels = {"k8s-app": "kube-dns"}


def let_out(source: Labels, target: str | Labels, port: int, protocol: str = "TCP", namespace: str = "zerosum") -> bool:
    """Whether the policies let a pod of this namespace reach an address, or a pod by its labels."""
    for policy in (each["spec"] for each in documents(KUBERAY / "common" / "network.yaml")):
        if not selects(policy["podSelector"], source) or "Egress" not in policy["policyTypes"]:
            continue
        for rule in policy.get("egress", []):
            ports = {(each["protocol"], each["port"]) for each in rule.get("ports", [])}
            if ports and (protocol, port) not in ports:
                continue
            for peer in rule["to"]:
                if "ipBlock" in peer:
                    if isinstance(target, str) and in_block(target, peer["ipBlock"]):
                        return True
                elif not isinstance(target, str):
                    space = peer.get("namespaceSelector")
                    there = (
                        selects(space, {"kubernetes.io/metadata.name": namespace}) if space else namespace == "zerosum"
                    )
                    if there and selects(peer["podSelector"], target):
                        return True
    return False


def in_block(address: str, block: dict[str, Any]) -> bool:
    found = ip_address(address)
    return found in ip_network(block["cidr"]) and not any(found in ip_network(each) for each in block.get("except", []))


def test_every_pod_is_closed_in_both_directions() -> None:
    closed = documents(KUBERAY / "common" / "network.yaml")[0]["spec"]
    assert closed == {"podSelector": {}, "policyTypes": ["Ingress", "Egress"]}


@pytest.mark.parametrize("source", [POD, WORKER, SUBMITTER, {}], ids=["head", "worker", "submitter", "any"])
@pytest.mark.parametrize("address", ["169.254.169.254", "169.254.170.23", "169.254.169.252", "fd00:ec2::254"])
def test_nobody_reaches_the_metadata_service(source: Labels, address: str) -> None:
    for port in (80, 443, 988, 6443):
        assert not let_out(source, address, port)


@pytest.mark.parametrize(
    ("source", "target", "port", "allowed"),
    [
        (POD, WORKER, 31234, True),
        (WORKER, POD, 6379, True),
        (WORKER, "52.218.0.1", 443, True),
        (WORKER, "52.218.0.1", 80, False),
        (WORKER, "10.96.0.1", 6443, False),
        (POD, "10.96.0.1", 6443, True),
        (POD, "10.96.0.1", 443, True),
        (WORKER, {"app": "database"}, 5432, False),
        (SUBMITTER, POD, 8265, True),
        (SUBMITTER, POD, 6379, False),
        (SUBMITTER, WORKER, 8265, False),
        (SUBMITTER, "52.218.0.1", 443, False),
        ({}, "52.218.0.1", 443, False),
    ],
)
def test_what_is_reached_from_here(source: Labels, target: str | Labels, port: int, allowed: bool) -> None:
    assert let_out(source, target, port) is allowed


@pytest.mark.parametrize("source", [POD, WORKER, SUBMITTER], ids=["head", "worker", "submitter"])
def test_names_are_looked_up_at_the_clusters_own_dns(source: Labels) -> None:
    for protocol in ("UDP", "TCP"):
        assert let_out(source, DNS, 53, protocol, "kube-system")
        assert let_out(source, "169.254.20.10", 53, protocol), "the cache on each node"
    assert not let_out(source, DNS, 53, "UDP", "zerosum")
    assert not let_out(source, "8.8.8.8", 53, "UDP")


def test_the_submitter_carries_the_label_that_is_let_in() -> None:
    assert let_in(templates()["submitter"]["metadata"]["labels"], "zerosum", 8265)


def test_the_namespace_is_restricted_and_a_head_is_not_drained() -> None:
    namespace = parsed(KUBERAY / "common" / "namespace.yaml")["metadata"]
    assert namespace["name"] == "zerosum"
    assert namespace["labels"]["pod-security.kubernetes.io/enforce"] == "restricted"
    budget = parsed(KUBERAY / "common" / "disruption.yaml")["spec"]
    assert budget["maxUnavailable"] == 0
    assert selects(budget["selector"], POD)
    assert not selects(budget["selector"], {**POD, "ray.io/node-type": "worker"})


# --- the job, and what kustomize makes --------------------------------------------------------


def test_the_job_runs_the_dag_and_leaves_nothing_behind() -> None:
    spec = job()["spec"]
    script = re.search(r"/opt/zerosum/(\S+)", spec["entrypoint"])
    assert script
    assert (ROOT / script[1]).is_file()
    assert spec["shutdownAfterJobFinishes"] is True
    assert spec["ttlSecondsAfterFinished"] > 0
    mounts = {each["mountPath"] for each in templates()["head"]["spec"]["containers"][0]["volumeMounts"]}
    params = re.search(r"ZEROSUM_PARAMS=(\S+)/params.yaml", spec["entrypoint"])
    assert params
    assert params[1] in mounts
    assert spec["entrypoint"].split()[-1].startswith("/shared/")


def test_images_have_one_place_to_be_named() -> None:
    lines = (KUBERAY / "cluster" / "kustomization.yaml").read_text().splitlines()
    assert [bool(YOURS.search(line)) for line in lines if "REGISTRY" in line] == [True, True]
    from importlib import metadata

    found = {each["name"]: each for each in parsed(KUBERAY / "cluster" / "kustomization.yaml")["images"]}
    assert found.keys() == {"zerosum-cpu", "zerosum-cuda"}
    assert all(each["newTag"].startswith(f"{metadata.version('zerosum')}-") for each in found.values())


@pytest.mark.parametrize("path", sorted(KUBERAY.rglob("kustomization.yaml")), ids=lambda path: path.parent.name)
def test_what_a_kustomization_names_is_there(path: Any) -> None:
    for name in parsed(path)["resources"]:
        assert (path.parent / name).exists(), name
    files = {each.name for each in path.parent.glob("*.yaml")} - {"kustomization.yaml"}
    assert files == {name for name in parsed(path)["resources"] if name.endswith(".yaml")}


def kustomized(name: str) -> dict[str, list[dict[str, Any]]]:
    """What `kubectl apply` would send, by kind."""
    program = shutil.which("kubectl")
    if program is None:
        pytest.skip("needs kubectl, which carries kustomize")
    done = subprocess.run(
        [program, "kustomize", str(KUBERAY / name)], capture_output=True, text=True, check=False, timeout=60
    )
    assert done.returncode == 0, done.stderr
    found: dict[str, list[dict[str, Any]]] = {}
    for each in yaml.safe_load_all(done.stdout):
        found.setdefault(each["kind"], []).append(each)
    return found


def test_kustomize_makes_the_cluster() -> None:
    made = kustomized("cluster")
    assert made.keys() == {
        "Namespace",
        "NetworkPolicy",
        "PersistentVolumeClaim",
        "PodDisruptionBudget",
        "RayCluster",
        "ServiceAccount",
    }
    for kind, each in made.items():
        assert kind == "Namespace" or all(one["metadata"]["namespace"] == "zerosum" for one in each)
    (found,) = made["RayCluster"]
    images = {value for path, value in walk(found) if path.endswith(".image")}
    assert len(images) == 2
    assert all(re.fullmatch(r"REGISTRY/zerosum:[\d.]+-(cpu|cu\d+)", image) for image in images)


def test_kustomize_gives_the_job_that_very_cluster() -> None:
    made = kustomized("job")
    assert "RayCluster" not in made
    (found,) = made["RayJob"]
    (alone,) = kustomized("cluster")["RayCluster"]
    assert found["spec"]["rayClusterSpec"] == alone["spec"]
    submitter = found["spec"]["submitterPodTemplate"]["spec"]["containers"][0]
    assert submitter["image"] == alone["spec"]["headGroupSpec"]["template"]["spec"]["containers"][0]["image"]
    assert not [value for path, value in walk(found) if path.endswith(".image") and "/" not in str(value)]
