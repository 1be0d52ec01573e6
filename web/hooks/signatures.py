"""Verifies webhook signatures, all in constant time. Pure."""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import time
from collections.abc import Callable

SIGNING_PREFIX = "whsec_"
"""Prefix of a signing token of Standard Webhooks; the rest is the key in base64."""
TOLERANCE_SECONDS = 300.0
"""Age of a timestamped signature after which it is refused, as Standard Webhooks recommend."""


def is_same(given: str, right: str) -> bool:
    """Whether two secrets are equal."""
    return hmac.compare_digest(given.encode("utf-8", "replace"), right.encode("utf-8", "replace"))


def is_hex_hmac(given: str, secret: str, body: bytes, prefix: str = "") -> bool:
    """Whether `given` is the prefix and the body's HMAC-SHA256 in hexadecimal digits."""
    return is_same(given, prefix + hmac.new(secret.encode(), body, hashlib.sha256).hexdigest())


def is_standard_signature(
    signatures: str, secret: str, id: str, timestamp: str, body: bytes, now: Callable[[], float] = time.time
) -> bool:
    """Whether one of the space-separated signatures is that of Standard Webhooks, `v1,BASE64`, and recent."""
    try:
        recent = abs(now() - float(timestamp)) <= TOLERANCE_SECONDS
    except ValueError:
        return False
    key = secret.encode()
    if secret.startswith(SIGNING_PREFIX):
        try:
            key = base64.b64decode(secret.removeprefix(SIGNING_PREFIX), validate=True)
        except (ValueError, binascii.Error):
            return False
    signed = b".".join((id.encode("utf-8", "replace"), timestamp.encode("utf-8", "replace"), body))
    right = "v1," + base64.b64encode(hmac.new(key, signed, hashlib.sha256).digest()).decode()
    matches = [is_same(given, right) for given in signatures.split(" ")[:10]]
    return any(matches) and recent
