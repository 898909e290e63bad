from __future__ import annotations

import ast
from pathlib import Path

import pytest

from pipeline import plugins
from pipeline.registry import packaging


@pytest.mark.parametrize("family", plugins.names("families"))
def test_the_closure_holds_what_sampling_needs_and_no_more(family: str) -> None:
    found = packaging.closure(family)
    rooms = {name.split(".")[1] for name in found if "." in name}
    assert f"pipeline.families.{family}" in found
    assert "pipeline.sampling.samples" in found
    assert [name for name in found if name.startswith("pipeline.data.")] == ["pipeline.data.columns"]
    assert rooms <= {
        "assets",
        "captions",
        "data",
        "sampling",
        "text_encoders",
        "storage",
        "threads",
        "families",
        "limits",
        "losses",
        "penalties",
        "augmentation",
        "networks",
        "own_plugins",
        "formats",
        "registry",
        "plugins",
        "errors",
        "error_messages",
        "settings",
        "types",
        "contract",
        "randomness",
        "redaction",
    }
    others = set(plugins.names("families")) - {family}
    assert not [name for name in found if name.removeprefix("pipeline.families.") in others]


def test_no_import_of_the_copy_leads_out_of_it(tmp_path: Path) -> None:
    package = packaging.pack("dcgan", tmp_path)
    for file in package.folder.rglob("*.py"):
        tree = ast.parse(file.read_text())
        for node in ast.walk(tree):
            if isinstance(node, ast.ImportFrom):
                assert (node.module or "").split(".")[0] not in {"pipeline", "mlflow", "ray"}, file
            elif isinstance(node, ast.Import):
                assert not {alias.name.split(".")[0] for alias in node.names} & {"pipeline", "mlflow", "ray"}, file
            elif isinstance(node, ast.Call):
                texts = [part.value for part in ast.walk(node) if isinstance(part, ast.Constant)]
                assert not [text for text in texts if isinstance(text, str) and text.startswith("pipeline.")], file


def test_equal_code_gives_equal_names_and_bytes(tmp_path: Path) -> None:
    first, second = packaging.pack("dcgan", tmp_path / "a"), packaging.pack("dcgan", tmp_path / "b")
    assert first.name == second.name
    assert packaging.pack("gan", tmp_path / "c").name != first.name
    contents = [
        {str(file.relative_to(each.folder)): file.read_bytes() for file in each.folder.rglob("*.py")}
        for each in (first, second)
    ]
    assert contents[0] == contents[1]


def test_requirements_are_pinned_to_what_is_installed(tmp_path: Path) -> None:
    import torch

    requirements = packaging.pack("dcgan", tmp_path).requirements
    assert f"torch=={torch.__version__.partition('+')[0]}" in requirements
    names = {requirement.partition("==")[0] for requirement in requirements}
    assert {"mlflow", "numpy", "pandas", "pydantic", "safetensors", "torch"} <= names
    assert not names & {"ray", "dvc", "scikit-learn", "matplotlib", "zerosum"}


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        ("from pipeline import plugins\n", "from z import plugins\n"),
        ("from pipeline.types import (\n    Batch,\n)\n", "from z.types import (\n    Batch,\n)\n"),
        ("def f():\n    from pipeline.a import pipeline\n", "def f():\n    from z.a import pipeline\n"),
        ("import pipeline.a as b\n", "import z.a as b\n"),
        ("import pipeline as p, pipeline.a as pipeline\n", "import z as p, z.a as pipeline\n"),
        ("from pipelines import x\n", "from pipelines import x\n"),
        (
            "# from pipeline import x\nname = 'from pipeline import x'\n",
            "# from pipeline import x\nname = 'from pipeline import x'\n",
        ),
        ("from .pipeline import x\n", "from .pipeline import x\n"),
    ],
)
def test_imports_and_nothing_else_are_renamed(source: str, expected: str) -> None:
    assert packaging.renamed(source, "z") == expected


def test_an_import_whose_uses_cannot_be_told_is_refused() -> None:
    with pytest.raises(ValueError, match="line 2"):
        packaging.renamed("x = 1\nimport pipeline.types\n", "z")
