import HTTPAPI
import JSONText
import NIOHTTP1
import OrderEngine
import OwnerThread
import Simulation
import SmartOrders
import TestKit
import Testing

@Suite(.serialized, .timeLimit(.minutes(4)))
struct StreamTests {
    @Test func `a subscriber gets a snapshot, then every event once and in order`() async throws {
        try await withAPI { api in
            let id = try await api.create("k1")
            try await withStream(api) { stream in
                try await stream.authenticate()
                let subscribed = try await stream.subscribe("\(api.account)", from: nil)
                #expect(subscribed["id"]?.text == "s1")
                #expect(subscribed["head"]?.int64 == 1)
                let part = try await stream.next("snapshot")
                #expect(part["seq"]?.int64 == 1)
                guard case .array(let orders)? = part["orders"] else {
                    Issue.record("\(part)")
                    return
                }
                #expect(orders.map { $0["id"]?.text } == [id])
                #expect(try await stream.next("snapshot")["last"] == .bool(true))
                _ = try await api.send(.DELETE, "/v1/orders/\(id)", ifMatch: "*")
                let event = try await stream.next("event")
                #expect(event["seq"]?.int64 == 2)
                #expect(event["data"]?["orderId"]?.text == id)
                #expect(event["data"]?["order"]?["version"]?.int64 == 2)
                let second = try await api.create("k2")
                #expect(try await stream.next("event")["data"]?["orderId"]?.text == second)
            }
        }
    }

    @Test func `a stream that is cut goes on where it was, without gap or repeat`() async throws {
        try await withAPI { api in
            var order = try await api.commit(40, versionsOf: .sample(1, api.account))
            var seen: [Int64] = []
            try await withStream(api) { stream in
                try await stream.authenticate()
                let subscribed = try await stream.subscribe("\(api.account)", from: 0)
                #expect(subscribed["replay"] == .bool(true))
                seen += try await stream.sequences(25)
            }
            // Cut in the middle of the replay; more is committed meanwhile.
            order = try await api.commit(1_500, versionsOf: order)
            try await withStream(api) { stream in
                try await stream.authenticate()
                try await stream.subscribe("\(api.account)", from: seen.last ?? 0)
                seen += try await stream.sequences(1_000)
                order = try await api.commit(100, versionsOf: order)
                seen += try await stream.sequences(615)
            }
            #expect(seen == Array(1...1_640))
            try await withStream(api) { stream in
                try await stream.authenticate()
                #expect(try await stream.subscribe("\(api.account)", from: 1_640)["replay"] == .bool(false))
                try await api.commit(order)
                #expect(try await stream.sequences(1) == [1_641])
            }
        }
    }

    @Test func `a client that is cut a hundred times reads what one reads that was never cut`() async throws {
        try await withAPI({ $0.stream.connectionsPerKey = 100 }) { api in
            let count = 1_000
            let whole = Locked<[JSONValue]>([])
            let isFollowed = Locked(false)
            try await withThrowingTaskGroup(of: Void.self) { group in
                group.addTask {
                    try await withStream(api) { stream in
                        try await stream.authenticate()
                        try await stream.subscribe("\(api.account)", from: 0)
                        isFollowed.withLock { $0 = true }
                        for _ in 0..<count {
                            let event = try await stream.next("event")
                            whole.withLock { $0.append(event) }
                        }
                    }
                }
                while !isFollowed.withLock({ $0 }) { try await Task.sleep(for: .milliseconds(5)) }
                group.addTask {
                    var order = SmartOrder.sample(1, api.account)
                    for _ in 0..<count / 10 {
                        order = try await api.commit(10, versionsOf: order)
                        try await Task.sleep(for: .milliseconds(1))
                    }
                }
                // Where each cut comes is random, and the same in every run.
                var random = SeededRandom(seed: 41)
                var pieces: [JSONValue] = []
                for cut in 0...100 {
                    let share = cut == 100 ? count : min(Int.random(in: 0...15, using: &random), count - pieces.count)
                    try await withStream(api) { stream in
                        try await stream.authenticate()
                        try await stream.subscribe("\(api.account)", from: pieces.last?["seq"]?.int64 ?? 0)
                        for _ in 0..<min(share, count - pieces.count) { pieces.append(try await stream.next("event")) }
                    }
                }
                try await group.waitForAll()
                let uncut = whole.withLock { $0 }
                #expect(pieces.count == count)
                #expect(pieces == uncut)
                #expect(uncut.compactMap { $0["seq"]?.int64 } == Array(1...Int64(count)))
            }
        }
    }

    @Test func `among fifty streams one that reads nothing delays nobody`() async throws {
        try await withAPI({ change in
            change.stream.connectionsPerKey = 300
            change.stream.socketBufferBytes = 8_192
            change.stream.writeBufferBytes = 16_384
        }) { api in
            let ready = Locked(0)
            try await withThrowingTaskGroup(of: Int64?.self) { group in
                group.addTask {
                    try await withStream(api, receiveBuffer: 4_096) { slow in
                        try await slow.authenticate()
                        try await slow.subscribe("\(api.account)", from: 0)
                        slow.isPaused.withLock { $0 = true }
                        ready.withLock { $0 += 1 }
                        do { try await Task.sleep(for: .seconds(600)) } catch {}
                    }
                    return nil
                }
                for _ in 0..<50 {
                    group.addTask {
                        var last: Int64?
                        try await withStream(api) { stream in
                            try await stream.authenticate()
                            try await stream.subscribe("\(api.account)", from: 0)
                            ready.withLock { $0 += 1 }
                            last = try await stream.sequences(100).last
                        }
                        return last
                    }
                }
                while ready.withLock({ $0 }) < 51 { try await Task.sleep(for: .milliseconds(5)) }
                _ = try await api.commit(100, versionsOf: .sample(1, api.account))
                for _ in 0..<50 { #expect(try await group.next() == .some(100)) }
                group.cancelAll()
            }
            // Encoded once, for the slow one and all the others.
            #expect(api.server.encodedEvents == 100)
        }
    }

    struct Gap: Sendable {
        let reason: String
        let epoch: Int64
        let from: Int64
    }

    @Test(arguments: [
        Gap(reason: "EPOCH", epoch: 2, from: 1), Gap(reason: "FUTURE", epoch: 1, from: 100),
        Gap(reason: "TOO_OLD", epoch: 1, from: 2),
    ])
    func `what cannot be resumed is told, and a snapshot follows`(_ gap: Gap) async throws {
        try await withAPI({ $0.stream.window = 10 }) { api in
            let order = try await api.commit(20, versionsOf: .sample(1, api.account))
            try await withStream(api) { stream in
                try await stream.authenticate()
                try await stream.subscribe("\(api.account)", from: gap.from, epoch: gap.epoch)
                let told = try await stream.next("gap")
                #expect(told["reason"]?.text == gap.reason)
                #expect(told["head"]?.int64 == 20)
                #expect(told["oldest"]?.int64 == 11)
                #expect(try await stream.next("snapshot")["seq"]?.int64 == 20)
                try await api.commit(order)
                #expect(try await stream.sequences(1) == [21])
            }
        }
    }

    @Test func `an event is encoded once for all who listen`() async throws {
        try await withAPI { api in
            let ready = Locked(0)
            try await withThrowingTaskGroup(of: [Int64].self) { group in
                for _ in 0..<15 {
                    group.addTask {
                        var seen: [Int64] = []
                        try await withStream(api) { stream in
                            try await stream.authenticate()
                            try await stream.subscribe("\(api.account)", from: 0)
                            ready.withLock { $0 += 1 }
                            seen = try await stream.sequences(200)
                        }
                        return seen
                    }
                }
                while ready.withLock({ $0 }) < 15 { try await Task.sleep(for: .milliseconds(5)) }
                _ = try await api.commit(200, versionsOf: .sample(1, api.account))
                for try await seen in group { #expect(seen == Array(1...200)) }
            }
            #expect(api.server.encodedEvents == 200)
        }
    }

    @Test func `who reads nothing is closed, the others are not held up`() async throws {
        try await withAPI({ change in
            change.stream.stuckMs = 1_500
            change.stream.closeGraceMs = 300
            change.stream.socketBufferBytes = 8_192
            change.stream.writeBufferBytes = 16_384
        }) { api in
            try await withStream(api, receiveBuffer: 4_096) { slow in
                try await slow.authenticate()
                try await slow.subscribe("\(api.account)", from: 0)
                slow.isPaused.withLock { $0 = true }
                try await withStream(api) { quick in
                    try await quick.authenticate()
                    try await quick.subscribe("\(api.account)", from: 0)
                    _ = try await api.commit(600, versionsOf: .sample(1, api.account))
                    #expect(try await quick.sequences(600).last == 600)
                }
                try await Task.sleep(for: .milliseconds(3_500))
                slow.isPaused.withLock { $0 = false }
                var received = 0
                var code: UInt16?
                while true {
                    switch try await slow.next() {
                    case .text: received += 1
                    case .close(let given): code = given
                    case .ping, .pong: break
                    case .end:
                        #expect(received < 600)
                        #expect(code == nil || code == 4008)
                        return
                    }
                }
            }
        }
    }

    @Test func `who does not say who it is, is closed`() async throws {
        try await withAPI({ $0.stream.authenticateMs = 100 }) { api in
            try await withStream(api) { stream in
                let code = try await stream.closeCode()
                #expect(code == 4408)
            }
        }
        try await withAPI { api in
            try await withStream(api) { stream in
                try await stream.send(json: #"{"op":"auth","key":"so_paper_none"}"#)
                #expect(try await stream.closeCode() == 4401)
            }
            try await withStream(api, "Authorization: Bearer nonsense\r\n") { stream in
                let code = try await stream.closeCode()
                #expect(code == 4401)
            }
            try await withStream(api) { stream in
                try await stream.send(json: #"{"op":"subscribe","channel":"orders","account":"\#(api.account)"}"#)
                #expect(try await stream.closeCode() == 4401)
            }
            try await withStream(api, "Authorization: Bearer \(Rig.key)\r\n") { stream in
                _ = try await stream.next("authenticated")
                try await stream.subscribe("\(api.account)", from: 0)
            }
        }
    }

    @Test func `a ticket opens one stream once`() async throws {
        try await withAPI { api in
            let issued = try await api.send(.POST, "/v1/stream-tickets")
            #expect(issued.status == 201)
            let ticket = try #require(issued.json["ticket"]?.text)
            try await withStream(api) { stream in
                try await stream.send(json: #"{"op":"auth","ticket":"\#(ticket)"}"#)
                _ = try await stream.next("authenticated")
            }
            try await withStream(api) { stream in
                try await stream.send(json: #"{"op":"auth","ticket":"\#(ticket)"}"#)
                #expect(try await stream.closeCode() == 4401)
            }
        }
    }

    @Test func `somebody else's account cannot be followed`() async throws {
        try await withAPI { api in
            try await withStream(api) { stream in
                try await stream.authenticate(Rig.strangerKey)
                try await stream.send(json: #"{"op":"subscribe","channel":"orders","account":"\#(api.account)"}"#)
                #expect(try await stream.closeCode() == 4403)
            }
        }
    }

    @Test func `a revoked key closes the stream`() async throws {
        try await withAPI({ change in
            change.limits.keyCacheMs = 50
            change.stream.recheckMs = 50
        }) { api in
            try await withStream(api) { stream in
                try await stream.authenticate()
                api.accounts.revoke(hash: APIKey.hash(Rig.key))
                #expect(try await stream.closeCode() == 4401)
            }
        }
    }

    @Test func `a store that stays away ends the stream`() async throws {
        try await withAPI({ $0.stream.storeAwayMs = 200 }) { api in
            try await withStream(api) { stream in
                try await stream.authenticate()
                try await stream.subscribe("\(api.account)", from: 0)
                api.orders.isAway = true
                #expect(try await stream.closeCode() == 4503)
            }
        }
    }

    @Test func `pings, heartbeats and pongs`() async throws {
        try await withAPI({ change in
            change.stream.heartbeatMs = 50
            change.stream.pingMs = 1_000
        }) { api in
            try await withStream(api) { stream in
                try await stream.authenticate()
                try await stream.subscribe("\(api.account)", from: 0)
                try await stream.send(json: #"{"op":"ping","id":"p"}"#)
                #expect(try await stream.next("pong")["id"]?.text == "p")
                try await stream.send(opcode: 9, [1, 2, 3])
                var seen: Set<String> = []
                while seen.count < 3 {
                    switch try await stream.next() {
                    case .pong(let payload):
                        #expect(payload == [1, 2, 3])
                        seen.insert("pong")
                    case .ping: seen.insert("ping")
                    case .text(let json):
                        guard json["type"]?.text == "heartbeat" else { continue }
                        #expect(json["heads"]?["\(api.account)"]?.int64 == 0)
                        seen.insert("heartbeat")
                    case .close, .end:
                        Issue.record("closed")
                        return
                    }
                }
                try await stream.send(opcode: 8, [0x03, 0xe8])
                #expect(try await stream.closeCode() == 1000)
                #expect(try await stream.next() == .end)
            }
        }
    }

    @Test func `a key has so many streams and frames, not more`() async throws {
        try await withAPI({ change in
            change.stream.connectionsPerKey = 1
            change.stream.frameBurst = 5
            change.stream.framesPerSecond = 1
        }) { api in
            try await withStream(api) { first in
                try await first.authenticate()
                try await withStream(api) { second in
                    try await second.send(json: #"{"op":"auth","key":"\#(Rig.key)"}"#)
                    #expect(try await second.closeCode() == 4429)
                }
                let other = try await api.send(.GET, "/v1/events?account=\(api.account)")
                #expect(other.code == "TOO_MANY_STREAMS")
                for _ in 0..<6 { try await first.send(json: #"{"op":"ping"}"#) }
                #expect(try await first.closeCode() == 4429)
            }
        }
    }

    @Test func `an address has so many streams, whoever has them`() async throws {
        try await withAPI({ change in
            change.stream.connectionsPerAddress = 1
            change.trustedProxies = ["127.0.0.0/8"]
        }) { api in
            let client = "X-Forwarded-For: 192.0.2.1\r\n"
            func events() async throws -> Answer {
                let headers = [("X-Forwarded-For", "192.0.2.1")]
                return try await api.send(.GET, "/v1/events?account=\(api.account)", headers: headers)
            }
            try await withStream(api, client) { first in
                try await first.authenticate()
                try await withStream(api, client) { second in
                    let code = try await second.closeCode()
                    #expect(code == 4429)
                }
                let refused = try await events()
                #expect(refused.status == 429 && refused.code == "TOO_MANY_STREAMS", "\(refused.text)")
                try await withStream(api, "X-Forwarded-For: 192.0.2.2\r\n") { try await $0.authenticate() }
            }
            // The place of the one that went.
            var code: UInt16? = 4429
            while code == 4429 {
                try await withStream(api, client) { next in
                    try await next.send(json: #"{"op":"auth","key":"nonsense"}"#)
                    code = try await next.closeCode()
                }
            }
            #expect(code == 4401)
        }
    }

    struct BadFrames: Sendable {
        let code: UInt16
        /// Opcode and payload; 0x80 in the opcode: last frame of its message.
        var frames: [(UInt8, [UInt8])] = []
        var raw: [UInt8] = []
    }

    static let badFrames = [
        BadFrames(code: 1002, frames: [(0x80, [1])]),
        BadFrames(code: 1002, frames: [(0x01, [0x7b]), (0x81, [0x7b])]),
        BadFrames(code: 1002, frames: [(0x83, [])]),
        BadFrames(code: 1002, frames: [(0x09, [])]),
        BadFrames(code: 1002, frames: [(0x89, Array(repeating: 0, count: 126))]),
        BadFrames(code: 1002, frames: [(0xc1, [0x7b])]),
        BadFrames(code: 1002, raw: [0x81, 0x02, 0x7b, 0x7d]),
        BadFrames(code: 1002, frames: [(0x88, [0x03])]),
        BadFrames(code: 1002, frames: [(0x88, [0x03, 0xed])]),
        BadFrames(code: 1003, frames: [(0x82, [1])]),
        BadFrames(code: 1007, frames: [(0x81, [0xc0, 0xaf])]),
        BadFrames(code: 1007, frames: [(0x81, [0xed, 0xa0, 0x80])]),
        BadFrames(code: 1007, frames: [(0x01, [0xe2, 0x82]), (0x80, [0x22])]),
        BadFrames(code: 1009, frames: [(0x81, Array(repeating: 0x20, count: 4_097))]),
        BadFrames(
            code: 1009,
            frames: [(0x01, Array(repeating: 0x20, count: 3_000)), (0x80, Array(repeating: 0x20, count: 1_200))],
        ),
        BadFrames(code: 1009, frames: [(0x81, Array(repeating: 0x20, count: 20_000))]),
        BadFrames(code: 4400, frames: [(0x81, Array("{".utf8))]),
        BadFrames(code: 4400, frames: [(0x81, Array(#"{"op":"dance"}"#.utf8))]),
        BadFrames(code: 4400, frames: [(0x81, Array(#"{"op":"ping","x":1}"#.utf8))]),
        BadFrames(code: 4400, frames: [(0x81, Array(#"{"op":"auth"}"#.utf8))]),
    ]

    @Test(arguments: badFrames)
    func `frames that break the protocol close with their code`(_ bad: BadFrames) async throws {
        try await withAPI { api in
            try await withStream(api) { stream in
                for (opcode, payload) in bad.frames {
                    try await stream.send(opcode: opcode & 0x7f, payload, fin: opcode & 0x80 != 0)
                }
                if !bad.raw.isEmpty { try await stream.send(bytes: bad.raw) }
                #expect(try await stream.closeCode() == bad.code)
            }
        }
    }

    @Test func `a message in fragments, with a ping between, is one message`() async throws {
        try await withAPI { api in
            try await withStream(api) { stream in
                try await stream.send(opcode: 1, Array(#"{"op":"#.utf8), fin: false)
                try await stream.send(opcode: 9, [7])
                try await stream.send(opcode: 0, Array(#""ping","id":"ü"}"#.utf8))
                #expect(try await stream.next("pong")["id"]?.text == "ü")
            }
        }
    }
}
