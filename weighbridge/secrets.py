"""Fills `${NAME}` and `${keyring:service/user}` into settings, and knows which settings are secret.

The environment wins over `.env`. What could not be filled is reported by name, never by value.
"""

from __future__ import annotations

import base64
import html
import json
import os
import re
import threading
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, TextIO
from urllib.parse import parse_qsl, quote, quote_plus, unquote, urlsplit

__all__ = ["KNOWN", "SECRET_KEYS", "Hidden", "Resolver", "Scrubbed", "is_reference"]

SECRET_KEYS = frozenset(
    {
        "access_token",
        "api_key",
        "client_secret",
        "connection_string",
        "instance_url",
        "password",
        "security_token",
        "token",
        "url",
    }
)
"""Settings whose value is secret as a whole: credentials, and addresses that may carry a login."""

_REFERENCE = re.compile(r"\$\{([^}]*)\}")


def is_reference(value: object) -> bool:
    """Whether a setting is written as a reference rather than as a literal."""
    return isinstance(value, str) and _REFERENCE.search(value) is not None


class Resolver:
    """Resolves references against the environment, a `.env` file and the system's keyring."""

    def __init__(self, folder: Path, environ: Mapping[str, str] | None = None) -> None:
        self._environ = os.environ if environ is None else environ
        self._file = folder / ".env"
        self._dotenv: Mapping[str, str | None] | None = None

    def fill(self, value: Any, where: str, complain: Callable[[str], None]) -> Any:
        """The value with every reference filled in; `complain` hears of each that cannot be."""
        if isinstance(value, str):
            return _REFERENCE.sub(lambda m: self._one(m[1].strip(), where, complain), value)
        if isinstance(value, Mapping):
            return {k: self.fill(v, f"{where}.{k}", complain) for k, v in value.items()}
        if isinstance(value, list):
            return [self.fill(v, f"{where}[{n}]", complain) for n, v in enumerate(value)]
        return value

    def _one(self, name: str, where: str, complain: Callable[[str], None]) -> str:
        if name.startswith("keyring:"):
            return self._keyring(name.removeprefix("keyring:"), where, complain)
        if name in self._environ:
            return self._environ[name]
        if self._dotenv is None:
            from dotenv import dotenv_values

            self._dotenv = dotenv_values(self._file) if self._file.is_file() else {}
        found = self._dotenv.get(name)
        if found is None:
            complain(f"{where}: ${{{name}}} is not set; export {name} or write it into {self._file}")
            return ""
        return found

    def _keyring(self, name: str, where: str, complain: Callable[[str], None]) -> str:
        service, slash, user = name.partition("/")
        if not slash:
            complain(f"{where}: ${{keyring:{name}}} needs the form keyring:service/user")
            return ""
        import keyring
        import keyring.errors

        try:
            found = keyring.get_password(service, user)
        except keyring.errors.KeyringError as error:
            complain(
                f"{where}: the keyring could not be read ({type(error).__name__}); is a keyring backend installed?"
            )
            return ""
        if found is None:
            complain(f"{where}: the keyring has nothing under {name}; run: keyring set {service} {user}")
            return ""
        return found


# --- secrets that a system sends back ---------------------------------------------------------------------------------

SHORTEST = 6
LONGEST_WORD = 12
"""Shorter secrets, and words of fewer letters, are not hidden in texts: ordinary words would disappear as well."""
_IN_STRING = re.compile(r"(?i)(?:pwd|password|passwd|token|secret|key)\s*=\s*(\{(?:[^}]|\}\})*\}|[^;]*)")


class Hidden:
    """Secrets as they were filled in, each in the forms in which a system may send it back; thread safe."""

    def __init__(self) -> None:
        self._forms: list[str] = []
        self._lock = threading.Lock()

    def learn(self, options: Mapping[str, Any]) -> None:
        """Take the secret ones of a connector's options; an address or a connection string by its secret parts."""
        user = str(options.get("username") or "")
        found = {f for key in SECRET_KEYS & options.keys() for f in _forms(str(options[key]), user)}
        with self._lock:
            self._forms = sorted({*self._forms, *found}, key=len, reverse=True)

    def hide(self, text: str) -> str:
        """The text with three stars for every secret."""
        for form in self._forms:
            if form in text:
                text = text.replace(form, "***")
        return text


KNOWN = Hidden()
"""All secrets of this process: what the command line writes goes past them."""


def _forms(value: str, user: str) -> Iterator[str]:
    for part, login in _parts(value, user):
        if len(part) < SHORTEST or (part.isalpha() and len(part) < LONGEST_WORD):
            continue
        plain = {part, quote(part), quote(part, safe=""), quote_plus(part), html.escape(part), repr(part)[1:-1]}
        yield from plain
        yield from (json.dumps(form, ensure_ascii=ascii_only)[1:-1] for form in plain for ascii_only in (True, False))
        yield base64.b64encode(part.encode()).decode().rstrip("=")
        if login:
            # the last characters depend on what follows, and are not needed to know it again
            yield base64.b64encode(f"{login}:{part}".encode()).decode().rstrip("=")[:-1]


def _parts(value: str, user: str) -> Iterator[tuple[str, str]]:
    """(secret, user name that stands before it in a basic login)."""
    if "://" in value:
        try:
            url = urlsplit(value)
            if url.password:
                yield unquote(url.password), unquote(url.username or "")
                yield url.password, url.username or ""
        except ValueError:
            yield value, user
            return
        yield from ((item, "") for _, item in parse_qsl(url.query) if len(item) > SHORTEST + 2)
    elif _IN_STRING.search(value) and ";" in value:
        for match in _IN_STRING.finditer(value):
            word = match[1].strip()
            yield (word[1:-1].replace("}}", "}") if word.startswith("{") else word), ""
    else:
        yield value, user


class Scrubbed:
    """A text stream that writes no known secret."""

    def __init__(self, stream: TextIO, hidden: Hidden = KNOWN) -> None:
        self._stream = stream
        self._hidden = hidden

    def write(self, text: str) -> int:
        self._stream.write(self._hidden.hide(text))
        return len(text)

    def writelines(self, lines: Any) -> None:
        for line in lines:
            self.write(line)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)
