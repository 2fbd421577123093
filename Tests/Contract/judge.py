"""Runs schemathesis against `smartorders dev`: the real server on a private PostgreSQL and Redis."""

import argparse
import json
import os
import pathlib
import subprocess
import sys
import tempfile
import urllib.request

from server import start

ROOT = pathlib.Path(__file__).resolve().parents[2]
ORIGIN = "http://judge.example"


class Client:
    def __init__(self, address, key):
        self.address, self.key, self.number = address, key, 0

    def send(self, method, path, body=None, **headers):
        self.number += 1
        headers |= {"Authorization": f"Bearer {self.key}", "Idempotency-Key": f"seed-{self.number}"}
        data = None
        if body is not None:
            data = json.dumps(body).encode()
            headers["Content-Type"] = "application/json"
        request = urllib.request.Request(self.address + path, data, headers, method=method)
        with urllib.request.urlopen(request, timeout=20) as answer:
            text = answer.read()
            return json.loads(text) if text else None


def seed(client, own):
    """Something of each kind to ask for. `own`: the id of the key that asks."""
    me = client.send("GET", "/v1/me")
    account = me["accounts"][0]["id"]
    known = {"own": [own, me["user"]["id"]], "accounts": [account], "orders": [], "conditional-orders": []}
    for number in range(4):
        plan = {
            "accountId": account, "market": "paper:linear:DEMO", "side": "BUY", "qty": "4",
            "entry": {"mode": "limit", "price": "50"}, "stopLoss": {"price": "40"},
            "takeProfits": [{"price": "160", "sizePct": "50"}, {"price": "170", "sizePct": "50"}],
        }
        known["orders"].append(client.send("POST", "/v1/orders", plan)["id"])
        plan = {
            "accountId": account, "market": "paper:linear:DEMO", "type": "STOP_LOSS", "side": "SELL", "qty": "1",
            "trigger": "20",
        }
        known["conditional-orders"].append(client.send("POST", "/v1/conditional-orders", plan)["id"])
    known["keys"] = [client.send("POST", "/v1/keys", {"scopes": ["read"]})["id"] for _ in range(3)]
    order = known["orders"][0]
    known["shares"] = [client.send("POST", f"/v1/orders/{order}/share", {})["id"]]
    batch = client.send("POST", f"/v1/accounts/{account}/cancel-all", {"kinds": []})
    known["batches"] = [batch["id"]]
    user = client.send("POST", "/v1/admin/users", {"reason": "to be changed", "name": "somebody"})
    known["users"] = [user["id"]]
    known["workers"] = [worker["id"] for worker in client.send("GET", "/v1/admin/workers")["items"]]
    known["queues"] = ["targets-03"]
    return known


def operator_key(program, data, address):
    """A key that may do everything, made as an operator makes it: a code of the command line signs a browser in."""
    code = subprocess.run(
        [program, "users", "sign-in-link", "trader", "--database", f"host={data}/pg/s port=5432 user=postgres dbname=postgres",
         "--redis", f"unix://{data}/redis/redis.sock"],
        check=True, capture_output=True, text=True, timeout=60,
    ).stdout.split()[-1]

    def send(path, body, **headers):
        headers |= {"Content-Type": "application/json", "Origin": ORIGIN}
        request = urllib.request.Request(address + path, json.dumps(body).encode(), headers, method="POST")
        with urllib.request.urlopen(request, timeout=20) as answer:
            return json.loads(answer.read()), answer.headers

    me, headers = send("/v1/sign-in", {"code": code})
    cookie = headers["Set-Cookie"].split(";")[0]
    key, _ = send(
        "/v1/keys", {"scopes": ["read", "trade", "operate", "admin"]},
        **{"Cookie": cookie, "X-CSRF-Token": me["csrfToken"], "Idempotency-Key": "operator"},
    )
    return key["secret"], key["id"]


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("program")
    parser.add_argument("schemathesis")
    parser.add_argument("--examples", type=int, default=200)
    parser.add_argument("--seconds", type=int, default=1500)
    parser.add_argument("--phases", default="examples,coverage,fuzzing,stateful")
    parser.add_argument("--seed", type=int)
    parser.add_argument("--contract", help="another file than the server's own")
    parser.add_argument("--rate", help="for a server with its own limits, for example 18/s")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder, open(ROOT / ".build/schemathesis-server.log", "w") as log:
        # A short path: sockets are in it. PostgreSQL's account must be able to enter it.
        os.chmod(folder, 0o755)
        data = f"{folder}/data"
        server, address, _ = start(options.program, options.seconds + 60, log, data, SMARTORDERS_PUBLIC_URL=ORIGIN)
        try:
            key, own = operator_key(options.program, data, address)
            known = seed(Client(address, key), own)
            command = [
                options.schemathesis, "--config-file", str(ROOT / "Tests/Contract/schemathesis.toml"), "run",
                options.contract or f"{address}/openapi.yaml", "--url", address, "-H", f"Authorization: Bearer {key}", "--checks", "all", "--no-color",
                "--phases", options.phases, "--max-examples", str(options.examples), "--workers", "2",
                "--request-timeout", "20",
            ]
            if options.rate:
                command += ["--rate-limit", options.rate]
            if options.seed is not None:
                command += ["--seed", str(options.seed)]
            environment = dict(
                os.environ, SMARTORDERS_ADDRESS=address, SMARTORDERS_KEY=key, SMARTORDERS_KNOWN=json.dumps(known),
                SCHEMATHESIS_HOOKS="hooks", PYTHONPATH=str(ROOT / "Tests/Contract"),
            )
            status = subprocess.run(command, env=environment, cwd=folder, timeout=options.seconds).returncode
            if server.poll() is not None:
                sys.exit("the server ended before the judge did")
            sys.exit(status)
        finally:
            server.terminate()
            server.wait(30)


main()
