// The paper venue as each class of venue (RELIABILITY.md 2.7), seen through the adapter.

import Exchanges
import OrderEngine
import PaperVenue
import Simulation
import SmartOrders
import TestKit
import Testing

@Suite struct `The paper venue as a class of venue` {
    @Test(arguments: AccountKind.allCases)
    func `with deadlines refuses what is late, without takes it`(_ kind: AccountKind) async throws {
        try await withRig(kind) { rig async throws in
            await rig.price("100", "50")
            let old = rig.venue.venueTime().advanced(milliseconds: -10_000)
            let late = rig.placement("l1", .buy, .market, "1", t0: old)
            #expect(await rig.venue.place(late).refusal == .rateLimited)
            #expect(await rig.lookUp("l1") == .notFound)
            try await rig.control(#"{"deadlines":"ignored"}"#)
            #expect(await rig.venue.place(late).snapshot?.state == .filled)
            // Questions keep their window.
            #expect(await rig.lookUp("l1").snapshot?.state == .filled)
            try await rig.control(#"{"deadlines":"enforced"}"#)
            let again = rig.placement("l2", .buy, .market, "1", t0: old)
            #expect(await rig.venue.place(again).refusal == .rateLimited)
        }
    }

    @Test(arguments: AccountKind.allCases)
    func `answers a repeated id with its first order`(_ kind: AccountKind) async throws {
        try await withRig(kind) { rig async throws in
            await rig.price("100", "50")
            try await rig.control(#"{"clientIds":"returnsFirst"}"#)
            for type in [VenueOrderType.market, .goodTillCancelled] {
                let limit = type == .market ? nil : "90"
                let placement = rig.placement("r-\(type.rawValue)", .buy, type, "1", limit: limit)
                let first = try #require(await rig.venue.place(placement).snapshot)
                let second = try #require(await rig.venue.place(placement).snapshot)
                #expect(second == first, "\(type)")
            }
            let executions = await rig.venue.executions(
                market: rig.kind.market,
                since: rig.venue.venueTime().advanced(milliseconds: -60_000),
            )
            #expect(executions?.map(\.quantity) == [Quantity(dec("1"))] && executions?.map(\.side) == [.buy])
        }
    }

    @Test(arguments: AccountKind.allCases)
    func `tells the executions since a moment, by order and side`(_ kind: AccountKind) async throws {
        try await withRig(kind) { rig async throws in
            await rig.price("100", "50")
            let bought = await rig.venue.place(rig.placement("e1", .buy, .market, "2")).snapshot
            let sold = await rig.venue.place(rig.placement("e2", .sell, .market, "1", isExit: true)).snapshot
            func since(_ ago: Int64) async -> [VenueExecution]? {
                let moment = rig.venue.venueTime().advanced(milliseconds: -ago)
                return await rig.venue.executions(market: rig.kind.market, since: moment)
            }
            #expect(
                await since(60_000) == [
                    VenueExecution(venueOrderID: bought?.venueOrderID ?? "", side: .buy, quantity: Quantity(dec("2"))),
                    VenueExecution(venueOrderID: sold?.venueOrderID ?? "", side: .sell, quantity: Quantity(dec("1"))),
                ]
            )
            #expect(await since(-60_000)?.isEmpty == true)
            try await rig.control(#"{"down":"unavailable"}"#)
            #expect(await since(60_000) == nil)
        }
    }

    /// RELIABILITY.md 2.7: live accounts need the operator's word for it.
    @Test(arguments: [Account.Mode.paper, .live], [true, false])
    func `without deadlines is nothing for a live account, unless allowed`(
        mode: Account.Mode,
        isAllowed: Bool,
    ) async throws {
        let accounts = MemoryAccountStore(MemoryDatabase(clock: RealClock()))
        let account = Account(
            id: AccountID.sample(1),
            name: "a",
            venue: "paper",
            product: "linear",
            mode: mode,
        )
        try await accounts.create(account, credentials: Credentials(key: "k", secret: "s"))
        let http = VenueHTTP()
        for venueClass in [VenueClass.deadline(), .repeatable(), .neither] {
            let directory = AccountDirectory(
                accounts: accounts,
                endpoints: [
                    BinanceEndpoint(
                        venue: "paper",
                        product: .linear,
                        rest: "http://127.0.0.1:1",
                        stream: "ws://127.0.0.1:1",
                        venueClass: venueClass,
                    )
                ],
                http: http,
                clock: RealClock(),
                allowsNoDeadline: isAllowed,
            )
            let isRefused = mode == .live && venueClass.kind == .neither && !isAllowed
            do throws(VenueError) {
                let venue = try await directory.venue(for: account.id)
                #expect(!isRefused && venue.venueClass == venueClass)
            } catch {
                #expect(isRefused, "\(error.detail)")
            }
        }
        try await http.shutdown()
    }

    @Test func `has the window and the fence of its class`() {
        #expect(VenueClass.deadline().windowMs == 2_000 && VenueClass.deadline().fenceMs == 15_500)
        #expect(VenueClass.deadline(engineBoundMs: 1_000).fenceMs == 6_500)
        #expect(VenueClass.repeatable().fenceMs == 133_500)
        #expect(VenueClass.neither.windowMs == 33_000 && VenueClass.neither.fenceMs == 46_500)
        #expect(VenueClass.neither.needsWitness)
    }
}
