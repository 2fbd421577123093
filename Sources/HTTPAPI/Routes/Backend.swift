// What handlers work with.

internal import DecisionTimeline
internal import HTTPTypes
internal import JSONText
internal import Logging
internal import OrderEngine
internal import OrderJSON
internal import OwnerThread
internal import SmartOrders

/// An order of one of these accounts as it is now, with its trader's note; nil: there is none.
typealias OrderReading = @Sendable (_ order: OrderID, _ accounts: [AccountID]) async throws -> ReadOrder?

/// The ports of the API process, and what it keeps beside them.
struct Backend: Sendable {
    let configuration: APIConfiguration
    let orders: any OrderStore
    /// Joins what many ask for single orders.
    let reader: OrderReading
    let accounts: any AccountStore
    let traders: any TraderStore
    let panel: any PanelStore
    let intake: any CredentialIntake
    let webhooks: any WebhookStore
    let hooks: any HookStore
    let commands: CommandService
    let clock: any EngineClock
    let prices: PriceCache
    let ticks: any TickLog
    let cluster: any ClusterStore
    /// Asks workers about venues; nil: there is nobody to ask.
    let venues: VenueReader?
    let catalogue: Catalogue
    let history: FillHistory
    let keys: KeyRing
    let cursors: CursorCoder
    let timeline: any TimelineStore
    let explainer: Explainer
    let epoch: StreamEpoch
    let logger: Logger

    /// Commands on an account as the caller knows it. Keys are believed for a while: one that took the account for paper
    /// gives it no new exposure once it trades live (INTERFACES.md 1.3).
    func commands(of caller: Caller, on account: AccountID) -> CommandService {
        var commands = commands
        if !caller.accounts.contains(where: { $0.id == account && $0.mode == .live }) { commands.isLiveEnabled = false }
        return commands
    }

    /// An order of the caller. Somebody else's is as unknown as none.
    func order(_ text: String, of caller: Caller) async throws -> SmartOrder {
        guard let order = try await stored(text, of: caller).smart else { throw Problem.notFound }
        return order
    }

    /// The same for an order of either kind.
    func stored(_ text: String, of caller: Caller) async throws -> StoredOrder {
        guard let id = OrderID(text), let order = try await orders.load([id]).first else { throw Problem.notFound }
        _ = try caller.account(order.account)
        return order
    }

    /// What an answer shows of an order of either kind.
    func object(_ order: StoredOrder, of caller: Caller, mayHaveNote: Bool = true) async throws -> [UInt8] {
        switch order {
        case .smart(let order): return try await object(order, of: caller, mayHaveNote: mayHaveNote)
        case .conditional(let order):
            var writer = JSONWriter(reserving: 1_024)
            writer.conditionalOrder(order, mode: try caller.account(order.account).orderMode)
            return writer.take()
        }
    }

    /// An order of either kind as the answer to a command.
    func show(
        _ order: StoredOrder,
        _ caller: Caller,
        _ status: HTTPResponse.Status,
        mayHaveNote: Bool = true,
    ) async throws -> Reply {
        var reply = Reply.json(status, try await object(order, of: caller, mayHaveNote: mayHaveNote))
        reply.headers[.eTag] = "\"v\(order.version)\""
        return reply
    }

    /// What an order's object shows beside its row.
    func context(of order: SmartOrder, in account: Account) async -> OrderContext {
        let price = await prices.price(of: order)
        var context = OrderContext(mode: account.orderMode, price: price, derivedAt: clock.now())
        context.protection = await protection(of: order)
        await history.read([order])
        _ = history.tell(order, &context)
        return context
    }

    /// The Order object.
    func object(_ order: SmartOrder, of caller: Caller, mayHaveNote: Bool = true) async throws -> [UInt8] {
        let order = mayHaveNote ? try await noted([order])[0] : order
        var writer = JSONWriter(reserving: 4_096)
        writer.order(order, context: await context(of: order, in: try caller.account(order.account)))
        return writer.take()
    }

    /// Orders with their notes as they are now: a note changes without a version.
    func noted(_ orders: [SmartOrder]) async throws -> [SmartOrder] {
        let notes = try await traders.notes(of: orders.map(\.id))
        guard !notes.isEmpty else { return orders }
        return orders.map { order in
            guard let note = notes[order.id] else { return order }
            var order = order
            order.draft.note = note.isEmpty ? nil : note
            return order
        }
    }

    /// A new identifier, in order of time.
    func newID() -> UniqueID {
        var random = SystemRandomNumberGenerator()
        return UniqueID(unixMilliseconds: clock.now().milliseconds, random: &random)
    }

    /// Random bytes of a secure source, as text.
    func newSecret(bytes: Int) -> String {
        var random = SystemRandomNumberGenerator()
        return base64URL((0..<bytes).map { _ in UInt8.random(in: 0...255, using: &random) })
    }
}

extension Account {
    var orderMode: OrderContext.Mode {
        switch mode {
        case .paper: .paper
        case .live: .live
        }
    }
}

/// Newest prices, asked for at most once in 250 ms per series. A price that cannot be had is none: derived fields are
/// null then, orders are shown all the same.
final class PriceCache: Sendable {
    private static let lifeNanoseconds: Int64 = 250_000_000
    private static let maximumSeries = 10_000

    private struct Entry {
        let tick: RawTick?
        let until: Int64
    }

    private let ticks: any TickLog
    private let clock: any EngineClock
    private let entries = Locked<[PriceSeries: Entry]>([:])

    init(ticks: any TickLog, clock: any EngineClock) {
        self.ticks = ticks
        self.clock = clock
    }

    func latest(_ series: PriceSeries) async -> RawTick? {
        let now = clock.monotonicNanoseconds()
        if let entry = entries.withLock({ $0[series] }), entry.until > now { return entry.tick }
        var tick: RawTick?
        do throws(TickLogError) {
            tick = try await ticks.latest(series)
        } catch {
            tick = nil
        }
        let entry = Entry(tick: tick, until: now + Self.lifeNanoseconds)
        entries.withLock { entries in
            if entries.count >= Self.maximumSeries { entries = [:] }
            entries[series] = entry
        }
        return tick
    }

    /// Milliseconds since a tick came in; nil: there is none, or it does not say.
    static func age(of tick: RawTick?, at now: Timestamp) -> Int64? {
        guard let tick, tick.receivedAt > 0 else { return nil }
        return max(0, (now.microseconds - tick.receivedAt) / 1_000)
    }

    func price(of order: SmartOrder) async -> Price? {
        let series = PriceSeries(market: order.instrument.market, source: order.triggerSource)
        return await latest(series).map { Price(units: $0.price, decimals: order.instrument.priceDecimals) }
    }
}
