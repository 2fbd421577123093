// A database that was restored, copied or promoted no longer knows what it asked of the venues (RELIABILITY.md 2.10).
public import SmartOrders

/// How far an order of a lost history is.
public enum RecoveryState: Hashable, Sendable {
    /// Requests of the lost history may still arrive at the venue.
    case waiting
    /// It is to be compared with the venue now.
    case due
    /// It was.
    case recovered
}

public protocol RecoveryStore: Sendable {
    /// When the present history began; nil: it is the first. At least as new as what decisions are stored in.
    var historyBegan: Timestamp? { get }
    /// - Parameter fenceMs: of the order's venue.
    func recoveryState(of order: OrderID, fenceMs: Int64) async throws(StoreError) -> RecoveryState
    /// - Parameter found: attempts that the row did not know.
    func setRecovered(_ order: OrderID, of account: AccountID, found: Int) async throws(StoreError)
    /// Live orders of a lost history that were not compared yet, latched ones first, as jobs.
    func unrecovered(limit: Int) async throws(StoreError) -> [Job]
}
