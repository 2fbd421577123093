// Reads what RecordJSON.swift writes.

public import JSONText
public import SmartOrders

extension DecisionRecord {
    /// Reads a record document.
    public init(encoded bytes: [UInt8]) throws(JSONError) {
        try self.init(json: JSONField(JSONValue(parsing: bytes)))
    }

    public init(json: JSONField) throws(JSONError) {
        self.init()
        if let field = try json.optional("steps") {
            for step in try field.elements() { steps.append(try DecisionStep(json: step)) }
        }
        job = try json.optional("job")?.string()
        requestID = try json.optional("requestId")?.string()
        if let crossed = try json.optionalMoment("crossedAt") {
            crossing = CrossingTimes(receivedAt: try json.optionalMoment("receivedAt"), crossedAt: crossed)
        }
        takenAt = try json.optionalMoment("takenAt")
        guard let field = try json.optional("exchanges") else { return }
        for exchange in try field.elements() {
            exchanges.append(
                VenueExchange(
                    key: try exchange.venueOrderKey(),
                    sentAt: try exchange.moment("sentAt"),
                    answeredAt: try exchange.moment("answeredAt"),
                    code: try exchange.optional("code")?.string(),
                    detail: try exchange.optional("detail")?.string(),
                )
            )
        }
    }
}

extension DecisionStep {
    init(json: JSONField) throws(JSONError) {
        if let bounds = try json.optional("create") {
            self = .create(try CreationBounds(json: bounds), try Moment(json: json.required("at")))
        } else if let price = try json.storedMeasure("absorb", as: Price.self) {
            self = .absorb(price, upTo: try json.required("upTo").tickPosition())
        } else if let position = try json.optional("reach") {
            self = .reach(try position.tickPosition())
        } else if let field = try json.optional("change") {
            var change = ConditionalChange()
            change.trigger = try field.storedMeasure("trigger")
            if case .null? = field.value["limit"] {
                change.limit = .some(nil)
            } else if let limit = try field.storedMeasure("limit", as: Price.self) {
                change.limit = limit
            }
            change.quantity = try field.storedMeasure("qty")
            self = .change(change, try Moment(json: json.required("at")))
        } else if let now = try json.optionalMoment("begin") {
            self = .begin(now)
        } else if let field = try json.optional("submit") {
            var keys: [VenueOrderKey] = []
            for key in try field.elements() { keys.append(try key.venueOrderKey()) }
            self = .submit(keys)
        } else {
            self = .decide(try OrderEvent(json: json), try Moment(json: json.required("at")))
        }
    }
}

extension Moment {
    fileprivate init(json: JSONField) throws(JSONError) {
        var band: PriceBand?
        if let low = try json.storedMeasure("low", as: Price.self) {
            band = PriceBand(low: low, high: try json.sum("high"))
        }
        var standing: PositionStanding?
        if let net = try json.optional("standing") {
            standing = PositionStanding(net: try net.anyDecimal(), otherOrders: try json.int("otherOrders"))
        }
        self.init(
            now: try json.moment("now"),
            price: try json.storedMeasure("price"),
            position: try json.optional("position")?.tickPosition() ?? .start,
            band: band,
            held: try json.optional("held")?.anyDecimal(),
            claimedElsewhere: try json.sum("claimedElsewhere"),
            standing: standing,
            reference: try json.storedMeasure("reference"),
        )
    }
}

extension CreationBounds {
    fileprivate init(json: JSONField) throws(JSONError) {
        self.init(
            maxConditionals: try json.int("maxConditionals"),
            activeConditionals: try json.int("activeConditionals"),
            minimumCallback: try json.sum("minimumCallback"),
            maximumCallback: try json.sum("maximumCallback"),
            positionAverage: try json.storedMeasure("positionAverage"),
            managedElsewhere: try json.sum("managedElsewhere"),
            hasOpposite: try json.flag("hasOpposite"),
            hasPositionOrder: try json.flag("hasPositionOrder"),
            freeBalance: try json.optional("freeBalance")?.anyDecimal(),
        )
        if let field = try json.optional("sources") {
            var sources: [TriggerSource] = []
            for source in try field.elements() { sources.append(try source.choice()) }
            self.sources = sources
        }
        guard let field = try json.optional("adopted") else { return }
        var fills: [Fill] = []
        for fill in try field.elements("fills") { fills.append(try Fill(stored: fill)) }
        adopted = AdoptedOrder(
            venueOrderID: try field.string("venueOrderId"),
            side: try field.required("side").choice(),
            quantity: try field.sum("qty"),
            limit: try field.sum("limit"),
            reduceOnly: try field.flag("reduceOnly"),
            fills: fills,
        )
    }
}

extension Fill {
    /// Reads a fill of a record.
    fileprivate init(stored json: JSONField) throws(JSONError) {
        var asset = FeeAsset.quote
        if let coin = try json.optional("feeCoin") {
            asset = .other(try coin.string())
        } else if try json.has("feeIn") {
            asset = .base
        }
        self.init(
            venueFillID: try json.string("id"),
            quantity: try json.sum("qty"),
            price: try json.sum("price"),
            fee: try json.required("fee").anyDecimal(),
            feeAsset: asset,
            isMaker: try json.flag("maker"),
            time: try json.moment("at"),
        )
    }
}

// MARK: Events

extension OrderEvent {
    fileprivate init(json: JSONField) throws(JSONError) {
        let name = try json.required("event")
        switch try name.string() {
        case "tick": self = .tick
        case "timer": self = .timer
        case "trigger":
            let key = try json.venueOrderKey()
            self = .trigger(key.leg, attempt: key.attempt)
        case "venue": self = .venue(try json.venueOrderKey(), try VenueNews(json: json))
        case "cancelFailed": self = .cancelFailed(try json.venueOrderKey())
        case "recovered": self = .recovered(try json.venueOrderKey())
        case "position":
            self = .position(
                net: try json.required("net").anyDecimal(),
                average: try json.storedMeasure("average"),
            )
        case "market": self = .market(try MarketTerms(json: json.required("terms")))
        case "attention":
            self = .attention(try json.required("cause").choice(), isRaised: try json.flag("raised"))
        case "command": self = .command(try Command(json: json))
        default: throw name.error(.badEnum, expected: "an event")
        }
    }
}

extension VenueNews {
    fileprivate init(json: JSONField) throws(JSONError) {
        if let id = try json.optional("accepted") {
            self = .accepted(venueOrderID: try id.string())
        } else if let fill = try json.optional("fill") {
            self = .fill(try Fill(stored: fill))
        } else if let end = try json.optional("ended") {
            switch try end.string() {
            case "filled": self = .ended(.filled)
            case "expired": self = .ended(.expired)
            case "cancelled": self = .ended(.cancelled)
            default: throw end.error(.badEnum, expected: "an end")
            }
        } else if let kind = try json.optional("refused") {
            self = .refused(try kind.choice(), venueCode: try json.string("venueCode"))
        } else {
            let outcome = try json.required("outcome")
            switch try outcome.string() {
            case "triggered": self = .triggered
            case "notSent": self = .notSent
            case "unknown": self = .unknown
            case "absent": self = .absent
            default: throw outcome.error(.badEnum, expected: "an outcome")
            }
        }
    }
}

// MARK: Commands

extension Command {
    fileprivate init(json: JSONField) throws(JSONError) {
        let name = try json.required("command")
        switch try name.string() {
        case "cancel": self = .cancel
        case "cancelLeavingEntry": self = .cancelLeavingEntry
        case "cancelEntry": self = .cancelEntry
        case "closeMarket": self = .closeMarket
        case "closeLevel": self = .closeLevel(try json.int("level"))
        case "openNow": self = .openNow
        case "addFunds": self = .addFunds(try json.sum("qty"), limitPrice: try json.storedMeasure("limitPrice"))
        case "reduceFunds": self = .reduceFunds(try json.sum("qty"))
        case "edit": self = .edit(try OrderEdit(record: json.required("edit")))
        default: throw name.error(.badEnum, expected: "a command")
        }
    }
}

extension OrderEdit {
    private static let beyondPatch: Set<String> = [
        "entryPlan", "cancelLevel", "entryPrice", "restingLevel", "restingLimit",
    ]

    /// A PATCH with the fields that only other routes set.
    fileprivate init(record json: JSONField) throws(JSONError) {
        var patch = try json.object()
        for key in OrderEdit.beyondPatch { patch[key] = nil }
        // The entry is stored whole, so nothing is merged over that of a draft.
        let draft = Draft(side: .buy, quantity: .zero, entry: EntryPlan(mode: .market))
        try self.init(json: JSONField(.object(patch), path: json.path), of: draft)
        if let field = try json.optional("entryPlan") { entry = try EntryPlan(json: field) }
        cancelLevel = try json.optional("cancelLevel")?.int()
        entryPrice = try json.storedMeasure("entryPrice")
        if let price = try json.storedMeasure("restingLimit", as: Price.self) {
            restingLimit = RestingLimit(level: try json.int("restingLevel"), price: price)
        }
    }
}

extension JSONField {
    func venueOrderKey() throws(JSONError) -> VenueOrderKey {
        VenueOrderKey(
            leg: try required("leg").parsed(.badID, expected: "a leg") { Leg($0) },
            attempt: try int("attempt"),
        )
    }
}
