// One thread, virtual time, chance by the seed: the same seed and the same build replay a run exactly.
//
// Every Swift job that is enqueued on the simulating thread waits in `CExecutorHook`; the simulator picks the next one by
// its seed. Time stands still while anything is ready and then jumps to the next sleeper. Nothing may wait on the
// machine's clock, on another thread or on I/O: `escapes` counts those who tried. Cost: about a microsecond per step.
internal import CExecutorHook
internal import OwnerThread
internal import Synchronization

/// A deterministic executor with a clock of its own.
package final class Simulator: Sendable {
    private struct Sleeper {
        let due: Int64
        let number: UInt64
    }

    private struct State {
        var random: SeededRandom
        var heap: [Sleeper] = []
        /// By place; a place is used again when its sleeper is gone.
        var sleeping: [(number: UInt64, continuation: UnsafeContinuation<Bool, Never>?)] = []
        var freePlaces: [Int] = []
        var nextNumber: UInt64 = 0

        /// A number of its own, with the place in its lower half.
        mutating func newSleeper() -> UInt64 {
            let place: Int
            if let free = freePlaces.popLast() {
                place = free
            } else {
                place = sleeping.count
                sleeping.append((0, nil))
            }
            nextNumber += 1
            let number = nextNumber << 32 | UInt64(place)
            sleeping[place] = (number, nil)
            return number
        }

        /// Who sleeps under this number, once; nil: nobody any more, or not yet.
        mutating func takeSleeper(_ number: UInt64) -> UnsafeContinuation<Bool, Never>? {
            let place = Int(number & 0xffff_ffff)
            guard place < sleeping.count, sleeping[place].number == number,
                let continuation = sleeping[place].continuation
            else { return nil }
            sleeping[place] = (0, nil)
            freePlaces.append(place)
            return continuation
        }

        mutating func sleep(_ continuation: UnsafeContinuation<Bool, Never>, as number: UInt64, until due: Int64) {
            sleeping[Int(number & 0xffff_ffff)].continuation = continuation
            Simulator.push(Sleeper(due: due, number: number), on: &heap)
        }

        /// A number that nobody will sleep under.
        mutating func drop(_ number: UInt64) {
            let place = Int(number & 0xffff_ffff)
            guard sleeping[place].number == number else { return }
            sleeping[place] = (0, nil)
            freePlaces.append(place)
        }
        var hash: UInt64 = 0xcbf2_9ce4_8422_2325
        var steps = 0
        var trace: [String] = []
        var isFinished = false
    }

    private let state: Confined<State>
    /// Written by the simulating thread, read by everybody at every step.
    private let time = Atomic<Int64>(0)
    /// Lines of the trace that are kept; 0: none are made.
    private let traceLimit: Int
    /// Steps without a moment passing: more is a busy loop.
    private static let maximumBusySteps = 2_000_000

    /// - Parameter traceLimit: how many of the last trace lines to keep.
    package init(seed: UInt64, traceLimit: Int = 0) {
        state = Confined(State(random: SeededRandom(seed: seed)))
        self.traceLimit = traceLimit
    }

    // MARK: Running

    /// What ended a run.
    package enum End: Hashable, Sendable {
        case finished
        /// Nobody is ready and nobody sleeps, but the body has not ended.
        case deadlock
        case busyLoop
    }

    /// Runs `body` on a thread of its own; the caller's thread waits in Swift's way. `timeLimit` is virtual.
    package func run(_ body: @escaping @Sendable () async -> Void) async -> End {
        await withCheckedContinuation { done in
            OwnerThread.start(name: "simulation") {
                let end = self.runHere(body)
                // Behind the simulation: the waiting task belongs to the pool.
                done.resume(returning: end)
            }
        }
    }

    /// The same on the calling thread, which must not belong to Swift's pool.
    package func runHere(_ body: @escaping @Sendable () async -> Void) -> End {
        state.own()
        executor_hook_begin()
        defer {
            executor_hook_end()
            state.disown()
        }
        Task {
            await body()
            self.state.with { $0.isFinished = true }
        }
        var busy = 0
        var steps = 0
        defer { state.with { $0.steps += steps } }
        while true {
            let ready = executor_hook_count()
            if ready > 0 {
                var index = 0
                if ready > 1 {
                    index = state.with { state -> Int in
                        let index = Int(state.random.next() % UInt64(ready))
                        state.hash = (state.hash ^ UInt64(index)) &* 0x0000_0100_0000_01b3
                        return index
                    }
                }
                executor_hook_run(index)
                steps += 1
                busy += 1
                if busy > Self.maximumBusySteps { return .busyLoop }
                continue
            }
            if let end = wakeNext() { return end }
            busy = 0
        }
    }

    /// Jumps to the next sleeper. Returns how the run ended where there is none, or nobody is to be woken.
    private func wakeNext() -> End? {
        let (sleeper, isFinished) = state.with { state -> (UnsafeContinuation<Bool, Never>?, Bool) in
            if state.isFinished { return (nil, true) }
            while let next = Self.pop(&state.heap) {
                guard let sleeper = state.takeSleeper(next.number) else { continue }
                let now = max(time.load(ordering: .relaxed), next.due)
                time.store(now, ordering: .relaxed)
                state.hash = (state.hash ^ UInt64(bitPattern: now)) &* 0x0000_0100_0000_01b3
                return (sleeper, false)
            }
            return (nil, false)
        }
        guard let sleeper else { return isFinished ? .finished : .deadlock }
        sleeper.resume(returning: true)
        return nil
    }

    /// Tasks that asked the machine's clock to wake them. Only on the simulating thread.
    package var escapes: Int { Int(executor_hook_escapes()) }

    // MARK: Time

    /// Nanoseconds since the beginning of the run.
    package var nanoseconds: Int64 { time.load(ordering: .relaxed) }
    package var milliseconds: Int64 { nanoseconds / 1_000_000 }

    /// Sleeps in virtual time. False: the task was cancelled before.
    package func sleep(nanoseconds: Int64) async -> Bool {
        await sleep(nanoseconds: nanoseconds, as: newSleeper())
    }

    /// The number of a sleeper that `wake` may wake early.
    func newSleeper() -> UInt64 {
        state.with { $0.newSleeper() }
    }

    /// Ends a sleep that has begun.
    func wake(_ number: UInt64) {
        state.with { $0.takeSleeper(number) }?.resume(returning: true)
    }

    func sleep(nanoseconds: Int64, as number: UInt64) async -> Bool {
        await withTaskCancellationHandler {
            await wait(nanoseconds: nanoseconds, as: number)
        } onCancel: {
            state.with { $0.takeSleeper(number) }?.resume(returning: false)
        }
    }

    /// The cheap form of a continuation: every step of a simulation is one. `takeSleeper` gives it out once.
    /// Never inlined: swiftc 6.3 crashes at -O where an unsafe continuation is.
    @inline(never)
    private func wait(nanoseconds: Int64, as number: UInt64) async -> Bool {
        await withUnsafeContinuation { continuation in
            let isCancelled = state.with { state in
                if Task.isCancelled {
                    state.drop(number)
                    return true
                }
                state.sleep(continuation, as: number, until: self.nanoseconds + max(0, nanoseconds))
                return false
            }
            if isCancelled { continuation.resume(returning: false) }
        }
    }

    /// Lets time pass, whether the task is cancelled or not: a message that is under way arrives.
    @inline(never)
    package func pass(nanoseconds: Int64) async {
        guard nanoseconds > 0 else { return }
        _ = await withUnsafeContinuation { continuation in
            state.with { state in
                let number = state.newSleeper()
                state.sleep(continuation, as: number, until: self.nanoseconds + nanoseconds)
            }
        }
    }

    private static func isBefore(_ left: Sleeper, _ right: Sleeper) -> Bool {
        (left.due, left.number) < (right.due, right.number)
    }

    private static func push(_ sleeper: Sleeper, on heap: inout [Sleeper]) {
        heap.append(sleeper)
        var child = heap.count - 1
        while child > 0 {
            let parent = (child - 1) / 2
            guard isBefore(heap[child], heap[parent]) else { return }
            heap.swapAt(child, parent)
            child = parent
        }
    }

    private static func pop(_ heap: inout [Sleeper]) -> Sleeper? {
        guard let first = heap.first, let last = heap.popLast() else { return nil }
        guard !heap.isEmpty else { return first }
        heap[0] = last
        var parent = 0
        while true {
            var child = 2 * parent + 1
            guard child < heap.count else { return first }
            if child + 1 < heap.count, isBefore(heap[child + 1], heap[child]) { child += 1 }
            guard isBefore(heap[child], heap[parent]) else { return first }
            heap.swapAt(child, parent)
            parent = child
        }
    }

    // MARK: Chance and trace

    /// A number by the seed.
    package func random() -> UInt64 { state.with { $0.random.next() } }

    /// Draws by the seed. `body` uses only the generator it is given, and asks nothing of the simulator.
    func draw<Value>(_ body: (inout SeededRandom) -> Value) -> Value {
        state.with { body(&$0.random) }
    }

    /// A fingerprint of everything that happened so far, in its order.
    package var traceHash: UInt64 { state.with { $0.hash } }
    package var steps: Int { state.with { $0.steps } }
    package var trace: [String] { state.with { $0.trace } }

    /// Notes what happened, if a trace is kept; then it counts for the hash too.
    func note(_ what: @autoclosure () -> String) {
        guard traceLimit > 0 else { return }
        let text = what()
        state.with { state in
            for byte in text.utf8 { state.hash = (state.hash ^ UInt64(byte)) &* 0x0000_0100_0000_01b3 }
            if state.trace.count >= traceLimit * 2 { state.trace.removeFirst(traceLimit) }
            state.trace.append("\(milliseconds) \(text)")
        }
    }
}
