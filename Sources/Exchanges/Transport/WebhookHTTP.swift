// Requests to addresses that users gave (INTERFACES.md 1.16, RELIABILITY.md TH11).
//
// A name is resolved here, its addresses are judged, and the connection goes to the very address that was judged: a
// name that changes its mind in between (DNS rebinding) reaches nothing else. TLS still checks the name. No redirect, no
// proxy, one try. Limits: 15 s, 4 KiB of the answer, 256 endpoints with a connection kept.

internal import AsyncHTTPClient
internal import NIOCore
internal import NIOHTTP1
internal import NIOPosix
public import OrderEngine
internal import OwnerThread

#if canImport(Glibc)
internal import Glibc
#else
internal import Darwin
#endif

/// Scheme, host and port of an address, as far as they are judged.
public struct WebhookTarget: Hashable, Sendable {
    public let isSecure: Bool
    /// Without brackets.
    public let host: String
    public let port: Int

    /// Nil: no http or https address, or one with a name and password in it.
    public init?(_ url: String) {
        guard (8...2_000).contains(url.utf8.count), url.utf8.allSatisfy({ (0x21...0x7e).contains($0) }) else {
            return nil
        }
        let rest: Substring
        if url.hasPrefix("https://") {
            (isSecure, rest) = (true, url.dropFirst(8))
        } else if url.hasPrefix("http://") {
            (isSecure, rest) = (false, url.dropFirst(7))
        } else {
            return nil
        }
        let authority = rest.prefix { $0 != "/" && $0 != "?" && $0 != "#" }
        guard !authority.contains("@"), !authority.contains("\\"), !url.contains("#") else { return nil }
        let portText: Substring
        if authority.hasPrefix("[") {
            guard let end = authority.firstIndex(of: "]") else { return nil }
            host = String(authority[authority.index(after: authority.startIndex)..<end])
            portText = authority[authority.index(after: end)...]
        } else {
            let name = authority.prefix { $0 != ":" }
            guard name.utf8.allSatisfy(Self.isNameByte) else { return nil }
            host = String(name)
            portText = authority.dropFirst(name.count)
        }
        guard !host.isEmpty else { return nil }
        guard !portText.isEmpty else {
            port = isSecure ? 443 : 80
            return
        }
        guard portText.hasPrefix(":"), let number = Int(portText.dropFirst()), (1...65_535).contains(number),
            portText.dropFirst() == "\(number)"
        else { return nil }
        port = number
    }

    private static func isNameByte(_ byte: UInt8) -> Bool {
        switch byte {
        case UInt8(ascii: "0")...UInt8(ascii: "9"), UInt8(ascii: "a")...UInt8(ascii: "z"),
            UInt8(ascii: "A")...UInt8(ascii: "Z"), UInt8(ascii: "."), UInt8(ascii: "-"), UInt8(ascii: "_"):
            true
        default: false
        }
    }
}

/// The HTTP client of webhooks.
public final class WebhookHTTP: WebhookTransport {
    private struct State {
        var clients: [String: HTTPClient] = [:]
        var isClosed = false
    }

    private static let timeoutMs: Int64 = 15_000
    private static let answerBytes = 4 << 10
    private static let maximumClients = 256

    private let allowed: [AddressBlock]
    private let resolve: @Sendable (_ host: String) throws -> [String]
    private let state = Locked(State())

    /// - Parameters:
    ///   - allowed: addresses that need not be public; a loopback address among them may be asked without TLS.
    ///   - resolve: the addresses of a name; blocks. Nil: the system's.
    public init(allowed: [AddressBlock] = [], resolve: (@Sendable (_ host: String) throws -> [String])? = nil) {
        self.allowed = allowed
        self.resolve = resolve ?? Self.addresses
    }

    deinit { for client in state.withLock({ $0.clients.values }) { client.shutdown { _ in } } }

    /// Ends the connections that are kept.
    public func shutdown() async {
        let clients = state.withLock { state in
            defer { state.clients = [:] }
            state.isClosed = true
            return Array(state.clients.values)
        }
        for client in clients {
            do { try await client.shutdown() } catch { continue }
        }
    }

    public func post(_ request: WebhookRequest) async throws(WebhookFailure) -> WebhookAnswer {
        guard let target = WebhookTarget(request.url) else { throw WebhookFailure("the address cannot be used") }
        let address = try await judged(target)
        let client = try client(for: target, at: address)
        var outgoing = HTTPClientRequest(url: request.url)
        outgoing.method = .POST
        for (name, value) in request.headers { outgoing.headers.add(name: name, value: value) }
        outgoing.body = .bytes(ByteBuffer(bytes: request.body))
        let sent = outgoing
        do {
            // The client's own deadline ends with the head of the answer.
            return try await withThrowingTaskGroup(of: WebhookAnswer.self) { group in
                group.addTask { try await Self.ask(client, sent) }
                group.addTask {
                    try await Task.sleep(for: .milliseconds(Self.timeoutMs))
                    throw WebhookFailure("no answer within 15 s")
                }
                defer { group.cancelAll() }
                guard let first = try await group.next() else { throw WebhookFailure("no answer") }
                return first
            }
        } catch let failure as WebhookFailure {
            throw failure
        } catch {
            throw WebhookFailure(Self.words(error))
        }
    }

    private static func ask(_ client: HTTPClient, _ request: HTTPClientRequest) async throws -> WebhookAnswer {
        let response = try await client.execute(request, timeout: .milliseconds(timeoutMs))
        var body: [UInt8] = []
        for try await part in response.body {
            body += part.readableBytesView.prefix(answerBytes - body.count)
            if body.count >= answerBytes { break }
        }
        return WebhookAnswer(
            status: Int(response.status.code),
            retryAfter: response.headers.first(name: "Retry-After"),
            body: body,
        )
    }

    /// Our own words: the library's may name addresses and ports of this network.
    private static func words(_ error: any Error) -> String {
        switch error {
        case let error as HTTPClientError where error == .connectTimeout: "no connection within 5 s"
        case let error as HTTPClientError where error == .deadlineExceeded || error == .readTimeout:
            "no answer within 15 s"
        case is NIOConnectionError, is IOError: "no connection"
        case is CancellationError: "interrupted"
        default: "the connection or TLS failed"  // tidy-ok: errors of other modules
        }
    }

    // MARK: Addresses

    /// An address of the host that may be asked.
    private func judged(_ target: WebhookTarget) async throws(WebhookFailure) -> String {
        let resolve = resolve
        let found: [String]
        do {
            // Resolving blocks: not on a thread of the cooperative pool.
            found = try await NIOThreadPool.singleton.runIfActive { try resolve(target.host) }
        } catch {
            throw WebhookFailure("the name is not known")
        }
        for address in found {
            if allowed.contains(where: { $0.contains(address) }) {
                guard target.isSecure || Self.loopback.contains(where: { $0.contains(address) }) else { continue }
                return address
            }
            if target.isSecure, AddressBlock.isPublic(address) { return address }
        }
        guard target.isSecure else { throw WebhookFailure("only https is used") }
        throw WebhookFailure("the address is not public")
    }

    private static let loopback = ["127.0.0.0/8", "::1"].compactMap { AddressBlock($0) }

    /// What the system says of a name, or the address that it is.
    static func addresses(_ host: String) throws -> [String] {
        var hints = addrinfo()
        hints.ai_socktype = Int32(SOCK_STREAM.rawValue)
        var list: UnsafeMutablePointer<addrinfo>?
        guard getaddrinfo(host, nil, &hints, &list) == 0 else { throw WebhookFailure("the name is not known") }
        defer { freeaddrinfo(list) }
        var addresses: [String] = []
        var next = list
        while let entry = next {
            var text = [CChar](repeating: 0, count: Int(NI_MAXHOST))
            let status = getnameinfo(
                entry.pointee.ai_addr,
                entry.pointee.ai_addrlen,
                &text,
                socklen_t(text.count),
                nil,
                0,
                NI_NUMERICHOST,
            )
            if status == 0 {
                addresses.append(
                    String(decoding: text.prefix { $0 != 0 }.map { UInt8(bitPattern: $0) }, as: UTF8.self)
                )
            }
            next = entry.pointee.ai_next
        }
        return addresses
    }

    /// One client per name and address: connections are kept, and none goes to another address.
    private func client(for target: WebhookTarget, at address: String) throws(WebhookFailure) -> HTTPClient {
        let name = "\(target.host) \(address)"
        var old: HTTPClient?
        let client: HTTPClient? = state.withLock { state in
            if state.isClosed { return nil }
            if let known = state.clients[name] { return known }
            if state.clients.count >= Self.maximumClients, let victim = state.clients.keys.min() {
                old = state.clients.removeValue(forKey: victim)
            }
            let made = HTTPClient(
                eventLoopGroupProvider: .singleton,
                configuration: Self.configuration(target.host, address),
            )
            state.clients[name] = made
            return made
        }
        old?.shutdown { _ in }
        guard let client else { throw WebhookFailure("interrupted") }
        return client
    }

    private static func configuration(_ host: String, _ address: String) -> HTTPClient.Configuration {
        var configuration = HTTPClient.Configuration()
        configuration.redirectConfiguration = .disallow
        configuration.timeout = .init(connect: .seconds(5), read: .milliseconds(timeoutMs))
        configuration.connectionPool.idleTimeout = .seconds(30)
        configuration.connectionPool.retryConnectionEstablishment = false
        configuration.httpVersion = .http1Only
        configuration.dnsOverride = [host: address]
        return configuration
    }
}
