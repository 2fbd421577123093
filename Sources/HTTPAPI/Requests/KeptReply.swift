// Answers that are kept with the command that they belong to: a repeated request is told the same, word for word
// (INTERFACES.md 1.4).

internal import HTTPTypes
internal import NIOCore
internal import OrderEngine
internal import SmartOrders

/// How a route shows an order. Called before the commit for an answer that is kept with it.
typealias Showing = @Sendable (_ order: StoredOrder, _ status: HTTPResponse.Status) async throws -> Reply

extension Reply {
    /// What of it is kept.
    var kept: KeptAnswer {
        var bytes: [UInt8] = []
        if case .bytes(let buffer) = body { bytes = Array(buffer.readableBytesView) }
        return KeptAnswer(
            status: status.code,
            entityTag: headers[.eTag],
            location: headers[.location],
            body: bytes,
        )
    }

    init(_ kept: KeptAnswer, isReplay: Bool) {
        let status = HTTPResponse.Status(code: kept.status)
        self = kept.body.isEmpty ? Reply(status: status) : .json(status, kept.body)
        headers[.eTag] = kept.entityTag
        headers[.location] = kept.location
        if isReplay { headers[.idempotencyReplayed] = "true" }
    }
}

extension CommandAnswer {
    /// What the request is told.
    /// - Parameters:
    ///   - status: of a command that was carried out.
    ///   - idle: of one that found its work done.
    func told(
        _ status: HTTPResponse.Status,
        idle: HTTPResponse.Status,
        _ show: Showing,
    ) async throws -> Reply {
        if let kept { return Reply(kept, isReplay: isReplay) }
        var reply = try await show(stored, isCommitted || isReplay ? status : idle)
        if isReplay { reply.headers[.idempotencyReplayed] = "true" }
        return reply
    }
}
