// Every call on the way of an exit, with every outcome, alone and with a second worker (RELIABILITY.md 8.8.4). All of
// them: `smartorders simulate --crash-points`.
import OwnerThread
import Simulation
import Testing

#if canImport(Glibc)
import Glibc
#endif

/// A scene with so many workers.
struct Cast: Sendable, CustomTestStringConvertible {
    let scene: CrashScene
    let workers: Int
    var testDescription: String { "\(scene.rawValue) with \(workers) workers" }

    static let all = CrashScene.allCases.flatMap { scene in [1, 2].map { Cast(scene: scene, workers: $0) } }

    /// Where the simulation is compiled for speed all points are played; else every call with a third of what may become
    /// of it, another third with another number of workers.
    func points(_ calls: Int) -> [CrashPoint] {
        let all = CrashPoint.all(calls: calls)
        guard getenv("SMARTORDERS_OPTIMISED").map({ String(cString: $0) }) != "1" else { return all }
        return all.enumerated().filter { index, point in
            !point.restartsLate && (index / 2 + point.call + workers) % 3 == 0
        }.map(\.element)
    }

    /// Plays points, two at a time; the first that violates anything, told.
    func firstViolation(_ points: [CrashPoint], calls: [String], mutant: Mutant? = nil) async -> String? {
        let next = Locked(0)
        return await withTaskGroup(of: String?.self) { group in
            for _ in 0..<2 {
                group.addTask {
                    while true {
                        let index = next.withLock { next in
                            defer { next += 1 }
                            return next
                        }
                        guard index < points.count else { return nil }
                        let outcome = await Simulation.play(scene, points[index], workers: workers, mutant: mutant)
                        guard !outcome.violations.isEmpty else { continue }
                        next.withLock { $0 = points.count }
                        return await story(points[index], calls, mutant)
                    }
                }
            }
            var found: String?
            for await one in group { found = found ?? one }
            return found
        }
    }

    private func story(_ point: CrashPoint, _ calls: [String], _ mutant: Mutant?) async -> String {
        let again = await Simulation.play(scene, point, workers: workers, mutant: mutant, traceLines: 400)
        let found = again.violations.map { "\($0.milliseconds) ms \($0.predicate): \($0.evidence)" }
        return "\(testDescription), call \(point.call) (\(calls[point.call])) \(point.kind.rawValue), restarts "
            + "\(point.restartsLate ? "late" : "at once")\n" + (found + again.trace.suffix(120)).joined(separator: "\n")
    }
}

@Suite(.serialized) struct `A crash at every boundary` {
    @Test(arguments: Cast.all)
    func `loses and doubles nothing`(_ cast: Cast) async {
        let clean = await Simulation.play(cast.scene, nil, workers: cast.workers, traceLines: 200)
        if !clean.violations.isEmpty {
            Issue.record("\(clean.violations)\n\(clean.trace.joined(separator: "\n"))")
            return
        }
        let points = cast.points(clean.calls.count)
        #expect(clean.calls.count >= 8, "the way of an exit is longer than \(clean.calls)")
        if let story = await cast.firstViolation(points, calls: clean.calls) { Issue.record("\(story)") }
    }

    /// The protocol without one of its steps: some point shows it.
    @Test(arguments: [
        Mutant.timeoutTakenAsNotSent, .noSweep, .fillsDropped, .idWithoutAttempt, .keyNotStored, .clientRepeats,
    ])
    func `finds a step that is left out`(_ mutant: Mutant) async {
        for cast in Cast.all where cast.workers == 1 {
            let clean = await Simulation.play(cast.scene, nil, workers: 1, mutant: mutant)
            if !clean.violations.isEmpty { return }
            let points = CrashPoint.all(calls: clean.calls.count).filter { !$0.restartsLate }
            if await cast.firstViolation(points, calls: clean.calls, mutant: mutant) != nil { return }
        }
        Issue.record("no point shows it")
    }
}
