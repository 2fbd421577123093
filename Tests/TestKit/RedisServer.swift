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

    /// A port of the loopback interface that was free a moment ago. Below what the kernel gives to connections: those do
    /// not take it before its server does; and so is its neighbour 10,000 above, the bus of a Redis Cluster.
    package static func freePort() -> UInt16 {
        while true {
            let port = UInt16.random(in: 11_000..<22_000)
            if canBind(port) { return port }
        }
    }

    private static func canBind(_ port: UInt16) -> Bool {
        #if canImport(Glibc)
        let descriptor = socket(AF_INET, Int32(SOCK_STREAM.rawValue), 0)
        #else
        let descriptor = socket(AF_INET, SOCK_STREAM, 0)
        #endif
        defer { close(descriptor) }
        var one: Int32 = 1
        setsockopt(descriptor, SOL_SOCKET, SO_REUSEADDR, &one, socklen_t(MemoryLayout<Int32>.size))
        var address = sockaddr_in()
        address.sin_family = sa_family_t(AF_INET)
        address.sin_addr.s_addr = UInt32(0x7F00_0001).bigEndian
        address.sin_port = port.bigEndian
        return withUnsafePointer(to: &address) { pointer in
            pointer.withMemoryRebound(to: sockaddr.self, capacity: 1) { generic in
                bind(descriptor, generic, socklen_t(MemoryLayout<sockaddr_in>.size)) == 0
            }
        }
    }
}
