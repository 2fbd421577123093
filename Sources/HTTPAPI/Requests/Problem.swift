// Refusals on their way to the client: one error type for handlers, one place that makes it of everything else.

internal import HTTPTypes
internal import JSONText
internal import OrderEngine
internal import OrderJSON
internal import SmartOrders

/// An answer that is a problem document.
struct Problem: Error {
    var document: ProblemDocument
    var headers = HTTPFields()
    /// The connection cannot be used on: the rest of the body was not read.
    var closesConnection = false

    init(_ code: RequestCode, _ detail: String, pointer: String? = nil) {
        document = ProblemDocument(
            status: code.status,
            code: code.rawValue,
            title: code.title,
            detail: detail,
            violations: pointer.map { [.init(pointer: $0, code: code.rawValue, detail: detail)] } ?? [],
            isRetryable: code.isRetryable,
        )
        switch code {
        case .unauthenticated, .keyExpired, .keyRevoked, .signInExpired: headers[.wwwAuthenticate] = "Bearer"
        case .storeUnavailable, .priceUnavailable, .venueUnavailable, .recovering, .draining, .overloaded,
            .tooManyStreams,
            .idempotencyInProgress:
            headers[.retryAfter] = "1"
        case .upgradeRequired:
            headers[.upgrade] = "websocket"
            closesConnection = true
        case .bodyTooLarge, .targetTooLong, .headersTooLarge: closesConnection = true
        case .malformedJSON, .unknownField, .missingField, .wrongType, .decimalNotString, .badDecimal, .badTimestamp,
            .badEnum, .badID, .badQuery, .badCursor, .badHeader, .immutableField, .idempotencyKeyRequired,
            .idempotencyKeyInvalid, .scopeRequired, .roleRequired, .addressNotAllowed, .keyMode, .originRefused,
            .csrfFailed, .resourceLimit, .accountNotIdle, .confirmMismatch, .batchDone, .notLeader, .workerGone,
            .jobState,
            .notFound, .methodNotAllowed, .notAcceptable, .keyLimit, .linkGone,
            .versionMismatch, .unsupportedMediaType, .idempotencyKeyReused, .ifMatchRequired, .rateLimited,
            .internalError, .timeout:
            break
        }
    }

    init(_ document: ProblemDocument) {
        self.document = document
        if document.isRetryable { headers[.retryAfter] = "1" }
    }

    /// 403 that says what is missing.
    static func lacking(_ scope: APIKeyRecord.Scope) -> Problem {
        var problem = Problem(.scopeRequired, "The API key needs the scope \(scope.rawValue).")
        problem.document.members["required"] = .string(scope.rawValue)
        return problem
    }

    /// The same for everything that is unknown and everything that is somebody else's.
    static var notFound: Problem { Problem(.notFound, "There is nothing here that you may see.") }

    /// Whatever a handler threw. What is not known here is a defect and says nothing of itself.
    init(_ error: any Error) {
        switch error {
        case let problem as Problem: self = problem
        case let error as JSONError: self.init(ProblemDocument(error))
        case let refusal as Refusal: self.init(refusals: [refusal])
        case let error as CommandError: self.init(command: error)
        case let error as StoreError:
            switch error.code {
            case .unavailable, .outcomeUnknown:
                self.init(.storeUnavailable, "The database does not answer at the moment.")
            case .corruptRow, .incompatible: self.init(.internalError, "The request could not be carried out.")
            }
        case let error as ResolveError:
            switch error {
            case .noOrder, .noIntent: self = .notFound
            case .confirmed: self.init(.jobState, "The venue confirmed the attempt: it was there.")
            case .tooEarly: self.init(.jobState, "Its request may still arrive at the venue; look-ups go on.")
            case .unavailable: self.init(.storeUnavailable, "The database does not answer at the moment.")
            }
        case let error as QueueControlError:
            switch error {
            case .unavailable: self.init(.storeUnavailable, "The queue does not answer at the moment.")
            case .notFound: self = .notFound
            case .refused(let reason): self.init(.badEnum, reason)
            case .state(let reason): self.init(.jobState, reason)
            }
        case is CancellationError: self.init(.timeout, "The request took longer than it may.")
        default: self.init(.internalError, "The request could not be carried out.")  // tidy-ok: errors of other modules
        }
    }

    /// `versionMismatch` needs the whole order and is answered by the route.
    private init(command error: CommandError) {
        switch error {
        case .refused(let refusals): self.init(refusals: refusals)
        case .versionMismatch(let present):
            self.init(.versionMismatch, "The order is at version \(present.version).")
        case .keyReused:
            self.init(.idempotencyKeyReused, "The key was used for another request within the last 24 hours.")
        case .keyBusy: self.init(.idempotencyInProgress, "The first request with this key has not ended yet.")
        case .venueUnavailable: self.init(.venueUnavailable, "The venue does not say what the account holds.")
        case .recovering:
            self.init(.recovering, "The account's orders are being compared with their venue; nothing new until then.")
        case .priceUnavailable: self.init(.priceUnavailable, "No recent price of the trigger source is known.")
        case .unavailable: self.init(.storeUnavailable, "The command could not be stored at the moment.")
        }
    }

    private init(refusals: [Refusal]) {
        let isUnknown = refusals.contains { $0.code == .notFound && $0.field != "level" }
        if !isUnknown, let document = ProblemDocument(refusals: refusals) {
            self.init(document)
        } else {
            self = .notFound
        }
    }
}
