// The way of a call to a server in memory and back: where a simulation delays calls, loses them, or loses their answers.

/// One process's connection. What `send` throws keeps the call from taking effect; what `answer` throws comes after it.
package struct MemoryLink<Failure: Error>: Sendable {
    package typealias Step = @Sendable (StaticString) async throws(Failure) -> Void
    let send: Step?
    let answer: Step?

    /// - Parameters: asked with the name of the call, before and after it takes effect.
    package init(send: @escaping Step, answer: @escaping Step) {
        self.send = send
        self.answer = answer
    }

    private init() {
        send = nil
        answer = nil
    }

    /// Nothing takes time, nothing is lost.
    package static var perfect: MemoryLink { MemoryLink() }

    func carry<Value>(
        _ call: StaticString,
        _ body: () throws(Failure) -> Value,
    ) async throws(Failure) -> Value {
        if let send { try await send(call) }
        let value = try body()
        if let answer { try await answer(call) }
        return value
    }
}
