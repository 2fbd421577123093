// The Order object of every GET, event and 412 (INTERFACES.md 1.10): every documented key is there, null where it does
// not apply. What the order's row does not hold comes in an `OrderContext`.
//
// Nearly all of it stands still as long as the row does; what moves with the market is put in between (`OrderText`).

public import JSONText
public import SmartOrders

/// What is shown of an order beside its own state. Nil and empty where it is not known.
public struct OrderContext: Sendable {
    public enum Kind: String, Sendable {
        case smart = "SMART"
        case position = "POSITION"
    }

    public enum Mode: String, Sendable {
        case paper = "PAPER"
        case live = "LIVE"
    }

    /// How well the stop is watched (INTERFACES.md 3.8).
    public struct Protection: Sendable {
        public enum State: String, Sendable {
            case on = "ON"
            case delayed = "DELAYED"
            case degraded = "DEGRADED"
            case gap = "GAP"
            case none = "NONE"
        }
        public var state: State
        public var reasons: [String]
        public var since: Timestamp?
        public var feedAgeMs: Int64?
        public var isShardOwned: Bool

        public init(
            state: State,
            reasons: [String] = [],
            since: Timestamp? = nil,
            feedAgeMs: Int64? = nil,
            isShardOwned: Bool,
        ) {
            self.state = state
            self.reasons = reasons
            self.since = since
            self.feedAgeMs = feedAgeMs
            self.isShardOwned = isShardOwned
        }
    }

    /// What history knows of a level.
    public struct LevelHistory: Sendable {
        public var triggeredAt: Timestamp?
        public var filledAt: Timestamp?
        public var averageFill: Price?
        public init(triggeredAt: Timestamp? = nil, filledAt: Timestamp? = nil, averageFill: Price? = nil) {
            self.triggeredAt = triggeredAt
            self.filledAt = filledAt
            self.averageFill = averageFill
        }
    }

    public var mode: Mode = .paper
    public var presetID: String?
    public var activatedAt: Timestamp?
    public var closedAt: Timestamp?
    public var healthDetail: [String] = []
    /// Current price of the order's trigger source.
    public var price: Price?
    /// When price, water mark and protection were taken.
    public var derivedAt: Timestamp?
    public var protection: Protection?
    public var levels: [Int: LevelHistory] = [:]
    public var waterMarkAt: Timestamp?

    public init(mode: Mode = .paper, price: Price? = nil, derivedAt: Timestamp? = nil) {
        self.mode = mode
        self.price = price
        self.derivedAt = derivedAt
    }
}

/// What a trader may do with an order now (INTERFACES.md 3.4), in menu order.
public enum AllowedAction: String, Hashable, Sendable, CaseIterable {
    case refresh, openNow, cancelEntry, addFunds, reduceFunds, close, edit, cancel, duplicate, share, note
}

extension SmartOrder {
    /// A working or waiting entry has a rest.
    private var entryHasRest: Bool { venueOrders.contains { $0.side == side && $0.state.isLive } }

    public var allowedActions: [AllowedAction] {
        switch phase {
        case nil: return [.refresh, .duplicate, .share, .note]
        case .waitingEntry, .entryWorking:
            return [.refresh, .openNow, .addFunds, .edit, .cancel, .cancelEntry, .share, .note]
        case .monitoring:
            let entry: [AllowedAction] = entryHasRest ? [.openNow, .cancelEntry] : []
            return [.refresh] + entry + [.addFunds, .reduceFunds, .close, .edit, .cancel, .share, .note]
        case .stopping: return [.refresh, .close, .cancel, .share, .note]
        case .closing: return [.refresh, .cancel, .share, .note]
        case .cancelling: return [.refresh, .share, .note]
        }
    }

    /// Gain of what is held at `price`, before fees.
    public func unrealized(at price: Price) -> Money { OrderText.Held(self, stop: nil).unrealized(at: price) }
}

/// What moves with the market in an order's object. The rest of the object stands still.
public struct OrderPresent: Sendable {
    /// Current price of the order's trigger source.
    public var price: Price?
    /// When price and protection were taken.
    public var derivedAt: Timestamp?
    public var protection: OrderContext.Protection?

    public init(price: Price?, derivedAt: Timestamp?, protection: OrderContext.Protection?) {
        self.price = price
        self.derivedAt = derivedAt
        self.protection = protection
    }
}

/// The object of an order but for what moves with the market: made once, told many times. A class, to be handed on.
public final class OrderText: Sendable {
    /// What the moving numbers are reckoned from, of an order that holds something.
    fileprivate struct Held {
        let side: Side
        let quantity: Quantity
        let cost: Money
        /// Nil: there is none, or nothing to compare it with.
        let stop: Price?

        init(_ order: SmartOrder, stop: Price?) {
            side = order.side
            quantity = order.remaining + order.dust
            cost = order.heldCost
            self.stop = stop
        }
    }

    fileprivate let held: Held?
    /// Members up to `unrealized`; from there to `atPrice`; to `derivedAt`; to `stopDistance`; the rest of `pnl`; what
    /// follows `protection`.
    fileprivate let parts: [[UInt8]]

    public init(_ order: SmartOrder, context: OrderContext) {
        var writer = JSONWriter(reserving: 4_096)
        writer.beginObject()
        writer.identity(order, context)
        writer.state(order, context)
        writer.plan(order)
        writer.position(order)
        writer.takeProfits(order, context)
        writer.key("progress")
        writer.beginObject()
        writer.member("filled", order.progress.filled)
        writer.member("total", order.progress.total)
        writer.member("text", "\(order.progress.filled)/\(order.progress.total)")
        writer.endObject()
        writer.stop(order, context)
        writer.trailing(order, context)
        writer.breakEven(order, context)
        writer.stepLocks(order)
        writer.partialStops(order)
        writer.backstop(order)
        writer.printGuard(order)
        writer.key("pnl")
        writer.beginObject()
        writer.member("realized", order.realized)
        // Without the brace: whoever puts the parts together begins the object.
        var parts = [Array(writer.take().dropFirst())]
        writer.member("fees", order.fees)
        writer.member("net", order.realized - order.fees)
        writer.member("currency", order.instrument.quoteAsset)
        parts.append(writer.take())
        writer.member("atSource", order.triggerSource)
        parts.append(writer.take())
        let risk = order.risk
        writer.member("riskToStop", orNull: risk?.amount)
        writer.member("riskToStopPct", orNull: risk?.percent)
        parts.append(writer.take())
        writer.member("rewardToRisk", orNull: risk?.rewardRatio)
        writer.endObject()
        parts.append(writer.take())
        writer.legs(order)
        parts.append(writer.take())
        self.parts = parts
        held = order.remaining.isPositive ? Held(order, stop: risk?.stop) : nil
    }

    /// Bytes of the text.
    public var count: Int { parts.reduce(0) { $0 + $1.count } }
}

extension JSONWriter {
    /// An order as an object.
    public mutating func order(_ order: SmartOrder, context: OrderContext) {
        let present = OrderPresent(
            price: context.price,
            derivedAt: context.derivedAt,
            protection: context.protection,
        )
        self.order(OrderText(order, context: context), present)
    }

    /// The same from a text made before.
    public mutating func order(_ text: OrderText, _ present: OrderPresent) {
        let (held, parts) = (text.held, text.parts)
        beginObject()
        raw(parts[0])
        member("unrealized", orNull: held.flatMap { held in present.price.map { held.unrealized(at: $0) } })
        raw(parts[1])
        member("atPrice", orNull: present.price)
        raw(parts[2])
        member("derivedAt", orNull: present.derivedAt)
        raw(parts[3])
        let distance = held?.distance(from: present.price)
        member("stopDistance", orNull: distance)
        member("stopDistancePct", orNull: distance.flatMap { way in present.price.map { percent(way, of: $0) } })
        raw(parts[4])
        protection(present.protection)
        raw(parts[5])
        endObject()
    }

    fileprivate mutating func identity(_ order: SmartOrder, _ context: OrderContext) {
        member("id", order.id.description)
        member("kind", order.draft.sizeMode == .position ? OrderContext.Kind.position : .smart)
        member("version", order.version)
        member("accountId", order.account.description)
        member("mode", context.mode)
        member("clientOrderId", orNull: order.draft.clientOrderID)
        member("market", order.instrument.market.description)
        member("venue", order.instrument.market.venue)
        member("product", order.instrument.market.product)
        member("symbol", order.instrument.market.symbol)
        member("side", order.side)
        member("positionSide", order.draft.positionSide)
        member("note", orNull: order.draft.note)
        member("createdAt", order.createdAt)
        member("updatedAt", order.updatedAt)
        member("activatedAt", orNull: context.activatedAt)
        member("closedAt", orNull: context.closedAt ?? (order.status.isTerminal ? order.updatedAt : nil))
        member("presetId", orNull: context.presetID)
    }

    fileprivate mutating func state(_ order: SmartOrder, _ context: OrderContext) {
        member("status", order.status)
        member("phase", orNull: order.phase)
        member("health", order.health)
        let lost = order.lostLegs.isEmpty || order.status.isTerminal ? [] : ["NATIVE_LEG_LOST"]
        strings("healthDetail", order.attention.map(\.rawValue).sorted() + lost + context.healthDetail)
        member("closeReason", orNull: order.closeReason)
        strings("allowedActions", order.allowedActions.map(\.rawValue))
    }

    mutating func strings(_ key: StaticString, _ texts: [String]) {
        self.key(key)
        beginArray()
        for text in texts { string(text) }
        endArray()
    }

    /// The draft as it stands, less what the groups below show in full.
    fileprivate mutating func plan(_ order: SmartOrder) {
        let draft = order.draft
        member("qty", draft.quantity)
        member("triggerSource", order.triggerSource)
        key("entry")
        beginObject()
        member("mode", draft.entry.mode)
        member("price", orNull: draft.entry.price)
        member("trigger", orNull: draft.entry.trigger)
        member("limitPrice", orNull: draft.entry.limitPrice)
        member("activation", orNull: draft.entry.activation)
        member("callbackRate", orNull: draft.entry.callbackRate)
        member("venueOrder", orNull: draft.entry.venueOrder)
        member("reduceOnly", draft.entry.reduceOnly)
        member("expiresAt", orNull: draft.entry.expiresAt)
        endObject()
        key("stopLoss")
        if let stop = draft.stopLoss {
            beginObject()
            member("price", stop.price)
            member("exec", stop.execution)
            member("limitPrice", orNull: stop.limitPrice)
            member("fallbackMs", orNull: stop.fallbackMs)
            member("timeoutMs", orNull: stop.timeoutMs)
            member("emergencyPrice", orNull: stop.emergencyPrice)
            endObject()
        } else {
            null()
        }
        member("stopFollow", draft.stopFollow)
        member("placement", draft.placement)
        member("sizeMode", draft.sizeMode)
        member("exitAt", orNull: draft.exitAt)
    }

    fileprivate mutating func position(_ order: SmartOrder) {
        key("position")
        beginObject()
        member("entryQty", order.entered)
        member("receivedQty", order.received)
        member("exitedQty", order.exited)
        member("writtenOffQty", order.writtenOff)
        member("remainingQty", order.remaining)
        member("claimedQty", order.claimed)
        member("freeQty", order.free)
        member("dustQty", order.dust)
        member("avgEntryPrice", orNull: order.averageEntry?.rounded.value.rounded(decimals: 8))
        member("cost", order.heldCost)
        endObject()
    }

    fileprivate mutating func takeProfits(_ order: SmartOrder, _ context: OrderContext) {
        key("takeProfits")
        beginArray()
        for level in order.levels {
            beginObject()
            let history = context.levels[level.number]
            member("level", level.number)
            member("price", level.price)
            switch level.plan.target {
            case .price: member("pricePct", orNull: nil as ExactDecimal?)
            case .percent(let percent): member("pricePct", percent)
            }
            member("sizePct", level.plan.sizePercent)
            member("exec", level.plan.execution)
            member("limitPrice", orNull: level.plan.limitPrice)
            member("trailingRate", orNull: level.plan.trailingRate)
            member("status", level.state)
            member("plannedQty", level.planned)
            member("filledQty", level.filled)
            member("avgFillPrice", orNull: history?.averageFill)
            member("triggeredAt", orNull: history?.triggeredAt)
            member("filledAt", orNull: history?.filledAt)
            member("trailing", level.trailingExtreme != nil)
            gain(order, level)
            endObject()
        }
        endArray()
    }

    /// Percentage and amount of a level at its price (R18), against the average entry or what it is meant to be.
    private mutating func gain(_ order: SmartOrder, _ level: Level) {
        guard let entry = order.averageEntry?.rounded ?? order.draft.entry.price, entry.isPositive else {
            member("gainPct", orNull: nil as ExactDecimal?)
            member("gain", orNull: nil as ExactDecimal?)
            return
        }
        let move = order.side == .buy ? level.price - entry : entry - level.price
        member("gainPct", percent(move, of: entry))
        member("gain", (move * level.planned).value.rounded(decimals: 8))
    }

    fileprivate mutating func stop(_ order: SmartOrder, _ context: OrderContext) {
        key("stop")
        beginObject()
        let effective = order.effectiveStop
        member("state", order.stopState)
        member("kind", orNull: order.latch?.kind ?? effective?.kind)
        member("effectivePrice", orNull: order.latch?.price ?? effective?.price)
        member("fixedPrice", orNull: order.draft.stopLoss?.price)
        member("initialPrice", orNull: order.initialStop)
        member("breakEvenPrice", orNull: order.breakEvenPrice)
        member("followPrice", orNull: order.followPrice)
        member("lockPrice", orNull: order.lockPrice)
        member("trailingPrice", orNull: order.trailingStopPrice)
        member("delayedSince", orNull: order.delayedSince)
        member("latchedAt", orNull: order.latch?.time)
        key("latchedTick")
        if let latch = order.latch {
            beginObject()
            member("price", latch.price)
            member("venueTime", Timestamp(microseconds: latch.position.venueTime))
            member("sequence", latch.position.sequence)
            endObject()
        } else {
            null()
        }
        member("changedAt", orNull: order.stopChangedAt)
        endObject()
    }

    fileprivate mutating func trailing(_ order: SmartOrder, _ context: OrderContext) {
        key("trailing")
        guard let plan = order.draft.trailing else { return null() }
        beginObject()
        switch plan.callback {
        case .rate(let rate):
            member("callbackRate", rate)
            member("callbackAmount", orNull: nil as Price?)
        case .amount(let amount):
            member("callbackRate", orNull: nil as Rate?)
            member("callbackAmount", amount)
        }
        member("activationPrice", orNull: plan.activationPrice)
        let isActive = plan.activationPrice == nil ? order.extreme != nil : order.trailingActive
        member("active", isActive)
        member("waterMark", orNull: plan.activationPrice == nil ? order.extreme : order.trailingExtreme)
        member("waterMarkAt", orNull: context.waterMarkAt)
        endObject()
    }

    fileprivate mutating func breakEven(_ order: SmartOrder, _ context: OrderContext) {
        key("breakEven")
        guard let plan = order.draft.breakEven else { return null() }
        beginObject()
        member("enabled", plan.enabled)
        member("mode", plan.mode)
        member("offsetPct", orNull: plan.offsetPercent)
        member("onFirstTp", plan.onFirstTakeProfit)
        member("armPrice", orNull: plan.armPrice)
        member("armPct", orNull: plan.armPercent)
        member("triggered", order.breakEvenPrice != nil)
        member("triggeredAt", orNull: order.breakEvenAt)
        member("price", orNull: order.breakEvenPrice)
        endObject()
    }

    fileprivate mutating func stepLocks(_ order: SmartOrder) {
        key("stepLocks")
        beginArray()
        for (index, lock) in order.draft.stepLocks.enumerated() {
            beginObject()
            stepLockMembers(lock)
            member("reached", index < order.locksReached)
            endObject()
        }
        endArray()
    }

    fileprivate mutating func partialStops(_ order: SmartOrder) {
        key("partialStops")
        beginArray()
        for stop in order.partialStops {
            beginObject()
            partialStopMembers(stop.plan)
            member("status", stop.state)
            member("plannedQty", stop.planned)
            member("filledQty", stop.filled)
            endObject()
        }
        endArray()
    }

    fileprivate mutating func backstop(_ order: SmartOrder) {
        key("backstop")
        guard let plan = order.draft.backstop else { return null() }
        let resting = order.backstops.last
        beginObject()
        backstopMembers(plan)
        switch resting?.state {
        case nil:
            switch order.backstopNote {
            case nil: member("state", "OFF")
            case .positionShared, .noPosition: member("state", "SKIPPED")
            case .positionUnknown, .refused: member("state", "FAILED")
            case .fired: member("state", "FIRED")
            }
        case .intent, .submitted, .unknown: member("state", "PLACING")
        case .open, .partial, .cancelRequested: member("state", "RESTING")
        case .filled, .cancelled, .expired, .rejected, .notSent, .absent: member("state", "OFF")
        }
        member("price", orNull: resting?.trigger)
        member("reason", orNull: order.backstopNote)
        endObject()
    }

    fileprivate mutating func printGuard(_ order: SmartOrder) {
        key("printGuard")
        guard let plan = order.draft.printGuard else { return null() }
        beginObject()
        printGuardMembers(plan)
        member("suspect", orNull: order.suspect.flatMap { $0.isIgnored ? nil : $0.price })
        endObject()
    }

    fileprivate mutating func protection(_ protection: OrderContext.Protection?) {
        key("protection")
        guard let protection else { return null() }
        beginObject()
        member("state", protection.state)
        strings("reasons", protection.reasons)
        member("since", orNull: protection.since)
        member("feedAgeMs", orNull: protection.feedAgeMs)
        member("shardOwned", protection.isShardOwned)
        endObject()
    }

    /// The rows that a table shows under the order. Detached: nothing of the entry is outstanding.
    fileprivate mutating func legs(_ order: SmartOrder) {
        let isDetached = order.status.isOpen && !order.venueOrders.contains { $0.side == order.side && $0.state.isLive }
        key("legs")
        beginArray()
        var entry = LegRow(name: "entry", quantity: order.draft.quantity)
        entry.price = order.draft.entry.price
        entry.filled = order.entryFilled
        leg(entry)
        for level in order.levels {
            var row = LegRow(name: "tp\(level.number)", quantity: level.planned)
            row.price = level.price
            row.filled = level.filled
            row.state = level.state.rawValue
            row.isDetached = isDetached
            leg(row)
        }
        if order.stopState != .none || order.draft.stopLoss != nil || order.draft.trailing != nil {
            var row = LegRow(name: "sl", quantity: order.remaining)
            row.price = order.effectiveStop?.price
            row.state = order.stopState.rawValue
            row.isDetached = isDetached
            leg(row)
        }
        for stop in order.partialStops {
            var row = LegRow(name: "ps\(stop.number)", quantity: stop.planned)
            row.price = stop.firedAt
            row.filled = stop.filled
            row.state = stop.state.rawValue
            row.isDetached = isDetached
            leg(row)
        }
        endArray()
    }

    private mutating func leg(_ row: LegRow) {
        beginObject()
        member("leg", row.name)
        member("price", orNull: row.price)
        member("qty", row.quantity)
        member("filledQty", orNull: row.filled)
        member("status", orNull: row.state)
        member("detached", row.isDetached)
        endObject()
    }
}

/// Half-even at 8 decimals.
private func percent(_ part: Price, of whole: Price) -> ExactDecimal {
    .quotient(
        part.value * ExactDecimal(100),
        over: whole.value,
        step: ExactDecimal(mantissa: 1, scale: 8),
        .halfEven,
    )
}

extension OrderText.Held {
    /// Gain of what is held at `price`, before fees.
    fileprivate func unrealized(at price: Price) -> Money {
        let worth = price * quantity
        return side == .buy ? worth - cost : cost - worth
    }

    /// The way from `price` to the stop.
    fileprivate func distance(from price: Price?) -> Price? {
        guard let price, let stop else { return nil }
        return side == .buy ? price - stop : stop - price
    }
}

/// What is lost from the entry to the stop, and what the next levels would bring against it.
private struct Risk {
    let stop: Price
    let amount: ExactDecimal
    let percent: ExactDecimal
    /// Nil: one of both is nothing.
    let rewardRatio: ExactDecimal?
}

extension SmartOrder {
    /// Nil: nothing is held, or nothing would stop it.
    fileprivate var risk: Risk? {
        guard remaining.isPositive, let stop = effectiveStop?.price, let entry = averageEntry?.rounded, entry.isPositive
        else { return nil }
        let loss = side == .buy ? entry - stop : stop - entry
        let risk = loss * remaining
        var reward = Money.zero
        for level in levels where level.state == .pending {
            let move = side == .buy ? level.price - entry : entry - level.price
            reward += move * (level.planned - level.filled)
        }
        return Risk(
            stop: stop,
            amount: risk.value.rounded(decimals: 8),
            percent: percent(loss, of: entry),
            rewardRatio: risk.isPositive && reward.isPositive
                ? .quotient(reward.value, over: risk.value, step: ExactDecimal(mantissa: 1, scale: 2), .halfEven) : nil,
        )
    }
}

/// One row of `legs`. A struct, because Swift 6.3 misaligns the stack of a function that takes several optional 128-bit
/// numbers as parameters of their own (it crashes in a debug build).
private struct LegRow {
    var name: String
    var quantity: Quantity
    var price: Price?
    var filled: Quantity?
    var state: String?
    var isDetached = false
}

extension SmartOrder {
    /// The trailing candidate as of the last known extreme; nil while it is none.
    public var trailingStopPrice: Price? {
        guard let plan = draft.trailing else { return nil }
        let extreme = plan.activationPrice == nil ? self.extreme : (trailingActive ? trailingExtreme : nil)
        return extreme.map {
            Pricing.trailingStop(side: side, extreme: $0, callback: plan.callback, tickSize: instrument.tickSize)
        }
    }
}
