"""CTGAN's own parts: the encoded row, the condition, the rows that it is trained on, the packs."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from pipeline import plugins, randomness
from pipeline.contract import AnyFamily, State, Turn, draw_latents
from pipeline.errors import SettingsError
from pipeline.networks.layers.table_codec import Codec, chances, chosen, missed, places
from pipeline.types import Column, DataSpec, Mode

MODES = (Mode(-1.0, 0.2, 0.4), Mode(1.5, 0.5, 0.6))
COLUMNS = (
    Column("size", modes=MODES),
    Column("kind", ("a", "b", "c"), counts=(90, 9, 1)),
    Column("age", modes=(Mode(0.0, 1.0, 1.0),), masked=True, counts=(80, 20)),
    Column("sex", ("f", "m"), counts=(50, 50)),
)
SPEC = DataSpec("rows", (8,), ("u", "v"), "float32", columns=COLUMNS)


@pytest.fixture(autouse=True)
def _seeded() -> None:
    torch.set_num_threads(1)
    torch.manual_seed(0)


def data(count: int = 12) -> Tensor:
    """Rows of x in which the category c of `kind` never occurs."""
    n = torch.arange(count)
    missing = (n % 4 == 0).float()
    parts = [
        torch.where(n % 2 == 0, -1.1, 1.7)[:, None],
        F.one_hot(n % 2, 3),
        ((1 - missing) * torch.linspace(-2, 2, count))[:, None],
        missing[:, None],
        F.one_hot(n // 2 % 2, 2),
    ]
    return torch.cat([part.float() for part in parts], 1)


def family(**keys: Any) -> AnyFamily:
    return plugins.load("families", {"name": "ctgan", "preset": "smoke", **keys})


def turn_of(made: AnyFamily, networks: Any, x: Tensor, phase: str = "discriminator") -> Turn:
    noise = draw_latents(made.latents_for(SPEC), len(x), randomness.generator(0, phase))
    batch: Any = {"x": x, "label": torch.arange(len(x)) % 2}
    return Turn(networks, batch, noise, State(seed=0), 0, phase, lane_state=made.lane_state(SPEC, len(x)))


def test_rows_are_encoded_by_modes_and_come_back() -> None:
    codec, x = Codec.of(SPEC, 2), data()
    assert (codec.width, codec.asked) == (1 + 2 + 3 + 1 + 1 + 2 + 2 + 2, 3 + 2 + 2 + 2)
    encoded = codec.encoded(x, torch.arange(12) % 2, randomness.generator(0, "modes"))
    modes = encoded[:, 1:3].argmax(1)
    assert modes.tolist() == [0, 1] * 6  # no value is near both modes
    means, stds = torch.tensor([[m.mean, m.std] for m in MODES]).unbind(1)
    assert torch.allclose(encoded[:, 0], (x[:, 0] - means[modes]) / (4 * stds[modes]))
    assert torch.allclose(codec.rows(encoded), x, atol=1e-6)
    assert encoded[:, -2:].argmax(1).tolist() == [0, 1] * 6


def test_a_mode_is_drawn_by_its_responsibility() -> None:
    codec = Codec.of(DataSpec("rows", (1,), (), "float32", columns=COLUMNS[:1]), 0)
    x = torch.full((20_000, 1), -0.35)
    encoded = codec.encoded(x, None, randomness.generator(0, "modes"))
    density = [m.weight / m.std * np.exp(-0.5 * ((-0.35 - m.mean) / m.std) ** 2) for m in MODES]
    assert float(encoded[:, 1].mean()) == pytest.approx(density[0] / sum(density), abs=0.01)


def test_activations_are_tanh_and_gumbel_softmax() -> None:
    codec = Codec.of(SPEC, 0)
    raw = torch.randn(5, codec.width)
    uniform = torch.rand(5, codec.width) * 2 - 1
    row = codec.activated(raw, uniform, 0.2)
    gumbel = -torch.log(-torch.log((uniform + 1) / 2))
    assert torch.equal(row[:, 0], raw[:, 0].tanh())
    assert torch.allclose(row[:, 3:6], ((raw + gumbel)[:, 3:6] / 0.2).softmax(1))
    for span in codec.spans:
        assert torch.allclose(row[:, span.start : span.start + span.width].sum(1), torch.ones(5))


def test_categories_are_asked_for_by_the_logarithm_of_their_frequency() -> None:
    codec = Codec.of(SPEC, 0)
    weights = chances(codec, logarithmic=True)
    column, code = chosen(codec, torch.rand(60_000, 2), weights)
    assert np.bincount(column.numpy()) / 60_000 == pytest.approx([1 / 3] * 3, abs=0.01)
    wanted = np.log(np.array([91, 10, 2]))
    assert np.bincount(code[column == 0].numpy()) / int((column == 0).sum()) == pytest.approx(
        wanted / wanted.sum(), abs=0.01
    )
    plain = chosen(codec, torch.rand(60_000, 2), chances(codec, logarithmic=False))
    assert float((plain[1][plain[0] == 0] == 2).float().mean()) == pytest.approx(0.01, abs=0.004)
    assert places(codec, torch.tensor([0, 1, 2]), torch.tensor([2, 1, 0])).tolist() == [2, 4, 5]


def test_what_was_missed_is_the_cross_entropy_of_the_column_asked_for() -> None:
    codec = Codec.of(SPEC, 0)
    raw = torch.randn(4, codec.width)
    column, code = torch.tensor([0, 2, 0, 1]), torch.tensor([2, 1, 0, 1])
    spans = codec.discrete
    each = [
        F.cross_entropy(raw[i : i + 1, spans[c].start : spans[c].start + spans[c].width], code[i : i + 1])
        for i, c in enumerate(column.tolist())
    ]
    assert torch.allclose(missed(codec, raw, column, code), torch.stack(each).mean())


@pytest.mark.parametrize("conditional", [False, True])
def test_real_rows_have_what_they_were_asked_for(conditional: bool) -> None:
    made = family(conditional=conditional)
    networks = made.build(SPEC)
    codec: Codec = networks["generator"].codec  # pyright: ignore[reportAssignmentType]  # a module's attribute
    rows = made.real(turn_of(made, networks, data())).view(12, -1)  # pyright: ignore[reportAttributeAccessIssue]  # of two players
    condition = rows[:, codec.width :]
    assert condition.sum(1).tolist() == [1.0] * 12
    for row, asked in zip(rows, condition, strict=True):
        place = int(asked.argmax())
        (span,) = (s for s in codec.discrete if (s.condition or 0) <= place < (s.condition or 0) + s.width)
        assert int(row[span.start : span.start + span.width].argmax()) == place - (span.condition or 0)
    assert not condition[:, 2].any(), "no row of this category was ever seen"


def test_a_category_that_the_batch_lacks_is_taken_from_the_pool() -> None:
    made = family(pool=3)
    networks = made.build(SPEC)
    first = turn_of(made, networks, data())
    made.real(first)  # pyright: ignore[reportAttributeAccessIssue]  # of two players
    assert first.lane_state["seen"].tolist() == [6, 6, 0, 9, 3, 6, 6]
    kept = first.lane_state["rows"][4]
    assert torch.equal(kept[:, 5], torch.ones(3))
    others = data()
    others = others[others[:, 5] == 0][:8]
    second = turn_of(made, networks, others)
    for name, value in first.lane_state.items():
        second.lane_state[name].copy_(value)
    rows, _ = made._rows_of(second, torch.full((20,), 4).clamp(max=6)[:8])  # pyright: ignore[reportAttributeAccessIssue]  # its own part
    assert torch.equal(rows[:, 5], torch.ones(8))


def test_a_class_that_is_asked_for_enters_the_condition_alone() -> None:
    made = family(conditional=True)
    networks = made.build(SPEC)
    seen: list[Tensor] = []
    networks["generator"].register_forward_pre_hook(lambda _, given: seen.append(given[1]))
    noise = draw_latents(made.latents_for(SPEC), 2, randomness.generator(0, "sample"))
    made.sample(networks, noise, {"label": torch.tensor([1, 0])})
    assert seen[0].tolist() == [[0] * 8 + [1], [0] * 7 + [1, 0]]


def test_a_lane_that_is_no_multiple_of_the_pack_is_refused() -> None:
    family().check_lane(4)
    with pytest.raises(SettingsError, match=r"families\.ctgan\.pac: D sees 2 rows at once, and a lane has 3"):
        family().check_lane(3)


def test_what_it_needs_of_the_data_is_said() -> None:
    with pytest.raises(SettingsError, match=r"ingest\.source\.modes: 10"):
        family().check(DataSpec("rows", (1,), (), "float32", columns=(Column("a"),)))
    with pytest.raises(SettingsError, match=r"ingest\.source: \{name: csv"):
        family().check(DataSpec("rows", (4,), (), "float32"))
