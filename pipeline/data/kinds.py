"""Which files are items of a source, by their names and first bytes, and which are passed over."""

from __future__ import annotations

import re
from dataclasses import dataclass

HIDDEN, LEFT, GRID, OTHER, CIRCLE = (
    "hidden",
    "left by the operating system or a tool",
    "a grid that zerosum made",
    "no {}",
    "a link back to a folder that holds it",
)
LEFT_BEHIND = frozenset(
    {"thumbs.db", "ehthumbs.db", "ehthumbs_vista.db", "desktop.ini", "icon\r", "folder.htt", "picasa.ini"}
    | {"__macosx", "__pycache__", "@eadir", "#recycle", "$recycle.bin", "system volume information"}
    | {"lost+found", "found.000"}
)
WITHOUT_ENDING = frozenset(
    {"readme", "license", "licence", "copying", "copyright", "notice", "authors", "changelog", "citation", "makefile"}
)
READ_IMAGES = frozenset({".png", ".jpg", ".jpeg", ".jpe", ".jfif", ".webp"})
OTHER_IMAGES = frozenset(
    {".apng", ".avif", ".bmp", ".cr2", ".cr3", ".arw", ".dib", ".dng", ".exr", ".gif", ".hdr", ".heic", ".heif"}
    | {".ico", ".j2k", ".jp2", ".jxl", ".mpo", ".nef", ".orf", ".pbm", ".pcx", ".pgm", ".pnm", ".ppm", ".psd"}
    | {".qoi", ".raf", ".rw2", ".svg", ".tga", ".tif", ".tiff"}
)
READ_SOUNDS = frozenset({".wav", ".wave", ".flac", ".ogg", ".oga", ".opus"})
OTHER_SOUNDS = frozenset(
    {".aac", ".aif", ".aifc", ".aiff", ".amr", ".ape", ".au", ".caf", ".m4a", ".mp3"}
    | {".rf64", ".snd", ".sph", ".w64", ".wma", ".wv"}
)
VIDEOS = frozenset({".avi", ".m4v", ".mkv", ".mov", ".mp4", ".mpg", ".ogv", ".webm", ".wmv"})
READ_VOXELS = frozenset({".npy", ".npz", ".binvox"})
NO_DATA = frozenset(
    {".caption", ".captions", ".tags", ".txt", ".text", ".md", ".rst", ".log", ".lst", ".srt", ".vtt", ".lab"}
    | {".json", ".jsonl", ".csv", ".tsv", ".xml", ".yaml", ".yml", ".toml", ".ini", ".cfg", ".html", ".htm"}
    | {".py", ".pyc", ".sh", ".ipynb", ".pdf", ".npy", ".npz", ".pt", ".pth", ".pkl", ".safetensors", ".h5", ".mat"}
    | {".parquet", ".arrow", ".db", ".sqlite", ".zip", ".tar", ".gz", ".tgz", ".xz", ".bz2", ".7z", ".rar", ".dvc"}
    | {".url", ".lnk", ".webloc", ".mp4", ".mov", ".avi", ".mkv", ".webm", ".mid", ".midi"}
)
FIRST = 64  # bytes that tell a kind


@dataclass(frozen=True)
class Kind:
    """The kind of file that is looked for. endings: of items; others: of files that cannot be items, read or not."""

    name: str
    read: str
    endings: frozenset[str]
    others: frozenset[str]
    begins: re.Pattern[bytes]


IMAGES = Kind(
    "image",
    "PNG, JPEG or WebP",
    READ_IMAGES | OTHER_IMAGES,
    NO_DATA | READ_SOUNDS | OTHER_SOUNDS,
    re.compile(
        rb"\x89PNG\r\n\x1a\n|\xff\xd8\xff|RIFF....WEBP|GIF8[79]a|II[*+]\0|MM\0[*+]|8BPS|qoif|#\?RADIANCE|v/1\x01"
        rb"|....ftyp(avif|avis|heic|heix|heim|hevc|mif1|msf1)|\0\0\0\x0c(JXL |jP  )"
        rb"|BM....\0\0\0\0....[\x0c\x28\x34\x38\x40\x6c\x7c]\0\0\0|P[1-6]\s+(#[^\n]*\n\s*)?\d+\s+\d+",
        re.DOTALL,
    ),
)
SOUNDS = Kind(
    "sound",
    "PCM or float wav files, FLAC or Ogg",
    READ_SOUNDS | OTHER_SOUNDS,
    NO_DATA | READ_IMAGES | OTHER_IMAGES,
    re.compile(
        rb"(RIFF|RIFX|RF64|BW64)....WAVE|ID3|fLaC|OggS|FORM....AIF[FC]|\.snd\0|caff\0|....ftypM4A|riff.{20}wave"
        rb"|#!AMR|MAC ",
        re.DOTALL,
    ),
)
VOXELS = Kind(
    "voxel grid",
    ".npy, .npz and .binvox files",
    READ_VOXELS,
    (NO_DATA - READ_VOXELS) | READ_IMAGES | OTHER_IMAGES | READ_SOUNDS | OTHER_SOUNDS,
    re.compile(rb"\x93NUMPY|#binvox"),
)
ANIMATIONS = Kind(
    "clip",
    "GIF, WebP and animated PNG files",
    frozenset({".apng", ".gif", ".png", ".webp"}) | VIDEOS,
    (NO_DATA - VIDEOS)
    | ((READ_IMAGES | OTHER_IMAGES) - {".apng", ".gif", ".png", ".webp"})
    | READ_SOUNDS
    | OTHER_SOUNDS,
    re.compile(rb"GIF8[79]a|RIFF....WEBP|\x89PNG\r\n\x1a\n|....ftyp(isom|mp4|M4V|qt)|\x1a\x45\xdf\xa3", re.DOTALL),
)
PARQUET = Kind("parquet file", "parquet files", frozenset({".parquet"}), frozenset(), re.compile(rb"PAR1"))


def why_passed(name: str) -> str | None:
    """Why a file or folder of this name is passed over; None where it is not."""
    if name.startswith("."):
        return LEFT if name in (".DS_Store", ".ipynb_checkpoints") or name.startswith("._") else HIDDEN
    return LEFT if name.lower() in LEFT_BEHIND or (name.endswith("~") and len(name) > 1) else None


def ending(name: str) -> str:
    """The ending of a name in small letters, with its dot; empty where it has none."""
    dot = name.rfind(".")
    return name[dot:].lower() if dot > 0 else ""
