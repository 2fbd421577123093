import OwnerThread
import Simulation
import Testing

/// Tasks of many kinds that sleep and talk; what they did, in order.
private func play(_ seed: UInt64) async -> (end: Simulator.End, hash: UInt64, said: [Int], escapes: Int) {
    let simulator = Simulator(seed: seed)
    let diary = Diary()
    let escapes = Diary()
    let end = await simulator.run {
        await withTaskGroup { group in
            for number in 0..<8 {
                group.addTask {
                    for round in 0..<5 {
                        _ = await simulator.sleep(nanoseconds: Int64((number * 7 + round) % 3))
                        await diary.write(number * 10 + round)
                        // Neither of these inherits an executor.
                        await Task { await diary.write(1_000 + number) }.value
                        await Task.detached { await diary.write(2_000 + number) }.value
                    }
                }
            }
        }
        await escapes.write(simulator.escapes)
    }
    return (end, simulator.traceHash, await diary.pages, await escapes.pages.first ?? -1)
}

private actor Diary {
    private(set) var pages: [Int] = []
    func write(_ page: Int) { pages.append(page) }
}

@Suite struct `The simulator` {
    @Test(arguments: 0..<20 as Range<UInt64>)
    func `replays a seed exactly`(seed: UInt64) async {
        let first = await play(seed)
        let second = await play(seed)
        #expect(first.end == .finished && first.escapes == 0)
        #expect(first.hash == second.hash && first.said == second.said)
        #expect(first.said.count == 120)
    }

    @Test func `other seeds are other runs`() async {
        var hashes: Set<UInt64> = []
        for seed in 0..<20 as Range<UInt64> { hashes.insert(await play(seed).hash) }
        #expect(hashes.count == 20)
    }

    @Test func `time passes only when everybody waits, and then at once`() async {
        let simulator = Simulator(seed: 1)
        let end = await simulator.run {
            await withTaskGroup { group in
                for hours in 1...24 as ClosedRange<Int64> {
                    group.addTask { _ = await simulator.sleep(nanoseconds: hours * 3_600_000_000_000) }
                }
            }
        }
        #expect(end == .finished && simulator.milliseconds == 24 * 3_600_000)
    }

    @Test func `a sleeper that is cancelled wakes at once`() async {
        let simulator = Simulator(seed: 1)
        let end = await simulator.run {
            await withTaskGroup { group in
                group.addTask { _ = await simulator.sleep(nanoseconds: .max / 4) }
                group.addTask { _ = await simulator.sleep(nanoseconds: 5_000_000) }
                await group.next()
                group.cancelAll()
            }
        }
        #expect(end == .finished && simulator.milliseconds == 5)
    }

    @Test func `nobody who could wake anybody is a deadlock`() async {
        let simulator = Simulator(seed: 1)
        let held = Held()
        let end = await simulator.run { await withCheckedContinuation { held.keep($0) } }
        #expect(end == .deadlock)
        held.resume()
    }
}

/// A continuation that nobody resumes until the test is over.
private final class Held: Sendable {
    private let continuation = Locked<CheckedContinuation<Void, Never>?>(nil)
    func keep(_ one: CheckedContinuation<Void, Never>) { continuation.withLock { $0 = one } }
    func resume() { continuation.withLock { $0 }?.resume() }
}
