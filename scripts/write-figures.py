"""write-figures.py BENCH.json [--print]: the measurements as a table between the figures markers of README.md."""

import json
import os
import platform
import sys
from datetime import date
from pathlib import Path

README = Path(__file__).resolve().parent.parent / "README.md"
BEGIN, END = "<!-- figures: written by scripts/bench -->", "<!-- end of figures -->"


def text(value):
    if isinstance(value, float):
        return f"{value:,.2f}".rstrip("0").rstrip(".")
    return f"{value:,}" if isinstance(value, int) and not isinstance(value, bool) else str(value)


def table(header, rows):
    lines = [header, ["---"] * len(header)] + rows
    return "\n".join("| " + " | ".join(cells) + " |" for cells in lines)


def flat(value, name=""):
    """The single values of an object and of the objects in it, by their paths. Repetitions of a measurement are left out."""
    for key, each in value.items():
        if isinstance(each, dict):
            yield from flat(each, name + key + " ")
        elif not isinstance(each, list) and key != "bench" and each is not None:
            yield name + key, text(each)


def sections(value):
    """For each layer a table of its single values, and one for each list of objects."""
    for layer, measured in value.items():
        single = list(flat(measured))
        if single:
            yield layer, table(["what", "value"], [list(cells) for cells in single])
        for key, each in measured.items():
            if isinstance(each, list) and each and isinstance(each[0], dict):
                rows = [dict(flat(row)) for row in each]
                columns = list(dict.fromkeys(column for row in rows for column in row))
                name = layer if key == "rows" else f"{layer} {key}"
                yield name, table(columns, [[row.get(column, "") for column in columns] for row in rows])


def main():
    measured = list(sections(json.loads(Path(sys.argv[1]).read_text())))
    if not measured:
        sys.exit("write-figures: there is nothing in the measurements")
    machine = f"{os.cpu_count()} cores, {platform.machine()}, {platform.system()}"
    parts = [f"Measured {date.today()} on {machine}."] + [f"**{name}**\n\n{rows}" for name, rows in measured]
    figures = "\n\n".join(parts)
    if "--print" in sys.argv:
        print(figures)
        return
    before, begin, rest = README.read_text().partition(BEGIN)
    _, end, after = rest.partition(END)
    if not begin or not end:
        sys.exit("write-figures: README.md has no figures markers")
    README.write_text(f"{before}{BEGIN}\n{figures}\n{END}{after}")


main()
