// Accounts and cluster in memory. Leases last 2,000 ms of the database's clock.
package import OrderEngine
internal import OwnerThread
package import SmartOrders

package struct MemoryAccountStore: AccountStore {
    private let database: MemoryDatabase

    package init(_ database: MemoryDatabase) {
        self.database = database
    }

    package func account(_ id: AccountID) async throws(StoreError) -> Account? {
        database.state.withLock { state in state.accounts.first { $0.id == id } }
    }

    package func accounts() async throws(StoreError) -> [Account] { database.state.withLock { $0.accounts } }

    package func create(_ account: Account, credentials: Credentials) async throws(StoreError) {
        database.state.withLock { state in
            state.accounts.append(account)
            state.credentials[account.id] = credentials
        }
    }

    package func credentials(_ id: AccountID) async throws(StoreError) -> Credentials? {
        database.state.withLock { $0.credentials[id] }
    }

    package func account(apiKeyHash: String) async throws(StoreError) -> AccountID? {
        database.state.withLock { $0.apiKeys[apiKeyHash] }
    }

    package func addAPIKey(hash: String, account: AccountID) async throws(StoreError) {
        database.state.withLock { $0.apiKeys[hash] = account }
    }

    package func instrument(_ market: MarketID) async throws(StoreError) -> Instrument? {
        database.state.withLock { $0.instruments[market] }
    }

    package func instruments() async throws(StoreError) -> [Instrument] {
        database.state.withLock { $0.instruments.values.sorted { "\($0.market)" < "\($1.market)" } }
    }

    package func save(_ instruments: [Instrument]) async throws(StoreError) {
        database.state.withLock { state in
            for instrument in instruments { state.instruments[instrument.market] = instrument }
        }
    }
}

package struct MemoryClusterStore: ClusterStore {
    private typealias State = MemoryDatabase.State
    private let database: MemoryDatabase
    private let link: MemoryLink<StoreError>
    private static let leaseMs: Int64 = 2_000

    package init(_ database: MemoryDatabase, link: MemoryLink<StoreError> = .perfect) {
        self.database = database
        self.link = link
    }

    private func locked<Value>(
        _ call: StaticString,
        _ body: (inout State, Int64) -> Value,
    ) async throws(StoreError) -> Value {
        try await link.carry(call) { () throws(StoreError) in
            let now = database.now
            return database.state.withLock { body(&$0, now) }
        }
    }

    // MARK: Workers

    package func halts() async throws(StoreError) -> [HaltInForce] {
        try await locked("halts") { state, _ in state.isHalted ? [HaltInForce(scope: .cluster, level: .sends)] : [] }
    }

    package func register(_ worker: WorkerID) async throws(StoreError) {
        try await locked("register") { state, now in
            release(of: state.shards.assignments(of: worker).map(\.shard), &state, raising: true)
            // Who lapsed long ago and holds nothing is nobody any more.
            let shards = state.shards
            state.workers = state.workers.filter { $0.value > now - 60_000 || shards.holdsAny($0.key) }
            state.workers[worker] = now + Self.leaseMs
            state.quiet.remove(worker)
        }
    }

    package func heartbeat(_ worker: WorkerID) async throws(StoreError) -> HeartbeatReply {
        try await locked("heartbeat") { state, now in
            let isHeld = (state.workers[worker] ?? .min) > now
            if !isHeld { database.mark(.leaseLapsed) }
            if isHeld { state.workers[worker] = now + Self.leaseMs }
            let assignments = isHeld ? state.shards.assignments(of: worker) : []
            return HeartbeatReply(
                leaseHeld: isHeld,
                assignments: assignments,
                incarnation: state.incarnation,
                isHalted: state.isHalted,
                isQuiet: state.quiet.contains(worker),
            )
        }
    }

    package func leave(_ worker: WorkerID) async throws(StoreError) {
        try await locked("leave") { state, _ in
            release(of: state.shards.assignments(of: worker).map(\.shard), &state, raising: true)
            state.workers[worker] = nil
        }
    }

    /// Frees shards, with a copy of their holder's cursors; a shard that was not accepted keeps the copy it came with.
    private func release(of shards: [Int], _ state: inout State, raising: Bool) {
        var copies: [(worker: Int, number: Int64)] = []
        for shard in shards {
            let row = state.shards.rows[shard]
            guard let number = row.worker else { continue }
            var handover: Int64?
            if row.isAccepted {
                handover = copies.first { $0.worker == number }?.number
                if handover == nil {
                    let copy = Int64(state.handovers.count + 1)
                    let worker = state.shards.name(number)
                    copies.append((number, copy))
                    state.handovers[copy] = state.cursors[worker] ?? [:]
                    database.note("cursors of \(worker) are copied as \(copy)")
                    handover = copy
                }
            }
            state.shards.free(shard, handover: handover, raising: raising)
        }
    }

    // MARK: Leader

    package func lead(as candidate: WorkerID) async throws(StoreError) -> Int64? {
        try await locked("lead") { state, now in
            let isMine = state.leader.map { $0.worker == candidate && $0.until > now } ?? false
            let isFree =
                (state.leader?.until ?? .min) <= now && !(state.leader != nil && database.has(.leaderNeverLapses))
            guard isMine || isFree else { return nil }
            if !isMine { state.leaderEpoch += 1 }
            state.leader = (candidate, now + Self.leaseMs)
            return state.leaderEpoch
        }
    }

    package func resign(_ candidate: WorkerID) async throws(StoreError) {
        try await locked("resign") { state, _ in if state.leader?.worker == candidate { state.leader = nil } }
    }

    package func workers() async throws(StoreError) -> (live: [LiveWorker], lapsed: [WorkerID]) {
        try await locked("workers") { state, now in
            var live: [LiveWorker] = []
            var lapsed: [WorkerID] = []
            for (worker, until) in state.workers.sorted(by: { $0.key < $1.key }) {
                if until > now || database.has(.leaseNeverLapses) {
                    live.append(LiveWorker(id: worker, isQuiet: state.quiet.contains(worker)))
                }
                if until <= now, state.shards.holdsAny(worker) { lapsed.append(worker) }
            }
            return (live, lapsed)
        }
    }

    package func holders() async throws(StoreError) -> [WorkerID?] {
        try await locked("holders") { state, _ in state.shards.holders() }
    }

    package func watchedShards() async throws(StoreError) -> Set<Int> {
        try await locked("watched") { state, now in
            let shards = state.shards
            return Set(
                shards.rows.indices.filter { shard in
                    let row = shards.rows[shard]
                    guard row.isAccepted, let worker = row.worker else { return false }
                    return state.workers[shards.name(worker)] ?? .min > now
                }
            )
        }
    }

    package func assign(_ moves: [(shard: Int, to: WorkerID)], leaderEpoch: Int64) async throws(StoreError) -> Bool {
        try await locked("assign") { state, now in
            guard let leader = state.leader, leader.until > now, state.leaderEpoch == leaderEpoch else { return false }
            var seen: [Int] = []
            for (shard, _) in moves {
                guard let number = state.shards.rows[shard].worker, !seen.contains(number) else { continue }
                seen.append(number)
                let holder = state.shards.name(number)
                if (state.workers[holder] ?? .min) <= now { state.workers[holder] = .min }
            }
            release(of: moves.map(\.shard), &state, raising: false)
            state.shards.give(moves)
            return true
        }
    }

    private static func firstIndex(
        in points: [ExtremeBucket.Point],
        after position: TickPosition,
        orAt: Bool,
    ) -> Int {
        var low = 0
        var high = points.count
        while low < high {
            let middle = (low + high) / 2
            if points[middle].position < position || !orAt && points[middle].position == position {
                low = middle + 1
            } else {
                high = middle
            }
        }
        return low
    }

    // MARK: Cursors and extremes

    package func cursors(handover: Int64) async throws(StoreError) -> [EvaluationCursor] {
        try await locked("cursors") { state, _ in
            let cursors = (state.handovers[handover] ?? [:]).sorted { $0.key < $1.key }
            if !cursors.isEmpty { database.mark(.takeoverWithOpenOrders) }
            return cursors.map { series, cursor in
                var position = cursor.position
                if database.has(.handoverTooFar) { position = state.extremes[series]?.last?.position ?? position }
                return EvaluationCursor(
                    market: series.market,
                    source: series.source,
                    position: position,
                    heard: cursor.heard,
                )
            }
        }
    }

    package func accept(
        _ assignments: [ShardAssignment],
        cursors: [EvaluationCursor],
        of worker: WorkerID,
    ) async throws(StoreError) -> Bool {
        try await locked("accept") { state, _ in
            let number = state.shards.number(of: worker)
            for one in assignments {
                let row = state.shards.rows[one.shard]
                guard number != nil, row.worker == number, row.epoch == one.epoch else {
                    database.mark(.staleEpochRefused)
                    return false
                }
            }
            for cursor in cursors {
                let name = PriceSeries(market: cursor.market, source: cursor.source)
                if let known = state.cursors[worker]?[name], known.position <= cursor.position { continue }
                state.cursors[worker, default: [:]][name] = cursor
            }
            database.note(
                "\(worker) accepts \(assignments.map { "\($0.shard) from \($0.handover ?? 0)" }) at \(cursors)"
            )
            for one in assignments { state.shards.accept(one.shard) }
            return true
        }
    }

    package func saveCursors(_ cursors: [EvaluationCursor], of worker: WorkerID) async throws(StoreError) -> Bool {
        try await locked("saveCursors") { state, now in
            guard (state.workers[worker] ?? .min) > now else { return false }
            database.note("\(worker) saves \(cursors)")
            for cursor in cursors {
                let name = PriceSeries(market: cursor.market, source: cursor.source)
                var position = cursor.position
                if database.has(.cursorMovesAtOffer) { position = state.extremes[name]?.last?.position ?? position }
                if let known = state.cursors[worker]?[name], known.position > position { continue }
                state.cursors[worker, default: [:]][name] = EvaluationCursor(
                    market: cursor.market,
                    source: cursor.source,
                    position: position,
                    heard: cursor.heard,
                )
            }
            return true
        }
    }

    package func appendExtremes(_ buckets: [ExtremeBucket]) async throws(StoreError) {
        try await locked("appendExtremes") { state, _ in
            for bucket in buckets {
                database.watcher?.stored(bucket)
                if database.has(.extremesNotStored) { continue }
                let name = PriceSeries(market: bucket.market, source: bucket.source)
                var points = state.extremes.removeValue(forKey: name) ?? []
                let start = Self.firstIndex(in: points, after: bucket.points[0].position, orAt: true)
                // What was stored behind the beginning of the bucket, mostly nothing, is merged with it.
                let late = points[start...] + bucket.points
                points.removeLast(points.count - start)
                for point in start == 0 || late.count > bucket.points.count
                    ? late.sorted(by: { $0.position < $1.position }) : Array(late)
                where points.last?.position != point.position {
                    points.append(point)
                }
                state.extremes[name] = points
            }
        }
    }

    package func extremes(
        market: MarketID,
        source: TriggerSource,
        after position: TickPosition,
        limit: Int,
    ) async throws(StoreError) -> [ExtremeBucket.Point] {
        try await locked("extremes") { state, _ in
            let points = state.extremes[PriceSeries(market: market, source: source)] ?? []
            let low = Self.firstIndex(in: points, after: position, orAt: false)
            if database.has(.gapNotFilled) { return [] }
            let found = Array(points[low...].prefix(limit))
            if !found.isEmpty { database.mark(.gapReadFromExtremes) }
            return database.has(.latestExtremeOnly) ? found.suffix(1) : found
        }
    }

    package func newestExtreme(market: MarketID, source: TriggerSource) async throws(StoreError) -> TickPosition? {
        try await locked("newestExtreme") { state, _ in
            state.extremes[PriceSeries(market: market, source: source)]?.last?.position
        }
    }
}
