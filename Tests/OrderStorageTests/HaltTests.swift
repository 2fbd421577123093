import OrderEngine
import OrderStorage
import PostgresClient
import SmartOrders
import TestKit
import Testing

@Suite(.serialized) struct `Halts and histories` {
    private static let scopes: [(scope: Halt.Scope, subject: String)] = [
        (.cluster, ""), (.venue, "paper"), (.market, "paper:linear:DEMO"), (.account, "\(AccountID.sample(1))"),
        (.order, "\(OrderID.sample(1))"),
    ]

    @Test func `a halt of any scope stops sends and lets facts pass`() async throws {
        try await withStores { stores, pool in
            let account = try await stores.account()
            var order = try await stores.order(1, account)
            for (number, (scope, subject)) in Self.scopes.enumerated() {
                let halt = Halt(scope: scope, subject: subject, level: .sends, reason: "test", actor: "me")
                try await halt.set(pool)
                let exit = Commit.sampleExit(order.exiting(1, attempt: number + 1), token: 1)
                #expect(try await stores.orders.commit([exit]) == [.blocked], "\(scope)")
                let fact = order.next()
                #expect(try await stores.orders.commit([.sample(fact)])[0].isCommitted, "\(scope)")
                order = fact
                try await Halt.lift(pool, scope: scope, subject: subject)
            }
            #expect(try await Halt.all(pool).isEmpty)
            #expect(try await stores.orders.commit([.sampleExit(order.exiting(1), token: 1)])[0].isCommitted)
        }
    }

    @Test func `a halt of entries lets exits pass`() async throws {
        try await withStores { stores, pool in
            let account = try await stores.account()
            let order = try await stores.order(1, account)
            try await Halt(scope: .cluster, subject: "", level: .entries, reason: "test", actor: "me").set(pool)
            let entry = order.next { order in
                let exit = VenueOrder.sampleExit(.add, 1, 1, at: order.updatedAt)
                order.venueOrders.append(
                    VenueOrder(
                        leg: .add,
                        attempt: 1,
                        side: .buy,
                        type: .market,
                        quantity: exit.quantity,
                        limit: nil,
                        reduceOnly: false,
                        state: .submitted,
                        createdAt: exit.createdAt,
                    )
                )
            }
            #expect(try await stores.orders.commit([.sampleExit(entry, token: 1)]) == [.blocked])
            #expect(try await stores.orders.commit([.sampleExit(order.exiting(1), token: 1)])[0].isCommitted)
        }
    }

    @Test func `the cluster halts an account once, and leaves an operator's halt as it is`() async throws {
        try await withStores { stores, pool in
            let account = try await stores.account()
            for reason in ["UNKNOWN_VENUE_ORDER: 1", "UNKNOWN_VENUE_ORDER: 2"] {
                try await stores.cluster.haltEntries(of: account, reason: reason)
            }
            let halts = try await Halt.all(pool)
            #expect(halts.map(\.reason) == ["UNKNOWN_VENUE_ORDER: 1"] && halts.map(\.level) == [.entries])
            let inForce = HaltInForce(scope: .account, subject: "\(account)", level: .entries)
            #expect(try await stores.cluster.halts() == [inForce])
            let told = try await pool.query(
                Statement(sql: "SELECT reason FROM audit WHERE action = 'halt.entries' AND actor = 'worker'")
            )
            #expect(try told.map { try $0.string(0) } == ["UNKNOWN_VENUE_ORDER: 1"])
            try await Halt.lift(pool, scope: .account, subject: "\(account)")
            try await Halt(scope: .account, subject: "\(account)", level: .sends, reason: "mine", actor: "me").set(pool)
            try await stores.cluster.haltEntries(of: account, reason: "UNKNOWN_VENUE_ORDER: 3")
            #expect(try await Halt.all(pool).map(\.level) == [.sends])
        }
    }

    @Test func `a restored database is in quarantine and forgets old decisions`() async throws {
        try await withStores { stores, pool in
            let order = try await stores.order(1, stores.account())
            let before = try await DatabaseHistory.check(pool)
            #expect(!before.isNew)
            // As if the server had been promoted: the control row names another timeline.
            _ = try await pool.query(Statement(sql: "UPDATE control SET timeline = 'FFFFFFFF'"))
            let after = try await DatabaseHistory.check(pool)
            #expect(after.isNew && after.incarnation == before.incarnation + 1)
            #expect(after.queueGeneration == before.queueGeneration + 1)
            #expect(try await DatabaseHistory.check(pool).isNew == false)

            // A decision on a row of the old incarnation is lost; the next one is not.
            #expect(try await stores.orders.commit([.sample(order.next())]) == [.lost])
            #expect(try await stores.orders.commit([.sample(order.next())])[0].isCommitted)
            // Until the fence has passed since then nothing is sent.
            let exit = order.next().exiting(1)
            let right = SendRight.sample(order.id, exit.venueOrders[0].key, token: 1, fenceMs: 60_000)
            #expect(try await stores.orders.commit([.sample(exit, sendRights: [right])]) == [.blocked])
        }
    }

    /// FA62: between the promotion and the first heartbeat.
    @Test func `before anybody has noticed a promotion nothing is sent`() async throws {
        try await withStores { stores, pool in
            let order = try await stores.order(1, stores.account())
            let waiting = try await stores.order(2, order.account).next { order in
                order.venueOrders = [.sampleExit(.stop, 1, 1, state: .intent, at: order.updatedAt)]
            }
            #expect(
                try await stores.orders.commit([.sample(waiting, venueOrders: waiting.venueOrders)])[0].isCommitted
            )
            let intent = try #require(try await stores.orders.intents(of: [waiting.id], ended: false).first)
            _ = try await pool.query(Statement(sql: "UPDATE control SET timeline = 'FFFFFFFF'"))
            #expect(try await stores.orders.commit([.sampleExit(order.exiting(1), token: 1)]) == [.lost])
            let right = SendRight.sample(waiting.id, intent.venueOrder.key, token: 2)
            #expect(try await stores.orders.claimSend(intent, right) == false)
            // Facts are stored in any history.
            #expect(try await stores.orders.commit([.sample(order.next())])[0].isCommitted)
        }
    }

    @Test func `orders of a lost history are listed until each was compared with its venue`() async throws {
        try await withStores { stores, pool in
            let order = try await stores.order(1, stores.account())
            let recovery = try #require(stores.orders as? PostgresOrderStore)
            #expect(recovery.historyBegan == nil)
            #expect(try await recovery.unrecovered(limit: 10).isEmpty)
            _ = try await pool.query(Statement(sql: "UPDATE control SET timeline = 'FFFFFFFF'"))
            #expect(try await DatabaseHistory.check(pool).began != nil)
            // The first decision is lost, and whoever made it knows from then on.
            #expect(try await stores.orders.commit([.sample(order.next())]) == [.lost])
            #expect(recovery.historyBegan != nil)
            #expect(try await recovery.recoveryState(of: order.id, fenceMs: 60_000) == .waiting)
            _ = try await pool.query(
                Statement(sql: "UPDATE control SET quarantine_from = quarantine_from - interval '70 s'")
            )
            let created = "UPDATE orders SET created_at = clock_timestamp() - interval '1 hour', version = version + 1"
            _ = try await pool.query(Statement(sql: created))
            #expect(try await recovery.recoveryState(of: order.id, fenceMs: 60_000) == .due)
            #expect(try await recovery.unrecovered(limit: 10).map(\.id.order) == [order.id])
            try await recovery.setRecovered(order.id, of: order.account, found: 2)
            #expect(try await recovery.recoveryState(of: order.id, fenceMs: 60_000) == .recovered)
            #expect(try await recovery.unrecovered(limit: 10).isEmpty)
            // Another loss: everything is in question again.
            _ = try await pool.query(Statement(sql: "UPDATE control SET timeline = 'FFFFFFFE'"))
            #expect(try await DatabaseHistory.check(pool).isNew)
            _ = try await stores.orders.commit([.sample(order.next())])
            #expect(try await recovery.recoveryState(of: order.id, fenceMs: 60_000) == .waiting)
        }
    }

    @Test func `a copied database holds its live accounts`() async throws {
        try await withStores { stores, pool in
            let live = Account(id: .sample(2), name: "live", venue: "binance", product: "linear", mode: .live)
            try await stores.accounts.create(live, credentials: Credentials(key: "k", secret: "s"))
            _ = try await stores.account()
            _ = try await pool.query(Statement(sql: "UPDATE control SET system_identifier = 1"))
            #expect(try await DatabaseHistory.check(pool).isNew)
            #expect(try await Halt.all(pool).map(\.subject) == ["\(live.id)"])
        }
    }

    @Test func `credentials are not in the database as they are`() async throws {
        try await withStores { stores, pool in
            let account = Account(id: .sample(2), name: "live", venue: "binance", product: "linear", mode: .live)
            let keys = Credentials(key: "visible-key", secret: "visible-secret")
            try await stores.accounts.create(account, credentials: keys)
            let rows = try await pool.query(Statement(sql: "SELECT encode(sealed, 'escape') FROM credentials"))
            #expect(try !rows[0].string(0).contains("visible"))
        }
    }
}
