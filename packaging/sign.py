"""For the makers: `bettong upgrade` takes only what is signed with their key (docs/upgrading.md).

    python packaging/sign.py key KEYFILE         make a key; print its public half, for settings
    python packaging/sign.py sign KEYFILE FILE   write FILE.sig beside a release

The key file is the only secret. It belongs on a machine that does nothing else, and never into the
repository.
"""

from __future__ import annotations

import base64
import os
import sys
from pathlib import Path

from nacl.signing import SigningKey

from appliance.upgrade.signature import digest_of, signature_text, signed_message


def make_key(path: Path) -> None:
    """A new secret key, readable for its owner alone; never in the place of another."""
    key = SigningKey.generate()
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "wb") as file:
        file.write(base64.b64encode(bytes(key)) + b"\n")
        file.flush()
        os.fsync(file.fileno())
    print(f'public_key = "{base64.b64encode(bytes(key.verify_key)).decode()}"')


def sign(path: Path, release: Path) -> None:
    """Write the signature beside the release."""
    key = SigningKey(base64.b64decode(path.read_bytes().strip(), validate=True))
    with release.open("rb") as file:
        signed = key.sign(signed_message(digest_of(file)))
    beside = release.with_name(f"{release.name}.sig")
    beside.write_bytes(signature_text(signed.signature))
    print(beside)


def main(words: list[str]) -> int:
    """Exit code 2 when called wrongly."""
    match words:
        case ["key", path]:
            make_key(Path(path))
        case ["sign", path, release]:
            sign(Path(path), Path(release))
        case _:
            print(__doc__, file=sys.stderr)
            return 2
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
