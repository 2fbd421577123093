"""Plays docker/compose.yml without an engine: every service as processes of this machine, with the file's own commands,
settings, replicas, order of start and health checks, up to a first order on the API. Needs the debug build; exit 1: not
healthy, or the order did not become active.
"""

import json
import os
import random
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from pathlib import Path

import yaml

ROOT = Path(__file__).resolve().parent.parent
BINARY = str(ROOT / ".build/debug/smartorders")
STORES = ["postgres", "redis"]
# Short: sockets live here. Owned by whom PostgreSQL accepts, which refuses to run as root.
FOLDER = Path(tempfile.mkdtemp(prefix="so-compose-", dir="/tmp"))
SERVER = ["setpriv", "--reuid=postgres", "--regid=postgres", "--clear-groups"] if os.getuid() == 0 else []
SERVER_USER = "postgres" if SERVER else None
processes = []


def free_port():
    """Below what the kernel gives to connections: those do not take it before its server does."""
    while True:
        port = random.randrange(11_000, 22_000)
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind(("127.0.0.1", port))
                return port
            except OSError:
                continue


PORTS = {"postgres:5432": free_port(), "redis:6379": free_port(), "paper-venue:9090": free_port(), "api:8080": free_port()}


def here(text):
    """A word of the file as it reads on this machine: defaults filled in, services on ports of the loopback."""
    text = re.sub(r"\$\{\w+:-([^}]*)\}", r"\1", str(text)).replace("/var/lib/smartorders", str(FOLDER))
    for place, port in PORTS.items():
        name, number = place.split(":")
        text = text.replace(f"{name}:{number}", f"127.0.0.1:{port}").replace(f"0.0.0.0:{number}", f"127.0.0.1:{port}")
        text = text.replace(f"127.0.0.1/{number}", f"127.0.0.1/{port}")
    return text


def environment(service):
    ours = {key: here(value) for key, value in service.get("environment", {}).items()}
    return {"PATH": f"{Path(BINARY).parent}:{os.environ['PATH']}", **ours}


def start(name, command, env, as_server=False):
    log = open(FOLDER / f"{name}.log", "ab")
    child = subprocess.Popen(
        (SERVER if as_server else []) + command, env=env, stdin=subprocess.DEVNULL, stdout=log, stderr=log
    )
    processes.append((name, child))


def program(name):
    found = sorted(Path("/usr/lib/postgresql").glob(f"*/bin/{name}"), key=lambda path: int(path.parts[4]))
    return str(found[-1]) if found else shutil.which(name)


def start_store(name, service):
    words = [here(word) for word in service["command"]]
    if name == "redis":
        start(name, words + ["--port", str(PORTS["redis:6379"]), "--bind", "127.0.0.1", "--dir", str(FOLDER)], None)
        return
    settings = service["environment"]
    data = FOLDER / "data"
    (FOLDER / "password").write_text(here(settings["POSTGRES_PASSWORD"]))
    if SERVER_USER:
        for path in [FOLDER, FOLDER / "password"]:
            shutil.chown(path, SERVER_USER)
    user = settings["POSTGRES_USER"]
    initdb = [program("initdb"), "-D", str(data), "-U", user, "-A", "scram-sha-256", f"--pwfile={FOLDER / 'password'}"]
    arguments = here(settings["POSTGRES_INITDB_ARGS"]).split()
    subprocess.run(SERVER + initdb + ["--no-sync"] + arguments, check=True, stdout=subprocess.DEVNULL)
    port = str(PORTS["postgres:5432"])
    place = ["-D", str(data), "-p", port, "-c", "listen_addresses=127.0.0.1", "-c", f"unix_socket_directories={FOLDER}"]
    start(name, [program("postgres")] + place + words[1:], None, as_server=True)
    env = {**os.environ, "PGPASSWORD": here(settings["POSTGRES_PASSWORD"])}
    create = [program("createdb"), "-h", "127.0.0.1", "-p", port, "-U", user, settings["POSTGRES_DB"]]
    wait("postgres accepts a database", 30, lambda: subprocess.run(create, env=env, stderr=subprocess.DEVNULL).returncode == 0)


def wait(what, seconds, holds):
    until = time.monotonic() + seconds
    while not holds():
        for name, child in processes:
            if child.poll() is not None:
                raise SystemExit(f"{name} ended with {child.returncode}: {(FOLDER / f'{name}.log').read_text()[-800:]}")
        if time.monotonic() > until:
            raise SystemExit(f"not within {seconds} s: {what}")
        time.sleep(0.2)


def is_healthy(service):
    kind, *words = service["healthcheck"]["test"]
    words = [here(word) for word in words]
    command = ["sh", "-c", words[0]] if kind == "CMD-SHELL" else words
    if command[0] == "pg_isready":
        command = [program("pg_isready"), "-p", str(PORTS["postgres:5432"]), *command[1:]]
    env = {**environment(service), "REDISCLI_PORT": str(PORTS["redis:6379"])}
    if "redis-cli" in command[-1]:
        command[-1] = command[-1].replace("redis-cli", f"redis-cli -p {PORTS['redis:6379']}")
    quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    return subprocess.run(command, env=env, timeout=20, **quiet).returncode == 0


def call(key, method, path, body=None, **headers):
    request = urllib.request.Request(f"http://127.0.0.1:{PORTS['api:8080']}{path}", method=method)
    request.add_header("Authorization", f"Bearer {key}")
    for name, value in headers.items():
        request.add_header(name.replace("_", "-"), value)
    data = None if body is None else json.dumps(body).encode()
    if data:
        request.add_header("Content-Type", "application/json")
    try:
        with urllib.request.urlopen(request, data, timeout=10) as answer:
            return json.load(answer)
    except urllib.error.HTTPError as error:
        raise SystemExit(f"{method} {path}: {error.read().decode(errors='replace')}")


def place_first_order(services):
    """README's first order."""
    command = [BINARY, "accounts", "create", "--name", "demo"]
    made = subprocess.run(command, env=environment(services["worker"]), capture_output=True, text=True, timeout=60)
    if made.returncode != 0:
        raise SystemExit(f"accounts create: {made.stderr}")
    said = dict(line.split(" ", 1) for line in made.stdout.splitlines())
    key = said["key"]
    price = "/v1/instruments/paper:linear:DEMO/price"

    wait("a price from the feed", 20, lambda: call(key, "GET", price)["sources"])
    draft = {
        "accountId": said["account"], "market": "paper:linear:DEMO", "side": "BUY", "qty": "1",
        "entry": {"mode": "market"}, "stopLoss": {"price": "50"}, "breakEven": {"enabled": True},
        "takeProfits": [{"price": "205", "sizePct": "50"}, {"price": "210", "sizePct": "50"}],
    }  # fmt: skip
    order = call(key, "POST", "/v1/orders", draft, Idempotency_Key="first-order")
    again = call(key, "POST", "/v1/orders", draft, Idempotency_Key="first-order")
    if again["id"] != order["id"]:
        raise SystemExit("the same Idempotency-Key made a second order")
    wait("the order is active", 20, lambda: call(key, "GET", f"/v1/orders/{order['id']}")["status"] == "ACTIVE")


def main():
    services = yaml.safe_load((ROOT / "docker/compose.yml").read_text())["services"]
    for name in STORES:
        start_store(name, services[name])
        wait(f"{name} is healthy", 30, lambda: is_healthy(services[name]))
    migrate = services["migrate"]
    subprocess.run([BINARY] + migrate["command"], env=environment(migrate), check=True, timeout=120, stdout=subprocess.DEVNULL)
    roles = [name for name in services if name not in STORES and name != "migrate"]
    for name in sorted(roles, key=lambda name: name != "paper-venue"):
        service = services[name]
        for _ in range(service.get("deploy", {}).get("replicas", 1)):
            start(name, [BINARY] + [here(word) for word in service["command"]], environment(service))
        wait(f"{name} is healthy", 60, lambda: is_healthy(service))
    place_first_order(services)
    # An orderly stop is shorter than stop_grace_period, and no role takes it for a failure.
    for name, child in reversed(processes):
        child.send_signal(signal.SIGINT if name == "postgres" else signal.SIGTERM)
        if child.wait(timeout=40) != 0:
            raise SystemExit(f"{name} ended with {child.returncode} when it was asked to stop")


try:
    main()
except SystemExit as failure:
    sys.exit(f"rehearse-compose: {failure}")
finally:
    for _, child in reversed(processes):
        if child.poll() is None:
            child.kill()
    shutil.rmtree(FOLDER, ignore_errors=True)
