// What makes two requests the same one, and what makes a list cursor ours.

internal import Crypto
internal import JSONText
internal import SmartOrders

/// SHA-256 of method, path and the body's canonical JSON (members sorted by key), in hexadecimal.
func fingerprint(method: String, path: String, body: JSONValue) -> String {
    var writer = JSONWriter(reserving: 512)
    writer.canonical(body)
    var hash = SHA256()
    hash.update(data: Array("\(method) \(path)\n".utf8))
    hash.update(data: writer.take())
    return hexadecimal(hash.finalize())
}

extension JSONWriter {
    /// A value with the members of every object in order of their keys.
    fileprivate mutating func canonical(_ value: JSONValue) {
        switch value {
        case .null, .bool, .number, .string: self.value(value)
        case .array(let elements):
            beginArray()
            for element in elements { canonical(element) }
            endArray()
        case .object(let object):
            beginObject()
            for member in object.members.sorted(by: { $0.key < $1.key }) {
                key(escaping: member.key)
                canonical(member.value)
            }
            endObject()
        }
    }
}

/// A place in a list, as opaque text: 16 bytes of position, 8 of expiry, 16 of signature over both, the filters, the
/// account and the key, and then the key that the list is sorted by. Valid for 24 h and only with the same filters.
struct CursorCoder: Sendable {
    private static let lifeMilliseconds: Int64 = 86_400_000
    private let key: SymmetricKey

    init(key: [UInt8]) {
        self.key = SymmetricKey(data: key)
    }

    func encode(_ position: UniqueID, key: String = "", filters: String, now: Timestamp) -> String {
        let expiry = UInt64(bitPattern: now.milliseconds + Self.lifeMilliseconds)
        let plain = bytes(position.high) + bytes(position.low) + bytes(expiry)
        let key = Array(key.utf8)
        return base64URL(plain + signature(plain + key, filters) + key)
    }

    /// - Throws: `BAD_CURSOR` for what is forged, too old, or of another list.
    func decode(_ text: String, filters: String, now: Timestamp) throws(Problem) -> UniqueID {
        try decodeKeyed(text, filters: filters, now: now).position
    }

    /// The same with the key that it was made with.
    func decodeKeyed(
        _ text: String,
        filters: String,
        now: Timestamp,
    ) throws(Problem) -> (position: UniqueID, key: String) {
        guard text.utf8.count <= 400, let all = base64URLDecoded(text), all.count >= 40 else {
            throw Problem(.badCursor, "The cursor is not one of ours.")
        }
        let (plain, key) = (Array(all.prefix(24)), Array(all.dropFirst(40)))
        var difference: UInt8 = 0
        for (left, right) in zip(all.dropFirst(24), signature(plain + key, filters)) { difference |= left ^ right }
        guard difference == 0 else {
            throw Problem(.badCursor, "The cursor is not one of ours, or belongs to other filters.")
        }
        guard Int64(bitPattern: word(plain, at: 16)) > now.milliseconds else {
            throw Problem(.badCursor, "The cursor is older than 24 hours.")
        }
        let position = UniqueID(high: word(plain, at: 0), low: word(plain, at: 8))
        return (position, String(decoding: key, as: UTF8.self))
    }

    private func signature(_ plain: [UInt8], _ filters: String) -> [UInt8] {
        Array(HMAC<SHA256>.authenticationCode(for: plain + Array(filters.utf8), using: key).prefix(16))
    }

    private func bytes(_ word: UInt64) -> [UInt8] {
        stride(from: UInt64(56), through: 0, by: -8).map { UInt8(word >> $0 & 255) }
    }

    private func word(_ bytes: [UInt8], at offset: Int) -> UInt64 {
        bytes[offset..<offset + 8].reduce(0) { $0 << 8 | UInt64($1) }
    }
}
