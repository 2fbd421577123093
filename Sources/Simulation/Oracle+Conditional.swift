// The judge on conditional orders (ORDERS.md R19): one order each, asked for in attempts, never more than its quantity.
internal import OrderEngine
internal import OwnerThread
internal import SmartOrders

extension Oracle {
    /// A conditional order, with its rows and what the venue has of it.
    struct WatchedConditional {
        struct Stand {
            let row: ConditionalOrder
            let tick: TickPosition?
        }
        var stands: [Stand]
        var open = ExactDecimal.zero
        var filled = ExactDecimal.zero
        var terminalAt: Int64?
        /// Attempts whose names are known.
        var names = 0

        var row: ConditionalOrder? { stands.last?.row }
    }

    /// Conditional orders that have not ended.
    var openConditionals: [OrderID] {
        state.withLock { state in
            state.conditionalsInOrder.filter { state.conditionals[$0]?.terminalAt == nil }
        }
    }

    func committed(_ next: ConditionalOrder, _ commit: Commit, at now: Int64) {
        simulator.note("commit \(next.id) \(next.version) \(commit.cause.rawValue) \(next.status.rawValue)")
        state.withLock { state in
            state.commits += 1
            func fail(_ predicate: String, _ evidence: String) {
                Self.report(predicate, "\(next.id) version \(next.version): \(evidence)", at: now, &state)
            }
            if state.conditionals[next.id] == nil {
                state.conditionals[next.id] = WatchedConditional(stands: [])
                state.conditionalsInOrder.append(next.id)
            }
            let before = state.conditionals[next.id]?.row
            if next.version != (before?.version ?? 0) + 1 { fail("I13", "follows version \(before?.version ?? 0)") }
            if before?.status.isTerminal == true { fail("I13", "follows a terminal version") }
            if next.status.isTerminal {
                if !next.venueOrders.isEmpty { fail("I3", "has live orders") }
                if !commit.sendRights.isEmpty { fail("I7", "sends after the end") }
                if state.conditionals[next.id]?.terminalAt == nil { state.conditionals[next.id]?.terminalAt = now }
            }
            if next.filled > next.draft.quantity { fail("I1", "filled \(next.filled) of \(next.draft.quantity)") }
            if let before, next.attempts < before.attempts { fail("I9", "attempts fell") }
            if state.isHalted, !commit.sendRights.isEmpty { fail("PR19", "is sent under a halt") }
            for right in commit.sendRights {
                let name = Name(order: next.id, leg: right.key.leg, attempt: right.key.attempt)
                state.rights[right.clientOrderID] = (name, right.t0, true)
            }
            for order in commit.venueOrders where !order.state.isLive {
                let id = Self.clientID(Name(order: next.id, leg: order.leg, attempt: order.attempt))
                state.rights[id]?.isLive = false
            }
            if let record = commit.idempotency {
                let key = "\(record.owner) \(record.key)"
                if state.keys[key] != nil { fail("GA10", "\(record.key) took effect twice") }
                state.keys[key] = next.id
            }
            for (_, fill) in commit.fills {
                let id = "\(next.account) \(next.instrument.market) \(fill.venueFillID)"
                if state.fills[id] != nil { fail("I12", "fill \(fill.venueFillID) was applied twice") }
                state.fills[id] = fill.quantity.value
            }
            let known = state.conditionals[next.id]?.names ?? 0
            let most = next.attempts + 4
            if most > known {
                for attempt in (known + 1)...most {
                    let name = Name(order: next.id, leg: .conditional, attempt: attempt)
                    state.names[Self.clientID(name)] = name
                }
                state.conditionals[next.id]?.names = most
            }
            state.conditionals[next.id]?.stands.append(.init(row: next, tick: commit.tick?.position))
        }
    }

    static func accepted(
        _ placement: Placement,
        of id: OrderID,
        _ label: String,
        at now: Int64,
        _ state: inout State,
    ) {
        guard let order = state.conditionals[id], let row = order.row else {
            return report("PR1", "\(label) is of no known order", at: now, &state)
        }
        if let ended = order.terminalAt {
            report("PR7", "\(label) was accepted at \(now), ended at \(ended)", at: now, &state)
        }
        if row.draft.reduceOnly, row.instrument.kind.isDerivative, !placement.reduceOnly {
            report("I14", "\(label) is not reduce-only", at: now, &state)
        }
        let quantity = placement.quantity.value
        state.accepted[placement.clientOrderID] = Accepted(order: id, isExit: false, open: quantity, filled: .zero)
        state.conditionals[id]?.open += quantity
        if order.filled + order.open + quantity > row.draft.quantity.value {
            report(
                "PR2",
                "\(label): \(order.filled) filled and \(order.open + quantity) open of \(row.draft.quantity)",
                at: now,
                &state,
            )
        }
    }

    static func judgeConditionalSums(at now: Int64, _ state: inout State) {
        for id in state.conditionalsInOrder {
            guard let order = state.conditionals[id], let row = order.row, row.filled.value != order.filled else {
                continue
            }
            report("PR12", "\(id) filled \(row.filled), the venue \(order.filled)", at: now, &state)
        }
    }

    /// No waiting version is behind a tick that satisfies it.
    func judgeConditionalPrices(at now: Int64, _ state: inout State) {
        for id in state.conditionalsInOrder {
            guard let order = state.conditionals[id], let first = order.row else { continue }
            let name = PriceSeries(market: first.instrument.market, source: first.triggerSource)
            guard let series = state.series[name] else { continue }
            for (index, stand) in order.stands.enumerated()
            where stand.row.status == .pending && stand.row.draft.expiresAt == nil {
                let next = index + 1 < order.stands.count ? order.stands[index + 1] : nil
                let start = Self.firstIndex(in: series.ticks, after: stand.row.position)
                let crossed = (start..<max(start, series.ticks.count)).first { place in
                    (series.isPoint[place] || series.isStreamed[place] && isStreamReliable)
                        && stand.row.isSatisfied(by: SimulatedMarket.price(series.ticks[place].cents))
                }
                guard let crossed else { continue }
                let position = series.ticks[crossed].position
                if let next, position >= next.row.position { continue }
                // Where only extremes are left, the tick that decided is the end of a run of prices.
                if let decided = next?.tick, decided >= position,
                    Self.isOneRun(series, from: crossed, to: Int(decided.sequence))
                {
                    continue
                }
                Self.report(
                    "PR3",
                    "\(id) version \(stand.row.version) at \(stand.row.position.sequence) waited for tick \(crossed), "
                        + (next.map { "version \($0.row.version) is at \($0.row.position.sequence)" } ?? "nothing came")
                        + "; \(Self.told(series, around: crossed))",
                    at: now,
                    &state,
                )
            }
        }
    }

    static func isOneRun(_ series: Series, from index: Int, to end: Int) -> Bool {
        guard end < series.ticks.count, end > index else { return end == index }
        let isRising = series.ticks[end].cents > series.ticks[index].cents
        for step in index..<end {
            let change = series.ticks[step + 1].cents - series.ticks[step].cents
            if isRising ? change < 0 : change > 0 { return false }
        }
        return true
    }
}
