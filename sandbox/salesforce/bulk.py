"""Bulk API 2.0 (CSV query and ingest jobs) and Bulk API 1 (JSON batches) over an `Org`."""

from __future__ import annotations

import csv
import io
import time
from dataclasses import dataclass, field
from typing import Any

from weighbridge.sandbox.salesforce import soql
from weighbridge.sandbox.salesforce.model import ApiError
from weighbridge.sandbox.salesforce.org import Org, Record, Store, User

__all__ = ["Bulk"]

_DELIMITERS = {"BACKQUOTE": "`", "CARET": "^", "COMMA": ",", "PIPE": "|", "SEMICOLON": ";", "TAB": "\t"}


@dataclass(slots=True)
class Job:
    id: str
    operation: str
    user: User
    object: str = ""
    state: str = "Open"
    external: str | None = None
    delimiter: str = "COMMA"
    ending: str = "LF"
    query: str = ""
    columns: list[str] = field(default_factory=list)
    rows: list[list[str]] = field(default_factory=list)
    uploaded: str = ""
    ready: float = 0.0
    done: list[tuple[str, bool, Record]] = field(default_factory=list)
    failed: list[tuple[str, Record]] = field(default_factory=list)
    error: str | None = None
    batches: dict[str, dict[str, Any]] = field(default_factory=dict)


class Bulk:
    """The jobs of one org. `latency_s` is how long a job takes until it is complete."""

    def __init__(self, org: Org) -> None:
        self.org = org
        self.jobs: dict[str, Job] = {}
        self.latency_s = 0.0
        self.page_rows = 50_000
        self._serial = 0

    def _new(self, operation: str, user: User) -> Job:
        self._serial += 1
        job = Job(f"750xx{self._serial:010d}AAA", operation, user)
        self.jobs[job.id] = job
        return job

    def _job(self, job_id: str) -> Job:
        job = self.jobs.get(job_id)
        if job is None:
            raise ApiError(404, "NOT_FOUND", "The requested resource does not exist")
        if job.state == "InProgress" and time.monotonic() >= job.ready:
            job.state = "JobComplete" if job.error is None else "Failed"
        return job

    def handle(self, call: Any, reply: Any) -> Any:
        """Bulk API 2.0 behind `/services/data/vX/jobs/`."""
        parts = [p for p in call.parts[1:] if p]
        kind = parts[0] if parts else ""
        if kind not in ("query", "ingest"):
            raise ApiError(404, "NOT_FOUND", "The requested resource does not exist")
        if len(parts) == 1:
            if call.method == "POST":
                made = self._create_query(call) if kind == "query" else self._create_ingest(call)
                return reply(200, self._info(made))
            jobs = [
                self._info(j) for j in self.jobs.values() if (j.operation in ("query", "queryAll")) == (kind == "query")
            ]
            return reply(200, {"done": True, "nextRecordsUrl": None, "records": jobs})
        job = self._job(parts[1])
        if len(parts) == 2:
            return self._one(call, reply, job)
        if kind == "query" and parts[2] == "results":
            return self._results(call, reply, job)
        if kind == "ingest" and parts[2] == "batches" and call.method == "PUT":
            if job.state != "Open":
                raise ApiError(400, "INVALIDJOBSTATE", "Batch can be uploaded only to an open job")
            job.uploaded += call.body.decode("utf-8")
            return reply(201)
        if kind == "ingest" and call.method == "GET":
            return self._ingested(reply, job, parts[2])
        raise ApiError(404, "NOT_FOUND", "The requested resource does not exist")

    def _one(self, call: Any, reply: Any, job: Job) -> Any:
        if call.method == "GET":
            return reply(200, self._info(job))
        if call.method == "DELETE":
            if job.state in ("InProgress", "UploadComplete"):
                raise ApiError(400, "API_ERROR", "The job must be finished or aborted before it is deleted")
            del self.jobs[job.id]
            return reply(204)
        if call.method == "PATCH":
            state = call.json().get("state")
            if state == "Aborted":
                job.state = "Aborted"
            elif state == "UploadComplete" and job.state == "Open":
                self._ingest(job)
            else:
                raise ApiError(400, "INVALIDJOBSTATE", f"state cannot be set to {state}")
            return reply(200, self._info(job))
        raise ApiError(405, "METHOD_NOT_ALLOWED", f"HTTP Method '{call.method}' not allowed.")

    def _info(self, job: Job) -> dict[str, Any]:
        return {
            "id": job.id,
            "operation": job.operation,
            "object": job.object,
            "createdById": job.user.id,
            "state": job.state,
            "externalIdFieldName": job.external,
            "concurrencyMode": "Parallel",
            "contentType": "CSV",
            "apiVersion": float(self.org.version),
            "lineEnding": job.ending,
            "columnDelimiter": job.delimiter,
            "contentUrl": f"services/data/v{self.org.version}/jobs/ingest/{job.id}/batches",
            "numberRecordsProcessed": len(job.rows) or len(job.done) + len(job.failed),
            "numberRecordsFailed": len(job.failed),
            "retries": 0,
            "totalProcessingTime": 0,
            "errorMessage": job.error,
        }

    # --- query ---

    def _create_query(self, call: Any) -> Job:
        asked = call.json()
        operation = asked.get("operation")
        if operation not in ("query", "queryAll"):
            raise ApiError(400, "INVALIDOPERATION", "operation must be query or queryAll")
        query = soql.parse(asked.get("query", ""))
        if query.aggregated or query.count_only or query.offset:
            raise ApiError(400, "INVALIDJOB", "Aggregate queries and OFFSET are not supported by Bulk API 2.0")
        lens = self.org.lens(call.user)
        getters: list[Any] = []
        columns: list[str] = []
        for item in query.selected:
            getter, definition = lens.field_of(self.org.store(query.object).type, item.path)
            getters.append((getter, definition.type))
            columns.append(item.path if "." in item.path else definition.name)
        found = lens.matching(query, deleted=operation == "queryAll")
        job = self._new(operation, call.user)
        job.object, job.query, job.columns = query.object, asked["query"], columns
        job.delimiter = asked.get("columnDelimiter", "COMMA")
        job.ending = asked.get("lineEnding", "LF")
        job.rows = [[_text(g(r), kind) for g, kind in getters] for r in found]
        job.state = "InProgress"
        job.ready = time.monotonic() + self.latency_s
        return self._job(job.id)

    def _results(self, call: Any, reply: Any, job: Job) -> Any:
        if job.state != "JobComplete":
            raise ApiError(400, "INVALIDJOBSTATE", "The job is not complete")
        most = min(int(call.params.get("maxRecords", self.page_rows)), self.page_rows)
        locator = call.params.get("locator", "")
        start = int(locator.removeprefix("MTAwMDA")) if locator.removeprefix("MTAwMDA").isdigit() else 0
        rows = job.rows[start : start + most]
        more = start + most < len(job.rows)
        headers = {
            "Sforce-Locator": f"MTAwMDA{start + most}" if more else "null",
            "Sforce-NumberOfRecords": str(len(rows)),
        }
        body = _csv([job.columns, *rows], job)
        return reply(200, None, headers, body.encode(), "text/csv", len(rows))

    # --- ingest ---

    def _create_ingest(self, call: Any) -> Job:
        asked = call.json()
        operation = asked.get("operation")
        if operation not in ("insert", "update", "upsert", "delete", "hardDelete"):
            raise ApiError(400, "INVALIDOPERATION", f"unknown operation {operation}")
        store = self.org.store(asked.get("object", ""))
        job = self._new(operation, call.user)
        job.object = store.type.name
        job.delimiter = asked.get("columnDelimiter", "COMMA")
        job.ending = asked.get("lineEnding", "LF")
        job.external = asked.get("externalIdFieldName")
        if operation == "upsert" and not job.external:
            raise ApiError(400, "INVALIDJOB", "externalIdFieldName is required for upsert")
        return job

    def _ingest(self, job: Job) -> None:
        job.state = "InProgress"
        job.ready = time.monotonic() + self.latency_s
        reader = csv.DictReader(io.StringIO(job.uploaded), delimiter=_DELIMITERS.get(job.delimiter, ","))
        store = self.org.store(job.object)
        job.columns = list(reader.fieldnames or [])
        for row in reader:
            values: Record = {k: (None if v in ("", "#N/A") else v) for k, v in row.items() if k}
            try:
                job.done.append((*self._apply(job.operation, store, values, job.external, job.user), values))
            except ApiError as error:
                job.failed.append((f"{error.code}:{error.message}:{' '.join(error.fields)} --", values))
        self._job(job.id)

    def _apply(
        self, operation: str, store: Store, values: Record, external: str | None, user: User
    ) -> tuple[str, bool]:
        record_id = str(values.get("Id") or values.get("id") or "")
        rest = {k: v for k, v in values.items() if k.lower() != "id"}
        if operation == "insert":
            return self.org.create(store, rest, user), True
        if operation == "upsert":
            name = external or ""
            value = next((v for k, v in values.items() if k.lower() == name.lower()), None)
            if name.lower() == "id":
                if not record_id:
                    return self.org.create(store, rest, user), True
                self.org.update(store, record_id, rest, user)
                return record_id, False
            if value is None:
                raise ApiError(400, "MISSING_ARGUMENT", f"{name} not specified", fields=(name,))
            return self.org.upsert(store, name, str(value), rest, user)
        if operation == "update":
            self.org.update(store, record_id, rest, user)
        else:
            self.org.delete(store, record_id, user)
            if operation == "hardDelete":
                store.bin.pop(record_id, None)
        return record_id, False

    def _ingested(self, reply: Any, job: Job, which: str) -> Any:
        columns = job.columns
        if which == "successfulResults":
            rows = [["sf__Id", "sf__Created", *columns]]
            rows += [[i, str(c).lower(), *(_text(v.get(k), "") for k in columns)] for i, c, v in job.done]
        elif which == "failedResults":
            rows = [["sf__Id", "sf__Error", *columns]]
            rows += [[str(v.get("Id") or ""), e, *(_text(v.get(k), "") for k in columns)] for e, v in job.failed]
        elif which.lower() == "unprocessedrecords":
            rows = [columns]
        else:
            raise ApiError(404, "NOT_FOUND", "The requested resource does not exist")
        return reply(200, None, {}, _csv(rows, job).encode(), "text/csv", len(rows) - 1)

    # --- Bulk API 1, JSON ---

    def handle_v1(self, call: Any, reply: Any) -> Any:
        """Bulk API 1 behind `/services/async/X/`."""
        parts = [p for p in call.parts if p]
        if not parts or parts[0] != "job":
            raise ApiError(404, "InvalidUrl", "Destination URL not reset")
        if len(parts) == 1:
            asked = call.json()
            job = self._new(asked.get("operation", ""), call.user)
            job.object = self.org.store(asked.get("object", "")).type.name
            job.external = asked.get("externalIdFieldName")
            return reply(201, self._info_v1(job))
        job = self._job(parts[1])
        if len(parts) == 2:
            if call.method == "POST":
                job.state = {"Closed": "Closed", "Aborted": "Aborted"}.get(call.json().get("state"), job.state)
            return reply(200, self._info_v1(job))
        if len(parts) == 3:
            if call.method == "POST":
                return reply(201, self._batch_v1(call, job))
            return reply(200, {"batchInfo": [b["info"] for b in job.batches.values()]})
        batch = job.batches.get(parts[3])
        if batch is None:
            raise ApiError(400, "InvalidBatch", "batch not found")
        if len(parts) == 4:
            return reply(200, batch["info"])
        if parts[4] == "request":
            return reply(200, batch["request"])
        if len(parts) == 6:
            return reply(200, batch["records"], rows=len(batch["records"]))
        return reply(200, batch["result"])

    def _info_v1(self, job: Job) -> dict[str, Any]:
        return {
            "id": job.id,
            "operation": job.operation,
            "object": job.object,
            "state": job.state,
            "externalIdFieldName": job.external,
            "concurrencyMode": "Parallel",
            "contentType": "JSON",
            "apiVersion": float(self.org.version),
            "numberBatchesTotal": len(job.batches),
        }

    def _batch_v1(self, call: Any, job: Job) -> dict[str, Any]:
        self._serial += 1
        batch_id = f"751xx{self._serial:010d}AAA"
        info = {"id": batch_id, "jobId": job.id, "state": "Completed", "numberRecordsProcessed": 0}
        batch: dict[str, Any] = {"info": info, "request": [], "records": [], "result": []}
        if job.operation in ("query", "queryAll"):
            query = soql.parse(call.body.decode())
            lens = self.org.lens(call.user)
            project = lens.projector(query)
            batch["records"] = [project(r) for r in lens.matching(query, deleted=job.operation == "queryAll")]
            batch["result"] = [f"752xx{self._serial:010d}AAA"]
            info["numberRecordsProcessed"] = len(batch["records"])
        else:
            batch["request"] = call.json()
            store = self.org.store(job.object)
            operation = {"hardDelete": "hardDelete"}.get(job.operation, job.operation)
            for values in batch["request"]:
                batch["result"].append(self._saved_v1(operation, store, values, job))
            info["numberRecordsProcessed"] = len(batch["result"])
        job.batches[batch_id] = batch
        return info

    def _saved_v1(self, operation: str, store: Store, values: Record, job: Job) -> dict[str, Any]:
        try:
            made, created = self._apply(operation, store, values, job.external, job.user)
        except ApiError as error:
            entry = error.save_result["errors"][0]
            return {"success": False, "created": False, "id": None, "errors": [{**entry, "extendedErrorDetails": None}]}
        return {"success": True, "created": created, "id": made, "errors": []}


def _text(value: Any, kind: str) -> str:
    if value is None:
        return ""
    if isinstance(value, bool):
        return "true" if value else "false"
    if kind == "datetime":
        return str(value).replace("+0000", "Z")
    return str(value)


def _csv(rows: list[list[str]], job: Job) -> str:
    out = io.StringIO()
    writer = csv.writer(
        out,
        delimiter=_DELIMITERS.get(job.delimiter, ","),
        quoting=csv.QUOTE_ALL,
        lineterminator="\r\n" if job.ending == "CRLF" else "\n",
    )
    writer.writerows(rows)
    return out.getvalue()
