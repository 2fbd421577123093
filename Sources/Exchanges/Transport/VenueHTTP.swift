// Sends one request once. No retry, no redirect: a second copy of a placement would take away the only proof that a
// refusal is final (RELIABILITY.md 2.2 step 9).
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

    func send(_ request: SignedRequest, timeoutMs: Int64) async -> HTTPOutcome {
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
            do {
                let body = try await response.body.collect(upTo: Self.bodyLimit)
                return .answered(
                    status: Int(response.status.code),
                    body: Array(body.readableBytesView),
                    retryAfter: response.headers.first(name: "Retry-After").flatMap { Int64($0) },
                )
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
