// What handlers work with.

internal import DecisionTimeline
internal import JSONText
internal import Logging
internal import OrderEngine
internal import OrderJSON
internal import OwnerThread
internal import SmartOrders

/// The ports of the API process, and what it keeps beside them.
struct Backend: Sendable {
    let configuration: APIConfiguration
    let orders: any OrderStore
    let accounts: any AccountStore
    let commands: CommandService
    let clock: any EngineClock
    let prices: PriceCache
    let keys: KeyRing
    let cursors: CursorCoder
    let timeline: any TimelineStore
    let explainer: Explainer
    let logger: Logger

    /// An order of the caller. Somebody else's is as unknown as none.
    func order(_ text: String, of caller: Caller) async throws -> SmartOrder {
        guard let id = OrderID(text), let order = try await orders.load([id]).first,
            order.account == caller.account.id
        else { throw Problem.notFound }
        return order
    }

    /// What an order's object shows beside its row.
    func context(of order: SmartOrder, in account: Account) async -> OrderContext {
        let price = await prices.price(of: order)
        return OrderContext(mode: account.orderMode, price: price, derivedAt: clock.now())
    }

    func object(_ order: SmartOrder, of account: Account) async -> [UInt8] {
        var writer = JSONWriter(reserving: 4_096)
        writer.order(order, context: await context(of: order, in: account))
        return writer.take()
    }
}

extension Account {
    var orderMode: OrderContext.Mode {
        switch mode {
        case .paper: .paper
        case .live: .live
        }
    }
}

/// Newest prices, asked for at most once in 250 ms per series. A price that cannot be had is none: derived fields are
/// null then, orders are shown all the same.
final class PriceCache: Sendable {
    private static let lifeNanoseconds: Int64 = 250_000_000
    private static let maximumSeries = 10_000

    private struct Entry {
        let tick: RawTick?
        let until: Int64
    }

    private let ticks: any TickLog
    private let clock: any EngineClock
    private let entries = Locked<[PriceSeries: Entry]>([:])

    init(ticks: any TickLog, clock: any EngineClock) {
        self.ticks = ticks
        self.clock = clock
    }

    func latest(_ series: PriceSeries) async -> RawTick? {
        let now = clock.monotonicNanoseconds()
        if let entry = entries.withLock({ $0[series] }), entry.until > now { return entry.tick }
        var tick: RawTick?
        do throws(TickLogError) {
            tick = try await ticks.latest(series)
        } catch {
            tick = nil
        }
        let entry = Entry(tick: tick, until: now + Self.lifeNanoseconds)
        entries.withLock { entries in
            if entries.count >= Self.maximumSeries { entries = [:] }
            entries[series] = entry
        }
        return tick
    }

    func price(of order: SmartOrder) async -> Price? {
        let series = PriceSeries(market: order.instrument.market, source: order.triggerSource)
        return await latest(series).map { Price(units: $0.price, decimals: order.instrument.priceDecimals) }
    }
}
