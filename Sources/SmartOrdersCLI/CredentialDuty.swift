// What a worker does with venue keys that traders send in: open, ask the venue, keep or refuse (RELIABILITY.md 10.3).
//
// A key that may withdraw is never kept. Nothing of a key is logged; what the venue answers is reported by our own words.
import Exchanges
import Logging
import OrderEngine
import OrderStorage
import SmartOrders

struct CredentialDuty: Sendable {
    private static let pauseMs: Int64 = 250
    private static let purgeRounds = 240

    let backend: Backend
    /// The new one, and the one before it if there is one.
    let masterKeys: [String]

    /// Runs until the task is cancelled.
    func run() async throws {
        var round = 0
        var known: [AccountID: Int64] = [:]
        while true {
            do {
                while let taken = try await backend.intake.take() { try await settle(taken) }
                // Keys that another worker stored: connections made with the old one are made anew.
                let changed = try await backend.intake.changed()
                for (account, version) in changed where known[account] != version { backend.venues.forget(account) }
                known = changed
                if round % Self.purgeRounds == 0 { try await backend.intake.purge() }
            } catch let error as StoreError {
                backend.logger.debug("Venue keys wait", metadata: ["error": "\(error.detail)"])
            }
            round += 1
            try await backend.clock.sleep(milliseconds: Self.pauseMs)
        }
    }

    private func settle(_ taken: (id: UniqueID, account: AccountID, sealed: [UInt8])) async throws {
        guard let account = try await backend.accounts.account(taken.account) else {
            return try await finish(taken.id, taken.account, .refused, "the account is gone")
        }
        let isCheck = taken.sealed.isEmpty
        let credentials: Credentials?
        if isCheck {
            credentials = try await backend.accounts.credentials(account.id)
        } else {
            credentials = opened(taken.sealed, for: account.id)
        }
        guard let credentials else {
            let detail = isCheck ? "no key is stored" : "the key cannot be opened: was it sealed for other workers?"
            return try await finish(taken.id, account.id, .refused, detail)
        }
        switch await backend.venues.permissions(of: credentials, for: account) {
        case .unreachable(let detail): try await finish(taken.id, account.id, .unreachable, detail)
        case .refused:
            let detail = "the venue does not take the key"
            if isCheck { try await backend.intake.note(account.id, refusal: detail, permissions: []) }
            try await finish(taken.id, account.id, .refused, detail)
        case .known(let permissions):
            if let refusal = permissions.refusal {
                if isCheck {
                    try await backend.intake.note(account.id, refusal: refusal, permissions: permissions.words)
                }
                return try await finish(taken.id, account.id, .refused, refusal)
            }
            if isCheck {
                try await backend.intake.note(account.id, refusal: nil, permissions: permissions.words)
            } else {
                try await backend.accounts.store(credentials, of: account)
                let last4 = String(credentials.key.suffix(4))
                try await backend.intake.describe(account.id, last4: last4, permissions: permissions.words)
                backend.venues.forget(account.id)
            }
            try await finish(taken.id, account.id, .stored, "")
        }
    }

    private func opened(_ sealed: [UInt8], for account: AccountID) -> Credentials? {
        do {
            return Credentials(encoded: try IntakeSeal.open(sealed, for: account, masterKeys: masterKeys))
        } catch {
            // The error may say something of the bytes; that they do not open is all there is to know.
            return nil
        }
    }

    private func finish(
        _ id: UniqueID,
        _ account: AccountID,
        _ state: IntakeState,
        _ detail: String,
    ) async throws {
        try await backend.intake.settle(id, account: account, state, detail: detail)
        backend.logger.info("Venue key", metadata: ["account_id": "\(account)", "outcome": "\(state.rawValue)"])
    }
}
