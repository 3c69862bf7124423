"""What an error says can be shown on a terminal, whatever the system put into its words."""

from __future__ import annotations

import pytest

from weighbridge.connectors.errors import ConnectorError, RetriableError


@pytest.mark.parametrize(
    "evil", ["\x1b]0;title\x07", "\x1b[31mred", "\x9b31m", "back\x08space", "\u202eturned", "nul\x00", "line\rover"]
)
@pytest.mark.parametrize("kind", [ConnectorError, RetriableError])
def test_no_control_character_reaches_a_message(kind: type[ConnectorError], evil: str) -> None:
    error = kind(f"crm: the system says: {evil}", remedy="Wait.")
    assert not set(str(error)) & set("\x00\x07\x08\r\x1b\x9b\u202e")
    assert str(error).startswith("crm: the system says: ")
    assert "Wait." in str(error)


def test_lines_and_letters_stay() -> None:
    assert ConnectorError("Straße\n\tnaïve 日本 🙂 \u200d").message == "Straße\n\tnaïve 日本 🙂 \u200d"
