// Sends one request once. No retry, no redirect: a second copy of a placement would take away the only proof that a
// refusal is final (RELIABILITY.md 2.2 step 9).
//
// A venue that asks for patience (429 with Retry-After, 418) is not asked anything until it is over: every request of a
// banned address makes the ban longer, and a stop that waits leaves with the first one (RELIABILITY.md 6.8, HO21).
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

    /// - Parameter roots: certificates (PEM) to trust in place of the system's; nil: the system's.
    public init(roots: String? = nil) {
        var configuration = HTTPClient.Configuration()
        configuration.redirectConfiguration = .disallow
        configuration.timeout = .init(connect: .seconds(1), read: .seconds(3))
        configuration.connectionPool.idleTimeout = .seconds(30)
        configuration.connectionPool.concurrentHTTP1ConnectionsPerHostSoftLimit = 64
        // A connection attempt that is repeated sends nothing twice, but it may outlive the request's window.
        configuration.connectionPool.retryConnectionEstablishment = false
        configuration.httpVersion = .http1Only
        if let roots {
            var tls = TLSConfiguration.makeClientConfiguration()
            tls.trustRoots = .file(roots)
            configuration.tlsConfiguration = tls
        }
        client = HTTPClient(eventLoopGroupProvider: .singleton, configuration: configuration)
    }

    /// Whether the last request to it ended with its certificate.
    func isUntrusted(_ base: String) -> Bool { untrusted.withLock { $0.contains(base) } }

    public func shutdown() async throws { try await client.shutdown() }

    // A client that nobody shut down (a start that failed half way) would end the process in its own deinit.
    deinit { client.shutdown { _ in } }

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
        var outgoing = HTTPClientRequest(url: request.url)
        outgoing.method = HTTPMethod(rawValue: request.method.rawValue)
        for (name, value) in request.headers { outgoing.headers.add(name: name, value: value) }
        if !request.body.isEmpty {
            outgoing.headers.add(name: "Content-Type", value: "application/x-www-form-urlencoded")
            outgoing.body = .bytes(ByteBuffer(string: request.body))
        }
        do {
            let response = try await client.execute(outgoing, timeout: .milliseconds(timeoutMs))
            untrusted.withLock { _ = $0.remove(request.base) }
            let (status, retryAfter) = (
                Int(response.status.code), response.headers.first(name: "Retry-After").flatMap { Int64($0) },
            )
            heed(status, retryAfter, request)
            do {
                let body = try await response.body.collect(upTo: Self.bodyLimit)
                return .answered(status: status, body: Array(body.readableBytesView), retryAfter: retryAfter)
            } catch {
                return .unknown("the answer broke off: \(error)")
            }
        } catch let error as HTTPClientError where Self.isNotSent(error) {
            return .notSent("\(error)")
        } catch let error where Self.isHandshakeFailure(error) {
            // No request is written before the handshake ends, and there is no way back to plain text.
            untrusted.withLock { _ = $0.insert(request.base) }
            return .notSent("TLS: \(error)")
        } catch is NIOConnectionError {
            return .notSent("connection refused or name not resolved")
        } catch let error as IOError where error.errnoCode == ECONNREFUSED {
            return .notSent("connection refused")
        } catch {
            return .unknown("\(error)")
        }
    }

    private static func isHandshakeFailure(_ error: any Error) -> Bool {
        if let error = error as? NIOSSLError, case .handshakeFailed = error { return true }
        return (error as? NIOSSLExtraError) == .failedToValidateHostname
    }

    /// Errors that occur before a request is written.
    private static func isNotSent(_ error: HTTPClientError) -> Bool {
        [
            .connectTimeout, .getConnectionFromPoolTimeout, .invalidURL, .emptyHost, .alreadyShutdown,
            .unsupportedScheme(""),
        ]
        .contains(error)
    }
}
