// API keys: their form, their hash, and who they belong to.
//
// Stored is the SHA-256 of the whole key: its 256 random bits are entropy enough, a slow hash would add nothing. A
// verified key is believed for `keyCacheMs`, so a revocation takes effect within that time, on open streams too.

internal import Crypto
internal import OrderEngine
internal import OrderJSON
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
        let holder: KeyHolder?
        let until: Int64
    }

    private let traders: any TraderStore
    private let panel: any PanelStore
    private let csrfKey: SymmetricKey
    private let clock: any EngineClock
    private let cacheNanoseconds: Int64
    private let known = Locked<[String: Known]>([:])
    /// When keys that are not believed any more may be forgotten again; anybody can make them up.
    private let sweepsAt = Locked(Int64.min)
    private let used = Locked<Set<String>>([])
    private let signIns = Locked<[String: (signedIn: SignedIn, until: Int64)]>([:])
    private let usedSignIns = Locked<Set<String>>([])

    /// - Parameter secret: the same in all API processes of a deployment.
    init(traders: any TraderStore, panel: any PanelStore, clock: any EngineClock, cacheMs: Int64, secret: [UInt8]) {
        self.traders = traders
        self.panel = panel
        let made = HMAC<SHA256>.authenticationCode(for: Array("csrf".utf8), using: SymmetricKey(data: secret))
        csrfKey = SymmetricKey(data: Array(made))
        self.clock = clock
        cacheNanoseconds = cacheMs * 1_000_000
    }

    /// The caller of an `Authorization` header.
    /// - Parameter address: where the request comes from; nil: not known, which no list of addresses allows.
    func caller(authorization: String?, address: String?) async throws -> Caller {
        guard let authorization else { throw Problem(.unauthenticated, "Send an API key as a bearer token.") }
        let parts = authorization.split(separator: " ", maxSplits: 1)
        guard parts.count == 2, parts[0].lowercased() == "bearer" else {
            throw Problem(.unauthenticated, "Send the API key as `Authorization: Bearer <key>`.")
        }
        return try await caller(key: String(parts[1]), address: address)
    }

    func caller(key: String, address: String?) async throws -> Caller {
        guard (1...256).contains(key.utf8.count) else { throw Self.unknownKey }
        let hash = APIKey.hash(key)
        let mode: Account.Mode? = key.hasPrefix("so_live_") ? .live : key.hasPrefix("so_paper_") ? .paper : nil
        return try await caller(keyHash: hash, shownID: APIKey.shownID(key, hash: hash), mode: mode, address: address)
    }

    /// The caller who bought a ticket, with the rights that he has now.
    func caller(ticket: StreamTicket, address: String?) async throws -> Caller {
        switch ticket.proof {
        case .key: try await caller(keyHash: ticket.proofHash, shownID: nil, mode: nil, address: address)
        // What a stream's client sends needs no token.
        case .signIn: try await caller(signIn: ticket.proofHash, csrfToken: "", address: address)
        }
    }

    /// A caller seen before, with the rights that he has now.
    func renewed(_ caller: Caller, address: String?) async throws -> Caller {
        switch caller.proof {
        case .key:
            try await self.caller(
                keyHash: caller.keyHash,
                shownID: caller.keyID,
                mode: caller.mode,
                address: address,
                isUse: false,
            )
        case .cookie(let token):
            try await self.caller(signIn: caller.keyHash, csrfToken: token, address: address, isUse: false)
        }
    }

    /// - Parameter mode: that the key itself names; nil: the stored one.
    private func caller(
        keyHash hash: String,
        shownID: String?,
        mode named: Account.Mode?,
        address: String?,
        isUse: Bool = true,
    ) async throws -> Caller {
        let holder = try await lookUp(hash: hash)
        let record = holder.key
        try Self.check(record, address)
        if isUse { used.withLock { used in if used.count < Self.maximumKeys { used.insert(hash) } } }
        let mode = named ?? record.mode
        let accounts = holder.accounts.filter { $0.mode == mode }
        let others = holder.accounts.filter { $0.mode != mode }
        if accounts.isEmpty, let other = others.first {
            throw Problem(.keyMode, "The account is \(other.mode.rawValue), the key is for the other mode.")
        }
        return Caller(
            keyHash: hash,
            keyID: shownID ?? record.id,
            user: holder.user,
            scopes: Set(record.scopes),
            accounts: accounts,
            otherMode: others.map(\.id),
            reachesAll: record.accounts == nil && others.isEmpty,
            mode: mode,
            ipAllow: record.ipAllow,
            expiresAt: record.expiresAt,
        )
    }

    private static func check(_ key: APIKeyRecord, _ address: String?) throws(Problem) {
        guard !key.ipAllow.isEmpty else { return }
        guard let address, key.ipAllow.contains(where: { AddressBlock($0)?.contains(address) == true }) else {
            throw Problem(.addressNotAllowed, "The key may not be used from this address.")
        }
    }

    // MARK: Browsers

    /// The caller of a cookie's value.
    func caller(cookie: String, address: String?) async throws -> Caller {
        let token = HMAC<SHA256>.authenticationCode(for: Array(cookie.utf8), using: csrfKey)
        return try await caller(signIn: APIKey.hash(cookie), csrfToken: base64URL(Array(token)), address: address)
    }

    private func caller(
        signIn hash: String,
        csrfToken: String,
        address: String?,
        isUse: Bool = true,
    ) async throws -> Caller {
        let known = try await signedIn(hash)
        if isUse { usedSignIns.withLock { used in if used.count < Self.maximumKeys { used.insert(hash) } } }
        var maker: APIKeyRecord?
        var scopes: Set<APIKeyRecord.Scope> = [.read]
        var accounts = known.accounts
        if let keyHash = known.signIn.keyHash {
            // The rights of the key, for as long as it has them, from where it has them.
            let key = try await lookUp(hash: keyHash).key
            try Self.check(key, address)
            maker = key
            scopes = Set(key.scopes)
            accounts = accounts.filter { $0.mode == key.mode && key.accounts?.contains($0.id) ?? true }
        } else {
            for role in known.user.roles {
                switch role {
                case .trader: scopes.insert(.trade)
                case .viewer: scopes.insert(.read)
                case .operator: scopes.insert(.operate)
                case .admin: scopes.insert(.admin)
                }
            }
        }
        let others = known.accounts.filter { account in !accounts.contains { $0.id == account.id } }.map(\.id)
        return Caller(
            keyHash: hash,
            keyID: known.user.name,
            proof: .cookie(csrfToken: csrfToken),
            user: known.user,
            scopes: scopes,
            accounts: accounts,
            otherMode: others,
            reachesAll: maker?.accounts == nil && others.isEmpty,
            mode: maker?.mode,
            ipAllow: maker?.ipAllow ?? [],
            expiresAt: maker?.expiresAt,
        )
    }

    private func signedIn(_ hash: String) async throws -> SignedIn {
        let now = clock.monotonicNanoseconds()
        if let entry = signIns.withLock({ $0[hash] }), entry.until > now { return entry.signedIn }
        guard let found = try await panel.signedIn(tokenHash: hash) else {
            throw Problem(.signInExpired, "The sign-in has ended: sign in again.")
        }
        signIns.withLock { signIns in
            if signIns.count >= Self.maximumKeys { signIns = signIns.filter { $0.value.until > now } }
            if signIns.count < Self.maximumKeys { signIns[hash] = (found, now + cacheNanoseconds) }
        }
        return found
    }

    /// Forgets what is believed of a user at once in this process: keys, sign-ins, accounts.
    func forget(user: UniqueID) {
        known.withLock { known in known = known.filter { $0.value.holder?.user.id != user } }
        signIns.withLock { signIns in signIns = signIns.filter { $0.value.signedIn.user.id != user } }
    }

    /// The same of everybody who reaches an account.
    func forget(account: AccountID) {
        known.withLock { known in
            known = known.filter { entry in !(entry.value.holder?.accounts.contains { $0.id == account } ?? false) }
        }
        signIns.withLock { signIns in
            signIns = signIns.filter { entry in !entry.value.signedIn.accounts.contains { $0.id == account } }
        }
    }

    /// The sign-ins used since the last call.
    func takeUsedSignIns() -> [String] {
        usedSignIns.withLock { used in
            defer { used = [] }
            return used.sorted()
        }
    }

    /// The keys used since the last call; for `lastUsedAt`.
    func takeUsed() -> [String] {
        used.withLock { used in
            defer { used = [] }
            return used.sorted()
        }
    }

    /// Forgets a key at once in this process: it was changed or revoked here.
    func forget(id: String) { known.withLock { known in known = known.filter { $0.value.holder?.key.id != id } } }

    /// Once a second: a look at all of them is not for every request.
    private func maySweep(_ now: Int64) -> Bool {
        sweepsAt.withLock { sweepsAt in
            guard sweepsAt <= now else { return false }
            sweepsAt = now + 1_000_000_000
            return true
        }
    }

    private static var unknownKey: Problem { Problem(.unauthenticated, "The API key is not known.") }

    private func lookUp(hash: String) async throws -> KeyHolder {
        let now = clock.monotonicNanoseconds()
        var holder: KeyHolder?
        if let entry = known.withLock({ $0[hash] }), entry.until > now {
            holder = entry.holder
        } else {
            holder = try await traders.holder(keyHash: hash)
            let entry = Known(holder: holder, until: now + cacheNanoseconds)
            known.withLock { known in
                if known.count >= Self.maximumKeys, maySweep(now) { known = known.filter { $0.value.until > now } }
                // Full of keys that are all fresh: not remembering one costs a look-up. What is no key has half of it.
                let room = holder == nil ? Self.maximumKeys / 2 : Self.maximumKeys
                if known.count < room || known[hash] != nil { known[hash] = entry }
            }
        }
        guard let holder else { throw Self.unknownKey }
        if holder.key.revokedAt != nil { throw Problem(.keyRevoked, "The API key was revoked.") }
        if let expiry = holder.key.expiresAt, expiry <= clock.now() {
            throw Problem(.keyExpired, "The API key expired at \(expiry.rfc3339).")
        }
        return holder
    }
}
