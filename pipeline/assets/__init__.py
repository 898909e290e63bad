"""Pretrained weights by name: where they are published, what they must be, and how they are read."""

from pipeline.assets._weights import account, place, save

__all__ = ["account", "place", "save"]
