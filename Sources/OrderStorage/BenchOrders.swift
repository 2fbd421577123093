// The orders that `StoreBenchmark` moves: a long with three levels, a stop and a trailing stop.

internal import OrderEngine
internal import OrderJSON
internal import SmartOrders

enum BenchOrders {
    static func account(_ number: Int) -> AccountID {
        AccountID(UniqueID(high: 0x0197_0000_0000_7000, low: 0x8000_0000_0000_0000 | UInt64(number)))
    }

    static func number(of account: AccountID) -> Int { Int(account.value.low & 0xffff_ffff) }

    static func order(_ number: Int, account: Int) -> SmartOrder {
        func price(_ ticks: Int) -> Price { Price(ExactDecimal(mantissa: Int128(ticks), scale: 2)) }
        let instrument = Instrument(
            market: MarketID(venue: "binance", product: "linear", symbol: "BTCUSDT"),
            kind: .perpetual,
            tickSize: price(1),
            stepSize: Quantity(ExactDecimal(mantissa: 1, scale: 3)),
            baseAsset: "BTC",
            quoteAsset: "USDT",
        )
        let now = Timestamp(milliseconds: 1_790_000_000_000 + Int64(number))
        let plans = [(6_600_000, 40), (6_700_000, 35), (6_900_000, 25)].map { ticks, percent in
            TakeProfitPlan(target: .price(price(ticks)), sizePercent: ExactDecimal(percent))
        }
        let draft = Draft(
            side: .buy,
            quantity: Quantity(ExactDecimal(1)),
            entry: EntryPlan(mode: .attach, price: price(6_500_000)),
            takeProfits: plans,
            stopLoss: StopLossPlan(price: price(6_300_000)),
            trailing: TrailingPlan(callback: .rate(Rate(ExactDecimal(mantissa: 2, scale: 2)))),
        )
        var mixed = UInt64(number) &* 0x9e37_79b9_7f4a_7c15
        mixed ^= mixed >> 29
        let low = 0x8000_0000_0000_0000 | (mixed & 0x3fff_ffff_ffff_ffff)
        var order = SmartOrder(
            id: OrderID(UniqueID(high: 0x0198_0000_0000_7000 + UInt64(number) << 16, low: low)),
            account: self.account(account),
            instrument: instrument,
            createdAt: now,
            updatedAt: now,
            draft: draft,
            triggerSource: .mark,
        )
        order.status = .active
        order.phase = .monitoring
        order.stopState = .armed
        order.entered = draft.quantity
        order.received = draft.quantity
        order.extreme = price(6_500_000)
        order.trailingActive = true
        order.levels = plans.enumerated().map { index, plan in
            Level(
                number: index + 1,
                plan: plan,
                price: price([6_600_000, 6_700_000, 6_900_000][index]),
                planned: Quantity(ExactDecimal(mantissa: [400, 350, 250][index], scale: 3)),
            )
        }
        return order
    }

    /// Three levels, a fixed and a trailing stop.
    static let watches: [Watch] = {
        func price(_ ticks: Int) -> Price { Price(ExactDecimal(mantissa: Int128(ticks), scale: 2)) }
        return [
            Watch(leg: .stop, attempt: 1, condition: .atOrBelow(price(6_300_000))),
            Watch(
                leg: .stop,
                attempt: 1,
                condition: .trailsHigh(.rate(Rate(ExactDecimal(mantissa: 2, scale: 2))), extreme: price(6_500_001)),
            ),
            Watch(leg: .takeProfit(1), attempt: 1, condition: .atOrAbove(price(6_600_001))),
            Watch(leg: .takeProfit(2), attempt: 1, condition: .atOrAbove(price(6_700_001))),
            Watch(leg: .takeProfit(3), attempt: 1, condition: .atOrAbove(price(6_900_001))),
        ]
    }()

    static func next(_ order: SmartOrder) -> SmartOrder {
        var next = order
        next.version += 1
        next.updatedAt = order.updatedAt.advanced(milliseconds: 1)
        next.extremePosition = TickPosition(venueTime: next.updatedAt.microseconds, sequence: next.version)
        next.health = next.health == .ok ? .retrying : .ok
        return next
    }

    static func commit(_ next: SmartOrder, id: Int64) -> Commit {
        let price = Price(ExactDecimal(mantissa: 6_500_001, scale: 2))
        return Commit(
            id: id,
            next: .smart(next),
            cause: .tick,
            actor: Actor(kind: .worker, id: "bench"),
            tick: Tick(market: next.instrument.market, source: .mark, price: price, position: next.extremePosition),
            facts: [.stopMoved(from: nil, to: price, kind: .trailing)],
        )
    }
}

extension SmartOrder {
    var encodedStateCount: Int { encodedState().count }
}
