"""`zerosum families`: every design and preset, what it needs, and how large it is."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch

from pipeline import plugins
from pipeline.contract import AnyFamily
from pipeline.params.stand_ins import stand_in
from pipeline.types import DataSpec


def describe() -> list[dict[str, Any]]:
    """A record for every family as it stands (preset None) and for each of its presets."""
    return [
        record
        for name in plugins.names("families")
        for preset in (None, *getattr(plugins.module("families", name), "PRESETS", {}))
        if (record := _described(name, preset)) is not None
    ]


def _described(name: str, preset: str | None) -> dict[str, Any] | None:
    chosen = {"name": name} if preset is None else {"name": name, "preset": preset}
    family: AnyFamily = plugins.load("families", chosen)
    published = getattr(plugins.module("families", name), "CANON", {}).get(preset)
    spec: DataSpec | None = stand_in(family) if published is None else published.spec
    if spec is None:
        return None
    with torch.device("meta"):
        networks = family.build(spec)
    owned = {network for player in family.players() for network in player.networks}
    return {
        "family": name,
        "preset": preset,
        "paper": family.paper,
        "needs": sorted(family.needs),
        "latents": [
            {"name": latent.name, "shape": list(latent.shape), "distribution": latent.distribution}
            for latent in family.latents_for(spec)
        ],
        "parameters": {key: _count(network) for key, network in networks.items() if key in owned},
        "data": {"modality": spec.modality, "shape": list(spec.shape), "classes": len(spec.classes)},
        "reference": None if published is None else published.reference or None,
    }


def _count(network: torch.nn.Module) -> int:
    return sum(parameter.numel() for parameter in network.parameters() if parameter.requires_grad)


def lines(records: list[dict[str, Any]]) -> Iterator[str]:
    """The records as people read them: a paragraph a family, a line a preset."""
    before = ""
    for record in records:
        if record["family"] != before:
            before = record["family"]
            yield f"\n{before}: {record['paper']}"
        counts = "  ".join(f"{name} {count:,}" for name, count in record["parameters"].items())
        data = record["data"]
        shape = "×".join(str(side) for side in data["shape"]) + (
            f" {data['classes']} classes" if data["classes"] else ""
        )
        needs = ", ".join(record["needs"]) or "nothing"
        name = record["preset"] or "(defaults)"
        known = f"  [{record['reference']}]" if record["reference"] else ""
        yield f"  {name:<22} needs {needs:<9} {data['modality']} {shape:<20} {counts}{known}"
