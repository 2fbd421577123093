// An operator's word on a request whose fate nothing proves (RELIABILITY.md 11.2: EXIT_UNRESOLVED, VENUE_NO_DEADLINE).
//
// The word takes the place of the venue's answer: claim and attempt end, and what the plan wants next is decided on. The
// look-ups may still find the opposite later; an execution that they find counts then (ORDERS.md 4.8).
public import SmartOrders

/// What an operator found at the venue.
public enum IntentVerdict: Hashable, Sendable {
    /// It never arrived.
    case absent
    /// It is over; nothing more was filled than the order knows.
    case cancelled
    /// What was open of it was filled, at this price.
    case filled(at: Price)
}

/// Why a word was not taken.
public enum ResolveError: Error, Sendable {
    case noOrder
    /// There is no such attempt, or it has ended.
    case noIntent
    /// The venue confirmed it; it cannot have been absent.
    case confirmed
    /// Its request may still arrive at the venue: the fence has not passed.
    case tooEarly
    case unavailable(String)
}

extension CommandService {
    /// Attempts of an order that were sent and have not ended.
    public func openIntents(of id: OrderID) async throws(ResolveError) -> [StoredIntent] {
        do throws(StoreError) {
            return try await context.orders.intents(of: [id], ended: false).filter { $0.token != nil }
        } catch {
            throw .unavailable(error.detail)
        }
    }

    /// Ends an attempt by an operator's word; answers with the order as it stands then.
    public func resolve(
        _ id: OrderID,
        _ key: VenueOrderKey,
        as verdict: IntentVerdict,
        actor: Actor,
    ) async throws(ResolveError) -> StoredOrder {
        do {
            for _ in 0..<5 {
                guard let row = try await context.orders.load([id]).first else { throw ResolveError.noOrder }
                guard let intent = try await openIntents(of: id).first(where: { $0.venueOrder.key == key }),
                    let known = row.venueOrders.first(where: { $0.key == key })
                else { throw ResolveError.noIntent }
                let news = try news(verdict, of: known, intent)
                var transition = Transition(row)
                let now = context.clock.now()
                let present = try await CatchUp.bring(&transition, history: history, now: now)
                let moment = Moment(
                    now: max(now, present.moment.now),
                    price: present.moment.price,
                    position: present.moment.position,
                )
                transition.learn(key, news, at: moment)
                transition.dropUnsent(at: moment)
                switch try await commit(
                    &transition,
                    actor: actor,
                    tick: present.tick,
                    idempotency: nil,
                    requestID: nil,
                ) {
                case .committed: return transition.order
                case .lost: continue
                case .keyUsed, .blocked, .refused: throw ResolveError.unavailable("The store did not take it.")
                }
            }
            throw ResolveError.unavailable("The order changes faster than the word is stored; try again.")
        } catch let error as ResolveError {
            throw error
        } catch let error as StoreError {
            throw .unavailable(error.detail)
        } catch {
            throw .unavailable("\(error)")
        }
    }

    private func news(
        _ verdict: IntentVerdict,
        of known: VenueOrder,
        _ intent: StoredIntent,
    ) throws(ResolveError) -> [VenueNews] {
        guard intent.fencePassed else { throw .tooEarly }
        switch verdict {
        case .absent:
            guard known.venueOrderID == nil, !known.filled.isPositive else { throw .confirmed }
            return [.absent]
        case .cancelled: return [.ended(.cancelled)]
        case .filled(let price):
            let open = known.quantity - known.filled
            let fill = Fill(
                venueFillID: "operator-\(intent.clientOrderID)",
                quantity: open,
                price: price,
                time: context.clock.now(),
            )
            return (open.isPositive ? [.fill(fill)] : []) + [.ended(.filled)]
        }
    }
}
