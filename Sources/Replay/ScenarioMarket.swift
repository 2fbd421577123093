// The venue and the market of one scenario: the matching rules of PaperMatching, the faults of the scenario, and a
// record of every attempt to place an order (scenarios/README.md 2).

internal import PaperMatching
internal import SmartOrders

/// A venue that answers at once, unless a fault or an outage says otherwise.
struct ScenarioMarket {
    /// What the venue has to say of one order.
    struct Report {
        let key: VenueOrderKey
        let news: VenueNews
    }

    private(set) var attempts: [ScenarioAttempt] = []
    var isUp = true
    var now: Timestamp
    /// The account's signed position; nil when the scenario has none.
    var net: ExactDecimal?

    private var book: MatchingBook
    private let fees: ScenarioFees
    private let faults: [ScenarioFault]
    /// Book key of the last attempt under each name.
    private var latest: [VenueOrderKey: Int] = [:]
    /// Orders of each purpose, and cancel requests of each `cancel:<purpose>`, so far.
    private var counts: [String: Int] = [:]
    /// Submits without an answer, with what the venue did.
    private var unresolved: [(index: Int, match: Match?)] = []
    private var fillCount = 0

    init(mark: Price, fees: ScenarioFees, faults: [ScenarioFault], net: ExactDecimal?, now: Timestamp) {
        book = MatchingBook(fillPrice: mark)
        self.fees = fees
        self.faults = faults
        self.net = net
        self.now = now
    }

    /// Orders that rest, in order of submission.
    var resting: [ScenarioAttempt] { book.resting.map { attempts[$0.order.key] } }

    var hasResting: Bool { book.restingCount > 0 }

    private mutating func fault(_ purpose: String) -> ScenarioFault? {
        counts[purpose, default: 0] += 1
        let count = counts[purpose]
        return faults.first { $0.purpose == purpose && $0.attempt == count }
    }

    // MARK: Requests

    /// Sends an order and gives the venue's answers in order.
    mutating func place(_ order: VenueOrder) -> [Report] {
        let index = attempts.count
        attempts.append(ScenarioAttempt(order: order, outcome: .open))
        latest[order.key] = index
        let fault = fault(order.leg.description)
        guard isUp else { return end(index, .notSent, .notSent) }
        let ticket = BookOrder(
            key: index,
            side: order.side,
            type: order.type,
            limit: order.limit,
            quantity: order.quantity,
        )
        switch fault?.result {
        case .reject: return end(index, .rejected, .refused(.rejected, venueCode: "REJECTED"))
        case .insufficient:
            return end(index, .rejectedInsufficient, .refused(.insufficientBalance, venueCode: "INSUFFICIENT"))
        case .rateLimited: return end(index, .rateLimited, .refused(.rateLimited, venueCode: "RATE_LIMITED"))
        case .unknownFilled:
            let match = book.takeWhole(ticket)
            if let match { move(match) }
            unresolved.append((index, match))
            return end(index, .unknown, .unknown)
        case .unknownNotPlaced:
            unresolved.append((index, nil))
            return end(index, .unknown, .unknown)
        case .filledBeforeCancel, nil: break
        }
        let submission = book.submit(ticket)
        var reports = [report(index, .accepted(venueOrderID: "v\(index + 1)"))]
        if let match = submission.match {
            move(match)
            reports.append(fill(match))
        }
        switch submission.outcome {
        case .filled: reports += end(index, .filled, .ended(.filled))
        case .partiallyExpired: reports += end(index, .partialExpired, .ended(.expired))
        case .expired: reports += end(index, .expired, .ended(.expired))
        case .resting: break
        }
        return reports
    }

    /// Asks the venue to cancel. Nil: the request did not arrive or has no answer.
    mutating func cancel(_ key: VenueOrderKey) -> [Report]? {
        guard isUp, let index = latest[key] else { return nil }
        guard let resting = book.resting(index) else {
            // Ended already: its last report says how; an unresolved submit is cancelled when it is known.
            return unresolved.contains { $0.index == index } ? nil : []
        }
        var reports: [Report] = []
        if let race = fault("cancel:\(key.leg)") {
            let quantity = min(race.quantity, resting.unfilled)
            if quantity.isPositive, let match = book.fill(index, quantity: quantity, price: race.price) {
                move(match)
                reports.append(fill(match))
            }
        }
        if book.cancel(index) == nil {
            reports += end(index, .filled, .ended(.filled))
        } else {
            reports += end(index, .cancelled, .ended(.cancelled))
        }
        return reports
    }

    // MARK: What the market does

    /// Answers about submits that had none. Nothing while the venue is down.
    mutating func resolve() -> [Report] {
        guard isUp else { return [] }
        var reports: [Report] = []
        for (index, match) in unresolved {
            if let match {
                reports.append(fill(match))
                reports += end(index, .filled, .ended(.filled))
            } else {
                reports += end(index, .notFound, .absent)
            }
        }
        unresolved.removeAll()
        return reports
    }

    /// A price event: resting orders match, unless the venue is down.
    mutating func price(fill price: Price, liquidity: Quantity?) -> [Report] {
        var matches: [Match] = []
        let isUp = self.isUp
        book.price(fill: price, liquidity: liquidity) { resting, available in
            guard isUp else { return .zero }
            matches.append(
                Match(
                    key: resting.order.key,
                    side: resting.order.side,
                    quantity: available,
                    price: resting.limit,
                    isMaker: true,
                )
            )
            return available
        }
        return matches.flatMap { maker($0) }
    }

    /// The venue fills part of the resting entry.
    mutating func fillEntry(_ quantity: Quantity, _ price: Price) -> [Report] {
        guard let index = restingEntry, let match = book.fill(index, quantity: quantity, price: price) else {
            return []
        }
        return maker(match)
    }

    /// The venue ends the resting entry.
    mutating func endEntry(_ end: VenueNews.VenueEnd) -> [Report] {
        guard let index = restingEntry, book.cancel(index) != nil else { return [] }
        switch end {
        case .filled: return self.end(index, .filled, .ended(.filled))
        case .expired: return self.end(index, .expired, .ended(.expired))
        case .cancelled: return self.end(index, .cancelled, .ended(.cancelled))
        }
    }

    private var restingEntry: Int? { book.resting.first { attempts[$0.order.key].order.leg == .entry }?.order.key }

    // MARK: Reports

    private mutating func maker(_ match: Match) -> [Report] {
        move(match)
        var reports = [fill(match)]
        if book.resting(match.key) == nil { reports += end(match.key, .filled, .ended(.filled)) }
        return reports
    }

    private func report(_ index: Int, _ news: VenueNews) -> Report {
        Report(key: attempts[index].order.key, news: news)
    }

    private mutating func end(_ index: Int, _ outcome: ScenarioAttempt.Outcome, _ news: VenueNews) -> [Report] {
        attempts[index].outcome = outcome
        return [report(index, news)]
    }

    /// The account's position follows what was traded.
    private mutating func move(_ match: Match) {
        guard let net else { return }
        self.net = match.side == .buy ? net + match.quantity.value : net - match.quantity.value
    }

    private mutating func fill(_ match: Match) -> Report {
        attempts[match.key].fills.append((match.quantity, match.price))
        fillCount += 1
        let takesBase: Bool
        switch attempts[match.key].order.leg {
        case .entry, .add: takesBase = fees.entryAsset == .base
        case .takeProfit, .stop, .partialStop, .close, .reduce, .backstop, .conditional, .timer, .reconcile:
            takesBase = false
        }
        let fee =
            takesBase
            ? match.quantity.value * fees.schedule.rate(of: match).value : fees.schedule.fee(of: match).value
        return report(
            match.key,
            .fill(
                Fill(
                    venueFillID: "f\(fillCount)",
                    quantity: match.quantity,
                    price: match.price,
                    fee: fee,
                    feeAsset: takesBase ? .base : .quote,
                    isMaker: match.isMaker,
                    time: now,
                )
            ),
        )
    }
}
