import Crypto
import OrderStorage
import SmartOrders

/// Seals venue keys with AES-256-GCM, each with a data key of its own (RELIABILITY.md 10.3). Account, venue, id and version
/// are bound in, so a row copied to another account does not open, nor does an old version that was put back.
struct SealedSecrets: SecretBox {
    private let key: SymmetricKey
    /// What the key before it sealed is opened, and sealed anew by `rewrapped`.
    private let old: SymmetricKey?

    /// - Parameters:
    ///   - hexadecimal: 64 digits.
    ///   - old: of the key before it; nil: what that sealed is refused.
    init?(hexadecimal: String, old: String? = nil) {
        guard let key = Self.key(hexadecimal) else { return nil }
        self.key = key
        self.old = old.flatMap(Self.key)
        if old != nil, self.old == nil { return nil }
    }

    private static func key(_ hexadecimal: String) -> SymmetricKey? {
        let digits = Array(hexadecimal.utf8)
        guard digits.count == 64 else { return nil }
        var bytes: [UInt8] = []
        for index in stride(from: 0, to: 64, by: 2) {
            guard let byte = UInt8(String(decoding: digits[index...index + 1], as: UTF8.self), radix: 16) else {
                return nil
            }
            bytes.append(byte)
        }
        return SymmetricKey(data: bytes)
    }

    /// A fresh key, as the 64 digits that `init` reads.
    static func makeKey() -> String {
        SymmetricKey(size: .bits256).withUnsafeBytes { hexadecimal($0) }
    }

    private static let form: UInt8 = 2
    private static let wrappedBytes = 60

    /// Tells which key a row was sealed with, and nothing of it.
    private static func id(_ key: SymmetricKey) -> [UInt8] {
        Array(HMAC<SHA256>.authenticationCode(for: Array("key id".utf8), using: key).prefix(8))
    }

    /// The name that rows carry of the newest key, in hexadecimal.
    var keyName: String { hexadecimal(Self.id(key)) }

    /// Form, id of the key, a data key of its own wrapped by the key, the secret sealed with the data key.
    func seal(_ secret: [UInt8], as name: CredentialName) throws -> [UInt8] {
        let own = SymmetricKey(size: .bits256)
        let bound = Array(name.description.utf8)
        guard let box = try AES.GCM.seal(secret, using: own, authenticating: bound).combined else {
            throw Self.failure
        }
        return try wrap(own, bound) + Array(box)
    }

    private static var failure: Failure { Failure(.failed, "SEAL_FAILED", "a secret could not be sealed.") }

    private func wrap(_ own: SymmetricKey, _ bound: [UInt8]) throws -> [UInt8] {
        let wrapped = try AES.GCM.seal(own.withUnsafeBytes { Array($0) }, using: key, authenticating: bound).combined
        guard let wrapped else { throw Self.failure }
        return [Self.form] + Self.id(key) + Array(wrapped)
    }

    /// The key that a row names; nil: a row of an older program, or sealed with a key that is not here.
    private func key(of sealed: [UInt8]) -> SymmetricKey? {
        guard sealed.first == Self.form, sealed.count > Self.headBytes else { return nil }
        let named = Array(sealed[1..<9])
        return [key, old].compactMap(\.self).first { Self.id($0) == named }
    }

    private static let headBytes = 1 + 8 + wrappedBytes

    func open(_ sealed: [UInt8], as name: CredentialName) throws -> [UInt8] {
        guard let key = key(of: sealed) else { return try openOld(sealed, as: name) }
        let bound = Array(name.description.utf8)
        let box = try AES.GCM.SealedBox(combined: sealed[Self.headBytes...])
        return Array(try AES.GCM.open(box, using: try unwrapped(sealed, key, bound), authenticating: bound))
    }

    private func unwrapped(_ sealed: [UInt8], _ key: SymmetricKey, _ bound: [UInt8]) throws -> SymmetricKey {
        let wrapped = try AES.GCM.SealedBox(combined: sealed[9..<Self.headBytes])
        return SymmetricKey(data: try AES.GCM.open(wrapped, using: key, authenticating: bound))
    }

    /// Rows of an older program: sealed with the key itself, bound to the account alone.
    private func openOld(_ sealed: [UInt8], as name: CredentialName) throws -> [UInt8] {
        let box = try AES.GCM.SealedBox(combined: sealed)
        let bound = Array("\(name.account)".utf8)
        if let old {
            do {
                return Array(try AES.GCM.open(box, using: old, authenticating: bound))
            } catch {
                // Of the newest key, perhaps.
            }
        }
        return Array(try AES.GCM.open(box, using: key, authenticating: bound))
    }

    /// The same secret with its data key wrapped by the newest key; nil: it is already.
    func rewrapped(_ sealed: [UInt8], as name: CredentialName) throws -> [UInt8]? {
        guard let present = key(of: sealed) else { return try seal(try openOld(sealed, as: name), as: name) }
        guard Self.id(present) != Self.id(key) else { return nil }
        let bound = Array(name.description.utf8)
        return try wrap(try unwrapped(sealed, present, bound), bound) + sealed[Self.headBytes...]
    }
}

func hexadecimal(_ bytes: some Sequence<UInt8>) -> String {
    let digits = Array("0123456789abcdef".utf8)
    return String(decoding: bytes.flatMap { [digits[Int($0 >> 4)], digits[Int($0 & 15)]] }, as: UTF8.self)
}

func sha256(_ bytes: [UInt8]) -> [UInt8] { Array(SHA256.hash(data: bytes)) }
