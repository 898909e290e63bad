"""How much of what strangers give is read: every limit in one place, each with what it bounds and what raises it.

Beyond a limit a command refuses with a sentence; it does not read on. docs/limits.md shows this table, and a test
compares the two.
"""

from __future__ import annotations

from dataclasses import dataclass

KIB, MIB, GIB = 2**10, 2**20, 2**30


@dataclass(frozen=True, slots=True)
class Limit:
    """value: in `unit`. bounds: what of. raised_by: the setting or environment variable, empty where none is."""

    value: int
    unit: str
    bounds: str
    raised_by: str = ""


LIMITS = {
    # Of data sources and scored folders.
    "ITEM_BYTES": Limit(
        64 * MIB, "bytes", "one image or sound file, as stored", "ingest.max_bytes; explore --set max_bytes"
    ),
    "ITEM_PIXELS": Limit(
        16 * MIB, "pixels", "one image, once decoded", "ingest.max_pixels; score --max-pixels; explore --set max_pixels"
    ),
    "MOST_PIXELS": Limit(89_478_485, "pixels", "what those may be raised to: Pillow's own limit"),
    "TRANSLATED_PIXELS": Limit(256 * MIB, "pixels", "one picture that `explore translate` makes"),
    "JPEG_SCANS": Limit(100, "scans", "a JPEG: a progressive one has about ten"),
    "WAV_CHUNKS": Limit(4096, "chunks", "what stands before the samples of a sound file"),
    "SOUND_VALUES": Limit(64 * MIB, "values", "a FLAC or Ogg file, decoded: samples of all channels"),
    "IDX_UNPACKED_BYTES": Limit(4 * GIB, "bytes", "an idx file, unpacked", "ingest.source.max_unpacked_bytes"),
    "IDX_ITEMS": Limit(4 * MIB, "items", "an idx file's examples", "ingest.source.max_items"),
    "ARCHIVE_UNPACKED_BYTES": Limit(
        1 * GIB,
        "bytes",
        "a tar archive, unpacked, its headers included; of images, or four times the archive",
        "ingest.source.max_unpacked_bytes",
    ),
    "ARCHIVE_HEADER_BYTES": Limit(1 * MIB, "bytes", "all long names and extended headers of a tar archive"),
    "ARCHIVE_MEMBERS": Limit(16 * KIB, "members", "CIFAR-10's tar archive"),
    "ARCHIVE_ITEMS": Limit(1 * MIB, "members", "an archive of images", "ingest.source.max_members"),
    "ARCHIVE_MEMBER_HEADER_BYTES": Limit(
        4 * KIB, "bytes", "the same of each member of an archive of images, beyond it"
    ),
    "ARCHIVE_TABLE_BYTES": Limit(128 * MIB, "bytes", "the table of members of a .zip archive of images"),
    "UNPACKED_KEPT_BYTES": Limit(64 * GIB, "bytes", "what the cache keeps unpacked of archives that are not in use"),
    "ARCHIVE_XZ_BYTES": Limit(256 * MIB, "bytes", "memory that unpacking an .xz archive takes"),
    "SOURCE_BYTES": Limit(1024 * GIB, "bytes", "what one address of a source holds"),
    "SOURCE_FILES": Limit(4 * MIB, "files", "the same, if it is a prefix of objects"),
    "WEBDATASET_SHARDS": Limit(16 * KIB, "shards", "the webdataset shards that one name with braces stands for"),
    "PARQUET_FOOTER_BYTES": Limit(64 * MIB, "bytes", "the footer of a parquet file"),
    "CSV_BYTES": Limit(256 * MIB, "bytes", "a csv file of labels", "ingest.source.max_labels_bytes"),
    "CAPTIONS_BYTES": Limit(
        1 * GIB, "bytes", "captions of a csv, a jsonl or a parquet column", "ingest.source.max_captions_bytes"
    ),
    "CAPTION_NUMBERS": Limit(16_384, "numbers", "the vector of a caption, made beforehand"),
    "ROWS_BYTES": Limit(64 * MIB, "bytes", "a csv or parquet file whose rows are the data", "ingest.source.max_bytes"),
    "CSV_LINE_CHARACTERS": Limit(1 * MIB, "characters", "one line of a csv file"),
    "CSV_FIELD_CHARACTERS": Limit(128 * KIB, "characters", "one field of a csv file"),
    "CLASS_NAMES_BYTES": Limit(64 * KIB, "bytes", "CIFAR-10's list of class names"),
    "VOXEL_CELLS": Limit(16 * MIB, "cells", "one grid of voxels, before it is made coarser", "ingest.source.max_cells"),
    "VOXELS_UNPACKED_BYTES": Limit(
        1 * GIB, "bytes", "an .npz whose arrays are the classes, unpacked", "ingest.source.max_unpacked_bytes"
    ),
    "CLIP_PIXELS": Limit(
        64 * MIB, "pixels", "one clip, as many of its frames as are decoded", "ingest.source.max_clip_pixels"
    ),
    # Of settings and records.
    "YAML_BYTES": Limit(1 * MIB, "bytes", "params.yaml and its siblings"),
    "YAML_VALUES": Limit(50_000, "values", "a YAML file: words, lists and sections"),
    "YAML_REPEATED": Limit(10_000, "values", "what all aliases of a YAML file stand for"),
    "YAML_DEPTH": Limit(64, "levels", "nested sections of a YAML file"),
    "JSON_BYTES": Limit(64 * MIB, "bytes", "one JSON document: cards, manifests, records"),
    "JSON_DEPTH": Limit(64, "levels", "nested lists and objects of a JSON document"),
    "JSON_DIGITS": Limit(4300, "digits", "one whole number in JSON or YAML"),
    "POINTER_BYTES": Limit(64 * KIB, "bytes", "files that name a folder: .git, commondir, DVC's config"),
    "TABLE_BYTES": Limit(256 * MIB, "bytes", "a table that a stage wrote: history.tsv, trials.csv"),
    "RECORD_BYTES": Limit(1 * MIB, "bytes", "an explore.json beside pictures, which says which of them are grids"),
    # Of weights and statistics.
    "STATISTICS_BYTES": Limit(1 * GIB, "bytes", "statistics or features in an .npz, its members unpacked"),
    "WEIGHTS_BYTES": Limit(4 * GIB, "bytes", "a file of weights (.pth, .safetensors) that an extractor is built of"),
    "NETWORKS_BYTES": Limit(64 * GIB, "bytes", "all networks of a model, as its card describes them"),
    "NETWORKS_TENSORS": Limit(5_000, "tensors", "what all networks of a family learn, as its settings describe them"),
    "TENSORS_HEADER_BYTES": Limit(16 * MIB, "bytes", "the header of a .safetensors file"),
    "ZIP_TABLE_BYTES": Limit(16 * MIB, "bytes", "the table of members of a .pth or .npz file"),
    "DOWNLOAD_BYTES": Limit(1 * GIB, "bytes", "one download"),
    # Of shards and what travels between machines.
    "SHARD_MEMBER_BYTES": Limit(1 * GIB, "bytes", "one member of a shard, decoded"),
    # Of registered and served models.
    "CODE_FILES": Limit(1000, "files", "the code that travels with a registered model"),
    "CODE_BYTES": Limit(4 * MIB, "bytes", "the same, of all files together"),
    "TEXTS_BYTES": Limit(16 * MIB, "bytes", "a file of sentences: `generate --texts`, `explore illustrate`"),
    "SERVED_ROWS": Limit(4096, "samples", "one request to a served model", "max_rows in serving.json"),
    "SERVED_TEXT": Limit(80, "characters", "a value of the caller's that an error repeats"),
}

ITEM_BYTES = LIMITS["ITEM_BYTES"].value
ITEM_PIXELS = LIMITS["ITEM_PIXELS"].value
MOST_PIXELS = LIMITS["MOST_PIXELS"].value
TRANSLATED_PIXELS = LIMITS["TRANSLATED_PIXELS"].value
JPEG_SCANS = LIMITS["JPEG_SCANS"].value
WAV_CHUNKS = LIMITS["WAV_CHUNKS"].value
SOUND_VALUES = LIMITS["SOUND_VALUES"].value
IDX_UNPACKED_BYTES = LIMITS["IDX_UNPACKED_BYTES"].value
IDX_ITEMS = LIMITS["IDX_ITEMS"].value
ARCHIVE_UNPACKED_BYTES = LIMITS["ARCHIVE_UNPACKED_BYTES"].value
ARCHIVE_HEADER_BYTES = LIMITS["ARCHIVE_HEADER_BYTES"].value
ARCHIVE_MEMBERS = LIMITS["ARCHIVE_MEMBERS"].value
ARCHIVE_ITEMS = LIMITS["ARCHIVE_ITEMS"].value
ARCHIVE_MEMBER_HEADER_BYTES = LIMITS["ARCHIVE_MEMBER_HEADER_BYTES"].value
ARCHIVE_TABLE_BYTES = LIMITS["ARCHIVE_TABLE_BYTES"].value
UNPACKED_KEPT_BYTES = LIMITS["UNPACKED_KEPT_BYTES"].value
ARCHIVE_XZ_BYTES = LIMITS["ARCHIVE_XZ_BYTES"].value
SOURCE_BYTES = LIMITS["SOURCE_BYTES"].value
SOURCE_FILES = LIMITS["SOURCE_FILES"].value
WEBDATASET_SHARDS = LIMITS["WEBDATASET_SHARDS"].value
PARQUET_FOOTER_BYTES = LIMITS["PARQUET_FOOTER_BYTES"].value
CSV_BYTES = LIMITS["CSV_BYTES"].value
CAPTIONS_BYTES = LIMITS["CAPTIONS_BYTES"].value
CAPTION_NUMBERS = LIMITS["CAPTION_NUMBERS"].value
ROWS_BYTES = LIMITS["ROWS_BYTES"].value
CSV_LINE_CHARACTERS = LIMITS["CSV_LINE_CHARACTERS"].value
CSV_FIELD_CHARACTERS = LIMITS["CSV_FIELD_CHARACTERS"].value
CLASS_NAMES_BYTES = LIMITS["CLASS_NAMES_BYTES"].value
VOXEL_CELLS = LIMITS["VOXEL_CELLS"].value
VOXELS_UNPACKED_BYTES = LIMITS["VOXELS_UNPACKED_BYTES"].value
CLIP_PIXELS = LIMITS["CLIP_PIXELS"].value
YAML_BYTES = LIMITS["YAML_BYTES"].value
YAML_VALUES = LIMITS["YAML_VALUES"].value
YAML_REPEATED = LIMITS["YAML_REPEATED"].value
YAML_DEPTH = LIMITS["YAML_DEPTH"].value
JSON_BYTES = LIMITS["JSON_BYTES"].value
JSON_DEPTH = LIMITS["JSON_DEPTH"].value
JSON_DIGITS = LIMITS["JSON_DIGITS"].value
POINTER_BYTES = LIMITS["POINTER_BYTES"].value
TABLE_BYTES = LIMITS["TABLE_BYTES"].value
RECORD_BYTES = LIMITS["RECORD_BYTES"].value
STATISTICS_BYTES = LIMITS["STATISTICS_BYTES"].value
WEIGHTS_BYTES = LIMITS["WEIGHTS_BYTES"].value
NETWORKS_BYTES = LIMITS["NETWORKS_BYTES"].value
NETWORKS_TENSORS = LIMITS["NETWORKS_TENSORS"].value
TENSORS_HEADER_BYTES = LIMITS["TENSORS_HEADER_BYTES"].value
ZIP_TABLE_BYTES = LIMITS["ZIP_TABLE_BYTES"].value
DOWNLOAD_BYTES = LIMITS["DOWNLOAD_BYTES"].value
SHARD_MEMBER_BYTES = LIMITS["SHARD_MEMBER_BYTES"].value
CODE_FILES = LIMITS["CODE_FILES"].value
CODE_BYTES = LIMITS["CODE_BYTES"].value
TEXTS_BYTES = LIMITS["TEXTS_BYTES"].value
SERVED_ROWS = LIMITS["SERVED_ROWS"].value
SERVED_TEXT = LIMITS["SERVED_TEXT"].value
