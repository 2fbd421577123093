import DecisionTimeline
import JSONText
import OrderEngine
import OrderJSON
import SmartOrders
import Testing

@Suite struct `A timeline` {
    private static let trailing = Draft.held {
        $0.trailing = TrailingPlan(callback: .rate(Rate(ExactDecimal("0.02"))))
    }

    @Test func `says why the trailing stop fired, and what followed`() throws {
        var life = try Life(Self.trailing, at: price("100"))
        life.ticks("105", "110", "107.79")
        life.fillAll(at: "107.75")
        let entries = TimelineBuilder.timeline(life.versions)
        #expect(entries.map(\.version) == [1, 2, 3])
        let fired = try #require(entries.first { $0.kind == .fired })
        #expect(fired.text == "Mark 107.79 was at or below the trailing stop 107.80 (2% under the high 110).")
        #expect(fired.leg == "SL")
        let rule = try #require(fired.rule)
        #expect(rule["comparison"] == "<=" && rule["threshold"] == "107.8" && rule["kind"] == "TRAIL")
        let basis = try #require(rule["basis"])
        #expect(basis["waterMark"] == "110" && basis["callbackRate"] == "0.02" && basis["raw"] == "107.8")
        #expect(basis["rounding"] == "up" && basis["sinceVersion"] == 1)
        let quantity = try #require(fired.quantity)
        #expect(quantity["wanted"] == "10" && quantity["free"] == "10" && quantity["bound"] == "wanted")
        #expect(fired.orders.first?["limitPrice"] == "97.02" && fired.orders.first?["raw"] == "97.02")
        #expect(fired.orders.first?["clamped"] == false)
        // The answer came with the next version; its times stand where it was asked.
        #expect(fired.times.answeredAt != nil && fired.times.filledAt != nil)
        let filled = try #require(entries.last)
        #expect(filled.kind == .filled)
        #expect(filled.text == "The stop order sold 10 at 107.75 (taker).")
        #expect(filled.fills.first?["slippage"] == "-0.05")
        #expect(filled.also.contains("The order is now STOPPED: the trailing stop."))
        #expect(filled.changes.contains { $0.path == "status" && $0.from == "ACTIVE" && $0.to == "STOPPED" })
    }

    @Test func `names the binding stop and what else was considered`() throws {
        let draft = Draft.held {
            $0.stopLoss = StopLossPlan(price: price("95"))
            $0.trailing = TrailingPlan(callback: .rate(Rate(ExactDecimal("0.02"))))
            $0.takeProfits = [TakeProfitPlan(target: .price(price("120")), sizePercent: ExactDecimal("100"))]
        }
        var life = try Life(draft, at: price("100"))
        life.ticks("110", "107.8")
        let choice = try #require(TimelineBuilder.timeline(life.versions).last?.choice)
        guard case .array(let stops)? = choice["stops"], case .array(let legs)? = choice["legs"] else {
            Issue.record("\(choice)")
            return
        }
        #expect(stops.map { $0["kind"]?.text } == ["SL", "TRAIL"])
        #expect(stops.map { $0["binding"] } == [false, true])
        #expect(legs.map { $0["verdict"]?.text } == ["LOOSER", "FIRED", "NOT_REACHED"])
    }

    struct Told: Sendable {
        let name: String
        let texts: [String]
        let draft: @Sendable (inout Draft) -> Void
        let live: @Sendable (inout Life) -> Void
    }

    @Test(arguments: [
        Told(
            name: "a target",
            texts: [
                "The order was created: long 10, entry attach, 1 target.",
                "Mark 105.02 was at or above target 1 at 105.00.",
            ],
        ) {
            $0.takeProfits = [TakeProfitPlan(target: .price(price("105")), sizePercent: ExactDecimal("100"))]
        } live: {
            $0.ticks("105.02")
        },
        Told(
            name: "a fixed stop, twice",
            texts: [
                "The order was created: long 10, entry attach, stop 95.00.",
                "Mark 94.99 was at or below the stop 95.00.",
                "The stop order, attempt 1, expired without filling all.",
                "The exit is tried again, attempt 2.",
            ],
        ) {
            $0.stopLoss = StopLossPlan(price: price("95"))
        } live: { life in
            life.ticks("94.99")
            if let key = life.order.venueOrders.first?.key { life.answer(key, [.ended(.expired)]) }
            life.ticks("94.5")
        },
        Told(
            name: "a timeout that is reset and then passes",
            texts: [
                "The order was created: long 10, entry attach, stop 95.00.",
                "Mark 94.90 is beyond the stop 95.00: it fires if the price stays there for 1500 ms.",
                "The price came back before the stop's timeout had passed.",
                "Mark 94.80 is beyond the stop 95.00: it fires if the price stays there for 1500 ms.",
                "The price stayed beyond the stop 95.00 for its whole timeout.",
            ],
        ) {
            $0.stopLoss = StopLossPlan(price: price("95"), timeoutMs: 1_500)
        } live: {
            $0.ticks("94.9", "96", "94.8", "94.7", "94.6")
        },
        Told(
            name: "a lock and an activation",
            texts: [
                "The order was created: long 10, entry attach, stop 95.00, trailing 1.5.",
                "Step 1 was reached: the stop locks 102.00.",
                "Mark 106.00 reached the activation price: the trailing stop follows from 106.",
                "Mark 104.50 was at or below the trailing stop 104.50 (1.5 under the high 106).",
            ],
        ) {
            $0.stopLoss = StopLossPlan(price: price("95"))
            $0.stepLocks = [.price(at: price("104"), lock: price("102"))]
            $0.trailing = TrailingPlan(callback: .amount(price("1.5")), activationPrice: price("106"))
        } live: {
            $0.ticks("104", "106", "104.5")
        },
        Told(
            name: "commands",
            texts: [
                "The order was created: long 10, entry attach, stop 95.00.",
                "The stop moved from 95.00 to 97.00 (stop).",
                "Everything is closed at market: closed by command.",
            ],
        ) {
            $0.stopLoss = StopLossPlan(price: price("95"))
        } live: { life in
            life.ticks("100")
            var edit = OrderEdit()
            edit.stopLoss = .some(StopLossPlan(price: price("97")))
            life.command(.edit(edit))
            life.command(.closeMarket)
        },
    ])
    func `tells in sentences`(_ told: Told) throws {
        var life = try Life(.held(told.draft), at: price("100"))
        told.live(&life)
        #expect(TimelineBuilder.timeline(life.versions).map(\.text) == told.texts, "\(told.name)")
    }

    @Test func `shows what changed nothing at its time`() throws {
        var life = try Life(Self.trailing, at: price("100"))
        life.ticks("110", "107.79")
        let order = life.order.id
        let between = Timestamp(microseconds: Life.begin + 500_000)
        let actor = Actor(kind: .key, id: "k")
        let notes = [
            OrderNote(
                order: order,
                kind: .refused,
                subject: "r-9",
                actor: actor,
                code: "NO_EXIT",
                detail: "No exit.",
                firstAt: between,
            ),
            OrderNote(
                order: order,
                kind: .obsolete,
                subject: "\(order)-sl-1",
                actor: actor,
                count: 3,
                firstAt: between.advanced(milliseconds: 9_000),
            ),
        ]
        let gap = FeedGap(
            series: PriceSeries(market: Life.market, source: .mark),
            from: Life.begin + 600_000,
            to: Life.begin + 850_000,
            reason: "socket lost",
            isBackfilled: true,
        )
        let entries = TimelineBuilder.timeline(life.versions, notes: notes, gaps: [gap])
        #expect(entries.map(\.kind) == [.armed, .refused, .gap, .fired, .obsolete])
        #expect(entries[1].text == "A command was refused (NO_EXIT): No exit.")
        #expect(entries[2].text == "No mark prices for 0.25 s (socket lost): filled from the venue's history.")
        #expect(entries.map { $0.version != nil } == [true, false, false, true, false])
        #expect(entries.allSatisfy { !$0.also.contains { $0.hasPrefix("GAP_REPLAY") } })
        // The tick that fired was not heard when it happened.
        let tick = try #require(entries[3].tick?.position.venueTime)
        let replayed = FeedGap(series: gap.series, from: tick - 5, to: tick, reason: "lost", isBackfilled: true)
        let told = TimelineBuilder.timeline(life.versions, gaps: [replayed])
        #expect(told.filter { $0.also.contains { $0.hasPrefix("GAP_REPLAY: ") } }.map(\.kind) == [.fired])
    }

    @Test(arguments: 0..<120 as Range<UInt64>)
    func `has one entry per version, names every change, and replays`(seed: UInt64) throws {
        guard let life = Life.random(seed) else { return }
        let entries = TimelineBuilder.timeline(life.versions)
        #expect(entries.map(\.version) == life.versions.map(\.version), "seed \(seed)")
        var row: JSONValue = .object([:])
        for (entry, version) in zip(entries, life.versions) {
            #expect(!entry.text.isEmpty, "seed \(seed)")
            for change in entry.changes { row = row.setting(change.path[...], to: change.to) }
            var stored = try JSONValue(parsing: version.order.encodedState())
            for key in ["version", "updatedAt"] {
                stored = stored.setting(key[...], to: nil)
                row = row.setting(key[...], to: nil)
            }
            #expect(row.sorted == stored.sorted, "seed \(seed), version \(version.version)")
            if entry.kind == .fired, entry.tick != nil {
                #expect(entry.rule != nil, "seed \(seed), version \(version.version)")
            }
        }
        #expect(
            ReplayFinding.replay(life.versions) == .same(versions: life.versions.count, unrecorded: 0),
            "seed \(seed)",
        )
    }

    @Test func `replay finds what was changed behind its back`() throws {
        var life = try Life(Self.trailing, at: price("100"))
        life.ticks("110", "107.79")
        var versions = life.versions
        let last = versions.removeLast()
        var forged = try #require(last.order.smart)
        forged.exitAttempts += 1
        versions.append(last.with(.smart(forged)))
        #expect(
            ReplayFinding.replay(versions)
                == .differs(version: 2, path: "exitAttempts", stored: "2", repeated: "1")
        )
    }

    @Test func `is told without recorded steps, from the rows alone`() throws {
        var life = try Life(Self.trailing, at: price("100"))
        life.ticks("110", "107.79")
        let bare = life.versions.map { $0.with($0.order, record: nil) }
        let texts = TimelineBuilder.timeline(bare).map(\.text)
        // The water mark moved with the version: the row before it knows a lower one.
        #expect(
            texts.last == "Mark 107.79 was at or below the trailing stop 98.00 (2% under the high 100)."
                || texts.count == 2
        )
        #expect(ReplayFinding.replay(bare) == .same(versions: 2, unrecorded: 2))
    }
}

extension StoredVersion {
    func with(_ order: StoredOrder, record: DecisionRecord?) -> StoredVersion {
        StoredVersion(
            order: order,
            sequence: sequence,
            at: at,
            committedAt: committedAt,
            cause: cause,
            actor: actor,
            tick: tick,
            facts: facts,
            record: record,
        )
    }
    func with(_ order: StoredOrder) -> StoredVersion { with(order, record: record) }
}

extension JSONValue {
    /// The document with the value at `path` replaced, removed where it is nil.
    func setting(_ path: Substring, to value: JSONValue?) -> JSONValue {
        if path.isEmpty { return value ?? .null }
        if path.first == "[" {
            guard let end = path.firstIndex(of: "]"), let index = Int(path[path.index(after: path.startIndex)..<end])
            else { return self }
            var elements: [JSONValue] = []
            if case .array(let known) = self { elements = known }
            var rest = path[path.index(after: end)...]
            if rest.first == "." { rest = rest.dropFirst() }
            if rest.isEmpty, value == nil {
                if index < elements.count { elements.removeSubrange(index...) }
                return .array(elements)
            }
            while elements.count <= index { elements.append(.object([:])) }
            elements[index] = elements[index].setting(rest, to: value)
            return .array(elements)
        }
        let end = path.firstIndex { $0 == "." || $0 == "[" } ?? path.endIndex
        let key = String(path[..<end])
        var rest = path[end...]
        if rest.first == "." { rest = rest.dropFirst() }
        var object = JSONObject()
        if case .object(let known) = self { object = known }
        object[key] = rest.isEmpty ? value : (object[key] ?? .null).setting(rest, to: value)
        return .object(object)
    }

    /// With the members of every object by name.
    var sorted: JSONValue {
        switch self {
        case .object(let object):
            var ordered = JSONObject()
            for member in object.members.sorted(by: { $0.key < $1.key }) { ordered[member.key] = member.value.sorted }
            return .object(ordered)
        case .array(let elements): return .array(elements.map(\.sorted))
        case .null, .bool, .number, .string: return self
        }
    }
}
