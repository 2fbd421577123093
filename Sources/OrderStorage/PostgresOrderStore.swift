// The order store on PostgreSQL.
//
// Invariants: one statement per batch of commits (SQL/commit.sql), so a lost race writes nothing and harms nobody; what
// a statement with a broken constraint rolled back is tried again in halves, so a poisoned row harms itself only.
// Isolation is READ COMMITTED; correctness is versions, unique keys and row locks (RELIABILITY.md 3.1.2).
// Limits: 256 commits a call. Cost of a commit: one round trip and one flush of the log, shared by its batch.

internal import JSONText
public import OrderEngine
internal import OrderJSON
internal import OwnerThread
public import PostgresClient
public import SmartOrders

enum OrderSQL {
    static let orders = StatementFile(PackageResources.orders_sql, prefix: "orders")
    static let load = orders["load"]
    static let armed = orders["armed"]
    static let loadArmed = orders["load_armed"].sql
    static let horizon = orders["horizon"]
    static let changes = orders["changes"]
    static let loadNoted = orders["load_noted"]
    static let current = orders["current"]
    static let list = orders["list"]
    static let states = orders["states"]
    static let search = orders["search"]
    static let live = orders["live"]
    static let shares = orders["shares"]
    static let left = orders["left"]
    static let standings = orders["standings"]
    static let openWork = orders["open_work"]
    static let activeLegs = orders["active_legs"]
    static let eventsOfOrder = orders["events_of_order"]
    static let eventsOfAccount = orders["events_of_account"]
    static let lastSequence = orders["last_sequence"]
    static let fills = orders["fills"]
    static let fillSummaries = orders["fill_summaries"]
    static let outcome = orders["outcome"]
    static let keptAnswer = orders["kept_answer"]
    static let conclude = orders["conclude"]
    static let control = orders["control"]
    static let probe = orders["probe"]
}

/// Orders in PostgreSQL.
public final class PostgresOrderStore: OrderStore {
    let pool: PostgresPool
    private let observer: (any EngineObserver)?
    /// The incarnation in which rows were read since. A decision on a row of an earlier one does not commit.
    private let incarnation: Locked<Int64>
    /// When that began; nil: it is the first.
    private let began: Locked<Timestamp?>
    /// As heartbeats read it; nil: there was none yet.
    private let serverClock = Locked<ServerClock?>(nil)
    /// Orders that were compared with the venue since; an answer that does not change.
    let recoveredOrders = Locked<Set<OrderID>>([])
    /// Joins what concurrent readers of single orders ask.
    let readers: Gatherer<OrderReader, OrderAnswer>
    /// Orders that were read, for those who read them next.
    let read = ReadOrders()
    private static let maximumCollisions = 3
    /// The most commits that one call may bring.
    public static let maximumBatch = 256

    /// - Parameter incarnation: as `DatabaseHistory.check` found it.
    /// - Parameter began: when that incarnation began; nil: it is the first.
    /// - Parameter observer: is told of rows that cannot be read and were left out; nil: nobody is.
    public init(
        pool: PostgresPool,
        incarnation: Int64,
        began: Timestamp? = nil,
        observer: (any EngineObserver)? = nil,
    ) {
        self.pool = pool
        self.observer = observer
        self.incarnation = Locked(incarnation)
        self.began = Locked(began)
        readers = Gatherer { [read] asked throws(StoreError) in try await read.read(asked, pool) }
    }

    /// Reads a row of a list that must not end at one that cannot be read: that is told, and nil.
    func readable<Value>(_ row: Row, of table: StaticString, _ read: (Row) throws -> Value) throws -> Value? {
        do {
            return try read(row)
        } catch let error as CorruptValue {
            observer?.count("unreadable_rows_total", 1)
            let id: String
            do { id = "\(try row.id(0))" } catch { id = try row.string(0) }
            observer?.note(
                .error,
                "A row cannot be read and is left out",
                [("table", "\(table)"), ("id", id), ("error", error.description)],
            )
            return nil
        }
    }

    public var historyBegan: Timestamp? { began.withLock { $0 } }

    public var presentIncarnation: Int64 { incarnation.withLock { $0 } }

    /// Takes in what the server's clock showed; how far it jumped before that, in milliseconds, nil: it did not, or
    /// what counts on it could not be told. It is told before this process believes the new time.
    func noteServerClock(
        _ reading: Timestamp,
        askedAt: Int64,
        answeredAt: Int64,
        told: (Int64) async throws(StoreError) -> Void,
    ) async -> Int64? {
        guard var known = serverClock.withLock({ $0 }) else {
            serverClock.withLock { $0 = ServerClock(reading: reading, askedAt: askedAt, answeredAt: answeredAt) }
            return nil
        }
        let step = known.note(reading: reading, askedAt: askedAt, answeredAt: answeredAt).map { $0 / 1_000 }
        if let step {
            do throws(StoreError) {
                try await told(step)
            } catch {
                // The next reading finds it again.
                observer?.count("store_errors_total", 1)
                return nil
            }
        }
        serverClock.withLock { $0 = known }
        return step
    }

    /// The least that the server's clock can show now, if it did not jump; nil: not known.
    var leastServerTime: Timestamp? { serverClock.withLock { $0?.least(at: Self.monotonic()) } }

    /// Nanoseconds.
    static func monotonic() -> Int64 {
        let time = monotonicEpoch.duration(to: .now).components
        return time.seconds * 1_000_000_000 + time.attoseconds / 1_000_000_000
    }
    private static let monotonicEpoch = ContinuousClock.now

    /// Asks the database for its incarnation and goes on in it.
    public func refreshIncarnation() async throws(StoreError) -> Int64 {
        try await reading {
            guard let row = try await pool.query(OrderSQL.control).first else { return }
            adopt(incarnation: try row.int64(0), began: try row.momentOrNil(3))
        }
        return presentIncarnation
    }

    public func load(_ ids: [OrderID]) async throws(StoreError) -> [StoredOrder] {
        guard !ids.isEmpty else { return [] }
        return try await reading {
            let rows = try await pool.query(OrderSQL.load, [.uuids(ids.lazy.map(\.value))])
            return try rows.map { try StoredOrder(encodedState: $0.bytes(0)) }
        }
    }

    public func loadNoted(_ ids: [OrderID]) async throws(StoreError) -> [StoredOrder] {
        guard !ids.isEmpty else { return [] }
        return try await reading {
            try await pool.query(OrderSQL.loadNoted, [.uuids(ids.lazy.map(\.value))]).map { try noted($0) }
        }
    }

    /// An order of one of these accounts as it is now, with its trader's note; nil: there is none.
    public func current(_ id: OrderID, of accounts: [AccountID]) async throws(StoreError) -> ReadOrder? {
        // Many accounts would make many rows of one question.
        guard (1...8).contains(accounts.count), Tenancy.accounts == accounts else {
            return try await loadNoted([id]).first { accounts.contains($0.account) }.map { ReadOrder($0) }
        }
        return try await readers.ask(OrderReader(order: id, accounts: accounts)).get()
    }

    /// A row of state and note.
    func noted(_ row: Row) throws -> StoredOrder {
        try ReadOrder(StoredOrder(encodedState: row.bytes(0)), note: row.stringOrNil(1)).stored
    }

    public func commit(_ commits: [Commit]) async throws(StoreError) -> [CommitOutcome] {
        precondition(commits.count <= Self.maximumBatch, "at most \(Self.maximumBatch) commits")
        var outcomes = [CommitOutcome?](repeating: nil, count: commits.count)
        // Locks are taken in this order by everybody.
        let sorted = commits.indices.sorted {
            (commits[$0].next.account, commits[$0].next.id) < (commits[$1].next.account, commits[$1].next.id)
        }
        var creations: [Int] = []
        var updates: [Int] = []
        var previous: OrderID?
        for index in sorted {
            let order = commits[index].next
            defer { previous = order.id }
            if previous == order.id {
                // Two decisions on one version: the second one has lost.
                outcomes[index] = .lost
            } else if order.version == 1 {
                creations.append(index)
            } else {
                updates.append(index)
            }
        }
        let order = creations + updates
        let found = try await both(creations.map { commits[$0] }, updates.map { commits[$0] })
        for (index, outcome) in zip(order, found) { outcomes[index] = outcome }
        return outcomes.map { outcome in
            guard let outcome else { preconditionFailure("a commit without an outcome") }
            return outcome
        }
    }

    /// Runs one after the other. Where the second ones fail, it is not known of them together what took effect.
    private func both(_ first: [Commit], _ second: [Commit]) async throws(StoreError) -> [CommitOutcome] {
        guard !first.isEmpty else { return try await run(second) }
        let outcomes = try await run(first)
        guard !second.isEmpty else { return outcomes }
        do throws(StoreError) {
            return outcomes + (try await run(second))
        } catch {
            guard error.code == .unavailable else { throw error }
            throw StoreError(.outcomeUnknown, error.detail)
        }
    }

    /// Runs commits of one kind, in lock order; together, or in halves where a guard refused the batch or one of them
    /// waited too long for somebody else's lock.
    private func run(_ commits: [Commit]) async throws(StoreError) -> [CommitOutcome] {
        var collisions = 0
        while true {
            var batch = CommitBatch(creating: commits[0].next.version == 1, incarnation: presentIncarnation)
            for commit in commits { batch.append(commit) }
            let (statement, parameters) = batch.finish()
            let rows: Rows
            do throws(PostgresError) {
                rows = try await pool.query(statement, parameters)
            } catch {
                if error.isCollision, collisions < Self.maximumCollisions {
                    collisions += 1
                    continue
                }
                // The key's first request is still at it: two waits of a second each, then the client comes back.
                if commits.count == 1, commits[0].idempotency != nil, error.isLockTimeout {
                    collisions += 1
                    if collisions < 2 { continue }
                    return [.refused(constraint: "idempotency_wait")]
                }
                if commits.count > 1, error.violation != nil || error.isLockTimeout {
                    let middle = commits.count / 2
                    return try await both(Array(commits[..<middle]), Array(commits[middle...]))
                }
                guard let violation = error.violation else { throw StoreError(error) }
                if violation == "idempotency_pkey" || violation == "events_pkey" {
                    return try await conclude(commits)
                }
                return [.refused(constraint: violation)]
            }
            return try await outcomes(commits, rows)
        }
    }

    /// Outcomes from the rows of the statement: order and sequence of those that took effect.
    private func outcomes(_ commits: [Commit], _ rows: Rows) async throws(StoreError) -> [CommitOutcome] {
        var sequences: [UniqueID: Int64] = [:]
        sequences.reserveCapacity(rows.count)
        do throws(RowError) {
            for row in rows { sequences[try row.id(0)] = try row.int64(1) }
        } catch {
            throw StoreError(.incompatible, "commit.sql: \(error)")
        }
        let losers = commits.filter { sequences[$0.next.id.value] == nil }
        var concluded = losers.isEmpty ? [] : try await conclude(losers)
        concluded.reverse()
        return commits.map { commit in
            if let sequence = sequences[commit.next.id.value] { return .committed(sequence: sequence) }
            return concluded.removeLast()
        }
    }

    /// What became of commits that changed nothing: an earlier try of ours, another writer, a halt, a used key.
    private func conclude(_ commits: [Commit]) async throws(StoreError) -> [CommitOutcome] {
        var versions = ArrayColumn(.int8)
        var owners = ArrayColumn(.text)
        var keys = ArrayColumn(.text)
        for commit in commits {
            versions.append(commit.next.version)
            owners.append(commit.idempotency?.owner)
            keys.append(commit.idempotency?.key)
        }
        let parameters: [Parameter] = [
            .uuids(commits.lazy.map(\.next.id.value)), .uuids(commits.lazy.map(\.next.account.value)),
            versions.parameter(), owners.parameter(), keys.parameter(),
        ]
        let known = presentIncarnation
        var outcomes = [CommitOutcome](repeating: .lost, count: commits.count)
        var isOurs = false
        try await reading {
            let found = try await pool.transaction([(OrderSQL.conclude, parameters), (OrderSQL.control, [])])
            let present = try found[1].first?.int64(0) ?? known
            // Nobody has noticed the promotion yet: the order is read again, and sent once somebody has.
            let isKnownHistory = try found[1].first?.bool(4) ?? false
            for row in found[0] {
                let index = Int(try row.int64(0)) - 1
                let commit = commits[index]
                if try row.int64OrNil(2) == commit.id, let sequence = try row.int64OrNil(3) {
                    isOurs = true
                    outcomes[index] = .committed(sequence: sequence)
                } else if try !row.bool(6) {
                    outcomes[index] = .refused(constraint: "account_unknown")
                } else if let order = try row.idOrNil(4) {
                    outcomes[index] = .keyUsed(order: OrderID(order), requestHash: try row.string(5))
                } else if !commit.sendRights.isEmpty, present == known, isKnownHistory,
                    try row.int64OrNil(1) ?? 0 == commit.next.version - 1
                {
                    outcomes[index] = .blocked
                }
            }
            adopt(incarnation: present, began: try found[1].first?.momentOrNil(3))
        }
        // Found, not written: it counts once a write after it returned clean, because the log is replicated in order
        // (RELIABILITY.md 3.1.6).
        if isOurs { try await writing { _ = try await pool.query(OrderSQL.probe) } }
        return outcomes
    }

    /// From now on decisions count as made in this incarnation: whoever lost one reads its order again.
    func adopt(incarnation present: Int64, began start: Timestamp?) {
        // Its beginning first: nobody decides in a new history without knowing that it is one.
        guard present > presentIncarnation else { return }
        began.withLock { $0 = max($0 ?? Timestamp(microseconds: .min), start ?? Timestamp(microseconds: .min)) }
        recoveredOrders.withLock { $0 = [] }
        incarnation.withLock { $0 = max($0, present) }
    }
}
