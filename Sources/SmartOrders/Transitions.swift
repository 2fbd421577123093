// The life of a smart order as one table (ORDERS.md 4.5): who may become what, by which kind of event, and why.
//
// The table is data; `decide` does not consult it. Tests hold every decision against it, documents are made of it.

public enum Lifecycle {
    /// A kind of event that can change a status.
    public enum Cause: String, Hashable, Sendable, CaseIterable {
        case create, tick, timer, venue, position, command
    }

    /// One row: a change of the public status. Rows of 4.5 that leave the status unchanged are not in it.
    public struct Transition: Hashable, Sendable {
        /// Row of ORDERS.md 4.5, for example 14 for T14.
        public let number: Int
        /// Nil: the order did not exist.
        public let from: OrderStatus?
        public let to: OrderStatus
        public let causes: [Cause]
        /// Reasons of a terminal status; empty for the others.
        public let reasons: [CloseReason]
    }

    public static let transitions: [Transition] = {
        let evaluation: [Cause] = [.tick, .timer]
        let anything: [Cause] = [.tick, .timer, .venue, .position, .command]
        var rows = [
            Transition(number: 1, from: nil, to: .active, causes: [.create], reasons: []),
            Transition(number: 2, from: nil, to: .pending, causes: [.create], reasons: []),
            Transition(number: 5, from: .pending, to: .active, causes: [.create, .venue], reasons: []),
            Transition(number: 6, from: .pending, to: .failed, causes: [.venue], reasons: [.entryRejected]),
            Transition(
                number: 7,
                from: .pending,
                to: .cancelled,
                causes: evaluation + [.venue],
                reasons: [.entryCancelled, .entryExpired],
            ),
            Transition(
                number: 8,
                from: .pending,
                to: .cancelled,
                causes: [.command, .venue],
                reasons: [.userCancel],
            ),
            Transition(
                number: 9,
                from: .pending,
                to: .cancelled,
                causes: evaluation + [.venue],
                reasons: [.timeExit],
            ),
            Transition(number: 13, from: .active, to: .partiallyClosed, causes: anything, reasons: []),
        ]
        for open in [OrderStatus.active, .partiallyClosed] {
            rows += [
                // 18 is the same end: the take-profits were faster than the stop.
                Transition(number: 14, from: open, to: .closed, causes: anything, reasons: [.allTakeProfitsFilled]),
                Transition(
                    number: 16,
                    from: open,
                    to: .stopped,
                    causes: anything,
                    reasons: [.stopLoss, .breakEven, .followStop, .stepLock, .trailingStop],
                ),
                Transition(
                    number: 20,
                    from: open,
                    to: .closed,
                    causes: anything,
                    reasons: [.manualClose, .timeExit],
                ),
                Transition(
                    number: 22,
                    from: open,
                    to: .cancelled,
                    causes: [.command, .venue],
                    reasons: [.userCancel],
                ),
                Transition(
                    number: 23,
                    from: open,
                    to: .cancelled,
                    causes: anything,
                    reasons: [.positionFlipped, .positionClosedExternally],
                ),
                Transition(number: 24, from: open, to: .stopped, causes: anything, reasons: [.backstop]),
            ]
        }
        return rows
    }()

    /// Whether the table has a row for this change.
    public static func allows(from: OrderStatus?, to: OrderStatus, cause: Cause, reason: CloseReason?) -> Bool {
        transitions.contains { row in
            row.from == from && row.to == to && row.causes.contains(cause)
                && (reason.map { row.reasons.contains($0) } ?? row.reasons.isEmpty)
        }
    }
}

extension OrderEvent {
    /// The kind of this event in the table.
    public var cause: Lifecycle.Cause {
        switch self {
        case .tick, .trigger: .tick
        case .timer: .timer
        case .venue, .cancelFailed, .recovered: .venue
        case .position, .attention, .market: .position
        case .command: .command
        }
    }
}
