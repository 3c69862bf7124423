"""Fills `${NAME}` and `${keyring:service/user}` into settings, and knows which settings are secret.

The environment wins over `.env`. What could not be filled is reported by name, never by value.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

__all__ = ["SECRET_KEYS", "Resolver", "is_reference"]

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
