// How well an order's stop is watched now (INTERFACES.md 3.8), and what is read once for many requests.

internal import OrderEngine
internal import OrderJSON
internal import OwnerThread
internal import SmartOrders

/// Markets and shards as they were read within the last moments.
final class Catalogue: Sendable {
    private static let instrumentNanoseconds: Int64 = 60_000_000_000
    private static let shardNanoseconds: Int64 = 1_000_000_000

    private struct State {
        var instruments: [MarketID: (instrument: Instrument, until: Int64)] = [:]
        var owned: Set<Int> = []
        var ownedUntil: Int64 = 0
    }

    private let accounts: any AccountStore
    private let cluster: any ClusterStore
    private let clock: any EngineClock
    private let state = Locked(State())

    init(accounts: any AccountStore, cluster: any ClusterStore, clock: any EngineClock) {
        self.accounts = accounts
        self.cluster = cluster
        self.clock = clock
    }

    /// A market as it was within the last minute.
    func instrument(_ market: MarketID) async throws(StoreError) -> Instrument? {
        let now = clock.monotonicNanoseconds()
        if let known = state.withLock({ $0.instruments[market] }), known.until > now { return known.instrument }
        guard let found = try await accounts.instrument(market) else { return nil }
        state.withLock { state in
            if state.instruments.count > 10_000 { state.instruments = [:] }
            state.instruments[market] = (found, now + Self.instrumentNanoseconds)
        }
        return found
    }

    /// Whether somebody watches a shard, as of the last second: whoever died a lease ago, or still loads what he was given,
    /// does not (RELIABILITY.md FA20, FA139). A store that is away leaves what was known.
    func isOwned(shard: Int) async -> Bool {
        let now = clock.monotonicNanoseconds()
        let (isKnown, isOwned) = state.withLock { ($0.ownedUntil > now, $0.owned.contains(shard)) }
        if isKnown { return isOwned }
        do throws(StoreError) {
            let owned = try await cluster.watchedShards()
            state.withLock { state in
                state.owned = owned
                state.ownedUntil = now + Self.shardNanoseconds
            }
            return owned.contains(shard)
        } catch {
            return isOwned
        }
    }
}

/// What of an order says how well its stop is watched.
struct WatchedStop: Sendable {
    let shard: Int
    let series: PriceSeries
    /// There is something to watch.
    let isArmed: Bool
    let health: OrderHealth
    let isDelayed: Bool

    init(_ order: SmartOrder) {
        shard = order.id.shard
        series = PriceSeries(market: order.instrument.market, source: order.triggerSource)
        isArmed = order.status.isOpen && (order.latch != nil || order.effectiveStop != nil)
        health = order.health
        isDelayed = order.stopState == .delayed
    }
}

extension Backend {
    private static let goodFeedMs: Int64 = 2_000
    private static let lostFeedMs: Int64 = 10_000

    func protection(of order: SmartOrder) async -> OrderContext.Protection {
        let stop = WatchedStop(order)
        return await protection(of: stop, feedAgeMs: await feedAge(stop.series))
    }

    /// - Parameter age: of the newest price; nil: not known.
    func protection(of stop: WatchedStop, feedAgeMs age: Int64?) async -> OrderContext.Protection {
        let isOwned = await catalogue.isOwned(shard: stop.shard)
        func protection(_ state: OrderContext.Protection.State, _ reasons: [String] = []) -> OrderContext.Protection {
            OrderContext.Protection(state: state, reasons: reasons, feedAgeMs: age, isShardOwned: isOwned)
        }
        guard stop.isArmed else { return protection(.none) }
        var gaps: [String] = []
        if !isOwned { gaps.append("SHARD_UNOWNED") }
        if age ?? .max > Self.lostFeedMs { gaps.append("FEED_LOST") }
        if stop.health == .venueDown { gaps.append("VENUE_DOWN") }
        guard gaps.isEmpty else { return protection(.gap, gaps) }
        var reasons: [String] = []
        if let age, age > Self.goodFeedMs { reasons.append("FEED_SLOW") }
        switch stop.health {
        case .retrying, .unknown: reasons.append(stop.health.rawValue)
        case .ok, .venueDown, .needsAttention: break
        }
        guard reasons.isEmpty else { return protection(.degraded, reasons) }
        return stop.isDelayed ? protection(.delayed) : protection(.on)
    }
}
