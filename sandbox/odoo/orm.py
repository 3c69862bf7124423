"""The stand-in's little ORM: models, users, record rules and field groups, with the methods clients call."""

from __future__ import annotations

import bisect
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, date, datetime
from itertools import islice
from typing import Any

from weighbridge.sandbox.odoo.domain import BadDomain, compile_domain

__all__ = ["Fault", "FieldDef", "Model", "Registry", "User"]

Record = dict[str, Any]
NULL_IS_FALSE = {"char", "text", "html", "selection", "date", "datetime", "many2one", "binary", "reference"}


class Fault(Exception):
    """An exception of the server: `name` as in `error.data.name`; `status` for the JSON-2 interface."""

    def __init__(self, name: str, message: str, status: int = 500) -> None:
        super().__init__(message)
        self.name, self.message, self.status = name, message, status


def access_error(message: str) -> Fault:
    return Fault("odoo.exceptions.AccessError", message, 403)


@dataclass(frozen=True, slots=True)
class FieldDef:
    type: str
    string: str = ""
    required: bool = False
    relation: str | None = None
    inverse: str | None = None
    """Field of `relation` that points back, for a one2many."""
    selection: tuple[tuple[str, str], ...] = ()
    size: int | None = None
    digits: tuple[int, int] | None = None
    store: bool = True
    readonly: bool = False
    group: str | None = None
    """Only users of this group see the field."""
    compute: Callable[[Record], Any] | None = None


@dataclass(slots=True)
class User:
    uid: int
    login: str
    password: str
    api_key: str = ""
    groups: frozenset[str] = frozenset()
    company_ids: tuple[int, ...] = (1,)
    rules: dict[str, list[Any]] = field(default_factory=dict)
    """Record rules: a domain a model, silently added to every search and checked on every read."""
    denied: frozenset[str] = frozenset()
    """Models without any access."""
    readonly: bool = False


class Model:
    """One model with its records in order of their id."""

    def __init__(self, name: str, fields: Mapping[str, FieldDef], *, description: str = "") -> None:
        self.name = name
        self.description = description or name
        base = {
            "id": FieldDef("integer", "ID", readonly=True),
            "display_name": FieldDef("char", "Display Name", store=False, readonly=True, compute=_display),
            "create_date": FieldDef("datetime", "Created on", readonly=True),
            "write_date": FieldDef("datetime", "Last Updated on", readonly=True),
        }
        self.fields: dict[str, FieldDef] = {**base, **fields}
        self.records: dict[int, Record] = {}
        self.ids: list[int] = []
        self.next_id = 1

    def load(self, rows: Iterable[Record]) -> None:
        for row in rows:
            self.add(row)

    def add(self, row: Record) -> int:
        number = row.get("id") or self.next_id
        self.next_id = max(self.next_id, number + 1)
        self.records[number] = dict.fromkeys(self.fields) | row | {"id": number}
        if not self.ids or number > self.ids[-1]:
            self.ids.append(number)
        else:
            bisect.insort(self.ids, number)
        return number


def _by_id(order: str | None) -> bool:
    return not order or order.strip().lower() in ("id", "id asc")


def _display(record: Record) -> str:
    return str(record.get("name") or f"#{record['id']}")


class Registry:
    """All models of one database, and what a user may do with them."""

    def __init__(self, clock: Callable[[], datetime] | None = None) -> None:
        self.models: dict[str, Model] = {}
        self.users: dict[int, User] = {}
        self.clock = clock or (lambda: datetime.now(UTC).replace(tzinfo=None, microsecond=0))

    def call(self, user: User, model_name: str, method: str, args: list[Any], kwargs: dict[str, Any]) -> Any:
        """Run one public method as `user`. Raises Fault."""
        model = self.models.get(model_name)
        if model is None:
            raise Fault("odoo.exceptions.UserError", f"Object {model_name} doesn't exist", 404)
        handler = getattr(_Calls, method, None) if not method.startswith("_") else None
        if handler is None:
            raise Fault("builtins.AttributeError", f"The method '{model_name}.{method}' does not exist", 404)
        context = kwargs.pop("context", None) or {}
        try:
            return handler(_Calls(self, user, model, context), *args, **kwargs)
        except BadDomain as problem:
            raise Fault("builtins.ValueError", str(problem)) from None
        except TypeError as problem:
            raise Fault("builtins.TypeError", str(problem), 422) from None


class _Calls:
    """One call's view: a model as one user sees it in one context."""

    def __init__(self, registry: Registry, user: User, model: Model, context: Mapping[str, Any]) -> None:
        self._registry, self._user, self._model, self._context = registry, user, model, context

    # --- what domains ask -------------------------------------------------------------------------------------

    def _walk(self, record: int, path: str) -> Iterable[tuple[Model, Record, str]]:
        head, _, rest = path.partition(".")
        row = self._model.records[record]
        if not rest:
            yield self._model, row, head
            return
        target = self._registry.models[str(self._model.fields[head].relation)]
        other = _Calls(self._registry, self._user, target, self._context)
        for number in self._linked(row, head):
            yield from other._walk(number, rest)

    def value(self, record: int, path: str) -> Any:
        found = [self._raw(model, row, name) for model, row, name in self._walk(record, path)]
        return found[0] if len(found) == 1 else (found or None)

    def check(self, path: str) -> str:
        model = self._model
        parts = path.split(".")
        for position, name in enumerate(parts):
            declared = model.fields.get(name)
            if declared is None or not self._visible(declared):
                raise BadDomain(f"Invalid field {model.name}.{name} in leaf")
            if position == len(parts) - 1:
                return declared.type
            if declared.relation is None:
                raise BadDomain(f"Invalid field {model.name}.{path} in leaf")
            model = self._registry.models[declared.relation]
        raise BadDomain("an empty field in leaf")

    def names(self, record: int, path: str) -> list[str]:
        found: list[str] = []
        for model, row, name in self._walk(record, path):
            target = self._registry.models[str(model.fields[name].relation)]
            other = _Calls(self._registry, self._user, model, self._context)
            found += [_display(target.records[n]) for n in other._linked(row, name) if n in target.records]
        return found

    def _linked(self, row: Record, name: str) -> list[int]:
        value = self._raw(self._model, row, name)
        return value if isinstance(value, list) else [] if value is None else [value]

    def _raw(self, model: Model, row: Record, name: str) -> Any:
        declared = model.fields[name]
        if declared.type == "one2many":
            target = self._registry.models[str(declared.relation)]
            return [n for n, r in target.records.items() if r[str(declared.inverse)] == row["id"]]
        return declared.compute(row) if declared.compute else row[name]

    # --- access -----------------------------------------------------------------------------------------------

    def _visible(self, declared: FieldDef) -> bool:
        return declared.group is None or declared.group in self._user.groups

    def _allow(self, what: str) -> None:
        if self._model.name in self._user.denied or (what != "read" and self._user.readonly):
            raise access_error(
                f"You are not allowed to {'access' if what == 'read' else what} "
                f"'{self._model.description}' ({self._model.name}) records."
            )

    def _rule(self) -> Callable[[int], bool]:
        own = compile_domain(self._user.rules.get(self._model.name, []), self)
        if "company_id" not in self._model.fields:
            return own
        allowed = set(self._user.company_ids)
        asked = self._context.get("allowed_company_ids")
        if asked is not None:
            if not set(asked) <= allowed:
                raise access_error("Access to unauthorized or invalid companies.")
            allowed = set(asked)
        records = self._model.records
        return lambda n: (records[n]["company_id"] is None or records[n]["company_id"] in allowed) and own(n)

    def _found(self, domain: Any) -> Iterator[int]:
        """Ids in their order, lazily: a page by id costs what it returns, not what the table holds."""
        self._allow("read")
        test, rule = compile_domain(domain or [], self), self._rule()
        ids = self._model.ids
        for term in domain or []:
            if isinstance(term, list | tuple) and tuple(term[:2]) == ("id", ">") and isinstance(term[2], int):
                if not any(t in ("|", "!") for t in domain):
                    ids = ids[bisect.bisect_right(ids, term[2]) :]
                break
        hidden = self._hidden(domain)
        return (n for n in ids if not hidden(n) and test(n) and rule(n))

    def _hidden(self, domain: Any) -> Callable[[int], bool]:
        """Archived records are left out unless asked for."""
        mentioned = any(isinstance(t, list | tuple) and t[0] == "active" for t in domain or [])
        if "active" not in self._model.fields or mentioned or self._context.get("active_test", True) is False:
            return lambda _n: False
        records = self._model.records
        return lambda n: records[n]["active"] is False

    # --- public methods ---------------------------------------------------------------------------------------

    def fields_get(self, allfields: Any = None, attributes: Any = None) -> dict[str, Any]:
        found: dict[str, Any] = {}
        for name, declared in self._model.fields.items():
            if not self._visible(declared) or (allfields and name not in allfields):
                continue
            about: dict[str, Any] = {
                "type": declared.type,
                "string": declared.string or name.replace("_", " ").title(),
                "required": declared.required,
                "readonly": declared.readonly,
                "store": declared.store,
                "searchable": declared.store,
                "sortable": declared.store,
                "name": name,
            }
            if declared.relation:
                about["relation"] = declared.relation
            if declared.inverse:
                about["relation_field"] = declared.inverse
            if declared.selection:
                about["selection"] = [list(pair) for pair in declared.selection]
            if declared.size:
                about["size"] = declared.size
            if declared.digits:
                about["digits"] = list(declared.digits)
            found[name] = {k: v for k, v in about.items() if not attributes or k in attributes}
        return found

    def search(
        self, domain: Any = None, offset: int = 0, limit: int | None = None, order: str | None = None
    ) -> list[int]:
        end = None if limit in (None, False) else offset + int(limit or 0)
        if _by_id(order):
            return list(islice(self._found(domain), offset, end))
        return self._sorted(list(self._found(domain)), str(order))[offset:end]

    def search_count(self, domain: Any = None, limit: int | None = None) -> int:
        count = sum(1 for _ in self._found(domain))
        return count if limit in (None, False) else min(count, int(limit or 0))

    def search_read(
        self,
        domain: Any = None,
        fields: Any = None,
        offset: int = 0,
        limit: int | None = None,
        order: str | None = None,
        load: str = "_classic_read",
    ) -> list[Record]:
        return self._read(self.search(domain, offset, limit, order), fields, load)

    def read(self, ids: Any, fields: Any = None, load: str = "_classic_read") -> list[Record]:
        self._allow("read")
        asked = [ids] if isinstance(ids, int) else list(ids)
        present = [n for n in asked if n in self._model.records]
        rule = self._rule()
        if not all(rule(n) for n in present):
            raise access_error(
                f"Due to security restrictions, you are not allowed to access '{self._model.description}' records."
            )
        return self._read(present, fields, load)

    def _read(self, ids: list[int], fields: Any, load: str) -> list[Record]:
        names = list(fields) if fields else [n for n, d in self._model.fields.items() if self._visible(d)]
        for name in names:
            declared = self._model.fields.get(name)
            if declared is None:
                raise Fault("builtins.ValueError", f"Invalid field '{name}' on model '{self._model.name}'")
            if not self._visible(declared):
                raise access_error(
                    f'You do not have enough rights to access the field "{name}" on {self._model.description} '
                    f"({self._model.name})."
                )
        names = list(dict.fromkeys(["id", *names]))
        return [{name: self._shown(self._model.records[n], name, load) for name in names} for n in ids]

    def _shown(self, row: Record, name: str, load: str) -> Any:
        declared = self._model.fields[name]
        value = self._raw(self._model, row, name)
        if value is None:
            return False if declared.type in NULL_IS_FALSE else [] if declared.type.endswith("2many") else 0
        if declared.type == "many2one" and load == "_classic_read":
            target = self._registry.models[str(declared.relation)].records.get(value)
            return [value, _display(target)] if target else False
        if isinstance(value, datetime):
            return value.strftime("%Y-%m-%d %H:%M:%S")
        return value.isoformat() if isinstance(value, date) else value

    def _sorted(self, ids: list[int], order: str) -> list[int]:
        found = list(ids)
        for part in reversed(order.split(",")):
            words = part.split()
            if not words or words[0] not in self._model.fields:
                raise Fault("builtins.ValueError", f"Invalid order part '{part.strip()}'")
            name, descending = words[0], len(words) > 1 and words[1].lower() == "desc"
            records = self._model.records
            found.sort(key=lambda n: (records[n][name] is None, records[n][name]), reverse=descending)
        return found

    def name_get(self, ids: Any) -> list[list[Any]]:
        return [[r["id"], r["display_name"]] for r in self.read(ids, ["display_name"])]

    def name_search(self, name: str = "", args: Any = None, operator: str = "ilike", limit: int = 100) -> list[Any]:
        ids = self.search([*(args or []), ["name", operator, name]] if name else args, limit=limit)
        return [[n, _display(self._model.records[n])] for n in ids]

    def exists(self, ids: Any) -> list[int]:
        return [n for n in ([ids] if isinstance(ids, int) else ids) if n in self._model.records]

    def check_access_rights(self, operation: str, raise_exception: bool = True) -> bool:
        try:
            self._allow(operation)
        except Fault:
            if raise_exception:
                raise
            return False
        return True

    def default_get(self, fields: Any) -> dict[str, Any]:
        return {"active": True} if "active" in self._model.fields and "active" in fields else {}

    def context_get(self) -> dict[str, Any]:
        return {"lang": "en_US", "tz": "UTC", "uid": self._user.uid}

    def create(self, vals_list: Any) -> Any:
        self._allow("create")
        rows = vals_list if isinstance(vals_list, list) else [vals_list]
        made: list[int] = []
        now = self._registry.clock()
        checked = [self._checked(values) for values in rows]
        for row in checked:
            for name, declared in self._model.fields.items():
                if declared.required and row.get(name) is None:
                    raise Fault(
                        "odoo.exceptions.ValidationError",
                        f"The operation cannot be completed: Missing required value for the field '{name}'.",
                        422,
                    )
            if "active" in self._model.fields:
                row.setdefault("active", True)
            if "company_id" in self._model.fields:
                row.setdefault("company_id", self._user.company_ids[0])
            made.append(self._model.add({**row, "create_date": now, "write_date": now}))
        return made if isinstance(vals_list, list) else made[0]

    def write(self, ids: Any, vals: Mapping[str, Any]) -> bool:
        self._allow("write")
        rows = [self._model.records.get(n) for n in ([ids] if isinstance(ids, int) else ids)]
        if any(row is None for row in rows):
            raise Fault("odoo.exceptions.MissingError", "Record does not exist or has been deleted.", 404)
        checked = self._checked(vals) | {"write_date": self._registry.clock()}
        for row in rows:
            if row is not None:
                row.update(checked)
        return True

    def unlink(self, ids: Any) -> bool:
        self._allow("unlink")
        for n in [ids] if isinstance(ids, int) else list(ids):
            if self._model.records.pop(n, None) is not None:
                self._model.ids.pop(bisect.bisect_left(self._model.ids, n))
        return True

    def _checked(self, values: Mapping[str, Any]) -> Record:
        row: Record = {}
        for name, value in values.items():
            declared = self._model.fields.get(name)
            if declared is None:
                raise Fault("builtins.ValueError", f"Invalid field '{name}' on model '{self._model.name}'")
            if declared.readonly or declared.compute:
                continue
            row[name] = self._value(name, declared, value)
        return row

    def _value(self, name: str, declared: FieldDef, value: Any) -> Any:
        if value is False and declared.type != "boolean":
            return None
        if value is None:
            return None
        try:
            if declared.type == "datetime":
                return datetime.fromisoformat(str(value))
            if declared.type == "date":
                return date.fromisoformat(str(value)[:10])
            if declared.type == "integer":
                return int(value)
            if declared.type in ("float", "monetary"):
                return float(value)
        except (ValueError, TypeError):
            raise Fault("builtins.ValueError", f"Wrong value for {self._model.name}.{name}: {value!r:.60}") from None
        if declared.type == "selection" and value not in [key for key, _ in declared.selection]:
            raise Fault("builtins.ValueError", f"Wrong value for {self._model.name}.{name}: {value!r:.60}")
        if declared.type == "many2one" and value not in self._registry.models[str(declared.relation)].records:
            raise Fault(
                "odoo.exceptions.ValidationError",
                f"The operation cannot be completed: the record {value} of {declared.relation} does not exist.",
                422,
            )
        return value
