"""The names that scores are reported under: they say which features a value was measured in."""

from __future__ import annotations

from typing import Literal

from pipeline import plugins
from pipeline.contract.extractor import AnyExtractor, ExtractorIdentity

Kind = Literal["frechet", "kernel", "score"]
KINDS: tuple[Kind, ...] = ("frechet", "kernel", "score")


def reported_name(kind: Kind, identity: ExtractorIdentity) -> str:
    """The name of a value of this kind.

    `fid`, `kid` and `inception_score` are the published Inception network's alone, `fid_768` its at tap 768; of any
    other network, or with other weights, it is `frechet_<extractor>` and so on.
    """
    published = extractor_class(identity.name).published_as(identity) if is_known(identity.name) else None
    return f"{kind}_{identity.name}" if published is None else published[kind]


def is_known(name: str) -> bool:
    """Whether it is a file of extractors/, and no ready-made features."""
    return name in plugins.names("extractors")


def extractor_class(name: str) -> type[AnyExtractor]:
    """The class of a known extractor."""
    return plugins.class_of("extractors", name)
