// Batches: one command on many orders, each its own decision (ORDERS.md 5.3 `cancelAll`).
//
// A batch is a row with the ids that are still to be done. Whoever has its lease goes on with it, so it survives the
// process that took the request; doing one order twice is doing nothing the second time.
// Limits: 10,000 orders a batch, 16 at a time. An order that cannot be reached now stays in the list and is tried again
// with the next round.

internal import JSONText
internal import Logging
internal import OrderEngine
internal import OrderJSON
internal import SmartOrders

final class BatchDuty: Sendable {
    private static let width = 16
    private static let step = 64
    private static let pauseMs: Int64 = 1_000
    /// Rounds without any progress after which the rest counts as failed.
    private static let maximumIdleRounds = 30

    private let backend: Backend
    private let hub: EventHub
    private let bell = Bell()

    init(backend: Backend, hub: EventHub) {
        self.backend = backend
        self.hub = hub
    }

    /// There is a new batch.
    func poke() { bell.ring() }

    /// Runs until the task is cancelled.
    func run() async {
        await bell.serve(every: Self.pauseMs, backend.clock) { await self.workOff() }
    }

    private func workOff() async {
        do {
            while !Task.isCancelled, let batch = try await backend.traders.takeBatch() {
                try await Tenancy.$accounts.withValue([batch.account]) { try await work(batch) }
            }
        } catch {
            // The store is away: the lease lapses, and somebody goes on.
            backend.logger.debug("Batch interrupted", metadata: ["error": "\(error)"])
        }
    }

    private func work(_ given: Batch) async throws {
        var batch = given
        var idleRounds = 0
        if batch.kind == .reconcile, batch.done == 0 { await readVenue(of: batch.account) }
        while !batch.orders.isEmpty, !Task.isCancelled {
            let next = Array(batch.orders.prefix(Self.step))
            let results = await carryOut(batch, next)
            var left: [OrderID] = []
            for (order, result) in zip(next, results) {
                switch result {
                case .done: batch.done += 1
                case .failed(let code): batch.failures.append(Batch.Failure(id: order.description, code: code))
                case .later: left.append(order)
                }
            }
            batch.orders.removeFirst(next.count)
            // Those come last: the others need not wait for them.
            batch.orders += left
            hub.poke()
            idleRounds = left.count == next.count ? idleRounds + 1 : 0
            if idleRounds > Self.maximumIdleRounds {
                for order in batch.orders {
                    batch.failures.append(.init(id: order.description, code: RequestCode.storeUnavailable.rawValue))
                }
                batch.orders = []
            }
            if !batch.orders.isEmpty { try await backend.traders.save(batch) }
            if idleRounds > 0 { try await backend.clock.sleep(milliseconds: Self.pauseMs) }
        }
        guard batch.orders.isEmpty else { return }
        batch.state = .done
        batch.endedAt = backend.clock.now()
        try await backend.traders.save(batch)
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

    private enum Result { case done, later, failed(String) }

    private func carryOut(_ batch: Batch, _ orders: [OrderID]) async -> [Result] {
        await withTaskGroup(of: (Int, Result).self) { group in
            var results = [Result](repeating: .later, count: orders.count)
            var next = 0
            while next < min(Self.width, orders.count) {
                let index = next
                group.addTask { (index, await self.carryOut(batch, orders[index])) }
                next += 1
            }
            while let (index, result) = await group.next() {
                results[index] = result
                guard next < orders.count else { continue }
                let index = next
                group.addTask { (index, await self.carryOut(batch, orders[index])) }
                next += 1
            }
            return results
        }
    }

    private func carryOut(_ batch: Batch, _ id: OrderID) async -> Result {
        do throws(CommandError) {
            if batch.kind == .reconcile {
                _ = try await backend.commands.refresh(id, version: nil)
                return .done
            }
            guard let command = try await command(of: batch, on: id) else { return .done }
            _ = try await backend.commands.execute(command, on: id, version: nil, actor: batch.actor)
            return .done
        } catch {
            switch error {
            case .refused(let refusals):
                // What has ended meanwhile is what was wanted.
                guard let code = refusals.first?.code, code != .orderTerminal else { return .done }
                return .failed(code.rawValue)
            case .versionMismatch, .keyBusy, .priceUnavailable, .unavailable, .venueUnavailable: return .later
            case .keyReused: return .failed(RequestCode.idempotencyKeyReused.rawValue)
            }
        }
    }

    /// What a batch asks of one order; nil: nothing.
    private func command(of batch: Batch, on id: OrderID) async throws(CommandError) -> Command? {
        switch batch.kind {
        case .cancelAll: return .cancel
        case .reconcile: return nil
        case .halt, .flatten: break
        }
        let stored: StoredOrder?
        do throws(StoreError) {
            stored = try await backend.orders.load([id]).first
        } catch {
            throw CommandError.unavailable(error.detail)
        }
        guard let stored, !stored.isTerminal else { return nil }
        guard case .smart(let order) = stored else {
            // A halt cancels what would enter, and leaves what protects.
            let isEntry = stored.conditional.map { !$0.draft.reduceOnly } ?? false
            return isEntry || batch.kind == .flatten ? .cancel : nil
        }
        if batch.kind == .flatten, order.status.isOpen { return .closeMarket }
        let hasRest =
            order.status == .pending || order.venueOrders.contains { $0.side == order.side && $0.state.isLive }
        return hasRest ? .cancelEntry : nil
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
