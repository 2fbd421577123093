// Query strings and path segments as they come: percent-encoded UTF-8.

/// The parameters of a query string, in order; nil for a broken escape or bytes that are no UTF-8.
package func queryItems(_ text: some Collection<UInt8>) -> [(name: String, value: String)]? {
    var items: [(name: String, value: String)] = []
    for part in text.split(separator: UInt8(ascii: "&")) {
        let pair = part.split(separator: UInt8(ascii: "="), maxSplits: 1, omittingEmptySubsequences: false)
        guard let name = percentDecoded(pair[0], plusIsSpace: true),
            let value = pair.count > 1 ? percentDecoded(pair[1], plusIsSpace: true) : ""
        else { return nil }
        items.append((name, value))
    }
    return items
}

/// Percent-decodes; nil for a broken escape or bytes that are no UTF-8.
package func percentDecoded(_ bytes: some Collection<UInt8>, plusIsSpace: Bool = false) -> String? {
    var decoded: [UInt8] = []
    decoded.reserveCapacity(bytes.count)
    var iterator = bytes.makeIterator()
    func half(_ byte: UInt8?) -> UInt8? {
        switch byte {
        case let byte? where byte >= UInt8(ascii: "0") && byte <= UInt8(ascii: "9"): byte - UInt8(ascii: "0")
        case let byte? where byte >= UInt8(ascii: "a") && byte <= UInt8(ascii: "f"): byte - UInt8(ascii: "a") + 10
        case let byte? where byte >= UInt8(ascii: "A") && byte <= UInt8(ascii: "F"): byte - UInt8(ascii: "A") + 10
        case _: nil
        }
    }
    while let byte = iterator.next() {
        if byte == UInt8(ascii: "%") {
            guard let high = half(iterator.next()), let low = half(iterator.next()) else { return nil }
            decoded.append(high << 4 | low)
        } else if byte == UInt8(ascii: "+"), plusIsSpace {
            decoded.append(UInt8(ascii: " "))
        } else {
            decoded.append(byte)
        }
    }
    return String(validating: decoded, as: UTF8.self)
}
