// Where requests come from: pages of other origins, proxies, traces (INTERFACES.md 1.1, 4.10, 5.7).

internal import HTTPTypes
internal import OrderEngine

/// Pages of the origins that are listed may use API keys here. A cookie is never allowed: no answer says so.
struct CrossOrigin: Sendable {
    private static let exposed = [
        "ETag", "Idempotency-Replayed", "Link", "Location", "Preference-Applied", "RateLimit", "RateLimit-Policy",
        "Retry-After", "X-Request-Id",
    ].joined(separator: ", ")
    private static let accepted = [
        "Accept", "Authorization", "Content-Type", "Idempotency-Key", "If-Match", "If-None-Match", "Last-Event-ID",
        "Prefer", "X-Request-Id", "traceparent",
    ].joined(separator: ", ")

    private let origins: [String]

    init(_ configuration: APIConfiguration) { origins = configuration.corsOrigins }

    private func origin(_ headers: HTTPFields) -> String? {
        guard !origins.isEmpty, let origin = headers[.origin], origins.contains(origin) else { return nil }
        return origin
    }

    /// What a browser asks before it sends a request; nil: it is none of ours, or asks for nothing.
    func preflight(_ headers: HTTPFields, _ methods: [HTTPRequest.Method]) -> Reply? {
        guard origin(headers) != nil, headers[.accessControlRequestMethod] != nil else { return nil }
        return Reply(
            status: .noContent,
            headers: [
                .accessControlAllowMethods: methods.map(\.rawValue).sorted().joined(separator: ", "),
                .accessControlAllowHeaders: Self.accepted, .accessControlMaxAge: "600",
            ],
        )
    }

    /// Lets a page of a listed origin read the answer.
    func allow(_ headers: HTTPFields, _ answer: inout HTTPFields) {
        guard !origins.isEmpty else { return }
        answer[.vary] = "Origin"
        guard let origin = origin(headers) else { return }
        answer[.accessControlAllowOrigin] = origin
        answer[.accessControlExposeHeaders] = Self.exposed
        answer[.resourcePolicy] = "cross-origin"
    }
}

/// Whom a proxy of ours serves. A client can write what it likes into the header: only what trusted proxies added counts.
struct TrustedProxies: Sendable {
    private let blocks: [AddressBlock]

    /// - Parameter blocks: CIDR; what cannot be read trusts nobody.
    init(_ blocks: [String]) { self.blocks = blocks.compactMap { AddressBlock($0) } }

    func isTrusted(_ address: String) -> Bool { blocks.contains { $0.contains(address) } }

    /// The address nearest to us that is none of our proxies.
    func client(of peer: String?, forwarded: [String]) -> String? {
        guard !blocks.isEmpty, let peer, isTrusted(peer) else { return peer }
        let hops: [String] = forwarded.flatMap { line in
            line.split(separator: ",").map { hop in String(hop.filter { $0 != " " }) }
        }
        for hop in hops.reversed() {
            // What is no address was not written by a proxy.
            guard AddressBlock(hop) != nil else { return peer }
            if !isTrusted(hop) { return hop }
        }
        return hops.first ?? peer
    }
}

/// W3C `traceparent`.
struct TraceContext: Hashable, Sendable {
    /// 32 lower-case hexadecimal digits.
    let id: String

    /// Nil: not of the form, or all zeros.
    init?(_ header: String) {
        let parts = header.split(separator: "-", omittingEmptySubsequences: false)
        guard parts.count >= 4, parts[0].count == 2, parts[0] != "ff", parts[1].count == 32, parts[2].count == 16,
            parts[3].count == 2, parts.prefix(4).allSatisfy({ $0.utf8.allSatisfy(Self.isDigit) }),
            parts[0] != "00" || parts.count == 4, parts[1].contains(where: { $0 != "0" }),
            parts[2].contains(where: { $0 != "0" })
        else { return nil }
        id = String(parts[1])
    }

    private static func isDigit(_ byte: UInt8) -> Bool {
        (UInt8(ascii: "0")...UInt8(ascii: "9")).contains(byte) || (UInt8(ascii: "a")...UInt8(ascii: "f")).contains(byte)
    }
}
