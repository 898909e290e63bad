"""Typed settings: what is refused, in which words, and how dotted overrides are laid on."""

from __future__ import annotations

from typing import Annotated, Any, Literal

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import Field, field_validator, model_validator

from pipeline import params, plugins
from pipeline.errors import SettingsError, UserError
from pipeline.settings import LocalPath, Settings, UserPath, override, shown, suggest, validate

Side = Annotated[int, Field(ge=1, le=99)]


class Ramp(Settings):
    start: float = Field(ge=0)
    end: float = Field(ge=0)
    shape: Literal["linear", "cosine"] = "linear"

    @model_validator(mode="after")
    def _moves(self) -> Ramp:
        if self.start == self.end:
            raise ValueError(f"end: {self.end:g} is where it starts")
        return self


class Inner(Settings):
    rate: Annotated[float, Field(ge=0)] | Ramp = 0.1
    count: int = Field(default=3, gt=0, le=10)
    share: float | None = Field(default=0.5, gt=0, lt=1)


class Outer(Settings):
    name: str = Field(default="a", min_length=1)
    on: bool = False
    size: tuple[Side, Side] | Side | None = None
    widths: tuple[Side, ...] = Field(default=(1, 2), min_length=1)
    word: Literal["last", "best", 3] = "last"
    inner: Inner = Inner()
    several: list[Inner] = Field(default=[])
    choice: dict[str, Any] = Field(default={"name": "x"})
    named: dict[str, Inner] = Field(default={})
    free: Any = None

    @field_validator("choice")
    @classmethod
    def _known(cls, value: dict[str, Any]) -> dict[str, Any]:
        if "name" not in value:
            raise SettingsError(".name: is required", ".more: too")
        return value

    @model_validator(mode="after")
    def _fits(self) -> Outer:
        if self.on and self.name == "off":
            raise ValueError("on: and name must agree")
        if self.name == "odd":
            raise ValueError("odd things are refused")
        return self


def problems(data: object) -> list[str]:
    with pytest.raises(SettingsError) as raised:
        validate(Outer, data, "outer")
    return list(raised.value.problems)


@pytest.mark.parametrize(
    ("data", "sentence"),
    [
        ([], "outer: must be a section of keys, not []"),
        ({"nme": 1}, "outer.nme: unknown key; did you mean 'name'?"),
        ({"Name": 1}, "outer.Name: unknown key; did you mean 'name'?"),
        ({"inner": {"coumt": 1}}, "outer.inner.coumt: unknown key; did you mean 'count'?"),
        ({"inner": {"zzz": 1}}, "outer.inner.zzz: unknown key; known: count, rate, share"),
        ({"several": [{}, {"coumt": 1}]}, "outer.several[1].coumt: unknown key; did you mean 'count'?"),
        ({"named": {"b": {"coumt": 1}}}, "outer.named.b.coumt: unknown key; did you mean 'count'?"),
        ({"name": 3}, "outer.name: 3 is not allowed; it must be text"),
        ({"name": ""}, "outer.name: '' is not allowed; it must be a text that is not empty"),
        ({"on": "maybe"}, "outer.on: 'maybe' is not allowed; it must be true or false"),
        ({"inner": None}, "outer.inner: null is not allowed; it must be a section of the keys rate, count, share"),
        ({"inner": {"count": "3"}}, "outer.inner.count: '3' is not allowed; it must be a whole number, without quotes"),
        ({"inner": {"count": "few"}}, "outer.inner.count: 'few' is not allowed; it must be a whole number"),
        ({"inner": {"count": True}}, "outer.inner.count: true is not allowed; it must be a whole number"),
        ({"inner": {"count": 2.5}}, "outer.inner.count: 2.5 is not allowed; it must be a whole number"),
        ({"inner": {"count": None}}, "outer.inner.count: null is not allowed; it must be a whole number"),
        ({"inner": {"count": 0}}, "outer.inner.count: 0 is not allowed; it must be above 0"),
        ({"inner": {"count": 11}}, "outer.inner.count: 11 is not allowed; it must be 10 or below"),
        ({"inner": {"share": 1}}, "outer.inner.share: 1 is not allowed; it must be below 1"),
        ({"inner": {"share": float("nan")}}, "outer.inner.share: nan is not allowed; it must be a finite number"),
        ({"word": "bset"}, "outer.word: 'bset' is not allowed; it must be last, best or 3; did you mean 'best'?"),
        ({"word": 4}, "outer.word: 4 is not allowed; it must be last, best or 3"),
        ({"choice": "x"}, "outer.choice: 'x' is not allowed; it must be a section of keys, such as {name: …}"),
        ({"several": {}}, "outer.several: {} is not allowed; it must be a list"),
        ({"widths": []}, "outer.widths: [] is not allowed; it must be a list of 1 or more"),
        ({"widths": [1, 0]}, "outer.widths[1]: 0 is not allowed; it must be 1 or above"),
        ({"named": {3: {}}}, "outer.named[3]: 3 is not allowed; it must be text"),
        ({"name": "odd"}, "outer: odd things are refused"),
        ({"name": "off", "on": True}, "outer.on: and name must agree"),
    ],
)
def test_each_mistake_has_its_sentence(data: object, sentence: str) -> None:
    assert problems(data) == [sentence]


@pytest.mark.parametrize(
    ("data", "sentence"),
    [
        ({"inner": {"rate": -1}}, "outer.inner.rate: -1 is not allowed; it must be 0 or above"),
        (
            {"inner": {"rate": "fast"}},
            "outer.inner.rate: 'fast' is not allowed; it must be a number or a section of the keys start, end, shape",
        ),
        (
            {"inner": {"rate": None}},
            "outer.inner.rate: null is not allowed; it must be a number or a section of the keys start, end, shape",
        ),
        ({"inner": {"rate": {"start": 1}}}, "outer.inner.rate.end: is required and missing"),
        (
            {"inner": {"rate": {"start": 1, "end": -2}}},
            "outer.inner.rate.end: -2 is not allowed; it must be 0 or above",
        ),
        ({"inner": {"rate": {"start": 1, "end": 1}}}, "outer.inner.rate.end: 1 is where it starts"),
        (
            {"inner": {"rate": {"start": 1, "end": 2, "shape": "cosin"}}},
            "outer.inner.rate.shape: 'cosin' is not allowed; it must be linear or cosine; did you mean 'cosine'?",
        ),
        ({"inner": {"rate": {"start": 1, "end": 2, "length": 3}}}, "outer.inner.rate.length: unknown key; known: end"),
        ({"size": "16x16"}, "outer.size: '16x16' is not allowed; it must be a list of 2 or a whole number"),
        ({"size": 0}, "outer.size: 0 is not allowed; it must be 1 or above"),
        ({"size": [3]}, "outer.size: [3] is not allowed; it must be a list of 2"),
        ({"size": [3, 100]}, "outer.size[1]: 100 is not allowed; it must be 99 or below"),
        ({"size": {}}, "outer.size: {} is not allowed; it must be a list of 2 or a whole number"),
    ],
)
def test_a_union_speaks_for_the_branch_that_was_meant(data: object, sentence: str) -> None:
    (found,) = problems(data)
    assert found.startswith(sentence)


def test_every_mistake_is_named_at_once() -> None:
    found = problems({"nme": 1, "inner": {"rate": -1, "count": 0}, "choice": {}})
    assert {line.partition(":")[0] for line in found} == {
        "outer.nme",
        "outer.inner.rate",
        "outer.inner.count",
        "outer.choice.name",
        "outer.choice.more",
    }


def test_a_settings_error_is_a_user_error() -> None:
    error = SettingsError("a: wrong", "b: wrong")
    assert isinstance(error, UserError)
    assert str(error) == "a: wrong\nb: wrong"


def test_what_is_right_is_kept() -> None:
    data = {"inner": {"rate": {"start": 0, "end": 1}, "count": 4.0, "share": None}, "size": [3, 4], "free": "64"}
    settings = validate(Outer, data, "outer")
    assert settings.inner == Inner(rate=Ramp(start=0, end=1), count=4, share=None)
    assert settings.size == (3, 4)
    assert settings.free == "64"
    assert validate(Outer, None, "outer") == validate(Outer, {}, "outer") == Outer()


def test_settings_are_frozen() -> None:
    with pytest.raises(ValueError, match="frozen"):
        Outer().name = "b"  # pyright: ignore[reportAttributeAccessIssue]


@pytest.mark.parametrize(
    ("name", "known", "advice"),
    [
        ("dcgann", ["dcgan", "gan"], "; did you mean 'dcgan'?"),
        ("vae", ["gan", "dcgan"], "; known: dcgan, gan"),
        ("vae", [], ""),
    ],
)
def test_the_nearest_name_is_suggested(name: str, known: list[str], advice: str) -> None:
    assert suggest(name, known) == advice


@pytest.mark.parametrize(
    ("value", "text"),
    [(None, "null"), (True, "true"), ("a", "'a'"), (1e-4, "0.0001"), ("x" * 200, "'" + "x" * 76 + "…")],
)
def test_values_are_shown_as_they_are_written(value: object, text: str) -> None:
    assert shown(value) == text


# --- paths ------------------------------------------------------------------------------------------


class Paths(Settings):
    one: UserPath = "x"
    local: LocalPath = "x"
    many: tuple[LocalPath, ...] = ()


def test_a_tilde_is_the_home_folder(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", "/home/me")
    found = validate(Paths, {"one": "~/a", "local": "~", "many": ["~/b", "c/~d"]}, "paths")
    assert (found.one, found.local, found.many) == ("/home/me/a", "/home/me", ("/home/me/b", "c/~d"))
    assert validate(Paths, {"one": "s3://b/~", "local": "~nobody-of-this-name/x"}, "paths").model_dump() == {
        "one": "s3://b/~",
        "local": "~nobody-of-this-name/x",
        "many": (),
    }


def test_a_local_path_is_no_address_and_not_empty() -> None:
    for key, value, says in (
        ("local", "s3://b/x", "paths.local: 's3://b/x' is an address"),
        ("local", "", "paths.local: '' is not allowed; it must name a file or folder"),
        ("local", 3, "paths.local: 3 is not allowed; it must be text"),
        ("many", ["x", "http://h/x"], "paths.many[1]: 'http://h/x' is an address"),
        ("many", "x", "paths.many: 'x' is not allowed; it must be a list"),
    ):
        with pytest.raises(SettingsError) as raised:
            validate(Paths, {key: value}, "paths")
        assert says in str(raised.value)


def test_every_path_of_params_is_expanded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", "/home/me")
    found = params.check(
        {
            "ingest": {"source": {"name": "image_folder", "folder": "~/x", "labels": "~/l.csv", "links": ["~/y"]}},
            "reference": {"statistics": "~/s.npz", "extractor": {"name": "inception", "weights": "~/w.safetensors"}},
            "register": {"metric": "frechet_inception"},
            "run": {"storage": "~/scratch"},
        }
    )
    assert found.run.storage == "/home/me/scratch"
    assert found.reference.statistics == "/home/me/s.npz"
    config = plugins.configure("extractors", found.reference.extractor, "x")
    assert config.model_dump()["weights"] == "/home/me/w.safetensors"
    source = plugins.configure("data.sources", found.ingest.source, "x").model_dump()
    assert (source["folder"], source["labels"], source["links"]) == ("/home/me/x", "/home/me/l.csv", ("/home/me/y",))


# --- overrides ------------------------------------------------------------------------------------


def test_dotted_keys_are_replaced_and_the_rest_is_kept() -> None:
    params = {"train": {"family": "dcgan", "seed": 1}, "run": {"list": [1, {"a": 2}]}}
    changed = override(params, {"train.family": "gan", "families.gan.latent": 8, "run": {}})
    assert changed == {"train": {"family": "gan", "seed": 1}, "families": {"gan": {"latent": 8}}, "run": {}}
    assert params == {"train": {"family": "dcgan", "seed": 1}, "run": {"list": [1, {"a": 2}]}}


def test_a_section_takes_the_place_of_a_value() -> None:
    assert override({"a": 1}, {"a.b": 2}) == {"a": {"b": 2}}
    assert override({"a": None}, {"a.b": 2}) == {"a": {"b": 2}}


def test_nothing_is_shared_with_the_original() -> None:
    params = {"a": {"b": [1]}}
    changed = override(params, {})
    changed["a"]["b"].append(2)
    assert params == {"a": {"b": [1]}}


Sections = st.recursive(
    st.integers() | st.none() | st.lists(st.integers(), max_size=2),
    lambda inner: st.dictionaries(st.sampled_from("abc"), inner, max_size=3),
    max_leaves=8,
)


@given(params=st.dictionaries(st.sampled_from("abc"), Sections), value=st.integers(), key=st.sampled_from(["a", "a.b"]))
def test_an_override_reads_back_and_repeats(params: dict[str, Any], value: int, key: str) -> None:
    once = override(params, {key: value})
    found: Any = once
    for part in key.split("."):
        found = found[part]
    assert found == value
    assert override(once, {key: value}) == once
    assert {name: once[name] for name in params if name != "a"} == {
        name: params[name] for name in params if name != "a"
    }
