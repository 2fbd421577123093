// Decoding of PostgreSQL's binary formats. Every function checks type and length and answers nil on a mismatch.

/// One non-null value in binary form, borrowed from a result or a COPY row.
struct Cell {
    let bytes: UnsafeRawBufferPointer
    /// OID of the type; 0 when unknown (COPY), then the length alone decides.
    let type: UInt32

    private func isOne(of types: UInt32...) -> Bool { type == 0 || types.contains(type) }

    private func integer<Value: FixedWidthInteger>(_: Value.Type, at offset: Int = 0) -> Value {
        Value(bigEndian: bytes.loadUnaligned(fromByteOffset: offset, as: Value.self))
    }

    /// int2, int4, int8, oid.
    var int64: Int64? {
        guard type == 20 || isOne(of: 21, 23, 26) else { return nil }
        switch bytes.count {
        case 8: return integer(Int64.self)
        case 4: return type == 26 ? Int64(integer(UInt32.self)) : Int64(integer(Int32.self))
        case 2: return Int64(integer(Int16.self))
        default: return nil
        }
    }

    var bool: Bool? {
        guard isOne(of: 16), bytes.count == 1 else { return nil }
        return bytes[0] != 0
    }

    /// Text of any kind, JSON and enumerations (their OIDs are above the built-in ones).
    var string: String? {
        guard type == 25 || type >= 16_384 || isOne(of: 1043, 1042, 19, 18, 114, 705, 3802) else { return nil }
        // Binary jsonb starts with a version number.
        if type == 3802 {
            guard bytes.first == 1 else { return nil }
            return String(decoding: bytes.dropFirst(), as: UTF8.self)
        }
        return String(decoding: bytes, as: UTF8.self)
    }

    var uuid: (high: UInt64, low: UInt64)? {
        guard isOne(of: 2950), bytes.count == 16 else { return nil }
        return (integer(UInt64.self), integer(UInt64.self, at: 8))
    }

    /// timestamptz as microseconds since 1970. The infinities are refused.
    var timestamp: Int64? {
        guard isOne(of: 1184, 1114), bytes.count == 8 else { return nil }
        let value = integer(Int64.self)
        guard value != .max, value != .min else { return nil }
        let (sum, overflows) = value.addingReportingOverflow(microsecondsTo2000)
        return overflows ? nil : sum
    }

    private static let powers: [Int128] = [1, 10, 100, 1_000, 10_000]

    /// numeric as `mantissa` / 10^`scale` with the column's scale. NaN, the infinities and what exceeds 38 digits: nil.
    var decimal: (mantissa: Int128, scale: Int)? {
        guard isOne(of: 1700), bytes.count >= 8 else { return nil }
        let count = Int(integer(Int16.self))
        let weight = Int(integer(Int16.self, at: 2))
        let sign = integer(UInt16.self, at: 4)
        let scale = Int(integer(Int16.self, at: 6))
        guard count >= 0, bytes.count == 8 + 2 * count, scale >= 0, sign == 0 || sign == 0x4000 else { return nil }
        var mantissa: Int128 = 0
        // Groups of four digits, from the highest.
        let groupsBelowPoint = (scale + 3) / 4
        guard weight >= -groupsBelowPoint - 1 || count == 0, weight < 12 else { return nil }
        var position = max(weight, 0)
        while position >= -groupsBelowPoint {
            let index = weight - position
            let digit = index >= 0 && index < count ? Int128(integer(Int16.self, at: 8 + 2 * index)) : 0
            // The scale may end inside the last group.
            let cut = position == -groupsBelowPoint ? groupsBelowPoint * 4 - scale : 0
            let (product, overflows) = mantissa.multipliedReportingOverflow(by: Cell.powers[4 - cut])
            let (sum, overflowsToo) = product.addingReportingOverflow(digit / Cell.powers[cut])
            guard !overflows, !overflowsToo else { return nil }
            mantissa = sum
            position -= 1
        }
        return (sign == 0 ? mantissa : -mantissa, scale)
    }

    /// numeric as plain decimal text.
    var numeric: String? {
        guard let (mantissa, scale) = decimal else { return nil }
        guard scale > 0 else { return "\(mantissa)" }
        var digits = "\(mantissa.magnitude)"
        if digits.utf8.count <= scale {
            digits = String(repeating: "0", count: scale + 1 - digits.utf8.count) + digits
        }
        let point = digits.index(digits.endIndex, offsetBy: -scale)
        return (mantissa < 0 ? "-" : "") + digits[..<point] + "." + digits[point...]
    }

    /// The elements of a one-dimensional array; nil elements are SQL nulls.
    private func elements<Value>(of types: [UInt32], _ decode: (Cell) -> Value?) -> [Value?]? {
        guard bytes.count >= 12 else { return nil }
        let dimensions = integer(Int32.self)
        let elementType = integer(UInt32.self, at: 8)
        if dimensions == 0 { return [] }
        guard dimensions == 1, bytes.count >= 20, types.isEmpty || types.contains(elementType) else { return nil }
        let count = Int(integer(Int32.self, at: 12))
        var values: [Value?] = []
        values.reserveCapacity(max(0, min(count, bytes.count / 4)))
        var offset = 20
        for _ in 0..<max(0, count) {
            guard offset + 4 <= bytes.count else { return nil }
            let length = Int(integer(Int32.self, at: offset))
            offset += 4
            if length < 0 {
                values.append(nil)
                continue
            }
            guard offset + length <= bytes.count else { return nil }
            let element = Cell(bytes: .init(rebasing: bytes[offset..<(offset + length)]), type: elementType)
            guard let value = decode(element) else { return nil }
            values.append(value)
            offset += length
        }
        return values
    }

    /// int2[], int4[], int8[] without nulls.
    var int64Array: [Int64]? {
        guard let values = elements(of: [20, 21, 23], { $0.int64 }) else { return nil }
        let present = values.compactMap(\.self)
        return present.count == values.count ? present : nil
    }

    var stringArray: [String?]? { elements(of: [], { $0.string }) }
}
