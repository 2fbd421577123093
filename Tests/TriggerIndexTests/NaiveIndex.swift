import TriggerIndex

/// The definition, one watch at a time: what `MarketIndex` must agree with. Its arithmetic is its own.
struct NaiveIndex {
    struct Watch {
        let rule: WatchRule
        let tag: UInt64
        var extreme: Int64?
    }
    /// What a tick crossed, comparable without handles.
    struct Fired: Hashable {
        let tag: UInt64
        let threshold: Int64
        let extreme: Int64?
    }

    let tickUnits: Int64
    var watches: [UInt64: Watch] = [:]

    init(tickUnits: Int64) { self.tickUnits = tickUnits }

    mutating func arm(_ rule: WatchRule, tag: UInt64) {
        let extreme: Int64? =
            switch rule {
            case .falling, .rising: nil
            case .followsHigh(_, let extreme), .followsLow(_, let extreme): extreme
            }
        watches[tag] = Watch(rule: rule, tag: tag, extreme: extreme)
    }

    func threshold(_ watch: Watch) -> Int64 {
        let tick = Int128(tickUnits) * 1_000_000
        let extreme = Int128(watch.extreme ?? 0)
        let (exact, roundsUp): (Int128, Bool) =
            switch watch.rule {
            case .falling(let threshold), .rising(let threshold): (Int128(threshold) * 1_000_000, true)
            case .followsHigh(.rate(let rate), _): (extreme * (1_000_000 - Int128(rate)), true)
            case .followsHigh(.amount(let amount), _): ((extreme - Int128(amount)) * 1_000_000, true)
            case .followsLow(.rate(let rate), _): (extreme * (1_000_000 + Int128(rate)), false)
            case .followsLow(.amount(let amount), _): ((extreme + Int128(amount)) * 1_000_000, false)
            }
        if watch.extreme == nil { return Int64(exact / 1_000_000) }
        var ticks = exact / tick
        if roundsUp, exact > ticks * tick { ticks += 1 }
        if !roundsUp, exact < ticks * tick { ticks -= 1 }
        return Int64(ticks * Int128(tickUnits))
    }

    mutating func advance(to price: Int64) -> Set<Fired> {
        var fired: Set<Fired> = []
        for (tag, watch) in watches {
            let threshold = threshold(watch)
            let isCrossed =
                switch watch.rule {
                case .falling, .followsHigh: price <= threshold
                case .rising, .followsLow: price >= threshold
                }
            if isCrossed {
                fired.insert(Fired(tag: tag, threshold: threshold, extreme: watch.extreme))
                watches[tag] = nil
                continue
            }
            switch watch.rule {
            case .falling, .rising: break
            case .followsHigh: watches[tag]?.extreme = max(price, watch.extreme ?? price)
            case .followsLow: watches[tag]?.extreme = min(price, watch.extreme ?? price)
            }
        }
        return fired
    }
}

extension Crossing {
    var fired: NaiveIndex.Fired { NaiveIndex.Fired(tag: tag, threshold: threshold, extreme: extreme) }
}
