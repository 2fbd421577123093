// Sends one request once. No retry, no redirect: a second copy of a placement would take away the only proof that a
// refusal is final (RELIABILITY.md 2.2 step 9).
//
// A venue that asks for patience (429 with Retry-After, 418) is not asked anything until it is over: every request of a
// banned address makes the ban longer, and a stop that waits leaves with the first one (RELIABILITY.md 6.8, HO21).
// A host whose name cannot be resolved is reached at its last good address for ten minutes (FA77).
internal import AsyncHTTPClient
internal import NIOCore
internal import NIOHTTP1
internal import NIOPosix
internal import NIOSSL
internal import OwnerThread

/// What became of a request.
enum HTTPOutcome: Sendable {
    case answered(status: Int, body: [UInt8], retryAfter: Int64?)
    /// No byte of it left this process.
    case notSent(String)
    /// It may have been received.
    case unknown(String)
}

/// The HTTP client of all adapters. Answers are limited to 4 MiB.
public final class VenueHTTP: Sendable {
    private let client: HTTPClient
    private let configuration: HTTPClient.Configuration
    let memory: AddressMemory
    /// Clients that go to an address that is remembered, by `host=address`.
    private let detours = Locked<[String: HTTPClient]>([:])
    private static let bodyLimit = 4 << 20
    /// `https://host` whose certificate was refused at the last try.
    private let untrusted = Locked<Set<String>>([])
    /// Whom a venue asked to be left alone by: this address, or one account.
    private struct Asked: Hashable {
        let base: String
        /// Of the account; nil: everybody here.
        let key: String?
    }

    private let quiet = Locked<[Asked: ContinuousClock.Instant]>([:])
    /// The longest that a limit and a ban are believed, in seconds: a header must not hold a stop for days.
    private static let longestLimit: Int64 = 60
    private static let longestBan: Int64 = 300

    /// - Parameters:
    ///   - roots: certificates (PEM) to trust in place of the system's; nil: the system's.
    ///   - resolve: the addresses of a name, to be remembered for when it cannot be resolved; blocks. Nil: the system's.
    public init(roots: String? = nil, resolve: (@Sendable (_ host: String) throws -> [String])? = nil) {
        memory = AddressMemory(resolve ?? WebhookHTTP.addresses)
        var configuration = HTTPClient.Configuration()
        configuration.redirectConfiguration = .disallow
        configuration.timeout = .init(connect: .seconds(1), read: .seconds(3))
        configuration.connectionPool.idleTimeout = .seconds(30)
        configuration.connectionPool.concurrentHTTP1ConnectionsPerHostSoftLimit = 64
        // A connection attempt that is repeated sends nothing twice, but it may outlive the request's window.
        configuration.connectionPool.retryConnectionEstablishment = false
        configuration.httpVersion = .http1Only
        // Nobody collects spans of these; attributes are made of every request all the same.
        configuration.tracing.tracer = nil
        if let roots {
            var tls = TLSConfiguration.makeClientConfiguration()
            tls.trustRoots = .file(roots)
            configuration.tlsConfiguration = tls
        }
        self.configuration = configuration
        client = HTTPClient(eventLoopGroupProvider: .singleton, configuration: configuration)
    }

    /// Whether the last request to it ended with its certificate.
    func isUntrusted(_ base: String) -> Bool { untrusted.withLock { $0.contains(base) } }

    public func shutdown() async throws {
        let taken = detours.withLock { detours in
            defer { detours = [:] }
            return detours
        }
        for detour in taken.values { try await detour.shutdown() }
        try await client.shutdown()
    }

    // A client that nobody shut down (a start that failed half way) would end the process in its own deinit.
    deinit {
        for detour in detours.withLock({ $0 }).values { detour.shutdown { _ in } }
        client.shutdown { _ in }
    }

    /// A client that goes to the remembered address of a host whose name cannot be resolved.
    private func detour(_ host: String) -> HTTPClient? {
        guard let address = memory.address(host) else { return nil }
        return detours.withLock { detours in
            if let known = detours["\(host)=\(address)"] { return known }
            // A host moves seldom; requests may still be under way on what is there.
            guard detours.count < 64 else { return nil }
            var configuration = configuration
            // The certificate is still checked against the name.
            configuration.dnsOverride = [host: address]
            let made = HTTPClient(eventLoopGroupProvider: .singleton, configuration: configuration)
            detours["\(host)=\(address)"] = made
            return made
        }
    }

    /// Milliseconds that this venue asked to be left alone; 0: none.
    private func patience(_ request: SignedRequest) -> Int64 {
        quiet.withLock { quiet in
            guard !quiet.isEmpty else { return 0 }
            var most: Int64 = 0
            for asked in [Asked(base: request.base, key: nil), Asked(base: request.base, key: request.accountKey)] {
                guard let until = quiet[asked] else { continue }
                let left = ContinuousClock.now.duration(to: until) / .milliseconds(1)
                if left <= 0 { quiet[asked] = nil }
                most = max(most, Int64(left.rounded(.up)))
            }
            return most
        }
    }

    /// A ban is of the address, a limit of the account that was over it; of the address where nobody signed.
    private func heed(_ status: Int, _ retryAfter: Int64?, _ request: SignedRequest) {
        let seconds: Int64
        switch (status, retryAfter) {
        case (418, let asked): seconds = min(max(asked ?? 120, 1), Self.longestBan)
        case (429, let asked?): seconds = min(max(asked, 0), Self.longestLimit)
        default: return
        }
        let asked = Asked(base: request.base, key: status == 418 ? nil : request.accountKey)
        let until = ContinuousClock.now + .seconds(seconds)
        quiet.withLock { $0[asked] = max($0[asked] ?? until, until) }
    }

    func send(_ request: SignedRequest, timeoutMs: Int64) async -> HTTPOutcome {
        let patience = patience(request)
        guard patience == 0 else { return .notSent("VENUE_LIMIT: the venue asked to wait; \(patience) ms are left") }
        let outgoing: HTTPClient.Request
        do {
            outgoing = try Self.outgoing(request)
        } catch {
            return .notSent("\(error)")
        }
        let begun = ContinuousClock.now
        let attempt = await execute(outgoing, of: request, with: client, timeoutMs: timeoutMs)
        guard case .unresolved(let why) = attempt else { return attempt.outcome }
        let left = timeoutMs - Int64((ContinuousClock.now - begun) / .milliseconds(1))
        // Nothing was sent: there is a second way, not a second try.
        guard left > 0, let detour = detour(request.host) else { return .notSent(why) }
        return await execute(outgoing, of: request, with: detour, timeoutMs: left).outcome
    }

    private static func outgoing(_ request: SignedRequest) throws -> HTTPClient.Request {
        var headers = HTTPHeaders()
        for (name, value) in request.headers { headers.add(name: name, value: value) }
        if !request.body.isEmpty { headers.add(name: "Content-Type", value: "application/x-www-form-urlencoded") }
        return try HTTPClient.Request(
            url: request.url,
            method: HTTPMethod(rawValue: request.method.rawValue),
            headers: headers,
            body: request.body.isEmpty ? nil : .byteBuffer(ByteBuffer(string: request.body)),
        )
    }

    private enum Attempt {
        case told(HTTPOutcome)
        /// The name could not be resolved in time; no byte left this process.
        case unresolved(String)

        var outcome: HTTPOutcome {
            switch self {
            case .told(let outcome): outcome
            case .unresolved(let why): .notSent(why)
            }
        }
    }

    private func execute(
        _ outgoing: HTTPClient.Request,
        of request: SignedRequest,
        with client: HTTPClient,
        timeoutMs: Int64,
    ) async -> Attempt {
        do {
            // One promise a request: the asynchronous form has tasks and a stream of its own for each.
            let answer = client.execute(
                request: outgoing,
                delegate: ResponseAccumulator(request: outgoing, maxBodySize: Self.bodyLimit),
                deadline: .now() + .milliseconds(timeoutMs),
            )
            let response = try await withTaskCancellationHandler {
                try await answer.get()
            } onCancel: {
                answer.cancel()
            }
            memory.note(request.host)
            untrusted.withLock { _ = $0.remove(request.base) }
            let (status, retryAfter) = (
                Int(response.status.code), response.headers.first(name: "Retry-After").flatMap { Int64($0) },
            )
            heed(status, retryAfter, request)
            let body = response.body.map { Array($0.readableBytesView) } ?? []
            return .told(.answered(status: status, body: body, retryAfter: retryAfter))
        } catch let error as HTTPClientError where error == .connectTimeout {
            // A slow name server looks the same.
            return .unresolved("\(error)")
        } catch let error as HTTPClientError where Self.isNotSent(error) {
            return .told(.notSent("\(error)"))
        } catch let error where Self.isHandshakeFailure(error) {
            // No request is written before the handshake ends, and there is no way back to plain text.
            untrusted.withLock { _ = $0.insert(request.base) }
            return .told(.notSent("TLS: \(error)"))
        } catch let error as NIOConnectionError {
            guard error.connectionErrors.isEmpty else { return .told(.notSent("connection refused")) }
            return .unresolved("name not resolved")
        } catch let error as IOError where error.errnoCode == ECONNREFUSED {
            return .told(.notSent("connection refused"))
        } catch {
            return .told(.unknown("\(error)"))
        }
    }

    private static func isHandshakeFailure(_ error: any Error) -> Bool {
        if let error = error as? NIOSSLError, case .handshakeFailed = error { return true }
        return (error as? NIOSSLExtraError) == .failedToValidateHostname
    }

    /// Errors that occur before a request is written.
    private static func isNotSent(_ error: HTTPClientError) -> Bool {
        [
            .getConnectionFromPoolTimeout, .invalidURL, .emptyHost, .alreadyShutdown,
            .unsupportedScheme(""),
        ]
        .contains(error)
    }
}
