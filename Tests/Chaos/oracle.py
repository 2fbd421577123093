"""The judge of a chaos run (RELIABILITY.md 7, 9).

It reads three things only: the paper venue's log, the ticks that were fed to the venue, and the journal of what the
driver's own clients asked and were answered. It shares no code with the product: client order ids are derived here from
the text of RELIABILITY.md 2.3, decimals are Python's.

  duplicated   PR1, PR12: a client order id accepted twice, a trade told twice
  lost         PR3: a level was crossed while the client had seen it armed, and no exit of that order was accepted
  over         PR2: at some moment exits filled and open were more than what had been entered
  orphans      PR4: an open venue order of an order that was seen terminal, at the end
  unexpected   an exit without a tick that crosses its level; an accept after the order was seen terminal (PR7)
  commands     PR9: a create that gave two orders, or an order that nobody asked for
  stream       PR13: a hole or a repetition in an account's event sequence
  storm        FA76: many more requests about orders than orders that were accepted
"""

import base64
import hashlib
import json
from decimal import Decimal

EXITS = ["sl", "close"] + [f"tp{n}" for n in range(1, 11)] + [f"ps{n}" for n in range(1, 6)]
ATTEMPTS = 60
# Placements, cancels and look-ups for each order that the venue accepted; calm trading needs about 1.
REQUESTS_PER_ACCEPT = 20


def client_id(order, leg, attempt):
    digest = hashlib.sha256(f"smartorders/1:{order}:{leg}:{attempt}".encode()).digest()[:16]
    return "so" + base64.b32encode(digest).decode().lower().rstrip("=")


def read_lines(path):
    """Whole lines of a log; a torn line is skipped, a hole in the numbers is an error."""
    number = 0
    with open(path, "rb") as file:
        for line in file:
            try:
                entry = json.loads(line)
            except ValueError:
                continue
            if entry["n"] != number + 1 and entry.get("kind") != "start":
                raise SystemExit(f"{path}: line {number + 1} is missing")
            number = entry["n"]
            yield entry


class Order:
    def __init__(self, identity, draft):
        self.id = identity
        self.draft = draft
        self.long = draft["side"] == "BUY"
        self.entered = Decimal(0)
        self.exited = Decimal(0)
        self.open = {}
        self.armed_at = None
        self.armed_price = None
        self.terminal_at = None
        self.status = None
        self.exits = []
        self.entry_at = None
        self.entry_cost = Decimal(0)
        self.commands = []

    def beyond(self, price, level):
        """Whether a price is at or beyond a stop."""
        return price <= level if self.long else price >= level

    def reaches(self, price, level):
        return price >= level if self.long else price <= level


class Verdict:
    def __init__(self):
        self.findings = {
            name: [] for name in ("duplicated", "lost", "over", "orphans", "unexpected", "commands", "stream", "storm", "open")
        }
        self.latencies = []
        self.counts = {}

    def add(self, kind, text):
        self.findings[kind].append(text)

    @property
    def is_clean(self):
        return not any(self.findings.values())


def judge(venue_path, ticks, journal, margin_us=0):
    """`ticks`: {market: [(time us, Decimal)]} in order. `journal`: see chaos.py; times are microseconds."""
    verdict = Verdict()
    orders = {}
    keys = {}
    for entry in journal:
        if entry["what"] == "created":
            known = keys.setdefault(entry["key"], entry["order"])
            if known != entry["order"]:
                verdict.add("commands", f"key {entry['key']} gave {known} and {entry['order']}")
            orders.setdefault(entry["order"], Order(entry["order"], entry["draft"]))
    for entry in journal:
        order = orders.get(entry.get("order"))
        if entry["what"] == "seen" and order is None:
            verdict.add("commands", f"order {entry['order']} was never asked for")
        elif entry["what"] == "seen":
            if entry["armed"] and order.armed_at is None:
                order.armed_at = entry["time"]
            order.status = entry["status"]
            if entry["terminal"] and order.terminal_at is None:
                order.terminal_at = entry["time"]
        elif entry["what"] == "command" and order is not None:
            order.commands.append(entry)
    names = {}
    for order in orders.values():
        for leg in ["entry"] + EXITS:
            for attempt in range(1, ATTEMPTS):
                names[client_id(order.id, leg, attempt)] = (order, leg, attempt)

    accepted = {}
    asked = {}
    trades = set()
    foreign = 0
    for line in read_lines(venue_path):
        kind = line["kind"]
        if kind == "request" and line.get("clientOrderId") in names:
            asked[line["clientOrderId"]] = asked.get(line["clientOrderId"], 0) + 1
        if kind not in ("accept", "fill", "end"):
            continue
        order, leg, attempt = names.get(line["clientOrderId"], (None, None, None))
        if order is None:
            foreign += 1
            continue
        name = line["clientOrderId"]
        if kind == "accept":
            accepted[name] = accepted.get(name, 0) + 1
            if accepted[name] > 1:
                verdict.add("duplicated", f"{order.id} {leg} {attempt}: accepted {accepted[name]} times")
            if order.terminal_at is not None and line["time"] > order.terminal_at:
                verdict.add("unexpected", f"{order.id} {leg} {attempt}: accepted after the order was seen terminal")
            if leg != "entry":
                order.open[name] = Decimal(line["qty"])
                order.exits.append((line["time"], leg, attempt))
        elif kind == "fill":
            trade = (line["market"], line["tradeId"])
            if trade in trades:
                verdict.add("duplicated", f"trade {trade} told twice")
            trades.add(trade)
            quantity = Decimal(line["fillQty"])
            if leg == "entry":
                order.entered += quantity
                order.entry_cost += quantity * Decimal(line["fillPrice"])
                order.entry_at = order.entry_at or line["time"]
            else:
                order.exited += quantity
                order.open[name] = order.open.get(name, Decimal(0)) - quantity
        else:
            order.open.pop(name, None)
        if order.exited + sum(order.open.values()) > order.entered:
            verdict.add(
                "over",
                f"{order.id} at line {line['n']}: out {order.exited} + open {sum(order.open.values())} > in {order.entered}",
            )

    for order in orders.values():
        _judge_levels(order, ticks.get(order.draft["market"], []), verdict, margin_us)
        if order.terminal_at is not None and order.open:
            verdict.add("orphans", f"{order.id} is {order.status}, and {len(order.open)} of its orders are open")
        if order.terminal_at is not None and order.entered != order.exited:
            verdict.add("lost", f"{order.id} is {order.status}, in {order.entered}, out {order.exited}")
        if order.terminal_at is None:
            verdict.add("open", f"{order.id} never ended: {order.status}, in {order.entered}, out {order.exited}")
    if foreign:
        verdict.add("commands", f"{foreign} lines of the venue's log belong to no order of the journal")
    verdict.counts = {
        "orders": len(orders),
        "entered": sum(1 for order in orders.values() if order.entered > 0),
        "exits": sum(len(order.exits) for order in orders.values()),
        "ended": sum(1 for order in orders.values() if order.terminal_at is not None),
    }
    verdict.counts["requestsPerAccept"] = round(sum(asked.values()) / max(1, len(accepted)), 1)
    verdict.counts["mostRequests"] = max(asked.values(), default=0)
    if verdict.counts["requestsPerAccept"] > REQUESTS_PER_ACCEPT:
        verdict.add("storm", f"{sum(asked.values())} requests about {len(accepted)} accepted orders")
    _judge_stream(journal, verdict)
    return verdict


def _judge_levels(order, ticks, verdict, margin_us):
    stop = order.draft.get("stopLoss", {}).get("price")
    levels = {f"tp{n + 1}": Decimal(level["price"]) for n, level in enumerate(order.draft.get("takeProfits", []))}
    rate = order.draft.get("trailing", {}).get("callbackRate")
    breaks_even = order.draft.get("breakEven", {}).get("enabled", False)
    # An exit of its own accord needs a tick that reached its level since the entry.
    for time, leg, attempt in order.exits:
        if leg == "close":
            if not any(c["command"] in ("close", "cancel") for c in order.commands):
                verdict.add("unexpected", f"{order.id} close {attempt}: nobody asked for it")
            continue
        seen = [price for at, price in ticks if (order.entry_at or 0) - 2_000_000 <= at <= time]
        if leg == "sl":
            tightest = [Decimal(stop)] if stop else []
            if breaks_even and order.entered:
                tightest.append(order.entry_cost / order.entered)
            reason = any(order.beyond(price, level) for price in seen for level in tightest)
            if rate and not reason:
                best = None
                for price in seen:
                    best = price if best is None else max(best, price) if order.long else min(best, price)
                    level = best * (1 - Decimal(rate)) if order.long else best * (1 + Decimal(rate))
                    # The stop is on the price grid: a tick more or less is the rounding.
                    if order.beyond(price, level + (Decimal("0.01") if order.long else Decimal("-0.01"))):
                        reason = True
                        break
            if not reason:
                verdict.add("unexpected", f"{order.id} sl {attempt}: no tick is beyond its stop")
        elif leg in levels and not any(order.reaches(price, levels[leg]) for price in seen):
            verdict.add("unexpected", f"{order.id} {leg} {attempt}: no tick reaches {levels[leg]}")

    # A level that was crossed after the client saw it armed must have been answered by an exit.
    if order.armed_at is None or order.entered == 0:
        return
    best = None
    for at, price in ticks:
        if at <= order.armed_at + margin_us:
            continue
        if order.terminal_at is not None and at > order.terminal_at:
            return
        best = price if best is None else max(best, price) if order.long else min(best, price)
        crossed = None
        if stop and order.beyond(price, Decimal(stop)):
            crossed = "sl"
        elif rate:
            level = best * (1 - Decimal(rate)) if order.long else best * (1 + Decimal(rate))
            level += Decimal("-0.01") if order.long else Decimal("0.01")
            crossed = "sl" if order.beyond(price, level) else None
        if crossed is None:
            continue
        after = [time for time, leg, _ in order.exits if time >= at]
        if after:
            verdict.latencies.append((at, min(after), order.id))
        elif order.exited < order.entered:
            verdict.add("lost", f"{order.id}: crossed its stop at {at} ({price}), in {order.entered}, out {order.exited}")
        return


def _judge_stream(journal, verdict):
    last = {}
    for entry in journal:
        if entry["what"] == "gap":
            last.pop(entry["client"], None)
        if entry["what"] != "event":
            continue
        client = entry["client"]
        if client in last and entry["seq"] != last[client] + 1:
            verdict.add("stream", f"{client}: {last[client]} is followed by {entry['seq']}")
        last[client] = entry["seq"]
