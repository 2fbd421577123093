// Which adapter serves an account: made on first use from the stored account and its key.
public import OrderEngine
internal import OwnerThread
public import SmartOrders

/// The venue connections of one process.
public final class AccountDirectory: VenueDirectory {
    private let accounts: any AccountStore
    private let clock: any EngineClock
    private let http: VenueHTTP
    /// Where a venue and product is reached; absent: not connected.
    private let endpoints: [BinanceEndpoint]
    /// Live accounts may use a product whose requests have no deadline (RELIABILITY.md 2.7, class N).
    private let allowsNoDeadline: Bool
    private let venues = Locked<[AccountID: BinanceVenue]>([:])

    public init(
        accounts: any AccountStore,
        endpoints: [BinanceEndpoint],
        http: VenueHTTP,
        clock: any EngineClock,
        allowsNoDeadline: Bool = false,
    ) {
        self.allowsNoDeadline = allowsNoDeadline
        self.accounts = accounts
        self.endpoints = endpoints
        self.http = http
        self.clock = clock
    }

    public func venue(for account: AccountID) async throws(VenueError) -> any Venue {
        if let known = venues.withLock({ $0[account] }) { return known }
        let stored: Account?
        let credentials: Credentials?
        do throws(StoreError) {
            stored = try await accounts.account(account)
            credentials = try await accounts.credentials(account)
        } catch {
            throw VenueError("account \(account) cannot be read: \(error.detail)")
        }
        guard let stored else { throw VenueError("there is no account \(account)") }
        guard let credentials else { throw VenueError("account \(stored.name) has no venue key") }
        guard let venue = venue(for: stored, credentials) else {
            throw VenueError("\(stored.venue):\(stored.product) is not connected in this deployment")
        }
        guard stored.mode != .live || venue.venueClass.kind != .neither || allowsNoDeadline else {
            throw VenueError("\(stored.venue):\(stored.product) has no deadline; venues.allowNoDeadline is off")
        }
        // A venue that is away must not keep anybody from deciding: the stop that fires meanwhile is latched (ORDERS.md R20).
        do throws(VenueError) { try await venue.prepare() } catch { return venue }
        return venues.withLock { venues in
            // Two callers may have made one each: the first stays.
            if let known = venues[account] { return known }
            venues[account] = venue
            return venue
        }
    }

    /// A connection with these credentials, which is not kept; nil: the venue is not connected.
    func venue(for account: Account, _ credentials: Credentials) -> BinanceVenue? {
        endpoints.first { $0.venue == account.venue && $0.product.rawValue == account.product }
            .map { BinanceVenue(endpoint: $0, credentials: credentials, http: http, clock: clock) }
    }

    /// The account's key was replaced: its next request uses the new one.
    public func forget(_ account: AccountID) { venues.withLock { $0[account] = nil } }

    /// Measures every venue's clock again; call every 30 s.
    public func measureClocks() async {
        for venue in venues.withLock({ Array($0.values) }) {
            do throws(VenueError) { try await venue.measureClock() } catch { continue }
        }
    }
}
