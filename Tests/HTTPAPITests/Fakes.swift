// The ports of an API process in memory, with the faults that tests need.

import JSONText
import OrderEngine
import OrderJSON
import OwnerThread
import SmartOrders
import TestKit

/// As much of `OrderStore` as an API process uses. Commits are compare-and-set on the version, event numbers have no
/// gap, an idempotency key counts once.
final class MemoryOrders: OrderStore, TimelineStore {
    private struct State {
        var orders: [OrderID: StoredOrder] = [:]
        var events: [AccountID: [StoredEvent]] = [:]
        var versions: [StoredVersion] = []
        var notes: [OrderNote] = []
        var keys: [String: (order: OrderID, hash: String, answer: KeptAnswer?)] = [:]
        var isAway = false
        var loadDelayMs: Int64 = 0
        var delayedLoads = 0
        var eventReads = 0
    }

    private let state = Locked(State())

    var isAway: Bool {
        get { state.withLock { $0.isAway } }
        set { state.withLock { $0.isAway = newValue } }
    }
    var loadDelayMs: Int64 {
        get { state.withLock { $0.loadDelayMs } }
        set { state.withLock { $0.loadDelayMs = newValue } }
    }
    /// Returns when a load waits, or has waited, for `loadDelayMs`.
    func loadIsDelayed() async throws {
        while state.withLock({ $0.delayedLoads }) == 0 { try await Task.sleep(for: .milliseconds(5)) }
    }
    var orderCount: Int { state.withLock { $0.orders.count } }

    private func check() throws(StoreError) {
        if isAway { throw StoreError(.unavailable, "away") }
    }

    func load(_ ids: [OrderID]) async throws(StoreError) -> [StoredOrder] {
        try check()
        let delay = loadDelayMs
        if delay > 0 {
            state.withLock { $0.delayedLoads += 1 }
            do { try await Task.sleep(for: .milliseconds(delay)) } catch {
                throw StoreError(.unavailable, "cancelled")
            }
        }
        return state.withLock { state in ids.compactMap { state.orders[$0] } }
    }

    func commit(_ commits: [Commit]) async throws(StoreError) -> [CommitOutcome] {
        try check()
        return state.withLock { state in commits.map { Self.commit($0, &state) } }
    }

    private static func commit(_ commit: Commit, _ state: inout State) -> CommitOutcome {
        let next = commit.next
        if let record = commit.idempotency, let known = state.keys[record.owner + " " + record.key] {
            return .keyUsed(order: known.order, requestHash: known.hash)
        }
        guard state.orders[next.id]?.version ?? 0 == next.version - 1 else { return .lost }
        state.orders[next.id] = next
        if let record = commit.idempotency {
            state.keys[record.owner + " " + record.key] = (next.id, record.requestHash, record.answer)
        }
        let sequence = Int64(state.events[next.account, default: []].count + 1)
        var writer = JSONWriter()
        writer.beginObject()
        writer.key("facts")
        writer.facts(commit.facts)
        writer.key("state")
        writer.raw(next.encodedState())
        writer.endObject()
        state.events[next.account, default: []].append(
            StoredEvent(
                account: next.account,
                sequence: sequence,
                order: next.id,
                version: next.version,
                at: next.updatedAt,
                cause: commit.cause,
                actor: commit.actor,
                tick: commit.tick,
                tickReceivedAt: commit.record.crossing?.receivedAt,
                requestID: commit.record.requestID,
                json: writer.take(),
            )
        )
        state.versions.append(
            StoredVersion(
                order: next,
                sequence: sequence,
                at: next.updatedAt,
                committedAt: next.updatedAt,
                cause: commit.cause,
                actor: commit.actor,
                tick: commit.tick,
                facts: commit.facts,
                record: commit.record.isEmpty ? nil : commit.record,
            )
        )
        return .committed(sequence: sequence)
    }

    // MARK: What explain reads

    func versions(of order: OrderID, after: Int64, limit: Int) async throws(StoreError) -> [StoredVersion] {
        try check()
        return state.withLock { state in
            Array(state.versions.filter { $0.order.id == order && $0.version > after }.prefix(limit))
        }
    }

    func notes(of order: OrderID) async throws(StoreError) -> [OrderNote] {
        state.withLock { state in state.notes.filter { $0.order == order } }
    }

    func add(_ notes: [OrderNote]) async throws(StoreError) { state.withLock { $0.notes += notes } }
    func halts(
        _ order: OrderID,
        account: AccountID,
        market: MarketID,
    ) async throws(StoreError) -> [StandingHalt] { [] }
    func gaps(_ series: PriceSeries, from: Int64, to: Int64) async throws(StoreError) -> [FeedGap] { [] }
    func add(_ gap: FeedGap) async throws(StoreError) {}
    func untoldGap() async throws(StoreError) -> FeedGap? { nil }
    func orders(across gap: FeedGap, after: OrderID?, limit: Int) async throws(StoreError) -> [OrderID] { [] }
    func setTold(_ gap: FeedGap) async throws(StoreError) {}

    func list(_ filter: OrderFilter) async throws(StoreError) -> [StoredOrder] {
        try check()
        return state.withLock { state in
            Array(
                state.orders.values.filter { order in
                    order.account == filter.account && (filter.before.map { order.id < $0 } ?? true)
                        && (filter.statuses.isEmpty
                            || filter.statuses.contains(order.statusName))
                        && (filter.kind.map { $0 == order.kind } ?? true)
                        && (filter.market.map { order.instrument.market == $0 } ?? true)
                        && (filter.updatedSince.map { order.updatedAt >= $0 } ?? true)
                }.sorted { $0.id > $1.id }.prefix(filter.limit)
            )
        }
    }

    func events(order: OrderID, after: Int64, limit: Int) async throws(StoreError) -> [StoredEvent] {
        try check()
        return state.withLock { state in
            let events = state.events.values.joined().filter { $0.order == order && $0.version ?? 0 > after }
            return Array(events.prefix(limit))
        }
    }

    func events(account: AccountID, after: Int64, limit: Int) async throws(StoreError) -> [StoredEvent] {
        try check()
        return state.withLock { state in
            state.eventReads += 1
            return Array(state.events[account, default: []].dropFirst(Int(after)).prefix(limit))
        }
    }

    func lastSequence(account: AccountID) async throws(StoreError) -> Int64 {
        try check()
        return state.withLock { Int64($0.events[account, default: []].count) }
    }

    func outcome(owner: String, key: String) async throws(StoreError) -> (order: OrderID, requestHash: String)? {
        try check()
        return state.withLock { $0.keys[owner + " " + key].map { ($0.order, $0.hash) } }
    }

    func keptAnswer(owner: String, key: String) async throws(StoreError) -> KeptAnswer? {
        state.withLock { $0.keys[owner + " " + key]?.answer }
    }

    func activeLegs(account: AccountID, market: MarketID) async throws(StoreError) -> Int { 0 }
    func fills(order: OrderID) async throws(StoreError) -> [(key: VenueOrderKey, fill: Fill)] {
        let fill = Fill(
            venueFillID: "f1",
            quantity: Quantity(.one),
            price: Price(ExactDecimal(100)),
            time: Timestamp(milliseconds: 1_790_000_000_000),
        )
        return [(VenueOrderKey(leg: .entry, attempt: 1), fill)]
    }
    func intents(of orders: [OrderID], ended: Bool) async throws(StoreError) -> [StoredIntent] { [] }

    // What follows is for workers.
    func loadArmed(shards: [Int], page: @Sendable ([ArmedOrder]) async -> Void) async throws(StoreError) {}
    func changes(
        shards: [Int],
        since: ChangeCursor?,
    ) async throws(StoreError) -> (
        orders: [ArmedOrder], next: ChangeCursor
    ) { ([], ChangeCursor(value: 0)) }
    func armed(_ ids: [OrderID]) async throws(StoreError) -> [ArmedOrder] { [] }
    func intent(account: AccountID, clientOrderID: String) async throws(StoreError) -> StoredIntent? { nil }
    func claimSend(_ intent: StoredIntent, _ right: SendRight) async throws(StoreError) -> Bool { false }
    func noteCheck(_ intent: StoredIntent, absent: Bool, delayMs: Int64) async throws(StoreError) -> Bool { false }
    func dueWork(limit: Int) async throws(StoreError) -> [Job] { [] }
    func unofferedJobs(limit: Int) async throws(StoreError) -> [Job] { [] }
    func takeUnoffered(limit: Int) async throws(StoreError) -> [Job] { [] }
    func markOffered(_ ids: [JobID]) async throws(StoreError) {}
    func closeJobs(_ ids: [JobID]) async throws(StoreError) {}
    func storeJobs(_ jobs: [Job]) async throws(StoreError) {}
    func hasEnded(_ id: JobID) async throws(StoreError) -> Bool { true }
    func buryJobs(_ deaths: [JobDeath]) async throws(StoreError) {}
    func deaths(after: String, limit: Int) async throws(StoreError) -> [JobDeath] { [] }
    func noteCrashes(_ jobs: [Job]) async throws(StoreError) {}
    func queuePauses() async throws(StoreError) -> [QueuePause] { [] }
    func live(account: AccountID, market: MarketID, limit: Int) async throws(StoreError) -> [StoredOrder] { [] }
    func standing(of order: StoredOrder) async throws(StoreError) -> OrderStanding {
        OrderStanding(claimedElsewhere: .zero, newestFill: nil)
    }
    func openWork(account: AccountID) async throws(StoreError) -> OpenWork { OpenWork(atVenue: [], markets: []) }
}

final class MemoryAccounts: AccountStore {
    private struct State {
        var accounts: [AccountID: Account] = [:]
        var keys: [String: AccountID] = [:]
        var instruments: [MarketID: Instrument] = [:]
    }
    private let state = Locked(State())

    func account(_ id: AccountID) async throws(StoreError) -> Account? { state.withLock { $0.accounts[id] } }
    func accounts() async throws(StoreError) -> [Account] { state.withLock { Array($0.accounts.values) } }
    func create(_ account: Account, credentials: Credentials) async throws(StoreError) {
        state.withLock { $0.accounts[account.id] = account }
    }
    func credentials(_ id: AccountID) async throws(StoreError) -> Credentials? { nil }
    func account(apiKeyHash: String) async throws(StoreError) -> AccountID? { state.withLock { $0.keys[apiKeyHash] } }
    func addAPIKey(hash: String, account: AccountID) async throws(StoreError) {
        state.withLock { $0.keys[hash] = account }
    }
    func revoke(hash: String) { state.withLock { $0.keys[hash] = nil } }
    func instrument(_ market: MarketID) async throws(StoreError) -> Instrument? {
        state.withLock { $0.instruments[market] }
    }
    func instruments() async throws(StoreError) -> [Instrument] { state.withLock { Array($0.instruments.values) } }
    func save(_ instruments: [Instrument]) async throws(StoreError) {
        state.withLock { state in for one in instruments { state.instruments[one.market] = one } }
    }
}

/// Keys of one account each, and nothing kept beside orders: what is kept is tested with PostgreSQL.
struct MemoryTraders: TraderStore {
    let owners: MemoryAccounts
    private static let user = User(id: UniqueID(high: 1, low: 1), name: "trader", tier: .pro, roles: [.trader])

    init(_ accounts: MemoryAccounts) { owners = accounts }

    func holder(keyHash: String) async throws(StoreError) -> KeyHolder? {
        guard let id = try await owners.account(apiKeyHash: keyHash), let account = try await owners.account(id) else {
            return nil
        }
        let key = APIKeyRecord(
            id: String(keyHash.prefix(12)),
            hash: keyHash,
            user: Self.user.id,
            label: "",
            scopes: [.read, .trade],
            accounts: [id],
            mode: account.mode,
            createdAt: Timestamp(milliseconds: 0),
        )
        return KeyHolder(key: key, user: Self.user, accounts: [account])
    }
    func notes(of orders: [OrderID]) async throws(StoreError) -> [OrderID: String] { [:] }
    func noteUse(ofKeys hashes: [String]) async throws(StoreError) {}
    func takeBatch() async throws(StoreError) -> Batch? { nil }
    func accounts(of user: UniqueID) async throws(StoreError) -> [Account] { [] }
    func keys(of user: UniqueID) async throws(StoreError) -> [APIKeyRecord] { [] }

    private static var absent: StoreError { StoreError(.unavailable, "not kept in memory") }
    func add(_ key: APIKeyRecord, answer: StoredAnswer) async throws(StoreError) -> AnswerOutcome? { throw Self.absent }
    func update(_ key: APIKeyRecord) async throws(StoreError) -> Bool { throw Self.absent }
    func revokeKey(_ id: String, of user: UniqueID) async throws(StoreError) -> Bool { throw Self.absent }
    func answer(owner: String, key: String) async throws(StoreError) -> StoredAnswer? { throw Self.absent }
    func keep(_ answer: StoredAnswer) async throws(StoreError) -> AnswerOutcome { throw Self.absent }
    func setNote(_ text: String, order: OrderID, account: AccountID) async throws(StoreError) { throw Self.absent }
    func add(_ share: Share, answer: StoredAnswer) async throws(StoreError) -> AnswerOutcome { throw Self.absent }
    func shares(of accounts: [AccountID]) async throws(StoreError) -> [Share] { throw Self.absent }
    func share(tokenHash: String) async throws(StoreError) -> Share? { throw Self.absent }
    func revokeShare(_ id: UniqueID, of accounts: [AccountID]) async throws(StoreError) -> Bool { throw Self.absent }
    func add(_ batch: Batch, answer: StoredAnswer) async throws(StoreError) -> AnswerOutcome { throw Self.absent }
    func batch(_ id: UniqueID, of accounts: [AccountID]) async throws(StoreError) -> Batch? { throw Self.absent }
    func save(_ batch: Batch) async throws(StoreError) -> Bool { throw Self.absent }
    func openOrders(of account: AccountID, market: MarketID?) async throws(StoreError) -> [OrderID] {
        throw Self.absent
    }
    func halt(of account: AccountID) async throws(StoreError) -> AccountStanding.Halt? { throw Self.absent }
    func halt(
        _ account: AccountID,
        reason: String,
        actor: String,
        batch: Batch,
        answer: StoredAnswer,
    ) async throws(StoreError) -> AnswerOutcome { throw Self.absent }
    func resume(_ account: AccountID, actor: String) async throws(StoreError) { throw Self.absent }
    func counts(of accounts: [AccountID]) async throws(StoreError) -> [OrderStatus: Int] { throw Self.absent }
}

/// Takes no venue key.
struct NoIntake: CredentialIntake {
    func submit(
        _ id: UniqueID,
        sealed: [UInt8],
        account: AccountID,
        version: Int64,
        audit: AuditLine,
    ) async throws(StoreError) -> Bool { false }
    func outcome(of id: UniqueID, account: AccountID) async throws(StoreError) -> IntakeOutcome? { nil }
    func status(of accounts: [AccountID]) async throws(StoreError) -> [AccountID: CredentialStatus] { [:] }
    func remove(_ account: AccountID, version: Int64, audit: AuditLine) async throws(StoreError) -> Bool { false }
}

/// Keeps nothing but stream tickets.
final class NoPanel: PanelStore {
    private let tickets = Locked<[String: StreamTicket]>([:])
    func add(_ ticket: StreamTicket) async throws(StoreError) { tickets.withLock { $0[ticket.hash] = ticket } }
    func redeem(ticketHash: String) async throws(StoreError) -> StreamTicket? {
        tickets.withLock { $0.removeValue(forKey: ticketHash) }
    }

    private static var absent: StoreError { StoreError(.unavailable, "not kept in memory") }
    func begin(_ signIn: SignIn) async throws(StoreError) { throw Self.absent }
    func signedIn(tokenHash: String) async throws(StoreError) -> SignedIn? { nil }
    func end(signIn tokenHash: String) async throws(StoreError) {}
    func noteUse(ofSignIns tokenHashes: [String]) async throws(StoreError) {}
    func redeem(codeHash: String) async throws(StoreError) -> UniqueID? { nil }
    func preferences(of user: UniqueID) async throws(StoreError) -> [UInt8]? { nil }
    func save(preferences: [UInt8], of user: UniqueID) async throws(StoreError) { throw Self.absent }
    func presets(of user: UniqueID) async throws(StoreError) -> [Preset] { [] }
    func add(_ preset: Preset, answer: StoredAnswer) async throws(StoreError) -> AnswerOutcome? { throw Self.absent }
    func update(_ preset: Preset) async throws(StoreError) -> Bool { throw Self.absent }
    func deletePreset(_ id: UniqueID, of user: UniqueID) async throws(StoreError) -> Bool { throw Self.absent }
    func settings(of accounts: [AccountID]) async throws(StoreError) -> [AccountID: AccountSettings] { [:] }
    func create(
        _ account: Account,
        of user: UniqueID,
        audit: AuditLine,
        answer: StoredAnswer,
    ) async throws(StoreError) -> AnswerOutcome { throw Self.absent }
    func update(_ settings: AccountSettings, audit: AuditLine) async throws(StoreError) -> Bool { throw Self.absent }
    func set(
        _ mode: Account.Mode,
        of account: AccountID,
        version: Int64,
        audit: AuditLine,
    ) async throws(StoreError) -> Bool { throw Self.absent }
    func delete(_ account: AccountID, version: Int64, audit: AuditLine) async throws(StoreError) -> Bool {
        throw Self.absent
    }
    func requestLive(_ account: AccountID, version: Int64, audit: AuditLine) async throws(StoreError) -> Bool {
        throw Self.absent
    }
}

/// Nobody works here.
struct EmptyCluster: ClusterStore {
    func halts() async throws(StoreError) -> [HaltInForce] { [] }
    func register(_ worker: WorkerID) async throws(StoreError) {}
    func heartbeat(_ worker: WorkerID) async throws(StoreError) -> HeartbeatReply {
        HeartbeatReply(leaseHeld: false, assignments: [], incarnation: 1, isHalted: false, isQuiet: false)
    }
    func leave(_ worker: WorkerID) async throws(StoreError) {}
    func lead(as candidate: WorkerID) async throws(StoreError) -> Int64? { nil }
    func resign(_ candidate: WorkerID) async throws(StoreError) {}
    func workers() async throws(StoreError) -> (live: [LiveWorker], lapsed: [WorkerID]) { ([], []) }
    func holders() async throws(StoreError) -> [WorkerID?] { [] }
    func watchedShards() async throws(StoreError) -> Set<Int> { [] }
    func assign(_ moves: [(shard: Int, to: WorkerID)], leaderEpoch: Int64) async throws(StoreError) -> Bool { false }
    func cursors(handover: Int64) async throws(StoreError) -> [EvaluationCursor] { [] }
    func accept(
        _ assignments: [ShardAssignment],
        cursors: [EvaluationCursor],
        of worker: WorkerID,
    )
        async throws(StoreError) -> Bool
    { false }
    func saveCursors(_ cursors: [EvaluationCursor], of worker: WorkerID) async throws(StoreError) -> Bool { false }
    func appendExtremes(_ buckets: [ExtremeBucket]) async throws(StoreError) {}
    func extremes(
        market: MarketID,
        source: TriggerSource,
        after position: TickPosition,
        limit: Int,
    )
        async throws(StoreError) -> [ExtremeBucket.Point]
    { [] }
    func newestExtreme(market: MarketID, source: TriggerSource) async throws(StoreError) -> TickPosition? { nil }
}

/// Takes every job and gives none.
struct EmptyQueue: JobQueue {
    func open(pausing _: [QueuePause]) async throws(QueueError) -> Bool { false }
    func offer(_ jobs: [Job], verify: Bool) async throws(QueueError) -> [OfferCode] { jobs.map { _ in .queued } }
    func take(_ request: TakeRequest) async throws(QueueError) -> [TakenJob] { [] }
    func waitForWork() async {}
    func finish(_ outcomes: [(job: TakenJob, outcome: JobOutcome)]) async throws(QueueError) -> [FinishCode] { [] }
    func release(_ jobs: [TakenJob]) async throws(QueueError) {}
    func reclaim(dead: [WorkerID]) async throws(QueueError) {}
    func restore(_ deaths: [JobDeath]) async throws(QueueError) -> Int { 0 }
}

/// A test may give an account a venue that can be asked; the others have none.
final class SomeVenues: VenueDirectory {
    private let venues = Locked<[AccountID: FakeVenue]>([:])

    subscript(account: AccountID) -> FakeVenue {
        venues.withLock { venues in
            let venue = venues[account] ?? FakeVenue(clock: RealClock())
            venues[account] = venue
            return venue
        }
    }

    func venue(for account: AccountID) async throws(VenueError) -> any Venue {
        guard let venue = venues.withLock({ $0[account] }) else { throw VenueError("none") }
        return venue
    }
}

struct NoVenues: VenueDirectory {
    func venue(for account: AccountID) async throws(VenueError) -> any Venue { throw VenueError("none") }
}

struct QuietObserver: EngineObserver {
    func note(_ level: EngineNoteLevel, _ message: StaticString, _ metadata: [(String, String)]) {}
    func count(_ name: StaticString, _ amount: Int) {}
    func measure(_ name: StaticString, milliseconds: Double) {}
}
