"""Chaos with real processes: everything is killed, cut, paused and flushed while orders live (RELIABILITY.md 9).

Usage: chaos.py PROGRAM [--kills N] [--seed N] [--out DIR] [--minutes M] [--without-redis] [--restores N]
                        [--failovers N] [--replicas N] [--full-disks N]
(scripts/chaos sees to it)

Starts private PostgreSQL and Redis servers, the paper venue, 2 schedulers, 3 workers, 2 feeds and 2 APIs, each of them
behind TCP fault proxies of its own, and drives orders through the APIs while it does its worst. Then everything is
healed, prices sweep over every level, and oracle.py judges what the venue's log, the tick log and the driver's own
journal say. Prints a table and one JSON object; exit status 1 when the judge found anything, 2 when nothing could run.
"""

import argparse
import ctypes
import glob
import http.client
import json
import os
import random
import resource
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from decimal import Decimal

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
import oracle  # noqa: E402
from faults import ALWAYS, Chaos  # noqa: E402
from proxy import Proxies  # noqa: E402

MARKETS = ["WALKA", "WALKB", "WALKC", "WALKD"]
LIBC = ctypes.CDLL(None, use_errno=True)
ROLES = {"worker": 3, "scheduler": 2, "api": 2, "feed": 2}


def now():
    return time.time_ns() // 1000


def stored(order):
    """What is stored of an order; the rest is derived when it is asked for."""
    derived = ("pnl", "protection", "trailing")
    return {name: value for name, value in order.items() if name not in derived}


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


def die_with_parent():
    LIBC.prctl(1, signal.SIGKILL)


class Process:
    """A child that is killed by its id only while it is ours."""

    def __init__(self, name, command, folder, environment=None, user=None):
        self.name = name
        log = open(os.path.join(folder, name + ".log"), "ab")
        prefix = []
        if user and os.geteuid() == 0:
            prefix = ["setpriv", f"--reuid={user}", f"--regid={user}", "--clear-groups", "--"]
        self.child = subprocess.Popen(
            prefix + command,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            env={**os.environ, "SWIFT_BACKTRACE": "enable=no", **(environment or {})},
            preexec_fn=die_with_parent,
            start_new_session=True,
        )
        log.close()

    @property
    def is_running(self):
        return self.child.poll() is None

    def signal(self, number):
        if self.is_running:
            self.child.send_signal(number)

    def kill(self):
        self.signal(signal.SIGKILL)
        self.child.wait(20)


class Journal:
    """What the driver's clients asked and were answered, in order."""

    def __init__(self, path):
        self.entries = []
        self.lock = threading.Lock()
        self.file = open(path, "w")

    def add(self, what, **fields):
        entry = {"time": now(), "what": what, **fields}
        with self.lock:
            self.entries.append(entry)
            self.file.write(json.dumps(entry) + "\n")


class Cluster:
    """The servers and the roles."""

    def __init__(self, program, folder, seed, with_redis, direct=False):
        """`direct`: without fault proxies, which cost more than what is measured where speed is."""
        self.direct = direct
        self.program = program
        self.folder = folder
        self.proxies = Proxies(seed)
        self.processes = {}
        self.with_redis = with_redis
        self.environment = {"SMARTORDERS_MASTER_KEY": "5a" * 32, "SMARTORDERS_LOG_LEVEL": "warning"}
        self.apis = []
        self.roles = ROLES
        # A port that roles know beside the primary's.
        self.replica = None
        self.lock = threading.RLock()

    # Servers.

    def start(self):
        self.pg_port, self.redis_port, self.venue_port = free_port(), free_port(), free_port()
        self.init_postgres()
        self.start_postgres()
        self.start_redis()
        markets = [
            {"product": "linear", "symbol": name, "base": name, "quote": "USDT", "tickSize": "0.01", "stepSize": "1"}
            for name in MARKETS
        ]
        config = {"markets": markets, "ticksPath": f"{self.folder}/ticks.jsonl", "logReads": not self.direct}
        with open(f"{self.folder}/venue.json", "w") as file:
            json.dump(config, file)
        self.processes["venue"] = Process(
            "venue",
            [self.program, "serve", "paper-venue", "--listen", f"127.0.0.1:{self.venue_port}", "--hedged"]
            + ["--log", f"{self.folder}/venue.jsonl", "--config", f"{self.folder}/venue.json"],
            self.folder,
            self.environment,
        )
        self.wait_port(self.venue_port, "the paper venue")
        arguments = self.arguments(self.pg_port, self.redis_port, self.venue_port)
        self.command(["migrate", "up", "--database", arguments[1]])
        words = self.command(["accounts", "create", "--name", "chaos"] + arguments).split()
        self.account, self.key = words[1], words[3]
        for role, count in ROLES.items():
            for number in range(1, count + 1):
                name = f"{role}-{number}"
                if not self.direct:
                    for link, port in (("pg", self.pg_port), ("redis", self.redis_port), ("venue", self.venue_port)):
                        self.proxies.open(f"{name}.{link}", port)
                if role == "api":
                    self.apis.append(free_port())
                self.start_role(name)

    def init_postgres(self):
        self.pg_bin = sorted(glob.glob("/usr/lib/postgresql/*/bin"), key=lambda p: int(p.split("/")[-2]))
        on_path = shutil.which("postgres")
        self.pg_bin = self.pg_bin[-1] if self.pg_bin else os.path.dirname(on_path or "")
        if not self.pg_bin:
            raise SystemExit("error: PostgreSQL is not installed")
        self.pg_data = os.path.join(self.folder, "pg")
        os.mkdir(self.pg_data, 0o700)
        if os.geteuid() == 0:
            shutil.chown(self.pg_data, "postgres", "postgres")
        init = Process(
            "initdb",
            [f"{self.pg_bin}/initdb", "-D", self.pg_data, "-U", "postgres", "-A", "trust", "-N", "-E", "UTF8"]
            + ["--locale=C"],
            self.folder,
            user="postgres",
        )
        if init.child.wait(120):
            raise SystemExit("error: initdb failed: " + open(f"{self.folder}/initdb.log").read()[-800:])

    def postgres_command(self, data, port, **more):
        settings = {
            "listen_addresses": "127.0.0.1",
            "port": port,
            "unix_socket_directories": "",
            "max_connections": 200,
            "timezone": "UTC",
            "log_parameter_max_length": 0,
            "recovery_init_sync_method": "syncfs",
            **more,
        }
        command = [f"{self.pg_bin}/postgres", "-D", data]
        for name, value in settings.items():
            command += ["-c", f"{name}={value}"]
        return command

    def start_postgres(self):
        command = self.postgres_command(self.pg_data, self.pg_port)
        self.processes["postgres"] = Process("postgres", command, self.folder, user="postgres")
        for _ in range(600):
            if self.sql("SELECT 1", quiet=True) == "1":
                return
            if not self.processes["postgres"].is_running:
                # A backend of the server before, killed and not gone yet, holds the shared memory.
                self.processes["postgres"] = Process("postgres", command, self.folder, user="postgres")
            time.sleep(0.05)
        raise SystemExit("error: PostgreSQL does not start: " + open(f"{self.folder}/postgres.log").read()[-800:])

    def postgres_tree(self):
        """The postmaster's process id and its children's."""
        parent = self.processes["postgres"].child.pid
        try:
            with open(f"/proc/{parent}/task/{parent}/children") as file:
                return [parent] + [int(child) for child in file.read().split()]
        except (FileNotFoundError, ProcessLookupError):
            # It died a moment ago, and its children with it.
            return [parent]

    def kill_postgres(self):
        """As a power cut of the server: the postmaster and every backend at once."""
        parent = self.processes["postgres"]
        parent.signal(signal.SIGSTOP)
        for child in self.postgres_tree()[1:]:
            try:
                os.kill(child, signal.SIGKILL)
            except ProcessLookupError:
                pass
        parent.kill()

    def fill_disk(self, size):
        """No file of PostgreSQL's can be written beyond `size` bytes, by this server or its children to come."""
        # Asked for by its own user: another's limits are not for everybody to set, not even for root in a container.
        as_owner = ["setpriv", "--reuid=postgres", "--regid=postgres", "--clear-groups"] if os.geteuid() == 0 else []
        for number in self.postgres_tree():
            subprocess.run(as_owner + ["prlimit", f"--pid={number}", f"--fsize={size}:"], capture_output=True)

    def has_panicked(self):
        with open(f"{self.folder}/postgres.log") as log:
            return "PANIC:  could not write" in log.read()

    def backup(self, number):
        """A base backup of the running server."""
        path = f"{self.folder}/backup-{number}"
        done = subprocess.run(
            [f"{self.pg_bin}/pg_basebackup", "-h", "127.0.0.1", "-p", str(self.pg_port), "-U", "postgres"]
            + ["-D", path, "-X", "stream", "-c", "fast"],
            capture_output=True,
            text=True,
        )
        if done.returncode:
            raise SystemExit(f"error: no backup: {done.stderr[-500:]}")
        return path

    def restore(self, path):
        """The server dies with its disk, and an older copy takes its place, as after a point-in-time recovery."""
        if self.processes["postgres"].is_running:
            self.kill_postgres()
        shutil.rmtree(self.pg_data)
        os.rename(path, self.pg_data)
        with open(f"{self.pg_data}/postgresql.auto.conf", "a") as file:
            file.write("restore_command = 'false'\n")
        open(f"{self.pg_data}/recovery.signal", "w").close()
        if os.geteuid() == 0:
            subprocess.run(["chown", "-R", "postgres:postgres", self.pg_data], check=True)
        self.start_postgres()
        for _ in range(600):
            if self.sql("SELECT pg_is_in_recovery()", quiet=True) == "f":
                return
            time.sleep(0.05)
        raise SystemExit("error: the restored server is not promoted")

    def standby(self, number, lag=None):
        """A synchronous standby: from now on no commit is acknowledged that it has not. With `lag`: one that nobody waits
        for, so many seconds behind, that notes whatever it is asked. Its folder, port, process."""
        path = self.backup(f"standby-{number}")
        port = free_port()
        with open(f"{path}/postgresql.auto.conf", "a") as file:
            file.write(f"primary_conninfo = 'host=127.0.0.1 port={self.pg_port} user=postgres application_name=twin'\n")
            if lag:
                file.write(f"recovery_min_apply_delay = '{lag} s'\n")
        open(f"{path}/standby.signal", "w").close()
        if os.geteuid() == 0:
            subprocess.run(["chown", "-R", "postgres:postgres", path], check=True)
        notes = {"log_connections": "on", "log_statement": "all", "log_line_prefix": "%a|"} if lag else {}
        process = Process(f"standby-pg{number}", self.postgres_command(path, port, **notes), self.folder, user="postgres")
        if not lag:
            self.sql("ALTER SYSTEM SET synchronous_standby_names = 'twin'")
            self.sql("SELECT pg_reload_conf()")
        for _ in range(1_200):
            if self.sql("SELECT sync_state FROM pg_stat_replication", quiet=True) == ("async" if lag else "sync"):
                return path, port, process
            time.sleep(0.05)
        raise SystemExit("error: the standby does not follow")

    def fail_over(self, path, port, process):
        """The primary dies with its disk; the standby takes its place, behind the same addresses."""
        if self.processes["postgres"].is_running:
            self.kill_postgres()
        shutil.rmtree(self.pg_data)
        self.pg_data, self.pg_port, self.processes["postgres"] = path, port, process
        self.sql("SELECT pg_promote()")
        for name, link in self.proxies.links.items():
            if name.endswith(".pg"):
                link.target = port
        for _ in range(600):
            if self.sql("SELECT pg_is_in_recovery()", quiet=True) == "f":
                return
            time.sleep(0.05)
        raise SystemExit("error: the standby is not promoted")

    def start_redis(self):
        if not self.with_redis:
            return
        self.processes["redis"] = Process(
            "redis",
            ["redis-server", "--port", str(self.redis_port), "--bind", "127.0.0.1", "--save", "", "--appendonly", "no"]
            + ["--maxmemory-policy", "noeviction", "--dir", self.folder],
            self.folder,
        )
        self.wait_port(self.redis_port, "Redis")

    def redis(self, *words):
        try:
            with socket.create_connection(("127.0.0.1", self.redis_port), 2) as link:
                text = f"*{len(words)}\r\n" + "".join(f"${len(word)}\r\n{word}\r\n" for word in words)
                link.sendall(text.encode())
                return link.recv(4096).decode()
        except OSError:
            return ""

    def sql(self, text, quiet=False):
        done = subprocess.run(
            [f"{self.pg_bin}/psql", "-X", "-A", "-t", "-h", "127.0.0.1", "-p", str(self.pg_port), "-U", "postgres"]
            + ["-c", text],
            capture_output=True,
            text=True,
            env={**os.environ, "PGCONNECT_TIMEOUT": "2"},
        )
        if done.returncode and not quiet:
            raise SystemExit(f"error: {text}: {done.stderr}")
        return done.stdout.strip()

    def sql_file(self, path):
        done = subprocess.run(
            [f"{self.pg_bin}/psql", "-X", "-q", "-v", "ON_ERROR_STOP=1", "-h", "127.0.0.1", "-p", str(self.pg_port)]
            + ["-U", "postgres", "-f", path],
            capture_output=True,
            text=True,
        )
        if done.returncode:
            raise SystemExit(f"error: {path}: {done.stderr}")

    # Roles.

    def arguments(self, pg, redis, venue):
        hosts = f"host=127.0.0.1,127.0.0.1 port={self.replica},{pg}" if self.replica else f"host=127.0.0.1 port={pg}"
        return [
            "--database",
            f"{hosts} user=postgres dbname=postgres connect_timeout=2",
            "--redis",
            f"redis://127.0.0.1:{redis}/0",
            "--paper-venue",
            f"http://127.0.0.1:{venue}",
            "--paper-hedged",
        ]

    def start_role(self, name):
        with self.lock:
            role, number = name.split("-")
            ports = [self.pg_port, self.redis_port, self.venue_port]
            if not self.direct:
                ports = [self.proxies.links[f"{name}.{link}"].port for link in ("pg", "redis", "venue")]
            command = [self.program, "serve", role] + self.arguments(*ports)
            if role == "api":
                command += ["--listen", f"127.0.0.1:{self.apis[int(number) - 1]}"]
            if role == "feed":
                command += ["--venue", "paper"]
            self.processes[name] = Process(name, command, self.folder, self.environment)

    def revive(self):
        """Roles that ended by themselves: a supervisor would start them again."""
        ended = []
        with self.lock:
            for name, process in list(self.processes.items()):
                if "-" in name and not process.is_running:
                    ended.append(name)
                    self.start_role(name)
        return ended

    def command(self, words):
        done = subprocess.run(
            [self.program] + words, capture_output=True, text=True, env={**os.environ, **self.environment}, timeout=60
        )
        if done.returncode:
            raise SystemExit(f"error: {words[:2]}: {done.stderr}")
        return done.stdout

    def wait_port(self, port, what):
        for _ in range(400):
            try:
                socket.create_connection(("127.0.0.1", port), 1).close()
                return
            except OSError:
                time.sleep(0.05)
        raise SystemExit(f"error: {what} does not listen")

    def control(self, path, document):
        link = http.client.HTTPConnection("127.0.0.1", self.venue_port, timeout=10)
        try:
            link.request("POST", path, json.dumps(document), {"Content-Type": "application/json"})
            answer = link.getresponse()
            body = answer.read()
            if answer.status != 200:
                raise SystemExit(f"error: the venue refuses {path}: {body[:300]}")
        finally:
            link.close()

    def end(self):
        for process in list(self.processes.values()):
            process.signal(signal.SIGCONT)
            process.signal(signal.SIGKILL if process.name != "postgres" else signal.SIGQUIT)
        for process in list(self.processes.values()):
            try:
                process.child.wait(20)
            except subprocess.TimeoutExpired:
                process.child.kill()


class Prices(threading.Thread):
    """Four walks that cross levels all the time; told to the venue, which is the only one that the feeds listen to."""

    def __init__(self, cluster, seed):
        super().__init__(daemon=True)
        self.cluster = cluster
        self.random = random.Random(seed)
        self.units = {name: 10_000 for name in MARKETS}
        self.sequence = 0
        self.drift = {name: 0 for name in MARKETS}
        self.ended = False
        self.sweep = None

    def price(self, name):
        return Decimal(self.units[name]) / 100

    def move(self, name):
        if self.sweep is not None:
            goal = self.sweep
            step = max(-25, min(25, goal - self.units[name]))
            return self.units[name] + step
        if self.random.random() < 0.02:
            self.drift[name] = self.random.choice([-4, -2, 0, 0, 2, 4])
        if self.random.random() < 0.003:
            return self.units[name] + self.random.choice([-120, 120])
        return self.units[name] + self.random.randint(-8, 8) + self.drift[name]

    def run(self):
        while not self.ended:
            begun = time.monotonic()
            ticks = []
            self.sequence += 1
            for name in MARKETS:
                self.units[name] = min(max(self.move(name), 8_500), 11_500)
                ticks.append(
                    {
                        "market": f"paper:linear:{name}",
                        "source": "last",
                        "price": str(self.price(name)),
                        "venueTime": now(),
                        "sequence": self.sequence,
                    }
                )
            while not self.ended:
                try:
                    self.cluster.control("/paper/v1/ticks", ticks)
                    break
                except OSError:
                    time.sleep(0.1)
            time.sleep(max(0.0, 0.1 - (time.monotonic() - begun)))


class Trader(threading.Thread):
    """Creates orders with idempotency keys, asks after them, closes and cancels a few."""

    def __init__(self, cluster, prices, journal, seed):
        super().__init__(daemon=True)
        self.cluster = cluster
        self.prices = prices
        self.journal = journal
        self.random = random.Random(seed)
        self.creating = True
        self.ended = False
        self.keys = 0
        self.open = {}
        self.pending = []
        self.answers = {}
        self.refused = {}
        self.turn = []

    def request(self, method, path, body=None, headers=None, api=None):
        port = self.cluster.apis[self.random.randrange(2) if api is None else api]
        link = http.client.HTTPConnection("127.0.0.1", port, timeout=5)
        try:
            link.request(
                method,
                path,
                None if body is None else json.dumps(body),
                {
                    "Authorization": f"Bearer {self.cluster.key}",
                    "Content-Type": "application/json",
                    **(headers or {}),
                },
            )
            answer = link.getresponse()
            text = answer.read()
            is_document = "json" in answer.getheader("Content-Type", "")
            return answer.status, dict(answer.getheaders()), json.loads(text) if text and is_document else None
        except (OSError, http.client.HTTPException, ValueError):
            return None, {}, None
        finally:
            link.close()

    def draft(self):
        name = self.random.choice(MARKETS)
        price = self.prices.price(name)
        side = self.random.choice(["BUY", "SELL"])
        sign = 1 if side == "BUY" else -1

        def away(permille):
            return str((price * (1 + sign * Decimal(permille) / 1000)).quantize(Decimal("0.01")))

        self.keys += 1
        draft = {
            "accountId": self.cluster.account,
            "market": f"paper:linear:{name}",
            "side": side,
            "positionSide": "LONG" if side == "BUY" else "SHORT",
            "qty": str(100 + self.keys),
            "triggerSource": "last",
            "entry": {"mode": "market"},
        }
        kind = self.random.randrange(4)
        near, far = self.random.randint(4, 12), self.random.randint(6, 25)
        if kind == 0:
            draft["trailing"] = {"callbackRate": str(Decimal(self.random.randint(4, 12)) / 1000)}
        elif kind == 1:
            draft["stopLoss"] = {"price": away(-near)}
            draft["takeProfits"] = [{"price": away(far), "sizePct": "100"}]
        elif kind == 2:
            draft["stopLoss"] = {"price": away(-near)}
            draft["takeProfits"] = [
                {"price": away(near), "sizePct": "40"},
                {"price": away(near + far), "sizePct": "60"},
            ]
        else:
            draft["stopLoss"] = {"price": away(-near)}
            draft["takeProfits"] = [{"price": away(5), "sizePct": "50"}, {"price": away(40), "sizePct": "50"}]
            draft["breakEven"] = {"enabled": True}
        return draft

    def create(self, key, draft):
        status, headers, body = self.request("POST", "/v1/orders", draft, {"Idempotency-Key": key})
        if status in (200, 201, 202):
            self.journal.add("created", key=key, order=body["id"], draft=draft)
            first = self.answers.setdefault(key, body)
            if headers.get("Idempotency-Replayed") == "true" and first is not body and stored(first) != stored(body):
                self.journal.add("replay differs", key=key, first=first, again=body)
            self.open.setdefault(body["id"], draft)
            return True
        if status is not None and 400 <= status < 500 and status not in (409, 408, 425, 429):
            code = (body or {}).get("code", str(status))
            self.refused[code] = self.refused.get(code, 0) + 1
            return True
        return False

    def look(self):
        """Asks after a few open orders, each in its turn."""
        if not self.turn:
            self.turn = list(self.open)
        for _ in range(min(8, len(self.turn))):
            identity = self.turn.pop()
            status, headers, body = self.request("GET", f"/v1/orders/{identity}")
            if status != 200:
                continue
            terminal = body["status"] in ("CLOSED", "STOPPED", "CANCELLED", "FAILED")
            armed = (body.get("stop") or {}).get("state") == "ARMED" and body["phase"] == "monitoring"
            self.journal.add("seen", order=identity, status=body["status"], armed=armed, terminal=terminal)
            if body.get("health") not in ("OK", None):
                self.journal.add("health", order=identity, health=body["health"], detail=body.get("healthDetail"))
            if terminal:
                self.open.pop(identity, None)
            elif armed and self.creating and self.random.random() < 0.01:
                key = f"close-{identity}"
                self.journal.add("command", order=identity, command="close")
                self.request(
                    "POST",
                    f"/v1/orders/{identity}/close",
                    {},
                    {"If-Match": headers.get("ETag", ""), "Idempotency-Key": key},
                )

    def run(self):
        next_create = time.monotonic()
        while not self.ended:
            if self.creating and time.monotonic() >= next_create:
                next_create = time.monotonic() + self.random.uniform(0.5, 1.8)
                draft = self.draft()
                self.pending.append((f"create-{self.keys}", draft))
            # What has no answer yet is asked again with its key; of what has one, some are asked again all the same.
            left = []
            for key, draft in self.pending[:6]:
                if not self.create(key, draft):
                    left.append((key, draft))
                elif self.random.random() < 0.1:
                    self.create(key, draft)
            self.pending = left + self.pending[6:]
            self.look()
            time.sleep(0.1)


class Listener(threading.Thread):
    """Follows the account's events over SSE, from one API or the other, and goes on after the last one that it has."""

    def __init__(self, cluster, journal, name, seed, impatient):
        super().__init__(daemon=True)
        self.cluster = cluster
        self.journal = journal
        self.client = name
        self.random = random.Random(seed)
        self.impatient = impatient
        self.ended = False
        self.since = None

    def run(self):
        while not self.ended:
            try:
                self.follow()
            except (OSError, http.client.HTTPException, ValueError):
                pass
            time.sleep(0.2)

    def follow(self):
        port = self.cluster.apis[self.random.randrange(2)]
        link = http.client.HTTPConnection("127.0.0.1", port, timeout=8)
        try:
            since = self.since or "1-0"
            link.request(
                "GET",
                f"/v1/events?account={self.cluster.account}&since={since}",
                headers={"Authorization": f"Bearer {self.cluster.key}", "Accept": "text/event-stream"},
            )
            answer = link.getresponse()
            if answer.status != 200:
                return
            until = time.monotonic() + (self.random.uniform(1, 8) if self.impatient else 1e9)
            identity = kind = None
            while not self.ended and time.monotonic() < until:
                line = answer.readline()
                if not line:
                    return
                line = line.decode().rstrip("\n")
                if line.startswith("id:"):
                    identity = line[3:].strip()
                elif line.startswith("event:"):
                    kind = line[6:].strip()
                elif line == "" and kind:
                    if kind in ("gap", "snapshot"):
                        self.journal.add("gap", client=self.client, kind=kind)
                    elif identity and kind != "notice":
                        self.journal.add("event", client=self.client, seq=int(identity.split("-")[1]))
                    if identity:
                        self.since = identity
                    identity = kind = None
        finally:
            link.close()


def percentile(values, share):
    if not values:
        return None
    ordered = sorted(values)
    return round(ordered[min(len(ordered) - 1, int(len(ordered) * share))] / 1e6, 3)


def shares(values):
    return {"n": len(values), "p50": percentile(values, 0.5), "p99": percentile(values, 0.99)}


def recovery(latencies, kills, intents):
    """Seconds from a kill to the accept of a crossing that was under way, by class."""
    unsent, doubtful = [], []
    for crossed, accepted, order in latencies:
        hit = [at for at in kills if crossed - 300_000 <= at <= accepted]
        if not hit:
            continue
        begun = max(hit[0], crossed)
        created = [at for owner, at in intents if owner == order and crossed - 1_000_000 <= at]
        # An attempt that was committed before the kill and accepted after it: nobody knew whether it had been sent.
        is_doubtful = any(at <= hit[-1] for at in created) and min(created, default=accepted) < hit[-1]
        (doubtful if is_doubtful else unsent).append(accepted - begun)
    return unsent, doubtful


# After a fault is mended the cluster may still feel it: a lease is 2 s.
AFTERMATH_US = 2_000_000


def met(latencies, entries):
    """Each crossing, with the faults that were in effect from shortly before it to the accept."""
    mended = {entry["number"]: entry["time"] for entry in entries if entry["what"] == "mended"}
    faults = [entry for entry in entries if "number" in entry and entry["what"] != "mended"]
    for crossing in latencies:
        crossed, accepted, _ = crossing
        yield crossing, [
            fault
            for fault in faults
            if fault["time"] <= accepted
            and mended.get(fault["number"], float("inf")) + AFTERMATH_US >= crossed - 300_000
        ]


def alone(latencies, entries):
    """Crossings that met one kill and nothing else: no other fault was in effect from shortly before the crossing, or
    the kill, to the accept. The goals are stated for the kill of one process (RELIABILITY.md 9.4)."""
    return [
        crossing
        for crossing, faults in met(latencies, entries)
        if len(faults) == 1
        and faults[0]["what"] == "kill"
        and faults[0].get("name") not in ("everything", "history", "primary", "disk")
        and faults[0]["time"] >= crossing[0] - 300_000
    ]


def main():
    parser = argparse.ArgumentParser(prog="chaos.py")
    parser.add_argument("program")
    parser.add_argument("--kills", type=int, default=60)
    parser.add_argument("--seed", type=int, default=None)
    parser.add_argument("--minutes", type=float, default=None)
    parser.add_argument("--pace", type=float, default=1.0, help="seconds between actions are 0.3 to 1.8 times this")
    parser.add_argument("--without-redis", action="store_true")
    parser.add_argument("--restores", type=int, default=0, help="times that the database is put back by some seconds")
    parser.add_argument("--failovers", type=int, default=0, help="times that a standby takes the primary's place")
    parser.add_argument("--replicas", type=int, default=0, help="times that everybody knows a late replica")
    parser.add_argument("--full-disks", type=int, default=0, help="times that the database's disk is full")
    parser.add_argument("--out", default=None)
    options = parser.parse_args()
    seed = options.seed if options.seed is not None else random.SystemRandom().randrange(1 << 31)
    folder = tempfile.mkdtemp(prefix="so-chaos-", dir=options.out)
    os.chmod(folder, 0o755)
    # Orphans of what we kill are ours: a postmaster that became a zombie elsewhere would hold its lock file.
    LIBC.prctl(36, 1)
    journal = Journal(f"{folder}/journal.jsonl")
    cluster = Cluster(os.path.abspath(options.program), folder, seed, not options.without_redis)
    rarities = options.restores + options.failovers + options.replicas + options.full_disks
    limit = (options.minutes or max(5, options.kills / 30) + rarities / 2) * 60
    try:
        return run(cluster, journal, folder, seed, options, limit)
    finally:
        cluster.end()


def run(cluster, journal, folder, seed, options, limit):
    started = time.monotonic()
    cluster.start()
    prices = Prices(cluster, seed + 1)
    trader = Trader(cluster, prices, journal, seed + 2)
    listeners = [Listener(cluster, journal, "steady", seed + 3, False), Listener(cluster, journal, "hasty", seed + 4, True)]
    chaos = Chaos(cluster, journal, trader, seed + 5)
    prices.start()
    for port in cluster.apis:
        cluster.wait_port(port, "an API")
    for thread in [trader] + listeners:
        thread.start()
    quiet_until = time.monotonic() + 5
    while time.monotonic() < quiet_until and len(trader.open) < 3:
        time.sleep(0.1)

    deadline = time.monotonic() + limit
    next_act = time.monotonic()
    next_heal = time.monotonic() + 120
    next_loss = time.monotonic() + 15
    revived = {}
    rare = [
        ("replica", options.replicas, chaos.lag_replica),
        ("full disk", options.full_disks, chaos.fill_disk),
        ("restore", options.restores, chaos.lose_history),
        ("failover", options.failovers, chaos.fail_over),
    ]

    def owed():
        return [action for name, wanted, action in rare if chaos.counts.get(name, 0) < wanted]

    while (chaos.kills < options.kills or owed()) and time.monotonic() < deadline:
        chaos.mend()
        for place, kind in enumerate(ALWAYS, 1):
            if chaos.kills >= options.kills * place // (len(ALWAYS) + 1) and kind not in chaos.counts:
                chaos.act(kind)
        if owed() and time.monotonic() >= next_loss:
            owed()[0]()
            next_loss = time.monotonic() + 40
        if time.monotonic() >= next_act:
            chaos.act()
            next_act = time.monotonic() + chaos.random.uniform(0.3, 1.8) * options.pace
        if time.monotonic() >= next_heal:
            chaos.heal()
            journal.add("heal")
            time.sleep(20)
            next_heal = time.monotonic() + 120
        if not chaos.mends:
            for name in cluster.revive():
                revived[name] = revived.get(name, 0) + 1
                journal.add("ended by itself", name=name)
        time.sleep(0.02)

    # Everything heals; prices sweep over every level; all orders must come to their end.
    trader.creating = False
    chaos.heal()
    journal.add("healed")
    healed = time.monotonic()
    time.sleep(3)
    sweeps = [8_700, 11_300, 8_700]
    patience = time.monotonic() + 150
    while time.monotonic() < patience and (trader.open or trader.pending):
        cluster.revive()
        for goal in sweeps:
            prices.sweep = goal
            until = time.monotonic() + 12
            while time.monotonic() < until and (trader.open or trader.pending):
                time.sleep(0.1)
    ended = time.monotonic()
    time.sleep(6)
    trader.ended = prices.ended = True
    for listener in listeners:
        listener.ended = True
    time.sleep(0.5)

    audits = audit(cluster)
    intents = [
        (line.split("|")[0], int(float(line.split("|")[1])))
        for line in cluster.sql("SELECT order_id, extract(epoch FROM created_at) * 1000000 FROM intents").splitlines()
    ]
    ticks = {}
    for entry in oracle.read_lines(f"{folder}/ticks.jsonl"):
        if entry["kind"] == "tick" and entry["source"] == "last":
            ticks.setdefault(entry["market"], []).append((entry["venueTime"], Decimal(entry["price"])))
    with journal.lock:
        entries = list(journal.entries)
    verdict = oracle.judge(f"{folder}/venue.jsonl", ticks, entries)
    for entry in entries:
        if entry["what"] == "replay differs":
            verdict.add("commands", f"{entry['key']}: the repeated create was answered differently")
        elif entry["what"] == "finding":
            verdict.add("unexpected", entry["text"])
    kills = sorted(entry["time"] for entry in entries if entry["what"] == "kill")
    unsent, doubtful = recovery(verdict.latencies, kills, intents)
    unsent_alone, doubtful_alone = recovery(alone(verdict.latencies, entries), kills, intents)
    waits = [accepted - crossed for crossed, accepted, _ in verdict.latencies]
    calm = [accepted - crossed for (crossed, accepted, _), faults in met(verdict.latencies, entries) if not faults]
    report = {
        "seed": seed,
        "kills": chaos.kills,
        "actions": chaos.counts,
        "seconds": round(time.monotonic() - started),
        "cpus": os.cpu_count(),
        **verdict.counts,
        "crossings": len(waits),
        "duplicated": len(verdict.findings["duplicated"]),
        "lost": len(verdict.findings["lost"]) + len(verdict.findings["open"]),
        "overExits": len(verdict.findings["over"]),
        "orphans": len(verdict.findings["orphans"]),
        "unexpected": len(verdict.findings["unexpected"]),
        "commands": len(verdict.findings["commands"]),
        "streamFaults": len(verdict.findings["stream"]),
        "events": sum(1 for entry in entries if entry["what"] == "event"),
        "crossingToAcceptSeconds": shares(waits),
        "crossingToAcceptCalmSeconds": shares(calm),
        "recoveryUnsentSeconds": shares(unsent),
        "recoveryInDoubtSeconds": shares(doubtful),
        "recoveryUnsentAloneSeconds": shares(unsent_alone),
        "recoveryInDoubtAloneSeconds": shares(doubtful_alone),
        "slowest": slowest(verdict.latencies, entries),
        "settledAfterSeconds": round(ended - healed, 1),
        "endedByThemselves": revived,
        "refused": trader.refused,
        "audit": audits,
    }
    # A run that was too slow to do its worst proves nothing.
    enough = options.minutes is not None or chaos.kills >= options.kills and not owed()
    if not enough:
        print(f"error: {chaos.kills} of {options.kills} kills in {limit:.0f} s, left: {len(owed())}", file=sys.stderr)
    clean = verdict.is_clean and not any(audits.values()) and enough
    show(report, verdict, clean, folder)
    print(json.dumps(report))
    if clean:
        shutil.rmtree(folder, ignore_errors=True)
    return 0 if clean else 1


def slowest(latencies, entries, count=5):
    """The exits that took longest, with what was done meanwhile."""
    doings = [entry for entry in entries if entry["what"] == "healed" or "number" in entry and entry["what"] != "mended"]
    told = []
    for crossed, accepted, order in sorted(latencies, key=lambda one: one[0] - one[1])[:count]:
        meanwhile = [
            f"{(entry['time'] - crossed) / 1e6:+.1f} s {entry['what']} "
            f"{entry.get('name') or entry.get('link') or ''} {entry.get('fault') or (entry.get('rule') or {}).get('do', '')}"
            for entry in doings
            if crossed - 5_000_000 <= entry["time"] <= accepted
        ]
        told.append({"order": order, "seconds": round((accepted - crossed) / 1e6, 1), "meanwhile": meanwhile})
    return told


def audit(cluster):
    """What PostgreSQL itself says, beside the judge (RELIABILITY.md 7, audit)."""
    queries = {
        "PR2 reserved": "SELECT count(*) FROM orders WHERE exited + reserved > entered",
        "PR6 versions": "SELECT count(*) FROM (SELECT order_id FROM events GROUP BY order_id "
        "HAVING count(*) <> max(version) OR min(version) <> 1) AS broken",
        "PR14 intents": "SELECT count(*) FROM intents WHERE state IN ('SUBMITTED', 'UNKNOWN', 'CANCEL_REQUESTED')",
        "PR14 shards": "SELECT count(*) FROM shards WHERE worker IS NULL",
    }
    return {name: int(cluster.sql(text, quiet=True) or -1) for name, text in queries.items()}


def show(report, verdict, clean, folder):
    print(f"{'':24}{'chaos run':>12}")
    for name in ("kills", "seconds", "orders", "entered", "exits", "crossings", "duplicated", "lost", "overExits"):
        print(f"{name:24}{report[name]:>12}")
    for name in ("orphans", "unexpected", "commands", "streamFaults", "events"):
        print(f"{name:24}{report[name]:>12}")
    for name in (name for name in report if name.startswith(("crossingTo", "recovery"))):
        print(f"{name:24}{json.dumps(report[name]):>12}")
    for kind, findings in verdict.findings.items():
        for finding in findings[:8]:
            print(f"{kind}: {finding}", file=sys.stderr)
    if not clean:
        print(f"error: the run is not clean; everything is in {folder} (seed {report['seed']})", file=sys.stderr)


if __name__ == "__main__":
    sys.exit(main())
