// How fast is the store? On a database of its own, which it fills and empties.
//
// A transition is what a tick does: next version, new row, one event, committed. Its rival is the least statement that
// does the same, a versioned UPDATE of a narrow row and an INSERT of an event, in the same run over the same pool: what
// the store's guards, its complete row in the event and its encoding cost is the ratio of the two.

internal import JSONText
internal import OrderEngine
public import PostgresClient
internal import SmartOrders

/// Measures `PostgresOrderStore`.
public enum StoreBenchmark {
    public struct Settings: Hashable, Sendable {
        /// Orders that take part in transitions.
        public var orders = 20_000
        public var accounts = 1_000
        /// Decisions in one commit.
        public var batch = 100
        /// Commits under way at once in the parallel measurement.
        public var committers = 4
        /// Seconds per measurement of transitions.
        public var seconds = 3.0
        /// Active orders that are loaded; 0 leaves the measurement out.
        public var loadedOrders = 1_000_000
        public init() {}
    }

    public struct Result: Hashable, Sendable {
        /// `fsync` and `synchronous_commit` of the server.
        public let fsync: String
        public let synchronousCommit: String
        /// Transitions per second, one after the other.
        public let singlePerSecond: Double
        public let singleP50Microseconds: Double
        public let singleP99Microseconds: Double
        /// The same statement with parameters encoded beforehand: what the store itself adds.
        public let statementPerSecond: Double
        /// The least statement, one after the other.
        public let leastPerSecond: Double
        /// Time of a transition through the store, in times of the least statement; medians.
        public let singleToLeast: Double
        /// Transitions per second in batches, one batch after the other and several at once.
        public let batch: Int
        public let batchedPerSecond: Double
        public let committers: Int
        public let parallelPerSecond: Double
        /// The least statement in batches of the same size, one after the other.
        public let leastBatchedPerSecond: Double
        /// Bytes of an order's state as stored.
        public let stateBytes: Int
        public let loadedOrders: Int
        /// From the call to the last page of `loadArmed`, and until the first one.
        public let loadSeconds: Double
        public let firstPageSeconds: Double

        /// One JSON object.
        public var json: [UInt8] {
            var writer = JSONWriter(pretty: true)
            func number(_ key: StaticString, _ value: Double) {
                writer.key(key)
                writer.raw("\((value * 1_000).rounded() / 1_000)".utf8)
            }
            writer.beginObject()
            writer.member("bench", "store")
            writer.member("fsync", fsync)
            writer.member("synchronousCommit", synchronousCommit)
            number("singlePerSecond", singlePerSecond)
            number("singleP50Microseconds", singleP50Microseconds)
            number("singleP99Microseconds", singleP99Microseconds)
            number("statementPerSecond", statementPerSecond)
            number("leastPerSecond", leastPerSecond)
            number("singleToLeast", singleToLeast)
            writer.member("batch", batch)
            number("batchedPerSecond", batchedPerSecond)
            writer.member("committers", committers)
            number("parallelPerSecond", parallelPerSecond)
            number("leastBatchedPerSecond", leastBatchedPerSecond)
            writer.member("stateBytes", stateBytes)
            writer.member("loadedOrders", loadedOrders)
            number("loadSeconds", loadSeconds)
            number("firstPageSeconds", firstPageSeconds)
            writer.endObject()
            return writer.take()
        }
    }

    /// - Parameters:
    ///   - pool: of an empty database, made with `PostgresConfiguration.stores`.
    ///   - progress: told the name of each measurement when it begins.
    public static func run(
        _ pool: PostgresPool,
        _ settings: Settings = Settings(),
        progress: (String) -> Void = { _ in },
    ) async throws -> Result {
        try await Migrator(pool: pool).up()
        let history = try await DatabaseHistory.check(pool)
        let store = PostgresOrderStore(pool: pool, incarnation: history.incarnation)
        var bench = Bench(pool: pool, store: store, settings: settings)
        return try await bench.run(progress)
    }
}

private struct Bench {
    let pool: PostgresPool
    let store: PostgresOrderStore
    let settings: StoreBenchmark.Settings
    let clock = ContinuousClock()
    var orders: [SmartOrder] = []
    var commitID: Int64 = 0

    private static let leastTables = """
        CREATE TABLE least_orders (
            id bigint PRIMARY KEY, version bigint NOT NULL, state smallint NOT NULL, mark bigint NOT NULL,
            updated_at timestamptz NOT NULL
        ) WITH (fillfactor = 80);
        CREATE TABLE least_events (
            id bigserial PRIMARY KEY, order_id bigint NOT NULL, version bigint NOT NULL, kind smallint NOT NULL,
            payload text NOT NULL, at timestamptz NOT NULL DEFAULT now(), UNIQUE (order_id, version)
        );
        """
    private static let least = Statement(
        name: "bench.least",
        sql: """
            WITH u AS (
                UPDATE least_orders SET version = version + 1, state = 2, mark = $3::bigint, updated_at = now()
                WHERE id = $1::bigint AND version = $2::bigint RETURNING id, version
            )
            INSERT INTO least_events (order_id, version, kind, payload)
            SELECT id, version, 3, '{"leg":"tp1","px":"66000","src":"mark"}' FROM u RETURNING order_id
            """,
    )
    private static let leastBatch = Statement(
        name: "bench.least_batch",
        sql: """
            WITH u AS (
                UPDATE least_orders AS o SET version = o.version + 1, state = 2, mark = d.mark, updated_at = now()
                FROM unnest($1::bigint[], $2::bigint[], $3::bigint[]) AS d(id, version, mark)
                WHERE o.id = d.id AND o.version = d.version RETURNING o.id, o.version
            )
            INSERT INTO least_events (order_id, version, kind, payload)
            SELECT id, version, 3, '{"leg":"tp1","px":"66000","src":"mark"}' FROM u RETURNING order_id
            """,
    )

    mutating func run(_ progress: (String) -> Void) async throws -> StoreBenchmark.Result {
        let server = try await pool.query(
            Statement(sql: "SELECT current_setting('fsync'), current_setting('synchronous_commit')")
        )
        try await fill()
        // Warm: plans, pages, connections.
        _ = try await single(seconds: 0.2)
        _ = try await batched(seconds: 0.2)
        progress("single")
        let single = try await single(seconds: settings.seconds)
        progress("statement")
        let statement = try await encoded(seconds: settings.seconds)
        progress("least")
        let least = try await least(seconds: settings.seconds)
        progress("batched")
        let batched = try await batched(seconds: settings.seconds)
        progress("leastBatched")
        let leastBatched = try await leastBatched(seconds: settings.seconds)
        progress("parallel")
        let parallel = try await parallel(seconds: settings.seconds)
        let (loadSeconds, firstPage) = try await load(progress)
        progress("done")
        return StoreBenchmark.Result(
            fsync: try server[0].string(0),
            synchronousCommit: try server[0].string(1),
            singlePerSecond: single.perSecond,
            singleP50Microseconds: single.quantile(0.5),
            singleP99Microseconds: single.quantile(0.99),
            statementPerSecond: statement.perSecond,
            leastPerSecond: least.perSecond,
            singleToLeast: single.quantile(0.5) / max(least.quantile(0.5), 0.001),
            batch: settings.batch,
            batchedPerSecond: batched,
            committers: settings.committers,
            parallelPerSecond: parallel,
            leastBatchedPerSecond: leastBatched,
            stateBytes: orders.first?.encodedStateCount ?? 0,
            loadedOrders: settings.loadedOrders,
            loadSeconds: loadSeconds,
            firstPageSeconds: firstPage,
        )
    }

    // MARK: Data

    private mutating func fill() async throws {
        try await pool.simple(
            """
            \(Self.leastTables)
            INSERT INTO least_orders SELECT g, 1, 1, 0, now() FROM generate_series(0, \(settings.orders - 1)) AS g;
            ANALYZE least_orders
            """
        )
        var ids = ArrayColumn(.uuid)
        for number in 0..<settings.accounts { ids.append(BenchOrders.account(number).value) }
        let streams = Statement(sql: "INSERT INTO account_stream (account_id) SELECT * FROM unnest($1::uuid[])")
        _ = try await pool.query(streams, [ids.parameter()])
        orders = (0..<settings.orders).map { BenchOrders.order($0, account: $0 % settings.accounts) }
        var start = 0
        while start < orders.count {
            let end = min(start + PostgresOrderStore.maximumBatch, orders.count)
            for outcome in try await store.commit(orders[start..<end].map { commit($0) }) { try check(outcome) }
            start = end
        }
        try await pool.simple("ANALYZE")
    }

    private mutating func commit(_ next: SmartOrder) -> Commit {
        commitID += 1
        return BenchOrders.commit(next, id: commitID)
    }

    private func check(_ outcome: CommitOutcome) throws {
        guard case .committed = outcome else {
            throw StoreError(.corruptRow, "a transition was not committed: \(outcome)")
        }
    }

    // MARK: Transitions

    private mutating func single(seconds: Double) async throws -> Samples {
        var samples = Samples()
        let end = clock.now + .seconds(seconds)
        var index = 0
        var begun = clock.now
        while begun < end {
            index = (index + 7_919) % orders.count
            let next = BenchOrders.next(orders[index])
            for outcome in try await store.commit([commit(next)]) { try check(outcome) }
            orders[index] = next
            let now = clock.now
            samples.add(begun.duration(to: now))
            begun = now
        }
        return samples
    }

    /// The store's statement with parameters that are ready; what is left is driver and server.
    private mutating func encoded(seconds: Double) async throws -> Samples {
        var samples = Samples()
        let end = clock.now + .seconds(seconds)
        var index = 0
        while clock.now < end {
            index = (index + 7_919) % orders.count
            let next = BenchOrders.next(orders[index])
            var batch = CommitBatch(creating: false, incarnation: store.presentIncarnation)
            batch.append(commit(next))
            let (statement, parameters) = batch.finish()
            let begun = clock.now
            _ = try await pool.query(statement, parameters)
            samples.add(begun.duration(to: clock.now))
            orders[index] = next
        }
        return samples
    }

    private func least(seconds: Double) async throws -> Samples {
        var samples = Samples()
        var versions = [Int64](repeating: 1, count: settings.orders)
        let end = clock.now + .seconds(seconds)
        var index = 0
        var begun = clock.now
        while begun < end {
            index = (index + 7_919) % versions.count
            _ = try await pool.query(Self.least, [.int8(Int64(index)), .int8(versions[index]), .int8(6_500)])
            versions[index] += 1
            let now = clock.now
            samples.add(begun.duration(to: now))
            begun = now
        }
        try await pool.simple("UPDATE least_orders SET version = 1; DELETE FROM least_events")
        return samples
    }

    private mutating func batched(seconds: Double) async throws -> Double {
        var done = 0
        let start = clock.now
        let end = start + .seconds(seconds)
        var position = 0
        while clock.now < end {
            let places = (0..<settings.batch).map { (position + $0 * 101) % orders.count }
            position += 1
            let next = places.map { BenchOrders.next(orders[$0]) }
            for outcome in try await store.commit(next.map { commit($0) }) { try check(outcome) }
            for (place, order) in zip(places, next) { orders[place] = order }
            done += settings.batch
        }
        return Double(done) / (start.duration(to: clock.now) / .seconds(1))
    }

    /// Several batches under way, each of orders and accounts of its own.
    private func parallel(seconds: Double) async throws -> Double {
        let start = clock.now
        let end = start + .seconds(seconds)
        let (store, clock, batch, committers) = (store, clock, settings.batch, settings.committers)
        let perCommitter = orders.count / committers
        let accounts = max(1, settings.accounts / committers)
        let parts = (0..<committers).map { committer in
            orders.filter { order in
                BenchOrders.number(of: order.account) / accounts == committer
            }.prefix(perCommitter)
        }
        let done = try await withThrowingTaskGroup(of: Int.self) { group in
            for (committer, part) in parts.enumerated() where part.count >= batch {
                group.addTask {
                    var own = Array(part)
                    var id = Int64(committer + 1) << 40
                    var done = 0
                    var position = 0
                    while clock.now < end {
                        let places = (0..<batch).map { (position + $0) % own.count }
                        position = (position + batch) % own.count
                        let next = places.map { BenchOrders.next(own[$0]) }
                        let commits = next.map { order in
                            id += 1
                            return BenchOrders.commit(order, id: id)
                        }
                        for outcome in try await store.commit(commits) {
                            guard case .committed = outcome else { throw StoreError(.corruptRow, "\(outcome)") }
                        }
                        for (place, order) in zip(places, next) { own[place] = order }
                        done += batch
                    }
                    return done
                }
            }
            return try await group.reduce(0, +)
        }
        return Double(done) / (start.duration(to: clock.now) / .seconds(1))
    }

    private func leastBatched(seconds: Double) async throws -> Double {
        var versions = [Int64](repeating: 1, count: settings.orders)
        var done = 0
        let start = clock.now
        let end = start + .seconds(seconds)
        var position = 0
        while clock.now < end {
            var (ids, wanted, marks) = (ArrayColumn(.int8), ArrayColumn(.int8), ArrayColumn(.int8))
            for offset in 0..<settings.batch {
                let place = (position + offset * 101) % versions.count
                ids.append(Int64(place))
                wanted.append(versions[place])
                marks.append(6_500)
                versions[place] += 1
            }
            position += 1
            done += try await pool.query(
                Self.leastBatch,
                [ids.parameter(), wanted.parameter(), marks.parameter()],
            ).count
        }
        return Double(done) / (start.duration(to: clock.now) / .seconds(1))
    }

    // MARK: Loading

    /// Copies of one armed row under other ids: `loadArmed` reads nothing else.
    private func load(_ progress: (String) -> Void) async throws -> (seconds: Double, firstPage: Double) {
        guard settings.loadedOrders > 0, let sample = orders.first else { return (0, 0) }
        try await pool.simple(
            """
            TRUNCATE orders;
            INSERT INTO orders (
                id, account_id, version, market, source, shard, kind, status, phase, health, is_live, is_latched,
                entered, exited, reserved, legs, position_time, position_seq, watches, wants_every_tick, is_busy, created_at,
                updated_at
            )
            SELECT
                md5(g::text)::uuid, '\(sample.account)', 1, 'binance:linear:' || (g % 50) || 'USDT', 'mark', g % 1024,
                'smart', 'ACTIVE', 'monitoring', 'OK', true, false, 10, 0, 0, 4, 1790000000000000 + g, g,
                decode('\(Self.hexadecimal(WatchCoding.encode(BenchOrders.watches, tickUnits: 0)))', 'hex'), false, false, now(), now()
            FROM generate_series(1, \(settings.loadedOrders)) AS g;
            ANALYZE orders
            """,
            deadline: .now + .seconds(300),
        )
        progress("load")
        let begun = clock.now
        let seen = Counter(begun: begun)
        try await store.loadArmed(shards: Array(0..<OrderID.shardCount)) { page in await seen.add(page.count) }
        let seconds = begun.duration(to: clock.now) / .seconds(1)
        let (count, first) = await seen.result
        guard count == settings.loadedOrders else { throw StoreError(.corruptRow, "\(count) orders were loaded") }
        return (seconds, first)
    }

    private static func hexadecimal(_ bytes: [UInt8]) -> String {
        let digits = Array("0123456789abcdef")
        return String(bytes.flatMap { [digits[Int($0 >> 4)], digits[Int($0 & 15)]] })
    }
}

private actor Counter {
    private let begun: ContinuousClock.Instant
    private var count = 0
    private var first = 0.0

    init(begun: ContinuousClock.Instant) { self.begun = begun }

    func add(_ more: Int) {
        if count == 0 { first = begun.duration(to: .now) / .seconds(1) }
        count += more
    }

    var result: (count: Int, first: Double) { (count, first) }
}

/// Durations of one measurement.
private struct Samples {
    private var microseconds: [Double] = []
    private var total = 0.0

    mutating func add(_ duration: Duration) {
        let value = duration / .microseconds(1)
        microseconds.append(value)
        total += value
    }

    var perSecond: Double { total > 0 ? Double(microseconds.count) * 1e6 / total : 0 }

    func quantile(_ share: Double) -> Double {
        guard !microseconds.isEmpty else { return 0 }
        let sorted = microseconds.sorted()
        return sorted[min(sorted.count - 1, Int(Double(sorted.count) * share))]
    }
}
