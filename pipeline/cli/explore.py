"""`zerosum explore`: what people do with a trained model, as pictures, sounds or arrays, and a record."""

from __future__ import annotations

import io
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from pipeline import plugins
from pipeline.cli import project
from pipeline.cli.generate import SAMPLE
from pipeline.console import folded
from pipeline.errors import SettingsError, UserError
from pipeline.explorations._shared import Exploration, Findings, check_served
from pipeline.formats.model import ModelCard, save_model
from pipeline.registry import opening
from pipeline.sampling.samples import SampleSource
from pipeline.storage import files, yaml_text
from pipeline.types import Array, DataSpec

ROOM = "explorations"
RECORD = "explore.json"
LIGHT = 4  # of zlib: pictures may have hundreds of megapixels
CLASSES = ("label", "classes")
INDICES = ("label_index", "class_indices")


def explore(model: str, how: str, out: Path, settings: Sequence[str]) -> list[Path]:
    """Run one exploration of a model and write its pictures, its arrays and `explore.json` to `out`.

    Of what is no picture, a grid shows what stands for it; sounds are written one by one too, and all else as an array.

    Raises:
        UserError: if the model cannot be opened, or the exploration is not for it.
    """
    if out.exists() and not out.is_dir():
        raise UserError(f"--out {out} is a file; name a folder")
    if out.is_dir() and any(SAMPLE.fullmatch(file.name) for file in out.iterdir()):
        raise UserError(
            f"--out {out} holds samples of `zerosum generate`, and these grids would be taken for some of them; name "
            "another folder"
        )
    config = {"name": how, **_named(_parsed(settings), settings)}
    exploration: Exploration = plugins.load(ROOM, config, "explore")
    with tempfile.TemporaryDirectory(prefix="zerosum-") as name:
        root = project.root() if model.startswith(opening.REGISTERED) else Path()
        found = opening.open_at(model, root, Path(name), "the model")
        source, card = found.source, found.card
        if found.note:
            print(folded(f"note: {found.note}", "  ", sys.stderr), file=sys.stderr)
        check_served(how, exploration, source)
        findings = exploration.run(source)
    chosen = plugins.configure(ROOM, config, "explore").model_dump(mode="json")
    about = {"exploration": how, "model": model, "family": card.family, "weights_sha256": card.weights_sha256}
    return _write(out, findings, {**about, "settings": chosen}, card, source)


def _write(out: Path, findings: Findings, about: dict[str, Any], card: ModelCard, source: SampleSource) -> list[Path]:
    from pipeline.reporting import gallery
    from pipeline.sampling import pictures

    written: list[Path] = []
    sounds: list[str] = []
    try:
        for name, samples in findings.grids.items():
            gallery.save_grid(out / f"{name}.png", pictures.as_images(samples, source.spec))
            written.append(out / f"{name}.png")
            for end, data in _heard(samples, source.spec):
                files.write_bytes(out / f"{name}{end}", data)
                written.append(out / f"{name}{end}")
                sounds += [f"{name}{end}"] if end.endswith(".wav") else []
        for name, pixels in findings.pictures:
            files.write_bytes(out / f"{name}.png", gallery.png(pixels.transpose(1, 2, 0), LIGHT))
            written.append(out / f"{name}.png")
        for name, numbers in findings.arrays.items():
            with files.replacing(out / f"{name}.npy") as temporary, temporary.open("wb") as file:
                np.save(file, numbers, allow_pickle=False)
            written.append(out / f"{name}.npy")
        if findings.networks is not None:
            changed = {**card.provenance, about["exploration"]: files.sha256_json(about["settings"])}
            states = {name: network.state_dict() for name, network in findings.networks.items()}
            save_model(out / "model", replace(card, provenance=changed), states)
            written.append(out / "model")
        grids = {name: list(samples.shape[:2]) for name, samples in findings.grids.items()}
        record = {**about, "grids": grids, **({"sounds": sounds} if sounds else {}), **findings.said}
        files.write_json(out / RECORD, record)
    except OSError as error:
        raise UserError(f"--out {out} cannot be written: {error.strerror}") from None
    return [*written, out / RECORD]


def _heard(samples: Array, spec: DataSpec) -> Iterator[tuple[str, bytes]]:
    """What no picture of a grid (rows, columns, *shape) holds, as ends of names and bytes: sounds, or all numbers."""
    from pipeline.sampling import pictures

    if spec.modality == "waveform":
        for row, column in np.ndindex(*samples.shape[:2]):
            yield f"-{row:02d}-{column:02d}.wav", pictures.wav(samples[row, column], spec.rate)
    elif spec.modality != "image":
        buffer = io.BytesIO()
        np.save(buffer, samples, allow_pickle=False)
        yield ".npy", buffer.getvalue()


def names() -> list[tuple[str, str]]:
    """Every exploration with the sentence that says what it is."""
    found: list[tuple[str, str]] = []
    for name in plugins.names(ROOM):
        text = plugins.module(ROOM, name).__doc__ or ""
        found.append((name, text.strip().splitlines()[0]))
    return found


def _parsed(settings: Sequence[str]) -> dict[str, Any]:
    """`key=value` pairs, values as YAML: numbers, lists, words.

    Raises:
        UserError: for what is no such pair.
    """
    found: dict[str, Any] = {}
    for text in settings:
        key, equals, value = text.partition("=")
        if not equals or not key:
            raise UserError(f"--set {text}: must be key=value, such as steps=12 or classes=[0,1]")
        try:
            found[key] = yaml_text.load(value, "it")
        except SettingsError as error:
            raise UserError(f"--set {text}: {value!r} is no value ({error})") from None
    return found


def _named(config: Mapping[str, Any], settings: Sequence[str]) -> dict[str, Any]:
    """The same, names of classes as they were written: `yes` and `03` are names; and one of them without brackets.

    Raises:
        UserError: for what is no name, nor a list of names.
    """
    found = dict(config)
    for key in {*CLASSES, *INDICES} & set(found):
        if found[key] is None:
            del found[key]  # nothing is the default
            continue
        text = next(text for text in reversed(settings) if text.startswith(f"{key}=")).partition("=")[2]
        value = yaml_text.load(text, "it", words=True) if key in CLASSES else found[key]
        many = value if isinstance(value, list) else [value]
        if key in CLASSES and not all(isinstance(each, str) for each in many):
            raise UserError(f"--set {key}={text}: must be a class's name or a list of them, such as {key}=[3, cat]")
        found[key] = many
    return found
