"""zerosum: reproducible GAN training as a DAG. The library knows no argv, no fixed path, no DVC."""

# First of all, so that Ray's processes find a project's own plug-ins before they unpickle anything.
from pipeline import own_plugins as own_plugins
