// One-time tickets for the stream: 256 random bits, stored as their hash, valid once and for 30 s in any API process.

internal import OrderEngine

struct TicketBook: Sendable {
    static let lifeMs: Int64 = 30_000

    let panel: any PanelStore
    let keys: KeyRing

    func issue(to caller: Caller) async throws -> String {
        var random = SystemRandomNumberGenerator()
        var secret: [UInt8] = []
        for _ in 0..<32 { secret.append(UInt8.random(in: 0...255, using: &random)) }
        let ticket = base64URL(secret)
        let proof: StreamTicket.Proof =
            switch caller.proof {
            case .key: .key
            case .cookie: .signIn
            }
        try await panel.add(StreamTicket(hash: APIKey.hash(ticket), proof: proof, proofHash: caller.keyHash))
        return ticket
    }

    /// Uses a ticket up; the caller has the rights that who bought it has now.
    func redeem(_ ticket: String, address: String?) async throws -> Caller {
        guard (1...256).contains(ticket.utf8.count),
            let known = try await panel.redeem(ticketHash: APIKey.hash(ticket))
        else { throw Problem(.unauthenticated, "The ticket is unknown, used, or too old.") }
        return try await keys.caller(ticket: known, address: address)
    }
}
