// One-time tickets for the stream: 256 random bits, kept as their hash, valid once and for 30 s, in this process.

internal import OwnerThread

final class TicketBook: Sendable {
    private static let lifeNanoseconds: Int64 = 30_000_000_000
    static let lifeMs: Int64 = 30_000
    private static let maximumTickets = 10_000

    private let tickets = Locked<[String: (caller: Caller, until: Int64)]>([:])

    /// - Throws: `TOO_MANY_STREAMS` when too many tickets wait.
    func issue(to caller: Caller, now: Int64) throws(Problem) -> String {
        var random = SystemRandomNumberGenerator()
        var secret: [UInt8] = []
        for _ in 0..<32 { secret.append(UInt8.random(in: 0...255, using: &random)) }
        let ticket = base64URL(secret)
        let isTaken = tickets.withLock { tickets in
            if tickets.count >= Self.maximumTickets { tickets = tickets.filter { $0.value.until > now } }
            guard tickets.count < Self.maximumTickets else { return false }
            tickets[APIKey.hash(ticket)] = (caller, now + Self.lifeNanoseconds)
            return true
        }
        guard isTaken else { throw Problem(.tooManyStreams, "Too many tickets wait to be used.") }
        return ticket
    }

    /// Uses a ticket up.
    func redeem(_ ticket: String, now: Int64) throws(Problem) -> Caller {
        guard let known = tickets.withLock({ $0.removeValue(forKey: APIKey.hash(ticket)) }), known.until > now else {
            throw Problem(.unauthenticated, "The ticket is unknown, used, or too old.")
        }
        return known.caller
    }
}
