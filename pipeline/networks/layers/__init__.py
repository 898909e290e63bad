"""Layers: what a network is made of, none of which knows a design."""
