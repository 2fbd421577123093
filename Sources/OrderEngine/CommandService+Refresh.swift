// `refresh`: one order is compared with the venue now (ORDERS.md 5.3). The work is a worker's, because only a worker
// holds venue keys: a job that is stored before it is offered, so it is done with Redis away too.
public import SmartOrders

/// Where an order and the venue were found to differ.
public struct OrderDifference: Hashable, Sendable {
    public enum Kind: String, Hashable, Sendable {
        case status, fill, venueOrder, position, attention
    }
    public let kind: Kind
    /// What the difference is about: a leg and attempt, or nothing.
    public let subject: String?
    /// As the order had it, and as the venue has it.
    public let expected: String
    public let found: String
    /// Whether the order has it now.
    public let applied: Bool
}

extension CommandService {
    /// Waits this long for a worker.
    private static let patienceMs: Int64 = 8_000

    /// Compares the order with the venue; answers with the order as it stands then and what was different.
    public func refresh(
        _ id: OrderID,
        version: Int64?,
    ) async throws(CommandError) -> (order: SmartOrder, differences: [OrderDifference]) {
        do {
            guard let before = try await context.orders.load([id]).first?.smart else {
                throw CommandError.refused([Refusal(.notFound, "There is no such order.")])
            }
            if let version, version != before.version { throw CommandError.versionMismatch(present: .smart(before)) }
            guard !before.status.isTerminal else { return (before, []) }
            let number = 1_000_000_000 + Int(context.random() % 1_000_000_000)
            let job = Job.reconcile(.smart(before), number: number, isAwaited: true)
            try await context.orders.storeJobs([job])
            do throws(QueueError) {
                _ = try await context.queue.offer([job], verify: false)
            } catch {
                // It is in the outbox: the relay or a polling worker has it.
                context.observer.count("queue_errors_total", 1)
            }
            let begun = context.clock.monotonicNanoseconds()
            while try await !context.orders.hasEnded(job.id) {
                guard context.clock.monotonicNanoseconds() - begun < Self.patienceMs * 1_000_000 else {
                    throw CommandError.unavailable("The comparison with the venue has not ended yet; look again.")
                }
                try await context.clock.sleep(milliseconds: 20)
            }
            guard let after = try await context.orders.load([id]).first?.smart else {
                throw CommandError.refused([Refusal(.notFound, "There is no such order.")])
            }
            return (after, Self.differences(before, after))
        } catch let error as CommandError {
            throw error
        } catch let error as StoreError {
            throw .unavailable(error.detail)
        } catch {
            throw .unavailable("\(error)")
        }
    }

    static func differences(_ before: SmartOrder, _ after: SmartOrder) -> [OrderDifference] {
        var found: [OrderDifference] = []
        func add(_ kind: OrderDifference.Kind, _ subject: String?, _ expected: String, _ now: String) {
            guard expected != now else { return }
            found.append(OrderDifference(kind: kind, subject: subject, expected: expected, found: now, applied: true))
        }
        for old in before.venueOrders {
            let name = "\(old.leg)-\(old.attempt)"
            guard let now = after.venueOrders.first(where: { $0.key == old.key }) else {
                add(.venueOrder, name, old.state.rawValue, "ENDED")
                continue
            }
            add(.venueOrder, name, old.state.rawValue, now.state.rawValue)
            add(.fill, name, "\(old.filled)", "\(now.filled)")
        }
        add(.fill, nil, "\(before.exited)", "\(after.exited)")
        add(.fill, nil, "\(before.entered)", "\(after.entered)")
        add(.position, nil, "\(before.remaining + before.exited)", "\(after.remaining + after.exited)")
        add(.status, nil, before.status.rawValue, after.status.rawValue)
        for cause in Attention.allCases
        where before.attention.contains(cause) != after.attention.contains(cause) && !after.status.isTerminal {
            let isRaised = after.attention.contains(cause)
            add(.attention, cause.rawValue, isRaised ? "OK" : "RAISED", isRaised ? "RAISED" : "OK")
        }
        return found
    }
}
