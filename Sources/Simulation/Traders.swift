// People: they make orders, change their minds, and repeat a request until they have an answer.
internal import OrderEngine
internal import OwnerThread
internal import SmartOrders

/// Plans and commands by the seed, legal or not.
struct Traders {
    static func draft(around cents: Int, side: Side, now: Timestamp, _ random: inout SeededRandom) -> Draft {
        func once(in times: UInt64) -> Bool { random.next() % times == 0 }
        func between(_ low: Int, _ high: Int) -> Int { low + Int(random.next() % UInt64(high - low + 1)) }
        func away(_ distance: Int, profit: Bool) -> Price {
            SimulatedMarket.price(max(1, cents + ((side == .buy) == profit ? distance : -distance)))
        }
        func rate(_ perMille: Int) -> Rate { Rate(ExactDecimal(mantissa: Int128(perMille), scale: 3)) }
        var draft = Draft(
            side: side,
            quantity: Quantity(ExactDecimal(mantissa: Int128(between(1, 200)), scale: 1)),
            entry: EntryPlan(mode: .attach, price: SimulatedMarket.price(cents)),
        )
        switch random.next() % 10 {
        case 0, 1: draft.entry = EntryPlan(mode: .market)
        case 2: draft.entry = EntryPlan(mode: .limit, price: away(between(0, 150), profit: false))
        case 3:
            draft.entry = EntryPlan(mode: .conditional, trigger: away(between(-150, 150), profit: true))
        case 4: draft.entry = EntryPlan(mode: .trailing, callbackRate: rate(between(5, 20)))
        default: break
        }
        if draft.entry.mode != .attach, once(in: 4) {
            draft.entry.expiresAt = now.advanced(milliseconds: Int64(between(1_000, 120_000)))
        }
        let sizes: [[Int]] = [[100], [60, 40], [40, 35, 25], [10, 20, 70], [25, 25, 25, 25], [], []]
        let chosen = sizes[Int(random.next() % UInt64(sizes.count))]
        var distance = between(40, 250)
        for (index, size) in chosen.enumerated() {
            var target = TargetPrice.price(away(distance, profit: true))
            if once(in: 5) { target = .percent(ExactDecimal(mantissa: Int128(distance), scale: 2)) }
            draft.takeProfits.append(
                TakeProfitPlan(
                    target: target,
                    sizePercent: ExactDecimal(size),
                    execution: once(in: 3) ? .limit : .market,
                    trailingRate: index == chosen.count - 1 && once(in: 6) ? rate(10) : nil,
                )
            )
            distance += between(30, 250)
        }
        if !once(in: 5) {
            let stop = between(60, 400)
            draft.stopLoss = StopLossPlan(price: away(stop, profit: false))
            if once(in: 6) {
                draft.stopLoss?.execution = .limit
                draft.stopLoss?.limitPrice = away(stop + 20, profit: false)
                draft.stopLoss?.fallbackMs = once(in: 2) ? 5_000 : nil
            }
            if once(in: 6) {
                draft.stopLoss?.timeoutMs = 5_000
                draft.stopLoss?.emergencyPrice = once(in: 2) ? away(stop + 200, profit: false) : nil
            }
        }
        if once(in: 2) {
            draft.trailing = TrailingPlan(
                callback: once(in: 2)
                    ? .rate(rate(between(5, 40))) : .amount(SimulatedMarket.price(between(50, 400))),
                activationPrice: once(in: 3) ? away(between(50, 200), profit: true) : nil,
            )
        }
        if once(in: 3) {
            let modes: [BreakEvenPlan.Mode] = [.entry, .fees, .offset]
            draft.breakEven = BreakEvenPlan(
                enabled: !once(in: 4),
                mode: modes[Int(random.next() % 3)],
                offsetPercent: ExactDecimal(mantissa: 1, scale: 1),
                armPercent: once(in: 3) ? ExactDecimal(2) : nil,
            )
        }
        if once(in: 4) { draft.stopFollow = .followTP }
        if once(in: 6) {
            draft.stepLocks = [
                .percent(at: ExactDecimal(1), lock: ExactDecimal(mantissa: 2, scale: 1)),
                .percent(at: ExactDecimal(mantissa: 25, scale: 1), lock: ExactDecimal(mantissa: 11, scale: 1)),
            ]
        }
        if draft.stopLoss != nil, once(in: 5) {
            draft.partialStops = [
                PartialStopPlan(distance: .price(away(40, profit: false)), sizePercent: ExactDecimal(30))
            ]
        }
        if once(in: 8) { draft.exitAt = now.advanced(milliseconds: Int64(between(1_000, 600_000))) }
        return draft
    }

    /// A conditional order.
    static func conditional(
        around cents: Int,
        side: Side,
        isDerivative: Bool,
        now: Timestamp,
        _ random: inout SeededRandom,
    ) -> ConditionalDraft {
        func once(in times: UInt64) -> Bool { random.next() % times == 0 }
        func between(_ low: Int, _ high: Int) -> Int { low + Int(random.next() % UInt64(high - low + 1)) }
        let kind: ConditionalDraft.Kind = once(in: 2) ? .stopLoss : .takeProfit
        // A stop-loss that sells and a take-profit that buys wait below.
        let isBelow = (kind == .stopLoss) == (side == .sell)
        let trigger = SimulatedMarket.price(max(1, cents + (isBelow ? -1 : 1) * between(20, 200)))
        return ConditionalDraft(
            kind: kind,
            side: side,
            quantity: Quantity(ExactDecimal(mantissa: Int128(between(1, 100)), scale: 1)),
            trigger: trigger,
            limit: once(in: 3) ? trigger : nil,
            reduceOnly: kind == .stopLoss && isDerivative && once(in: 2),
            expiresAt: once(in: 4) ? now.advanced(milliseconds: Int64(between(5_000, 200_000))) : nil,
        )
    }

    static func command(around cents: Int, _ random: inout SeededRandom) -> Command {
        func once(in times: UInt64) -> Bool { random.next() % times == 0 }
        func between(_ low: Int, _ high: Int) -> Int { low + Int(random.next() % UInt64(high - low + 1)) }
        func near(_ distance: Int) -> Price { SimulatedMarket.price(cents + between(-distance, distance)) }
        func tenths(_ number: Int) -> Quantity { Quantity(ExactDecimal(mantissa: Int128(number), scale: 1)) }
        var edit = OrderEdit()
        switch random.next() % 16 {
        case 0: return once(in: 2) ? .cancelEntry : .openNow
        case 1: return once(in: 3) ? .cancel : .closeLevel(1)
        case 2: return .closeMarket
        case 3, 4: return .closeLevel(between(1, 3))
        case 5: return .addFunds(tenths(between(1, 30)), limitPrice: once(in: 2) ? near(50) : nil)
        case 6, 7: return .reduceFunds(tenths(between(1, 20)))
        case 8, 9, 10: edit.stopLoss = StopLossPlan(price: near(300))
        case 11: edit.trailing = once(in: 4) ? .some(nil) : TrailingPlan(callback: .rate(Rate("0.01") ?? .zero))
        case 12: edit.breakEven = BreakEvenPlan(enabled: !once(in: 3))
        case 13:
            edit.takeProfits = [
                TakeProfitPlan(target: .percent(ExactDecimal(2)), sizePercent: ExactDecimal(60)),
                TakeProfitPlan(target: .percent(ExactDecimal(4)), sizePercent: ExactDecimal(40)),
            ]
        case 14: edit.cancelLevel = between(1, 3)
        default: edit.restingLimit = OrderEdit.RestingLimit(level: 1, price: near(200))
        }
        return .edit(edit)
    }
}
