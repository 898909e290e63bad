"""Reproducible GAN training: `import zerosum as zs`. Everything here is described in docs/api.md."""

from pipeline.api import Data as Data
from pipeline.api import Model as Model
from pipeline.api import Run as Run
from pipeline.api import Scores as Scores
from pipeline.api import SearchResult as SearchResult
from pipeline.api import SettingsError as SettingsError
from pipeline.api import TrainingFailed as TrainingFailed
from pipeline.api import UserError as UserError
from pipeline.api import __all__ as __all__
from pipeline.api import choice as choice
from pipeline.api import ingest as ingest
from pipeline.api import load as load
from pipeline.api import loguniform as loguniform
from pipeline.api import open_data as open_data
from pipeline.api import randint as randint
from pipeline.api import score as score
from pipeline.api import search as search
from pipeline.api import train as train
from pipeline.api import uniform as uniform
