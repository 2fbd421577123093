// How much of a process one client address may have at a time (INTERFACES.md 1.8, 2.5).
//
// Limits: an entry per address that has something; what has nothing is forgotten.

internal import OwnerThread

/// Counts what addresses have: connections, streams, requests in work.
final class AddressBook: Sendable {
    private let counts = Locked<[String: Int]>([:])

    /// Takes a place.
    /// - Parameter limit: places of the address.
    /// - Returns: false: it has as many, and nothing was taken.
    func admit(_ address: String, limit: Int) -> Bool {
        counts.withLock { counts in
            let count = counts[address, default: 0]
            guard count < limit else { return false }
            counts[address] = count + 1
            return true
        }
    }

    /// Gives a place back.
    func release(_ address: String) {
        counts.withLock { counts in
            let left = counts[address, default: 1] - 1
            counts[address] = left > 0 ? left : nil
        }
    }
}
