"""Taking secrets out of what leaves the box.

A value is taken out where the name above it sounds like a secret, where a text has the form of one
(a password in a URL, `token=…`, a private key), and wherever a secret that is known from elsewhere
appears again, in any text. Too much goes rather than too little.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from functools import lru_cache
from typing import Any

from appliance.limits import DOCTOR_SECRET_MIN_COUNT

REDACTED = "REDACTED"

#: A part of a name is enough, but for short words, which must stand alone: not `keyed`, `mapping`.
_LONG = re.compile(r"token|passw|passphrase|secret|credential|auth|cookie|private|apikey", re.I)
_SHORT = {"bearer", "community", "key", "keys", "pin", "psk", "pwd", "salt", "signature"}

#: Names of ours that sound like it, and counts.
_HARMLESS = {"author", "key_by", "null_key"}
_COUNTS = {"keys"}

_VARIABLE = re.compile(r"\$\{([A-Za-z_][A-Za-z0-9_]*)(?::([-?])([^}]*))?\}")
_PRIVATE = re.compile(r"-----BEGIN [^-]*-----.*?(?:-----END [^-]*-----|\Z)", re.DOTALL)
_USERINFO = re.compile(r"\b([A-Za-z][A-Za-z0-9+.-]{0,30}://)[^/@\s\"']+@")
_SCHEME = re.compile(r"\b(Bearer|Basic|Digest)\s+[A-Za-z0-9+/=._~-]{4,}", re.I)
_QUOTED = re.compile(r"\"(?:[^\"\\]|\\.)*\"|'(?:[^'\\]|\\.)*'")
_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
# A name is begun at its first character only, and no value goes beyond its line: a long text is
# looked at once. The name in `${NAME:-default}` assigns nothing.
_ASSIGNS = re.compile(
    r"(?<!\$\{)(?<![A-Za-z0-9_.-])([A-Za-z0-9_.-]+)"
    r"([\"']?[ \t]*(?:==|!=|:=|[:=])[ \t]*|[\"']?[ \t]+(?:in|is)[ \t]+)"
)
_VALUE = re.compile(
    r"\"(?:[^\"\\\n]|\\.)*\"|'(?:[^'\\\n]|\\.)*'|\[[^\]\n]*\]|\$\{[^}\n]*\}|[^\s,;&\"'()\[\]{}]+"
)


@lru_cache(maxsize=1024)
def is_secret_name(name: str) -> bool:
    """Whether what stands under it is shown to nobody: `token`, `mqtt_password`, `apiKey`."""
    if name.lower().rpartition(".")[2] in _HARMLESS:
        return False
    words = re.sub(r"([a-z0-9])([A-Z])", r"\1_\2", name).lower()
    if _LONG.search(words.replace("_", "").replace("-", "")):
        return True
    return not _SHORT.isdisjoint(re.split(r"[^a-z0-9]+", words))


class Redactor:
    """Takes secrets out, and counts what it took by place."""

    def __init__(self, known: Iterable[str] = ()) -> None:
        """`known`: secrets that are taken out of every text; short ones would take words apart."""
        self.taken: Counter[str] = Counter()
        fit = {one for one in known if len(one) >= DOCTOR_SECRET_MIN_COUNT}
        words = sorted(fit, key=lambda one: (-len(one), one))
        self._known = re.compile("|".join(map(re.escape, words))) if words else None

    def document(self, value: Any, place: str) -> Any:
        """The same plain data without secrets. `place`: where it is from, for the count."""
        if isinstance(value, Mapping):
            return {
                self.text(str(key), place): (
                    self._whole(item, f"{place}.{key}")
                    if is_secret_name(str(key)) and not (key in _COUNTS and isinstance(item, int))
                    else self.document(item, f"{place}.{key}")
                )
                for key, item in value.items()
            }
        if isinstance(value, (list, tuple)):
            return [self.document(item, place) for item in value]
        return self._expression(value, place) if isinstance(value, str) else value

    def text(self, text: str, place: str) -> str:
        """The same text without secrets."""
        before = text
        text = self.without_known(text)
        text = _PRIVATE.sub(REDACTED, text)
        text = _VARIABLE.sub(_without_default, text)
        text = _USERINFO.sub(rf"\1{REDACTED}@", text)
        text = _SCHEME.sub(rf"\1 {REDACTED}", text)
        text = _without_assigned(text)
        if text != before:
            self.taken[place] += 1
        return text

    def without_known(self, text: str) -> str:
        """The same text without the secrets that are known; not counted."""
        return text if self._known is None else self._known.sub(REDACTED, text)

    def _expression(self, text: str, place: str) -> str:
        """A text of a document may be an expression: one that names a secret compares it with
        texts."""
        if any(is_secret_name(match[0]) for match in _NAME.finditer(_VARIABLE.sub("", text))):
            hidden = _QUOTED.sub(f'"{REDACTED}"', text)
            self.taken[place] += hidden != text
            text = hidden
        return self.text(text, place)

    def _whole(self, value: Any, place: str) -> Any:
        """What stands under the name of a secret: `${NAME}` says where it is, so it stays."""
        if value is None or isinstance(value, bool) or value in ("", REDACTED):
            return value
        if isinstance(value, str) and _VARIABLE.fullmatch(value):
            return self.text(value, place)
        self.taken[place] += 1
        return REDACTED


def _without_default(match: re.Match[str]) -> str:
    """`${NAME:-default}` holds a value; `${NAME:?message}` holds words, which help nobody here."""
    name, mark, _ = match.groups()
    return f"${{{name}:{mark}{REDACTED}}}" if mark else match[0]


def _without_assigned(text: str) -> str:
    """Without the values that stand behind the name of a secret; variables stay."""
    kept: list[str] = []
    at = place = 0
    while (found := _ASSIGNS.search(text, place)) is not None:
        place = found.end()
        value = _VALUE.match(text, place) if is_secret_name(found[1]) else None
        if value is not None and not _VARIABLE.match(value[0].strip("\"'")):
            kept += (text[at:place], REDACTED)
            at = place = value.end()
    return "".join([*kept, text[at:]])


def secrets_in(value: Any, secret: bool = False) -> Iterator[str]:
    """Every text that stands under the name of a secret, or as userinfo in a URL: what may turn up
    in a log as well."""
    if isinstance(value, Mapping):
        for key, item in value.items():
            yield from secrets_in(item, secret or is_secret_name(str(key)))
    elif isinstance(value, (list, tuple)):
        for item in value:
            yield from secrets_in(item, secret)
    elif isinstance(value, str):
        for match in _VARIABLE.finditer(value):
            if match[2] == "-":
                yield match[3]
        if secret and not _VARIABLE.search(value):
            yield value
        for match in _USERINFO.finditer(value):
            info = match[0].partition("://")[2][:-1]
            if not _VARIABLE.search(info):
                yield from (info, *info.split(":", 1)[1:])
    elif secret and isinstance(value, int) and not isinstance(value, bool):
        yield str(value)


def variables_in(value: Any) -> Iterator[str]:
    """The names of the environment's variables that a document asks for."""
    if isinstance(value, Mapping):
        for item in value.values():
            yield from variables_in(item)
    elif isinstance(value, (list, tuple)):
        for item in value:
            yield from variables_in(item)
    elif isinstance(value, str):
        yield from (match[1] for match in _VARIABLE.finditer(value))
