// Random conditional orders, prices, answers and faults: they end as R19 says, and never exceed their quantity.

import SmartOrders
import Testing

struct ConditionalPropertyTests {
    @Test(arguments: 0..<400 as Range<UInt64>)
    func `a conditional order ends, and what it asked for is what it may`(seed: UInt64) throws {
        var world = try ConditionalWorld(seed: seed)
        try world.run()
        #expect(world.failures.isEmpty, "seed \(seed)")
    }
}

private struct ConditionalWorld {
    var random: SeededRandom
    var order: ConditionalOrder
    var now = Timestamp(milliseconds: 1_000_000)
    var price = SmartOrdersTests.price("100")
    var failures: [String] = []
    var keys: Set<VenueOrderKey> = []
    /// Orders at the venue with what they have left, and answers under way.
    var open: [(order: VenueOrder, left: Quantity)] = []
    var answers: [(VenueOrderKey, VenueNews)] = []
    var fills = 0

    init(seed: UInt64) throws {
        random = SeededRandom(seed: seed)
        let kind: ConditionalDraft.Kind = random.once(in: 2) ? .stopLoss : .takeProfit
        let side: Side = random.once(in: 2) ? .buy : .sell
        let below = (kind == .stopLoss) == (side == .sell)
        let trigger = SmartOrdersTests.price(below ? "97" : "103")
        let draft = ConditionalDraft(
            kind: kind,
            side: side,
            quantity: quantity("3"),
            trigger: trigger,
            limit: random.once(in: 2) ? trigger : nil,
            reduceOnly: random.once(in: 2),
            expiresAt: random.once(in: 4) ? now.advanced(milliseconds: 20_000) : nil,
        )
        order = try ConditionalOrder.create(
            draft,
            id: testOrder,
            account: testAccount,
            instrument: .test(),
            at: Moment(now: now, price: price),
        ).next
    }

    mutating func run() throws {
        for _ in 0..<80 where !order.status.isTerminal {
            now = now.advanced(milliseconds: Int64.random(in: 0...1500, using: &random))
            switch Int.random(in: 0..<8, using: &random) {
            case 0..<4: try tick()
            case 4: try decide(.timer)
            case 5, 6: try answer()
            default: if random.once(in: 8) { try decide(.command(.cancel)) } else { match() }
            }
        }
        if !order.status.isTerminal { try decide(.command(.cancel)) }
        for _ in 0..<60 where !order.status.isTerminal {
            now = now.advanced(milliseconds: 6000)
            while !answers.isEmpty { try answer() }
            try decide(.timer)
        }
        if !order.status.isTerminal { failures.append("never ended") }
        if order.status == .filled, !order.remaining.isZero { failures.append("filled with \(order.remaining) left") }
    }

    private mutating func tick() throws {
        let cents = Int128(Int.random(in: -90...90, using: &random))
        price = Price(price.value + ExactDecimal(mantissa: cents, scale: 2))
        let crossed = order.watches.contains { watch in
            switch watch.condition {
            case .atOrAbove(let threshold): price >= threshold
            case .atOrBelow(let threshold): price <= threshold
            case .trailsHigh, .trailsLow: false
            }
        }
        let isDue = order.nextTimer.map { $0 <= now } ?? false
        let quiet = !crossed && !order.wantsEveryTick && !isDue
        if try decide(.tick), quiet { failures.append("a quiet tick changed the order") }
    }

    @discardableResult
    private mutating func decide(_ event: OrderEvent) throws -> Bool {
        guard let decision = try order.decide(event, at: Moment(now: now, price: price)) else { return false }
        if decision.next.version != order.version + 1 { failures.append("version") }
        if order.status.isTerminal, decision.next.status != order.status { failures.append("back from the end") }
        order = decision.next
        if order.status.isTerminal, !order.venueOrders.isEmpty || order.reason == nil && order.status == .cancelled {
            failures.append("ended with something live or without a reason")
        }
        let asked = order.venueOrders.reduce(into: order.filled) { $0 += $1.claim }
        if asked > order.draft.quantity { failures.append("asks for \(asked)") }
        for effect in decision.effects {
            switch effect {
            case .place(let key): submit(key)
            case .cancel(let key): cancel(key)
            }
        }
        return true
    }

    private mutating func submit(_ key: VenueOrderKey) {
        guard let placed = order.venueOrders.first(where: { $0.key == key }) else {
            return failures.append("no intent")
        }
        if !keys.insert(key).inserted { failures.append("\(key) twice") }
        if order.status.isTerminal { failures.append("places after the end") }
        switch Int.random(in: 0..<12, using: &random) {
        case 0: answers.append((key, .refused(.rejected, venueCode: "")))
        case 1: answers.append((key, .refused(.rateLimited, venueCode: "")))
        case 2: answers.append((key, .notSent))
        case 3: answers += [(key, .unknown), (key, .absent)]
        default:
            answers.append((key, .accepted(venueOrderID: "v")))
            open.append((placed, placed.quantity))
            match()
        }
    }

    private mutating func match() {
        for index in open.indices {
            let placed = open[index].order
            let limit = placed.limit ?? price
            let crosses = placed.side == .buy ? price <= limit : price >= limit
            if crosses, open[index].left.isPositive {
                let amount = random.once(in: 3) ? quantity("1") : open[index].left
                let taken = min(amount, open[index].left)
                open[index].left -= taken
                fills += 1
                answers.append(
                    (
                        placed.key,
                        .fill(Fill(venueFillID: "f\(fills)", quantity: taken, price: price, time: now)),
                    )
                )
            }
            if placed.type == .immediateOrCancel, open[index].left.isPositive {
                answers.append((placed.key, .ended(.expired)))
                open[index].left = .zero
            }
        }
        open.removeAll { $0.left.isZero }
    }

    private mutating func cancel(_ key: VenueOrderKey) {
        guard let index = open.firstIndex(where: { $0.order.key == key }) else { return }
        open.remove(at: index)
        answers.append((key, .ended(.cancelled)))
    }

    private mutating func answer() throws {
        guard !answers.isEmpty else { return }
        let (key, news) = answers.removeFirst()
        try decide(.venue(key, news))
    }
}
