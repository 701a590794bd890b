"""SHA-256, as Python itself computes it.

`hashlib` brings OpenSSL into memory, megabytes that a daemon which checks some files at its start need not hold.
Python's own `random` goes around it in the same way.
"""

from __future__ import annotations

try:
    from _sha2 import sha256  # type: ignore[import-not-found]
except ImportError:
    try:
        from _sha256 import sha256  # type: ignore[import-not-found]  # before Python 3.12
    except ImportError:  # a Python that was built without
        from hashlib import sha256


def sha256_hex(content: bytes) -> str:
    """The digest in hexadecimal digits."""
    return str(sha256(content).hexdigest())
