// Accounts, venue keys and markets on PostgreSQL.
//
// A venue key is sealed before it leaves this process: the database, its backups and its logs never hold it plain.

internal import JSONText
public import OrderEngine
public import PostgresClient
public import SmartOrders

/// Which version of which venue key: what is sealed under one name opens under no other.
public struct CredentialName: Hashable, Sendable, CustomStringConvertible {
    public let account: AccountID
    public let venue: String
    public let id: UniqueID
    public let version: Int64

    public init(account: AccountID, venue: String, id: UniqueID, version: Int64) {
        self.account = account
        self.venue = venue
        self.id = id
        self.version = version
    }

    public var description: String { "\(account)|\(venue)|\(id)|\(version)" }
}

/// Seals secrets at rest. The key is the process's.
public protocol SecretBox: Sendable {
    func seal(_ secret: [UInt8], as name: CredentialName) throws -> [UInt8]
    /// Throws when the bytes were changed, or sealed with another key or under another name.
    func open(_ sealed: [UInt8], as name: CredentialName) throws -> [UInt8]
}

private enum AccountSQL {
    static let file = StatementFile(PackageResources.accounts_sql, prefix: "accounts")
    static let account = file["account"]
    static let accounts = file["accounts"]
    static let create = file["create"]
    static let storeCredentials = file["store_credentials"]
    static let credentials = file["credentials"]
    static let nextCredential = file["next_credential"]
    static let accountOfKey = file["account_of_key"]
    static let addKey = file["add_key"]
    static let instrument = file["instrument"]
    static let instruments = file["instruments"]
    static let saveInstruments = file["save_instruments"]
    static let traders = StatementFile(PackageResources.traders_sql, prefix: "traders")
    static let standing = traders["standing"]
    static let openings = traders["openings"]
}

/// Accounts in PostgreSQL.
public final class PostgresAccountStore: AccountStore {
    private let pool: PostgresPool
    private let secrets: any SecretBox
    /// Joins what concurrent creations ask.
    private let openings: Gatherer<OpeningQuestion, AccountOpening?>
    private let counts: OpenCounts

    public init(pool: PostgresPool, secrets: any SecretBox) {
        self.pool = pool
        self.secrets = secrets
        let counts = OpenCounts()
        self.counts = counts
        openings = Gatherer { asked throws(StoreError) in
            // Each asks for an account that its caller may see: together they may see these.
            let accounts = Set(asked.map(\.account)).sorted()
            do {
                return try await Tenancy.$accounts.withValue(accounts) { try await Self.openings(asked, pool, counts) }
            } catch let error as StoreError {
                throw error
            } catch {
                throw StoreError(.corruptRow, "\(error)")
            }
        }
    }

    public func account(_ id: AccountID) async throws(StoreError) -> Account? {
        try await reading {
            try await pool.query(AccountSQL.account, [.uuid(id.value)]).first.map { row in
                var account = try account(row)
                account.callbacks = try Account.callbacks(row, at: 6)
                return account
            }
        }
    }

    public func accounts() async throws(StoreError) -> [Account] {
        try await reading { try await pool.query(AccountSQL.accounts).map { try account($0) } }
    }

    public func create(_ account: Account, credentials: Credentials) async throws(StoreError) {
        let (name, sealed) = try await seal(credentials, of: account.id, venue: account.venue)
        try await writing {
            _ = try await pool.transaction([
                (
                    AccountSQL.create,
                    [
                        .uuid(account.id.value), .text(account.name), .text(account.venue), .text(account.product),
                        .text(account.mode.rawValue), .int8(Int64(account.maximumConditionals)),
                    ],
                ),
                (AccountSQL.storeCredentials, Self.row(name, sealed)),
            ])
        }
    }

    /// Replaces the account's venue key.
    public func store(_ credentials: Credentials, of account: Account) async throws(StoreError) {
        let (name, sealed) = try await seal(credentials, of: account.id, venue: account.venue)
        try await writing { _ = try await pool.query(AccountSQL.storeCredentials, Self.row(name, sealed)) }
    }

    private static func row(_ name: CredentialName, _ sealed: [UInt8]) -> [Parameter] {
        [.uuid(name.account.value), .bytes(sealed), .uuid(name.id), .int8(name.version)]
    }

    /// Seals a key under the name of the account's next version.
    private func seal(
        _ credentials: Credentials,
        of account: AccountID,
        venue: String,
    ) async throws(StoreError) -> (CredentialName, [UInt8]) {
        let name = try await reading {
            let row = try await pool.query(AccountSQL.nextCredential, [.uuid(account.value)])[0]
            return CredentialName(account: account, venue: venue, id: try row.id(0), version: try row.int64(1))
        }
        do {
            return (name, try secrets.seal(credentials.encoded, as: name))
        } catch {
            // Nothing of the secret may reach an error's text.
            throw StoreError(.incompatible, "the credentials could not be sealed")
        }
    }

    public func credentials(_ id: AccountID) async throws(StoreError) -> Credentials? {
        let found = try await reading {
            try await pool.query(AccountSQL.credentials, [.uuid(id.value)]).first.map { row in
                let name = CredentialName(
                    account: id,
                    venue: try row.string(3),
                    id: try row.id(1),
                    version: try row.int64(2),
                )
                return (name: name, sealed: try row.bytes(0))
            }
        }
        guard let found else { return nil }
        do {
            if let credentials = Credentials(encoded: try secrets.open(found.sealed, as: found.name)) {
                return credentials
            }
        } catch {}
        throw StoreError(.corruptRow, "the credentials of account \(id) do not open with this process's key")
    }

    public func account(apiKeyHash: String) async throws(StoreError) -> AccountID? {
        try await reading {
            try await pool.query(AccountSQL.accountOfKey, [.text(apiKeyHash)]).first.map { AccountID(try $0.id(0)) }
        }
    }

    public func addAPIKey(hash: String, account: AccountID) async throws(StoreError) {
        try await writing { _ = try await pool.query(AccountSQL.addKey, [.text(hash), .uuid(account.value)]) }
    }

    public func standing(
        _ account: AccountID,
        market: MarketID?,
        clientOrderID: String?,
    ) async throws(StoreError) -> AccountStanding? {
        let parameters: [Parameter] = [
            .uuid(account.value), market.map { .text($0.description) } ?? .null,
            clientOrderID.map { .text($0) } ?? .null,
        ]
        return try await reading {
            try await pool.query(AccountSQL.standing, parameters).first.map { row in
                var standing = try AccountStanding(row)
                standing.isRecovering = try row.bool(11)
                return standing
            }
        }
    }

    public func opening(
        _ account: AccountID,
        market: MarketID,
        clientOrderID: String?,
    ) async throws(StoreError) -> AccountOpening? {
        let question = OpeningQuestion(account: account, market: market, clientOrderID: clientOrderID)
        // Whoever asks for an account of others, or without a tenant's bounds, asks for himself: the database answers.
        guard Tenancy.accounts?.contains(account) == true else {
            return try await Self.openings([question], pool, counts)[0]
        }
        return try await openings.ask(question)
    }

    /// Answers in the order of the questions; the same question is asked once.
    private static func openings(
        _ asked: [OpeningQuestion],
        _ pool: PostgresPool,
        _ counts: OpenCounts,
    ) async throws(StoreError) -> [AccountOpening?] {
        var places: [OpeningQuestion: Int64] = [:]
        var questions: [OpeningQuestion] = []
        for question in asked where places[question] == nil {
            questions.append(question)
            places[question] = Int64(questions.count)
        }
        let known = questions.map { counts.known(of: $0.account, $0.market) }
        var (seen, orders, legs) = (ArrayColumn(.int8), ArrayColumn(.int8), ArrayColumn(.int8))
        for count in known {
            seen.append(count?.sequence)
            orders.append(count.map { Int64($0.orders) })
            legs.append(count.map { Int64($0.legs) })
        }
        var clientOrderIDs = ArrayColumn(.text)
        for question in questions { clientOrderIDs.append(question.clientOrderID) }
        let parameters = [
            .uuids(questions.lazy.map(\.account.value)), .texts(questions.lazy.map(\.market.description)),
            clientOrderIDs.parameter(), seen.parameter(), orders.parameter(), legs.parameter(),
            .int8(Int64(OpenCounts.maximumLegs)),
        ]
        return try await reading {
            var found: [Int64: AccountOpening] = [:]
            for row in try await pool.query(AccountSQL.openings, parameters) {
                let place = try row.int64(0)
                let (account, market) = (questions[Int(place) - 1].account, questions[Int(place) - 1].market)
                var standing = try AccountStanding(row, at: 7)
                standing.isRecovering = try row.bool(42)
                var owner = try Account(row, at: 1)
                owner.callbacks = try Account.callbacks(row, at: 40)
                let sequence = try row.int64(38)
                if !row.isNull(39), try !row.bool(39), let count = known[Int(place) - 1] {
                    let since = Int(sequence - count.sequence)
                    standing.openOrders = count.orders + since
                    standing.activeLegs = count.legs + since * OpenCounts.maximumLegs
                } else {
                    let count = OpenCounts.Count(
                        sequence: sequence,
                        orders: standing.openOrders,
                        legs: standing.activeLegs ?? 0,
                    )
                    counts.remember(count, of: account, market)
                }
                found[place] = AccountOpening(
                    account: owner,
                    standing: standing,
                    instrument: row.isNull(18) ? nil : try Instrument(row, at: 18),
                    sides: try row.bool(37) ? nil : try PositionSides(row, at: 33),
                )
            }
            return asked.map { question in places[question].flatMap { found[$0] } }
        }
    }

    public func instrument(_ market: MarketID) async throws(StoreError) -> Instrument? {
        try await reading {
            try await pool.query(AccountSQL.instrument, [.text(market.description)]).first.map { try instrument($0) }
        }
    }

    public func instruments() async throws(StoreError) -> [Instrument] {
        try await reading { try await pool.query(AccountSQL.instruments).map { try instrument($0) } }
    }

    public func save(_ instruments: [Instrument]) async throws(StoreError) {
        guard !instruments.isEmpty else { return }
        var columns = [ArrayColumn](repeating: ArrayColumn(.text), count: 15)
        for instrument in instruments {
            let cells: [String?] = [
                instrument.market.description, instrument.kind.rawValue, instrument.tickSize.description,
                instrument.stepSize.description, instrument.minQuantity.description, instrument.minNotional.description,
                instrument.contractSize.description, instrument.baseAsset, instrument.quoteAsset,
                instrument.bandRule?.low.description, instrument.bandRule?.high.description,
                instrument.makerFee.description, instrument.takerFee.description, instrument.status.rawValue,
                instrument.native.rawValue.description,
            ]
            for (index, cell) in cells.enumerated() { columns[index].append(cell) }
        }
        let parameters = columns.map { $0.parameter() }
        try await writing { _ = try await pool.query(AccountSQL.saveInstruments, parameters) }
    }

    private func account(_ row: Row) throws -> Account { try Account(row) }

    private func instrument(_ row: Row) throws -> Instrument { try Instrument(row) }
}

extension Instrument {
    /// Columns of `accounts.instrument`, from `first` on.
    init(_ row: Row, at first: Int = 0) throws {
        var band: PriceBandRule?
        if let low = try row.exactOrNil(first + 9), let high = try row.exactOrNil(first + 10) {
            band = PriceBandRule(low: Rate(low), high: Rate(high))
        }
        self.init(
            market: try row.market(first),
            kind: try row.word(first + 1),
            tickSize: Price(try row.exact(first + 2)),
            stepSize: Quantity(try row.exact(first + 3)),
            minQuantity: Quantity(try row.exact(first + 4)),
            minNotional: Money(try row.exact(first + 5)),
            contractSize: try row.exact(first + 6),
            baseAsset: try row.string(first + 7),
            quoteAsset: try row.string(first + 8),
            bandRule: band,
            makerFee: Rate(try row.exact(first + 11)),
            takerFee: Rate(try row.exact(first + 12)),
            status: try row.word(first + 13),
            native: NativeOrders(rawValue: UInt8(clamping: try row.int64(first + 14))),
        )
    }
}

extension AccountStanding {
    /// Columns of `traders.standing`, from `first` on.
    init(_ row: Row, at first: Int = 0) throws {
        var halt: Halt?
        if !row.isNull(first + 5) {
            halt = Halt(
                level: try row.word(first + 5),
                scope: try row.string(first + 6),
                reason: try row.string(first + 7),
                since: try row.moment(first + 8),
            )
        }
        self.init(
            tier: try row.word(first),
            venueKey: try row.bool(first + 1) ? .missing : row.bool(first + 2) ? .refused : .usable,
            openOrders: Int(try row.int64(first + 3)),
            maximumOpenOrders: Int(try row.int64(first + 4)),
            halt: halt,
            sameClientOrderID: try row.idOrNil(first + 9).map { OrderID($0) },
            activeLegs: try row.int64OrNil(first + 10).map { Int($0) },
        )
    }
}

extension Account {
    /// Columns: id, name, venue, product, mode, maximum_conditionals, from `first` on.
    init(_ row: Row, at first: Int = 0) throws {
        self.init(
            id: AccountID(try row.id(first)),
            name: try row.string(first + 1),
            venue: try row.string(first + 2),
            product: try row.string(first + 3),
            mode: try row.word(first + 4),
            maximumConditionals: Int(try row.int64(first + 5)),
        )
    }
}

extension Account {
    /// Columns: callback_min, callback_max, from `first` on.
    static func callbacks(_ row: Row, at first: Int) throws -> ClosedRange<Rate> {
        let widest = Account.widestCallbacks
        let least = try row.exactOrNil(first).map { Rate($0) } ?? widest.lowerBound
        return least...max(least, try row.exactOrNil(first + 1).map { Rate($0) } ?? widest.upperBound)
    }
}

extension PositionSides {
    /// Columns: the oldest order that buys, that sells, and those that follow the position, from `first` on.
    init(_ row: Row, at first: Int) throws {
        self.init(
            oldestBuy: try row.idOrNil(first).map { OrderID($0) },
            oldestSell: try row.idOrNil(first + 1).map { OrderID($0) },
            wholeBuy: try row.idOrNil(first + 2).map { OrderID($0) },
            wholeSell: try row.idOrNil(first + 3).map { OrderID($0) },
        )
    }
}

extension Credentials {
    /// One JSON object, only ever as input of a `SecretBox` or of the seal of an intake.
    public var encoded: [UInt8] {
        var writer = JSONWriter()
        writer.beginObject()
        writer.member("key", key)
        writer.member("secret", secret)
        writer.member("passphrase", ifPresent: passphrase)
        writer.endObject()
        return writer.take()
    }

    public init?(encoded: [UInt8]) {
        guard let json = try? JSONValue(parsing: encoded),  // tidy-ok: nil is the answer, and the error would quote it
            let key = json["key"]?.text, let secret = json["secret"]?.text
        else { return nil }
        self.init(key: key, secret: secret, passphrase: json["passphrase"]?.text)
    }
}
