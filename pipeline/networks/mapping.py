"""Mappings from noise and label to the intermediate latent w of the style-based generators."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from pipeline.networks.equalised import HE_GAIN, EqualisedLinear, leaky, leaky_unit, pixel_norm
from pipeline.networks.layers import one_hot


def class_weights(label: Tensor, classes: int) -> Tensor:
    """Labels (n,) as one-hot (n, classes); floats of that shape, which mix classes, as they are."""
    return label if label.is_floating_point() else one_hot(label, classes)


class TrackedMean(nn.Module):
    """The moving mean of w, `w_avg` (width,), towards which truncation draws.

    `track` moves the buffer in training mode alone. A buffer that a forward moves is put back
    before each lane and averaged over the lanes, so that the step's move is that of the global batch.
    """

    def __init__(self, width: int, beta: float = 0.995) -> None:
        super().__init__()
        self.beta = beta
        self.w_avg: Tensor
        self.register_buffer("w_avg", torch.zeros(width))

    @torch.no_grad()
    def track(self, w: Tensor) -> None:
        """w_avg ← β·w_avg + (1 − β)·mean of w (n, width)."""
        if self.training:
            # Without touching its version: a graph that is kept for another phase may have read it.
            self.w_avg.data.copy_(w.detach().mean(dim=0).lerp(self.w_avg, self.beta))

    def truncate(self, w: Tensor, psi: float) -> Tensor:
        """w_avg + ψ·(w − w_avg): Karras et al. 2019, appendix B."""
        return w if psi == 1 else self.w_avg.lerp(w, psi)


class Mapping(nn.Module):
    """StyleGAN2's: z (n, latent) and label (n,) → w (n, width).

    z and the label's embedding are each normalised to second moment 1, joined, and pass `layers`
    dense layers of learning rate `rate`. With latent 0 the label alone is mapped (the critic's).
    """

    def __init__(self, latent: int, classes: int, width: int, layers: int = 8, rate: float = 0.01) -> None:
        super().__init__()
        self.latent = latent
        self.classes = classes
        self.embed = EqualisedLinear(classes, width) if classes else None
        inputs = latent + (width if classes else 0)
        self.layers = nn.ModuleList(
            EqualisedLinear(width if index else inputs, width, rate=rate) for index in range(layers)
        )

    def forward(self, z: Tensor | None, label: Tensor | None = None) -> Tensor:
        parts = [] if z is None else [pixel_norm(z)]
        if self.embed is not None:
            if label is None:
                raise ValueError("a conditional mapping needs labels")
            parts.append(pixel_norm(self.embed(class_weights(label, self.classes))))
        x = torch.cat(parts, dim=1)
        for layer in self.layers:
            x = leaky_unit(layer(x))
        return x


class JoinedMapping(nn.Module):
    """StyleGAN's: z ⊕ row of a label matrix, pixel norm over both, dense layers: → w (n, width).

    The label matrix (classes, latent) starts as N(0, 1) and is not equalised.
    """

    def __init__(self, latent: int, classes: int, width: int, layers: int = 8, rate: float = 0.01) -> None:
        super().__init__()
        self.latent = latent
        self.classes = classes
        self.labels = nn.Parameter(torch.randn(classes, latent)) if classes else None
        inputs = 2 * latent if classes else latent
        self.layers = nn.ModuleList(
            EqualisedLinear(width if index else inputs, width, gain=HE_GAIN, rate=rate) for index in range(layers)
        )

    def forward(self, z: Tensor, label: Tensor | None = None) -> Tensor:
        if self.labels is not None:
            if label is None:
                raise ValueError("a conditional mapping needs labels")
            z = torch.cat([z, class_weights(label, self.classes) @ self.labels], dim=1)
        x = pixel_norm(z)
        for layer in self.layers:
            x = leaky(layer(x))
        return x
