"""AES-128 of HLS segments: CBC with PKCS #7 padding, a whole file at a time (RFC 8216, 4.3.2.4)."""

from __future__ import annotations

from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes
from cryptography.hazmat.primitives.padding import PKCS7

from mps_dagster.streaming.packaging import SegmentKey


def encrypted(content: bytes, key: SegmentKey, number: int) -> bytes:
    """`number` is the segment's place in its playlist, from 0."""
    iv = bytes.fromhex(key.iv) if key.iv else number.to_bytes(16)
    encryptor = Cipher(algorithms.AES(bytes.fromhex(key.key)), modes.CBC(iv)).encryptor()
    padder = PKCS7(128).padder()
    padded = padder.update(content) + padder.finalize()
    return encryptor.update(padded) + encryptor.finalize()
