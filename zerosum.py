"""Reproducible GAN training: `import zerosum as zs`. Everything here is described in docs/api.md."""

from pipeline.api import *  # noqa: F403 - the public names, which `__all__` lists
from pipeline.api import __all__ as __all__
