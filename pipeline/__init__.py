"""zerosum: reproducible GAN training as a DAG. The library knows no argv, no fixed path, no DVC."""
