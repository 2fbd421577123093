// Why an order did what it did, and why not (INTERFACES.md 1.13).

internal import DecisionTimeline
internal import HTTPTypes
internal import JSONText
internal import Logging
internal import OrderEngine
internal import OrderJSON
internal import SmartOrders

struct ExplainRoute: Sendable {
    let backend: Backend

    var routes: [Route] {
        [
            Route(method: .get, pattern: "/v1/orders/{id}/explain") { try await explain($0, .smart) },
            Route(method: .get, pattern: "/v1/conditional-orders/{id}/explain") {
                try await explain($0, .conditional)
            },
        ]
    }

    private func explain(_ call: Call, _ kind: OrderKind) async throws -> Reply {
        let caller = try call.requireCaller()
        try call.query.check(known: ["leg", "from", "to"])
        let order = try await backend.stored(call.captures[0], of: caller)
        guard order.kind == kind else { throw Problem.notFound }
        var filter = Explanation.Filter()
        filter.leg = call.query["leg"]?.uppercased()
        filter.from = try time("from", call.query)
        filter.to = try time("to", call.query)
        guard let explanation = try await backend.explainer.explain(order.id) else { throw Problem.notFound }
        return Reply.json(.ok, explanation.encoded(filter))
    }

    private func time(_ name: String, _ query: Query) throws(Problem) -> Timestamp? {
        guard let text = query[name] else { return nil }
        guard let time = Timestamp(rfc3339: text) else {
            throw Problem(.badQuery, "\(name) is a time such as 2026-11-20T21:18:03Z.")
        }
        return time
    }
}

extension Backend {
    /// Keeps a refused command for the order's history. Losing it loses a line there, so the answer does not wait for
    /// a store that is away.
    func note(_ refusals: [Refusal], of order: OrderID, _ call: Call, _ caller: Caller) async {
        guard let first = refusals.first else { return }
        let note = OrderNote(
            order: order,
            kind: .refused,
            subject: call.requestID,
            actor: caller.actor,
            code: first.code.rawValue,
            detail: first.detail,
            firstAt: clock.now(),
        )
        do throws(StoreError) {
            try await timeline.add([note])
        } catch {
            logger.debug("A refusal was not noted", metadata: ["error": "\(error.detail)"])
        }
    }
}
