"""The report of 60 points and 5,000 findings: size, time to render, time to open in a browser, time to record.

python -m bench report
"""

from __future__ import annotations

import re
import runpy
import shutil
import subprocess
import tempfile
import time
from dataclasses import replace
from pathlib import Path

from weighbridge.history import History
from weighbridge.report.model import Report
from weighbridge.report.writers import FORMATS, render

SAMPLES = Path(__file__).parent.parent / "tests" / "report" / "conftest.py"
LIMIT_BYTES = 5_000_000
LIMIT_CHARTS = 1_500_000
LIMIT_OPEN_MS = 2_000


def main() -> None:
    report: Report = runpy.run_path(str(SAMPLES))["big"]()
    print(f"{len(report.points)} points, {sum(len(c.findings) for p in report.points for c in p.checks):,} findings")
    page = b""
    for name in FORMATS:
        started = time.perf_counter()
        body = render(report, name)
        print(f"  {name:<6} {time.perf_counter() - started:6.2f} s  {len(body):>10,} bytes")
        page = body if name == "html" else page
    print(f"  report.html: {len(page):,} bytes (limit {LIMIT_BYTES:,})  {_mark(len(page) < LIMIT_BYTES)}")
    charts = sum(map(len, re.findall(rb"<svg.*?</svg>", page, flags=re.DOTALL)))
    print(f"  its charts: {charts:,} bytes (limit {LIMIT_CHARTS:,})  {_mark(charts < LIMIT_CHARTS)}")
    _open(page)
    _history(report)


def _open(page: bytes) -> None:
    program = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    if program is None:
        print("  opening: no Chromium here")
        return
    probe = (
        "<script>addEventListener('load', () => setTimeout(() => { const t = performance.timing;"
        "document.title = 'ms ' + (t.loadEventEnd - t.navigationStart); }));</script></body>"
    )
    text = re.sub(r'<meta http-equiv="Content-Security-Policy"[^>]*>', "", page.decode()).replace("</body>", probe)
    seen: list[int] = []
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "report.html"
        file.write_text(text, encoding="utf-8")
        for _ in range(5):
            flags = ["--headless", "--no-sandbox", "--disable-gpu", "--disable-background-networking"]
            done = subprocess.run(
                [
                    program,
                    *flags,
                    f"--user-data-dir={folder}/profile",
                    "--dump-dom",
                    "--virtual-time-budget=1",
                    file.as_uri(),
                ],
                capture_output=True,
                text=True,
                timeout=120,
                check=False,
            )
            seen += [int(ms) for ms in re.findall(r"<title>ms (\d+)", done.stdout)]
    if not seen:
        print("  opening: Chromium gave no answer")
        return
    middle = sorted(seen)[len(seen) // 2]
    print(
        f"  opens in {min(seen)} to {max(seen)} ms, median {middle} (limit {LIMIT_OPEN_MS})  "
        f"{_mark(middle < LIMIT_OPEN_MS)}"
    )


def _history(report: Report) -> None:
    with tempfile.TemporaryDirectory() as folder:
        history = History(f"sqlite:///{folder}/history.sqlite")
        started = time.perf_counter()
        for number in range(5):
            history.record(replace(report, run=replace(report.run, id=f"run-{number}")))
        written = (time.perf_counter() - started) / 5
        started = time.perf_counter()
        history.compared(replace(report, run=replace(report.run, id="now")))
        print(f"  history: {written:.2f} s to record a run, {time.perf_counter() - started:.2f} s to compare with it")
        history.close()


def _mark(ok: bool) -> str:
    return "ok" if ok else "OVER THE LIMIT"


if __name__ == "__main__":
    main()
