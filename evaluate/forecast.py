"""`python -m evaluate.forecast`: weigh the forecast itself and write docs/evaluation.md.

Simulated cases with `--share` of their counts, really run ones with `--real`; results of the real ones are kept as
lines of JSON (`--kept FILE`), so that a long run can be gone on with.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import time
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, ProcessPoolExecutor, wait
from dataclasses import asdict
from pathlib import Path
from typing import Any

from evaluate.cases import RANGES, Case, cases
from evaluate.odd import KINDS, Odd, ask
from evaluate.score import HEADROOM, Answer, Scored, answer, case_truth, usl_alone

CROWDS = 2
"""Cases with hundreds of users that run beside each other."""
OUT = Path(__file__).resolve().parent.parent / "docs" / "evaluation.md"


def simulated(case: Case) -> tuple[Case, float, Answer, Answer, Answer]:
    """(case, truth, with what is permitted, without bursts, the scalability law alone)."""
    real = case_truth(case)
    return case, real, answer(case), answer(case, burst=False), usl_alone(case)


def really(real: Any) -> dict[str, Any] | None:
    """One real case, as plain data; None where the truth was not found within the users tried."""
    from evaluate.real import Client, real_truth
    from weighbridge.sandbox.queue_server import QueueServer

    try:
        with QueueServer(**real.staging) as server, Client(server.port) as client:
            given = answer(real.case, client.drive(real.case))
        users, found = real_truth(real)
    except (OSError, RuntimeError) as error:
        # a machine that cannot run a case does not decide it; the table says how many were left out
        print(f"real case {real.case.number}: {type(error).__name__}: {error}", file=sys.stderr, flush=True)
        return None
    return {"number": real.case.number, "truth": users, "found": found, "answer": asdict(given)}


# --- tables ------------------------------------------------------------------------------------------------------

HEAD = (
    "| cases | n | number given | truth inside | within 10 % | median error | READY | false READY | false BREAKS "
    "| bound holds |\n|---|---|---|---|---|---|---|---|---|---|"
)


def _share(part: int, whole: int) -> str:
    return f"{part}/{whole} ({part / whole:.0%})" if whole else "-"


def row(name: str, scored: Sequence[Scored]) -> str:
    given = [s for s in scored if s.given]
    refused = [s for s in scored if not s.given and s.answer.at_least > 0]
    errors = [s.error for s in given]
    cells = [
        name,
        str(len(scored)),
        _share(len(given), len(scored)),
        _share(sum(s.covered for s in given), len(given)),
        _share(sum(e <= 0.10 for e in errors), len(given)),
        f"{statistics.median(errors):.1%}" if errors else "-",
        str(sum(s.answer.verdict == "READY" for s in scored)),
        f"**{sum(s.false_ready for s in scored)}**",
        str(sum(s.false_breaks for s in scored)),
        _share(sum(s.bound_holds for s in refused), len(refused)),
    ]
    return f"| {' | '.join(cells)} |"


def tables(title: str, scored: Sequence[Scored]) -> Iterable[str]:
    yield f"\n### {title}\n\n{HEAD}"
    groups = {
        "burst rung, staging like production, identifiable": [
            s for s in scored if s.case.rung == 3 and not s.case.unlike and s.case.identifiable
        ],
        "burst rung, staging unlike, factor declared, identifiable": [
            s for s in scored if s.case.rung == 3 and s.case.unlike and s.case.factor and s.case.identifiable
        ],
        "burst rung, staging unlike, nothing declared": [
            s for s in scored if s.case.rung == 3 and s.case.unlike and not s.case.factor
        ],
        "burst rung, unidentifiable": [s for s in scored if s.case.rung == 3 and not s.case.identifiable],
        "ramp rung (no burst permitted)": [s for s in scored if s.case.rung == 2],
        "all": list(scored),
    }
    for name, members in groups.items():
        if members:
            yield row(name, members)
    yield f"\n{HEAD}"
    for kind in dict.fromkeys(s.case.kind for s in scored):
        yield row(kind, [s for s in scored if s.case.kind == kind])


def write(out: Path, blocks: Sequence[str]) -> None:
    out.write_text("\n".join(blocks) + "\n", encoding="utf-8")


INTRO = """\
# How good the forecast is

Written by `tox -e evaluate` (`python -m evaluate.forecast`). Every case is a system whose breaking point is known: a
pool, a lock, a token bucket, a concurrency cap, a pool behind a bucket, a table scan, a daily quota, and two kinds that
no permitted probe can see (a bucket larger than all bursts, a pool larger than the burst). The product's own code
probes it as staging, with ramps that end at 10, 20 or 40 users and bursts of at most 64 or 128, and answers for 200 to
500 users with a headroom of {headroom:g}. The ranges stand in `evaluate/ranges.toml`; constants were looked at with
other seeds than the one below.

- **number given**: the point's first ceiling is stated in users, and no refused ceiling could come before it.
- **truth inside**: of those, the truth lies between low and high. **within 10 %**: the middle is that near.
- **false READY**: the point breaks below its target and READY was said. **false BREAKS**: the other way round.
- **bound holds**: of the refusals with a lower bound, those whose truth is not below it.
"""


ODDLY = """\
Systems drawn around the edge of breaking at the target (caps just above the largest burst, pools that fill at the
target, service times with long tails, locks, a pool behind a cap), pauses of 0.3 to 60 s, targets of 50 to 500, bursts
of none to 128; nobody declares anything but the rate. Their kinds and ranges are not those above."""


REALLY = """\
Queue servers in processes of their own; the truth was found by really running the users in threads: levels of 24 s
(10 s with 400 users and more), buckets emptied before each, until two levels less than 18 % apart held and broke, and
the break read off the line between them. Several cases ran beside each other on two cores, their bursts in turns; those
whose crowd could be the machine's own limit (a pool larger than the bursts), two at a time. Where no break was found
among 600 users, that number stands as the truth, and a bound above it counts as that number."""


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="evaluate.forecast", description=__doc__)
    parser.add_argument("--share", type=float, default=1.0, help="share of the simulated cases")
    parser.add_argument("--real", type=int, default=0, help="real cases to run now (about two minutes each)")
    parser.add_argument("--odd", type=int, default=600, help="odd systems at the edge of breaking (simulated)")
    parser.add_argument("--kept", type=Path, help="lines of JSON with real cases already run")
    parser.add_argument("--seconds", type=float, default=1e9, help="begin no further real case after so many")
    parser.add_argument("--seed", type=int, default=RANGES["seeds"]["evaluation"])
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--out", type=Path, default=OUT)
    asked = parser.parse_args(arguments)
    started = time.monotonic()
    blocks = [INTRO.format(headroom=HEADROOM), f"Seed {asked.seed}."]
    everything: list[Scored] = []
    if asked.share > 0:
        everything = _simulated(asked, blocks)
    everything += _real(asked, blocks)
    strange = _odd(asked, blocks) if asked.share > 0 else []
    false_ready = sum(s.false_ready for s in [*everything, *strange])
    blocks.append(f"\nFalse READY in all of these: **{false_ready} of {len(everything) + len(strange)}**.")
    write(asked.out, blocks)
    print(f"{asked.out} written after {time.monotonic() - started:.0f} s; false READY: {false_ready}")
    return 1 if false_ready else 0


def _simulated(asked: argparse.Namespace, blocks: list[str]) -> list[Scored]:
    found = []
    todo = list(cases(asked.seed, share=asked.share))
    with ProcessPoolExecutor(asked.workers) as pool:
        for number, result in enumerate(pool.map(simulated, todo, chunksize=4), 1):
            found.append(result)
            if number % 50 == 0:
                print(f"{number} of {len(todo)} simulated", file=sys.stderr, flush=True)
    permitted = [Scored(c, t, a) for c, t, a, _, _ in found]
    blocks += [f"\n## Simulated: {len(found)} cases", *tables("With what is permitted", permitted)]
    could = [f for f in found if f[0].rung == 3]
    blocks += tables("The same cases without the burst probe (those that permit one)",
                     [Scored(c, t, a) for c, t, _, a, _ in could])  # fmt: skip
    blocks += tables("The Universal Scalability Law alone", [Scored(c, t, a) for c, t, _, _, a in found])
    return permitted


def _odd(asked: argparse.Namespace, blocks: list[str]) -> list[Odd]:
    number = max(6, round(asked.odd * asked.share))
    with ProcessPoolExecutor(asked.workers) as pool:
        found = list(pool.map(ask, [asked.seed] * number, range(number), chunksize=4))
    blocks.append(f"\n## READY under attack: {len(found)} odd systems\n\n{ODDLY}\n")
    blocks.append("| kind | n | READY | false READY | BREAKS | false BREAKS | AT_RISK | UNKNOWN |")
    blocks.append("|---|---|---|---|---|---|---|---|")
    for kind in [*KINDS, "all"]:
        rows = [o for o in found if kind in (o.kind, "all")]
        said = [str(sum(o.verdict == verdict for o in rows)) for verdict in ("READY", "BREAKS", "AT_RISK", "UNKNOWN")]
        wrong = sum(o.false_ready for o in rows), sum(o.false_breaks for o in rows)
        blocks.append(
            f"| {kind} | {len(rows)} | {said[0]} | **{wrong[0]}** | {said[1]} | {wrong[1]} | {said[2]} | {said[3]} |"
        )
    return found


def _side_by_side(todo: Sequence[Any], workers: int, late: float) -> Iterator[dict[str, Any]]:
    """Run cases in processes, begin none after `late`; those whose truth was found, as they end."""
    with ProcessPoolExecutor(workers) as pool:
        running = {pool.submit(really, real) for real in todo[:workers]}
        left = list(todo[workers:])
        while running:
            done, running = wait(running, return_when=FIRST_COMPLETED)
            for result in (future.result() for future in done):
                if left and time.monotonic() < late:
                    running.add(pool.submit(really, left.pop(0)))
                if result is not None:
                    yield result


def _real(asked: argparse.Namespace, blocks: list[str]) -> list[Scored]:
    from evaluate.real import MOST, real_cases

    by_number = {r.case.number: r for r in real_cases(asked.seed)}
    results: dict[int, dict[str, Any]] = {}
    if asked.kept and asked.kept.exists():
        for line in asked.kept.read_text(encoding="utf-8").splitlines():
            entry = json.loads(line)
            results[entry["number"]] = entry
    todo = [by_number[n] for n in sorted(by_number) if n not in results][: asked.real]
    late = time.monotonic() + asked.seconds
    # a crowd of hundreds needs the machine: neighbours on its cores would be the limit that it finds
    for group, workers in (([r for r in todo if not r.crowd], asked.workers), ([r for r in todo if r.crowd], CROWDS)):
        for result in _side_by_side(group, min(workers, asked.workers), late):
            results[result["number"]] = result
            print(f"real case {result['number']}: truth {result['truth']:.0f}", file=sys.stderr, flush=True)
            if asked.kept:
                with asked.kept.open("a", encoding="utf-8") as lines:
                    lines.write(json.dumps(result) + "\n")
    # without a level that held there is no truth; without one that broke it is at least the users that were run
    known = {n: r for n, r in results.items() if r["found"] or r["truth"] >= MOST}
    left_out = len(results) - len(known)
    for r in known.values():
        if not r["found"]:
            r["answer"]["at_least"] = min(r["answer"]["at_least"], r["truth"])
    scored = [Scored(by_number[n].case, r["truth"], Answer(**r["answer"])) for n, r in sorted(known.items())]
    if scored:
        blocks.append(f"\n## Really run: {len(scored)} cases\n\n{REALLY}")
        if left_out:
            blocks.append(f"\nLeft out: {left_out} whose truth was not bracketed within seven levels.")
        blocks += tables("With what is permitted", scored)
    return scored


if __name__ == "__main__":
    sys.exit(main())
