"""What a person may choose about measuring: the sections `reference` and `evaluate` of params.yaml."""

from __future__ import annotations

from typing import Any

from pydantic import Field, field_validator

from pipeline import plugins
from pipeline.settings import LocalPath, Settings

METRICS: list[dict[str, Any]] = [
    {"name": "frechet"},
    {"name": "inception_score"},
    {"name": "kernel"},
    {"name": "precision_recall"},
    {"name": "density_coverage"},
    {"name": "label_agreement"},
    {"name": "memorisation"},
    {"name": "psnr"},
    {"name": "ssim"},
    {"name": "occupancy_iou"},
    {"name": "caption_agreement"},
    {"name": "identity_kept"},
]


class ReferenceSettings(Settings):
    """The measuring stick."""

    extractor: dict[str, Any] = Field(default={"name": "classifier"}, description="a file of extractors/ and its keys")
    seed: int = Field(default=0, ge=0, description="of the extractor's training")
    threads: int = Field(
        default=2, ge=1, description="of the extractor, here and wherever it is used: part of the bits"
    )

    statistics: LocalPath | None = Field(
        default=None, description="foreign reals for the Fréchet distance: an .npz of mu and sigma"
    )

    text_encoder: dict[str, Any] | None = Field(
        default=None,
        description="a file of text_encoders/ that learns, trained on the captions and what the extractor sees",
    )

    @field_validator("extractor")
    @classmethod
    def _known(cls, value: dict[str, Any]) -> dict[str, Any]:
        plugins.configure("extractors", value, "")
        return value

    @field_validator("text_encoder", mode="before")
    @classmethod
    def _named(cls, value: Any) -> Any:
        return {"name": value} if isinstance(value, str) else value

    @field_validator("text_encoder")
    @classmethod
    def _learns(cls, value: dict[str, Any] | None) -> dict[str, Any] | None:
        if value is None:
            return None
        plugins.configure("text_encoders", value, "")
        if not plugins.class_of("text_encoders", str(value["name"])).learns:
            raise ValueError(f"{value['name']} learns nothing from pictures; leave reference.text_encoder out")
        return value


class GallerySettings(Settings):
    """What the report shows."""

    per_class: int = Field(default=10, ge=1, description="samples of each class (columns of the grid)")
    rows: int = Field(default=8, ge=1, description="rows of the grid where nothing is labelled")
    classes: int = Field(default=20, ge=1, description="at most this many classes are shown")
    interpolations: int = Field(default=6, ge=1, description="walks from one latent to another")
    steps: int = Field(default=10, ge=2, description="samples on each walk, its ends included")
    neighbours: int = Field(default=12, ge=1, description="pairs of a sample and its nearest train example")
    searched: int = Field(default=512, ge=1, description="samples among which the closest pairs are sought")
    side: int = Field(default=48, ge=8, description="smaller images are enlarged to about this many pixels")


class PathLengthSettings(Settings):
    """The paper's step and trimming; it draws 100,000."""

    samples: int = Field(default=1024, ge=64, description="steps drawn; rounded up to whole chunks of 64")
    epsilon: float = Field(default=1e-4, gt=0, le=0.1, description="length of a step, as a share of the way")
    trim: float = Field(default=0.01, ge=0, lt=0.5, description="share of the steps left out at either end")


class EvaluateSettings(Settings):
    """One pass of samples feeds every metric."""

    samples: int | None = Field(default=None, ge=16, description="samples a repeat; null = as many as train has")
    repeats: int = Field(default=3, ge=1, description="seeds; values are means over them, spreads their deviation")
    seed: int = Field(default=0, ge=0, description="of the first repeat; the others count up from it")
    truncation: float = Field(default=1.0, gt=0, description="of the scored samples; 1 = none")
    threads: int = Field(default=1, ge=1, description="of the generator: part of the bits")
    metrics: list[dict[str, Any]] = Field(default=METRICS, min_length=1, description="files of metrics/ and their keys")
    path_length: PathLengthSettings | None = Field(default=None, description="its settings ({} = all defaults)")
    truncations: list[float] = Field(default=[0.4, 0.6, 0.8, 1.0], description="rows of the truncation sweep")
    gallery: GallerySettings = GallerySettings()

    @field_validator("metrics")
    @classmethod
    def _known(cls, value: list[dict[str, Any]]) -> list[dict[str, Any]]:
        for index, metric in enumerate(value):
            plugins.configure("metrics", metric, f"[{index}]")
        names = [metric["name"] for metric in value]
        for name in names:
            if names.count(name) > 1:
                raise ValueError(f"'{name}' stands twice, and two scores cannot have one name")
        return value

    @field_validator("truncations")
    @classmethod
    def _positive(cls, value: list[float]) -> list[float]:
        if not value or min(value) <= 0:
            raise ValueError("must hold at least one number, all above 0")
        return value
