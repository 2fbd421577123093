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


def sections(value, title=()):
    """A table for the single values of an object, one for each list of objects, and so on downwards."""
    single = {key: each for key, each in value.items() if not isinstance(each, (dict, list)) and key != "bench"}
    if single:
        yield title, table(["what", "value"], [[key, text(each)] for key, each in single.items()])
    for key, each in value.items():
        name = title if key == "rows" else title + (key,)
        if isinstance(each, dict):
            yield from sections(each, name)
        elif isinstance(each, list) and each and isinstance(each[0], dict):
            columns = list(dict.fromkeys(column for row in each for column in row))
            yield name, table(columns, [[text(row.get(column, "")) for column in columns] for row in each])


def main():
    measured = list(sections(json.loads(Path(sys.argv[1]).read_text())))
    if not measured:
        sys.exit("write-figures: there is nothing in the measurements")
    machine = f"{os.cpu_count()} cores, {platform.machine()}, {platform.system()}"
    parts = [f"Measured {date.today()} on {machine}."] + [f"**{' '.join(name)}**\n\n{rows}" for name, rows in measured]
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
