"""Runs the examples of Tests/Examples against a server of their own: each has to end well."""

import os
import pathlib
import subprocess
import sys

from server import start

ROOT = pathlib.Path(__file__).resolve().parents[2]
EXAMPLES = {
    "first-order.sh": ["bash"],
    "first_order.py": [sys.executable],
    "FirstOrder.swift": ["swift"],
}


def main():
    program = sys.argv[1]
    failed = []
    with open(ROOT / ".build/examples-server.log", "w") as log:
        server, address, key = start(program, 600, log)
        try:
            environment = dict(os.environ, API=address, KEY=key)
            for name, command in EXAMPLES.items():
                run = subprocess.run(
                    command + [str(ROOT / "Tests/Examples" / name)],
                    env=environment, capture_output=True, text=True, timeout=180,
                )
                print("ok   " if run.returncode == 0 else "FAIL ", name, flush=True)
                if run.returncode:
                    failed.append(name)
                    print(run.stdout, run.stderr)
        finally:
            server.terminate()
            server.wait(30)
    sys.exit(1 if failed else 0)


main()
