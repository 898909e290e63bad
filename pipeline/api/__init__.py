"""The library for a notebook or a script; `import zerosum as zs` is this.

    data = zs.ingest("digits", resolution=16)
    run = zs.train("dcgan", data, preset="digits", examples=51_200)
    run.model.picture()
    print(zs.score(run.reference, run.model, metrics=["frechet", "precision_recall"]))

The DAG's stages do the same with the settings of params.yaml.
"""

from pipeline.api.data import Data, ingest, open_data
from pipeline.api.models import Model, load
from pipeline.api.scores import Scores, score
from pipeline.api.searching import SearchResult, choice, loguniform, randint, search, uniform
from pipeline.api.trainings import Run, train
from pipeline.errors import SettingsError, TrainingFailed, UserError

__all__ = [
    "Data",
    "Model",
    "Run",
    "Scores",
    "SearchResult",
    "SettingsError",
    "TrainingFailed",
    "UserError",
    "choice",
    "ingest",
    "load",
    "loguniform",
    "open_data",
    "randint",
    "score",
    "search",
    "train",
    "uniform",
]
