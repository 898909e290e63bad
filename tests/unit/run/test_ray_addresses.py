"""What `run.address` is read as, and what is refused before anything is sent anywhere."""

from __future__ import annotations

from typing import Any

import pytest

from pipeline.errors import SettingsError, UserError
from pipeline.run import addresses
from pipeline.run.addresses import Address
from pipeline.run.settings import RunSettings
from pipeline.settings import validate


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", Address("private")),
        ("10.0.0.5:6379", Address("join", "10.0.0.5:6379")),
        ("[::1]:6379", Address("join", "[::1]:6379")),
        ("http://head:8265", Address("submit", "http://head:8265")),
        ("https://ray.example.org/", Address("submit", "https://ray.example.org")),
        ("head", None),
        ("head:0", None),
        ("http://", None),
        ("http://head:99999", None),
        ("http://user@head:8265", None),
        ("ray://head:10001", None),
    ],
)
def test_forms(text: str, expected: Address | None) -> None:
    assert addresses.parse(text) == expected


def test_only_env_reads_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RAY_ADDRESS", "http://head:8265")
    assert addresses.resolve("") == Address("private")
    assert addresses.resolve("other:1") == Address("join", "other:1")
    assert addresses.resolve("env") == Address("submit", "http://head:8265")
    for value, said in (("", "is not set"), ("auto", "is 'auto', which is no address")):
        monkeypatch.setenv("RAY_ADDRESS", value)
        with pytest.raises(UserError, match=f"env follows RAY_ADDRESS, which {said}"):
            addresses.resolve("env")


@pytest.mark.parametrize(
    ("url", "loopback"),
    [
        ("http://127.0.0.1:8265", True),
        ("http://localhost:1", True),
        ("http://[::1]:1", True),
        ("http://10.0.0.1", False),
    ],
)
def test_loopback(url: str, loopback: bool) -> None:
    assert addresses.is_loopback(url) == loopback


@pytest.mark.parametrize(
    ("keys", "said"),
    [
        ({"address": "http://h:1"}, "'.work' is a folder of this project, which jobs at http://h:1 cannot reach"),
        ({"storage": "gs://bucket"}, "an address of the scheme gs: is of an unknown kind"),
        ({"num_workers": [4, 1]}, "[4, 1] is no range; it must be [least, most], such as [1, 4]"),
        ({"num_workers": [1, 4], "max_failures": 0}, "0 ends a training at the first lost worker"),
    ],
)
def test_refused(keys: dict[str, Any], said: str) -> None:
    with pytest.raises(SettingsError) as refused:
        validate(RunSettings, keys, "run")
    assert said in str(refused.value)


def test_workers() -> None:
    fixed, moving = RunSettings(num_workers=3), RunSettings(num_workers=(1, 4))
    assert (fixed.least_workers, fixed.most_workers, fixed.elastic) == (3, 3, False)
    assert (moving.least_workers, moving.most_workers, moving.elastic) == (1, 4, True)
