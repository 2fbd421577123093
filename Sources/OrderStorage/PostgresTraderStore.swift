// What the HTTP API keeps beside orders, on PostgreSQL.
//
// A change that carries an answer is one transaction with it: a repeated request finds the answer and changes nothing.

public import OrderEngine
public import PostgresClient
public import SmartOrders

private enum TraderSQL {
    static let file = StatementFile(PackageResources.traders_sql, prefix: "traders")
    static let holder = file["holder"]
    static let holderAccounts = file["holder_accounts"]
    static let keys = file["keys"]
    static let countKeys = file["count_keys"]
    static let addKey = file["add_key"]
    static let updateKey = file["update_key"]
    static let revokeKey = file["revoke_key"]
    static let noteUse = file["note_use"]
    static let accountsOfUser = file["accounts_of_user"]
    static let answer = file["answer"]
    static let addAnswer = file["add_answer"]
    static let notes = file["notes"]
    static let setNote = file["set_note"]
    static let addShare = file["add_share"]
    static let shares = file["shares"]
    static let share = file["share"]
    static let revokeShare = file["revoke_share"]
    static let addBatch = file["add_batch"]
    static let batch = file["batch"]
    static let takeBatch = file["take_batch"]
    static let saveBatch = file["save_batch"]
    static let openOrders = file["open_orders"]
    static let haltOfAccount = file["halt_of_account"]
    static let setHalt = file["set_halt"]
    static let resume = file["resume"]
    static let counts = file["counts"]
}

/// Users, keys, notes, shares and batches in PostgreSQL.
public final class PostgresTraderStore: TraderStore {
    private let pool: PostgresPool
    private static let maximumKeys: Int64 = 50

    public init(pool: PostgresPool) {
        self.pool = pool
    }

    // MARK: Keys

    public func holder(keyHash: String) async throws(StoreError) -> KeyHolder? {
        try await reading {
            let found = try await pool.transaction([
                (TraderSQL.holder, [.text(keyHash)]), (TraderSQL.holderAccounts, [.text(keyHash)]),
            ])
            guard let row = found[0].first else { return nil }
            let key = try key(row)
            let user = User(
                id: key.user,
                name: try row.string(12),
                tier: try row.word(13),
                roles: try words(row, 14),
            )
            return KeyHolder(key: key, user: user, accounts: try found[1].map { try Account($0) })
        }
    }

    public func keys(of user: UniqueID) async throws(StoreError) -> [APIKeyRecord] {
        try await reading { try await pool.query(TraderSQL.keys, [.uuid(user)]).map { try key($0) } }
    }

    public func add(_ key: APIKeyRecord, answer: StoredAnswer) async throws(StoreError) -> AnswerOutcome? {
        let count = try await reading { try await pool.query(TraderSQL.countKeys, [.uuid(key.user)])[0].int64(0) }
        guard count < Self.maximumKeys else { return nil }
        let parameters: [Parameter] = [
            .text(key.id), .text(key.hash), .uuid(key.user), .text(key.label), .text(joined(key.scopes)),
            key.accounts.map { .uuids($0.lazy.map(\.value)) } ?? .null, .text(key.mode.rawValue),
            .text(key.ipAllow.joined(separator: ",")), moment(key.expiresAt), moment(key.createdAt),
        ]
        return try await store([(TraderSQL.addKey, parameters)], answer)
    }

    public func update(_ key: APIKeyRecord) async throws(StoreError) -> Bool {
        let parameters: [Parameter] = [
            .text(key.id), .uuid(key.user), .text(key.label), .text(key.ipAllow.joined(separator: ",")),
            moment(key.expiresAt),
        ]
        return try await writing { try await !pool.query(TraderSQL.updateKey, parameters).isEmpty }
    }

    public func revokeKey(_ id: String, of user: UniqueID) async throws(StoreError) -> Bool {
        try await writing { try await !pool.query(TraderSQL.revokeKey, [.text(id), .uuid(user)]).isEmpty }
    }

    public func noteUse(ofKeys hashes: [String]) async throws(StoreError) {
        try await writing { _ = try await pool.query(TraderSQL.noteUse, [.textArray(hashes)]) }
    }

    public func accounts(of user: UniqueID) async throws(StoreError) -> [Account] {
        try await reading { try await pool.query(TraderSQL.accountsOfUser, [.uuid(user)]).map { try Account($0) } }
    }

    private func key(_ row: Row) throws -> APIKeyRecord {
        APIKeyRecord(
            id: try row.string(0),
            hash: try row.string(1),
            user: try row.id(2),
            label: try row.string(3),
            scopes: try words(row, 4),
            accounts: row.isNull(5) ? nil : try ids(row, 5).map { AccountID($0) },
            mode: try row.word(6),
            ipAllow: try list(row, 7),
            expiresAt: try row.momentOrNil(8),
            revokedAt: try row.momentOrNil(9),
            createdAt: try row.moment(10),
            lastUsedAt: try row.momentOrNil(11),
        )
    }

    // MARK: Answers

    public func answer(owner: String, key: String) async throws(StoreError) -> StoredAnswer? {
        try await reading {
            try await pool.query(TraderSQL.answer, [.text(owner), .text(key)]).first.map { row in
                StoredAnswer(
                    record: IdempotencyRecord(owner: owner, key: key, requestHash: try row.string(0)),
                    status: Int(try row.int64(1)),
                    entityTag: try row.stringOrNil(3),
                    location: try row.stringOrNil(4),
                    body: try row.bytes(2),
                )
            }
        }
    }

    public func keep(_ answer: StoredAnswer) async throws(StoreError) -> AnswerOutcome { try await store([], answer) }

    /// Runs a change and stores its answer, or finds the answer that is stored already.
    func store(
        _ statements: [(Statement, [Parameter])],
        _ answer: StoredAnswer,
    ) async throws(StoreError) -> AnswerOutcome {
        let record = answer.record
        let parameters: [Parameter] = [
            .text(record.owner), .text(record.key), .text(record.requestHash), .int8(Int64(answer.status)),
            .text(String(decoding: answer.body, as: UTF8.self)), .optional(answer.entityTag),
            .optional(answer.location),
        ]
        // The answer first: who comes second waits for the first one's transaction, and then finds its row.
        do throws(PostgresError) {
            _ = try await pool.transaction([(TraderSQL.addAnswer, parameters)] + statements)
            return .stored
        } catch {
            if error.isLockTimeout { return .busy }
            guard error.violation == "answers_pkey" else { throw StoreError(error) }
        }
        guard let known = try await self.answer(owner: record.owner, key: record.key) else {
            throw StoreError(.unavailable, "the answer was forgotten in this moment")
        }
        return .known(known)
    }

    // MARK: Notes

    public func notes(of orders: [OrderID]) async throws(StoreError) -> [OrderID: String] {
        guard !orders.isEmpty else { return [:] }
        return try await reading {
            var notes: [OrderID: String] = [:]
            for row in try await pool.query(TraderSQL.notes, [.uuids(orders.lazy.map(\.value))]) {
                notes[OrderID(try row.id(0))] = try row.string(1)
            }
            return notes
        }
    }

    public func setNote(_ text: String, order: OrderID, account: AccountID) async throws(StoreError) {
        try await writing {
            _ = try await pool.query(TraderSQL.setNote, [.uuid(order.value), .uuid(account.value), .text(text)])
        }
    }

    // MARK: Shares

    public func add(_ share: Share, answer: StoredAnswer) async throws(StoreError) -> AnswerOutcome {
        let parameters: [Parameter] = [
            .uuid(share.id), .uuid(share.account.value), .text(share.tokenHash),
            .text(String(decoding: share.draft, as: UTF8.self)), .text(share.market.description),
            share.referencePrice.map { .text($0.description) } ?? .null, moment(share.createdAt),
            moment(share.expiresAt),
        ]
        return try await store([(TraderSQL.addShare, parameters)], answer)
    }

    public func shares(of accounts: [AccountID]) async throws(StoreError) -> [Share] {
        try await reading {
            try await pool.query(TraderSQL.shares, [.uuids(accounts.lazy.map(\.value))]).map { try share($0) }
        }
    }

    public func share(tokenHash: String) async throws(StoreError) -> Share? {
        try await reading { try await pool.query(TraderSQL.share, [.text(tokenHash)]).first.map { try share($0) } }
    }

    public func revokeShare(_ id: UniqueID, of accounts: [AccountID]) async throws(StoreError) -> Bool {
        try await writing {
            try await !pool.query(TraderSQL.revokeShare, [.uuid(id), .uuids(accounts.lazy.map(\.value))]).isEmpty
        }
    }

    private func share(_ row: Row) throws -> Share {
        Share(
            id: try row.id(0),
            account: AccountID(try row.id(1)),
            tokenHash: try row.string(2),
            draft: try row.bytes(3),
            market: try row.market(4),
            referencePrice: try row.exactOrNil(5).map { Price($0) },
            createdAt: try row.moment(6),
            expiresAt: try row.moment(7),
            isRevoked: try row.bool(8),
        )
    }

    // MARK: Batches

    private func adding(_ batch: Batch) -> (Statement, [Parameter]) {
        let parameters: [Parameter] = [
            .uuid(batch.id), .uuid(batch.account.value), .text(batch.kind.rawValue), .text(batch.state.rawValue),
            .uuids(batch.orders.lazy.map(\.value)), .int8(Int64(batch.total)), .text(batch.actor.kind.rawValue),
            .text(batch.actor.id), .text(batch.reason), moment(batch.startedAt),
        ]
        return (TraderSQL.addBatch, parameters)
    }

    public func add(_ batch: Batch, answer: StoredAnswer) async throws(StoreError) -> AnswerOutcome {
        try await store([adding(batch)], answer)
    }

    public func batch(_ id: UniqueID, of accounts: [AccountID]) async throws(StoreError) -> Batch? {
        try await reading {
            let parameters: [Parameter] = [.uuid(id), .uuids(accounts.lazy.map(\.value))]
            return try await pool.query(TraderSQL.batch, parameters).first.map { try batch($0) }
        }
    }

    public func takeBatch() async throws(StoreError) -> Batch? {
        try await writing { try await pool.query(TraderSQL.takeBatch, []).first.map { try batch($0) } }
    }

    public func save(_ batch: Batch) async throws(StoreError) -> Bool {
        let parameters: [Parameter] = [
            .uuid(batch.id), .uuid(batch.account.value), .text(batch.state.rawValue),
            .uuids(batch.orders.lazy.map(\.value)), .int8(Int64(batch.done)), .textArray(batch.failures.map(\.id)),
            .textArray(batch.failures.map(\.code)), moment(batch.endedAt), .int8(Int64(batch.total)),
        ]
        return try await writing { try await !pool.query(TraderSQL.saveBatch, parameters).isEmpty }
    }

    public func openOrders(of account: AccountID, market: MarketID?) async throws(StoreError) -> [OrderID] {
        try await reading {
            let parameters: [Parameter] = [.uuid(account.value), market.map { .text($0.description) } ?? .null]
            return try await pool.query(TraderSQL.openOrders, parameters).map { OrderID(try $0.id(0)) }
        }
    }

    private func batch(_ row: Row) throws -> Batch {
        var batch = Batch(
            id: try row.id(0),
            account: AccountID(try row.id(1)),
            kind: try row.word(2),
            total: Int(try row.int64(5)),
            actor: Actor(kind: try row.word(9), id: try row.string(10)),
            reason: try row.string(11),
            startedAt: try row.moment(12),
        )
        batch.state = try row.word(3)
        batch.orders = try ids(row, 4).map { OrderID($0) }
        batch.done = Int(try row.int64(6))
        batch.failures = zip(try list(row, 7), try list(row, 8)).map { Batch.Failure(id: $0, code: $1) }
        batch.endedAt = try row.momentOrNil(13)
        return batch
    }

    // MARK: Halts, counts

    public func halt(of account: AccountID) async throws(StoreError) -> AccountStanding.Halt? {
        try await reading {
            try await pool.query(TraderSQL.haltOfAccount, [.uuid(account.value)]).first.map { row in
                AccountStanding.Halt(
                    level: try row.word(0),
                    scope: try row.string(1),
                    reason: try row.string(2),
                    since: try row.moment(3),
                )
            }
        }
    }

    public func halt(
        _ account: AccountID,
        reason: String,
        actor: String,
        batch: Batch,
        answer: StoredAnswer,
    ) async throws(StoreError) -> AnswerOutcome {
        let halt: [Parameter] = [.uuid(account.value), .text(reason), .text("trader \(actor)")]
        return try await store([(TraderSQL.setHalt, halt), adding(batch)], answer)
    }

    public func resume(_ account: AccountID, actor: String) async throws(StoreError) {
        let parameters: [Parameter] = [.uuid(account.value), .text("trader \(actor)")]
        try await writing { _ = try await pool.query(TraderSQL.resume, parameters) }
    }

    public func counts(of accounts: [AccountID]) async throws(StoreError) -> [OrderStatus: Int] {
        try await reading {
            var counts: [OrderStatus: Int] = [:]
            for row in try await pool.query(TraderSQL.counts, [.uuids(accounts.lazy.map(\.value))]) {
                counts[try row.word(0)] = Int(try row.int64(1))
            }
            return counts
        }
    }

    // MARK: Values

    private func moment(_ time: Timestamp?) -> Parameter {
        time.map { .timestamp(microseconds: $0.microseconds) } ?? .null
    }

    private func joined(_ words: [APIKeyRecord.Scope]) -> String { words.map(\.rawValue).joined(separator: ",") }

    private func list(_ row: Row, _ column: Int) throws -> [String] {
        try row.string(column).split(separator: ",").map(String.init)
    }

    private func words<Word: RawRepresentable<String>>(_ row: Row, _ column: Int) throws -> [Word] {
        try list(row, column).map { text in
            guard let word = Word(rawValue: text) else { throw CorruptValue("\(Word.self) \(text)") }
            return word
        }
    }

    private func ids(_ row: Row, _ column: Int) throws -> [UniqueID] {
        try list(row, column).map { text in
            guard let id = UniqueID(text) else { throw CorruptValue("id \(text)") }
            return id
        }
    }
}
