// The store in memory says what PostgreSQL says: the same random calls on both, the same answers, the same rows at the
// end (RELIABILITY.md 8.8.1).
//
// Time passes in both by the script alone, an hour at a time, and everything that is due by a clock is due at once or in
// ten hours: no answer depends on how fast this machine is.
import OrderEngine
import OrderStorage
import OwnerThread
import PostgresClient
import Simulation
import SmartOrders
import TestKit
import Testing

#if canImport(Glibc)
import Glibc
#endif

/// How many scripts each agreement plays; a long run asks for more.
let agreementScripts: UInt64? = {
    guard let text = unsafe getenv("SMARTORDERS_AGREEMENT_SCRIPTS") else { return nil }
    return unsafe UInt64(String(cString: text))
}()

/// What a call said, without what may differ: constraint names, order where none is promised, numbers made of the clock.
private enum Said: Equatable, Sendable {
    case text(String)
    case orders([StoredOrder])
    case armed(Set<ArmedOrder>)
    case intents([StoredIntent])
    case jobs([String])
    case fills([String])
}

/// One call. `Int`s name things of the script: orders, intents that were seen, commits that were made.
private enum Step: Sendable {
    case commit([Commit])
    case wait
    case halt(Bool)
    case intents([OrderID], ended: Bool)
    case intent(AccountID, String)
    case claim(Int, token: Int64, fenceMs: Int64)
    case check(Int, absent: Bool, delayMs: Int64)
    case dueWork
    case unoffered
    case takeUnoffered
    case markOffered([JobID])
    case closeJobs([JobID])
    case storeJobs([Job])
    case buryJobs([JobDeath])
    case read(OrderID)
    case account(AccountID)
    case outcome(String)
}

/// Stores of one kind, and what a script saw of them.
private struct Side {
    let stores: StoresUnderTest
    let wait: @Sendable () async throws -> Void
    let halt: @Sendable (Bool) async throws -> Void
    /// Intents as they were read; a caller may come back with an old one.
    var seen: [StoredIntent] = []
    /// Orders of this script: others left theirs.
    let mine: Set<OrderID>

    mutating func play(_ step: Step) async -> Said {
        do {
            return try await say(step)
        } catch let error as StoreError {
            return .text(error.code.rawValue)
        } catch {
            return .text("\(error)")
        }
    }

    private mutating func say(_ step: Step) async throws -> Said {
        let orders = stores.orders
        switch step {
        case .commit(let commits):
            return .text(
                try await orders.commit(commits).map { outcome in
                    if case .refused = outcome { "refused" } else { "\(outcome)" }
                }.joined(separator: ", ")
            )
        case .wait: try await wait()
        case .halt(let isHalted): try await halt(isHalted)
        case .intents(let ids, let ended):
            let found = try await orders.intents(of: ids, ended: ended).sorted(by: Self.isBefore)
            seen += found
            return .intents(found)
        case .intent(let account, let id):
            return .intents(try await orders.intent(account: account, clientOrderID: id).map { [$0] } ?? [])
        case .claim(let number, let token, let fenceMs):
            guard let intent = some(number) else { return .text("-") }
            let right = SendRight.sample(intent.order, intent.venueOrder.key, token: token, fenceMs: fenceMs)
            return .text("\(try await orders.claimSend(intent, right))")
        case .check(let number, let absent, let delayMs):
            guard let intent = some(number) else { return .text("-") }
            return .text("\(try await orders.noteCheck(intent, absent: absent, delayMs: delayMs))")
        case .dueWork: return told(try await orders.dueWork(limit: 100_000))
        case .unoffered: return told(try await orders.unofferedJobs(limit: 100_000))
        case .takeUnoffered: return told(try await orders.takeUnoffered(limit: 100_000))
        case .markOffered(let ids): try await orders.markOffered(ids)
        case .closeJobs(let ids): try await orders.closeJobs(ids)
        case .storeJobs(let jobs): try await orders.storeJobs(jobs)
        case .buryJobs(let deaths): try await orders.buryJobs(deaths)
        case .read(let id):
            return .text(try await reading(id))
        case .account(let account):
            return .text(try await reading(account))
        case .outcome(let key):
            return .text(
                "\(try await orders.outcome(owner: "o", key: key).map { "\($0.order) \($0.requestHash)" } ?? "-")"
            )
        }
        return .text("done")
    }

    private func reading(_ id: OrderID) async throws -> String {
        let orders = stores.orders
        let events = try await orders.events(order: id, after: 1, limit: 3).map {
            "\($0.version ?? 0) \($0.sequence) \($0.cause)"
        }
        let fills = try await orders.fills(order: id).map { "\($0.key) \($0.fill.venueFillID) \($0.fill.quantity)" }
        var standing = "-"
        if let row = try await orders.load([id]).first { standing = "\(try await orders.standing(of: row))" }
        return "\(events) \(fills.sorted()) \(standing)"
    }

    private func reading(_ account: AccountID) async throws -> String {
        let orders = stores.orders
        let market = Instrument.sample().market
        let list = try await orders.list(OrderFilter(account: account, statuses: ["ACTIVE"], market: market, limit: 3))
        let live = try await orders.live(account: account, market: market, limit: 3)
        let work = try await orders.openWork(account: account)
        return "\(list.map(\.id)) \(live.map(\.id)) \(work.atVenue.sorted()) \(work.markets) "
            + "\(try await orders.activeLegs(account: account, market: market)) "
            + "\(try await orders.lastSequence(account: account))"
    }

    /// Every row at the end.
    func tables(_ ids: [OrderID]) async throws -> [Said] {
        let orders = stores.orders
        let armed = Locked<Set<ArmedOrder>>([])
        try await orders.loadArmed(shards: Array(0..<OrderID.shardCount)) { page in
            armed.withLock { $0.formUnion(page.filter { mine.contains($0.id) }) }
        }
        return [
            .orders(try await orders.load(ids).sorted { $0.id < $1.id }),
            .armed(armed.withLock { $0 }),
            .armed(Set(try await orders.armed(ids))),
            .intents(try await orders.intents(of: ids, ended: true).sorted(by: Self.isBefore)),
            .jobs(
                try await orders.deaths(after: "", limit: 100_000).filter { mine.contains($0.job.id.order) }
                    .map { "\($0.job.id) \($0.reason) \($0.attempts) \($0.crashes)" }
            ),
        ]
    }

    private func some(_ number: Int) -> StoredIntent? {
        seen.isEmpty ? nil : seen[seen.count - 1 - number % seen.count]
    }

    private static func isBefore(_ left: StoredIntent, _ right: StoredIntent) -> Bool {
        ("\(left.order)", "\(left.venueOrder.leg)", left.venueOrder.attempt)
            < ("\(right.order)", "\(right.venueOrder.leg)", right.venueOrder.attempt)
    }

    private func told(_ jobs: [Job]) -> Said {
        .jobs(
            jobs.filter { mine.contains($0.id.order) }.map { job in
                // Larger ones are seconds.
                let number = job.id.check.map { $0 < 100_000 ? "\($0)" : "now" } ?? "-"
                return
                    "\(job.jobClass) \(job.name) \(job.id.order)-\(job.id.leg)-\(job.id.attempt)-\(number) \(job.version)"
            }.sorted()
        )
    }
}

/// Makes the steps of one script, from the rows as they stand.
private struct Author {
    var random: SeededRandom
    let seed: UInt64
    let accounts: [AccountID]
    let ids: [OrderID]
    var commits: [Commit] = []
    var token: Int64

    mutating func below(_ most: Int) -> Int { Int(random.next() % UInt64(most)) }
    mutating func anID() -> OrderID { ids[below(ids.count)] }

    mutating func next(_ rows: [OrderID: SmartOrder]) -> Step {
        switch below(28) {
        case 0..<10: return commit(rows)
        case 10..<13: return .intents(ids, ended: below(2) == 0)
        case 13: return .wait
        case 14, 15:
            token += 1
            return .claim(below(4), token: token, fenceMs: below(2) == 0 ? 0 : 36_000_000)
        case 16, 17, 18: return .check(below(3), absent: below(4) > 0, delayMs: below(2) == 0 ? 0 : 36_000_000)
        case 19: return .dueWork
        case 20: return ([.unoffered, .takeUnoffered, .unoffered] as [Step])[below(3)]
        case 21: return .markOffered([job(anID()).id])
        case 22: return below(2) == 0 ? .closeJobs([job(anID()).id]) : .storeJobs([job(anID())])
        case 23:
            return .buryJobs([JobDeath(job: job(anID()), reason: "X: y", attempts: below(3), crashes: below(3))])
        case 24: return .read(anID())
        case 25: return .account(accounts[below(2)])
        case 26:
            return below(2) == 0 ? .outcome("\(seed) \(below(3))") : .intent(accounts[below(2)], "so-\(anID())-sl-1")
        default: return .halt(below(3) == 0)
        }
    }

    private mutating func job(_ id: OrderID) -> Job {
        let jobClass = JobClass.allCases[below(3)]
        return Job(
            id: JobID(order: id, leg: .stop, attempt: 1 + below(3)),
            name: .trigger,
            jobClass: .stops,
            version: 1,
            market: Instrument.sample().market,
            source: jobClass == .stops ? .mark : nil,
        )
    }

    private mutating func commit(_ rows: [OrderID: SmartOrder]) -> Step {
        if !commits.isEmpty, below(8) == 0 {
            return .commit([commits[commits.count - 1 - below(min(4, commits.count))]])
        }
        var chosen: [Commit] = []
        var used: Set<OrderID> = []
        for _ in 0...below(3) {
            let id = anID()
            if used.insert(id).inserted { chosen.append(change(id, rows[id])) }
        }
        commits += chosen
        return .commit(chosen)
    }

    private mutating func change(_ id: OrderID, _ row: SmartOrder?) -> Commit {
        let number = ids.firstIndex(of: id) ?? 0
        token += 1
        var key: IdempotencyRecord?
        if below(6) == 0 {
            key = IdempotencyRecord(owner: "o", key: "\(seed) \(below(3))", requestHash: "h\(below(2))")
        }
        let jobs = below(3) == 0 ? [job(id)] : []
        let commitID = Int64(bitPattern: random.next())
        guard var next = row else {
            var first = SmartOrder.sample(Int(seed) * 100 + number, accounts[number % 2])
            first.updatedAt = Timestamp(milliseconds: 1_700_000_000_000)
            return .sample(first, id: commitID, jobs: jobs, idempotency: key)
        }
        // A writer that is late, or dreams.
        next.version += [1, 1, 1, 1, 1, 1, 0, 2][below(8)]
        next.updatedAt = next.updatedAt.advanced(milliseconds: 1)
        var rights: [SendRight] = []
        var changed: [VenueOrder] = []
        var fills: [(key: VenueOrderKey, fill: Fill)] = []
        switch below(10) {
        case 0: next.health = .retrying
        case 1, 2, 3:
            let leg = ([.stop, .close, .takeProfit(1)] as [Leg])[below(3)]
            let attempt = (next.attempts[leg] ?? 0) + 1
            let isWish = below(3) == 0
            let exit = VenueOrder.sampleExit(
                leg,
                attempt,
                1 + below(7),
                state: isWish ? .intent : .submitted,
                at: next.updatedAt,
            )
            next.venueOrders.append(exit)
            next.attempts[leg] = attempt
            changed = [exit]
            if !isWish { rights = [.sample(id, exit.key, token: token, fenceMs: below(2) == 0 ? 0 : 36_000_000)] }
        case 4, 5:
            guard let place = next.venueOrders.indices.last else { break }
            next.venueOrders[place].state =
                ([.open, .partial, .unknown, .cancelRequested] as [VenueOrderState])[below(4)]
            next.venueOrders[place].venueOrderID = "v\(token)"
            changed = [next.venueOrders[place]]
        case 6:
            guard var ended = next.venueOrders.popLast() else { break }
            ended.state = ([.filled, .cancelled, .rejected, .absent] as [VenueOrderState])[below(4)]
            if ended.state == .filled {
                ended.filled = ended.quantity
                next.exited += ended.quantity
                let fill = Fill(
                    venueFillID: "f\(seed)-\(below(40))",
                    quantity: ended.quantity,
                    price: Price(ExactDecimal(95)),
                    time: Timestamp(milliseconds: 1_700_000_000_000 + Int64(below(1_000))),
                )
                fills = [(ended.key, fill)]
            }
            changed = [ended]
        case 7:
            next.latch =
                next.latch == nil
                ? Latch(kind: .fixed, price: Price(ExactDecimal(95)), position: .start, time: next.updatedAt) : nil
            next.phase = next.latch == nil ? .monitoring : .stopping
            next.stopState = next.latch == nil ? .armed : .latched
        case 8:
            guard below(3) == 0, next.venueOrders.isEmpty else { break }
            next.status = .closed
            next.phase = below(4) == 0 ? .monitoring : nil
        default:
            if next.exited.isPositive { next.exited = .zero }
        }
        return .sample(
            next,
            id: commitID,
            venueOrders: changed,
            sendRights: rights,
            fills: fills,
            jobs: jobs,
            idempotency: key,
        )
    }
}

@Suite(.serialized) struct `The store in memory` {
    @Test func `says what PostgreSQL says`() async throws {
        let pool = try PostgresPool(
            configuration: .stores(conninfo: try await PostgresServer.freshDatabase(), connections: 2)
        )
        do {
            try await agree(pool)
            await pool.close()
        } catch {
            await pool.close()
            throw error
        }
    }

    private func agree(_ pool: PostgresPool) async throws {
        try await Migrator(pool: pool).up()
        let history = try await DatabaseHistory.check(pool)
        let orders = PostgresOrderStore(pool: pool, incarnation: history.incarnation)
        let real = StoresUnderTest(
            orders: orders,
            accounts: PostgresAccountStore(pool: pool, secrets: PlainBox()),
            cluster: PostgresClusterStore(pool: pool, orders: orders),
        )
        let clock = ManualClock(startingAt: RealClock().now().milliseconds)
        let database = MemoryDatabase(clock: clock)
        let model = StoresUnderTest(
            orders: MemoryOrderStore(database),
            accounts: MemoryAccountStore(database),
            cluster: MemoryClusterStore(database),
        )
        let accounts = [try await real.account(1), try await real.account(2)]
        for number in 1...2 { _ = try await model.account(number) }
        for seed in 1...(agreementScripts ?? 20) as ClosedRange<UInt64> {
            let ids = (0..<4).map { OrderID.sample(Int(seed) * 100 + $0) }
            var here = Side(
                stores: real,
                wait: { try await pool.simple(Self.anHourLater) },
                halt: { isHalted in
                    try await pool.simple(
                        isHalted
                            ? "INSERT INTO halts (scope, subject, level, reason, actor) "
                                + "VALUES ('cluster', '', 'sends', 't', 't') ON CONFLICT DO NOTHING"
                            : "DELETE FROM halts"
                    )
                },
                mine: Set(ids),
            )
            var there = Side(
                stores: model,
                wait: { clock.advance(milliseconds: 3_600_000) },
                halt: { database.setHalted($0) },
                mine: Set(ids),
            )
            var author = Author(
                random: SeededRandom(seed: seed),
                seed: seed,
                accounts: accounts,
                ids: ids,
                token: Int64(seed) * 1_000_000,
            )
            var story: [String] = []
            func play(_ step: Step) async -> Bool {
                clock.advance(milliseconds: 1)
                let (said, expected) = (await here.play(step), await there.play(step))
                story.append("\(Self.told(step))\n    \(said)")
                if said != expected {
                    Issue.record("seed \(seed): memory says \(expected)\n\(story.suffix(12).joined(separator: "\n"))")
                }
                return said == expected
            }
            for _ in 0..<30 {
                let rows = try await model.orders.smart(ids)
                let step = author.next(Dictionary(rows.map { ($0.id, $0) }, uniquingKeysWith: { first, _ in first }))
                // What is counted from a moment is asked for long after it.
                switch step {
                case .check, .dueWork, .unoffered, .takeUnoffered: guard await play(.wait) else { return }
                case .commit, .wait, .halt, .intents, .intent, .claim, .markOffered, .closeJobs, .storeJobs, .buryJobs,
                    .read, .account, .outcome:
                    break
                }
                guard await play(step) else { return }
            }
            _ = await play(.halt(false))
            let (tables, expected) = (try await here.tables(ids), try await there.tables(ids))
            guard tables == expected else {
                Issue.record(
                    "seed \(seed), at the end: \(tables), memory \(expected)\n\(story.joined(separator: "\n"))"
                )
                return
            }
        }
    }

    private static func told(_ step: Step) -> String {
        guard case .commit(let commits) = step else { return "\(step)" }
        return commits.map { commit in
            let row = commit.next.smart
            let orders = row?.venueOrders.map { "\($0.leg)-\($0.attempt) \($0.state) \($0.quantity)" } ?? []
            return "commit \(commit.id) \(commit.next.id) \(commit.next.version) \(row?.status.rawValue ?? "-") "
                + "\(row?.phase?.rawValue ?? "-") exited \(row?.exited ?? .zero) latched \(row?.latch != nil) \(orders) "
                + "changed \(commit.venueOrders.map { "\($0.leg)-\($0.attempt) \($0.state)" }) "
                + "rights \(commit.sendRights.count) fills \(commit.fills.map(\.fill.venueFillID)) "
                + "jobs \(commit.jobs.map(\.id)) \(commit.idempotency?.key ?? "-")"
        }.joined(separator: "\n")
    }

    /// Guards of the rows are off for it: nobody changes time in production.
    private static let anHourLater = """
        SET session_replication_role = replica;
        UPDATE intents SET fence_until = fence_until - interval '1 hour', absent_at = absent_at - interval '1 hour',
            next_check_at = next_check_at - interval '1 hour';
        UPDATE outbox SET offered_at = offered_at - interval '1 hour', lease_until = lease_until - interval '1 hour';
        SET session_replication_role = origin;
        """
}

/// Nothing is secret here.
private struct PlainBox: SecretBox {
    func seal(_ secret: [UInt8], as name: CredentialName) throws -> [UInt8] { secret }
    func open(_ sealed: [UInt8], as name: CredentialName) throws -> [UInt8] { sealed }
}
