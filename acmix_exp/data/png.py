"""PNG files whose bytes depend on the pixels alone."""

from __future__ import annotations

import struct
import zlib

import numpy as np

_SIGNATURE = b"\x89PNG\r\n\x1a\n"
_STORED_BLOCK = 65535  # most bytes one stored deflate block holds (RFC 1951, section 3.2.4)


def encode_png(pixels: np.ndarray) -> bytes:
    """Encode RGB pixels, uint8 of shape ``[H, W, 3]``, as an uncompressed PNG.

    The deflate stream is made of stored blocks written here: compressors differ between zlib builds, and with
    them the bytes, the fingerprint and the comparability of runs from two machines. Format: RFC 1950, 2083.
    """
    height, width, _ = pixels.shape
    rows = np.zeros((height, 1 + 3 * width), np.uint8)  # a leading 0 in every row: filter type none
    rows[:, 1:] = pixels.reshape(height, -1)
    raw = rows.tobytes()
    stream = b"\x78\x01"
    for start in range(0, len(raw), _STORED_BLOCK):
        block = raw[start : start + _STORED_BLOCK]
        last = start + _STORED_BLOCK >= len(raw)
        stream += struct.pack("<BHH", last, len(block), len(block) ^ 0xFFFF) + block
    stream += struct.pack(">I", zlib.adler32(raw))
    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return _SIGNATURE + _chunk(b"IHDR", header) + _chunk(b"IDAT", stream) + _chunk(b"IEND", b"")


def _chunk(kind: bytes, body: bytes) -> bytes:
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))
