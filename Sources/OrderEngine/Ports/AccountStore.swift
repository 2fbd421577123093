// Accounts and markets as stored.
public import SmartOrders

/// An account at a venue, as far as the engine needs it. Secrets are fetched separately by the executing process.
public struct Account: Hashable, Sendable {
    public enum Mode: String, Hashable, Sendable { case paper = "PAPER", live = "LIVE" }
    public let id: AccountID
    public let name: String
    public let venue: String
    public let product: String
    public let mode: Mode
    /// Most conditional legs per market (ORDERS.md R12.4).
    public let maximumConditionals: Int
    /// Callback rates that it takes, as its owner set them; known where orders are created and changed.
    public var callbacks = Account.widestCallbacks

    /// Of an account whose owner set none (INTERFACES.md 1.6.2 `CALLBACK_OUT_OF_RANGE`).
    public static let widestCallbacks = CreationBounds().minimumCallback...CreationBounds().maximumCallback

    public init(id: AccountID, name: String, venue: String, product: String, mode: Mode, maximumConditionals: Int = 20)
    {
        self.id = id
        self.name = name
        self.venue = venue
        self.product = product
        self.mode = mode
        self.maximumConditionals = maximumConditionals
    }
}

/// A venue key. Never logged: `description` hides it.
public struct Credentials: Hashable, Sendable, CustomStringConvertible {
    public let key: String
    public let secret: String
    public let passphrase: String?
    public init(key: String, secret: String, passphrase: String? = nil) {
        self.key = key
        self.secret = secret
        self.passphrase = passphrase
    }
    public var description: String { "credentials (hidden)" }
}

public protocol AccountStore: Sendable {
    func account(_ id: AccountID) async throws(StoreError) -> Account?
    func accounts() async throws(StoreError) -> [Account]
    func create(_ account: Account, credentials: Credentials) async throws(StoreError)
    func credentials(_ id: AccountID) async throws(StoreError) -> Credentials?
    /// The account that an API key belongs to, by the SHA-256 of the key in lower-case hexadecimal.
    func account(apiKeyHash: String) async throws(StoreError) -> AccountID?
    func addAPIKey(hash: String, account: AccountID) async throws(StoreError)
    /// What stands between the account and new exposure in a market (nil: in any). Nil: no such account.
    /// - Parameter clientOrderID: the client order id of an order to be created.
    func standing(
        _ account: AccountID,
        market: MarketID?,
        clientOrderID: String?,
    ) async throws(StoreError) -> AccountStanding?
    /// Account, standing and market together, in one round trip where the store can. Nil: no such account.
    func opening(
        _ account: AccountID,
        market: MarketID,
        clientOrderID: String?,
    ) async throws(StoreError) -> AccountOpening?
    func instrument(_ market: MarketID) async throws(StoreError) -> Instrument?
    func instruments() async throws(StoreError) -> [Instrument]
    func save(_ instruments: [Instrument]) async throws(StoreError)
}

extension AccountStore {
    /// A store that knows neither tiers nor halts restricts nothing.
    public func standing(
        _ account: AccountID,
        market: MarketID?,
        clientOrderID: String?,
    ) async throws(StoreError) -> AccountStanding? {
        AccountStanding()
    }

    public func opening(
        _ account: AccountID,
        market: MarketID,
        clientOrderID: String?,
    ) async throws(StoreError) -> AccountOpening? {
        guard let owner = try await self.account(account) else { return nil }
        guard let standing = try await standing(account, market: market, clientOrderID: clientOrderID) else {
            return nil
        }
        return AccountOpening(account: owner, standing: standing, instrument: try await instrument(market))
    }
}
