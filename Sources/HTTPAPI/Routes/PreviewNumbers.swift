// What a plan would bring and cost, leg by leg (INTERFACES.md 1.12, ORDERS.md R4, R18). Money has 8 decimals, half-even.

internal import SmartOrders

struct PreviewNumbers: Sendable {
    enum Warning: String, Sendable {
        case stopOutsideBand = "STOP_OUTSIDE_VENUE_BAND"
        case levelNearMinimum = "LEVEL_NEAR_MIN"
        case breakEvenBelowFees = "BREAK_EVEN_BELOW_FEES"
        case feedStale = "FEED_STALE"
        case backstopSkipped = "BACKSTOP_SKIPPED"
        case firstLiveOrder = "FIRST_LIVE_ORDER"
        case noStopUntilActivation = "NO_STOP_UNTIL_ACTIVATION"
    }

    struct Leg: Sendable {
        let name: String
        let price: Price
        /// Gain positive, loss negative.
        let percent: ExactDecimal
        let amount: ExactDecimal
        let quantity: Quantity
        /// The limit that the venue is given.
        let venuePrice: Price
        let notional: ExactDecimal
        let fee: ExactDecimal
    }

    private(set) var legs: [Leg] = []
    private(set) var warnings: [Warning] = []
    private(set) var maximumLoss: ExactDecimal?
    private(set) var maximumLossPercent: ExactDecimal?
    private(set) var worstAcceptedPrice: Price?
    private(set) var gainAtTargets: ExactDecimal?
    private(set) var rewardToRisk: ExactDecimal?

    private let order: SmartOrder
    /// What is compared with: the average entry, or what it is meant to be.
    private let entry: Price
    private let quantity: Quantity

    /// - Parameter price: the present one; nil: not known.
    init(_ order: SmartOrder, price: Price?) {
        self.order = order
        let plan = order.draft.entry
        entry =
            order.averageEntry?.rounded ?? plan.price ?? plan.limitPrice ?? plan.trigger ?? plan.activation ?? price
            ?? .zero
        quantity = order.status == .pending ? order.draft.quantity : order.remaining
        guard entry.isPositive, quantity.isPositive else { return }
        addEntry()
        addLevels()
        addStop()
        warn()
    }

    private func rounded(_ value: ExactDecimal) -> ExactDecimal { value.rounded(decimals: 8) }

    private func leg(_ name: String, _ price: Price, _ quantity: Quantity, limit: Price?, isEntry: Bool = false) -> Leg
    {
        let side = isEntry ? order.side : order.exitSide
        let venuePrice =
            limit
            ?? Pricing.immediateLimit(
                side: side,
                anchor: price,
                tickSize: order.instrument.tickSize,
                band: band(around: price),
            )
        let move = isEntry ? .zero : order.side == .buy ? price.value - entry.value : entry.value - price.value
        let notional = (price * quantity).value * order.instrument.contractSize
        let rate = limit == nil ? order.instrument.takerFee : order.instrument.makerFee
        return Leg(
            name: name,
            price: price,
            percent: .quotient(
                move * ExactDecimal(100),
                over: entry.value,
                step: ExactDecimal(mantissa: 1, scale: 8),
                .halfEven,
            ),
            amount: rounded(move * quantity.value * order.instrument.contractSize),
            quantity: quantity,
            venuePrice: venuePrice,
            notional: rounded(notional),
            fee: rounded(notional * rate.value),
        )
    }

    private func band(around price: Price) -> PriceBand? {
        order.instrument.band(around: price)
    }

    private mutating func addEntry() {
        guard order.status == .pending else { return }
        let plan = order.draft.entry
        switch plan.mode {
        case .attach: break
        case .market, .trailing: legs.append(leg("entry", entry, quantity, limit: nil, isEntry: true))
        case .limit: legs.append(leg("entry", entry, quantity, limit: plan.price, isEntry: true))
        case .conditional: legs.append(leg("entry", entry, quantity, limit: plan.limitPrice, isEntry: true))
        }
    }

    private mutating func addLevels() {
        let open = order.levels.filter { $0.state == .pending || $0.state == .triggered }
        guard !open.isEmpty else { return }
        let planned =
            order.status == .pending
            ? Pricing.plan(
                quantity: quantity,
                percents: open.map(\.plan.sizePercent),
                prices: open.map(\.price),
                step: order.instrument.stepSize,
                minQuantity: order.instrument.minQuantity,
                minNotional: order.instrument.minNotional,
            ) : open.map { $0.planned - $0.filled }
        var gain = ExactDecimal.zero
        for (level, amount) in zip(open, planned) {
            let limit = level.plan.execution == .limit ? level.plan.limitPrice ?? level.price : nil
            let row = leg("tp\(level.number)", level.price, amount, limit: limit)
            gain += row.amount
            legs.append(row)
        }
        gainAtTargets = gain
    }

    private var stop: Price? {
        if let binding = order.effectiveStop?.price { return binding }
        let fixed = order.draft.stopLoss?.price
        guard let trailing = order.draft.trailing, trailing.activationPrice == nil else { return fixed }
        let follows = Pricing.trailingStop(
            side: order.side,
            extreme: entry,
            callback: trailing.callback,
            tickSize: order.instrument.tickSize,
        )
        guard let fixed else { return follows }
        return order.side == .buy ? max(fixed, follows) : min(fixed, follows)
    }

    private mutating func addStop() {
        guard let stop else { return }
        let plan = order.draft.stopLoss
        let row = leg("sl", stop, quantity, limit: plan?.execution == .limit ? plan?.limitPrice : nil)
        legs.append(row)
        worstAcceptedPrice = row.venuePrice
        // A stop beyond the entry locks a gain: nothing is lost there.
        let loss = max(-row.amount, .zero)
        maximumLoss = loss
        maximumLossPercent = max(-row.percent, .zero)
        if loss.isPositive, let gain = gainAtTargets, gain.isPositive {
            rewardToRisk = .quotient(gain, over: loss, step: ExactDecimal(mantissa: 1, scale: 2), .halfEven)
        }
        let free = Pricing.immediateLimit(
            side: order.exitSide,
            anchor: stop,
            tickSize: order.instrument.tickSize,
        )
        if plan?.execution != .limit, free != row.venuePrice { warnings.append(.stopOutsideBand) }
    }

    private mutating func warn() {
        let instrument = order.instrument
        let isNear = legs.contains { leg in
            guard leg.name.hasPrefix("tp") else { return false }
            let half = Quantity(leg.quantity.value * ExactDecimal(mantissa: 5, scale: 1))
            return half < instrument.minQuantity
                || leg.notional * ExactDecimal(mantissa: 5, scale: 1) < instrument.minNotional.value
        }
        if isNear { warnings.append(.levelNearMinimum) }
        if let plan = order.draft.breakEven, plan.enabled, plan.mode == .entry,
            instrument.takerFee.isPositive || instrument.makerFee.isPositive
        {
            warnings.append(.breakEvenBelowFees)
        }
        if order.draft.trailing?.activationPrice != nil, order.draft.stopLoss == nil, !order.trailingActive {
            warnings.append(.noStopUntilActivation)
        }
    }
}
