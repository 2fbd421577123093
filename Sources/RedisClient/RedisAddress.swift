// Where a Redis server listens and as whom we log in, read from a URL.

/// A Redis server, a login and a database.
public struct RedisAddress: Hashable, Sendable {
    public enum Host: Hashable, Sendable {
        /// A name or a numeric address; IPv6 without brackets.
        case tcp(name: String, port: UInt16)
        /// At most 107 bytes, the kernel's limit.
        case unix(path: String)
        /// Sentinels that know the address of a master.
        case sentinel([Node], master: String)
        /// Seeds of a cluster.
        case cluster([Node])
    }

    /// A server reached by TCP.
    public struct Node: Hashable, Sendable {
        public let name: String
        public let port: UInt16
        public init(name: String, port: UInt16) {
            self.name = name
            self.port = port
        }
    }

    public let host: Host
    /// Nil logs in as the user `default`.
    public let user: String?
    /// Nil sends no AUTH.
    public let password: String?
    public let database: Int

    public init(_ host: Host, user: String? = nil, password: String? = nil, database: Int = 0) {
        self.host = host
        self.user = user
        self.password = password
        self.database = database
    }

    /// Reads `redis://[user:password@]host[:port][/database]` or `unix://[user:password@]/path[?db=N]`.
    ///
    /// `redis+sentinel://[user:password@]host[:port],host[:port]/master[/database]` asks sentinels,
    /// `redis+cluster://[user:password@]host[:port],host[:port]` names seeds of a cluster. User and password are
    /// percent-decoded. `rediss` is refused: hiredis 0.14 has no TLS.
    public init(url: String) throws(RedisURLError) {
        for (scheme, isSentinel) in [("redis+sentinel://", true), ("redis+cluster://", false)]
        where url.hasPrefix(scheme) {
            self = try Self(several: url.dropFirst(scheme.count), isSentinel: isSentinel)
            return
        }
        var rest = Substring(url)
        let isUnix: Bool
        if rest.hasPrefix("redis://") {
            isUnix = false
            rest.removeFirst("redis://".count)
        } else if rest.hasPrefix("unix://") {
            isUnix = true
            rest.removeFirst("unix://".count)
        } else if rest.hasPrefix("rediss://") {
            throw .tlsUnsupported
        } else {
            throw .unknownScheme
        }

        let (user, password) = try Self.login(&rest)

        var database = 0
        if isUnix {
            let parts = rest.split(separator: "?", maxSplits: 1, omittingEmptySubsequences: false)
            if parts.count == 2 {
                guard parts[1].hasPrefix("db="), let number = Int(parts[1].dropFirst(3)), number >= 0 else {
                    throw .badDatabase
                }
                database = number
            }
            let path = String(parts[0])
            guard path.hasPrefix("/"), path.utf8.count <= 107 else { throw .badHost }
            self.init(.unix(path: path), user: user, password: password, database: database)
            return
        }

        let parts = rest.split(separator: "/", maxSplits: 1, omittingEmptySubsequences: false)
        if parts.count == 2, !parts[1].isEmpty {
            guard let number = Int(parts[1]), number >= 0 else { throw .badDatabase }
            database = number
        }
        let (name, port) = try hostAndPort(parts[0])
        self.init(.tcp(name: name, port: port), user: user, password: password, database: database)
    }

    private init(several text: Substring, isSentinel: Bool) throws(RedisURLError) {
        var rest = text
        let (user, password) = try Self.login(&rest)
        let parts = rest.split(separator: "/", omittingEmptySubsequences: false)
        var nodes: [Node] = []
        for part in parts[0].split(separator: ",", omittingEmptySubsequences: false) {
            let (name, port) = try hostAndPort(part, standard: isSentinel ? 26_379 : 6_379)
            nodes.append(Node(name: name, port: port))
        }
        guard isSentinel else {
            guard parts.count == 1 || parts == [parts[0], ""] || parts == [parts[0], "0"] else { throw .badDatabase }
            self.init(.cluster(nodes), user: user, password: password)
            return
        }
        guard parts.count >= 2, parts.count <= 3, !parts[1].isEmpty else { throw .badHost }
        var database = 0
        if parts.count == 3 {
            guard let number = Int(parts[2]), number >= 0 else { throw .badDatabase }
            database = number
        }
        self.init(.sentinel(nodes, master: String(parts[1])), user: user, password: password, database: database)
    }

    /// Takes `user:password@` off the front.
    private static func login(_ rest: inout Substring) throws(RedisURLError) -> (String?, String?) {
        guard !rest.hasPrefix("/"), let at = rest.lastIndex(of: "@") else { return (nil, nil) }
        let login = rest[..<at]
        rest = rest[rest.index(after: at)...]
        let parts = login.split(separator: ":", maxSplits: 1, omittingEmptySubsequences: false)
        guard let name = percentDecoded(parts[0]) else { throw .badLogin }
        guard parts.count == 2, let secret = percentDecoded(parts[1]) else { throw .badLogin }
        return (name.isEmpty ? nil : name, secret)
    }
}

extension RedisAddress: CustomStringConvertible, CustomReflectable {
    /// The address without the login: safe to log.
    public var description: String {
        switch host {
        case .tcp(let name, let port): "redis://\(name.contains(":") ? "[\(name)]" : name):\(port)/\(database)"
        case .unix(let path): "unix://\(path)?db=\(database)"
        case .sentinel(let nodes, let master): "redis+sentinel://\(Self.list(nodes))/\(master)/\(database)"
        case .cluster(let nodes): "redis+cluster://\(Self.list(nodes))"
        }
    }

    private static func list(_ nodes: [Node]) -> String {
        nodes.map { "\($0.name.contains(":") ? "[\($0.name)]" : $0.name):\($0.port)" }.joined(separator: ",")
    }

    public var customMirror: Mirror { Mirror(self, children: ["address": description]) }
}

/// What is wrong with a Redis URL.
public enum RedisURLError: String, Error, Hashable, Sendable {
    case unknownScheme, tlsUnsupported, badLogin, badHost, badPort, badDatabase
}

private func hostAndPort(_ text: Substring, standard: UInt16 = 6_379) throws(RedisURLError) -> (String, UInt16) {
    var name = text
    var port: Substring?
    if text.hasPrefix("[") {
        guard let end = text.firstIndex(of: "]") else { throw .badHost }
        name = text[text.index(after: text.startIndex)..<end]
        let after = text[text.index(after: end)...]
        if !after.isEmpty {
            guard after.hasPrefix(":") else { throw .badHost }
            port = after.dropFirst()
        }
    } else if let colon = text.lastIndex(of: ":") {
        name = text[..<colon]
        port = text[text.index(after: colon)...]
    }
    guard !name.isEmpty else { throw .badHost }
    guard let port else { return (String(name), standard) }
    guard let number = UInt16(port), number > 0 else { throw .badPort }
    return (String(name), number)
}

private func percentDecoded(_ text: Substring) -> String? {
    var bytes: [UInt8] = []
    var rest = text.utf8[...]
    while let byte = rest.popFirst() {
        guard byte == UInt8(ascii: "%") else {
            bytes.append(byte)
            continue
        }
        guard let high = rest.popFirst(), let low = rest.popFirst(),
            let value = UInt8(String(decoding: [high, low], as: UTF8.self), radix: 16)
        else { return nil }
        bytes.append(value)
    }
    return String(validating: bytes, as: UTF8.self)
}
