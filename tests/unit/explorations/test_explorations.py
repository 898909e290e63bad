"""Explorations of generators so simple that every answer is known: a linear one, and one with batch norm."""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor, nn

from pipeline import plugins
from pipeline.contract import Family, Latent, LatentSpec, Networks, Optimiser, Player
from pipeline.errors import SettingsError, UserError
from pipeline.explorations._shared import Exploration, Findings, Labelled, chosen_labels, draw, noise
from pipeline.explorations.truncation import variety
from pipeline.networks.layers.embedding import one_hot
from pipeline.sampling.samples import SampleSource
from pipeline.settings import Settings
from pipeline.types import Array, Batch, DataSpec

CLASSES = ("cat", "dog", "owl")


class Config(Settings):
    """What the toy is made of."""

    latents: tuple[Latent, ...] = (Latent("z", (4,)),)
    conditional: bool = False
    norm: bool = False


class Linear(nn.Module):
    """A sum of linear maps of everything it is given, small enough never to be cut off at ±1."""

    def __init__(self, config: Config) -> None:
        super().__init__()
        sizes = {latent.name: math.prod(latent.shape) for latent in config.latents}
        self.maps = nn.ModuleDict({name: nn.Linear(size, 4, bias=False) for name, size in sizes.items()})
        self.classes = nn.Linear(len(CLASSES), 4, bias=False)
        self.norm = nn.BatchNorm1d(4, affine=False) if config.norm else nn.Identity()
        with torch.no_grad():
            for name, layer in self.maps.items():
                layer.weight.copy_(0.12 * (torch.eye(4, sizes[name]) + 0.1))  # pyright: ignore
            self.classes.weight.copy_(0.2 * torch.eye(4, len(CLASSES)))

    def forward(self, latents: Mapping[str, Tensor], label: Tensor | None) -> Tensor:
        x = sum(layer(latents[name].flatten(1)) for name, layer in self.maps.items())
        if label is not None:
            x = x + self.classes(one_hot(label, len(CLASSES)))
        return self.norm(x).view(-1, 1, 2, 2)  # pyright: ignore


class Toy(Family[Config]):
    """Linear in everything."""

    paper = "none"

    @property
    def needs(self) -> frozenset[str]:
        return frozenset({"x", "label"}) if self.config.conditional else frozenset({"x"})

    @property
    def latents(self) -> LatentSpec:
        return self.config.latents

    def build(self, spec: DataSpec) -> dict[str, nn.Module]:
        return {"generator": Linear(self.config)}

    def players(self) -> tuple[Player, ...]:
        return (Player("generator", ("generator",), Optimiser()),)

    def sample(
        self, networks: Networks, latents: Mapping[str, Tensor], condition: Batch, truncation: float = 1.0
    ) -> Tensor:
        moved = {name: value * truncation for name, value in latents.items()}
        return networks["generator"](moved, condition.get("label"))


def toy(**keys: Any) -> SampleSource:
    config = Config(**keys)
    spec = DataSpec("image", (1, 2, 2), CLASSES if config.conditional else ())
    family = Toy(config)
    return SampleSource(family, {name: net.eval() for name, net in family.build(spec).items()}, spec)


def run(name: str, source: SampleSource, **keys: Any) -> Findings:
    exploration: Exploration = plugins.load("explorations", {"name": name, **keys})
    return exploration.run(source)


def grey(images: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    """Pixels back to [−1, 1]: within half a grey level of what the generator gave."""
    return images.astype(np.float64) / 127.5 - 1


HALF = 0.5 / 127.5 + 1e-6


def test_a_straight_walk_of_a_linear_generator_has_equal_steps_and_the_samples_at_its_ends() -> None:
    source = toy()
    found = run("interpolation", source, path="linear", walks=3, steps=5)
    walks = grey(found.grids["interpolation"])
    assert walks.shape == (3, 5, 1, 2, 2)
    samples = grey(source.sample(6)).reshape(3, 2, 1, 2, 2)
    assert np.array_equal(walks[:, [0, -1]], samples)
    straight = samples[:, :1] + np.linspace(0, 1, 5)[None, :, None, None, None] * (samples[:, 1:] - samples[:, :1])
    assert np.abs(walks - straight).max() <= 2 * HALF
    assert found.said["paths"] == {"z": "linear"}


def test_a_spherical_walk_keeps_the_length_of_noise_between_equal_lengths() -> None:
    from pipeline.reporting.gallery import between

    a, b = torch.tensor([3.0, 0, 0, 0]), torch.tensor([0, 3.0, 0, 0])
    assert between(Latent("z", (4,)), a, b, torch.linspace(0, 1, 7)).norm(dim=1) == pytest.approx([3.0] * 7, abs=1e-5)
    source = toy(latents=(Latent("z", (4,)), Latent("c", (3,), "categorical")))
    found = run("interpolation", source, walks=2, steps=4)
    assert found.said["paths"] == {"z": "spherical", "c": "a jump half-way"}
    assert [len(steps) for steps in found.said["step_in_grey_levels"]] == [3, 3]


def test_arithmetic_is_arithmetic() -> None:
    source = toy()
    found = run("arithmetic", source, plus=[0, 1], minus=[2, 3], add=[4, 5], jitter=0.0)
    z = noise(source, 0, 6)["z"].view(3, 2, 4).mean(1)
    wanted = z[0] - z[1] + z[2]
    assert found.arrays["answer_z"] == pytest.approx(wanted.numpy(), abs=1e-6)
    answer = grey(draw(source, {"z": wanted[None]}))[0]
    assert np.array_equal(grey(found.grids["answer"]), np.broadcast_to(answer, (3, 3, 1, 2, 2)))
    assert found.grids["operands"].shape == (3, 3, 1, 2, 2)
    assert np.array_equal(found.grids["operands"][0, :2], source.sample(2))
    noisy = run("arithmetic", source, plus=[0, 1], minus=[2, 3], add=[4, 5], jitter=0.5).grids["answer"]
    assert np.array_equal(noisy[1, 1], found.grids["answer"][1, 1]), "the answer itself is in the middle"
    assert not np.array_equal(noisy[0, 0], noisy[1, 1])


def test_arithmetic_refuses_a_sample_that_cannot_be() -> None:
    with pytest.raises(SettingsError, match="minus: -1 is no sample's number"):
        run("arithmetic", toy(), minus=[-1])


def test_mixed_classes_lie_between_the_classes() -> None:
    source = toy(conditional=True)
    found = run("class_mixing", source, class_indices=[1, 2], samples=2, steps=3, children=5)
    dog, half, owl = grey(found.grids["mixing"])[0]
    assert np.array_equal(found.grids["mixing"][0, 0], source.sample(1, np.array([1]))[0])
    assert np.array_equal(found.grids["mixing"][1, 2], source.sample(2, np.array([0, 2]))[1])
    assert np.abs(half - (dog + owl) / 2).max() <= 2 * HALF
    assert found.said["classes"] == ["dog", "owl"]
    assert found.said["weights"] == [[1, 0], [0.5, 0.5], [0, 1]]
    assert [sum(weights) for weights in found.said["children"]] == pytest.approx([1.0] * 5, abs=1e-3)
    assert found.grids["children"].shape == (1, 5, 1, 2, 2)


def test_mixing_needs_classes() -> None:
    with pytest.raises(UserError, match="unconditional and knows no classes"):
        run("class_mixing", toy())
    with pytest.raises(SettingsError, match="classes: one is no mixture"):
        run("class_mixing", toy(conditional=True), classes=["dog"])
    with pytest.raises(UserError, match="classes: 'fox' is no class; the classes are cat, dog, owl"):
        run("class_mixing", toy(conditional=True), classes=["dog", "fox"])
    with pytest.raises(UserError, match=r"for the class at index 2, 'owl', write class_indices=\[1, 2\]"):
        run("class_mixing", toy(conditional=True), classes=["dog", "2"])
    with pytest.raises(UserError, match="class_indices is 3, which is no index"):
        run("class_mixing", toy(conditional=True), class_indices=[0, 3])
    with pytest.raises(SettingsError, match="by name or by index, not both"):
        run("class_mixing", toy(conditional=True), classes=["dog", "cat"], class_indices=[0, 1])


def test_the_first_two_classes_are_mixed_where_none_are_named() -> None:
    found = run("class_mixing", toy(conditional=True), children=0)
    assert found.said["classes"] == ["cat", "dog"]


def test_variety_is_in_proportion_to_truncation() -> None:
    found = run("truncation", toy(), truncations=[0.25, 0.5, 1.0], samples=40)
    quarter, half, whole = found.said["variety_in_grey_levels"]
    assert half / whole == pytest.approx(0.5, abs=0.01)
    assert quarter / whole == pytest.approx(0.25, abs=0.01)
    assert np.array_equal(found.grids["truncation"][2], toy().sample(40))


def test_variety_counted_by_hand() -> None:
    images = np.array([0, 0, 3], dtype=np.uint8).reshape(3, 1, 1, 1)
    assert variety(images) == pytest.approx(math.sqrt((0 + 9 + 9) / 3))


def test_a_code_is_moved_alone() -> None:
    source = toy(latents=(Latent("z", (4,)), Latent("c", (3,), "categorical"), Latent("u", (2,), "uniform")))
    found = run("traversal", source, samples=2, steps=5, reach=1.5)
    assert set(found.grids) == {"c", "u_0", "u_1"}
    assert found.grids["c"].shape == (2, 3, 1, 2, 2)
    way = grey(found.grids["u_0"])
    assert found.said["codes"]["u_0"] == [-1.5, -0.75, 0, 0.75, 1.5]
    assert np.abs(np.diff(way, n=2, axis=1)).max() <= 4 * HALF, "equal steps of a linear generator"
    assert (way[:, -1, 0, 0, 0] > way[:, 0, 0, 0, 0]).all()
    swapped = noise(source, 0, 2)
    swapped["c"] = torch.eye(3)[[2, 2]]
    assert np.array_equal(found.grids["c"][:, 2], draw(source, swapped))


def test_without_codes_the_first_numbers_of_the_noise_are_moved() -> None:
    assert set(run("traversal", toy(), steps=2).grids) == {"z_0", "z_1", "z_2", "z_3"}
    assert set(run("traversal", toy(), latent="z", positions=[2], steps=2).grids) == {"z_2"}
    with pytest.raises(UserError, match="has no 'y'"):
        run("traversal", toy(), latent="y")
    with pytest.raises(UserError, match="'z' has the numbers 0 … 3"):
        run("traversal", toy(), positions=[4])


def test_standing_statistics_are_the_means_over_all_passes() -> None:
    source = toy(norm=True)
    before = {key: value.clone() for key, value in source.networks["generator"].state_dict().items()}
    found = run("standing_statistics", source, passes=3)
    assert found.networks is not None
    after = found.networks["generator"].state_dict()
    weight = before["maps.z.weight"]
    outputs = [source.latents(0, chunk)["z"] @ weight.T for chunk in range(3)]
    assert torch.allclose(after["norm.running_mean"], torch.stack([x.mean(0) for x in outputs]).mean(0), atol=1e-6)
    assert torch.allclose(after["norm.running_var"], torch.stack([x.var(0) for x in outputs]).mean(0), atol=1e-6)
    assert all(torch.equal(before[key], value) for key, value in source.networks["generator"].state_dict().items())
    assert not found.networks["generator"].training
    assert found.said["batch_norms"] == 1
    assert found.said["samples_seen"] == 192


def test_standing_statistics_need_a_batch_norm() -> None:
    with pytest.raises(UserError, match="has no batch norm"):
        run("standing_statistics", toy())


@pytest.mark.parametrize("distribution", ["normal", "uniform"])
def test_projection_finds_the_noise_of_a_sample(distribution: Any, tmp_path: Path) -> None:
    source = toy(latents=(Latent("z", (4,), distribution),), conditional=True)
    z = torch.tensor([[0.5, -0.7, 0.3, 0.8]])
    picture = draw(source, {"z": z}, torch.tensor([2]))[0]
    Image.fromarray(picture[0]).save(tmp_path / "a.png")
    found = run("projection", source, images=str(tmp_path), prior=0.0, candidates=6, label=["owl"])
    (record,) = found.said["pictures"]
    assert record["root_mean_squared_error_in_grey_levels"] <= 1
    assert record["label"] == "owl"
    assert found.arrays["latents_z"] == pytest.approx(z.numpy(), abs=0.1)
    assert found.grids["projection"].shape == (2, 1, 1, 2, 2)
    assert np.array_equal(found.grids["projection"][0, 0], picture)


def test_projection_says_how_far_it_stays(tmp_path: Path) -> None:
    """Two classes that cannot give a white picture: the error is told, not hidden."""
    Image.fromarray(np.full((2, 2), 255, dtype=np.uint8)).save(tmp_path / "white.png")
    found = run("projection", toy(), images=str(tmp_path / "white.png"), steps=1, lr=1e-6)
    (record,) = found.said["pictures"]
    nearest = found.grids["projection"][1, 0].astype(float)
    assert record["root_mean_squared_error_in_grey_levels"] == pytest.approx(math.sqrt(((nearest - 255) ** 2).mean()))
    assert record["psnr_db"] == pytest.approx(10 * math.log10(255**2 / ((nearest - 255) ** 2).mean()))


def test_projection_of_what_is_no_picture(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="there is no picture"):
        run("projection", toy(), images=str(tmp_path))
    (tmp_path / "torn.png").write_bytes(b"\x89PNG")
    with pytest.raises(UserError, match=r"torn\.png cannot be read"):
        run("projection", toy(), images=str(tmp_path))


def saved(tmp_path: Path, **pictures: Array) -> dict[str, str]:
    for name, picture in pictures.items():
        Image.fromarray(picture[0]).save(tmp_path / f"{name}.png")
    return {name: str(tmp_path / f"{name}.png") for name in pictures}


def test_an_analogy_by_latents_adds_what_lies_between_two_pictures(tmp_path: Path) -> None:
    source = toy()
    z = torch.tensor([[0.5, -0.7, 0.3, 0.8], [0.9, -0.2, 0.1, 0.8], [-0.4, 0.1, 0.6, -0.3]])
    a, a_prime, b, wanted = draw(source, {"z": torch.cat([z, z[2:] + z[1:2] - z[:1]])})
    paths = saved(tmp_path, a=a, a_prime=a_prime, b=b)
    found = run("analogy", source, **paths, prior=0.0, candidates=4)
    sheet = found.grids["analogy"]
    assert sheet.shape == (1, 4, 1, 2, 2)
    for column, picture in enumerate((a, a_prime, b)):
        assert np.array_equal(sheet[0, column], picture)
    assert np.abs(sheet[0, 3].astype(int) - wanted).max() <= 2
    assert found.said["by"] == "latents"
    assert found.said["space"] == "noise"
    far = found.said["nearest_samples_in_grey_levels"]
    assert set(far) == {"a", "a_prime", "b"}
    assert all(value <= 1 for values in far.values() for value in values)


def test_an_analogy_by_styles_of_a_picture_with_itself_is_its_nearest_sample(tmp_path: Path) -> None:
    source = styled()
    picture = draw(source, noise(source, 3, 1))[0]
    Image.fromarray(picture.transpose(1, 2, 0).squeeze()).save(tmp_path / "a.png")
    path = str(tmp_path / "a.png")
    found = run("analogy", source, a=path, a_prime=path, b=path, steps=20)
    near = run("projection", source, images=path, steps=20).grids["projection"][1, 0]
    assert np.abs(found.grids["analogy"][0, 3].astype(int) - near).max() <= 1
    assert found.said["space"] == "w"


def test_an_analogy_needs_pictures(tmp_path: Path) -> None:
    paths = saved(tmp_path, a=np.zeros((1, 2, 2), np.uint8))
    with pytest.raises(UserError, match="a_prime: there is no picture"):
        run("analogy", toy(), a=paths["a"], a_prime=str(tmp_path / "no.png"), b=paths["a"])
    with pytest.raises(UserError, match="is a folder"):
        run("analogy", toy(), a=str(tmp_path), a_prime=paths["a"], b=paths["a"])


def test_labels_are_asked_of_those_who_know_them() -> None:
    assert chosen_labels(toy(), 3, Labelled()) is None
    chosen = chosen_labels(toy(conditional=True), 5, Labelled())
    assert chosen is not None
    assert chosen.tolist() == [0, 1, 2, 0, 1]
    for keys in ({"label": ("owl", "cat")}, {"label_index": (2, 0)}):
        chosen = chosen_labels(toy(conditional=True), 3, Labelled(**keys))
        assert chosen is not None
        assert chosen.tolist() == [2, 0, 2]
    with pytest.raises(UserError, match="unconditional and knows no classes"):
        run("interpolation", toy(), label=["cat"])
    with pytest.raises(SettingsError, match="by name or by index, not both"):
        run("interpolation", toy(conditional=True), label=["cat"], label_index=[0])


@pytest.mark.parametrize(
    "how", ["analogy", "arithmetic", "interpolation", "projection", "style_mixing", "traversal", "truncation"]
)
@pytest.mark.parametrize("asked", [{"label": ["1"]}, {"label_index": [3]}])
def test_a_wrong_label_is_told_before_anything_is_drawn(
    how: str, asked: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    source = styled(conditional=True) if how == "style_mixing" else toy(conditional=True)

    def drawn(*_: object, **__: object) -> None:
        raise AssertionError("the model was asked to draw")

    monkeypatch.setattr(source.family, "sample", drawn)
    pictures = {"projection": ["images"], "analogy": ["a", "a_prime", "b"]}
    keys = dict.fromkeys(pictures.get(how, []), "nowhere")
    told = (
        r"label: '1' is no class; .* write label_index=\[1\]" if "label" in asked else "label_index is 3, which is no"
    )
    with pytest.raises(UserError, match=told):
        run(how, source, **keys, **asked)


def test_a_design_without_noise_is_told_so() -> None:
    with pytest.raises(UserError, match="draws no noise"):
        run("interpolation", toy(latents=()))


STYLED: dict[str, Any] = {"latent": 8, "style": 6, "mapping_layers": 2, "width": 64, "max_width": 6}


def styled(conditional: bool = False) -> SampleSource:
    """A small StyleGAN2 as it was built."""
    torch.manual_seed(0)
    family = plugins.load("families", {"name": "stylegan2", "conditional": conditional, **STYLED})
    spec = DataSpec("image", (1, 16, 16), CLASSES if conditional else ())
    networks = {name: network.eval() for name, network in family.build(spec).items() if name in family.averaged}
    return SampleSource(family, networks, spec)


def test_mixing_all_styles_gives_the_columns_and_none_of_a_kind_the_rows() -> None:
    source = styled()
    columns = run("style_mixing", source, rows=2, columns=3, start=0, truncation=1.0).grids["style_mixing"]
    assert columns.shape == (2, 3, 1, 16, 16)
    assert np.array_equal(columns[0], columns[1]), "with every layer's style from the column, rows don't matter"
    z = noise(source, 0, 5)["z"]
    assert np.abs(columns[0].astype(int) - draw(source, {"z": z[2:]}).astype(int)).max() <= 1
    some = run("style_mixing", source, rows=2, columns=3, start=1, stop=2, truncation=1.0)
    assert some.said["layers"] == [1, 2]
    assert not np.array_equal(some.grids["style_mixing"][0], some.grids["style_mixing"][1])


def test_style_mixing_needs_styles_and_layers_that_are_there() -> None:
    with pytest.raises(UserError, match="has no styles; stylegan and stylegan2 have"):
        run("style_mixing", toy())
    with pytest.raises(UserError, match="is no range of this generator's"):
        run("style_mixing", styled(), start=0, stop=99)
    with pytest.raises(SettingsError, match="stop: 1 is not beyond start: 2"):
        run("style_mixing", toy(), start=2, stop=1)


def test_projection_by_style_comes_nearer(tmp_path: Path) -> None:
    source = styled()
    Image.fromarray(draw(source, noise(source, 3, 1))[0, 0]).save(tmp_path / "a.png")
    far, near = (
        run("projection", source, images=str(tmp_path), steps=steps, lr=0.05).said["pictures"][0] for steps in (1, 150)
    )
    error = "root_mean_squared_error_in_grey_levels"
    assert near[error] < 0.7 * far[error]
    with pytest.raises(UserError, match=r"space: .* has no styles; take noise"):
        run("projection", toy(), images=str(tmp_path), space="style")


def test_projection_by_style_tries_each_class_once(tmp_path: Path) -> None:
    source = styled(conditional=True)
    Image.fromarray(source.sample(1)[0, 0]).save(tmp_path / "a.png")
    found = run("projection", source, images=str(tmp_path), steps=2, label=["owl"])
    assert found.said["pictures"][0]["label"] == "owl"
    assert found.arrays["latents_w"].shape[0] == 1
