// The seal of venue keys between the API and the workers: HPKE (RFC 9180). The API knows the public half only, so it
// cannot read what it has sealed; the private half is made from the master key, which only workers hold.
import Crypto
import Foundation
import SmartOrders

enum IntakeSeal {
    private static let suite = HPKE.Ciphersuite.Curve25519_SHA256_ChachaPoly
    private static let purpose = Data("smartorders/intake".utf8)
    /// Length of X25519's encapsulated key.
    private static let encapsulatedBytes = 32

    /// The private key that belongs to a master key.
    static func privateKey(masterKey: String) throws -> Curve25519.KeyAgreement.PrivateKey {
        let derived = HKDF<SHA256>.deriveKey(
            inputKeyMaterial: SymmetricKey(data: Data(masterKey.utf8)),
            info: purpose,
            outputByteCount: 32,
        )
        return try Curve25519.KeyAgreement.PrivateKey(rawRepresentation: derived.withUnsafeBytes { Data($0) })
    }

    /// What API processes are configured with: 64 hexadecimal digits.
    static func publicKey(masterKey: String) throws -> String {
        hexadecimal(try privateKey(masterKey: masterKey).publicKey.rawRepresentation)
    }

    /// Seals for one account; nil: the key is no public key.
    static func sealer(publicKey: String) -> (@Sendable ([UInt8], AccountID) throws -> [UInt8])? {
        let digits = Array(publicKey.utf8)
        guard digits.count == 64 else { return nil }
        var bytes: [UInt8] = []
        for index in stride(from: 0, to: 64, by: 2) {
            guard let byte = UInt8(String(decoding: digits[index...index + 1], as: UTF8.self), radix: 16) else {
                return nil
            }
            bytes.append(byte)
        }
        do {
            // Checked here, once; made again for each use because it is cheap and the type is not Sendable everywhere.
            _ = try Curve25519.KeyAgreement.PublicKey(rawRepresentation: bytes)
        } catch {
            return nil
        }
        let raw = bytes
        return { secret, account in
            let key = try Curve25519.KeyAgreement.PublicKey(rawRepresentation: raw)
            var sender = try HPKE.Sender(recipientKey: key, ciphersuite: suite, info: purpose)
            let sealed = try sender.seal(Data(secret), authenticating: Data("\(account)".utf8))
            return Array(sender.encapsulatedKey) + Array(sealed)
        }
    }

    /// Opens with the first of the master keys that does.
    static func open(_ sealed: [UInt8], for account: AccountID, masterKeys: [String]) throws -> [UInt8] {
        for key in masterKeys.dropLast() {
            do {
                return try open(sealed, for: account, masterKey: key)
            } catch {
                // Sealed to the key before it, perhaps.
            }
        }
        guard let last = masterKeys.last else { throw CryptoKitError.incorrectKeySize }
        return try open(sealed, for: account, masterKey: last)
    }

    private static func open(_ sealed: [UInt8], for account: AccountID, masterKey: String) throws -> [UInt8] {
        guard sealed.count > encapsulatedBytes else { throw CryptoKitError.incorrectParameterSize }
        var recipient = try HPKE.Recipient(
            privateKey: privateKey(masterKey: masterKey),
            ciphersuite: suite,
            info: purpose,
            encapsulatedKey: Data(sealed[..<encapsulatedBytes]),
        )
        let text = Data(sealed[encapsulatedBytes...])
        return Array(try recipient.open(text, authenticating: Data("\(account)".utf8)))
    }
}
