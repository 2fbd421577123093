// What every order store must do about venue orders, send rights and jobs.

package import OrderEngine
package import SmartOrders
internal import Testing

package enum IntentContract {
    private static func expectCommitted(_ stores: StoresUnderTest, _ commits: [Commit]) async throws {
        for outcome in try await stores.orders.commit(commits) { #expect(outcome.isCommitted, "\(outcome)") }
    }

    /// A commit that carries a send right stores the intent with it, and the row shows what was asked.
    package static func storesIntents(_ stores: StoresUnderTest) async throws {
        let order = try await stores.order(1, stores.account())
        let exit = order.exiting(10)
        _ = try await stores.orders.commit([.sampleExit(exit, token: 42)])
        let right = SendRight.sample(order.id, exit.venueOrders[0].key, token: 42)
        let intent = try #require(try await stores.orders.intents(of: [order.id], ended: false).first)
        #expect(intent.venueOrder == exit.venueOrders[0] && intent.token == 42 && intent.sends == 1)
        #expect(intent.clientOrderID == right.clientOrderID && intent.account == order.account)
        let found = try await stores.orders.intent(account: order.account, clientOrderID: right.clientOrderID)
        #expect(found?.order == order.id)

        var filled = exit.venueOrders[0]
        filled.state = .filled
        filled.filled = filled.quantity
        filled.venueOrderID = "v1"
        let ended = exit.next { order in
            order.venueOrders = []
            order.exited = order.entered
            order.status = .stopped
            order.phase = nil
        }
        try await expectCommitted(stores, [.sample(ended, venueOrders: [filled])])
        #expect(try await stores.orders.intents(of: [order.id], ended: false).isEmpty)
        let last = try #require(try await stores.orders.intents(of: [order.id], ended: true).first)
        #expect(last.venueOrder == filled && last.token == 42)
    }

    /// A stored INTENT is sent by exactly one of 16.
    package static func sendRightHasOneWinner(_ stores: StoresUnderTest) async throws {
        let (intent, key) = try await waiting(stores)
        let winners = try await withThrowingTaskGroup(of: Int64?.self) { group in
            for racer in 1...16 {
                group.addTask {
                    let right = SendRight.sample(intent.order, key, token: Int64(racer))
                    return try await stores.orders.claimSend(intent, right) ? Int64(racer) : nil
                }
            }
            return try await group.reduce(into: [Int64]()) { if let winner = $1 { $0.append(winner) } }
        }
        #expect(winners.count == 1)
        let now = try #require(try await stores.orders.intents(of: [intent.order], ended: false).first)
        #expect(now.token == winners.first && now.sends == 1 && now.venueOrder.state == .submitted)
        // Whose answer was lost asks again and hears the same.
        let winner = SendRight.sample(intent.order, key, token: winners[0])
        #expect(try await stores.orders.claimSend(intent, winner))
    }

    /// A repeat needs two absences after the fence, and then again one winner.
    package static func repeatNeedsProof(_ stores: StoresUnderTest) async throws {
        let (waiting, key) = try await waiting(stores)
        let first = SendRight.sample(waiting.order, key, token: 1, fenceMs: 0)
        #expect(try await stores.orders.claimSend(waiting, first))
        let again = SendRight.sample(waiting.order, key, token: 2, fenceMs: 60_000)
        var intent = try await only(stores, waiting.order)
        #expect(try await stores.orders.claimSend(intent, again) == false, "no absence yet")
        let counted = ContinuousClock.now
        #expect(try await stores.orders.noteCheck(intent, absent: true, delayMs: 0))
        #expect(try await stores.orders.noteCheck(intent, absent: true, delayMs: 0) == false, "counted by one only")
        intent = try await only(stores, waiting.order)
        #expect(intent.checks == 1 && intent.absences == 1 && intent.fencePassed)
        #expect(try await stores.orders.noteCheck(intent, absent: true, delayMs: 0))
        intent = try await only(stores, waiting.order)
        // A machine that stood still in between makes the second one count.
        let isSoon = ContinuousClock.now - counted < .milliseconds(450)
        #expect(intent.checks == 2 && (intent.absences == 1 || !isSoon), "less than 500 ms after the first")
        while intent.absences < 2 {
            try await Task.sleep(for: .milliseconds(50))
            _ = try await stores.orders.noteCheck(intent, absent: true, delayMs: 0)
            intent = try await only(stores, waiting.order)
        }
        #expect(try await stores.orders.claimSend(intent, again))
        intent = try await only(stores, waiting.order)
        #expect(intent.sends == 2 && intent.token == 2 && intent.absences == 0 && !intent.fencePassed)
        // Within the fence an absence is no evidence.
        #expect(try await stores.orders.noteCheck(intent, absent: true, delayMs: 0))
        #expect(try await only(stores, waiting.order).absences == 0)
    }

    /// What is due comes up, most urgent first; what was looked at waits.
    package static func sweepFindsDueWork(_ stores: StoresUnderTest) async throws {
        let account = try await stores.account()
        // A latched stop with nothing under way, an unanswered target, a moment that has come, and one that is quiet.
        let latched = try await stores.order(1, account).next { order in
            order.latch = Latch(kind: .fixed, price: Price(ExactDecimal(95)), position: .start, time: order.updatedAt)
            order.phase = .stopping
            order.stopState = .latched
            order.updatedAt = Timestamp(milliseconds: 1_700_000_000_000)
        }
        let asked = try await stores.order(2, account).exiting(5, leg: .takeProfit(1))
        let quiet = try await stores.order(3, account).next()
        _ = try await stores.orders.commit([
            .sample(latched), .sampleExit(asked, token: 9), .sample(quiet),
        ])
        let intent = try await only(stores, asked.id)
        #expect(try await stores.orders.noteCheck(intent, absent: false, delayMs: -1))
        let jobs = try await stores.orders.dueWork(limit: 10)
        #expect(jobs.map(\.id.order) == [latched.id, asked.id])
        #expect(jobs.map(\.jobClass) == [.stops, .targets])
        #expect(jobs.first?.id.leg == .stop && jobs.first?.id.attempt == 1 && jobs.first?.version == 2)
        #expect(jobs.last?.name == .check && jobs.last?.id.check == 2 && jobs.last?.account == account)
        #expect(try await stores.orders.dueWork(limit: 1).map(\.id.order) == [latched.id])
        let looked = try await only(stores, asked.id)
        #expect(try await stores.orders.noteCheck(looked, absent: false, delayMs: 60_000))
        #expect(try await stores.orders.dueWork(limit: 10).map(\.id.order) == [latched.id])
    }

    /// However much rests at venues and is due to be looked at, a stop in doubt comes first; so does a target in doubt.
    package static func restingNeverHidesDoubt(_ stores: StoresUnderTest) async throws {
        let account = try await stores.account()
        func due(_ number: Int, _ leg: Leg, resting: Bool, agoMs: Int64) async throws -> OrderID {
            let asked = try await stores.order(number, account).exiting(5, leg: leg)
            try await expectCommitted(stores, [.sampleExit(asked, token: Int64(number))])
            if resting {
                let open = asked.next { $0.venueOrders[0].state = .open }
                try await expectCommitted(stores, [.sample(open, venueOrders: open.venueOrders)])
            }
            let intent = try await only(stores, asked.id)
            #expect(try await stores.orders.noteCheck(intent, absent: false, delayMs: -agoMs))
            return asked.id
        }
        for number in 1...6 { _ = try await due(number, .takeProfit(1), resting: true, agoMs: 60_000) }
        let target = try await due(7, .takeProfit(1), resting: false, agoMs: 1_000)
        let stop = try await due(8, .stop, resting: false, agoMs: 1)
        #expect(try await stores.orders.dueWork(limit: 3).prefix(2).map(\.id.order) == [stop, target])
        #expect(try await stores.orders.dueWork(limit: 3).count == 3)
    }

    /// FA99: what was proven absent is looked at for some minutes more, also when its order has ended.
    package static func absentIsLookedAt(_ stores: StoresUnderTest) async throws {
        let asked = try await stores.order(1, stores.account()).next { order in
            order.venueOrders = [.sampleExit(.stop, 1, 10, at: RealClock().now())]
            order.attempts[.stop] = 1
        }
        try await expectCommitted(stores, [.sampleExit(asked, token: 1)])
        var absent = asked.venueOrders[0]
        absent.state = .absent
        let ended = asked.next { order in
            order.venueOrders = []
            order.exited = order.entered
            order.status = .stopped
            order.phase = nil
        }
        try await expectCommitted(stores, [.sample(ended, venueOrders: [absent])])
        #expect(try await stores.orders.dueWork(limit: 10).isEmpty)
        let intent = try #require(try await stores.orders.intents(of: [asked.id], ended: true).first)
        #expect(try await stores.orders.noteCheck(intent, absent: false, delayMs: -1))
        let job = try #require(try await stores.orders.dueWork(limit: 10).first)
        #expect(job.name == .check && job.id.leg == .stop && job.id.attempt == 1)
        let looked = try #require(try await stores.orders.intents(of: [asked.id], ended: true).first)
        #expect(try await stores.orders.noteCheck(looked, absent: false, delayMs: 60_000))
        #expect(try await stores.orders.dueWork(limit: 10).isEmpty)
    }

    package static func outboxKeepsJobs(_ stores: StoresUnderTest) async throws {
        let order = try await stores.order(1, stores.account())
        func job(_ attempt: Int, _ jobClass: JobClass) -> Job {
            Job(
                id: JobID(order: order.id, leg: .stop, attempt: attempt),
                name: .trigger,
                jobClass: jobClass,
                version: 1,
                market: order.instrument.market,
                source: .mark,
                position: TickPosition(venueTime: 17, sequence: 4),
            )
        }
        let first = job(1, .targets)
        try await expectCommitted(stores, [.sample(order.next(), jobs: [first])])
        // A lost commit stores no job.
        #expect(try await stores.orders.commit([.sample(order.next(), jobs: [job(5, .stops)])]) == [.lost])
        try await stores.orders.storeJobs([job(2, .stops), first])
        #expect(try await stores.orders.unofferedJobs(limit: 10) == [job(2, .stops), first])
        try await stores.orders.markOffered([first.id])
        #expect(try await stores.orders.unofferedJobs(limit: 10) == [job(2, .stops)])
        #expect(try await stores.orders.takeUnoffered(limit: 10) == [job(2, .stops)])
        #expect(try await stores.orders.takeUnoffered(limit: 10).isEmpty, "leased")
        try await stores.orders.closeJobs([first.id, job(2, .stops).id])
        #expect(try await stores.orders.unofferedJobs(limit: 10).isEmpty)
        // The evaluator says that it is needed after all.
        try await stores.orders.storeJobs([first])
        #expect(try await stores.orders.takeUnoffered(limit: 10) == [first])
    }

    /// An order with an INTENT that has no send right yet.
    package static func waiting(_ stores: StoresUnderTest) async throws -> (StoredIntent, VenueOrderKey) {
        let order = try await stores.order(1, stores.account())
        let next = order.next { order in
            order.venueOrders.append(.sampleExit(.stop, 1, 10, state: .intent, at: order.updatedAt))
        }
        try await expectCommitted(stores, [.sample(next)])
        let intent = try await only(stores, order.id)
        #expect(intent.token == nil && intent.sends == 0 && intent.venueOrder.state == .intent)
        return (intent, next.venueOrders[0].key)
    }

    package static func only(_ stores: StoresUnderTest, _ order: OrderID) async throws -> StoredIntent {
        let intents = try await stores.orders.intents(of: [order], ended: false)
        try #require(intents.count == 1)
        return intents[0]
    }
}
