"""What is installed beside this Python, as a bill of materials (CycloneDX 1.6, JSON). Needs the standard library alone.

python tools/sbom.py [FILE]
"""

from __future__ import annotations

import json
import re
import sys
from importlib import metadata
from pathlib import Path
from typing import Any

LICENCE = "License :: "


def bill() -> dict[str, Any]:
    """Every installed distribution, once, in order; nothing that differs from one run to the next."""
    found: dict[str, metadata.Distribution] = {}
    for each in metadata.distributions():
        found.setdefault(canonical(each.name), each)  # the first on the path is the one that is imported
    return {
        "$schema": "http://cyclonedx.org/schema/bom-1.6.schema.json",
        "bomFormat": "CycloneDX",
        "specVersion": "1.6",
        "version": 1,
        "metadata": {
            "component": {
                "type": "application",
                "bom-ref": "python",
                "name": "python",
                "version": ".".join(map(str, sys.version_info[:3])),
            }
        },
        "components": [component(name, found[name]) for name in sorted(found)],
        "dependencies": [
            {"ref": purl(name, found[name].version), "dependsOn": needs(found[name], found)} for name in sorted(found)
        ],
    }


def component(name: str, each: metadata.Distribution) -> dict[str, Any]:
    """One distribution: name, version, address in the package index, licence."""
    address = purl(name, each.version)
    stated = licences(each)
    licence = {"licenses": stated} if stated else {}
    return {
        "type": "library",
        "bom-ref": address,
        "name": each.name,
        "version": each.version,
        "purl": address,
        **licence,
    }


def licences(each: metadata.Distribution) -> list[dict[str, Any]]:
    """What the distribution says of its licence: as an expression, in the words of the index, or in its own."""
    said = each.metadata.json
    if expression := said.get("license_expression"):
        return [{"expression": expression}]
    classified = [line.removeprefix(LICENCE) for line in said.get("classifier", []) if line.startswith(LICENCE)]
    names = [line.rpartition(" :: ")[2] for line in classified if line != "OSI Approved"]
    if not names and (text := str(said.get("license", "")).strip()):
        names = [text.splitlines()[0][:200]]
    return [{"license": {"name": name}} for name in dict.fromkeys(names)]


def needs(each: metadata.Distribution, found: dict[str, metadata.Distribution]) -> list[str]:
    """Which of the others it asks for, extras left out."""
    lines = [line for line in each.requires or [] if "extra ==" not in line]
    names = {canonical(re.split(r"[\s;<>=!~\[(]", line, maxsplit=1)[0]) for line in lines}
    return sorted(purl(name, found[name].version) for name in names if name in found)


def purl(name: str, version: str) -> str:
    """The package's address, as package-url has it."""
    return f"pkg:pypi/{name}@{version.replace('+', '%2B')}"


def canonical(name: str) -> str:
    """One spelling."""
    return re.sub(r"[-_.]+", "-", name).lower()


if __name__ == "__main__":
    text = json.dumps(bill(), indent=2) + "\n"
    if len(sys.argv) > 1:
        Path(sys.argv[1]).write_text(text, encoding="utf-8")
    else:
        sys.stdout.write(text)
