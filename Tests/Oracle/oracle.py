"""The official BullMQ client as judge of our queue (QUEUE.md 15.2).

Usage: oracle.py PROGRAM     (with bullmq and redis-py importable; scripts/oracle sees to that)

Starts a private Redis, drives ours with `PROGRAM queues drive`, theirs with the package `bullmq`, and prints a line per
check. Exit status 1 when they disagree. Numbers in brackets are those of the acceptance scenarios, QUEUE.md 18.
"""

import asyncio
import json
import os
import random
import shutil
import signal
import socket
import sys
import tempfile
import time
import traceback
import uuid

from bullmq import Job, Queue, QueueEvents, Worker

PROGRAM = sys.argv[1]
NAME = "{so-00aa}-stops"
BASE = f"bull:{NAME}:"


def job_id(number, leg="sl", attempt=1):
    return f"0197f6c2-8d1e-7000-8000-{number:012d}-{leg}-{attempt}"


class Driver:
    """A worker of ours: one request, one answer."""

    def __init__(self, url, worker, lease_ms=3000):
        self.arguments = [PROGRAM, "queues", "drive", "--redis", url, "--worker", worker, "--lease-ms", str(lease_ms)]
        self.process = None

    async def start(self):
        self.process = await asyncio.create_subprocess_exec(
            *self.arguments, stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE, limit=1 << 24
        )
        return self

    async def ask(self, op, **fields):
        self.process.stdin.write((json.dumps({"op": op, **fields}) + "\n").encode())
        await self.process.stdin.drain()
        line = await asyncio.wait_for(self.process.stdout.readline(), 120)
        answer = json.loads(line)
        if "error" in answer:
            raise RuntimeError(answer["error"])
        return answer

    async def take(self, count=10):
        """Again for a while: a reply may be empty while a connection is made."""
        for _ in range(100):
            jobs = (await self.ask("take", count=count))["jobs"]
            if jobs:
                return jobs
            await asyncio.sleep(0.02)
        return []

    async def finish(self, *ends):
        return (await self.ask("finish", ends=[dict(zip(("id", "outcome", "reason"), end)) for end in ends]))["codes"]

    def kill(self):
        if self.process.returncode is None:
            self.process.send_signal(signal.SIGKILL)

    async def stop(self):
        self.kill()
        await self.process.wait()


class Rig:
    """An empty queue, our driver, their client."""

    def __init__(self, port):
        self.port = port
        self.url = f"redis://127.0.0.1:{port}/0"
        self.connection = {"host": "127.0.0.1", "port": port}
        self.drivers = []
        self.closing = []

    async def driver(self, worker="w1", lease_ms=3000):
        driver = await Driver(self.url, worker, lease_ms).start()
        self.drivers.append(driver)
        return driver

    def worker(self, processor, **options):
        worker = Worker(NAME, processor, {"connection": self.connection, **options})
        self.closing.append(worker)
        return worker

    async def __aenter__(self):
        self.queue = Queue(NAME, {"connection": self.connection})
        self.redis = self.queue.client
        await self.redis.flushall()
        self.ours = await self.driver()
        for _ in range(100):
            try:
                await self.ours.ask("open")
                break
            except RuntimeError:
                await asyncio.sleep(0.05)
        return self

    async def __aexit__(self, *_):
        for worker in self.closing:
            await worker.close(force=True)
        for driver in self.drivers:
            await driver.stop()
        await self.queue.close()

    async def offer(self, *ids, **fields):
        return (await self.ours.ask("offer", ids=list(ids), **fields))["codes"]


async def until(what, test, seconds=60):
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        value = await test()
        if value:
            return value
        await asyncio.sleep(0.02)
    raise AssertionError(f"never: {what}")


def equal(found, wanted, what=""):
    assert found == wanted, f"{what}: {found!r} is not {wanted!r}"


async def official_add(rig):
    """(32) their add, our take and finish: they see state, result, attempts and counts right"""
    seen = []
    events = QueueEvents(NAME, {"connection": rig.connection, "lastEventId": "0-0"})
    for name in ("waiting", "active", "completed", "failed"):
        events.on(name, lambda args, _id=None, name=name: seen.append((name, args["jobId"])))
    rig.closing.append(Closing(events.close))
    await rig.queue.add("anything", {"a": 1}, {"jobId": "official-1"})
    equal((await rig.queue.getJobCounts("waiting", "active", "completed"))["waiting"], 1)
    jobs = await rig.ours.take()
    equal([job["id"] for job in jobs], ["official-1"])
    equal(await rig.queue.getJobState("official-1"), "active")
    equal(await rig.ours.finish(("official-1", "done")), [0])
    job = await rig.queue.getJob("official-1")
    equal(await rig.queue.getJobState("official-1"), "completed")
    equal(job.returnvalue, {"outcome": "done", "version": 1})
    equal(job.attemptsMade, 1)
    assert job.finishedOn and job.processedOn and job.finishedOn >= job.processedOn
    counts = await rig.queue.getJobCounts("waiting", "active", "completed", "failed", "delayed")
    equal(counts, {"waiting": 0, "active": 0, "completed": 1, "failed": 0, "delayed": 0})
    equal([job.id for job in await rig.queue.getJobs(["completed"])], ["official-1"])
    async def told():
        return {("waiting", "official-1"), ("active", "official-1"), ("completed", "official-1")} <= set(seen)
    await until("all events are told", told)


class Closing:
    def __init__(self, close):
        self.close_it = close

    async def close(self, force=False):
        await self.close_it()


async def our_offer(rig):
    """(32) our offer, their worker: started by the marker, its retry right"""
    done, tries = [], []

    async def process(job, token):
        tries.append(job.id)
        if job.id == job_id(2) and tries.count(job.id) == 1:
            raise Exception("first try")
        done.append((job.id, job.name, job.data["order"]))
        return {"ok": True}

    rig.worker(process)
    await asyncio.sleep(0.3)
    equal(await rig.offer(job_id(1), job_id(2)), [1, 1])
    async def both():
        return len(done) == 2
    await until("both run", both)
    equal({one[0] for one in done}, {job_id(1), job_id(2)})
    equal(done[0][1], "trigger")
    async def completed():
        return (await rig.queue.getJobCounts("completed"))["completed"] == 2
    await until("both are completed", completed)
    job = await rig.queue.getJob(job_id(2))
    equal(job.attemptsMade, 2)
    equal(await rig.offer(job_id(1)), [3], "we see that it is completed")


async def same_id(rig):
    """the same id from both sides is one job with its first data"""
    await rig.queue.add("x", {"first": True}, {"jobId": job_id(1)})
    equal(await rig.offer(job_id(1)), [2])
    equal(json.loads(await rig.redis.hget(BASE + job_id(1), "data")), {"first": True})
    equal(await rig.offer(job_id(2)), [1])
    await rig.queue.add("x", {"second": True}, {"jobId": job_id(2)})
    equal((await rig.queue.getJobCounts("waiting"))["waiting"], 2)
    assert "second" not in json.loads(await rig.redis.hget(BASE + job_id(2), "data"))


async def our_lease_lapses(rig):
    """their stalled check recovers what we let go; our late word is refused"""
    silent = await rig.driver("silent", 1000)
    await rig.offer(job_id(1))
    equal(len(await silent.take()), 1)
    silent.process.send_signal(signal.SIGSTOP)
    try:
        runs = []

        async def process(job, token):
            runs.append(job.id)

        rig.worker(process, stalledInterval=300)
        async def ran():
            return runs == [job_id(1)]
        await until("it runs again", ran)
        async def completed():
            return await rig.queue.getJobState(job_id(1)) == "completed"
        await until("it is completed", completed)
    finally:
        silent.process.send_signal(signal.SIGCONT)
    assert (await silent.finish((job_id(1), "done")))[0] in (-2, -6)


async def their_lease_lapses(rig):
    """our sweep recovers what their worker let go"""
    started = asyncio.Event()

    async def process(job, token):
        started.set()
        await asyncio.sleep(600)

    worker = rig.worker(process, lockDuration=1000, lockRenewTime=600_000, stalledInterval=600_000)
    await rig.offer(job_id(1))
    await asyncio.wait_for(started.wait(), 60)
    async def taken():
        await rig.ours.ask("reclaim")
        return (await rig.ours.ask("take", count=5))["jobs"]
    jobs = await until("we have it", taken)
    equal([(job["id"], job["crashes"]) for job in jobs], [(job_id(1), 1)])
    await worker.close(force=True)
    equal(await rig.ours.finish((job_id(1), "done")), [0])


async def remove(rig):
    """their remove of an active job is refused, of a waiting one done"""
    await rig.offer(job_id(1), job_id(2))
    equal([job["id"] for job in await rig.ours.take(1)], [job_id(1)])
    try:
        await (await rig.queue.getJob(job_id(1))).remove()
        raise AssertionError("an active job was removed")
    except AssertionError:
        raise
    except Exception:
        pass
    await (await rig.queue.getJob(job_id(2))).remove()
    equal(await rig.queue.getJob(job_id(2)), None)
    equal(await rig.ours.finish((job_id(1), "done")), [0])


async def verbs(rig):
    """(31, 32) their retry, retryJobs, pause, resume, drain, clean, promote on our jobs; our take after each"""
    await rig.offer(*[job_id(number) for number in range(4)])
    await rig.ours.take()
    await rig.ours.finish(*[(job_id(number), "dead", "VENUE: refused") for number in range(4)])
    failed = await rig.queue.getJobs(["failed"])
    equal({job.failedReason for job in failed}, {"VENUE: refused"})
    await (await rig.queue.getJob(job_id(0))).retry()
    equal([job["id"] for job in await rig.ours.take()], [job_id(0)])
    equal(await rig.ours.finish((job_id(0), "done")), [0])
    await rig.queue.retryJobs({"state": "failed", "count": 100})
    equal({job["id"] for job in await rig.ours.take()}, {job_id(number) for number in range(1, 4)})
    await rig.ours.finish(*[(job_id(number), "done") for number in range(1, 4)])

    await rig.queue.pause()
    assert await rig.queue.isPaused()
    await rig.offer(job_id(10), job_id(11))
    equal(await rig.redis.exists(BASE + "marker"), 0)
    equal((await rig.ours.ask("take", count=5))["jobs"], [])
    await rig.queue.resume()
    equal([job["id"] for job in await rig.ours.take()], [job_id(10), job_id(11)])
    await rig.ours.finish((job_id(10), "done"), (job_id(11), "done"))

    await rig.offer(job_id(20), job_id(21))
    await rig.queue.drain()
    equal((await rig.queue.getJobCounts("waiting"))["waiting"], 0)
    equal(await rig.offer(job_id(20)), [1], "a drained job may come again")
    await rig.ours.take()
    await rig.ours.finish((job_id(20), "done"))

    await rig.offer(job_id(30), delayMs=3_600_000)
    equal((await rig.queue.getJobCounts("delayed"))["delayed"], 1)
    await (await rig.queue.getJob(job_id(30))).promote()
    equal([job["id"] for job in await rig.ours.take()], [job_id(30)])
    await rig.ours.finish((job_id(30), "done"))
    await asyncio.sleep(0.01)
    removed = await rig.queue.clean(0, 1000, "completed")
    assert len(removed) >= 6, removed
    equal((await rig.queue.getJobCounts("completed"))["completed"], 0)


async def delays_and_priorities(rig):
    """their delayed and prioritized adds are taken in time and in order"""
    for number, priority in ((1, 3), (2, 1), (3, 2)):
        await rig.queue.add("x", {}, {"jobId": f"p-{number}", "priority": priority})
    equal([job["id"] for job in await rig.ours.take()], ["p-2", "p-3", "p-1"])
    await rig.ours.finish(*[(f"p-{number}", "done") for number in (1, 2, 3)])
    begun = time.monotonic()
    await rig.queue.add("x", {}, {"jobId": "late", "delay": 300})
    equal((await rig.ours.ask("take", count=5))["jobs"], [])
    jobs = await rig.ours.take()
    assert time.monotonic() - begun >= 0.29
    equal([job["id"] for job in jobs], ["late"])
    await rig.ours.finish(("late", "done"))


async def limits(rig):
    """their limits on concurrency and rate are kept"""
    await rig.queue.setGlobalConcurrency(2)
    await rig.offer(*[job_id(number) for number in range(4)])
    equal(len(await rig.ours.take()), 2)
    equal((await rig.ours.ask("take", count=5))["jobs"], [])
    await rig.ours.finish((job_id(0), "done"), (job_id(1), "done"))
    equal(len(await rig.ours.take()), 2)
    await rig.ours.finish((job_id(2), "done"), (job_id(3), "done"))
    await rig.queue.removeGlobalConcurrency()
    await rig.queue.setGlobalRateLimit(3, 60_000)
    await rig.offer(*[job_id(number) for number in range(10, 15)])
    equal(len(await rig.ours.take()), 3)
    equal((await rig.ours.ask("take", count=5))["jobs"], [])


async def stress(rig):
    """(33) their workers and ours with kills: N of N completed"""
    total = 3000
    ids = [job_id(number) for number in range(total)]
    await rig.offer(*ids[: total // 2])
    await rig.queue.addBulk([{"name": "x", "data": {}, "opts": {"jobId": one, "attempts": 5}} for one in ids[total // 2 :]])

    async def process(job, token):
        await asyncio.sleep(0)
        return 1

    for _ in range(2):
        rig.worker(process, concurrency=4, lockDuration=3000, stalledInterval=1000, maxStalledCount=20)
    victims = [await rig.driver(f"victim-{number}", 1000) for number in range(4)]
    held = 0
    for victim in victims:
        held += len((await victim.ask("take", count=5))["jobs"])
        victim.kill()
    workers = [await rig.driver(f"ours-{number}", 1000) for number in range(3)]
    ended = [asyncio.create_task(worker.ask("work", idleMs=4000)) for worker in workers]

    async def all_completed():
        return (await rig.queue.getJobCounts("completed"))["completed"] == total
    await until("all are completed", all_completed, 100)
    counts = await rig.queue.getJobCounts("waiting", "active", "completed", "failed", "delayed")
    equal(counts, {"waiting": 0, "active": 0, "completed": total, "failed": 0, "delayed": 0})
    again = 0
    for one in ids:
        again += int(await rig.redis.hget(BASE + one, "ats") or 0) - 1
    assert again <= held + 8, f"{again} reruns of {held} abandoned"
    for task in ended:
        await task


CHECKS = [
    official_add, our_offer, same_id, our_lease_lapses, their_lease_lapses, remove, verbs, delays_and_priorities, limits,
    stress,
]


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


async def main():
    folder = tempfile.mkdtemp(prefix="so-oracle-")
    port = free_port()
    server = await asyncio.create_subprocess_exec(
        "redis-server", "--port", str(port), "--bind", "127.0.0.1", "--save", "", "--appendonly", "no", "--dir", folder,
        "--logfile", os.path.join(folder, "log"),
    )
    failed = 0
    try:
        for check in CHECKS:
            begun = time.monotonic()
            what = check.__doc__
            try:
                # Not ours: whoever answers must be the server that was started here.
                import redis

                probe = redis.Redis(port=port)
                for attempt in range(200):
                    try:
                        assert probe.info("server")["process_id"] == server.pid, "a foreign server answers"
                        break
                    except redis.ConnectionError:
                        await asyncio.sleep(0.05)
                probe.close()
                async with Rig(port) as rig:
                    await asyncio.wait_for(check(rig), 150)
                print(f"ok    {what} ({time.monotonic() - begun:.1f} s)", flush=True)
            except Exception:
                failed += 1
                print(f"FAIL  {what}\n{traceback.format_exc()}", flush=True)
    finally:
        server.kill()
        await server.wait()
        shutil.rmtree(folder, ignore_errors=True)
    print(f"{len(CHECKS) - failed} passed, {failed} failed", file=sys.stderr)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(asyncio.run(main()))
