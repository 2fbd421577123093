// A backup: the database as it stands, to begin again from.
internal import OrderEngine
internal import OwnerThread
internal import SmartOrders

extension MemoryDatabase {
    /// A copy without leases; what is written afterwards is in one of the two alone.
    package func copy() -> MemoryDatabase {
        let copy = MemoryDatabase(clock: clock)
        var present = state.withLock { $0 }
        present.workers = [:]
        present.leader = nil
        let outbox = present.outbox.mapValues { $0.copy() }
        present.outbox = outbox
        present.outboxOrder = present.outboxOrder.compactMap { outbox[$0.job.id] }
        present.shards = ShardTable()
        let kept = present
        copy.state.withLock { $0 = kept }
        return copy
    }

    /// The database as an older copy of it, with the leases of now: a standby without the last commits was promoted
    /// (RELIABILITY.md 2.10).
    package func rewind(to backup: MemoryDatabase) {
        var older = backup.copy().state.withLock { $0 }
        state.withLock { state in
            older.workers = state.workers
            older.leader = state.leader
            older.leaderEpoch = state.leaderEpoch
            older.shards = state.shards
            older.incarnation = state.incarnation + 1
            state = older
        }
    }
}
