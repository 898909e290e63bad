"""What the two VGG networks share: which tensors of a public file are kept, and how they are loaded."""

from __future__ import annotations

from pathlib import Path

from torch import Tensor

from pipeline.assets import _weights
from pipeline.errors import UserError
from pipeline.networks.architectures.vgg import Depth, Vgg, shapes
from pipeline.storage import files


def converted(path: Path, depth: Depth) -> dict[str, Tensor]:
    """The convolutions of a public file, whose classifier (nine tenths of the bytes) is dropped.

    Raises:
        UserError: if it is no such file, or a layer is missing.
    """
    state, _ = _weights.tensors_of(path)
    kept = {name: tensor for name, tensor in state.items() if not name.startswith("classifier.")}
    wanted = shapes(depth)
    _weights.check_finite(path, kept, wanted, f"VGG{depth}")
    missing = [name for name in wanted if name not in kept]
    if missing:
        raise UserError(f"{path} is incomplete: {missing[0]} is missing")
    return {name: kept[name] for name in wanted}


def load(depth: Depth, taps: tuple[str, ...]) -> Vgg:
    """The network with the fetched weights, frozen, in evaluation mode.

    Raises:
        UserError: if they are not here, with the command that fetches them, or damaged.
    """
    name = f"vgg{depth}"
    path = _weights.place(name)
    if not path.is_file():
        raise UserError(
            f"the weights of {name} are not in {path.parent} yet; {_weights.fetching(name)} puts them there"
        )
    _weights.check_sha256(path, files.sha256_file(path), (), _weights.fetching(name))
    network = Vgg(depth, taps)
    network.load_state_dict(converted(path, depth))
    return network.eval().requires_grad_(False)
