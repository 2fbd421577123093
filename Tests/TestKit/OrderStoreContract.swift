// What every order store must do. Each function works on stores of an empty database.

package import OrderEngine
internal import OwnerThread
internal import SmartOrders
internal import Testing

package enum OrderStoreContract {
    private static func expectCommitted(_ stores: StoresUnderTest, _ commits: [Commit]) async throws {
        for outcome in try await stores.orders.commit(commits) { #expect(outcome.isCommitted, "\(outcome)") }
    }

    // MARK: Versions

    package static func storesAndLoads(_ stores: StoresUnderTest) async throws {
        let account = try await stores.account()
        let order = SmartOrder.sample(1, account)
        let outcome = try await stores.orders.commit([.sample(order, facts: [.created, .activated])])
        #expect(outcome == [.committed(sequence: 1)])
        #expect(try await stores.orders.smart([order.id, .sample(99)]) == [order])

        let next = order.next { $0.health = .retrying }
        #expect(try await stores.orders.commit([.sample(next)]) == [.committed(sequence: 2)])
        #expect(try await stores.orders.smart([order.id]) == [next])
    }

    package static func refusesStaleWriter(_ stores: StoresUnderTest) async throws {
        let order = try await stores.order(1, stores.account())
        let mine = order.next { $0.health = .retrying }
        let theirs = order.next { $0.health = .venueDown }
        #expect(try await stores.orders.commit([.sample(mine)]) == [.committed(sequence: 2)])
        #expect(try await stores.orders.commit([.sample(theirs)]) == [.lost])
        #expect(try await stores.orders.commit([.sample(order)]) == [.lost])
        #expect(try await stores.orders.smart([order.id]) == [mine])
        #expect(try await stores.orders.lastSequence(account: order.account) == 2)
    }

    /// Of 32 writers of one version one wins, whatever they share a batch with.
    package static func exactlyOneWriterWins(_ stores: StoresUnderTest) async throws {
        let account = try await stores.account()
        let contested = try await stores.order(1, account)
        let winners = try await withThrowingTaskGroup(of: Int.self) { group in
            for racer in 0..<32 {
                group.addTask {
                    let own = SmartOrder.sample(100 + racer, account)
                    let next = contested.next { $0.retryRacer(racer) }
                    let outcomes = try await stores.orders.commit([.sample(own), .sample(next)])
                    #expect(outcomes[0].isCommitted, "the loser's neighbour is unharmed")
                    #expect(outcomes[1].isCommitted || outcomes[1] == .lost)
                    return outcomes[1].isCommitted ? 1 : 0
                }
            }
            return try await group.reduce(0, +)
        }
        #expect(winners == 1)
        let events = try await stores.orders.events(order: contested.id, after: 0, limit: 10)
        #expect(events.map(\.version) == [1, 2])
    }

    package static func repeatedCommitConcludes(_ stores: StoresUnderTest) async throws {
        let order = try await stores.order(1, stores.account())
        let commit = Commit.sampleExit(order.exiting(10), token: 7)
        #expect(try await stores.orders.commit([commit]) == [.committed(sequence: 2)])
        // The answer was lost: the same commit again says what became of it, also when others went on meanwhile.
        #expect(try await stores.orders.commit([commit]) == [.committed(sequence: 2)])
        #expect(try await stores.orders.commit([.sample(order.exiting(10).next())]) == [.committed(sequence: 3)])
        #expect(try await stores.orders.commit([commit]) == [.committed(sequence: 2)])
        #expect(try await stores.orders.lastSequence(account: order.account) == 3)
    }

    // MARK: Streams

    /// One event per version, and numbers of an account's stream without gap or repeat, under 32 committers.
    package static func sequencesHaveNoGap(_ stores: StoresUnderTest) async throws {
        let accounts = [try await stores.account(1), try await stores.account(2), try await stores.account(3)]
        try await withThrowingTaskGroup(of: Void.self) { group in
            for committer in 0..<32 {
                group.addTask {
                    var own = (0..<3).map { SmartOrder.sample(1_000 + committer * 10 + $0, accounts[$0]) }
                    // Against the order of the locks, on purpose.
                    own.reverse()
                    for _ in 0..<10 {
                        let outcomes = try await stores.orders.commit(own.map { .sample($0) })
                        for outcome in outcomes { #expect(outcome.isCommitted, "\(outcome)") }
                        own = own.map { $0.next() }
                    }
                }
            }
            try await group.waitForAll()
        }
        for account in accounts {
            let events = try await stores.orders.events(account: account, after: 0, limit: 1_000)
            #expect(events.map(\.sequence) == Array(1...320))
            #expect(try await stores.orders.lastSequence(account: account) == 320)
            let versions = Dictionary(grouping: events, by: \.order).values.map { $0.compactMap(\.version) }
            #expect(versions.count == 32 && versions.allSatisfy { $0 == Array(1...10) })
        }
    }

    package static func eventsTellEverything(_ stores: StoresUnderTest) async throws {
        let order = try await stores.order(1, stores.account())
        let tick = Tick(
            market: order.instrument.market,
            source: .mark,
            price: Price(ExactDecimal(mantissa: 94_999, scale: 3)),
            position: TickPosition(venueTime: 1_790_000_000_000_001, sequence: 5),
        )
        let next = order.next { $0.health = .unknown }
        let facts: [Fact] = [.stopLatched(kind: .fixed, price: Price(ExactDecimal(95)))]
        _ = try await stores.orders.commit([.sample(next, facts: facts, tick: tick)])
        let event = try #require(try await stores.orders.events(order: order.id, after: 1, limit: 5).first)
        #expect(event.account == order.account && event.order == order.id && event.version == 2)
        #expect(event.sequence == 2 && event.tick == tick && event.cause == .tick)
        #expect(event.actor == Actor(kind: .worker, id: "w1") && event.at == next.updatedAt)
        let text = String(decoding: event.json, as: UTF8.self)
        #expect(text.contains("stopLatched") && text.contains("UNKNOWN"))
        #expect(try await stores.orders.events(account: order.account, after: 2, limit: 5).isEmpty)
    }

    // MARK: Guards

    /// Nothing may ask for more than is held, and a refused neighbour harms nobody.
    package static func refusesOverExit(_ stores: StoresUnderTest) async throws {
        let account = try await stores.account()
        let first = try await stores.order(1, account)
        let second = try await stores.order(2, account)
        let tooMuch = first.exiting(6).exiting(5, leg: .close)
        let wish = Commit.sampleExit(tooMuch.withVersion(2), token: 1)
        let outcomes = try await stores.orders.commit([wish, .sample(second.next())])
        guard case .refused = outcomes[0] else {
            Issue.record("\(outcomes[0])")
            return
        }
        #expect(outcomes[1].isCommitted)
        #expect(try await stores.orders.smart([first.id]) == [first])
        #expect(try await stores.orders.intents(of: [first.id], ended: true).isEmpty)
    }

    /// A fact is stored even when it breaks the sum.
    package static func storesOverFill(_ stores: StoresUnderTest) async throws {
        let order = try await stores.order(1, stores.account())
        let fact = order.next { $0.exited = Quantity(ExactDecimal(12)) }
        try await expectCommitted(stores, [.sample(fact)])
        // After it nothing more leaves.
        let wish = fact.exiting(1)
        guard case .refused = try await stores.orders.commit([.sampleExit(wish, token: 1)])[0] else {
            Issue.record("an exit from what is over-exited")
            return
        }
    }

    package static func refusesToUndo(_ stores: StoresUnderTest) async throws {
        let account = try await stores.account()
        let latched = try await stores.order(1, account).next { order in
            order.latch = Latch(
                kind: .fixed,
                price: Price(ExactDecimal(95)),
                position: .start,
                time: order.updatedAt,
            )
            order.phase = .stopping
            order.exited = Quantity(ExactDecimal(4))
        }
        try await expectCommitted(stores, [.sample(latched)])
        let ended = try await stores.order(2, account).next { order in
            order.status = .closed
            order.phase = nil
        }
        try await expectCommitted(stores, [.sample(ended)])
        let wrong = [
            latched.next { $0.latch = nil },
            latched.next { $0.exited = Quantity(ExactDecimal(3)) },
            latched.next { $0.status = .stopped },
            ended.next {
                $0.status = .active
                $0.phase = .monitoring
            },
        ]
        for (number, order) in wrong.enumerated() {
            let outcome = try await stores.orders.commit([.sample(order)])[0]
            guard case .refused = outcome else {
                Issue.record("\(number): \(outcome)")
                continue
            }
        }
        #expect(try await stores.orders.smart([latched.id]) == [latched])
    }

    package static func refusesUnknownAccount(_ stores: StoresUnderTest) async throws {
        let order = SmartOrder.sample(1, .sample(77))
        guard case .refused = try await stores.orders.commit([.sample(order)])[0] else {
            Issue.record("an order of an unknown account")
            return
        }
    }

    package static func storesFillsOnce(_ stores: StoresUnderTest) async throws {
        let order = try await stores.order(1, stores.account())
        let exit = order.exiting(10)
        _ = try await stores.orders.commit([.sampleExit(exit, token: 1)])
        let key = exit.venueOrders[0].key
        let fill = Fill(
            venueFillID: "f1",
            quantity: Quantity(ExactDecimal(4)),
            price: Price(ExactDecimal(mantissa: 947, scale: 1)),
            fee: ExactDecimal(mantissa: 123, scale: 5),
            feeAsset: .other("BNB"),
            isMaker: true,
            time: Timestamp(milliseconds: 1_790_000_000_007),
        )
        let once = exit.next { $0.exited = Quantity(ExactDecimal(4)) }
        _ = try await stores.orders.commit([.sample(once, venueOrders: [], fills: [(key, fill)])])
        let twice = once.next()
        _ = try await stores.orders.commit([.sample(twice, venueOrders: [], fills: [(key, fill)])])
        let fills = try await stores.orders.fills(order: order.id)
        #expect(fills.map(\.fill) == [fill] && fills.map(\.key) == [key])
        let sum = FillSummary(
            leg: key.leg,
            quantity: fill.quantity,
            worth: fill.price * fill.quantity,
            first: fill.time,
            last: fill.time,
        )
        let other = try await stores.order(2, order.account)
        #expect(try await stores.orders.fillSummaries(of: [order.id, other.id]) == [order.id: [sum]])
    }

    // MARK: Change log

    /// Whoever follows the log sees every order that changed, though commits end out of order.
    package static func changesMissNothing(_ stores: StoresUnderTest) async throws {
        let accounts = [try await stores.account(1), try await stores.account(2), try await stores.account(3)]
        let everyShard = Array(0..<OrderID.shardCount)
        let start = try await stores.orders.changes(shards: [], since: nil).next
        let isDone = Locked(false)
        try await withThrowingTaskGroup(of: Void.self) { group in
            group.addTask {
                var cursor = start
                var seen: [OrderID: Int64] = [:]
                while true {
                    let wasDone = isDone.withLock { $0 }
                    let (orders, next) = try await stores.orders.changes(shards: everyShard, since: cursor)
                    for order in orders { seen[order.id] = max(seen[order.id] ?? 0, order.version) }
                    cursor = next
                    if wasDone { break }
                }
                #expect(seen.count == 16 * 12)
                #expect(seen.values.allSatisfy { $0 == 5 })
            }
            try await withThrowingTaskGroup(of: Void.self) { writers in
                for writer in 0..<16 {
                    writers.addTask {
                        for round in 0..<12 {
                            var order = SmartOrder.sample(
                                10_000 + writer * 100 + round,
                                accounts[(writer + round) % 3],
                            )
                            for _ in 0..<5 {
                                try await expectCommitted(stores, [.sample(order)])
                                order = order.next()
                            }
                        }
                    }
                }
                try await writers.waitForAll()
            }
            isDone.withLock { $0 = true }
            try await group.waitForAll()
        }
    }

    /// A conditional order takes the same way: rows, armed forms, legs, lists, guards.
    package static func bothKindsShareTheWay(_ stores: StoresUnderTest) async throws {
        let account = try await stores.account()
        let smart = try await stores.order(1, account)
        var waiting = ConditionalOrder.sample(2, account)
        #expect(try await stores.orders.commit([.sample(.conditional(waiting))])[0].isCommitted)
        #expect(try await stores.orders.load([waiting.id]) == [.conditional(waiting)])
        #expect(try await stores.orders.armed([waiting.id]) == [ArmedOrder(.conditional(waiting))])
        // Two levels and a stop, and one.
        #expect(try await stores.orders.activeLegs(account: account, market: Instrument.sample().market) == 4)
        for (kind, expected) in [(OrderKind.smart, smart.id), (.conditional, waiting.id)] {
            #expect(try await stores.orders.list(OrderFilter(account: account, kind: kind)).map(\.id) == [expected])
        }
        #expect(try await stores.orders.list(OrderFilter(account: account)).count == 2)

        var fired = waiting
        fired.version += 1
        fired.status = .triggered
        fired.triggeredAt = waiting.updatedAt
        fired.attempts = 1
        fired.venueOrders = [.sampleExit(.conditional, 1, 10, at: waiting.updatedAt)]
        let commit = Commit.sample(.conditional(fired), venueOrders: fired.venueOrders)
        #expect(try await stores.orders.commit([commit])[0].isCommitted)
        #expect(try await stores.orders.intents(of: [fired.id], ended: false).map(\.venueOrder) == fired.venueOrders)
        // Fired is one-way.
        waiting.version = 3
        let refused = try await stores.orders.commit([.sample(.conditional(waiting))])[0]
        #expect(refused == .refused(constraint: "orders_guard"))

        fired.version = 3
        fired.status = .filled
        fired.venueOrders = []
        #expect(try await stores.orders.commit([.sample(.conditional(fired))])[0].isCommitted)
        #expect(try await stores.orders.activeLegs(account: account, market: Instrument.sample().market) == 3)
        #expect(try await stores.orders.events(order: fired.id, after: 0, limit: 10).map(\.version) == [1, 2, 3])

        // An end is for good; what is learnt after it is stored (ORDERS.md T27).
        var undone = fired
        undone.version = 4
        undone.status = .cancelled
        #expect(
            try await stores.orders.commit([.sample(.conditional(undone))]) == [.refused(constraint: "orders_guard")]
        )
        fired.version = 4
        fired.filled += Quantity(ExactDecimal(1))
        #expect(try await stores.orders.commit([.sample(.conditional(fired))])[0].isCommitted)
        #expect(try await stores.orders.load([fired.id]) == [.conditional(fired)])
    }

    package static func armedFormIsExact(_ stores: StoresUnderTest) async throws {
        let account = try await stores.account()
        var orders: [SmartOrder] = []
        for number in 1...40 {
            var order = SmartOrder.sample(number, account, symbol: number % 2 == 0 ? "DEMO" : "OTHER")
            if number % 3 == 0 { order = order.withExit(.sampleExit(.stop, 1, 3, at: order.updatedAt)) }
            if number % 10 == 0 {
                order.status = .cancelled
                order.phase = nil
                order.venueOrders = []
            }
            orders.append(order)
        }
        _ = try await stores.orders.commit(orders.map { .sample($0) })
        let live = orders.filter { !$0.status.isTerminal }
        let shards = Set(live.prefix(20).map(\.id.shard))
        let loaded = Locked<[ArmedOrder]>([])
        try await stores.orders.loadArmed(shards: shards.sorted()) { page in loaded.withLock { $0 += page } }
        let expected = live.filter { shards.contains($0.id.shard) }.map { ArmedOrder($0) }
        #expect(Set(loaded.withLock { $0 }) == Set(expected))
        #expect(Set(try await stores.orders.armed(orders.map(\.id))) == Set(orders.map { ArmedOrder($0) }))
        #expect(try await stores.orders.activeLegs(account: account, market: Instrument.sample().market) == 48)
    }

    // MARK: API

    package static func idempotencyKeysCountOnce(_ stores: StoresUnderTest) async throws {
        let account = try await stores.account()
        try await withThrowingTaskGroup(of: (Int, CommitOutcome, OrderID).self) { group in
            for key in 0..<100 {
                for racer in 0..<10 {
                    group.addTask {
                        let order = SmartOrder.sample(20_000 + key * 10 + racer, account)
                        let record = IdempotencyRecord(owner: "key-1", key: "k\(key)", requestHash: "hash \(key)")
                        let outcome = try await stores.orders.commit([.sample(order, idempotency: record)])[0]
                        return (key, outcome, order.id)
                    }
                }
            }
            var winners: [Int: OrderID] = [:]
            var losers: [(Int, CommitOutcome)] = []
            for try await (key, outcome, id) in group {
                if outcome.isCommitted {
                    #expect(winners[key] == nil, "key \(key)")
                    winners[key] = id
                } else {
                    losers.append((key, outcome))
                }
            }
            #expect(winners.count == 100 && losers.count == 900)
            for (key, outcome) in losers {
                let winner = try #require(winners[key])
                #expect(outcome == .keyUsed(order: winner, requestHash: "hash \(key)"))
            }
            let stored = try await stores.orders.outcome(owner: "key-1", key: "k7")
            #expect(stored?.order == winners[7] && stored?.requestHash == "hash 7")
        }
        #expect(try await stores.orders.lastSequence(account: account) == 100)
        #expect(try await stores.orders.outcome(owner: "key-2", key: "k7") == nil)
    }

    package static func listsPageByPage(_ stores: StoresUnderTest) async throws {
        let account = try await stores.account(1)
        let other = try await stores.account(2)
        var orders: [SmartOrder] = []
        for number in 1...30 {
            var order = SmartOrder.sample(number, number % 5 == 0 ? other : account)
            if number % 2 == 0 {
                order.status = .closed
                order.phase = nil
            }
            orders.append(order)
        }
        _ = try await stores.orders.commit(orders.map { .sample($0) })
        var filter = OrderFilter(account: account, statuses: [OrderStatus.active.rawValue], limit: 5)
        var listed: [OrderID] = []
        while true {
            let page = try await stores.orders.list(filter)
            listed += page.map(\.id)
            guard let last = page.last, page.count == 5 else { break }
            filter.before = last.id
        }
        let expected = orders.filter { $0.account == account && $0.status == .active }.map(\.id).sorted(by: >)
        #expect(listed == expected)
        let none = OrderFilter(account: account, market: MarketID(venue: "paper", product: "linear", symbol: "NONE"))
        #expect(try await stores.orders.list(none).isEmpty)
    }
}

extension CommitOutcome {
    package var isCommitted: Bool {
        switch self {
        case .committed: true
        case .lost, .blocked, .keyUsed, .refused: false
        }
    }
}

extension SmartOrder {
    /// A difference that tells racers apart.
    fileprivate mutating func retryRacer(_ racer: Int) { draft.note = "racer \(racer)" }

    fileprivate func withVersion(_ version: Int64) -> SmartOrder {
        var order = self
        order.version = version
        return order
    }

    fileprivate func withExit(_ exit: VenueOrder) -> SmartOrder {
        var order = self
        order.venueOrders.append(exit)
        return order
    }
}
