// The streams of the API on real sockets: fan-out, a reader that does not read, idle sockets, and the way of a commit made
// by another process to a socket.
import JSONText
import LocalServers
import OrderEngine
import OrderStorage
import OwnerThread
import SmartOrders

#if canImport(Glibc)
import Glibc
#else
import Darwin
#endif

struct APIStreamBenchmark: Sendable {
    private static let subscribers = 1_000
    private static let fanOutEvents: Int64 = 200
    private static let slowEvents: Int64 = 1_000
    /// Events that may be under way: commits wait for the slowest subscriber, so what is measured is the way to the sockets
    /// and no queue.
    private static let outstanding: Int64 = 16
    private static let idleSockets = 10_000
    private static let eventRate = 500
    private static let pacedOrders = 50

    let port: Int
    let key: String
    let account: AccountID
    /// What commits: the stores of another process.
    let other: Backend
    let clock: SystemClock
    /// Events of the one-at-a-time measurement.
    let reach: Int

    /// - Parameter id: an open order of the account.
    func measures(_ id: String) -> [(name: String, measure: () async throws -> JSONValue)] {
        [
            ("fanOut", { try await fanOut(id) }), ("slowReader", { try await slowReader(id) }),
            ("idle", { try await idle() }), ("stream", { try await oneByOne(id) }), ("paced", { try await paced(id) }),
        ]
    }

    private func order(_ id: String) throws -> OrderID {
        guard let order = OrderID(id) else { throw Failure(.failed, "BENCH_API", "no order id: \(id)") }
        return order
    }

    /// Moves the stop a little: one event.
    private func edit(_ commands: CommandService, _ order: OrderID, _ number: Int64) async throws -> CommandAnswer {
        var edit = OrderEdit()
        edit.stopLoss = .some(StopLossPlan(price: Price(ExactDecimal(mantissa: 800 + Int128(number % 50), scale: 1))))
        return try await commands.execute(
            .edit(edit),
            on: order,
            version: nil,
            actor: Actor(kind: .worker, id: "bench"),
        )
    }

    /// One account's events to a thousand WebSockets: each is encoded once, whoever listens.
    private func fanOut(_ id: String) async throws -> JSONValue {
        try await tell(id, events: Self.fanOutEvents, silent: 0)
    }

    /// The same with one that subscribes and never reads: the others must not notice, and memory stays what it was.
    private func slowReader(_ id: String) async throws -> JSONValue {
        try await tell(id, events: Self.slowEvents, silent: 1)
    }

    private func tell(_ id: String, events: Int64, silent: Int) async throws -> JSONValue {
        let order = try order(id)
        let head = try await other.orders.lastSequence(account: account)
        let swarm = try StreamSwarm(
            port: port,
            key: key,
            count: Self.subscribers + silent,
            silent: silent,
            following: (account, head),
        )
        try await wait { swarm.subscribed == Self.subscribers }
        let memory = ProcessTimes.residentKilobytes()
        let before = swarm.messages
        let cpu = ProcessTimes.cpuSeconds() * 1e9 - Double(swarm.cpuNanoseconds)
        let begun = clock.monotonicNanoseconds()
        let commands = other.commands
        var committed: [Int64: Int64] = [:]
        for number in 0..<events {
            let oldest = head + number + 1 - Self.outstanding
            if oldest > head { try await wait { swarm.count(of: oldest) == Self.subscribers } }
            _ = try await edit(commands, order, number)
            committed[head + number + 1] = clock.monotonicNanoseconds()
        }
        let last = head + events
        try await wait { swarm.count(of: last) == Self.subscribers }
        let arrivals = swarm.arrivals
        let ended = arrivals[last]?.last ?? begun
        let messages = swarm.messages - before
        let spent = ProcessTimes.cpuSeconds() * 1e9 - Double(swarm.cpuNanoseconds) - cpu
        let grown = ProcessTimes.residentKilobytes() - memory
        await swarm.close()
        let delays = committed.compactMap { sequence, done in
            arrivals[sequence].map { Double(max(0, $0.last - done)) / 1e6 }
        }
        return [
            "subscribers": .integer(Self.subscribers), "silent": .integer(silent), "messages": .integer(messages),
            "perSecond": .number("\((Double(messages) / (Double(ended - begun) / 1e9)).rounded())"),
            // All of this process but the clients: the commits are in it.
            "cpuMicrosecondsEach": .number("\((spent / 10 / Double(messages)).rounded() / 100)"),
            "commitToLastSocketMs": Percentiles.json(delays), "memoryGrownKilobytes": .integer(Int(grown)),
        ]
    }

    /// What ten thousand sockets cost that say nothing. Another process holds their other ends: each needs a file of each.
    private func idle() async throws -> JSONValue {
        let limit = FileLimit.raise()
        guard limit > Self.idleSockets + 500 else {
            return ["sockets": .integer(0), "why": .string("this process may have \(limit) files open")]
        }
        let before = ProcessTimes.residentKilobytes()
        let folder = try LocalFiles.temporaryFolder("so-sockets")
        defer { LocalFiles.removeTree(folder) }
        let log = "\(folder)/log"
        // A key goes by environment, never by argument.
        setenv("SMARTORDERS_KEY", key, 1)
        let holder = try await OwnedProcess.start(
            [try DevProcess.program(), "hold-sockets", "--port", "\(port)", "--count", "\(Self.idleSockets)"],
            log: log,
        )
        defer { holder.killBlocking() }
        try await wait { LocalFiles.text(log, last: 1_000)?.contains("ready") == true }
        try await clock.sleep(milliseconds: 2_000)
        let after = ProcessTimes.residentKilobytes()
        return ["sockets": .integer(Self.idleSockets), "megabytes": .integer(Int((after - before) / 1_024))]
    }

    private func wait(until isTrue: () -> Bool) async throws {
        for _ in 0..<60_000 {
            if isTrue() { return }
            try await clock.sleep(milliseconds: 2)
        }
        throw Failure(.failed, "BENCH_API", "the streams did not get everything.")
    }

    // MARK: The way to a socket

    private struct Version: Hashable {
        let order: OrderID
        let version: Int64
    }

    /// Runs `body` while one stream is listened to; it gets what arrived when.
    private func listening<Result: Sendable>(
        _ body: (Locked<[Version: Int64]>) async throws -> Result
    ) async throws -> Result {
        let arrivals = Locked<[Version: Int64]>([:])
        let caller = APICaller(port: port, key: key, clock: clock)
        return try await withThrowingTaskGroup(of: Void.self) { group in
            group.addTask {
                try await caller.listen(account) { order, version in
                    let now = clock.monotonicNanoseconds()
                    let key = Version(order: order, version: version)
                    arrivals.withLock { $0[key] = $0[key] ?? now }
                }
            }
            let result = try await body(arrivals)
            group.cancelAll()
            return result
        }
    }

    private func delays(
        _ committed: [Version: (begun: Int64, done: Int64)],
        _ arrivals: [Version: Int64],
    ) -> JSONValue {
        var fromCommand: [Double] = []
        var fromCommit: [Double] = []
        for (version, times) in committed {
            guard let arrival = arrivals[version] else { continue }
            fromCommand.append(Double(arrival - times.begun) / 1e6)
            fromCommit.append(Double(max(0, arrival - times.done)) / 1e6)
        }
        return [
            "events": .integer(fromCommand.count), "commandToSocketMs": Percentiles.json(fromCommand),
            "commitToSocketMs": Percentiles.json(fromCommit),
        ]
    }

    /// Commits one after the other: the way is measured, not a queue.
    private func oneByOne(_ id: String) async throws -> JSONValue {
        let order = try order(id)
        return try await listening { arrivals in
            let commands = other.commands
            var committed: [Version: (begun: Int64, done: Int64)] = [:]
            for number in 0..<reach {
                let begun = clock.monotonicNanoseconds()
                let answer = try await edit(commands, order, Int64(number))
                let version = Version(order: order, version: answer.order.version)
                committed[version] = (begun, clock.monotonicNanoseconds())
                try await wait { arrivals.withLock { $0[version] } != nil }
            }
            return delays(committed, arrivals.withLock { $0 })
        }
    }

    /// Commits at a fixed rate, each when it is due, whatever became of the last one.
    private func paced(_ id: String) async throws -> JSONValue {
        let caller = APICaller(port: port, key: key, clock: clock)
        var orders: [OrderID] = []
        for number in 0..<Self.pacedOrders {
            orders.append(try order(try await caller.create(account, 9_000_000 + number)))
        }
        let targets = orders
        return try await listening { arrivals in
            let commands = other.commands
            let committed = Locked<[Version: (begun: Int64, done: Int64)]>([:])
            // The stream answers before it is measured.
            let first = try await edit(commands, targets[0], 0)
            let known = Version(order: targets[0], version: first.order.version)
            try await wait { arrivals.withLock { $0[known] } != nil }
            let start = clock.monotonicNanoseconds()
            let count = Self.eventRate * 6
            try await withThrowingTaskGroup(of: Void.self) { group in
                // Each order has one writer, so none of them waits for another.
                for (index, target) in targets.enumerated() {
                    group.addTask {
                        for number in stride(from: index, to: count, by: targets.count) {
                            let due = start + Int64(number) * 1_000_000_000 / Int64(Self.eventRate)
                            let left = (due - clock.monotonicNanoseconds()) / 1_000_000
                            if left > 0 { try await clock.sleep(milliseconds: left) }
                            let begun = clock.monotonicNanoseconds()
                            let answer = try await edit(commands, target, Int64(number / targets.count + 1))
                            let version = Version(order: target, version: answer.order.version)
                            let done = clock.monotonicNanoseconds()
                            committed.withLock { $0[version] = (begun, done) }
                        }
                    }
                }
                try await group.waitForAll()
            }
            let seconds = Double(clock.monotonicNanoseconds() - start) / 1e9
            let all = committed.withLock { $0 }
            try await wait { arrivals.withLock { known in all.keys.allSatisfy { known[$0] != nil } } }
            guard case .object(var document) = delays(all, arrivals.withLock { $0 }) else { return .null }
            document["perSecond"] = .number("\((Double(count) / seconds).rounded())")
            return .object(document)
        }
    }
}
