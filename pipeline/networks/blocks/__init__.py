"""Blocks: several layers that more than one design uses."""
