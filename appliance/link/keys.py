"""Who may connect: the key pair of this box, the keys of clients it knows, and tokens.

    FOLDER/link.key          our public and secret key, in hexadecimal; nobody else may read it
    FOLDER/peers/PUBLIC      a file for each client that is enrolled here, named by its public key
    FOLDER/tokens/SHA256     a file for each token that has not been used yet, named by its hash

A client that is not known yet shows a token; its key then takes the token's place, in one rename:
so a token works once, whatever happens in between.
"""

from __future__ import annotations

import hashlib
import os
import secrets
from dataclasses import dataclass
from pathlib import Path

from appliance.disk import sync_folder
from appliance.errors import EnvironmentFailure
from appliance.limits import LINK_PEER_MAX_COUNT, LINK_TOKEN_MAX_COUNT

KEY_BYTES = 32
_TOKEN_BYTES = 24


@dataclass(frozen=True)
class KeyPair:
    """Both keys, as 32 bytes each."""

    public: bytes
    secret: bytes


@dataclass(frozen=True)
class Keys:
    """The keys in a folder. Every verb raises EnvironmentFailure when the folder cannot be used."""

    folder: Path

    def own(self) -> KeyPair:
        """Our own pair; made when there is none yet."""
        path = self.folder / "link.key"
        try:
            if not path.exists():
                self._make(path)
            if path.stat().st_mode & 0o077:
                raise EnvironmentFailure(f"others may read {path}: chmod 600 {path}")
            public, secret = map(key_of, path.read_text(encoding="ascii").split())
        except (OSError, ValueError) as error:
            raise EnvironmentFailure(f"cannot use the keys in {path}: {error}") from error
        return KeyPair(public, secret)

    def _make(self, path: Path) -> None:
        import zmq
        from zmq.utils import z85

        pair = [z85.decode(key).hex() for key in zmq.curve_keypair()]
        self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        made = self.folder / f"link.key.{secrets.token_hex(8)}"
        _write(made, "\n".join([*pair, ""]))
        try:
            os.link(made, path)
        except FileExistsError:  # another sink of this box was faster: its pair is ours, too
            made.unlink()
            return
        made.unlink()
        sync_folder(self.folder)

    # ---- clients ----

    def knows(self, public: str) -> bool:
        """Whether the client with this key (hexadecimal) is enrolled."""
        return is_key(public) and (self.folder / "peers" / public).exists()

    def is_enrolling(self) -> bool:
        """Whether a token waits for a client: then one that is not known may knock."""
        return bool(_names(self.folder / "tokens"))

    def new_token(self) -> str:
        """A token for one client."""
        tokens = self.folder / "tokens"
        if len(_names(tokens)) >= LINK_TOKEN_MAX_COUNT:
            raise EnvironmentFailure(
                f"{LINK_TOKEN_MAX_COUNT} tokens wait in {tokens}: remove those that nobody will use"
            )
        token = secrets.token_hex(_TOKEN_BYTES)
        try:
            tokens.mkdir(mode=0o700, parents=True, exist_ok=True)
            _write(tokens / _hash(token), "")
            sync_folder(tokens)
        except OSError as error:
            raise EnvironmentFailure(f"cannot write to {tokens}: {error.strerror}") from error
        return token

    def enrol(self, public: str, token: str) -> str:
        """Let the client with this key in for its token. Why not, or "" when it is in now."""
        peers = self.folder / "peers"
        if not token or not is_key(public):
            return "its key is not known here: give its sink a token (bettong key token)"
        if len(_names(peers)) >= LINK_PEER_MAX_COUNT:
            return f"{LINK_PEER_MAX_COUNT} clients are enrolled here, which is the most"
        try:
            peers.mkdir(mode=0o700, parents=True, exist_ok=True)
            os.rename(self.folder / "tokens" / _hash(token), peers / public)
        except FileNotFoundError:
            return "its token is wrong or was used before: make a new one (bettong key token)"
        except OSError as error:
            raise EnvironmentFailure(f"cannot write to {peers}: {error.strerror}") from error
        sync_folder(peers)
        return ""


def is_key(text: str) -> bool:
    """Whether this is a key in hexadecimal, as we write it."""
    return len(text) == 2 * KEY_BYTES and set(text) <= set("0123456789abcdef")


def key_of(text: str) -> bytes:
    """The 32 bytes of a key in hexadecimal. ValueError: it is none."""
    if not is_key(text):
        raise ValueError(f"a key has {2 * KEY_BYTES} hexadecimal digits")
    return bytes.fromhex(text)


def _hash(token: str) -> str:
    return hashlib.sha256(token.encode("utf-8", "surrogatepass")).hexdigest()


def _names(folder: Path) -> list[str]:
    try:
        return os.listdir(folder)
    except FileNotFoundError:
        return []
    except OSError as error:
        raise EnvironmentFailure(f"cannot read {folder}: {error.strerror}") from error


def _write(path: Path, text: str) -> None:
    fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
    try:
        os.write(fd, text.encode())
        os.fsync(fd)
    finally:
        os.close(fd)
