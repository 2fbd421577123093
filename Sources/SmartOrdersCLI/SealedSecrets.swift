import Crypto
import OrderStorage
import SmartOrders

/// Seals venue keys with AES-256-GCM, each with a data key of its own (RELIABILITY.md 10.3). Account, venue, id and version
/// are bound in, so a row copied to another account does not open, nor does an old version that was put back.
struct SealedSecrets: SecretBox {
    private let key: SymmetricKey

    /// - Parameter hexadecimal: 64 digits.
    init?(hexadecimal: String) {
        let digits = Array(hexadecimal.utf8)
        guard digits.count == 64 else { return nil }
        var bytes: [UInt8] = []
        for index in stride(from: 0, to: 64, by: 2) {
            guard let byte = UInt8(String(decoding: digits[index...index + 1], as: UTF8.self), radix: 16) else {
                return nil
            }
            bytes.append(byte)
        }
        key = SymmetricKey(data: bytes)
    }

    /// A fresh key, as the 64 digits that `init` reads.
    static func makeKey() -> String {
        SymmetricKey(size: .bits256).withUnsafeBytes { hexadecimal($0) }
    }

    private static let form: UInt8 = 2
    private static let wrappedBytes = 60

    /// Tells which key a row was sealed with, and nothing of it.
    private var keyID: [UInt8] {
        Array(HMAC<SHA256>.authenticationCode(for: Array("key id".utf8), using: key).prefix(8))
    }

    /// Form, id of the key, a data key of its own wrapped by the key, the secret sealed with the data key.
    func seal(_ secret: [UInt8], as name: CredentialName) throws -> [UInt8] {
        let bound = Array(name.description.utf8)
        let own = SymmetricKey(size: .bits256)
        let wrapped = try AES.GCM.seal(own.withUnsafeBytes { Array($0) }, using: key, authenticating: bound).combined
        guard let wrapped, let box = try AES.GCM.seal(secret, using: own, authenticating: bound).combined else {
            throw Failure(.failed, "SEAL_FAILED", "a secret could not be sealed.")
        }
        return [Self.form] + keyID + Array(wrapped) + Array(box)
    }

    func open(_ sealed: [UInt8], as name: CredentialName) throws -> [UInt8] {
        let start = 1 + keyID.count
        guard sealed.first == Self.form, sealed.count > start + Self.wrappedBytes,
            Array(sealed[1..<start]) == keyID
        else {
            // Rows of an older program: sealed with the key itself, bound to the account alone.
            let box = try AES.GCM.SealedBox(combined: sealed)
            return Array(try AES.GCM.open(box, using: key, authenticating: Array("\(name.account)".utf8)))
        }
        let bound = Array(name.description.utf8)
        let wrapped = try AES.GCM.SealedBox(combined: sealed[start..<start + Self.wrappedBytes])
        let own = SymmetricKey(data: try AES.GCM.open(wrapped, using: key, authenticating: bound))
        let box = try AES.GCM.SealedBox(combined: sealed[(start + Self.wrappedBytes)...])
        return Array(try AES.GCM.open(box, using: own, authenticating: bound))
    }
}

func hexadecimal(_ bytes: some Sequence<UInt8>) -> String {
    let digits = Array("0123456789abcdef".utf8)
    return String(decoding: bytes.flatMap { [digits[Int($0 >> 4)], digits[Int($0 & 15)]] }, as: UTF8.self)
}

func sha256(_ bytes: [UInt8]) -> [UInt8] { Array(SHA256.hash(data: bytes)) }
