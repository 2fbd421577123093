// Commits of many orders share a transaction: whatever arrives while one commit is under way becomes the next batch.
//
// Commits of one account wait for each other in the store, which numbers their events one transaction after the other. So
// an account is in one batch at a time, and what it brings meanwhile shares the next: many orders of one account cost few
// turns at that lock instead of one each.
//
// Limits: 128 decisions a batch. Cost: no timer, no added latency when idle. A commit of unknown outcome is concluded
// from a write: the same commit is run again (RELIABILITY.md 3.1.5).
internal import SmartOrders

/// Groups the commits of concurrent tasks.
public actor CommitBatcher {
    private let store: any OrderStore
    private let clock: any EngineClock
    private typealias Waiting = (commit: Commit, done: CheckedContinuation<Result<CommitOutcome, StoreError>, Never>)
    private var waiting: [Waiting] = []
    private var running = 0
    /// Accounts of the batches under way.
    private var busy: Set<AccountID> = []
    /// Batches under way at once: one fills while another is being made durable.
    private static let maximumRunning = 2
    private static let maximumBatch = 128
    private static let maximumRepeats = 5

    public init(store: any OrderStore, clock: any EngineClock) {
        self.store = store
        self.clock = clock
    }

    /// Commits one decision; returns when it is durable, lost or refused.
    public func commit(_ commit: Commit) async throws(StoreError) -> CommitOutcome {
        let result = await withCheckedContinuation { done in
            waiting.append((commit, done))
            if running < Self.maximumRunning {
                running += 1
                // The batch must outlive the caller that happened to start it.
                Task { await self.run() }  // tidy-ok: ends when nothing waits; owned by the batcher
            }
        }
        return try result.get()
    }

    private func run() async {
        while true {
            let batch = nextBatch()
            // What waits now waits for an account of the other batch, whose runner takes it.
            guard !batch.isEmpty else { break }
            let accounts = Set(batch.map(\.commit.next.account))
            busy.formUnion(accounts)
            let result = await store(batch.map(\.commit))
            busy.subtract(accounts)
            switch result {
            case .success(let outcomes):
                for (entry, outcome) in zip(batch, outcomes) { entry.done.resume(returning: .success(outcome)) }
            case .failure(let error):
                for entry in batch { entry.done.resume(returning: .failure(error)) }
            }
        }
        running -= 1
    }

    /// The oldest decisions of accounts that are free, at most one per order: a second one of the same order waits for the
    /// next batch.
    private func nextBatch() -> [Waiting] {
        var batch: [Waiting] = []
        var orders: Set<OrderID> = []
        var rest: [Waiting] = []
        var index = waiting.startIndex
        while index < waiting.endIndex, batch.count < Self.maximumBatch {
            let order = waiting[index].commit.next
            if !busy.contains(order.account), orders.insert(order.id).inserted {
                batch.append(waiting[index])
            } else {
                rest.append(waiting[index])
            }
            index += 1
        }
        waiting.replaceSubrange(..<index, with: rest)
        return batch
    }

    private func store(_ commits: [Commit]) async -> Result<[CommitOutcome], StoreError> {
        var repeats = 0
        while true {
            do throws(StoreError) {
                let outcomes = try await store.commit(commits)
                precondition(outcomes.count == commits.count, "one outcome per commit")
                return .success(outcomes)
            } catch {
                guard error.code == .outcomeUnknown, repeats < Self.maximumRepeats else { return .failure(error) }
                repeats += 1
                do { try await clock.sleep(milliseconds: 50 << Int64(repeats)) } catch {
                    return .failure(StoreError(.outcomeUnknown, "stopped"))
                }
            }
        }
    }
}
