"""What chaos.py does to the cluster: one action after the other, each mended a little later (RELIABILITY.md 6, 9.2).

An action says True when it did something. `broke` notes it in the journal, where the judge finds what was wrong when.
"""

import heapq
import itertools
import os
import random
import resource
import shutil
import signal
import threading
import time

import oracle

# What happens, by weight.
ACTIONS = {
    "kill worker": 30,
    "pause worker": 15,
    "kill scheduler": 10,
    "network": 10,
    "kill redis": 8,
    "kill api": 5,
    "flush redis": 5,
    "kill backend": 5,
    "venue faults": 5,
    "kill postgres": 4,
    "kill feed": 3,
    "fill redis": 2,
    "pause feed": 2,
    "slow link": 2,
    "starve worker": 1,
    "take memory": 1,
    "take descriptors": 1,
    "pause postgres": 1,
    "swizzle": 1,
    "pause everything": 1,
    "kill everything": 1,
}
# What every run does, in this order, spread over its kills: chance alone would leave each out of half of the short runs.
ALWAYS = [
    "slow link",
    "take memory",
    "pause postgres",
    "starve worker",
    "kill everything",
    "swizzle",
    "take descriptors",
]


class Chaos:
    """One action after the other; what was broken is mended a little later."""

    def __init__(self, cluster, journal, trader, seed):
        self.cluster = cluster
        self.journal = journal
        self.trader = trader
        self.random = random.Random(seed)
        self.mends = []
        self.steps = itertools.count()
        self.counts = {}
        self.kills = 0
        self.faults = 0

    def broke(self, what, after=None, mend=None, **fields):
        """Notes a fault; after so many seconds it is mended, and that is noted too. At once: nothing is to mend."""
        self.faults += 1
        number = self.faults
        self.journal.add(what, number=number, **fields)
        if mend is None:
            self.journal.add("mended", number=number)
            return

        def whole():
            mend()
            self.journal.add("mended", number=number)

        self.later(after, whole)

    def later(self, seconds, action):
        heapq.heappush(self.mends, (time.monotonic() + seconds, next(self.steps), action))

    def mend(self, everything=False):
        while self.mends and (everything or self.mends[0][0] <= time.monotonic()):
            heapq.heappop(self.mends)[2]()

    def member(self, role):
        return f"{role}-{self.random.randint(1, self.cluster.roles[role])}"

    def found(self, text):
        """Something that no log of the venue shows, and that must not be."""
        self.journal.add("finding", text=text)

    def act(self, kind=None):
        """Does one thing; by chance where nobody says what."""
        kinds = [kind for kind in ACTIONS if self.cluster.with_redis or "redis" not in kind]
        kind = kind or self.random.choices(kinds, [ACTIONS[kind] for kind in kinds])[0]
        done = getattr(self, kind.replace(" ", "_"))()
        if done:
            self.counts[kind] = self.counts.get(kind, 0) + 1
            if kind.startswith(("kill", "pause")):
                self.kills += 1

    def kill_role(self, role):
        name = self.member(role)
        process = self.cluster.processes[name]
        if not process.is_running:
            return False
        process.signal(signal.SIGCONT)
        process.kill()
        self.broke("kill", self.random.uniform(0.1, 1.0), lambda: self.restart(name), name=name)
        return True

    def restart(self, name):
        if not self.cluster.processes[name].is_running:
            self.cluster.start_role(name)

    def kill_worker(self):
        return self.kill_role("worker")

    def kill_scheduler(self):
        return self.kill_role("scheduler")

    def kill_api(self):
        return self.kill_role("api")

    def kill_feed(self):
        return self.kill_role("feed")

    def pause_role(self, role, seconds):
        process = self.cluster.processes[self.member(role)]
        if not process.is_running:
            return False
        process.signal(signal.SIGSTOP)
        self.broke("pause", seconds, lambda: process.signal(signal.SIGCONT), name=process.name)
        return True

    def pause_worker(self):
        return self.pause_role("worker", self.random.choice([0.3, 1.0, 2.5, 5.0]))

    def pause_feed(self):
        """Longer than a lease: the other one feeds, then both do (FA26)."""
        return self.pause_role("feed", self.random.choice([1.0, 4.0, 10.0]))

    def pause_everything(self):
        """The whole machine stands still, longer than a lease, and wakes in any order (FA35). The venue, its prices and
        the trader go on: they are the world outside."""
        stopped = []
        for name, process in self.cluster.processes.items():
            if name == "venue" or not process.is_running:
                continue
            stopped += self.cluster.postgres_tree() if name == "postgres" else [process.child.pid]
        for number in stopped:
            self.signal(number, signal.SIGSTOP)
        self.random.shuffle(stopped)

        def wake():
            for number in stopped:
                self.signal(number, signal.SIGCONT)
                time.sleep(self.random.uniform(0, 0.02))

        self.broke("pause", self.random.uniform(3.0, 6.0), wake, name="everything")
        return True

    def pause_postgres(self):
        """The server and every backend stand still, connections stay open (FA28). Without a commit nothing is placed."""
        process = self.cluster.processes["postgres"]
        if not process.is_running:
            return False
        # The postmaster first: whoever stands still makes no further backends.
        process.signal(signal.SIGSTOP)
        stopped = self.cluster.postgres_tree()
        for number in stopped:
            self.signal(number, signal.SIGSTOP)

        def wake():
            # A server that was killed meanwhile took its backends along: their numbers are somebody else's.
            if process.is_running:
                for number in reversed(stopped):
                    self.signal(number, signal.SIGCONT)

        self.broke("pause", 5.0, wake, name="postgres")
        return True

    def starve_worker(self):
        """A worker has a tenth of its time, in slices (FA30): it is late with everything, and dead to nobody for long."""
        process = self.cluster.processes[self.member("worker")]
        if not process.is_running:
            return False
        fed = threading.Event()

        def starve():
            while process.is_running and not fed.is_set():
                process.signal(signal.SIGSTOP)
                time.sleep(0.045)
                process.signal(signal.SIGCONT)
                time.sleep(0.005)

        thread = threading.Thread(target=starve, daemon=True)
        thread.start()

        def feed():
            fed.set()
            thread.join()

        self.broke("starve", 5.0, feed, name=process.name)
        return True

    @staticmethod
    def signal(number, which):
        try:
            os.kill(number, which)
        except ProcessLookupError:
            pass

    def network(self):
        name = f"{self.member(self.random.choice(list(self.cluster.roles)))}.{self.random.choice(['pg', 'redis', 'venue'])}"
        kind = self.random.choice(["reset", "latency", "blackhole", "refuse", "slice", "half", "cut"])
        proxies = self.cluster.proxies
        if kind == "reset":
            proxies.reset(name)
        elif kind == "latency":
            proxies.set(name, latency=self.random.choice([20, 100, 400]), jitter=50)
        elif kind == "blackhole":
            proxies.set(name, blackhole=True)
        elif kind == "half":
            proxies.set(name, way=self.random.choice(["up", "down"]), blackhole=True)
        elif kind == "slice":
            proxies.set(name, slice=7)
        elif kind == "cut":
            # A request that arrives by half, an answer that does (FA8, FA79).
            proxies.set(name, way=self.random.choice(["up", "down"]), cut=self.random.choice([50, 300]))
        else:
            proxies.set(name, refuse=True)
            proxies.reset(name)

        def mend():
            proxies.set(name)
            if kind in ("blackhole", "half"):
                proxies.reset(name)

        self.broke("network", self.random.uniform(0.5, 3.0), mend, link=name, fault=kind)
        return True

    def slow_link(self):
        """64 kbit/s for some seconds (FA76)."""
        name = f"{self.member(self.random.choice(list(self.cluster.roles)))}.{self.random.choice(['pg', 'redis', 'venue'])}"
        self.cluster.proxies.set(name, bandwidth=8_000, jitter=20)
        self.broke("network", self.random.uniform(3.0, 6.0), lambda: self.cluster.proxies.set(name), link=name, fault="slow")
        return True

    def swizzle(self):
        """Every link clogs, one after the other, and they come free in another order (FA80)."""
        proxies = self.cluster.proxies
        links = list(proxies.links)
        self.random.shuffle(links)

        def clog(name):
            proxies.set(name, blackhole=True)

        def free(name):
            # What was swallowed is missing: the connection is of no use any more.
            proxies.set(name)
            proxies.reset(name)

        for place, name in enumerate(links):
            self.later(0.2 * place, lambda name=name: clog(name))
        self.random.shuffle(links)
        for place, name in enumerate(links[:-1], len(links)):
            self.later(0.2 * place, lambda name=name: free(name))
        self.broke("network", 0.4 * len(links), lambda: free(links[-1]), link="all", fault="swizzle")
        return True

    def kill_redis(self):
        if not self.cluster.processes["redis"].is_running:
            return False
        self.cluster.processes["redis"].kill()
        self.broke("kill", self.random.uniform(0.2, 2.5), self.cluster.start_redis, name="redis")
        return True

    def flush_redis(self):
        self.cluster.redis("FLUSHALL")
        self.broke("flush", name="redis")
        return True

    def fill_redis(self):
        self.cluster.redis("CONFIG", "SET", "maxmemory", "1mb")
        self.broke("fill", 2.0, lambda: self.cluster.redis("CONFIG", "SET", "maxmemory", "0"), name="redis")
        return True

    def kill_backend(self):
        self.cluster.sql(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE backend_type = 'client backend' "
            "AND pid <> pg_backend_pid() ORDER BY random() LIMIT 2",
            quiet=True,
        )
        self.broke("kill", name="backend")
        return True

    def kill_postgres(self):
        if not self.cluster.processes["postgres"].is_running:
            return False
        self.cluster.kill_postgres()
        self.broke("kill", self.random.uniform(0.1, 1.5), self.cluster.start_postgres, name="postgres")
        return True

    def take_descriptors(self):
        """A process may open nothing for a while (FA33): no file, no connection. What is open stays open."""
        process = self.cluster.processes[self.member(self.random.choice(["api", "worker"]))]
        if not process.is_running:
            return False
        pid = process.child.pid
        soft, hard = resource.prlimit(pid, resource.RLIMIT_NOFILE)
        resource.prlimit(pid, resource.RLIMIT_NOFILE, (3, hard))

        def give_back():
            # The same process, if it still lives.
            if process.is_running:
                resource.prlimit(pid, resource.RLIMIT_NOFILE, (soft, hard))

        self.broke("descriptors", self.random.uniform(0.5, 3.0), give_back, name=process.name)
        return True

    def take_memory(self):
        """A worker gets no more memory than it has (FA32): the next time that it needs more it ends. Whoever looks after
        it starts it again."""
        name = self.member("worker")
        process = self.cluster.processes[name]
        if not process.is_running:
            return False
        pid = process.child.pid
        with open(f"/proc/{pid}/status") as file:
            sizes = dict(line.split(":", 1) for line in file)
        limits = {}
        for limit, size in ((resource.RLIMIT_AS, "VmSize"), (resource.RLIMIT_DATA, "VmData")):
            soft, hard = limits[limit] = resource.prlimit(pid, limit)
            resource.prlimit(pid, limit, (int(sizes[size].split()[0]) * 1_024, hard))

        def give_back():
            if process.is_running:
                for limit, before in limits.items():
                    resource.prlimit(pid, limit, before)
                return
            # Unless it was killed meanwhile.
            if process.child.returncode != -signal.SIGKILL:
                self.counts["ended for memory"] = self.counts.get("ended for memory", 0) + 1
                self.journal.add("ended for memory", name=name, status=process.child.returncode)
            self.restart(name)

        self.broke("memory", self.random.uniform(1.0, 4.0), give_back, name=name)
        return True

    def kill_everything(self):
        """All processes at once, PostgreSQL and Redis with them (FA21). Only what was written is left."""
        processes = self.cluster.processes
        running = [name for name, process in processes.items() if process.is_running and name != "venue"]
        if "postgres" in running:
            running.remove("postgres")
            self.cluster.kill_postgres()
        for name in running:
            processes[name].signal(signal.SIGCONT)
            processes[name].signal(signal.SIGKILL)
        for name in running:
            processes[name].child.wait(20)

        def start():
            if not processes["postgres"].is_running:
                self.cluster.start_postgres()
            if "redis" in running and not processes["redis"].is_running:
                self.cluster.start_redis()
            self.cluster.revive()

        self.broke("kill", self.random.uniform(0.1, 1.0), start, name="everything")
        return True

    def venue_faults(self):
        rule = self.random.choice(
            [
                {"do": "dropAfter", "on": ["place", "cancel"], "chance": 300_000},
                {"do": "dropBefore", "on": ["place"], "chance": 300_000},
                {"do": "closeAfter", "on": ["place"], "chance": 400_000},
                {"do": "errorAfter", "on": ["place"], "chance": 400_000},
                {"do": "errorBefore", "chance": 300_000},
                {"do": "garbage", "on": ["place"], "chance": 300_000},
                {"do": "hold", "on": ["place"], "minMs": 200, "maxMs": 3_000, "chance": 400_000},
                {"do": "engineDelay", "on": ["place"], "minMs": 100, "maxMs": 1_500, "chance": 500_000},
                {"do": "answerDelay", "minMs": 200, "maxMs": 2_500, "chance": 300_000},
                {"do": "rateLimit", "chance": 300_000, "retryAfter": 1},
            ]
        )
        document = {"rules": [rule], "lookupLagMs": self.random.choice([0, 0, 300, 1_500])}
        if self.random.random() < 0.3:
            document["stream"] = {"silent": True}
        if self.random.random() < 0.3:
            document["stream"] = {"cutAll": True}
        self.cluster.control("/paper/v1/control", document)
        self.broke("venue", self.random.uniform(1.0, 4.0), self.calm_venue, rule=rule)
        return True

    def calm_venue(self):
        self.cluster.control("/paper/v1/control", {"rules": [], "lookupLagMs": 0, "stream": {"silent": False}})

    def lose_history(self):
        """Some seconds of trading that the database forgets, and nobody else (RELIABILITY.md 2.10). Commands of that time
        could not be recovered, so none are given."""
        self.trader.creating = False
        until = time.monotonic() + 10
        while self.trader.pending and time.monotonic() < until:
            time.sleep(0.1)
        self.heal()
        time.sleep(1)
        path = self.cluster.backup(self.counts.get("restore", 0))
        self.journal.add("backup")
        self.trouble(10)
        self.heal()
        self.cluster.restore(path)
        self.broke("kill", name="history")
        self.counts["restore"] = self.counts.get("restore", 0) + 1
        self.kills += 1
        self.trader.creating = True

    def fail_over(self):
        """The primary is lost for good; a synchronous standby has every commit that was acknowledged (FA61). Trading goes
        on meanwhile."""
        self.heal()
        twin = self.cluster.standby(self.counts.get("failover", 0))
        self.trouble(5)
        self.cluster.fail_over(*twin)
        self.broke("kill", name="primary")
        self.counts["failover"] = self.counts.get("failover", 0) + 1
        self.kills += 1
        self.heal()

    def lag_replica(self):
        """Everybody knows a replica by the same string as the primary, and before it; it is ten seconds behind. Nobody
        asks it anything, also not while the primary is away: then nothing is ready, told or sent (FA69)."""
        self.heal()
        number = self.counts.get("replica", 0)
        replica = self.cluster.standby(f"late-{number}", lag=10)
        log = f"{self.cluster.folder}/{replica[2].name}.log"
        self.cluster.replica = replica[1]
        self.kill_everything()
        self.heal()
        self.trouble(10)
        self.heal()
        time.sleep(3)

        away = time.time()
        self.cluster.kill_postgres()
        self.broke("kill", 5.0, self.cluster.start_postgres, name="primary")
        time.sleep(5)
        for port in range(len(self.cluster.apis)):
            status = self.trader.request("GET", "/readyz", api=port)[0]
            if status != 503:
                self.found(f"api-{port + 1} says {status} to /readyz without a primary")
        # What was on its way when the primary died may still arrive.
        since, until = int((away + 1) * 1e6), int(time.time() * 1e6)
        with self.journal.lock:
            told = [entry for entry in self.journal.entries if since < entry["time"] < until]
        for entry in told:
            if entry["what"] in ("created", "seen"):
                self.found(f"{entry['what']} {entry['order']} was told without a primary")
        for line in oracle.read_lines(f"{self.cluster.folder}/venue.jsonl"):
            if line["kind"] == "accept" and since < line["time"] < until:
                self.found(f"{line['clientOrderId']} was sent without a primary")
        self.mend(everything=True)

        self.cluster.replica = None
        replica[2].signal(signal.SIGQUIT)
        replica[2].child.wait(20)
        shutil.rmtree(replica[0])
        with open(log) as file:
            lines = file.readlines()
        asked = [line for line in lines if line.startswith("smartorders|") and ("statement:" in line or "execute" in line)]
        for line in asked[:3]:
            self.found(f"the replica was asked: {line.strip()}")
        if not any("application_name=smartorders" in line for line in lines):
            self.found("nobody tried the replica: nothing was shown")
        self.counts["replica"] = number + 1
        self.kills += 1

    def fill_disk(self):
        """PostgreSQL's disk is full in the midst of trading: its log cannot go on, and it goes down (FA64). With space it
        comes back, and has whatever was acknowledged."""
        self.heal()
        self.cluster.fill_disk(8 << 20)
        self.broke("kill", 30.0, self.cluster.start_postgres, name="disk")
        until = time.monotonic() + 30
        while not self.cluster.has_panicked() and time.monotonic() < until:
            # Others write to that disk too.
            self.cluster.sql("SELECT pg_logical_emit_message(true, 'others', repeat('x', 400000))", quiet=True)
            time.sleep(0.2)
        if not self.cluster.has_panicked():
            self.found("PostgreSQL goes on without space: nothing was shown")
        # It begins again and again, and finds no space each time.
        time.sleep(5)
        self.cluster.kill_postgres()
        with self.journal.lock:
            created = {entry["order"] for entry in self.journal.entries if entry["what"] == "created"}
            heard = max((entry["seq"] for entry in self.journal.entries if entry["what"] == "event"), default=0)
        self.mend(everything=True)
        stored = set(self.cluster.sql("SELECT id FROM orders").split())
        for order in created - stored:
            self.found(f"{order} was acknowledged before the disk was full, and is gone")
        last = int(self.cluster.sql("SELECT max(last_seq) FROM account_stream"))
        if last < heard:
            self.found(f"event {heard} was told, and {last} is the last one that is stored")
        self.counts["full disk"] = self.counts.get("full disk", 0) + 1
        self.kills += 1

    def trouble(self, seconds):
        """The commonest faults, for so long."""
        until = time.monotonic() + seconds
        while time.monotonic() < until:
            self.mend()
            self.act(self.random.choice(["kill worker", "kill scheduler", "pause worker", "network"]))
            time.sleep(self.random.uniform(0.3, 1.5))

    def heal(self):
        self.mend(everything=True)
        self.cluster.proxies.heal()
        self.calm_venue()
        for name, process in list(self.cluster.processes.items()):
            process.signal(signal.SIGCONT)
        if not self.cluster.processes["postgres"].is_running:
            self.cluster.start_postgres()
        if self.cluster.with_redis and not self.cluster.processes["redis"].is_running:
            self.cluster.start_redis()
        self.cluster.revive()
