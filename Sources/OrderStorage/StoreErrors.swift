// From the driver's errors to what a caller of a store may do.

public import OrderEngine
public import PostgresClient
internal import SmartOrders

extension StoreError {
    /// For anything but a commit's constraints.
    public init(_ error: PostgresError) {
        switch error.kind {
        case .notSent: self.init(.unavailable, error.description)
        case .refused: self.init(.incompatible, error.description)
        case .outcomeUnknown, .unconfirmedCommit: self.init(.outcomeUnknown, error.description)
        case .deadlineExceeded(let delivery):
            self.init(delivery == .outcomeUnknown ? .outcomeUnknown : .unavailable, error.description)
        case .server(let server):
            // Missing tables, columns, functions: another schema.
            if server.sqlState.hasPrefix("42") || server.sqlState.hasPrefix("3F") {
                self.init(.incompatible, error.description)
            } else if error.isTransient {
                self.init(.unavailable, error.description)
            } else {
                self.init(.corruptRow, error.description)
            }
        }
    }

    /// The same for a read: whatever happened, nothing took effect.
    static func reading(_ error: PostgresError) -> StoreError {
        let mapped = StoreError(error)
        return mapped.code == .outcomeUnknown ? StoreError(.unavailable, mapped.detail) : mapped
    }
}

extension PostgresError {
    /// The guard that refused the row, when one did: constraints, triggers, values out of range.
    var violation: String? {
        guard let state = sqlState, state.hasPrefix("23") || state.hasPrefix("22") else { return nil }
        return constraint ?? state
    }

    /// Another transaction held a row or a key for longer than `lock_timeout`.
    var isLockTimeout: Bool { sqlState == "55P03" }

    /// A deadlock or a serialization failure: rolled back, and the next try meets other timing.
    var isCollision: Bool { sqlState == "40P01" || sqlState == "40001" }
}

/// Runs `read`, with the driver's and the rows' errors as the store's.
func reading<Value>(_ read: () async throws -> Value) async throws(StoreError) -> Value {
    do {
        return try await read()
    } catch let error as StoreError {
        throw error
    } catch let error as PostgresError {
        throw .reading(error)
    } catch {
        throw StoreError(.corruptRow, "\(error)")
    }
}

/// The same for a write, whose outcome may stay unknown.
func writing<Value>(_ write: () async throws -> Value) async throws(StoreError) -> Value {
    do {
        return try await write()
    } catch let error as StoreError {
        throw error
    } catch let error as PostgresError {
        throw StoreError(error)
    } catch {
        throw StoreError(.corruptRow, "\(error)")
    }
}
