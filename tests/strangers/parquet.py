"""Compares exports of a small tree, as DuckDB reads them, with each other and with what find told.

Usage: parquet.py FOLDER, which holds export.parquet, export.csv, export.ndjson, part.parquet and found.
Exit status 1 at the first difference.
"""

import sys

import duckdb

folder = sys.argv[1]
TYPES = {
    "path": "VARCHAR",
    "name": "VARCHAR",
    "kind": "VARCHAR",
    "size": "UBIGINT",
    "mtime": "TIMESTAMPTZ_NS",
    "ctime": "TIMESTAMPTZ_NS",
    "inode": "UBIGINT",
    "mode": "UINTEGER",
    "uid": "UINTEGER",
    "gid": "UINTEGER",
    "nlink": "UINTEGER",
    "suspect": "BOOLEAN",
    "blind": "BOOLEAN",
}
KINDS = {"f": "file", "d": "directory", "l": "symlink"}


def same(what, expected, actual):
    """Says so, or fails."""
    if expected != actual:
        raise SystemExit(f"FAIL: {what}: expected {expected}, got {actual}")
    print(f"ok: {what}")


def rows(source):
    """All rows, times as nanoseconds, in order of path bytes; without `suspect`, which ends by itself."""
    told = ", ".join(
        f"epoch_ns({name})" if kind == "TIMESTAMPTZ_NS" else name for name, kind in TYPES.items() if name != "suspect"
    )
    return duckdb.sql(f"SELECT {told} FROM {source} ORDER BY path::BLOB").fetchall()


def expected():
    """What find told, by the same columns as far as it knows them."""
    with open(f"{folder}/found", encoding="utf-8") as file:
        for line in file:
            path, kind, size, inode, mode, uid, gid, links, mtime = line.rstrip("\n").split("\t")
            seconds, nanos = mtime.split(".")
            mtime = int(seconds) * 1_000_000_000 + int(nanos[:9].ljust(9, "0"))
            name = path.rsplit("/", 1)[1]
            # find tells the mode in octal digits, and may tell the size of a directory on the disk.
            size = int(size) if kind != "d" else None
            yield path, name, KINDS[kind], size, mtime, int(inode), int(mode, 8), int(uid), int(gid), int(links)


parquet = f"read_parquet('{folder}/export.parquet')"
kinds = dict(duckdb.sql(f"SELECT column_name, column_type FROM (DESCRIBE SELECT * FROM {parquet})").fetchall())
same("types of the columns", TYPES, kinds)

told = rows(parquet)
found = [
    (path, name, kind, size if kind != "directory" else None, mtime, inode, mode, uid, gid, links)
    for path, name, kind, size, mtime, _, inode, mode, uid, gid, links, _ in told
]
same("every entry as find tells of it", list(expected()), found)
same("CSV says the same", told, rows(f"read_csv('{folder}/export.csv', header=true, columns={TYPES})"))
same("NDJSON says the same", told, rows(f"read_json('{folder}/export.ndjson', columns={TYPES})"))
part = duckdb.sql(f"SELECT * FROM read_parquet('{folder}/part.parquet')")
same("chosen columns, in their order", ["size", "path"], part.columns)
same("chosen entries", [(20, "/dir/b.txt"), (30, "/dir/sub/c.dat")], sorted(part.fetchall()))
