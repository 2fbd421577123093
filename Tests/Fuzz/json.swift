// Bodies: what is accepted is written again to the same meaning.
import JSONText
import OrderJSON
import SmartOrders

@_cdecl("LLVMFuzzerTestOneInput")
public func fuzz(_ start: UnsafePointer<UInt8>?, _ count: Int) -> CInt {
    let bytes = Array(UnsafeBufferPointer(start: start, count: count))
    guard let value = try? JSONValue(parsing: bytes, limits: JSONLimits(depth: 16, bytes: 64 << 10)) else { return 0 }
    let written = value.serialized()
    guard let again = try? JSONValue(parsing: written) else { fatalError("what was written cannot be read") }
    precondition(again == value, "another value after one round")

    let json = JSONField(value)
    if let draft = try? Draft(json: json, allowing: ["accountId", "market"]) {
        var writer = JSONWriter()
        writer.draft(draft)
        guard let echo = try? Draft(json: JSONField(JSONValue(parsing: writer.take()))) else {
            fatalError("a draft that was written cannot be read")
        }
        precondition(echo == draft, "another draft after one round")
        _ = try? OrderEdit(json: json, of: draft)
    }
    if let draft = try? ConditionalDraft(json: json, allowing: ["accountId", "market"]) {
        var writer = JSONWriter()
        writer.draft(draft)
        guard let echo = try? ConditionalDraft(json: JSONField(JSONValue(parsing: writer.take()))) else {
            fatalError("a conditional draft that was written cannot be read")
        }
        precondition(echo == draft, "another conditional draft after one round")
    }
    _ = try? StoredOrder(encodedState: bytes)
    return 0
}
