"""The encoders that learn no weights, against their equations."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from pipeline import plugins
from pipeline.contract.text_encoder import AnyTextEncoder
from pipeline.errors import SettingsError
from pipeline.text_encoders import hashed
from pipeline.types import DataSpec, DataSummary, TextSummary


def fnv(text: str) -> int:
    """FNV-1a over code points with MurmurHash3's finaliser, one character after the other."""
    found = 0xCBF29CE484222325
    for each in text:
        found = (found ^ ord(each)) * 0x100000001B3 % 2**64
    for factor in (0xFF51AFD7ED558CCD, 0xC4CEB9FE1A85EC53):
        found = (found ^ (found >> 33)) * factor % 2**64
    return found ^ (found >> 33)


def test_runs_of_characters_are_hashed_as_the_equation_says() -> None:
    encoder: AnyTextEncoder = plugins.load("text_encoders", {"name": "hashed", "dimension": 32})
    expected = np.zeros(32)
    text = " a red bird "
    for length in (3, 4, 5):
        for start in range(len(text) - length + 1):
            number = fnv(text[start : start + length])
            expected[number % 32] += -1 if number >> 63 else 1
    found = encoder.encode(["A red  bird!"])[0].numpy()
    assert np.allclose(found, expected / np.linalg.norm(expected), atol=1e-7)


def test_the_hash_is_the_same_on_every_machine() -> None:
    points = np.array([ord(each) for each in "abcd"], dtype=np.uint64)
    assert hashed.hashed(points, 4).tolist() == [fnv("abcd")]
    assert fnv("abcd") == 14889750075058198662


def test_a_word_that_nobody_wrote_is_near_its_kin() -> None:
    encoder: AnyTextEncoder = plugins.load("text_encoders", {"name": "hashed"})
    sneaker, sneakers, dress = encoder.encode(["a white sneaker", "two white sneakers", "a long dress"])
    assert float(sneaker @ sneakers) > 0.6 > 0.3 > float(sneaker @ dress)


def test_words_are_weighted_by_how_rare_they_are() -> None:
    encoder: AnyTextEncoder = plugins.load("text_encoders", {"name": "bag_of_words", "dimension": 2})
    words = (("bird", 8), ("red", 1), ("beak", 1))
    encoder.prepare(DataSpec("image", (1, 4, 4), summary=DataSummary({}, {"text": TextSummary(9, words)})))
    bird, red = math.log(10 / 9) + 1, math.log(10 / 2) + 1
    found = encoder.encode(["red bird", "bird bird", "a beak", "BIRD, red red"])
    expected = torch.tensor([[bird, red], [1, 0], [0, 0], [bird, 2 * red]])
    assert torch.allclose(found, torch.nn.functional.normalize(expected, dim=1), atol=1e-6)


def test_settings_that_cannot_be_are_refused() -> None:
    with pytest.raises(SettingsError, match="shortest"):
        plugins.load("text_encoders", {"name": "hashed", "shortest": 6})
