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
        present.outbox = present.outbox.mapValues { $0.copy() }
        present.shards = ShardTable()
        let kept = present
        copy.state.withLock { $0 = kept }
        return copy
    }
}
