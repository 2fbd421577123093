// `smartorders hold-sockets`: the other end of many idle streams, for `bench api`; not shown to people.
import ArgumentParser

struct HoldSocketsCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(commandName: "hold-sockets", shouldDisplay: false)

    @Option var port: Int
    @Option var count: Int

    func run() async throws {
        let limit = FileLimit.raise()
        guard limit > count + 100 else {
            throw Failure(.failed, "FILES", "this process may have \(limit) files open.")
        }
        var sockets: [Int32] = []
        for _ in 0..<count {
            let socket = try Sockets.connect(port)
            Sockets.write(
                socket,
                Array(
                    ("GET /v1/stream HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
                        + "Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"
                        + "Authorization: Bearer \(environment("SMARTORDERS_KEY") ?? "")\r\n\r\n").utf8
                ),
            )
            sockets.append(socket)
        }
        show("ready \(sockets.count)")
        _ = try await stopSignal()
    }
}
