"""The published model: one safetensors file a network and `model.json`, written last.

    model/model.json               family, its whole Config, data spec, sha256 of every file
    model/<network>.safetensors    averaged (EMA) weights and buffers

Nothing in it names a time, a commit, a run or a path: equal training gives equal bytes.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Annotated, Any, Literal, Self, cast

from pydantic import Field, model_validator
from safetensors.torch import save_file
from torch import Tensor

from pipeline import plugins
from pipeline.errors import BrokenArtefact
from pipeline.storage import files, forms, tensors
from pipeline.storage.forms import Count, FileName, Form, Name, Sha256, SpecForm, SummaryForm
from pipeline.types import DataSpec, DataSummary

FORMAT_VERSION = 1
MADE_BY = "the train stage"


@dataclass(frozen=True)
class ModelCard:
    """All that is needed to build the networks again, and where the weights came from.

    `provenance` holds hashes only (manifest, reference, settings) and library versions. The spec has a summary of the
    training data where the family's `build` reads it.
    """

    family: str
    config: dict[str, Any]
    spec: DataSpec
    networks: tuple[str, ...]
    examples_seen: int
    step: int
    seed: int
    averaged: bool
    provenance: dict[str, str]
    files: dict[str, str]
    format_version: int = FORMAT_VERSION

    @property
    def weights_sha256(self) -> str:
        """One hash for all weight files: what the registry knows the model by."""
        return files.sha256_json(self.files)


class _CardForm(Form):
    """model.json: its files are those of its networks, each with its hash, and nothing else."""

    family: Name
    config: dict[str, Any]
    spec: SpecForm
    networks: Annotated[list[Name], Field(min_length=1, max_length=1000)]
    examples_seen: Count
    step: Count
    seed: Count
    averaged: bool
    provenance: dict[str, str]
    files: dict[FileName, Sha256]
    format_version: Literal[1]
    summary: SummaryForm | None = None

    @model_validator(mode="after")
    def _one_file_each(self) -> Self:
        if set(self.files) != {f"{name}.safetensors" for name in self.networks}:
            raise ValueError("files must be one NAME.safetensors for each of the networks, and nothing else")
        if len(set(self.networks)) != len(self.networks):
            raise ValueError("networks: a name stands twice")
        return self


def save_model(folder: Path, card: ModelCard, states: Mapping[str, Mapping[str, Tensor]]) -> ModelCard:
    """Write every network of `states`, then model.json; returns the card with its file hashes."""
    hashes: dict[str, str] = {}
    folder.mkdir(parents=True, exist_ok=True)
    for name, state in sorted(states.items()):
        path = folder / f"{name}.safetensors"
        with files.replacing(path) as temporary:
            save_file({key: tensor.detach().cpu().contiguous() for key, tensor in state.items()}, temporary)
        hashes[path.name] = files.sha256_file(path)
    finished = replace(card, files=hashes, networks=tuple(sorted(states)))
    held = {**asdict(finished), "spec": finished.spec.to_json()}
    if finished.spec.summary is not None:
        held["summary"] = finished.spec.summary.to_json()
    files.write_json(folder / "model.json", held)
    return finished


def load_card(folder: Path) -> ModelCard:
    """The card alone, its settings by today's keys.

    Raises:
        BrokenArtefact: if it is missing, torn, of a later format, or a field is not what it must be.
    """
    found = files.read_json(folder / "model.json", MADE_BY)
    if not isinstance(found, dict) or cast(dict[str, Any], found).get("format_version") != FORMAT_VERSION:
        raise BrokenArtefact(
            f"{folder / 'model.json'} is not a model card of format {FORMAT_VERSION}; run {MADE_BY} again"
        )
    data = cast(dict[str, Any], found)
    forms.check(_CardForm, data, folder / "model.json", MADE_BY)
    data["config"] = _modern(data["family"], data["config"])
    summary = data.pop("summary", None)
    spec = DataSpec.from_json(data["spec"])
    data["spec"] = spec if summary is None else replace(spec, summary=DataSummary.from_json(summary))
    data["networks"] = tuple(data["networks"])
    return ModelCard(**data)


def _modern(family: str, config: dict[str, Any]) -> dict[str, Any]:
    """The settings by the keys that the family has now; an unknown family's as they are."""
    known = family in plugins.names("families")
    return plugins.module("families", family).Config.modern(config) if known else config


def load_states(folder: Path, card: ModelCard) -> dict[str, dict[str, Tensor]]:
    """Every network's state dict, each file checked against the card's sha256 first.

    Raises:
        BrokenArtefact: if a file is missing, changed, or holds no tensors.
    """
    for name, sha256 in card.files.items():
        files.verify(folder / name, sha256, MADE_BY)
    return {name: tensors.read(folder / f"{name}.safetensors") for name in card.networks}
