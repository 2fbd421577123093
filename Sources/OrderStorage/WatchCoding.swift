// The watches of an order in a few bytes, so that a million orders load without their plans.
//
// Form: version 2 and the grid that trailing watches are rounded to, or version 1 where none trails; then per watch: leg (tag, number where the leg has one), attempt, condition (tag), the prices.
// Whole numbers are varints of seven bits a byte, low bits first; a decimal is its scale and its mantissa in zigzag form.
// A reader refuses what it does not know: a newer program may have written it.

internal import SmartOrders

enum WatchCoding {
    private static let version: UInt8 = 1
    private static let versionWithGrid: UInt8 = 2

    /// - Parameter tickUnits: `ArmedOrder.tickUnits`.
    static func encode(_ watches: [Watch], tickUnits: Int64) -> [UInt8] {
        guard !watches.isEmpty else { return [] }
        var bytes: [UInt8] = [tickUnits == 0 ? version : versionWithGrid]
        bytes.reserveCapacity(4 + watches.count * 12)
        if tickUnits != 0 { put(UInt128(UInt64(bitPattern: tickUnits)), &bytes) }
        for watch in watches {
            let (tag, number) = code(of: watch.leg)
            bytes.append(tag)
            if let number { put(UInt128(number), &bytes) }
            put(UInt128(UInt64(bitPattern: Int64(watch.attempt))), &bytes)
            switch watch.condition {
            case .atOrAbove(let price):
                bytes.append(0)
                put(price.value, &bytes)
            case .atOrBelow(let price):
                bytes.append(1)
                put(price.value, &bytes)
            case .trailsHigh(let callback, let extreme): put(callback, extreme, rate: 2, &bytes)
            case .trailsLow(let callback, let extreme): put(callback, extreme, rate: 4, &bytes)
            }
        }
        return bytes
    }

    /// Nil when the bytes are not of this form.
    static func decode(_ bytes: [UInt8]) -> (watches: [Watch], tickUnits: Int64)? {
        guard let first = bytes.first else { return ([], 0) }
        var reader = Reader(bytes: bytes, position: 1)
        var tickUnits = Int64(0)
        switch first {
        case version: break
        case versionWithGrid:
            guard let grid = reader.int(), grid > 0 else { return nil }
            tickUnits = Int64(grid)
        default: return nil
        }
        var watches: [Watch] = []
        watches.reserveCapacity(4)
        while reader.position < bytes.count {
            guard let leg = reader.leg(), let attempt = reader.int(), let condition = reader.condition() else {
                return nil
            }
            watches.append(Watch(leg: leg, attempt: attempt, condition: condition))
        }
        return (watches, tickUnits)
    }

    private static func code(of leg: Leg) -> (tag: UInt8, number: Int?) {
        switch leg {
        case .entry: (0, nil)
        case .takeProfit(let level): (1, level)
        case .stop: (2, nil)
        case .partialStop(let number): (3, number)
        case .close: (4, nil)
        case .reduce: (5, nil)
        case .add: (6, nil)
        case .backstop: (7, nil)
        case .conditional: (8, nil)
        case .timer: (9, nil)
        case .reconcile: (10, nil)
        }
    }

    private static func put(_ value: UInt128, _ bytes: inout [UInt8]) {
        var rest = value
        while rest > 127 {
            bytes.append(UInt8(truncatingIfNeeded: rest) | 128)
            rest >>= 7
        }
        bytes.append(UInt8(rest))
    }

    private static func put(_ value: ExactDecimal, _ bytes: inout [UInt8]) {
        bytes.append(value.scale)
        put(UInt128(bitPattern: (value.mantissa << 1) ^ (value.mantissa >> 127)), &bytes)
    }

    private static func put(_ callback: Callback, _ extreme: Price, rate: UInt8, _ bytes: inout [UInt8]) {
        switch callback {
        case .rate(let value):
            bytes.append(rate)
            put(value.value, &bytes)
        case .amount(let value):
            bytes.append(rate + 1)
            put(value.value, &bytes)
        }
        put(extreme.value, &bytes)
    }

    private struct Reader {
        let bytes: [UInt8]
        var position: Int

        mutating func byte() -> UInt8? {
            guard position < bytes.count else { return nil }
            defer { position += 1 }
            return bytes[position]
        }

        /// Nearly every number fits 64 bits, and those are many times cheaper.
        mutating func small() -> UInt64? {
            var value: UInt64 = 0
            var shift: UInt64 = 0
            while shift < 63 {
                guard let next = byte() else { return nil }
                value |= UInt64(next & 127) << shift
                if next < 128 { return value }
                shift += 7
            }
            return nil
        }

        mutating func wide() -> UInt128? {
            let start = position
            if let value = small() { return UInt128(value) }
            position = start
            var value: UInt128 = 0
            var shift: UInt128 = 0
            while shift < 127 {
                guard let next = byte() else { return nil }
                value |= UInt128(next & 127) << shift
                if next < 128 { return value }
                shift += 7
            }
            return nil
        }

        mutating func int() -> Int? { small().flatMap { Int(exactly: $0) } }

        mutating func leg() -> Leg? {
            guard let tag = byte() else { return nil }
            switch tag {
            case 0: return .entry
            case 1: return int().map { .takeProfit($0) }
            case 2: return .stop
            case 3: return int().map { .partialStop($0) }
            case 4: return .close
            case 5: return .reduce
            case 6: return .add
            case 7: return .backstop
            case 8: return .conditional
            case 9: return .timer
            case 10: return .reconcile
            default: return nil
            }
        }

        mutating func decimal() -> ExactDecimal? {
            guard let scale = byte(), scale <= 36, let zigzag = wide() else { return nil }
            let half = Int128(bitPattern: zigzag >> 1)
            return ExactDecimal(mantissa: zigzag & 1 == 0 ? half : ~half, scale: Int(scale))
        }

        mutating func condition() -> Watch.Condition? {
            guard let tag = byte(), let first = decimal() else { return nil }
            switch tag {
            case 0: return .atOrAbove(Price(first))
            case 1: return .atOrBelow(Price(first))
            case 2, 3, 4, 5:
                guard let extreme = decimal() else { return nil }
                let callback: Callback = tag % 2 == 0 ? .rate(Rate(first)) : .amount(Price(first))
                let price = Price(extreme)
                return tag < 4 ? .trailsHigh(callback, extreme: price) : .trailsLow(callback, extreme: price)
            default: return nil
            }
        }
    }
}
