"""Firebird: how to dial it, what its monitoring tables tell, and what it can do on the server."""

# ruff: noqa: ARG002 - the signatures are those of the seam

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from weighbridge.connectors._sql_dialects import Ask, Product, Reported
from weighbridge.connectors._watchdog import fuse
from weighbridge.connectors.base import Column, Observation
from weighbridge.connectors.session import Endpoint

__all__ = ["Firebird"]

TRUE = {"1", "true", "yes", "on"}
SWITCHES = ("no_gc", "no_db_triggers")
WORDS = ("charset", "role", "auth_plugin_list", "session_time_zone")
CHARSET = "UTF8"
QUOTE = "'"
PRIVILEGED = "(CURRENT_USER = 'SYSDBA' OR CURRENT_ROLE = 'RDB$ADMIN' OR CURRENT_USER = d.mon$owner)"
"""Whether this login sees the sessions of others and may do anything: the administrator and the database's owner."""


class Firebird(Product):
    name = "Firebird"
    default_port = 3050
    text_type = "VARCHAR(4000)"
    """Of the 32,765 bytes that a VARCHAR may have, four for each character."""
    limit = "ROWS {}"
    fraction = 4

    def dial(self, dialect: Any, url: Any, *, timeout: float, route: Endpoint | None, writes: bool) -> Any:
        from weighbridge.connectors._firebird import attach, load_client

        load_client(url.query.get("fb_client_library"))
        options = {"user": url.username, "password": url.password, "charset": CHARSET}
        options |= {name: url.query[name] for name in WORDS if name in url.query}
        options |= {name: str(url.query[name]).lower() in TRUE for name in SWITCHES if name in url.query}
        address, port = _address(url, route)
        connection = attach(address, port=port, timeout=timeout, writes=writes, options=options)
        try:
            with fuse(connection.abort, timeout + 1):
                _introduced(dialect, connection.info.engine_version)
        except BaseException:
            connection.close()
            raise
        return connection

    def settle(self, connection: Any, timeout: float) -> None:
        connection.timeout = timeout

    def line(self, connection: Any) -> Callable[[], None] | None:
        return getattr(connection, "abort", None)  # over ODBC the connection is another's

    def tls(self, connection: Any, ask: Ask) -> Mapping[str, Any] | None:
        info = getattr(connection, "info", None)
        if info is None:
            return None
        # not TLS, but Firebird's own encryption of the wire, under the key that the login agreed on
        encrypted = bool(info.is_encrypted())
        return {"tls": encrypted, "version": "WireCrypt" if encrypted else None, "cipher": None}

    def facts(self, ask: Ask, schema: str | None) -> Mapping[str, Any]:
        row = ask(
            "SELECT RDB$GET_CONTEXT('SYSTEM', 'ENGINE_VERSION'), TRIM(CURRENT_USER), TRIM(d.mon$database_name), "
            "TRIM(r.rdb$character_set_name), d.mon$sql_dialect, d.mon$read_only, d.mon$page_size, TRIM(CURRENT_ROLE), "
            f"CASE WHEN {PRIVILEGED} THEN 1 ELSE 0 END, "
            "(SELECT COUNT(DISTINCT p.rdb$relation_name) FROM rdb$user_privileges p JOIN rdb$relations t "
            "ON t.rdb$relation_name = p.rdb$relation_name WHERE COALESCE(t.rdb$system_flag, 0) = 0 "
            "AND p.rdb$privilege IN ('I', 'U', 'D') AND p.rdb$object_type = 0 "
            "AND p.rdb$user IN (CURRENT_USER, CURRENT_ROLE, 'PUBLIC')), "
            "(SELECT COUNT(*) FROM rdb$relations t WHERE COALESCE(t.rdb$system_flag, 0) = 0 "
            "AND t.rdb$view_blr IS NULL), "
            "(SELECT COUNT(*) FROM rdb$user_privileges p WHERE p.rdb$privilege = 'C' "
            "AND p.rdb$user IN (CURRENT_USER, CURRENT_ROLE, 'PUBLIC')) "
            "FROM mon$database d CROSS JOIN rdb$database r"
        )[0]
        privileged, read_only = bool(row[8]), bool(row[5])
        writable = int(row[10]) if privileged else int(row[9])
        return {
            "version": row[0],
            "user": row[1],
            "database": row[2],
            "encoding": row[3] or "NONE",
            "sql_dialect": row[4],
            "read_only": read_only,
            "page_size": row[6],
            "role": None if row[7] == "NONE" else row[7],
            "superuser": privileged,
            "writable_tables": 0 if read_only else writable,
            "can_create": privileged or row[11] > 0,
            "can_write": not read_only and (privileged or writable > 0 or row[11] > 0),
            "server_statement_timeout_ms": self._timeout(ask, str(row[0])),
        }

    def _timeout(self, ask: Ask, version: str) -> int:
        """Milliseconds that the server allows a statement of this session; 0 where there is no end."""
        if int(version.split(".", maxsplit=1)[0]) < 4:
            return 0  # Firebird 3 cannot: the client cancels
        return int(ask("SELECT mon$statement_timeout FROM mon$attachments "
                       "WHERE mon$attachment_id = CURRENT_CONNECTION")[0][0] or 0)  # fmt: skip

    def observations(self, facts: Mapping[str, Any]) -> Sequence[Observation]:
        if facts.get("sql_dialect") == 1:
            return (
                Observation(
                    "sql_dialect_1",
                    "the database is of SQL dialect 1, of InterBase's days: DATE holds a time of day, large numerics "
                    "are kept as floating point, and no name may be quoted",
                ),
            )
        return ()

    def limits(self, ask: Ask) -> Sequence[Reported]:
        used, privileged, version = ask(
            "SELECT (SELECT COUNT(*) FROM mon$attachments a WHERE a.mon$system_flag = 0 "
            "AND COALESCE(a.mon$remote_pid, -1) <> m.mon$remote_pid), "
            f"CASE WHEN {PRIVILEGED} THEN 1 ELSE 0 END, RDB$GET_CONTEXT('SYSTEM', 'ENGINE_VERSION') "
            "FROM mon$database d JOIN mon$attachments m ON m.mon$attachment_id = CURRENT_CONNECTION"
        )[0]
        # what this process holds itself is no background: one connection stands for it
        seen = float(used + 1) if privileged else None
        why = "Firebird has no limit of its own: memory and open files of the server end it"
        timeout = self._timeout(ask, str(version)) / 1000
        return [
            ("connections", "database", None, "connections", "concurrent", seen, {"why": why}),
            ("statement_timeout", "user", timeout or None, "seconds", None, None, {"set": timeout > 0}),
        ]

    def types(self, ask: Ask, table: str) -> Mapping[str, Any]:
        import sqlalchemy as sa

        # a computed decimal stands there as a whole number with a scale; an array as one of its elements
        rows = ask(
            "SELECT TRIM(c.rdb$field_name), -f.rdb$field_scale, f.rdb$dimensions FROM rdb$relation_fields c "
            "JOIN rdb$fields f ON f.rdb$field_name = c.rdb$field_source "
            f"WHERE c.rdb$relation_name = '{table.replace(QUOTE, QUOTE * 2)}' AND (f.rdb$dimensions > 0 "
            "OR (f.rdb$field_scale < 0 AND COALESCE(f.rdb$field_sub_type, 0) = 0 AND f.rdb$field_type IN (7, 8, 16)))"
        )
        return {name: sa.ARRAY(sa.Text()) if arrays else sa.Numeric(18, scale) for name, scale, arrays in rows}

    def indexes(self, ask: Ask, table: str) -> Sequence[tuple[str, ...]] | None:
        # those that were switched off help nobody, and those of foreign keys count too
        rows = ask(
            "SELECT TRIM(i.rdb$index_name), TRIM(s.rdb$field_name) FROM rdb$indices i "
            "JOIN rdb$index_segments s ON s.rdb$index_name = i.rdb$index_name "
            f"WHERE i.rdb$relation_name = '{table.replace(QUOTE, QUOTE * 2)}' "
            "AND COALESCE(i.rdb$index_inactive, 0) = 0 "
            "ORDER BY i.rdb$index_name, s.rdb$field_position"
        )
        found: dict[str, list[str]] = {}
        for index, column in rows:
            found.setdefault(index, []).append(column)
        return list(dict.fromkeys(map(tuple, found.values())))

    def as_text(self, quoted: str, column: Column | None) -> str:
        native = "" if column is None else column.native
        if any(word in native for word in ("character set octets", "character set none", "binary", "array")):
            return "CAST(NULL AS VARCHAR(1))"  # bytes that are text of no code page
        # a longer text would end the whole statement
        return f"CAST(CASE WHEN CHAR_LENGTH({quoted}) <= 4000 THEN {quoted} END AS {self.text_type})"

    def upsert(
        self, table: str, columns: Sequence[str], values: str, key: str, quoted: Callable[[str], str]
    ) -> str | None:
        names = ", ".join(quoted(c) for c in columns)
        return f"UPDATE OR INSERT INTO {table} ({names}) VALUES ({values}) MATCHING ({quoted(key)})"


def _address(url: Any, route: Endpoint | None) -> tuple[str, int | None]:
    """The database as the client library takes it, and its port."""
    host = url.host if route is None else route.host
    port = (url.port or Firebird.default_port) if route is None else route.port
    if not host:
        return str(url.database), None  # the engine inside this process
    return f"inet://{f'[{host}]' if ':' in host else host}:{port}/{url.database}", port


def _introduced(dialect: Any, version: float) -> None:
    """What SQLAlchemy's dialect learns on its own first connection, which ours is not."""
    from sqlalchemy.engine.interfaces import BindTyping

    if dialect.server_version_info is None:
        from sqlalchemy_firebird import fb_info30, fb_info40

        dialect.server_version_info = (int(version), round(version * 10) % 10)
        words = fb_info30 if version < 4 else fb_info40
        dialect.identifier_preparer.reserved_words = words.RESERVED_WORDS
        # a cast around each parameter keeps an index from being used
        dialect.bind_typing = BindTyping.NONE
