// A request to a venue as data: what is signed is what is sent. Making one does no I/O.

/// One HTTP request, signed and complete.
public struct SignedRequest: Hashable, Sendable {
    public enum Method: String, Hashable, Sendable { case get = "GET", post = "POST", put = "PUT", delete = "DELETE" }
    public let method: Method
    /// Scheme, host and port, without a path: `https://api.binance.com`.
    public let base: String
    public let path: String
    /// Percent-encoded, without `?`; empty when there is none.
    public let query: String
    public let headers: [(String, String)]
    public let body: String

    /// The name in `base`.
    var host: String {
        let authority = base.split(separator: "/").last ?? ""
        return String(authority.hasPrefix("[") ? authority : authority.prefix { $0 != ":" })
    }

    /// The key of the account that signed, as the venue reads it from a header; nil: none did.
    var accountKey: String? { headers.first { $0.0.hasSuffix("-APIKEY") }?.1 }

    public init(
        method: Method,
        base: String,
        path: String,
        query: String = "",
        headers: [(String, String)] = [],
        body: String = "",
    ) {
        self.method = method
        self.base = base
        self.path = path
        self.query = query
        self.headers = headers
        self.body = body
    }

    public var url: String { base + path + (query.isEmpty ? "" : "?" + query) }

    public static func == (left: SignedRequest, right: SignedRequest) -> Bool {
        left.method == right.method && left.url == right.url && left.body == right.body
            && left.headers.elementsEqual(right.headers, by: ==)
    }

    public func hash(into hasher: inout Hasher) {
        hasher.combine(url)
        hasher.combine(body)
    }
}

/// Parameters in the order in which they are signed and sent, percent-encoded.
struct FormParameters {
    private(set) var text = ""

    mutating func add(_ name: String, _ value: String) {
        if !text.isEmpty { text += "&" }
        text += name + "=" + Self.encoded(value)
    }

    /// RFC 3986: everything but unreserved characters.
    static func encoded(_ value: String) -> String {
        var result: [UInt8] = []
        for byte in value.utf8 {
            switch byte {
            case UInt8(ascii: "0")...UInt8(ascii: "9"), UInt8(ascii: "A")...UInt8(ascii: "Z"),
                UInt8(ascii: "a")...UInt8(ascii: "z"), UInt8(ascii: "-"), UInt8(ascii: "."), UInt8(ascii: "_"),
                UInt8(ascii: "~"):
                result.append(byte)
            default:  // tidy-ok: bytes, not our enum
                let digits = Array("0123456789ABCDEF".utf8)
                result += [UInt8(ascii: "%"), digits[Int(byte >> 4)], digits[Int(byte & 15)]]
            }
        }
        return String(decoding: result, as: UTF8.self)
    }
}
