import Crypto
import OrderStorage
import SmartOrders

/// Seals venue keys with AES-256-GCM; the account is bound in, so a row copied to another account does not open.
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

    func seal(_ secret: [UInt8], for account: AccountID) throws -> [UInt8] {
        guard let box = try AES.GCM.seal(secret, using: key, authenticating: Array("\(account)".utf8)).combined else {
            throw Failure(.failed, "SEAL_FAILED", "a secret could not be sealed.")
        }
        return Array(box)
    }

    func open(_ sealed: [UInt8], for account: AccountID) throws -> [UInt8] {
        Array(
            try AES.GCM.open(AES.GCM.SealedBox(combined: sealed), using: key, authenticating: Array("\(account)".utf8))
        )
    }
}

func hexadecimal(_ bytes: some Sequence<UInt8>) -> String {
    let digits = Array("0123456789abcdef".utf8)
    return String(decoding: bytes.flatMap { [digits[Int($0 >> 4)], digits[Int($0 & 15)]] }, as: UTF8.self)
}

func sha256(_ bytes: [UInt8]) -> [UInt8] { Array(SHA256.hash(data: bytes)) }
