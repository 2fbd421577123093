// Outbound endpoints of a user, and the log of what was sent to them (INTERFACES.md 1.9, 1.16).
//
// This process makes a secret, shows it once, seals it to the workers, and cannot read it back.

internal import HTTPTypes
internal import JSONText
internal import OrderEngine
internal import OrderJSON
internal import SmartOrders

struct WebhookRoutes: Sendable {
    let backend: Backend

    private static let json = ["application/json"]
    private static let path = "/v1/webhooks"

    var routes: [Route] {
        [
            Route(method: .get, pattern: Self.path, handler: list),
            posting("", create),
            Route(
                method: .patch,
                pattern: Self.path + "/{id}",
                policy: .trade,
                bodyTypes: Self.json + ["application/merge-patch+json"],
                handler: change,
            ),
            Route(method: .delete, pattern: Self.path + "/{id}", policy: .protect, handler: delete),
            posting("/{id}/rotate-secret", rotate),
            posting("/{id}/test", test),
            posting("/{id}/enable", enable),
            Route(method: .get, pattern: Self.path + "/{id}/deliveries", handler: deliveries),
            posting("/{id}/deliveries/{delivery}/resend", resend),
        ]
    }

    private func posting(_ path: String, _ handler: @escaping @Sendable (Call) async throws -> Reply) -> Route {
        Route(
            method: .post,
            pattern: Self.path + path,
            policy: .trade,
            needsIdempotencyKey: true,
            bodyTypes: Self.json,
            handler: handler,
        )
    }

    // MARK: Reading

    private func list(_ call: Call) async throws -> Reply {
        let caller = try call.requireCaller()
        try call.query.check(known: [])
        let webhooks = try await webhooks(caller)
        return .list(webhooks) { writer, webhook in writer.webhook(webhook, secret: nil) }
    }

    /// Those of the user that tell of accounts of the caller, and of no others.
    private func webhooks(_ caller: Caller) async throws -> [Webhook] {
        let webhooks = try await backend.webhooks.webhooks(of: caller.user.id)
        guard !caller.reachesAll else { return webhooks }
        let own = Set(caller.accountIDs)
        return webhooks.filter { $0.accounts.map { own.isSuperset(of: $0) } ?? false }
    }

    private func found(_ call: Call, _ caller: Caller) async throws -> Webhook {
        guard let id = UniqueID(call.captures[0]),
            let webhook = try await webhooks(caller).first(where: { $0.id == id })
        else { throw Problem.notFound }
        return webhook
    }

    // MARK: Changing

    private static let fields: Set<String> = ["url", "types", "accountIds", "format"]

    private func create(_ call: Call) async throws -> Reply {
        let caller = try call.requireCaller()
        let body = try call.json(backend.configuration.limits)
        let json = JSONField(body)
        try json.refuseUnknownKeys(except: Self.fields.union(["botToken", "chatId"]))
        let format: Webhook.Format = try json.optional("format")?.choice() ?? .standard
        var webhook = Webhook(
            id: backend.newID(),
            user: caller.user.id,
            url: "",
            format: format,
            types: try Self.types(json) ?? [],
            accounts: try accounts(json, caller) ?? Self.all(caller),
            createdAt: backend.clock.now(),
        )
        let sealed: [UInt8]
        var secret: String?
        switch format {
        case .standard:
            webhook.url = try url(json.required("url", expected: "an https address"))
            let bytes = Self.newSecret()
            secret = WebhookSecret.text(of: bytes)
            sealed = try seal(bytes, webhook.id)
        case .telegram:
            webhook.url = "https://api.telegram.org"
            let token = try Self.word(json.required("botToken", expected: "the bot's token"))
            let chat = try Self.word(json.required("chatId", expected: "the chat's id"))
            sealed = try seal(TelegramBot(token: token, chat: chat).sealable, webhook.id)
        }
        let made = webhook
        let (shown, whole) = (Self.text(made, nil), Self.text(made, secret))
        return try await backend.once(call, caller, body, status: .created, shown, secret: whole) { answer in
            guard let outcome = try await backend.webhooks.add(made, sealed: sealed, answer: answer) else {
                throw Problem(.resourceLimit, "A user has at most 20 webhooks.")
            }
            return outcome
        }
    }

    private func change(_ call: Call) async throws -> Reply {
        let caller = try call.requireCaller()
        var webhook = try await found(call, caller)
        let json = JSONField(try call.json(backend.configuration.limits))
        try json.refuseUnknownKeys(except: Self.fields.subtracting(["format"]))
        if try json.has("url") {
            let field = try json.required("url", expected: "an https address")
            guard webhook.format == .standard else {
                throw field.error(.unknownField, expected: "nothing: a chat has none")
            }
            webhook.url = try url(field)
        }
        if let types = try Self.types(json) { webhook.types = types }
        if let accounts = try accounts(json, caller) { webhook.accounts = accounts }
        guard try await backend.webhooks.update(webhook) else { throw Problem.notFound }
        return .json(.ok, Self.text(webhook, nil))
    }

    private func delete(_ call: Call) async throws -> Reply {
        let caller = try call.requireCaller()
        let webhook = try await found(call, caller)
        guard try await backend.webhooks.deleteWebhook(webhook.id, of: caller.user.id) else { throw Problem.notFound }
        return Reply(status: .noContent)
    }

    /// For a day both secrets sign.
    private func rotate(_ call: Call) async throws -> Reply {
        let caller = try call.requireCaller()
        let webhook = try await found(call, caller)
        let body = try call.json(backend.configuration.limits)
        let json = JSONField(body)
        guard webhook.format == .standard else {
            throw Problem(.notFound, "A chat has no signing secret: its bot's token is changed by a new webhook.")
        }
        try json.refuseUnknownKeys(except: [])
        let bytes = Self.newSecret()
        let sealed = try seal(bytes, webhook.id)
        let secret = WebhookSecret.text(of: bytes)
        let (shown, whole) = (Self.text(webhook, nil), Self.text(webhook, secret))
        return try await backend.once(call, caller, body, status: .ok, shown, secret: whole) { answer in
            try await backend.webhooks.rotate(webhook.id, of: caller.user.id, sealed: sealed, answer: answer)
        }
    }

    private func enable(_ call: Call) async throws -> Reply {
        let caller = try call.requireCaller()
        var webhook = try await found(call, caller)
        let body = try call.json(backend.configuration.limits)
        try JSONField(body).refuseUnknownKeys(except: [])
        webhook.isEnabled = true
        webhook.disabledReason = nil
        return try await backend.once(call, caller, body, status: .ok, Self.text(webhook, nil)) { answer in
            try await backend.webhooks.enable(webhook.id, of: caller.user.id, answer: answer)
        }
    }

    // MARK: Deliveries

    /// Something to see arrive. It goes the way of every delivery.
    private func test(_ call: Call) async throws -> Reply {
        let caller = try call.requireCaller()
        let webhook = try await found(call, caller)
        let body = try call.json(backend.configuration.limits)
        try JSONField(body).refuseUnknownKeys(except: [])
        let own = caller.accountIDs.first { webhook.accounts?.contains($0) ?? true }
        guard let account = own else {
            throw Problem(.notFound, "The webhook is told of none of the accounts that this key reaches.")
        }
        let now = backend.clock.now()
        let delivery = WebhookDelivery(
            id: backend.newID(),
            webhook: webhook.id,
            account: account,
            sequence: nil,
            type: WebhookType.webhookTest.rawValue,
            data: Array(#"{"webhookId":"\#(webhook.id)"}"#.utf8),
            nextAt: now,
            createdAt: now,
        )
        return try await backend.once(call, caller, body, status: .accepted, Self.text(delivery)) { answer in
            try await backend.webhooks.add(delivery, answer: answer)
        }
    }

    private func deliveries(_ call: Call) async throws -> Reply {
        let caller = try call.requireCaller()
        let webhook = try await found(call, caller)
        return try await backend.page(call, of: "deliveries \(webhook.id)", id: \WebhookDelivery.id) { before, limit in
            try await backend.webhooks.deliveries(
                of: webhook.id,
                accounts: caller.accountIDs,
                before: before,
                limit: limit,
            )
        } _: { writer, delivery in
            writer.delivery(delivery)
        }
    }

    private func resend(_ call: Call) async throws -> Reply {
        let caller = try call.requireCaller()
        let webhook = try await found(call, caller)
        let body = try call.json(backend.configuration.limits)
        try JSONField(body).refuseUnknownKeys(except: [])
        guard let id = UniqueID(call.captures[1]),
            var delivery = try await backend.webhooks.delivery(id, of: webhook.id, accounts: caller.accountIDs)
        else { throw Problem.notFound }
        delivery.state = .pending
        delivery.nextAt = backend.clock.now()
        let again = delivery
        return try await backend.once(call, caller, body, status: .accepted, Self.text(again)) { answer in
            try await backend.webhooks.resend(again, answer: answer)
        }
    }

    // MARK: Parts

    private static func newSecret() -> [UInt8] {
        var random = SystemRandomNumberGenerator()
        return (0..<32).map { _ in UInt8.random(in: 0...255, using: &random) }
    }

    private func seal(_ secret: [UInt8], _ id: UniqueID) throws -> [UInt8] {
        guard let seal = backend.configuration.sealSecret else {
            throw Problem(.venueUnavailable, "This server has no intake key: no worker could open what it seals.")
        }
        do {
            return try seal(secret, id)
        } catch {
            throw Problem(.internalError, "The secret could not be sealed.")
        }
    }

    /// Nil: not named.
    private static func types(_ json: JSONField) throws(JSONError) -> [String]? {
        guard let field = try json.optional("types") else { return nil }
        var types: [String] = []
        for element in try field.elements() {
            let type: WebhookType = try element.choice()
            if !types.contains(type.rawValue) { types.append(type.rawValue) }
        }
        return types
    }

    /// All accounts, as far as the caller reaches; nil: those to come too.
    private static func all(_ caller: Caller) -> [AccountID]? { caller.reachesAll ? nil : caller.accountIDs }

    /// Nil: not named. Null and an empty list stand for all.
    private func accounts(_ json: JSONField, _ caller: Caller) throws -> [AccountID]?? {
        guard try json.has("accountIds") else { return nil }
        guard let field = try json.optional("accountIds") else { return .some(Self.all(caller)) }
        var accounts: [AccountID] = []
        for element in try field.elements() {
            let id = try element.parsed(.badID, expected: "an account id") { AccountID($0) }
            accounts.append(try caller.account(id).id)
        }
        return .some(accounts.isEmpty ? Self.all(caller) : accounts)
    }

    /// The address that is connected to is judged when it is connected to; here what can be seen at once is.
    private func url(_ field: JSONField) throws(JSONError) -> String {
        let text = try field.string()
        let allowsPlain = backend.configuration.webhooksMayBePlain
        let isGood =
            (10...2_000).contains(text.utf8.count)
            && text.utf8.allSatisfy { (0x21...0x7e).contains($0) && $0 != UInt8(ascii: "#") && $0 != UInt8(ascii: "@") }
            && (text.hasPrefix("https://") || (allowsPlain && text.hasPrefix("http://")))
        guard isGood else { throw field.error(.wrongType, expected: "an https address without name or password") }
        let host = text.drop { $0 != "/" }.dropFirst(2).prefix { $0 != "/" && $0 != ":" && $0 != "?" }
        guard allowsPlain || AddressBlock(String(host)) == nil || AddressBlock.isPublic(String(host)) else {
            throw field.error(.wrongType, expected: "a public address")
        }
        return text
    }

    private static func word(_ field: JSONField) throws(JSONError) -> String {
        let text = try field.string()
        guard (1...200).contains(text.utf8.count), text.utf8.allSatisfy({ (0x21...0x7e).contains($0) && $0 != 0x2F })
        else { throw field.error(.wrongType, expected: "1 to 200 visible ASCII characters") }
        return text
    }

    private static func text(_ webhook: Webhook, _ secret: String?) -> [UInt8] {
        var writer = JSONWriter()
        writer.webhook(webhook, secret: secret)
        return writer.take()
    }

    private static func text(_ delivery: WebhookDelivery) -> [UInt8] {
        var writer = JSONWriter()
        writer.delivery(delivery)
        return writer.take()
    }
}

extension JSONWriter {
    /// A Webhook (INTERFACES.md 1.10). `secret` is known once, when it is made.
    fileprivate mutating func webhook(_ webhook: Webhook, secret: String?) {
        beginObject()
        member("id", webhook.id.description)
        member("url", webhook.url)
        key("types")
        beginArray()
        for type in webhook.types { string(type) }
        endArray()
        key("accountIds")
        if let accounts = webhook.accounts {
            beginArray()
            for account in accounts { string(account.description) }
            endArray()
        } else {
            null()
        }
        member("format", webhook.format)
        member("enabled", webhook.isEnabled)
        member("disabledReason", orNull: webhook.disabledReason)
        member("secret", orNull: secret)
        member("lastSuccessAt", orNull: webhook.lastSuccessAt)
        member("createdAt", webhook.createdAt)
        endObject()
    }

    /// A Delivery.
    fileprivate mutating func delivery(_ delivery: WebhookDelivery) {
        beginObject()
        member("id", delivery.id.description)
        member("type", delivery.type)
        member("accountId", delivery.account.description)
        member("seq", orNull: delivery.sequence)
        member("state", delivery.state)
        key("attempts")
        beginArray()
        for attempt in delivery.attempts {
            beginObject()
            member("at", attempt.at)
            member("status", orNull: attempt.status.map { Int64($0) })
            member("ms", attempt.milliseconds)
            member("error", orNull: attempt.error.isEmpty ? nil : attempt.error)
            endObject()
        }
        endArray()
        member("nextAttemptAt", orNull: delivery.state == .pending ? delivery.nextAt : nil)
        member("createdAt", delivery.createdAt)
        endObject()
    }
}
