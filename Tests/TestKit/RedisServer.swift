// Private Redis servers for tests. A server starts in some 50 ms, so a suite that stops, kills or fills its server has
// one of its own; the others share one and flush it.

package import LocalServers
package import RedisClient

#if canImport(Glibc)
internal import Glibc
#else
internal import Darwin
#endif

package enum RedisServer {
    /// Runs `body` with a server of its own, which is gone afterwards together with its directory.
    package static func withServer<Result>(
        isDurable: Bool = false,
        tcpPort: UInt16? = nil,
        settings: [(name: String, value: String)] = [],
        _ body: (LocalRedis) async throws -> Result,
    ) async throws -> Result {
        let directory = try LocalFiles.temporaryFolder("so-redis")
        defer { LocalFiles.removeTree(directory) }
        let server = try await LocalServers.redis(
            directory: directory,
            isDurable: isDurable,
            tcpPort: tcpPort,
            settings: settings,
        )
        // Not `stop()`: a suspended server would not hear it.
        defer { server.endBlocking() }
        return try await body(server)
    }

    /// Options for a connection to `server`, with patience for a busy machine.
    package static func options(_ server: LocalRedis, name: String = "so-test") throws -> RedisOptions {
        var options = RedisOptions(address: try RedisAddress(url: server.url), name: name)
        options.requestTimeout = .seconds(10)
        return options
    }

    /// A port of the loopback interface that was free a moment ago.
    package static func freePort() -> UInt16 {
        #if canImport(Glibc)
        let descriptor = socket(AF_INET, Int32(SOCK_STREAM.rawValue), 0)
        #else
        let descriptor = socket(AF_INET, SOCK_STREAM, 0)
        #endif
        defer { close(descriptor) }
        var address = sockaddr_in()
        address.sin_family = sa_family_t(AF_INET)
        address.sin_addr.s_addr = UInt32(0x7F00_0001).bigEndian
        var size = socklen_t(MemoryLayout<sockaddr_in>.size)
        return withUnsafeMutablePointer(to: &address) { pointer in
            pointer.withMemoryRebound(to: sockaddr.self, capacity: 1) { generic in
                _ = bind(descriptor, generic, size)
                _ = getsockname(descriptor, generic, &size)
            }
            return UInt16(bigEndian: pointer.pointee.sin_port)
        }
    }
}
