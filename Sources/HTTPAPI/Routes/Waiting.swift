// `Prefer: wait=N`: an answer is held back until the order has left its transitional phase (INTERFACES.md 1.1).

internal import HTTPTypes
internal import OrderEngine
internal import SmartOrders

extension StoredOrder {
    /// Something was decided that the venue has not settled yet.
    var isInTransition: Bool {
        switch self {
        case .smart(let order): order.isInTransition
        case .conditional(let order):
            // One that was triggered is at the venue, or about to be; one that is to end waits for what is there.
            !order.status.isTerminal
                && (order.endReason != nil || order.venueOrders.contains { SmartOrder.isAsked($0.state) })
        }
    }
}

extension SmartOrder {
    fileprivate var isInTransition: Bool {
        switch phase {
        case .stopping, .closing, .cancelling: true
        case .entryWorking, .waitingEntry, .monitoring: venueOrders.contains { Self.isAsked($0.state) }
        case nil: false
        }
    }
}

extension SmartOrder {
    /// The venue is asked for it, or is about to be.
    fileprivate static func isAsked(_ state: VenueOrderState) -> Bool {
        switch state {
        case .intent, .submitted, .unknown, .cancelRequested: true
        case .open, .partial, .filled, .cancelled, .expired, .rejected, .notSent, .absent: false
        }
    }
}

extension Backend {
    private static let pollMs: Int64 = 50

    /// The answer with the order as it has settled; nil: nobody waits, or it did not settle in time.
    private func settled(_ answer: CommandAnswer, _ call: Call) async throws -> CommandAnswer? {
        guard let seconds = call.waitSeconds else { return nil }
        let until = clock.monotonicNanoseconds() + seconds * 1_000_000_000
        var order = answer.stored
        while order.isInTransition {
            guard clock.monotonicNanoseconds() < until else { return nil }
            try await clock.sleep(milliseconds: Self.pollMs)
            // The command is done: what cannot be read now is no reason to say that it failed.
            do throws(StoreError) {
                guard let now = try await orders.load([order.id]).first else { return nil }
                order = now
            } catch { continue }
        }
        return CommandAnswer(stored: order, isCommitted: answer.isCommitted, isReplay: answer.isReplay)
    }

    /// What whoever waits is told when the order has settled in time; nil: the answer is that of a command. Only routes
    /// that say so may wait (`Route.mayWait`): the deadline of the others is not later for it.
    /// - Parameter status: of what is new 201, else 200.
    func waited(
        _ answer: CommandAnswer,
        _ call: Call,
        as status: HTTPResponse.Status = .ok,
        _ show: Showing,
    ) async throws -> Reply? {
        guard let settled = try await settled(answer, call) else { return nil }
        var reply = try await show(settled.stored, status)
        if settled.isReplay { reply.headers[.idempotencyReplayed] = "true" }
        reply.headers[.preferenceApplied] = "wait=\(call.waitSeconds ?? 0)"
        return reply
    }
}
