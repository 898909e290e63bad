"""The Inception network of the published FID: its weights, and how the published ones are recognised.

The public state dict has BatchNorm under torchvision's names; as safetensors, BatchNorm may be folded into weight and
bias, and the file may end at a tap.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from pipeline.assets import _weights
from pipeline.contract import asset as contract
from pipeline.errors import UserError
from pipeline.networks.architectures.inception import LAYERS, TAPS, Tap, fold, shapes
from pipeline.settings import Settings, home
from pipeline.storage import files

CACHED = "inception-2015-12-05.safetensors"
FETCH = "`zerosum weights fetch inception`"

# Files of these names are these bytes.
KNOWN = {
    "inception-2015-12-05-to-Mixed_6e.safetensors": "4c422c87173e02e86124d32c1984ce2e8743234ea00ffe4d30dfe6539d2a3d93"
}

# What the published network's folded layers give in `_fingerprint`, by the tap that they lead to.
PUBLISHED: dict[Tap, tuple[float, float]] = {
    64: (6.613335177910692, 38.403981863029124),
    192: (-15.35664636205739, 39.949416403229556),
    768: (-110.41769347609325, 175.68744128414892),
}
LIKE_PUBLISHED = 1e-5


class Config(Settings):
    """Nothing to set."""


class Asset(contract.Asset):
    """pytorch-fid's conversion of the TensorFlow network of 2015-12-05 (Szegedy et al. 2015; Heusel et al. 2017)."""

    url = "https://github.com/mseitzer/pytorch-fid/releases/download/fid_weights/pt_inception-2015-12-05-6726825d.pth"
    sha256 = "6726825d0af5f729cebd5821db510b11b1cfad8faad88a03f1befd49fb9129b2"
    cached = CACHED
    licence = "Apache-2.0"
    page = "https://github.com/mseitzer/pytorch-fid"

    def shapes(self) -> dict[str, tuple[int, ...]]:
        return shapes(folded=False)

    def converted(self, path: Path) -> dict[str, Tensor]:
        return folded(path, read(path)[0])


@dataclass(frozen=True)
class Weights:
    """A file's tensors, folded, and what is known of them.

    published: whether they are, as far as the asked tap, the network of the published scores.
    """

    state: dict[str, Tensor]
    sha256: str
    published: bool


def place(weights: str) -> Path:
    """Where the file is to be that `weights` stands for."""
    return files.cache_folder() / CACHED if weights == "auto" else Path(home(weights))


def resolve(weights: str) -> Path:
    """`auto`: the fetched file; else the path itself.

    Raises:
        UserError: if it isn't there, with the command that fetches it.
    """
    path = place(weights)
    if path.is_file():
        return path
    if weights == "auto":
        raise UserError(f"the Inception network's weights are not in {path.parent} yet; {FETCH} puts them there")
    raise UserError(f"weights '{weights}': there is no such file (paths are relative to {Path.cwd()})")


def load(path: Path, tap: Tap, sha256: str | None = None) -> Weights:
    """The folded state that `Inception(tap)` loads.

    sha256: what the file must be; None asks for nothing beyond what its name promises.

    Raises:
        UserError: for another sha256, a file of another kind or network, or layers that are missing.
    """
    _weights.check_size(path)
    found_sha256 = files.sha256_file(path)
    expected = ((sha256, "the settings say"), (KNOWN.get(path.name), "the file of this name is known to have"))
    _weights.check_sha256(path, found_sha256, expected, FETCH)
    state, source_sha256 = read(path)
    state = folded(path, state, tap)
    return Weights(state, found_sha256, _published(state, tap, {source_sha256, found_sha256}))


def folded(path: Path, state: Mapping[str, Tensor], tap: Tap = 2048) -> dict[str, Tensor]:
    """What `read` found in `path`, BatchNorm folded, as far as `tap` and no further.

    Raises:
        UserError: if it ends before.
    """
    whole = fold(state) if _has_batch_norm(state) else dict(state)
    wanted = shapes(tap)
    missing = [name for name in wanted if name not in whole]
    if missing:
        raise UserError(_ends_early(path, tap, missing))
    return {name: whole[name] for name in wanted}


def read(path: Path) -> tuple[dict[str, Tensor], str | None]:
    """The state in `path` as it stands, names, shapes and numbers checked; and the sha256 it was converted from.

    Layers may be missing, but not halves of them.

    Raises:
        UserError: if the file cannot be read without running code, or holds another network.
    """
    state, source = _weights.tensors_of(path)
    # Counters of BatchNorm and the auxiliary head of training: no part of what is computed.
    kept = {
        name: t for name, t in state.items() if not name.endswith("num_batches_tracked") and "AuxLogits." not in name
    }
    _check(path, kept)
    return kept, source


def _check(path: Path, state: Mapping[str, Tensor]) -> None:
    """Names and shapes of one form of the network, finite float32 numbers, no layer by halves.

    Raises:
        UserError: naming what is missing or wrong.
    """
    wanted = shapes(folded=not _has_batch_norm(state))
    _weights.check_finite(path, state, wanted, "the FID Inception network")
    owners = {name: name.rpartition(".")[0].removesuffix(".bn").removesuffix(".conv") for name in wanted}
    begun = {owners[name] for name in state}
    torn = [name for name in wanted if owners[name] in begun and name not in state]
    if torn:
        raise UserError(f"{path} is incomplete: {torn[0]} is missing, though the rest of its layer is there")


def _has_batch_norm(state: Mapping[str, Tensor]) -> bool:
    return any(".bn." in name or ".conv." in name for name in state)


def _ends_early(path: Path, tap: Tap, missing: list[str]) -> str:
    layers = list(dict.fromkeys(name.split(".")[0] for name in missing))
    has = [lower for lower in TAPS if not set(layers) & {name for t in TAPS if t <= lower for name in LAYERS[t]}]
    advice = f"choose tap {' or '.join(map(str, has))}, or " if has else ""
    shown = ", ".join(layers[:4]) + (", …" if len(layers) > 4 else "")
    return f"{path} lacks {shown}, which tap {tap} needs; {advice}get the whole network: {FETCH}"


def _published(state: Mapping[str, Tensor], tap: Tap, sources: set[str | None]) -> bool:
    """By its numbers as far as tap 768; beyond, by the public file's sha256 too."""
    for part, (projection, norm) in PUBLISHED.items():
        if part <= tap:
            found = _fingerprint(state, part)
            if max(abs(found[0] - projection), abs(found[1] - norm)) > LIKE_PUBLISHED * norm:
                return False
    return tap <= 768 or Asset.sha256 in sources


def _fingerprint(state: Mapping[str, Tensor], part: Tap) -> tuple[float, float]:
    """The layers that `part` adds, as one vector: its product with sin(1), sin(2), … and its length.

    Two foldings of the same network agree to rounding; any other weights do not.
    """
    names = sorted(name for name in state if name.split(".")[0] in LAYERS[part])
    whole = torch.cat([state[name].double().flatten() for name in names])
    wave = torch.sin(torch.arange(1, len(whole) + 1, dtype=torch.float64))
    return float((whole * wave).sum()), float(whole.norm())
