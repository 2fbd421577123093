// Orders as answers and snapshots show them: what stands still as long as the row does is made once and kept with what was
// read (`ReadOrder`), what moves with the market is put in each time.

internal import JSONText
internal import OrderEngine
internal import OrderJSON
internal import OwnerThread
internal import SmartOrders

/// What is made of an order once for all who are shown it.
final class ShownOrder: Sendable {
    let mode: OrderContext.Mode
    let text: OrderText
    let stop: WatchedStop
    let priceDecimals: Int

    init(_ order: SmartOrder, _ context: OrderContext) {
        mode = context.mode
        text = OrderText(order, context: context)
        stop = WatchedStop(order)
        priceDecimals = order.instrument.priceDecimals
    }
}

/// Smart orders of one answer, ready to be written.
struct ShownPage: Sendable {
    let orders: [ShownOrder]
    /// Of the whole text, about.
    let bytes: Int
}

extension Backend {
    /// Looks at every smart order once: what no one was shown yet is made, and its fills are read together.
    func shown(_ page: [ReadOrder], _ account: (AccountID) throws -> Account) async throws -> ShownPage {
        var shown: [ShownOrder?] = []
        shown.reserveCapacity(page.count)
        var unknown: [(place: Int, read: ReadOrder, order: SmartOrder, mode: OrderContext.Mode)] = []
        var mode: (account: AccountID, mode: OrderContext.Mode)?
        for read in page where read.smart != nil {
            if mode?.account != read.account { mode = (read.account, try account(read.account).orderMode) }
            guard let mode = mode?.mode else { continue }
            if let known = read.made.withLock({ $0 }) as? ShownOrder, known.mode == mode {
                shown.append(known)
            } else if let order = read.smart {
                unknown.append((shown.count, read, order, mode))
                shown.append(nil)
            }
        }
        if !unknown.isEmpty { await history.read(unknown.map(\.order)) }
        for (place, read, order, mode) in unknown {
            var context = OrderContext(mode: mode)
            let isWhole = history.tell(order, &context)
            let made = ShownOrder(order, context)
            if isWhole { read.made.withLock { $0 = made } }
            shown[place] = made
        }
        let orders = shown.compactMap(\.self)
        return ShownPage(orders: orders, bytes: orders.reduce(1_024) { $0 + $1.text.count + 512 })
    }

    /// Writes the Order objects, at one moment.
    func write(_ page: ShownPage, to writer: inout JSONWriter) async {
        let now = clock.now()
        var seen: (series: PriceSeries, tick: RawTick?)?
        for order in page.orders {
            // Orders of a page are often of one market.
            let tick: RawTick?
            if let seen, seen.series == order.stop.series {
                tick = seen.tick
            } else {
                tick = await prices.latest(order.stop.series)
                seen = (order.stop.series, tick)
            }
            let present = OrderPresent(
                price: tick.map { Price(units: $0.price, decimals: order.priceDecimals) },
                derivedAt: now,
                protection: await protection(of: order.stop, feedAgeMs: PriceCache.age(of: tick, at: now)),
            )
            writer.order(order.text, present)
        }
    }
}
