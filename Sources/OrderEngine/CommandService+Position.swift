// The take-profit and stop of a whole position (ORDERS.md 5.2, S3-12): an attached order that follows the position, one
// per position; two at once are told apart by the store.
public import SmartOrders

/// What an account holds in a market, as far as the venue says.
public enum PositionReading: Hashable, Sendable {
    case held(Side, ExactDecimal)
    case nothing
    /// A hedged account holds both sides.
    case bothSides
}

extension CommandService {
    /// The orders that follow a position of the market: at most one for each side.
    public func positionOrders(account: AccountID, market: MarketID) async throws(CommandError) -> [SmartOrder] {
        do {
            let whole = try await context.orders.shares(account: account, market: market, except: nil).filter(\.isWhole)
            return try await context.orders.load(whole.map(\.oldest))
                .compactMap(\.smart).filter { $0.draft.sizeMode == .position && !$0.status.isTerminal }
        } catch {
            throw Self.commandError(error)
        }
    }

    /// What is held now.
    /// - Parameter side: the only one to look at; nil: whichever there is.
    /// - Throws: `venueUnavailable`: the venue does not say.
    public func position(
        account: AccountID,
        market: MarketID,
        side: Side?,
    ) async throws(CommandError) -> (reading: PositionReading, isHedged: Bool) {
        let venue: any Venue
        do throws(VenueError) {
            venue = try await context.venues.venue(for: account)
        } catch {
            throw CommandError.venueUnavailable
        }
        var held: [(Side, ExactDecimal)] = []
        for one in side.map({ [$0] }) ?? [.buy, .sell] {
            guard let holding = await venue.holding(market: market, side: one, fresh: true) else {
                throw CommandError.venueUnavailable
            }
            let there = one.quantity(ofPosition: holding.quantity)
            if there.isPositive { held.append((one, there)) }
        }
        guard let first = held.first else { return (.nothing, venue.isHedged) }
        return (held.count > 1 ? .bothSides : .held(first.0, first.1), venue.isHedged)
    }

    /// The answer that a request with this key had; nil: it is new.
    public func known(_ idempotency: IdempotencyRecord?) async throws(CommandError) -> CommandAnswer? {
        guard let idempotency else { return nil }
        do {
            return try await replay(idempotency)
        } catch {
            throw Self.commandError(error)
        }
    }

    /// The store keeps one order per position that follows it.
    static let wholePositionConstraint = "orders_whole_position"

    static let positionIsTaken = Refusal(
        .positionTPSLExists,
        field: "sizeMode",
        "The position has its take-profit and stop already; edit that order.",
    )
}
