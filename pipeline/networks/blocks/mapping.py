"""The intermediate latent w of the style-based generators: its mean, and the generator that maps and synthesises."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from pipeline.networks.layers.noise import Noise


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


class StyleGenerator(nn.Module):
    """Noise (n, latent) and label (n,) → (n, C, H, W), unbounded; `mapping` and `synthesis` apart.

    Parameters stand in the reference's order: synthesis by resolution, then mapping.
    """

    def __init__(self, synthesis: nn.Module, mapping: nn.Module, layers: int, latent: int) -> None:
        super().__init__()
        self.synthesis = synthesis
        self.mapping = mapping
        self.mean = TrackedMean(latent)
        self.layers = layers

    def styles(self, z: Tensor, label: Tensor | None = None, psi: float = 1.0, cutoff: int | None = None) -> Tensor:
        """ws (n, layers, latent); the first `cutoff` layers (all) truncated by ψ."""
        w = self.mapping(z, label)
        ws = w[:, None].expand(-1, self.layers, -1)
        if psi == 1:
            return ws
        kept = self.layers if cutoff is None else cutoff
        return torch.cat([self.mean.truncate(ws[:, :kept], psi), ws[:, kept:]], dim=1)

    def forward(self, z: Tensor, label: Tensor | None = None, psi: float = 1.0, noise: Noise = "const") -> Tensor:
        return self.synthesis(self.styles(z, label, psi), noise=noise)
