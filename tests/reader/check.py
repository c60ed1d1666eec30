"""Compares the second reader with the command `vldepot`.

    python check.py VLDEPOT FILE.. [--forged FOLDER]

The second reader reads every file, or folder of shards, and the command lists it. The two must agree on names,
order, lengths, checksums, scalars and statistics. Files of FOLDER are as a later version might write them. Their names say what
the reader must do: `reads_N_..` has N records, and `refused_..` is refused as unsupported. Prints a line for each
file, and exits with 1 if anything differs. It also does if a file whose name begins with `apart` has no chunk with
the fields of its records apart.
"""

import json
import math
import pathlib
import subprocess
import sys

from vldepot_reader import Damaged, Depot, Shards, Unsupported, crc


def key(name: bytes) -> tuple[str, object]:
    """What `vldepot list --json` says of a tagged name."""
    tag, rest = name[0], name[1:]
    if tag == 1:
        return "str", rest.decode()
    if tag == 2:
        return "bytes", rest.hex()
    return "int", int.from_bytes(rest, "big", signed=tag == 3)


def shown(value: int | float | None) -> object:
    """What `vldepot list --json` says of a scalar."""
    return value if value is None or math.isfinite(value) else str(value)


def listed(vldepot: str, path: str) -> list[tuple[tuple[str, object], int, int, object]]:
    done = subprocess.run([vldepot, "list", "--json", path], capture_output=True, text=True)
    lines = [json.loads(line) for line in done.stdout.splitlines()]
    return [
        ((line["type"], line["name"]), line["length"], line["checksum"], line.get("scalars", {}))
        for line in lines
    ]


def same_statistics(vldepot: str, path: str, depot: Depot) -> bool:
    """Whether both say the same of the fields of records."""
    done = subprocess.run([vldepot, "info", "--json", path], capture_output=True, text=True)
    info = json.loads(done.stdout.splitlines()[0])
    theirs = (info["statistics"] or {}).get("fields")
    if not depot.parameters.statistics:
        return theirs is None
    if info["uncommitted_records"]:
        return True
    ours, gone, missing = depot.statistics()
    same = (ours.counted, gone, missing) == (theirs["counted"], theirs["removed"], theirs["missing"])
    same &= theirs["exact"] == (gone == 0 and missing == 0)
    same &= list(ours.fields) == list(theirs["fields"])
    for name, summary in ours.fields.items():
        other = theirs["fields"][name]
        same &= (summary.count, summary.non_finite) == (other["count"], other["non_finite"])
        if summary.count:
            same &= (summary.least, summary.most) == (other["min"], other["max"])
            size = max(abs(summary.least), abs(summary.most), 1e-300)
            same &= abs(summary.mean - other["mean"]) <= 1e-9 * size
            variance = summary.squares / summary.count
            if math.isfinite(variance) and other["variance"] is not None:
                same &= abs(variance - other["variance"]) <= 1e-9 * size * size
            else:
                same &= other["variance"] is None and not math.isfinite(variance)
    for name, counts in ours.kinds.items():
        found = theirs["kinds"][name]["counts"]
        same &= {str(kind): n for kind, n in counts.items()} == {
            kind: (n["values"], n["records"]) for kind, n in found.items()
        }
    return same


def main() -> int:
    arguments = sys.argv[1:]
    forged = arguments[arguments.index("--forged") + 1] if "--forged" in arguments else None
    vldepot, *files = [name for name in arguments if name not in ("--forged", forged)]
    failed = 0
    for path in files:
        depot = Shards(path) if pathlib.Path(path).is_dir() else Depot(path)
        records, columns = depot.records(), [name for name, _ in depot.parameters.columns]
        ours = [
            (
                key(name),
                len(data),
                crc(data),
                {c: shown(v) for c, v in zip(columns, scalars) if v is not None},
            )
            for name, data, _, scalars in records
        ]
        same = ours == listed(vldepot, path)
        failed += not same
        depots = [depot] if isinstance(depot, Depot) else [shard for _, shard in depot.shards]
        n_apart = sum(one.n_apart for one in depots)
        with_apart = f", {n_apart} chunks with the fields apart" if n_apart else ""
        print(f"{path}: {len(records)} records{with_apart}{'' if same else ', and the command lists others'}")
        if pathlib.Path(path).name.startswith("apart") and not n_apart:
            failed += 1
            print(f"{path}: no chunk has the fields apart")
        if isinstance(depot, Depot) and not same_statistics(vldepot, path, depot):
            failed += 1
            print(f"{path}: other statistics than the command has")
    if forged is not None:
        paths = sorted(pathlib.Path(forged).iterdir())
        for path in paths:
            try:
                found = f"reads_{len(Depot(str(path)).records())}"
            except Unsupported:
                found = "refused"
            except Damaged as error:
                found = f"called damaged: {error}"
            if not path.name.startswith(found + "_"):
                failed += 1
                print(f"{path}: {found}")
        print(f"{forged}: {len(paths)} files of later versions")
        failed += not paths
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
