// An answer before it is written.

internal import HTTPTypes
internal import HummingbirdCore
internal import JSONText
internal import NIOCore
internal import OrderJSON

/// Status, headers and body of one answer.
struct Reply: Sendable {
    enum Body: Sendable {
        case none
        case bytes(ByteBuffer)
        /// Written piece by piece; the connection ends with it.
        case stream(@concurrent @Sendable (inout any ResponseBodyWriter) async throws -> Void)
    }

    var status: HTTPResponse.Status
    var headers: HTTPFields
    var body: Body
    var closesConnection = false

    init(status: HTTPResponse.Status, headers: HTTPFields = [:], body: Body = .none) {
        self.status = status
        self.headers = headers
        self.body = body
    }

    static func json(_ status: HTTPResponse.Status = .ok, _ bytes: [UInt8]) -> Reply {
        Reply(status: status, headers: [.contentType: "application/json"], body: .bytes(ByteBuffer(bytes: bytes)))
    }

    /// An object whose members `write` adds.
    static func json(_ status: HTTPResponse.Status = .ok, _ write: (inout JSONWriter) -> Void) -> Reply {
        var writer = JSONWriter(reserving: 1_024)
        writer.beginObject()
        write(&writer)
        writer.endObject()
        return .json(status, writer.take())
    }

    static func text(_ type: String, _ text: String) -> Reply {
        Reply(status: .ok, headers: [.contentType: type], body: .bytes(ByteBuffer(string: text)))
    }

    init(_ problem: Problem, instance: String, requestID: String) {
        var document = problem.document
        document.instance = instance
        document.requestID = requestID
        self.init(
            status: HTTPResponse.Status(code: document.status),
            headers: problem.headers,
            body: .bytes(ByteBuffer(bytes: document.encoded())),
        )
        headers[.contentType] = "application/problem+json"
        closesConnection = problem.closesConnection
    }
}

extension HTTPField.Name {
    /// A name of the program's own.
    private static func known(_ name: String) -> HTTPField.Name {
        guard let name = HTTPField.Name(name) else { preconditionFailure("not a header name: \(name)") }
        return name
    }
    static let requestID = known("X-Request-Id")
    static let idempotencyKey = known("Idempotency-Key")
    static let idempotencyReplayed = known("Idempotency-Replayed")
    static let rateLimit = known("RateLimit")
    static let rateLimitPolicy = known("RateLimit-Policy")
    static let referrerPolicy = known("Referrer-Policy")
    static let openerPolicy = known("Cross-Origin-Opener-Policy")
    static let csrfToken = known("X-CSRF-Token")
    static let fetchSite = known("Sec-Fetch-Site")
    static let resourcePolicy = known("Cross-Origin-Resource-Policy")
    static let prefer = known("Prefer")
    static let preferenceApplied = known("Preference-Applied")
    static let lastEventID = known("Last-Event-ID")
    static let accelBuffering = known("X-Accel-Buffering")
    static let link = known("Link")
    static let traceParent = known("traceparent")
    static let forwardedFor = known("X-Forwarded-For")
}
