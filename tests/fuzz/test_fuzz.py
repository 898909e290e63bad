"""A few hundred changed files for every reader, the same ones each time; `make fuzz` tries more."""

from __future__ import annotations

import fuzz
import pytest
from readers import READERS

INPUTS = 150
OF_ONE_NETWORK = {"pth", "weights"}  # read rightly only where they hold Inception's weights


@pytest.mark.slow
@pytest.mark.parametrize("name", READERS)
def test_each_changed_file_is_read_or_refused(name: str) -> None:
    outcomes = fuzz.fuzzed(name, seed=1, count=INPUTS)
    assert not fuzz.escaped(outcomes)
    assert len(outcomes) == INPUTS
    assert name in OF_ONE_NETWORK or any(each.how == "decoded" for each in outcomes)


def test_an_input_is_the_same_each_time() -> None:
    for name in ("image", "card"):
        first, second = (fuzz.changed(READERS[name], name, 3, 57) for _ in range(2))
        assert first == second != fuzz.changed(READERS[name], name, 4, 57)
