"""The C library's allocator, told to keep what it has, and oneDNN, told not to keep everything."""

import ctypes
import os
import sys

_M_TRIM_THRESHOLD, _M_TOP_PAD, _M_MMAP_THRESHOLD = -1, -2, -3


_SHAPES_KEPT = "24"


def forget_shapes() -> None:
    """Bounds the code that oneDNN writes for each shape of product and keeps, up to 0.6 MB each, two times 1,024 pieces
    of it: no batch has quite the shape of another, so what an update itself uses again is enough. A Transformer of 3 +
    3 layers took 3.3 GB with 512 pieces, 1.8 with 64 and 1.5 with 24, and no longer. Before the first product; whoever
    set these variables is left alone.
    """
    os.environ.setdefault("ONEDNN_PRIMITIVE_CACHE_CAPACITY", _SHAPES_KEPT)
    os.environ.setdefault("LRU_CACHE_CAPACITY", _SHAPES_KEPT)  # torch's own, above oneDNN's


def keep_memory() -> bool:
    """Makes glibc reuse large freed blocks, where it would return each to the kernel and fault it in again at every
    update.

    Training on a CPU is about a third faster for it, at the cost of memory that stays with the process. Call it before
    the first large tensor. Returns whether it was done: other C libraries have no such switch.
    """
    if sys.platform != "linux":
        return False
    try:
        libc = ctypes.CDLL("libc.so.6")
        return all(
            libc.mallopt(option, value) == 1
            for option, value in (
                (_M_MMAP_THRESHOLD, 1 << 30),
                (_M_TRIM_THRESHOLD, (1 << 31) - 1),
                (_M_TOP_PAD, 1 << 28),
            )
        )
    except (OSError, AttributeError):
        return False
