import Simulation
import SmartOrders
import TestKit
import Testing

@testable import OrderEngine

@Suite(.serialized) struct `A cluster in memory` {
    @Test func `the example of the product page, from price to fill`() async throws {
        let cluster = Cluster()
        try await cluster.setUp()
        try await cluster.run(["w1"]) {
            let draft = Draft.held([(105, 40), (110, 35), (120, 25)], stop: 95, breakEven: true)
            let id = try await cluster.create(draft).id
            try await cluster.settle()
            try await cluster.tick(104, 105)
            let first = try await cluster.wait(for: id) { $0.levels[0].state == .filled }
            #expect(first.status == .partiallyClosed && first.remaining == Quantity(ExactDecimal(6)))
            #expect(first.breakEvenPrice == Price(ExactDecimal(100)))
            try await cluster.settle()
            try await cluster.tick(110)
            _ = try await cluster.wait(for: id) { $0.levels[1].state == .filled }
            try await cluster.settle()
            try await cluster.tick(103, 100)
            let ended = try await cluster.wait(for: id) { $0.status.isTerminal }
            #expect(ended.status == .stopped && ended.closeReason == .breakEven)
            #expect(ended.remaining.isZero && ended.levels[2].state == .cancelled)
            let fills = try await cluster.orders.fills(order: id)
            #expect(fills.map { "\($0.key.leg) \($0.fill.quantity.value)" } == ["tp1 4", "tp2 3.5", "sl 2.5"])
            let events = try await cluster.orders.events(order: id, after: 0, limit: 100)
            #expect(events.compactMap(\.version) == Array(1...ended.version))
            #expect(cluster.venue.accepted.count == 3)
        }
    }

    /// Prices wander; the cluster's trigger must be the one of an order that sees every tick.
    @Test(arguments: 0..<100 as Range<UInt64>)
    func `a trailing stop fires at the tick and price of the core`(seed: UInt64) async throws {
        let cluster = Cluster(seed: seed, speed: 20)
        try await cluster.setUp()
        var random = SeededRandom(seed: seed)
        var path: [Int] = []
        var price = 10_000
        for _ in 0..<200 {
            price = max(5_000, price + Int.random(in: -90...90, using: &random))
            path.append(price)
        }
        path.append(100)
        let order = try await cluster.create(.held(stop: 60, trailing: Int128.random(in: 10...40, using: &random)))
        // The core, tick by tick.
        var direct = order
        var expected: Latch?
        for (index, cent) in path.enumerated() where expected == nil {
            let moment = Moment(
                now: order.createdAt,
                price: Price(ExactDecimal(mantissa: Int128(cent), scale: 2)),
                position: TickPosition(venueTime: order.extremePosition.venueTime, sequence: Int64(index + 2)),
            )
            if let decision = try direct.decide(.tick, at: moment) {
                direct = decision.next
            } else {
                direct.absorb(extreme: moment.price ?? Price(ExactDecimal(0)), upTo: moment.position)
            }
            expected = direct.latch
        }
        let chunks = stride(from: 0, to: path.count, by: 1 + Int(seed % 90)).map { start in
            Array(path[start..<min(start + 1 + Int(seed % 90), path.count)])
        }
        let id = order.id
        let latched = try #require(expected)
        try await cluster.run(["w1"]) {
            for chunk in chunks { try await cluster.tick(chunk) }
            let ended = try await cluster.wait(for: id) { $0.latch != nil }
            let latch = try #require(ended.latch)
            #expect(latch.price == latched.price && latch.kind == latched.kind, "seed \(seed)")
            #expect(latch.position.sequence == latched.position.sequence, "seed \(seed)")
            _ = try await cluster.wait(for: id) { $0.status.isTerminal }
        }
    }

    /// Workers die at random moments; whoever is left finishes. Nothing is exited twice, nothing is left.
    @Test(arguments: 0..<10 as Range<UInt64>)
    func `each exit happens once, whoever dies`(seed: UInt64) async throws {
        let cluster = Cluster(seed: seed, speed: 20)
        try await cluster.setUp()
        var random = SeededRandom(seed: seed)
        var orders: [SmartOrder] = []
        for _ in 0..<12 {
            orders.append(
                try await cluster.create(
                    .held([(103, 40), (106, 60)], stop: 97, trailing: Int128.random(in: 15...40, using: &random))
                )
            )
        }
        let answers: [FakeVenue.Answer] = (0..<20).map { _ in
            switch Int.random(in: 0..<6, using: &random) {
            case 0: .loseAnswer
            case 1: .loseRequest
            case 2: .refuse(.rejected)
            default: .honest
            }
        }
        cluster.venue.script(answers)
        let killAfter = Int.random(in: 5...60, using: &random)
        let flushAfter = Int.random(in: 5...60, using: &random)
        var path: [Int] = []
        var price = 10_000
        for _ in 0..<80 {
            price += Int.random(in: -80...80, using: &random)
            path.append(price)
        }
        let prices = path + [9_000, 8_900, 8_950]
        let all = orders
        try await cluster.run(["w1", "w2"]) {
            for (index, cent) in prices.enumerated() {
                try await cluster.tick([cent])
                if index == killAfter { cluster.kill("w1") }
                if index == flushAfter { cluster.queue.loseAll() }
                try await Task.sleep(for: .milliseconds(1))
            }
            for order in all {
                let ended = try await cluster.wait(for: order.id, seconds: 10) { $0.status.isTerminal }
                #expect(ended.remaining.isZero, "seed \(seed): \(ended.status)")
                try expectEachExitOnce(cluster, ended, seed)
            }
        }
    }

    /// Twice the same work, many times: the effect is one.
    @Test func `every job may come again`() async throws {
        let cluster = Cluster()
        try await cluster.setUp()
        let id = try await cluster.create(.held([(105, 100)], stop: 95)).id
        let context = cluster.context("w1")
        let worker = OrderWorker(
            context: context,
            history: PriceHistory(ticks: context.ticks, cluster: context.cluster),
            committer: CommitBatcher(store: context.orders, clock: context.clock),
        )
        let row = try await cluster.order(id)
        try await cluster.tick(106)
        let position = try #require(try await context.ticks.latest(cluster.series)?.position)
        let armed = ArmedOrder(row)
        let watch = try #require(armed.watches.first { $0.leg == .takeProfit(1) })
        let job = Job.trigger(armed, watch, at: position)
        func taken(_ job: Job) -> TakenJob {
            TakenJob(
                rawID: "\(job.id)",
                job: job,
                jobClass: job.jobClass,
                partition: 0,
                token: "t",
                attemptsMade: 0,
                deliveries: 1,
                crashes: 0,
            )
        }
        await withTaskGroup { group in
            for number in 0..<8 {
                group.addTask { _ = await worker.handle([taken(job), taken(job.again(number)), taken(job)]) }
            }
        }
        let ended = try await cluster.order(id)
        #expect(ended.status == .closed)
        #expect(cluster.venue.accepted.count == 1)
        let version = ended.version
        _ = await worker.handle([
            taken(job), taken(.timer(armed)),
            taken(.check(.smart(row), VenueOrderKey(leg: .takeProfit(1), attempt: 1), number: 1)),
        ])
        #expect(try await cluster.order(id).version == version)
    }

    /// After an outage the stream ends where that began, until the feed appends what is missing.
    @Test func `a stream that shows nothing new does not hide what was stored behind it`() async throws {
        let cluster = Cluster()
        try await cluster.setUp()
        let service = cluster.service()
        let streamed = try #require(try await service.newest(cluster.series))
        try await cluster.clock.sleep(milliseconds: 2_100)
        #expect(try await service.newest(cluster.series) == streamed, "a quiet market")
        let position = TickPosition(venueTime: cluster.clock.now().microseconds, sequence: 99)
        let point = ExtremeBucket.Point(position: position, price: 7)
        try await MemoryClusterStore(cluster.database).appendExtremes([
            ExtremeBucket(market: cluster.instrument.market, source: .mark, points: [point])
        ])
        #expect(try await service.newest(cluster.series) == point)
    }

    /// A worker that dies may have evaluated prices before it heard of an order that stands before them.
    @Test(arguments: [false, true])
    func `a cursor speaks of the orders that its holder had heard of`(hasHeard: Bool) async throws {
        let cluster = Cluster()
        try await cluster.setUp()
        let before = try await cluster.orders.changes(shards: [], since: nil).next
        let id = try await cluster.create(.held(stop: 95)).id
        let after = try await cluster.orders.changes(shards: [], since: nil).next
        try await cluster.tick(94, 99)
        // What the first worker left behind when it died.
        let (store, first) = (MemoryClusterStore(cluster.database), WorkerID("w1"))
        try await store.register(first)
        let leader = try #require(try await store.lead(as: WorkerID("s")))
        #expect(try await store.assign([(id.shard, first)], leaderEpoch: leader))
        let end = try #require(try await cluster.service().newest(cluster.series))
        let cursor = EvaluationCursor(
            market: cluster.instrument.market,
            source: .mark,
            position: end.position,
            heard: hasHeard ? after : before,
        )
        #expect(try await store.accept(store.heartbeat(first).assignments, cursors: [cursor], of: first))
        try await store.resign(WorkerID("s"))
        try await cluster.run(["w2"]) {
            if !hasHeard {
                let ended = try await cluster.wait(for: id) { $0.status.isTerminal }
                #expect(ended.status == .stopped)
                return
            }
            try await cluster.settle()
            #expect(try await cluster.order(id).version == 1, "the holder had seen that it crosses nothing")
        }
    }

    /// The row of an order stands at the moment of its fill, between two ticks: the next one counts, though none follows.
    @Test func `the first tick after a fill fires`() async throws {
        let cluster = Cluster()
        try await cluster.setUp()
        try await cluster.run(["w1"]) {
            var draft = Draft.held(stop: 95)
            draft.entry = EntryPlan(mode: .market)
            let id = try await cluster.create(draft).id
            let active = try await cluster.wait(for: id) { $0.status == .active }
            let newest = try #require(try await cluster.service().newest(cluster.series))
            #expect(active.extremePosition > newest.position)
            // Long enough for the evaluator to hear of the fill; if it has not, it walks the tick and nothing is shown.
            try await cluster.clock.sleep(milliseconds: 1_000)
            try await cluster.tick(94)
            let ended = try await cluster.wait(for: id) { $0.status.isTerminal }
            #expect(ended.status == .stopped)
        }
    }

    @Test func `an answer that was lost is found by a look-up`() async throws {
        let cluster = Cluster()
        try await cluster.setUp()
        cluster.venue.script([.loseAnswer])
        try await cluster.run(["w1"]) {
            let id = try await cluster.create(.held(stop: 95)).id
            try await cluster.settle()
            try await cluster.tick(94)
            let ended = try await cluster.wait(for: id) { $0.status.isTerminal }
            #expect(ended.status == .stopped)
            #expect(cluster.venue.accepted.count == 1 && cluster.venue.requests == 1)
        }
    }

    @Test func `a request that was lost is repeated only after the proof`() async throws {
        let cluster = Cluster()
        try await cluster.setUp()
        cluster.venue.script([.loseRequest])
        try await cluster.run(["w1"]) {
            let id = try await cluster.create(.held(stop: 95)).id
            try await cluster.settle()
            let begun = cluster.clock.monotonicNanoseconds()
            try await cluster.tick(94)
            let ended = try await cluster.wait(for: id) { $0.status.isTerminal }
            #expect(ended.status == .stopped && ended.attempts[.stop] == 2)
            #expect(cluster.venue.accepted.count == 1 && cluster.venue.requests == 2)
            // Two look-ups behind the fence, 500 ms apart.
            #expect(cluster.clock.monotonicNanoseconds() - begun >= 700_000_000)
        }
    }

    /// RELIABILITY.md 11.2: EXIT_UNRESOLVED.
    @Test(arguments: [IntentVerdict.absent, .cancelled, .filled(at: Price(ExactDecimal(93)))])
    func `an operator's word takes the place of the proof that the venue does not give`(
        verdict: IntentVerdict
    )
        async throws
    {
        let cluster = Cluster()
        try await cluster.setUp()
        let isFilled = verdict != .absent && verdict != .cancelled
        cluster.venue.script([isFilled ? .loseAnswer : .loseRequest])
        cluster.venue.setBlind(true)
        try await cluster.run(["w1"]) {
            let id = try await cluster.create(.held(stop: 95)).id
            try await cluster.settle()
            try await cluster.tick(94)
            _ = try await cluster.wait(for: id) { $0.venueOrders.contains { $0.state == .unknown } }
            let actor = Actor(kind: .operator, id: "ada")
            let key = VenueOrderKey(leg: .stop, attempt: 1)
            await #expect(throws: ResolveError.self) {
                _ = try await cluster.service().resolve(id, .init(leg: .stop, attempt: 7), as: verdict, actor: actor)
            }
            while true {
                do throws(ResolveError) {
                    _ = try await cluster.service().resolve(id, key, as: verdict, actor: actor)
                    break
                } catch {
                    // Until the fence has passed nobody can know.
                    guard case .tooEarly = error else { throw error }
                    try await cluster.clock.sleep(milliseconds: 20)
                }
            }
            let ended = try await cluster.wait(for: id) { $0.status.isTerminal }
            #expect(ended.status == .stopped && ended.exited == Quantity(ExactDecimal(10)))
            #expect(cluster.venue.accepted.count == 1 && cluster.venue.requests == (isFilled ? 1 : 2))
        }
    }

    @Test func `a halt keeps the stop latched and sends it when it ends`() async throws {
        let cluster = Cluster()
        try await cluster.setUp()
        try await cluster.run(["w1"]) {
            let id = try await cluster.create(.held(stop: 95)).id
            try await cluster.settle()
            cluster.database.setHalted(true)
            try await cluster.tick(94)
            let latched = try await cluster.wait(for: id) { $0.latch != nil }
            #expect(latched.venueOrders.map(\.state) == [.intent])
            try await cluster.tick(99)
            try await cluster.clock.sleep(milliseconds: 2_500)
            #expect(cluster.venue.requests == 0)
            cluster.database.setHalted(false)
            let ended = try await cluster.wait(for: id) { $0.status.isTerminal }
            #expect(ended.status == .stopped && cluster.venue.accepted.count == 1)
        }
    }

    @Test func `without queue and stream the outbox and the extremes carry everything`() async throws {
        let cluster = Cluster()
        try await cluster.setUp()
        let id = try await cluster.create(.held([(105, 50), (130, 50)], stop: 90, trailing: 20)).id
        cluster.queue.setAway(true)
        cluster.ticks.setAway(true)
        cluster.venue.script([.loseAnswer])
        try await cluster.run(["w1"]) {
            try await cluster.tick(101, 105)
            _ = try await cluster.wait(for: id) { $0.levels[0].state == .filled }
            try await cluster.tick(110, 107)
            let ended = try await cluster.wait(for: id) { $0.status.isTerminal }
            #expect(ended.status == .stopped && ended.latch?.kind == .trailing)
            #expect(ended.latch?.price == Price(ExactDecimal(mantissa: 1_078, scale: 1)))
        }
    }

    @Test func `a stop is watched while a target waits in the queue, and the target comes first`() async throws {
        let cluster = Cluster()
        try await cluster.setUp()
        try await cluster.run(["w1"]) {
            let id = try await cluster.create(.held([(105, 100)], stop: 95)).id
            try await cluster.settle()
            cluster.queue.setPaused(true)
            func offered(_ count: Int) async throws -> Bool {
                for _ in 0..<20_000 where cluster.observer.count(of: "crossings_offered_total") < count {
                    try await Task.sleep(for: .milliseconds(2))
                }
                return cluster.observer.count(of: "crossings_offered_total") == count
            }
            try await cluster.tick(105)
            #expect(try await offered(1))
            try await cluster.tick(104, 94)
            #expect(try await offered(2), "the stop")
            cluster.queue.setPaused(false)
            let ended = try await cluster.wait(for: id) { $0.status.isTerminal }
            #expect(ended.attempts[.takeProfit(1)] == 1 && ended.exited == Quantity(ExactDecimal(10)))
        }
    }

    @Test func `a series knows what it may not pass`() {
        let one = SeriesState(
            PriceSeries(market: MarketID(venue: "paper", product: "linear", symbol: "DEMO"), source: .mark),
            decimals: 2,
            tickUnits: 1,
            position: .start,
        )
        func at(_ sequence: Int64) -> TickPosition { TickPosition(venueTime: 1, sequence: sequence) }
        for sequence: Int64 in [7, 3, 3, 9] { one.opened(before: at(sequence)) }
        #expect(one.beforeOpen == at(3) && one.openCount == 4)
        one.closed(before: at(3))
        #expect(one.beforeOpen == at(3))
        one.closed(before: at(3))
        #expect(one.beforeOpen == at(7) && one.openCount == 2)
        one.closed(before: at(9))
        one.closed(before: at(7))
        #expect(one.beforeOpen == nil && one.openCount == 0)
    }

    @Test func `a part that was filled is counted once, however often it is looked up`() async throws {
        let cluster = Cluster()
        try await cluster.setUp()
        try await cluster.run(["w1"]) {
            var draft = Draft.held([(105, 50), (120, 50)], stop: 90)
            draft.takeProfits[0].execution = .limit
            draft.takeProfits[0].limitPrice = Price(ExactDecimal(106))
            let id = try await cluster.create(draft).id
            try await cluster.settle()
            try await cluster.tick(105)
            _ = try await cluster.wait(for: id) { $0.venueOrders.first?.state == .open }
            cluster.venue.fillPart(Quantity(ExactDecimal(2)))
            let key = VenueOrderKey(leg: .takeProfit(1), attempt: 1)
            for number in 1...5 {
                let row = try await cluster.order(id)
                _ = try await MemoryQueue(cluster.queue, worker: WorkerID("t"))
                    .offer([.check(.smart(row), key, number: 70 + number)], verify: false)
                try await cluster.clock.sleep(milliseconds: 300)
            }
            #expect(try await cluster.order(id).exited == Quantity(ExactDecimal(2)))
            try await cluster.tick(106)
            let row = try await cluster.order(id)
            _ = try await MemoryQueue(cluster.queue, worker: WorkerID("t"))
                .offer([.check(.smart(row), key, number: 99)], verify: false)
            let filled = try await cluster.wait(for: id) { $0.levels[0].state == .filled }
            #expect(filled.exited == Quantity(ExactDecimal(5)))
        }
    }

    /// A threshold that news makes is not compared with prices from before the news.
    @Test func `break-even does not fire on prices from before it was armed`() async throws {
        let cluster = Cluster()
        try await cluster.setUp()
        try await cluster.run(["w1"]) {
            var draft = Draft.held([(105, 50), (120, 50)], stop: 90, breakEven: true)
            draft.takeProfits[0].execution = .limit
            draft.takeProfits[0].limitPrice = Price(ExactDecimal(106))
            let id = try await cluster.create(draft).id
            try await cluster.settle()
            // The level's order rests at 106 while the price visits 99.
            try await cluster.tick(105)
            _ = try await cluster.wait(for: id) {
                $0.levels[0].state == .triggered && $0.venueOrders.first?.state == .open
            }
            try await cluster.tick(103, 99, 103, 106)
            try await cluster.settle()
            let row = try await cluster.order(id)
            // None: the sweep was faster than this look-up.
            if let intent = try await cluster.orders.intents(of: [id], ended: false).first {
                _ = try await MemoryQueue(cluster.queue, worker: WorkerID("t"))
                    .offer([.check(.smart(row), intent.venueOrder.key, number: 77)], verify: false)
            }
            let filled = try await cluster.wait(for: id) { $0.levels[0].state == .filled }
            #expect(filled.breakEvenPrice == Price(ExactDecimal(100)))
            try await cluster.settle()
            try await cluster.clock.sleep(milliseconds: 1_500)
            #expect(try await cluster.order(id).latch == nil)
            try await cluster.tick(100)
            #expect(try await cluster.wait(for: id) { $0.status.isTerminal }.closeReason == .breakEven)
        }
    }

    /// Each accepted order is an exit that the row knows, once, and together they are what was held.
    private func expectEachExitOnce(_ cluster: Cluster, _ order: SmartOrder, _ seed: UInt64) throws {
        var ids: Set<String> = []
        for (leg, last) in order.attempts {
            for attempt in 1...last {
                let id = cluster.identity.clientOrderID(order.id, VenueOrderKey(leg: leg, attempt: attempt))
                ids.insert(id)
                let count = cluster.venue.accepted.count { $0 == id }
                #expect(count <= 1, "seed \(seed): \(leg) \(attempt) was accepted \(count) times")
            }
        }
        #expect(cluster.venue.executed(.sell, ids: ids) == Quantity(ExactDecimal(10)), "seed \(seed)")
    }
}
