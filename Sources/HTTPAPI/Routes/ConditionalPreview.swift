// What a conditional order would cost, and what speaks against it (INTERFACES.md 1.12, ORDERS.md R4, R19.2).

internal import JSONText
internal import OrderEngine
internal import OrderJSON
internal import SmartOrders

/// A conditional order, as its preview shows it.
struct ConditionalPreview {
    /// As it would stand; nil: refused.
    var order: ConditionalOrder?
    /// As it stands; nil: it would be created.
    var before: ConditionalOrder?
    var refusals: [Refusal] = []
    var warnings: [PreviewNumbers.Warning] = []

    /// The limit that the venue is given, and the one that it would be given without a price band.
    private struct VenuePrice {
        let asked: Price
        let free: Price

        init(_ order: ConditionalOrder) {
            let band = order.instrument.band(around: order.draft.trigger)
            if let limit = order.draft.limit {
                free = limit
                asked = limit
                return
            }
            let tickSize = order.instrument.tickSize
            let anchor = order.draft.trigger
            free = Pricing.immediateLimit(side: order.draft.side, anchor: anchor, tickSize: tickSize)
            asked = Pricing.immediateLimit(side: order.draft.side, anchor: anchor, tickSize: tickSize, band: band)
        }
    }

    /// What can be said of the plan alone.
    static func warnings(_ order: ConditionalOrder) -> [PreviewNumbers.Warning] {
        var warnings: [PreviewNumbers.Warning] = []
        let price = VenuePrice(order)
        let instrument = order.instrument
        var isOutside = price.asked != price.free
        if let band = instrument.band(around: order.draft.trigger), let limit = order.draft.limit {
            isOutside = limit < band.low || limit > band.high
        }
        if isOutside { warnings.append(.stopOutsideBand) }
        let half = Quantity(order.remaining.value * ExactDecimal(mantissa: 5, scale: 1))
        let notional = (order.draft.trigger * half).value * instrument.contractSize
        if half < instrument.minQuantity || notional < instrument.minNotional.value {
            warnings.append(.levelNearMinimum)
        }
        return warnings
    }

    func reply(of account: Account, feedAgeMs: Int64?) -> Reply {
        .json { writer in
            writer.member("accepted", refusals.isEmpty)
            writer.key("errors")
            writer.beginArray()
            for refusal in refusals { writer.refusal(refusal) }
            writer.endArray()
            writer.key("warnings")
            writer.beginArray()
            for warning in warnings { writer.string(warning.rawValue) }
            writer.endArray()
            writer.key("order")
            if let order { writer.conditionalOrder(order, mode: account.orderMode) } else { writer.null() }
            writer.key("legs")
            writer.beginArray()
            if let order, !order.status.isTerminal { Self.leg(order, &writer) }
            writer.endArray()
            writer.member("worstAcceptedPrice", orNull: order.map { VenuePrice($0).asked })
            writer.member("estimatedSlippage", orNull: nil as ExactDecimal?)
            writer.member("feedAgeMs", orNull: feedAgeMs)
            writer.consequences(consequences)
        }
    }

    private static func leg(_ order: ConditionalOrder, _ writer: inout JSONWriter) {
        let instrument = order.instrument
        let notional = (order.draft.trigger * order.remaining).value * instrument.contractSize
        let rate = order.draft.limit == nil ? instrument.takerFee : instrument.makerFee
        writer.beginObject()
        writer.member("leg", "cond")
        writer.member("price", order.draft.trigger)
        writer.member("qty", order.remaining)
        writer.member("venuePrice", VenuePrice(order).asked)
        writer.member("notional", notional.rounded(decimals: 8))
        writer.member("feeEstimate", (notional * rate.value).rounded(decimals: 8))
        writer.endObject()
    }

    /// What the action means for the order that is there.
    private var consequences: ConsequenceList {
        var list = ConsequenceList()
        guard let before, let order else { return list }
        if order.version == before.version {
            list.addNothing(before.id)
        } else {
            list.add(from: before, to: order)
        }
        return list
    }
}

extension Backend {
    /// Milliseconds since the newest price came; nil: no price is known, or nobody noted when it came.
    func feedAge(_ series: PriceSeries) async -> Int64? {
        PriceCache.age(of: await prices.latest(series), at: clock.now())
    }

    /// What to warn of, whatever the plan.
    /// - Parameter isNew: an order would be created.
    func warnings(_ account: Account, isNew: Bool, feedAgeMs: Int64?) async throws -> [PreviewNumbers.Warning] {
        var warnings: [PreviewNumbers.Warning] = []
        if let feedAgeMs, feedAgeMs > 2_000 { warnings.append(.feedStale) }
        if isNew, account.mode == .live,
            try await orders.list(OrderFilter(account: account.id, limit: 1)).isEmpty
        {
            warnings.append(.firstLiveOrder)
        }
        return warnings
    }
}
