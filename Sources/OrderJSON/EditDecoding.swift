// A PATCH as a change of the plan (INTERFACES.md 1.11): an absent key leaves a field as it is, null removes it.

public import JSONText
public import SmartOrders

extension OrderEdit {
    /// Fields that a PATCH may name.
    public static let fields: Set<String> = [
        "entry", "qty", "takeProfits", "stopLoss", "trailing", "breakEven", "stopFollow", "stepLocks", "partialStops",
        "exitAt", "sizeMode", "triggerSource", "backstop", "placement", "printGuard",
    ]
    /// Fields of a draft that no PATCH may name: `IMMUTABLE_FIELD`, the caller's business.
    public static let immutableFields: Set<String> = ["market", "side", "accountId", "clientOrderId", "positionSide"]

    /// Reads a PATCH.
    ///
    /// - Parameter draft: the plan as it stands; `entry` changes only the fields that it names.
    public init(json: JSONField, of draft: Draft) throws(JSONError) {
        try json.refuseUnknownKeys(except: OrderEdit.fields)
        self.init()
        stopLoss = try OrderEdit.change(json, "stopLoss", StopLossPlan.init(json:))
        trailing = try OrderEdit.change(json, "trailing", TrailingPlan.init(json:))
        breakEven = try OrderEdit.change(json, "breakEven", BreakEvenPlan.init(json:))
        backstop = try OrderEdit.change(json, "backstop", BackstopPlan.init(json:))
        printGuard = try OrderEdit.change(json, "printGuard", PrintGuardPlan.init(json:))
        exitAt = try OrderEdit.change(json, "exitAt") { field throws(JSONError) in try field.timestamp() }
        if try json.has("takeProfits") {
            takeProfits = try Draft.list(json, "takeProfits", TakeProfitPlan.init(json:))
        }
        if try json.has("stepLocks") {
            stepLocks = try Draft.list(json, "stepLocks", limit: 10, StepLockPlan.init(json:))
        }
        if try json.has("partialStops") {
            partialStops = try Draft.list(json, "partialStops", limit: 5, PartialStopPlan.init(json:))
        }
        stopFollow = try json.optional("stopFollow")?.choice()
        if try json.has("stopFollow"), stopFollow == nil { stopFollow = Draft.StopFollow.none }
        sizeMode = try json.optional("sizeMode")?.choice()
        placement = try json.optional("placement")?.choice()
        triggerSource = try json.optional("triggerSource")?.choice()
        quantity = try json.optionalMeasure("qty")
        if let field = try json.optional("entry") { entry = try OrderEdit.entry(field, over: draft.entry) }
    }

    static func change<Part>(
        _ json: JSONField,
        _ key: String,
        _ read: (JSONField) throws(JSONError) -> Part,
    ) throws(JSONError) -> Part?? {
        guard try json.has(key) else { return nil }
        guard let field = try json.optional(key) else { return .some(nil) }
        return .some(try read(field))
    }

    /// Merges (RFC 7396) the named fields over the entry as it stands.
    private static func entry(_ json: JSONField, over entry: EntryPlan) throws(JSONError) -> EntryPlan {
        var writer = JSONWriter()
        writer.entry(entry)
        guard case .object(var merged) = try JSONValue(parsing: writer.take()) else { return entry }
        for member in try json.object().members { merged[member.key] = member.value == .null ? nil : member.value }
        return try EntryPlan(json: JSONField(.object(merged), path: json.path))
    }
}
