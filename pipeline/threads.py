"""How many threads compute: the last bits of sums depend on the number, so it is fixed where bytes must repeat."""

from __future__ import annotations

from collections.abc import Generator
from contextlib import AbstractContextManager, contextmanager
from typing import Any

import torch


@contextmanager
def fixed_threads(count: int) -> Generator[None, None, None]:
    """Torch at `count` threads inside, as before outside."""
    before = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def one_blas_thread() -> AbstractContextManager[Any]:
    """NumPy's linear algebra on one thread inside: Ray changes the number of threads in its workers."""
    from threadpoolctl import threadpool_limits

    return threadpool_limits(limits=1, user_api="blas")
