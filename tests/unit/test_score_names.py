from __future__ import annotations

import pytest

from pipeline.contract.extractor import ExtractorIdentity, identity_of
from pipeline.score_names import Kind, reported_name

INCEPTION = {"weights_sha256": "ab" * 32, "published": True}


def inception(tap: int, published: bool = True) -> ExtractorIdentity:
    return identity_of("inception", {"tap": tap, "alpha": "drop"}, tap, {**INCEPTION, "published": published}, "")


@pytest.mark.parametrize(
    ("kind", "extractor", "name"),
    [
        ("frechet", inception(2048), "fid"),
        ("kernel", inception(2048), "kid"),
        ("score", inception(2048), "inception_score"),
        ("frechet", inception(768), "fid_768"),
        ("kernel", inception(64), "kid_64"),
        ("frechet", inception(2048, published=False), "frechet_inception"),
        ("score", inception(2048, published=False), "score_inception"),
        ("frechet", ExtractorIdentity("classifier", "ab", 64), "frechet_classifier"),
        ("frechet", ExtractorIdentity("classifier", "ab", 64, published=True), "frechet_classifier"),
        ("kernel", ExtractorIdentity("features", "", 2048), "kernel_features"),
    ],
)
def test_a_name_says_whose_features_they_are(kind: Kind, extractor: ExtractorIdentity, name: str) -> None:
    assert reported_name(kind, extractor) == name


def test_the_published_network_is_the_same_in_any_file() -> None:
    one, other = inception(768), identity_of("inception", {"tap": 768, "alpha": "drop"}, 768, {"published": True}, "cd")
    assert one.sha256 != other.sha256
    assert one.same(other)
    assert not one.same(inception(192))
    assert not inception(768, published=False).same(
        identity_of("inception", {"tap": 768, "alpha": "drop"}, 768, {}, "cd")
    )
    assert ExtractorIdentity.from_json(one.to_json()) == one
    assert ExtractorIdentity("features", "", 4).to_json()["sha256"] is None
