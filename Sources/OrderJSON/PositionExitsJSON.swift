// The body of a position's take-profit and stop (INTERFACES.md 1.9, 1.10): an absent key leaves a leg as it is, null
// removes it.

public import JSONText
public import SmartOrders

/// What a trader asks for a whole position (ORDERS.md 5.2).
public struct PositionExits: Hashable, Sendable {
    public var takeProfit: TakeProfitPlan??
    public var stopLoss: StopLossPlan??
    public var trailing: TrailingPlan??
    public var breakEven: BreakEvenPlan??
    public var triggerSource: TriggerSource?

    public static let fields: Set<String> = ["takeProfit", "stopLoss", "trailing", "breakEven", "triggerSource"]

    public init(json: JSONField) throws(JSONError) {
        try json.refuseUnknownKeys(except: Self.fields)
        takeProfit = try OrderEdit.change(json, "takeProfit", TakeProfitPlan.init(wholePosition:))
        stopLoss = try OrderEdit.change(json, "stopLoss", StopLossPlan.init(json:))
        trailing = try OrderEdit.change(json, "trailing", TrailingPlan.init(json:))
        breakEven = try OrderEdit.change(json, "breakEven", BreakEvenPlan.init(json:))
        triggerSource = try json.optional("triggerSource")?.choice()
    }

    /// A new order for `quantity` that is held.
    public func draft(side: Side, quantity: Quantity, positionSide: Draft.PositionSide) -> Draft {
        Draft(
            side: side,
            quantity: quantity,
            entry: EntryPlan(mode: .attach),
            takeProfits: (takeProfit ?? nil).map { [$0] } ?? [],
            stopLoss: stopLoss ?? nil,
            trailing: trailing ?? nil,
            breakEven: breakEven ?? nil,
            sizeMode: .position,
            positionSide: positionSide,
            triggerSource: triggerSource,
        )
    }

    /// The change of the order that is there.
    public var edit: OrderEdit {
        var edit = OrderEdit()
        if let takeProfit { edit.takeProfits = takeProfit.map { [$0] } ?? [] }
        edit.stopLoss = stopLoss
        edit.trailing = trailing
        edit.breakEven = breakEven
        edit.triggerSource = triggerSource
        return edit
    }
}

extension TakeProfitPlan {
    private static let jsonKeys: Set<String> = ["price", "pricePct", "exec", "limitPrice"]

    /// A level that closes all of the position.
    fileprivate init(wholePosition json: JSONField) throws(JSONError) {
        try json.refuseUnknownKeys(except: Self.jsonKeys)
        let target: TargetPrice
        if let percent = try json.optional("pricePct") {
            _ = try json.optionalMeasure("price", as: Price.self)
            target = .percent(try percent.decimal())
        } else {
            target = .price(try json.measure("price"))
        }
        self.init(
            target: target,
            sizePercent: ExactDecimal(100),
            execution: try json.optional("exec")?.choice() ?? .market,
            limitPrice: try json.optionalMeasure("limitPrice"),
        )
    }
}
