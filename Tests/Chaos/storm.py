"""Many orders at once, with real processes (RELIABILITY.md 8.9, 9.4).

Usage: storm.py PROGRAM storm N       one tick fires N stops: how long until every fill is recorded, none twice
       storm.py PROGRAM restart N     everybody is killed while N orders are watched and 20 more have stops that are latched
                                      and not sent: how long until those are sent, which does not wait for the N, and
                                      until all N are watched again, before which nobody is told so (FA139)
       storm.py PROGRAM steady R S    R stops a second fire for S seconds: how old does the queue get, what is used
       storm.py PROGRAM restore N     half of N stops have left when the database is lost; yesterday's backup is restored:
                                      what was sent in the lost history must not be sent again (RELIABILITY.md 2.10)
       storm.py PROGRAM late N        N stops are crossed while the feed does not hear it, and the venue's history does not answer
                                      for longer than prices are held back: when it answers, everybody having been killed
                                      meanwhile, they fire all the same, once (RELIABILITY.md 4.4)
       storm.py PROGRAM drain N       a worker that watches N orders is asked to end: how long until others have its shards

The orders are copies of one that the API made: same plan, ids of their own. No fault proxy is in the way. Prints one JSON
object; exit status 1 when something is missing or doubled.
"""

import json
import os
import sys
import tempfile
import threading
import time

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
import chaos  # noqa: E402
import oracle  # noqa: E402

MARKET = "paper:linear:WALKA"


class Prices(threading.Thread):
    """One price, told ten times a second."""

    def __init__(self, cluster):
        super().__init__(daemon=True)
        self.cluster = cluster
        self.price = "100"
        self.sequence = 0
        self.lock = threading.Lock()

    def tell(self):
        with self.lock:
            self.sequence += 1
            at = chaos.now()
            tick = {"market": MARKET, "source": "last", "price": self.price, "venueTime": at, "sequence": self.sequence}
            self.cluster.control("/paper/v1/ticks", [tick])
            return at

    def run(self):
        while True:
            try:
                self.tell()
            except OSError:
                pass
            time.sleep(0.1)


def varint(number):
    out = bytearray()
    while number > 127:
        out.append(number & 127 | 128)
        number >>= 7
    out.append(number)
    return bytes(out)


def watch_bytes(cents):
    """The watch of a full stop at so many cents, first attempt, as WatchCoding.swift writes it."""
    return bytes([1, 2]) + varint(1) + bytes([1, 2]) + varint(cents << 1)


def spread(cluster, per_level):
    """Gives the copies stops of their own: `per_level` at 94.99, as many at 94.98, and so on."""
    levels = int(cluster.sql("SELECT count(*) FROM orders")) // per_level + 1
    rows = ",".join(
        f"({n}, '{(9499 - n) // 100}.{(9499 - n) % 100:02}', '\\x{watch_bytes(9499 - n).hex()}'::bytea)" for n in range(levels)
    )
    with open(f"{cluster.folder}/levels.sql", "w") as file:
        file.write(
            f"""CREATE TABLE levels AS SELECT * FROM (VALUES {rows}) AS v(level, price, watches);
ALTER TABLE orders DISABLE TRIGGER orders_guard;
CREATE TABLE places AS SELECT id, (row_number() OVER (ORDER BY id) - 1) / {per_level} AS level FROM orders;
UPDATE orders AS o SET watches = l.watches FROM places AS p JOIN levels AS l USING (level) WHERE o.id = p.id;
ALTER TABLE orders ENABLE TRIGGER orders_guard;
UPDATE events AS e SET state = replace(e.state, '"stopLoss":{{"price":"95"', '"stopLoss":{{"price":"' || l.price || '"')
    FROM places AS p JOIN levels AS l USING (level) WHERE e.order_id = p.id;
DROP TABLE levels, places;
VACUUM ANALYZE orders, events;
"""
        )
    cluster.sql_file(f"{cluster.folder}/levels.sql")


def copies(cluster, order, count):
    """`count` more orders, the same but for their ids; their histories too."""
    base = order[:24]
    names = cluster.sql(
        "SELECT string_agg(CASE column_name WHEN 'id' THEN 'f.id' WHEN 'shard' THEN '(f.g & 1023)::smallint' "
        "ELSE 'o.' || column_name END, ', ' ORDER BY ordinal_position) FROM information_schema.columns "
        "WHERE table_name = 'orders' AND table_schema = 'public'"
    )
    columns = cluster.sql(
        "SELECT string_agg(CASE column_name WHEN 'order_id' THEN 'f.id' "
        "WHEN 'seq' THEN 's.last_seq + f.g * w.versions - w.versions + e.version' "
        "WHEN 'state' THEN $r$replace(e.state, '" + order + "', f.id::text)$r$ "
        "ELSE 'e.' || column_name END, ', ' ORDER BY ordinal_position) FROM information_schema.columns "
        "WHERE table_name = 'events' AND table_schema = 'public'"
    )
    fresh = f"(SELECT g, ('{base}' || lpad(to_hex(g), 12, '0'))::uuid AS id FROM generate_series(1, {count}) AS g) AS f"
    versions = f"(SELECT count(*) AS versions FROM events WHERE order_id = '{order}') AS w"
    cluster.sql(
        f"INSERT INTO orders SELECT {names} FROM {fresh}, (SELECT * FROM orders WHERE id = '{order}') AS o;"
        f"INSERT INTO events SELECT {columns} FROM {fresh}, (SELECT * FROM events WHERE order_id = '{order}') AS e, "
        f"account_stream AS s, {versions} WHERE s.account_id = e.account_id;"
        f"UPDATE account_stream SET last_seq = (SELECT max(seq) FROM events);"
        "ANALYZE orders, events"
    )


def watched(cluster, count):
    """Whether live workers report `count` watched orders."""
    script = (
        "local t={} for _,k in ipairs(redis.call('keys','so:*progress:*')) do t[#t+1]=redis.call('get',k) end "
        "return table.concat(t,'\\n')"
    )
    text = cluster.redis("EVAL", script, "0")
    total = 0
    for line in text.split("\n"):
        words = line.split()
        if len(words) >= 5 and words[0] == f"{MARKET}:last":
            total += int(words[4])
    return total


def begin(program, folder, count, workers):
    chaos.ROLES.update({"worker": workers, "scheduler": 1, "api": 1, "feed": 1})
    cluster = chaos.Cluster(os.path.abspath(program), folder, 1, True, direct=True)
    cluster.start()
    prices = Prices(cluster)
    cluster.control(
        "/paper/v1/control",
        {"positions": [{"account": "demo", "market": MARKET, "positionSide": "LONG", "qty": str(count), "price": "100"}]},
    )
    prices.start()
    cluster.wait_port(cluster.apis[0], "the API")
    cluster.trader = chaos.Trader(cluster, None, chaos.Journal(f"{folder}/journal.jsonl"), 1)
    return cluster, prices, attach(cluster, "95", "template")


def attach(cluster, stop, key):
    """An order for one coin of the position, with a stop; its id."""
    draft = {
        "accountId": cluster.account,
        "market": MARKET,
        "side": "BUY",
        "positionSide": "LONG",
        "qty": "1",
        "triggerSource": "last",
        "entry": {"mode": "attach", "price": "100"},
        "stopLoss": {"price": stop},
    }
    for _ in range(100):
        status, _, body = cluster.trader.request("POST", "/v1/orders", draft, {"Idempotency-Key": key}, api=0)
        if status in (200, 201, 202):
            return body["id"]
        time.sleep(0.2)
    raise SystemExit(f"error: order {key} was not created: {status} {body}")


def wait_watched(cluster, count, seconds):
    begun = time.monotonic()
    seen = 0
    while time.monotonic() - begun < seconds:
        seen = watched(cluster, count)
        if seen >= count:
            return True
        time.sleep(0.05)
    print(f"only {seen} of {count} are watched", file=sys.stderr)
    return False


def cpu(cluster):
    """CPU seconds of every process so far, with its children."""
    spent = {}
    for name, process in cluster.processes.items():
        total = 0
        ids = [process.child.pid]
        while ids:
            number = ids.pop()
            try:
                with open(f"/proc/{number}/stat") as file:
                    fields = file.read().rsplit(")", 1)[1].split()
                total += int(fields[11]) + int(fields[12]) + int(fields[13]) + int(fields[14])
                with open(f"/proc/{number}/task/{number}/children") as file:
                    ids += [int(child) for child in file.read().split()]
            except OSError:
                pass
        spent[name] = total / os.sysconf("SC_CLK_TCK")
    return spent


def wait_ended(cluster, count, seconds):
    """Returns how many orders have ended. The venue's log is read first: counting rows is work for the measured database."""
    begun = time.monotonic()
    place, accepted, done = 0, 0, 0
    while done < count and time.monotonic() - begun < seconds:
        time.sleep(0.25)
        if accepted < count:
            with open(f"{cluster.folder}/venue.jsonl", "rb") as file:
                file.seek(place)
                new = file.read()
            new = new[: new.rfind(b"\n") + 1]
            place += len(new)
            accepted += new.count(b'"kind":"accept"')
            if accepted < count and time.monotonic() - begun < seconds - 5:
                continue
        done = int(cluster.sql("SELECT count(*) FROM orders WHERE NOT is_live", quiet=True) or 0)
    return done


def storm(program, folder, count):
    cluster, prices, order = begin(program, folder, count, 3)
    try:
        copies(cluster, order, count - 1)
        # What was written behind their backs is read when a shard is taken: the workers begin again.
        for number in range(1, 4):
            cluster.processes[f"worker-{number}"].kill()
            cluster.start_role(f"worker-{number}")
        time.sleep(8)
        prices.price = "94"
        usage = cpu(cluster)
        fired = prices.tell()
        begun = time.monotonic()
        done = wait_ended(cluster, count, 600)
        seconds = time.monotonic() - begun
        spent = {name: round(after - usage.get(name, 0), 1) for name, after in cpu(cluster).items()}
        accepts, names = [], {}
        for line in oracle.read_lines(f"{folder}/venue.jsonl"):
            if line["kind"] == "accept":
                accepts.append(line["time"] - fired)
                names[line["clientOrderId"]] = names.get(line["clientOrderId"], 0) + 1
        accepts.sort()
        return {
            "bench": "storm",
            "orders": count,
            "ended": done,
            "accepted": len(accepts),
            "twice": sum(1 for times in names.values() if times > 1),
            "seconds": round(seconds, 1),
            "cpuSeconds": spent,
            "tickToVenueSeconds": {
                "p50": round(accepts[len(accepts) // 2] / 1e6, 2) if accepts else None,
                "max": round(accepts[-1] / 1e6, 2) if accepts else None,
            },
            "ok": done == count and len(accepts) == count and len(names) == count,
        }
    finally:
        cluster.end()


def halt(cluster, *words):
    database = cluster.arguments(cluster.pg_port, 0, 0)[:2]
    return cluster.command(["halt", *words, "--scope", "cluster", "--reason", "storm.py", *database])


def phases(cluster, orders):
    return {(cluster.trader.request("GET", f"/v1/orders/{order}", api=0)[2] or {}).get("phase") for order in orders}


def protection(cluster, order):
    """What its trader is told of how the stop is watched."""
    return (cluster.trader.request("GET", f"/v1/orders/{order}", api=0)[2] or {}).get("protection", {}).get("state")


# Stops under way at the restart: an account may have 20 orders on a market, and the template is one.
LATCHED = 15


def restart(program, folder, count):
    cluster, prices, order = begin(program, folder, count + LATCHED, 1)
    try:
        begun = time.monotonic()
        latched = [attach(cluster, "99", f"latched-{number}") for number in range(LATCHED)]
        copies(cluster, order, count - 1)
        filled = time.monotonic() - begun
        # Once without measuring: then everything is warm.
        cluster.processes["worker-1"].kill()
        cluster.start_role("worker-1")
        ok = wait_watched(cluster, count + LATCHED, 300)
        halt(cluster, "sends")
        prices.price = "98"
        until = time.monotonic() + 30
        while phases(cluster, latched) != {"stopping"} and time.monotonic() < until:
            time.sleep(0.2)
        ok = ok and phases(cluster, latched) == {"stopping"} and not accepts(folder)
        roles = ["scheduler-1", "feed-1", "worker-1"]
        for name in roles:
            cluster.processes[name].kill()
        cluster.redis("FLUSHALL")
        killed = time.monotonic()
        # The first step shows a code, which the second names.
        code = "".join(letter for letter in halt(cluster, "off").split()[-1] if letter in "0123456789abcdef")
        halt(cluster, "off", "--code", code)
        time.sleep(max(0, killed + 3.2 - time.monotonic()))  # what the dead ones reported is forgotten
        while_dead = protection(cluster, order)
        at = chaos.now()
        for name in roles:
            cluster.start_role(name)
        started = time.monotonic()
        seen, protected = 0, None
        while seen < count and time.monotonic() - started < 300:
            if protected is None and protection(cluster, order) in ("ON", "DELAYED", "DEGRADED"):
                protected = time.monotonic()
            seen = watched(cluster, count)
            time.sleep(0.05)  # whoever asks without a pause takes a core from whom he measures
        ready = time.monotonic()
        while len(accepts(folder)) < len(latched) and time.monotonic() - ready < 30:
            time.sleep(0.05)
        names = {oracle.client_id(each, "sl", 1) for each in latched}
        sent = [
            (line["time"] - at) / 1e6
            for line in oracle.read_lines(f"{folder}/venue.jsonl")
            if line["kind"] == "accept" and line["clientOrderId"] in names
        ]
        return {
            "bench": "restart",
            "orders": count,
            "fillSeconds": round(filled, 1),
            "latchedSentAfterStartSeconds": round(max(sent, default=0), 2),
            "watchedAfterStartSeconds": round(ready - started, 2),
            "watchedAfterKillSeconds": round(ready - killed, 2),
            "toldWhileDead": while_dead,
            "toldProtectedAfterStartSeconds": protected and round(protected - started, 2),
            "workerMegabytes": memory(cluster, "worker-1"),
            "ok": ok and seen >= count and len(sent) == len(latched),
        }
    finally:
        cluster.end()


def memory(cluster, name):
    """Resident megabytes."""
    with open(f"/proc/{cluster.processes[name].child.pid}/status") as file:
        return int([line for line in file if line.startswith("VmRSS")][0].split()[1]) // 1024


def steady(program, folder, rate, seconds):
    count = rate * seconds
    cluster, prices, order = begin(program, folder, count, 3)
    try:
        copies(cluster, order, count - 1)
        per_tick = max(1, rate // 10)
        spread(cluster, per_tick)
        for number in range(1, 4):
            cluster.processes[f"worker-{number}"].kill()
            cluster.start_role(f"worker-{number}")
        if not wait_watched(cluster, count, 300):
            raise SystemExit("error: the orders are not watched")
        usage = cpu(cluster)
        begun = time.monotonic()
        fired, sizes = [], []
        names = [f"worker-{number}" for number in range(1, 4)]
        for tick in range((count + per_tick - 1) // per_tick):
            time.sleep(max(0, begun + tick / 10 - time.monotonic()))
            cents = 9499 - tick
            prices.price = f"{cents // 100}.{cents % 100:02}"
            at = prices.tell()
            fired += [at] * min(per_tick, count - len(fired))
            if tick % 100 == 99:
                sizes.append([memory(cluster, name) for name in names])
        done = wait_ended(cluster, count, seconds + 300)
        spent = {name: round(after - usage.get(name, 0), 1) for name, after in cpu(cluster).items()}
        accepts, named = [], set()
        for line in oracle.read_lines(f"{folder}/venue.jsonl"):
            if line["kind"] == "accept":
                accepts.append(line["time"])
                named.add(line["clientOrderId"])
        accepts.sort()
        # Jobs are taken in their order: the n-th accept belongs to the n-th crossing, or to one that is as old.
        ages = sorted((accept - at) / 1e6 for accept, at in zip(accepts, fired))

        def share(part):
            return round(ages[min(int(len(ages) * part), len(ages) - 1)], 3) if ages else None

        return {
            "bench": "steady",
            "ratePerSecond": rate,
            "seconds": seconds,
            "orders": count,
            "ended": done,
            "accepted": len(accepts),
            "tickToVenueSeconds": {"p50": share(0.5), "p99": share(0.99), "max": share(1)},
            "cpuSeconds": spent,
            "workerMegabytes": {"first": sizes[0] if sizes else None, "last": sizes[-1] if sizes else None},
            "ok": done == count and len(accepts) == count and len(named) == count,
        }
    finally:
        cluster.end()


def drain(program, folder, count):
    cluster, prices, order = begin(program, folder, count, 2)
    try:
        copies(cluster, order, count - 1)
        # What was written behind their backs is read when a shard is taken: the workers begin again.
        for name in ("worker-1", "worker-2"):
            cluster.processes[name].kill()
            cluster.start_role(name)
        held = "SELECT coalesce(string_agg(n::text, ' ' ORDER BY n), '') FROM (SELECT count(*) AS n FROM shards WHERE is_accepted GROUP BY worker) AS w"
        for _ in range(600):
            if len(cluster.sql(held, quiet=True).split()) == 2 and watched(cluster, count) >= count:
                break
            time.sleep(0.1)
        time.sleep(2)
        moments = []
        for name in ("worker-1", "worker-2") * 3:
            other = "worker-2" if name == "worker-1" else "worker-1"
            process = cluster.processes[name]
            process.child.send_signal(chaos.signal.SIGTERM)
            asked = time.monotonic()
            while cluster.sql(held, quiet=True) != "1024" and time.monotonic() - asked < 30:
                time.sleep(0.01)
            moments.append(round(time.monotonic() - asked, 2))
            process.child.wait(20)
            cluster.start_role(name)
            while len(cluster.sql(held, quiet=True).split()) != 2 and time.monotonic() - asked < 60:
                time.sleep(0.05)
            if not cluster.processes[other].is_running:
                raise SystemExit(f"error: {other} ended")
            time.sleep(1)
        return {"bench": "drain", "orders": count, "movedAfterSeconds": sorted(moments), "ok": max(moments) < 30}
    finally:
        cluster.end()


def late(program, folder, count):
    cluster, prices, order = begin(program, folder, count + 1, 2)
    try:
        attach(cluster, "90", "spared")
        copies(cluster, order, count - 1)
        for name in ("worker-1", "worker-2"):
            cluster.processes[name].kill()
            cluster.start_role(name)
        if not wait_watched(cluster, count + 1, 120):
            raise SystemExit("error: the orders are not watched")
        time.sleep(1)
        broken = {"rules": [{"do": "errorBefore", "on": "publicTrades", "times": 1000000}]}
        with prices.lock:
            cluster.control("/paper/v1/control", {**broken, "stream": {"skipPublic": 2}})
            ticks = []
            for price in ("94", "100"):
                prices.sequence += 1
                at = chaos.now() + len(ticks)
                ticks.append(
                    {"market": MARKET, "source": "last", "price": price, "venueTime": at, "sequence": prices.sequence}
                )
            cluster.control("/paper/v1/ticks", ticks)
        hole = time.monotonic()
        tried = "SELECT count(*) FROM backfills WHERE error IS NOT NULL"
        while cluster.sql(tried, quiet=True) in ("", "0"):
            if time.monotonic() - hole > 60:
                raise SystemExit("error: nobody asks the history again")
            time.sleep(0.1)
        asked = time.monotonic()
        ended = "SELECT count(*) FROM orders WHERE NOT is_live"
        early = int(cluster.sql(ended))
        for name in [name for name in cluster.processes if "-" in name]:
            cluster.processes[name].kill()
            cluster.start_role(name)
        cluster.control("/paper/v1/control", {"rules": []})
        answered = time.monotonic()
        while cluster.sql(ended, quiet=True) != str(count) and time.monotonic() - answered < 120:
            time.sleep(0.1)
        seconds = time.monotonic() - answered
        # Whoever fires again does so by now.
        time.sleep(3)
        names = accepts(folder)
        twice = sum(1 for number in names.values() if number > 1)
        result = {
            "bench": "late",
            "orders": count,
            "askedAgainAfterSeconds": round(asked - hole, 1),
            "endedEarly": early,
            "ended": int(cluster.sql(ended)),
            "accepted": len(names),
            "twice": twice,
            "openGaps": int(cluster.sql("SELECT count(*) FROM feed_gaps WHERE NOT is_backfilled")),
            "seconds": round(seconds, 1),
        }
        isWhole = result["ended"] == count == len(names) and early == 0 and twice == 0 and result["openGaps"] == 0
        return {**result, "ok": isWhole}
    finally:
        cluster.end()


def accepts(folder):
    """Client order ids that the venue took, with how often."""
    names = {}
    for line in oracle.read_lines(f"{folder}/venue.jsonl"):
        if line["kind"] == "accept":
            names[line["clientOrderId"]] = names.get(line["clientOrderId"], 0) + 1
    return names


def restore(program, folder, count):
    cluster, prices, order = begin(program, folder, count, 3)
    try:
        copies(cluster, order, count - 1)
        backup = f"{folder}/backup"
        os.mkdir(backup, 0o700)
        if os.geteuid() == 0:
            chaos.shutil.chown(backup, "postgres", "postgres")
        copying = chaos.Process(
            "basebackup",
            [f"{cluster.pg_bin}/pg_basebackup", "-h", "127.0.0.1", "-p", str(cluster.pg_port), "-U", "postgres"]
            + ["-D", backup, "-X", "stream", "-c", "fast"],
            folder,
            user="postgres",
        )
        if copying.child.wait(300):
            raise SystemExit("error: no backup: " + open(f"{folder}/basebackup.log").read()[-800:])
        for number in range(1, 4):
            cluster.processes[f"worker-{number}"].kill()
            cluster.start_role(f"worker-{number}")
        if not wait_watched(cluster, count, 120):
            raise SystemExit("error: the orders are not watched")
        prices.price = "94"
        prices.tell()
        while len(accepts(folder)) < count // 2:
            time.sleep(0.02)
        # Everything ends at once; PostgreSQL comes back as it was before the first stop fired.
        for name in list(cluster.processes):
            if "-" in name:
                cluster.processes[name].kill()
        cluster.kill_postgres()
        lost = len(accepts(folder))
        # Archive recovery without an archive: the backup's own log, then a timeline of its own.
        cluster.pg_data = backup
        with open(f"{backup}/recovery.signal", "w"):
            pass
        with open(f"{backup}/postgresql.auto.conf", "a") as file:
            file.write("restore_command = '/bin/false'\n")
        cluster.redis("FLUSHALL")
        restored = time.monotonic()
        cluster.start_postgres()
        while cluster.sql("SELECT pg_is_in_recovery()", quiet=True) != "f":
            time.sleep(0.05)
        for role, number in chaos.ROLES.items():
            for one in range(1, number + 1):
                cluster.start_role(f"{role}-{one}")
        done = 0
        while done < count and time.monotonic() - restored < 300:
            time.sleep(0.5)
            done = int(cluster.sql("SELECT count(*) FROM orders WHERE NOT is_live", quiet=True) or 0)
        names = accepts(folder)
        return {
            "bench": "restore",
            "orders": count,
            "sentInLostHistory": lost,
            "ended": done,
            "accepted": sum(names.values()),
            "twice": sum(1 for times in names.values() if times > 1),
            "fills": int(cluster.sql("SELECT count(*) FROM fills WHERE leg = 'sl'")),
            "endedAfterSeconds": round(time.monotonic() - restored, 1),
            "ok": done == count and sum(names.values()) == count and len(names) == count,
        }
    finally:
        cluster.end()


def main():
    program, kind, numbers = sys.argv[1], sys.argv[2], [int(word) for word in sys.argv[3:]]
    folder = tempfile.mkdtemp(prefix="so-storm-")
    os.chmod(folder, 0o755)
    kinds = {"storm": storm, "restart": restart, "steady": steady, "drain": drain, "restore": restore, "late": late}
    result = kinds[kind](program, folder, *numbers)
    print(json.dumps({**result, "cpus": os.cpu_count()}))
    if result["ok"]:
        chaos.shutil.rmtree(folder, ignore_errors=True)
    else:
        print(f"error: logs are in {folder}", file=sys.stderr)
    return 0 if result["ok"] else 1


if __name__ == "__main__":
    sys.exit(main())
