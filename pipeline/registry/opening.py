"""A model by its address: a folder, or `models:/NAME@ALIAS` in the registry. None of the code in it is run."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from pipeline.errors import UserError
from pipeline.formats.model import ModelCard
from pipeline.registry import serving, travelling
from pipeline.registry.store import opened
from pipeline.registry.travelling import Whose
from pipeline.sampling.samples import SampleSource, open_model
from pipeline.settings import home

REGISTERED = "models:/"


@dataclass(frozen=True)
class Opened:
    """A model ready to sample. folder: its weights and card. note: what a person should know of it, or nothing."""

    source: SampleSource
    card: ModelCard
    folder: Path
    note: str = ""


def open_at(address: str, root: Path, scratch: Path, where: str = "model", advice: str = "") -> Opened:
    """The model at `address`, opened by the code here.

    root: the project whose registry is meant. scratch: a folder of the caller's, where a registered model's files are
    put. where: what a person calls the address. advice: how the code that a model brings can be run instead.

    Raises:
        UserError: if there is no such model, or its weights do not fit the code here.
        BrokenArtefact: if a file of it is missing or changed.
    """
    if not address.startswith(REGISTERED):
        folder = folder_at(address, root, scratch, where)
        return Opened(*open_model(folder), folder)
    with opened(root):
        fetched = serving.fetched(address, scratch)
    weights, whose = serving.published(fetched, address), travelling.whose(fetched)
    try:
        source, card = open_model(weights)
    except UserError as error:
        if whose is Whose.OURS:
            raise
        raise UserError(
            f"{address}: the code here does not open it: {error}. The model brings code, {whose.value}{advice}"
        ) from None
    note = f"{address} brings code ({whose.value}), which was not run: these samples are drawn by the code here, and "
    return Opened(source, card, weights, "" if whose is Whose.OURS else f"{note}serving the model may give others")


def folder_at(address: str, root: Path, scratch: Path, where: str = "model") -> Path:
    """The folder of the model's card and weights: `address` itself, or a copy in `scratch` of what is registered.

    Raises:
        UserError: if there is none.
    """
    if address.startswith(REGISTERED):
        with opened(root):
            return serving.model_folder(address, scratch)
    folder = Path(home(address))
    if not folder.is_dir():
        raise UserError(f"{where} {address} is neither a folder nor a registered model ({REGISTERED}NAME@ALIAS)")
    return folder
