"""Every file of `assets/` keeps the room's contract: public weights come over HTTP, checked, as safetensors."""

from __future__ import annotations

import hashlib
import io
import pickle
import re
import threading
from collections.abc import Generator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from pipeline import plugins
from pipeline.cli import weights
from pipeline.contract.asset import Asset
from pipeline.errors import UserError

ASSETS = plugins.names("assets")


class Quiet(SimpleHTTPRequestHandler):
    def log_message(self, format: str, *args: object) -> None:
        pass


@pytest.fixture
def served(tmp_path: Path) -> Generator[tuple[Path, str]]:
    """A folder, and the address under which its files are had."""
    folder = tmp_path / "served"
    folder.mkdir()
    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=folder))
    thread = threading.Thread(target=server.serve_forever, args=(0.02,))
    thread.start()
    yield folder, f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    thread.join()
    server.server_close()


def asset(name: str) -> Asset:
    return plugins.load("assets", {"name": name})


def publish(path: Path, state: object) -> str:
    """Write what a publisher would; returns its sha256."""
    data = io.BytesIO()
    torch.save(state, data)
    path.write_bytes(data.getvalue())
    return hashlib.sha256(data.getvalue()).hexdigest()


@pytest.mark.parametrize("name", ASSETS)
def test_it_says_where_it_is_from_and_under_which_licence(name: str) -> None:
    found = asset(name)
    assert found.url.startswith("https://")
    assert found.page.startswith("https://")
    assert re.fullmatch(r"[0-9a-f]{8,64}", found.sha256)
    assert len(found.sha256) == 64 or found.sha256 in found.url, "digits that the publisher gives"
    assert found.licence
    assert found.cached.endswith(".safetensors")
    assert len({asset(each).cached for each in ASSETS}) == len(ASSETS)


@pytest.mark.slow  # whole sets of weights, over a socket
@pytest.mark.parametrize("name", ASSETS)
def test_public_weights_are_fetched_checked_and_kept(name: str, served: tuple[Path, str], tmp_path: Path) -> None:
    folder, url = served
    draw = torch.Generator().manual_seed(0)
    state = {key: torch.rand(shape, generator=draw) + 0.1 for key, shape in asset(name).shapes().items()}
    sha256 = publish(folder / "w.pth", state)
    fetched = weights.fetch(name, f"{url}/w.pth", tmp_path / "to", sha256)
    assert fetched.new
    found = load_file(fetched.path)
    assert found
    assert all(bool(tensor.isfinite().all()) for tensor in found.values())
    assert not weights.fetch(name, f"{url}/w.pth", tmp_path / "to", sha256).new
    with pytest.raises(UserError, match="another file"):
        weights.fetch(name, f"{url}/w.pth", tmp_path / "other", "0" * 64)
    first, shape = next(iter(asset(name).shapes().items()))
    torn = publish(folder / "x.pth", {**state, first: torch.zeros(shape).fill_(float("nan"))})
    with pytest.raises(UserError, match="not finite"):
        weights.fetch(name, f"{url}/x.pth", tmp_path / "to", torn)
    halved = publish(folder / "y.pth", {key: tensor for key, tensor in state.items() if key != first})
    with pytest.raises(UserError, match="incomplete"):
        weights.fetch(name, f"{url}/y.pth", tmp_path / "to", halved)


class Evil:
    def __reduce__(self) -> tuple[object, ...]:
        return Path.touch, (Path("ran"),)


@pytest.mark.parametrize("name", ASSETS)
def test_no_code_of_a_publisher_is_run(
    name: str, served: tuple[Path, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder, url = served
    monkeypatch.chdir(tmp_path)
    data = pickle.dumps({"features.0.weight": Evil()})
    (folder / "e.pth").write_bytes(data)
    with pytest.raises(UserError):
        weights.fetch(name, f"{url}/e.pth", tmp_path / "to", hashlib.sha256(data).hexdigest())
    assert not (tmp_path / "ran").exists()
