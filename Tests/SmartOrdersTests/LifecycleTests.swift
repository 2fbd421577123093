import SmartOrders
import Testing

struct LifecycleTests {
    static let events: [OrderEvent] = {
        var events: [OrderEvent] = [
            .tick, .timer, .position(net: .zero, average: nil), .position(net: "-3", average: nil),
            .position(net: "20", average: price("99")), .market(Instrument.test(tickSize: "0.5").terms),
        ]
        var edit = OrderEdit()
        edit.stopLoss = StopLossPlan(price: price("50"))
        let commands: [Command] = [
            .cancel, .cancelLeavingEntry, .cancelEntry, .closeMarket, .closeLevel(1), .openNow,
            .addFunds(quantity("1"), limitPrice: nil), .reduceFunds(quantity("1")), .edit(edit),
        ]
        events += commands.map { .command($0) }
        let fill = Fill(
            venueFillID: "x",
            quantity: quantity("1"),
            price: price("100"),
            time: Timestamp(milliseconds: 1),
        )
        let refusals: [VenueNews.RefusalKind] = [
            .rejected, .insufficientBalance, .rateLimited, .priceOutOfBand, .credentials,
        ]
        var news: [VenueNews] = [
            .accepted(venueOrderID: "v"), .fill(fill), .ended(.filled), .ended(.expired), .ended(.cancelled), .notSent,
            .unknown, .absent,
        ]
        news += refusals.map { .refused($0, venueCode: "c") }
        for leg in [Leg.entry, .takeProfit(1), .stop, .partialStop(1), .close, .reduce, .add] {
            events += news.map { .venue(key(leg), $0) }
            events.append(.cancelFailed(key(leg)))
            events.append(.trigger(leg, attempt: 1))
        }
        return events
    }()

    @Test(arguments: Stand.allCases)
    func `every event has an answer in every stand, and the table knows every change`(_ stand: Stand) throws {
        let desk = try stand.desk()
        for event in Self.events {
            for at in ["100", "95", "105", "50", "200"] {
                var moment = desk.moment
                moment = Moment(now: moment.now.advanced(milliseconds: 40_000), price: price(at))
                let decision: Decision?
                do {
                    decision = try desk.order.decide(event, at: moment)
                } catch {
                    if case .command = event { continue }
                    Issue.record("\(event) was refused while \(stand)")
                    continue
                }
                guard let decision else { continue }
                #expect(decision.next.version == desk.order.version + 1)
                var from = desk.order.status
                for case .statusChanged(let was, let to, let reason) in decision.facts {
                    #expect(was == from)
                    #expect(
                        Lifecycle.allows(from: was, to: to, cause: event.cause, reason: reason),
                        "\(was) -> \(to) \(reason?.rawValue ?? "") by \(event)",
                    )
                    from = to
                }
                #expect(from == decision.next.status)
                if desk.order.status.isTerminal { #expect(decision.effects.isEmpty) }
            }
        }
    }

    @Test func `no row leads out of an ended order`() {
        for row in Lifecycle.transitions {
            #expect(row.from?.isTerminal != true)
            #expect(row.to.isTerminal == !row.reasons.isEmpty)
        }
    }

    @Test func `news told twice changes nothing the second time`() throws {
        for stand in Stand.allCases {
            let desk = try stand.desk()
            for event in Self.events {
                guard case .venue(_, let news) = event, let once = try desk.order.decide(event, at: desk.moment) else {
                    continue
                }
                // Fills are told once each; the caller knows their ids.
                if case .fill = news { continue }
                let twice = try once.next.decide(event, at: desk.moment)
                #expect(twice == nil, "\(event) while \(stand)")
            }
        }
    }

    @Test func `quiet ticks before an order was active do not count`() throws {
        var desk = try Stand.entryWorking.desk()
        desk.quietTick("120")
        desk.fill(key(.entry), "10", at: "100")
        #expect(desk.order.extreme == price("100"))
        var absorbed = desk.order
        absorbed.absorb(extreme: price("103"), upTo: TickPosition(venueTime: 5, sequence: 1))
        #expect(absorbed.extreme == price("103"))
        #expect(absorbed.extremePosition == TickPosition(venueTime: 5, sequence: 1))
    }
}
