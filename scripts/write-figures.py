"""write-figures.py BENCH.json [--print]: the measurements as a table between the figures markers of README.md."""

import json
import os
import platform
import sys
from datetime import date
from pathlib import Path

README = Path(__file__).resolve().parent.parent / "README.md"
BEGIN, END = "<!-- figures: written by scripts/bench -->", "<!-- end of figures -->"


def leaves(value, path=()):
    if isinstance(value, dict):
        for key, each in value.items():
            yield from leaves(each, path + (key,))
    elif isinstance(value, list):
        for number, each in enumerate(value):
            name = each.get("name", each.get("case", number)) if isinstance(each, dict) else number
            yield from leaves(each, path + (str(name),))
    elif isinstance(value, (int, float)) and not isinstance(value, bool):
        yield " ".join(path), f"{value:,.2f}".rstrip("0").rstrip(".") if isinstance(value, float) else f"{value:,}"


def main():
    rows = list(leaves(json.loads(Path(sys.argv[1]).read_text())))
    if not rows:
        sys.exit("write-figures: there is no number in the measurements")
    machine = f"{os.cpu_count()} cores, {platform.machine()}, {platform.system()}"
    table = [f"Measured {date.today()} on {machine}.", "", "| what | value |", "|---|---|"]
    text = "\n".join(table + [f"| {name} | {value} |" for name, value in rows])
    if "--print" in sys.argv:
        print(text)
        return
    before, begin, rest = README.read_text().partition(BEGIN)
    _, end, after = rest.partition(END)
    if not begin or not end:
        sys.exit("write-figures: README.md has no figures markers")
    README.write_text(f"{before}{BEGIN}\n{text}\n{END}{after}")


main()
