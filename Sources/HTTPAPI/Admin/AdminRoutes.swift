// What operators read and do over HTTP (INTERFACES.md 4.12).
//
// Reading needs a role that may look (VIEWER, OPERATOR, ADMIN), acting the scope `operate` or `admin` and the role that
// bounds it: a role that was taken away counts at once, whatever the key says. Every action has a reason, an idempotency
// key, and a line of the audit in its transaction. What cannot be taken back easily has two steps: the first answer says
// what will happen and gives a code that is good for 60 s, the second request carries it.

internal import Crypto
internal import HTTPTypes
internal import HummingbirdCore
internal import JSONText
internal import NIOCore
internal import OrderEngine
internal import OrderJSON
internal import SmartOrders

struct AdminRoutes: Sendable {
    let backend: Backend
    let hub: EventHub
    let control: any ClusterControl
    let operators: any OperatorStore
    let queue: any QueueControl
    let batches: BatchDuty
    let bulk: BulkDuty

    static let path = "/v1/admin"
    static let json = ["application/json"]
    private static let lines = "application/x-ndjson"
    static let codeLifeMs: Int64 = 60_000

    var routes: [Route] {
        reading + acting + administering + ClusterAdminRoutes(admin: self, batches: batches).routes
            + FeedAdminRoutes(admin: self).routes
            + QueueAdminRoutes(admin: self, queue: queue, duty: bulk).routes
    }

    private var reading: [Route] {
        [
            one("/overview", .overview), list("/venues", .venues), list("/feeds", .feeds), list("/feeds/gaps", .gaps),
            list("/outbox", .outbox),
            list("/webhooks/dead", .deadDeliveries), one("/stores", .stores), list("/accounts", .accounts),
            list("/orders", .orders), one("/recovery", .recovery), list("/audit", .audit), list("/batches", .batches),
            found("/batches/{id}", .batches),
        ]
    }

    private var acting: [Route] {
        [
            post("/outbox/flush") { call, caller, order in
                try await act(.flushOutbox, "outbox.flush", "outbox", call, caller, order)
            },
            post("/webhooks/resend", fields: ["webhookId"]) { call, caller, order in
                let field = try order.json.optional("webhookId")
                let id = try field?.parsed(.badID, expected: "a webhook's id") { UniqueID($0) }
                return try await act(
                    .resendDead(webhook: id),
                    "webhooks.resend",
                    id.map { "webhook \($0)" } ?? "webhooks",
                    call,
                    caller,
                    order,
                )
            },
            post("/orders/{id}/cancel") { call, caller, order in
                try await command(.cancel, "orders.cancel", call, caller, order)
            },
            post("/orders/{id}/close") { call, caller, order in
                try await command(.closeMarket, "orders.close", call, caller, order)
            },
            post("/orders/{id}/resolve", fields: ["intent", "as", "price", "evidence", "code"], resolve),
            post("/audit/verify", verify), post("/batches/{id}/cancel", cancelBatch),
        ]
    }

    private var administering: [Route] {
        [
            list("/users", .users, scope: .admin), list("/keys", .keys, scope: .admin),
            post("/users", scope: .admin, fields: ["name", "tier", "roles"], addUser),
            Route(
                method: .patch,
                pattern: Self.path + "/users/{id}",
                policy: .admin,
                scope: .admin,
                bodyTypes: Self.json,
                handler: changeUser,
            ),
            post("/accounts/{id}/approve-live", scope: .admin, approveLive),
            post("/recovery/confirm", scope: .admin, fields: ["code"], confirmRecovery),
            Route(method: .get, pattern: Self.path + "/config", policy: .admin, scope: .admin) { call in
                _ = try actor(call, .admin)
                try call.query.check(known: [])
                return .list(backend.configuration.settings) { writer, setting in
                    writer.beginObject()
                    writer.member("name", setting.name)
                    writer.member("value", setting.value)
                    writer.member("origin", setting.origin)
                    writer.endObject()
                }
            },
        ]
    }

    // MARK: Who

    /// Whoever may look.
    func reader(_ call: Call) throws -> Caller {
        let caller = try call.requireCaller()
        guard caller.user.roles.contains(where: { $0 == .viewer || $0 == .operator || $0 == .admin }) else {
            throw Self.lacking(.viewer)
        }
        return caller
    }

    /// Whoever may act: the route asked for the scope.
    func actor(_ call: Call, _ scope: APIKeyRecord.Scope) throws -> Caller {
        let caller = try call.requireCaller()
        let roles = caller.user.roles
        switch scope {
        case .admin: guard roles.contains(.admin) else { throw Self.lacking(.admin) }
        case .read, .trade, .operate:
            guard roles.contains(.operator) || roles.contains(.admin) else { throw Self.lacking(.operator) }
        }
        return caller
    }

    private static func lacking(_ role: User.Role) -> Problem {
        var problem = Problem(.roleRequired, "The user needs the role \(role.rawValue).")
        problem.document.members["required"] = .string(role.rawValue)
        return problem
    }

    // MARK: Reading

    private func list(
        _ path: String,
        _ list: OperatorList,
        scope: APIKeyRecord.Scope = .read,
    ) -> Route {
        Route(
            method: .get,
            pattern: Self.path + path,
            policy: .admin,
            scope: scope,
            answers: list == .audit ? ["application/json", Self.lines] : ["application/json"],
        ) { call in
            _ = try scope == .read ? reader(call) : actor(call, scope)
            try call.query.check(known: ["subject", "cursor", "limit"])
            let subject = call.query["subject"]
            if let subject, !Self.isWord(subject) { throw Problem(.badQuery, "subject is an id or a word.") }
            let filters = "admin \(list.rawValue) \(subject ?? "")"
            let place = try ListPlace(call, backend, filters: filters, now: backend.clock.now())
            if list == .audit, call.headers[.accept]?.contains(Self.lines) ?? false {
                return export(list, subject: subject, after: place.after?.key)
            }
            let rows = try await operators.rows(list, subject: subject, after: place.after?.key, limit: place.limit)
            let next = place.next(count: rows.count, key: rows.last?.key)
            return .list(rows, next: next, of: call) { $0.raw($1.json) }
        }
    }

    /// The whole list, one object a line.
    private func export(_ list: OperatorList, subject: String?, after: String?) -> Reply {
        let operators = operators
        return Reply(
            status: .ok,
            headers: [.contentType: Self.lines],
            body: .stream { writer in
                var key = after
                repeat {
                    let rows = try await operators.rows(list, subject: subject, after: key, limit: 500)
                    var text = ByteBuffer()
                    for row in rows {
                        text.writeBytes(row.json)
                        text.writeInteger(UInt8(ascii: "\n"))
                    }
                    if text.readableBytes > 0 { try await writer.write(text) }
                    key = rows.last?.key
                } while key != nil
                try await writer.finish(nil)
            },
        )
    }

    private func one(_ path: String, _ list: OperatorList) -> Route {
        Route(method: .get, pattern: Self.path + path, policy: .admin, scope: .read) { call in
            _ = try reader(call)
            try call.query.check(known: [])
            return .json(.ok, try await row(list, nil))
        }
    }

    private func found(_ path: String, _ list: OperatorList) -> Route {
        Route(method: .get, pattern: Self.path + path, policy: .admin, scope: .read) { call in
            _ = try reader(call)
            try call.query.check(known: [])
            return .json(.ok, try await row(list, call.captures[0]))
        }
    }

    /// What a database takes as text, and nothing longer than any id here.
    static func isWord(_ text: String) -> Bool {
        text.unicodeScalars.count <= 100 && text.unicodeScalars.allSatisfy { $0.value >= 0x20 }
    }

    func row(_ list: OperatorList, _ subject: String?) async throws -> [UInt8] {
        guard subject.map({ Self.isWord($0) }) ?? true,
            let row = try await operators.rows(list, subject: subject, after: nil, limit: 1).first
        else {
            throw Problem.notFound
        }
        return row.json
    }

    // MARK: Acting

    /// What an action's body says.
    struct Order: Sendable {
        let body: JSONValue
        let reason: String
        var json: JSONField { JSONField(body) }
    }

    typealias Act = @Sendable (Call, Caller, Order) async throws -> Reply

    func order(_ call: Call, _ fields: Set<String>) throws -> Order {
        let body = try call.json(backend.configuration.limits)
        let json = JSONField(body)
        try json.refuseUnknownKeys(except: fields.union(["reason"]))
        let reason = try json.required("reason", expected: "why").prose(limit: 1_000)
        guard !reason.isEmpty else { throw try json.required("reason").error(.missingField, expected: "why") }
        return Order(body: body, reason: reason)
    }

    func post(
        _ path: String,
        scope: APIKeyRecord.Scope = .operate,
        fields: Set<String> = [],
        _ act: @escaping Act,
    ) -> Route {
        Route(
            method: .post,
            pattern: Self.path + path,
            policy: .admin,
            scope: scope,
            needsIdempotencyKey: true,
            bodyTypes: Self.json,
        ) { call in
            let caller = try actor(call, scope)
            let order = try order(call, fields)
            // Before anything is looked at: what was done once is in the way of doing it again.
            if let known = try await backend.known(call, caller, order.body) { return known }
            return try await act(call, caller, order)
        }
    }

    /// What the port of the operator's commands keeps of who asked, and why.
    func note(_ caller: Caller, _ order: Order) -> OperatorNote {
        OperatorNote(actor: Self.name(of: caller), reason: order.reason)
    }

    func audit(
        _ action: String,
        _ target: String,
        _ call: Call,
        _ caller: Caller,
        _ order: Order,
        before: [UInt8]? = nil,
        after: [UInt8]? = nil,
    ) -> OperatorAudit {
        let door: OperatorAudit.Door
        switch caller.proof {
        case .key: door = .api
        case .cookie: door = .board
        }
        return OperatorAudit(
            actor: Self.name(of: caller),
            door: door,
            action: action,
            target: target,
            reason: order.reason,
            before: before,
            after: after,
            requestID: call.requestID,
        )
    }

    /// Does it once, and answers with what was done.
    func act(
        _ action: OperatorAction,
        _ name: String,
        _ target: String,
        _ call: Call,
        _ caller: Caller,
        _ order: Order,
        before: [UInt8]? = nil,
        after: [UInt8]? = nil,
    ) async throws -> Reply {
        let line = audit(name, target, call, caller, order, before: before, after: after)
        return try await backend.once(call, caller, order.body, status: .ok, Self.done(name, target, order)) { answer in
            try await operators.act(action, audit: line, answer: answer)
        }
    }

    // MARK: Two steps

    /// Good for 60 s, for this act and this person, at any api process.
    func newCode(for what: String, of caller: Caller) -> String {
        let until = backend.clock.now().milliseconds + Self.codeLifeMs
        return "\(until)-\(signature(what, caller, until))"
    }

    func check(_ code: String, for what: String, of caller: Caller) throws {
        let parts = code.split(separator: "-", maxSplits: 1)
        guard parts.count == 2, let until = Int64(parts[0]), until > backend.clock.now().milliseconds,
            signature(what, caller, until) == parts[1]
        else { throw Problem(.confirmMismatch, "The code is not of this act, or older than 60 s.", pointer: "/code") }
    }

    private func signature(_ what: String, _ caller: Caller, _ until: Int64) -> String {
        let key = SymmetricKey(data: backend.configuration.cursorKey)
        let text = Array("two steps: \(what) \(caller.user.id) \(until)".utf8)
        return base64URL(Array(HMAC<SHA256>.authenticationCode(for: text, using: key).prefix(12)))
    }

    // MARK: Orders, batches, audit

    /// Does what may be done twice and audits itself, and keeps the answer.
    // Not inlined: the optimiser of Swift 6.3 crashes on asynchronous functions with this in them.
    @inline(never)
    func once(
        _ name: String,
        _ target: String,
        _ call: Call,
        _ caller: Caller,
        _ order: Order,
        _ act: () async throws -> Void,
    ) async throws -> Reply {
        try await backend.once(call, caller, order.body, status: .ok, Self.done(name, target, order)) { answer in
            try await act()
            return try await operators.keep(answer)
        }
    }

    private static func done(_ name: String, _ target: String, _ order: Order) -> [UInt8] {
        var writer = JSONWriter()
        writer.beginObject()
        writer.member("action", name)
        writer.member("target", target)
        writer.member("reason", order.reason)
        writer.endObject()
        return writer.take()
    }

    static func name(of caller: Caller) -> String { "\(caller.user.name) (\(AccountSettingRoutes.name(of: caller)))" }

    private func command(
        _ command: Command,
        _ name: String,
        _ call: Call,
        _ caller: Caller,
        _ order: Order,
    ) async throws -> Reply {
        guard let id = OrderID(call.captures[0]) else { throw Problem.notFound }
        guard let account = try await operators.account(of: id) else {
            throw Problem.notFound
        }
        // The order changes in a transaction of its own, once per key; the line of the audit follows, once per key.
        let answer = try await Tenancy.$accounts.withValue([account]) {
            try await backend.commands.execute(
                command,
                on: id,
                version: nil,
                actor: Actor(kind: .operator, id: caller.user.name),
                idempotency: OrderRoutes.record(call, order.body, caller),
                requestID: call.requestID,
            )
        }
        hub.poke()
        let after = Array(#"{"version":\#(answer.stored.version),"status":"\#(answer.stored.statusName)"}"#.utf8)
        return try await act(.note, name, "order \(id)", call, caller, order, after: after)
    }

    @Sendable
    private func cancelBatch(_ call: Call, _ caller: Caller, _ order: Order) async throws -> Reply {
        let id = call.captures[0]
        let before = try await row(.batches, id)
        guard let state = try JSONValue(parsing: before)["state"]?.text, state != "done", state != "cancelled" else {
            throw Problem(.batchDone, "The batch has ended.")
        }
        return try await act(
            .cancelBatch(id),
            "jobs.batches.cancel",
            "batch \(id)",
            call,
            caller,
            order,
            before: before,
        )
    }

    @Sendable
    private func verify(_ call: Call, _ caller: Caller, _ order: Order) async throws -> Reply {
        let verdict = try await operators.verifyAudit()
        return .json { writer in
            writer.member("lines", verdict.lines)
            writer.member("intact", verdict.broken == nil)
            writer.member("brokenAt", orNull: verdict.broken)
        }
    }

    // MARK: Users, live

    private func roles(_ json: JSONField) throws -> [User.Role]? {
        guard let field = try json.optional("roles") else { return nil }
        var roles: [User.Role] = []
        for element in try field.elements() {
            let role: User.Role = try element.choice()
            if !roles.contains(role) { roles.append(role) }
        }
        return roles
    }

    @Sendable
    private func addUser(_ call: Call, _ caller: Caller, _ order: Order) async throws -> Reply {
        let name = try order.json.required("name", expected: "a name").prose(limit: 100)
        guard !name.isEmpty else { throw try order.json.required("name").error(.wrongType, expected: "a name") }
        guard try await operators.rows(.users, subject: name, after: nil, limit: 1).isEmpty else {
            throw Problem(.resourceLimit, "There is a user of this name.")
        }
        let user = User(
            id: backend.newID(),
            name: name,
            tier: try order.json.optional("tier")?.choice() ?? .free,
            roles: try roles(order.json) ?? [.trader],
        )
        var writer = JSONWriter()
        writer.user(user)
        let made = writer.take()
        let line = audit("users.create", "user \(user.id)", call, caller, order, after: made)
        return try await backend.once(call, caller, order.body, status: .created, made) { answer in
            try await operators.act(.addUser(user), audit: line, answer: answer)
        }
    }

    private func changeUser(_ call: Call) async throws -> Reply {
        let caller = try actor(call, .admin)
        let order = try order(call, ["tier", "roles"])
        guard let id = UniqueID(call.captures[0]) else { throw Problem.notFound }
        let before = try await row(.users, "\(id)")
        let tier: AccountStanding.Tier? = try order.json.optional("tier")?.choice()
        let line = audit("users.change", "user \(id)", call, caller, order, before: before)
        try await operators.act(.changeUser(id, tier, try roles(order.json)), audit: line)
        backend.keys.forget(user: id)
        return .json(.ok, try await row(.users, "\(id)"))
    }

    /// The conditions are those of the switch itself, looked at once more.
    @Sendable
    private func approveLive(_ call: Call, _ caller: Caller, _ order: Order) async throws -> Reply {
        guard let id = AccountID(call.captures[0]) else { throw Problem.notFound }
        guard let account = try await operators.account(id) else { throw Problem.notFound }
        guard let version = try await operators.liveRequest(of: id) else { throw Problem.notFound }
        return try await Tenancy.$accounts.withValue([id]) {
            let overview = try await backend.overview(account)
            try overview.checkLive(isLiveEnabled: backend.commands.isLiveEnabled, now: backend.clock.now())
            try AccountSettingRoutes.checkIdle(overview)
            let line = AuditLine(
                actor: audit("", "", call, caller, order).actor,
                action: "account.mode",
                reason: "PAPER to LIVE, approved: \(order.reason)",
            )
            guard try await backend.panel.set(.live, of: id, version: version, audit: line) else {
                throw try overview.mismatch()
            }
            backend.keys.forget(account: id)
            return try await act(.note, "accounts.approveLive", "account \(id)", call, caller, order)
        }
    }
}

extension JSONWriter {
    fileprivate mutating func user(_ user: User) {
        beginObject()
        member("id", user.id.description)
        member("name", user.name)
        member("tier", user.tier)
        key("roles")
        beginArray()
        for role in user.roles { string(role.rawValue) }
        endArray()
        endObject()
    }
}
