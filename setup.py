"""What pyproject.toml can't say: the wheel holds what `zerosum new` makes a project of, under pipeline/template."""

import shutil
from pathlib import Path

from setuptools import setup
from setuptools.command.build_py import build_py

# DVC refuses a folder that it watches if there is a .dvcignore in it, so that one goes by another name.
PARTS = {"stages": "stages", "dvc.yaml": "dvc.yaml", "params.yaml": "params.yaml", ".dvcignore": "dvcignore"}


class BuildWithTemplate(build_py):
    """The package, and beside it stages, DAG and settings, which are no modules of it."""

    def run(self):
        super().run()
        if self.editable_mode:  # the checkout itself is the template
            return
        target = Path(self.build_lib, "pipeline", "template")
        shutil.rmtree(target, ignore_errors=True)
        target.mkdir(parents=True)
        for part, name in PARTS.items():
            if Path(part).is_dir():
                shutil.copytree(part, target / name, ignore=shutil.ignore_patterns("__pycache__"))
            else:
                shutil.copy2(part, target / name)


setup(cmdclass={"build_py": BuildWithTemplate})
