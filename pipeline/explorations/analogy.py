"""Analogy: A is to A′ as B is to B′. By a model that translates, or by what lies between two latents."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch
from pydantic import Field

from pipeline.errors import UserError
from pipeline.explorations import _pictures, _shared
from pipeline.explorations._projection import Fitting, Projector
from pipeline.sampling.samples import Pixels, SampleSource, evaluating, pixels
from pipeline.settings import LocalPath
from pipeline.threads import fixed_threads
from pipeline.types import FieldSpec

COLUMNS = ["A", "A′", "B", "B′"]


class Config(Fitting):
    """Pictures are brought to the data's size; how latents are sought is for models that translate nothing."""

    a: LocalPath = Field(description="a picture")
    a_prime: LocalPath = Field(description="what it became")
    b: LocalPath = Field(description="another picture, or a folder of them")
    limit: int = Field(default=8, ge=1, le=64, description="pictures taken of b's folder, in the order of their names")


class Exploration:
    """A : A′ :: B : B′ (Hertzmann et al. 2001), by what the model knows already.

    A model that translates makes B′ of B, and the record says how near it comes to A′ from A, beside how near A itself
    is. Of any other, B′ is the sample of z_B + z_A′ − z_A, where each z is that of the nearest sample (`projection`; w
    where the design has styles), and the record says how near these samples are.
    """

    modalities = _shared.PICTURES

    def __init__(self, config: Config) -> None:
        self.config = config

    def run(self, source: SampleSource) -> _shared.Findings:
        config, shape = self.config, source.spec.shape
        field = _input(source) if source.family.inputs else None
        if field is None:
            _shared.chosen_labels(source, config.candidates, config)  # a wrong class is told before a wrong picture
        files = {"a": [_one(config.a, "a")], "a_prime": [_one(config.a_prime, "a_prime")]}
        files["b"] = _pictures.files_of(Path(config.b), "b", config.limit)
        read = {key: _pictures.pixels(each, key, shape, config.max_pixels) for key, each in files.items()}
        if field is None:
            made, said = self._moved(source, read)
        else:
            sides = (field.shape, config.max_pixels)
            given = {key: _pictures.pixels(files[key], key, *sides) for key in ("a", "b")}
            made, said = self._translated(source, field, given, read)
        first = np.broadcast_to(read["a"], made.shape), np.broadcast_to(read["a_prime"], made.shape)
        sheet = np.stack([*first, read["b"], made], axis=1)
        named = {"a": files["a"][0].name, "a_prime": files["a_prime"][0].name, "b": [file.name for file in files["b"]]}
        return _shared.Findings({"analogy": sheet}, {"columns": COLUMNS, **named, **said})

    def _translated(
        self, source: SampleSource, field: FieldSpec, given: dict[str, Pixels], read: dict[str, Pixels]
    ) -> tuple[Pixels, dict[str, Any]]:
        again = _made(source, field, given["a"], self.config.seed)
        said: dict[str, Any] = {
            "by": "translation",
            "of_the_given_pair": {
                f"translation{_shared.unit(source)}": _shared.distance(again, read["a_prime"])[0],
                f"copying{_shared.unit(source)}": _shared.distance(read["a"], read["a_prime"])[0],
            },
        }
        return _made(source, field, given["b"], self.config.seed), said

    def _moved(self, source: SampleSource, read: dict[str, Pixels]) -> tuple[Pixels, dict[str, Any]]:
        projector = Projector(source, self.config)
        found = {key: [projector.nearest(picture) for picture in pictures] for key, pictures in read.items()}
        (start,), (end,) = found["a"], found["a_prime"]
        made = np.stack([projector.drawn(projector.moved(of, start, end), of.label) for of in found["b"]])
        far = {
            key: _shared.distance(np.stack([each.sample for each in found[key]]), pictures).tolist()
            for key, pictures in read.items()
        }
        space = "w" if projector.styled else "noise"
        return made, {"by": "latents", "space": space, f"nearest_samples{_shared.unit(source)}": far}


def _one(path: str, key: str) -> Path:
    if Path(path).is_dir():
        raise UserError(f"{key}: {path} is a folder; name one picture")
    return _pictures.files_of(Path(path), key, 1)[0]


def _input(source: SampleSource) -> FieldSpec:
    """The image that the model makes its samples of.

    Raises:
        UserError: for a model that makes them of anything else.
    """
    names = sorted(source.family.inputs)
    if len(names) != 1 or source.field(names[0]).kind != "image":
        raise UserError(f"analogy: {_shared.design(source)} makes no image from an image alone")
    if source.conditional:
        raise UserError(f"analogy: {_shared.design(source)} is conditional, and files name no class")
    return source.field(names[0])


def _made(source: SampleSource, field: FieldSpec, given: Pixels, seed: int) -> Pixels:
    """What the model makes of images (n, *field.shape), each by itself, with the noise of the seed's first sample."""
    latents = {name: values[:1].to(source.device) for name, values in source.latents(seed, 0).items()}
    found: list[Pixels] = []
    for each in given:
        condition: Any = {field.name: field.tensor(each[None], source.device)}
        with torch.no_grad(), fixed_threads(source.threads), evaluating(source.networks):
            found.append(pixels(source.family.sample(source.networks, latents, condition).cpu())[0])
    return np.stack(found)
