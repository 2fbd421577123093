// The pinned official client of the queue's dialect, fetched for one run of the bench and removed with its servers.
import LocalServers
import TriggerQueue

enum OfficialPackage {
    /// As `scripts/oracle` has it.
    static let pin = "bullmq==3.4.4"

    /// Installs the package into `folder` unless `installed` names one; nil, with a word on standard error, where it cannot
    /// be had.
    /// - Parameter installed: a folder that holds `bullmq`, such as the `site-packages` of an environment.
    static func scripts(installed: String?, folder: String) async -> OfficialScripts? {
        if let installed { return read(installed) }
        guard let python = LocalFiles.program("python3") else {
            tell("official scripts: not measured, there is no python3")
            return nil
        }
        do throws(LocalServerError) {
            try LocalFiles.makeFolder(folder)
            let pip = try await OwnedProcess.start(
                [python, "-m", "pip", "install", "--quiet", "--no-deps", "--target", folder, pin],
                log: "\(folder)/pip.log",
            )
            guard await pip.ended(withinMs: 60_000) else {
                pip.killBlocking()
                tell("official scripts: not measured, \(pin) cannot be had within a minute")
                return nil
            }
        } catch {
            tell("official scripts: not measured, \(error)")
            return nil
        }
        return read(folder)
    }

    private static func read(_ folder: String) -> OfficialScripts? {
        func source(_ name: String) -> String? {
            LocalFiles.text("\(folder)/bullmq/commands/\(name).lua", last: 1 << 20)
        }
        guard let add = source("addStandardJob-9"), let take = source("moveToActive-11"),
            let finish = source("moveToFinished-14")
        else {
            tell("official scripts: not measured, \(pin) cannot be had here")
            return nil
        }
        return OfficialScripts(addStandardJob: add, moveToActive: take, moveToFinished: finish)
    }
}
