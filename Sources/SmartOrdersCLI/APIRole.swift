import HTTPAPI
import OrderEngine

/// The HTTP API of a process.
struct APIRole: Sendable {
    let backend: Backend
    var host = "127.0.0.1"
    let port: Int

    func start() async throws -> Int { port }
    func run() async throws { try await backend.clock.sleep(milliseconds: 86_400_000) }
}
