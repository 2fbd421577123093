// Decimals: printed and read again they are the same; the strict grammar accepts nothing that the loose one refuses.
import JSONText
import OrderJSON
import SmartOrders

@_cdecl("LLVMFuzzerTestOneInput")
public func fuzz(_ start: UnsafePointer<UInt8>?, _ count: Int) -> CInt {
    let text = String(decoding: UnsafeBufferPointer(start: start, count: count), as: UTF8.self)
    let loose = ExactDecimal(text)
    if let loose {
        guard let again = ExactDecimal(loose.description) else { fatalError("\(loose) cannot be read") }
        precondition(again == loose, "another number after one round")
    }
    if let strict = try? JSONField(.string(text)).decimal() {
        precondition(loose == strict, "two readings")
        precondition(strict.fitsMoney)
        // A sum and a product with one of the same size stay exact.
        precondition(strict + strict - strict == strict)
        precondition(strict * ExactDecimal(1) == strict)
    }
    _ = Timestamp(rfc3339: text).map { precondition(Timestamp(rfc3339: $0.rfc3339) == $0, "another time") }
    _ = MarketID(text).map { precondition(MarketID($0.description) == $0, "another market") }
    _ = UniqueID(text).map { precondition(UniqueID($0.description) == $0, "another id") }
    return 0
}
