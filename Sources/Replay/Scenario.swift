// A golden scenario as it is written (scenarios/README.md 1). Unknown keys are an error: a runner that does not know a
// key would test something else.

package import JSONText
internal import OrderJSON
internal import PaperMatching
package import SmartOrders

/// One worked case.
package struct Scenario: Sendable {
    package enum Kind: String { case smart, conditional, validation, calc }

    package let id: String
    package let kind: Kind
    package let body: JSONField
    package let expect: JSONField

    init(json: JSONField) throws(JSONError) {
        id = try json.string("id")
        kind = try json.required("kind", expected: "a kind of scenario").choice()
        body = json
        expect = try json.required("expect", expected: "what must come out")
        var known: Set<String> = [
            "id", "title", "tags", "requirements", "rules", "mirrorOf", "kind", "instrument", "expect",
        ]
        var results: Set<String> = []
        switch kind {
        case .smart:
            known.formUnion(["position", "fees", "request", "timeline", "faults"])
            results = [
                "stateSequence", "closeReason", "orders", "grossPnl", "fees", "netPnl", "stops", "tpFinal", "tpQty",
                "tpTransitions", "progress", "avgEntry", "openQty", "dust", "restingAtEnd", "notes",
            ]
        case .conditional:
            known.formUnion(["request", "timeline"])
            results = ["condition", "firedAt", "stateSequence", "orders"]
        case .validation, .calc:
            known.insert("cases")
            results = ["results"]
        }
        try json.refuseUnknownKeys(except: known)
        try expect.refuseUnknownKeys(except: results)
        if let orders = try expect.optional("orders") {
            for order in try orders.elements() {
                try order.refuseUnknownKeys(except: [
                    "purpose", "side", "type", "qty", "limitPrice", "outcome", "fills", "fill",
                ])
            }
        }
    }

    /// The scenarios of a golden file, or the one that the document is.
    package static func all(in document: JSONField) throws(JSONError) -> [Scenario] {
        guard try document.has("scenarios") else { return [try Scenario(json: document)] }
        try document.refuseUnknownKeys(except: ["doc", "rules", "scenarios"])
        let version = try document.required("doc", expected: "the file's description").required("schemaVersion")
        guard try version.int64() == 1 else { throw version.error(.wrongType, expected: "schemaVersion 1") }
        var scenarios: [Scenario] = []
        for element in try document.elements("scenarios") { scenarios.append(try Scenario(json: element)) }
        return scenarios
    }
}

/// What happens to the order under test, in order.
package struct ScenarioEvent: Sendable {
    package enum What: Sendable {
        case price(mark: Price, fill: Price, liquidity: Quantity?, queryFails: Bool)
        case timer
        case entryFill(Quantity, Price)
        case entryEnd(VenueNews.VenueEnd)
        case position(net: ExactDecimal, average: Price?)
        case venue(isUp: Bool)
        case restart
        case duplicateTrigger(Leg)
        case command(TimelineCommand)
    }

    package let what: What
    package let time: Timestamp

    /// The start of a scenario's clock.
    package static let origin = Timestamp(milliseconds: 1_700_000_000_000)

    package static func timeline(_ json: JSONField) throws(JSONError) -> [ScenarioEvent] {
        guard let field = try json.optional("timeline") else { return [] }
        var events: [ScenarioEvent] = []
        var elapsed: Int64 = 0
        for element in try field.elements() {
            if let at = try element.optional("t") {
                let milliseconds = try at.count()
                guard milliseconds >= elapsed else {
                    throw at.error(.wrongType, expected: "a time that does not fall")
                }
                elapsed = milliseconds
            }
            events.append(
                ScenarioEvent(what: try what(element), time: origin.advanced(milliseconds: elapsed))
            )
        }
        return events
    }

    private enum Kind: String {
        case price, timer, entryFill, entryEnd, position, venue, restart, duplicateTrigger, command
    }
    private enum End: String { case expired, cancelled }

    private static func what(_ json: JSONField) throws(JSONError) -> What {
        func allow(_ keys: Set<String>) throws(JSONError) {
            try json.refuseUnknownKeys(except: keys.union(["type", "t"]))
        }
        let kind: Kind = try json.required("type", expected: "a type of event").choice()
        switch kind {
        case .price:
            try allow(["mark", "fill", "liquidity", "queryFails"])
            let mark: Price = try json.positive("mark")
            let liquidity: Quantity? = try json.optionalMeasure("liquidity")
            if let liquidity, liquidity.value.isNegative {
                throw try json.required("liquidity").error(.badDecimal, expected: "a decimal from 0")
            }
            return .price(
                mark: mark,
                fill: try json.has("fill") ? json.positive("fill") : mark,
                liquidity: liquidity,
                queryFails: try json.optional("queryFails")?.bool() ?? false,
            )
        case .timer:
            try allow([])
            return .timer
        case .entryFill:
            try allow(["qty", "price"])
            return .entryFill(try json.positive("qty"), try json.positive("price"))
        case .entryEnd:
            try allow(["state"])
            switch try json.required("state", expected: "expired or cancelled").choice(End.self) {
            case .expired: return .entryEnd(.expired)
            case .cancelled: return .entryEnd(.cancelled)
            }
        case .position:
            try allow(["net", "avg"])
            return .position(
                net: try json.required("net", expected: "a decimal as a string").decimal(),
                average: try json.optionalMeasure("avg"),
            )
        case .venue:
            try allow(["up"])
            return .venue(isUp: try json.bool("up"))
        case .restart:
            try allow([])
            return .restart
        case .duplicateTrigger:
            try allow(["leg"])
            return .duplicateTrigger(
                try json.required("leg", expected: "a leg").parsed(.badID, expected: "a leg") { Leg($0) }
            )
        case .command:
            return .command(try TimelineCommand(json: json))
        }
    }
}

/// A command of a timeline.
package enum TimelineCommand: Sendable {
    case plain(Command)
    case modify(stopLoss: Price?, callbackRate: Rate?, breakEven: Bool?)

    private enum Op: String { case cancel, cancelEntry, closeMarket, openNow, modify, addFunds, reduceFunds }

    init(json: JSONField) throws(JSONError) {
        func allow(_ keys: Set<String>) throws(JSONError) {
            try json.refuseUnknownKeys(except: keys.union(["type", "t", "op"]))
        }
        let op: Op = try json.required("op", expected: "a command").choice()
        switch op {
        case .cancel, .cancelEntry, .closeMarket, .openNow: try allow([])
        case .modify: try allow(["stopLoss", "callbackRate", "breakEven"])
        case .addFunds, .reduceFunds: try allow(["qty"])
        }
        switch op {
        case .cancel: self = .plain(.cancel)
        case .cancelEntry: self = .plain(.cancelEntry)
        case .closeMarket: self = .plain(.closeMarket)
        case .openNow: self = .plain(.openNow)
        case .addFunds: self = .plain(.addFunds(try json.measure("qty"), limitPrice: nil))
        case .reduceFunds: self = .plain(.reduceFunds(try json.measure("qty")))
        case .modify:
            self = .modify(
                stopLoss: try json.optionalMeasure("stopLoss"),
                callbackRate: try json.optionalMeasure("callbackRate"),
                breakEven: try json.optional("breakEven")?.bool(),
            )
        }
    }

    /// The command for an order whose plan is `draft`.
    package func command(for draft: Draft) -> Command {
        switch self {
        case .plain(let command): return command
        case .modify(let stopLoss, let callbackRate, let breakEven):
            var edit = OrderEdit()
            if let stopLoss {
                var plan = draft.stopLoss ?? StopLossPlan(price: stopLoss)
                plan.price = stopLoss
                edit.stopLoss = .some(plan)
            }
            if let callbackRate {
                var plan = draft.trailing ?? TrailingPlan(callback: .rate(callbackRate))
                plan.callback = .rate(callbackRate)
                edit.trailing = .some(plan)
            }
            if let breakEven {
                var plan = draft.breakEven ?? BreakEvenPlan(enabled: breakEven)
                plan.enabled = breakEven
                edit.breakEven = .some(plan)
            }
            return .edit(edit)
        }
    }
}

/// What the n-th order of a purpose meets instead of being matched.
package struct ScenarioFault: Sendable {
    package enum Result: String {
        case reject
        case insufficient
        case rateLimited = "rate_limited"
        case unknownFilled = "unknown_filled"
        case unknownNotPlaced = "unknown_not_placed"
        case filledBeforeCancel = "filled_before_cancel"
    }

    /// `sl`, `cancel:tp1`.
    package let purpose: String
    package let attempt: Int
    package let result: Result
    package let quantity: Quantity
    package let price: Price?

    init(json: JSONField) throws(JSONError) {
        try json.refuseUnknownKeys(except: ["purpose", "attempt", "result", "qty", "price"])
        purpose = try json.string("purpose")
        attempt = try json.int("attempt")
        result = try json.required("result", expected: "a result").choice()
        quantity = try json.optionalMeasure("qty") ?? .zero
        price = try json.optionalMeasure("price")
        let isRace = result == .filledBeforeCancel
        guard isRace == purpose.hasPrefix("cancel:") else {
            throw json.error(.wrongType, expected: "filled_before_cancel with a purpose cancel:<purpose>")
        }
        let leg = isRace ? String(purpose.dropFirst("cancel:".count)) : purpose
        guard Leg(leg) != nil else { throw try json.required("purpose").error(.badID, expected: "a purpose") }
        guard attempt > 0 else { throw try json.required("attempt").error(.wrongType, expected: "a number from 1") }
        if isRace { _ = (try json.positive("qty") as Quantity, try json.positive("price") as Price) }
    }

    package static func list(_ json: JSONField) throws(JSONError) -> [ScenarioFault] {
        guard let field = try json.optional("faults") else { return [] }
        var faults: [ScenarioFault] = []
        for element in try field.elements() { faults.append(try ScenarioFault(json: element)) }
        return faults
    }
}

/// Fees of a scenario; zero when it names none.
package struct ScenarioFees: Sendable {
    package enum EntryAsset: String, Sendable { case quote, base }

    let schedule: FeeSchedule
    package let entryAsset: EntryAsset

    package var maker: Rate { schedule.maker }
    package var taker: Rate { schedule.taker }

    package init(json: JSONField?) throws(JSONError) {
        guard let json else {
            schedule = .free
            entryAsset = .quote
            return
        }
        try json.refuseUnknownKeys(except: ["maker", "taker", "entryFeeAsset"])
        schedule = FeeSchedule(maker: try json.measure("maker"), taker: try json.measure("taker"))
        entryAsset = try json.optional("entryFeeAsset")?.choice() ?? .quote
    }
}

/// `request` of a smart order: a draft, the price at creation and a time exit on the scenario's clock.
package struct ScenarioRequest: Sendable {
    package let draft: Draft
    package let initialMark: Price

    package init(json: JSONField, allowing others: Set<String> = []) throws(JSONError) {
        var draft = try Draft(json: json, allowing: others.union(["initialMark", "exitAtMs"]))
        initialMark = try json.positive("initialMark")
        if let exitAt = try json.optional("exitAtMs") {
            draft.exitAt = ScenarioEvent.origin.advanced(milliseconds: try exitAt.count())
        }
        self.draft = draft
    }
}

extension JSONField {
    /// A price or a quantity of a market: above zero.
    func positive<M: Measure>(_ key: String) throws(JSONError) -> M {
        let measure: M = try measure(key)
        guard measure.value.isPositive else {
            throw try required(key).error(.badDecimal, expected: "a positive decimal")
        }
        return measure
    }
}
