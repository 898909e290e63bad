"""`make docs`: the pages of this repository as a site in .work/site, links checked, with an API reference.

The pages stand where GitHub shows them, so the site is built of copies that keep their places.
"""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[1]
PAGES = ROOT / ".work" / "pages"
LINK = re.compile(r"\]\((?!https?:|mailto:)([^)#\s]+)")
REFERENCE = """# API reference

What `import zerosum as zs` gives, from the docstrings.

::: pipeline.api
    options:
      members: {members}
"""


def main() -> int:
    """The exit code of mkdocs, which counts a broken link as an error."""
    shutil.rmtree(PAGES, ignore_errors=True)
    for page in pages():
        for path in (page, *linked(page)):
            target = PAGES / path.relative_to(ROOT)
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(path, target)
    (PAGES / "docs" / "reference.md").write_text(REFERENCE.format(members=public()), encoding="utf-8")
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--config-file", "tools/mkdocs.yml"]
    done = subprocess.run(command, cwd=ROOT, stderr=subprocess.PIPE, text=True, check=False)
    print("open .work/site/index.html" if done.returncode == 0 else done.stderr)
    return done.returncode


def pages() -> list[Path]:
    """The pages that git has, or would have."""
    command = ["git", "-C", str(ROOT), "ls-files", "-co", "--exclude-standard", "*.md"]
    names = subprocess.run(command, capture_output=True, text=True, check=True).stdout.splitlines()
    return [ROOT / name for name in names if (ROOT / name).is_file()]


def linked(page: Path) -> list[Path]:
    """The files that a page leads to: other pages, pictures, sources. mkdocs says which are not there."""
    found = ((page.parent / link).resolve() for link in LINK.findall(page.read_text(encoding="utf-8")))
    return [path for path in found if path.is_file() and path.is_relative_to(ROOT)]


def public() -> list[str]:
    """The public names, in their order."""
    from pipeline import api

    return list(api.__all__)


if __name__ == "__main__":
    sys.exit(main())
