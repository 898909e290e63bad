"""A text encoder that learns, trained on the captions of the data and on what the extractor sees in their pictures."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np
from torch import Tensor

from pipeline import captions, plugins
from pipeline.contract import AnyFamily
from pipeline.contract.extractor import Examples
from pipeline.contract.text_encoder import AnyTextEncoder, Captioned
from pipeline.formats.reference import Features, Reference, ReferenceCard, TrainedText
from pipeline.scoring.settings import ReferenceSettings
from pipeline.scoring.text_choice import ROOM, WHERE, disagreement
from pipeline.threads import fixed_threads
from pipeline.types import Array

PIECE = 256  # examples that are read at once


def learn(
    settings: ReferenceSettings,
    splits: Mapping[str, Examples],
    features: Mapping[str, Features],
    progress: Callable[[str], None] = lambda _: None,
) -> TrainedText:
    """Train the encoder that the settings name on `train`; what it is worth is measured on `holdout`.

    Raises:
        SettingsError: for data without captions.
        UserError: for too few of them, or a training that diverged.
    """
    assert settings.text_encoder is not None
    encoder: AnyTextEncoder = plugins.load(ROOM, settings.text_encoder, WHERE)
    encoder.check(splits["train"].spec, WHERE)
    name = str(settings.text_encoder["name"])
    progress(f"training the text encoder '{name}' on {len(splits['train'])} examples")
    train, holdout = (_captioned(splits[name], features[name]) for name in ("train", "holdout"))
    with fixed_threads(settings.threads):
        found = encoder.learn(train, holdout, settings.seed, progress)
    progress(said(found.report))
    config = encoder.config.model_dump(mode="json")
    return TrainedText(name, config, encoder.state_dict(), found.weight, found.bias, found.report)


def text_state(family: AnyFamily, reference: Reference) -> Mapping[str, Tensor]:
    """The tensors of the text encoder that the reference stage trained for this family.

    Raises:
        SettingsError: where it trained none, or one of other settings.
    """
    found, wanted = reference.text_encoder(), family.learnt_encoder
    assert wanted is not None
    disagreement(family.name, wanted, None if found is None else {"name": found.name, **found.config})
    assert found is not None
    return found.state


def described(card: ReferenceCard) -> str:
    """What a report says of the text encoder that was trained; "" where none was."""
    about = card.text_encoder
    return (
        "" if about is None else f"{about['name']}, trained on {card.counts['train']} pictures, {said(about['report'])}"
    )


def said(report: Mapping[str, object]) -> str:
    """How well held-out captions and pictures find each other, in words; "" where nothing was measured."""
    held = report.get("holdout")
    if not isinstance(held, dict):
        return ""
    numbers = {key: value for key, value in held.items() if isinstance(key, str)}
    parts = [
        f"{way.replace('_', ' ')} R@1 {numbers[f'{way}_at_1']:.3f} (chance {numbers[f'{way}_at_1_chance']:.3f}), "
        f"R@5 {numbers[f'{way}_at_5']:.3f} ({numbers[f'{way}_at_5_chance']:.3f})"
        for way in ("image_to_text", "text_to_image")
        if f"{way}_at_1" in numbers
    ]
    if "zero_shot_accuracy" in numbers:
        parts.append(f"classes by text {numbers['zero_shot_accuracy']:.3f} ({numbers['zero_shot_chance']:.3f})")
    return f"of the holdout: {'; '.join(parts)}"


def _captioned(examples: Examples, features: Features) -> Captioned:
    stored: list[Array] = []
    labels: list[Array] = []
    for begin in range(0, len(examples), PIECE):
        found = examples.examples(np.arange(begin, min(begin + PIECE, len(examples)), dtype=np.int64))
        stored.append(found[captions.FIELD])
        labels.append(found["label"] if "label" in found else np.full(len(stored[-1]), -1))
    joined = np.concatenate(labels).astype(np.int64)
    return Captioned(features, np.concatenate(stored), joined, len(examples.spec.classes))
