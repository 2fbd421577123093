// Reading streams fast: all entries of a reply in one buffer, and not an array per entry, field and value.

internal import CHiredis

/// The id of a stream entry.
public struct RedisStreamID: Hashable, Comparable, Sendable {
    public let milliseconds: UInt64
    public let sequence: UInt64

    public init(milliseconds: UInt64, sequence: UInt64) {
        self.milliseconds = milliseconds
        self.sequence = sequence
    }

    /// Before every entry.
    public static let zero = RedisStreamID(milliseconds: 0, sequence: 0)

    /// Reads `<ms>-<sequence>`; nil for anything else.
    public init?(_ text: some Collection<UInt8>) {
        var parts: (UInt64, UInt64) = (0, 0)
        var isSecond = false
        var digits = 0
        for byte in text {
            if byte == UInt8(ascii: "-"), !isSecond, digits > 0 {
                isSecond = true
                digits = 0
                continue
            }
            guard byte >= UInt8(ascii: "0"), byte <= UInt8(ascii: "9"), digits < 19 else { return nil }
            let digit = UInt64(byte - UInt8(ascii: "0"))
            if isSecond { parts.1 = parts.1 * 10 + digit } else { parts.0 = parts.0 * 10 + digit }
            digits += 1
        }
        guard isSecond, digits > 0 else { return nil }
        (milliseconds, sequence) = parts
    }

    public static func < (left: RedisStreamID, right: RedisStreamID) -> Bool {
        (left.milliseconds, left.sequence) < (right.milliseconds, right.sequence)
    }
}

extension RedisStreamID: CustomStringConvertible {
    public var description: String { "\(milliseconds)-\(sequence)" }
}

/// Entries of one or more streams, in the order of the reply.
public struct RedisStreamEntries: Sendable {
    public struct Entry: Sendable {
        public let id: RedisStreamID
        /// Which of the requested keys the entry belongs to.
        public let stream: Int
        /// The first of its parts; parts are field, value, field, value, ...
        fileprivate let firstPart: Int
        public let partCount: Int
    }

    public private(set) var entries: [Entry] = []
    private var bytes: [UInt8] = []
    private var partEnds: [Int] = []

    public init() {}

    public var isEmpty: Bool { entries.isEmpty }
    public var count: Int { entries.count }

    /// The n-th part of an entry: even ones are field names, odd ones values.
    public func part(_ index: Int, of entry: Entry) -> ArraySlice<UInt8> { bytes[range(index, of: entry)] }

    /// The bytes of a part without a slice. The buffer is valid inside `body` only.
    public func withPart<Result>(
        _ index: Int,
        of entry: Entry,
        _ body: (UnsafeRawBufferPointer) -> Result,
    ) -> Result {
        let range = range(index, of: entry)
        return bytes.withUnsafeBytes { body(UnsafeRawBufferPointer(rebasing: $0[range])) }
    }

    /// The value of the first field of that name.
    public func value(_ field: String, of entry: Entry) -> ArraySlice<UInt8>? {
        for index in stride(from: 0, to: entry.partCount - 1, by: 2)
        where part(index, of: entry).elementsEqual(field.utf8) {
            return part(index + 1, of: entry)
        }
        return nil
    }

    private func range(_ index: Int, of entry: Entry) -> Range<Int> {
        precondition(index >= 0 && index < entry.partCount)
        let part = entry.firstPart + index
        return (part == 0 ? 0 : partEnds[part - 1])..<partEnds[part]
    }
}

extension RedisStreamEntries {
    /// Copies the reply of XREAD. Null is no entry; what is not of the promised form is left out.
    init(streams reply: UnsafePointer<redisReply>, keys: [[UInt8]]) {
        var stream = 0
        for element in children(reply) {
            let parts = children(element)
            guard parts.count == 2 else { continue }
            // The server answers in the order of the request and leaves streams without news out.
            let key = text(parts[0])
            while stream < keys.count, !key.elementsEqual(keys[stream]) { stream += 1 }
            if stream == keys.count { return }
            add(children(parts[1]), stream: stream)
        }
    }

    /// Copies the reply of XRANGE.
    init(range reply: UnsafePointer<redisReply>) { add(children(reply), stream: 0) }

    private mutating func add(_ replies: Children, stream: Int) {
        for entry in replies {
            let pair = children(entry)
            guard pair.count == 2, let id = RedisStreamID(text(pair[0])) else { continue }
            let parts = children(pair[1])
            entries.append(Entry(id: id, stream: stream, firstPart: partEnds.count, partCount: parts.count))
            for part in parts {
                bytes.append(contentsOf: text(part))
                partEnds.append(bytes.count)
            }
        }
    }
}

private typealias Children = UnsafeBufferPointer<UnsafeMutablePointer<redisReply>?>

private func children(_ reply: UnsafePointer<redisReply>?) -> Children {
    guard let reply = reply?.pointee, reply.type == REDIS_REPLY_ARRAY else { return Children(start: nil, count: 0) }
    return Children(start: reply.element, count: Int(reply.elements))
}

private func children(_ reply: UnsafeMutablePointer<redisReply>?) -> Children {
    children(reply.map { UnsafePointer($0) })
}

/// The bytes of a bulk string or status; empty for everything else.
private func text(_ reply: UnsafeMutablePointer<redisReply>?) -> UnsafeRawBufferPointer {
    guard let reply = reply?.pointee, let start = reply.str else {
        return UnsafeRawBufferPointer(start: nil, count: 0)
    }
    return UnsafeRawBufferPointer(start: start, count: Int(reply.len))
}
