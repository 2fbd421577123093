/// A receiver's side of the signature, by the tool that OpenSSL's users have: written apart from the sender.
enum WebhookVerifier {
    /// What `webhook-signature` has to say.
    static func signature(_ secret: String, _ id: String, _ seconds: Int64, _ body: [UInt8]) -> String {
        let key = decoded(String(secret.dropFirst("whsec_".count)))
        return "v1," + encoded(hmac(key, Array("\(id).\(seconds).".utf8) + body))
    }

    private static let alphabet = Array("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/".utf8)

    private static func decoded(_ text: String) -> [UInt8] {
        var bits: [UInt8] = []
        for digit in text.utf8 {
            guard let value = alphabet.firstIndex(of: digit) else { continue }
            for shift in stride(from: 5, through: 0, by: -1) { bits.append(UInt8(value >> shift & 1)) }
        }
        return stride(from: 0, to: bits.count / 8 * 8, by: 8).map { start in
            bits[start..<start + 8].reduce(0) { $0 << 1 | $1 }
        }
    }

    private static func encoded(_ bytes: [UInt8]) -> String {
        var bits = bytes.flatMap { byte in stride(from: 7, through: 0, by: -1).map { byte >> $0 & 1 } }
        while bits.count % 6 != 0 { bits.append(0) }
        var text = stride(from: 0, to: bits.count, by: 6).map { start in
            alphabet[Int(bits[start..<start + 6].reduce(0) { $0 << 1 | $1 })]
        }
        while text.count % 4 != 0 { text.append(UInt8(ascii: "=")) }
        return String(decoding: text, as: UTF8.self)
    }

    /// RFC 2104.
    private static func hmac(_ key: [UInt8], _ message: [UInt8]) -> [UInt8] {
        precondition(key.count <= 64, "keys here are short")
        let padded = key + Array(repeating: 0, count: 64 - key.count)
        let inner = sha256(padded.map { $0 ^ 0x36 } + message)
        return sha256(padded.map { $0 ^ 0x5c } + inner)
    }

    /// FIPS 180-4.
    private static func sha256(_ message: [UInt8]) -> [UInt8] {
        func isPrime(_ number: Int) -> Bool { !(2..<number).contains { $0 * $0 <= number && number % $0 == 0 } }
        let primes = (2..<312).filter(isPrime).prefix(64)
        // The first 32 bits of the fractional parts of square and cube roots.
        func fraction(_ root: Double) -> UInt32 { UInt32((root - root.rounded(.down)) * 4_294_967_296) }
        var state = primes.prefix(8).map { fraction(Double($0).squareRoot()) }
        let constants = primes.map { fraction(cubeRoot(Double($0))) }
        var bytes = message + [0x80]
        while bytes.count % 64 != 56 { bytes.append(0) }
        let length = UInt64(message.count * 8)
        bytes += stride(from: UInt64(56), through: 0, by: -8).map { UInt8(length >> $0 & 255) }
        func turn(_ word: UInt32, _ count: UInt32) -> UInt32 { word >> count | word << (32 - count) }
        for start in stride(from: 0, to: bytes.count, by: 64) {
            var words = stride(from: start, to: start + 64, by: 4).map { place in
                bytes[place..<place + 4].reduce(UInt32(0)) { $0 << 8 | UInt32($1) }
            }
            for index in 16..<64 {
                let (a, b) = (words[index - 15], words[index - 2])
                let low = turn(a, 7) ^ turn(a, 18) ^ a >> 3
                let high = turn(b, 17) ^ turn(b, 19) ^ b >> 10
                words.append(words[index - 16] &+ low &+ words[index - 7] &+ high)
            }
            var v = state
            for index in 0..<64 {
                let choose = (v[4] & v[5]) ^ (~v[4] & v[6])
                let sum = turn(v[4], 6) ^ turn(v[4], 11) ^ turn(v[4], 25)
                let first = v[7] &+ sum &+ choose &+ constants[index] &+ words[index]
                let most = (v[0] & v[1]) ^ (v[0] & v[2]) ^ (v[1] & v[2])
                let second = (turn(v[0], 2) ^ turn(v[0], 13) ^ turn(v[0], 22)) &+ most
                v = [first &+ second, v[0], v[1], v[2], v[3] &+ first, v[4], v[5], v[6]]
            }
            state = zip(state, v).map { $0 &+ $1 }
        }
        return state.flatMap { word in stride(from: UInt32(24), through: 0, by: -8).map { UInt8(word >> $0 & 255) } }
    }

    private static func cubeRoot(_ number: Double) -> Double {
        var root = number / 3 + 1
        for _ in 0..<100 { root -= (root * root * root - number) / (3 * root * root) }
        return root
    }
}
