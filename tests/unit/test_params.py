"""params.yaml as a whole: the project's own file, YAML's corners, and what an override changes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from pipeline import params, plugins
from pipeline.errors import SettingsError
from pipeline.params.space import tried
from pipeline.search.settings import Range
from pipeline.settings import at, override

ROOT = Path(__file__).parents[2]


@pytest.fixture
def own() -> dict[str, Any]:
    return params.read(ROOT / "params.yaml")


def test_the_projects_own_file_is_in_order(own: dict[str, Any]) -> None:
    found = params.check(own)
    assert found.raw is own
    assert found.family == own["families"][found.train.family]


@pytest.mark.parametrize("family", ["dcgan", "gan", "r3gan", "wgan_gp"])
def test_a_family_is_changed_by_one_key(own: dict[str, Any], family: str) -> None:
    found = params.check(override(own, {"train.family": family}))
    assert type(found.load_family()).__module__ == f"pipeline.families.{family}"
    assert found.load_family().conditional


def test_only_the_chosen_familys_keys_are_checked(own: dict[str, Any]) -> None:
    broken = override(own, {"families.gan.nonsense": 1, "train.family": "dcgan"})
    assert params.check(broken).train.family == "dcgan"
    with pytest.raises(SettingsError, match=r"families\.gan\.nonsense: unknown key"):
        params.check(override(broken, {"train.family": "gan"}))


def test_an_empty_file_of_sections_is_all_defaults() -> None:
    found = params.check(dict.fromkeys(params.SECTIONS))
    assert found.train.family == "dcgan"
    assert found.family == {}
    assert found.tune.space == {}


def test_overrides_are_validated_again(own: dict[str, Any]) -> None:
    found = params.check(own)
    dotted = next(iter(found.tune.space), "families.dcgan.generator.lr")
    assert found.with_overrides({"tune.space": {}, dotted: 1e-3}).raw != own
    with pytest.raises(SettingsError, match=r"is set to 0\.001 and also searched"):
        found.with_overrides({"tune.space": {dotted: {"uniform": [1e-4, 1e-3]}}, dotted: 1e-3})
    with pytest.raises(SettingsError, match=r"train\.seed: -1"):
        found.with_overrides({"train.seed": -1})


def test_a_searched_key_may_be_set_where_nothing_is_searched(own: dict[str, Any]) -> None:
    space = {"families.dcgan.generator.lr": {"uniform": [1e-4, 1e-3]}}
    both = override(own, {"tune.space": space, "families.dcgan.generator": {"lr": 1e-3}, "tune.trials": 0})
    assert params.check(both).tune.trials == 0


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("1e-4", 1e-4),
        ("1.0e-4", 1e-4),
        ("1E4", 1e4),
        ("+2e3", 2e3),
        ("1_000e2", 1e5),
        ("64", 64),
        ("1_000", 1000),
        (".nan", None),
        ("e4", "e4"),
        ("1e4x", "1e4x"),
        ("'1e4'", "1e4"),
        ("yes", "yes"),
        ("010", 10),
        ("0o17", 15),
        ("true", True),
        ("~", None),
    ],
)
def test_numbers_are_read_as_people_write_them(tmp_path: Path, text: str, value: object) -> None:
    (tmp_path / "params.yaml").write_text(f"a: {{b: {text}}}\n")
    found = params.read(tmp_path / "params.yaml")["a"]["b"]
    assert found == value and type(found) is type(value) if text != ".nan" else found != found


def test_a_bom_and_anchors_do_no_harm(tmp_path: Path) -> None:
    (tmp_path / "params.yaml").write_bytes(b"\xef\xbb\xbfa: &x {seed: 1}\nb: *x\n")
    assert params.read(tmp_path / "params.yaml") == {"a": {"seed": 1}, "b": {"seed": 1}}


def test_a_value_within_itself_is_refused(tmp_path: Path) -> None:
    (tmp_path / "params.yaml").write_text("a: &x [1, *x]\n")
    with pytest.raises(SettingsError, match="line 1"):
        params.read(tmp_path / "params.yaml")


def test_the_value_at_a_dotted_key() -> None:
    raw = {"a": {"b": {"c": 1}, "d": None}}
    assert at(raw, "a.b.c") == 1
    assert at(raw, "a.b") == {"c": 1}
    assert at(raw, "a.d") is at(raw, "a.x.y") is at(raw, "a.b.c.d") is None


@pytest.mark.parametrize(
    ("searched", "values"),
    [
        (Range(choice=[8, "b"]), [8, "b"]),
        (Range(randint=(3, 6)), [3, 4, 5, 6]),
        (Range(randint=(1, 1000)), [1, 1000]),
        (Range(uniform=(0.0, 1.0)), [0.0, 0.618, 1.0]),
        (Range(loguniform=(1e-4, 1e-2)), [1e-4, 0.006218, 1e-2]),
    ],
)
def test_a_range_is_tried_at_its_ends_and_within(searched: Range, values: list[object]) -> None:
    assert tried(searched) == values


SEEING = [name for name in plugins.names("extractors") if name != "none"]


def test_a_distance_of_another_extractor_decides_nothing(own: dict[str, Any]) -> None:
    for name in SEEING:
        keys = {"reference.extractor": {"name": name}}
        params.check(override(own, {**keys, "register.metric": f"frechet_{name}"}))
        params.check(override(own, {**keys, "register.metric": "precision"}))
        for other in SEEING:
            if other != name:
                right = "kid" if name == "inception" else f"kernel_{name}"
                with pytest.raises(SettingsError, match=f"take '{right}'"):
                    params.check(override(own, {**keys, "register.metric": f"kernel_{other}"}))


@pytest.mark.parametrize(
    ("tap", "metric", "right"),
    [
        (2048, "fid", None),
        (768, "fid_768", None),
        (768, "fid", "'fid' is measured by the extractor 'inception' at tap 2048.*tap is 768; take 'fid_768'"),
        (2048, "kid_192_holdout", "at tap 192.*take 'kid_holdout'"),
    ],
)
def test_published_names_belong_to_their_taps(own: dict[str, Any], tap: int, metric: str, right: str | None) -> None:
    raw = override(own, {"reference.extractor": {"name": "inception", "tap": tap}, "register.metric": metric})
    if right is None:
        params.check(raw)
    else:
        with pytest.raises(SettingsError, match=right):
            params.check(raw)


def test_the_published_names_are_nobody_else_s(own: dict[str, Any]) -> None:
    with pytest.raises(SettingsError, match=r"extractor 'inception', and .*name is 'classifier'; take 'frechet_class"):
        params.check(override(own, {"register.metric": "fid"}))


def test_where_nobody_looks_a_distance_decides_nothing(own: dict[str, Any]) -> None:
    chosen = {
        "train.family": "adversarial_cryptography",
        "tune.trials": 0,
        "tune.space": {},
        "reference.extractor": {"name": "none"},
    }
    params.check(override(own, {**chosen, "register.metric": "bits_lost"}))
    with pytest.raises(SettingsError, match=r"register\.metric: 'frechet_classifier' compares .* take 'bits_lost'"):
        params.check(override(own, chosen))
