// Scenarios without a timeline: lists of drafts to accept or refuse, and of pure functions to compute.

internal import JSONText
internal import OrderJSON
internal import SmartOrders

enum CaseRuns {
    private enum Form: String { case smart, conditional }

    /// `validation`: each case is accepted, or refused with the first failing check.
    static func validation(_ scenario: Scenario) throws(JSONError) -> JSONObject {
        var base: InstrumentBlock?
        if let field = try scenario.body.optional("instrument") { base = try InstrumentBlock(json: field) }
        var results: [JSONValue] = []
        for field in try scenario.body.elements("cases") {
            let block = try block(field, over: base)
            var bounds = CreationBounds()
            if let maximum = block.maxConditionals { bounds.maxConditionals = maximum }
            if let active = block.activeConditionals { bounds.activeConditionals = active }
            let form: Form = try field.required("form", expected: "smart or conditional").choice()
            let refusal: Refusal?
            switch form {
            case .smart:
                let request = try ScenarioRequest(json: field, allowing: ["form", "instrument"])
                refusal = self.refusal { () throws(Refusal) in
                    _ = try SmartOrder.create(
                        request.draft,
                        id: OrderID(UniqueID(high: 0, low: 0)),
                        account: AccountID(UniqueID(high: 0, low: 0)),
                        instrument: block.instrument,
                        bounds: bounds,
                        at: Moment(now: ScenarioEvent.origin, price: request.initialMark),
                    )
                }
            case .conditional:
                let request = try ConditionalRun.request(field, allowing: ["form", "instrument"])
                refusal = self.refusal { () throws(Refusal) in
                    _ = try ConditionalOrder.create(
                        request.draft,
                        id: OrderID(UniqueID(high: 0, low: 0)),
                        account: AccountID(UniqueID(high: 0, low: 0)),
                        instrument: block.instrument,
                        bounds: bounds,
                        at: Moment(now: ScenarioEvent.origin, price: request.mark),
                    )
                }
            }
            if let refusal {
                results.append(["accepted": false, "code": .string(refusal.code.rawValue)])
            } else {
                results.append(["accepted": true])
            }
        }
        return ["results": .array(results)]
    }

    private static func block(_ field: JSONField, over base: InstrumentBlock?) throws(JSONError) -> InstrumentBlock {
        if let own = try field.optional("instrument") { return try InstrumentBlock(json: own, over: base) }
        if let base { return base }
        throw field.error(.missingField, expected: "an instrument")
    }

    private static func refusal(_ body: () throws(Refusal) -> Void) -> Refusal? {
        do {
            try body()
            return nil
        } catch {
            return error
        }
    }

    private enum Function: String { case trail, trailAmount, iocLimit, breakEvenFees, band, avg, plan, sync }
    private enum Exit: String {
        case takeProfit = "TP"
        case stop = "SL"
    }

    /// `calc`: each case is a function of ORDERS.md with its input.
    static func calc(_ scenario: Scenario) throws(JSONError) -> JSONObject {
        var results: [JSONValue] = []
        for field in try scenario.body.elements("cases") { results.append(try result(field)) }
        return ["results": .array(results)]
    }

    private static func result(_ json: JSONField) throws(JSONError) -> JSONValue {
        func allow(_ keys: Set<String>) throws(JSONError) {
            try json.refuseUnknownKeys(except: keys.union(["fn", "side", "tick"]))
        }
        func text(_ measure: some Measure) -> JSONValue { .string(measure.description) }
        let function: Function = try json.required("fn", expected: "a function").choice()
        let side: Side = try json.optional("side")?.choice() ?? .buy
        let tick: Price = try json.optionalMeasure("tick") ?? Price(ExactDecimal(mantissa: 1, scale: 2))
        switch function {
        case .trail:
            try allow(["extreme", "rate"])
            let callback = Callback.rate(try json.measure("rate"))
            return text(
                Pricing.trailingStop(
                    side: side,
                    extreme: try json.measure("extreme"),
                    callback: callback,
                    tickSize: tick,
                )
            )
        case .trailAmount:
            try allow(["extreme", "amount"])
            let callback = Callback.amount(try json.measure("amount"))
            return text(
                Pricing.trailingStop(
                    side: side,
                    extreme: try json.measure("extreme"),
                    callback: callback,
                    tickSize: tick,
                )
            )
        case .iocLimit:
            try allow(["trigger"])
            return text(
                Pricing.immediateLimit(side: side.opposite, anchor: try json.measure("trigger"), tickSize: tick)
            )
        case .breakEvenFees:
            try allow(["entry", "feeIn", "feeOut"])
            let one = Quantity(.one)
            return text(
                Pricing.breakEven(
                    side: side,
                    mode: .fees,
                    average: AverageEntry(cost: try json.measure("entry", as: Price.self) * one, quantity: one),
                    feeIn: try json.measure("feeIn"),
                    feeOut: try json.measure("feeOut"),
                    tickSize: tick,
                )
            )
        case .band:
            try allow(["kind", "sideOrder", "trigger"])
            let band = Pricing.conditionalBand(
                kind: try json.required("kind", expected: "a kind of market").choice(),
                side: try json.required("sideOrder", expected: "BUY or SELL").choice(),
                trigger: try json.measure("trigger"),
            )
            return [text(band.low), text(band.high)]
        case .avg:
            try allow(["fills"])
            var fills: [(price: Price, quantity: Quantity)] = []
            for fill in try json.elements("fills") {
                let parts = try fill.elements()
                guard parts.count == 2 else { throw fill.error(.wrongType, expected: "price and quantity") }
                fills.append((try parts[0].measure(), try parts[1].measure()))
            }
            return Pricing.average(fills).map { text($0.rounded) } ?? .null
        case .plan:
            try allow(["qty", "pcts", "prices", "step", "minQty", "minNotional"])
            var percents: [ExactDecimal] = []
            for percent in try json.elements("pcts") { percents.append(try percent.decimal()) }
            var prices: [Price] = []
            for price in try json.elements("prices") { prices.append(try price.measure()) }
            let plan = Pricing.plan(
                quantity: try json.measure("qty"),
                percents: percents,
                prices: prices,
                step: try json.measure("step"),
                minQuantity: try json.optionalMeasure("minQty") ?? .zero,
                minNotional: try json.optionalMeasure("minNotional") ?? .zero,
            )
            return .array(plan.map { text($0) })
        case .sync:
            try allow(["leg", "entry", "qty", "pct", "usd", "price"])
            let exit: Exit = try json.required("leg", expected: "TP or SL").choice()
            let input: Pricing.ExitInput
            if let percent = try json.optional("pct") {
                input = .percent(try percent.decimal())
            } else if let amount: Money = try json.optionalMeasure("usd") {
                input = .amount(amount)
            } else {
                input = .price(try json.measure("price"))
            }
            let synced = Pricing.sync(
                side: side,
                isStop: exit == .stop,
                entry: try json.measure("entry"),
                quantity: try json.measure("qty"),
                input: input,
                tickSize: tick,
            )
            return [
                "price": text(synced.price), "pct": .string(synced.percent.description), "usd": text(synced.amount),
            ]
        }
    }
}
