// Query strings: what was decoded and encoded again decodes to the same.
import JSONText

private func encoded(_ text: String) -> [UInt8] {
    let digits = Array("0123456789ABCDEF".utf8)
    return text.utf8.flatMap { [UInt8(ascii: "%"), digits[Int($0 >> 4)], digits[Int($0 & 15)]] }
}

@_cdecl("LLVMFuzzerTestOneInput")
public func fuzz(_ start: UnsafePointer<UInt8>?, _ count: Int) -> CInt {
    let bytes = Array(UnsafeBufferPointer(start: start, count: count))
    guard let items = queryItems(bytes) else { return 0 }
    var again: [UInt8] = []
    for item in items {
        if !again.isEmpty { again.append(UInt8(ascii: "&")) }
        again += encoded(item.name) + [UInt8(ascii: "=")] + encoded(item.value)
    }
    guard let twice = queryItems(again) else { fatalError("what was encoded cannot be decoded") }
    precondition(twice.count == items.count && zip(twice, items).allSatisfy { $0 == $1 }, "another query")
    return 0
}
