// Identifiers. Each is its own type, so an account never stands where an order is meant.

/// A 128-bit identifier in the text form of a UUID: lower case, with dashes.
public struct UniqueID: Hashable, Sendable, CustomStringConvertible {
    public let high: UInt64
    public let low: UInt64

    public init(high: UInt64, low: UInt64) {
        self.high = high
        self.low = low
    }

    /// Reads the canonical 36-character form; nil for anything else (upper case too).
    public init?(_ text: some StringProtocol) { self.init(utf8: text.utf8) }

    fileprivate init?(utf8 bytes: some Sequence<UInt8>) {
        var high: UInt64 = 0
        var low: UInt64 = 0
        var digits = 0
        var position = 0
        for byte in bytes {
            if position == 8 || position == 13 || position == 18 || position == 23 {
                guard byte == UInt8(ascii: "-") else { return nil }
            } else {
                let digit: UInt8
                switch byte {
                case UInt8(ascii: "0")...UInt8(ascii: "9"): digit = byte - UInt8(ascii: "0")
                case UInt8(ascii: "a")...UInt8(ascii: "f"): digit = byte - UInt8(ascii: "a") + 10
                default: return nil
                }
                if digits < 16 { high = high << 4 | UInt64(digit) } else { low = low << 4 | UInt64(digit) }
                digits += 1
            }
            position += 1
            if position > 36 { return nil }
        }
        guard position == 36 else { return nil }
        self.init(high: high, low: low)
    }

    /// A version 7 identifier: `unixMilliseconds` first, so identifiers sort by time, then 74 bits of `random`.
    public init(unixMilliseconds: Int64, random: inout some RandomNumberGenerator) {
        let noise = random.next()
        high = UInt64(bitPattern: unixMilliseconds) << 16 | 0x7000 | (noise & 0x0fff)
        low = (random.next() & 0x3fff_ffff_ffff_ffff) | 0x8000_0000_0000_0000
    }

    /// The random half tells them apart.
    public func hash(into hasher: inout Hasher) { hasher.combine(low) }

    public var description: String {
        unsafe String(unsafeUninitializedCapacity: 36) { buffer in
            var position = 0
            for index in 0..<32 {
                if index == 8 || index == 12 || index == 16 || index == 20 {
                    unsafe buffer[position] = UInt8(ascii: "-")
                    position += 1
                }
                let half = index < 16 ? high : low
                let shift = UInt64((15 - index % 16) * 4)
                let digit = UInt8(half >> shift & 15)
                unsafe buffer[position] = digit < 10 ? UInt8(ascii: "0") + digit : UInt8(ascii: "a") + digit - 10
                position += 1
            }
            return 36
        }
    }
}

extension UniqueID: Comparable {
    public static func < (left: UniqueID, right: UniqueID) -> Bool {
        (left.high, left.low) < (right.high, right.low)
    }
}

/// Identifies a smart order or a conditional order.
public struct OrderID: Hashable, Comparable, Sendable, CustomStringConvertible {
    public let value: UniqueID
    public init(_ value: UniqueID) { self.value = value }
    public init?(_ text: some StringProtocol) {
        guard let value = UniqueID(text) else { return nil }
        self.value = value
    }
    public static func < (left: OrderID, right: OrderID) -> Bool { left.value < right.value }
    public var description: String { value.description }

    /// Number of shards of a deployment (DESIGN.md 4); fixed for ever.
    public static let shardCount = 1024
    /// The fixed slot of this order, 0..<1024. From the random end of the identifier, so new orders spread evenly.
    public var shard: Int { Int(value.low & 1023) }
}

/// Identifies an account at a venue.
public struct AccountID: Hashable, Comparable, Sendable, CustomStringConvertible {
    public let value: UniqueID
    public init(_ value: UniqueID) { self.value = value }
    public init?(_ text: some StringProtocol) {
        guard let value = UniqueID(text) else { return nil }
        self.value = value
    }
    public static func < (left: AccountID, right: AccountID) -> Bool { left.value < right.value }
    public var description: String { value.description }
}

/// A market of a venue: `venue:product:symbol`, for example `binance:linear:BTCUSDT`.
public struct MarketID: Hashable, Comparable, Sendable, CustomStringConvertible {
    public let venue: String
    public let product: String
    public let symbol: String

    public init(venue: String, product: String, symbol: String) {
        self.venue = venue
        self.product = product
        self.symbol = symbol
    }

    /// Three non-empty parts of letters, digits, `-`, `_`, `/` and `.`, at most 64 bytes in all.
    public init?(_ text: some StringProtocol) {
        guard text.utf8.count <= 64 else { return nil }
        let parts = text.split(separator: ":", omittingEmptySubsequences: false)
        guard parts.count == 3 else { return nil }
        for part in parts {
            guard !part.isEmpty else { return nil }
            for byte in part.utf8 {
                switch byte {
                case UInt8(ascii: "0")...UInt8(ascii: "9"), UInt8(ascii: "a")...UInt8(ascii: "z"),
                    UInt8(ascii: "A")...UInt8(ascii: "Z"), UInt8(ascii: "-"), UInt8(ascii: "_"), UInt8(ascii: "/"),
                    UInt8(ascii: "."):
                    continue
                default: return nil
                }
            }
        }
        self.init(venue: String(parts[0]), product: String(parts[1]), symbol: String(parts[2]))
    }

    /// By the text; markets of one product differ in the symbol alone.
    public static func < (left: MarketID, right: MarketID) -> Bool {
        guard left.venue == right.venue else { return left.description < right.description }
        if left.product == right.product { return left.symbol < right.symbol }
        if left.product.hasPrefix(right.product) || right.product.hasPrefix(left.product) {
            return left.description < right.description
        }
        return left.product < right.product
    }

    /// The symbol tells nearly all markets apart, and series are looked up at every tick.
    public func hash(into hasher: inout Hasher) { hasher.combine(symbol) }

    public var description: String { "\(venue):\(product):\(symbol)" }
}

/// What an order asks of a venue, or watches for: the `leg` part of a job id and the `purpose` of a venue order.
public enum Leg: Hashable, Sendable, CustomStringConvertible {
    case entry
    /// Take-profit level, 1-based.
    case takeProfit(Int)
    /// The full stop, whatever its kind.
    case stop
    /// Partial stop, 1-based.
    case partialStop(Int)
    case close
    case reduce
    case add
    case backstop
    /// A stand-alone conditional order.
    case conditional
    /// A duty of the whole order whose time has come (delays, expiry, retries, time exit), or a threshold that changes
    /// the order's state without placing anything (activation, step lock, break-even by price).
    case timer
    /// Make our state agree with the venue's.
    case reconcile

    public init?(_ text: some StringProtocol) {
        func number(after prefix: Int) -> Int? {
            let digits = text.utf8.dropFirst(prefix)
            guard !digits.isEmpty, digits.count <= 3, digits.first != UInt8(ascii: "0") else { return nil }
            var value = 0
            for byte in digits {
                guard byte >= UInt8(ascii: "0"), byte <= UInt8(ascii: "9") else { return nil }
                value = value * 10 + Int(byte - UInt8(ascii: "0"))
            }
            return value
        }
        switch String(text) {
        case "entry": self = .entry
        case "sl": self = .stop
        case "close": self = .close
        case "reduce": self = .reduce
        case "add": self = .add
        case "backstop": self = .backstop
        case "cond": self = .conditional
        case "timer": self = .timer
        case "reconcile": self = .reconcile
        default:
            guard let index = number(after: 2) else { return nil }
            if text.hasPrefix("tp") {
                self = .takeProfit(index)
            } else if text.hasPrefix("ps") {
                self = .partialStop(index)
            } else {
                return nil
            }
        }
    }

    public var description: String {
        switch self {
        case .entry: "entry"
        case .takeProfit(let level): "tp\(level)"
        case .stop: "sl"
        case .partialStop(let number): "ps\(number)"
        case .close: "close"
        case .reduce: "reduce"
        case .add: "add"
        case .backstop: "backstop"
        case .conditional: "cond"
        case .timer: "timer"
        case .reconcile: "reconcile"
        }
    }
}

/// The deterministic id of a trigger event: `<order>-<leg>-<attempt>`, with `-c<checks>` for later work on the same
/// attempt (QUEUE.md 3.1). Everybody who sees the same crossing builds the same id.
public struct JobID: Hashable, Sendable, CustomStringConvertible {
    public let order: OrderID
    public let leg: Leg
    public let attempt: Int
    /// Number of the check, for later work on an attempt.
    public let check: Int?

    public init(order: OrderID, leg: Leg, attempt: Int, check: Int? = nil) {
        self.order = order
        self.leg = leg
        self.attempt = attempt
        self.check = check
    }

    /// Nil when the text is not of the grammar; at most 128 bytes.
    public init?(_ text: some StringProtocol) {
        let bytes = Array(text.utf8)
        guard bytes.count <= 128, bytes.count > 37, let order = UniqueID(utf8: bytes[..<36]) else { return nil }
        let dash = UInt8(ascii: "-")
        guard bytes[36] == dash, let second = bytes[37...].firstIndex(of: dash),
            let leg = Leg(String(decoding: bytes[37..<second], as: UTF8.self))
        else { return nil }
        let third = bytes[(second + 1)...].firstIndex(of: dash)
        func positive(_ digits: ArraySlice<UInt8>) -> Int? {
            guard let first = digits.first, first != UInt8(ascii: "0"), digits.count <= 10 else { return nil }
            var number = 0
            for digit in digits {
                guard digit >= UInt8(ascii: "0"), digit <= UInt8(ascii: "9") else { return nil }
                number = number * 10 + Int(digit - UInt8(ascii: "0"))
            }
            return number
        }
        guard let attempt = positive(bytes[(second + 1)..<(third ?? bytes.count)]) else { return nil }
        var check: Int?
        if let rest = third.map({ bytes[($0 + 1)...] }) {
            guard rest.first == UInt8(ascii: "c"), let number = positive(rest.dropFirst()) else { return nil }
            check = number
        }
        self.init(order: OrderID(order), leg: leg, attempt: attempt, check: check)
    }

    /// The legs of an order that are at the same attempt share a hash.
    public func hash(into hasher: inout Hasher) {
        hasher.combine(order)
        hasher.combine(attempt ^ (check ?? 0) << 16)
    }

    public var description: String {
        var text = ""
        text.reserveCapacity(64)
        text += order.description
        text += "-"
        text += leg.description
        text += "-"
        text += String(attempt)
        if let check {
            text += "-c"
            text += String(check)
        }
        return text
    }
}
