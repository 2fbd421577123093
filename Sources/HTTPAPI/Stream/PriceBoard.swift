// Newest prices for streams: one reader for all connections, each price encoded once.
//
// Invariant: of a series only the newest price is kept, so a connection that is slow gets fewer, never old ones. Limits:
// a series is looked at every 250 ms, so it is told at most 4 times a second. Cost: one look-up per watched series and
// round, shared by all who listen.

internal import JSONText
internal import NIOCore
internal import OrderEngine
internal import OrderJSON
internal import OwnerThread
internal import SmartOrders

final class PriceBoard: Sendable {
    private struct Entry {
        let position: TickPosition
        let stamp: UInt64
        let frame: ByteBuffer
    }

    private struct State {
        var markets: [UInt64: Set<MarketID>] = [:]
        var listeners: [UInt64: any StreamListener] = [:]
        var entries: [PriceSeries: Entry] = [:]
        var stamp: UInt64 = 0
    }

    private static let pauseMs: Int64 = 250

    private let backend: Backend
    private let state = Locked(State())

    init(backend: Backend) {
        self.backend = backend
    }

    /// - Parameter markets: all that the listener wants from now on; empty: none.
    func set(_ markets: Set<MarketID>, for id: UInt64, _ listener: any StreamListener) {
        state.withLock { state in
            state.markets[id] = markets.isEmpty ? nil : markets
            state.listeners[id] = markets.isEmpty ? nil : listener
        }
    }

    func remove(_ id: UInt64) {
        state.withLock { state in
            state.markets[id] = nil
            state.listeners[id] = nil
        }
    }

    /// Frames of these markets that are newer than `stamp`, and the newest stamp.
    func frames(_ markets: Set<MarketID>, after stamp: UInt64) -> (frames: [ByteBuffer], stamp: UInt64) {
        state.withLock { state in
            guard state.stamp > stamp else { return ([], stamp) }
            let newer = state.entries.filter { $0.value.stamp > stamp && markets.contains($0.key.market) }
            return (newer.sorted { $0.value.stamp < $1.value.stamp }.map(\.value.frame), state.stamp)
        }
    }

    /// Runs until the task is cancelled.
    func run() async {
        while !Task.isCancelled {
            do { try await backend.clock.sleep(milliseconds: Self.pauseMs) } catch { return }
            await refresh()
        }
    }

    private func refresh() async {
        let markets = state.withLock { state in
            let wanted = state.markets.values.reduce(into: Set<MarketID>()) { $0.formUnion($1) }
            state.entries = state.entries.filter { wanted.contains($0.key.market) }
            return wanted
        }
        var changed: Set<MarketID> = []
        for market in markets.sorted() {
            let instrument: Instrument?
            do throws(StoreError) { instrument = try await backend.catalogue.instrument(market) } catch { continue }
            guard let instrument else { continue }
            for source in instrument.publishedSources {
                let series = PriceSeries(market: market, source: source)
                guard let tick = await backend.prices.latest(series) else { continue }
                if note(tick, series, instrument) { changed.insert(market) }
            }
        }
        guard !changed.isEmpty else { return }
        let listeners = state.withLock { state in
            state.markets.compactMap { id, markets in markets.isDisjoint(with: changed) ? nil : state.listeners[id] }
        }
        for listener in listeners { listener.wake() }
    }

    /// False: it is known already.
    private func note(_ tick: RawTick, _ series: PriceSeries, _ instrument: Instrument) -> Bool {
        guard state.withLock({ $0.entries[series]?.position }) != tick.position else { return false }
        let age = (backend.clock.now().microseconds - tick.receivedAt) / 1_000
        var writer = JSONWriter(reserving: 256)
        writer.beginObject()
        writer.member("type", "price")
        writer.member("market", series.market.description)
        writer.member("source", series.source)
        writer.member("price", Price(units: tick.price, decimals: instrument.priceDecimals))
        writer.member("venueTime", Timestamp(microseconds: tick.position.venueTime))
        let received = tick.receivedAt > 0 ? Timestamp(microseconds: tick.receivedAt) : nil
        writer.member("receivedAt", orNull: received)
        writer.member("feedAgeMs", orNull: received == nil ? nil : max(0, age))
        writer.endObject()
        let frame = ByteBuffer(bytes: writer.take())
        state.withLock { state in
            state.stamp += 1
            state.entries[series] = Entry(position: tick.position, stamp: state.stamp, frame: frame)
        }
        return true
    }
}
