// Everything that is known of why an order did what it did: read from the stores, told by the pure parts.
//
// Limits: 10,000 versions, 100,000 prices of each source from the beginning of the order on; what lies beyond is said
// to have coverage `none`. Cost: a few queries and the prices of the order's life.
internal import JSONText
public import OrderEngine
internal import OrderJSON
public import SmartOrders

public struct Explanation: Sendable {
    public let order: OrderID
    public let timeline: [TimelineEntry]
    public let notFired: [NotFired]
}

/// Reads explanations.
public struct Explainer: Sendable {
    private let orders: any OrderStore
    private let timeline: any TimelineStore
    private let ticks: any TickLog
    private let cluster: any ClusterStore
    private static let maximumVersions = 10_000
    private static let maximumPoints = 100_000
    private static let page = 500

    public init(
        orders: any OrderStore,
        timeline: any TimelineStore,
        ticks: any TickLog,
        cluster: any ClusterStore,
    ) {
        self.orders = orders
        self.timeline = timeline
        self.ticks = ticks
        self.cluster = cluster
    }

    /// Nil: the order is unknown.
    public func explain(_ id: OrderID) async throws(StoreError) -> Explanation? {
        let versions = try await versions(of: id)
        guard let first = versions.first?.order, let last = versions.last?.order else { return nil }
        let notes = try await timeline.notes(of: id)
        let halts = try await timeline.halts(id, account: last.account, market: last.instrument.market)
        let from = first.position
        // An order that ended is judged by the prices of its life.
        let until = last.isTerminal ? last.position : TickPosition(venueTime: .max, sequence: .max)
        var prices: [TriggerSource: PriceEvidence] = [:]
        for source in TriggerSource.allCases {
            let series = PriceSeries(market: last.instrument.market, source: source)
            prices[source] = try await evidence(series, after: from, until: until, of: last)
        }
        let series = PriceSeries(market: last.instrument.market, source: last.triggerSource)
        let end = min(until.venueTime, prices[last.triggerSource]?.end.venueTime ?? .max)
        let gaps = try await timeline.gaps(series, from: from.venueTime, to: end)
        var entries = TimelineBuilder.timeline(versions, notes: notes, gaps: gaps)
        let intents = try await orders.intents(of: [id], ended: true)
        for index in entries.indices {
            entries[index].name(intents)
            if let known = prices[last.triggerSource] { entries[index].dateWaterMark(known) }
        }
        return Explanation(
            order: id,
            timeline: entries,
            notFired: NotFired.all(.init(versions: versions, prices: prices, gaps: gaps, halts: halts)),
        )
    }

    /// Every version, oldest first.
    public func versions(of id: OrderID) async throws(StoreError) -> [StoredVersion] {
        var versions: [StoredVersion] = []
        while versions.count < Self.maximumVersions {
            let after = versions.last?.version ?? 0
            let page = try await timeline.versions(of: id, after: after, limit: Self.page)
            versions += page
            if page.count < Self.page { break }
        }
        return versions
    }

    // MARK: Prices

    /// Ticks where the stream still holds them, before that the stored extremes.
    private func evidence(
        _ series: PriceSeries,
        after position: TickPosition,
        until last: TickPosition,
        of order: StoredOrder,
    ) async throws(StoreError) -> PriceEvidence? {
        let decimals = order.instrument.priceDecimals
        var points: [PricePoint] = []
        var ticksFrom: TickPosition?
        var reached = position
        func take(_ position: TickPosition, _ units: Int64) -> Bool {
            guard position <= last, points.count < Self.maximumPoints else { return false }
            points.append(PricePoint(position, Price(units: units, decimals: decimals)))
            return true
        }
        var isMore = true
        while isMore {
            if let batch = await read(series, after: reached), let oldest = batch.oldest, oldest <= reached {
                if ticksFrom == nil { ticksFrom = reached }
                guard let end = batch.ticks.last else { break }
                for tick in batch.ticks where isMore { isMore = take(tick.position, tick.price) }
                reached = end.position
                continue
            }
            let page = try await cluster.extremes(
                market: series.market,
                source: series.source,
                after: reached,
                limit: 10_000,
            )
            guard let end = page.last else { break }
            // Behind extremes the ticks begin anew.
            ticksFrom = nil
            for point in page where isMore { isMore = take(point.position, point.price) }
            reached = end.position
        }
        guard let end = points.last?.position else { return nil }
        return PriceEvidence(points: points, ticksFrom: ticksFrom, extremesFrom: position, end: end)
    }

    /// Nil: the stream cannot be read now.
    private func read(_ series: PriceSeries, after position: TickPosition) async -> TickBatch? {
        do throws(TickLogError) {
            return try await ticks.read([series: position], limit: 10_000, waitMs: 0)[series]
        } catch {
            return nil
        }
    }
}

extension TimelineEntry {
    /// Adds the client order ids of what was asked.
    fileprivate mutating func name(_ intents: [StoredIntent]) {
        for (index, asked) in orders.enumerated() {
            guard case .object(var request) = asked else { continue }
            let intent = intents.first { intent in
                request["purpose"]?.text == intent.venueOrder.leg.description
                    && request["attempt"]?.int64 == Int64(intent.venueOrder.attempt)
            }
            guard let id = intent?.clientOrderID, !id.isEmpty else { continue }
            request["clientOrderId"] = .string(id)
            orders[index] = .object(request)
        }
    }

    /// Adds when the water mark of a rule was first seen, as far as the prices show it.
    fileprivate mutating func dateWaterMark(_ prices: PriceEvidence) {
        guard let tick, case .object(var basis)? = rule?["basis"],
            let mark = basis["waterMark"]?.text.flatMap({ Price($0) })
        else { return }
        let before = prices.points(after: .start, through: tick.position)
        let seen = before.last { $0.high == mark || $0.low == mark }
        basis["waterMarkAt"] = seen.map { JSONValue(Timestamp(microseconds: $0.position.venueTime)) } ?? .null
        rule?["basis"] = .object(basis)
    }
}

/// What `--replay` found.
public enum ReplayFinding: Hashable, Sendable {
    case same(versions: Int, unrecorded: Int)
    /// The first field that comes out otherwise; nil values: it is not there.
    case differs(version: Int64, path: String, stored: String?, repeated: String?)
    /// The code of today refuses what was decided then.
    case refused(version: Int64, code: RefusalCode, detail: String)

    /// Makes every decision again, from the row before it and its recorded steps; stops at the first difference.
    public static func replay(_ versions: [StoredVersion]) -> ReplayFinding {
        var before: StoredOrder?
        var unrecorded = 0
        for version in versions {
            defer { before = version.order }
            let steps: [RepeatedStep]?
            do throws(Refusal) {
                steps = try DecisionReplay.steps(of: version, before: before)
            } catch {
                return .refused(version: version.version, code: error.code, detail: error.detail)
            }
            guard let steps else {
                unrecorded += 1
                continue
            }
            guard let after = steps.last?.after, after != version.order else { continue }
            let first = Self.difference(version.order, after)
            return .differs(
                version: version.version,
                path: first?.path ?? "?",
                stored: first?.from.map(Self.text),
                repeated: first?.to.map(Self.text),
            )
        }
        return .same(versions: versions.count, unrecorded: unrecorded)
    }

    private static func difference(_ stored: StoredOrder, _ repeated: StoredOrder) -> FieldChange? {
        do throws(JSONError) {
            let old = try JSONValue(parsing: stored.encodedState())
            let new = try JSONValue(parsing: repeated.encodedState())
            if let change = FieldChange.between(old, new).first { return change }
            return old["updatedAt"] == new["updatedAt"]
                ? nil : FieldChange(path: "updatedAt", from: old["updatedAt"], to: new["updatedAt"])
        } catch {
            return nil
        }
    }

    private static func text(_ value: JSONValue) -> String {
        value.text ?? String(decoding: value.serialized(), as: UTF8.self)
    }
}
