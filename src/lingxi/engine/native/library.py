"""The compiled kernels as Python functions: found, loaded and declared once.

Every function takes addresses and whole numbers, and lets other Python threads run meanwhile (ctypes does).
"""

from __future__ import annotations

import ctypes
from functools import cache
from pathlib import Path

from lingxi.errors import InputError

# Must equal VERSION of csrc/native.cpp: a library built from older source would read other arguments.
VERSION = 1

_ADDRESS, _NUMBER, _REAL = ctypes.c_void_p, ctypes.c_long, ctypes.c_float
_ARGUMENTS = {
    "pack_int8": [_ADDRESS, _NUMBER, _NUMBER, _ADDRESS, _ADDRESS],
    "pack_fp32": [_ADDRESS, _NUMBER, _NUMBER, _ADDRESS],
    "gemm_int8": [
        *[_ADDRESS] * 3,
        *[_NUMBER] * 2,
        *[_ADDRESS] * 3,
        _NUMBER,
        *[_ADDRESS] * 2,
        *[_NUMBER] * 4,
    ],
    "gemm_fp32": [_ADDRESS, *[_NUMBER] * 3, _ADDRESS, _NUMBER, *[_ADDRESS] * 2, *[_NUMBER] * 4],
    "gemm_bf16": [_ADDRESS, *[_NUMBER] * 3, _ADDRESS, _NUMBER, *[_ADDRESS] * 2, *[_NUMBER] * 4],
    "norm_quantize": [
        _ADDRESS,
        *[_NUMBER] * 4,
        *[_ADDRESS] * 2,
        _REAL,
        *[_ADDRESS] * 2,
        _NUMBER,
        _ADDRESS,
        _NUMBER,
        *[_ADDRESS] * 2,
        _NUMBER,
    ],
    "mix": [_ADDRESS, *[_NUMBER] * 4],
    "read_rows": [*[_ADDRESS] * 3, *[_NUMBER] * 3, _ADDRESS, _NUMBER],
    "rotate": [_ADDRESS, *[_NUMBER] * 4, _ADDRESS, _REAL, *[_ADDRESS] * 3, _NUMBER],
    "attention": [
        _ADDRESS,
        _NUMBER,
        *[_ADDRESS] * 2,
        *[_NUMBER] * 4,
        _ADDRESS,
        _NUMBER,
        *[_ADDRESS] * 2,
        _NUMBER,
        _REAL,
        *[_NUMBER] * 2,
        _ADDRESS,
        *[_NUMBER] * 2,
    ],
}


@cache
def library() -> ctypes.CDLL | None:
    """The kernels, or None where the package was built without a compiler or from older source."""
    for path in sorted(Path(__file__).parent.glob("_kernels*.so")):
        try:
            found = ctypes.CDLL(str(path))
        except OSError:  # built for another machine
            continue
        if hasattr(found, "lingxi_version") and found.lingxi_version() == VERSION:
            return _declared(found)
    return None


def _declared(found: ctypes.CDLL) -> ctypes.CDLL:
    for name, arguments in _ARGUMENTS.items():
        function = getattr(found, f"lingxi_{name}")
        function.argtypes, function.restype = arguments, None
    found.lingxi_kernels.restype = ctypes.c_char_p
    for name in ("peak_fp32", "peak_int8"):
        function = getattr(found, f"lingxi_{name}")
        function.argtypes, function.restype = [_NUMBER], ctypes.c_double
    return found


def loaded() -> ctypes.CDLL:
    """The kernels; raises InputError where they are not built."""
    found = library()
    if found is None:
        raise InputError(
            "the native kernels are not built in this installation",
            "install a C++ compiler and lingxi anew, or use engine='torch'",
        )
    return found


def instruction_set() -> str | None:
    """Which kernels compute here ('avx512-vnni', 'avx2', 'generic'), or None without the library."""
    found = library()
    return None if found is None else found.lingxi_kernels().decode()


def choose(name: str) -> None:
    """Compute with other kernels than the best; raises InputError where the machine cannot run them."""
    if not loaded().lingxi_choose(name.encode()):
        raise InputError(f"no kernels named {name!r} run here", "choose avx512-vnni, avx2 or generic")
