from __future__ import annotations

import re
import shlex
import subprocess
import sys
from importlib import metadata
from pathlib import Path
from typing import Any

import pytest
from infra_files import INFRA, ROOT, YOURS, lock, parsed

README = (INFRA / "README.md").read_text()


def blocks(language: str) -> list[str]:
    return re.findall(rf"(?ms)^```{language}\n(.*?)^```", README)


def commands() -> list[str]:
    """Every command of the console blocks, its continued lines joined and its remark dropped."""
    found: list[str] = []
    for block in blocks("console"):
        for line in block.splitlines():
            if line.startswith("$ "):
                found.append(line[2:])
            else:
                found[-1] += "\n" + line
    return [re.sub(r"\s{2,}#.*$", "", each, flags=re.MULTILINE).replace("\\\n", " ") for each in found]


def simple(command: str) -> list[list[str]]:
    """The words of each plain command in it: what `for`, `$( )`, `&&` and pipes hold together taken apart."""
    parts = re.split(r"\n|;|&&|\|(?!\|)|\$\(|\(|\)|\bdo\b|\bdone\b", command)
    words = [shlex.split(part.strip(), comments=True) for part in parts if part.count("'") % 2 == 0]
    plain = [[word for word in each if not re.fullmatch(r"[A-Za-z_][A-Za-z0-9_]*=.*", word)] for each in words]
    return [each for each in plain if each]


def started(program: str) -> list[list[str]]:
    return [words for command in commands() for words in simple(command) if Path(words[0]).name == program]


def test_commands_are_sound_shell() -> None:
    assert len(commands()) > 40
    for command in commands():
        subprocess.run(["bash", "-n", "-c", command], check=True)


def test_what_it_links_to_is_there() -> None:
    anchors = {name: (ROOT / "README.md").read_text() if name else README for name in ("", "../README.md")}
    links = re.findall(r"\]\((?!https?:)([^)#]*)(?:#([^)]*))?\)", README)
    assert links
    for path, anchor in links:
        assert (INFRA / path).exists(), path
        if anchor:
            headings = re.findall(r"(?m)^#+ (.*)$", anchors[path])
            assert anchor in {re.sub(r"[^\w -]", "", each).strip().lower().replace(" ", "-") for each in headings}, (
                anchor
            )


def test_paths_of_the_commands_are_there() -> None:
    named = {path for command in commands() for path in re.findall(r"infra/[\w./-]+", command)}
    assert len(named) > 10
    made = {"infra/digests.env", "sbom.json"}  # by `make digests`, and by the image
    for path in named - made:
        assert (ROOT / path).exists(), path
    for path in set(re.findall(r"/opt/zerosum/([\w./-]+)", README)) - made:
        assert (ROOT / path).is_file(), path


def test_every_definition_is_told_of() -> None:
    folders = {path.name for path in INFRA.iterdir() if path.is_dir()}
    assert folders == {"docker", "kuberay", "mlflow", "ray", "slurm"}
    for name in ("aws.yaml", "gcp.yaml", "rack.yaml", "spot-notice.sh", "zerosum.sbatch", "repro.sh"):
        assert name in README
    for policy in (INFRA / "ray").glob("*.json"):
        assert policy.name in README


# --- our own commands, and those of the packages we pin ---------------------------------------


def test_rays_commands_and_their_options_exist() -> None:
    import click
    from ray.scripts.scripts import cli

    used = started("ray")
    assert {words[1] for words in used} >= {"up", "down", "dashboard", "exec", "rsync-up", "job", "get-auth-token"}
    for words in used:
        command: Any = cli
        rest = words[1:]
        while isinstance(command, click.Group):
            command, rest = command.commands[rest[0]], rest[1:]
        options = {name for each in command.params for name in (*each.opts, *each.secondary_opts)}
        for word in rest[: rest.index("--")] if "--" in rest else rest:
            assert not word.startswith("--") or word.split("=")[0] in options, f"{words}: {word}"


def test_dvcs_commands_name_stages_of_ours() -> None:
    stages = parsed(ROOT / "dvc.yaml")["stages"]
    for words in started("dvc"):
        assert words[1] == "repro"
        assert all(word in stages for word in words[2:]), words


def test_the_make_target_exists() -> None:
    targets = re.findall(r"`make ([^`]+)`", README)
    assert ".venv/ready" in targets
    for target in targets:
        assert re.search(rf"(?m)^{re.escape(target)}:", (ROOT / "Makefile").read_text()), target


def test_zerosums_own_variables_are_read() -> None:
    scripts = "".join(path.read_text() for path in INFRA.rglob("*") if path.suffix in {".sh", ".sbatch"})
    for name in set(re.findall(r"\bZEROSUM_[A-Z_]+", README)):
        assert re.search(rf"\$\{{?{name}\b", scripts), name


def test_arguments_of_the_image_are_those_of_the_dockerfile() -> None:
    declared = dict(re.findall(r"(?m)^ARG (\w+)=(\S+)", (INFRA / "docker" / "Dockerfile").read_text()))
    table = dict(re.findall(r"(?m)^\| `(\w+)` \| `([^`]+)` \|", README))
    assert table == declared
    used = set(re.findall(r"--build-arg (\w+)=", README))
    assert used
    assert used <= declared.keys()


@pytest.mark.parametrize("block", blocks("yaml"), ids=["from-your-machine", "on-the-cluster"])
def test_the_settings_shown_are_valid(block: str) -> None:
    import yaml

    from pipeline.run.settings import RunSettings
    from pipeline.settings import validate

    run = yaml.safe_load(block.replace("BUCKET", "bucket"))["run"]
    settings = validate(RunSettings, run, "run")
    assert settings.address in {"http://127.0.0.1:8265", "env"}


# --- one version of everything ----------------------------------------------------------------

TEXTS = sorted(path for path in INFRA.rglob("*") if path.is_file() and path.suffix != ".lock" and path.name != ".env")


def test_versions_are_those_of_the_lock() -> None:
    pinned = lock()
    ours = metadata.version("zerosum")
    for path in TEXTS:
        text = path.read_text()
        for version in re.findall(r"(?i)\brayVersion: \"?([\d.]+)", text):
            assert version == pinned["ray"], path
        for version in re.findall(r"\bRay (\d+\.\d+)", text):
            assert pinned["ray"].startswith(f"{version}."), path
        for version in re.findall(r"zerosum-mlflow:([\d.]+)", text):
            assert version == pinned["mlflow"], path
        for version in re.findall(r"zerosum:(\d[\d.]*)-c", text):
            assert version == ours, path
        for version in re.findall(r"(?i)\bpython[:=](\d\S*)", text):
            assert version.startswith(f"{sys.version_info.major}.{sys.version_info.minor}."), path
            assert version.split("-")[0] in (INFRA / "docker" / "Dockerfile").read_text(), path


@pytest.mark.parametrize("path", TEXTS, ids=lambda path: str(path.relative_to(INFRA)))
def test_nothing_is_latest_open_or_secret(path: Path) -> None:
    text = path.read_text()
    assert not re.search(r"(?m)image: \S+:latest|:latest\b", text)
    assert not re.search(r"dashboard-host['\"]?[=:]\s*['\"]?0\.0\.0\.0", text)
    assert not re.search(r"RAY_AUTH_MODE\W+disabled", text)
    assert not re.search(
        r"(?i)(AKIA[0-9A-Z]{16}|BEGIN [A-Z ]*PRIVATE KEY|(?:password|token|secret)\s*[:=]\s*['\"]\w{8,})", text
    )
    for line in text.splitlines():
        if "cidr: 0.0.0.0/0" in line:
            assert path.name == "network.yaml", "the way out, but for what it excepts"
        elif "0.0.0.0" in line:
            # Only inside containers of compose.yaml, which publishes one port, on loopback.
            assert path.name == "compose.yaml", line
            assert "of the container" in line


def test_placeholders_are_explained() -> None:
    for path in TEXTS:
        if path.suffix == ".yaml":
            for line in path.read_text().splitlines():
                for name in re.findall(r"\b(REGISTRY|PROJECT|FAMILY)\b", line):
                    assert YOURS.search(line) or line.lstrip().startswith("#"), f"{path.name}: {line}"
                    assert name in README or name == "PROJECT"
    for what in ("ImageId", "FAMILY", "YOUR_ADDRESS", "BUCKET", "REGISTRY"):
        assert what in README
