// Which history of the database a stream's positions are of (INTERFACES.md 0, 2.4).

internal import OwnerThread

/// The number of the database's history, as this process knows it. It only grows.
final class StreamEpoch: Sendable {
    private let number: Locked<Int64>

    init(_ number: Int64) {
        self.number = Locked(number)
    }

    var now: Int64 { number.withLock { $0 } }

    /// False: it is known already.
    func raise(to present: Int64) -> Bool {
        number.withLock { number in
            guard present > number else { return false }
            number = present
            return true
        }
    }
}
