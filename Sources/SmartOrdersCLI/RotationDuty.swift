// A new master key (RELIABILITY.md 10.3.4): workers that hold the new one and the old one re-wrap what the old one sealed,
// page by page. Whoever is cut off, another goes on; a secret that cannot be opened stays as it is and is counted.
import Logging
import OrderEngine
import OrderStorage
import SmartOrders

struct RotationDuty: Sendable {
    private static let pauseMs: Int64 = 1_000
    private static let page = 100

    let secrets: PostgresSecretStore
    let box: SealedSecrets
    /// The new one, and the one before it.
    let masterKeys: [String]
    let clock: SystemClock
    let logger: Logger

    /// Runs until the task is cancelled.
    func run() async throws {
        while true {
            try await clock.sleep(milliseconds: Self.pauseMs)
            do {
                guard let rotation = try await secrets.rotation(), !rotation.hasEnded else { continue }
                let failed = try await credentials(rotation.id) + (try await webhooks(rotation.id))
                try await secrets.finish(rotation.id, failed: failed)
                logger.notice("Secrets are sealed with the new key", metadata: ["failed": "\(failed)"])
            } catch let error as StoreError {
                logger.warning("A rotation of secrets waits", metadata: ["error": "\(error.detail)"])
            }
        }
    }

    /// Returns how many did not open.
    private func credentials(_ rotation: Int64) async throws -> Int {
        var failed = 0
        var last: AccountID?
        while true {
            let page = try await secrets.credentials(after: last, limit: Self.page)
            guard let end = page.last else { return failed }
            last = end.name.account
            var moved = 0
            for one in page {
                do {
                    guard let sealed = try box.rewrapped(one.sealed, as: one.name) else { continue }
                    if try await secrets.replace(one, by: sealed) { moved += 1 }
                } catch let error as StoreError {
                    throw error
                } catch {
                    // The error may say something of the bytes.
                    failed += 1
                }
            }
            try await secrets.note(moved: moved, in: rotation)
        }
    }

    /// Their secrets are sealed to the public key that belongs to a master key.
    private func webhooks(_ rotation: Int64) async throws -> Int {
        guard let newest = masterKeys.first,
            let seal = IntakeSeal.sealer(publicKey: try IntakeSeal.publicKey(masterKey: newest))
        else { return 0 }
        var failed = 0
        var last: UniqueID?
        while true {
            let page = try await secrets.webhooks(after: last, limit: Self.page)
            guard let end = page.last else { return failed }
            last = end.id
            var moved = 0
            for one in page {
                do {
                    let name = AccountID(one.id)
                    func isNew(_ sealed: [UInt8]) -> Bool {
                        do {
                            _ = try IntakeSeal.open(sealed, for: name, masterKeys: [newest])
                            return true
                        } catch {
                            return false
                        }
                    }
                    if isNew(one.secret), one.old.map(isNew) ?? true { continue }
                    let secret = try seal(try IntakeSeal.open(one.secret, for: name, masterKeys: masterKeys), name)
                    let old = try one.old.map {
                        try seal(try IntakeSeal.open($0, for: name, masterKeys: masterKeys), name)
                    }
                    if try await secrets.replace(one, by: secret, old: old) { moved += 1 }
                } catch let error as StoreError {
                    throw error
                } catch {
                    failed += 1
                }
            }
            try await secrets.note(moved: moved, in: rotation)
        }
    }
}
