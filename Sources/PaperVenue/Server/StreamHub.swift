// Who listens to what, and the frames on their way to them.
//
// A frame is encoded once, when the event happens, and only if somebody listens. Frames of one account leave in the
// order of the events; they leave after the answers of the same batch. Private frames pass the stream faults: silence,
// duplicates, changed order.

internal import JSONText
internal import NIOCore
internal import SmartOrders

/// One open WebSocket, on the loop.
protocol StreamSink: AnyObject {
    /// Whether frames are wrapped as `{"stream": ..., "data": ...}`.
    var isCombined: Bool { get }
    /// Whether private frames are wrapped as `{"subscriptionId": 0, "event": ...}`.
    var isCommand: Bool { get }
    func send(_ frame: [UInt8])
    /// Ends the stream with a WebSocket close.
    func end(code: UInt16)
}

struct StreamOwner: Hashable {
    let account: Int
    let product: PaperProduct
}

/// A public stream: `btcusdt@trade` of a product.
struct StreamTopic: Hashable {
    let product: PaperProduct
    let name: String
}

final class StreamHub {
    private struct Frame {
        let sinks: [any StreamSink]
        let bytes: [UInt8]
        let topic: String?
    }

    /// The last public trades of a market, for backfills.
    private struct History {
        static let capacity = 20_000
        var ticks: [PaperTick] = []
        var start = 0

        mutating func append(_ tick: PaperTick) {
            if ticks.count < Self.capacity {
                ticks.append(tick)
            } else {
                ticks[start] = tick
                start = (start + 1) % Self.capacity
            }
        }

        var inOrder: [PaperTick] { Array(ticks[start...] + ticks[..<start]) }
    }

    let engine: VenueEngine
    /// Called when frames wait.
    var onPending: () -> Void = {}
    private var privateSinks: [StreamOwner: [any StreamSink]] = [:]
    private var publicSinks: [StreamTopic: [any StreamSink]] = [:]
    private var listenKeys: [String: StreamOwner] = [:]
    private var keys: [StreamOwner: String] = [:]
    private var outbox: [Frame] = []
    /// A frame that a later one overtakes.
    private var held: [StreamOwner: [UInt8]] = [:]
    private var histories: [Int: History] = [:]
    private var sinks: [ObjectIdentifier: any StreamSink] = [:]
    private var updateID = 0
    /// So many trades from now on reach no listener: a hole in the ids, the history has them.
    var skipped = 0

    init(engine: VenueEngine) { self.engine = engine }

    // MARK: Listeners

    var connectionCount: Int { sinks.count }

    func attach(_ sink: any StreamSink) { sinks[ObjectIdentifier(sink)] = sink }

    func detach(_ sink: any StreamSink) {
        sinks[ObjectIdentifier(sink)] = nil
        for owner in privateSinks.keys { privateSinks[owner]?.removeAll { $0 === sink } }
        for topic in publicSinks.keys { publicSinks[topic]?.removeAll { $0 === sink } }
    }

    func listen(_ sink: any StreamSink, to owner: StreamOwner) { privateSinks[owner, default: []].append(sink) }

    func subscribe(_ sink: any StreamSink, to topic: StreamTopic) {
        guard publicSinks[topic]?.contains(where: { $0 === sink }) != true else { return }
        publicSinks[topic, default: []].append(sink)
    }

    func unsubscribe(_ sink: any StreamSink, from topic: StreamTopic) { publicSinks[topic]?.removeAll { $0 === sink } }

    /// Ends every stream, or the private ones only.
    func cut(privateOnly: Bool, code: UInt16) {
        let all = privateOnly ? privateSinks.values.flatMap { $0 } : Array(sinks.values)
        for sink in all { sink.end(code: code) }
    }

    func listenKey(_ owner: StreamOwner, make: () -> String) -> String {
        if let key = keys[owner] { return key }
        let key = make()
        keys[owner] = key
        listenKeys[key] = owner
        engine.writeStream(engine.accounts[owner.account], owner.product, key)
        return key
    }

    /// Listen keys outlive a restart of the venue.
    func restore(listenKeys restored: [StreamOwner: String]) {
        for (owner, key) in restored {
            keys[owner] = key
            listenKeys[key] = owner
        }
    }

    func hasListenKey(_ owner: StreamOwner) -> Bool { keys[owner] != nil }
    func owner(ofListenKey key: String) -> StreamOwner? { listenKeys[key] }

    func closeListenKey(_ owner: StreamOwner) {
        guard let key = keys.removeValue(forKey: owner) else { return }
        listenKeys[key] = nil
        engine.writeStream(engine.accounts[owner.account], owner.product, nil)
    }

    // MARK: Frames

    private func queue(_ bytes: [UInt8], _ sinks: [any StreamSink], topic: String?) {
        outbox.append(Frame(sinks: sinks, bytes: bytes, topic: topic))
        onPending()
    }

    /// Writes every waiting frame.
    func send() {
        let frames = outbox
        outbox.removeAll(keepingCapacity: true)
        for frame in frames {
            for sink in frame.sinks {
                var writer = JSONWriter(reserving: frame.bytes.count + 64)
                writer.beginObject()
                if let topic = frame.topic, sink.isCombined {
                    writer.member("stream", topic)
                    writer.key("data")
                } else if frame.topic == nil, sink.isCommand {
                    writer.member("subscriptionId", 0)
                    writer.key("event")
                } else {
                    sink.send(frame.bytes)
                    continue
                }
                writer.raw(frame.bytes)
                writer.endObject()
                sink.send(writer.take())
            }
        }
    }

    /// An order changed: its report, and what the account holds now.
    func publish(
        _ order: OrderRecord,
        _ execution: VenueEngine.Execution,
        _ trade: TradeRecord?,
        _ faults: inout Faults,
    ) {
        let product = engine.markets[order.market].market.product
        let owner = StreamOwner(account: order.account, product: product)
        guard let sinks = privateSinks[owner], !sinks.isEmpty, !faults.streamSilent else { return }
        var writer = JSONWriter(reserving: 1024)
        engine.writeReport(order, execution, trade, to: &writer)
        emit(writer.take(), owner, sinks, &faults)
        switch (product, execution) {
        case (.spot, _), (.linear, .trade):
            engine.writeHoldings(order, to: &writer)
            emit(writer.take(), owner, sinks, &faults)
        case (.linear, .new), (.linear, .cancelled), (.linear, .expired): break
        }
    }

    func publish(_ algo: AlgoRecord, _ faults: inout Faults) {
        let owner = StreamOwner(account: algo.ticket.account, product: .linear)
        guard let sinks = privateSinks[owner], !sinks.isEmpty, !faults.streamSilent else { return }
        var writer = JSONWriter(reserving: 512)
        engine.writeAlgoReport(algo, to: &writer)
        emit(writer.take(), owner, sinks, &faults)
    }

    /// A position was changed by hand: what the account holds now.
    func publish(_ account: Account, _ state: MarketState, _ side: PositionSide, _ faults: inout Faults) {
        let owner = StreamOwner(account: account.index, product: state.market.product)
        guard let sinks = privateSinks[owner], !sinks.isEmpty, !faults.streamSilent else { return }
        var writer = JSONWriter(reserving: 512)
        engine.writeHoldings(account, state, side, to: &writer)
        emit(writer.take(), owner, sinks, &faults)
    }

    private func emit(_ bytes: [UInt8], _ owner: StreamOwner, _ sinks: [any StreamSink], _ faults: inout Faults) {
        if held[owner] == nil, faults.random.chance(millionths: faults.streamShuffle) {
            held[owner] = bytes
            return
        }
        queue(bytes, sinks, topic: nil)
        if faults.random.chance(millionths: faults.streamDuplicate) { queue(bytes, sinks, topic: nil) }
        if let late = held.removeValue(forKey: owner) { queue(late, sinks, topic: nil) }
    }

    /// A price: to whoever subscribed to it.
    func publish(_ state: MarketState, _ tick: PaperTick) {
        if tick.source == .last { histories[state.index, default: History()].append(tick) }
        guard !publicSinks.isEmpty else { return }
        if tick.source == .last, skipped > 0 {
            skipped -= 1
            return
        }
        let symbol = state.market.symbol.lowercased()
        let names: [String]
        switch tick.source {
        case .last: names = ["\(symbol)@trade", "\(symbol)@aggTrade"]
        case .mark, .index: names = ["\(symbol)@markPrice", "\(symbol)@markPrice@1s"]
        case .bid, .ask: names = ["\(symbol)@bookTicker"]
        }
        for name in names {
            guard let sinks = publicSinks[StreamTopic(product: state.market.product, name: name)], !sinks.isEmpty else {
                continue
            }
            updateID += 1
            var writer = JSONWriter(reserving: 256)
            engine.writeFrame(name, state, tick, updateID: updateID, to: &writer)
            queue(writer.take(), sinks, topic: name)
        }
    }

    /// `aggTrades`: the kept trades of a market, oldest first.
    func writeHistory(_ state: MarketState, _ parameters: Parameters, to writer: inout JSONWriter) throws(VenueRefusal)
    {
        let page = try parameters.page()
        let from = try parameters.integer("fromId")
        let ticks = histories[state.index]?.inOrder ?? []
        writer.beginArray()
        for tick in page.cut(ticks, from: from, id: { Int($0.position.sequence) }, time: { $0.position.venueTime }) {
            engine.writePublicTrade(tick, to: &writer)
        }
        writer.endArray()
    }
}
