"""LPIPS from its two sets of public weights: a network's convolutions, and the linear heads."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from torch import Tensor, nn

from pipeline.assets import _vgg, _weights
from pipeline.errors import UserError
from pipeline.networks.architectures import alexnet
from pipeline.networks.architectures.lpips import TAPS, Lpips, head_shapes
from pipeline.storage import files


def assets(network: str) -> tuple[str, ...]:
    """The files of this room that LPIPS by this network needs."""
    return (network, f"lpips_{network}")


def kept(path: Path, wanted: Mapping[str, tuple[int, ...]], name: str, drop: str = "") -> dict[str, Tensor]:
    """The tensors of a public file, in order; those whose names begin with `drop` are left out.

    Raises:
        UserError: if it is no such file, or a layer is missing.
    """
    state, _ = _weights.tensors_of(path)
    found = {key: tensor for key, tensor in state.items() if not (drop and key.startswith(drop))}
    _weights.check_finite(path, found, wanted, name)
    missing = [key for key in wanted if key not in found]
    if missing:
        raise UserError(f"{path} is incomplete: {missing[0]} is missing")
    return {key: found[key] for key in wanted}


def heads(path: Path, network: str) -> dict[str, Tensor]:
    """The linear heads of a public file.

    Raises:
        UserError: if it is no such file, or a weight is negative.
    """
    found = kept(path, head_shapes(network), f"LPIPS's heads of {network}")
    negative = [key for key, tensor in found.items() if bool((tensor < 0).any())]
    if negative:
        raise UserError(f"{path}: {negative[0]} has negative weights, and a distance has none")
    return found


def load(network: str) -> Lpips:
    """LPIPS with the fetched weights, frozen.

    Raises:
        UserError: if they are not here, with the command that fetches them, or damaged.
    """
    if network == "vgg16":
        seeing: nn.Module = _vgg.load(16, TAPS[network])
    else:
        seeing = alexnet.AlexNet()
        seeing.load_state_dict(kept(_fetched(network), alexnet.shapes(), "AlexNet"))
    found = heads(_fetched(f"lpips_{network}"), network)
    return Lpips(network, seeing, list(found.values())).eval().requires_grad_(False)


def _fetched(name: str) -> Path:
    path = _weights.place(name)
    if not path.is_file():
        raise UserError(
            f"the weights of {name} are not in {path.parent} yet; {_weights.fetching(name)} puts them there"
        )
    _weights.check_sha256(path, files.sha256_file(path), (), _weights.fetching(name))
    return path
