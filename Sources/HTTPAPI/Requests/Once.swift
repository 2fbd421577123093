// Requests that may come twice (INTERFACES.md 1.4): what was answered is kept, and told again word for word.
//
// Commands on one order keep their answer with the order's commit (KeptReply.swift). Here is the rest: what makes
// something keeps its answer in the same transaction; what sets or ends something (PATCH, PUT, DELETE) may be done twice
// and keeps it right after. An answer that shows a secret is kept sealed to the credential of whoever asked: the database
// holds of that credential only a hash, so a copy of the database opens none.

internal import Crypto
internal import HTTPTypes
internal import JSONText
internal import NIOCore
internal import OrderEngine
internal import SmartOrders

extension Backend {
    private func record(_ call: Call, _ caller: Caller, _ body: JSONValue, key: String) -> IdempotencyRecord {
        let hash = fingerprint(method: call.method.rawValue, path: call.path, body: body)
        return IdempotencyRecord(owner: caller.owner, key: key, requestHash: hash)
    }

    /// What a request was answered before; nil: it is the first.
    func known(_ call: Call, _ caller: Caller, _ body: JSONValue) async throws -> Reply? {
        guard let key = call.idempotencyKey else { return nil }
        let record = record(call, caller, body, key: key)
        guard let known = try await traders.answer(owner: record.owner, key: key) else { return nil }
        return try replay(known, of: record, call)
    }

    /// The same for the same request of the same caller, and for no other.
    func name(of call: Call, _ caller: Caller) -> String {
        String(APIKey.hash("\(caller.owner)\n\(call.path)\n\(call.idempotencyKey ?? "")").prefix(20))
    }

    /// Carries out a command that is not on one order, once per idempotency key: the answer is stored with it.
    /// - Parameters:
    ///   - object: the body of the answer.
    ///   - secret: the body with what is shown once; nil: nothing is.
    ///   - store: makes the change and stores the answer, in one transaction.
    func once(
        _ call: Call,
        _ caller: Caller,
        _ body: JSONValue,
        status: HTTPResponse.Status,
        _ object: [UInt8],
        secret: [UInt8]? = nil,
        _ store: (StoredAnswer) async throws -> AnswerOutcome,
    ) async throws -> Reply {
        guard let key = call.idempotencyKey else {
            throw Problem(.idempotencyKeyRequired, "Send an Idempotency-Key, new for each intention.")
        }
        let record = record(call, caller, body, key: key)
        var known = try await traders.answer(owner: record.owner, key: key)
        if known == nil {
            let kept = try secret.map { try SealedAnswer.seal($0, shown: object, for: call, record) } ?? object
            switch try await store(StoredAnswer(record: record, status: status.code, body: kept)) {
            case .stored: return .json(status, secret ?? object)
            case .known(let answer): known = answer
            case .busy: throw CommandError.keyBusy
            }
        }
        guard let known else { throw CommandError.keyReused }
        return try replay(known, of: record, call)
    }

    /// Answers a request that sets or ends something, once per idempotency key if it has one.
    // Not inlined: the optimiser of Swift 6.3 crashes on asynchronous functions with this in them.
    @inline(never)
    func repeatable(_ call: Call, _ caller: Caller, _ act: () async throws -> Reply) async throws -> Reply {
        guard let key = call.idempotencyKey else { return try await act() }
        let record = record(call, caller, try call.json(configuration.limits), key: key)
        if let known = try await traders.answer(owner: record.owner, key: key) {
            return try replay(known, of: record, call)
        }
        let reply = try await act()
        guard reply.status.kind == .successful else { return reply }
        let kept = reply.kept
        let answer = StoredAnswer(
            record: record,
            status: kept.status,
            entityTag: kept.entityTag,
            location: kept.location,
            body: kept.body,
        )
        switch try await traders.keep(answer) {
        case .stored, .busy: return reply
        // Two at the same time: both are told what the first one was.
        case .known(let known): return try replay(known, of: record, call)
        }
    }

    private func replay(_ known: StoredAnswer, of record: IdempotencyRecord, _ call: Call) throws -> Reply {
        guard known.record.requestHash == record.requestHash else { throw CommandError.keyReused }
        let body = SealedAnswer.open(known.body, for: call, record)
        let kept = KeptAnswer(
            status: known.status,
            entityTag: known.entityTag,
            location: known.location,
            body: body,
        )
        return Reply(kept, isReplay: true)
    }
}

/// A kept answer that shows a secret: `sealed:`, the sealed body, a line feed, and the body without the secret for a
/// caller of the same name with another credential (a person's other browser).
enum SealedAnswer {
    private static let mark = Array("sealed:".utf8)

    static func seal(
        _ body: [UInt8],
        shown: [UInt8],
        for call: Call,
        _ record: IdempotencyRecord,
    ) throws -> [UInt8] {
        guard let key = key(call, record), let box = try AES.GCM.seal(body, using: key).combined else { return shown }
        return mark + Array(base64URL(Array(box)).utf8) + [UInt8(ascii: "\n")] + shown
    }

    /// The whole answer, or what of it may be shown.
    static func open(_ kept: [UInt8], for call: Call, _ record: IdempotencyRecord) -> [UInt8] {
        guard kept.starts(with: mark), let end = kept.firstIndex(of: UInt8(ascii: "\n")) else { return kept }
        let shown = Array(kept[(end + 1)...])
        let text = String(decoding: kept[mark.count..<end], as: UTF8.self)
        guard let key = key(call, record), let sealed = base64URLDecoded(text) else { return shown }
        do {
            return Array(try AES.GCM.open(try AES.GCM.SealedBox(combined: sealed), using: key))
        } catch {
            // Sealed to another credential.
            return shown
        }
    }

    /// Made of what only the caller has, and of the request that it is for.
    private static func key(_ call: Call, _ record: IdempotencyRecord) -> SymmetricKey? {
        let credential: Substring?
        if let given = call.headers[.authorization] {
            credential = given.split(separator: " ", maxSplits: 1).last
        } else {
            credential = SignInRoutes.cookie(of: call.headers).map { Substring($0) }
        }
        guard let credential else { return nil }
        let name = "smartorders/answer \(record.owner)\n\(record.key)\n\(record.requestHash)"
        let code = HMAC<SHA256>.authenticationCode(
            for: Array(name.utf8),
            using: SymmetricKey(data: Array(credential.utf8)),
        )
        return SymmetricKey(data: Array(code))
    }
}
