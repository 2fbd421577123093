// Work that must not be lost: the sweep and the outbox.

public import OrderEngine
internal import PostgresClient
public import SmartOrders

private enum JobSQL {
    static let file = StatementFile(PackageResources.jobs_sql, prefix: "jobs")
    static let dueWork = file["due_work"]
    static let unoffered = file["unoffered"]
    static let takeUnoffered = file["take_unoffered"]
    static let markOffered = file["mark_offered"]
    static let close = file["close"]
    static let store = file["store"]
    static let bury = file["bury"]
    static let deaths = file["deaths"]
    static let noteCrashes = file["note_crashes"]
    static let pauses = file["pauses"]
    static let hasEnded = file["has_ended"]
    static let prune = file["prune"]
    static let pruneExtremes = file["prune_extremes"]
}

extension PostgresOrderStore {
    public func dueWork(limit: Int) async throws(StoreError) -> [Job] {
        try await reading {
            try await pool.query(JobSQL.dueWork, [.int8(Int64(limit))]).compactMap { row in
                try readable(row, of: "orders") { row in
                    let leg = try row.leg(3)
                    let id = JobID(
                        order: OrderID(try row.id(0)),
                        leg: leg,
                        attempt: Int(try row.int64(4)),
                        check: try row.int64OrNil(5).map(Int.init),
                    )
                    return Job(
                        id: id,
                        name: try row.word(6),
                        jobClass: JobClass(leg: leg),
                        version: try row.int64(7),
                        account: AccountID(try row.id(1)),
                        market: try row.market(2),
                    )
                }
            }
        }
    }

    public func unofferedJobs(limit: Int) async throws(StoreError) -> [Job] {
        try await reading {
            try await jobs(pool.query(JobSQL.unoffered, [.int8(Int64(limit))]))
        }
    }

    public func takeUnoffered(limit: Int) async throws(StoreError) -> [Job] {
        // Whoever does not get the answer finds the rows free again when their lease is over.
        try await reading {
            try await jobs(pool.query(JobSQL.takeUnoffered, [.int8(Int64(limit))]))
                .sorted { $0.jobClass.stored < $1.jobClass.stored }
        }
    }

    private func jobs(_ rows: Rows) throws -> [Job] {
        try rows.compactMap { row in try readable(row, of: "outbox") { try job($0, crashes: 9) } }
    }

    public func markOffered(_ ids: [JobID]) async throws(StoreError) {
        guard !ids.isEmpty else { return }
        try await writing { _ = try await pool.query(JobSQL.markOffered, [.texts(ids.map(\.description).sorted())]) }
    }

    public func closeJobs(_ ids: [JobID]) async throws(StoreError) {
        guard !ids.isEmpty else { return }
        try await writing { _ = try await pool.query(JobSQL.close, [.texts(ids.map(\.description).sorted())]) }
    }

    public func storeJobs(_ jobs: [Job]) async throws(StoreError) {
        guard !jobs.isEmpty else { return }
        let parameters = columns(jobs)
        try await writing { _ = try await pool.query(JobSQL.store, parameters) }
    }

    private func columns(_ jobs: [Job]) -> [Parameter] {
        var classes = ArrayColumn(.int2)
        var versions = ArrayColumn(.int8)
        var accounts = ArrayColumn(.uuid)
        var (markets, sources) = (ArrayColumn(.text), ArrayColumn(.text))
        var (times, sequences) = (ArrayColumn(.int8), ArrayColumn(.int8))
        for job in jobs {
            classes.append(job.jobClass.stored)
            versions.append(job.version)
            accounts.append(job.account?.value)
            markets.append(job.market?.description)
            sources.append(job.source?.rawValue)
            times.append(job.position?.venueTime)
            sequences.append(job.position?.sequence)
        }
        return [
            .texts(jobs.map(\.id.description)), .texts(jobs.map(\.name.rawValue)), classes.parameter(),
            versions.parameter(), accounts.parameter(), markets.parameter(), sources.parameter(), times.parameter(),
            sequences.parameter(),
        ]
    }

    public func buryJobs(_ deaths: [JobDeath]) async throws(StoreError) {
        guard !deaths.isEmpty else { return }
        var (attempts, crashes) = (ArrayColumn(.int4), ArrayColumn(.int4))
        for death in deaths {
            attempts.append(Int64(death.attempts))
            crashes.append(Int64(death.crashes))
        }
        let more: [Parameter] = [.texts(deaths.map(\.reason)), attempts.parameter(), crashes.parameter()]
        let parameters = columns(deaths.map(\.job)) + more
        try await writing { _ = try await pool.query(JobSQL.bury, parameters) }
    }

    public func noteCrashes(_ jobs: [Job]) async throws(StoreError) {
        guard !jobs.isEmpty else { return }
        var crashes = ArrayColumn(.int4)
        for job in jobs { crashes.append(Int64(job.crashes)) }
        let parameters = columns(jobs) + [crashes.parameter()]
        try await writing { _ = try await pool.query(JobSQL.noteCrashes, parameters) }
    }

    public func queuePauses() async throws(StoreError) -> [QueuePause] {
        try await reading {
            try await pool.query(JobSQL.pauses).map { row in
                QueuePause(
                    queue: try row.string(0),
                    leftMs: try row.int64(1),
                    actor: try row.string(2),
                    reason: try row.string(3),
                )
            }
        }
    }

    public func deaths(after: String, limit: Int) async throws(StoreError) -> [JobDeath] {
        try await reading {
            try await pool.query(JobSQL.deaths, [.text(after), .int8(Int64(limit))]).map { row in
                JobDeath(
                    job: try job(row),
                    reason: try row.string(9),
                    attempts: Int(try row.int64(10)),
                    crashes: Int(try row.int64(11)),
                    ageMs: try row.int64(12),
                )
            }
        }
    }

    public func hasEnded(_ id: JobID) async throws(StoreError) -> Bool {
        try await reading { try await pool.query(JobSQL.hasEnded, [.text(id.description)])[0].bool(0) }
    }

    /// Deletes ended jobs and idempotency keys that are older than 24 h, at most `limit` of each; how many went.
    public func prune(limit: Int = 1_000) async throws(StoreError) -> Int {
        try await writing { Int(try await pool.query(JobSQL.prune, [.int8(Int64(limit))])[0].int64(0)) }
    }

    /// Deletes at most `limit` rows of prices that are older than 30 days and than every live order of their market; how
    /// many went. Asks about every live order: for once an hour.
    public func pruneExtremes(limit: Int = 10_000) async throws(StoreError) -> Int {
        try await writing { Int(try await pool.query(JobSQL.pruneExtremes, [.int8(Int64(limit))])[0].int64(0)) }
    }

    /// - Parameter column: of the crash count; nil: not asked for.
    private func job(_ row: Row, crashes column: Int? = nil) throws -> Job {
        let text = try row.string(0)
        guard let id = JobID(text) else { throw CorruptValue("job id \(text)") }
        guard let jobClass = JobClass(stored: try row.int64(2)) else { throw CorruptValue("job class") }
        return Job(
            id: id,
            name: try row.word(1),
            jobClass: jobClass,
            version: try row.int64(3),
            account: try row.idOrNil(4).map { AccountID($0) },
            market: row.isNull(5) ? nil : try row.market(5),
            source: row.isNull(6) ? nil : try row.word(6),
            position: row.isNull(7) ? nil : try row.position(7),
            crashes: try column.map { Int(try row.int64($0)) } ?? 0,
        )
    }
}
