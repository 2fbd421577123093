// Prices and notices in Redis streams: everything here is disposable (RELIABILITY.md 3.2, 4.2).
//
// The id of a stream entry *is* the tick's position (`<venue time in microseconds>-<sequence>`), so an append that is
// repeated, by this feed or another one, is refused by Redis itself, and a reader goes on from any position after any
// loss. On a cluster all of it lies in one slot, so that one read serves all series. Limits: about 100,000 ticks a series, 10,000 notices. Times out after 500 ms, reads after their wait + 500 ms.
public import OrderEngine
internal import OwnerThread
public import RedisClient
public import SmartOrders

/// The tick streams on one Redis.
public final class RedisTickLog: Sendable {
    private static let tickLimit = 100_000
    private static let noticeLimit = 10_000
    private static let noticeKey = "so:{so-ticks}:changed"
    private static let workersKey = "so:{so-ticks}:evaluators"

    private let connection: RedisConnection
    private let tickReader: RedisBlockingConnection
    private let noticeReader: RedisBlockingConnection
    /// The last notice read; nil: not started.
    private let noticePosition = Locked<RedisStreamID?>(nil)

    public init(_ options: RedisOptions) {
        var options = options
        options.slotKey = Self.noticeKey
        // From then on the stored extremes are the stream (RELIABILITY.md 3.3).
        options.refusesAfter = .milliseconds(500)
        connection = RedisConnection(options)
        tickReader = RedisBlockingConnection(options)
        noticeReader = RedisBlockingConnection(options)
    }

    public func close() {
        connection.close()
        tickReader.close()
        noticeReader.close()
    }

    private static func key(_ series: PriceSeries) -> String { "so:{so-ticks}:ticks:\(series)" }
    private static func progressKey(_ worker: String) -> String { "so:{so-ticks}:progress:\(worker)" }

    private static func id(_ position: TickPosition) -> RedisStreamID {
        position.sequence < 0
            ? RedisStreamID(milliseconds: UInt64(max(position.venueTime, 0)), sequence: 0)
            : RedisStreamID(milliseconds: UInt64(max(position.venueTime, 0)), sequence: UInt64(position.sequence))
    }

    /// The id after which everything after `position` stands. A negative sequence is before the first of its moment.
    private static func before(_ position: TickPosition) -> RedisStreamID {
        guard position.sequence < 0 else { return id(position) }
        guard position.venueTime > 0 else { return .zero }
        return RedisStreamID(milliseconds: UInt64(position.venueTime - 1), sequence: UInt64(Int64.max))
    }

    private static func position(_ id: RedisStreamID) -> TickPosition? {
        guard let time = Int64(exactly: id.milliseconds), let sequence = Int64(exactly: id.sequence) else { return nil }
        return TickPosition(venueTime: time, sequence: sequence)
    }

    private static func ticks(_ entries: RedisStreamEntries, of stream: Int?) -> [RawTick] {
        var ticks: [RawTick] = []
        for entry in entries.entries where stream == nil || entry.stream == stream {
            // Foreign entries are skipped: the private Redis has one writer of ticks.
            guard entry.partCount >= 2, let position = position(entry.id) else { continue }
            let (price, received) = entries.withPart(1, of: entry, numbers)
            if price > 0 { ticks.append(RawTick(position: position, price: price, receivedAt: received)) }
        }
        return ticks
    }

    /// `price` or `price received`.
    private static func numbers(_ text: UnsafeRawBufferPointer) -> (Int64, Int64) {
        var values: (Int64, Int64) = (0, 0)
        var isSecond = false
        for byte in text {
            if byte == UInt8(ascii: " ") {
                isSecond = true
            } else if byte >= UInt8(ascii: "0"), byte <= UInt8(ascii: "9") {
                let digit = Int64(byte - UInt8(ascii: "0"))
                if isSecond { values.1 = values.1 &* 10 &+ digit } else { values.0 = values.0 &* 10 &+ digit }
            } else {
                return (0, 0)
            }
        }
        return values
    }

    /// What a worker reported of a series; nil for an unreadable report.
    private static func progress(_ series: PriceSeries, in report: String) -> EvaluationProgress? {
        let lines = report.split(separator: "\n")
        guard let first = lines.first, let shards = Int(first) else { return nil }
        let name = "\(series) "
        guard let line = lines.dropFirst().first(where: { $0.hasPrefix(name) }) else {
            let end = TickPosition(venueTime: .max, sequence: .max)
            return EvaluationProgress(series: series, position: end, open: 0, orders: 0, shards: shards)
        }
        let parts = line.dropFirst(name.count).split(separator: " ").compactMap { Int64($0) }
        guard parts.count == 5 else { return nil }
        return EvaluationProgress(
            series: series,
            position: TickPosition(venueTime: parts[0], sequence: parts[1]),
            open: Int(parts[2]),
            orders: Int(parts[3]),
            shards: Int(parts[4]),
        )
    }

    private func failure(_ error: RedisError) -> TickLogError { TickLogError("\(error)") }
}

extension RedisTickLog: TickLog {
    public func append(_ ticks: [RawTick], to series: PriceSeries) async throws(TickLogError) {
        let key = Self.key(series)
        var start = 0
        while start < ticks.count {
            let page = ticks[start..<min(start + 1_000, ticks.count)]
            start += page.count
            var batch = RedisBatch()
            for tick in page {
                batch.beginXADD(key, id: Self.id(tick.position), maxLength: Self.tickLimit)
                batch.append("p")
                batch.append(tick.receivedAt == 0 ? "\(tick.price)" : "\(tick.price) \(tick.receivedAt)")
            }
            do throws(RedisError) {
                for reply in try await connection.send(batch) {
                    // An id at or before the last one: this tick is in the stream already.
                    guard let error = reply.error, !error.text.contains("equal or smaller") else { continue }
                    throw error.asRedisError
                }
            } catch {
                throw failure(error)
            }
        }
    }

    public func read(
        _ after: [PriceSeries: TickPosition],
        limit: Int,
        waitMs: Int64,
    ) async throws(TickLogError) -> [PriceSeries: TickBatch] {
        let series = after.keys.sorted()
        guard !series.isEmpty else { return [:] }
        let positions = series.map { (key: Self.key($0), after: Self.before(after[$0] ?? .start)) }
        do throws(RedisError) {
            let entries =
                waitMs > 0
                ? try await tickReader.readStreams(positions, count: limit, wait: .milliseconds(waitMs))
                : try await connection.readStreams(positions, count: limit)
            var batches: [PriceSeries: TickBatch] = [:]
            let present = Set(entries.entries.map(\.stream))
            let asked = series.indices.filter { waitMs == 0 || present.contains($0) }
            guard !asked.isEmpty else { return [:] }
            // Whether the stream still reaches back to where the caller stands.
            var firsts = RedisBatch()
            for index in asked { firsts.add(RedisCommand("XRANGE", positions[index].key, "-", "+", "COUNT", "1")) }
            let replies = try await connection.send(firsts)
            for (index, reply) in zip(asked, replies) {
                let text = reply.array?.first?.array?.first?.text
                let oldest = text.flatMap { RedisStreamID($0.utf8) }.flatMap(Self.position)
                batches[series[index]] = TickBatch(ticks: Self.ticks(entries, of: index), oldest: oldest)
            }
            return batches
        } catch {
            throw failure(error)
        }
    }

    public func drop(through position: TickPosition, of series: PriceSeries) async throws(TickLogError) {
        let next = Self.id(TickPosition(venueTime: position.venueTime, sequence: max(position.sequence, -1) + 1))
        do throws(RedisError) {
            let reply = try await connection.send(RedisCommand("XTRIM", Self.key(series), "MINID", "\(next)"))
            if let error = reply.error { throw error.asRedisError }
        } catch {
            throw failure(error)
        }
    }

    public func latest(_ series: PriceSeries) async throws(TickLogError) -> RawTick? {
        do throws(RedisError) {
            let reply = try await connection.send(RedisCommand("XREVRANGE", Self.key(series), "+", "-", "COUNT", "1"))
            guard let entry = reply.array?.first?.array, entry.count == 2, let id = entry[0].text,
                let position = RedisStreamID(id.utf8).flatMap(Self.position), let parts = entry[1].array,
                parts.count >= 2,
                let bytes = parts[1].bytes
            else { return nil }
            let (price, received) = bytes.withUnsafeBytes(Self.numbers)
            return price > 0 ? RawTick(position: position, price: price, receivedAt: received) : nil
        } catch {
            throw failure(error)
        }
    }

    public func notifyChanged(_ orders: [OrderID]) async throws(TickLogError) {
        var batch = RedisBatch()
        for order in orders {
            batch.beginXADD(Self.noticeKey, maxLength: Self.noticeLimit)
            batch.append("o")
            batch.append("\(order)")
        }
        do throws(RedisError) {
            for reply in try await connection.send(batch) { if let error = reply.error { throw error.asRedisError } }
        } catch {
            throw failure(error)
        }
    }

    public func changedOrders(waitMs: Int64) async throws(TickLogError) -> [OrderID] {
        do throws(RedisError) {
            let from: RedisStreamID
            if let known = noticePosition.withLock({ $0 }) {
                from = known
            } else {
                let reply = try await connection.send(
                    RedisCommand("XREVRANGE", Self.noticeKey, "+", "-", "COUNT", "1")
                )
                let id = reply.array?.first?.array?.first?.text
                from = id.flatMap { RedisStreamID($0.utf8) } ?? .zero
                noticePosition.withLock { $0 = from }
            }
            let entries = try await noticeReader.readStreams(
                [(key: Self.noticeKey, after: from)],
                count: 1_000,
                wait: .milliseconds(waitMs),
            )
            guard let last = entries.entries.last?.id else { return [] }
            noticePosition.withLock { $0 = last }
            var orders: [OrderID] = []
            var seen: Set<OrderID> = []
            for entry in entries.entries where entry.partCount >= 2 {
                let text = String(decoding: entries.part(1, of: entry), as: UTF8.self)
                if let order = OrderID(text), seen.insert(order).inserted { orders.append(order) }
            }
            return orders
        } catch {
            // A stream that was lost starts again with smaller ids by the server's clock at worst; look anew.
            noticePosition.withLock { $0 = nil }
            throw failure(error)
        }
    }

    public func reportProgress(
        _ progress: [EvaluationProgress],
        shards: Int,
        worker: WorkerID,
    ) async throws(TickLogError) {
        // One value per worker: a series that is not named any more is at its end at once, not when a key expires.
        var text = "\(shards)"
        for one in progress {
            text += "\n\(one.series) \(one.position.venueTime) \(one.position.sequence)"
            text += " \(one.open) \(one.orders) \(one.shards)"
        }
        var batch = RedisBatch()
        batch.add(RedisCommand("SADD", Self.workersKey, worker.text))
        batch.add(RedisCommand("SET", Self.progressKey(worker.text), text, "PX", "3000"))
        do throws(RedisError) {
            for reply in try await connection.send(batch) { if let error = reply.error { throw error.asRedisError } }
        } catch {
            throw failure(error)
        }
    }

    public func progress(_ series: PriceSeries) async throws(TickLogError) -> [EvaluationProgress] {
        do throws(RedisError) {
            let workers = (try await connection.send(RedisCommand("SMEMBERS", Self.workersKey)).array ?? [])
                .compactMap(\.text)
            guard !workers.isEmpty else { return [] }
            var command = RedisCommand("MGET")
            for worker in workers { command.append(Self.progressKey(worker)) }
            return (try await connection.send(command).array ?? [])
                .compactMap(\.text)
                .compactMap { Self.progress(series, in: $0) }
        } catch {
            throw failure(error)
        }
    }
}
