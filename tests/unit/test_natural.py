from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from pipeline.natural import natural

NAMES = st.text("019aZ.-_é", max_size=8)


def test_numbers_count_as_numbers() -> None:
    names = ["10", "2", "1", "class10", "class2", "class", "a10b2", "a10b10", "a9b3", "Zebra", "apple", "x-3", "x-20"]
    assert sorted(names, key=natural) == [
        *("1", "2", "10", "Zebra", "a9b3", "a10b2", "a10b10", "apple", "class", "class2", "class10", "x-3", "x-20")
    ]


def test_leading_zeros_and_very_long_numbers() -> None:
    assert sorted(["1", "01", "001", "0", "00"], key=natural) == ["0", "00", "001", "01", "1"]
    long = "9" * 5000
    assert sorted([long, "1" + long, "8"], key=natural) == ["8", long, "1" + long]


@given(st.lists(NAMES, unique=True))
def test_the_order_is_total_and_depends_on_the_names_alone(names: list[str]) -> None:
    turned = names[::-1]
    assert sorted(names, key=natural) == sorted(turned, key=natural)
    assert len({natural(name) for name in names}) == len(names)
