"""BLAKE2b without `hashlib`, which loads OpenSSL: milliseconds of each worker that starts."""

from __future__ import annotations

try:
    from _blake2 import blake2b
except ImportError:                     # another Python
    from hashlib import blake2b

__all__ = ["blake2b"]
