// The last good address of each venue's host, for the time that its name cannot be resolved (RELIABILITY.md 6.7, FA77): an
// exit must not wait for somebody else's name server.
//
// Cost: a look-up a minute and host, on a thread of its own; nothing on a request's way.

internal import NIOPosix
internal import OwnerThread

/// Remembers addresses for ten minutes.
final class AddressMemory: Sendable {
    typealias Resolver = @Sendable (_ host: String) throws -> [String]

    /// How long an address is used after its name was resolved to it.
    static let lifetime = Duration.seconds(600)
    /// How often a name in use is looked up.
    static let period = Duration.seconds(60)
    /// The most hosts that are remembered.
    private static let limit = 64

    private struct Entry {
        var address: String?
        var resolvedAt = ContinuousClock.now
        var lookedAt = ContinuousClock.now
    }

    private let resolve: Resolver
    private let entries = Locked<[String: Entry]>([:])

    init(_ resolve: @escaping Resolver) { self.resolve = resolve }

    /// A host that answered just now: its address is looked up in the background when that is due.
    func note(_ host: String) {
        let isDue = entries.withLock { entries in
            let now = ContinuousClock.now
            guard var entry = entries[host] else {
                guard entries.count < Self.limit else { return false }
                entries[host] = Entry()
                return true
            }
            guard now - entry.lookedAt >= Self.period else { return false }
            entry.lookedAt = now
            entries[host] = entry
            return true
        }
        guard isDue else { return }
        let resolve = resolve
        NIOThreadPool.singleton.submit { state in
            guard case .active = state else { return }
            let found: String?
            // The address that is known stays.
            do { found = try resolve(host).first } catch { return }
            guard let address = found else { return }
            self.entries.withLock { entries in
                entries[host]?.address = address
                entries[host]?.resolvedAt = .now
            }
        }
    }

    /// The last good address; nil: none is known, or it is older than ten minutes.
    func address(_ host: String) -> String? {
        entries.withLock { entries in
            guard let entry = entries[host], ContinuousClock.now - entry.resolvedAt < Self.lifetime else { return nil }
            return entry.address
        }
    }
}
