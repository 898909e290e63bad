"""Published networks as formulas over their own state dicts, and the names by which our weights become theirs.

The formulas are written from what each reference computes, under the names that its modules have: mimicry (a7fda06),
BigGAN-PyTorch (9845943) and PyTorch-StudioGAN (947b35e). All are in evaluation mode, but for spectral norm, which
iterates once from the stored u as in a training pass.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import partial

import torch
import torch.nn.functional as F
from torch import Tensor, nn


@dataclass(frozen=True)
class NameMap:
    """Modules of ours → the reference's, and the names of what they hold, of one module (`norm.weight`) or of all.

    row: u (n,) becomes (1, n).
    """

    modules: Mapping[str, str]
    leaves: Mapping[str, str]
    row: bool = False

    def carried(self, network: nn.Module) -> Weights:
        """The network's weights by the reference's names.

        Raises:
            KeyError: for a weight of ours that has no name there.
        """
        found: dict[str, Tensor] = {}
        for name, tensor in network.state_dict().items():
            module, _, leaf = name.rpartition(".")
            if leaf == "num_batches_tracked":
                continue
            value = tensor[None] if self.row and leaf == "u" else tensor
            found[".".join(filter(None, (self.modules[module], self.leaves.get(name) or self.leaves[leaf])))] = value
        return Weights(found)


class Weights(Mapping[str, Tensor]):
    """A state dict that knows which of its tensors were read."""

    def __init__(self, tensors: Mapping[str, Tensor]) -> None:
        self.tensors = tensors
        self.read: set[str] = set()

    def __getitem__(self, name: str) -> Tensor:
        found = self.tensors[name]
        self.read.add(name)
        return found

    def __contains__(self, name: object) -> bool:
        return name in self.tensors

    def __iter__(self) -> Iterator[str]:
        return iter(self.tensors)

    def __len__(self) -> int:
        return len(self.tensors)


def normalised(w: Weights, name: str, weight: str, u: str, eps: float) -> Tensor:
    """W/σ by one power iteration from u (Miyato et al. 2018, algorithm 1); W itself where the layer has no u."""
    value = w[f"{name}.{weight}"]
    if f"{name}.{u}" not in w:
        return value
    matrix, row = value.flatten(1), w[f"{name}.{u}"].view(1, -1)
    v = F.normalize(row @ matrix, eps=eps)
    return value / (F.normalize(v @ matrix.T, eps=eps) @ matrix @ v.T)


def applied(w: Weights, name: str, x: Tensor, weight: str, u: str, eps: float) -> Tensor:
    """The linear layer or same-padded convolution `name` at x; without a bias where it has none."""
    value, bias = normalised(w, name, weight, u, eps), w.get(f"{name}.bias")
    return F.linear(x, value, bias) if value.dim() == 2 else F.conv2d(x, value, bias, padding=value.shape[-1] // 2)


_mimicry_layer = partial(applied, weight="weight", u="sn_u", eps=1e-12)
_biggan_layer = partial(applied, weight="weight", u="u0", eps=1e-6)
_studio_layer = partial(applied, weight="weight_orig", u="weight_u", eps=1e-6)


# --- mimicry: SNGAN at 32 pixels ------------------------------------------------------------------

MIMICRY_LEAVES = {**{name: name for name in ("weight", "bias", "running_mean", "running_var")}, "u": "sn_u"}
MIMICRY_BLOCK = {"conv1": "c1", "conv2": "c2", "norm1": "b1", "norm2": "b2", "shortcut": "c_sc"}


def _blocks(parts: Mapping[str, str], count: int, first: int, named: str) -> dict[str, str]:
    return {
        f"layers.{number}.{ours}": f"{named.format(number + first)}.{theirs}"
        for number in range(count)
        for ours, theirs in parts.items()
    }


MIMICRY_GENERATOR = NameMap(
    {"linear": "l1", "norm": "b5", "output": "c5", **_blocks(MIMICRY_BLOCK, 3, 2, "block{}")}, MIMICRY_LEAVES
)
MIMICRY_DISCRIMINATOR = NameMap({"head": "l5", **_blocks(MIMICRY_BLOCK, 4, 1, "block{}")}, MIMICRY_LEAVES, row=True)


def _batch_norm(w: Weights, name: str, x: Tensor, eps: float) -> Tensor:
    kept = (w[f"{name}.{part}"] for part in ("running_mean", "running_var", "weight", "bias"))
    return F.batch_norm(x, *kept, eps=eps)


def mimicry_generator(w: Weights, z: Tensor) -> Tensor:
    """Noise (n, nz) → images (n, 3, 32, 32); doubling is bilinear."""

    def double(x: Tensor) -> Tensor:
        return F.interpolate(x, scale_factor=2, mode="bilinear", align_corners=False)

    x = _mimicry_layer(w, "l1", z).view(len(z), -1, 4, 4)
    for block in ("block2", "block3", "block4"):
        y = _mimicry_layer(w, f"{block}.c1", double(_batch_norm(w, f"{block}.b1", x, 1e-5).relu()))
        y = _mimicry_layer(w, f"{block}.c2", _batch_norm(w, f"{block}.b2", y, 1e-5).relu())
        x = y + _mimicry_layer(w, f"{block}.c_sc", double(x))
    return torch.tanh(_mimicry_layer(w, "c5", _batch_norm(w, "b5", x, 1e-5).relu()))


def mimicry_discriminator(w: Weights, x: Tensor) -> Tensor:
    """Images → logits (n, 1). The activation writes over its input, so that the shortcut sees relu(x) too."""
    y = _mimicry_layer(w, "block1.c2", _mimicry_layer(w, "block1.c1", x).relu())
    x = F.avg_pool2d(y, 2) + _mimicry_layer(w, "block1.c_sc", F.avg_pool2d(x, 2))
    for block in ("block2", "block3", "block4"):
        x = x.relu()
        y = _mimicry_layer(w, f"{block}.c2", _mimicry_layer(w, f"{block}.c1", x).relu())
        if block == "block2":
            x, y = F.avg_pool2d(_mimicry_layer(w, f"{block}.c_sc", x), 2), F.avg_pool2d(y, 2)
        x = x + y
    return _mimicry_layer(w, "l5", x.relu().sum((2, 3)))


# --- BigGAN-PyTorch: hierarchical noise, shared codes, attention -----------------------------------

BIGGAN_LEAVES = {"weight": "weight", "bias": "bias", "u": "u0", "gamma": "gamma"}
BIGGAN_LEAVES |= {"running_mean": "stored_mean", "running_var": "stored_var"}
BIGGAN_BLOCK = {"conv1": "conv1", "conv2": "conv2", "shortcut": "conv_sc"}
BIGGAN_NORMS = {
    f"norm{number}{ours}": f"bn{number}{theirs}"
    for number in (1, 2)
    for ours, theirs in ((".gain", ".gain"), (".bias", ".bias"), (".norm", ""))
}
ATTENTION = {name: name for name in ("theta", "phi", "g", "o")}


def attended(parts: Mapping[str, str], attention: Mapping[str, str], layers: str, own: str) -> dict[str, str]:
    """Names of a list of blocks: `layers` has a letter for each of ours, `b` a block and `a` attention behind it."""
    found: dict[str, str] = {}
    block = -1
    for number, kind in enumerate(layers):
        block += kind == "b"
        place = own.format(block=block, place=int(kind == "a"), number=number)
        inner = parts if kind == "b" else {**attention, "": ""}
        found |= {f"layers.{number}.{a}".rstrip("."): f"{place}.{b}".rstrip(".") for a, b in inner.items()}
    return found


BIGGAN_GENERATOR = NameMap(
    {
        "shared.table": "shared",
        "linear": "linear",
        "norm": "output_layer.0",
        "output": "output_layer.2",
        **attended({**BIGGAN_BLOCK, **BIGGAN_NORMS}, ATTENTION, "bab", "blocks.{block}.{place}"),
    },
    BIGGAN_LEAVES,
    row=True,
)
BIGGAN_DISCRIMINATOR = NameMap(
    {"head": "linear", "projection": "embed", **attended(BIGGAN_BLOCK, ATTENTION, "babb", "blocks.{block}.{place}")},
    BIGGAN_LEAVES,
    row=True,
)


def _biggan_attention(w: Weights, name: str, x: Tensor) -> Tensor:
    theta = _biggan_layer(w, f"{name}.theta", x).flatten(2)
    phi, g = (F.max_pool2d(_biggan_layer(w, f"{name}.{part}", x), 2).flatten(2) for part in ("phi", "g"))
    beta = torch.softmax(torch.bmm(theta.transpose(1, 2), phi), -1)
    seen = torch.bmm(g, beta.transpose(1, 2)).view(len(x), -1, *x.shape[2:])
    return w[f"{name}.gamma"] * _biggan_layer(w, f"{name}.o", seen) + x


def biggan_generator(w: Weights, z: Tensor, label: Tensor, chunk: int, base: tuple[int, int]) -> Tensor:
    """Two blocks, attention behind the first: z (n, 3·chunk), label (n,) → images."""

    def norm(name: str, x: Tensor, code: Tensor) -> Tensor:
        y = F.batch_norm(x, w[f"{name}.stored_mean"], w[f"{name}.stored_var"], eps=1e-5)
        gain, bias = (_biggan_layer(w, f"{name}.{part}", code)[:, :, None, None] for part in ("gain", "bias"))
        return y * (1 + gain) + bias

    first, *rest = z.split(chunk, 1)
    x = _biggan_layer(w, "linear", first).view(len(z), -1, *base)
    for number, piece in enumerate(rest):
        block, code = f"blocks.{number}.0", torch.cat([w["shared.weight"][label], piece], 1)
        y = F.interpolate(norm(f"{block}.bn1", x, code).relu(), scale_factor=2)
        y = _biggan_layer(w, f"{block}.conv1", y)
        y = _biggan_layer(w, f"{block}.conv2", norm(f"{block}.bn2", y, code).relu())
        x = y + _biggan_layer(w, f"{block}.conv_sc", F.interpolate(x, scale_factor=2))
        x = _biggan_attention(w, "blocks.0.1", x) if number == 0 else x
    kept = (w[f"output_layer.0.{part}"] for part in ("stored_mean", "stored_var", "weight", "bias"))
    return torch.tanh(_biggan_layer(w, "output_layer.2", F.batch_norm(x, *kept, eps=1e-5).relu()))


def biggan_discriminator(w: Weights, x: Tensor, label: Tensor) -> Tensor:
    """Three blocks, two of which halve, attention behind the first → logits (n, 1)."""
    for number in range(3):
        block = f"blocks.{number}.0"
        y = _biggan_layer(w, f"{block}.conv1", x.relu() if number else x)
        y = _biggan_layer(w, f"{block}.conv2", y.relu())
        if number == 0:
            x = _biggan_layer(w, f"{block}.conv_sc", F.avg_pool2d(x, 2))
        elif f"{block}.conv_sc.weight" in w:
            x = _biggan_layer(w, f"{block}.conv_sc", x)
            x = F.avg_pool2d(x, 2) if number == 1 else x
        x = x + (F.avg_pool2d(y, 2) if number < 2 else y)
        x = _biggan_attention(w, "blocks.0.1", x) if number == 0 else x
    features = x.relu().sum((2, 3))
    table = normalised(w, "embed", "weight", "u0", 1e-6)
    return _biggan_layer(w, "linear", features) + (table[label] * features).sum(1, keepdim=True)


# --- PyTorch-StudioGAN: SAGAN at 32 pixels ----------------------------------------------------------

STUDIO_LEAVES = {"weight": "weight_orig", "bias": "bias", "u": "weight_u", "gamma": "sigma", "norm.weight": "weight"}
STUDIO_LEAVES |= {name: name for name in ("running_mean", "running_var")}
STUDIO_BLOCK = {"conv1": "conv2d1", "conv2": "conv2d2", "shortcut": "conv2d0"}
STUDIO_NORMS = {
    f"norm{number}.{ours}": f"bn{number}.{theirs}"
    for number in (1, 2)
    for ours, theirs in (("gain", "gain"), ("bias", "bias"), ("norm", "bn"))
}
STUDIO_ATTENTION = {"theta": "conv1x1_theta", "phi": "conv1x1_phi", "g": "conv1x1_g", "o": "conv1x1_attn"}

STUDIO_GENERATOR = NameMap(
    {
        "linear": "linear0",
        "norm": "bn4",
        "output": "conv2d5",
        **attended({**STUDIO_BLOCK, **STUDIO_NORMS}, STUDIO_ATTENTION, "bbab", "blocks.{number}.0"),
    },
    STUDIO_LEAVES,
)
STUDIO_DISCRIMINATOR = NameMap(
    {
        "head": "linear1",
        "projection": "embedding",
        **attended(STUDIO_BLOCK, STUDIO_ATTENTION, "babbb", "blocks.{number}.0"),
    },
    STUDIO_LEAVES,
)


def _studio_attention(w: Weights, name: str, x: Tensor) -> Tensor:
    theta = _studio_layer(w, f"{name}.conv1x1_theta", x).flatten(2)
    phi, g = (F.max_pool2d(_studio_layer(w, f"{name}.conv1x1_{part}", x), 2).flatten(2) for part in ("phi", "g"))
    weights = torch.softmax(theta.transpose(1, 2) @ phi, -1)
    seen = (g @ weights.transpose(1, 2)).view(len(x), -1, *x.shape[2:])
    return x + w[f"{name}.sigma"] * _studio_layer(w, f"{name}.conv1x1_attn", seen)


def studio_generator(w: Weights, z: Tensor, label: Tensor, classes: int) -> Tensor:
    """Noise (n, z) and label (n,) → images (n, 3, 32, 32): norms read one-hot labels, attention stands third."""
    code = F.one_hot(label, classes).float()

    def norm(name: str, x: Tensor) -> Tensor:
        y = F.batch_norm(x, w[f"{name}.bn.running_mean"], w[f"{name}.bn.running_var"], eps=1e-4)
        gain, bias = (_studio_layer(w, f"{name}.{part}", code)[:, :, None, None] for part in ("gain", "bias"))
        return y * (1 + gain) + bias

    x = _studio_layer(w, "linear0", z).view(len(z), -1, 4, 4)
    for number in range(4):
        block = f"blocks.{number}.0"
        if number == 2:
            x = _studio_attention(w, block, x)
            continue
        y = _studio_layer(w, f"{block}.conv2d1", F.interpolate(norm(f"{block}.bn1", x).relu(), scale_factor=2))
        y = _studio_layer(w, f"{block}.conv2d2", norm(f"{block}.bn2", y).relu())
        x = y + _studio_layer(w, f"{block}.conv2d0", F.interpolate(x, scale_factor=2))
    return torch.tanh(_studio_layer(w, "conv2d5", _batch_norm(w, "bn4", x, 1e-4).relu()))


def studio_discriminator(w: Weights, x: Tensor, label: Tensor) -> Tensor:
    """Images and labels → logits (n,). The activation writes over its input, so that shortcuts see relu(x)."""
    y = _studio_layer(w, "blocks.0.0.conv2d2", _studio_layer(w, "blocks.0.0.conv2d1", x).relu())
    x = F.avg_pool2d(y, 2) + _studio_layer(w, "blocks.0.0.conv2d0", F.avg_pool2d(x, 2))
    x = _studio_attention(w, "blocks.1.0", x)
    for number in (2, 3, 4):
        block, x = f"blocks.{number}.0", x.relu()
        y = _studio_layer(w, f"{block}.conv2d2", _studio_layer(w, f"{block}.conv2d1", x).relu())
        if number == 2:
            x, y = F.avg_pool2d(_studio_layer(w, f"{block}.conv2d0", x), 2), F.avg_pool2d(y, 2)
        x = x + y
    features = x.relu().sum((2, 3))
    table = normalised(w, "embedding", "weight_orig", "weight_u", 1e-6)
    return _studio_layer(w, "linear1", features).flatten() + (table[label] * features).sum(1)
