// What a stream's client may ask, and the frames that answer (INTERFACES.md 2.3, 2.4).

internal import JSONText
internal import NIOCore
internal import OrderEngine
internal import OrderJSON
internal import OwnerThread
internal import SmartOrders

extension StreamSession {
    private static let snapshotPage = 50
    /// Ended orders that a snapshot looks at, newest first, for those that ended within a day.
    private static let endedOrders = 1_000
    private static let dayMicroseconds: Int64 = 86_400_000_000

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
                    return try self.tickets.redeem(ticket ?? "", now: self.backend.clock.monotonicNanoseconds())
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
            state.withLock { $0.caller = caller }
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

    private func followed(_ json: JSONField, _ id: String?) throws(JSONError) -> Account? {
        let channel = try json.string("channel")
        guard let caller = state.withLock({ $0.caller }) else {
            close(CloseCode.unauthenticated)
            return nil
        }
        guard channel == "orders" else {
            fail(Problem(.badEnum, "This server has no channel of this name.", pointer: "/channel"), id)
            return nil
        }
        let account = try json.required("account", expected: "an account id")
            .parsed(.badID, expected: "an account id") { AccountID($0) }
        guard let known = caller.accounts.first(where: { $0.id == account }) else {
            close(CloseCode.forbidden)
            return nil
        }
        return known
    }

    private func subscribe(_ json: JSONField, _ id: String?) async throws(JSONError) {
        guard let account = try followed(json, id) else { return }
        var from: (epoch: Int64, sequence: Int64)?
        if let field = try json.optional("from") {
            try field.refuseUnknownKeys(except: ["epoch", "seq"])
            let epoch = try field.required("epoch").count()
            from = (epoch, try field.required("seq").count())
        }
        let (listener, count) = state.withLock { ($0.id, $0.follows.count) }
        guard count < limits.subscriptions else {
            return fail(
                Problem(.tooManyStreams, "A connection has at most \(limits.subscriptions) subscriptions."),
                id,
            )
        }
        do throws(StoreError) {
            let head = try await hub.follow(account, listener: listener)
            begin(account, from: from, head: head, id)
        } catch {
            fail(Problem(error), id)
        }
    }

    private func begin(_ account: Account, from: (epoch: Int64, sequence: Int64)?, head: Int64, _ id: String?) {
        let epoch = backend.configuration.epoch
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
            writer.member("channel", "orders")
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
        let follow = Follow(account: account, cursor: from?.sequence ?? head, needsSnapshot: needsSnapshot)
        state.withLock { state in
            state.follows.removeAll { $0.account.id == account.id }
            state.follows.append(follow)
            // With the follow in one step: nothing is sent between them.
            state.replies.append(ByteBuffer(bytes: subscribed))
            if let gap { state.replies.append(ByteBuffer(bytes: gap)) }
        }
        wake()
    }

    private func unsubscribe(_ json: JSONField, _ id: String?) throws(JSONError) {
        guard let account = try followed(json, id) else { return }
        let listener = state.withLock { state in
            state.follows.removeAll { $0.account.id == account.id }
            return state.id
        }
        hub.unfollow(account.id, listener: listener)
        reply(
            frame("unsubscribed", id) { writer in
                writer.member("channel", "orders")
                writer.member("account", account.id.description)
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

    /// Writes the open orders, and those that ended within a day, in parts. The sequence is read first: an order in a
    /// part may be newer than it, and its event then comes again with a version that the client holds already.
    /// - Returns: the sequence from which events follow.
    func writeSnapshot(_ account: Account, _ send: ([UInt8]) async throws -> Void) async throws -> Int64 {
        let sequence = try await backend.orders.lastSequence(account: account.id)
        let since = backend.clock.now().microseconds - Self.dayMicroseconds
        var part = 0
        var filter = OrderFilter(account: account.id, limit: Self.snapshotPage)
        filter.statuses = ["PENDING", "ACTIVE", "PARTIALLY_CLOSED", "TRIGGERED"]
        while true {
            let orders = try await backend.orders.list(filter)
            if !orders.isEmpty {
                part += 1
                try await send(await snapshot(account, sequence, orders, part: part, isLast: false))
            }
            guard orders.count == Self.snapshotPage, let last = orders.last else { break }
            filter.before = last.id
        }
        filter = OrderFilter(account: account.id, limit: Self.snapshotPage)
        filter.statuses = ["CLOSED", "STOPPED", "CANCELLED", "FAILED", "FILLED"]
        var seen = 0
        while seen < Self.endedOrders {
            let orders = try await backend.orders.list(filter)
            seen += orders.count
            let recent = orders.filter { $0.updatedAt.microseconds >= since }
            if !recent.isEmpty {
                part += 1
                try await send(await snapshot(account, sequence, recent, part: part, isLast: false))
            }
            guard orders.count == Self.snapshotPage, let last = orders.last else { break }
            filter.before = last.id
        }
        try await send(await snapshot(account, sequence, [], part: part + 1, isLast: true))
        return sequence
    }

    private func snapshot(
        _ account: Account,
        _ sequence: Int64,
        _ orders: [StoredOrder],
        part: Int,
        isLast: Bool,
    ) async
        -> [UInt8]
    {
        var writer = JSONWriter(reserving: 256 + 4_096 * orders.count)
        writer.beginObject()
        writer.member("type", "snapshot")
        writer.member("account", account.id.description)
        writer.member("epoch", backend.configuration.epoch)
        writer.member("seq", sequence)
        writer.key("orders")
        writer.beginArray()
        for order in orders.compactMap(\.smart) {
            writer.order(order, context: await backend.context(of: order, in: account))
        }
        writer.endArray()
        writer.key("conditionalOrders")
        writer.beginArray()
        for order in orders.compactMap(\.conditional) { writer.conditionalOrder(order, mode: account.orderMode) }
        writer.endArray()
        writer.member("part", part)
        writer.member("last", isLast)
        writer.endObject()
        return writer.take()
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
