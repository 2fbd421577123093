"""The judge finds what is wrong: a clean run, and the same run with one thing changed."""

import json
import os
import sys
import tempfile
import unittest
from decimal import Decimal

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
import chaos  # noqa: E402
import oracle  # noqa: E402

ORDER = "0197f6c2-8d1e-7000-8000-000000000001"
MARKET = "paper:linear:WALKA"


def client_id_of(leg, attempt=1):
    return oracle.client_id(ORDER, leg, attempt)


class OracleTests(unittest.TestCase):
    def setUp(self):
        self.ticks = {MARKET: [(at, Decimal(price)) for at, price in ((10, "100"), (50, "99"), (60, "94"), (70, "96"))]}
        self.journal = [
            {"time": 5, "what": "created", "key": "k", "order": ORDER, "draft": self.draft()},
            {"time": 40, "what": "seen", "order": ORDER, "status": "ACTIVE", "armed": True, "terminal": False},
            {"time": 99, "what": "seen", "order": ORDER, "status": "STOPPED", "armed": False, "terminal": True},
        ]
        self.log = [
            self.line("accept", 20, "entry"),
            self.line("fill", 21, "entry", fillQty="3", fillPrice="100", tradeId=1),
            self.line("end", 21, "entry"),
            self.line("accept", 62, "sl"),
            self.line("fill", 62, "sl", fillQty="3", fillPrice="94", tradeId=2),
            self.line("end", 62, "sl"),
        ]

    def draft(self):
        return {"market": MARKET, "side": "BUY", "qty": "3", "stopLoss": {"price": "95"}}

    def line(self, kind, time, leg, attempt=1, **more):
        return {
            "kind": kind,
            "time": time,
            "clientOrderId": client_id_of(leg, attempt),
            "market": MARKET,
            "qty": "3",
            **more,
        }

    def judge(self):
        with tempfile.NamedTemporaryFile("w", suffix=".jsonl", delete=False) as file:
            for number, entry in enumerate(self.log, 1):
                file.write(json.dumps({"n": number, **entry}) + "\n")
        try:
            return oracle.judge(file.name, self.ticks, self.journal)
        finally:
            os.unlink(file.name)

    def found(self):
        return {kind for kind, findings in self.judge().findings.items() if findings}

    def test_the_derived_id_is_the_documented_one(self):
        self.assertRegex(client_id_of("sl"), "^so[a-z2-7]{26}$")

    def test_a_clean_run_is_clean_and_its_latency_is_known(self):
        verdict = self.judge()
        self.assertTrue(verdict.is_clean, verdict.findings)
        self.assertEqual(verdict.latencies, [(60, 62, ORDER)])

    def test_a_second_accept_of_one_id(self):
        self.log.append(self.line("accept", 63, "sl"))
        self.assertIn("duplicated", self.found())

    def test_a_second_exit_under_another_id(self):
        self.log.insert(4, self.line("accept", 62, "sl", 2))
        self.assertIn("over", self.found())

    def test_a_stop_that_never_left(self):
        del self.log[3:]
        del self.journal[2]
        self.assertEqual(self.found(), {"lost", "open"})

    def test_an_order_that_ended_with_a_rest(self):
        self.log[4]["fillQty"] = "2"
        self.assertIn("lost", self.found())

    def test_an_exit_without_a_reason(self):
        self.ticks[MARKET] = [(10, Decimal("100")), (60, Decimal("96"))]
        self.assertIn("unexpected", self.found())

    def test_an_accept_after_the_end(self):
        self.log.append(self.line("accept", 120, "tp1"))
        self.assertTrue({"unexpected", "orphans", "over"} <= self.found())

    def test_two_orders_of_one_key(self):
        self.journal.append({**self.journal[0], "order": ORDER[:-1] + "2"})
        self.assertIn("commands", self.found())

    def test_a_stranger_in_the_log(self):
        self.log.append({**self.line("accept", 80, "sl"), "clientOrderId": "somebody"})
        self.assertIn("commands", self.found())

    def test_holes_and_repetitions_of_the_stream(self):
        for sequence in (7, 8):
            self.journal.append({"time": 1, "what": "event", "client": "a", "seq": sequence})
        self.assertEqual(self.found(), set())
        self.journal.append({"time": 1, "what": "event", "client": "a", "seq": 8})
        self.assertEqual(self.found(), {"stream"})

    def test_a_storm_of_requests(self):
        # Two accepted orders: 40 requests are many, 41 too many.
        self.log += [self.line("request", 30, "entry") for _ in range(40)]
        self.assertEqual(self.found(), set())
        self.log.append(self.line("request", 30, "sl"))
        self.assertEqual(self.found(), {"storm"})

    def test_a_missing_line_of_the_log(self):
        self.log[0]["n"] = 2
        with self.assertRaises(SystemExit):
            self.judge()


class AloneTests(unittest.TestCase):
    """Which crossings count as hit by one kill alone."""

    CROSSING = (10_000_000, 11_000_000, "o")

    def single(self, *faults):
        entries = [{"what": "seen", "time": 1}]
        for number, (what, begun, mended) in enumerate(faults):
            entries.append({"what": what, "number": number, "time": begun})
            if mended is not None:
                entries.append({"what": "mended", "number": number, "time": mended})
        return chaos.alone([self.CROSSING], entries) == [self.CROSSING]

    def test_one_kill_counts(self):
        self.assertTrue(self.single(("kill", 10_100_000, 10_500_000)))
        self.assertTrue(self.single(("kill", 9_800_000, None)))
        self.assertTrue(self.single(("kill", 10_100_000, None), ("pause", 11_000_001, None)))
        self.assertTrue(self.single(("kill", 10_100_000, None), ("network", 5_000_000, 7_000_000)))

    def test_nothing_or_something_else_does_not(self):
        self.assertFalse(self.single())
        self.assertFalse(self.single(("pause", 10_100_000, None)))
        self.assertFalse(self.single(("kill", 9_000_000, 9_100_000)))

    def test_a_second_fault_spoils_it(self):
        for what in ("kill", "pause", "network", "flush", "fill", "venue"):
            self.assertFalse(self.single(("kill", 10_100_000, None), (what, 10_900_000, None)))
        # It was mended, and is felt still.
        self.assertFalse(self.single(("kill", 10_100_000, None), ("pause", 5_000_000, 8_000_000)))


if __name__ == "__main__":
    unittest.main()
