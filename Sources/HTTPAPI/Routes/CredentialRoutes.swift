// Venue keys on their way to the workers. This process seals what it is sent and cannot read it back; the answer is what
// a worker found out about the key (INTERFACES.md 1.3, RELIABILITY.md 10.3).

internal import HTTPTypes
internal import JSONText
internal import OrderEngine
internal import OrderJSON
internal import SmartOrders

struct CredentialRoutes: Sendable {
    let backend: Backend

    private static let patienceMs: Int64 = 4_000

    var routes: [Route] {
        let json = ["application/json"]
        return [
            Route(
                method: .put,
                pattern: "/v1/accounts/{id}/credentials",
                policy: .trade,
                ifMatch: .required,
                bodyTypes: json,
                isLong: true,
                handler: store,
            ),
            Route(
                method: .delete,
                pattern: "/v1/accounts/{id}/credentials",
                policy: .protect,
                ifMatch: .required,
                handler: remove,
            ),
            Route(
                method: .post,
                pattern: "/v1/accounts/{id}/credentials/check",
                policy: .trade,
                needsIdempotencyKey: true,
                bodyTypes: json,
                isLong: true,
                handler: check,
            ),
        ]
    }

    private func version(_ overview: AccountOverview, _ call: Call) throws -> Int64 {
        guard let version = overview.settings?.version else { throw Problem.notFound }
        guard call.ifMatch == .version(version) else { throw try overview.mismatch() }
        return version
    }

    private func store(_ call: Call) async throws -> Reply {
        let caller = try call.requireCaller()
        let account = try caller.account(call.captures[0])
        let json = JSONField(try call.json(backend.configuration.limits))
        try json.refuseUnknownKeys(except: ["key", "secret", "passphrase"])
        let credentials = Credentials(
            key: try Self.secret(json.required("key", expected: "the venue key")),
            secret: try Self.secret(json.required("secret", expected: "its secret")),
            passphrase: try json.optional("passphrase").map { try Self.secret($0) },
        )
        guard let seal = backend.configuration.sealIntake else {
            throw Problem(.venueUnavailable, "This server has no intake key: no worker could open what it seals.")
        }
        let overview = try await backend.overview(account)
        let version = try version(overview, call)
        let sealed: [UInt8]
        do {
            sealed = try seal(credentials, account.id)
        } catch {
            throw Problem(.internalError, "The key could not be sealed.")
        }
        let id = backend.newID()
        let audit = AuditLine(actor: AccountSettingRoutes.name(of: caller), action: "account.credentials")
        let isTaken = try await backend.intake.submit(
            id,
            sealed: sealed,
            account: account.id,
            version: version,
            audit: audit,
        )
        guard isTaken else { throw try await backend.overview(account).mismatch() }
        let outcome = try await outcome(of: id, account.id)
        var reply = Reply.account(try await backend.overview(account))
        switch outcome {
        case .stored: return reply
        case .refused(let reason): throw Self.refused(reason)
        case .unreachable(let reason): throw Problem(.venueUnavailable, "The key could not be checked: \(reason).")
        case nil:
            reply.status = .accepted
            return reply
        }
    }

    private func remove(_ call: Call) async throws -> Reply {
        let caller = try call.requireCaller()
        let account = try caller.account(call.captures[0])
        let overview = try await backend.overview(account)
        let version = try version(overview, call)
        try AccountSettingRoutes.checkIdle(overview)
        let audit = AuditLine(actor: AccountSettingRoutes.name(of: caller), action: "account.credentials.remove")
        guard try await backend.intake.remove(account.id, version: version, audit: audit) else {
            throw try await backend.overview(account).mismatch()
        }
        return Reply(status: .noContent)
    }

    /// Asks the venue again. Repeating it is harmless, so its key stores nothing.
    private func check(_ call: Call) async throws -> Reply {
        let caller = try call.requireCaller()
        let account = try caller.account(call.captures[0])
        try JSONField(try call.json(backend.configuration.limits)).refuseUnknownKeys(except: [])
        let overview = try await backend.overview(account)
        guard overview.credentials != nil else {
            throw Refusal(.credentialsMissing, "The account has no venue key: store one first.")
        }
        let id = backend.newID()
        let isTaken = try await backend.intake.submit(
            id,
            sealed: [],
            account: account.id,
            version: overview.settings?.version ?? 0,
            audit: AuditLine(actor: AccountSettingRoutes.name(of: caller), action: "account.credentials.check"),
        )
        guard isTaken else { throw try await backend.overview(account).mismatch() }
        let outcome = try await outcome(of: id, account.id)
        let now = try await backend.overview(account)
        switch outcome {
        case nil: throw Problem(.venueUnavailable, "No worker has looked at the key within 4 s.")
        case .unreachable(let reason): throw Problem(.venueUnavailable, "The venue was not asked: \(reason).")
        case .stored, .refused:
            return .json { writer in
                writer.member("ok", outcome == .stored)
                writer.key("permissions")
                writer.beginArray()
                for word in now.credentials?.permissions ?? [] { writer.string(word) }
                writer.endArray()
                writer.member("clockOffsetMs", orNull: nil as Int64?)
                let code = outcome == .stored ? nil : RefusalCode.credentialsRefused.rawValue
                writer.member("code", orNull: code)
            }
        }
    }

    /// Visible ASCII, as every venue makes them. The error names the place and not the value.
    private static func secret(_ field: JSONField) throws(JSONError) -> String {
        let text = try field.string()
        guard (1...4_096).contains(text.utf8.count), text.utf8.allSatisfy({ (0x20...0x7e).contains($0) || $0 == 10 })
        else { throw field.error(.wrongType, expected: "1 to 4096 visible ASCII characters") }
        return text
    }

    private static func refused(_ reason: String) -> Refusal {
        Refusal(.credentialsRefused, "The key was not kept: \(reason).")
    }

    private func outcome(of id: UniqueID, _ account: AccountID) async throws -> IntakeOutcome? {
        let begun = backend.clock.monotonicNanoseconds()
        while backend.clock.monotonicNanoseconds() - begun < Self.patienceMs * 1_000_000 {
            if let outcome = try await backend.intake.outcome(of: id, account: account) { return outcome }
            try await backend.clock.sleep(milliseconds: 40)
        }
        return nil
    }
}
