// What every cluster and account store must do. Leases last 2 s, so the tests about their end take that long.

internal import OrderEngine
internal import SmartOrders
internal import Testing

package enum ClusterStoreContract {
    private static let market = Instrument.sample().market

    private static func cursor(_ time: Int64, heard: Int64? = 7) -> EvaluationCursor {
        EvaluationCursor(
            market: market,
            source: .mark,
            position: TickPosition(venueTime: time, sequence: 0),
            heard: heard.map { ChangeCursor(value: $0) },
        )
    }

    private static func expectCursors(
        _ stores: StoresUnderTest,
        _ handover: Int64?,
        _ expected: [EvaluationCursor],
    ) async throws {
        let handover = try #require(handover)
        #expect(try await stores.cluster.cursors(handover: handover) == expected)
    }

    /// Renews leases while `body` runs, as their holders would: it may take longer than one of them lasts.
    private static func keeping(
        _ stores: StoresUnderTest,
        leader: WorkerID,
        _ workers: [WorkerID],
        _ body: () async throws -> Void,
    ) async throws {
        let keeper = Task {
            while !Task.isCancelled {
                do {
                    for worker in workers { _ = try await stores.cluster.heartbeat(worker) }
                    _ = try await stores.cluster.lead(as: leader)
                    try await Task.sleep(for: .milliseconds(200))
                } catch {
                    return
                }
            }
        }
        defer { keeper.cancel() }
        try await body()
    }

    package static func oneLeads(_ stores: StoresUnderTest) async throws {
        let epochs = try await withThrowingTaskGroup(of: Int64?.self) { group in
            for number in 0..<16 {
                group.addTask { try await stores.cluster.lead(as: WorkerID("s\(number)")) }
            }
            return try await group.reduce(into: [Int64]()) { if let epoch = $1 { $0.append(epoch) } }
        }
        #expect(epochs.count == 1)
        // A new leader after the old one resigned has a new epoch; the old one's moves are void.
        for number in 0..<16 { try await stores.cluster.resign(WorkerID("s\(number)")) }
        let second = try #require(try await stores.cluster.lead(as: WorkerID("second")))
        #expect(second > epochs[0])
        #expect(try await stores.cluster.lead(as: WorkerID("second")) == second, "renewed")
        #expect(try await stores.cluster.lead(as: WorkerID("third")) == nil)
        let worker = WorkerID("w1")
        try await stores.cluster.register(worker)
        #expect(try await stores.cluster.assign([(7, worker)], leaderEpoch: epochs[0]) == false)
        #expect(try await stores.cluster.holders().allSatisfy { $0 == nil })
        #expect(try await stores.cluster.assign([(7, worker)], leaderEpoch: second))
        #expect(try await stores.cluster.holders()[7] == worker)
    }

    package static func heartbeatBringsShards(_ stores: StoresUnderTest) async throws {
        let (first, second) = (WorkerID("w1"), WorkerID("w2"))
        #expect(try await stores.cluster.heartbeat(first).leaseHeld == false, "not registered")
        try await stores.cluster.register(first)
        try await stores.cluster.register(second)
        let leader = try #require(try await stores.cluster.lead(as: WorkerID("s")))
        #expect(try await stores.cluster.assign((0..<1024).map { ($0, first) }, leaderEpoch: leader))
        let all = try await stores.cluster.heartbeat(first)
        #expect(all.leaseHeld && !all.isHalted && !all.isQuiet && all.incarnation >= 1)
        #expect(all.assignments.map(\.shard) == Array(0..<1024))
        #expect(all.assignments.allSatisfy { $0.previous == nil && $0.handover == nil })
        let live = try await stores.cluster.workers()
        #expect(live.live.map(\.id) == [first, second] && live.lapsed.isEmpty)

        try await stores.cluster.leave(first)
        #expect(try await stores.cluster.holders().allSatisfy { $0 == nil })
        #expect(try await stores.cluster.heartbeat(first).leaseHeld == false)
        #expect(try await stores.cluster.assign([(3, second)], leaderEpoch: leader))
        let given = try #require(try await stores.cluster.heartbeat(second).assignments.first)
        #expect(given.shard == 3 && given.previous == first && given.epoch > all.assignments[3].epoch)
    }

    /// A shard goes on where its last holder stood when it lost it, not where that holder went afterwards.
    package static func cursorsAreHandedOver(_ stores: StoresUnderTest) async throws {
        let (first, second, third) = (WorkerID("w1"), WorkerID("w2"), WorkerID("w3"))
        for worker in [first, second, third] { try await stores.cluster.register(worker) }
        let leader = try #require(try await stores.cluster.lead(as: WorkerID("s")))
        try await keeping(stores, leader: WorkerID("s"), [first, second, third]) {
            try await handOver(stores, first, second, third, leader)
        }
    }

    private static func handOver(
        _ stores: StoresUnderTest,
        _ first: WorkerID,
        _ second: WorkerID,
        _ third: WorkerID,
        _ leader: Int64,
    ) async throws {
        #expect(try await stores.cluster.assign([(1, first), (2, first)], leaderEpoch: leader))
        let own = try await stores.cluster.heartbeat(first).assignments
        #expect(try await stores.cluster.accept(own, cursors: [cursor(100)], of: first))
        #expect(try await stores.cluster.saveCursors([cursor(200)], of: first))

        #expect(try await stores.cluster.assign([(2, second)], leaderEpoch: leader))
        #expect(try await stores.cluster.saveCursors([cursor(900)], of: first), "goes on with what it kept")
        let given = try #require(try await stores.cluster.heartbeat(second).assignments.first)
        try await expectCursors(stores, given.handover, [cursor(200)])

        // The second worker never accepts: the third one gets the same place.
        #expect(try await stores.cluster.saveCursors([cursor(1_000)], of: second))
        #expect(try await stores.cluster.assign([(2, third)], leaderEpoch: leader))
        #expect(try await stores.cluster.accept([given], cursors: [], of: second) == false, "another epoch by now")
        let handed = try #require(try await stores.cluster.heartbeat(third).assignments.first)
        try await expectCursors(stores, handed.handover, [cursor(200)])
        #expect(try await stores.cluster.saveCursors([cursor(5_000)], of: third))
        #expect(try await stores.cluster.accept([handed], cursors: [cursor(200)], of: third), "lowers its own")
        #expect(try await stores.cluster.saveCursors([cursor(150, heard: 9)], of: third), "saving never goes back")
        #expect(try await stores.cluster.assign([(2, first)], leaderEpoch: leader))
        let back = try await stores.cluster.heartbeat(first).assignments.first { $0.shard == 2 }
        try await expectCursors(stores, back?.handover, [cursor(200)])

        // What was heard counts with its position: told again at the same one it moves on, alone with a lower one it does
        // not, and a cursor that is lowered takes what its new holder has heard.
        #expect(try await stores.cluster.accept([try #require(back)], cursors: [cursor(900, heard: 8)], of: first))
        #expect(try await stores.cluster.saveCursors([cursor(900, heard: 12)], of: first))
        #expect(try await stores.cluster.assign([(2, second)], leaderEpoch: leader))
        let again = try await stores.cluster.heartbeat(second).assignments.first { $0.shard == 2 }
        try await expectCursors(stores, again?.handover, [cursor(900, heard: 12)])
        #expect(
            try await stores.cluster.accept([try #require(again)], cursors: [cursor(800, heard: nil)], of: second)
        )
        #expect(try await stores.cluster.assign([(2, third)], leaderEpoch: leader))
        let last = try await stores.cluster.heartbeat(third).assignments.first { $0.shard == 2 }
        try await expectCursors(stores, last?.handover, [cursor(800, heard: nil)])
    }

    /// A worker that was away longer than its lease has nothing left and may write nothing.
    package static func lapsedWorkerIsFenced(_ stores: StoresUnderTest) async throws {
        let (zombie, heir) = (WorkerID("zombie"), WorkerID("heir"))
        try await stores.cluster.register(zombie)
        var leader = try #require(try await stores.cluster.lead(as: WorkerID("s")))
        #expect(try await stores.cluster.assign([(5, zombie)], leaderEpoch: leader))
        let own = try await stores.cluster.heartbeat(zombie).assignments
        #expect(try await stores.cluster.watchedShards().isEmpty, "given, and not taken over yet")
        #expect(try await stores.cluster.accept(own, cursors: [cursor(10)], of: zombie))
        #expect(try await stores.cluster.watchedShards() == [5])
        while try await stores.cluster.workers().lapsed != [zombie] { try await Task.sleep(for: .milliseconds(50)) }
        #expect(try await stores.cluster.watchedShards().isEmpty, "its holder is not to be heard")
        #expect(try await stores.cluster.saveCursors([cursor(99)], of: zombie) == false)
        #expect(try await stores.cluster.heartbeat(zombie).leaseHeld == false)
        try await stores.cluster.register(heir)
        leader = try #require(try await stores.cluster.lead(as: WorkerID("s")))
        #expect(try await stores.cluster.assign([(5, heir)], leaderEpoch: leader))
        let given = try #require(try await stores.cluster.heartbeat(heir).assignments.first)
        #expect(given.previous == zombie)
        try await expectCursors(stores, given.handover, [cursor(10)])
        // Back again, it starts with nothing.
        try await stores.cluster.register(zombie)
        #expect(try await stores.cluster.heartbeat(zombie).assignments.isEmpty)
    }

    package static func extremesComeInOrder(_ stores: StoresUnderTest) async throws {
        func points(_ times: some Sequence<Int64>) -> [ExtremeBucket.Point] {
            times.map { .init(position: TickPosition(venueTime: $0, sequence: $0 % 7), price: 1_000 + $0) }
        }
        func bucket(_ points: [ExtremeBucket.Point]) -> ExtremeBucket {
            ExtremeBucket(market: market, source: .mark, points: points)
        }
        let all = points(stride(from: 1_000_000, to: 9_000_000, by: 90_001))
        var buckets: [ExtremeBucket] = []
        // Buckets of five, of one, and one long one of a backfill; a second feed cuts the same points elsewhere.
        for start in stride(from: 0, to: 40, by: 5) { buckets.append(bucket(Array(all[start..<start + 5]))) }
        for point in all[40..<50] { buckets.append(bucket([point])) }
        buckets.append(bucket(Array(all[50...])))
        for start in stride(from: 2, to: 40, by: 4) { buckets.append(bucket(Array(all[start..<start + 4]))) }
        try await stores.cluster.appendExtremes(buckets)
        try await stores.cluster.appendExtremes(buckets)
        for limit in [1, 3, 7, 1_000] {
            var read: [ExtremeBucket.Point] = []
            var place = TickPosition.start
            while true {
                let page = try await stores.cluster.extremes(market: market, source: .mark, after: place, limit: limit)
                guard let last = page.last else { break }
                #expect(page.count <= limit)
                read += page
                place = last.position
            }
            #expect(read == all, "limit \(limit)")
        }
        let other = try await stores.cluster.extremes(market: market, source: .last, after: .start, limit: 5)
        #expect(other.isEmpty)
    }

    package static func accountsKeepTheirKeys(_ stores: StoresUnderTest) async throws {
        let account = Account(
            id: .sample(5),
            name: "five",
            venue: "binance",
            product: "linear",
            mode: .live,
            maximumConditionals: 16,
        )
        let keys = Credentials(key: "K", secret: "S\"\\", passphrase: "P")
        try await stores.accounts.create(account, credentials: keys)
        #expect(try await stores.accounts.account(account.id) == account)
        #expect(try await stores.accounts.accounts() == [account])
        #expect(try await stores.accounts.credentials(account.id) == keys)
        #expect(try await stores.accounts.credentials(.sample(6)) == nil)
        let hash = String(repeating: "0123456789abcdef", count: 4)
        try await stores.accounts.addAPIKey(hash: hash, account: account.id)
        #expect(try await stores.accounts.account(apiKeyHash: hash) == account.id)
        #expect(try await stores.accounts.account(apiKeyHash: String(hash.reversed())) == nil)

        let band = PriceBandRule(
            low: Rate(ExactDecimal(mantissa: 95, scale: 2)),
            high: Rate(ExactDecimal(mantissa: 105, scale: 2)),
        )
        let changed = Instrument(
            market: market,
            kind: .spotCollateral,
            tickSize: Price(ExactDecimal(mantissa: 1, scale: 9)),
            stepSize: Quantity(ExactDecimal(1)),
            minNotional: Money(ExactDecimal(5)),
            bandRule: band,
            status: .halted,
        )
        try await stores.accounts.save([.sample(), .sample("OTHER")])
        try await stores.accounts.save([changed])
        #expect(try await stores.accounts.instrument(market) == changed)
        #expect(try await stores.accounts.instruments() == [changed, .sample("OTHER")])
    }
}
