// The stable codes about requests (INTERFACES.md 1.6.1). Codes about orders are `RefusalCode`.

internal import OrderJSON

/// Why a request was not carried out, apart from what an order's rules refuse.
package enum RequestCode: String, Sendable, CaseIterable {
    case malformedJSON = "MALFORMED_JSON"
    case unknownField = "UNKNOWN_FIELD"
    case missingField = "MISSING_FIELD"
    case wrongType = "WRONG_TYPE"
    case decimalNotString = "DECIMAL_NOT_STRING"
    case badDecimal = "BAD_DECIMAL"
    case badTimestamp = "BAD_TIMESTAMP"
    case badEnum = "BAD_ENUM"
    case badID = "BAD_ID"
    case badQuery = "BAD_QUERY"
    case badCursor = "BAD_CURSOR"
    case badHeader = "BAD_HEADER"
    case immutableField = "IMMUTABLE_FIELD"
    case idempotencyKeyRequired = "IDEMPOTENCY_KEY_REQUIRED"
    case idempotencyKeyInvalid = "IDEMPOTENCY_KEY_INVALID"
    case unauthenticated = "UNAUTHENTICATED"
    case keyExpired = "KEY_EXPIRED"
    case keyRevoked = "KEY_REVOKED"
    case scopeRequired = "SCOPE_REQUIRED"
    case roleRequired = "ROLE_REQUIRED"
    case addressNotAllowed = "IP_NOT_ALLOWED"
    case keyMode = "KEY_MODE"
    case originRefused = "ORIGIN_REFUSED"
    case csrfFailed = "CSRF_FAILED"
    case signInExpired = "SIGN_IN_EXPIRED"
    case notFound = "NOT_FOUND"
    case methodNotAllowed = "METHOD_NOT_ALLOWED"
    case notAcceptable = "NOT_ACCEPTABLE"
    case keyLimit = "KEY_LIMIT"
    case resourceLimit = "RESOURCE_LIMIT"
    case accountNotIdle = "ACCOUNT_NOT_IDLE"
    case confirmMismatch = "CONFIRM_MISMATCH"
    case linkGone = "LINK_GONE"
    case versionMismatch = "VERSION_MISMATCH"
    case bodyTooLarge = "BODY_TOO_LARGE"
    case targetTooLong = "URI_TOO_LONG"
    case unsupportedMediaType = "UNSUPPORTED_MEDIA_TYPE"
    case jobState = "JOB_STATE"
    case batchDone = "BATCH_DONE"
    case notLeader = "NOT_LEADER"
    case workerGone = "WORKER_GONE"
    case idempotencyInProgress = "IDEMPOTENCY_IN_PROGRESS"
    case idempotencyKeyReused = "IDEMPOTENCY_KEY_REUSED"
    case upgradeRequired = "UPGRADE_REQUIRED"
    case ifMatchRequired = "IF_MATCH_REQUIRED"
    case rateLimited = "RATE_LIMITED"
    case tooManyStreams = "TOO_MANY_STREAMS"
    case headersTooLarge = "HEADERS_TOO_LARGE"
    case internalError = "INTERNAL"
    case storeUnavailable = "STORE_UNAVAILABLE"
    case priceUnavailable = "PRICE_UNAVAILABLE"
    case venueUnavailable = "VENUE_UNAVAILABLE"
    case recovering = "RECOVERING"
    case draining = "DRAINING"
    case overloaded = "OVERLOADED"
    case timeout = "TIMEOUT"

    package var status: Int {
        switch self {
        case .malformedJSON, .unknownField, .missingField, .wrongType, .decimalNotString, .badDecimal, .badTimestamp,
            .badEnum, .badID, .badQuery, .badCursor, .badHeader, .immutableField, .idempotencyKeyRequired,
            .idempotencyKeyInvalid:
            400
        case .unauthenticated, .keyExpired, .keyRevoked, .signInExpired: 401
        case .scopeRequired, .roleRequired, .addressNotAllowed, .keyMode, .originRefused, .csrfFailed: 403
        case .notFound: 404
        case .methodNotAllowed: 405
        case .notAcceptable: 406
        case .keyLimit, .resourceLimit, .accountNotIdle, .idempotencyInProgress, .batchDone, .notLeader,
            .workerGone, .jobState:
            409
        case .linkGone: 410
        case .versionMismatch: 412
        case .bodyTooLarge: 413
        case .targetTooLong: 414
        case .unsupportedMediaType: 415
        case .idempotencyKeyReused, .confirmMismatch: 422
        case .upgradeRequired: 426
        case .ifMatchRequired: 428
        case .rateLimited, .tooManyStreams: 429
        case .headersTooLarge: 431
        case .internalError: 500
        case .storeUnavailable, .priceUnavailable, .venueUnavailable, .recovering, .draining, .overloaded: 503
        case .timeout: 504
        }
    }

    package var title: String {
        switch self {
        case .malformedJSON, .unknownField, .missingField, .wrongType, .decimalNotString, .badDecimal, .badTimestamp,
            .badEnum, .badID:
            "The body does not have the documented shape"
        case .badQuery: "The query is not understood"
        case .badCursor: "The cursor is not valid here"
        case .badHeader: "A header is not understood"
        case .immutableField: "The field cannot be changed"
        case .idempotencyKeyRequired: "An Idempotency-Key is required"
        case .idempotencyKeyInvalid: "The Idempotency-Key is not valid"
        case .unauthenticated: "No valid API key"
        case .keyExpired: "The API key has expired"
        case .keyRevoked: "The API key was revoked"
        case .scopeRequired: "The API key's scopes do not include this"
        case .roleRequired: "Your roles do not include this"
        case .addressNotAllowed: "The API key may not be used from here"
        case .keyMode: "The key is of the other trading mode"
        case .originRefused: "This origin may not use the API"
        case .csrfFailed: "The CSRF token is missing or wrong"
        case .signInExpired: "The sign-in has ended"
        case .notFound: "Unknown, or not yours"
        case .methodNotAllowed: "The method is not allowed here"
        case .notAcceptable: "No acceptable form of the answer"
        case .keyLimit: "Too many API keys"
        case .resourceLimit: "Too many of them"
        case .accountNotIdle: "The account has open orders"
        case .confirmMismatch: "The confirmation is not the account's name"
        case .linkGone: "The link is not valid any more"
        case .versionMismatch: "The order has changed"
        case .bodyTooLarge: "The body is too large"
        case .targetTooLong: "The request line is too long"
        case .unsupportedMediaType: "The body is not JSON"
        case .jobState: "The job or batch has moved on"
        case .batchDone: "The batch has ended"
        case .notLeader: "Nobody leads the schedulers"
        case .workerGone: "The worker is not there"
        case .idempotencyInProgress: "The first request with this Idempotency-Key has not ended"
        case .idempotencyKeyReused: "The Idempotency-Key belongs to another request"
        case .upgradeRequired: "This is a WebSocket"
        case .ifMatchRequired: "An If-Match header is required"
        case .rateLimited: "Too many requests"
        case .tooManyStreams: "Too many streams"
        case .headersTooLarge: "The headers are too large"
        case .internalError: "Internal error"
        case .storeUnavailable: "The database is not available"
        case .venueUnavailable: "The venue cannot be asked"
        case .priceUnavailable: "No current price is known"
        case .recovering: "The account is not reconciled yet"
        case .draining: "The server is going away"
        case .overloaded: "Too many requests in work"
        case .timeout: "The request took too long"
        }
    }

    /// What to do about it, for the page of the code.
    package var remedy: String {
        switch self {
        case .malformedJSON, .unknownField, .missingField, .wrongType, .decimalNotString, .badDecimal, .badTimestamp,
            .badEnum, .badID, .badQuery, .badCursor, .badHeader, .immutableField, .notAcceptable, .bodyTooLarge,
            .targetTooLong, .unsupportedMediaType, .headersTooLarge, .methodNotAllowed, .notFound:
            "Correct the request; `detail` and `errors` say where."
        case .idempotencyKeyRequired, .idempotencyKeyInvalid:
            "Send an Idempotency-Key of 1 to 255 visible ASCII characters, new for each intention."
        case .idempotencyKeyReused: "Use a new key for a new request; repeat a request with its own key and body."
        case .unauthenticated, .keyExpired, .keyRevoked:
            "Send `Authorization: Bearer <API key>` with a key that is valid now."
        case .scopeRequired: "Use a key that has the scope in `required`."
        case .roleRequired: "Ask somebody who has the role in `required`."
        case .addressNotAllowed: "Use the key from an address in its `ipAllow`, or change the list."
        case .keyLimit: "Revoke a key that is not used any more."
        case .resourceLimit: "Delete one that is not used any more."
        case .confirmMismatch: "Repeat the account's name in `confirm`."
        case .batchDone: "Begin another batch."
        case .notLeader, .workerGone, .jobState: "Look again: the cluster moved on."
        case .accountNotIdle: "Close or cancel the account's open orders first."
        case .linkGone: "Ask for a new link."
        case .keyMode: "Use a key of the account's mode."
        case .csrfFailed: "Send the `csrfToken` of GET /v1/me as X-CSRF-Token."
        case .signInExpired: "Sign in again."
        case .originRefused: "Add the origin to `http.corsOrigins`."
        case .versionMismatch: "Look at `current`, decide again, send the new version in If-Match."
        case .upgradeRequired: "Open the address as a WebSocket, on a new connection."
        case .ifMatchRequired: "Send the version that you saw: If-Match: \"v<version>\"."
        case .rateLimited, .tooManyStreams, .overloaded, .idempotencyInProgress: "Wait for `Retry-After`, then repeat."
        case .internalError, .storeUnavailable, .priceUnavailable, .venueUnavailable, .recovering, .draining, .timeout:
            "Repeat the same request with the same Idempotency-Key."
        }
    }

    /// The same request with the same key can succeed later.
    package var isRetryable: Bool {
        switch self {
        case .rateLimited, .tooManyStreams, .storeUnavailable, .priceUnavailable, .venueUnavailable, .recovering,
            .draining,
            .overloaded, .idempotencyInProgress, .timeout,
            .internalError:
            true
        case .malformedJSON, .unknownField, .missingField, .wrongType, .decimalNotString, .badDecimal, .badTimestamp,
            .badEnum, .badID, .badQuery, .badCursor, .badHeader, .immutableField, .idempotencyKeyRequired,
            .idempotencyKeyInvalid, .unauthenticated, .keyExpired, .keyRevoked, .scopeRequired, .roleRequired,
            .addressNotAllowed, .keyMode, .originRefused, .csrfFailed, .signInExpired, .notFound, .methodNotAllowed,
            .keyLimit, .resourceLimit, .accountNotIdle, .confirmMismatch, .linkGone, .batchDone, .notLeader,
            .workerGone, .jobState,
            .notAcceptable, .versionMismatch, .bodyTooLarge, .targetTooLong, .unsupportedMediaType,
            .idempotencyKeyReused, .upgradeRequired, .ifMatchRequired, .headersTooLarge:
            false
        }
    }
}
