from __future__ import annotations

import hashlib
import os
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from inceptions import random_state
from numpy.typing import NDArray
from safetensors.torch import load_file, save_file
from torch import Tensor

from pipeline import plugins
from pipeline.assets import inception as weights
from pipeline.errors import SettingsError, UserError
from pipeline.extractors import _shared, inception
from pipeline.networks.architectures.inception import LAYERS, Tap, fold
from pipeline.storage.files import write_json
from pipeline.types import DataSpec

DATA = Path(os.environ.get("ZEROSUM_TEST_DATA", Path(__file__).parents[3].parent / "shared" / "data"))
PARTIAL = DATA / "inception-2015-12-05-to-Mixed_6e.safetensors"
RGB = DataSpec("image", (3, 16, 20))


class Pictures:
    def __init__(self, count: int = 8, shape: tuple[int, ...] = (3, 16, 20)) -> None:
        self.spec = DataSpec("image", shape)
        self.x = np.random.default_rng(count).integers(0, 256, (count, *shape), dtype=np.uint8)

    def __len__(self) -> int:
        return len(self.x)

    def examples(self, indices: NDArray[np.int64]) -> dict[str, NDArray[Any]]:
        return {"x": self.x[indices]}


@pytest.fixture(autouse=True)
def _one_thread() -> None:
    torch.set_num_threads(1)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One random network in every form that is read."""
    made = tmp_path_factory.mktemp("weights")
    state = random_state()
    counters = {
        name.replace("running_mean", "num_batches_tracked"): torch.tensor(0) for name in state if "_mean" in name
    }
    torch.save({**state, **counters}, made / "public.pth")
    save_file(state, made / "normalised.safetensors")
    save_file(fold(state), made / "folded.safetensors")
    return made


@pytest.fixture(scope="module")
def partial() -> Path:
    if not PARTIAL.is_file():
        pytest.skip(f"{PARTIAL} is not here")
    return PARTIAL


def ready(path: Path, tap: Tap, **keys: Any) -> inception.Extractor:
    extractor = inception.Extractor(inception.Config(weights=str(path), tap=tap, **keys))
    extractor.prepare(Pictures(), Pictures(), seed=0)
    return extractor


def changed(state: dict[str, Tensor], path: Path, **over: Tensor | None) -> Path:
    whole = {**state, **{name.replace("__", "."): tensor for name, tensor in over.items()}}
    torch.save({name: tensor for name, tensor in whole.items() if tensor is not None}, path)
    return path


# --- features ---------------------------------------------------------------------------------


@pytest.mark.slow
def test_every_form_gives_the_same_features_and_logits(folder: Path) -> None:
    x = torch.tensor(Pictures(4).x) / 127.5 - 1
    found = {
        name: ready(folder / name, 2048).features(x)
        for name in ("public.pth", "normalised.safetensors", "folded.safetensors")
    }
    features, logits = found["public.pth"]
    assert features.shape == (4, 2048)
    assert logits is not None
    assert logits.shape == (4, 1008)
    for other, other_logits in found.values():
        assert torch.equal(features, other)
        assert other_logits is not None
        assert torch.equal(logits, other_logits)


@pytest.mark.parametrize("tap", [64, 192, 768])
def test_lower_taps_have_no_logits(folder: Path, tap: Tap) -> None:
    extractor = ready(folder / "folded.safetensors", tap)
    features, logits = extractor.features(torch.zeros(2, 3, 8, 8))
    assert (features.shape, logits) == ((2, tap), None)
    assert extractor.dimension == tap


def test_it_is_again_what_its_state_was_taken_from(folder: Path) -> None:
    extractor, again = ready(folder / "public.pth", 192), inception.Extractor(inception.Config(tap=192))
    again.load(RGB, extractor.state_dict())
    x = torch.tensor(Pictures(4).x) / 127.5 - 1
    assert torch.equal(extractor.features(x)[0], again.features(x)[0])
    assert {name.split(".")[0] for name in extractor.state_dict()} == set(LAYERS[64] + LAYERS[192])


@pytest.mark.slow
def test_an_example_s_features_don_t_depend_on_its_company(folder: Path) -> None:
    extractor = ready(folder / "folded.safetensors", 64)
    x = Pictures(64).x
    whole, _ = _shared.extract(extractor, x)
    alone, _ = _shared.extract(extractor, x[57:60])
    assert np.array_equal(whole[57:60], alone)


def test_the_batch_size_changes_rounding_alone(folder: Path) -> None:
    x = torch.tensor(Pictures(6).x) / 127.5 - 1
    one, four = (ready(folder / "folded.safetensors", 192, batch_size=size).features(x)[0] for size in (1, 4))
    assert torch.allclose(one, four, rtol=1e-4, atol=1e-5)


def test_grey_is_three_times_the_same(folder: Path) -> None:
    extractor = ready(folder / "folded.safetensors", 64)
    grey = torch.tensor(Pictures(2, (1, 9, 9)).x) / 127.5 - 1
    assert torch.equal(extractor.features(grey)[0], extractor.features(grey.expand(-1, 3, -1, -1))[0])


def test_alpha_is_dropped_or_blended() -> None:
    # One pixel of 200, 100, 0 with a fifth of cover.
    pixel = torch.tensor([200.0, 100.0, 0.0, 51.0]).reshape(1, 4, 1, 1)
    found = {
        policy: inception.three_channels(pixel, policy).flatten().tolist() for policy in ("drop", "white", "black")
    }
    assert found == {"drop": [200, 100, 0], "white": [244, 224, 204], "black": [40, 20, 0]}


def test_pixels_come_back_exactly() -> None:
    pixels = torch.arange(256, dtype=torch.uint8)
    assert torch.equal(inception.to_pixels(_shared.to_input(pixels.clone())), pixels.float())
    assert inception.to_pixels(torch.tensor([-1.7, 1.2])).tolist() == [0, 255]


@pytest.mark.parametrize(("modality", "shape"), [("waveform", (1, 800)), ("image", (2, 8, 8))])
def test_what_it_cannot_see_is_refused(modality: Any, shape: tuple[int, ...]) -> None:
    with pytest.raises(SettingsError, match=r"reference\.extractor: 'inception' sees"):
        inception.Extractor.check(DataSpec(modality, shape))


@pytest.mark.parametrize(
    ("keys", "message"),
    [
        ({"tap": 100}, r"reference\.extractor\.tap"),
        ({"batch_size": 3}, r"reference\.extractor\.batch_size"),
        ({"resize": "lanczos"}, r"reference\.extractor\.resize"),
        ({"sha256": "67"}, r"reference\.extractor\.sha256.*64 hexadecimal"),
        ({"tapp": 64}, "did you mean 'tap'"),
    ],
)
def test_settings_are_checked(keys: dict[str, Any], message: str) -> None:
    with pytest.raises(SettingsError, match=message):
        plugins.configure("extractors", {"name": "inception", **keys}, "reference.extractor")


# --- weights ----------------------------------------------------------------------------------


def test_the_partial_file_is_the_published_network(partial: Path) -> None:
    extractor = inception.Extractor(inception.Config(weights=str(partial), tap=768))
    report = extractor.prepare(Pictures(), Pictures(), seed=0)
    assert report == {"weights_sha256": weights.KNOWN[partial.name], "published": True}


def test_published_is_told_by_the_numbers_not_the_name(partial: Path, tmp_path: Path) -> None:
    state = load_file(partial)
    save_file(state, tmp_path / "renamed.safetensors")
    assert weights.load(tmp_path / "renamed.safetensors", 768).published
    state["Mixed_6e.branch_pool.weight"] = state["Mixed_6e.branch_pool.weight"] * 1.01
    save_file(state, tmp_path / "tuned.safetensors")
    assert not weights.load(tmp_path / "tuned.safetensors", 768).published
    assert weights.load(tmp_path / "tuned.safetensors", 192).published


def test_random_weights_are_not_published(folder: Path) -> None:
    assert not any(weights.load(folder / "public.pth", tap).published for tap in (64, 2048))


def test_beyond_the_partial_file_s_end_layers_are_named(partial: Path) -> None:
    with pytest.raises(UserError, match=r"lacks Mixed_7a, Mixed_7b, Mixed_7c, fc, which tap 2048 needs; choose tap 64"):
        weights.load(partial, 2048)


def test_a_damaged_known_file_is_refused(partial: Path, tmp_path: Path) -> None:
    torn = bytearray(partial.read_bytes())
    torn[-1] ^= 1
    (tmp_path / partial.name).write_bytes(torn)
    with pytest.raises(UserError, match="is known to have 4c422c87173e02e8: it is damaged or another file"):
        weights.load(tmp_path / partial.name, 64)


def test_a_wrong_hash_is_refused(folder: Path, tmp_path: Path) -> None:
    path = folder / "folded.safetensors"
    right = hashlib.sha256(path.read_bytes()).hexdigest()
    assert weights.load(path, 64, right).sha256 == right
    with pytest.raises(UserError, match="the settings say 0000000000000000"):
        weights.load(path, 64, "0" * 64)
    promised = tmp_path / "net-6726825d.pth"
    promised.write_bytes((folder / "public.pth").read_bytes())
    with pytest.raises(UserError, match="its name says 6726825d"):
        weights.load(promised, 64)
    # Digits alone are a date.
    assert weights.load(promised.rename(tmp_path / "net-20151205.pth"), 64).state


def test_a_fetched_file_is_held_to_its_account(folder: Path, tmp_path: Path) -> None:
    path = tmp_path / "net.safetensors"
    path.write_bytes((folder / "folded.safetensors").read_bytes())
    write_json(path.with_suffix(".json"), {"sha256": "5" * 64})
    with pytest.raises(UserError, match=r"net\.json beside it says 5555555555555555: it is damaged"):
        weights.load(path, 64)


def test_other_networks_and_torn_files_are_refused(tmp_path: Path) -> None:
    state = random_state()
    cases: dict[str, tuple[Path, str]] = {
        "thousand classes": (
            changed(state, tmp_path / "a.pth", fc__weight=torch.zeros(1000, 2048)),
            r"fc.weight is \(1000, 2048\) where it has \(1008, 2048\)",
        ),
        "half a layer": (
            changed(state, tmp_path / "b.pth", Mixed_5b__branch1x1__bn__running_var=None),
            r"incomplete: Mixed_5b\.branch1x1\.bn\.running_var is missing",
        ),
        "no layer": (
            changed({n: t for n, t in state.items() if "Mixed_5c" not in n}, tmp_path / "c.pth"),
            r"lacks Mixed_5c, which tap 2048 needs; choose tap 64 or 192, or get the whole",
        ),
        "not finite": (
            changed(state, tmp_path / "d.pth", fc__bias=torch.full((1008,), torch.nan)),
            "fc.bias holds numbers that are not finite",
        ),
        "halves": (
            changed(state, tmp_path / "e.pth", fc__bias=torch.zeros(1008).half()),
            "fc.bias holds torch.float16",
        ),
        "another network": (changed({"layer1.weight": torch.zeros(1)}, tmp_path / "f.pth"), "it holds layer1.weight"),
    }
    for path, message in cases.values():
        with pytest.raises(UserError, match=message):
            weights.load(path, 2048)


class Evil:
    def __reduce__(self) -> tuple[Any, ...]:
        return os.system, ("touch pwned",)


def test_pickles_that_would_run_code_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    torch.save({"fc.bias": Evil()}, "evil.pth")
    Path("plain.pth").write_bytes(pickle.dumps(Evil(), protocol=2))
    Path("newer.pth").write_bytes(pickle.dumps(Evil(), protocol=5))
    for name in ("evil.pth", "plain.pth", "newer.pth"):
        with pytest.raises(UserError, match=r"was not loaded|cannot be read"):
            weights.read(Path(name))
    assert not Path("pwned").exists()


@pytest.mark.parametrize("content", [b"", b"<html>not found</html>", b"PK\x03\x04 torn", b"\x80\x02."])
@pytest.mark.parametrize("name", ["w.pth", "w.safetensors"])
def test_what_is_no_weights_file_is_refused(tmp_path: Path, name: str, content: bytes) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(UserError, match=r"cannot be read|was not loaded"):
        weights.read(tmp_path / name)


@pytest.mark.parametrize("found", [[1, 2], {"a": 1}, {}, torch.zeros(3)])
def test_what_is_no_state_dict_is_refused(tmp_path: Path, found: Any) -> None:
    torch.save(found, tmp_path / "w.pth")
    with pytest.raises(UserError, match="state dict"):
        weights.read(tmp_path / "w.pth")


def test_a_legacy_file_is_read(tmp_path: Path) -> None:
    state = {name: tensor for name, tensor in random_state().items() if name.startswith("Conv2d_1a")}
    torch.save(state, tmp_path / "old.pth", _use_new_zipfile_serialization=False)
    found, source = weights.read(tmp_path / "old.pth")
    assert source is None
    assert all(torch.equal(found[name], state[name]) for name in state)


def test_auto_is_the_cache_and_says_how_to_fill_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ZEROSUM_CACHE", str(tmp_path))
    with pytest.raises(UserError, match="`zerosum weights fetch inception` puts them there"):
        weights.resolve("auto")
    (tmp_path / weights.CACHED).touch()
    assert weights.resolve("auto") == tmp_path / weights.CACHED
    monkeypatch.delenv("ZEROSUM_CACHE")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "caches"))
    assert weights.files.cache_folder() == tmp_path / "caches" / "zerosum"
    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    assert weights.files.cache_folder() == tmp_path / "home" / ".cache" / "zerosum"
    with pytest.raises(UserError, match="there is no such file"):
        weights.resolve("nowhere.pth")
