"""The Inception network's weights from a file: which forms are read, what is checked, which are the published ones.

*.pth, *.pt      the public state dict, BatchNorm under torchvision's names; read with weights_only
*.safetensors    the same, or with BatchNorm folded into weight and bias; it may end at a tap
"""

from __future__ import annotations

import json
import pickle
import re
import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from pipeline import limits
from pipeline.errors import BrokenArtefact, Damaged, UserError
from pipeline.networks.inception import LAYERS, TAPS, Tap, fold, shapes
from pipeline.settings import home
from pipeline.storage import files, tensors, zips
from pipeline.storage.damage import parse_json, reading, why

PUBLIC_URL = (
    "https://github.com/mseitzer/pytorch-fid/releases/download/fid_weights/pt_inception-2015-12-05-6726825d.pth"
)
PUBLIC_SHA256 = "6726825d0af5f729cebd5821db510b11b1cfad8faad88a03f1befd49fb9129b2"
CACHED = "inception-2015-12-05.safetensors"
PROVENANCE = "zerosum"
FETCH = "`zerosum weights fetch inception`"

# Files of these names are these bytes; others may carry the first digits of theirs, as torch's hub has it.
KNOWN = {
    "inception-2015-12-05-to-Mixed_6e.safetensors": "4c422c87173e02e86124d32c1984ce2e8743234ea00ffe4d30dfe6539d2a3d93"
}
# (Digits alone are a date.)
HUB_NAME = re.compile(r"-(?=[0-9]*[a-f])([0-9a-f]{8,64})\.(?:pth|pt)$")

# What the published network's folded layers give in `_fingerprint`, by the tap that they lead to.
PUBLISHED: dict[Tap, tuple[float, float]] = {
    64: (6.613335177910692, 38.403981863029124),
    192: (-15.35664636205739, 39.949416403229556),
    768: (-110.41769347609325, 175.68744128414892),
}
LIKE_PUBLISHED = 1e-5
SHOWN = 80  # characters of a name that is not known


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
    _check_size(path)
    found_sha256 = files.sha256_file(path)
    _check_sha256(path, found_sha256, sha256)
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
    _check_size(path)
    state, source = _safetensors(path) if path.suffix == ".safetensors" else (_torch(path), None)
    # Counters of BatchNorm and the auxiliary head of training: no part of what is computed.
    kept = {
        name: t for name, t in state.items() if not name.endswith("num_batches_tracked") and "AuxLogits." not in name
    }
    _check(path, kept)
    return kept, source


def save(path: Path, state: Mapping[str, Tensor], source_sha256: str) -> str:
    """Write a folded state as safetensors, naming what it was converted from; returns the file's sha256."""
    from safetensors.torch import save_file

    # One key only: safetensors writes several in no fixed order.
    provenance = json.dumps({"source_sha256": source_sha256}, sort_keys=True)
    with files.replacing(path) as temporary:
        save_file({name: t.contiguous() for name, t in sorted(state.items())}, temporary, {PROVENANCE: provenance})
    return files.sha256_file(path)


def _check_sha256(path: Path, found: str, wanted: str | None) -> None:
    promised = HUB_NAME.search(path.name)
    for expected, who in (
        (wanted, "the settings say"),
        (KNOWN.get(path.name), "the file of this name is known to have"),
        (promised.group(1) if promised else None, "its name says"),
        (account(path).get("sha256"), f"{path.with_suffix('.json').name} beside it says"),
    ):
        if expected is not None and not found.startswith(expected.lower()):
            raise UserError(
                f"{path} has sha256 {found[:16]}…, and {who} {expected[:16]}: it is damaged or another file; "
                f"{FETCH} gets it again"
            )


def account(path: Path) -> dict[str, Any]:
    """What fetching wrote beside `path`: the source, and the sha256 of both; empty where there is no account."""
    try:
        found: object = files.read_json(path.with_suffix(".json"), "fetching")
    except BrokenArtefact:
        return {}
    return cast(dict[str, Any], found) if isinstance(found, dict) else {}


def _torch(path: Path) -> dict[str, Tensor]:
    """A .pth file's tensors; whatever else a pickle may hold is refused unread."""
    try:
        if zips.is_zip(path):
            # torch stores its members plain: a packed one would unpack to any size.
            told = sum(info.file_size for info in zips.members(path, zips.STORED))
            if told > path.stat().st_size:
                raise Damaged(f"its members say that they hold {told} bytes, more than the file has")
        with reading(), warnings.catch_warnings():
            # Of pickles by other writers: they are read, or refused, all the same.
            warnings.simplefilter("ignore")
            found = _loaded(path)
    except Damaged as error:
        raise UserError(f"{path} cannot be read as a PyTorch state dict ({error})") from None
    if not isinstance(found, Mapping):
        raise UserError(f"{path} holds a {type(found).__name__}, not a state dict")
    state = cast(Mapping[object, object], found)
    result = {name: tensor for name, tensor in state.items() if isinstance(name, str) and isinstance(tensor, Tensor)}
    if len(result) != len(state) or not result:
        raise UserError(f"{path} holds something else than named tensors: it is no state dict")
    odd = [name for name, tensor in result.items() if not _is_plain(tensor)]
    if odd:
        raise UserError(f"{path}: {odd[0][:SHOWN]} is no plain tensor (but sparse, nested, or without numbers)")
    return result


def _is_plain(tensor: Tensor) -> bool:
    """Whether its numbers lie in memory, and can be looked at."""
    return tensor.layout is torch.strided and tensor.device.type == "cpu" and not tensor.is_nested


def _loaded(path: Path) -> object:
    try:
        return torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        raise UserError(f"{path} is no plain state dict and was not loaded ({why(error)})") from None


def _check_size(path: Path) -> None:
    size = path.stat().st_size if path.is_file() else 0
    if size > limits.WEIGHTS_BYTES:
        raise UserError(f"{path} has {size} bytes, and {limits.WEIGHTS_BYTES} are read of a file of weights")


def _safetensors(path: Path) -> tuple[dict[str, Tensor], str | None]:
    try:
        tensors.check(path)
        with reading():
            metadata, state = _opened(path)
        provenance: object = parse_json(metadata.get(PROVENANCE, "{}"))
    except Damaged as error:
        raise UserError(f"{path} cannot be read as safetensors ({error})") from None
    source = cast(dict[str, object], provenance).get("source_sha256") if isinstance(provenance, dict) else None
    return state, source if isinstance(source, str) else None


def _opened(path: Path) -> tuple[dict[str, str], dict[str, Tensor]]:
    try:
        with safe_open(path, framework="pt") as file:
            state = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 (it is no mapping)
            return file.metadata() or {}, state
    except SafetensorError as error:
        raise Damaged(why(error)) from None


def _check(path: Path, state: Mapping[str, Tensor]) -> None:
    """Names and shapes of one form of the network, finite float32 numbers, no layer by halves."""
    wanted = shapes(folded=not _has_batch_norm(state))
    unknown = [name for name in state if name not in wanted]
    if unknown or not state:
        shown = ", ".join(name[:SHOWN] for name in unknown[:3]) or "nothing"
        raise UserError(f"{path} is not the FID Inception network: it holds {shown}{', …' if len(unknown) > 3 else ''}")
    for name, tensor in state.items():
        if tuple(tensor.shape) != wanted[name]:
            raise UserError(
                f"{path} is not the FID Inception network: {name} is {tuple(tensor.shape)} where it has {wanted[name]}"
            )
        if tensor.dtype != torch.float32 or not bool(tensor.isfinite().all()):
            what = "numbers that are not finite" if tensor.dtype == torch.float32 else f"{tensor.dtype} numbers"
            raise UserError(f"{path}: {name} holds {what}; finite float32 ones are wanted")
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
    return tap <= 768 or PUBLIC_SHA256 in sources


def _fingerprint(state: Mapping[str, Tensor], part: Tap) -> tuple[float, float]:
    """The layers that `part` adds, as one vector: its product with sin(1), sin(2), … and its length.

    Two foldings of the same network agree to rounding; any other weights do not.
    """
    names = sorted(name for name in state if name.split(".")[0] in LAYERS[part])
    whole = torch.cat([state[name].double().flatten() for name in names])
    wave = torch.sin(torch.arange(1, len(whole) + 1, dtype=torch.float64))
    return float((whole * wave).sum()), float(whole.norm())
