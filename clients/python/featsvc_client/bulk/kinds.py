"""What a file is, by the end of its name."""

from __future__ import annotations

PICTURES = (
    *(".jpg", ".jpeg", ".jpe", ".png", ".webp", ".bmp", ".gif", ".tif", ".tiff"),
    *(".ppm", ".pgm", ".pbm", ".pnm", ".pfm"),
)
VIDEOS = (".mp4", ".m4v", ".mov", ".mkv", ".webm", ".avi", ".mpg", ".mpeg", ".ogv", ".wmv")
ARCHIVES = (".tar", ".tar.gz", ".tgz", ".tar.bz2", ".tar.xz")
LISTS = (".txt", ".lst")
TABLES = (".parquet",)


def is_picture(name: str) -> bool:
    """Whether a file of this name is taken for a picture."""
    return name.lower().endswith(PICTURES)


def is_video(name: str) -> bool:
    """Whether a file of this name is taken for a video."""
    return name.lower().endswith(VIDEOS)


def is_archive(name: str) -> bool:
    """Whether a file of this name is taken for an archive of pictures."""
    return name.lower().endswith(ARCHIVES)


def is_table(name: str) -> bool:
    """Whether a file of this name is taken for a table with a column of pictures."""
    return name.lower().endswith(TABLES)


def is_list(name: str) -> bool:
    """Whether a file of this name is taken for a list of others."""
    return name.lower().endswith(LISTS)
