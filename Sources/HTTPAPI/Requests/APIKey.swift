// API keys: their form, their hash, and who they belong to.
//
// Stored is the SHA-256 of the whole key: its 256 random bits are entropy enough, a slow hash would add nothing. A
// verified key is believed for `keyCacheMs`, so a revocation takes effect within that time, on open streams too.

internal import Crypto
internal import OrderEngine
internal import OwnerThread
internal import SmartOrders

public enum APIKey {
    /// What is stored of a key: SHA-256 in lower-case hexadecimal.
    public static func hash(_ key: String) -> String { hexadecimal(SHA256.hash(data: Array(key.utf8))) }

    /// A new key, to be shown once.
    /// - Parameter random: uniform 64 bits of a secure source.
    public static func make(isLive: Bool, random: () -> UInt64) -> String {
        let alphabet = Array("abcdefghijklmnopqrstuvwxyz234567".utf8)
        let noise = random()
        let id = (0..<12).map { alphabet[Int(noise >> UInt64($0 * 5) & 31)] }
        var secret: [UInt8] = []
        for _ in 0..<4 {
            let word = random()
            for shift in stride(from: UInt64(0), to: 64, by: 8) { secret.append(UInt8(word >> shift & 255)) }
        }
        let prefix = isLive ? "so_live_" : "so_paper_"
        return prefix + String(decoding: id, as: UTF8.self) + "_" + base64URL(secret)
    }

    /// The public part of a key; of a key of another form the beginning of its hash.
    static func shownID(_ key: String, hash: String) -> String {
        let parts = key.split(separator: "_", maxSplits: 3)
        guard parts.count == 4, parts[0] == "so", parts[2].utf8.count == 12 else { return String(hash.prefix(12)) }
        return String(parts[2])
    }
}

func hexadecimal(_ bytes: some Sequence<UInt8>) -> String {
    let digits = Array("0123456789abcdef".utf8)
    var text: [UInt8] = []
    for byte in bytes {
        text.append(digits[Int(byte >> 4)])
        text.append(digits[Int(byte & 15)])
    }
    return String(decoding: text, as: UTF8.self)
}

private let base64Alphabet = Array("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_".utf8)

/// base64url without padding (RFC 4648).
func base64URL(_ bytes: [UInt8]) -> String {
    var text: [UInt8] = []
    var held: UInt32 = 0
    var bits = 0
    for byte in bytes {
        held = held << 8 | UInt32(byte)
        bits += 8
        while bits >= 6 {
            bits -= 6
            text.append(base64Alphabet[Int(held >> UInt32(bits) & 63)])
        }
    }
    if bits > 0 { text.append(base64Alphabet[Int(held << UInt32(6 - bits) & 63)]) }
    return String(decoding: text, as: UTF8.self)
}

/// Nil: a byte that is not of the alphabet, or bits left over.
func base64URLDecoded(_ text: String) -> [UInt8]? {
    var bytes: [UInt8] = []
    var held: UInt32 = 0
    var bits = 0
    for byte in text.utf8 {
        guard let value = base64Alphabet.firstIndex(of: byte) else { return nil }
        held = held << 6 | UInt32(value)
        bits += 6
        if bits >= 8 {
            bits -= 8
            bytes.append(UInt8(held >> UInt32(bits) & 255))
        }
    }
    return held & ((1 << UInt32(bits)) - 1) == 0 && bits < 6 ? bytes : nil
}

/// Finds who a key belongs to.
final class KeyRing: Sendable {
    private static let maximumKeys = 10_000

    private struct Known {
        /// Nil: no such key.
        let caller: Caller?
        let until: Int64
    }

    private let accounts: any AccountStore
    private let clock: any EngineClock
    private let cacheNanoseconds: Int64
    private let known = Locked<[String: Known]>([:])

    init(accounts: any AccountStore, clock: any EngineClock, cacheMs: Int64) {
        self.accounts = accounts
        self.clock = clock
        cacheNanoseconds = cacheMs * 1_000_000
    }

    /// The caller of an `Authorization` header.
    func caller(authorization: String?) async throws -> Caller {
        guard let authorization else { throw Problem(.unauthenticated, "Send an API key as a bearer token.") }
        let parts = authorization.split(separator: " ", maxSplits: 1)
        guard parts.count == 2, parts[0].lowercased() == "bearer" else {
            throw Problem(.unauthenticated, "Send the API key as `Authorization: Bearer <key>`.")
        }
        return try await caller(key: String(parts[1]))
    }

    func caller(key: String) async throws -> Caller {
        guard (1...256).contains(key.utf8.count) else { throw Self.unknownKey }
        let hash = APIKey.hash(key)
        let caller = try await lookUp(hash: hash, id: APIKey.shownID(key, hash: hash))
        let isWrongMode =
            switch caller.account.mode {
            case .paper: key.hasPrefix("so_live_")
            case .live: key.hasPrefix("so_paper_")
            }
        if isWrongMode {
            throw Problem(.keyMode, "The account is \(caller.account.mode.rawValue), the key is for the other mode.")
        }
        return caller
    }

    /// Whether a caller seen before is still one.
    func isValid(_ caller: Caller) async throws -> Bool {
        do {
            _ = try await lookUp(hash: caller.keyHash, id: caller.keyID)
            return true
        } catch is Problem {
            return false
        }
    }

    private static var unknownKey: Problem { Problem(.unauthenticated, "The API key is not known.") }

    private func lookUp(hash: String, id: String) async throws -> Caller {
        let now = clock.monotonicNanoseconds()
        if let entry = known.withLock({ $0[hash] }), entry.until > now {
            guard let caller = entry.caller else { throw Self.unknownKey }
            return caller
        }
        var caller: Caller?
        if let account = try await accounts.account(apiKeyHash: hash), let owner = try await accounts.account(account) {
            caller = Caller(keyHash: hash, keyID: id, account: owner)
        }
        let entry = Known(caller: caller, until: now + cacheNanoseconds)
        known.withLock { known in
            if known.count >= Self.maximumKeys { known = known.filter { $0.value.until > now } }
            // Full of keys that are all fresh: not remembering one costs a look-up.
            if known.count < Self.maximumKeys { known[hash] = entry }
        }
        guard let caller else { throw Self.unknownKey }
        return caller
    }
}
