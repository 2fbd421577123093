// Signatures of webhooks (Standard Webhooks): HMAC-SHA-256 over id, seconds and body.

internal import Crypto

/// A secret as its owner sees it: `whsec_` and the base64 of 32 random bytes.
enum WebhookSecret {
    private static let prefix = "whsec_"
    private static let alphabet = Array("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/".utf8)

    static func text(of bytes: [UInt8]) -> String { prefix + base64(bytes) }

    /// The headers of a request.
    /// - Parameters:
    ///   - secrets: 32 bytes each, newest first; during a rotation two.
    ///   - seconds: since 1970.
    static func headers(
        id: String,
        seconds: Int64,
        body: [UInt8],
        secrets: [[UInt8]],
    ) -> [(name: String, value: String)] {
        let signed = Array("\(id).\(seconds).".utf8) + body
        let signatures = secrets.map { secret in
            "v1," + base64(Array(HMAC<SHA256>.authenticationCode(for: signed, using: SymmetricKey(data: secret))))
        }
        return [
            ("webhook-id", id), ("webhook-timestamp", "\(seconds)"),
            ("webhook-signature", signatures.joined(separator: " ")),
        ]
    }

    /// base64 with padding (RFC 4648).
    static func base64(_ bytes: [UInt8]) -> String {
        var text: [UInt8] = []
        for start in stride(from: 0, to: bytes.count, by: 3) {
            let group = bytes[start..<min(start + 3, bytes.count)]
            var held = UInt32(0)
            for byte in group { held = held << 8 | UInt32(byte) }
            held <<= UInt32(8 * (3 - group.count))
            for place in 0..<4 {
                let digit = alphabet[Int(held >> UInt32(18 - 6 * place) & 63)]
                text.append(place <= group.count ? digit : UInt8(ascii: "="))
            }
        }
        return String(decoding: text, as: UTF8.self)
    }
}
