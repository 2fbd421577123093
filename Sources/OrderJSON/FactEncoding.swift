// Facts in the words of history, stream and webhooks (INTERFACES.md 1.10): `{"type": "levelFilled", "level": 1}`.

public import JSONText
public import SmartOrders

extension JSONWriter {
    /// Facts as an array.
    public mutating func facts(_ facts: [Fact]) {
        beginArray()
        for fact in facts { self.fact(fact) }
        endArray()
    }

    public mutating func fact(_ fact: Fact) {
        beginObject()
        switch fact {
        case .created: member("type", "created")
        case .activated: member("type", "activated")
        case .modified(let path):
            member("type", "modified")
            member("path", path)
        case .levelTriggered(let level): leveled("levelTriggered", level)
        case .levelFilled(let level): leveled("levelFilled", level)
        case .levelRearmed(let level): leveled("levelRearmed", level)
        case .levelCancelled(let level): leveled("levelCancelled", level)
        case .levelMerged(let level): leveled("levelMerged", level)
        case .replanned: member("type", "replanned")
        case .breakEvenArmed(let price): priced("breakEvenArmed", price)
        case .breakEvenNotArmed(let price): priced("breakEvenNotArmed", price)
        case .lockReached(let step, let lock):
            member("type", "lockReached")
            member("step", step)
            member("lock", lock)
        case .trailingActivated(let extreme):
            member("type", "trailingActivated")
            member("extreme", extreme)
        case .stopMoved(let from, let to, let kind):
            member("type", "stopMoved")
            member("from", orNull: from)
            member("to", orNull: to)
            member("kind", orNull: kind)
        case .stopDelayed(let since):
            member("type", "stopDelayed")
            member("since", since)
        case .stopDelayReset: member("type", "stopDelayReset")
        case .stopLatched(let kind, let price):
            priced("stopLatched", price)
            member("kind", kind)
        case .stopRetried(let attempt):
            member("type", "stopRetried")
            member("attempt", attempt)
        case .partialStopFired(let number): numbered("partialStopFired", number)
        case .partialStopDone(let number): numbered("partialStopDone", number)
        case .partialStopCancelled(let number): numbered("partialStopCancelled", number)
        case .writtenOff(let quantity): counted("writtenOff", quantity)
        case .dust(let quantity): counted("dust", quantity)
        case .fill(let key, let fill): self.fill(key, fill)
        case .venueOrder(let key, let state):
            member("type", "venueOrder")
            member("purpose", key.leg.description)
            member("attempt", key.attempt)
            member("outcome", state)
        case .fundsAdded(let quantity): counted("fundsAdded", quantity)
        case .fundsReduced(let quantity): counted("fundsReduced", quantity)
        case .statusChanged(let from, let to, let reason):
            member("type", "statusChanged")
            member("from", from)
            member("to", to)
            member("reason", orNull: reason)
        case .phaseChanged(let from, let to):
            member("type", "phaseChanged")
            member("from", orNull: from)
            member("to", orNull: to)
        case .healthChanged(let from, let to):
            member("type", "healthChanged")
            member("from", from)
            member("to", to)
        }
        endObject()
    }

    private mutating func leveled(_ type: String, _ level: Int) {
        member("type", type)
        member("level", level)
    }

    private mutating func numbered(_ type: String, _ number: Int) {
        member("type", type)
        member("number", number)
    }

    private mutating func priced(_ type: String, _ price: Price) {
        member("type", type)
        member("price", price)
    }

    private mutating func counted(_ type: String, _ quantity: Quantity) {
        member("type", type)
        member("qty", quantity)
    }

    private mutating func fill(_ key: VenueOrderKey, _ fill: Fill) {
        member("type", "fill")
        member("purpose", key.leg.description)
        member("attempt", key.attempt)
        member("venueFillId", fill.venueFillID)
        member("qty", fill.quantity)
        member("price", fill.price)
        member("fee", fill.fee)
        switch fill.feeAsset {
        case .quote: member("feeAsset", "quote")
        case .base: member("feeAsset", "base")
        case .other(let name): member("feeAsset", name)
        }
        member("at", fill.time)
    }
}
