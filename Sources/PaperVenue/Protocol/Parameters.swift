// Parameters of a signed request, and its signature: HMAC-SHA256 over the query string followed by the body, exactly as
// sent, without the signature itself.

internal import Crypto
internal import JSONText
internal import SmartOrders

/// The API keys that the venue knows, and when a key may send.
struct Keyring {
    private var secrets: [String: SymmetricKey] = [:]
    private let defaultSecret: SymmetricKey?
    /// Keys that are refused although they are known.
    var revoked: Set<String> = []
    /// Keys that may take money away.
    private(set) var withdrawers: Set<String> = []

    init(_ configuration: PaperVenueConfiguration) {
        for credential in configuration.credentials {
            secrets[credential.key] = SymmetricKey(data: Array(credential.secret.utf8))
            if credential.mayWithdraw { withdrawers.insert(credential.key) }
        }
        defaultSecret = configuration.defaultSecret.map { SymmetricKey(data: Array($0.utf8)) }
    }

    /// The secret of a usable key.
    func secret(of key: String?) throws(VenueRefusal) -> SymmetricKey {
        guard let key, !key.isEmpty else { throw .badKeyFormat }
        guard key.utf8.count <= 128, key.utf8.allSatisfy({ $0 > 0x20 && $0 < 0x7f }) else { throw .badKeyFormat }
        guard !revoked.contains(key), let secret = secrets[key] ?? defaultSecret else { throw .unknownKey }
        return secret
    }
}

struct Parameters {
    private(set) var entries: [(name: String, value: String)] = []
    /// What the signature covers.
    private(set) var signedText: [UInt8] = []
    private(set) var signature: String?

    init() {}

    /// Reads `name=value&...` from the query string and the body.
    init(query: some Sequence<UInt8>, body: some Sequence<UInt8>) {
        read(Array(query))
        read(Array(body))
    }

    private mutating func read(_ bytes: [UInt8]) {
        var isFirst = true
        for part in bytes.split(separator: UInt8(ascii: "&")) {
            let cut = part.firstIndex(of: UInt8(ascii: "=")) ?? part.endIndex
            let name = Self.decoded(part[..<cut])
            let value = cut == part.endIndex ? "" : Self.decoded(part[(cut + 1)...])
            if name == "signature" {
                signature = value
                continue
            }
            if !isFirst { signedText.append(UInt8(ascii: "&")) }
            isFirst = false
            signedText.append(contentsOf: part)
            entries.append((name, value))
        }
    }

    /// Percent-decoded; what is no escape stays as it is.
    private static func decoded(_ bytes: ArraySlice<UInt8>) -> String {
        guard bytes.contains(where: { $0 == UInt8(ascii: "%") || $0 == UInt8(ascii: "+") }) else {
            return String(decoding: bytes, as: UTF8.self)
        }
        var result: [UInt8] = []
        var index = bytes.startIndex
        while index < bytes.endIndex {
            let byte = bytes[index]
            if byte == UInt8(ascii: "%"), index + 2 < bytes.endIndex, let high = hexDigit(bytes[index + 1]),
                let low = hexDigit(bytes[index + 2])
            {
                result.append(high << 4 | low)
                index += 3
            } else {
                result.append(byte == UInt8(ascii: "+") ? UInt8(ascii: " ") : byte)
                index += 1
            }
        }
        return String(decoding: result, as: UTF8.self)
    }

    static func hexDigit(_ byte: UInt8) -> UInt8? {
        switch byte {
        case UInt8(ascii: "0")...UInt8(ascii: "9"): byte - UInt8(ascii: "0")
        case UInt8(ascii: "a")...UInt8(ascii: "f"): byte - UInt8(ascii: "a") + 10
        case UInt8(ascii: "A")...UInt8(ascii: "F"): byte - UInt8(ascii: "A") + 10
        default: nil
        }
    }

    /// The orders in `batchOrders`, each with the window of its request; none where it is no list of objects of texts.
    func orders() -> [Parameters] {
        guard let text = self["batchOrders"], let list = try? JSONValue(parsing: Array(text.utf8)),
            case .array(let elements) = list
        else { return [] }
        var orders: [Parameters] = []
        for element in elements {
            guard case .object(let object) = element else { return [] }
            var order = Parameters()
            for member in object.members {
                guard case .string(let text) = member.value else { return [] }
                order.entries.append((member.key, text))
            }
            order.entries += entries.filter { $0.name == "recvWindow" || $0.name == "timestamp" }
            orders.append(order)
        }
        return orders
    }

    subscript(name: String) -> String? {
        for entry in entries where entry.name == name { return entry.value }
        return nil
    }

    func required(_ name: String) throws(VenueRefusal) -> String {
        guard let value = self[name], !value.isEmpty else { throw .missing(name) }
        return value
    }

    func integer(_ name: String) throws(VenueRefusal) -> Int? {
        guard let text = self[name] else { return nil }
        guard let value = Int(text) else { throw .malformed(name) }
        return value
    }

    /// A plain decimal of at most 20 + 20 digits.
    func decimal(_ name: String) throws(VenueRefusal) -> ExactDecimal? {
        guard let text = self[name] else { return nil }
        guard let value = ExactDecimal(text), value.fitsMoney else { throw .malformed(name) }
        return value
    }

    func flag(_ name: String) throws(VenueRefusal) -> Bool {
        switch self[name] {
        case nil: return false
        case "true", "TRUE", "True": return true
        case "false", "FALSE", "False": return false
        default: throw .malformed(name)
        }
    }

    /// Whether the signature fits; constant time.
    func checkSignature(_ secret: SymmetricKey) throws(VenueRefusal) {
        guard let signature else { throw .missing("signature") }
        let text = Array(signature.utf8)
        guard text.count == 64 else { throw .badSignature }
        var code: [UInt8] = []
        code.reserveCapacity(32)
        for position in stride(from: 0, to: 64, by: 2) {
            guard let high = Self.hexDigit(text[position]), let low = Self.hexDigit(text[position + 1]) else {
                throw .badSignature
            }
            code.append(high << 4 | low)
        }
        guard HMAC<SHA256>.isValidAuthenticationCode(code, authenticating: signedText, using: secret) else {
            throw .badSignature
        }
    }

    /// The client's clock, ms; microseconds are taken too.
    func clientTime() throws(VenueRefusal) -> Int64 {
        guard let number = Int64(try required("timestamp")), number >= 0 else { throw .malformed("timestamp") }
        return number >= 100_000_000_000_000 ? number / 1000 : number
    }

    /// Refuses what is too old or too new for the venue's clock (ms). Checked at the gateway and before the engine.
    func checkWindow(venueTime: Int64) throws(VenueRefusal) {
        let time = try clientTime()
        var window: Int64 = 5000
        if let text = self["recvWindow"] {
            // Up to three decimals are allowed; they do not matter here.
            guard let value = ExactDecimal(text), !value.isNegative,
                let whole = value.rounded(toMultipleOf: .one, .floor).units(decimals: 0)
            else { throw .malformed("recvWindow") }
            guard whole <= 60_000 else {
                throw VenueRefusal(-1131, "Invalid recvWindow, must be less than 60000.")
            }
            window = whole
        }
        guard time < venueTime + 1000 else { throw .aheadOfServer }
        guard venueTime - time <= window else { throw .outsideWindow }
    }
}
