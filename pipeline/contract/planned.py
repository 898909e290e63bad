"""The networks of a family as shapes alone, which take no memory."""

from __future__ import annotations

from collections.abc import Generator
from contextlib import contextmanager
from typing import Any

import torch
from torch import nn
from torch.nn.modules.module import register_module_parameter_registration_hook

from pipeline import limits
from pipeline.contract.family import AnyFamily
from pipeline.errors import UserError
from pipeline.types import DataSpec


def planned(family: AnyFamily, spec: DataSpec) -> dict[str, nn.Module]:
    """What `family.build` makes, on no device; the state of the random numbers stays.

    Raises:
        UserError: if its settings ask for more tensors than networks have, which would take minutes, or for tensors of
            more numbers than can be counted.
        RuntimeError: whatever else building raises,
        TypeError: likewise,
        OverflowError: likewise.
    """
    try:
        with torch.device("meta"), torch.random.fork_rng(devices=[]), _bounded():
            return dict(family.build(spec))
    except (RuntimeError, TypeError, OverflowError) as error:
        if "overflow" not in str(error).lower() and "too large" not in str(error):
            raise
        raise UserError(f"the settings of the family ask for networks that none can have: {error}"[:300]) from None


@contextmanager
def _bounded() -> Generator[None]:
    count = 0

    def counted(*_: Any) -> None:
        nonlocal count
        count += 1
        if count > limits.NETWORKS_TENSORS:
            raise UserError(
                f"the settings of the family ask for networks of more than {limits.NETWORKS_TENSORS} tensors"
            )

    handle = register_module_parameter_registration_hook(counted)
    try:
        yield
    finally:
        handle.remove()
