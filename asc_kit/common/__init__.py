"""What every room uses: the one kind of error, files that are whole or not there, messages and progress."""

from asc_kit.common.errors import InputError
from asc_kit.common.files import (
    ARCHIVE_FAULTS,
    amount,
    cached,
    check_writable,
    locked,
    replacing,
    write_file,
    write_sound,
    write_tensors,
)
from asc_kit.common.progress import ahead, in_threads, progress, say

__all__ = ["ARCHIVE_FAULTS", "InputError", "ahead", "amount", "cached", "check_writable", "in_threads", "locked",
           "progress", "replacing", "say", "write_file", "write_sound", "write_tensors"]  # fmt: skip
