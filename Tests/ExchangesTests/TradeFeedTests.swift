// Prices of a venue's own streams, against the real paper venue: every trade once and in order, whatever happens.

import Exchanges
import OrderEngine
import OwnerThread
import PaperVenue
import SmartOrders
import TestKit
import Testing

@Suite(.timeLimit(.minutes(5))) struct TradeFeedTests {
    /// What came out of a feed.
    private final class Heard: Sendable {
        private let ticks = Locked<[SourcedTick]>([])
        func add(_ more: [SourcedTick]) { ticks.withLock { $0 += more } }
        func ids(_ source: TriggerSource) -> [Int64] {
            ticks.withLock { $0.filter { $0.series.source == source }.map(\.tick.position.sequence) }
        }
        func prices(_ source: TriggerSource) -> [Int64] {
            ticks.withLock { $0.filter { $0.series.source == source }.map(\.tick.price) }
        }
        func has(_ count: Int, _ source: TriggerSource = .last) async -> Bool {
            for _ in 0..<6_000 {
                if ids(source).count >= count { return true }
                do { try await Task.sleep(for: .milliseconds(5)) } catch { return false }
            }
            return false
        }
    }

    private struct Quiet: EngineObserver {
        func note(_ level: EngineNoteLevel, _ message: StaticString, _ metadata: [(String, String)]) {}
        func count(_ name: StaticString, _ amount: Int) {}
        func measure(_ name: StaticString, milliseconds: Double) {}
    }

    private func feed(_ rig: VenueRig, after id: Int64?, gaps: Locked<[FeedGap]> = Locked([])) -> BinanceTrades {
        let market = BinanceTrades.Market(id: rig.kind.market, decimals: 2)
        return BinanceTrades(
            product: rig.kind.product,
            rest: "http://127.0.0.1:\(rig.port)",
            stream: "ws://127.0.0.1:\(rig.port)" + (rig.kind == .spot ? "" : "/market"),
            catalogue: { [market] },
            http: rig.http,
            clock: RealClock(),
            observer: Quiet(),
            resume: { _ in id.map { TickPosition(venueTime: 0, sequence: $0) } },
            tellGap: { gap in
                gaps.withLock { gaps in
                    gaps.removeAll { $0.from == gap.from }
                    gaps.append(gap)
                }
            },
        )
    }

    private func trades(_ rig: VenueRig, _ ids: ClosedRange<Int64>, source: TriggerSource = .last) async {
        let now = RealClock().now().microseconds
        await rig.server.feed(
            ids.map { id in
                PaperTick(
                    market: rig.kind.market,
                    source: source,
                    price: Price(dec("\(id)")),
                    quantity: nil,
                    position: TickPosition(venueTime: now, sequence: id),
                )
            }
        )
    }

    private func following(
        _ rig: VenueRig,
        after id: Int64?,
        gaps: Locked<[FeedGap]> = Locked([]),
        _ body: (Heard) async throws -> Void,
    ) async throws {
        let heard = Heard()
        let feed = feed(rig, after: id, gaps: gaps)
        try await withThrowingTaskGroup { group in
            group.addTask { try await feed.run { heard.add($0) } }
            try await body(heard)
            group.cancelAll()
            do { try await group.next() } catch is CancellationError {}
        }
    }

    @Test(arguments: [AccountKind.spot, .oneWay])
    func `what happened before the feed began is read from the venue's history`(_ kind: AccountKind) async throws {
        try await withRig(kind) { rig async throws in
            await trades(rig, 1...2_500)
            try await following(rig, after: 300) { heard in
                #expect(await heard.has(2_200))
                await trades(rig, 2_501...2_510)
                #expect(await heard.has(2_210))
                #expect(heard.ids(.last) == Array(301...2_510))
                #expect(heard.prices(.last).last == 251_000)
            }
        }
    }

    @Test func `a connection that is cut again and again loses and repeats no trade`() async throws {
        try await withRig(.oneWay) { rig async throws in
            await trades(rig, 1...1)
            try await following(rig, after: 0) { heard in
                #expect(await heard.has(1))
                for round in Int64(0)..<5 {
                    await trades(rig, (round * 20 + 2)...(round * 20 + 11))
                    try await rig.control(#"{"stream":{"cutAll":true}}"#)
                    await trades(rig, (round * 20 + 12)...(round * 20 + 21))
                    #expect(await heard.has(Int(round) * 20 + 21))
                }
                #expect(heard.ids(.last) == Array(1...101))
            }
        }
    }

    @Test func `a jump in the ids is filled before the newer trade comes out, also while the history fails`()
        async throws
    {
        try await withRig(.oneWay) { rig async throws in
            await trades(rig, 1...1)
            try await following(rig, after: 0) { heard in
                #expect(await heard.has(1))
                try await rig.control(
                    #"{"rules":[{"do":"errorBefore","on":"publicTrades","times":2}],"stream":{"skipPublic":9}}"#
                )
                await trades(rig, 2...12)
                #expect(await heard.has(12))
                #expect(heard.ids(.last) == Array(1...12))
            }
        }
    }

    @Test func `a stretch that was not heard is told, filled or not`() async throws {
        try await withRig(.oneWay) { rig async throws in
            let gaps = Locked<[FeedGap]>([])
            func told(_ isMeant: (FeedGap) -> Bool) async throws -> FeedGap {
                while true {
                    if let gap = gaps.withLock({ $0.first(where: isMeant) }) { return gap }
                    try await Task.sleep(for: .milliseconds(20))
                }
            }
            await trades(rig, 1...1)
            try await following(rig, after: 1, gaps: gaps) { heard in
                await trades(rig, 2...2)
                #expect(await heard.has(1))
                // The venue's history does not show 3 to 5.
                await trades(rig, 6...6)
                #expect(await heard.has(2))
                let lost = try await told { !$0.isBackfilled }
                #expect(lost.series == PriceSeries(market: rig.kind.market, source: .last))
                #expect(lost.reason == "not in the venue's history" && lost.to >= lost.from)
                // Nothing is heard of 7 when it happens; a second later its history is asked.
                try await rig.control(#"{"stream":{"skipPublic":1}}"#)
                try await Task.sleep(for: .milliseconds(1_100))
                await trades(rig, 7...7)
                #expect(await heard.has(3))
                let filled = try await told { $0.isBackfilled && $0.from == lost.to }
                #expect(filled.to >= filled.from + 1_000_000)
            }
        }
    }

    @Test func `a history that does not answer for ten seconds is asked for again, and tells every trade then`()
        async throws
    {
        try await withRig(.oneWay) { rig async throws in
            let gaps = Locked<[FeedGap]>([])
            await trades(rig, 1...1)
            try await following(rig, after: 0, gaps: gaps) { heard in
                #expect(await heard.has(1))
                try await rig.control(
                    #"{"rules":[{"do":"errorBefore","on":"publicTrades","times":1000}],"stream":{"skipPublic":1499}}"#
                )
                try await Task.sleep(for: .milliseconds(10))
                await trades(rig, 2...1_501)
                #expect(await heard.has(2))
                #expect(heard.ids(.last) == [1, 1_501])
                let series = PriceSeries(market: rig.kind.market, source: .last)
                var wanted: FeedGap?
                while wanted == nil {
                    wanted = gaps.withLock { $0.first { $0.isWanted && !$0.isBackfilled } }
                    try await Task.sleep(for: .milliseconds(20))
                }
                let (from, to) = (wanted?.from ?? 0, wanted?.to ?? 0)
                let again = feed(rig, after: nil)
                await #expect(throws: VenueError.self) { try await again.history(of: series, from: from, to: to) }
                try await rig.control(#"{"rules":[]}"#)
                let found = try await again.history(of: series, from: from, to: to)
                #expect(found?.map(\.position.sequence) == Array(1...1_501))
                let mark = PriceSeries(market: rig.kind.market, source: .mark)
                #expect(try await again.history(of: mark, from: from, to: to) == nil)
                let some = try await again.history(of: series, from: to, to: to)
                #expect(some?.map(\.position.sequence) == Array(2...1_501))
            }
        }
    }

    @Test func `a mark price comes out of the same connection`() async throws {
        try await withRig(.oneWay) { rig async throws in
            await trades(rig, 1...1)
            try await following(rig, after: 0) { heard in
                #expect(await heard.has(1))
                await trades(rig, 77...77, source: .mark)
                #expect(await heard.has(1, .mark))
                #expect(heard.prices(.mark) == [7_700])
            }
        }
    }
}
