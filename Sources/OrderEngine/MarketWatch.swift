// Markets as the catalogue has them now, and how what a venue changed of one gets to the orders in it (RELIABILITY.md
// FA109): `CatalogueDuty` reads the venue's markets again, `MarketWatch` the catalogue, and an order that has work to do
// first learns the new terms, as a version of its own.
//
// Limits: an order without work keeps its terms until it has some; its thresholds do not depend on them. Terms that
// would change the unit of a market's stored prices (a tick size finer than 10^-8 comes or goes) are not taken: that
// needs a feed, a stream and rows that change together.
internal import OwnerThread
internal import SmartOrders

/// The catalogue in memory, at most ten seconds old. Cost: one read per market and ten seconds.
final class MarketWatch: Sendable {
    private struct Known {
        var instrument: Instrument?
        var readAt: Int64
    }

    private let known = Locked<[MarketID: Known]>([:])
    private let doubts = Locked(false)
    private let accounts: any AccountStore
    private let clock: any EngineClock
    private static let lifeNanoseconds: Int64 = 10_000_000_000

    init(accounts: any AccountStore, clock: any EngineClock) {
        self.accounts = accounts
        self.clock = clock
    }

    /// What the order does not know yet of its market; nil: nothing, or it cannot be had now.
    func news(for row: StoredOrder) async -> MarketTerms? {
        guard !row.isTerminal, let present = await instrument(row.instrument.market),
            present.terms != row.instrument.terms, present.priceDecimals == row.instrument.priceDecimals
        else { return nil }
        return present.terms
    }

    private func instrument(_ market: MarketID) async -> Instrument? {
        let now = clock.monotonicNanoseconds()
        let copy = known.withLock { $0[market] }
        if let copy, now - copy.readAt < Self.lifeNanoseconds { return copy.instrument }
        do throws(StoreError) {
            let read = try await accounts.instrument(market)
            known.withLock { $0[market] = Known(instrument: read, readAt: now) }
            return read
        } catch {
            // What is known goes on: an order is never held up by the catalogue.
            return copy?.instrument
        }
    }

    /// A venue refused what it should take: what is known may be old, here and in the catalogue.
    func doubt() {
        known.withLock { $0 = [:] }
        doubts.withLock { $0 = true }
    }

    /// Whether somebody doubted since the last call.
    func wasDoubted() -> Bool {
        doubts.withLock { doubts in
            defer { doubts = false }
            return doubts
        }
    }
}

extension OrderWorker {
    /// The order learns what its venue changed of the market, before anything else is decided.
    func goOn(
        _ row: StoredOrder,
        with terms: MarketTerms,
        venue: any Venue,
        _ origin: DecisionRecord,
    ) async throws -> Step {
        var transition = Transition(row)
        let moment = Moment(now: context.clock.now(), price: nil, position: row.position)
        _ = try transition.apply(.market(terms), at: moment)
        return try await finish(&transition, cause: .reconcile, tick: nil, at: moment, venue: venue, origin)
    }
}

/// Reads the markets of every venue again: every fifteen minutes, and soon after a venue refused what it should take.
/// Cost: one public request per venue, product and worker each time.
public struct CatalogueDuty: Sendable {
    private static let periodMs: Int64 = 900_000
    private static let pauseMs: Int64 = 30_000
    private static let stepMs: Int64 = 1_000

    private let context: EngineContext

    public init(context: EngineContext) {
        self.context = context
    }

    /// Runs until the task is cancelled.
    public func run() async throws {
        while true {
            var waited: Int64 = 0
            var isDoubted = false
            while waited < Self.periodMs, !(isDoubted && waited >= Self.pauseMs) {
                try await context.clock.sleep(milliseconds: Self.stepMs)
                waited += Self.stepMs
                if context.markets.wasDoubted() { isDoubted = true }
            }
            do throws(StoreError) {
                try await readAgain()
            } catch {
                context.observer.count("store_errors_total", 1)
            }
        }
    }

    /// Stores what differs from the catalogue; how many markets that were.
    @discardableResult
    public func readAgain() async throws(StoreError) -> Int {
        var catalogue: [MarketID: Instrument] = [:]
        for known in try await context.accounts.instruments() { catalogue[known.market] = known }
        var asked: Set<[String]> = []
        var changed: [Instrument] = []
        for account in try await context.accounts.accounts()
        where asked.insert([account.venue, account.product]).inserted {
            let markets: [Instrument]
            do throws(VenueError) {
                markets = try await context.venues.venue(for: account.id).instruments()
            } catch {
                context.observer.note(
                    .warning,
                    "The markets of a venue cannot be read",
                    [("venue", account.venue), ("product", account.product), ("error", error.detail)],
                )
                continue
            }
            changed += markets.filter { takes($0, insteadOf: catalogue[$0.market]) }
        }
        try await context.accounts.save(changed)
        return changed.count
    }

    private func takes(_ read: Instrument, insteadOf known: Instrument?) -> Bool {
        guard let known else { return true }
        guard read.priceDecimals == known.priceDecimals else {
            context.observer.note(
                .error,
                "A market's prices have another unit: its new terms are not taken",
                [("market", "\(read.market)"), ("tick_size", "\(read.tickSize)"), ("known", "\(known.tickSize)")],
            )
            return false
        }
        return read != known
    }
}
