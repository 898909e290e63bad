"""zerosum: reproducible GAN training as a DAG. Only `cli`, `dag` and `watched` know argv, a project's paths and DVC."""

# First of all, so that Ray's processes find a project's own plug-ins before they unpickle anything.
from pipeline import own_plugins as own_plugins
