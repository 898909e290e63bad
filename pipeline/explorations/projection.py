"""Projection: the latents whose sample is nearest to a given picture, and how near that is."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
from pydantic import Field

from pipeline.explorations import _pictures, _shared
from pipeline.explorations._projection import Fitting, Nearest, Projector
from pipeline.sampling.samples import SampleSource
from pipeline.settings import LocalPath


class Config(Fitting):
    """Several starts for every picture; the best of them is the answer."""

    images: LocalPath = Field(description="a picture, or a folder of them")
    limit: int = Field(default=8, ge=1, le=64, description="pictures taken of a folder, in the order of their names")


class Exploration:
    """Zhu et al. 2016 by gradient alone: min over z of ‖G(z) − x‖² + λ (‖z‖²/d − 1)², x and G(z) in [−1, 1].

    Designs with styles move w instead, as their own procedure `project` does (Karras et al. 2020, appendix D).
    """

    modalities = _shared.PICTURES

    def __init__(self, config: Config) -> None:
        self.config = config

    def run(self, source: SampleSource) -> _shared.Findings:
        config = self.config
        _shared.chosen_labels(source, config.candidates, config)  # a wrong class is told before a wrong picture
        files = _pictures.files_of(Path(config.images), "images", config.limit)
        pictures = _pictures.pixels(files, "images", source.spec.shape, config.max_pixels)
        projector = Projector(source, config)
        best: list[Nearest] = []
        records: list[dict[str, object]] = []
        for file, picture in zip(files, pictures, strict=True):
            found = projector.nearest(picture)
            best.append(found)
            # Of what is seen: rounded to whole grey levels.
            error = float((np.asarray(found.sample, float) - np.asarray(picture, float)).__pow__(2).mean())
            records.append(
                {
                    "image": file.name,
                    "root_mean_squared_error_in_grey_levels": math.sqrt(error),
                    "psnr_db": None if error == 0 else 10 * math.log10(255**2 / error),
                    "candidate": found.candidate,
                    "label": None if found.label is None else source.spec.classes[found.label],
                }
            )
        names = best[0].latents
        arrays = {f"latents_{key}": np.stack([each.latents[key].numpy() for each in best]) for key in names}
        return _shared.Findings(
            {"projection": np.stack([pictures, np.stack([each.sample for each in best])])},
            {"rows": ["picture", "nearest sample"], "pictures": records},
            arrays,
        )
