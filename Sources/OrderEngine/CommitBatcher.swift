// Commits of many orders share a transaction: whatever arrives while one commit is under way becomes the next batch.
//
// Commits of one account wait for each other in the store, which numbers their events one transaction after the other. So
// an account is in one batch at a time, and what it brings meanwhile shares the next: many orders of one account cost few
// turns at that lock instead of one each. The same holds for idempotency keys: of two requests with one key the second
// meets the first one's row, not its lock.
//
// Tenants: in a process whose sessions are bound to tenants, a batch's transaction is opened to the accounts of its
// orders, each of which its own caller may see. What names another account goes alone, in its caller's name: the
// database refuses it as ever.
//
// Limits: 128 decisions a batch. Cost: no timer, no added latency when idle. A commit of unknown outcome is concluded
// from a write: the same commit is run again (RELIABILITY.md 3.1.5).
internal import SmartOrders

/// Groups the commits of concurrent tasks.
public actor CommitBatcher {
    /// Whose rows a commit's transaction may show.
    private enum Sight: Hashable, Sendable {
        /// Of every account: a worker's.
        case all
        /// Of the batch's own accounts.
        case own
        /// What its caller has, whatever it names.
        case caller([AccountID])
    }

    /// A request that may come twice.
    private struct KeyName: Hashable, Sendable {
        let owner: String
        let key: String
    }

    /// A class: commits are large, and what waits is moved with every batch.
    private final class Waiting: Sendable {
        let commit: Commit
        let sight: Sight
        let done: CheckedContinuation<Result<CommitOutcome, StoreError>, Never>
        let order: OrderID
        let account: AccountID
        let key: KeyName?

        init(_ commit: Commit, _ sight: Sight, _ done: CheckedContinuation<Result<CommitOutcome, StoreError>, Never>) {
            self.commit = commit
            self.sight = sight
            self.done = done
            order = commit.next.id
            account = commit.next.account
            key = commit.idempotency.map { KeyName(owner: $0.owner, key: $0.key) }
        }
    }

    private let store: any OrderStore
    private let clock: any EngineClock
    private var waiting: [Waiting] = []
    private var running = 0
    /// Accounts and keys of the batches under way.
    private var busy: Set<AccountID> = []
    private var busyKeys: Set<KeyName> = []
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
        let sight = Self.sight(of: commit)
        let result = await withCheckedContinuation { done in
            waiting.append(Waiting(commit, sight, done))
            if running < Self.maximumRunning {
                running += 1
                // The batch must outlive the caller that happened to start it.
                Task { await self.run() }  // tidy-ok: ends when nothing waits; owned by the batcher
            }
        }
        return try result.get()
    }

    private static func sight(of commit: Commit) -> Sight {
        guard let accounts = Tenancy.accounts else { return .all }
        let account = commit.next.account
        let isOwn = accounts.contains(account) && commit.jobs.allSatisfy { $0.account == account }
        return isOwn ? .own : .caller(accounts)
    }

    private func run() async {
        while true {
            let batch = nextBatch()
            // What waits now waits for an account of the other batch, whose runner takes it.
            guard let first = batch.first else { break }
            let accounts = Set(batch.map(\.account))
            let keys = Set(batch.compactMap(\.key))
            busy.formUnion(accounts)
            busyKeys.formUnion(keys)
            let seen: [AccountID]? =
                switch first.sight {
                case .all: nil
                case .own: accounts.sorted()
                case .caller(let accounts): accounts
                }
            let result = await Tenancy.$accounts.withValue(seen) { await store(batch.map(\.commit)) }
            busy.subtract(accounts)
            busyKeys.subtract(keys)
            switch result {
            case .success(let outcomes):
                for (entry, outcome) in zip(batch, outcomes) { entry.done.resume(returning: .success(outcome)) }
            case .failure(let error):
                for entry in batch { entry.done.resume(returning: .failure(error)) }
            }
        }
        running -= 1
    }

    /// The oldest decisions of accounts that are free, at most one per order and key: a second one waits for the next
    /// batch. All of one sight; what a caller may not see goes alone.
    private func nextBatch() -> [Waiting] {
        var batch: [Waiting] = []
        var orders: Set<OrderID> = []
        var keys: Set<KeyName> = []
        var rest: [Waiting] = []
        var index = waiting.startIndex
        while index < waiting.endIndex, batch.count < Self.maximumBatch {
            let entry = waiting[index]
            index += 1
            let isAlike: Bool
            switch (batch.first?.sight, entry.sight) {
            case (nil, _), (.all?, .all), (.own?, .own): isAlike = true
            case (_, _): isAlike = false
            }
            let key = entry.key
            let isFree =
                !busy.contains(entry.account) && key.map { !busyKeys.contains($0) && !keys.contains($0) } ?? true
            guard isAlike, isFree, orders.insert(entry.order).inserted else {
                rest.append(entry)
                continue
            }
            if let key { keys.insert(key) }
            batch.append(entry)
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
