// Batches: one command on many orders, each its own decision (ORDERS.md 5.3 `cancelAll`).
//
// A batch is a row with the ids that are still to be done. Whoever has its lease goes on with it, so it survives the
// process that took the request; doing one order twice is doing nothing the second time.
// A halt looks for open orders again when it is through, and once more after `haltLookMs`: an order that was on its way
// when the halt was set may be stored after the list was made. A flatten looks on until no entry that it cancels can fill
// any more, and closes what did.
// Limits: 10,000 orders a batch, 16 at a time; 64 batches at a time in a process. An order that cannot be reached now stays
// in the list and is tried again with the next round.

internal import JSONText
internal import Logging
internal import OrderEngine
internal import OrderJSON
internal import OwnerThread
internal import SmartOrders

final class BatchDuty: Sendable {
    private static let width = 16
    private static let step = 64
    private static let pauseMs: Int64 = 1_000
    private static let renewalMs: Int64 = 2_000
    /// Batches that this process works on at a time; of those that only read, fewer: they wait for workers and venues, and
    /// no halt may wait behind them.
    private static let maximumBatches = 64
    private static let maximumReconciles = 8
    /// Rounds without any progress after which the rest counts as failed.
    private static let maximumIdleRounds = 30
    /// So far a halt's time, which is the database's, may be after its batch's.
    private static let haltClockMs: Int64 = 30_000
    /// How long a batch waits for entries that it cancels to be gone.
    private static let patienceMs: Int64 = 300_000

    /// What a batch asks of one order.
    private enum Deed: Hashable, Sendable {
        case nothing, refresh, cancel, cancelEntry, close
    }
    private struct Work: Sendable {
        var batch: Batch
        /// What it asked of whom.
        var asked: [OrderID: Deed] = [:]
        /// Those that count as failed.
        var givenUp: Set<OrderID> = []

        mutating func giveUp(_ id: OrderID, _ code: RequestCode) {
            givenUp.insert(id)
            batch.failures.append(Batch.Failure(id: id.description, code: code.rawValue))
        }
    }

    private struct State {
        /// By kind, what this process works on.
        var running: [UniqueID: Batch.Kind] = [:]
        /// Halts that look once more.
        var late: [Work] = []
    }

    private let backend: Backend
    private let hub: EventHub
    private let bell = Bell()
    private let state = Locked(State())

    init(backend: Backend, hub: EventHub) {
        self.backend = backend
        self.hub = hub
    }

    /// There is a new batch.
    func poke() { bell.ring() }

    /// Runs until the task is cancelled.
    func run() async {
        await withDiscardingTaskGroup { group in
            group.addTask {
                while !Task.isCancelled {
                    do { try await self.backend.clock.sleep(milliseconds: Self.pauseMs) } catch { return }
                    self.bell.ring()
                }
            }
            while !Task.isCancelled {
                do {
                    for work in takeLate() { start(work, in: &group) }
                    while !Task.isCancelled, state.withLock({ $0.running.count < Self.maximumBatches }),
                        let batch = try await backend.traders.takeBatch()
                    {
                        start(Work(batch: batch), in: &group)
                    }
                } catch {
                    backend.logger.debug("Batches wait", metadata: ["error": "\(error)"])
                }
                await bell.wait()
            }
            group.cancelAll()
        }
    }

    /// One that finds no room is left to its lease: whoever has room takes it in 5 s.
    private func start(_ work: Work, in group: inout DiscardingTaskGroup) {
        let (id, kind) = (work.batch.id, work.batch.kind)
        let hasRoom = state.withLock { state in
            guard state.running[id] == nil,
                kind != .reconcile || state.running.values.count(where: { $0 == kind }) < Self.maximumReconciles
            else { return false }
            state.running[id] = kind
            return true
        }
        guard hasRoom else { return }
        group.addTask {
            do {
                try await Tenancy.$accounts.withValue([work.batch.account]) { try await self.work(work) }
            } catch {
                // The store is away: the lease lapses, and somebody goes on.
                self.backend.logger.debug("Batch interrupted", metadata: ["error": "\(error)"])
            }
            self.state.withLock { _ = $0.running.removeValue(forKey: id) }
        }
    }

    private func takeLate() -> [Work] {
        let now = backend.clock.now()
        return state.withLock { state in
            let due = state.late.filter { isSettled($0.batch, now) }
            state.late.removeAll { isSettled($0.batch, now) }
            return due
        }
    }

    /// Whether what was on its way when the batch began is there.
    private func isSettled(_ batch: Batch, _ now: Timestamp) -> Bool {
        now.milliseconds - batch.startedAt.milliseconds >= backend.configuration.limits.haltLookMs
    }

    private func work(_ given: Work) async throws {
        var work = given
        if work.batch.kind == .reconcile, work.batch.done == 0 { await readVenue(of: work.batch.account) }
        while try await workOn(&work) {}
    }

    /// One round of a batch. False: it is done, ended by an operator, or looked at again later.
    ///
    /// Not inlined: swiftc 6.3 crashes at -O where this becomes a part of `work`.
    @inline(never)
    private func workOn(_ work: inout Work) async throws -> Bool {
        // One that an operator ended is left where it is.
        guard try await workOff(&work), work.batch.orders.isEmpty else { return false }
        // Asked before the look: what comes to be there after it is of a caller who knew of the halt.
        let now = backend.clock.now()
        let isSettled = isSettled(work.batch, now)
        let isOver = now.milliseconds - work.batch.startedAt.milliseconds >= Self.patienceMs
        guard try await backend.traders.save(work.batch) else { return false }
        let (more, areLeaving) = try await appeared(&work)
        if !more.isEmpty, !isOver {
            work.batch.orders = more
            work.batch.total += more.count
            return true
        }
        if work.batch.isHalt, !isOver, !isSettled || !areLeaving.isEmpty {
            // Kept by its lease: should this process end, another one looks.
            let kept = work
            state.withLock { $0.late.append(kept) }
            return false
        }
        for id in more + areLeaving { work.giveUp(id, .venueUnavailable) }
        work.batch.state = .done
        work.batch.endedAt = backend.clock.now()
        _ = try await backend.traders.save(work.batch)
        return false
    }

    /// Open orders that a halt has something to do with and did not know, or has something else to do with now; and those
    /// whose entries are still being cancelled, which may fill yet. Nothing once the halt was lifted, and nothing that came
    /// when it was known to everybody.
    private func appeared(_ work: inout Work) async throws -> (more: [OrderID], areLeaving: [OrderID]) {
        let batch = work.batch
        guard batch.isHalt, let halt = try await backend.traders.halt(of: batch.account),
            halt.since <= batch.startedAt.advanced(milliseconds: Self.haltClockMs)
        else { return ([], []) }
        let latest = batch.startedAt.advanced(milliseconds: backend.configuration.limits.haltLookMs)
        var (more, areLeaving): ([OrderID], [OrderID]) = ([], [])
        let open = try await backend.traders.openOrders(of: batch.account, market: nil)
        for start in stride(from: 0, to: open.count, by: 256) {
            let page = Array(open[start..<min(start + 256, open.count)])
            for order in try await load(page, &work) where !work.givenUp.contains(order.id) {
                guard work.asked[order.id] != nil || order.createdAt <= latest else { continue }
                let deed = Self.deed(of: batch, on: order)
                guard deed != .nothing else { continue }
                if work.asked[order.id] != deed {
                    more.append(order.id)
                } else if batch.kind == .flatten, deed == .cancelEntry {
                    areLeaving.append(order.id)
                }
            }
        }
        return (more, areLeaving)
    }

    /// Orders of a page; one that cannot be read is given up and keeps nobody else waiting.
    private func load(_ page: [OrderID], _ work: inout Work) async throws(StoreError) -> [StoredOrder] {
        do throws(StoreError) {
            return try await backend.orders.load(page)
        } catch {
            guard error.code == .corruptRow else { throw error }
            guard page.count > 1 else {
                for id in page where !work.givenUp.contains(id) { work.giveUp(id, .storeUnavailable) }
                return []
            }
            var orders: [StoredOrder] = []
            for id in page { orders += try await load([id], &work) }
            return orders
        }
    }

    /// Deals with the orders that a batch has; those that are left cannot be reached now. False: it was ended meanwhile.
    private func workOff(_ work: inout Work) async throws -> Bool {
        var idleRounds = 0
        while !work.batch.orders.isEmpty, !Task.isCancelled {
            let next = Array(work.batch.orders.prefix(Self.step))
            let results = await carryOut(work.batch, next)
            var left: [OrderID] = []
            for (order, result) in zip(next, results) {
                switch result {
                case .done(let deed):
                    work.batch.done += 1
                    work.asked[order] = deed
                case .failed(let code, let deed):
                    work.batch.failures.append(Batch.Failure(id: order.description, code: code))
                    work.asked[order] = deed
                case .later: left.append(order)
                }
            }
            work.batch.orders.removeFirst(next.count)
            // Those come last: the others need not wait for them.
            work.batch.orders += left
            hub.poke()
            idleRounds = left.count == next.count ? idleRounds + 1 : 0
            if idleRounds > Self.maximumIdleRounds {
                for order in work.batch.orders { work.giveUp(order, .storeUnavailable) }
                work.batch.orders = []
            }
            if !work.batch.orders.isEmpty, try await !backend.traders.save(work.batch) { return false }
            if idleRounds > 0 { try await backend.clock.sleep(milliseconds: Self.pauseMs) }
        }
        return true
    }

    /// What the account holds is asked for anew; what cannot be had stays as it was known.
    private func readVenue(of account: AccountID) async {
        guard let venues = backend.venues else { return }
        for question in [VenueQuestion.positions, .balances, .openOrders] {
            do throws(StoreError) {
                _ = try await venues.read(question, of: account, maximumAgeMs: 0, patienceMs: 3_000)
            } catch {
                backend.logger.debug("Venue reading waits", metadata: ["error": "\(error.detail)"])
            }
        }
    }

    private enum Result: Sendable { case done(Deed), later, failed(String, Deed) }

    /// Carries out what is asked of `orders`, and keeps the batch's lease meanwhile.
    private func carryOut(_ batch: Batch, _ orders: [OrderID]) async -> [Result] {
        await withTaskGroup(of: [Result]?.self) { group in
            group.addTask { await self.results(batch, orders) }
            group.addTask {
                while !Task.isCancelled {
                    do {
                        try await self.backend.clock.sleep(milliseconds: Self.renewalMs)
                        _ = try await self.backend.traders.save(batch)
                    } catch {
                        // Without the lease somebody else begins the step, too: twice is once.
                        if error is CancellationError { break }
                    }
                }
                return nil
            }
            while let results = await group.next() {
                guard let results else { continue }
                group.cancelAll()
                return results
            }
            return []
        }
    }

    private func results(_ batch: Batch, _ orders: [OrderID]) async -> [Result] {
        await withTaskGroup(of: (Int, Result).self) { group in
            var results = [Result](repeating: .later, count: orders.count)
            var next = 0
            while next < min(Self.width, orders.count) {
                let index = next
                group.addTask { (index, await self.result(batch, orders[index])) }
                next += 1
            }
            while let (index, result) = await group.next() {
                results[index] = result
                guard next < orders.count else { continue }
                let index = next
                group.addTask { (index, await self.result(batch, orders[index])) }
                next += 1
            }
            return results
        }
    }

    private func result(_ batch: Batch, _ id: OrderID) async -> Result {
        var deed = Deed.nothing
        do throws(CommandError) {
            deed = try await self.deed(of: batch, on: id)
            let command: Command
            switch deed {
            case .nothing: return .done(deed)
            case .refresh:
                _ = try await backend.commands.refresh(id, version: nil)
                return .done(deed)
            case .cancel: command = .cancel
            case .cancelEntry: command = .cancelEntry
            case .close: command = .closeMarket
            }
            _ = try await backend.commands.execute(command, on: id, version: nil, actor: batch.actor)
            return .done(deed)
        } catch {
            switch error {
            case .refused(let refusals):
                switch refusals.first?.code {
                // What has ended meanwhile is what was wanted.
                case nil, .orderTerminal: return .done(deed)
                // It holds a position now.
                case .entryAlreadyFilled: return batch.kind == .flatten ? .later : .done(deed)
                case let code?: return .failed(code.rawValue, deed)
                }
            case .versionMismatch, .keyBusy, .priceUnavailable, .unavailable, .venueUnavailable, .recovering:
                return .later
            case .keyReused: return .failed(RequestCode.idempotencyKeyReused.rawValue, deed)
            }
        }
    }

    private func deed(of batch: Batch, on id: OrderID) async throws(CommandError) -> Deed {
        switch batch.kind {
        case .cancelAll: return .cancel
        case .reconcile: return .refresh
        case .halt, .flatten: break
        }
        do throws(StoreError) {
            return try await backend.orders.load([id]).first.map { Self.deed(of: batch, on: $0) } ?? .nothing
        } catch {
            throw CommandError.unavailable(error.detail)
        }
    }

    /// What a halt asks of an order.
    private static func deed(of batch: Batch, on stored: StoredOrder) -> Deed {
        guard !stored.isTerminal else { return .nothing }
        guard case .smart(let order) = stored else {
            // A halt cancels what would enter, and leaves what protects.
            let isEntry = stored.conditional.map { !$0.draft.reduceOnly } ?? false
            return isEntry || batch.kind == .flatten ? .cancel : .nothing
        }
        if batch.kind == .flatten, order.status.isOpen { return .close }
        let hasRest =
            order.status == .pending || order.venueOrders.contains { $0.side == order.side && $0.state.isLive }
        return hasRest ? .cancelEntry : .nothing
    }
}

extension Batch {
    fileprivate var isHalt: Bool {
        switch kind {
        case .halt, .flatten: true
        case .cancelAll, .reconcile: false
        }
    }
}

extension JSONWriter {
    /// A Batch (INTERFACES.md 1.10).
    mutating func batch(_ batch: Batch) {
        beginObject()
        member("id", batch.id.description)
        member("accountId", batch.account.description)
        member("kind", batch.kind)
        member("state", batch.state)
        member("total", batch.total)
        member("done", batch.done)
        key("failed")
        beginArray()
        for failure in batch.failures {
            beginObject()
            member("id", failure.id)
            member("code", failure.code)
            endObject()
        }
        endArray()
        key("actor")
        beginObject()
        member("kind", batch.actor.kind)
        member("id", batch.actor.id)
        endObject()
        member("reason", batch.reason)
        member("startedAt", batch.startedAt)
        member("endedAt", orNull: batch.endedAt)
        endObject()
    }
}
