"""What is installed is what was locked, file by file; and what is installed can be told."""

from __future__ import annotations

import base64
import hashlib
import importlib.util
import json
import os
import re
import subprocess
import sys
import zipfile
from importlib import metadata
from pathlib import Path
from types import ModuleType

import pytest

ROOT = Path(__file__).parents[2]
LOCKS = sorted(
    path.relative_to(ROOT).as_posix()
    for path in (*ROOT.glob("*.lock"), *ROOT.glob("infra/**/*.lock"))
    if path.stem != "dvc"
)
LINE = re.compile(r"[A-Za-z0-9._-]+==[A-Za-z0-9.]+( --hash=sha256:[0-9a-f]{64})+")
MAKEFILE = (ROOT / "Makefile").read_text()


def tool(name: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(f"tools_{name}", ROOT / "tools" / f"{name}.py")
    assert spec
    assert spec.loader
    found = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = found
    spec.loader.exec_module(found)
    return found


@pytest.mark.parametrize("name", LOCKS)
def test_every_line_of_a_lock_file_has_hashes(name: str) -> None:
    lines = [line for line in (ROOT / name).read_text().splitlines() if not line.startswith("#")]
    assert lines
    assert not [line for line in lines if not LINE.fullmatch(line)]
    assert "://" not in (ROOT / name).read_text(), "of no machine's index"


def test_there_is_a_lock_for_each_place() -> None:
    assert LOCKS == [
        "infra/docker/aws.lock",
        "infra/docker/gcp.lock",
        "infra/mlflow/requirements.lock",
        "requirements-build.lock",
        "requirements-cuda.lock",
        "requirements-dev.lock",
        "requirements.lock",
    ]


def test_a_package_has_one_version_in_all_of_them() -> None:
    lock = tool("lock")
    seen: dict[str, set[str]] = {}
    for name in LOCKS:
        for package, version in lock.pins(ROOT / name).items():
            seen.setdefault(lock.canonicalize_name(package), set()).add(version)
    assert {name: versions for name, versions in seen.items() if len(versions) > 1} == {}


def test_make_installs_nothing_without_hashes_but_the_project_itself() -> None:
    recipe = MAKEFILE.partition("\n.venv/ready:")[2].partition("\n# A new environment")[0].partition("\nsbom:")[0]
    for line in recipe.splitlines():
        if " -r " in line:
            assert "$(HASHED)" in line, line
        elif "$(PIP)" in line:
            assert "--no-deps --no-build-isolation -e ." in line, line
    assert re.search(r"(?m)^HASHED := \$\(PIP\) .*--require-hashes --no-deps", MAKEFILE)


def wheel(folder: Path) -> str:
    """A package of one module; its sha256."""
    parts = {
        "zerosum_sample.py": "",
        "zerosum_sample-1.0.dist-info/METADATA": "Metadata-Version: 2.1\nName: zerosum-sample\nVersion: 1.0\n",
        "zerosum_sample-1.0.dist-info/WHEEL": "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
    }
    path = folder / "zerosum_sample-1.0-py3-none-any.whl"
    with zipfile.ZipFile(path, "w") as archive:
        record = ""
        for name, text in parts.items():
            archive.writestr(name, text)
            digest = base64.urlsafe_b64encode(hashlib.sha256(text.encode()).digest()).rstrip(b"=").decode()
            record += f"{name},sha256={digest},{len(text)}\n"
        archive.writestr("zerosum_sample-1.0.dist-info/RECORD", record + "zerosum_sample-1.0.dist-info/RECORD,,\n")
    return hashlib.sha256(path.read_bytes()).hexdigest()


@pytest.mark.slow
@pytest.mark.parametrize("right", [True, False])
def test_one_altered_digit_ends_the_install(tmp_path: Path, right: bool) -> None:
    """With the very command of the Makefile."""
    sha256 = wheel(tmp_path)
    if not right:
        sha256 = ("1" if sha256[0] == "0" else "0") + sha256[1:]
    (tmp_path / "sample.lock").write_text(f"zerosum-sample==1.0 --hash=sha256:{sha256}\n")
    words = f"$(HASHED) --no-index --find-links {tmp_path} --target {tmp_path / 'target'} -r {tmp_path / 'sample.lock'}"
    done = subprocess.run(
        ["make", "-s", f"BIN={Path(sys.executable).parent}", f"--eval=asked: ; @{words}", "asked"],
        cwd=ROOT,
        env={**os.environ, "PIP_CONFIG_FILE": os.devnull},
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    assert (done.returncode == 0) is right, done.stderr
    assert (tmp_path / "target" / "zerosum_sample.py").exists() is right


@pytest.mark.slow
def test_a_bill_of_materials_names_everything_that_is_installed(tmp_path: Path) -> None:
    sbom = tool("sbom")
    subprocess.run([sys.executable, ROOT / "tools" / "sbom.py", tmp_path / "sbom.json"], check=True)
    bill = json.loads((tmp_path / "sbom.json").read_text())
    named = {sbom.canonical(each["name"]): each for each in bill["components"]}
    assert named.keys() == {sbom.canonical(each.name) for each in metadata.distributions()}
    for name, each in named.items():
        assert each["version"] == metadata.version(name)
        assert each["purl"] == f"pkg:pypi/{name}@{each['version'].replace('+', '%2B')}"
    assert len({each["bom-ref"] for each in bill["components"]}) == len(named)
    without = [name for name, each in named.items() if "licenses" not in each]
    assert len(without) < 0.05 * len(named), without
    refs = {each["ref"] for each in bill["dependencies"]}
    assert {each for one in bill["dependencies"] for each in one["dependsOn"]} <= refs
    torch = named["torch"]["purl"]
    assert any(torch in each["dependsOn"] for each in bill["dependencies"]) or "zerosum" not in named


@pytest.mark.slow
def test_the_bill_is_valid_cyclonedx(tmp_path: Path) -> None:
    validation = pytest.importorskip("cyclonedx.validation.json", reason="pip-audit brings the schema")
    from cyclonedx.schema import SchemaVersion

    text = json.dumps(tool("sbom").bill())
    assert validation.JsonStrictValidator(SchemaVersion.V1_6).validate_str(text) is None


@pytest.mark.parametrize(
    ("interpreter", "abi", "platform", "taken"),
    [
        ("py3", "none", "any", True),
        ("cp311", "cp311", "manylinux_2_28_x86_64", True),
        ("cp311", "cp311", "manylinux2014_aarch64", True),
        ("cp311", "cp311", "macosx_14_0_arm64", True),
        ("cp39", "abi3", "manylinux_2_17_x86_64", True),
        ("cp312", "abi3", "manylinux_2_17_x86_64", False),
        ("cp312", "cp312", "manylinux_2_28_x86_64", False),
        ("cp311", "cp311", "win_amd64", False),
        ("cp311", "cp311", "musllinux_1_2_x86_64", False),
        ("pp311", "pypy311_pp73", "manylinux_2_28_x86_64", False),
        ("py2", "none", "any", False),
    ],
)
def test_which_wheels_count(interpreter: str, abi: str, platform: str, taken: bool) -> None:
    assert tool("lock").fits(interpreter, abi, platform) is taken


def test_advisories_that_cannot_be_had_are_skipped_with_a_reason() -> None:
    reason = tool("audit").unreachable("http://127.0.0.1:9/{name}/{version}", seconds=2)
    assert reason is not None
    assert "can be had" in reason
