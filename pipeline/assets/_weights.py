"""Files of weights as others publish them: read without running code, checked, and kept as safetensors.

*.pth, *.pt      a PyTorch state dict; read with weights_only
*.safetensors    tensors by name, with the sha256 of what they were converted from, where it was converted here
"""

from __future__ import annotations

import json
import pickle
import re
import warnings
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, cast

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from pipeline import limits, plugins
from pipeline.errors import BrokenArtefact, Damaged, UserError
from pipeline.storage import files, tensors, zips
from pipeline.storage.damage import parse_json, reading, why

PROVENANCE = "zerosum"
SHOWN = 80  # characters of a name that is not known
# A file's name may carry the first digits of its sha256, as torch's hub has it. (Digits alone are a date.)
HUB_NAME = re.compile(r"-(?=[0-9]*[a-f])([0-9a-f]{8,64})\.(?:pth|pt)$")


def place(name: str) -> Path:
    """Where the converted weights of an asset are kept."""
    return files.cache_folder() / plugins.class_of("assets", name).cached


def fetching(name: str) -> str:
    """The command that fetches an asset, as a message shows it."""
    return f"`zerosum weights fetch {name}`"


def tensors_of(path: Path) -> tuple[dict[str, Tensor], str | None]:
    """The tensors in `path` by name, and the sha256 that they were converted from where the file says it.

    Raises:
        UserError: if the file is too large, or cannot be read without running code.
    """
    check_size(path)
    return _safetensors(path) if path.suffix == ".safetensors" else (_torch(path), None)


def check_finite(path: Path, state: Mapping[str, Tensor], wanted: Mapping[str, tuple[int, ...]], network: str) -> None:
    """Refuse names and shapes that are not the network's, and numbers that are no finite float32.

    Raises:
        UserError: naming the first tensor that is wrong.
    """
    unknown = [name for name in state if name not in wanted]
    if unknown or not state:
        shown = ", ".join(name[:SHOWN] for name in unknown[:3]) or "nothing"
        raise UserError(f"{path} is not {network}: it holds {shown}{', …' if len(unknown) > 3 else ''}")
    for name, tensor in state.items():
        if tuple(tensor.shape) != wanted[name]:
            raise UserError(f"{path} is not {network}: {name} is {tuple(tensor.shape)} where it has {wanted[name]}")
        if tensor.dtype != torch.float32 or not bool(tensor.isfinite().all()):
            what = "numbers that are not finite" if tensor.dtype == torch.float32 else f"{tensor.dtype} numbers"
            raise UserError(f"{path}: {name} holds {what}; finite float32 ones are wanted")


def check_sha256(path: Path, found: str, expected: Iterable[tuple[str | None, str]], fetch: str) -> None:
    """Refuse a file that is not what the settings, its name or the account beside it say.

    expected: (digits, who says so) pairs beyond its name and its account. fetch: the command that gets it again.

    Raises:
        UserError: with both sums.
    """
    promised = HUB_NAME.search(path.name)
    for digits, who in (
        *expected,
        (promised.group(1) if promised else None, "its name says"),
        (account(path).get("sha256"), f"{path.with_suffix('.json').name} beside it says"),
    ):
        if digits is not None and not found.startswith(digits.lower()):
            raise UserError(
                f"{path} has sha256 {found[:16]}…, and {who} {digits[:16]}: it is damaged or another file; "
                f"{fetch} gets it again"
            )


def save(path: Path, state: Mapping[str, Tensor], source_sha256: str) -> str:
    """Write a state as safetensors, naming what it was converted from; returns the file's sha256."""
    from safetensors.torch import save_file

    # One key only: safetensors writes several in no fixed order.
    provenance = json.dumps({"source_sha256": source_sha256}, sort_keys=True)
    with files.replacing(path) as temporary:
        save_file({name: t.contiguous() for name, t in sorted(state.items())}, temporary, {PROVENANCE: provenance})
    return files.sha256_file(path)


def account(path: Path) -> dict[str, Any]:
    """What fetching wrote beside `path`: the source, and the sha256 of both; empty where there is no account."""
    try:
        found: object = files.read_json(path.with_suffix(".json"), "fetching")
    except BrokenArtefact:
        return {}
    return cast(dict[str, Any], found) if isinstance(found, dict) else {}


def check_size(path: Path) -> None:
    """Refuse a file that is larger than weights may be.

    Raises:
        UserError: if it is.
    """
    size = path.stat().st_size if path.is_file() else 0
    if size > limits.WEIGHTS_BYTES:
        raise UserError(f"{path} has {size} bytes, and {limits.WEIGHTS_BYTES} are read of a file of weights")


def _torch(path: Path) -> dict[str, Tensor]:
    """A .pth file's tensors; whatever else a pickle may hold is refused unread.

    Raises:
        UserError: if it holds anything but plain tensors by name, or cannot be read.
    """
    try:
        if zips.is_zip(path):
            # torch stores its members plain: a packed one would unpack to any size.
            told = sum(info.file_size for info in zips.members(path, zips.STORED))
            if told > path.stat().st_size:
                raise UserError(
                    f"{path} cannot be read as a PyTorch state dict (its members say that they hold {told} bytes, more "
                    "than the file has)"
                )
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
            state = {name: file.get_tensor(name) for name in sorted(file.keys())}
            return file.metadata() or {}, state
    except SafetensorError as error:
        raise Damaged(why(error)) from None
