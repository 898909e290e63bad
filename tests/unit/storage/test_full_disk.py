"""What the writing of artefacts knows of disks."""

from __future__ import annotations

import errno

import pytest

from pipeline.storage import files


@pytest.mark.parametrize(
    ("error", "full"),
    [
        (OSError(errno.ENOSPC, "No space left on device"), True),
        (OSError(errno.EDQUOT, "Disk quota exceeded"), True),
        (OSError(errno.EACCES, "Permission denied"), False),
        # Two of safetensors' ways to say it: by where it met the error.
        (Exception("Error while serializing: I/O error: No space left on device (os error 28)"), True),
        (Exception('Io(Os { code: 28, kind: StorageFull, message: "No space left on device" })'), True),
        (Exception("Io error (os error 5)"), False),
    ],
)
def test_a_full_disk_is_known_by_what_is_raised(error: Exception, full: bool) -> None:
    assert files.disk_is_full(error) == full
