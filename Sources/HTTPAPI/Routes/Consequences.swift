// What a command on an existing order means for its trader, as codes with one sentence each (INTERFACES.md 1.12). The
// dialogs of the panel print them as they come.

internal import JSONText
internal import OrderJSON
internal import SmartOrders

/// One consequence.
struct Consequence: Sendable {
    enum Code: String, Sendable {
        case entryCancelled = "ENTRY_CANCELLED"
        case levelsCancelled = "LEVELS_CANCELLED"
        case stopRemoved = "STOP_REMOVED"
        case stopMoves = "STOP_MOVES"
        case positionKept = "POSITION_KEPT"
        case sellsAtMarket = "SELLS_AT_MARKET"
        case buysAtMarket = "BUYS_AT_MARKET"
        case averageMoves = "AVERAGE_MOVES"
        case targetMoves = "TARGET_MOVES"
        /// Of a conditional order.
        case triggerMoves = "TRIGGER_MOVES"
        case triggerRemoved = "TRIGGER_REMOVED"
        case nothingToDo = "NOTHING_TO_DO"
    }

    let order: OrderID
    let code: Code
    let text: String
    let data: JSONObject
}

struct ConsequenceList: Sendable {
    private(set) var items: [Consequence] = []

    /// What `command` does to an order as it stands, at the present price.
    mutating func add(_ command: Command, on order: SmartOrder, price: Price?) {
        switch command {
        case .cancel, .cancelLeavingEntry: cancel(order)
        case .cancelEntry: cancelEntry(order)
        case .closeMarket:
            cancelEntry(order)
            trade(order, order.exitSide, order.remaining, at: price)
            cancelExits(order)
        case .closeLevel(let number):
            let level = order.levels.first { $0.number == number }
            trade(order, order.exitSide, level.map { $0.planned - $0.filled } ?? .zero, at: price)
        case .openNow: trade(order, order.side, order.draft.quantity - order.entryFilled, at: price)
        case .addFunds(let quantity, let limit):
            if limit == nil { trade(order, order.side, quantity, at: price) }
            addFunds(order, AddedFunds(quantity: quantity, price: limit ?? price))
        case .reduceFunds(let quantity): trade(order, order.exitSide, quantity, at: price)
        case .edit: break
        }
    }

    /// How an edit moves what is there.
    mutating func addMoves(from before: SmartOrder, to after: SmartOrder) {
        for level in after.levels {
            guard let old = before.levels.first(where: { $0.number == level.number }), old.price != level.price else {
                continue
            }
            targetMoves(before, level.number, from: old.price, to: level.price)
        }
        let old = before.effectiveStop?.price ?? before.draft.stopLoss?.price
        let new = after.effectiveStop?.price ?? after.draft.stopLoss?.price
        if let old, let new, old != new {
            append(before, .stopMoves, "The stop moves from \(old) to \(new).", ["from": text(old), "to": text(new)])
        } else if let old, new == nil {
            append(before, .stopRemoved, "The stop at \(old) is removed.", ["price": text(old)])
        }
    }

    /// The command finds its work done already.
    mutating func addNothing(_ order: OrderID) {
        append(order, .nothingToDo, "Nothing is left to do: the order stays as it is.", [:])
    }

    /// What becomes of a conditional order.
    mutating func add(from before: ConditionalOrder, to after: ConditionalOrder) {
        let (old, new) = (before.draft.trigger, after.draft.trigger)
        let isEnding = after.status.isTerminal || after.endReason != nil
        if isEnding, before.status == .pending {
            let text = "The order no longer waits for \(old); nothing is sent to the venue."
            append(before.id, .triggerRemoved, text, ["price": self.text(old)])
        } else if isEnding {
            let rest = before.remaining
            append(before.id, .entryCancelled, "What is not filled (\(rest)) is cancelled.", ["qty": self.text(rest)])
        }
        guard old != new else { return }
        append(
            before.id,
            .triggerMoves,
            "The trigger moves from \(old) to \(new).",
            ["from": self.text(old), "to": self.text(new)],
        )
    }

    // MARK: Parts

    private mutating func append(
        _ order: SmartOrder,
        _ code: Consequence.Code,
        _ text: String,
        _ data: JSONObject,
    ) {
        append(order.id, code, text, data)
    }

    private mutating func append(
        _ order: OrderID,
        _ code: Consequence.Code,
        _ text: String,
        _ data: JSONObject,
    ) {
        items.append(Consequence(order: order, code: code, text: text, data: data))
    }

    private func text(_ value: some Measure) -> JSONValue { .string(value.description) }

    private mutating func cancelEntry(_ order: SmartOrder) {
        let isWaiting = order.status == .pending
        let works = order.venueOrders.contains { $0.side == order.side && $0.state.isLive }
        guard isWaiting || works else { return }
        let rest = order.draft.quantity - order.entryFilled
        append(order, .entryCancelled, "What is left of the entry (\(rest)) is cancelled.", ["qty": text(rest)])
    }

    private mutating func cancelExits(_ order: SmartOrder) {
        let levels = order.levels.filter { $0.state == .pending || $0.state == .triggered }
        if !levels.isEmpty {
            append(
                order,
                .levelsCancelled,
                "\(levels.count) take-profit level\(levels.count == 1 ? "" : "s") will not fire any more.",
                ["count": .integer(levels.count)],
            )
        }
        if let stop = order.effectiveStop?.price ?? order.draft.stopLoss?.price {
            append(order, .stopRemoved, "The stop at \(stop) is removed.", ["price": text(stop)])
        }
    }

    private mutating func cancel(_ order: SmartOrder) {
        cancelEntry(order)
        cancelExits(order)
        guard order.remaining.isPositive else { return }
        append(
            order,
            .positionKept,
            "\(order.remaining) \(order.instrument.baseAsset) stay yours, and nothing protects them any more.",
            ["qty": text(order.remaining), "unprotected": true],
        )
    }

    private mutating func trade(_ order: SmartOrder, _ side: Side, _ quantity: Quantity, at price: Price?) {
        guard quantity.isPositive else { return }
        var data: JSONObject = ["qty": text(quantity)]
        var value = ""
        if let price {
            let estimate = (price * quantity).value * order.instrument.contractSize
            data["estimate"] = .string(estimate.rounded(decimals: 8).description)
            value = " for about \(estimate.rounded(decimals: 2)) \(order.instrument.quoteAsset)"
        }
        let asset = order.instrument.baseAsset
        switch side {
        case .sell: append(order, .sellsAtMarket, "\(quantity) \(asset) are sold at the market\(value).", data)
        case .buy: append(order, .buysAtMarket, "\(quantity) \(asset) are bought at the market\(value).", data)
        }
    }

    /// A struct, because the debug compiler misaligns functions with several optional 128-bit parameters.
    private struct AddedFunds {
        let quantity: Quantity
        let price: Price?
    }

    private mutating func addFunds(_ order: SmartOrder, _ added: AddedFunds) {
        guard let price = added.price, let average = order.averageEntry, order.remaining.isPositive else { return }
        let held = AverageEntry(cost: order.heldCost, quantity: order.remaining + order.dust)
        let moved = AverageEntry(
            cost: held.cost + price * added.quantity,
            quantity: held.quantity + added.quantity,
        )
        let (from, to) = (average.rounded.value.rounded(decimals: 8), moved.rounded.value.rounded(decimals: 8))
        if from != to {
            append(
                order,
                .averageMoves,
                "The average entry moves from \(from) to \(to).",
                ["from": .string(from.description), "to": .string(to.description)],
            )
        }
        for level in order.levels where level.state == .pending {
            guard case .percent(let percent) = level.plan.target else { continue }
            let target = Pricing.gain(
                side: order.side,
                average: moved,
                percent: percent,
                tickSize: order.instrument.tickSize,
            )
            if target != level.price { targetMoves(order, level.number, from: level.price, to: target) }
        }
    }

    private mutating func targetMoves(_ order: SmartOrder, _ level: Int, from: Price, to: Price) {
        append(
            order,
            .targetMoves,
            "Level \(level) moves from \(from) to \(to).",
            ["level": .integer(level), "from": text(from), "to": text(to)],
        )
    }
}

extension JSONWriter {
    mutating func consequences(_ list: ConsequenceList) {
        key("consequences")
        beginArray()
        for item in list.items {
            beginObject()
            member("code", item.code)
            member("orderId", item.order.description)
            member("text", item.text)
            for member in item.data.members {
                key(escaping: member.key)
                value(member.value)
            }
            endObject()
        }
        endArray()
    }
}
