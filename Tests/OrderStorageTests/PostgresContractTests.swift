import TestKit
import Testing

@Suite(.serialized) struct `Orders on PostgreSQL` {
    private func check(_ fact: (StoresUnderTest) async throws -> Void) async throws {
        try await withStores { stores, _ in try await fact(stores) }
    }

    @Test func `what is stored is what is loaded`() async throws { try await check(OrderStoreContract.storesAndLoads) }
    @Test func `a stale writer is refused`() async throws { try await check(OrderStoreContract.refusesStaleWriter) }
    @Test func `of many writers of a version one wins`() async throws {
        try await check(OrderStoreContract.exactlyOneWriterWins)
    }
    @Test func `a repeated commit learns what became of it`() async throws {
        try await check(OrderStoreContract.repeatedCommitConcludes)
    }
    @Test func `event numbers have no gap under 32 committers`() async throws {
        try await check(OrderStoreContract.sequencesHaveNoGap)
    }
    @Test func `an event tells everything`() async throws { try await check(OrderStoreContract.eventsTellEverything) }
    @Test func `nothing asks for more than is held`() async throws {
        try await check(OrderStoreContract.refusesOverExit)
    }
    @Test func `a fact that breaks the sum is stored`() async throws {
        try await check(OrderStoreContract.storesOverFill)
    }
    @Test func `what is final stays final`() async throws { try await check(OrderStoreContract.refusesToUndo) }
    @Test func `an unknown account has no orders`() async throws {
        try await check(OrderStoreContract.refusesUnknownAccount)
    }
    @Test func `a fill counts once`() async throws { try await check(OrderStoreContract.storesFillsOnce) }
    @Test func `the change log misses nothing`() async throws { try await check(OrderStoreContract.changesMissNothing) }
    @Test func `both kinds of order share the way`() async throws {
        try await check(OrderStoreContract.bothKindsShareTheWay)
    }
    @Test func `the armed form is exact`() async throws { try await check(OrderStoreContract.armedFormIsExact) }
    @Test func `an idempotency key counts once`() async throws {
        try await check(OrderStoreContract.idempotencyKeysCountOnce)
    }
    @Test func `lists come page by page`() async throws { try await check(OrderStoreContract.listsPageByPage) }

    @Test func `an intent is stored with its send right`() async throws {
        try await check(IntentContract.storesIntents)
    }
    @Test func `a send right has one winner`() async throws { try await check(IntentContract.sendRightHasOneWinner) }
    @Test func `a repeat needs proof of absence`() async throws { try await check(IntentContract.repeatNeedsProof) }
    @Test func `the sweep finds what is due`() async throws { try await check(IntentContract.sweepFindsDueWork) }
    @Test func `what rests never hides what is in doubt`() async throws {
        try await check(IntentContract.restingNeverHidesDoubt)
    }
    @Test func `what was proven absent is looked at for minutes`() async throws {
        try await check(IntentContract.absentIsLookedAt)
    }
    @Test func `the outbox keeps jobs`() async throws { try await check(IntentContract.outboxKeepsJobs) }
    @Test func `exits that rest claim their position`() async throws {
        try await check(PositionContract.restingExitsClaimThePosition)
    }
    @Test func `the newest fill of an order is known`() async throws {
        try await check(PositionContract.newestFillIsKnown)
    }
    @Test func `what is open on an account is known`() async throws {
        try await check(PositionContract.openWorkIsComplete)
    }
    @Test func `the shares of a position are summed up`() async throws {
        try await check(PositionContract.sharesAreSummedUp)
    }
    @Test func `orders that a position leaves are named`() async throws {
        try await check(PositionContract.ordersAreLeftByPosition)
    }
}

@Suite(.serialized) struct `Cluster on PostgreSQL` {
    private func check(_ fact: (StoresUnderTest) async throws -> Void) async throws {
        try await withStores { stores, _ in try await fact(stores) }
    }

    @Test func `one leads`() async throws { try await check(ClusterStoreContract.oneLeads) }
    @Test func `a heartbeat brings the shards`() async throws {
        try await check(ClusterStoreContract.heartbeatBringsShards)
    }
    @Test func `cursors are handed over`() async throws { try await check(ClusterStoreContract.cursorsAreHandedOver) }
    @Test func `a lapsed worker is fenced`() async throws { try await check(ClusterStoreContract.lapsedWorkerIsFenced) }
    @Test func `extremes come in order`() async throws { try await check(ClusterStoreContract.extremesComeInOrder) }
    @Test func `accounts keep their keys`() async throws { try await check(ClusterStoreContract.accountsKeepTheirKeys) }
}
