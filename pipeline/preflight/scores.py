"""Whether the score that decides a promotion, and the reference, are those of the extractor's weights."""

from __future__ import annotations

from dataclasses import replace

from pipeline import plugins
from pipeline.contract.extractor import identity_of
from pipeline.errors import SettingsError, UserError
from pipeline.formats.reference import Reference
from pipeline.params import Params
from pipeline.score_names import KINDS, extractor_class, reported_name
from pipeline.settings import Settings


def metric(params: Params) -> None:
    """Check the name of the score that decides a promotion against whose weights the extractor has.

    Raises:
        SettingsError: with the name that this extractor's scores go by.
        UserError: if the weights are not here.
    """
    name, config = _extractor(params)
    about = extractor_class(name).about(config)
    if about is None:
        return
    identity, wanted = identity_of(name, config.model_dump(mode="json"), 0, about, ""), params.register.metric
    for kind in KINDS:
        own = reported_name(kind, identity)
        other = reported_name(kind, replace(identity, published=not identity.published))
        if own != other and wanted.startswith(other) and not wanted.startswith(own):
            what = "the published" if identity.published else "not the published"
            raise SettingsError(
                f"register.metric: the weights of '{name}' are {what} ones, so that '{wanted}' is called "
                f"'{wanted.replace(other, own)}'"
            )


def same_weights(params: Params, reference: Reference) -> None:
    """Refuse a reference measured with other weights than the settings name now, where that file is here to tell.

    DVC cannot see a file outside the project, such as the one that `weights: auto` stands for.

    Raises:
        SettingsError: with the command that measures again.
    """
    measured = str(reference.card.report.get("weights_sha256"))
    name, config = _extractor(params)
    try:
        about = extractor_class(name).about(config)
        now = measured if about is None else str(about["weights_sha256"])
    except UserError:
        return  # the artefact holds the weights that it was measured with
    if now != measured:
        raise SettingsError(
            f"reference.extractor.weights: artifacts/reference was measured with the weights {measured[:12]}…, and the "
            f"file that is named is {now[:12]}… now; measure again with `dvc repro -f -s reference`"
        )


def _extractor(params: Params) -> tuple[str, Settings]:
    chosen = params.reference.extractor
    return str(chosen["name"]), plugins.configure("extractors", chosen, "reference.extractor")
