// Carries out the calls that came in by links (INTERFACES.md 1.15): what a trader could have asked himself, as actor
// `hook`, past the same checks of tier, halt and rules.
//
// A call stays in the table until its outcome is stored, so it survives the process that took it; its commands have
// keys made of its id, so doing it twice is doing it once. What cannot be done now is tried again for half a minute.

internal import JSONText
internal import Logging
internal import OrderEngine
internal import OrderJSON
internal import SmartOrders

final class HookDuty: Sendable {
    private static let width = 4
    private static let pauseMs: Int64 = 1_000
    private static let maximumTries = 30

    private let backend: Backend
    private let hub: EventHub
    private let bell = Bell()

    init(backend: Backend, hub: EventHub) {
        self.backend = backend
        self.hub = hub
    }

    /// There is a new call.
    func poke() { bell.ring() }

    /// Runs until the task is cancelled.
    func run() async {
        await bell.serve(every: Self.pauseMs, backend.clock) {
            await withDiscardingTaskGroup { group in
                for _ in 0..<Self.width { group.addTask { await self.workOff() } }
            }
        }
    }

    private func workOff() async {
        do {
            while !Task.isCancelled, let call = try await backend.hooks.takeCall() {
                try await Tenancy.$accounts.withValue([call.account]) { try await work(call) }
            }
        } catch {
            // The store is away: the lease lapses, and somebody goes on.
            backend.logger.debug("Call interrupted", metadata: ["error": "\(error)"])
        }
    }

    // MARK: One call

    private func work(_ given: HookCall) async throws {
        var call = given
        do {
            try await carryOut(&call)
        } catch let error as CommandError {
            switch error {
            case .refused(let refusals):
                call.refuse(refusals.first?.code.rawValue ?? RequestCode.internalError.rawValue)
                if call.detail.isEmpty { call.detail = refusals.first?.detail ?? "" }
            case .keyReused: call.refuse(RequestCode.idempotencyKeyReused.rawValue)
            case .versionMismatch: later(&call, .versionMismatch)
            case .priceUnavailable: later(&call, .priceUnavailable)
            case .venueUnavailable: later(&call, .venueUnavailable)
            case .recovering: later(&call, .recovering)
            case .keyBusy: later(&call, .idempotencyInProgress)
            case .unavailable: later(&call, .storeUnavailable)
            }
        } catch let refusal as Refusal {
            call.refuse(refusal.code.rawValue)
            if call.detail.isEmpty { call.detail = refusal.detail }
        } catch {
            let problem = Problem(error)
            if problem.document.isRetryable {
                later(&call, RequestCode(rawValue: problem.document.code) ?? .storeUnavailable)
            } else {
                call.refuse(problem.document.code)
                if call.detail.isEmpty { call.detail = problem.document.detail }
            }
        }
        hub.poke()
        try await backend.hooks.settle(call)
    }

    private func later(_ call: inout HookCall, _ code: RequestCode) {
        guard call.tries >= Self.maximumTries else { return }
        call.outcome = .failed
        call.code = code.rawValue
    }

    private func carryOut(_ call: inout HookCall) async throws {
        guard let hook = try await backend.hooks.hook(call.hook, of: call.account), !hook.isDeleted, hook.isEnabled
        else { throw Problem(.linkGone, "The link was ended or switched off.") }
        try await backend.checkMode(of: hook)
        let alert = Self.alert(call.body)
        switch hook.action {
        case .create:
            call.order = try await create(hook, alert, call)
        case .close: try await each(hook, &call) { $0.isOpen ? .closeMarket : nil }
        case .cancel: try await each(hook, &call) { _ in .cancel }
        case .openNow: try await each(hook, &call) { $0.smart?.status == .pending ? .openNow : nil }
        case .moveStop:
            guard let price = HookRoutes.word(alert["stopLoss"] ?? alert["price"]).flatMap({ Price($0) }) else {
                throw Problem(.missingField, "stopLoss, or price, says where the stop goes.")
            }
            try await each(hook, &call) { stored in
                guard let order = stored.smart else { return nil }
                return try Self.moving(order, to: price)
            }
        }
        call.outcome = .done
    }

    private static func alert(_ body: String) -> JSONValue {
        do throws(JSONError) {
            return try JSONValue(parsing: Array(body.utf8), limits: JSONLimits(depth: 16, bytes: 16 << 10))
        } catch {
            // Text that says nothing.
            return .object([:])
        }
    }

    /// A stop that only tightens: a link may be in wrong hands.
    private static func moving(_ order: SmartOrder, to price: Price) throws -> Command? {
        guard var plan = order.draft.stopLoss else {
            throw Problem(.notFound, "The order has no fixed stop to move.")
        }
        guard plan.price != price else { return nil }
        let isTighter =
            switch order.side {
            case .buy: price > plan.price
            case .sell: price < plan.price
            }
        guard isTighter else {
            throw Refusal(.slWrongSide, field: "stopLoss", "A link only tightens a stop: it is at \(plan.price).")
        }
        plan.price = price
        var edit = OrderEdit()
        edit.stopLoss = .some(plan)
        return .edit(edit)
    }

    /// One command on the link's order, or on each order of its market.
    private func each(
        _ hook: Hook,
        _ call: inout HookCall,
        _ command: (StoredOrder) throws -> Command?,
    ) async throws {
        let ids: [OrderID]
        if let order = hook.order {
            ids = [order]
            call.order = order
        } else {
            ids = try await backend.traders.openOrders(of: hook.account, market: hook.market)
        }
        var first: (any Error)?
        var done = 0
        for id in ids {
            do {
                guard let stored = try await backend.orders.load([id]).first, stored.account == hook.account else {
                    throw Problem.notFound
                }
                guard !stored.isTerminal else {
                    // Of many, those that ended meanwhile are not meant.
                    guard hook.order != nil else { continue }
                    throw Refusal(.orderTerminal, "The order has ended.")
                }
                guard let wanted = try command(stored) else { continue }
                _ = try await commands(of: hook).execute(
                    wanted,
                    on: id,
                    // A stop was compared with the stop of this version.
                    version: hook.action == .moveStop ? stored.version : nil,
                    actor: Actor(kind: .hook, id: hook.id.description),
                    idempotency: Self.record(hook, call, "\(id)"),
                    requestID: call.id.description,
                )
                done += 1
            } catch {
                first = first ?? error
            }
        }
        if ids.count > 1 { call.detail = "\(done) of \(ids.count) orders" }
        if let first { throw first }
    }

    /// A link that took its account for paper gives it no new exposure once it trades live, even when the switch comes
    /// between the look at its mode and the commit.
    private func commands(of hook: Hook) -> CommandService {
        var commands = backend.commands
        switch hook.mode {
        case .paper: commands.isLiveEnabled = false
        case .live: break
        }
        return commands
    }

    private static func record(_ hook: Hook, _ call: HookCall, _ part: String) -> IdempotencyRecord {
        IdempotencyRecord(owner: "hook \(hook.id)", key: "\(call.id) \(part)", requestHash: hook.action.rawValue)
    }

    // MARK: Create

    private func create(_ hook: Hook, _ alert: JSONValue, _ call: HookCall) async throws -> OrderID {
        guard let preset = try await backend.panel.presets(of: hook.user).first(where: { $0.id == hook.preset }) else {
            throw Problem(.notFound, "The preset is gone.")
        }
        var request = try DraftRequest(JSONField(.object(try Self.draft(preset, alert, hook.account))))
        try await request.takeDefaults(backend)
        let answer = try await commands(of: hook).create(
            request.draft,
            market: request.market,
            account: request.account,
            actor: Actor(kind: .hook, id: hook.id.description),
            idempotency: Self.record(hook, call, "create"),
            requestID: call.id.description,
        )
        return answer.stored.id
    }

    /// The preset with what the alert says instead. Numbers are read as they are written.
    private static func draft(_ preset: Preset, _ alert: JSONValue, _ account: AccountID) throws -> JSONObject {
        guard case .object(var draft) = try JSONValue(parsing: preset.draft) else {
            throw Problem(.internalError, "The preset cannot be read.")
        }
        draft["accountId"] = .string(account.description)
        if draft["market"] == nil, let market = HookRoutes.word(alert["market"]) { draft["market"] = .string(market) }
        if let side = HookRoutes.word(alert["side"]) { draft["side"] = .string(side.uppercased()) }
        if let quantity = HookRoutes.word(alert["qty"]) { draft["qty"] = .string(quantity) }
        if let stop = HookRoutes.word(alert["stopLoss"]) {
            var plan: JSONObject = [:]
            if case .object(let known)? = draft["stopLoss"] { plan = known }
            plan["price"] = .string(stop)
            draft["stopLoss"] = .object(plan)
        }
        if let price = HookRoutes.word(alert["price"]), case .object(var entry)? = draft["entry"] {
            switch entry["mode"]?.text {
            case "limit", "attach": entry["price"] = .string(price)
            case "conditional": entry["trigger"] = .string(price)
            case "trailing": entry["activation"] = .string(price)
            // The market's price is what a market entry takes.
            case _: break
            }
            draft["entry"] = .object(entry)
        }
        return draft
    }
}

extension HookCall {
    fileprivate mutating func refuse(_ code: String) {
        outcome = .refused
        self.code = code
    }
}

extension StoredOrder {
    /// Something is held, or conditional and waiting.
    fileprivate var isOpen: Bool { smart?.status.isOpen ?? false }
}
