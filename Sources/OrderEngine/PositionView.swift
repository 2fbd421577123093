// What the venue and the store say of the place where an order is to be created (ORDERS.md 6.1, R16.4, 5.2).
//
// Read before the checks, by whoever can reach the venue. What is not known is not checked: an exit plan for what is held
// stands between nobody and less risk, and each exit is fitted to the position when it is sent.
internal import SmartOrders

struct PositionView {
    private var holding: Holding?
    private var managed: Quantity = .zero
    /// The oldest order of the other direction on a netted position.
    private var opposite: OrderID?
    /// The order that has the size of the position.
    private var positionOrder: OrderID?
    private var freeBalance: ExactDecimal?
    private var resting: RestingOrder?
    private var isFollowing = false

    static let isManaged = Refusal(
        .entryNotAdoptable,
        field: "entry.venueOrder",
        "Another order manages it already.",
    )

    /// Cost: at most two look-ups in the store; for `attach` one or two requests to the venue too.
    /// - Parameter known: what the store said of the market with the account; nil: it is asked.
    static func read(
        for draft: Draft,
        instrument: Instrument,
        account: AccountID,
        sides known: PositionSides?,
        _ context: EngineContext,
    ) async throws -> PositionView {
        var view = PositionView()
        let venue: any Venue
        do throws(VenueError) {
            venue = try await context.venues.venue(for: account)
        } catch {
            guard draft.entry.venueOrder == nil else {
                throw CommandError.unavailable("The venue cannot be asked for the order to adopt: \(error.detail)")
            }
            return view
        }
        let market = instrument.market
        let isAttached = draft.entry.mode == .attach
        let isFollowing = draft.sizeMode == .position
        var shares: [PositionShare] = []
        // What an exit plan for what is held has to know of the others is how much they own.
        if known == nil || isAttached {
            shares = try await context.orders.shares(account: account, market: market, except: nil)
        }
        let sides = isAttached ? PositionSides(shares) : known ?? PositionSides(shares)
        if instrument.kind.isDerivative, !venue.isHedged {
            view.opposite = draft.side == .buy ? sides.oldestSell : sides.oldestBuy
        }
        view.positionOrder = draft.side == .buy ? sides.wholeBuy : sides.wholeSell
        guard isAttached else {
            if !instrument.kind.isDerivative {
                let coin = draft.side == .buy ? instrument.quoteAsset : instrument.baseAsset
                view.freeBalance = await venue.freeBalance(asset: coin)
            }
            return view
        }
        if let id = draft.entry.venueOrder {
            try await view.adopt(id, market, venue, account, context)
            return view
        }
        view.managed = shares.filter { $0.side == draft.side }.reduce(.zero) { $0 + $1.remaining }
        view.holding = await venue.holding(market: market, side: draft.side, fresh: true)
        view.isFollowing = isFollowing
        return view
    }

    private mutating func adopt(
        _ id: String,
        _ market: MarketID,
        _ venue: any Venue,
        _ account: AccountID,
        _ context: EngineContext,
    ) async throws {
        do throws(VenueError) {
            resting = try await venue.resting(market: market, venueOrderID: id)
        } catch {
            throw CommandError.unavailable("The venue cannot be asked for the order to adopt: \(error.detail)")
        }
        guard let resting else { return }
        let owner = try await context.orders.intent(account: account, clientOrderID: resting.clientOrderID)
        if owner != nil { throw CommandError.refused([Self.isManaged]) }
    }

    func bound(_ bounds: inout CreationBounds) {
        bounds.hasOpposite = opposite != nil
        bounds.hasPositionOrder = positionOrder != nil
        bounds.managedElsewhere = managed
        bounds.positionAverage = holding?.average
        bounds.freeBalance = freeBalance
        bounds.adopted = resting?.order
    }

    /// A refusal because of another order says which one.
    func naming(_ refusal: Refusal) -> Refusal {
        let other: OrderID?
        if refusal.code == .positionSideConflict {
            other = opposite
        } else if refusal.code == .positionTPSLExists {
            other = positionOrder
        } else {
            return refusal
        }
        return refusal.with(["orderId": other.map { .text($0.description) } ?? .none])
    }

    func placed(_ moment: Moment) -> Moment {
        moment.with(Holdings(held: holding?.quantity, claimedElsewhere: .zero))
    }

    /// An order with the size of the position has all of it from the start.
    func follow(_ transition: inout Transition, at moment: Moment) {
        guard isFollowing, let holding else { return }
        do throws(Refusal) {
            _ = try transition.apply(.position(net: holding.quantity, average: holding.average), at: moment)
        } catch {
            preconditionFailure("a fact was refused: \(error.code.rawValue)")
        }
    }

    /// The adopted order is at the venue already, under a name that is not ours: it is stored as sent.
    func adoptedRight(random: @Sendable () -> UInt64, at now: Timestamp) -> SendRight? {
        resting.map { resting in
            SendRight(
                key: VenueOrderKey(leg: .entry, attempt: 1),
                clientOrderID: resting.clientOrderID,
                token: Int64(bitPattern: random()),
                t0: now,
                fenceMs: 0,
            )
        }
    }
}
