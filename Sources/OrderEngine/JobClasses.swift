// Which queue a leg's work goes to, and how it is retried there (QUEUE.md 3.4, 9.2).
public import SmartOrders

extension JobClass {
    /// What ends or reduces exposure goes before what takes profit or enters.
    public init(leg: Leg) {
        switch leg {
        case .stop, .partialStop, .backstop, .close, .reduce: self = .stops
        case .takeProfit, .entry, .add, .conditional: self = .targets
        // A timer may be a stop's retry or a time exit: it must not wait behind housekeeping.
        case .timer: self = .stops
        case .reconcile: self = .housekeeping
        }
    }

    /// Attempts until a job is dead; nil: never, it reduces risk.
    public var maximumAttempts: Int? {
        switch self {
        case .stops: nil
        case .targets: 25
        case .housekeeping: 12
        }
    }

    /// Delay before retry number `retry` (1-based), in milliseconds; `noise` is uniform 64 bits.
    public func retryDelay(_ retry: Int, noise: UInt64) -> Int64 {
        let (base, cap): (Int64, Int64) =
            switch self {
            case .stops: (250, 5_000)
            case .targets: (250, 30_000)
            case .housekeeping: (1_000, 300_000)
            }
        let doubled = base << Int64(min(max(retry - 1, 0), 20))
        // x (0.8 + 0.4 u), in thousandths.
        return min(cap, doubled) * Int64(800 + noise % 401) / 1000
    }
}

extension Job {
    /// The job of a crossing.
    static func trigger(
        _ armed: ArmedOrder,
        _ watch: Watch,
        at position: TickPosition,
        check: Int? = nil,
        times: CrossingTimes? = nil,
    ) -> Job {
        Job(
            id: JobID(order: armed.id, leg: watch.leg, attempt: watch.attempt, check: check),
            name: .trigger,
            jobClass: JobClass(leg: watch.leg),
            version: armed.version,
            market: armed.market,
            source: armed.source,
            position: position,
            times: times,
        )
    }

    /// The job of a moment that has come.
    static func timer(_ armed: ArmedOrder) -> Job {
        Job(
            id: JobID(order: armed.id, leg: .timer, attempt: Int(armed.version)),
            name: .timer,
            jobClass: .stops,
            version: armed.version,
            market: armed.market,
            source: armed.source,
        )
    }

    /// Brings an order up to the stored prices, whatever else is known of it.
    /// - Parameter second: of the occasion, so that a queue which remembers another one as done does not swallow it.
    static func look(_ order: StoredOrder, second: Int) -> Job {
        Job(
            id: JobID(order: order.id, leg: .timer, attempt: Int(order.version), check: second),
            name: .timer,
            jobClass: .stops,
            version: order.version,
            account: order.account,
            market: order.instrument.market,
        )
    }

    /// Compares the order with the venue.
    /// - Parameters:
    ///   - number: of the occasion; the same occasion is one job, whoever offers it.
    ///   - isAwaited: somebody waits for it, so it ends with what can be said now.
    static func reconcile(_ order: StoredOrder, number: Int, isAwaited: Bool = false) -> Job {
        Job(
            id: JobID(order: order.id, leg: .reconcile, attempt: isAwaited ? 2 : 1, check: number),
            name: .reconcile,
            jobClass: .housekeeping,
            version: order.version,
            account: order.account,
            market: order.instrument.market,
        )
    }

    /// Later work on an attempt: send what waits, look up what is unknown.
    public static func check(_ order: StoredOrder, _ key: VenueOrderKey, number: Int) -> Job {
        Job(
            id: JobID(order: order.id, leg: key.leg, attempt: key.attempt, check: number),
            name: .check,
            jobClass: order.isStopLoss ? .stops : JobClass(leg: key.leg),
            version: order.version,
            account: order.account,
            market: order.instrument.market,
        )
    }
}
