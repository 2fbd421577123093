// Reads the facts of a stored event back (EventObjects.swift writes them).

public import JSONText
public import SmartOrders

extension Fact {
    /// Reads `facts[]` of an event of a smart order.
    public static func list(_ json: JSONField) throws(JSONError) -> [Fact] {
        var facts: [Fact] = []
        for fact in try json.elements() { facts.append(try Fact(json: fact)) }
        return facts
    }

    // One case per word of `JSONWriter.fact`.
    init(json: JSONField) throws(JSONError) {
        let type = try json.required("type")
        switch try type.string() {
        case "created": self = .created
        case "activated": self = .activated
        case "modified": self = .modified(path: try json.string("path"))
        case "levelTriggered": self = .levelTriggered(try json.int("level"))
        case "levelFilled": self = .levelFilled(try json.int("level"))
        case "levelRearmed": self = .levelRearmed(try json.int("level"))
        case "levelCancelled": self = .levelCancelled(try json.int("level"))
        case "levelMerged": self = .levelMerged(try json.int("level"))
        case "replanned": self = .replanned
        case "breakEvenArmed": self = .breakEvenArmed(try json.sum("price"))
        case "breakEvenNotArmed": self = .breakEvenNotArmed(try json.sum("price"))
        case "lockReached": self = .lockReached(step: try json.int("step"), lock: try json.sum("lock"))
        case "trailingActivated": self = .trailingActivated(extreme: try json.sum("extreme"))
        case "stopMoved":
            self = .stopMoved(
                from: try json.storedMeasure("from"),
                to: try json.storedMeasure("to"),
                kind: try json.optional("kind")?.choice(),
            )
        case "stopDelayed": self = .stopDelayed(since: try json.required("since").timestamp())
        case "stopDelayReset": self = .stopDelayReset
        case "stopLatched":
            self = .stopLatched(kind: try json.required("kind").choice(), price: try json.sum("price"))
        case "stopRetried": self = .stopRetried(attempt: try json.int("attempt"))
        case "partialStopFired": self = .partialStopFired(try json.int("partialStop"))
        case "partialStopDone": self = .partialStopDone(try json.int("partialStop"))
        case "partialStopCancelled": self = .partialStopCancelled(try json.int("partialStop"))
        case "backstopPlaced": self = .backstopPlaced(try json.sum("price"))
        case "backstopMoved": self = .backstopMoved(from: try json.sum("from"), to: try json.sum("to"))
        case "backstopSkipped": self = .backstopSkipped(try json.required("reason").choice())
        case "backstopFired": self = .backstopFired
        case "nativeLegLost": self = .nativeLegLost(try json.leg("purpose"))
        case "writtenOff": self = .writtenOff(try json.sum("qty"))
        case "dust": self = .dust(try json.sum("qty"))
        case "fill": self = try Fact.fill(json.required("fill"))
        case "venueOrder":
            let key = VenueOrderKey(leg: try json.leg("purpose"), attempt: try json.int("attempt"))
            self = .venueOrder(key, try json.required("outcome").choice())
        case "printSuspected":
            self = .printSuspected(try json.sum("price"), reference: try json.sum("reference"))
        case "printConfirmed": self = .printConfirmed(try json.sum("price"))
        case "printIgnored": self = .printIgnored(try json.sum("price"))
        case "marketChanged":
            self = .marketChanged(
                from: try MarketTerms(json: json.required("from")),
                to: try MarketTerms(json: json.required("to")),
            )
        case "fundsAdded": self = .fundsAdded(try json.sum("qty"))
        case "fundsReduced": self = .fundsReduced(try json.sum("qty"))
        case "statusChanged": self = try Fact.status(json)
        case "phaseChanged":
            self = .phaseChanged(from: try json.optional("from")?.choice(), to: try json.optional("to")?.choice())
        case "healthChanged":
            self = .healthChanged(from: try json.required("from").choice(), to: try json.required("to").choice())
        default: throw type.error(.badEnum, expected: "a fact")
        }
    }

    /// PENDING and CANCELLED are words of both kinds of order; TRIGGERED and FILLED only of a conditional one.
    private static func status(_ json: JSONField) throws(JSONError) -> Fact {
        let reason = try json.optional("reason")?.string()
        if let from = OrderStatus(rawValue: try json.string("from")),
            let to = OrderStatus(rawValue: try json.string("to")),
            reason.map({ CloseReason(rawValue: $0) != nil }) ?? true
        {
            return .statusChanged(from: from, to: to, reason: reason.flatMap { CloseReason(rawValue: $0) })
        }
        return .conditionalChanged(
            from: try json.required("from").choice(),
            to: try json.required("to").choice(),
            reason: try json.optional("reason")?.choice(),
        )
    }

    /// Attempt 0 where an older event does not say it.
    private static func fill(_ json: JSONField) throws(JSONError) -> Fact {
        let asset: Fill.FeeAsset =
            switch try json.string("feeAsset") {
            case "quote": .quote
            case "base": .base
            case let coin: .other(coin)
            }
        let fill = Fill(
            venueFillID: try json.string("venueFillId"),
            quantity: try json.sum("qty"),
            price: try json.sum("price"),
            fee: try json.required("fee").anyDecimal(),
            feeAsset: asset,
            isMaker: try json.flag("maker"),
            time: try json.required("at").timestamp(),
        )
        let key = VenueOrderKey(leg: try json.leg("purpose"), attempt: try json.optional("attempt")?.int() ?? 0)
        return .fill(key, fill)
    }
}

extension JSONField {
    fileprivate func leg(_ key: String) throws(JSONError) -> Leg {
        try required(key).parsed(.badID, expected: "a leg") { Leg($0) }
    }
}
