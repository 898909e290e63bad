"""Char-CNN-RNN against its sheet: counts, characters, recurrences, the joint embedding, and what training leaves."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from pipeline import captions, plugins
from pipeline.contract.retrieval import chance, recall
from pipeline.contract.text_encoder import AnyTextEncoder, Captioned
from pipeline.errors import SettingsError, UserError
from pipeline.networks.architectures.char_cnn_rnn import ALPHABET, SLOTS, CharCnnRnn, CharPlan, slots_of
from pipeline.text_encoders import _joint_embedding

SMALL = {"name": "char_cnn_rnn", "width": 16, "dimension": 12, "length": 75, "iterations": 4, "batch_size": 6}


@pytest.mark.parametrize(
    ("width", "recurrence", "steps", "count"),
    [(256, "rnn", 8, 1_814_144), (512, "gru", 18, 4_045_184), (512, "rnn", 8, 2_994_560)],
)
def test_published_counts_and_steps(width: int, recurrence: Any, steps: int, count: int) -> None:
    plan = CharPlan(201, width, 1024, recurrence)
    with torch.device("meta"):
        network = CharCnnRnn(plan)
    assert plan.steps == steps
    assert sum(each.numel() for each in network.parameters()) == count


def test_characters_have_the_slots_of_the_authors_table() -> None:
    assert len(ALPHABET) == 70
    assert len(SLOTS) == 69
    assert slots_of("-", 2) == [60, 0], "of two hyphens the last"
    assert slots_of("A é", 4) == [1, 70, 70, 0]
    assert slots_of("z09,", 4) == [26, 27, 36, 38]
    assert len(slots_of("a" * 300, 201)) == 201


def written_gru(network: Any, x: Tensor) -> Tensor:
    """The recurrence's steps one after the other, gate by gate."""
    h = torch.tanh(network.i2h(x[:, 0]))
    total = h
    for step in range(1, x.shape[1]):
        u = torch.sigmoid(network.i2h_update(x[:, step]) + network.h2h_update(h))
        r = torch.sigmoid(network.i2h_reset(x[:, step]) + network.h2h_reset(h))
        h = (
            u * torch.tanh(network.i2h(x[:, step]) + F.linear(r * h, network.h2h.weight, network.h2h.bias))
            + (1 - u) * h
        )
        total = total + h
    return total / x.shape[1]


def written_rnn(network: Any, x: Tensor) -> Tensor:
    h = F.relu(network.i2h(x[:, 0]))
    total = h
    for step in range(1, x.shape[1]):
        h = F.relu(network.i2h(x[:, step]) + network.h2h(h))
        total = total + h
    return total / x.shape[1]


@pytest.mark.parametrize("recurrence", ["rnn", "gru"])
def test_the_network_is_the_reference_s(recurrence: Any) -> None:
    network = CharCnnRnn(CharPlan(201, 16, 8, recurrence)).double()
    network.begin(torch.Generator().manual_seed(1))
    assert all(float(each.detach().abs().max()) <= 0.08 for each in network.parameters())
    said = ["a red bird - with a beak", "two birds"]
    one_hot = torch.zeros(2, 70, 201, dtype=torch.float64)
    for row, text in enumerate(said):
        for place, character in enumerate(text):
            one_hot[row, max(at for at in range(70) if ALPHABET[at] == character), place] = 1
    keep = nn.Threshold(1e-6, 0)
    x = F.max_pool1d(keep(network.conv1(one_hot)), 3, 3)
    x = F.max_pool1d(keep(network.conv2(x)), 3, 3)
    x = keep(network.conv3(x))
    x = F.max_pool1d(x, 3, 2) if recurrence == "rnn" else x
    written = (written_rnn if recurrence == "rnn" else written_gru)(network.rnn, x.transpose(1, 2))
    expected = network.emb_proj(written)
    found = network(torch.tensor([slots_of(each, 201) for each in said]))
    assert torch.allclose(found, expected, atol=1e-12)


def test_what_it_reads_of_a_sentence() -> None:
    encoder: AnyTextEncoder = plugins.load("text_encoders", {**SMALL, "length": 201})
    with_hyphen, without, accent, space = encoder.encode(["a-b", "a b", "caf\u00e9", "caf "])
    assert not torch.equal(with_hyphen, without)
    assert torch.equal(accent, space)
    assert torch.equal(*encoder.encode(["a" * 201 + "b", "a" * 201 + "cd"]))


def test_the_joint_embedding_is_the_hinge_over_all_pairs() -> None:
    equal = torch.ones(40, 5)
    assert float(_joint_embedding.loss(equal, equal)) == pytest.approx(2 * 0.975)
    images, texts = torch.randn(3, 4, dtype=torch.float64), torch.randn(3, 4, dtype=torch.float64)
    total = 0.0
    for i in range(3):
        for j in range(3):
            if i != j:
                total += max(0.0, 1 + float(texts[i] @ images[j]) - float(texts[i] @ images[i]))
                total += max(0.0, 1 + float(texts[j] @ images[i]) - float(texts[i] @ images[i]))
    assert float(_joint_embedding.loss(images, texts)) == pytest.approx(total / 9)


def pairs(count: int, classes: int, wide: int = 9) -> Captioned:
    """Pictures whose features tell the class, and captions that name it."""
    labels = np.arange(count) % max(classes, 1)
    names = ["alpha", "bravo", "charlie", "delta", "echo", "foxtrot"]
    draw = np.random.default_rng(3)
    features = draw.normal(0, 0.1, (count, wide)).astype(np.float32)
    features[np.arange(count), labels % wide] += 1
    said = [[f"a {names[label]}", f"one {names[label]} here"] for label in labels]
    stored = np.stack([captions.packed(each, 3, 40) for each in said])
    return Captioned(features, stored, labels.astype(np.int64), classes)


@pytest.mark.slow
def test_training_repeats_and_records_its_scale() -> None:
    found = []
    for _ in range(2):
        encoder: AnyTextEncoder = plugins.load("text_encoders", SMALL)
        learnt = encoder.learn(pairs(24, 6), pairs(12, 6), 5)
        found.append((encoder.state_dict(), learnt))
    (one, first), (other, second) = found
    assert all(torch.equal(one[key], other[key]) for key in one)
    assert torch.equal(first.weight, second.weight)
    assert first.report == second.report
    assert first.weight.shape == (9, 12)
    assert first.report["batch"] == 6
    assert first.report["distinct"] == "classes"
    assert first.report["image_map"] == "trained"
    assert set(first.report["holdout"]) >= {"image_to_text_at_1", "text_to_image_at_5", "zero_shot_accuracy"}
    encoder = plugins.load("text_encoders", SMALL)
    encoder.load_state_dict(one)
    vectors = encoder.encode(_joint_embedding.sentences(pairs(24, 6)))
    assert torch.allclose(vectors.mean(0), torch.zeros(12), atol=1e-4)
    assert float(vectors.square().mean().sqrt()) == pytest.approx(1, rel=1e-4)
    assert not any(parameter.requires_grad for parameter in encoder.parameters())


def test_features_of_its_own_dimension_are_taken_as_they_are() -> None:
    encoder: AnyTextEncoder = plugins.load("text_encoders", {**SMALL, "dimension": 9, "distinct": "images"})
    learnt = encoder.learn(pairs(24, 6), pairs(12, 6), 5)
    assert learnt.report["image_map"] == "none"
    assert learnt.report["batch"] == 6, "of 24 pictures six have different captions"
    diagonal = learnt.weight.diagonal()
    assert torch.equal(learnt.weight, torch.diag(diagonal))
    assert torch.all(diagonal == diagonal[0])


@pytest.mark.slow
def test_captions_find_their_pictures_after_some_steps() -> None:
    encoder: AnyTextEncoder = plugins.load("text_encoders", {**SMALL, "width": 32, "iterations": 60})
    held = encoder.learn(pairs(60, 6), pairs(30, 6), 0).report["holdout"]
    assert held["zero_shot_accuracy"] >= 0.9
    assert held["image_to_text_at_1"] >= 3 * held["image_to_text_at_1_chance"]


def test_data_with_one_class_or_one_caption_is_refused() -> None:
    for keys in ({"distinct": "classes"}, {"distinct": "images"}):
        encoder: AnyTextEncoder = plugins.load("text_encoders", {**SMALL, **keys})
        with pytest.raises(UserError, match="learns by telling pairs"):
            encoder.learn(pairs(5, 1), pairs(5, 1), 0)
    with pytest.raises(SettingsError, match="length"):
        plugins.load("text_encoders", {"name": "char_cnn_rnn", "length": 60})


def test_recall_and_its_chance() -> None:
    scores = np.array([[3.0, 2.0, 1.0], [3.0, 1.0, 2.0], [0.0, 1.0, 2.0]])
    right = np.array([[True, False, False], [False, False, True], [False, False, False]])
    assert recall(scores, right, 1) == 0.5
    assert recall(scores, right, 2) == 1.0
    assert chance(right, 1) == pytest.approx(1 / 3)
    both = np.zeros((1, 6), dtype=bool)
    both[0, :2] = True
    assert chance(both, 3) == pytest.approx(1 - math.comb(4, 3) / math.comb(6, 3))
