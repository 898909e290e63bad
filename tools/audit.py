"""`make check`: pip-audit over what is pinned, where advisories can be had; elsewhere it says why not, and goes on."""

from __future__ import annotations

import json
import re
import subprocess
import sys
import urllib.request
from pathlib import Path

ROOT = Path(__file__).parents[1]
INDEX = "https://pypi.org/pypi/{name}/{version}/json"
SECONDS = 20
# Known, and answered: DVC's cache, which diskcache unpickles, is in a folder of its user's alone (Makefile, doctor).
ANSWERED = ("CVE-2025-69872",)


def main() -> int:
    """0: nothing found, or nothing to ask; 1: advisories."""
    if why := unreachable():
        print(f"pip-audit: skipped: {why}")
        return 0
    command = [sys.executable, "-m", "pip_audit", "--disable-pip", "--require-hashes", "--progress-spinner", "off"]
    command += ["--requirement", str(ROOT / "requirements.lock")]
    command += [word for each in ANSWERED for word in ("--ignore-vuln", each)]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=SECONDS, check=False)
    except subprocess.TimeoutExpired:
        print(f"pip-audit: skipped: no answer within {SECONDS} s")
        return 0
    if done.returncode and not re.search(r"Found \d+ known vulnerabilit", done.stderr):
        print(f"pip-audit: skipped: {(done.stderr.strip() or 'it failed').splitlines()[-1]}")
        return 0
    print((done.stdout + done.stderr).strip())
    return done.returncode


def unreachable(url: str = INDEX, seconds: float = 5) -> str | None:
    """Why no advisories can be had; None where they can."""
    name, version = (ROOT / "requirements.lock").read_text(encoding="utf-8").splitlines()[1].split()[0].split("==")
    try:
        with urllib.request.urlopen(url.format(name=name, version=version), timeout=seconds) as answer:
            known = json.load(answer)
    except (OSError, ValueError) as error:
        return f"no advisories can be had here ({str(error)[:80]})"
    return None if "vulnerabilities" in known else "the package index here has no advisories"


if __name__ == "__main__":
    sys.exit(main())
