// The part of a worker that watches the shards it holds: ticks in, trigger events out (DESIGN.md 3, RELIABILITY.md 4.3).
//
// One task owns all indexes; readers and timers only put messages into its inbox. Invariants: the saved cursor of a
// series never passes a crossing whose order has not moved on in PostgreSQL; an order is armed at the position of its
// row, so ticks between the row and the index are walked first. Limits: 512 series a worker. Cost per tick: one
// `MarketIndex.advance`; no allocation on a quiet tick.
internal import OwnerThread
internal import SmartOrders
internal import TriggerIndex

/// Evaluates the armed orders of the shards that this worker holds.
public final class Evaluator: Sendable {
    private let context: EngineContext
    private let history: PriceHistory
    private let inbox: Inbox<EvaluatorMessage>
    private let pulse: Pulse
    /// What to read next of each series. The reader moves it on; the evaluating task adds, removes and resets.
    private let plan = ReadPlan()
    /// The newest word about shards; taken before each message.
    private let orders = Locked(ShardOrders())
    /// Orders whose rows changed, as told and not looked at yet. What is more is found in the change log.
    private let changed = Locked<[OrderID]>([])
    private static let changedLimit = 20_000
    private static let silenceLimit: Int64 = 500_000_000

    public init(context: EngineContext, history: PriceHistory) {
        self.context = context
        self.history = history
        inbox = Inbox(capacity: 32)
        pulse = Pulse(clock: context.clock)
    }

    /// Shards to hold from now on; the first call after a lost lease names all of them as new. Never waits: the heartbeat
    /// must not stop because evaluation is behind.
    public func hold(_ assignments: [ShardAssignment]) async {
        orders.withLock { $0.assignments = assignments }
        _ = inbox.trySend(.beat)
    }

    /// Whether the loop has been at one piece of work for so long that others should have its shards.
    var isStuck: Bool { pulse.isStuck }

    /// The lease was lost: forget everything.
    public func drop() async {
        orders.withLock { $0 = ShardOrders(mustDrop: true) }
        _ = inbox.trySend(.beat)
    }

    /// Runs until its task is cancelled.
    public func run() async throws {
        try await withThrowingTaskGroup { group in
            group.addTask { try await self.readTicks() }
            group.addTask { try await self.readNotices() }
            group.addTask { try await self.beat() }
            group.addTask {
                var state = EvaluatorState(
                    context: self.context,
                    history: self.history,
                    plan: self.plan,
                    pulse: self.pulse,
                )
                while let message = await self.inbox.receive() {
                    self.pulse.begin()
                    defer { self.pulse.end() }
                    if let orders = self.takeOrders() { await state.handle(.orders(orders)) }
                    await state.handle(message)
                    let changed = self.takeChanged()
                    if !changed.isEmpty { await state.handle(.changed(changed)) }
                }
            }
            defer { inbox.finish() }
            try await group.next()
            group.cancelAll()
        }
    }

    private func takeOrders() -> ShardOrders? {
        orders.withLock { orders in
            defer { orders = ShardOrders() }
            return orders.mustDrop || orders.assignments != nil ? orders : nil
        }
    }

    private func takeChanged() -> [OrderID] {
        changed.withLock { changed in
            defer { changed = [] }
            return changed
        }
    }

    private func readTicks() async throws {
        var isDown = false
        /// Since when nothing could be read.
        var silentSince: Int64?
        while !Task.isCancelled {
            let wanted = plan.positions
            guard !wanted.isEmpty else {
                await plan.waitForSeries()
                continue
            }
            do throws(TickLogError) {
                let batches = try await context.ticks.read(wanted, limit: 2_000, waitMs: 2 * context.beatMs)
                if isDown { await inbox.send(.streamUp) }
                isDown = false
                silentSince = nil
                guard !batches.isEmpty else { continue }
                plan.advance(batches, from: wanted)
                await inbox.send(.ticks(batches, from: wanted))
            } catch {
                context.observer.count("ticklog_errors_total", 1)
                // One lost answer is no outage: what the stream has and nobody stored would be passed over
                // (RELIABILITY.md 0, 3.3).
                let now = context.clock.monotonicNanoseconds()
                let since = silentSince ?? now
                silentSince = since
                if !isDown, now - since >= Self.silenceLimit {
                    await inbox.send(.streamDown)
                    isDown = true
                }
                try await context.clock.sleep(milliseconds: 250)
            }
        }
    }

    private func readNotices() async throws {
        while !Task.isCancelled {
            var pauseMs: Int64 = 0
            do throws(TickLogError) {
                let told = try await context.ticks.changedOrders(waitMs: 500)
                guard !told.isEmpty else { continue }
                // A busy evaluator looks at many of them with one query.
                changed.withLock { changed in
                    if changed.count < Self.changedLimit { changed += told }
                }
                await inbox.send(.changed([]))
                // Where many rows change at once they share the next look.
                if told.count > 1 { pauseMs = min(10 * Int64(told.count), 50) }
            } catch {
                pauseMs = 250
            }
            if pauseMs > 0 { try await context.clock.sleep(milliseconds: pauseMs) }
        }
    }

    private func beat() async throws {
        // The change log is looked at every half second.
        let pollBeats = max(1, 500 / context.beatMs)
        var beats: Int64 = 0
        while !Task.isCancelled {
            try await context.clock.sleep(milliseconds: context.beatMs)
            beats += 1
            _ = inbox.trySend(.beat)
            if beats % pollBeats == 0 { _ = inbox.trySend(.poll) }
        }
    }
}

/// What the heartbeat says about shards: drop first, then hold.
struct ShardOrders: Sendable {
    var assignments: [ShardAssignment]?
    var mustDrop = false
}

enum EvaluatorMessage: Sendable {
    case orders(ShardOrders)
    case ticks([PriceSeries: TickBatch], from: [PriceSeries: TickPosition])
    /// The stream cannot be read: go on from the persisted extremes.
    case streamDown
    case streamUp
    case changed([OrderID])
    case poll
    case beat
}

/// Where to go on reading each series.
final class ReadPlan: Sendable {
    private let state = Locked<[PriceSeries: TickPosition]>([:])
    /// Rings when there may be something to read.
    private let bell = Bell()

    var positions: [PriceSeries: TickPosition] { state.withLock { $0 } }

    func set(_ series: PriceSeries, to position: TickPosition?) {
        state.withLock { $0[series] = position }
        if position != nil { bell.ring() }
    }

    /// Returns when there is a series to read, or the task is cancelled. For one reader.
    func waitForSeries() async {
        while await bell.listen() {
            if !positions.isEmpty { return }
        }
    }

    /// Moves on behind what was read, unless the series was reset meanwhile.
    func advance(_ batches: [PriceSeries: TickBatch], from wanted: [PriceSeries: TickPosition]) {
        state.withLock { state in
            for (series, batch) in batches where state[series] != nil && state[series] == wanted[series] {
                if let last = batch.ticks.last { state[series] = last.position }
            }
        }
    }
}
