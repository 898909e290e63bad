"""Every file of the text_encoders room: captions as vectors, each on its own, alike wherever they are asked for."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from pipeline import captions, plugins
from pipeline.contract.text_encoder import AnyTextEncoder
from pipeline.errors import SettingsError
from pipeline.types import DataSpec, DataSummary, FieldSpec, TextSummary

ROOM = "text_encoders"
SAID = ["a red bird with a short beak", "a blue bird", "Blue bird, a!", "", "鳥 é", "a red bird with a short beak"]
WORDS = (("a", 5), ("bird", 5), ("blue", 2), ("red", 1), ("short", 1), ("鳥", 1), ("é", 1))


def spec() -> DataSpec:
    fields = (
        FieldSpec(captions.FIELD, "text", (3, 64), "uint8", False),
        FieldSpec("text_vectors", "tensor", (3, 7), "float32", False),
    )
    return DataSpec("image", (3, 8, 8), (), "uint8", fields, summary=DataSummary({}, {"text": TextSummary(6, WORDS)}))


@pytest.fixture(params=plugins.names(ROOM))
def encoder(request: pytest.FixtureRequest) -> AnyTextEncoder:
    found: AnyTextEncoder = plugins.load(ROOM, {"name": request.param})
    found.check(spec(), "here")
    found.prepare(spec())
    return found.eval()


def stored(encoder: AnyTextEncoder, count: int) -> torch.Tensor:
    """What batches hold of the field that it reads, (count, …)."""
    field = spec().field(encoder.reads)
    assert field is not None
    if field.kind == "text":
        return torch.from_numpy(captions.packed((SAID * count)[:count], count, 64)).long()
    return torch.randn((count, *field.shape[1:]), generator=torch.Generator().manual_seed(1))


def test_it_is_frozen_and_what_it_learns_is_whole_numbers_or_weights(encoder: AnyTextEncoder) -> None:
    assert not any(parameter.requires_grad for parameter in encoder.parameters())
    assert not any(buffer.is_floating_point() for buffer in encoder.buffers()), "lanes would average it"


def test_vectors_have_the_dimension_that_it_says_and_are_each_their_own(encoder: AnyTextEncoder) -> None:
    values = stored(encoder, 6)
    found = encoder(values)
    assert found.shape == (6, encoder.dimension)
    assert found.dtype == torch.float32
    assert not found.requires_grad
    assert torch.isfinite(found).all()
    assert torch.equal(found, encoder(values))
    for row in range(6):
        assert torch.equal(found[row : row + 1], encoder(values[row : row + 1]))


def test_sentences_and_what_is_stored_of_them_give_one_vector(encoder: AnyTextEncoder) -> None:
    if not encoder.sentences:
        with pytest.raises(SettingsError):
            encoder.encode(SAID)
        return
    found = encoder.encode(SAID)
    assert torch.equal(found, encoder(torch.from_numpy(captions.packed(SAID, len(SAID), 64)).long()))
    assert torch.equal(found[0], found[5])
    assert not torch.equal(found[0], found[1])


def test_another_of_the_same_weights_says_the_same(encoder: AnyTextEncoder) -> None:
    again: AnyTextEncoder = plugins.load(ROOM, {"name": type(encoder).__module__.rpartition(".")[2]})
    again.prepare(DataSpec("image", (3, 8, 8), (), "uint8", spec().fields))  # as a model that is opened is built
    again.load_state_dict(encoder.state_dict())
    assert torch.equal(again(stored(encoder, 4)), encoder(stored(encoder, 4)))


def test_it_is_built_as_shapes_alone(encoder: AnyTextEncoder) -> None:
    with torch.device("meta"):
        planned: AnyTextEncoder = plugins.load(ROOM, {"name": type(encoder).__module__.rpartition(".")[2]})
        planned.prepare(spec())
        found = planned(torch.empty(2, *stored(encoder, 1).shape[1:]))
    assert found.shape == (2, encoder.dimension)
    assert planned.state_dict().keys() == encoder.state_dict().keys()


def test_data_without_captions_is_refused(encoder: AnyTextEncoder) -> None:
    for fields in ((), (FieldSpec(encoder.reads, "image", (3, 8, 8), "uint8", True),)):
        with pytest.raises(SettingsError, match=r"^here: .*captions"):
            encoder.check(DataSpec("image", (3, 8, 8), (), "uint8", fields), "here")


def test_rows_of_bytes_are_what_they_were() -> None:
    assert captions.unpacked(np.zeros((1, 4))) == [""]
