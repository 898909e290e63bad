"""Kubernetes: its schemas, Ray's own readers of the resource, what pods may do, and whom they reach."""

from __future__ import annotations

import copy
import shutil
import subprocess
from ipaddress import ip_address, ip_network
from pathlib import Path
from typing import Any

import kubernetes_validate
import pytest
import yaml
from infra_files import INFRA, documents, parsed

KUBERAY = INFRA / "kuberay"
CLUSTER = parsed(KUBERAY / "cluster" / "raycluster.yaml")["spec"]
JOB = parsed(KUBERAY / "job" / "rayjob.yaml")["spec"]
GROUPS = {"head": CLUSTER["headGroupSpec"], **{each["groupName"]: each for each in CLUSTER["workerGroupSpecs"]}}
PODS = {name: group["template"] for name, group in GROUPS.items()} | {"submitter": JOB["submitterPodTemplate"]}

# Fields of KubeRay 1.6's v1 resources, from its API reference: Kubernetes drops others without a word, and no package
# carries the schemas.
FIELDS = {
    "RayCluster": "authOptions autoscalerOptions enableInTreeAutoscaling gcsFaultToleranceOptions headGroupSpec "
    "headServiceAnnotations managedBy rayVersion suspend workerGroupSpecs",
    "authOptions": "mode secretName enableK8sTokenAuth",
    "autoscalerOptions": "env envFrom idleTimeoutSeconds image imagePullPolicy resources securityContext upscalingMode "
    "version volumeMounts",
    "headGroupSpec": "enableIngress headService labels rayStartParams resources serviceType template",
    "workerGroupSpecs": "groupName idleTimeoutSeconds labels maxReplicas minReplicas numOfHosts rayStartParams "
    "replicas resources scaleStrategy suspend template",
    "RayJob": "activeDeadlineSeconds backoffLimit clusterSelector deletionStrategy entrypoint entrypointNumCpus "
    "entrypointNumGpus entrypointResources jobId managedBy metadata preRunningDeadlineSeconds rayClusterSpec "
    "runtimeEnvYAML shutdownAfterJobFinishes submissionMode submitterConfig submitterPodTemplate suspend "
    "ttlSecondsAfterFinished",
    "submitterConfig": "backoffLimit",
}


def unknown(kind: str, found: Any) -> set[str]:
    """Fields that KubeRay does not know."""
    if isinstance(found, list):
        return {field for each in found for field in unknown(kind, each)}
    here = {f"{kind}.{key}" for key in found.keys() - FIELDS[kind].split()}
    return here.union(*(unknown(key, found[key]) for key in found.keys() & FIELDS.keys()))


def test_kuberay_knows_every_field() -> None:
    assert not unknown("RayCluster", CLUSTER)
    assert not unknown("RayJob", JOB)
    wrong = copy.deepcopy(CLUSTER)
    wrong["autoscalerOptions"]["idleTimeout"] = 1
    assert unknown("RayCluster", wrong) == {"autoscalerOptions.idleTimeout"}


def test_rays_autoscaler_and_its_start_command_read_the_cluster() -> None:
    from ray.autoscaler._private.kuberay.autoscaling_config import _derive_autoscaling_config_from_ray_cr
    from ray.scripts.scripts import start

    resource = {
        **parsed(KUBERAY / "cluster" / "raycluster.yaml"),
        "metadata": {"name": "zerosum", "namespace": "zerosum"},
    }
    types = _derive_autoscaling_config_from_ray_cr(resource)["available_node_types"]
    assert types["headgroup"]["resources"]["CPU"] == 0, "the head lends nothing"
    assert types["gpu"]["resources"] == {"CPU": 4, "GPU": 1, "memory": 24 * 2**30}
    assert types["cpu"]["min_workers"] == types["gpu"]["min_workers"] == 0
    for group in GROUPS.values():
        options = [f"--{name}={value}" for name, value in group["rayStartParams"].items()]
        assert not start.make_context("start", [*options, "--head"], resilient_parsing=True).args


def test_kubernetes_knows_every_field() -> None:
    files = (path for path in KUBERAY.rglob("*.yaml") if path.name != "kustomization.yaml")
    plain = [each for path in files for each in documents(path) if not each["apiVersion"].startswith("ray.io/")]
    pods = [{"apiVersion": "v1", "kind": "PodTemplate", "metadata": {}, "template": pod} for pod in PODS.values()]
    for each in (*plain, *pods):
        kubernetes_validate.validate(each, "1.37", strict=True)
    assert len(plain) > 5


@pytest.mark.parametrize("name", PODS)
def test_pods_are_let_into_a_restricted_namespace_and_have_no_rights(name: str) -> None:
    """The Pod Security Standard that the namespace enforces, and what the images need beside it."""
    labels = parsed(KUBERAY / "common" / "namespace.yaml")["metadata"]["labels"]
    assert labels["pod-security.kubernetes.io/enforce"] == "restricted"
    pod, (container,) = PODS[name]["spec"], PODS[name]["spec"]["containers"]
    wanted = {"runAsNonRoot": True, "runAsUser": 1000, "seccompProfile": {"type": "RuntimeDefault"}}
    assert wanted.items() <= pod["securityContext"].items()
    closed = {"allowPrivilegeEscalation": False, "readOnlyRootFilesystem": True, "capabilities": {"drop": ["ALL"]}}
    assert container["securityContext"] == CLUSTER["autoscalerOptions"]["securityContext"] == closed
    written = {volume["name"] for volume in pod["volumes"] if "emptyDir" in volume}
    mounts = {mount["mountPath"]: mount["name"] for mount in container["volumeMounts"]}
    assert {mounts["/tmp"], mounts["/home/zerosum"]} <= written, "what Ray and the library write to"
    # The autoscaler's token is in its own container; a worker has the keys of the store, the driver MLflow's as well.
    assert pod["automountServiceAccountToken"] is False
    assert not any("serviceaccount" in path for path in mounts)
    secrets = {"head": ["zerosum-store", "zerosum-environment"], "submitter": []}.get(name, ["zerosum-store"])
    assert [each["secretRef"]["name"] for each in container.get("envFrom", [])] == secrets


@pytest.mark.skipif(shutil.which("kubectl") is None, reason="needs kubectl, which carries kustomize")
def test_kustomize_gives_the_job_the_very_cluster() -> None:
    def made(name: str) -> dict[str, Any]:
        command = ["kubectl", "kustomize", str(KUBERAY / name)]
        text = subprocess.run(command, capture_output=True, text=True, check=True, timeout=60).stdout
        return {each["kind"]: each for each in yaml.safe_load_all(text)}

    cluster, job = made("cluster"), made("job")
    assert cluster.keys() - job.keys() == {"RayCluster"}
    assert job["RayJob"]["spec"]["rayClusterSpec"] == cluster["RayCluster"]["spec"]
    image = job["RayJob"]["spec"]["submitterPodTemplate"]["spec"]["containers"][0]["image"]
    assert image == cluster["RayCluster"]["spec"]["headGroupSpec"]["template"]["spec"]["containers"][0]["image"]
    assert image.startswith("REGISTRY/zerosum:")
    assert {each["metadata"].get("namespace", "zerosum") for each in cluster.values()} == {"zerosum"}
    named = {Path(name).name for name in parsed(KUBERAY / "common" / "kustomization.yaml")["resources"]}
    assert named == {path.name for path in (KUBERAY / "common").iterdir()} - {"kustomization.yaml"}


# --- who reaches whom -------------------------------------------------------------------------

Labels = dict[str, str]
HEAD: Labels = {"ray.io/cluster": "zerosum", "ray.io/node-type": "head"}
WORKER: Labels = {"ray.io/cluster": "zerosum", "ray.io/node-type": "worker"}
SUBMITTER: Labels = PODS["submitter"]["metadata"]["labels"]
OPERATOR: Labels = {"app.kubernetes.io/name": "kuberay-operator"}
DNS: Labels = {"k8s-app": "kube-dns"}
STORE, API = "52.218.0.1", "10.96.0.1"


def selects(selector: dict[str, Any], labels: Labels) -> bool:
    exists = [each["key"] for each in selector.get("matchExpressions", []) if each["operator"] == "Exists"]
    return selector.get("matchLabels", {}).items() <= labels.items() and all(key in labels for key in exists)


def is_peer(peer: dict[str, Any], other: str | Labels, namespace: str) -> bool:
    """Whether a rule's peer is that address, or that pod of a namespace."""
    if isinstance(other, str) or "ipBlock" in peer:
        block = peer.get("ipBlock")
        inside = block and isinstance(other, str) and ip_address(other) in ip_network(block["cidr"])
        return bool(inside) and not any(ip_address(other) in ip_network(each) for each in block.get("except", []))
    space = peer.get("namespaceSelector", {"matchLabels": {"kubernetes.io/metadata.name": "zerosum"}})
    return selects(space, {"kubernetes.io/metadata.name": namespace}) and selects(peer["podSelector"], other)


def allowed(
    way: str, mine: Labels, other: str | Labels, port: int, namespace: str = "zerosum", udp: bool = False
) -> bool:
    """Whether the policies let a pod of ours be reached by (`Ingress`), or reach (`Egress`), another on a port."""
    policies = [each["spec"] for each in documents(KUBERAY / "common" / "network.yaml")]
    rules = [
        rule
        for policy in policies
        if selects(policy["podSelector"], mine) and way in policy["policyTypes"]
        for rule in policy.get(way.lower(), [])
    ]
    wanted = {"protocol": "UDP" if udp else "TCP", "port": port}
    return any(
        wanted in rule.get("ports", [wanted])
        and any(is_peer(peer, other, namespace) for peer in rule["from" if way == "Ingress" else "to"])
        for rule in rules
    )


@pytest.mark.parametrize("address", ["169.254.169.254", "169.254.170.23", "169.254.169.252", "fd00:ec2::254"])
def test_nobody_reaches_the_metadata_service(address: str) -> None:
    for source in (HEAD, WORKER, SUBMITTER, {}):
        assert not any(allowed("Egress", source, address, port) for port in (80, 443, 988, 6443))


def test_who_reaches_ray() -> None:
    inside = [(WORKER, 6379), (SUBMITTER, 8265)]
    outside = [(SUBMITTER, 6379), ({"app": "notebook"}, 8265)]
    assert all(allowed("Ingress", HEAD, source, port) for source, port in inside)
    assert not any(allowed("Ingress", HEAD, source, port) for source, port in outside)
    assert allowed("Ingress", HEAD, OPERATOR, 8265, "kuberay")
    assert not allowed("Ingress", HEAD, OPERATOR, 6379, "kuberay")
    assert not any(allowed("Ingress", HEAD, source, 8265, "elsewhere") for source in (WORKER, OPERATOR, SUBMITTER))


def test_what_is_reached_from_here() -> None:
    reached = [(HEAD, WORKER, 31234), (WORKER, STORE, 443), (HEAD, API, 6443), (SUBMITTER, HEAD, 8265)]
    closed = [(WORKER, STORE, 80), (WORKER, API, 6443), (WORKER, {"app": "database"}, 5432)]
    closed += [(SUBMITTER, WORKER, 8265), (SUBMITTER, STORE, 443), ({}, STORE, 443)]
    assert all(allowed("Egress", *each) for each in reached)
    assert not any(allowed("Egress", *each) for each in closed)
    for source in (HEAD, WORKER, SUBMITTER):
        assert allowed("Egress", source, DNS, 53, "kube-system", udp=True), "the cluster's own names"
        assert not allowed("Egress", source, "8.8.8.8", 53, udp=True)
