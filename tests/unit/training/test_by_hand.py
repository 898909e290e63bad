"""The loop against the one a person would write: same seeds, equal numbers."""

from __future__ import annotations

import copy
from pathlib import Path

import torch
import torch.nn.functional as F
from games import IMAGES, Data, dcgan, initial, train

from pipeline import randomness


def test_a_training_by_hand(tmp_path: Path) -> None:
    """A conditional DCGAN: one forward of G a step, R1 on every second, the EMA of G.

    Without biases before BatchNorm: their gradient is rounding, which Adam would blow up.
    """
    torch.set_num_threads(1)
    rate, half_life, gamma, every = 1e-3, 100.0, 1.0, 2
    networks = initial(dcgan(bias=False), IMAGES)
    g, d = networks["generator"].train(), networks["discriminator"].train()
    average = copy.deepcopy(g)
    share = every / (every + 1)  # StyleGAN2's correction for D, which has two turns in every second step
    g_adam = torch.optim.Adam(g.parameters(), rate, (0.0, 0.99))
    d_adam = torch.optim.Adam(d.parameters(), rate * share, (0.0, 0.99**share))
    data, losses = Data(IMAGES), []
    for step in range(8):
        batch = data.batch(16 * step, 0, 16)
        assert "x" in batch
        assert "label" in batch
        x, label = batch["x"], batch["label"]
        z = torch.randn(16, 6, generator=randomness.generator(0, "latents/z", step, 0, 0))
        fake = g(z, label)
        d_adam.zero_grad()
        loss = F.softplus(-d(x, label)).mean() + F.softplus(d(fake.detach(), label)).mean()
        loss.backward()
        d_adam.step()
        if step % every == 0:
            d_adam.zero_grad()
            real = x.clone().requires_grad_(True)
            (slope,) = torch.autograd.grad(d(real, label).sum(), real, create_graph=True)
            (every * gamma / 2 * slope.square().sum((1, 2, 3)).mean()).backward()
            d_adam.step()
        g_adam.zero_grad()
        g_loss = F.softplus(-d(fake, label)).mean()
        g_loss.backward()
        g_adam.step()
        losses.append((loss.item(), g_loss.item()))
        keep = 0.5 ** (16 / half_life)
        for mine, live in zip(average.state_dict().values(), g.state_dict().values(), strict=True):
            mine.copy_(torch.lerp(mine, live, 1 - keep) if mine.is_floating_point() else live)

    averaging = {"half_life": half_life, "ramp": None}
    outcome = train(dcgan(bias=False), IMAGES, tmp_path, lanes=1, tick=16, averaging=averaging)
    for key, value in outcome.networks["generator"].state_dict().items():
        torch.testing.assert_close(value, average.state_dict()[key], rtol=1e-5, atol=1e-6)
    for record, (loss, g_loss) in zip(outcome.history, losses, strict=True):
        torch.testing.assert_close(record["discriminator/total"], loss, rtol=1e-5, atol=1e-6)
        torch.testing.assert_close(record["generator/total"], g_loss, rtol=1e-5, atol=1e-6)
