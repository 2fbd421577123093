// Smart orders: create, read, and the commands (INTERFACES.md 1.9, 1.11).

internal import HTTPTypes
internal import JSONText
internal import NIOCore
internal import OrderEngine
internal import OrderJSON
internal import SmartOrders

struct OrderRoutes: Sendable {
    let backend: Backend
    let hub: EventHub

    var routes: [Route] { reading + previews + changing + protecting + sharing }

    static let json = ["application/json"]

    private var changing: [Route] {
        [
            Route(
                method: .post,
                pattern: "/v1/orders",
                policy: .trade,
                needsIdempotencyKey: true,
                bodyTypes: Self.json,
                mayWait: true,
                handler: create,
            ),
            Route(
                method: .patch,
                pattern: "/v1/orders/{id}",
                policy: .trade,
                policyOf: { call in await policy(of: call) },
                ifMatch: .required,
                bodyTypes: Self.json + ["application/merge-patch+json"],
                keepsAnswer: true,
                mayWait: true,
                handler: edit,
            ),
            command("open-now", .trade) { _, _ in .openNow },
            command("add-funds", .trade, fields: ["qty", "limitPrice"]) { body, _ throws(JSONError) in
                .addFunds(try body.measure("qty"), limitPrice: try body.optionalMeasure("limitPrice"))
            },
        ]
    }

    private var protecting: [Route] {
        [
            Route(
                method: .delete,
                pattern: "/v1/orders/{id}",
                policy: .protect,
                ifMatch: .requiredOrAny,
                bodyTypes: Self.json,
                keepsAnswer: true,
                mayWait: true,
                handler: cancel,
            ),
            command("reduce-funds", .protect, fields: ["qty", "pct"], OrderRoutes.reduction),
            command("close", .protect, ifMatch: .requiredOrAny) { _, _ in .closeMarket },
            command("cancel-entry", .protect) { _, _ in .cancelEntry },
            Route(
                method: .post,
                pattern: "/v1/orders/{id}/refresh",
                policy: .protect,
                needsIdempotencyKey: true,
                ifMatch: .requiredOrAny,
                bodyTypes: Self.json,
                isLong: true,
                handler: refresh,
            ),
            Route(
                method: .post,
                pattern: "/v1/orders/{id}/take-profits/{level}/close",
                policy: .protect,
                needsIdempotencyKey: true,
                ifMatch: .required,
                bodyTypes: Self.json,
                mayWait: true,
            ) { call in
                let level = try OrderRoutes.level(call)
                return try await act(call, fields: []) { _, _ in .closeLevel(level) }
            },
            Route(
                method: .delete,
                pattern: "/v1/orders/{id}/take-profits/{level}",
                policy: .trade,
                ifMatch: .required,
                bodyTypes: Self.json,
                keepsAnswer: true,
                mayWait: true,
            ) { call in
                let level = try OrderRoutes.level(call)
                return try await act(call, fields: [], status: .ok) { _, _ in
                    var edit = OrderEdit()
                    edit.cancelLevel = level
                    return .edit(edit)
                }
            },
        ]
    }

    // MARK: Create

    private func create(_ call: Call) async throws -> Reply {
        let caller = try call.requireCaller()
        let body = try call.json(backend.configuration.limits)
        var request = try DraftRequest(JSONField(body))
        _ = try caller.account(request.account)
        try await request.takeDefaults(backend)
        let show: Showing = { order, status in
            // Nobody had the time to change its note.
            var reply = try await backend.show(order, caller, status, mayHaveNote: false)
            reply.headers[.location] = "/v1/orders/\(order.id)"
            return reply
        }
        let answer = try await backend.commands(of: caller, on: request.account).create(
            request.draft,
            market: request.market,
            account: request.account,
            actor: caller.actor,
            idempotency: Self.record(call, body, caller),
            requestID: call.requestID,
            answering: { try await show($0, .created).kept },
        )
        hub.poke()
        if let reply = try await backend.waited(answer, call, as: .created, show) { return reply }
        return try await answer.told(.created, idle: .created, show)
    }

    static func checkClientOrderID(_ json: JSONField, _ id: String?) throws(JSONError) {
        guard let id else { return }
        let isGood =
            (1...48).contains(id.utf8.count)
            && id.unicodeScalars.allSatisfy {
                $0.isASCII && ($0.properties.isAlphabetic || ("0"..."9").contains($0) || $0 == "_" || $0 == "-")
            }
        guard isGood else {
            throw try json.required("clientOrderId").error(
                .badID,
                expected: "1 to 48 of the characters A-Z a-z 0-9 _ -",
            )
        }
    }

    static func record(_ call: Call, _ body: JSONValue, _ caller: Caller) -> IdempotencyRecord? {
        call.idempotencyKey.map { key in
            IdempotencyRecord(
                owner: caller.owner,
                key: key,
                requestHash: fingerprint(method: call.method.rawValue, path: call.path, body: body),
            )
        }
    }

    // MARK: Commands

    private typealias Reading = @Sendable (JSONField, SmartOrder) throws -> Command

    private func command(
        _ name: String,
        _ policy: RatePolicy,
        ifMatch: Route.IfMatchRule = .required,
        fields: Set<String> = [],
        _ read: @escaping Reading,
    ) -> Route {
        Route(
            method: .post,
            pattern: "/v1/orders/{id}/\(name)",
            policy: policy,
            needsIdempotencyKey: true,
            ifMatch: ifMatch,
            bodyTypes: Self.json,
            mayWait: true,
        ) { call in try await act(call, fields: fields, read) }
    }

    private static func level(_ call: Call) throws -> Int {
        guard let level = Int(call.captures[1]), (1...999).contains(level) else { throw Problem.notFound }
        return level
    }

    private func cancel(_ call: Call) async throws -> Reply {
        try call.query.check(known: ["leaveEntry"])
        let leavesEntry: Bool
        switch call.query["leaveEntry"] {
        case nil, "false": leavesEntry = false
        case "true": leavesEntry = true
        case _: throw Problem(.badQuery, "leaveEntry is true or false.")
        }
        return try await act(call, fields: []) { _, _ in leavesEntry ? .cancelLeavingEntry : .cancel }
    }

    @Sendable
    static func reduction(_ body: JSONField, of order: SmartOrder) throws -> Command {
        let quantity: Quantity? = try body.optionalMeasure("qty")
        let percent = try body.optional("pct")?.decimal()
        switch (quantity, percent) {
        case (let quantity?, nil): return .reduceFunds(quantity)
        case (nil, let percent?):
            let share = ExactDecimal.quotient(
                order.remaining.value * percent,
                over: ExactDecimal(100),
                step: order.instrument.stepSize.value,
                .floor,
            )
            return .reduceFunds(Quantity(share))
        case (_?, _?): throw body.error(.wrongType, expected: "only one of qty and pct")
        case (nil, nil): throw body.error(.missingField, expected: "qty or pct")
        }
    }

    /// Reads the body, carries the command out, answers with the order.
    private func act(
        _ call: Call,
        fields: Set<String>,
        status: HTTPResponse.Status = .accepted,
        _ read: Reading,
    ) async throws -> Reply {
        let caller = try call.requireCaller()
        let order = try await backend.order(call.captures[0], of: caller)
        let body = try call.json(backend.configuration.limits)
        let json = JSONField(body)
        try json.refuseUnknownKeys(except: fields)
        let command = try read(json, order)
        let show: Showing = { order, status in try await backend.show(order, caller, status) }
        let answer = try await execute(command, on: order, call, body, caller) { try await show($0, status).kept }
        if let reply = try await backend.waited(answer, call, show) { return reply }
        return try await answer.told(status, idle: .ok, show)
    }

    private func execute(
        _ command: Command,
        on order: SmartOrder,
        _ call: Call,
        _ body: JSONValue,
        _ caller: Caller,
        _ answering: @escaping CommandService.Answering,
    ) async throws -> CommandAnswer {
        do throws(CommandError) {
            let answer = try await backend.commands(of: caller, on: order.account).execute(
                command,
                on: order.id,
                version: call.ifMatch?.version,
                actor: caller.actor,
                idempotency: Self.record(call, body, caller),
                requestID: call.requestID,
                answering: answering,
            )
            hub.poke()
            return answer
        } catch {
            if case .refused(let refusals) = error { await backend.note(refusals, of: order.id, call, caller) }
            guard case .versionMismatch(let present) = error else { throw error }
            throw try await Self.mismatch(present, call, caller, backend)
        }
    }

    /// 412 with everything that a three-way dialog needs: the order as it is, and who changed it since.
    static func mismatch(
        _ present: StoredOrder,
        _ call: Call,
        _ caller: Caller,
        _ backend: Backend,
    ) async throws -> Problem {
        var problem = Problem(.versionMismatch, "The order is at version \(present.version).")
        var members: JSONObject = ["currentVersion": .number(String(present.version))]
        members["current"] = try JSONValue(parsing: await backend.object(present, of: caller))
        var changes: [JSONValue] = []
        if case .version(let seen)? = call.ifMatch, seen < present.version {
            for event in try await backend.orders.events(order: present.id, after: seen, limit: 100) {
                let text = try EventText(event)
                changes.append([
                    "version": .number(String(event.version ?? 0)), "at": .string(event.at.rfc3339),
                    "actor": ["kind": .string(event.actor.kind.rawValue), "id": .string(event.actor.id)],
                    "facts": text.facts,
                ])
            }
        }
        members["changedBy"] = .array(changes)
        problem.document.members = members
        problem.headers[.eTag] = "\"v\(present.version)\""
        return problem
    }

    // MARK: Refresh

    /// Compares the order with the venue (ORDERS.md 5.3). Repeating it is harmless, so its key stores nothing.
    private func refresh(_ call: Call) async throws -> Reply {
        let caller = try call.requireCaller()
        let before = try await backend.order(call.captures[0], of: caller)
        try JSONField(call.json(backend.configuration.limits)).refuseUnknownKeys(except: [])
        let found: (order: SmartOrder, differences: [OrderDifference])
        do throws(CommandError) {
            found = try await backend.commands.refresh(before.id, version: call.ifMatch?.version)
        } catch {
            guard case .versionMismatch(let present) = error else { throw error }
            throw try await Self.mismatch(present, call, caller, backend)
        }
        hub.poke()
        let order = try await backend.object(found.order, of: caller)
        var reply = Reply.json { writer in
            writer.key("order")
            writer.raw(order)
            writer.key("differences")
            writer.beginArray()
            for one in found.differences {
                writer.beginObject()
                writer.member("kind", one.kind)
                writer.member("subject", orNull: one.subject)
                writer.member("expected", one.expected)
                writer.member("found", one.found)
                writer.member("applied", one.applied)
                writer.endObject()
            }
            writer.endArray()
        }
        reply.headers[.eTag] = "\"v\(found.order.version)\""
        return reply
    }

    // MARK: Edit

    private static let readOnlyFields: Set<String> = [
        "id", "kind", "version", "mode", "venue", "product", "symbol", "createdAt", "updatedAt", "activatedAt",
        "closedAt", "presetId", "status", "phase", "health", "healthDetail", "closeReason", "allowedActions",
        "position", "progress", "stop", "pnl", "protection", "legs",
    ]

    /// What only tightens is protection (INTERFACES.md 1.8).
    private func policy(of call: Call) async -> RatePolicy {
        do {
            let body = try call.json(backend.configuration.limits)
            guard OrderEdit.mayTighten(body) else { return .trade }
            let order = try await backend.order(call.captures[0], of: try call.requireCaller())
            return try OrderEdit(json: JSONField(body), of: order.draft).onlyTightens(order) ? .protect : .trade
        } catch {
            return .trade
        }
    }

    private func edit(_ call: Call) async throws -> Reply {
        let caller = try call.requireCaller()
        let order = try await backend.order(call.captures[0], of: caller)
        let body = try call.json(backend.configuration.limits)
        let json = JSONField(body)
        for key in try json.object().keys
        where OrderEdit.immutableFields.contains(key) || Self.readOnlyFields.contains(key) {
            throw Problem(.immutableField, "\(key) cannot be changed.", pointer: "/\(key)")
        }
        // The plan that the client saw is the plan of the version that it names: another version does not pass.
        let change = try OrderEdit(json: json, of: order.draft)
        let show: Showing = { stored, status in
            var reply = try await backend.show(stored, caller, status)
            guard case .bytes(let buffer) = reply.body, case .object(let named) = body, let now = stored.smart else {
                return reply
            }
            let changes = try Self.changes(of: named.keys, from: order.draft, to: now.draft)
            reply.body = .bytes(Self.append("changes", changes, to: buffer))
            return reply
        }
        let answer = try await execute(.edit(change), on: order, call, body, caller) { try await show($0, .ok).kept }
        if let reply = try await backend.waited(answer, call, show) { return reply }
        return try await answer.told(.ok, idle: .ok, show)
    }

    /// What became of the named fields, one entry each.
    private static func changes(of fields: [String], from old: Draft, to new: Draft) throws -> JSONValue {
        func plan(_ draft: Draft) throws -> JSONValue {
            var writer = JSONWriter()
            writer.draft(draft)
            return try JSONValue(parsing: writer.take())
        }
        let (before, after) = (try plan(old), try plan(new))
        return .array(
            fields.compactMap { field in
                guard before[field] != after[field] else { return nil }
                return ["path": .string(field), "from": before[field] ?? .null, "to": after[field] ?? .null]
            }
        )
    }

    /// Adds a member to an object that is text already.
    private static func append(_ key: String, _ value: JSONValue, to object: ByteBuffer) -> ByteBuffer {
        var bytes = Array(object.readableBytesView.dropLast())
        bytes += Array(",\"\(key)\":".utf8)
        bytes += value.serialized()
        bytes.append(UInt8(ascii: "}"))
        return ByteBuffer(bytes: bytes)
    }
}
