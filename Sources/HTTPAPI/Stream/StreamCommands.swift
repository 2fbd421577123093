// What a stream's client may ask, and the frames that answer (INTERFACES.md 2.3, 2.4).

internal import JSONText
internal import NIOCore
internal import OrderEngine
internal import OrderJSON
internal import OwnerThread
internal import SmartOrders

extension StreamSession {
    private static let maximumMarkets = 50

    /// Carries out one frame. A frame that is not of a documented shape closes the connection with 4400.
    func obey(_ text: [UInt8]) async {
        do throws(JSONError) {
            let json = JSONField(try JSONValue(parsing: text, limits: JSONLimits(depth: 4)))
            let id = try json.optional("id")?.prose(limit: 64)
            switch try json.string("op") {
            case "auth":
                try json.refuseUnknownKeys(except: ["op", "id", "key", "ticket"])
                let key = try json.optional("key")?.string()
                let ticket = try json.optional("ticket")?.string()
                guard (key == nil) != (ticket == nil), state.withLock({ $0.caller == nil }) else {
                    return close(CloseCode.badFrame)
                }
                await authenticate {
                    if let key { return try await self.backend.keys.caller(key: key, address: self.address) }
                    return try await self.tickets.redeem(ticket ?? "", address: self.address)
                }
            case "ping":
                try json.refuseUnknownKeys(except: ["op", "id"])
                reply(frame("pong", id) { _ in })
            case "subscribe":
                try json.refuseUnknownKeys(except: ["op", "id", "channel", "account", "from", "markets"])
                try await subscribe(json, id)
            case "unsubscribe":
                try json.refuseUnknownKeys(except: ["op", "id", "channel", "account", "markets"])
                try unsubscribe(json, id)
            default: close(CloseCode.badFrame)
            }
        } catch {
            close(CloseCode.badFrame)
        }
    }

    func authenticate(_ verify: () async throws -> Caller) async {
        do {
            let caller = try await verify()
            guard hub.admit(key: caller.keyHash) else { return close(CloseCode.tooMany) }
            let listener = state.withLock { state in
                state.caller = caller
                return state.id
            }
            boards.notices.add(listener, self)
            reply(
                frame("authenticated", nil) { writer in
                    writer.member("user", caller.user.name)
                    let scopes = APIKeyRecord.Scope.allCases.filter { caller.scopes.contains($0) }
                    writer.strings("scopes", scopes.map(\.rawValue))
                    writer.strings("accounts", caller.accountIDs.map(\.description))
                }
            )
        } catch let problem as Problem {
            close(problem.document.status == 403 ? CloseCode.forbidden : CloseCode.unauthenticated)
        } catch {
            close(CloseCode.storeAway)
        }
    }

    // MARK: Subscriptions

    /// What can be followed.
    private enum Channel: String { case orders, derived, prices, `operator` }

    /// Nil: the connection is closed, or the frame was answered with an error.
    private func channel(_ json: JSONField, _ id: String?) throws(JSONError) -> (Channel, Caller)? {
        let name = try json.string("channel")
        guard let caller = state.withLock({ $0.caller }) else {
            close(CloseCode.unauthenticated)
            return nil
        }
        guard let channel = Channel(rawValue: name) else {
            fail(Problem(.badEnum, "This server has no channel of this name.", pointer: "/channel"), id)
            return nil
        }
        return (channel, caller)
    }

    private func followed(_ json: JSONField, _ caller: Caller) throws(JSONError) -> Account? {
        let account = try json.required("account", expected: "an account id")
            .parsed(.badID, expected: "an account id") { AccountID($0) }
        guard let known = caller.accounts.first(where: { $0.id == account }) else {
            close(CloseCode.forbidden)
            return nil
        }
        return known
    }

    private func markets(_ json: JSONField) throws(JSONError) -> Set<MarketID> {
        var markets: Set<MarketID> = []
        for element in try json.required("markets", expected: "market ids").elements() {
            markets.insert(try element.parsed(.badID, expected: "a market id") { MarketID($0) })
        }
        return markets
    }

    private func subscribe(_ json: JSONField, _ id: String?) async throws(JSONError) {
        guard let (channel, caller) = try channel(json, id) else { return }
        let (count, listener) = state.withLock { state -> (Int, UInt64) in
            let others = (state.markets.isEmpty ? 0 : 1) + (state.operatorStamp == nil ? 0 : 1)
            return (state.follows.count + state.derived.count + others, state.id)
        }
        guard count < limits.subscriptions else {
            return fail(
                Problem(.tooManyStreams, "A connection has at most \(limits.subscriptions) subscriptions."),
                id,
            )
        }
        switch channel {
        case .orders: try await subscribeOrders(json, id, caller)
        case .derived:
            guard let account = try followed(json, caller) else { return }
            state.withLock { $0.derived[account.id] = 0 }
            boards.derived.follow(account, for: listener, self)
            reply(
                frame("subscribed", id) { writer in
                    writer.member("channel", channel)
                    writer.member("account", account.id.description)
                }
            )
        case .operator:
            // Who may not is told so as with an account that is not his.
            guard Self.mayOperate(caller) else { return close(CloseCode.forbidden) }
            state.withLock { $0.operatorStamp = $0.operatorStamp ?? 0 }
            boards.operators.follow(listener, self)
            reply(frame("subscribed", id) { $0.member("channel", channel) })
        case .prices:
            let wanted = try markets(json)
            let all = state.withLock { $0.markets.union(wanted) }
            guard all.count <= Self.maximumMarkets else {
                return fail(
                    Problem(.tooManyStreams, "A connection hears at most \(Self.maximumMarkets) markets."),
                    id,
                )
            }
            // From the first on: what is known of the new ones is told at once.
            state.withLock { ($0.markets, $0.priceStamp) = (all, 0) }
            boards.prices.set(all, for: listener, self)
            reply(
                frame("subscribed", id) { writer in
                    writer.member("channel", channel)
                    writer.strings("markets", all.map(\.description).sorted())
                }
            )
        }
    }

    static func mayOperate(_ caller: Caller) -> Bool {
        caller.has(.operate) && caller.user.roles.contains { $0 == .operator || $0 == .admin }
    }

    private func subscribeOrders(_ json: JSONField, _ id: String?, _ caller: Caller) async throws(JSONError) {
        guard let account = try followed(json, caller) else { return }
        var from: (epoch: Int64, sequence: Int64)?
        if let field = try json.optional("from") {
            try field.refuseUnknownKeys(except: ["epoch", "seq"])
            let epoch = try field.required("epoch").count()
            from = (epoch, try field.required("seq").count())
        }
        let listener = state.withLock { $0.id }
        do throws(StoreError) {
            let head = try await hub.follow(account, listener: listener)
            begin(account, from: from, head: head, id)
        } catch {
            fail(Problem(error), id)
        }
    }

    private func begin(_ account: Account, from: (epoch: Int64, sequence: Int64)?, head: Int64, _ id: String?) {
        let epoch = backend.epoch.now
        var reason: String?
        if let from {
            if from.epoch != epoch {
                reason = "EPOCH"
            } else if from.sequence > head {
                reason = "FUTURE"
            } else if head - from.sequence > limits.window {
                reason = "TOO_OLD"
            }
        }
        let replays = from.map { reason == nil && $0.sequence < head } ?? false
        let subscribed = frame("subscribed", id) { writer in
            writer.member("channel", Channel.orders)
            writer.member("account", account.id.description)
            writer.member("epoch", epoch)
            writer.member("head", head)
            writer.member("replay", replays)
        }
        let gap = reason.map { reason in
            frame("gap", nil) { writer in
                writer.member("account", account.id.description)
                writer.member("reason", reason)
                writer.member("oldest", max(0, head - limits.window) + 1)
                writer.member("head", head)
                writer.member("epoch", epoch)
            }
        }
        let needsSnapshot = from == nil || reason != nil
        state.withLock { state in
            state.followStamp += 1
            state.follows.removeAll { $0.account.id == account.id }
            state.follows.append(
                Follow(
                    account: account,
                    cursor: from?.sequence ?? head,
                    needsSnapshot: needsSnapshot,
                    stamp: state.followStamp,
                )
            )
            // With the follow in one step: nothing is sent between them.
            state.replies.append(ByteBuffer(bytes: subscribed))
            if let gap { state.replies.append(ByteBuffer(bytes: gap)) }
        }
        wake()
    }

    private func unsubscribe(_ json: JSONField, _ id: String?) throws(JSONError) {
        guard let (channel, caller) = try channel(json, id) else { return }
        let listener = state.withLock { $0.id }
        var account: Account?
        switch channel {
        case .orders:
            account = try followed(json, caller)
            guard let account else { return }
            state.withLock { $0.follows.removeAll { $0.account.id == account.id } }
            hub.unfollow(account.id, listener: listener)
        case .derived:
            account = try followed(json, caller)
            guard let account else { return }
            state.withLock { $0.derived[account.id] = nil }
            boards.derived.unfollow(account.id, for: listener)
        case .operator:
            state.withLock { $0.operatorStamp = nil }
            boards.operators.remove(listener)
        case .prices:
            let gone = try json.has("markets") ? markets(json) : state.withLock { $0.markets }
            let left = state.withLock { state in
                state.markets.subtract(gone)
                return state.markets
            }
            boards.prices.set(left, for: listener, self)
        }
        reply(
            frame("unsubscribed", id) { writer in
                writer.member("channel", channel)
                writer.member("account", ifPresent: account?.id.description)
            }
        )
    }

    // MARK: Frames

    private func frame(_ type: String, _ id: String?, _ write: (inout JSONWriter) -> Void) -> [UInt8] {
        var writer = JSONWriter(reserving: 256)
        writer.beginObject()
        writer.member("type", type)
        writer.member("id", ifPresent: id)
        write(&writer)
        writer.endObject()
        return writer.take()
    }

    private func fail(_ problem: Problem, _ id: String?) {
        reply(
            frame("error", id) { writer in
                writer.key("problem")
                writer.raw(problem.document.encoded())
            }
        )
    }

    func hello() -> [UInt8] {
        frame("hello", nil) { writer in
            writer.member("protocol", 1)
            writer.member("heartbeatMs", limits.heartbeatMs)
            writer.member("server", backend.configuration.version.version)
            writer.key("resumeWindow")
            writer.beginObject()
            writer.member("events", limits.window)
            writer.member("days", 7)
            writer.endObject()
            writer.member("maxFrameBytes", 1 << 20)
        }
    }

    func heartbeat(_ heads: [(account: AccountID, head: Int64)]) -> [UInt8] {
        frame("heartbeat", nil) { writer in
            writer.member("at", backend.clock.now())
            writer.key("heads")
            writer.beginObject()
            for (account, head) in heads {
                writer.key(escaping: account.description)
                writer.integer(head)
            }
            writer.endObject()
        }
    }
}

extension JSONWriter {
    fileprivate mutating func strings(_ key: StaticString, _ texts: [String]) {
        self.key(key)
        beginArray()
        for text in texts { string(text) }
        endArray()
    }
}
