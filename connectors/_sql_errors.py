"""Class a database's error by what the caller can do about it, from SQLSTATE, error number or words."""

from __future__ import annotations

import re
from typing import Any

from weighbridge.connectors.errors import (
    AccessError,
    AuthError,
    ConnectorError,
    DriverError,
    FileError,
    MissingObjectError,
    ProtocolError,
    RejectedError,
    RetriableError,
    ThrottledError,
    UnreachableError,
)

__all__ = ["classify"]

AUTH = (AuthError, "Check user and password, and that this login may connect from here.")
THROTTLED = (
    ThrottledError,
    "All connections are taken: fewer callers, a connection pool in front, or a higher connection limit.",
)
UNREACHABLE = (UnreachableError, "Check host, port, firewall and that the server is running.")
SLOW = (UnreachableError, "The statement ran into the timeout: an index is missing, or the timeout is too short.")
LOCKED = (RetriableError, "Another session holds a lock; look for long transactions.")
ACCESS = (AccessError, "Ask the owner of the database to grant this login what the message names.")
MISSING = (MissingObjectError, "Check name, schema and spelling.")
DATABASE = (AuthError, "The server answers but has no such database; check the name in the url.")
REJECTED = (RejectedError, "")
GARBLED = (ProtocolError, "Something between here and the server garbles the conversation.")
DRIVER = (DriverError, "Install the driver that the message names.")
FILE = (FileError, "Check the path, and that it is a database file this user may read.")

Rule = tuple[type[ConnectorError], str]

SQLSTATES: tuple[tuple[str, Rule], ...] = (
    # longest prefixes first; PostgreSQL's appendix A and the ODBC reference's appendix A
    ("53300", THROTTLED),
    ("53400", THROTTLED),
    ("57014", SLOW),
    ("57P03", UNREACHABLE),
    ("57P01", UNREACHABLE),
    ("57P02", UNREACHABLE),
    ("55P03", LOCKED),
    ("40001", LOCKED),
    ("40P01", LOCKED),
    ("42501", ACCESS),
    ("25006", ACCESS),
    ("42P01", MISSING),
    ("42703", MISSING),
    ("3F000", MISSING),
    ("3D000", DATABASE),
    ("42S02", MISSING),
    ("42S22", MISSING),
    ("HY008", SLOW),
    ("HYT00", SLOW),
    ("HYT01", UNREACHABLE),
    ("IM002", DRIVER),
    ("IM003", DRIVER),
    ("08P01", GARBLED),
    ("08", UNREACHABLE),
    ("28", AUTH),
    ("57", UNREACHABLE),
    ("22", REJECTED),
    ("23", REJECTED),
)

FIREBIRD_FILE = (
    DATABASE[0],
    (
        "The server answers but has no such database file: an absolute path begins with a second slash "
        "(host:port//data/x); without one it is an alias of the server's databases.conf."
    ),
)
NUMBERS: dict[int, Rule] = {
    # MySQL and MariaDB server and client errors
    1040: THROTTLED,
    1203: THROTTLED,
    1226: THROTTLED,
    1044: ACCESS,
    1045: AUTH,
    1698: AUTH,
    1049: DATABASE,
    1142: ACCESS,
    1143: ACCESS,
    1227: ACCESS,
    1290: ACCESS,
    1792: ACCESS,
    1146: MISSING,
    1054: MISSING,
    1205: LOCKED,
    1213: LOCKED,
    1969: SLOW,
    3024: SLOW,
    2002: UNREACHABLE,
    2003: UNREACHABLE,
    2005: UNREACHABLE,
    2006: UNREACHABLE,
    2013: UNREACHABLE,
    # Firebird's codes (iberror.h); its SQLSTATEs call a missing right a failed login
    335544323: FILE,  # not a valid database
    335544335: FILE,  # corrupt
    335544344: FIREBIRD_FILE,
    335544352: ACCESS,
    335544361: ACCESS,  # read-only transaction
    335544375: UNREACHABLE,  # unavailable database
    335544421: (UNREACHABLE[0], "What listens there does not answer as a Firebird server; check host and port."),
    335544472: AUTH,
    335544528: UNREACHABLE,  # shut down by its administrator
    335544565: (REJECTED[0], "To have the bytes as they are, add ?charset=NONE to the url."),
    335544794: SLOW,  # cancelled by the client after its timeout
    335544856: UNREACHABLE,  # connection shutdown
    335545065: (UNREACHABLE[0], "Client and server disagree whether the wire is encrypted (WireCrypt)."),
}

WORDS: tuple[tuple[str, Rule], ...] = (
    # messages where neither is given: libpq's connection errors, SQLite, ODBC driver managers
    (r"too many connections|too many clients|connection slots are reserved|max_user_connections", THROTTLED),
    (
        (
            r"authentication failed|no password supplied|login failed|pg_hba\.conf|role .* does not exist"
            r"|role .* is not permitted to log in|access denied for user|logon denied"
        ),
        AUTH,
    ),
    (r"database .* does not exist|unknown database", DATABASE),
    (r"can't open lib|data source name not found|no default driver", DRIVER),
    (r"no such table|no such column|unknown column|doesn't exist|couldn't find object|invalid object name", MISSING),
    (r"readonly database|read-only|permission denied|not authorized|command denied", ACCESS),
    (r"database is locked|deadlock|lock wait timeout|lock timeout", LOCKED),
    (r"^interrupted|statement timeout|query execution was interrupted|query timeout", SLOW),
    (r"unable to open database file|file is not a database|malformed|file is encrypted|disk i/o error", FILE),
    (
        (
            r"could not translate host|name or service not known|connection refused|timeout expired|timed out|no route"
            r"|network is unreachable|could not connect|can't connect|server closed the connection|connection reset"
            r"|connection is closed|connection is lost|consuming input failed|lost connection|broken pipe|eof detected"
            r"|starting up|shutting down|ssl syscall|unexpectedly|unix domain socket|resolve host"
        ),
        UNREACHABLE,
    ),
    (r"ssl|certificate", (UnreachableError, "TLS could not be agreed on: check sslmode, ca_file and host name.")),
    (r"lost synchronization|invalid message|packet sequence|malformed packet", GARBLED),
)

SECRET = re.compile(r"(?i)(password|pwd|passwd)\s*=\s*('[^']*'|\{[^}]*\}|[^\s;]+)")
LOGIN = re.compile(r"(://[^:/@\s]+):[^@\s]+@")


def words(error: BaseException) -> str:
    """The error's text in one line, with anything that looks like a credential taken out."""
    text = " ".join(str(part) for part in (error.args or (error,)) if not isinstance(part, int))
    text = SECRET.sub(r"\1=***", LOGIN.sub(r"\1:***@", text))
    return " ".join(text.split())[:600]


def classify(error: BaseException, where: str) -> ConnectorError:
    """The connector error for what a driver raised; `where` names the system and what was being done."""
    if isinstance(error, ConnectorError):
        return error
    state, number = _codes(error)
    text = words(error)
    kind, remedy = _rule(state, number, text)
    return kind(f"{where}: {text}" if text else f"{where}: {type(error).__name__}.", remedy=remedy)


def _codes(error: BaseException) -> tuple[str | None, int | None]:
    first: Any = error.args[0] if error.args else None
    state = getattr(error, "sqlstate", None)
    if state is None and isinstance(first, str) and re.fullmatch(r"[0-9A-Z]{5}", first):
        state = first
    if isinstance(first, int):
        return state, first
    # Firebird tells a chain of codes, the general ones first
    return state, next((code for code in getattr(error, "gds_codes", None) or () if code in NUMBERS), None)


def _rule(state: str | None, number: int | None, text: str) -> Rule:
    lowered = text.lower()
    if number in NUMBERS:
        return NUMBERS[number]
    # a driver's general states say less than its words (HY000, 42000, 08001 of an ODBC driver)
    if state and state not in {"HY000", "42000", "08001", "08004", "01000", "S1000", "08S01"}:
        for prefix, rule in SQLSTATES:
            if state.startswith(prefix):
                return rule
    for pattern, rule in WORDS:
        if re.search(pattern, lowered):
            return rule
    if state:
        for prefix, rule in SQLSTATES:
            if state.startswith(prefix):
                return rule
    return REJECTED
