// Client order ids: a function of (order, leg, attempt), so every worker asks for the same thing (RELIABILITY.md 2.3).
public import SmartOrders

/// Derives client order ids. The digest is injected: the engine owns no cryptography.
public struct VenueIdentity: Sendable {
    private let sha256: @Sendable ([UInt8]) -> [UInt8]

    public init(sha256: @escaping @Sendable ([UInt8]) -> [UInt8]) {
        self.sha256 = sha256
    }

    private static let alphabet = Array("abcdefghijklmnopqrstuvwxyz234567".utf8)

    /// Whether an id looks like one that this or another cluster of ours made.
    static func isOurForm(_ id: String) -> Bool {
        id.utf8.count == 28 && id.hasPrefix("so") && id.utf8.dropFirst(2).allSatisfy { alphabet.contains($0) }
    }

    /// `so` and 26 characters of lower-case base32: 28 characters, the form that fits every venue but two.
    public func clientOrderID(_ order: OrderID, _ key: VenueOrderKey) -> String {
        let text = "smartorders/1:\(order):\(key.leg):\(key.attempt)"
        let bits = sha256(Array(text.utf8)).prefix(16)
        precondition(bits.count == 16, "a SHA-256 digest has 32 bytes")
        var characters: [UInt8] = Array("so".utf8)
        var buffer: UInt32 = 0
        var held: UInt32 = 0
        for byte in bits {
            buffer = buffer << 8 | UInt32(byte)
            held += 8
            while held >= 5 {
                held -= 5
                characters.append(Self.alphabet[Int(buffer >> held & 31)])
            }
        }
        if held > 0 { characters.append(Self.alphabet[Int(buffer << (5 - held) & 31)]) }
        return String(decoding: characters, as: UTF8.self)
    }
}
