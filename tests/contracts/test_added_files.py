"""Each plug-in that docs/adding.md shows, saved as the one file its first line names, keeps its room's contract.

Nothing else is edited: the tests of a copy of this checkout run as they are.
"""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs/adding.md"
ROOMS = {
    "metrics": "test_metrics.py",
    "data/sources": "test_sources.py",
    "extractors": "test_extractors.py",
    "families": "test_families.py",
}


def shown() -> dict[str, str]:
    """Path → text of every file on the page."""
    return {
        match[1]: match[0]
        for match in re.finditer(r"# (pipeline/[\w/]+\.py)\n.*?(?=```)", PAGE.read_text(), flags=re.DOTALL)
    }


def test_each_kind_that_people_add_most_is_shown() -> None:
    # The family is also trained, resumed and spread over workers by test_shown_family.py.
    assert {path.removeprefix("pipeline/").rpartition("/")[0] for path in shown()} == {*ROOMS}
    assert all(len(text.splitlines()) <= 55 for text in shown().values())


@pytest.mark.slow
def test_one_file_each_and_the_contracts_hold(tmp_path: Path) -> None:
    names = subprocess.run(
        ["git", "-C", str(ROOT), "ls-files", "-co", "--exclude-standard", "-z"], capture_output=True, check=True
    )
    for name in filter(None, names.stdout.decode().split("\0")):
        if name.startswith(("pipeline/", "tests/", "pyproject.toml", "zerosum.py")) and (ROOT / name).is_file():
            (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(ROOT / name, tmp_path / name)
    for path, text in shown().items():
        (tmp_path / path).write_text(text)
    plugins = [Path(path).stem for path in shown()]
    tests = [f"tests/contracts/{file}" for file in (*ROOMS.values(), "test_rooms.py")]
    run = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-n", "0", *tests, "-k", " or ".join(plugins)],
        cwd=tmp_path,
        env={"PATH": "/usr/bin:/bin", "HOME": str(tmp_path), "PYTHONPATH": str(tmp_path)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert run.returncode == 0, run.stdout[-3000:]
    passed = re.search(r"(\d+) passed", run.stdout)
    assert passed
    assert int(passed[1]) >= 4 * len(ROOMS), run.stdout[-1000:]
