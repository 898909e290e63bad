"""Beyond these machines, part 2: rates that no command of this project has measured, each with where it is from.

Published: by whom. Assumed: a number that was chosen; docs/scale.md shows what another choice changes.
"""

from __future__ import annotations

from dataclasses import dataclass

GIGA, TERA = 1e9, 1e12
DAY, HOUR = 86_400.0, 3_600.0


@dataclass(frozen=True, slots=True)
class Machine:
    """A node of `gpus` GPUs; rates are nominal, a second.

    convolution, matrix: floating-point operations of a GPU on float32 tensors, as PyTorch computes them by
    default: convolutions in TF32 where there is any, matrix products not. memory: bytes of a GPU's memory.
    near: bytes over NVLink, each way, of a GPU. far: bytes over the network, each way, of the node. host:
    bytes from the node's memory to a GPU's. near_share, far_share: of the nominal that collectives reach.
    """

    name: str
    gpus: int
    convolution: float
    matrix: float
    memory: float
    near: float
    far: float
    host: float
    near_share: float
    far_share: float


# Peaks and NVLink: NVIDIA's data sheets, without sparsity. Networks: AWS's pages of p3dn.24xlarge (100 Gb/s a node),
# p4d.24xlarge (400 Gb/s) and p5.48xlarge (3,200 Gb/s). Shares: NVIDIA/nccl, issue 527: nccl-tests' all-reduce of
# 1 GiB has a bus bandwidth of 230.8 GB/s on one p4d and 29.6 GB/s on four; the others are assumed to do as well.
_SHARES = (230.8 / 300, 29.6 / 50)
V100 = Machine("8×V100", 8, 15.7 * TERA, 15.7 * TERA, 0.9 * TERA, 150 * GIGA, 12.5 * GIGA, 12 * GIGA, *_SHARES)
A100 = Machine("8×A100", 8, 156 * TERA, 19.5 * TERA, 1.555 * TERA, 300 * GIGA, 50 * GIGA, 24 * GIGA, *_SHARES)
H100 = Machine("8×H100", 8, 494 * TERA, 67 * TERA, 3.35 * TERA, 450 * GIGA, 400 * GIGA, 50 * GIGA, *_SHARES)


@dataclass(frozen=True, slots=True)
class Published:
    """Somebody's training speed: milliseconds of one of `gpus` GPUs for one example, at `lane` examples a GPU."""

    what: str
    by: str
    family: str
    preset: str
    lane: int
    machine: Machine
    milliseconds: float


_CONFIGS = "NVlabs/stylegan3, docs/configs.md"
PUBLISHED = (
    Published(
        "BigGAN-128, 8 V100, float32: 15 days for 150,000 steps of 2,048",
        "ajbrock/BigGAN-PyTorch, README",
        "biggan",
        "imagenet128",
        32,
        V100,
        1e3 * 8 * 15 * DAY / (150_000 * 2_048),
    ),
    Published(
        "StyleGAN2 256 px, half width, 8 A100, partly float16: 2.19 s for 1,000",
        _CONFIGS,
        "stylegan2",
        "paper256",
        8,
        A100,
        8 * 2.19,
    ),
    Published(
        "StyleGAN2 256 px, half width, ADA, 1 A100, partly float16: 12.53 s for 1,000",
        _CONFIGS,
        "stylegan2",
        "auto256",
        16,
        A100,
        12.53,
    ),
    Published(
        "StyleGAN2 512 px, full width, ADA, 8 A100, partly float16: 5.28 s for 1,000",
        _CONFIGS,
        "stylegan2",
        "config_f512",
        8,
        A100,
        8 * 5.28,
    ),
)


@dataclass(frozen=True, slots=True)
class Assumed:
    """Chosen numbers.

    share: of its roofline that a phase reaches. launch: seconds of the CPU for one operator of eager PyTorch.
    near_wait, far_wait: seconds before the first byte of a message. spread: standard deviation of the
    logarithm of a rank's time for a turn. fetch: bytes a second that a node gets from storage. storage: the
    same for all nodes together. mtbf: seconds between failures of one node. detection: seconds from a failure
    until all workers run again, before they read anything. checkpoint: seconds between checkpoints. tick:
    steps between ticks. decoders: processes of a node that decode its cache.
    """

    share: float = 0.5
    launch: float = 10e-6
    near_wait: float = 5e-6
    far_wait: float = 20e-6
    spread: float = 0.03
    fetch: float = 1 * GIGA
    storage: float = float("inf")
    mtbf: float = 54 * DAY * (16_384 / 8) / 419
    detection: float = 90.0
    checkpoint: float = 600.0
    tick: int = 100
    decoders: int = 1
