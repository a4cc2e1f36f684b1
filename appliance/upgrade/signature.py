"""Whether a release comes from its makers: a detached ed25519 signature (docs/formats/release.md).

What is signed is the digest of the file behind a line that says what it is for, so that a release
of any size is checked in one pass and little memory, and no other use of the key fits.
"""

from __future__ import annotations

import base64
import hashlib
from pathlib import Path
from typing import BinaryIO

from appliance.errors import BettongError
from appliance.limits import UPGRADE_ARCHIVE_MAX_BYTES, UPGRADE_SIGNATURE_MAX_BYTES

KEY_BYTES, SIGNATURE_BYTES = 32, 64
_FIRST_LINE = b"bettong-signature 1"
_PURPOSE = b"bettong-release 1\n"
_READ_BYTES = 1 << 20


class NotSigned(BettongError):
    """A release that its makers have not signed like this. Nothing of it was used."""


def read_public_key(text: str) -> bytes:
    """The key from its text in the settings; ValueError when it is none."""
    try:
        key = base64.b64decode(text, validate=True)
    except ValueError as error:
        raise ValueError("this is not base64") from error
    if len(key) != KEY_BYTES:
        raise ValueError(f"a key has {KEY_BYTES} bytes, this has {len(key)}")
    return key


def signed_message(digest: bytes) -> bytes:
    """What the makers sign of a file whose SHA-512 this is."""
    return _PURPOSE + digest


def signature_text(signature: bytes) -> bytes:
    """The content of the file beside the release."""
    return _FIRST_LINE + b"\n" + base64.b64encode(signature) + b"\n"


def digest_of(file: BinaryIO) -> bytes:
    """The SHA-512 of the rest of a file. NotSigned when it is too large to be a release."""
    digest, size = hashlib.sha512(), 0
    while data := file.read(_READ_BYTES):
        digest.update(data)
        size += len(data)
        if size > UPGRADE_ARCHIVE_MAX_BYTES:
            most = UPGRADE_ARCHIVE_MAX_BYTES >> 20
            raise NotSigned(f"larger than {most} MiB: this is no release of bettong")
    return digest.digest()


def check(digest: bytes, beside: Path, public_key: bytes) -> None:
    """NotSigned unless the signature file is that of the owner of the key over this digest."""
    from nacl.exceptions import BadSignatureError  # 28 ms, for this command only
    from nacl.signing import VerifyKey

    signature = _read(beside)
    try:
        VerifyKey(public_key).verify(signed_message(digest), signature)
    except BadSignatureError as error:
        raise NotSigned(
            f"{beside}: the signature does not fit: the release is damaged, was cut short or "
            "changed, or somebody else made it; fetch both files again from where you trust, and "
            "compare `public_key` in the settings with the one the makers publish"
        ) from error


def _read(beside: Path) -> bytes:
    try:
        with beside.open("rb") as file:
            data = file.read(UPGRADE_SIGNATURE_MAX_BYTES + 1)
    except OSError as error:
        raise NotSigned(
            f"{beside}: the signature cannot be read: {error.strerror}; it lies beside the release"
        ) from error
    first, _, rest = data.partition(b"\n")
    try:
        signature = base64.b64decode(rest.strip(), validate=True)
    except ValueError:
        signature = b""
    if first != _FIRST_LINE or len(signature) != SIGNATURE_BYTES:
        raise NotSigned(f"{beside}: this is no signature of a release; fetch it again")
    return signature
