// What the tests of the core share: short literals, a market of their own, a desk that answers as it is told.

public import SmartOrders
import Testing

extension ExactDecimal: ExpressibleByStringLiteral {
    public init(stringLiteral text: String) {
        guard let value = ExactDecimal(text) else { preconditionFailure("no number: \(text)") }
        self = value
    }
}

func price(_ text: String) -> Price { Price(ExactDecimal(stringLiteral: text)) }
func quantity(_ text: String) -> Quantity { Quantity(ExactDecimal(stringLiteral: text)) }
func rate(_ text: String) -> Rate { Rate(ExactDecimal(stringLiteral: text)) }
func money(_ text: String) -> Money { Money(ExactDecimal(stringLiteral: text)) }

/// Repeats for a seed, on every machine.
struct SeededRandom: RandomNumberGenerator {
    private var state: UInt64
    init(seed: UInt64) { state = seed &* 0x9e37_79b9_7f4a_7c15 &+ 0x2545_f491_4f6c_dd1d }
    mutating func next() -> UInt64 {
        state &+= 0x9e37_79b9_7f4a_7c15
        var mixed = state
        mixed = (mixed ^ (mixed >> 30)) &* 0xbf58_476d_1ce4_e5b9
        mixed = (mixed ^ (mixed >> 27)) &* 0x94d0_49bb_1331_11eb
        return mixed ^ (mixed >> 31)
    }
    /// True once in `times`.
    mutating func once(in times: Int) -> Bool { Int.random(in: 0..<times, using: &self) == 0 }
}

extension Instrument {
    static func test(
        kind: InstrumentKind = .perpetual,
        tickSize: String = "0.01",
        stepSize: String = "0.1",
        minQuantity: String = "0",
        minNotional: String = "0",
        takerFee: String = "0",
        band: (low: String, high: String)? = nil,
        native: NativeOrders = [],
    ) -> Instrument {
        Instrument(
            market: MarketID(venue: "test", product: "linear", symbol: "TEST"),
            kind: kind,
            tickSize: price(tickSize),
            stepSize: quantity(stepSize),
            minQuantity: quantity(minQuantity),
            minNotional: money(minNotional),
            bandRule: band.map { PriceBandRule(low: rate($0.low), high: rate($0.high)) },
            takerFee: rate(takerFee),
            native: native,
        )
    }
}

func level(_ at: String, _ size: String, _ execution: ExecutionMode = .market, limit: String? = nil) -> TakeProfitPlan {
    TakeProfitPlan(
        target: .price(price(at)),
        sizePercent: ExactDecimal(stringLiteral: size),
        execution: execution,
        limitPrice: limit.map(price),
    )
}

let product = [level("105", "40"), level("110", "35"), level("120", "25")]
let productShort = [level("95", "40"), level("90", "35"), level("80", "25")]

/// A long of 10 entered at market unless it is said otherwise.
func draft(
    _ side: Side = .buy,
    _ amount: String = "10",
    entry: EntryPlan = EntryPlan(mode: .market),
    takeProfits: [TakeProfitPlan] = [],
    stop: String? = nil,
    trailing: String? = nil,
    edit: (inout Draft) -> Void = { _ in },
) -> Draft {
    var draft = Draft(
        side: side,
        quantity: quantity(amount),
        entry: entry,
        takeProfits: takeProfits,
        stopLoss: stop.map { StopLossPlan(price: price($0)) },
        trailing: trailing.map { TrailingPlan(callback: .rate(rate($0))) },
    )
    edit(&draft)
    return draft
}

let testOrder = OrderID(UniqueID(high: 7, low: 77))
let testAccount = AccountID(UniqueID(high: 8, low: 88))

/// One order with a venue that answers as told: it fills takers at the current price, or says nothing.
struct Desk {
    enum Answers { case fill, silence }

    private(set) var order: SmartOrder
    var now = Timestamp(milliseconds: 1_000_000)
    var price: Price
    var held: ExactDecimal?
    var band: PriceBand?
    var elsewhere: Quantity = .zero
    var standing: PositionStanding?
    var position = TickPosition.start
    /// What a guard against false prints judges by.
    var reference: Price?
    var answers: Answers
    /// Every order that was to be placed, as it was when decided.
    private(set) var placed: [VenueOrder] = []
    private(set) var cancelled: [VenueOrderKey] = []
    private(set) var facts: [Fact] = []
    private(set) var statuses: [OrderStatus] = []
    private var fills = 0

    init(
        _ draft: Draft,
        at start: String = "100",
        instrument: Instrument = .test(),
        bounds: CreationBounds = .init(),
        answers: Answers = .fill,
        held: ExactDecimal? = nil,
    ) throws {
        price = SmartOrdersTests.price(start)
        self.answers = answers
        self.held = held
        let decision = try SmartOrder.create(
            draft,
            id: testOrder,
            account: testAccount,
            instrument: instrument,
            bounds: bounds,
            at: Moment(now: now, price: price, held: held),
        )
        order = decision.next
        take(decision)
    }

    var moment: Moment {
        Moment(
            now: now,
            price: price,
            position: position,
            band: band,
            held: held,
            claimedElsewhere: elsewhere,
            standing: standing,
            reference: reference,
        )
    }
    var last: VenueOrder? { placed.last }
    func orders(_ leg: Leg) -> [VenueOrder] { placed.filter { $0.leg == leg } }

    private mutating func take(_ decision: Decision) {
        order = decision.next
        facts += decision.facts
        for case .statusChanged(_, let status, _) in decision.facts { statuses.append(status) }
        for effect in decision.effects {
            switch effect {
            case .place(let key):
                guard let venueOrder = order.venueOrders.first(where: { $0.key == key }) else { continue }
                placed.append(venueOrder)
                if answers == .fill { fillTaker(venueOrder) }
            case .cancel(let key):
                cancelled.append(key)
                if answers == .fill { end(key, .cancelled) }
            }
        }
    }

    private mutating func fillTaker(_ venueOrder: VenueOrder) {
        if venueOrder.type.isConditional {
            accept(venueOrder.key)
            return
        }
        let crosses =
            switch (venueOrder.limit, venueOrder.side) {
            case (nil, _): true
            case (let limit?, .buy): price <= limit
            case (let limit?, .sell): price >= limit
            }
        if crosses {
            fill(venueOrder.key, venueOrder.quantity.description)
        } else if venueOrder.type == .goodTillCancelled {
            accept(venueOrder.key)
        } else {
            end(venueOrder.key, .expired)
        }
    }

    /// For events that are never refused. False: nothing changed.
    @discardableResult
    mutating func happen(_ event: OrderEvent) -> Bool {
        guard let decision = try? order.decide(event, at: moment) else {
            if event == .tick { order.absorb(extreme: price, upTo: position) }
            return false
        }
        take(decision)
        return true
    }

    /// One tick, 1 s after the last event.
    @discardableResult
    mutating func tick(_ at: String, after milliseconds: Int64 = 1000) -> Bool {
        now = now.advanced(milliseconds: milliseconds)
        price = SmartOrdersTests.price(at)
        return happen(.tick)
    }

    @discardableResult
    mutating func timer(after milliseconds: Int64) -> Bool {
        now = now.advanced(milliseconds: milliseconds)
        return happen(.timer)
    }

    /// A tick that must change nothing.
    mutating func quietTick(
        _ at: String,
        after milliseconds: Int64 = 1000,
        location: SourceLocation = #_sourceLocation,
    ) {
        if tick(at, after: milliseconds) { Issue.record("the tick changed the order", sourceLocation: location) }
    }

    mutating func quietTimer(after milliseconds: Int64, location: SourceLocation = #_sourceLocation) {
        if timer(after: milliseconds) { Issue.record("the timer changed the order", sourceLocation: location) }
    }

    mutating func command(_ command: Command) throws(Refusal) {
        guard let decision = try order.decide(.command(command), at: moment) else { return }
        take(decision)
    }

    mutating func edit(_ change: (inout OrderEdit) -> Void) throws(Refusal) {
        var edit = OrderEdit()
        change(&edit)
        try command(.edit(edit))
    }

    mutating func news(_ key: VenueOrderKey, _ news: VenueNews) { happen(.venue(key, news)) }
    mutating func accept(_ key: VenueOrderKey) { news(key, .accepted(venueOrderID: "v-\(key.leg)-\(key.attempt)")) }
    mutating func end(_ key: VenueOrderKey, _ end: VenueNews.VenueEnd) { news(key, .ended(end)) }
    mutating func refuse(_ key: VenueOrderKey, _ kind: VenueNews.RefusalKind) {
        news(key, .refused(kind, venueCode: "-1"))
    }

    mutating func fill(
        _ key: VenueOrderKey,
        _ amount: String,
        at: String? = nil,
        fee: ExactDecimal = .zero,
        asset: Fill.FeeAsset = .quote,
    ) {
        fills += 1
        let fill = Fill(
            venueFillID: "f\(fills)",
            quantity: quantity(amount),
            price: at.map(SmartOrdersTests.price) ?? price,
            fee: fee,
            feeAsset: asset,
            time: now,
        )
        news(key, .fill(fill))
    }
}

func key(_ leg: Leg, _ attempt: Int = 1) -> VenueOrderKey { VenueOrderKey(leg: leg, attempt: attempt) }
